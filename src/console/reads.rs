//! The record of each read: text, rows, outcome, as for any other statement.
//!
//! What always holds: in `write_ahead` the intent is on disk before anything is read; in `acknowledged` the record is on disk
//! before the client sees `ReadyForQuery`; a read that is dropped on its way is recorded as `unknown`.

use std::future::poll_fn;
use std::time::Instant;

use super::fault::Fault;
use crate::audit::{Decision, Kind, Outcome, SessionLog, Statement, Ticket, Unavailable};
use crate::config::AuditMode;
use crate::protocol::sqlstate::SqlState;
use crate::telemetry;

/// The records of one session.
#[derive(Debug)]
pub(super) struct Reads {
    log: SessionLog,
    mode: AuditMode,
    sequence: u64,
    ticket: Option<Ticket>,
    /// Begun and not ended.
    open: Option<Read>,
}

/// A read under way.
#[derive(Debug, Clone)]
struct Read {
    sequence: u64,
    text: String,
    started: Instant,
    started_ns: u64,
    bytes_in: u64,
}

/// How a read ended.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Ended<'a> {
    pub(super) rows: u64,
    pub(super) bytes_out: u64,
    pub(super) tag: &'a str,
    pub(super) fault: Option<&'a Fault>,
    pub(super) transaction_status: u8,
}

impl Reads {
    pub(super) const fn new(log: SessionLog, mode: AuditMode) -> Self {
        Self { log, mode, sequence: 0, ticket: None, open: None }
    }

    /// A read begins.
    ///
    /// # Errors
    /// 58030: it cannot be recorded, so it must not happen.
    pub(super) async fn begin(&mut self, text: &str, bytes_in: usize) -> Result<(), Fault> {
        self.sequence = self.sequence.saturating_add(1);
        let read = Read {
            sequence: self.sequence,
            text: text.to_owned(),
            started: Instant::now(),
            started_ns: u64::try_from(telemetry::wall_clock().as_nanos()).unwrap_or(u64::MAX),
            bytes_in: u64::try_from(bytes_in).unwrap_or(u64::MAX),
        };
        let log = &mut self.log;
        poll_fn(|cx| log.poll_room(cx)).await.map_err(unavailable)?;
        if self.mode == AuditMode::WriteAhead {
            let intent = self.log.intent(&read.statement()).map_err(unavailable)?;
            let log = &mut self.log;
            poll_fn(|cx| log.poll_durable(intent, cx)).await.map_err(unavailable)?;
        }
        self.open = Some(read);
        Ok(())
    }

    /// The read that began has ended.
    pub(super) fn end(&mut self, ended: Ended<'_>) {
        let Some(read) = self.open.take() else { return };
        let outcome = match ended.fault.map(|fault| fault.code) {
            None => Outcome::Ok,
            Some(SqlState::QUERY_CANCELED | SqlState::CONNECTION_FAILURE) => Outcome::Cancelled,
            Some(SqlState::READ_ONLY_TRANSACTION | SqlState::INSUFFICIENT_PRIVILEGE) => Outcome::Refused,
            Some(SqlState::TOO_MANY_CONNECTIONS | SqlState::IO_ERROR) => Outcome::Refused,
            Some(_) => Outcome::Error,
        };
        let record = Statement {
            duration_ns: u64::try_from(read.started.elapsed().as_nanos()).unwrap_or(u64::MAX),
            commands: u32::from(ended.fault.is_none()),
            tag: ended.tag.as_bytes(),
            rows: ended.rows,
            bytes_out: ended.bytes_out,
            sqlstate: ended.fault.map(|fault| fault.code.0),
            message: ended.fault.map_or(&[][..], |fault| fault.message.as_bytes()),
            transaction_status: ended.transaction_status,
            outcome,
            decision: ended.fault.and_then(refused_by),
            ..read.statement()
        };
        self.write(&record);
    }

    fn write(&mut self, record: &Statement<'_>) {
        let written = match self.mode {
            AuditMode::WriteAhead => self.log.outcome(record),
            AuditMode::Acknowledged | AuditMode::Buffered => self.log.statement(record),
        };
        match written {
            Ok(ticket) => self.ticket = Some(ticket),
            Err(unavailable) => {
                tracing::error!(%unavailable, "a read of the audit log could not be recorded");
            }
        }
    }

    /// Waits until what `acknowledged` promises holds.
    ///
    /// # Errors
    /// 58030: the records cannot be written.
    pub(super) async fn settle(&mut self) -> Result<(), Fault> {
        let Some(ticket) = self.ticket.take().filter(|_| self.mode == AuditMode::Acknowledged) else {
            return Ok(());
        };
        let log = &mut self.log;
        poll_fn(|cx| log.poll_durable(ticket, cx)).await.map_err(unavailable)
    }

    /// The session ends.
    pub(super) fn close(&mut self, reason: &str) {
        self.abandon();
        if let Err(unavailable) = self.log.closed(reason) {
            tracing::error!(%unavailable, "the end of a session could not be recorded");
        }
    }

    /// The client has left, and what is under way ends for that reason.
    pub(super) fn leave(&mut self) {
        self.give_up(Outcome::Cancelled, Some(Decision::EndedClientLeft));
    }

    /// What is under way ends and nobody knows how.
    fn abandon(&mut self) {
        self.give_up(Outcome::Unknown, None);
    }

    fn give_up(&mut self, outcome: Outcome, decision: Option<Decision>) {
        if let Some(read) = self.open.take() {
            let duration_ns = u64::try_from(read.started.elapsed().as_nanos()).unwrap_or(u64::MAX);
            self.write(&Statement { duration_ns, outcome, decision, ..read.statement() });
        }
    }
}

impl Drop for Reads {
    fn drop(&mut self) {
        self.abandon();
    }
}

impl Read {
    fn statement(&self) -> Statement<'_> {
        Statement {
            sequence: self.sequence,
            kind: Kind::LogRead,
            text: self.text.as_bytes(),
            text_bytes: u64::try_from(self.text.len()).unwrap_or(u64::MAX),
            started_ns: self.started_ns,
            bytes_in: self.bytes_in,
            ..Statement::default()
        }
    }
}

/// By which rule a read failed; `None`: by none, it was wrong or cancelled.
fn refused_by(fault: &Fault) -> Option<Decision> {
    match fault.code {
        SqlState::READ_ONLY_TRANSACTION => Some(Decision::ReadOnly),
        SqlState::INSUFFICIENT_PRIVILEGE => Some(Decision::NotPermitted),
        SqlState::TOO_MANY_CONNECTIONS | SqlState::PROGRAM_LIMIT_EXCEEDED | SqlState::OUT_OF_MEMORY => {
            Some(Decision::ReadLimit)
        }
        SqlState::QUERY_CANCELED => Some(Decision::ReadLimit).filter(|_| *fault == Fault::timeout()),
        SqlState::IO_ERROR => Some(Decision::AuditLog),
        // It left while rows were on their way to it.
        SqlState::CONNECTION_FAILURE => Some(Decision::EndedClientLeft),
        _ => None,
    }
}

fn unavailable(cause: Unavailable) -> Fault {
    Fault::new(SqlState::IO_ERROR, format!("the audit log is not available: {cause}"))
}
