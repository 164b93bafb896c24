//! The answers to a request for which there is no backend: one error, and `ReadyForQuery` where the client expects it.
//!
//! What always holds: a client that is refused goes on in step, and each of its statements has its record; what it sends behind
//! them never finds a statement that they were to replace.
//!
//! Source: protocol-flow#PROTOCOL-FLOW-EXT-QUERY

use std::task::Poll;

use crate::audit::Decision;
use crate::protocol::frame::HEADER_BYTES;
use crate::protocol::report::Report;
use crate::protocol::tag::{backend, frontend};
use crate::protocol::walk::Step;
use crate::protocol::write;
use crate::session::buffers;
use crate::session::note::Note;

use super::{End, Relay};

/// A request that is refused, up to its `ReadyForQuery`.
#[derive(Debug)]
pub(super) struct Refusal {
    report: Report,
    decision: Decision,
    said: bool,
}

impl Refusal {
    pub(super) const fn new(report: Report, decision: Decision) -> Self {
        Self { report, decision, said: false }
    }
}

impl Relay<'_> {
    /// Answers what the client has sent instead of passing it on.
    pub(super) fn refuse_up(&mut self, bytes: &[u8]) -> Poll<Option<End>> {
        let mut rest = bytes;
        let mut out = Vec::new();
        self.ledger.decide(self.refusal.as_ref().map(|refusal| refusal.decision));
        while !rest.is_empty() && self.refusal.is_some() {
            let step = match self.up.walker.step(rest, |tag| tag == frontend::COPY_DATA) {
                Ok((Step::Hold, _)) => break,
                Ok((step, behind)) => {
                    rest = behind;
                    step
                }
                Err(error) => return Poll::Ready(Some(End::Violation(error))),
            };
            match step {
                Step::Whole(frame) if frame.tag == frontend::TERMINATE => {
                    self.terminated = true;
                    return Poll::Ready(None);
                }
                Step::Whole(frame) => {
                    self.forget_refused(frame.tag, frame.body());
                    self.ledger.requested(frame.tag, frame.body(), frame.raw.len(), Note::None);
                    self.answer_refused(frame.tag, &mut out);
                }
                Step::Head { tag, total_bytes, part } => {
                    let body = part.get(HEADER_BYTES..).unwrap_or_default();
                    self.forget_refused(tag, body);
                    self.long = self.ledger.long(tag, body, total_bytes);
                    if self.long.is_none() {
                        self.ledger.requested(tag, body, total_bytes, Note::None);
                        self.answer_refused(tag, &mut out);
                    }
                }
                Step::Part { tag, part, last } => {
                    let is_long = self.long.is_some();
                    self.ledger.part(&mut self.long, part, last);
                    if last && is_long {
                        self.answer_refused(tag, &mut out);
                    }
                }
                Step::Hold => {}
            }
        }
        self.ledger.decide(None);
        if self.refusal.is_some() {
            if !rest.is_empty() {
                buffers::keep(&mut self.up.carry, rest);
            }
        } else {
            self.keep(rest);
        }
        if !out.is_empty() {
            buffers::keep(&mut self.down.out, &out);
            self.turn = self.turn.saturating_add(1);
        }
        if let Some(unavailable) = self.ledger.take_failure() {
            return Poll::Ready(Some(End::Audit(unavailable)));
        }
        Poll::Ready(None)
    }

    fn forget_refused(&mut self, tag: u8, body: &[u8]) {
        if let Some(pooled) = &mut self.pooled {
            pooled.refused(tag, body);
        }
    }

    /// The error once, and ready where a server would be.
    fn answer_refused(&mut self, tag: u8, out: &mut Vec<u8>) {
        let Some(refusal) = &mut self.refusal else { return };
        let asks = matches!(
            tag,
            frontend::QUERY
                | frontend::PARSE
                | frontend::BIND
                | frontend::DESCRIBE
                | frontend::EXECUTE
                | frontend::CLOSE
                | frontend::FUNCTION_CALL
        );
        if asks && !refusal.said {
            refusal.said = true;
            let start = out.len();
            write::error_response(out, &refusal.report);
            let body = out.get(start.saturating_add(HEADER_BYTES)..).unwrap_or_default();
            self.ledger.answered((backend::ERROR_RESPONSE, body), body.len(), &mut ());
        }
        if matches!(tag, frontend::QUERY | frontend::FUNCTION_CALL | frontend::SYNC) {
            write::ready_for_query(out, b'I');
            self.ledger.answered((backend::READY_FOR_QUERY, b"I"), 6, &mut ());
            self.refusal = None;
        }
    }
}
