//! Cursors as statements: what `DECLARE` opens and `FETCH`, `MOVE` and `CLOSE` ask for.
//!
//! What always holds: a cursor only goes forward, for its rows are not kept; whatever asks for another way is refused.

#![expect(
    clippy::wildcard_enum_match_arm,
    reason = "the parser's enums grow with its versions; what is not known is refused"
)]

use datafusion::logical_expr::LogicalPlan;
use datafusion::sql::sqlparser::ast::{
    Declare, FetchDirection, Ident, ObjectName, Query, Value, ValueWithSpan,
};

use super::fault::Fault;
use crate::protocol::sqlstate::SqlState;

/// What stands behind `INTO` of a `FETCH` that was written as `MOVE`.
pub(super) const MOVE: &str = "move";

/// A cursor to be opened.
#[derive(Debug, Clone)]
pub(super) struct Opening {
    pub(super) name: String,
    pub(super) plan: LogicalPlan,
    pub(super) is_binary: bool,
    /// It outlives its transaction.
    pub(super) holds: bool,
}

/// What is asked of a `DECLARE`, and the query it is for.
///
/// # Errors
/// 0A000: it is to go backwards.
pub(super) fn declared(declare: Declare) -> Result<(String, bool, bool, Box<Query>), Fault> {
    let Declare { names, binary, scroll, hold, for_query, .. } = declare;
    let (Some(name), Some(query)) = (names.into_iter().next(), for_query) else {
        return Err(Fault::new(SqlState::FEATURE_NOT_SUPPORTED, "this form of DECLARE is not supported"));
    };
    if scroll == Some(true) {
        let text = "scrollable cursors are not supported: cursors of the console only go forward";
        return Err(Fault::new(SqlState::FEATURE_NOT_SUPPORTED, text));
    }
    Ok((called(&name), binary.unwrap_or(false), hold.unwrap_or(false), query))
}

/// Rows that are wanted of a cursor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Fetching {
    pub(super) name: String,
    /// `None`: all that are left.
    pub(super) count: Option<u64>,
    /// The rows are passed over.
    pub(super) moves: bool,
}

/// What a `FETCH` or a `MOVE` asks for.
///
/// # Errors
/// 55000: another way than forward.
pub(super) fn fetching(
    name: &Ident,
    direction: &FetchDirection,
    into: Option<&ObjectName>,
) -> Result<Fetching, Fault> {
    let count = match direction {
        FetchDirection::Next | FetchDirection::Forward { limit: None } => Some(1),
        FetchDirection::All | FetchDirection::ForwardAll => None,
        FetchDirection::Count { limit }
        | FetchDirection::Relative { limit }
        | FetchDirection::Forward { limit: Some(limit) } => Some(number(limit)?),
        _ => return Err(backwards()),
    };
    Ok(Fetching { name: called(name), count, moves: into.is_some() })
}

fn number(limit: &ValueWithSpan) -> Result<u64, Fault> {
    match &limit.value {
        Value::Number(digits, _) => digits.parse().ok().filter(|count| *count > 0).ok_or_else(backwards),
        _ => Err(backwards()),
    }
}

fn backwards() -> Fault {
    Fault::new(SqlState::NOT_IN_PREREQUISITE_STATE, "cursor can only scan forward")
}

/// A name as it counts: in small letters unless it is quoted.
pub(super) fn called(name: &Ident) -> String {
    if name.quote_style.is_some() { name.value.clone() } else { name.value.to_lowercase() }
}

/// There is no such cursor.
pub(super) fn missing(name: &str) -> Fault {
    Fault::new(SqlState::INVALID_CURSOR_NAME, format!("cursor \"{name}\" does not exist"))
}
