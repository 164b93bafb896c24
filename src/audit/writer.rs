//! The one thread that writes: takes what sessions pushed, gives it its order, appends, syncs, tells who waits.
//!
//! One write and one sync serve all records that came in the meantime (group commit). A batch that cannot be written is
//! kept and tried again at the same place until it succeeds; nothing that was accepted is dropped. Records whose customer has
//! no key at the moment are held back without holding up the others'.

#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use super::body::{self, narrow, wide};
use super::disk::{Disk, Next};
use super::entry::{Bytes, LogGap};
use super::gate::{Gate, PREFIX_BYTES, TROUBLE_ROOM, TROUBLE_STALL, TROUBLE_WRITE, lock, now_ns};
use super::journal::{self, FRAME_BYTES, HEADER_BYTES, Header, Link};
use super::keys::KeyError;
use super::recovery::with_patience;
use super::seal::{Sealer, TAG_BYTES};

/// A write that failed is tried again after this time.
const AGAIN: Duration = Duration::from_millis(200);
/// A batch is written when it is this long, even if more records are there.
const BATCH_BYTES: usize = 4 << 20;
/// Buffers that grew beyond this are given back.
const KEEP_BYTES: usize = 1 << 20;

/// Where the journal goes on.
#[derive(Debug, Clone, Copy)]
pub(super) struct Position {
    pub(super) segment: u64,
    pub(super) offset: u64,
    pub(super) end: u64,
    pub(super) link: Link,
}

/// What the writer was told.
#[derive(Debug, Clone, Copy)]
pub(super) struct Pace {
    pub(super) interval: Duration,
    /// How long a closing writer tries to write what is left.
    pub(super) close_limit: Duration,
    /// Room in the last segment that statements may not use.
    pub(super) reserve_bytes: u64,
    /// Of new segments.
    pub(super) segment_bytes: u64,
    pub(super) boot: [u8; 16],
    pub(super) node: [u8; 64],
}

/// The state of the thread.
pub(super) struct Writer<D: Disk> {
    gate: Arc<Gate>,
    disk: D,
    at: Position,
    pace: Pace,
    batch: Vec<u8>,
    batch_records: u32,
    taken: Vec<Taken>,
    sealer: Sealer,
    held: Held,
    closing_since: Option<Instant>,
    short_of_room: bool,
}

#[derive(Default)]
struct Taken {
    bytes: Vec<u8>,
    position: u64,
}

/// Records that wait for a key.
#[derive(Default)]
struct Held {
    /// As sessions pushed them.
    bytes: Vec<u8>,
    /// Whose; each has records in `bytes`.
    logs: BTreeSet<u32>,
    tried: Option<Instant>,
    /// Logs whose records went into the batch that is written next.
    healed: BTreeSet<u32>,
}

/// The process ends before the records could be written.
#[derive(Debug)]
struct Abandoned;

impl<D: Disk> Writer<D> {
    pub(super) fn new(gate: Arc<Gate>, disk: D, at: Position, pace: Pace, sealer: Sealer) -> Self {
        let taken = gate.shards.iter().map(|_| Taken::default()).collect();
        let writer = Self {
            gate,
            disk,
            at,
            pace,
            batch: Vec::new(),
            batch_records: 0,
            taken,
            sealer,
            held: Held::default(),
            closing_since: None,
            short_of_room: false,
        };
        writer.tell_position();
        writer
    }

    /// Writes the first record; only this one may fail for good.
    pub(super) fn write_first(&mut self, body: &[u8]) -> io::Result<()> {
        if self.at.offset.saturating_add(wide(FRAME_BYTES.saturating_add(body.len()))) > self.at.end {
            with_patience(|| self.next_segment())?;
        }
        self.frame(body);
        self.disk.write(self.at.offset, &self.batch)?;
        self.disk.sync()?;
        self.batch_is_durable();
        Ok(())
    }

    /// The thread's life.
    pub(super) fn run(mut self) {
        loop {
            self.gate.sleep(self.pace.interval, self.short_of_room);
            let closing = self.gate.closing.load(Ordering::SeqCst);
            if closing {
                self.closing_since.get_or_insert_with(Instant::now);
            }
            self.take(closing);
            if self.commit().is_err() {
                let bytes = self.gate.waiting_bytes();
                tracing::error!(bytes, "audit log closed without its last records");
                break;
            }
            self.watch_room();
            if self.tell_gap().is_err() {
                break;
            }
            if closing && !self.held.logs.is_empty() {
                if self.has_time_to_close() {
                    self.pause();
                    continue;
                }
                let bytes = self.held.bytes.len();
                tracing::error!(bytes, "audit log closed without the records of customers that have no key");
            }
            if closing {
                let mut stop = Vec::new();
                body::put_log_stop(&mut stop, now_ns());
                if self.add(None, &stop).and_then(|_| self.flush()).is_err() {
                    tracing::error!("audit log closed without its last record");
                }
                break;
            }
        }
        let gate = Arc::clone(&self.gate);
        // The lock goes first: who saw the log closed may open it again.
        drop(self);
        gate.finish();
    }

    fn take(&mut self, closing: bool) {
        for (shard, taken) in self.gate.shards.iter().zip(&mut self.taken) {
            taken.bytes.clear();
            if taken.bytes.capacity() > KEEP_BYTES {
                taken.bytes = Vec::new();
            }
            let mut pending = lock(&shard.pending);
            std::mem::swap(&mut pending.bytes, &mut taken.bytes);
            taken.position = pending.position;
            pending.closed |= closing;
        }
        if self.batch.capacity() > BATCH_BYTES.saturating_mul(2) {
            self.batch = Vec::new();
        }
    }

    fn commit(&mut self) -> Result<(), Abandoned> {
        self.sealer.begin_batch(now_ns());
        let mut bytes = self.add_held()?;
        let mut all = std::mem::take(&mut self.taken);
        for taken in all.iter().filter(|taken| !taken.bytes.is_empty()) {
            let held = self.add_all(&taken.bytes)?;
            bytes = bytes.saturating_add(taken.bytes.len()).saturating_sub(held);
        }
        self.flush()?;
        // Before anybody hears that more is on disk: what is held back is not.
        self.gate.hold(self.held.bytes.len());
        for (shard, taken) in
            self.gate.shards.iter().zip(&mut all).filter(|(_, taken)| !taken.bytes.is_empty())
        {
            self.gate.publish(shard, taken.position);
        }
        self.taken = all;
        if bytes > 0 {
            self.gate.release(bytes);
        }
        Ok(())
    }

    /// Adds what sessions pushed; how much of it must be held back, in bytes.
    fn add_all(&mut self, mut rest: &[u8]) -> Result<usize, Abandoned> {
        let before = self.held.bytes.len();
        while let Some((prefix, behind)) = rest.split_first_chunk::<PREFIX_BYTES>() {
            let [a, b, c, d, e, f, g, h] = *prefix;
            let length = narrow(u64::from(u32::from_le_bytes([a, b, c, d])));
            let log = u32::from_le_bytes([e, f, g, h]);
            let (body, behind) = behind.split_at_checked(length).unwrap_or((behind, &[]));
            if self.held.logs.contains(&log) || !self.add(Some(log), body)? {
                self.held.bytes.extend_from_slice(prefix);
                self.held.bytes.extend_from_slice(body);
            }
            rest = behind;
        }
        Ok(self.held.bytes.len().saturating_sub(before))
    }

    /// Adds what was held back and has its key by now; how much that is, in bytes.
    fn add_held(&mut self) -> Result<usize, Abandoned> {
        if self.held.logs.is_empty() || self.held.tried.is_some_and(|tried| tried.elapsed() < AGAIN) {
            return Ok(0);
        }
        let before = std::mem::take(&mut self.held);
        self.held.tried = Some(Instant::now());
        let still = self.add_all(&before.bytes)?;
        self.held.healed = before.logs.difference(&self.held.logs).copied().collect();
        Ok(before.bytes.len().saturating_sub(still))
    }

    /// A customer has no key: its statements are refused, and what happened already waits.
    fn begin_hold(&mut self, log: u32, error: &KeyError) {
        let (reason, customer) = (error.to_string(), self.gate.logs.name(log));
        if self.gate.logs.begin_trouble(log, &reason) {
            tracing::error!(
                reason,
                customer = &*customer,
                "no key for a customer's records; its statements are refused"
            );
            self.gate.wake_everyone();
        }
        self.held.tried.get_or_insert_with(Instant::now);
        self.held.logs.insert(log);
    }

    /// Adds a record, encrypted if it is of a log that sessions write; `false`: there is no key for it.
    fn add(&mut self, log: Option<u32>, body: &[u8]) -> Result<bool, Abandoned> {
        let bytes = FRAME_BYTES.saturating_add(body.len()).saturating_add(TAG_BYTES);
        let full = self.at.offset.saturating_add(wide(self.batch.len().saturating_add(bytes))) > self.at.end;
        if full || self.batch.len() >= BATCH_BYTES {
            self.flush()?;
        }
        if full {
            self.persist(Self::next_segment)?;
            self.tell_position();
        }
        let Some(log) = log else {
            self.frame(body);
            return Ok(true);
        };
        if !self.sealer.has_key(log) {
            // Making a key takes a while: what is there goes first, and the watchdog sees that something happens.
            self.flush()?;
        }
        let sealed = self.sealer.key(&self.gate.logs, log).and_then(|key| {
            let added =
                journal::append(&mut self.batch, &mut self.at.link, self.batch_records, Some(key), body);
            if added { Ok(()) } else { Err(KeyError::Random) }
        });
        match sealed {
            Ok(()) => self.batch_records = self.batch_records.saturating_add(1),
            Err(error) => {
                self.begin_hold(log, &error);
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Adds what the log says of itself.
    fn frame(&mut self, body: &[u8]) {
        journal::append(&mut self.batch, &mut self.at.link, self.batch_records, None, body);
        self.batch_records = self.batch_records.saturating_add(1);
    }

    fn flush(&mut self) -> Result<(), Abandoned> {
        if self.batch.is_empty() {
            return Ok(());
        }
        self.persist(|writer| {
            writer.disk.write(writer.at.offset, &writer.batch)?;
            writer.disk.sync()
        })?;
        self.batch_is_durable();
        Ok(())
    }

    /// Does it until it succeeds. After a failed sync nobody knows what is on disk, so the whole step is done again.
    fn persist(&mut self, step: impl Fn(&mut Self) -> io::Result<()>) -> Result<(), Abandoned> {
        loop {
            match step(self) {
                Ok(()) => {
                    self.gate.end_trouble(TROUBLE_WRITE | TROUBLE_STALL);
                    return Ok(());
                }
                // The disk has waited itself.
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => {
                    self.gate.begin_trouble(TROUBLE_WRITE, &error.to_string());
                    let mut status = lock(&self.gate.status);
                    status.attempts = status.attempts.saturating_add(1);
                    drop(status);
                    self.pause();
                }
            }
            if self.gate.closing.load(Ordering::SeqCst) && !self.has_time_to_close() {
                return Err(Abandoned);
            }
        }
    }

    fn has_time_to_close(&mut self) -> bool {
        let since = *self.closing_since.get_or_insert_with(Instant::now);
        since.elapsed() < self.pace.close_limit
    }

    /// Sessions that are in a hurry wake the thread; the pause goes on all the same.
    fn pause(&self) {
        let begun = Instant::now();
        while let Some(left) = AGAIN.checked_sub(begun.elapsed()).filter(|left| !left.is_zero()) {
            std::thread::park_timeout(left);
        }
    }

    fn next_segment(&mut self) -> io::Result<()> {
        let header = Header {
            segment: self.at.segment.saturating_add(1),
            first_record: self.at.link.record,
            boot: self.pace.boot,
            node: self.pace.node,
            created_ns: now_ns(),
            bytes: self.pace.segment_bytes,
            salt: random_salt(),
            previous: self.at.link.chain,
        };
        self.disk.rotate(&header)?;
        self.at.end = header.bytes;
        self.at.segment = header.segment;
        self.at.offset = wide(HEADER_BYTES);
        self.at.link.chain = header.chain();
        self.at.link.salt = header.salt;
        Ok(())
    }

    fn batch_is_durable(&mut self) {
        self.at.offset = self.at.offset.saturating_add(wide(self.batch.len()));
        self.batch.clear();
        self.gate.records.fetch_add(u64::from(self.batch_records), Ordering::SeqCst);
        self.gate.durable_ns.store(now_ns(), Ordering::Relaxed);
        self.batch_records = 0;
        self.tell_position();
    }

    fn tell_position(&self) {
        let mut status = lock(&self.gate.status);
        status.segment = self.at.segment;
        status.offset_bytes = self.at.offset;
    }

    /// After trouble the log itself says that there was some.
    fn tell_gap(&mut self) -> Result<(), Abandoned> {
        if let Some(gap) = self.gate.gap() {
            self.add_gap((gap.since_ns, gap.attempts, gap.refused), &gap.reason)?;
        }
        for log in std::mem::take(&mut self.held.healed) {
            if let Some(trouble) = self.gate.logs.end_trouble(log) {
                let customer = self.gate.logs.name(log);
                tracing::warn!(customer = &*customer, "a customer's records have a key again");
                let reason = format!("customer {customer}: {}", trouble.reason);
                self.add_gap((trouble.since_ns, trouble.attempts, trouble.refused), &reason)?;
            }
        }
        self.flush()
    }

    fn add_gap(
        &mut self,
        (since_ns, attempts, refused): (u64, u64, u64),
        why: &str,
    ) -> Result<(), Abandoned> {
        let reason = Bytes { kept: why.as_bytes(), bytes: wide(why.len()) };
        let mut record = Vec::new();
        body::put_log_gap(&mut record, &LogGap { time_ns: now_ns(), since_ns, attempts, refused, reason });
        self.add(None, &record).map(|_| ())
    }

    /// Statements end before the last segment does, so that what is running can still be told.
    fn watch_room(&mut self) {
        let left = self.at.end.saturating_sub(self.at.offset);
        self.short_of_room = left < self.pace.reserve_bytes && self.disk.next() != Next::Ready;
        match self.disk.next() {
            Next::Failed(reason) if self.short_of_room => self.gate.begin_trouble(TROUBLE_ROOM, &reason),
            Next::Failed(_) | Next::Ready | Next::Preparing => self.gate.end_trouble(TROUBLE_ROOM),
        }
    }
}

/// Where the checksums of a new segment begin: not to be guessed by who writes a text.
pub(super) fn random_salt() -> u32 {
    let mut salt = [0; 4];
    // Without randomness the checksum still finds accidents.
    let filled = aws_lc_rs::rand::fill(&mut salt);
    if filled.is_err() { 0 } else { u32::from_le_bytes(salt) }
}

/// The watchdog's life: tells everyone when records wait and none is written for longer than `limit`.
///
/// It looks from outside, because the writer itself may hang in the kernel.
pub(super) fn watch(gate: &Gate, limit: Duration) {
    let tick = (limit / 8).clamp(Duration::from_millis(5), Duration::from_millis(250));
    let mut seen = gate.records.load(Ordering::SeqCst);
    let mut stuck_since = None;
    while !gate.wait_finished(tick) {
        let records = gate.records.load(Ordering::SeqCst);
        if records != seen || gate.waiting_bytes() <= gate.held_bytes() {
            (seen, stuck_since) = (records, None);
            gate.end_trouble(TROUBLE_STALL);
        } else if stuck_since.get_or_insert_with(Instant::now).elapsed() >= limit {
            gate.begin_trouble(TROUBLE_STALL, "a write takes longer than audit.stall_timeout_ms");
        }
    }
}
