//! The bytes of a record's body as sessions write them; [`super::entry`] reads them.
//!
//! Little-endian numbers of fixed width; bytes behind a `u32` length, whose highest bit says that only the beginning was
//! kept and that the full length (`u64`) follows. The first byte is the kind of entry, the second the version of the layout.
//! Fields are only ever added at the end: a reader takes what is not there for unknown and ignores what it does not know. What
//! few statements have stands behind the others, each behind a byte that says what it is. Everything is appended; nothing is allocated for itself.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use super::decision::Decision;
use super::entry::{LogGap, LogStart};
use super::record::{Copied, Event, Long, NAME_BYTES_MAX, Statement, Stream, TEXT_INLINE_BYTES_MAX, Who};

/// Before each text or name: its length.
pub(super) const LENGTH_BYTES: usize = 4;
/// Where the backend's pid lies in the part of [`put_who`].
pub(super) const WHO_PID: std::ops::Range<usize> = 8..12;
/// Version of the layout below.
pub(super) const VERSION: u8 = 1;
/// In a length: the beginning only.
pub(super) const CLIPPED: u32 = 1 << 31;

pub(super) const LOG_START: u8 = 1;
pub(super) const LOG_STOP: u8 = 2;
pub(super) const LOG_GAP: u8 = 3;
pub(super) const SESSION_OPEN: u8 = 4;
pub(super) const SESSION_CLOSE: u8 = 5;
pub(super) const STATEMENT: u8 = 6;
pub(super) const INTENT: u8 = 7;
pub(super) const OUTCOME: u8 = 8;
pub(super) const PART: u8 = 9;
pub(super) const EVENT: u8 = 10;

/// At the end of a statement's body: its parameters follow.
pub(super) const HAS_PARAMETERS: u8 = 1;
/// At the end of a statement's body: how long it waited.
pub(super) const HAS_WAIT: u8 = 2;
/// At the end of a statement's body: what was copied.
pub(super) const HAS_COPIED: u8 = 3;
/// At the end of a statement's body: SHA-256 of its text, which lies in parts.
pub(super) const HAS_TEXT_HASH: u8 = 4;
/// At the end of a statement's body: SHA-256 of its list of parameters, which lies in parts.
pub(super) const HAS_PARAMETERS_HASH: u8 = 5;
/// At the end of a statement's body: why its session kept its backend.
pub(super) const HAS_PINS: u8 = 6;
/// At the end of a statement's body: what was decided.
pub(super) const HAS_DECISION: u8 = 7;

/// `usize` to `u64`; never loses anything on a machine this runs on.
pub(super) fn wide(count: usize) -> u64 {
    u64::try_from(count).unwrap_or(u64::MAX)
}

/// `u64` to `usize`, the largest one if it does not fit.
pub(super) fn narrow(count: u64) -> usize {
    usize::try_from(count).unwrap_or(usize::MAX)
}

fn put_bytes(out: &mut Vec<u8>, bytes: &[u8], keep_max: usize) {
    match bytes.get(..keep_max) {
        Some(kept) if bytes.len() > keep_max => {
            out.extend_from_slice(&(u32::try_from(keep_max).unwrap_or(0) | CLIPPED).to_le_bytes());
            out.extend_from_slice(&wide(bytes.len()).to_le_bytes());
            out.extend_from_slice(kept);
        }
        Some(_) | None => {
            out.extend_from_slice(&u32::try_from(bytes.len()).unwrap_or(0).to_le_bytes());
            out.extend_from_slice(bytes);
        }
    }
}

pub(super) fn put_name(out: &mut Vec<u8>, bytes: &[u8]) {
    put_bytes(out, bytes, NAME_BYTES_MAX);
}

/// 19 bytes: 0, 4 or 6; the address in 16 bytes; the port.
fn put_address(out: &mut Vec<u8>, address: Option<SocketAddr>) {
    let (family, ip) = match address.map(|address| address.ip()) {
        None => (0, Ipv6Addr::UNSPECIFIED),
        Some(IpAddr::V4(ip)) => (4, ip.to_ipv6_mapped()),
        Some(IpAddr::V6(ip)) => (6, ip),
    };
    out.push(family);
    out.extend_from_slice(&ip.octets());
    out.extend_from_slice(&address.map_or(0, |address| address.port()).to_le_bytes());
}

/// The part that is the same in all records of a session.
pub(super) fn put_who(out: &mut Vec<u8>, who: &Who<'_>) {
    out.extend_from_slice(&who.session.to_le_bytes());
    out.extend_from_slice(&who.backend_pid.to_le_bytes());
    put_address(out, Some(who.client_address));
    for text in [who.customer, who.login, who.role, who.database, who.credential, who.tls.unwrap_or("")] {
        put_name(out, text.as_bytes());
    }
    put_name(out, who.application_name);
}

/// The whole body of a statement or an intent behind a session's constant part.
pub(super) fn put_statement(out: &mut Vec<u8>, intent: bool, who: &[u8], statement: &Statement<'_>) {
    out.extend_from_slice(&[if intent { INTENT } else { STATEMENT }, VERSION]);
    out.extend_from_slice(who);
    put_numbers(out, statement);
    put_name(out, statement.statement_name);
    put_name(out, statement.portal);
    put_name(out, statement.tag);
    put_name(out, statement.message);
    put_bytes(out, statement.text, TEXT_INLINE_BYTES_MAX);
    put_parameters(out, &statement.parameters);
    put_rest(out, statement);
}

fn put_parameters(out: &mut Vec<u8>, parameters: &Long<'_>) {
    let bytes = parameters.bytes.max(wide(parameters.here.len()));
    if bytes == 0 {
        return;
    }
    out.push(HAS_PARAMETERS);
    out.extend_from_slice(&bytes.to_le_bytes());
    out.extend_from_slice(&parameters.parts.to_le_bytes());
    out.extend_from_slice(&parameters.of.unwrap_or(0).to_le_bytes());
    put_bytes(out, parameters.here, TEXT_INLINE_BYTES_MAX);
}

/// The body of an outcome: what its intent could not know.
pub(super) fn put_outcome(out: &mut Vec<u8>, session: u64, statement: &Statement<'_>) {
    out.extend_from_slice(&[OUTCOME, VERSION]);
    out.extend_from_slice(&session.to_le_bytes());
    put_numbers(out, statement);
    put_name(out, b"");
    put_name(out, b"");
    put_name(out, statement.tag);
    put_name(out, statement.message);
    put_name(out, b"");
    put_rest(out, statement);
}

fn put_rest(out: &mut Vec<u8>, statement: &Statement<'_>) {
    let hashes = [(HAS_TEXT_HASH, statement.text_sha256), (HAS_PARAMETERS_HASH, statement.parameters.sha256)];
    for (what, hash) in hashes {
        if let Some(hash) = hash {
            out.push(what);
            out.extend_from_slice(&hash);
        }
    }
    if statement.wait_ns > 0 {
        out.push(HAS_WAIT);
        out.extend_from_slice(&statement.wait_ns.to_le_bytes());
    }
    if let Some(Copied { bytes, digest }) = statement.copied {
        out.push(HAS_COPIED);
        out.extend_from_slice(&bytes.to_le_bytes());
        out.push(u8::from(digest.is_some()));
        out.extend_from_slice(&digest.unwrap_or_default());
    }
    if !statement.pins.is_empty() {
        out.push(HAS_PINS);
        out.extend_from_slice(&statement.pins.bits().to_le_bytes());
    }
    if let Some(decision) = statement.decision {
        out.extend_from_slice(&[HAS_DECISION, decision.code()]);
    }
}

fn put_numbers(out: &mut Vec<u8>, statement: &Statement<'_>) {
    let [a, b, c, d, e] = statement.sqlstate.unwrap_or_default();
    let text_ref = statement.text_ref.unwrap_or(0);
    out.extend_from_slice(&statement.sequence.to_le_bytes());
    let (kind, outcome) = (statement.kind.code(), statement.outcome.code());
    out.extend_from_slice(&[kind, outcome, statement.transaction_status, a, b, c, d, e]);
    out.extend_from_slice(&statement.text_bytes.max(wide(statement.text.len())).to_le_bytes());
    out.extend_from_slice(&statement.text_parts.to_le_bytes());
    out.extend_from_slice(&statement.commands.to_le_bytes());
    for number in [
        text_ref,
        statement.started_ns,
        statement.duration_ns,
        statement.rows,
        statement.bytes_in,
        statement.bytes_out,
    ] {
        out.extend_from_slice(&number.to_le_bytes());
    }
}

/// The body of a piece of something long; `bytes` has at most [`TEXT_INLINE_BYTES_MAX`] bytes.
pub(super) fn put_part(
    out: &mut Vec<u8>,
    session: u64,
    (stream, sequence, part): (Stream, u64, u32),
    bytes: &[u8],
) {
    out.extend_from_slice(&[PART, VERSION]);
    out.extend_from_slice(&session.to_le_bytes());
    out.extend_from_slice(&sequence.to_le_bytes());
    out.extend_from_slice(&part.to_le_bytes());
    put_bytes(out, bytes, TEXT_INLINE_BYTES_MAX);
    out.push(stream.code());
}

/// The body of the beginning of a session.
pub(super) fn put_session_open(out: &mut Vec<u8>, time_ns: u64, who: &[u8]) {
    out.extend_from_slice(&[SESSION_OPEN, VERSION]);
    out.extend_from_slice(&time_ns.to_le_bytes());
    out.extend_from_slice(who);
}

/// The body of the end of a session.
pub(super) fn put_session_close(out: &mut Vec<u8>, time_ns: u64, who: &[u8], reason: &str) {
    out.extend_from_slice(&[SESSION_CLOSE, VERSION]);
    out.extend_from_slice(&time_ns.to_le_bytes());
    out.extend_from_slice(who);
    put_name(out, reason.as_bytes());
}

/// The body of an event.
pub(super) fn put_event(out: &mut Vec<u8>, time_ns: u64, event: &Event<'_>) {
    let [a, b, c, d, e] = event.sqlstate.unwrap_or_default();
    out.extend_from_slice(&[EVENT, VERSION]);
    out.extend_from_slice(&time_ns.to_le_bytes());
    out.extend_from_slice(&[event.kind.code(), event.outcome.code(), a, b, c, d, e]);
    out.extend_from_slice(&event.session.to_le_bytes());
    put_address(out, event.client_address);
    put_name(out, event.customer.as_bytes());
    put_name(out, event.login);
    put_name(out, event.database);
    put_name(out, event.tls.unwrap_or("").as_bytes());
    put_name(out, event.application_name);
    put_name(out, event.detail);
    out.extend(event.decision.map(Decision::code));
}

/// The body that begins a process's part of the log.
pub(super) fn put_log_start(out: &mut Vec<u8>, start: &LogStart<'_>) {
    out.extend_from_slice(&[LOG_START, VERSION]);
    out.extend_from_slice(&start.time_ns.to_le_bytes());
    out.extend_from_slice(&start.boot);
    out.extend_from_slice(&start.bytes_cut.to_le_bytes());
    put_name(out, start.node.kept);
    put_name(out, start.previous_end.kept);
    put_name(out, start.program.kept);
}

/// The body that ends a process's part of the log.
pub(super) fn put_log_stop(out: &mut Vec<u8>, time_ns: u64) {
    out.extend_from_slice(&[LOG_STOP, VERSION]);
    out.extend_from_slice(&time_ns.to_le_bytes());
}

/// The body that tells of a time without a writable log.
pub(super) fn put_log_gap(out: &mut Vec<u8>, gap: &LogGap<'_>) {
    out.extend_from_slice(&[LOG_GAP, VERSION]);
    for number in [gap.time_ns, gap.since_ns, gap.attempts, gap.refused] {
        out.extend_from_slice(&number.to_le_bytes());
    }
    put_name(out, gap.reason.kept);
}

#[cfg(test)]
mod tests {
    use super::super::entry::{BodyError, Entry, EventRead, decode};
    use super::super::pin::{Pin, Pins};
    use super::super::record::EventKind;
    use super::*;

    #[test]
    fn pins_and_decisions_are_read_as_written_and_take_no_byte_where_there_are_none() {
        let mut pins = Pins::default();
        pins.add(Pin::Listen);
        pins.add(Pin::Unexamined);
        let mut bodies = [Vec::new(), Vec::new(), Vec::new(), Vec::new()];
        let (plain, decision) = (Statement::default(), Some(Decision::EndedClientLeft));
        put_outcome(&mut bodies[0], 7, &plain);
        put_outcome(&mut bodies[1], 7, &Statement { pins, decision, ..plain });
        let Ok(Entry::Outcome { statement, .. }) = decode(&bodies[1]) else { panic!("not read") };
        assert_eq!((statement.pins, statement.decision), (pins, decision));
        assert_eq!(bodies[1].len(), bodies[0].len() + 5);
        let event = Event::new(EventKind::Cancel);
        put_event(&mut bodies[2], 1, &event);
        put_event(&mut bodies[3], 1, &Event { decision, ..event });
        let Ok(Entry::Event(event)) = decode(&bodies[3]) else { panic!("not read") };
        assert_eq!((event.decision, bodies[3].len()), (decision, bodies[2].len() + 1));
        assert!(matches!(decode(&bodies[2]), Ok(Entry::Event(EventRead { decision: None, .. }))));
        // Numbers that nobody has given are no decision and no reason.
        for (body, wrong) in [(&bodies[1], 0), (&bodies[3], 0xff)] {
            let mut body = body.clone();
            *body.last_mut().unwrap() = wrong;
            assert_eq!(decode(&body), Err(BodyError("unknown decision")));
        }
    }
}
