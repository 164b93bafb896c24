//! What is known of each request under way, and how it becomes a record.
//!
//! What always holds: a record is written once; a text is whole or stands in parts, never cut.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::audit::{
    Kind, Outcome, SessionLog, Statement as Record, TEXT_INLINE_BYTES_MAX, Ticket, Unavailable,
};
use crate::config::AuditMode;
use crate::protocol::fields::Fields;
use crate::protocol::sqlstate::SqlState;
use crate::protocol::tag::backend;
use crate::telemetry;

use super::arena::{Arena, Span};
use super::lease::Request;
use super::note::Note;
use super::statements::{Statement, Statements};

/// Finished executions that wait for their `ReadyForQuery`; more are recorded without its transaction status.
const UNREADY_MAX: usize = 256;

/// The wall clock is read again after this time; in between the monotonic clock counts on.
const CLOCK_MAX: Duration = Duration::from_millis(500);

/// A request under way.
#[derive(Debug)]
pub(crate) struct Op {
    pub(crate) started: Instant,
    /// Number of the execution in its session; 0 for other requests.
    pub(crate) sequence: u64,
    /// Name of the prepared statement.
    pub(crate) name: Span,
    /// Name of the portal.
    pub(crate) portal: Span,
    pub(crate) text: Text,
    closes_statement: bool,
    pub(crate) copy: Option<Kind>,
    pub(crate) rows: u64,
    pub(crate) bytes_in: u64,
    pub(crate) bytes_out: u64,
    commands: u32,
    tag: Span,
    pub(crate) error: Option<(Option<SqlState>, Span)>,
    /// When its last answer came.
    finished: Option<Instant>,
    /// What transaction pooling remembers of it.
    pub(crate) note: Note,
}

/// A text: here, with a prepared statement, or recorded in parts.
#[derive(Debug, Clone, Default)]
pub(crate) struct Text {
    pub(crate) span: Span,
    pub(crate) bytes: u64,
    pub(crate) parts: Option<(u64, u32)>,
    pub(crate) statement: Option<Arc<Statement>>,
}

impl Op {
    /// Whether this request runs something.
    pub(crate) const fn is_execution(&self) -> bool {
        self.sequence > 0
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

/// The records of one session.
#[derive(Debug)]
pub(crate) struct Book {
    pub(crate) log: SessionLog,
    pub(crate) mode: AuditMode,
    pub(crate) names: Statements<Op>,
    /// The newest record.
    pub(crate) ticket: Option<Ticket>,
    /// The newest intent that nobody waited for yet.
    pub(crate) intent: Option<Ticket>,
    pub(crate) failure: Option<Unavailable>,
    counts: telemetry::Statements,
    pub(crate) arena: Arena,
    sequence: u64,
    /// Executions that are complete but for the transaction status.
    unready: Vec<Op>,
    clock: (Instant, Duration),
}

impl Book {
    pub(crate) fn new(log: SessionLog, mode: AuditMode, counts: telemetry::Statements) -> Self {
        Self {
            log,
            mode,
            names: Statements::default(),
            ticket: None,
            intent: None,
            failure: None,
            counts,
            arena: Arena::default(),
            sequence: 0,
            unready: Vec::new(),
            clock: (Instant::now(), telemetry::wall_clock()),
        }
    }

    pub(crate) fn keep(&mut self, bytes: &[u8]) -> Span {
        self.arena.keep(bytes)
    }

    pub(crate) fn get(&self, span: Span) -> &[u8] {
        self.arena.get(span)
    }

    fn op(&mut self, bytes_in: u64) -> Op {
        let started = Instant::now();
        if started.duration_since(self.clock.0) > CLOCK_MAX {
            self.clock = (started, telemetry::wall_clock());
        }
        Op {
            started,
            sequence: 0,
            name: Span::default(),
            // The oldest span of a request marks what may be released, so each request has one.
            portal: self.arena.keep(b""),
            text: Text::default(),
            closes_statement: false,
            copy: None,
            rows: 0,
            bytes_in,
            bytes_out: 0,
            commands: 0,
            tag: Span::default(),
            error: None,
            finished: None,
            note: Note::None,
        }
    }

    const fn next_sequence(&mut self) -> u64 {
        self.sequence = self.sequence.saturating_add(1);
        self.sequence
    }

    pub(crate) fn query(&mut self, text: &[u8], bytes: u64) -> Op {
        let mut op = self.op(bytes);
        op.sequence = self.next_sequence();
        op.text.span = self.arena.keep(text);
        op.text.bytes = u64::try_from(text.len()).unwrap_or(u64::MAX);
        op
    }

    pub(crate) fn parse(&mut self, name: &[u8], text: &[u8], bytes: u64) -> Op {
        let mut op = self.named(name, b"", bytes);
        op.text.span = self.arena.keep(text);
        op.text.bytes = u64::try_from(text.len()).unwrap_or(u64::MAX);
        op
    }

    pub(crate) fn named(&mut self, name: &[u8], portal: &[u8], bytes: u64) -> Op {
        let mut op = self.op(bytes);
        op.portal = self.arena.keep(portal);
        op.name = self.arena.keep(name);
        op
    }

    pub(crate) fn closing_statement(&mut self, name: &[u8], bytes: u64) -> Op {
        Op { closes_statement: true, ..self.named(name, b"", bytes) }
    }

    pub(crate) fn execution(&mut self, portal: &[u8], text: Text, bytes: u64) -> Op {
        let sequence = self.next_sequence();
        Op { sequence, text, ..self.named(b"", portal, bytes) }
    }

    pub(crate) fn function_call(&mut self, oid: u32, bytes: u64) -> Op {
        let text = format!("function call of oid {oid}");
        self.query(text.as_bytes(), bytes)
    }

    /// A text of unknown length begins. It takes a sequence, under which its parts are recorded.
    pub(crate) fn long(&mut self, bytes: u64) -> Op {
        let mut op = self.op(bytes);
        op.sequence = self.next_sequence();
        op
    }

    /// More of a long text; `held` keeps what is not recorded yet.
    pub(crate) fn extend(&mut self, op: &mut Op, held: &mut Vec<u8>, bytes: &[u8]) {
        let mut rest = bytes;
        while !rest.is_empty() {
            let room = TEXT_INLINE_BYTES_MAX.saturating_sub(held.len());
            let (piece, behind) = rest.split_at_checked(room).unwrap_or((rest, &[]));
            held.extend_from_slice(piece);
            op.text.bytes = op.text.bytes.saturating_add(u64::try_from(piece.len()).unwrap_or(u64::MAX));
            rest = behind;
            if !rest.is_empty() {
                self.spill(op, held);
            }
        }
    }

    /// All of the text is here. What lies in parts lies there whole.
    pub(crate) fn finish_text(&mut self, op: &mut Op, held: &mut Vec<u8>) {
        if op.text.parts.is_some() {
            self.spill(op, held);
        } else {
            op.text.span = self.arena.keep(held);
        }
    }

    fn spill(&mut self, op: &mut Op, held: &mut Vec<u8>) {
        let part = op.text.parts.map_or(0, |(_, parts)| parts);
        let written = self.log.text_part(op.sequence, part, held);
        self.note(written);
        op.text.parts = Some((op.sequence, part.saturating_add(1)));
        held.clear();
    }

    /// `write_ahead`: the intent is recorded now.
    pub(crate) fn intend(&mut self, request: Request, op: &mut Op) {
        if matches!(request, Request::Query | Request::Execute | Request::Call) {
            let record = record(&self.arena, self.clock, op, 0);
            let written = self.log.intent(&Record { kind: kind(request, op), ..record });
            self.intent = written.ok().or(self.intent);
            self.note(written);
        }
    }

    pub(crate) fn command(&mut self, op: &mut Op, tag: u8, body: &[u8]) {
        op.commands = op.commands.saturating_add(1);
        if tag == backend::COMMAND_COMPLETE {
            let text = Fields::of(body).cstr("tag").unwrap_or_default();
            if let Some(rows) = rows_of(text) {
                op.rows = rows;
            }
            match text {
                b"DISCARD ALL" | b"DEALLOCATE ALL" => self.names.deallocated(),
                b"PREPARE" | b"DEALLOCATE" => self.renamed(op),
                _ => {}
            }
            op.tag = self.arena.keep(text);
        }
    }

    /// SQL has given or taken a name. A name it may speak of stands for the SQL's own text from now on: an
    /// execution must not be recorded with a text that its name no longer has.
    fn renamed(&mut self, op: &Op) {
        let (text, bytes, parts) = match &op.text.statement {
            Some(statement) => (&*statement.text, statement.text_bytes, statement.parts),
            None => (self.arena.get(op.text.span), op.text.bytes, op.text.parts),
        };
        self.names.renamed(text, bytes, parts);
    }

    pub(crate) fn failed(&mut self, op: &mut Op, code: Option<SqlState>, message: &[u8]) {
        op.error = Some((code, self.arena.keep(message)));
    }

    /// Gives a `Parse` or `Bind` back that has failed: what it was meant to make, others may still speak of.
    pub(crate) fn done(&mut self, request: Request, mut op: Op, status: u8) -> Option<Op> {
        op.finished = Some(Instant::now());
        if request == Request::Query || (request == Request::Parse && op.error.is_some()) {
            self.names.not_parsed(self.arena.get(op.name));
        }
        match request {
            Request::Query | Request::Call => self.write(request, &op, status),
            Request::Execute => {
                self.resolve(&mut op);
                self.unready.push(op);
                if self.unready.len() > UNREADY_MAX {
                    self.ready_executions(status);
                }
            }
            Request::Parse if op.error.is_none() => {
                let (name, text) = (self.arena.get(op.name), self.arena.get(op.text.span));
                self.names.parsed(name, text, op.text.bytes, op.text.parts);
            }
            Request::Bind if op.error.is_none() => {
                let unfinished = self.names.bound(self.arena.get(op.portal), self.arena.get(op.name));
                self.unready.extend(unfinished.map(|op| *op));
            }
            Request::Close if op.error.is_none() => self.closed(&op),
            Request::Parse | Request::Bind | Request::Describe | Request::Close | Request::Sync => {
                if request == Request::Bind {
                    op.text.statement = self.names.statement(self.arena.get(op.name)).cloned();
                }
                if op.error.is_some() {
                    self.write(request, &op, status);
                    return Some(op).filter(|_| matches!(request, Request::Parse | Request::Bind));
                }
            }
            Request::CopyEnd => {}
        }
        None
    }

    fn closed(&mut self, op: &Op) {
        if op.closes_statement {
            self.names.closed_statement(self.arena.get(op.name));
        } else {
            let unfinished = self.names.closed_portal(self.arena.get(op.portal));
            self.unready.extend(unfinished.map(|op| *op));
        }
    }

    /// The text of an execution, now that its `Bind` is answered, and what its portal did before.
    fn resolve(&mut self, op: &mut Op) {
        let portal = self.arena.get(op.portal);
        if let Some(statement) = self.names.portal(portal)
            && !op.text.statement.as_ref().is_some_and(|known| Arc::ptr_eq(known, statement))
        {
            op.text = Text { statement: Some(Arc::clone(statement)), ..Text::default() };
        }
        if let Some(before) = self.names.resume(portal) {
            op.sequence = before.sequence;
            op.started = before.started;
            op.rows = op.rows.saturating_add(before.rows);
            op.bytes_in = op.bytes_in.saturating_add(before.bytes_in);
            op.bytes_out = op.bytes_out.saturating_add(before.bytes_out);
        }
    }

    pub(crate) fn suspended(&mut self, mut op: Op) {
        self.resolve(&mut op);
        op.finished = Some(Instant::now());
        if self.mode == AuditMode::WriteAhead {
            // Each piece was an intent of its own, so each has its own end.
            self.unready.push(op);
            return;
        }
        let portal = op.portal;
        // A suspended execution may outlive the bytes of its requests; its name lies with its portal.
        op.tag = Span::default();
        if let Err(op) = self.names.suspended(self.arena.get(portal), Box::new(op)) {
            self.unready.push(*op);
        }
    }

    pub(crate) fn skipped(&mut self, request: Request, op: &Op) {
        if matches!(request, Request::Query | Request::Execute | Request::Call) {
            self.abandoned(request, op, (Outcome::Skipped, None, b""));
        }
    }

    /// A request that will get no answer.
    pub(crate) fn abandoned(&mut self, request: Request, op: &Op, end: (Outcome, Option<SqlState>, &[u8])) {
        if !matches!(request, Request::Query | Request::Execute | Request::Call) {
            return;
        }
        let (outcome, code, message) = end;
        // What the server had said of it already is what is known of it.
        let (outcome, code, kept) = match op.error {
            Some((code, message)) => (failure(code), code, message),
            None => (outcome, code, self.arena.keep(message)),
        };
        let record = Record {
            kind: kind(request, op),
            outcome,
            sqlstate: code.map(|code| code.0),
            message: self.arena.get(kept),
            ..record(&self.arena, self.clock, op, 0)
        };
        let written = put(&mut self.log, self.mode, &record);
        self.counts.count(outcome.name());
        self.note(written);
    }

    /// `ReadyForQuery`: what waited for it is recorded, and a transaction's end takes its portals along.
    pub(crate) fn ready(&mut self, status: u8) {
        if status == b'I' || status == b'E' {
            let unready = &mut self.unready;
            self.names.transaction_ended(|op| unready.push(*op));
        }
        self.ready_executions(status);
    }

    /// Writes the records of executions that are complete.
    pub(crate) fn ready_executions(&mut self, status: u8) {
        let mut unready = std::mem::take(&mut self.unready);
        for op in unready.drain(..) {
            self.write(Request::Execute, &op, status);
        }
        if unready.capacity() <= 4 {
            self.unready = unready;
        }
    }

    fn write(&mut self, request: Request, op: &Op, status: u8) {
        let (sqlstate, message) = match op.error {
            Some((code, message)) => (code, message),
            None => (None, Span::default()),
        };
        let outcome = if op.error.is_some() { failure(sqlstate) } else { Outcome::Ok };
        let record = Record {
            kind: kind(request, op),
            outcome,
            sqlstate: sqlstate.map(|code| code.0),
            message: self.arena.get(message),
            ..record(&self.arena, self.clock, op, status)
        };
        let written = if op.is_execution() && !matches!(request, Request::Parse) {
            self.counts.count(outcome.name());
            put(&mut self.log, self.mode, &record)
        } else {
            self.log.statement(&record)
        };
        self.note(written);
    }

    fn note(&mut self, written: Result<Ticket, Unavailable>) {
        match written {
            Ok(ticket) => self.ticket = Some(ticket),
            Err(unavailable) => self.failure = Some(unavailable),
        }
    }

    pub(crate) fn release_before(&mut self, oldest: &Op) {
        self.arena.release_before(oldest.portal);
    }

    /// Whether finished requests hold much memory that could be released.
    pub(crate) fn is_heavy(&self) -> bool {
        self.unready.is_empty() && self.arena.is_large()
    }

    /// Nothing is under way.
    pub(crate) fn rest(&mut self) {
        self.arena.clear();
    }
}

/// In `write_ahead` the intent is there already.
fn put(log: &mut SessionLog, mode: AuditMode, record: &Record<'_>) -> Result<Ticket, Unavailable> {
    if mode == AuditMode::WriteAhead { log.outcome(record) } else { log.statement(record) }
}

const fn kind(request: Request, op: &Op) -> Kind {
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

/// What all records of a request have in common.
fn record<'a>(arena: &'a Arena, clock: (Instant, Duration), op: &'a Op, status: u8) -> Record<'a> {
    let started = clock.1.saturating_add(op.started.saturating_duration_since(clock.0));
    let started = started.saturating_sub(clock.0.saturating_duration_since(op.started));
    let duration = op.finished.map_or(Duration::ZERO, |end| end.saturating_duration_since(op.started));
    let (text, text_bytes, parts) = match &op.text.statement {
        Some(statement) => (&*statement.text, statement.text_bytes, statement.parts),
        None => (arena.get(op.text.span), op.text.bytes, op.text.parts),
    };
    Record {
        sequence: op.sequence,
        kind: Kind::Query,
        text: if parts.is_some() { b"" } else { text },
        text_bytes,
        text_parts: parts.map_or(0, |(_, parts)| parts),
        text_ref: parts.map(|(sequence, _)| sequence).filter(|sequence| *sequence != op.sequence),
        statement_name: op.text.statement.as_ref().map_or(arena.get(op.name), |statement| &statement.name),
        portal: arena.get(op.portal),
        started_ns: u64::try_from(started.as_nanos()).unwrap_or(u64::MAX),
        duration_ns: u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX),
        commands: op.commands,
        tag: arena.get(op.tag),
        rows: op.rows,
        bytes_in: op.bytes_in,
        bytes_out: op.bytes_out,
        sqlstate: None,
        message: b"",
        transaction_status: status,
        outcome: Outcome::Unknown,
    }
}

fn failure(code: Option<SqlState>) -> Outcome {
    if code == Some(SqlState::QUERY_CANCELED) { Outcome::Cancelled } else { Outcome::Error }
}

/// The row count at the end of a command tag.
fn rows_of(tag: &[u8]) -> Option<u64> {
    let digits = tag.rsplit(|&byte| byte == b' ').next()?;
    std::str::from_utf8(digits).ok()?.parse().ok()
}
