//! From the backend to its client.

use std::task::{Context, Poll, ready};

use crate::config::AuditMode;
use crate::protocol::fields::Fields;
use crate::protocol::frame::HEADER_BYTES;
use crate::protocol::report::ServerReport;
use crate::protocol::tag::backend;
use crate::protocol::walk::Step;
use crate::session::note::Fate;
use crate::session::{buffers, rename};

use super::leasing::Settling;
use super::up::Passage;
use super::{End, FORGOTTEN_BYTES_MAX, Relay};

/// What one read from the server has brought besides bytes.
#[derive(Debug, Default)]
struct Heard {
    end: Option<End>,
    ready_for_query: bool,
}

impl Relay<'_> {
    /// Server to client.
    pub(super) fn poll_down(&mut self, cx: &mut Context<'_>) -> Poll<End> {
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
            if self.lease.is_none() {
                return Poll::Pending;
            }
            if let Some(end) = ready!(buffers::with_scratch(|scratch| self.read_down(cx, scratch))) {
                return Poll::Ready(end);
            }
        }
    }

    /// One read from the server, walked and passed on.
    fn read_down(&mut self, cx: &mut Context<'_>, scratch: &mut [u8]) -> Poll<Option<End>> {
        let Some(lease) = &mut self.lease else { return Poll::Pending };
        let Some(filled) = ready!(buffers::read(cx, &mut lease.stream, &mut self.down.carry, scratch)) else {
            let left = End::BackendLeft { told: self.told };
            return Poll::Ready(Some(if self.terminated { self.parting() } else { left }));
        };
        self.ledger.tally().answered(filled);
        let bytes = scratch.get(..filled).unwrap_or_default();
        let whole = self.down.walker.is_between() && self.down.out.is_empty();
        let mut passage = Passage::default();
        let (passed, heard) = self.walk_down(bytes, &mut passage);
        if self.settling != Settling::Done {
            self.settle_on();
        }
        let held = bytes.get(passed..).unwrap_or_default();
        if heard.end.is_none() && !held.is_empty() {
            buffers::keep(&mut self.down.carry, held);
        }
        if self.mode == AuditMode::Acknowledged && heard.ready_for_query {
            self.down.hold = self.ledger.ticket();
            self.down.held_whole = whole;
        }
        let passed = passage.finish(bytes, passed);
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
        if let Some(end) = heard.end {
            return Poll::Ready(Some(end));
        }
        self.rest();
        Poll::Ready(None)
    }

    /// Walks what the server sent; gives how much of it is done with.
    fn walk_down(&mut self, bytes: &[u8], passage: &mut Passage) -> (usize, Heard) {
        let mut rest = bytes;
        let mut heard = Heard::default();
        while !rest.is_empty() {
            let start = bytes.len().saturating_sub(rest.len());
            let skim = |tag| matches!(tag, backend::DATA_ROW | backend::COPY_DATA);
            let (fate, behind) = match self.down.walker.step(rest, skim) {
                Ok((Step::Hold, _)) => break,
                Ok((Step::Part { tag, part, .. }, behind)) => {
                    if tag == backend::COPY_DATA {
                        self.ledger.copied(part);
                    }
                    (self.part_fate, behind)
                }
                Ok((Step::Whole(frame), behind)) => {
                    let fate = self.answer((frame.tag, frame.body()), frame.raw.len());
                    heard.ready_for_query |= frame.tag == backend::READY_FOR_QUERY;
                    if frame.tag == backend::COPY_BOTH_RESPONSE {
                        heard.end = Some(End::BackendViolation);
                    }
                    (fate, behind)
                }
                Ok((Step::Head { tag, total_bytes, part }, behind)) => {
                    self.part_fate =
                        self.answer((tag, part.get(HEADER_BYTES..).unwrap_or_default()), total_bytes);
                    (self.part_fate, behind)
                }
                Err(_) => {
                    heard.end = Some(End::BackendViolation);
                    break;
                }
            };
            rest = behind;
            if fate != Fate::Forward {
                let end = bytes.len().saturating_sub(rest.len());
                self.settle(bytes, (start, end), fate, passage);
            }
            if self.pooled.as_ref().is_some_and(|pooled| pooled.settings_failed) {
                heard.end = Some(End::SettingsLost);
            }
            if heard.end.is_some() {
                break;
            }
        }
        (bytes.len().saturating_sub(rest.len()), heard)
    }

    /// A message that does not go on as it came.
    fn settle(&mut self, bytes: &[u8], (start, end): (usize, usize), fate: Fate, passage: &mut Passage) {
        let raw = bytes.get(start..end).unwrap_or_default();
        let mut instead = Vec::new();
        let mut replaced = true;
        match fate {
            Fate::Forward => return,
            Fate::Swallow if raw.first() == Some(&backend::READY_FOR_QUERY) => {
                self.tell_parameters(&mut instead);
            }
            Fate::Swallow => {}
            Fate::Changed => instead = rename::changed(raw.get(HEADER_BYTES..).unwrap_or_default()),
            Fate::Rename(id) => {
                let name = self.pooled.as_ref().map(|pooled| &pooled.failed_name);
                let renamed = raw.get(HEADER_BYTES..).and_then(|body| rename::statement(body, id, name?));
                match renamed {
                    Some(renamed) => instead = renamed,
                    None => replaced = false,
                }
            }
        }
        if replaced {
            passage.splice(bytes, (start, end), &instead, true);
        }
    }

    /// Tells the client what the server's parameters are now, where that is news.
    pub(super) fn tell_parameters(&mut self, out: &mut Vec<u8>) {
        let (Some(pooled), Some(lease)) = (&mut self.pooled, &self.lease) else { return };
        if pooled.reported == lease.parameters {
            return;
        }
        for (name, value) in lease.parameters.iter() {
            if pooled.reported.get(name) != Some(value) {
                crate::protocol::write::parameter_status(out, name, value);
            }
        }
        pooled.reported = lease.parameters.clone();
    }

    /// A client that said `Terminate` need not wait for its answers; the server finishes all the same.
    pub(super) fn lets_go(&mut self) -> bool {
        if self.terminated {
            self.deaf = self.deaf.or(Some(0));
            self.down.hold = None;
            buffers::release(&mut self.down.out);
            self.down.written = 0;
            self.down.unflushed = false;
        }
        self.terminated
    }

    fn answer(&mut self, (tag, body): (u8, &[u8]), total_bytes: usize) -> Fate {
        let Some(lease) = &mut self.lease else { return Fate::Forward };
        self.waits = false;
        if tag == backend::ERROR_RESPONSE {
            self.told |= ServerReport::parse(body).is_fatal();
        }
        let answered = (tag, body);
        let fate = match &mut self.pooled {
            None => self.ledger.answered(answered, total_bytes, &mut ()),
            Some(pooled) => self.ledger.answered(answered, total_bytes, &mut pooled.ear(&mut lease.memory)),
        };
        if tag == backend::PARAMETER_STATUS {
            let mut fields = Fields::of(body);
            if let (Ok(name), Ok(value)) = (fields.cstr("name"), fields.cstr("value")) {
                lease.parameters.update(name, value);
                if let Some(pooled) = self.pooled.as_mut().filter(|_| fate == Fate::Forward) {
                    pooled.reported.update(name, value);
                }
                if let Some(pooled) = self.pooled.as_mut().filter(|_| name == b"standard_conforming_strings")
                {
                    pooled.made.rules.standard_conforming_strings = value != b"off";
                }
                if name == b"application_name" {
                    self.ledger.log().set_application_name(value);
                }
            }
        }
        fate
    }
}
