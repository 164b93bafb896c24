//! Who waits for the log, and whether it takes anything at all.
//!
//! Sessions push into shards and ask three questions here: is there room, is my record on disk, does the log work.
//! The usual answers cost one or two loads. Who waits is kept in `waiters.rs`.

use std::future::poll_fn;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::task::{Context, Poll};
use std::thread::Thread;
use std::time::Duration;

use super::acts::Backends;
use super::alert::Alerts;
use super::attend::Before;
use super::body::wide;
use super::health::{Health, State, Unavailable};
use super::logs::Logs;
use super::notary::Told;
use super::waiters::{Waiter, Waiters};
use crate::telemetry::wall_clock;

/// How many buffers share the workers; a session keeps to one of them.
pub(super) const SHARDS: u32 = 8;

/// Before each body in a shard's buffer: its length and the number of its log, each a `u32`.
pub(super) const PREFIX_BYTES: usize = 8;

/// The last write or sync failed.
pub(super) const TROUBLE_WRITE: u8 = 1;
/// Records wait, and nothing was written for longer than `audit.stall_timeout_ms`.
pub(super) const TROUBLE_STALL: u8 = 2;
/// There is no next segment, and this one has only the reserve left.
pub(super) const TROUBLE_ROOM: u8 = 4;

/// Takes a lock; a panic of another holder does not matter, because nothing is left half done under these locks.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A record's place in the order of its shard: ask with it whether the record is on disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Ticket {
    pub(super) shard: u32,
    /// Records pushed to the shard so far, this one included; 0: nothing to wait for.
    pub(super) position: u64,
    /// The log it belongs to.
    pub(super) log: u32,
}

impl Ticket {
    /// Of a log that is off: durable at once.
    pub(super) const NOTHING: Self = Self { shard: 0, position: 0, log: 0 };
}

/// What sessions have pushed and the writer has not taken.
#[derive(Debug, Default)]
pub(super) struct Pending {
    /// Prefix and body, again and again.
    pub(super) bytes: Vec<u8>,
    /// Records pushed since the start.
    pub(super) position: u64,
    pub(super) closed: bool,
}

/// One of the buffers.
#[derive(Debug, Default)]
pub(super) struct Shard {
    pub(super) pending: Mutex<Pending>,
    waiters: Waiters,
}

/// What the health is made of besides counters.
#[derive(Debug, Default)]
pub(super) struct Status {
    pub(super) since_ns: u64,
    pub(super) reason: String,
    pub(super) attempts: u64,
    refused_before: u64,
    pub(super) segment: u64,
    pub(super) offset_bytes: u64,
    pub(super) closed: bool,
}

/// A time of trouble that is over.
#[derive(Debug)]
pub(super) struct Gap {
    pub(super) since_ns: u64,
    pub(super) attempts: u64,
    pub(super) refused: u64,
    pub(super) reason: String,
}

/// Everything that sessions, writer and watchdog share.
#[derive(Debug)]
pub(super) struct Gate {
    pub(super) shards: Vec<Arc<Shard>>,
    limit_bytes: usize,
    waiting_bytes: AtomicUsize,
    /// Of them: records whose log has no key at the moment.
    held_bytes: AtomicUsize,
    pub(super) logs: Logs,
    pub(super) before_shred: Before,
    trouble: AtomicU8,
    /// The writer sleeps until it is woken, not only until its next interval.
    asleep: AtomicBool,
    /// There was trouble that no record tells of yet.
    gap_open: AtomicBool,
    urgent: AtomicBool,
    pub(super) closing: AtomicBool,
    room_waiters: Mutex<Vec<Arc<Waiter>>>,
    pub(super) status: Mutex<Status>,
    pub(super) records: AtomicU64,
    pub(super) durable_ns: AtomicU64,
    pub(super) refused: AtomicU64,
    pub(super) writer: OnceLock<Thread>,
    pub(super) alerts: OnceLock<Arc<Alerts>>,
    pub(super) backends: Backends,
    pub(super) signing: OnceLock<Arc<Told>>,
    finished: (Mutex<bool>, Condvar),
}

/// Wall clock, ns since 1970.
pub(super) fn now_ns() -> u64 {
    u64::try_from(wall_clock().as_nanos()).unwrap_or(u64::MAX)
}

impl Gate {
    pub(super) fn new(limit_bytes: usize) -> Self {
        Self {
            shards: (0..SHARDS).map(|_| Arc::default()).collect(),
            limit_bytes: limit_bytes.max(1 << 16),
            waiting_bytes: AtomicUsize::new(0),
            held_bytes: AtomicUsize::new(0),
            logs: Logs::new(),
            before_shred: Before::default(),
            trouble: AtomicU8::new(0),
            asleep: AtomicBool::new(false),
            gap_open: AtomicBool::new(false),
            urgent: AtomicBool::new(false),
            closing: AtomicBool::new(false),
            room_waiters: Mutex::default(),
            status: Mutex::default(),
            records: AtomicU64::new(0),
            durable_ns: AtomicU64::new(0),
            refused: AtomicU64::new(0),
            writer: OnceLock::new(),
            alerts: OnceLock::new(),
            backends: Backends::default(),
            signing: OnceLock::new(),
            finished: (Mutex::new(false), Condvar::new()),
        }
    }

    /// Encodes one record into a shard's buffer.
    pub(super) fn push(
        &self,
        (number, log): (u32, u32),
        shard: &Shard,
        encode: impl FnOnce(&mut Vec<u8>),
    ) -> Result<Ticket, Unavailable> {
        if self.waiting_bytes.load(Ordering::Relaxed) >= self.limit_bytes.saturating_mul(2)
            || (self.held_bytes() >= self.limit_bytes / 2 && self.logs.is_failing(log))
        {
            return Err(self.refuse(Unavailable::Full));
        }
        let (position, before, added) = {
            let mut pending = lock(&shard.pending);
            if pending.closed {
                return Err(self.refuse(Unavailable::Closed));
            }
            let start = pending.bytes.len();
            pending.bytes.extend_from_slice(&[0; 4]);
            pending.bytes.extend_from_slice(&log.to_le_bytes());
            encode(&mut pending.bytes);
            let added = pending.bytes.len().saturating_sub(start);
            let length = u32::try_from(added.saturating_sub(PREFIX_BYTES)).unwrap_or(u32::MAX);
            if let Some(place) = pending.bytes.get_mut(start..).and_then(|rest| rest.first_chunk_mut()) {
                *place = length.to_le_bytes();
            }
            pending.position = pending.position.saturating_add(1);
            // Inside the lock: the writer must not subtract before this is added.
            (pending.position, self.waiting_bytes.fetch_add(added, Ordering::SeqCst), added)
        };
        if self.asleep.load(Ordering::SeqCst) && self.asleep.swap(false, Ordering::SeqCst) {
            self.unpark();
        }
        let half = self.limit_bytes / 2;
        if before < half && before.saturating_add(added) >= half {
            self.hurry();
        }
        Ok(Ticket { shard: number, position, log })
    }

    /// Counts a refusal.
    pub(super) fn refuse(&self, why: Unavailable) -> Unavailable {
        self.refused.fetch_add(1, Ordering::Relaxed);
        why
    }

    /// What keeps the log from taking new statements, if anything does.
    pub(super) fn trouble(&self, log: u32) -> Option<Unavailable> {
        self.trouble_of_all().or_else(|| {
            self.logs.is_failing(log).then(|| {
                self.logs.count_refusal(log);
                Unavailable::Failing
            })
        })
    }

    fn trouble_of_all(&self) -> Option<Unavailable> {
        match self.trouble.load(Ordering::Acquire) {
            0 => None,
            bits if bits & TROUBLE_STALL != 0 => Some(Unavailable::Stalled),
            _ => Some(Unavailable::Failing),
        }
    }

    /// Room for one more statement: see [`super::SessionLog::poll_room`].
    pub(super) fn poll_room(
        &self,
        log: u32,
        waiter: &Arc<Waiter>,
        cx: &Context<'_>,
    ) -> Poll<Result<(), Unavailable>> {
        if let Some(ready) = self.room(log) {
            return Poll::Ready(ready);
        }
        if waiter.keep(cx) {
            lock(&self.room_waiters).push(Arc::clone(waiter));
        }
        self.hurry();
        // Room may have been made, and its waiters woken, just before this one was listed.
        self.room(log).map_or(Poll::Pending, Poll::Ready)
    }

    fn room(&self, log: u32) -> Option<Result<(), Unavailable>> {
        if let Some(why) = self.trouble(log) {
            return Some(Err(self.refuse(why)));
        }
        (self.waiting_bytes.load(Ordering::Relaxed) < self.limit_bytes).then_some(Ok(()))
    }

    /// Whether a record is on disk: see [`super::SessionLog::poll_durable`].
    pub(super) fn poll_durable(
        &self,
        ticket: Ticket,
        waiter: &Arc<Waiter>,
        cx: &Context<'_>,
    ) -> Poll<Result<(), Unavailable>> {
        let Some(shard) = usize::try_from(ticket.shard).ok().and_then(|number| self.shards.get(number))
        else {
            return Poll::Ready(Err(Unavailable::Closed));
        };
        if let Some(ready) = self.kept(shard, ticket) {
            return Poll::Ready(ready);
        }
        if shard.waiters.list(ticket.position, waiter, cx) {
            self.hurry();
        }
        self.kept(shard, ticket).map_or(Poll::Pending, Poll::Ready)
    }

    fn kept(&self, shard: &Shard, ticket: Ticket) -> Option<Result<(), Unavailable>> {
        if shard.waiters.durable() >= ticket.position {
            // Written, unless it is held back for want of a key: the writer says so before it publishes.
            let failing = self.logs.is_failing(ticket.log);
            return Some(if failing { Err(self.refuse(Unavailable::Failing)) } else { Ok(()) });
        }
        if *lock(&self.finished.0) {
            return Some(Err(self.refuse(Unavailable::Closed)));
        }
        // Without a next segment the reserve is still written: only a write that fails or hangs ends the wait.
        let bits = self.trouble.load(Ordering::Acquire) & (TROUBLE_WRITE | TROUBLE_STALL);
        self.trouble_of_all().filter(|_| bits != 0).map(|why| Err(self.refuse(why)))
    }

    /// Makes the writer write now.
    pub(super) fn hurry(&self) {
        if !self.urgent.swap(true, Ordering::SeqCst) {
            self.asleep.store(false, Ordering::SeqCst);
            self.unpark();
        }
    }

    fn unpark(&self) {
        if let Some(writer) = self.writer.get() {
            writer.unpark();
        }
    }

    /// The writer's sleep: until somebody is in a hurry, or for `interval` when something waits, or until something comes.
    pub(super) fn sleep(&self, interval: Duration, must_tick: bool) {
        if self.urgent.swap(false, Ordering::SeqCst) {
            return;
        }
        if !must_tick && self.waiting_bytes.load(Ordering::SeqCst) == 0 {
            self.asleep.store(true, Ordering::SeqCst);
            while self.asleep.load(Ordering::SeqCst)
                && self.waiting_bytes.load(Ordering::SeqCst) == 0
                && !self.closing.load(Ordering::SeqCst)
            {
                std::thread::park();
            }
            self.asleep.store(false, Ordering::SeqCst);
        }
        if !self.urgent.swap(false, Ordering::SeqCst) && !self.closing.load(Ordering::SeqCst) {
            std::thread::park_timeout(interval);
            self.urgent.store(false, Ordering::SeqCst);
        }
    }

    /// Says that a shard's records up to `position` are on disk, and wakes those that wait for them.
    pub(super) fn publish(&self, shard: &Shard, position: u64) {
        shard.waiters.publish(position);
    }

    /// Wakes the sessions of one thread on that thread, until the log has ended: see [`super::Log::attend_here`].
    pub(super) async fn attend(&self, shard: &Shard) {
        struct Attending<'a>(&'a Waiters);
        impl Drop for Attending<'_> {
            fn drop(&mut self) {
                self.0.end_attending();
            }
        }
        if !shard.waiters.begin_attending() {
            return;
        }
        let _attending = Attending(&shard.waiters);
        poll_fn(|cx| {
            if shard.waiters.poll_attend(cx) {
                self.hurry();
            }
            Poll::<()>::Pending
        })
        .await;
    }

    /// Gives back the room of records that are on disk.
    pub(super) fn release(&self, bytes: usize) {
        self.waiting_bytes.fetch_sub(bytes, Ordering::SeqCst);
        for waiter in lock(&self.room_waiters).drain(..) {
            waiter.wake();
        }
    }

    /// Segment and offset up to which everything is on disk.
    pub(super) fn durable_position(&self) -> (u64, u64) {
        let status = lock(&self.status);
        (status.segment, status.offset_bytes)
    }

    /// Says how much of what waits is held back for want of a key.
    pub(super) fn hold(&self, bytes: usize) {
        self.held_bytes.store(bytes, Ordering::SeqCst);
    }

    /// What waits only for a key.
    pub(super) fn held_bytes(&self) -> usize {
        self.held_bytes.load(Ordering::SeqCst)
    }

    /// Bytes accepted that are not on disk.
    pub(super) fn waiting_bytes(&self) -> usize {
        self.waiting_bytes.load(Ordering::SeqCst)
    }

    /// Begins a kind of trouble: everyone who waits is told.
    pub(super) fn begin_trouble(&self, bit: u8, reason: &str) {
        {
            let mut status = lock(&self.status);
            if self.trouble.load(Ordering::Acquire) == 0 {
                status.since_ns = now_ns();
                status.attempts = 0;
                status.refused_before = self.refused.load(Ordering::Relaxed);
                self.gap_open.store(true, Ordering::Relaxed);
                tracing::error!(reason, "audit log cannot be written; statements are refused");
            }
            if status.reason != reason {
                reason.clone_into(&mut status.reason);
            }
            self.trouble.fetch_or(bit, Ordering::AcqRel);
        }
        self.wake_everyone();
    }

    /// Ends kinds of trouble.
    pub(super) fn end_trouble(&self, bits: u8) {
        let before = self.trouble.fetch_and(!bits, Ordering::AcqRel);
        if before & bits != 0 && before & !bits == 0 {
            tracing::warn!("audit log can be written again");
        }
    }

    /// What the record of a gap says, once, when there was trouble and it is over.
    pub(super) fn gap(&self) -> Option<Gap> {
        if !self.gap_open.load(Ordering::Relaxed) || self.trouble_of_all().is_some() {
            return None;
        }
        self.gap_open.store(false, Ordering::Relaxed);
        let status = lock(&self.status);
        let refused = self.refused.load(Ordering::Relaxed).saturating_sub(status.refused_before);
        Some(Gap {
            since_ns: status.since_ns,
            attempts: status.attempts,
            refused,
            reason: status.reason.clone(),
        })
    }

    pub(super) fn wake_everyone(&self) {
        for shard in &self.shards {
            shard.waiters.wake_all();
        }
        for waiter in lock(&self.room_waiters).drain(..) {
            waiter.wake();
        }
    }

    /// The writer has ended; nothing more will reach the disk.
    pub(super) fn finish(&self) {
        lock(&self.status).closed = true;
        *lock(&self.finished.0) = true;
        self.finished.1.notify_all();
        self.wake_everyone();
    }

    /// Asks the writer to end and waits for it, at most for `limit`.
    pub(super) fn close(&self, limit: Duration) {
        self.closing.store(true, Ordering::SeqCst);
        self.asleep.store(false, Ordering::SeqCst);
        self.urgent.store(true, Ordering::SeqCst);
        self.unpark();
        if !self.wait_finished(limit) {
            tracing::error!("audit log did not close in time");
        }
    }

    /// Waits until the writer has ended, at most for `limit`; `true` when it has.
    pub(super) fn wait_finished(&self, limit: Duration) -> bool {
        let finished = lock(&self.finished.0);
        let waited = self.finished.1.wait_timeout_while(finished, limit, |finished| !*finished);
        waited.map_or(true, |(finished, _)| *finished)
    }

    pub(super) fn health(&self) -> Health {
        let status = lock(&self.status);
        let state = match self.trouble_of_all() {
            _ if status.closed => State::Closed,
            None => State::Ok,
            Some(_) => State::Failing { since_ns: status.since_ns, reason: status.reason.clone() },
        };
        Health {
            state,
            waiting_bytes: wide(self.waiting_bytes()),
            records: self.records.load(Ordering::Relaxed),
            durable_ns: self.durable_ns.load(Ordering::Relaxed),
            segment: status.segment,
            offset_bytes: status.offset_bytes,
            refused: self.refused.load(Ordering::Relaxed),
            logs_failing: wide(self.logs.failing()),
            unsigned: None,
            unarchived: None,
            undigested: None,
            unwitnessed: None,
            unanchored: None,
            alerts: self.alerts.get().map(|alerts| alerts.health()).unwrap_or_default(),
        }
    }
}
