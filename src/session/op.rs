//! One request under way: what is known of it until it is answered and recorded.

use std::sync::Arc;
use std::time::Instant;

use aws_lc_rs::hmac::Context;

use crate::audit::{Decision, Kind, Outcome, Pins};
use crate::protocol::sqlstate::SqlState;

use super::arena::Span;
use super::lease::Request;
use super::note::Note;
use super::statements::{Bound, Spilled, Statement};

/// A request under way.
#[derive(Debug)]
pub(crate) struct Op {
    pub(crate) started: Instant,
    /// Number of the execution in its session; or the number under which its text or parameters lie in parts; else 0.
    pub(crate) sequence: u64,
    /// Name of the prepared statement.
    pub(crate) name: Span,
    /// Name of the portal.
    pub(crate) portal: Span,
    pub(crate) text: Text,
    /// Of a `Parse`, the types that it says; of a `Bind` and what is executed, the parameters.
    pub(crate) list: Bound<Span>,
    pub(crate) closes_statement: bool,
    pub(crate) copy: Option<Kind>,
    /// The data of a `COPY`.
    pub(crate) copied: Option<Box<Stream>>,
    /// How long it waited for a backend, in ns.
    pub(crate) wait_ns: u64,
    pub(crate) rows: u64,
    pub(crate) bytes_in: u64,
    pub(crate) bytes_out: u64,
    pub(crate) commands: u32,
    pub(crate) tag: Span,
    pub(crate) error: Option<(Option<SqlState>, Span)>,
    /// When its last answer came.
    pub(crate) finished: Option<Instant>,
    /// What transaction pooling remembers of it.
    pub(crate) note: Note,
    /// Whether it runs something.
    pub(crate) runs: bool,
    /// Why the session kept its backend when it was answered.
    pub(crate) pins: Pins,
    /// What was decided about it; `None`: to let it through.
    pub(crate) decision: Option<Decision>,
}

/// Data as it goes by.
#[derive(Debug)]
pub(crate) struct Stream {
    pub(crate) bytes: u64,
    pub(crate) digest: Option<Context>,
    /// Where the content is recorded, the end of it that is not recorded yet.
    pub(crate) held: Vec<u8>,
}

/// A text: here, with a prepared statement, or recorded in parts.
#[derive(Debug, Clone, Default)]
pub(crate) struct Text {
    pub(crate) span: Span,
    pub(crate) bytes: u64,
    pub(crate) parts: Option<Spilled>,
    pub(crate) statement: Option<Arc<Statement>>,
}

impl Op {
    pub(crate) fn new(started: Instant, portal: Span, bytes_in: u64) -> Self {
        Self {
            started,
            sequence: 0,
            name: Span::default(),
            portal,
            text: Text::default(),
            list: Bound::Nothing,
            closes_statement: false,
            copy: None,
            copied: None,
            wait_ns: 0,
            rows: 0,
            bytes_in,
            bytes_out: 0,
            commands: 0,
            tag: Span::default(),
            error: None,
            finished: None,
            note: Note::None,
            runs: false,
            pins: Pins::default(),
            decision: None,
        }
    }

    /// With its number, for it runs something; how long it waited for a backend, in ns.
    pub(crate) fn running(self, sequence: u64, wait_ns: u64) -> Self {
        Self { sequence, wait_ns, runs: true, ..self }
    }

    /// Whether this request runs something.
    pub(crate) const fn is_execution(&self) -> bool {
        self.runs
    }

    /// With what is to be remembered of it.
    pub(crate) fn with(self, note: Note) -> Self {
        Self { note, ..self }
    }

    /// Whether it is ours and fails as the client's.
    pub(crate) const fn fails_for_client(&self) -> bool {
        matches!(&self.note, Note::Injected(injected) if injected.fails_for_client()) && self.error.is_some()
    }
}

/// How it came.
pub(super) const fn kind(request: Request, op: &Op) -> Kind {
    match (request, op.copy) {
        (Request::Query | Request::Execute, Some(copy)) => copy,
        (Request::Execute, None) => Kind::Execute,
        (Request::Call, _) => Kind::FunctionCall,
        (Request::Parse, _) => Kind::Parse,
        (Request::Bind, _) => Kind::Bind,
        (Request::Describe | Request::Close, _) => Kind::Describe,
        (Request::Sync | Request::CopyEnd, _) => Kind::Sync,
        (Request::Query, None) => Kind::Query,
    }
}

/// What an error means for its request.
pub(super) fn failure(code: Option<SqlState>) -> Outcome {
    if code == Some(SqlState::QUERY_CANCELED) { Outcome::Cancelled } else { Outcome::Error }
}

/// The row count at the end of a command tag.
pub(super) fn rows_of(tag: &[u8]) -> Option<u64> {
    let digits = tag.rsplit(|&byte| byte == b' ').next()?;
    std::str::from_utf8(digits).ok()?.parse().ok()
}
