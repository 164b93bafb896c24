//! Why a read fails: what the client is told, with PostgreSQL's codes.

#![expect(
    clippy::wildcard_enum_match_arm,
    reason = "errors grow with the engine's versions; what is not known is an internal error"
)]

use std::fmt;

use datafusion::error::DataFusionError;
use datafusion::sql::sqlparser::parser::ParserError;
use pgwire::error::{ErrorInfo, PgWireError};

use crate::protocol::report::Report;
use crate::protocol::sqlstate::SqlState;

/// An error of one statement.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Fault {
    pub(super) code: SqlState,
    pub(super) message: String,
}

impl Fault {
    pub(super) fn new(code: SqlState, message: impl Into<String>) -> Self {
        Self { code, message: message.into() }
    }

    pub(super) fn report(&self) -> Report {
        Report::error(self.code, self.message.clone())
    }

    pub(super) fn timeout() -> Self {
        Self::new(SqlState::QUERY_CANCELED, "canceling statement due to statement timeout")
    }

    pub(super) fn cancelled() -> Self {
        Self::new(SqlState::QUERY_CANCELED, "canceling statement due to user request")
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.message, self.code)
    }
}

impl std::error::Error for Fault {}

pub(super) fn of_parser(error: &ParserError) -> Fault {
    let message = match error {
        ParserError::TokenizerError(message) | ParserError::ParserError(message) => message.clone(),
        ParserError::RecursionLimitExceeded => {
            return Fault::new(SqlState::STATEMENT_TOO_COMPLEX, "the statement is nested too deeply");
        }
    };
    Fault::new(SqlState::SYNTAX_ERROR, message)
}

/// An error of the query engine. What it says of its own memory or files is put in our words.
pub(super) fn of_engine(error: &DataFusionError) -> Fault {
    if let DataFusionError::External(own) = error.find_root()
        && let Some(fault) = own.downcast_ref::<Fault>()
    {
        return fault.clone();
    }
    // What the engine was doing says less than what went wrong.
    let message = error.find_root().strip_backtrace();
    let first = message.lines().next().unwrap_or_default().to_owned();
    let code = match error.find_root() {
        DataFusionError::SQL(error, _) => return of_parser(error),
        DataFusionError::ResourcesExhausted(_) => {
            let text = format!("out of memory: {first}");
            return Fault::new(SqlState::OUT_OF_MEMORY, text);
        }
        DataFusionError::SchemaError(_, _) => SqlState::UNDEFINED_COLUMN,
        DataFusionError::NotImplemented(_) => SqlState::FEATURE_NOT_SUPPORTED,
        DataFusionError::Plan(text) if text.contains("table function") => SqlState::UNDEFINED_FUNCTION,
        DataFusionError::Plan(text) if text.contains("not found") && text.contains("table") => {
            SqlState::UNDEFINED_TABLE
        }
        DataFusionError::Plan(text) if text.contains("function") => SqlState::UNDEFINED_FUNCTION,
        DataFusionError::Plan(_) => SqlState::SYNTAX_ERROR_OR_ACCESS,
        DataFusionError::External(_) | DataFusionError::IoError(_) => SqlState::IO_ERROR,
        DataFusionError::ArrowError(_, _) | DataFusionError::Execution(_) => SqlState::DATA_EXCEPTION,
        _ => SqlState::INTERNAL_ERROR,
    };
    Fault::new(code, first)
}

/// An error of encoding a value or reading a parameter.
pub(super) fn of_wire(error: PgWireError) -> Fault {
    match error {
        PgWireError::ApiError(error) => match error.downcast::<DataFusionError>() {
            Ok(error) => of_engine(&error),
            Err(error) => Fault::new(SqlState::DATA_EXCEPTION, error.to_string()),
        },
        other => {
            let info = ErrorInfo::from(other);
            let code = <[u8; 5]>::try_from(info.code.as_bytes()).map_or(SqlState::INTERNAL_ERROR, SqlState);
            Fault::new(code, info.message)
        }
    }
}
