//! Bytes between a client and its backend, both ways, in place.
//!
//! What always holds: bytes go on as they came, in their order, none lost and none doubled; a message that can
//! be passed on at once is never stored; a slow reader stops the reading from its own peer and nothing else;
//! in `write_ahead` no byte of a statement goes on before its intent is on disk, and in `acknowledged` no
//! `ReadyForQuery` before the records of its statements are.
//!
//! One task polls both directions; each read goes into the thread's scratch buffer, is walked there, and is
//! written from there. Only what a peer does not take, or the beginning of a message, is kept in a buffer.

use std::future::poll_fn;
use std::task::{Context, Poll, ready};
use std::time::Instant;

use crate::audit::Unavailable;
use crate::backend::{Lease, Stopping};
use crate::config::AuditMode;
use crate::customers::Timeouts;
use crate::protocol::frame::{FrameError, MESSAGE_BYTES_MAX};
use crate::protocol::tag::frontend;
use crate::stream::Stream;

use super::book::Long;
use super::control::{Control, Order};
use super::ledger::Ledger;
use super::note::Fate;
use super::pooled::Pooled;
use super::watch::{self, Watch};

mod clock;
mod down;
mod half;
mod leasing;
mod refusing;
mod up;

use clock::Clock;
use half::Half;
pub(crate) use leasing::Scrubbing;
use leasing::{Settling, Stage};
use refusing::Refusal;

/// Messages up to this size are looked at whole.
const WHOLE_BYTES_MAX: usize = 16 << 10;

/// So much of its answers may be left to a client that said `Terminate` and did not wait; then what runs is stopped.
const FORGOTTEN_BYTES_MAX: usize = 1 << 20;

/// `Terminate`, whole.
const TERMINATE: [u8; 5] = [frontend::TERMINATE, 0, 0, 0, 4];

/// Why a relay ended.
#[derive(Debug)]
pub(crate) enum End {
    /// The client said `Terminate`, and everything before it is answered.
    Terminated,
    /// The client is gone.
    ClientLeft,
    /// The server is gone; `told`: it said why, and the client was given that.
    BackendLeft {
        /// Whether a FATAL error was passed on.
        told: bool,
    },
    /// The client broke the protocol.
    Violation(FrameError),
    /// The client sent a message of a type that does not exist.
    UnknownMessage(u8),
    /// The server broke the protocol.
    BackendViolation,
    /// The log cannot be written.
    Audit(Unavailable),
    /// The process is draining and the session is between two transactions.
    Drained,
    /// The session was told to end at once.
    Killed,
    /// Settings of the session could not be given to a backend.
    SettingsLost,
    /// The client was idle in a transaction for too long.
    IdleInTransaction,
    /// The client was idle for too long.
    IdleSession,
}

/// A session at work.
pub(crate) struct Relay<'a> {
    pub(crate) client: &'a mut Stream,
    pub(crate) ledger: &'a mut Ledger,
    pub(crate) control: &'a Control,
    /// What the session holds at this moment.
    lease: Option<Lease>,
    /// In transaction pooling.
    pooled: Option<Box<Pooled>>,
    stage: Stage,
    /// A backend that is on its way back.
    scrubbing: Option<Scrubbing>,
    /// How far the backend is taken to the session's settings.
    settling: Settling,
    /// A `Sync` went behind the settings: what the client has sent behind it waits until they are taken.
    is_stopped: bool,
    /// A cancel that came while settings were brought up to date.
    stopping: Option<Stopping>,
    refusal: Option<Box<Refusal>>,
    mode: AuditMode,
    up: Half,
    down: Half,
    /// What the client has sent waits for a backend.
    is_kept: bool,
    /// Since when, where it is more than a moment.
    waits_since: Option<Instant>,
    /// A message must not go on before more is answered.
    waits: bool,
    /// What goes to a new backend ahead of everything.
    first: Option<Vec<u8>>,
    /// What the session had left on its backend is lost.
    is_lost: bool,
    /// Counts what one direction has given the other to do.
    turn: u64,
    /// Room for what goes in front of a message.
    splice: Vec<u8>,
    /// What becomes of the rest of a large message of the server's.
    part_fate: Fate,
    long: Option<Box<Long>>,
    /// The client said `Terminate`, or what it said cannot be followed any further.
    terminated: bool,
    /// And so the server was told: the backend is nobody else's any more.
    is_leaving: bool,
    /// Why it is sent away, once everything before is answered.
    refused: Option<End>,
    /// The client is being read from: should it leave, that is noticed.
    listening: bool,
    watch: Watch,
    clock: Clock,
    /// It did not wait for the answers, which are read and forgotten; how many bytes it were.
    deaf: Option<usize>,
    /// A FATAL error of the server was passed on.
    told: bool,
}

/// What is left of a session when its relay has ended.
pub(crate) struct Left {
    pub(crate) lease: Option<Lease>,
    pub(crate) scrubbing: Option<Scrubbing>,
    /// Why it kept a backend, at any time.
    pub(crate) pins: String,
    /// The backend may serve somebody else.
    pub(crate) in_step: bool,
    /// The client may be told something.
    pub(crate) may_tell: bool,
}

impl<'a> Relay<'a> {
    /// Joins a client to a backend that is in step, or in transaction pooling to any that it will get.
    /// `message_bytes_max` bounds what the client may send.
    pub(crate) fn new(
        client: &'a mut Stream,
        (lease, pooled): (Option<Lease>, Option<Box<Pooled>>),
        ledger: &'a mut Ledger,
        control: &'a Control,
        (mode, message_bytes_max, timeouts): (AuditMode, u32, Timeouts),
    ) -> Self {
        let own_idle = pooled.as_ref().and_then(|pooled| pooled.idle_limit());
        Self {
            client,
            ledger,
            control,
            lease,
            pooled,
            stage: Stage::Ready,
            scrubbing: None,
            settling: Settling::Done,
            is_stopped: false,
            stopping: None,
            refusal: None,
            mode,
            up: Half::new(message_bytes_max),
            down: Half::new(MESSAGE_BYTES_MAX),
            is_kept: false,
            waits_since: None,
            waits: false,
            first: None,
            is_lost: false,
            turn: 0,
            splice: Vec::new(),
            part_fate: Fate::Forward,
            long: None,
            terminated: false,
            is_leaving: false,
            refused: None,
            listening: false,
            watch: Watch::default(),
            clock: Clock::new(timeouts, own_idle),
            deaf: None,
            told: false,
        }
    }

    /// What is left of it.
    pub(crate) fn end(self) -> Left {
        let (in_step, may_tell) = (self.is_in_step(), self.may_tell());
        let pins = self.pooled.map(|pooled| pooled.made.shown.ever()).unwrap_or_default();
        Left { lease: self.lease, scrubbing: self.scrubbing, pins, in_step, may_tell }
    }

    /// Relays until the session ends.
    pub(crate) async fn run(&mut self) -> End {
        poll_fn(|cx| {
            self.control.listen(cx.waker());
            Poll::Ready(())
        })
        .await;
        poll_fn(|cx| self.poll(cx)).await
    }

    /// Whether the backend may serve somebody else: it owes nothing and nothing is half said.
    fn is_in_step(&self) -> bool {
        self.ledger.lease().is_in_step() && self.up.is_clear() && self.down.is_clear()
    }

    /// Whether the client may be told something: it was not left in the middle of a message.
    const fn may_tell(&self) -> bool {
        let down = &self.down;
        (down.walker.is_between() && down.out.is_empty()) || (down.hold.is_some() && down.held_whole)
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<End> {
        let order = self.control.order();
        if order == Order::Kill {
            return Poll::Ready(End::Killed);
        }
        loop {
            let turn = self.turn;
            if let Poll::Ready(end) = self.poll_down(cx) {
                return Poll::Ready(end);
            }
            if let Poll::Ready(end) = self.poll_up(cx) {
                return Poll::Ready(end);
            }
            // A backend was taken, or the client was answered: the other direction has something to do.
            if turn == self.turn {
                break;
            }
        }
        let lease = self.ledger.lease();
        let is_spent = lease.is_out_of_step() && lease.owed() == 0 && self.down.out.is_empty();
        if matches!(self.stage, Stage::Asking(_)) {
            // The backend says what was left behind, and then everything goes on.
            if self.poll_stage(cx).is_pending() {
                return self.poll_asking(cx);
            }
            if self.is_lost {
                return Poll::Ready(End::BackendLeft { told: false });
            }
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        if self.terminated && (is_spent || self.is_in_step()) {
            return Poll::Ready(self.parting());
        }
        if order == Order::Drain && self.is_in_step() {
            return Poll::Ready(End::Drained);
        }
        self.poll_scrubbing(cx);
        if let Poll::Ready(end) = self.poll_clock(cx) {
            return Poll::Ready(end);
        }
        self.poll_watch(cx)
    }

    /// The end of a client that is no longer read from.
    fn parting(&mut self) -> End {
        match self.refused.take() {
            Some(_) if self.told => End::BackendLeft { told: true },
            Some(reason) => reason,
            None => End::Terminated,
        }
    }

    /// Whether the client has left for good while its backend is asked, which may take the server any time. What it said
    /// last is done all the same, if the answer is not long in coming.
    fn poll_asking(&mut self, cx: &mut Context<'_>) -> Poll<End> {
        loop {
            ready!(self.watch.poll_tick(cx));
            if watch::has_left(self.client) && self.watch.is_enough() {
                return Poll::Ready(End::ClientLeft);
            }
        }
    }

    /// While the client is not read from, whether it is there at all; and whether a server goes that should.
    fn poll_watch(&mut self, cx: &mut Context<'_>) -> Poll<End> {
        if self.listening || self.up.hold.is_some() {
            return Poll::Pending;
        }
        loop {
            ready!(self.watch.poll_tick(cx));
            if self.terminated && self.ledger.lease().owed() == 0 && self.watch.is_enough() {
                return Poll::Ready(self.parting());
            }
            if watch::has_left(self.client) {
                if !self.terminated || self.refused.is_some() {
                    return Poll::Ready(End::ClientLeft);
                }
                // One that said `Terminate` may go: what it asked for is finished all the same.
                if !self.down.out.is_empty() {
                    self.lets_go();
                    cx.waker().wake_by_ref();
                }
            }
        }
    }
}
