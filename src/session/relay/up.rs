//! From the client to its backend.

use std::task::{Context, Poll, ready};
use std::time::Instant;

use crate::protocol::frame::{FrameError, HEADER_BYTES};
use crate::protocol::frontend as views;
use crate::protocol::tag::frontend;
use crate::protocol::walk::{Step, Walker};
use crate::session::buffers;
use crate::session::note::Note;
use crate::session::shape::{Form, Shaper};

use super::leasing::Settling;
use super::{End, Relay, TERMINATE, WHOLE_BYTES_MAX};

/// What one read gives to the backend: the bytes as they came, or what was made of them.
#[derive(Debug, Default)]
pub(super) struct Passage {
    /// What goes on when it is not all as it came.
    built: Vec<u8>,
    /// So many of the bytes read are in `built`, or stand replaced.
    copied: usize,
    changed: bool,
}

impl Passage {
    /// What goes first.
    pub(super) fn put(&mut self, bytes: &[u8]) {
        buffers::keep(&mut self.built, bytes);
        self.changed = true;
    }

    /// In front of the message at `start` goes `splice`; when it is `replaced`, the message up to `end` does not.
    pub(super) fn splice(
        &mut self,
        bytes: &[u8],
        (start, end): (usize, usize),
        splice: &[u8],
        replaced: bool,
    ) {
        if splice.is_empty() && !replaced {
            return;
        }
        self.changed = true;
        buffers::keep(&mut self.built, bytes.get(self.copied..start).unwrap_or_default());
        buffers::keep(&mut self.built, splice);
        self.copied = if replaced { end } else { start };
    }

    /// All of it, up to `end` of the bytes read.
    pub(super) fn finish<'a>(&'a mut self, bytes: &'a [u8], end: usize) -> &'a [u8] {
        if !self.changed {
            return bytes.get(..end).unwrap_or_default();
        }
        buffers::keep(&mut self.built, bytes.get(self.copied..end).unwrap_or_default());
        &self.built
    }
}

impl Drop for Passage {
    fn drop(&mut self) {
        buffers::release(&mut self.built);
    }
}

impl Relay<'_> {
    /// Client to server.
    pub(super) fn poll_up(&mut self, cx: &mut Context<'_>) -> Poll<End> {
        self.listening = false;
        loop {
            if let Some(ticket) = self.up.hold {
                if let Err(unavailable) = ready!(self.ledger.log().poll_durable(ticket, cx)) {
                    return Poll::Ready(End::Audit(unavailable));
                }
                self.up.hold = None;
            }
            if let Some(lease) = &mut self.lease {
                match self.up.poll_drain(cx, &mut lease.stream) {
                    Poll::Ready(Ok(())) => {}
                    // The server may have said why it left: that is read by the other direction.
                    Poll::Ready(Err(_)) | Poll::Pending => return Poll::Pending,
                }
            }
            self.is_stopped &= self.settling != Settling::Done;
            if self.terminated || self.waits || self.is_stopped || self.ledger.is_far_behind() {
                return Poll::Pending;
            }
            ready!(self.poll_stage(cx));
            if self.is_lost {
                return Poll::Ready(End::BackendLeft { told: false });
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
        let filled = if self.is_kept {
            buffers::again(&mut self.up.carry, scratch)
        } else {
            self.listening = true;
            let Some(filled) = ready!(buffers::read(cx, self.client, &mut self.up.carry, scratch)) else {
                return Poll::Ready(Some(End::ClientLeft));
            };
            self.ledger.tally().received(filled);
            filled
        };
        (self.listening, self.is_kept) = (false, false);
        let bytes = scratch.get(..filled).unwrap_or_default();
        if self.lease.is_none() && self.is_worth_a_backend(bytes) {
            if self.refusal.is_some() {
                return self.refuse_up(bytes);
            }
            if !self.take_lease() {
                let since = *self.waits_since.get_or_insert_with(Instant::now);
                self.ledger.tally().waits(since);
                self.keep(bytes);
                return Poll::Ready(None);
            }
        }
        self.walk_up(cx, bytes)
    }

    /// What the client has sent is kept until there is a backend for it.
    pub(super) fn keep(&mut self, bytes: &[u8]) {
        buffers::keep(&mut self.up.carry, bytes);
        self.is_kept = !bytes.is_empty();
    }

    /// Whether there is a request in these bytes, or so much of one that it can be passed on.
    fn is_worth_a_backend(&self, bytes: &[u8]) -> bool {
        let mut walker = self.up.walker;
        if !walker.is_between() {
            return true;
        }
        match walker.step(bytes, |_| false) {
            Ok((Step::Whole(frame), _)) => frontend::may_come(frame.tag) && frame.tag != frontend::TERMINATE,
            Ok((Step::Head { tag, .. }, _)) => frontend::may_come(tag),
            Ok((Step::Part { .. } | Step::Hold, _)) | Err(_) => false,
        }
    }

    fn walk_up(&mut self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<Option<End>> {
        if let Some(since) = self.waits_since.take() {
            self.ledger.waited(since.elapsed());
        }
        let mut passage = Passage::default();
        if let Some(first) = self.first.take() {
            passage.put(&first);
        }
        let mut rest = bytes;
        while !rest.is_empty() && !self.is_stopped {
            match self.step_up(bytes, rest, &mut passage) {
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
        let passed = bytes.len().saturating_sub(rest.len());
        if self.is_stopped {
            self.keep(rest);
        } else if !self.terminated && !rest.is_empty() {
            buffers::keep(&mut self.up.carry, rest);
        }
        if let Some(unavailable) = self.ledger.take_failure() {
            return Poll::Ready(Some(End::Audit(unavailable)));
        }
        self.up.hold = self.ledger.take_intent();
        let Some(lease) = &mut self.lease else { return Poll::Ready(None) };
        let mut sent = self.up.pass(cx, &mut lease.stream, passage.finish(bytes, passed));
        if self.terminated && sent.is_ok() && !self.ledger.lease().is_in_step() {
            // The server finishes what it was asked, rolls back what is open, and leaves.
            sent = self.up.pass(cx, &mut lease.stream, &TERMINATE);
            self.is_leaving = true;
        }
        if sent.is_err() {
            // Its reason to leave is in what it sent; see there first.
            return Poll::Pending;
        }
        // A server says nothing to some messages.
        self.rest();
        Poll::Ready(None)
    }

    /// One step through what the client sent: what is behind it, or nothing where the walk ends for now.
    fn step_up<'b>(
        &mut self,
        bytes: &'b [u8],
        rest: &'b [u8],
        passage: &mut Passage,
    ) -> Result<Option<&'b [u8]>, End> {
        if let Some(&tag) =
            rest.first().filter(|tag| self.up.walker.is_between() && !frontend::may_come(**tag))
        {
            return Err(End::UnknownMessage(tag));
        }
        let before = self.up.walker;
        let step = self.up.walker.step(rest, |tag| tag == frontend::COPY_DATA);
        let (step, behind) = step.map_err(End::Violation)?;
        let start = bytes.len().saturating_sub(rest.len());
        let span = (start, bytes.len().saturating_sub(behind.len()));
        match step {
            Step::Hold => return Ok(None),
            Step::Whole(frame) if frame.tag == frontend::TERMINATE => {
                // Not passed on: what becomes of the backend is decided when all is answered.
                self.terminated = true;
                return Ok(None);
            }
            Step::Whole(frame) => {
                let Some(note) = self.shape(bytes, (frame.tag, frame.raw), span, passage)? else {
                    return Ok(self.wait_from(before));
                };
                self.is_stopped = frame.tag == frontend::SYNC && self.settling != Settling::Done;
                self.ledger.requested(frame.tag, frame.body(), frame.raw.len(), note);
            }
            Step::Head { tag, total_bytes, part } => {
                let body = part.get(HEADER_BYTES..).unwrap_or_default();
                if !views::names_are_whole(tag, body) {
                    // The log could take it for another statement.
                    return Err(End::Violation(FrameError::Body { field: "name" }));
                }
                let Some(note) = self.shape(bytes, (tag, part), span, passage)? else {
                    return Ok(self.wait_from(before));
                };
                self.long = self.ledger.long(tag, body, total_bytes);
                if let Some(long) = &mut self.long {
                    long.annotate(note);
                    self.read_on(body, false);
                } else {
                    self.ledger.requested(tag, body, total_bytes, note);
                }
            }
            Step::Part { tag: frontend::COPY_DATA, part, .. } => self.ledger.copied(part),
            Step::Part { part, last, .. } => self.part(part, last),
        }
        Ok(Some(behind))
    }

    /// The message is kept, and walked again when more is answered.
    const fn wait_from<T>(&mut self, before: Walker) -> Option<T> {
        self.up.walker = before;
        (self.waits, self.is_kept) = (true, true);
        None
    }

    /// In transaction pooling: what goes to the backend for a message; nothing when it must wait.
    fn shape(
        &mut self,
        bytes: &[u8],
        (tag, raw): (u8, &[u8]),
        span: (usize, usize),
        passage: &mut Passage,
    ) -> Result<Option<Note>, End> {
        let (Some(pooled), Some(lease)) = (&mut self.pooled, &mut self.lease) else {
            return Ok(Some(Note::None));
        };
        let whole = self.up.walker.is_between();
        let mut splice = std::mem::take(&mut self.splice);
        let mut shaper = Shaper { pooled, memory: &mut lease.memory, ledger: self.ledger, out: &mut splice };
        let form = shaper.shape(tag, raw, whole);
        let (note, replaced) = match form.map_err(End::Violation)? {
            Form::AsIs(note) => (Some(note), false),
            Form::Replaced(note) => (Some(note), true),
            Form::Wait => (None, false),
        };
        passage.splice(bytes, span, &splice, replaced);
        splice.clear();
        if splice.capacity() <= WHOLE_BYTES_MAX {
            self.splice = splice;
        }
        Ok(note)
    }

    /// A piece of a long message.
    fn part(&mut self, part: &[u8], last: bool) {
        self.read_on(part, last);
        self.ledger.part(&mut self.long, part, last);
    }

    /// In transaction pooling: a piece of a long text.
    fn read_on(&mut self, part: &[u8], last: bool) {
        if let (Some(pooled), Some(long)) = (&mut self.pooled, &mut self.long) {
            let lease = self.ledger.lease();
            let is_skipped = lease.is_skipping() || lease.is_copying_in();
            pooled.read_on(part, last, (long, is_skipped));
        }
    }
}
