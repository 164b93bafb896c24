//! How records are shown: JSON lines with OCSF and OpenTelemetry names, or lines for people.
//!
//! The JSON is flat: one object a line, dotted keys. Empty and unknown fields are left out. `docs/AUDIT.md` lists the fields.

use std::fmt::Write as _;

use time::OffsetDateTime;
use time::macros::format_description;

use super::body::wide;
use super::entry::{Entry, WhoRead};
use super::escape::{Object, line};
use super::join::Whole;
use super::record::Outcome;
use super::row::{Column, Row, Type, Value};
use super::values::Parameters;

/// Texts are shown to people up to this length; JSON has them whole.
const LINE_TEXT_BYTES_MAX: usize = 400;
/// The same of a list of parameters, and of each of them.
const LINE_LIST_BYTES_MAX: usize = 200;
const LINE_VALUE_BYTES_MAX: usize = 40;

/// OCSF class: Datastore Activity.
const DATASTORE: u32 = 6005;
/// OCSF class: Authentication.
const AUTHENTICATION: u32 = 3002;
/// OCSF class: Network Activity.
const NETWORK: u32 = 4001;
/// OCSF class: Application Lifecycle.
const LIFECYCLE: u32 = 6002;
/// OCSF class: API Activity.
const API: u32 = 6003;

/// What filters and both renderings look at first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Summary<'a> {
    /// `statement`, `session`, `event` or `log`.
    pub class: &'static str,
    /// Such as `query`, `session_open`, `login_failed`, `log_start`.
    pub kind: &'static str,
    /// When it began, ns since 1970.
    pub time_ns: u64,
    /// How it ended.
    pub outcome: Outcome,
    /// Whose; empty: nobody's.
    pub customer: &'a [u8],
    /// The login; empty: not known.
    pub login: &'a [u8],
    /// What a text search looks at besides a statement's text.
    pub words: &'a [u8],
}

/// The summary of an entry.
#[must_use]
pub fn summary<'a>(entry: &Entry<'a>) -> Summary<'a> {
    let log = |kind, time_ns, words| {
        let (class, outcome) = ("log", Outcome::Ok);
        Summary { class, kind, time_ns, outcome, customer: b"", login: b"", words }
    };
    let session = |kind, time_ns, who: &WhoRead<'a>, words| {
        let (customer, login) = (who.customer.kept, who.login.kept);
        Summary { class: "session", kind, time_ns, outcome: Outcome::Ok, customer, login, words }
    };
    match entry {
        Entry::LogStart(start) => log("log_start", start.time_ns, start.previous_end.kept),
        Entry::LogStop { time_ns } => log("log_stop", *time_ns, b""),
        Entry::LogGap(gap) => log("log_gap", gap.time_ns, gap.reason.kept),
        Entry::SessionOpen { time_ns, who } => session("session_open", *time_ns, who, b""),
        Entry::SessionClose { time_ns, who, reason } => session("session_close", *time_ns, who, reason.kept),
        Entry::Statement(who, statement) | Entry::Intent(who, statement) => Summary {
            class: statement.kind.class(),
            kind: statement.kind.name(),
            time_ns: statement.started_ns,
            outcome: statement.outcome,
            customer: who.customer.kept,
            login: who.login.kept,
            words: statement.message.kept,
        },
        Entry::Outcome { statement, .. } => Summary {
            class: statement.kind.class(),
            kind: statement.kind.name(),
            time_ns: statement.started_ns,
            outcome: statement.outcome,
            customer: b"",
            login: b"",
            words: statement.message.kept,
        },
        Entry::Part { bytes, .. } => log("part", 0, bytes),
        Entry::Event(event) => Summary {
            class: "event",
            kind: event.kind.name(),
            time_ns: event.time_ns,
            outcome: event.outcome,
            customer: event.customer.kept,
            login: event.login.kept,
            words: event.detail.kept,
        },
    }
}

/// How OCSF names and rates a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Rated {
    /// The class.
    pub(super) class: u32,
    /// What was done, in the words of the class.
    pub(super) activity: u32,
    /// 1 informational, 2 low, 3 medium.
    pub(super) severity: u32,
    /// 1 success, 2 failure, 0 unknown.
    pub(super) status: u32,
}

impl Rated {
    pub(super) fn of(row: &Row<'_>) -> Self {
        let (class, activity) = ocsf(row);
        let (severity, status) = match row.bytes_of(Column::Outcome) {
            b"ok" => (1, 1),
            b"error" | b"skipped" | b"cancelled" => (2, 2),
            b"refused" => (3, 2),
            _ => (3, 0),
        };
        Self { class, activity, severity, status }
    }
}

/// One line of JSON, without its newline.
#[must_use]
pub fn json(row: &Row<'_>, whole: &Whole<'_>) -> String {
    let mut object = Object::new();
    let time_ns = row.number_of(Column::Time);
    let Rated { class, activity, severity, status } = Rated::of(row);
    object.number("time", time_ns / 1_000_000);
    object.text("time_dt", &rfc3339(time_ns));
    object.number("class_uid", class);
    object.number("category_uid", class / 1000);
    object.number("activity_id", activity);
    object.number("type_uid", class.saturating_mul(100).saturating_add(activity));
    object.number("severity_id", severity);
    object.number("status_id", status);
    object.text("metadata.product.name", "OneVault");
    for column in Column::ALL {
        json_column(&mut object, row, column);
    }
    let of_session: [&[u8]; 2] = [b"statement", b"session"];
    if of_session.contains(&row.bytes_of(Column::Class)) {
        object.text("db.system.name", "postgresql");
    }
    if row.bytes_of(Column::Class) == b"statement" {
        object.text("start_time_dt", &rfc3339(time_ns));
        object.number("duration", row.number_of(Column::DurationNs) / 1_000_000);
        object.bytes("db.query.text", &whole.text);
        json_parameters(&mut object, &whole.parameters);
        let missing = row.number_of(Column::TextBytes).saturating_sub(wide(whole.text.len()));
        if missing > 0 {
            object.number("ov.text_missing_bytes", missing);
        }
    }
    if row.bytes_of(Column::Class) == b"copy" {
        object.bytes("ov.copy_data", &whole.text);
    }
    object.end()
}

/// A column under its name, unless it says nothing; one that keeps only its beginning says so.
pub(super) fn json_column(object: &mut Object, row: &Row<'_>, column: Column) {
    match (column, row.get(column)) {
        (_, Value::Nothing) => {}
        // The time stands before all others.
        (Column::Time, _) => {}
        (Column::Clipped, Value::Bytes(bytes)) => json_clipped(object, bytes),
        (_, Value::Number(number)) if column.kind() == Type::Time => {
            object.text(column.json(), &rfc3339(*number));
        }
        (_, Value::Number(number)) => object.number(column.json(), *number),
        (_, Value::Bytes(bytes)) if column.kind() == Type::Raw => object.text(column.json(), &hex(bytes)),
        (_, Value::Bytes(bytes)) => object.bytes(column.json(), bytes),
    }
}

/// The full lengths of what keeps its beginning only.
fn json_clipped(object: &mut Object, clipped: &[u8]) {
    for word in String::from_utf8_lossy(clipped).split(' ') {
        let Some((name, bytes)) = word.split_once('=') else { continue };
        let column = Column::ALL.into_iter().find(|column| column.name() == name);
        if let (Some(column), Ok(bytes)) = (column, bytes.parse::<u64>()) {
            object.number(&format!("{}.untruncated_bytes", column.json()), bytes);
        }
    }
}

/// Parameters by their number, from 0 as OpenTelemetry has it.
pub(super) fn json_parameters(object: &mut Object, list: &[u8]) {
    let parameters = Parameters::read(list);
    let (count, mut types) = (parameters.announced(), Vec::new());
    for (number, parameter) in parameters.enumerate() {
        let key = format!("db.query.parameter.{number}");
        match parameter.text() {
            Some(text) => object.bytes(&key, &text),
            None => object.null(&key),
        }
        types.push(parameter.type_name());
    }
    if !types.is_empty() {
        object.text("ov.parameter_types", &types.join(","));
    }
    if types.len() < count {
        object.number("ov.parameters_missing", wide(count.saturating_sub(types.len())));
    }
}

/// OCSF class and activity.
fn ocsf(row: &Row<'_>) -> (u32, u32) {
    match (row.bytes_of(Column::Class), row.bytes_of(Column::Kind)) {
        (b"statement", kind) => (DATASTORE, activity(kind, row.bytes_of(Column::CommandTag))),
        (b"session", b"session_open") | (_, b"login_failed") => (AUTHENTICATION, 1),
        (b"session", _) => (AUTHENTICATION, 2),
        (_, b"log_start") => (LIFECYCLE, 3),
        (_, b"log_stop") => (LIFECYCLE, 4),
        (_, b"connection_refused") => (NETWORK, 5),
        (b"copy", _) | (_, b"cancel") => (DATASTORE, 99),
        (b"log", _) | (_, b"config_reload") => (LIFECYCLE, 99),
        (_, b"log_read" | b"log_export") => (DATASTORE, 1),
        (_, _) => (API, 99),
    }
}

/// OCSF's activities: 1 read, 2 update, 4 query, 5 write, 6 create, 7 delete.
fn activity(kind: &[u8], tag: &[u8]) -> u32 {
    let word = tag.split(|byte| *byte == b' ').next().unwrap_or_default();
    match (kind, word) {
        (b"copy_in", _) | (_, b"INSERT") => 5,
        (b"copy_out", _) | (_, b"SELECT" | b"FETCH") => 1,
        (_, b"UPDATE" | b"MERGE" | b"ALTER") => 2,
        (_, b"CREATE") => 6,
        (_, b"DELETE" | b"TRUNCATE" | b"DROP") => 7,
        _ => 4,
    }
}

/// One line for people, without its newline; long texts are shortened, and it says so.
#[must_use]
pub fn human(row: &Row<'_>, whole: &Whole<'_>) -> String {
    let mut out = local(row.number_of(Column::Time));
    human_word(&mut out, row, Column::Customer);
    human_word(&mut out, row, Column::Login);
    human_address(&mut out, row);
    let session = row.number_of(Column::Session);
    human_word(&mut out, row, Column::Kind);
    human_word(&mut out, row, Column::Outcome);
    match (row.bytes_of(Column::Class), row.bytes_of(Column::Kind)) {
        (b"statement", _) => {
            human_statement(&mut out, row, &whole.text);
            human_parameters(&mut out, &whole.parameters);
        }
        (b"copy", _) => {
            let at = (row.number_of(Column::Sequence), row.number_of(Column::CopyBytes));
            let _ = write!(out, " s{session}#{} {} bytes from {}", at.0, whole.text.len(), at.1);
        }
        (_, b"session_open") => {
            let _ = write!(out, " s{session} database");
            human_word(&mut out, row, Column::Database);
            // With transaction pooling a session begins without one.
            let pid = row.number_of(Column::BackendPid);
            if pid != 0 {
                let _ = write!(out, " pid {pid}");
            }
            out.push_str(" by");
            human_word(&mut out, row, Column::Credential);
        }
        (b"session", _) => {
            let _ = write!(out, " s{session}");
            human_word(&mut out, row, Column::Message);
        }
        (_, b"log_start") => {
            out.push_str(" previous end:");
            human_word(&mut out, row, Column::PreviousEnd);
            let cut = row.number_of(Column::BytesCut);
            if cut > 0 {
                let _ = write!(out, " ({cut} bytes)");
            }
        }
        (_, b"log_gap") => {
            let (since, refused) = (row.number_of(Column::GapSince), row.number_of(Column::Refused));
            let _ = write!(out, " since {}, {refused} refused:", rfc3339(since));
            human_word(&mut out, row, Column::Message);
        }
        (b"event", _) => {
            human_error(&mut out, row, false);
            human_word(&mut out, row, Column::Message);
        }
        (_, _) => {}
    }
    for (before, column) in [("kept for", Column::Pins), ("", Column::Decision)] {
        if !row.bytes_of(column).is_empty() {
            let _ = write!(out, " [{before}");
            human_word(&mut out, row, column);
            out.push_str(" ]");
        }
    }
    out
}

fn human_word(out: &mut String, row: &Row<'_>, column: Column) {
    let bytes = row.bytes_of(column);
    out.push(' ');
    line(out, if bytes.is_empty() { b"-" } else { bytes });
}

fn human_address(out: &mut String, row: &Row<'_>) {
    let address = row.bytes_of(Column::ClientIp);
    if address.is_empty() {
        return;
    }
    let (before, after) = if address.contains(&b':') { ("[", "]") } else { ("", "") };
    let _ = write!(out, "@{before}");
    line(out, address);
    let _ = write!(out, "{after}:{}", row.number_of(Column::ClientPort));
}

fn human_statement(out: &mut String, row: &Row<'_>, text: &[u8]) {
    let micros = row.number_of(Column::DurationNs) / 1_000;
    let (millis, micros) = (micros / 1_000, micros % 1_000);
    let [session, sequence, rows] =
        [Column::Session, Column::Sequence, Column::Rows].map(|column| row.number_of(column));
    let _ = write!(out, " s{session}#{sequence} {millis}.{micros:03}ms rows={rows} ");
    human_error(out, row, true);
    if row.bytes_of(Column::Sqlstate).is_empty() {
        line(out, row.bytes_of(Column::CommandTag));
    }
    out.push_str(" | ");
    line(out, text.get(..LINE_TEXT_BYTES_MAX).unwrap_or(text));
    let bytes = wide(text.len()).max(row.number_of(Column::TextBytes));
    let hidden = bytes.saturating_sub(wide(LINE_TEXT_BYTES_MAX.min(text.len())));
    if hidden > 0 {
        let _ = write!(out, " ... ({hidden} bytes more; --json has them)");
    }
}

fn human_parameters(out: &mut String, list: &[u8]) {
    let begun = out.len();
    for (number, parameter) in Parameters::read(list).enumerate() {
        let between = if number == 0 { " |" } else { "," };
        if out.len().saturating_sub(begun) > LINE_LIST_BYTES_MAX {
            let _ = write!(out, "{between} ...");
            break;
        }
        let _ = write!(out, "{between} ${}=", number.saturating_add(1));
        let Some(text) = parameter.text() else {
            out.push_str("NULL");
            continue;
        };
        let kept = text.get(..LINE_VALUE_BYTES_MAX);
        line(out, kept.unwrap_or(&text));
        out.push_str(if kept.is_some_and(|kept| kept.len() < text.len()) { "..." } else { "" });
    }
}

/// The SQLSTATE, if there is one, and the message behind it.
fn human_error(out: &mut String, row: &Row<'_>, with_message: bool) {
    let code = row.bytes_of(Column::Sqlstate);
    if !code.is_empty() {
        out.push(' ');
        line(out, code);
        out.push(' ');
        line(out, if with_message { row.bytes_of(Column::Message) } else { b"" });
    }
}

fn utc(time_ns: u64) -> OffsetDateTime {
    OffsetDateTime::from_unix_timestamp_nanos(i128::from(time_ns)).unwrap_or(OffsetDateTime::UNIX_EPOCH)
}

/// A time in UTC with microseconds, such as `2026-03-01T12:00:00.000001Z`.
#[must_use]
pub fn rfc3339(time_ns: u64) -> String {
    let format = format_description!("[year]-[month]-[day]T[hour]:[minute]:[second].[subsecond digits:6]Z");
    utc(time_ns).format(format).unwrap_or_default()
}

fn local(time_ns: u64) -> String {
    let format = format_description!("[year]-[month]-[day] [hour]:[minute]:[second].[subsecond digits:3]");
    utc(time_ns).format(format).unwrap_or_default()
}

/// Bytes of strangers for one line of a terminal.
#[must_use]
pub fn bytes_in_line(bytes: &[u8]) -> String {
    let mut out = String::new();
    line(&mut out, bytes);
    out
}

/// Lower-case hexadecimal digits.
#[must_use]
pub fn hex(bytes: &[u8]) -> String {
    let mut out = String::with_capacity(bytes.len().saturating_mul(2));
    for byte in bytes {
        let _ = write!(out, "{byte:02x}");
    }
    out
}
