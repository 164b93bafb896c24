//! What the client is told when a session cannot begin or go on: one table from cause to SQLSTATE.
//!
//! Source: errcodes-appendix

use crate::audit::{Decision, Unavailable};
use crate::backend::{Answer, LeaseError};
use crate::protocol::frame::{FrameError, HEADER_BYTES};
use crate::protocol::report::{Report, ServerReport, Severity};
use crate::protocol::sqlstate::SqlState;
use crate::routing::{Reason, Refusal};

use super::relay::End;

/// A login took too long.
pub(crate) fn login_timeout() -> Report {
    Report::fatal(SqlState::CANNOT_CONNECT_NOW, "canceling authentication due to timeout")
}

/// A replication connection would go around the statement log.
pub(crate) fn replication_refused() -> Report {
    Report::fatal(SqlState::FEATURE_NOT_SUPPORTED, "replication connections are not supported")
        .detail("What a replication connection reads cannot be recorded statement by statement.")
}

/// A message that may not come during a login.
pub(crate) fn unexpected_login_message() -> Report {
    Report::fatal(SqlState::PROTOCOL_VIOLATION, "expected a password message")
}

/// The exchange itself broke its rules.
pub(crate) fn malformed_login(cause: &impl std::fmt::Display) -> Report {
    Report::fatal(SqlState::PROTOCOL_VIOLATION, "malformed SCRAM message").detail(cause.to_string())
}

/// A limit on clients is reached.
pub(crate) fn too_many_clients(limit: &str) -> Report {
    Report::fatal(SqlState::TOO_MANY_CONNECTIONS, "sorry, too many clients already")
        .detail(format!("The limit {limit} is reached."))
}

/// All backends a limit allows are in use.
pub(crate) fn no_backend(limit: &str) -> Report {
    Report::fatal(SqlState::TOO_MANY_CONNECTIONS, "too many connections to the database")
        .detail(format!("All backends within the limit {limit} are in use."))
}

/// There is no backend for a request; the session goes on.
pub(crate) fn no_lease(cause: &LeaseError) -> Report {
    match cause {
        LeaseError::Limit { name } => {
            Report::error(SqlState::TOO_MANY_CONNECTIONS, "too many connections to the database")
                .detail(format!("All backends within the limit {name} are in use."))
        }
        LeaseError::Settings => {
            Report::error(SqlState::QUERY_CANCELED, "canceling statement due to statement timeout")
                .detail("The settings of the session were being restored.")
        }
        LeaseError::Connect(cause) => match cause.answer() {
            Answer::Report(report) => Report { severity: Severity::Error, ..report },
            Answer::AsSent(frame) => {
                let said = ServerReport::parse(frame.get(HEADER_BYTES..).unwrap_or_default());
                Report::error(
                    said.code.unwrap_or(SqlState::CONNECTION_FAILURE),
                    String::from_utf8_lossy(said.message).into_owned(),
                )
            }
        },
    }
}

/// By which rule a client is turned away.
pub(crate) const fn refused_by(refusal: &Refusal) -> Decision {
    match refusal {
        Refusal::NoTls | Refusal::TokenWithoutTls => Decision::NoTls,
        Refusal::Database { .. } | Refusal::Permission { .. } => Decision::Route,
        Refusal::NoUser => Decision::Login,
        Refusal::Password { reason, .. } => match reason {
            Reason::CustomerSuspended => Decision::CustomerSuspended,
            Reason::LoginDisabled | Reason::LoginExpired | Reason::TokenExpired | Reason::TokenRevoked => {
                Decision::LoginNotInForce
            }
            Reason::HintsDisagree | Reason::NoCustomerNamed => Decision::Route,
            Reason::UnknownCustomer
            | Reason::UnknownLogin
            | Reason::NoVerifier
            | Reason::WrongPassword
            | Reason::NotAToken
            | Reason::UnknownToken
            | Reason::Jwt(_) => Decision::Login,
        },
    }
}

/// By which rule there is none.
pub(crate) const fn no_lease_by(cause: &LeaseError) -> Decision {
    match cause {
        LeaseError::Limit { .. } => Decision::BackendLimit,
        LeaseError::Settings => Decision::SettingsTimeout,
        LeaseError::Connect(_) => Decision::NoBackend,
    }
}

/// A cancel request reached a statement that waited for a backend.
pub(crate) fn canceled_while_waiting() -> Report {
    Report::error(SqlState::QUERY_CANCELED, "canceling statement due to user request")
        .detail("It was waiting for a connection to the database.")
}

/// The operating system gives no random bytes for a key.
pub(crate) fn no_randomness() -> Report {
    Report::fatal(SqlState::INTERNAL_ERROR, "no random bytes for a cancel key")
}

/// The process is ending.
pub(crate) fn shutting_down() -> Report {
    Report::fatal(SqlState::ADMIN_SHUTDOWN, "terminating connection due to administrator command")
}

/// The log cannot take a record.
pub(crate) fn audit_unavailable(cause: Unavailable) -> Report {
    Report::fatal(SqlState::IO_ERROR, "the audit log is not available")
        .detail(cause.to_string())
        .hint("No statement is let through without its record. Try again when the log can be written.")
}

/// What a client is told at the end of its session; `None` when it knows or is gone.
pub(crate) fn farewell(end: &End) -> Option<Report> {
    match end {
        End::Terminated | End::ClientLeft | End::BackendLeft { told: true } => None,
        End::BackendLeft { told: false } => {
            Some(Report::fatal(SqlState::CONNECTION_FAILURE, "the connection to the database was lost"))
        }
        End::Violation(error) => Some(Report::fatal(SqlState::PROTOCOL_VIOLATION, violation(error))),
        End::UnknownMessage(tag) => {
            Some(Report::fatal(SqlState::PROTOCOL_VIOLATION, format!("invalid frontend message type {tag}")))
        }
        End::BackendViolation => Some(Report::fatal(
            SqlState::CONNECTION_FAILURE,
            "the database sent a message that breaks the protocol",
        )),
        End::Audit(cause) => Some(audit_unavailable(*cause)),
        End::Drained | End::Killed => Some(shutting_down()),
        End::SettingsLost => Some(
            Report::fatal(SqlState::CONNECTION_FAILURE, "the settings of the session could not be restored")
                .hint("A setting that the server once took is refused now."),
        ),
        End::IdleInTransaction => Some(Report::fatal(
            SqlState::IDLE_IN_TRANSACTION_TIMEOUT,
            "terminating connection due to idle-in-transaction timeout",
        )),
        End::IdleSession => Some(Report::fatal(
            SqlState::IDLE_SESSION_TIMEOUT,
            "terminating connection due to idle-session timeout",
        )),
    }
}

fn violation(error: &FrameError) -> String {
    error.to_string()
}

/// The word for a session's end in its record.
pub(crate) const fn reason(end: &End) -> &'static str {
    match end {
        End::Terminated => "terminate",
        End::ClientLeft => "client left",
        End::BackendLeft { .. } => "database left",
        End::Violation(_) | End::UnknownMessage(_) => "protocol violation by client",
        End::BackendViolation => "protocol violation by database",
        End::Audit(_) => "audit log not available",
        End::Drained | End::Killed => "shutdown",
        End::SettingsLost => "settings not restored",
        End::IdleInTransaction => "idle in transaction timeout",
        End::IdleSession => "idle session timeout",
    }
}

/// What was decided about what was under way at a session's end; `None`: nothing, it was lost or over.
pub(crate) const fn decision(end: &End) -> Option<Decision> {
    Some(match end {
        End::Terminated | End::BackendLeft { .. } | End::Drained => return None,
        End::ClientLeft => Decision::EndedClientLeft,
        End::Violation(_) | End::UnknownMessage(_) => Decision::EndedProtocol,
        End::BackendViolation => Decision::EndedDatabaseProtocol,
        End::Audit(_) => Decision::EndedAuditLog,
        End::Killed => Decision::EndedShutdown,
        End::SettingsLost => Decision::SettingsLost,
        End::IdleInTransaction => Decision::EndedIdleInTransaction,
        End::IdleSession => Decision::EndedIdleSession,
    })
}
