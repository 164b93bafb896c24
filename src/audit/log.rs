//! The log as the rest of the program sees it: open it once, give each session its [`SessionLog`], close it at the end.
//! What is told of it day by day is begun in `attention.rs`, what proves it in `signed.rs`.

mod attention;
mod signed;

use std::cell::Cell;
use std::future::poll_fn;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};
use std::time::Duration;

use super::abroad;
use super::alert::AlertHealth;
use super::archive::life as archive;
use super::attend;
use super::body::{self, put_name, wide};
use super::digest::life as digest;
use super::disk::{Directory, Disk, FolderError};
use super::gate::{Gate, SHARDS, Shard, Ticket, now_ns};
use super::health::{Health, State, Unavailable};
use super::journal::{Header, SEGMENT_BYTES_MIN, segment_name, sha256};
use super::keeping::{Keeper, Policies, Rules};
use super::keys::Keyring;
use super::notary::Life;
use super::open_error::OpenError;
use super::record::{Event, Long, Statement, Stream, TEXT_INLINE_BYTES_MAX, Who};
use super::recovery::{Damage, Recovered, log_start, recover};
use super::seal::Sealer;
use super::waiters::Waiter;
use super::writer::{Pace, Writer, watch};
use crate::config;

/// The audit log of a process; clones are the same log.
#[derive(Debug, Clone)]
pub struct Log(Option<Arc<Open>>);

#[derive(Debug)]
struct Open {
    gate: Arc<Gate>,
    close_limit: Duration,
    boot: [u8; 16],
    keyring: Arc<Keyring>,
    rules: Arc<Rules>,
    notary: OnceLock<Life>,
    archive: OnceLock<archive::Life>,
    digest: OnceLock<digest::Life>,
    abroad: OnceLock<abroad::Life>,
}

impl Open {
    /// The writer ends first: what it wrote last is signed, too.
    fn close(&self) {
        if let Some(archive) = self.archive.get() {
            archive.close();
        }
        if let Some(abroad) = self.abroad.get() {
            abroad.close();
        }
        self.gate.close(self.close_limit);
        if let Some(notary) = self.notary.get() {
            notary.close();
        }
        if let Some(digest) = self.digest.get() {
            digest.close();
        }
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.close();
    }
}

impl Log {
    /// Opens the journal in `config.directory`, cuts a torn end, writes the record of the start and starts the writer.
    ///
    /// # Errors
    /// [`OpenError`]: the folder cannot be used, another process uses it, or records in it are damaged.
    pub fn open(config: &config::Audit, node: &str) -> Result<Self, OpenError> {
        if !config.enabled {
            return Ok(Self::disabled());
        }
        if config.segment_bytes < SEGMENT_BYTES_MIN {
            return Err(OpenError::Setting("segment_bytes must be at least 1 MiB"));
        }
        if !(1..=1_000).contains(&config.flush_interval_ms) || config.stall_timeout_ms < 10 {
            return Err(OpenError::Setting(
                "flush_interval_ms must be 1 to 1000, stall_timeout_ms at least 10",
            ));
        }
        let path = &config.directory;
        let io = |error| OpenError::Io(path.clone(), error);
        let disk = Directory::open(path, config.segment_bytes).map_err(|error| match error {
            FolderError::Locked => OpenError::Locked(path.clone()),
            FolderError::Open => OpenError::Permissions(path.clone()),
            FolderError::Io(error) => io(error),
        })?;
        let keyring = Arc::new(Keyring::prepare(config).map_err(OpenError::Keys)?);
        let mut boot = [0; 16];
        aws_lc_rs::rand::fill(&mut boot).map_err(|_| io(std::io::Error::other("no random numbers")))?;
        let (disk, recovered) =
            recover(disk, (boot, node), config.segment_bytes).map_err(io)?.map_err(|damage| {
                let Damage { segment, offset, record, what } = damage;
                OpenError::Damaged { file: path.join(segment_name(segment)), offset, record, what }
            })?;
        let log = Self::start(disk, &recovered, config, (boot, node), keyring).map_err(io)?;
        log.start_notary(config)?;
        Ok(log)
    }

    /// The journal goes on where it ended. Takes any disk, so that tests can bring one that fails.
    pub(super) fn start<D: Disk + 'static>(
        disk: D,
        recovered: &Recovered,
        config: &config::Audit,
        (boot, node): ([u8; 16], &str),
        keyring: Arc<Keyring>,
    ) -> std::io::Result<Self> {
        let gate = Arc::new(Gate::new(config.buffer_bytes));
        let stall = Duration::from_millis(config.stall_timeout_ms);
        let close_limit = stall.saturating_add(Duration::from_secs(1));
        let reserve = wide(config.buffer_bytes).saturating_mul(2).min(config.segment_bytes / 4);
        let interval = Duration::from_millis(config.flush_interval_ms);
        let segment_bytes = config.segment_bytes;
        let node_place = Header::node_place(node);
        let pace = Pace {
            interval,
            close_limit: stall,
            reserve_bytes: reserve,
            segment_bytes,
            boot,
            node: node_place,
        };
        let sealer = Sealer::new(Arc::clone(&keyring), boot);
        let mut writer = Writer::new(Arc::clone(&gate), disk, recovered.position, pace, sealer);
        writer.write_first(&log_start(recovered, boot, node))?;
        let thread = std::thread::Builder::new().name("audit-writer".into()).spawn(move || writer.run())?;
        if gate.writer.set(thread.thread().clone()).is_err() {
            return Err(std::io::Error::other("writer was started twice"));
        }
        let watched = Arc::clone(&gate);
        std::thread::Builder::new().name("audit-watch".into()).spawn(move || watch(&watched, stall))?;
        attend::start(&gate, &keyring, config.directory.clone())?;
        let rules = Keeper::start(config.clone(), &gate, &keyring)?;
        let (notary, archive, digest) = (OnceLock::new(), OnceLock::new(), OnceLock::new());
        let abroad = OnceLock::new();
        Ok(Self(Some(Arc::new(Open {
            gate,
            close_limit,
            boot,
            keyring,
            rules,
            notary,
            archive,
            digest,
            abroad,
        }))))
    }

    /// A log that records nothing: for measurements and tests of other things.
    #[must_use]
    pub const fn disabled() -> Self {
        Self(None)
    }

    /// Whether anything is recorded.
    #[must_use]
    pub const fn is_enabled(&self) -> bool {
        self.0.is_some()
    }

    /// Names this run of the process in every record; zeros when the log is off.
    #[must_use]
    pub fn boot(&self) -> [u8; 16] {
        self.0.as_ref().map_or([0; 16], |open| open.boot)
    }

    /// The keys of the records; `None` when the log is off.
    #[must_use]
    pub fn keyring(&self) -> Option<Arc<Keyring>> {
        self.0.as_ref().map(|open| Arc::clone(&open.keyring))
    }

    /// Says what holds for each log; the first word stays. Until then nothing is overdue.
    pub fn keep(&self, policies: Policies) {
        if let Some(open) = &self.0 {
            open.rules.set(policies);
        }
    }

    /// The log of one session. Writes nothing yet; see [`SessionLog::opened`].
    #[must_use]
    pub fn session(&self, who: &Who<'_>) -> SessionLog {
        let inner = self.0.as_ref().and_then(|open| {
            let (number, shard) = shard_of_this_thread(&open.gate)?;
            let mut constant = Vec::with_capacity(160);
            body::put_who(&mut constant, &Who { application_name: b"", ..*who });
            constant.truncate(constant.len().saturating_sub(body::LENGTH_BYTES));
            let before_name = constant.len();
            put_name(&mut constant, who.application_name);
            Some(Inner {
                gate: Arc::clone(&open.gate),
                shard,
                number,
                log: open.gate.logs.number(who.customer),
                session: who.session,
                constant,
                before_name,
                is_open: false,
                room: Arc::default(),
                durable: Arc::default(),
            })
        });
        SessionLog(inner)
    }

    /// Records something that is not a statement.
    ///
    /// # Errors
    /// [`Unavailable`] when the log is closed or its buffer is full.
    pub fn event(&self, event: &Event<'_>) -> Result<Ticket, Unavailable> {
        let Some(open) = &self.0 else { return Ok(Ticket::NOTHING) };
        let Some((number, shard)) = shard_of_this_thread(&open.gate) else { return Err(Unavailable::Closed) };
        let log = open.gate.logs.number(event.customer);
        open.gate.push((number, log), &shard, |out| body::put_event(out, now_ns(), event))
    }

    /// Waits until a record is on disk.
    ///
    /// # Errors
    /// [`Unavailable`] when it cannot be written at the moment. It is kept and tried again all the same.
    pub async fn durable(&self, ticket: Ticket) -> Result<(), Unavailable> {
        let Some(open) = &self.0 else { return Ok(()) };
        let waiter = Arc::default();
        poll_fn(|cx| open.gate.poll_durable(ticket, &waiter, cx)).await
    }

    /// Wakes the sessions of this thread when their records are on disk: the writer then wakes one task a thread instead of
    /// each session. Runs until it is dropped; ends at once where the log is off or another task attends already.
    pub async fn attend_here(&self) {
        let Some(open) = &self.0 else { return };
        if let Some((_, shard)) = shard_of_this_thread(&open.gate) {
            open.gate.attend(&shard).await;
        }
    }

    /// The first segment of the journal that is not in the archive whole; 0: not known yet, or the log is off.
    #[must_use]
    pub fn first_unarchived_segment(&self) -> u64 {
        let archive = self.0.as_ref().and_then(|open| open.archive.get());
        archive.map_or(0, archive::Life::needed_segment)
    }

    /// Whether the log works, and how much waits.
    #[must_use]
    pub fn health(&self) -> Health {
        self.0.as_ref().map_or_else(
            || Health {
                state: State::Disabled,
                waiting_bytes: 0,
                records: 0,
                durable_ns: 0,
                segment: 0,
                offset_bytes: 0,
                refused: 0,
                logs_failing: 0,
                unsigned: None,
                unarchived: None,
                undigested: None,
                unwitnessed: None,
                unanchored: None,
                alerts: AlertHealth::default(),
            },
            |open| Health {
                unsigned: open.notary.get().and_then(Life::trouble),
                unarchived: open.archive.get().and_then(archive::Life::trouble),
                undigested: open
                    .digest
                    .get()
                    .and_then(digest::Life::trouble)
                    .or_else(|| open.archive.get().and_then(archive::Life::held)),
                unwitnessed: open.abroad.get().and_then(abroad::Life::unwitnessed),
                unanchored: open.abroad.get().and_then(abroad::Life::unanchored),
                ..open.gate.health()
            },
        )
    }

    /// Writes what is left and the record of the end, and takes nothing more. Blocks, at most `stall_timeout_ms` and 1 s.
    pub fn close(&self) {
        if let Some(open) = &self.0 {
            open.close();
        }
    }
}

/// Each thread keeps to one buffer, so that workers do not wait for one another.
fn shard_of_this_thread(gate: &Gate) -> Option<(u32, Arc<Shard>)> {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    thread_local! {
        static MINE: Cell<Option<u32>> = const { Cell::new(None) };
    }
    let number = MINE.get().unwrap_or_else(|| {
        let number = NEXT.fetch_add(1, Ordering::Relaxed) % SHARDS;
        MINE.set(Some(number));
        number
    });
    let shard = gate.shards.get(usize::try_from(number).ok()?)?;
    Some((number, Arc::clone(shard)))
}

/// The log of one session: who it is was encoded once, each record copies it.
///
/// Records of a session keep their order. Dropped without [`SessionLog::closed`], it records the end itself.
#[derive(Debug)]
pub struct SessionLog(Option<Inner>);

#[derive(Debug)]
struct Inner {
    gate: Arc<Gate>,
    shard: Arc<Shard>,
    number: u32,
    /// The customer's.
    log: u32,
    session: u64,
    /// The encoded [`Who`]; `application_name` comes last.
    constant: Vec<u8>,
    before_name: usize,
    is_open: bool,
    room: Arc<Waiter>,
    durable: Arc<Waiter>,
}

impl Inner {
    fn push(&self, encode: impl FnOnce(&mut Vec<u8>)) -> Result<Ticket, Unavailable> {
        self.gate.push((self.number, self.log), &self.shard, encode)
    }

    /// What is too long for one record goes ahead in parts.
    fn spill(&self, stream: Stream, sequence: u64, bytes: &[u8]) -> Result<u32, Unavailable> {
        let mut parts = 0;
        for bytes in bytes.chunks(TEXT_INLINE_BYTES_MAX) {
            self.push(|out| body::put_part(out, self.session, (stream, sequence, parts), bytes))?;
            parts = parts.saturating_add(1);
        }
        Ok(parts)
    }

    fn whole(&self, intent: bool, statement: &Statement<'_>) -> Result<Ticket, Unavailable> {
        let Statement { text, parameters, sequence, .. } = *statement;
        if text.len().max(parameters.here.len()) <= TEXT_INLINE_BYTES_MAX {
            return self.push(|out| body::put_statement(out, intent, &self.constant, statement));
        }
        let mut spilled = *statement;
        if text.len() > TEXT_INLINE_BYTES_MAX {
            spilled.text_bytes = statement.text_bytes.max(wide(text.len()));
            spilled.text_parts = self.spill(Stream::Text, sequence, text)?;
            (spilled.text, spilled.text_ref) = (b"", None);
            spilled.text_sha256 = Some(sha256(text));
        }
        if parameters.here.len() > TEXT_INLINE_BYTES_MAX {
            let parts = self.spill(Stream::Parameters, sequence, parameters.here)?;
            let bytes = parameters.bytes.max(wide(parameters.here.len()));
            let sha256 = Some(sha256(parameters.here));
            spilled.parameters = Long { here: b"", bytes, parts, of: None, sha256 };
        }
        self.push(|out| body::put_statement(out, intent, &self.constant, &spilled))
    }
}

impl SessionLog {
    /// `application_name` changed; later records carry the new one.
    pub fn set_application_name(&mut self, name: &[u8]) {
        if let Some(inner) = &mut self.0 {
            inner.constant.truncate(inner.before_name);
            put_name(&mut inner.constant, name);
        }
    }

    /// Another server process serves the session; 0: none.
    pub fn set_backend_pid(&mut self, pid: i32) {
        let place = self.0.as_mut().and_then(|inner| inner.constant.get_mut(body::WHO_PID));
        if let Some(place) = place.and_then(|place| place.first_chunk_mut()) {
            *place = pid.to_le_bytes();
        }
    }

    /// Records the beginning of the session.
    ///
    /// # Errors
    /// [`Unavailable`]: nobody may work unrecorded, so the session must be refused.
    pub fn opened(&mut self) -> Result<Ticket, Unavailable> {
        let Some(inner) = &mut self.0 else { return Ok(Ticket::NOTHING) };
        if let Some(why) = inner.gate.trouble(inner.log) {
            return Err(inner.gate.refuse(why));
        }
        let ticket = inner.push(|out| body::put_session_open(out, now_ns(), &inner.constant))?;
        inner.is_open = true;
        Ok(ticket)
    }

    /// Records the end of the session.
    ///
    /// # Errors
    /// [`Unavailable`] when the log is closed or its buffer is full.
    pub fn closed(&mut self, reason: &str) -> Result<Ticket, Unavailable> {
        let Some(inner) = &mut self.0 else { return Ok(Ticket::NOTHING) };
        inner.is_open = false;
        inner.push(|out| body::put_session_close(out, now_ns(), &inner.constant, reason))
    }

    /// Records an execution that has ended (`buffered`, `acknowledged`). Taken even while the log is failing, because it
    /// has happened.
    ///
    /// # Errors
    /// [`Unavailable`] when the log is closed or its buffer is full.
    pub fn statement(&mut self, statement: &Statement<'_>) -> Result<Ticket, Unavailable> {
        self.0.as_ref().map_or(Ok(Ticket::NOTHING), |inner| inner.whole(false, statement))
    }

    /// Records an execution before it begins (`write_ahead`); wait for the ticket before the bytes go on.
    ///
    /// # Errors
    /// [`Unavailable`] when the log cannot be written: the statement must not run.
    pub fn intent(&mut self, statement: &Statement<'_>) -> Result<Ticket, Unavailable> {
        let Some(inner) = &self.0 else { return Ok(Ticket::NOTHING) };
        if let Some(why) = inner.gate.trouble(inner.log) {
            return Err(inner.gate.refuse(why));
        }
        inner.whole(true, statement)
    }

    /// Records how the execution of an intent ended; text and names are taken from the intent with this sequence.
    ///
    /// # Errors
    /// [`Unavailable`] when the log is closed or its buffer is full.
    pub fn outcome(&mut self, statement: &Statement<'_>) -> Result<Ticket, Unavailable> {
        let Some(inner) = &self.0 else { return Ok(Ticket::NOTHING) };
        inner.push(|out| body::put_outcome(out, inner.session, statement))
    }

    /// Records a piece of something long, ahead of the record that refers to it: at most [`TEXT_INLINE_BYTES_MAX`] bytes,
    /// numbered from 0 in each stream of an execution. Ask for room between pieces, for all may be longer than the buffer.
    ///
    /// # Errors
    /// [`Unavailable`] when the log is closed, its buffer is full, or the piece is too long.
    pub fn part(
        &mut self,
        (stream, sequence, part): (Stream, u64, u32),
        bytes: &[u8],
    ) -> Result<Ticket, Unavailable> {
        let Some(inner) = &self.0 else { return Ok(Ticket::NOTHING) };
        if bytes.len() > TEXT_INLINE_BYTES_MAX {
            return Err(inner.gate.refuse(Unavailable::Full));
        }
        inner.push(|out| body::put_part(out, inner.session, (stream, sequence, part), bytes))
    }

    /// Ready when the record is on disk; [`Unavailable`] when it cannot be written at the moment. Only the task that
    /// polled last is woken.
    pub fn poll_durable(&mut self, ticket: Ticket, cx: &mut Context<'_>) -> Poll<Result<(), Unavailable>> {
        let Some(inner) = &self.0 else { return Poll::Ready(Ok(())) };
        inner.gate.poll_durable(ticket, &inner.durable, cx)
    }

    /// Ready when one more statement may begin: pending while the buffer is full, [`Unavailable`] (58030) while the log
    /// cannot be written.
    pub fn poll_room(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Unavailable>> {
        let Some(inner) = &self.0 else { return Poll::Ready(Ok(())) };
        inner.gate.poll_room(inner.log, &inner.room, cx)
    }
}

impl Drop for SessionLog {
    fn drop(&mut self) {
        if self.0.as_ref().is_some_and(|inner| inner.is_open)
            && let Err(error) = self.closed("ended without a reason")
        {
            tracing::warn!(%error, "end of a session was not recorded");
        }
    }
}
