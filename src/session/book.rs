//! What is known of each request under way, and how it becomes a record.
//!
//! What always holds: a record is written once; a text is whole or stands in parts, never cut.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::audit::{
    Copied, Decision, Kind, Outcome, Pins, SessionLog, Statement as Record, TEXT_INLINE_BYTES_MAX, Ticket,
    Unavailable,
};
use crate::config::AuditMode;
use crate::protocol::fields::Fields;
use crate::protocol::frontend::Parse;
use crate::protocol::sqlstate::SqlState;
use crate::protocol::tag::backend;
use crate::telemetry;

use super::arena::{Arena, Span};
use super::lease::Request;
use super::mask::Mask;
use super::op::{Op, Stream, Text, failure, kind, rows_of};
use super::statements::{Bound, Parsed, Statements, Unfinished};
use super::tally::Tally;

mod long;
mod parameters;

pub(crate) use long::Long;
use parameters::record;
pub(crate) use parameters::types_of;

/// Finished executions that wait for their `ReadyForQuery`; more are recorded without its transaction status.
const UNREADY_MAX: usize = 256;

/// The wall clock is read again after this time; in between the monotonic clock counts on.
const CLOCK_MAX: Duration = Duration::from_millis(500);

/// The records of one session.
#[derive(Debug)]
pub(crate) struct Book {
    pub(crate) log: SessionLog,
    pub(crate) mode: AuditMode,
    mask: Mask,
    pub(crate) names: Statements<Op>,
    /// The newest record.
    pub(crate) ticket: Option<Ticket>,
    /// The newest intent that nobody waited for yet.
    pub(crate) intent: Option<Ticket>,
    pub(crate) failure: Option<Unavailable>,
    pub(crate) tally: Tally,
    pub(crate) arena: Arena,
    sequence: u64,
    /// How long what comes next has waited for a backend, in ns.
    wait_ns: u64,
    /// What is decided about whatever comes, or ends, now.
    pub(crate) decision: Option<Decision>,
    /// Why the session keeps its backend.
    pub(crate) pins: Pins,
    /// Executions that are complete but for the transaction status.
    unready: Vec<Op>,
    clock: (Instant, Duration),
}

impl Book {
    pub(crate) fn new(log: SessionLog, (mode, mask): (AuditMode, Mask), tally: Tally) -> Self {
        Self {
            log,
            mode,
            mask,
            names: Statements::default(),
            ticket: None,
            intent: None,
            failure: None,
            tally,
            arena: Arena::default(),
            sequence: 0,
            wait_ns: 0,
            decision: None,
            pins: Pins::default(),
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
        // The oldest span of a request marks what may be released, so each request has one.
        Op { decision: self.decision, ..Op::new(started, self.arena.keep(b""), bytes_in) }
    }

    /// Something runs.
    fn running(&mut self, bytes_in: u64) -> Op {
        let (sequence, wait_ns) = (self.next_sequence(), std::mem::take(&mut self.wait_ns));
        let op = self.op(bytes_in);
        self.tally.began(op.started);
        op.running(sequence, wait_ns)
    }

    /// What comes next has waited for a backend.
    pub(crate) fn waited(&mut self, wait: Duration) {
        self.tally.waited(wait);
        self.wait_ns = u64::try_from(wait.as_nanos()).unwrap_or(u64::MAX);
    }

    /// Data of a `COPY`, or the next piece of it.
    pub(crate) fn copied(&mut self, op: &mut Op, data: &[u8]) {
        let new = || Box::new(Stream { bytes: 0, digest: self.mask.stream(), held: Vec::new() });
        let stream = op.copied.get_or_insert_with(new);
        stream.bytes = stream.bytes.saturating_add(count(data));
        if let Some(digest) = &mut stream.digest {
            digest.update(data);
        }
        if !self.mask.keeps_copies() {
            return;
        }
        let mut rest = data;
        while !rest.is_empty() {
            let held = op.copied.as_ref().map_or(0, |stream| stream.held.len());
            let (piece, behind) =
                rest.split_at_checked(TEXT_INLINE_BYTES_MAX.saturating_sub(held)).unwrap_or((rest, &[]));
            if let Some(stream) = &mut op.copied {
                stream.held.extend_from_slice(piece);
            }
            rest = behind;
            if !rest.is_empty() {
                self.content(op, count(rest));
                if let Some(stream) = &mut op.copied {
                    stream.held.clear();
                }
            }
        }
    }

    /// Records the piece of a copy's content that is held; so many bytes have come behind it.
    fn content(&mut self, op: &Op, behind: u64) {
        let Some(Stream { bytes, held, .. }) = op.copied.as_deref().filter(|stream| !stream.held.is_empty())
        else {
            return;
        };
        let before = bytes.saturating_sub(behind).saturating_sub(count(held));
        let piece = Record {
            kind: Kind::CopyData,
            text: held,
            text_bytes: count(held),
            copied: Some(Copied { bytes: before, digest: None }),
            outcome: Outcome::Ok,
            sequence: op.sequence,
            started_ns: record((&self.arena, &self.names), self.clock, op, 0).started_ns,
            ..Record::default()
        };
        let written = self.log.statement(&piece);
        self.note(written);
    }

    const fn next_sequence(&mut self) -> u64 {
        self.sequence = self.sequence.saturating_add(1);
        self.sequence
    }

    pub(crate) fn query(&mut self, text: &[u8], bytes: u64) -> Op {
        let mut op = self.running(bytes);
        op.text = self.keep_text(text);
        op
    }

    /// A text that came from the client, as it is recorded.
    fn keep_text(&mut self, text: &[u8]) -> Text {
        if self.mask.is_plain(text) {
            return self.own_text(text);
        }
        let masked = self.mask.text(text);
        self.own_text(&masked)
    }

    /// A text as it stands.
    fn own_text(&mut self, text: &[u8]) -> Text {
        Text { span: self.arena.keep(text), bytes: count(text), ..Text::default() }
    }

    pub(crate) fn parse(&mut self, parse: Parse<'_>, bytes: u64) -> Op {
        self.tally.parsed();
        let mut op = self.named(parse.name, b"", bytes);
        op.text = self.keep_text(parse.text);
        op.list = self.keep_types(parse.types);
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

    pub(crate) fn execution(&mut self, portal: &[u8], (text, list): (Text, Bound<Span>), bytes: u64) -> Op {
        let (sequence, wait_ns) = (self.next_sequence(), std::mem::take(&mut self.wait_ns));
        let op = self.named(b"", portal, bytes);
        self.tally.began(op.started);
        Op { text, list, ..op.running(sequence, wait_ns) }
    }

    /// `write_ahead`: the intent is recorded now.
    pub(crate) fn intend(&mut self, request: Request, op: &mut Op) {
        if matches!(request, Request::Query | Request::Execute | Request::Call) {
            let record = record((&self.arena, &self.names), self.clock, op, 0);
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
        let kept = if self.mask.is_full() {
            self.arena.keep(message)
        } else {
            self.arena.keep(&self.mask.message(message))
        };
        op.error = Some((code, kept));
    }

    /// Gives a `Parse` or `Bind` back that has failed: what it was meant to make, others may still speak of.
    pub(crate) fn done(&mut self, request: Request, mut op: Op, status: u8) -> Option<Op> {
        (op.finished, op.pins) = (Some(Instant::now()), self.pins);
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
                let parsed = Parsed {
                    text: self.arena.get(op.text.span),
                    text_bytes: op.text.bytes,
                    parts: op.text.parts,
                    types: types_of(&self.arena, &op),
                };
                self.names.parsed(self.arena.get(op.name), parsed);
            }
            Request::Bind if op.error.is_none() => {
                let list = op.list.map(|list| self.arena.get(list));
                let (portal, name) = (self.arena.get(op.portal), self.arena.get(op.name));
                let unfinished = self.names.bound(portal, name, list);
                self.left(unfinished);
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
            self.left(unfinished);
        }
    }

    /// The text of an execution, now that its `Bind` is answered, and what its portal did before.
    fn resolve(&mut self, op: &mut Op) {
        if let Some((statement, list)) = self.names.portal(self.arena.get(op.portal)) {
            if !op.text.statement.as_ref().is_some_and(|known| Arc::ptr_eq(known, statement)) {
                op.text = Text { statement: Some(Arc::clone(statement)), ..Text::default() };
            }
            if !is_kept(&self.arena, op.list) {
                op.list = list.map(|list| self.arena.keep(list));
            }
        }
        if let Some(before) = self.names.resume(self.arena.get(op.portal)) {
            op.sequence = before.sequence;
            op.started = before.started;
            op.rows = op.rows.saturating_add(before.rows);
            op.bytes_in = op.bytes_in.saturating_add(before.bytes_in);
            op.bytes_out = op.bytes_out.saturating_add(before.bytes_out);
        }
    }

    pub(crate) fn suspended(&mut self, mut op: Op) {
        self.resolve(&mut op);
        (op.finished, op.pins) = (Some(Instant::now()), self.pins);
        if self.mode == AuditMode::WriteAhead {
            // Each piece was an intent of its own, so each has its own end.
            self.unready.push(op);
            return;
        }
        let portal = op.portal;
        // A suspended execution may outlive the bytes of its requests; name and parameters lie with its portal.
        (op.tag, op.list) = (Span::default(), Bound::Nothing);
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
        self.content(op, 0);
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
            pins: self.pins,
            decision: op.decision.or(self.decision),
            ..record((&self.arena, &self.names), self.clock, op, 0)
        };
        let written = put(&mut self.log, self.mode, &record);
        self.tally.ended(outcome.name(), op.started.elapsed());
        self.note(written);
    }

    /// `ReadyForQuery`: what waited for it is recorded, and a transaction's end takes its portals along.
    pub(crate) fn ready(&mut self, status: u8) {
        if status == b'I' || status == b'E' {
            let (arena, unready) = (&mut self.arena, &mut self.unready);
            self.names.transaction_ended(|left| unready.push(finished(arena, left)));
        }
        self.ready_executions(status);
        if status == b'I' {
            self.tally.rests();
        }
    }

    /// A portal is gone: what it had not finished is over.
    fn left(&mut self, unfinished: Option<Unfinished<Op>>) {
        self.unready.extend(unfinished.map(|left| finished(&mut self.arena, left)));
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
        self.content(op, 0);
        let (sqlstate, message) = match op.error {
            Some((code, message)) => (code, message),
            None => (None, Span::default()),
        };
        let outcome = if op.error.is_none() {
            Outcome::Ok
        } else if matches!(op.decision, Some(Decision::BackendLimit | Decision::NoBackend)) {
            Outcome::Refused
        } else {
            failure(sqlstate)
        };
        let record = Record {
            kind: kind(request, op),
            outcome,
            sqlstate: sqlstate.map(|code| code.0),
            message: self.arena.get(message),
            ..record((&self.arena, &self.names), self.clock, op, status)
        };
        let written = if op.is_execution() {
            let ended = op.finished.unwrap_or(op.started);
            self.tally.ended(outcome.name(), ended.saturating_duration_since(op.started));
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

fn count(bytes: &[u8]) -> u64 {
    u64::try_from(bytes.len()).unwrap_or(u64::MAX)
}

/// In `write_ahead` the intent is there already.
fn put(log: &mut SessionLog, mode: AuditMode, record: &Record<'_>) -> Result<Ticket, Unavailable> {
    if mode == AuditMode::WriteAhead { log.outcome(record) } else { log.statement(record) }
}

/// An execution whose portal is gone; what lay with the portal lies with the execution again.
fn finished(arena: &mut Arena, left: Unfinished<Op>) -> Op {
    let portal = arena.keep(&left.portal);
    Op { portal, list: left.list.as_slice().map(|list| arena.keep(list)), ..*left.execution }
}

/// Whether a list was not released.
fn is_kept(arena: &Arena, list: Bound<Span>) -> bool {
    match list {
        Bound::Nothing => false,
        Bound::Here(span) => arena.has(span),
        Bound::Parts(..) => true,
    }
}
