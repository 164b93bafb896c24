//! Asks a server what a session left behind, so that a pin holds no longer than its reason.
//!
//! What always holds: one round trip; the client's unnamed statement and portal outlive it; every name in the question
//! is qualified, so that no `search_path` changes what it means; an answer that is not exactly one row is an error.

use super::Backend;
use super::memory::Name;
use super::scrub::ScrubError;
use super::wire::Conversation;
use crate::protocol::fields::Fields;
use crate::protocol::tag::{backend as tag, frontend};

/// What a server may say in answer, in bytes.
const ANSWER_BYTES_MAX: usize = 1 << 20;
/// Of which so much in one row.
const ROW_BYTES_MAX: u32 = 1 << 20;

/// What was found. Nothing is the default.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Findings {
    /// Something lies in the session's temporary schema.
    pub temporary_object: bool,
    /// A cursor that outlived its transaction.
    pub held_cursor: bool,
    /// A session-level advisory lock.
    pub advisory_lock: bool,
    /// The session listens on a channel.
    pub listen: bool,
    /// A statement was prepared by SQL.
    pub sql_prepare: bool,
    /// The role or the session's user is not the one that a login gives.
    pub role: bool,
    /// Settings that were made in the session and hold on, by name; values as `pg_settings` shows them, in the
    /// client's encoding. Placeholders (names with a dot that no extension has claimed) are not among them: no
    /// view of the server's shows those.
    pub settings: Vec<(Name, Box<[u8]>)>,
    /// Settings with a dot that were asked for and are there, however they came to be.
    pub own: Vec<(Name, Box<[u8]>)>,
    /// What the server said unasked meanwhile (notices, notifications, parameters), whole messages in its own bytes:
    /// they are the session's.
    pub aside: Vec<u8>,
}

/// The name of our statement and portal.
const NAME: &[u8] = b"_ov_examine\0";

/// The type of its parameter: `text`.
const TEXT: [u8; 4] = 25_u32.to_be_bytes();

/// A role that `ALTER ROLE .. SET role` or `ALTER DATABASE .. SET role` gives every session is nobody's doing.
/// What a transaction sets for itself looks like a setting of the session's, but the next transaction starts without it.
/// Of a value so much is asked for that it is seen to be too long to be said again.
/// Whatever lies in a schema depends on it; pg_depend has an index for that, the catalogues themselves have none.
const QUESTION: &str = "/* onevault */ SELECT \
    pg_catalog.pg_my_temp_schema() OPERATOR(pg_catalog.<>) 0::pg_catalog.oid AND EXISTS (SELECT FROM pg_catalog.pg_depend d \
        WHERE d.refclassid OPERATOR(pg_catalog.=) 'pg_catalog.pg_namespace'::pg_catalog.regclass::pg_catalog.oid \
        AND d.refobjid OPERATOR(pg_catalog.=) pg_catalog.pg_my_temp_schema()), \
    EXISTS (SELECT FROM pg_catalog.pg_cursors c WHERE c.is_holdable), \
    EXISTS (SELECT FROM pg_catalog.pg_locks l WHERE l.locktype OPERATOR(pg_catalog.=) 'advisory' \
        AND l.pid OPERATOR(pg_catalog.=) pg_catalog.pg_backend_pid()), \
    EXISTS (SELECT FROM pg_catalog.pg_listening_channels()), \
    EXISTS (SELECT FROM pg_catalog.pg_prepared_statements p WHERE p.from_sql), \
    pg_catalog.current_setting('role') OPERATOR(pg_catalog.<>) coalesce( \
        (SELECT pg_catalog.substr(c.setting, 6) FROM pg_catalog.pg_db_role_setting s \
            CROSS JOIN LATERAL pg_catalog.unnest(s.setconfig) c (setting) \
            WHERE pg_catalog.starts_with(c.setting, 'role=') \
            AND (s.setdatabase OPERATOR(pg_catalog.=) 0::pg_catalog.oid OR s.setdatabase OPERATOR(pg_catalog.=) \
                (SELECT d.oid FROM pg_catalog.pg_database d \
                    WHERE d.datname OPERATOR(pg_catalog.=) pg_catalog.current_database())) \
            AND (s.setrole OPERATOR(pg_catalog.=) 0::pg_catalog.oid OR s.setrole OPERATOR(pg_catalog.=) \
                (SELECT r.oid FROM pg_catalog.pg_roles r WHERE r.rolname OPERATOR(pg_catalog.=) session_user)) \
            ORDER BY s.setrole OPERATOR(pg_catalog.=) 0::pg_catalog.oid, \
                s.setdatabase OPERATOR(pg_catalog.=) 0::pg_catalog.oid LIMIT 1), 'none'), \
    (SELECT pg_catalog.string_agg( \
        pg_catalog.encode(pg_catalog.convert_to(s.name, pg_catalog.pg_client_encoding()), 'hex') \
        OPERATOR(pg_catalog.||) '=' OPERATOR(pg_catalog.||) \
        pg_catalog.encode(pg_catalog.convert_to(pg_catalog.left(s.setting, 16385), pg_catalog.pg_client_encoding()), 'hex'), ',') \
        FROM pg_catalog.pg_settings s WHERE s.source OPERATOR(pg_catalog.=) 'session' \
        AND s.name OPERATOR(pg_catalog.<>) ALL (ARRAY[ \
            'transaction_deferrable', 'transaction_isolation', 'transaction_read_only'])), \
    (SELECT pg_catalog.string_agg(o.name OPERATOR(pg_catalog.||) '=' OPERATOR(pg_catalog.||) \
        pg_catalog.encode(pg_catalog.convert_to(pg_catalog.left(pg_catalog.current_setting( \
            pg_catalog.convert_from(pg_catalog.decode(o.name, 'hex'), 'SQL_ASCII'), true), 16385), \
            pg_catalog.pg_client_encoding()), 'hex'), ',') \
        FROM pg_catalog.unnest(pg_catalog.string_to_array($1, ',')) o (name))\0";

/// Examines a backend that is in step, idle and owes nothing. Unless the server merely refused, it must be closed
/// when this fails or is dropped: an answer may be half read. It takes as long as the server takes, as a statement of the
/// client's would: closing the backend would lose all that the session has left there.
pub(super) async fn examine(backend: &mut Backend, own: &[Name]) -> Result<Findings, ScrubError> {
    let Backend { stream, parameters, .. } = backend;
    let mut conversation = Conversation::new(stream, ANSWER_BYTES_MAX).with_messages_of(ROW_BYTES_MAX);
    conversation.send(&question(own)).await?;
    let (mut findings, mut aside, mut refused) = (None, Vec::new(), false);
    let mut syncs = 2_u8;
    // What the server says unasked may come right behind its last answer, and in part.
    while syncs > 0 || conversation.has_more() {
        let message = conversation.next().await?;
        match message.tag {
            tag::NOTICE_RESPONSE | tag::NOTIFICATION_RESPONSE => aside.extend_from_slice(&message.raw),
            tag::PARAMETER_STATUS => {
                let mut fields = Fields::of(message.body());
                if let (Ok(name), Ok(value)) = (fields.cstr("name"), fields.cstr("value")) {
                    parameters.update(name, value);
                }
                aside.extend_from_slice(&message.raw);
            }
            _ if syncs == 0 => return Err(ScrubError::Answer("a message out of turn")),
            tag::DATA_ROW if findings.is_none() => {
                findings = Some(read(message.body()).ok_or(ScrubError::Answer("a malformed row"))?);
            }
            tag::READY_FOR_QUERY if message.body() == b"I" => syncs = syncs.saturating_sub(1),
            tag::READY_FOR_QUERY => return Err(ScrubError::Answer("transaction status")),
            tag::ERROR_RESPONSE => refused = true,
            tag::PARSE_COMPLETE | tag::BIND_COMPLETE | tag::CLOSE_COMPLETE | tag::COMMAND_COMPLETE => {}
            _ => return Err(ScrubError::Answer("a message out of turn")),
        }
    }
    if refused {
        return Err(ScrubError::Refused { aside });
    }
    let findings = findings.ok_or(ScrubError::Answer("no row"))?;
    let role = findings.role || backend.is_another();
    Ok(Findings { role, aside, ..findings })
}

/// Parse, Bind, Execute, Sync, with which the portal ends; then Close, Sync, so that a failure leaves nothing either. Under a name of ours, because the unnamed ones are the client's.
fn question(own: &[Name]) -> Vec<u8> {
    let names = own.iter().map(|name| digits(name)).collect::<Vec<_>>().join(",");
    let length = i32::try_from(names.len()).unwrap_or_default().to_be_bytes();
    let mut out = Vec::with_capacity(QUESTION.len().saturating_add(names.len()).saturating_add(256));
    message(&mut out, frontend::PARSE, &[NAME, QUESTION.as_bytes(), &[0, 1], &TEXT]);
    // The names, and every column of the answer, as text.
    message(&mut out, frontend::BIND, &[NAME, NAME, &[0, 0], &[0, 1], &length, names.as_bytes(), &[0, 0]]);
    message(&mut out, frontend::EXECUTE, &[NAME, &[0; 4]]);
    message(&mut out, frontend::SYNC, &[]);
    message(&mut out, frontend::CLOSE, &[b"S", NAME]);
    message(&mut out, frontend::SYNC, &[]);
    out
}

fn message(out: &mut Vec<u8>, tag: u8, parts: &[&[u8]]) {
    let length = parts.iter().map(|part| part.len()).sum::<usize>().saturating_add(4);
    out.push(tag);
    // There are few settings, and their names are short.
    out.extend(u32::try_from(length).unwrap_or(u32::MAX).to_be_bytes());
    parts.iter().for_each(|part| out.extend_from_slice(part));
}

fn read(row: &[u8]) -> Option<Findings> {
    let mut fields = Fields::of(row);
    let columns = fields.i16("column count").ok()?;
    let mut value = || -> Option<Option<&[u8]>> {
        match usize::try_from(fields.i32("length").ok()?) {
            Ok(length) => fields.bytes(length, "value").ok().map(Some),
            Err(_) => Some(None),
        }
    };
    let mut answers = [false; 6];
    for answer in &mut answers {
        *answer = match value()? {
            Some(b"t") => true,
            Some(b"f") => false,
            Some(_) | None => return None,
        };
    }
    let mut settings = || match value()? {
        None => Some(Vec::new()),
        Some(list) => list.split(|&byte| byte == b',').map(setting).collect::<Option<_>>(),
    };
    let (settings, own) = (settings()?, settings()?);
    let [temporary_object, held_cursor, advisory_lock, listen, sql_prepare, role] = answers;
    let aside = Vec::new();
    let found = Findings {
        temporary_object,
        held_cursor,
        advisory_lock,
        listen,
        sql_prepare,
        role,
        settings,
        own,
        aside,
    };
    (columns == 8).then_some(found)
}

/// `name=value`, both in hexadecimal digits, so that neither separators nor encodings matter.
fn setting(text: &[u8]) -> Option<(Name, Box<[u8]>)> {
    let at = text.iter().position(|&byte| byte == b'=')?;
    let (name, value) = text.split_at_checked(at)?;
    Some((bytes(name)?, bytes(value.get(1..)?)?))
}

fn digits(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn bytes(digits: &[u8]) -> Option<Box<[u8]>> {
    let pair = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok();
    digits.chunks(2).map(pair).collect()
}
