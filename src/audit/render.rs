//! How records are shown: JSON lines with OCSF and OpenTelemetry names, or lines for people.
//!
//! The JSON is flat: one object a line, dotted keys. Empty and unknown fields are left out. `docs/AUDIT.md` lists the fields.

use std::fmt::Write as _;
use std::net::SocketAddr;

use time::OffsetDateTime;
use time::macros::format_description;

use super::body::wide;
use super::entry::{Bytes, Entry, EventRead, StatementRead, WhoRead};
use super::escape::{Object, line};
use super::join::{Shown, Whole};
use super::record::{EventKind, Kind, Outcome};
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
            class: "statement",
            kind: statement.kind.name(),
            time_ns: statement.started_ns,
            outcome: statement.outcome,
            customer: who.customer.kept,
            login: who.login.kept,
            words: statement.message.kept,
        },
        Entry::Outcome { statement, .. } => Summary {
            class: "statement",
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

/// One line of JSON, without its newline.
#[must_use]
pub fn json(shown: &Shown<'_>, whole: &Whole<'_>) -> String {
    let mut object = Object::new();
    let summary = summary(&shown.entry);
    let (class, activity) = ocsf(&shown.entry);
    object.number("time", summary.time_ns / 1_000_000);
    object.text("time_dt", &rfc3339(summary.time_ns));
    object.number("class_uid", class);
    object.number("category_uid", class / 1000);
    object.number("activity_id", activity);
    object.number("type_uid", class.saturating_mul(100).saturating_add(activity));
    let (severity, status) = match summary.outcome {
        Outcome::Ok => (1, 1),
        Outcome::Error | Outcome::Skipped | Outcome::Cancelled => (2, 2),
        Outcome::Refused => (3, 2),
        Outcome::Unknown => (3, 0),
    };
    object.number("severity_id", severity);
    object.number("status_id", status);
    object.text("metadata.product.name", "OneVault");
    object.number("metadata.sequence", shown.place.record);
    some(
        &mut object,
        "metadata.tenant_uid",
        Bytes { kept: summary.customer, bytes: wide(summary.customer.len()) },
    );
    object.text("ov.class", summary.class);
    object.text("ov.kind", summary.kind);
    object.text("ov.outcome", summary.outcome.name());
    object.bytes("ov.node", shown.node);
    object.text("ov.boot", &hex(&shown.boot));
    match &shown.entry {
        Entry::Statement(who, statement) | Entry::Intent(who, statement) => {
            json_who(&mut object, who);
            json_statement(&mut object, statement, whole);
        }
        Entry::Outcome { statement, .. } => json_statement(&mut object, statement, whole),
        Entry::SessionOpen { who, .. } => json_who(&mut object, who),
        Entry::SessionClose { who, reason, .. } => {
            json_who(&mut object, who);
            some(&mut object, "status_detail", *reason);
        }
        Entry::Event(event) => json_event(&mut object, event),
        Entry::LogStart(start) => {
            some(&mut object, "ov.previous_end", start.previous_end);
            object.number("ov.bytes_cut", start.bytes_cut);
            some(&mut object, "metadata.product.version", start.program);
        }
        Entry::LogGap(gap) => {
            object.text("ov.gap_since", &rfc3339(gap.since_ns));
            object.number("ov.attempts", gap.attempts);
            object.number("ov.refused", gap.refused);
            some(&mut object, "status_detail", gap.reason);
        }
        Entry::LogStop { .. } | Entry::Part { .. } => {}
    }
    object.end()
}

fn json_who(object: &mut Object, who: &WhoRead<'_>) {
    object.number("actor.session.uid", who.session);
    some(object, "actor.user.name", who.login);
    some(object, "actor.app_name", who.application_name);
    some(object, "db.namespace", who.database);
    object.text("db.system.name", "postgresql");
    json_address(object, who.client_address);
    some(object, "ov.db_user", who.role);
    some(object, "ov.credential", who.credential);
    some(object, "ov.tls", who.tls);
    object.number("ov.backend_pid", who.backend_pid);
}

fn json_address(object: &mut Object, address: Option<SocketAddr>) {
    if let Some(address) = address {
        object.text("src_endpoint.ip", &address.ip().to_string());
        object.number("src_endpoint.port", address.port());
    }
}

fn json_statement(object: &mut Object, statement: &StatementRead<'_>, whole: &Whole<'_>) {
    object.number("ov.sequence", statement.sequence);
    object.bytes("db.query.text", &whole.text);
    object.number("ov.text_bytes", statement.text_bytes);
    json_parameters(object, &whole.parameters);
    let missing = statement.text_bytes.saturating_sub(wide(whole.text.len()));
    if missing > 0 {
        object.number("ov.text_missing_bytes", missing);
    }
    some(object, "ov.statement_name", statement.statement_name);
    some(object, "ov.portal", statement.portal);
    object.text("start_time_dt", &rfc3339(statement.started_ns));
    object.number("duration", statement.duration_ns / 1_000_000);
    object.number("ov.duration_ns", statement.duration_ns);
    object.number("ov.commands", statement.commands);
    some(object, "ov.command_tag", statement.tag);
    object.number("db.response.returned_rows", statement.rows);
    object.number("ov.bytes_in", statement.bytes_in);
    object.number("ov.bytes_out", statement.bytes_out);
    if statement.wait_ns > 0 {
        object.number("ov.wait_ns", statement.wait_ns);
    }
    if let Some(copied) = statement.copied {
        object.number("ov.copy_bytes", copied.bytes);
        copied.digest.iter().for_each(|digest| object.text("ov.copy_hmac", &hex(digest)));
    }
    json_sqlstate(object, statement.sqlstate);
    some(object, "status_detail", statement.message);
    if statement.transaction_status != 0 {
        object.bytes("ov.transaction_status", &[statement.transaction_status]);
    }
}

/// Parameters by their number, from 0 as OpenTelemetry has it.
fn json_parameters(object: &mut Object, list: &[u8]) {
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

fn json_event(object: &mut Object, event: &EventRead<'_>) {
    if event.session != 0 {
        object.number("actor.session.uid", event.session);
    }
    some(object, "actor.user.name", event.login);
    some(object, "actor.app_name", event.application_name);
    some(object, "db.namespace", event.database);
    json_address(object, event.client_address);
    some(object, "ov.tls", event.tls);
    json_sqlstate(object, event.sqlstate);
    some(object, "status_detail", event.detail);
}

fn json_sqlstate(object: &mut Object, sqlstate: Option<[u8; 5]>) {
    if let Some(code) = sqlstate {
        object.bytes("db.response.status_code", &code);
    }
}

/// A field that is left out when it is empty, and says so when only its beginning was kept.
fn some(object: &mut Object, key: &str, bytes: Bytes<'_>) {
    if bytes.bytes > 0 {
        object.bytes(key, bytes.kept);
    }
    if bytes.bytes > wide(bytes.kept.len()) {
        object.number(&format!("{key}.untruncated_bytes"), bytes.bytes);
    }
}

/// OCSF class and activity.
fn ocsf(entry: &Entry<'_>) -> (u32, u32) {
    match entry {
        Entry::Statement(_, statement) | Entry::Intent(_, statement) | Entry::Outcome { statement, .. } => {
            (DATASTORE, activity(statement.kind, statement.tag.kept))
        }
        Entry::SessionOpen { .. } => (AUTHENTICATION, 1),
        Entry::SessionClose { .. } => (AUTHENTICATION, 2),
        Entry::LogStart(_) => (LIFECYCLE, 3),
        Entry::LogStop { .. } => (LIFECYCLE, 4),
        Entry::LogGap(_) | Entry::Part { .. } => (LIFECYCLE, 99),
        Entry::Event(event) => match event.kind {
            EventKind::LoginFailed => (AUTHENTICATION, 1),
            EventKind::ConnectionRefused => (NETWORK, 5),
            EventKind::Cancel => (DATASTORE, 99),
            EventKind::ConfigReload => (LIFECYCLE, 99),
            EventKind::AdminAction => (API, 99),
            EventKind::LogRead | EventKind::LogExport => (DATASTORE, 1),
        },
    }
}

/// OCSF's activities: 1 read, 2 update, 4 query, 5 write, 6 create, 7 delete.
fn activity(kind: Kind, tag: &[u8]) -> u32 {
    let word = tag.split(|byte| *byte == b' ').next().unwrap_or_default();
    match (kind, word) {
        (Kind::CopyIn, _) | (_, b"INSERT") => 5,
        (Kind::CopyOut, _) | (_, b"SELECT" | b"FETCH") => 1,
        (_, b"UPDATE" | b"MERGE" | b"ALTER") => 2,
        (_, b"CREATE") => 6,
        (_, b"DELETE" | b"TRUNCATE" | b"DROP") => 7,
        _ => 4,
    }
}

/// One line for people, without its newline; long texts are shortened, and it says so.
#[must_use]
pub fn human(shown: &Shown<'_>, whole: &Whole<'_>) -> String {
    let summary = summary(&shown.entry);
    let mut out = local(summary.time_ns);
    let word = |out: &mut String, bytes: &[u8]| {
        out.push(' ');
        line(out, if bytes.is_empty() { b"-" } else { bytes });
    };
    word(&mut out, summary.customer);
    word(&mut out, summary.login);
    let address = match &shown.entry {
        Entry::SessionOpen { who, .. } | Entry::SessionClose { who, .. } => who.client_address,
        Entry::Statement(who, _) | Entry::Intent(who, _) => who.client_address,
        Entry::Event(event) => event.client_address,
        Entry::LogStart(_) | Entry::LogStop { .. } | Entry::LogGap(_) => None,
        Entry::Outcome { .. } | Entry::Part { .. } => None,
    };
    if let Some(address) = address {
        let _ = write!(out, "@{address}");
    }
    let _ = write!(out, " {} {}", summary.kind, summary.outcome.name());
    match &shown.entry {
        Entry::Statement(who, statement) | Entry::Intent(who, statement) => {
            human_statement(&mut out, who.session, statement, &whole.text);
            human_parameters(&mut out, &whole.parameters);
        }
        Entry::SessionOpen { who, .. } => {
            let _ = write!(out, " s{} database", who.session);
            word(&mut out, who.database.kept);
            // With transaction pooling a session begins without one.
            if who.backend_pid != 0 {
                let _ = write!(out, " pid {}", who.backend_pid);
            }
            out.push_str(" by");
            word(&mut out, who.credential.kept);
        }
        Entry::SessionClose { who, reason, .. } => {
            let _ = write!(out, " s{}", who.session);
            word(&mut out, reason.kept);
        }
        Entry::LogStart(start) => {
            out.push_str(" previous end:");
            word(&mut out, start.previous_end.kept);
            if start.bytes_cut > 0 {
                let _ = write!(out, " ({} bytes)", start.bytes_cut);
            }
        }
        Entry::LogGap(gap) => {
            let _ = write!(out, " since {}, {} refused:", rfc3339(gap.since_ns), gap.refused);
            word(&mut out, gap.reason.kept);
        }
        Entry::Event(event) => {
            human_error(&mut out, event.sqlstate, b"");
            word(&mut out, event.detail.kept);
        }
        Entry::LogStop { .. } | Entry::Outcome { .. } | Entry::Part { .. } => {}
    }
    out
}

fn human_statement(out: &mut String, session: u64, statement: &StatementRead<'_>, text: &[u8]) {
    let micros = statement.duration_ns / 1_000;
    let (rows, millis) = (statement.rows, micros / 1_000);
    let _ = write!(out, " s{session}#{} {millis}.{:03}ms rows={rows} ", statement.sequence, micros % 1_000);
    human_error(out, statement.sqlstate, statement.message.kept);
    if statement.sqlstate.is_none() {
        line(out, statement.tag.kept);
    }
    out.push_str(" | ");
    line(out, text.get(..LINE_TEXT_BYTES_MAX).unwrap_or(text));
    let hidden =
        wide(text.len()).max(statement.text_bytes).saturating_sub(wide(LINE_TEXT_BYTES_MAX.min(text.len())));
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

fn human_error(out: &mut String, sqlstate: Option<[u8; 5]>, message: &[u8]) {
    if let Some(code) = sqlstate {
        out.push(' ');
        line(out, &code);
        out.push(' ');
        line(out, message);
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
