//! `SET` and `SHOW`: what drivers and tools set in passing, kept for the session and without effect on what it may see.
//!
//! What always holds: what says what is cannot be set, neither by `SET` nor at the begin of a session.

#![expect(
    clippy::wildcard_enum_match_arm,
    reason = "the parser's enums grow with its versions; what is not known is refused"
)]

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use datafusion::arrow::array::{ArrayRef, RecordBatch, StringArray};
use datafusion::arrow::datatypes::{DataType, Field, Schema};
use datafusion::prelude::SessionContext;
use datafusion::sql::sqlparser::ast::{ContextModifier, Reset, Set, TransactionMode};

use super::fault::{Fault, of_engine};
use super::statement::{Effect, Work};
use crate::protocol::sqlstate::SqlState;

/// What the console calls itself, where a server says its version.
pub(super) const SERVER_VERSION: &str = "16.0 (OneVault console)";

/// Settings that clients know, with their values at the begin of a session. Those with a `true` are reported.
const KNOWN: [(&str, &str, bool); 35] = [
    ("server_version", SERVER_VERSION, true),
    ("server_version_num", "160000", false),
    ("server_encoding", "UTF8", true),
    ("client_encoding", "UTF8", true),
    ("DateStyle", "ISO, MDY", true),
    ("IntervalStyle", "postgres", true),
    ("TimeZone", "UTC", true),
    ("integer_datetimes", "on", true),
    ("standard_conforming_strings", "on", true),
    ("is_superuser", "off", true),
    ("in_hot_standby", "off", true),
    ("default_transaction_read_only", "on", true),
    ("transaction_read_only", "on", false),
    ("transaction_isolation", "read committed", false),
    ("default_transaction_isolation", "read committed", false),
    ("session_authorization", "", true),
    ("application_name", "", true),
    ("search_path", "audit, pg_catalog", false),
    ("statement_timeout", "0", false),
    ("lock_timeout", "0", false),
    ("idle_in_transaction_session_timeout", "0", false),
    ("default_tablespace", "", false),
    ("temp_tablespaces", "", false),
    ("extra_float_digits", "1", false),
    ("bytea_output", "hex", false),
    ("client_min_messages", "notice", false),
    ("max_identifier_length", "63", false),
    ("max_index_keys", "32", false),
    ("row_security", "on", false),
    ("lc_monetary", "C", false),
    ("lc_collate", "C", false),
    ("jit", "off", false),
    ("ssl", "on", false),
    ("synchronous_commit", "on", false),
    ("log_destination", "stderr", false),
];

/// Those that a client may not set: they say what is.
const FIXED: [&str; 9] = [
    "server_version",
    "server_version_num",
    "server_encoding",
    "integer_datetimes",
    "is_superuser",
    "in_hot_standby",
    "session_authorization",
    "max_identifier_length",
    "log_destination",
];

/// Names and values at the begin of a session.
pub(super) fn known() -> impl Iterator<Item = (&'static str, &'static str)> {
    KNOWN.iter().map(|(name, first, _)| (*name, *first))
}

/// Names of settings that a client may ask for when its session begins.
pub(super) fn askable() -> impl Iterator<Item = &'static str> {
    let is_askable = |(name, _, reported): &(&str, &str, bool)| {
        let is_write = name.ends_with("transaction_read_only");
        *name == "application_name" || !(*reported || is_write || FIXED.contains(name))
    };
    KNOWN.iter().filter(move |known| is_askable(known)).map(|(name, _, _)| *name)
}

/// What a session's settings are at this moment, for functions and tables that show them.
#[derive(Debug, Clone, Default)]
pub(super) struct Told(Arc<RwLock<BTreeMap<String, String>>>);

impl Told {
    pub(super) fn tell(&self, settings: &Settings) {
        let all = settings.all().map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned())).collect();
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = all;
    }

    /// The value of a setting, whatever its letters; `None`: there is none.
    pub(super) fn of(&self, name: &str) -> Option<String> {
        let told = self.0.read().unwrap_or_else(PoisonError::into_inner);
        told.get(&name.to_ascii_lowercase()).cloned()
    }
}

/// A session's settings, by their names in small letters.
#[derive(Debug, Clone)]
pub(super) struct Settings {
    /// As the session began.
    begin: BTreeMap<String, String>,
    /// As they are when the transaction has ended.
    lasting: BTreeMap<String, String>,
    values: BTreeMap<String, String>,
    is_operator: bool,
}

impl Settings {
    /// `asked`: names of [`askable`] and their values, as the client sent them when it came.
    pub(super) fn new(login: &str, asked: &[(&'static str, String)], is_operator: bool) -> Self {
        let own = ("session_authorization", login);
        let asked = asked.iter().map(|(name, value)| (*name, value.as_str()));
        let all = asked.chain([own]).map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned()));
        let begin: BTreeMap<String, String> = all.collect();
        Self { lasting: begin.clone(), values: begin.clone(), begin, is_operator }
    }

    /// Whether everybody's records are shown.
    pub(super) const fn is_operator(&self) -> bool {
        self.is_operator
    }

    /// Sets it; where it is local, until the end of the transaction.
    pub(super) fn put(&mut self, name: &str, value: &str, is_local: bool) {
        let name = name.to_ascii_lowercase();
        if !is_local {
            self.lasting.insert(name.clone(), value.to_owned());
        }
        self.values.insert(name, value.to_owned());
    }

    /// Sets it to what it was at the begin of the session; `None`: all.
    pub(super) fn reset(&mut self, name: Option<&str>) {
        let Some(name) = name else {
            self.lasting.clone_from(&self.begin);
            self.values.clone_from(&self.begin);
            return;
        };
        let name = name.to_ascii_lowercase();
        for values in [&mut self.lasting, &mut self.values] {
            match self.begin.get(&name) {
                Some(value) => values.insert(name.clone(), value.clone()),
                None => values.remove(&name),
            };
        }
    }

    /// Forgets what was set for the transaction only.
    pub(super) fn end_local(&mut self) {
        self.values.clone_from(&self.lasting);
    }

    /// All settings and their values.
    pub(super) fn all(&self) -> impl Iterator<Item = (&'static str, &str)> {
        KNOWN.iter().map(|(name, first, _)| (*name, self.of(name, first)))
    }

    /// What a server reports at the begin of a session and when it changes.
    pub(super) fn reported(&self) -> impl Iterator<Item = (&'static str, &str)> {
        KNOWN
            .iter()
            .filter(|(_, _, reported)| *reported)
            .map(|(name, first, _)| (*name, self.of(name, first)))
    }

    fn of<'a>(&'a self, name: &str, first: &'a str) -> &'a str {
        self.values.get(&name.to_ascii_lowercase()).map_or(first, String::as_str)
    }

    /// The client's own limit on a statement, if it set one.
    pub(super) fn statement_timeout(&self) -> Option<Duration> {
        let text = self.values.get("statement_timeout")?.trim();
        let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
        let number: u64 = digits.trim().parse().ok()?;
        let unit = text.get(digits.len()..).unwrap_or_default();
        let ms = match unit {
            "" | "ms" => number,
            "s" => number.checked_mul(1_000)?,
            "min" => number.checked_mul(60_000)?,
            "h" => number.checked_mul(3_600_000)?,
            _ => return None,
        };
        (ms > 0).then(|| Duration::from_millis(ms))
    }

    /// `SHOW` of a setting.
    pub(super) fn show(&self, context: &SessionContext, words: &[String]) -> Result<Work, Fault> {
        let joined = words.join(" ").to_ascii_lowercase();
        let name = match joined.as_str() {
            "time zone" => "timezone",
            "transaction isolation level" => "transaction_isolation",
            "session authorization" => "session_authorization",
            other => other,
        };
        if name == "all" {
            let rows: Vec<[&str; 3]> =
                KNOWN.iter().map(|(name, first, _)| [*name, self.of(name, first), ""]).collect();
            return table(context, &["name", "setting", "description"], &rows);
        }
        let known = KNOWN.iter().find(|(known, _, _)| known.eq_ignore_ascii_case(name));
        let Some((known, first, _)) = known else { return Err(unknown(name)) };
        table(context, &[known], &[[self.of(known, first)]])
    }
}

fn unknown(name: &str) -> Fault {
    Fault::new(SqlState::UNDEFINED_OBJECT, format!("unrecognized configuration parameter \"{name}\""))
}

/// `SET`: of known settings only, and none that says what is.
pub(super) fn set(set: Set) -> Result<Work, Fault> {
    let mut is_local = false;
    let (name, value) = match set {
        Set::SingleAssignment { scope, variable, values, .. } => {
            is_local = scope == Some(ContextModifier::Local);
            let values: Vec<String> = values.iter().map(|value| plain(&value.to_string())).collect();
            (plain(&variable.to_string()), values.join(", "))
        }
        Set::SetTimeZone { local, value } => {
            is_local = local;
            ("TimeZone".to_owned(), plain(&value.to_string()))
        }
        Set::SetNames { charset_name, .. } => ("client_encoding".to_owned(), charset_name.value),
        Set::SetTransaction { modes, session, .. } => {
            return Ok(Work::Tell(
                "SET",
                if session { Effect::None } else { Effect::Modes(self::modes(&modes)) },
            ));
        }
        Set::SetNamesDefault {} => ("client_encoding".to_owned(), "UTF8".to_owned()),
        Set::SetSessionAuthorization(_) | Set::SetRole { .. } => {
            return Err(Fault::new(SqlState::INSUFFICIENT_PRIVILEGE, "permission denied to set role"));
        }
        _ => return Err(Fault::new(SqlState::FEATURE_NOT_SUPPORTED, "this form of SET is not supported")),
    };
    let Some((known, _, _)) = KNOWN.iter().find(|(known, _, _)| known.eq_ignore_ascii_case(&name)) else {
        let is_engine = name.to_ascii_lowercase().starts_with("datafusion.");
        return Err(if is_engine { denied(&name) } else { unknown(&name) });
    };
    if FIXED.contains(known) {
        return Err(denied(known));
    }
    if *known == "client_encoding"
        && !["utf8", "utf-8", "unicode", "default"].contains(&&*value.to_lowercase())
    {
        let text = format!("conversion between {value} and UTF8 is not supported");
        return Err(Fault::new(SqlState::FEATURE_NOT_SUPPORTED, text));
    }
    let is_write = matches!(*known, "transaction_read_only" | "default_transaction_read_only");
    if is_write && ["off", "false", "no", "0"].contains(&&*value.to_lowercase()) {
        let text = "cannot set transaction read-write mode: the console only reads";
        return Err(Fault::new(SqlState::READ_ONLY_TRANSACTION, text));
    }
    let value = if *known == "client_encoding" { "UTF8".to_owned() } else { value };
    if value.eq_ignore_ascii_case("default") {
        return Ok(Work::Tell("SET", Effect::Reset(Some((*known).to_owned()))));
    }
    Ok(Work::Tell("SET", Effect::Set { name: (*known).to_owned(), value, is_local }))
}

/// Modes of a transaction, as settings.
pub(super) fn modes(modes: &[TransactionMode]) -> Vec<(&'static str, String)> {
    let isolation = modes.iter().filter_map(|mode| match mode {
        TransactionMode::IsolationLevel(level) => {
            Some(("transaction_isolation", level.to_string().to_ascii_lowercase()))
        }
        // Whatever is asked for, nothing is written.
        TransactionMode::AccessMode(_) => None,
    });
    isolation.collect()
}

/// `RESET` of a known setting.
///
/// # Errors
/// 42704: it is not known.
pub(super) fn reset(reset: &Reset) -> Result<Work, Fault> {
    let Reset::ConfigurationParameter(name) = reset else {
        return Ok(Work::Tell("RESET", Effect::Reset(None)));
    };
    let name = plain(&name.to_string());
    let known = KNOWN.iter().find(|(known, _, _)| known.eq_ignore_ascii_case(&name));
    let (known, _, _) = known.ok_or_else(|| unknown(&name))?;
    Ok(Work::Tell("RESET", Effect::Reset(Some((*known).to_owned()))))
}

fn denied(name: &str) -> Fault {
    Fault::new(SqlState::INSUFFICIENT_PRIVILEGE, format!("permission denied to set parameter \"{name}\""))
}

/// Without quotes.
fn plain(text: &str) -> String {
    let inner = text.strip_prefix('\'').and_then(|rest| rest.strip_suffix('\''));
    let inner = inner.or_else(|| text.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')));
    inner.unwrap_or(text).to_owned()
}

/// A table of texts.
pub(super) fn table<const N: usize>(
    context: &SessionContext,
    names: &[&str; N],
    rows: &[[&str; N]],
) -> Result<Work, Fault> {
    let fields: Vec<Field> = names.iter().map(|name| Field::new(*name, DataType::Utf8, true)).collect();
    let column = |at: usize| -> ArrayRef {
        Arc::new(rows.iter().map(|row| row.get(at).copied()).collect::<StringArray>())
    };
    let arrays = (0..N).map(column).collect();
    let batch = RecordBatch::try_new(Arc::new(Schema::new(fields)), arrays);
    let frame = batch.map_err(Into::into).and_then(|batch| context.read_batch(batch));
    let frame = frame.map_err(|error| of_engine(&error))?;
    Ok(Work::Rows(frame.logical_plan().clone()))
}
