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
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::AsyncWrite;

use crate::audit::{Ticket, Unavailable};
use crate::backend::Backend;
use crate::config::AuditMode;
use crate::protocol::fields::Fields;
use crate::protocol::frame::{FrameError, HEADER_BYTES, MESSAGE_BYTES_MAX};
use crate::protocol::frontend as views;
use crate::protocol::report::ServerReport;
use crate::protocol::tag::{backend, frontend};
use crate::protocol::walk::{Step, Walker};
use crate::stream::Stream;

use super::buffers;
use super::control::{Control, Order};
use super::ledger::{Ledger, Long};
use super::watch::{self, Watch};

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
}

/// One direction.
#[derive(Debug)]
struct Half {
    walker: Walker,
    /// Walked and not taken by the peer yet, from `written` on.
    out: Vec<u8>,
    written: usize,
    /// The beginning of a message whose rest has not come.
    carry: Vec<u8>,
    /// `out` may go on once this is durable.
    hold: Option<Ticket>,
    /// The peer has got whole messages only, so `out` that is held can be forgotten.
    held_whole: bool,
    /// Bytes may lie in the peer's TLS layer.
    unflushed: bool,
}

impl Half {
    const fn new(limit_bytes: u32) -> Self {
        Self {
            walker: Walker::new(limit_bytes, WHOLE_BYTES_MAX),
            out: Vec::new(),
            written: 0,
            carry: Vec::new(),
            hold: None,
            held_whole: false,
            unflushed: false,
        }
    }

    /// Between two messages, with nothing kept.
    const fn is_clear(&self) -> bool {
        self.walker.is_between() && self.out.is_empty() && self.carry.is_empty()
    }

    /// Passes on what is kept.
    fn poll_drain(&mut self, cx: &mut Context<'_>, to: &mut Stream) -> Poll<io::Result<()>> {
        while let Some(rest) = self.out.get(self.written..).filter(|rest| !rest.is_empty()) {
            let bytes = ready!(Pin::new(&mut *to).poll_write(cx, rest))?;
            if bytes == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.written = self.written.saturating_add(bytes);
            self.unflushed = true;
        }
        if self.written > 0 {
            buffers::release(&mut self.out);
            self.written = 0;
        }
        if self.unflushed {
            ready!(Pin::new(to).poll_flush(cx))?;
            self.unflushed = false;
        }
        Poll::Ready(Ok(()))
    }

    /// Passes on `bytes` as far as the peer takes them and keeps the rest.
    fn pass(&mut self, cx: &mut Context<'_>, to: &mut Stream, mut bytes: &[u8]) -> io::Result<()> {
        if self.hold.is_none() {
            while !bytes.is_empty() {
                match Pin::new(&mut *to).poll_write(cx, bytes) {
                    Poll::Ready(Ok(0)) => return Err(io::ErrorKind::WriteZero.into()),
                    Poll::Ready(Ok(count)) => bytes = bytes.get(count..).unwrap_or_default(),
                    Poll::Ready(Err(error)) => return Err(error),
                    Poll::Pending => break,
                }
                self.unflushed = true;
            }
        }
        if !bytes.is_empty() {
            buffers::keep(&mut self.out, bytes);
        } else if self.unflushed
            && let Poll::Ready(flushed) = Pin::new(to).poll_flush(cx)
        {
            flushed?;
            self.unflushed = false;
        }
        Ok(())
    }
}

/// A session at work.
pub(crate) struct Relay<'a> {
    pub(crate) client: &'a mut Stream,
    pub(crate) backend: &'a mut Backend,
    pub(crate) ledger: &'a mut Ledger,
    pub(crate) control: &'a Control,
    mode: AuditMode,
    up: Half,
    down: Half,
    long: Option<Box<Long>>,
    /// The client said `Terminate`, or what it said cannot be followed any further.
    terminated: bool,
    /// Why it is sent away, once everything before is answered.
    refused: Option<End>,
    /// The client is being read from: should it leave, that is noticed.
    listening: bool,
    watch: Watch,
    /// It did not wait for the answers, which are read and forgotten; how many bytes it were.
    deaf: Option<usize>,
    /// A FATAL error of the server was passed on.
    told: bool,
}

impl<'a> Relay<'a> {
    /// Joins a client to a backend that is in step. `message_bytes_max` bounds what the client may send.
    pub(crate) fn new(
        client: &'a mut Stream,
        backend: &'a mut Backend,
        ledger: &'a mut Ledger,
        control: &'a Control,
        limits: (AuditMode, u32),
    ) -> Self {
        let (mode, message_bytes_max) = limits;
        Self {
            client,
            backend,
            ledger,
            control,
            mode,
            up: Half::new(message_bytes_max),
            down: Half::new(MESSAGE_BYTES_MAX),
            long: None,
            terminated: false,
            refused: None,
            listening: false,
            watch: Watch::default(),
            deaf: None,
            told: false,
        }
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
    pub(crate) fn is_in_step(&self) -> bool {
        self.ledger.lease().is_in_step() && self.up.is_clear() && self.down.is_clear()
    }

    /// Whether the client may be told something: it was not left in the middle of a message.
    pub(crate) const fn may_tell(&self) -> bool {
        let down = &self.down;
        (down.walker.is_between() && down.out.is_empty()) || (down.hold.is_some() && down.held_whole)
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<End> {
        let order = self.control.order();
        if order == Order::Kill {
            return Poll::Ready(End::Killed);
        }
        if let Poll::Ready(end) = self.poll_down(cx) {
            return Poll::Ready(end);
        }
        if let Poll::Ready(end) = self.poll_up(cx) {
            return Poll::Ready(end);
        }
        let lease = self.ledger.lease();
        let is_spent = lease.is_out_of_step() && lease.owed() == 0 && self.down.out.is_empty();
        if self.terminated && (is_spent || self.is_in_step()) {
            return Poll::Ready(self.parting());
        }
        if order == Order::Drain && self.is_in_step() {
            return Poll::Ready(End::Drained);
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

    /// Client to server.
    fn poll_up(&mut self, cx: &mut Context<'_>) -> Poll<End> {
        self.listening = false;
        loop {
            if let Some(ticket) = self.up.hold {
                if let Err(unavailable) = ready!(self.ledger.log().poll_durable(ticket, cx)) {
                    return Poll::Ready(End::Audit(unavailable));
                }
                self.up.hold = None;
            }
            match self.up.poll_drain(cx, &mut self.backend.stream) {
                Poll::Ready(Ok(())) => {}
                // The server may have said why it left: that is read by the other direction.
                Poll::Ready(Err(_)) | Poll::Pending => return Poll::Pending,
            }
            if self.terminated || self.ledger.is_far_behind() {
                return Poll::Pending;
            }
            if let Err(unavailable) = ready!(self.ledger.log().poll_room(cx)) {
                return Poll::Ready(End::Audit(unavailable));
            }
            if let Some(end) = ready!(buffers::with_scratch(|scratch| self.read_up(cx, scratch))) {
                return Poll::Ready(end);
            }
            self.listening = false;
        }
    }

    /// One read from the client, walked and passed on.
    fn read_up(&mut self, cx: &mut Context<'_>, scratch: &mut [u8]) -> Poll<Option<End>> {
        self.listening = true;
        let Some(filled) = ready!(buffers::read(cx, self.client, &mut self.up.carry, scratch)) else {
            return Poll::Ready(Some(End::ClientLeft));
        };
        self.listening = false;
        let bytes = scratch.get(..filled).unwrap_or_default();
        let mut rest = bytes;
        while !rest.is_empty() {
            match self.step_up(rest) {
                Ok(Some(behind)) => rest = behind,
                Ok(None) => break,
                Err(reason) => {
                    // What came before it is answered first, as a server reads message by message.
                    self.refused = Some(reason);
                    self.terminated = true;
                    self.up.walker = Walker::new(0, 0);
                    break;
                }
            }
        }
        let (passed, held) =
            bytes.split_at_checked(bytes.len().saturating_sub(rest.len())).unwrap_or_default();
        if !self.terminated && !held.is_empty() {
            buffers::keep(&mut self.up.carry, held);
        }
        if let Some(unavailable) = self.ledger.take_failure() {
            return Poll::Ready(Some(End::Audit(unavailable)));
        }
        self.up.hold = self.ledger.take_intent();
        let mut sent = self.up.pass(cx, &mut self.backend.stream, passed);
        if self.terminated && sent.is_ok() && !self.ledger.lease().is_in_step() {
            // The server finishes what it was asked, rolls back what is open, and leaves.
            sent = self.up.pass(cx, &mut self.backend.stream, &TERMINATE);
        }
        if sent.is_err() {
            // Its reason to leave is in what it sent; see there first.
            return Poll::Pending;
        }
        Poll::Ready(None)
    }

    /// One step through what the client sent: what is behind it, or nothing where the walk ends for now.
    fn step_up<'b>(&mut self, bytes: &'b [u8]) -> Result<Option<&'b [u8]>, End> {
        if let Some(&tag) =
            bytes.first().filter(|tag| self.up.walker.is_between() && !frontend::may_come(**tag))
        {
            return Err(End::UnknownMessage(tag));
        }
        let step = self.up.walker.step(bytes, |tag| tag == frontend::COPY_DATA);
        let (step, behind) = step.map_err(End::Violation)?;
        match step {
            Step::Hold => return Ok(None),
            Step::Whole(frame) if frame.tag == frontend::TERMINATE => {
                // Not passed on: what becomes of the backend is decided when all is answered.
                self.terminated = true;
                return Ok(None);
            }
            Step::Whole(frame) => self.ledger.requested(frame.tag, frame.body(), frame.raw.len()),
            Step::Head { tag, total_bytes, part } => {
                let body = part.get(HEADER_BYTES..).unwrap_or_default();
                if !views::names_are_whole(tag, body) {
                    // The log could take it for another statement.
                    return Err(End::Violation(FrameError::Body { field: "name" }));
                }
                self.long = self.ledger.long(tag, total_bytes);
                if self.long.is_some() {
                    self.ledger.part(&mut self.long, body, false);
                } else {
                    self.ledger.requested(tag, body, total_bytes);
                }
            }
            Step::Part { part, last, .. } => self.ledger.part(&mut self.long, part, last),
        }
        Ok(Some(behind))
    }

    /// Server to client.
    fn poll_down(&mut self, cx: &mut Context<'_>) -> Poll<End> {
        loop {
            if let Some(ticket) = self.down.hold {
                if let Err(unavailable) = ready!(self.ledger.log().poll_durable(ticket, cx)) {
                    return Poll::Ready(End::Audit(unavailable));
                }
                self.down.hold = None;
            }
            if ready!(self.down.poll_drain(cx, self.client)).is_err() && !self.lets_go() {
                return Poll::Ready(End::ClientLeft);
            }
            if let Some(end) = ready!(buffers::with_scratch(|scratch| self.read_down(cx, scratch))) {
                return Poll::Ready(end);
            }
        }
    }

    /// One read from the server, walked and passed on.
    fn read_down(&mut self, cx: &mut Context<'_>, scratch: &mut [u8]) -> Poll<Option<End>> {
        let Some(filled) = ready!(buffers::read(cx, &mut self.backend.stream, &mut self.down.carry, scratch))
        else {
            let left = End::BackendLeft { told: self.told };
            return Poll::Ready(Some(if self.terminated { self.parting() } else { left }));
        };
        let bytes = scratch.get(..filled).unwrap_or_default();
        let mut rest = bytes;
        let (mut end, mut ready_for_query) = (None, false);
        let whole = self.down.walker.is_between() && self.down.out.is_empty();
        while !rest.is_empty() {
            let skim = |tag| matches!(tag, backend::DATA_ROW | backend::COPY_DATA);
            match self.down.walker.step(rest, skim) {
                Ok((Step::Hold, _)) => break,
                Ok((Step::Part { .. }, behind)) => rest = behind,
                Ok((Step::Whole(frame), behind)) => {
                    self.answer(frame.tag, frame.body(), frame.raw.len());
                    ready_for_query |= frame.tag == backend::READY_FOR_QUERY;
                    rest = behind;
                    if frame.tag == backend::COPY_BOTH_RESPONSE {
                        end = Some(End::BackendViolation);
                        break;
                    }
                }
                Ok((Step::Head { tag, total_bytes, part }, behind)) => {
                    self.answer(tag, part.get(HEADER_BYTES..).unwrap_or_default(), total_bytes);
                    rest = behind;
                }
                Err(_) => {
                    end = Some(End::BackendViolation);
                    break;
                }
            }
        }
        let (passed, held) =
            bytes.split_at_checked(bytes.len().saturating_sub(rest.len())).unwrap_or_default();
        if end.is_none() && !held.is_empty() {
            buffers::keep(&mut self.down.carry, held);
        }
        if self.mode == AuditMode::Acknowledged && ready_for_query {
            self.down.hold = self.ledger.ticket();
            self.down.held_whole = whole;
        }
        if let Some(forgotten) = &mut self.deaf {
            *forgotten = forgotten.saturating_add(passed.len());
            if *forgotten > FORGOTTEN_BYTES_MAX {
                return Poll::Ready(Some(End::ClientLeft));
            }
        } else if self.down.pass(cx, self.client, passed).is_err() && !self.lets_go() {
            return Poll::Ready(Some(End::ClientLeft));
        }
        if let Some(unavailable) = self.ledger.take_failure() {
            return Poll::Ready(Some(End::Audit(unavailable)));
        }
        end.map_or(Poll::Ready(None), |end| Poll::Ready(Some(end)))
    }

    /// A client that said `Terminate` need not wait for its answers; the server finishes all the same.
    fn lets_go(&mut self) -> bool {
        if self.terminated {
            self.deaf = self.deaf.or(Some(0));
            self.down.hold = None;
            buffers::release(&mut self.down.out);
            self.down.written = 0;
            self.down.unflushed = false;
        }
        self.terminated
    }

    fn answer(&mut self, tag: u8, body: &[u8], total_bytes: usize) {
        match tag {
            backend::PARAMETER_STATUS => {
                let mut fields = Fields::of(body);
                if let (Ok(name), Ok(value)) = (fields.cstr("name"), fields.cstr("value")) {
                    self.backend.parameters.update(name, value);
                    if name == b"application_name" {
                        self.ledger.log().set_application_name(value);
                    }
                }
            }
            backend::ERROR_RESPONSE => self.told |= ServerReport::parse(body).is_fatal(),
            _ => {}
        }
        self.ledger.answered(tag, body, total_bytes);
    }
}
