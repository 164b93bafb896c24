//! Every execution from its request to its record.
//!
//! What always holds: each `Query`, `Execute` and `FunctionCall` becomes exactly one record, whatever becomes of
//! it; a `Parse`, `Bind`, `Describe`, `Close` or `Sync` becomes one when it fails. Texts are resolved through
//! names in the order of the server's answers. Nothing is allocated per message in the steady state.
//!
//! In `write_ahead` a request's intent is recorded when it is read, before its bytes go on; in the other modes one
//! joined record is written when the outcome is known, an `Execute`'s at its `ReadyForQuery`.

use std::time::Duration;

use crate::audit::{Decision, Kind, Outcome, SessionLog, Ticket, Unavailable};
use crate::config::AuditMode;
use crate::protocol::fields::Fields;
use crate::protocol::frame::HEADER_BYTES;
use crate::protocol::frontend::{self as views, Bind, Parse, Target};
use crate::protocol::report::ServerReport;
use crate::protocol::sqlstate::SqlState;
use crate::protocol::tag::{backend, frontend};

use super::arena::Span;
use super::book::{Book, Long, types_of};
use super::changes::Changes;
use super::lease::{Answer, Event, Lease, Request, Sent};
use super::mask::Mask;
use super::note::{Fate, Injected, Listener, Note, Told};
use super::op::{Op, Text};
use super::rename;
use super::skipped::{Ahead, Skipped, gives_text};
use super::statements::{Bound, significant};
use super::tally::Tally;

/// A client that is so many answers behind is not read from.
const OWED_MAX: usize = 16 << 10;

/// The requests of one session and their records.
#[derive(Debug)]
pub(crate) struct Ledger {
    lease: Lease<Op>,
    book: Book,
    /// Of a batch that failed.
    skipped: Skipped,
    /// What may give an `Execute` its text before it is answered.
    ahead: Ahead,
    /// What may change the statements of the session.
    changes: Changes,
}

impl Ledger {
    /// Begins with an idle session.
    pub(crate) fn new(log: SessionLog, kept: (AuditMode, Mask), tally: Tally) -> Self {
        Self {
            lease: Lease::default(),
            book: Book::new(log, kept, tally),
            skipped: Skipped::default(),
            ahead: Ahead::default(),
            changes: Changes::default(),
        }
    }

    /// What is owed.
    pub(crate) const fn lease(&self) -> &Lease<Op> {
        &self.lease
    }

    /// What is counted.
    pub(crate) const fn tally(&self) -> &Tally {
        &self.book.tally
    }

    /// What changes statements and is under way.
    pub(crate) const fn changes(&self) -> Changes {
        self.changes
    }

    /// How durable its records are.
    pub(crate) const fn mode(&self) -> AuditMode {
        self.book.mode
    }

    /// The session's end of the log.
    pub(crate) const fn log(&mut self) -> &mut SessionLog {
        &mut self.book.log
    }

    /// The newest record written for this session.
    pub(crate) const fn ticket(&self) -> Option<Ticket> {
        self.book.ticket
    }

    /// Takes the newest intent, which must be durable before its request goes on.
    pub(crate) const fn take_intent(&mut self) -> Option<Ticket> {
        self.book.intent.take()
    }

    /// Why a record could not be written, if one could not.
    pub(crate) const fn take_failure(&mut self) -> Option<Unavailable> {
        self.book.failure.take()
    }

    /// Whether so many answers are outstanding that the client should not be read from.
    pub(crate) fn is_far_behind(&self) -> bool {
        self.lease.owed() >= OWED_MAX
    }

    /// Notes a message from the client. Of a long one `body` may be only the beginning; one with a text or with parameters
    /// goes to [`Self::long`] instead.
    pub(crate) fn requested(&mut self, tag: u8, body: &[u8], total_bytes: usize, note: Note) {
        let bytes = u64::try_from(total_bytes).unwrap_or(u64::MAX);
        match tag {
            frontend::QUERY => {
                let op = self.book.query(views::query(body), bytes);
                self.send(Request::Query, op.with(note));
            }
            frontend::PARSE => {
                let parse = Parse::read(body);
                let op = self.book.parse(parse, bytes);
                self.send(Request::Parse, op.with(note));
            }
            frontend::BIND => {
                let bind = Bind::read(body);
                let parse = self.parse_ahead(significant(bind.statement)).map(|parse| parse.list);
                let op = self.book.bind(bind, parse.unwrap_or_default(), bytes);
                self.send(Request::Bind, op.with(note));
            }
            frontend::EXECUTE => self.execute(views::execute(body), bytes, note),
            frontend::DESCRIBE => {
                let op = match Target::read(body) {
                    Target::Statement(name) => self.book.named(significant(name), b"", bytes),
                    Target::Portal(_) | Target::Unknown => self.book.named(b"", b"", bytes),
                };
                self.send(Request::Describe, op.with(note));
            }
            frontend::CLOSE => {
                let op = match Target::read(body) {
                    Target::Statement(name) => self.book.closing_statement(name, bytes),
                    Target::Portal(name) => self.book.named(b"", name, bytes),
                    Target::Unknown => self.book.named(b"", b"\0", bytes),
                };
                self.send(Request::Close, op.with(note));
            }
            frontend::FUNCTION_CALL => {
                let op = self.book.function_call(views::function_call(body), bytes);
                self.send(Request::Call, op.with(note));
            }
            frontend::SYNC => {
                let op = self.book.named(b"", b"", bytes);
                self.send(Request::Sync, op.with(note));
            }
            frontend::COPY_DONE | frontend::COPY_FAIL => {
                let op = self.book.named(b"", b"", bytes);
                self.send(Request::CopyEnd, op.with(note));
            }
            frontend::COPY_DATA => {
                if let Some(op) = self.lease.current() {
                    op.bytes_in = op.bytes_in.saturating_add(bytes);
                }
                self.copied(body);
            }
            _ => {}
        }
    }

    /// Begins a message whose text or parameters arrive in pieces, with its first one. `None` for any other message.
    pub(crate) fn long(&mut self, tag: u8, body: &[u8], total_bytes: usize) -> Option<Box<Long>> {
        let (mut long, names) = self.book.long(tag, body, u64::try_from(total_bytes).unwrap_or(u64::MAX))?;
        if tag == frontend::BIND {
            let name = significant(Bind::read(body).statement);
            let known = self.book.names.statement(name).map(|statement| statement.types().to_vec());
            let ahead = self.parse_ahead(name).map(|parse| types_of(&self.book.arena, parse).to_vec());
            self.book.begin_list(&mut long, &ahead.or(known).unwrap_or_default());
        } else {
            self.book.begin_list(&mut long, b"");
        }
        self.book.piece(&mut long, body.get(names..).unwrap_or_default());
        Some(long)
    }

    /// The next piece of a long message, and at last its request.
    pub(crate) fn part(&mut self, long: &mut Option<Box<Long>>, bytes: &[u8], last: bool) {
        if let Some(long) = long {
            self.book.piece(long, bytes);
        }
        if last && let Some(long) = long.take() {
            let (request, op) = self.book.finish_long(long);
            self.send(request, op);
        }
    }

    /// Notes a request of ours, sent for the client's statement `name`.
    pub(crate) fn inject(&mut self, request: Request, injected: Injected, name: &[u8]) {
        if request == Request::Parse {
            self.book.tally.parsed_again();
        }
        let op = self.book.named(significant(name), b"", 0).with(Note::Injected(injected));
        self.changes.came(request, &op.note);
        // Nothing is injected into a batch that failed or into a copy, so it is owed.
        let _sent = self.lease.sent(request, op);
    }

    fn execute(&mut self, portal: &[u8], bytes: u64, note: Note) {
        let (text, bound) = self.text_ahead(significant(portal));
        let list = bound.unwrap_or_else(|| self.book.list_of_portal(significant(portal)));
        let op = self.book.execution(significant(portal), (text, list), bytes);
        self.send(Request::Execute, op.with(note));
    }

    /// The newest `Parse` of a name that is under way.
    fn parse_ahead(&self, name: &[u8]) -> Option<&Op> {
        let mut left = self.ahead.parses;
        let theirs = self.lease.pending().filter(|(_, op)| !op.note.is_injected());
        for (request, op) in theirs.chain(self.skipped.iter()).rev() {
            if left == 0 {
                break;
            }
            if request == Request::Parse {
                left = left.saturating_sub(1);
                if self.book.get(op.name) == name {
                    return Some(op);
                }
            }
        }
        None
    }

    /// The text a portal will stand for if the requests under way succeed, and what the `Bind` under way binds. An answer to
    /// its `Bind` may correct it.
    fn text_ahead(&self, portal: &[u8]) -> (Text, Option<Bound<Span>>) {
        let mut statement = None;
        let mut list = None;
        let mut ahead = self.ahead;
        let theirs = self.lease.pending().filter(|(_, op)| !op.note.is_injected());
        for (request, op) in theirs.chain(self.skipped.iter()).rev() {
            // A pipeline may be long; its statement is often prepared long ago.
            let left = if statement.is_some() { ahead.parses } else { ahead.binds };
            if left == 0 {
                break;
            }
            ahead.went(request);
            match (request, statement) {
                (Request::Bind, None) if self.book.get(op.portal) == portal => {
                    statement = Some(self.book.get(op.name));
                    list = Some(op.list);
                }
                (Request::Parse, Some(name)) if self.book.get(op.name) == name => {
                    return (op.text.clone(), list);
                }
                _ => {}
            }
        }
        let known = match statement {
            Some(name) => self.book.names.statement(name),
            None => self.book.names.portal(portal).map(|(statement, _)| statement),
        };
        (Text { statement: known.cloned(), ..Text::default() }, list)
    }

    fn send(&mut self, request: Request, mut op: Op) {
        if self.book.mode == AuditMode::WriteAhead {
            self.book.intend(request, &mut op);
        }
        let mut changes = self.changes;
        changes.came(request, &op.note);
        match self.lease.sent(request, op) {
            Sent::Owed => {
                self.ahead.came(request);
                self.changes = changes;
            }
            Sent::Ignored(_) => {}
            Sent::Skipped(op) if gives_text(request) => self.skipped.keep(request, op, &mut self.ahead),
            Sent::Skipped(op) => self.book.skipped(request, &op),
        }
        if request == Request::Sync && !self.skipped.is_empty() {
            self.skipped.clear(&mut self.ahead);
        } else if self.lease.is_skipping() && self.lease.owed() == 0 {
            self.skipped.fit(&mut self.ahead, &mut self.book, self.lease.status());
        }
    }

    /// Data of a `COPY` goes by, or the next piece of it.
    pub(crate) fn copied(&mut self, data: &[u8]) {
        if let Some(op) = self.lease.current().filter(|op| op.is_execution()) {
            self.book.copied(op, data);
        }
    }

    /// From now on this is decided about whatever comes or is left: nothing, or why it is refused or ended.
    pub(crate) const fn decide(&mut self, decision: Option<Decision>) {
        self.book.decision = decision;
    }

    /// What is looked at next has waited for a backend.
    pub(crate) fn waited(&mut self, wait: Duration) {
        self.book.waited(wait);
    }

    /// Notes a message from the server. Of a long one `body` may be only the beginning.
    pub(crate) fn answered(
        &mut self,
        (tag, body): (u8, &[u8]),
        total_bytes: usize,
        listener: &mut impl Listener,
    ) -> Fate {
        let answer = classify(tag, body);
        let mut fate = Fate::Forward;
        if let Some(op) = self.lease.current() {
            op.bytes_out = op.bytes_out.saturating_add(u64::try_from(total_bytes).unwrap_or(u64::MAX));
            fate = op.note.fate(tag);
            if matches!(op.note.injected(), Some(Injected::Check(..))) {
                listener.hear(Told::Shown(&op.note, self.book.get(op.name), (tag, body, total_bytes)));
            }
            match answer {
                Answer::Row => {
                    op.rows = op.rows.saturating_add(1);
                    // A row of the request being answered changes nothing that is owed.
                    if op.is_execution() {
                        return fate;
                    }
                }
                Answer::CopyIn => op.copy = Some(Kind::CopyIn),
                Answer::CopyOut => op.copy = Some(Kind::CopyOut),
                Answer::CopyStream if op.copy.is_some() => {
                    if tag == backend::COPY_DATA {
                        self.book.copied(op, body);
                    }
                    return fate;
                }
                Answer::ParameterDescription if body.len() < total_bytes.saturating_sub(HEADER_BYTES) => {}
                Answer::ParameterDescription => {
                    self.book.names.described(self.book.arena.get(op.name), views::types(body));
                }
                Answer::ParseComplete
                | Answer::BindComplete
                | Answer::CloseComplete
                | Answer::Described
                | Answer::Complete
                | Answer::Suspended
                | Answer::CallResponse
                | Answer::CopyStream
                | Answer::Error
                | Answer::Ready(_)
                | Answer::Async
                | Answer::Unknown => {}
            }
        }
        self.settle(answer, (tag, body), listener);
        if let Answer::Ready(status) = answer {
            if fate == Fate::Forward {
                self.book.ready(status);
                listener.hear(Told::Ready(status));
            }
            self.release();
        } else if self.book.is_heavy() {
            self.release();
        }
        fate
    }

    /// What an answer means for the requests it belongs to.
    fn settle(&mut self, answer: Answer, (tag, body): (u8, &[u8]), listener: &mut impl Listener) {
        let (book, ahead, changes) = (&mut self.book, &mut self.ahead, &mut self.changes);
        let mut failed = Vec::new();
        let status_before = self.lease.status();
        self.lease.answered(answer, |event| match event {
            Event::Command(op) => {
                let text = Fields::of(body).cstr("tag").unwrap_or_default();
                listener.hear(Told::Command(
                    &mut op.note,
                    if tag == backend::COMMAND_COMPLETE { text } else { b"" },
                ));
                if !op.note.is_injected() {
                    book.command(op, tag, body);
                }
            }
            Event::Failed(request, op) => {
                let changed = matches!(op.note, Note::Changed).then(|| rename::changed(body));
                let body = changed.as_ref().and_then(|error| error.get(HEADER_BYTES..)).unwrap_or(body);
                let report = ServerReport::parse(body);
                op.decision = op.decision.or_else(|| op.note.decision(report.code));
                listener.hear(Told::Failed(request, &op.note, book.get(op.name), &report));
                let id = op.note.statement_id();
                let renamed = id.and_then(|id| rename::text(report.message, id, book.get(op.name)));
                book.failed(op, report.code, renamed.as_deref().unwrap_or(report.message));
            }
            Event::Done(request, op) => {
                changes.went(request, &op.note);
                if op.error.is_none() {
                    listener.hear(Told::Done(request, &op.note, book.get(op.name)));
                }
                book.pins = listener.pins();
                let status = if let Answer::Ready(status) = answer { status } else { status_before };
                if !op.note.is_injected() {
                    ahead.went(request);
                    failed.extend(book.done(request, op, status).map(|op| (request, op)));
                } else if op.fails_for_client() {
                    book.done(Request::Bind, op, status);
                }
            }
            Event::Suspended(op) => {
                changes.went(Request::Execute, &op.note);
                listener.hear(Told::Suspended(&op.note));
                book.pins = listener.pins();
                book.suspended(op);
            }
            Event::Skipped(request, op) => {
                changes.went(request, &op.note);
                listener.hear(Told::Skipped(&op.note, book.get(op.name)));
                if !op.note.is_injected() {
                    ahead.went(request);
                    book.skipped(request, &op);
                    if gives_text(request) {
                        failed.push((request, op));
                    }
                }
            }
        });
        // More of their batch may come.
        if self.lease.is_skipping() {
            failed.into_iter().for_each(|(request, op)| self.skipped.keep(request, op, ahead));
        }
    }

    /// Gives back the memory of what is answered and recorded.
    fn release(&mut self) {
        if self.lease.owed() == 0 && self.skipped.is_empty() {
            self.book.rest();
            self.lease.rest();
        } else if let Some((_, oldest)) = self.lease.pending().next() {
            self.book.release_before(oldest);
        }
    }

    /// The session ends: what is not answered is recorded as `outcome`.
    pub(crate) fn end(&mut self, outcome: Outcome, code: Option<SqlState>, message: &[u8]) {
        let status = self.lease.status();
        for (request, op) in self.lease.abandon().filter(|(_, op)| !op.note.is_injected()) {
            self.book.abandoned(request, &op, (outcome, code, message));
        }
        self.book.ready(status);
        self.book.ready(b'I');
    }
}

/// What a message from the server means for what is owed.
fn classify(tag: u8, body: &[u8]) -> Answer {
    match tag {
        backend::DATA_ROW => Answer::Row,
        backend::COMMAND_COMPLETE | backend::EMPTY_QUERY_RESPONSE => Answer::Complete,
        backend::READY_FOR_QUERY => Answer::Ready(body.first().copied().unwrap_or_default()),
        backend::PARSE_COMPLETE => Answer::ParseComplete,
        backend::BIND_COMPLETE => Answer::BindComplete,
        backend::CLOSE_COMPLETE => Answer::CloseComplete,
        backend::PARAMETER_DESCRIPTION => Answer::ParameterDescription,
        backend::ROW_DESCRIPTION | backend::NO_DATA => Answer::Described,
        backend::PORTAL_SUSPENDED => Answer::Suspended,
        backend::FUNCTION_CALL_RESPONSE => Answer::CallResponse,
        backend::COPY_IN_RESPONSE => Answer::CopyIn,
        backend::COPY_OUT_RESPONSE => Answer::CopyOut,
        backend::COPY_DATA | backend::COPY_DONE => Answer::CopyStream,
        backend::ERROR_RESPONSE => Answer::Error,
        backend::NOTICE_RESPONSE | backend::NOTIFICATION_RESPONSE | backend::PARAMETER_STATUS => {
            Answer::Async
        }
        _ => Answer::Unknown,
    }
}
