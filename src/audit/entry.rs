//! A record's body as read: the other side of [`super::body`].
//!
//! Reading takes any input: what does not fit is an error, never a panic. Everything borrows from the body.

use std::net::{Ipv6Addr, SocketAddr};

use super::body::{
    CLIPPED, EVENT, HAS_COPIED, HAS_DECISION, HAS_PARAMETERS, HAS_PARAMETERS_HASH, HAS_PINS, HAS_TEXT_HASH,
    HAS_WAIT, INTENT, LOG_GAP, LOG_START, LOG_STOP, OUTCOME, PART, SESSION_CLOSE, SESSION_OPEN, STATEMENT,
    VERSION,
};
use super::decision::Decision;
use super::pin::Pins;
use super::record::{Copied, EventKind, Kind, Long, Outcome, Stream};
#[cfg(doc)]
use super::record::{Event, Statement, Who};

/// Bytes of which perhaps only the beginning was kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Bytes<'a> {
    /// What was kept.
    pub kept: &'a [u8],
    /// The full length.
    pub bytes: u64,
}

/// One decoded body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Entry<'a> {
    /// A process began to write.
    LogStart(LogStart<'a>),
    /// A process ended in order.
    LogStop {
        /// Wall clock, ns since 1970.
        time_ns: u64,
    },
    /// The log could not be written for a while; statements were refused, no accepted record was lost.
    LogGap(LogGap<'a>),
    /// A session began.
    SessionOpen {
        /// Wall clock, ns since 1970.
        time_ns: u64,
        /// Whose.
        who: WhoRead<'a>,
    },
    /// A session ended.
    SessionClose {
        /// Wall clock, ns since 1970.
        time_ns: u64,
        /// Whose.
        who: WhoRead<'a>,
        /// Why.
        reason: Bytes<'a>,
    },
    /// An execution, complete.
    Statement(WhoRead<'a>, StatementRead<'a>),
    /// An execution that is about to begin.
    Intent(WhoRead<'a>, StatementRead<'a>),
    /// How the execution of an intent ended; text and names are the intent's.
    Outcome {
        /// The session of the intent.
        session: u64,
        /// The rest.
        statement: StatementRead<'a>,
    },
    /// A piece of something long.
    Part {
        /// The session.
        session: u64,
        /// What this is a piece of.
        stream: Stream,
        /// The execution whose it is.
        sequence: u64,
        /// Number of the piece, from 0.
        part: u32,
        /// The piece.
        bytes: &'a [u8],
    },
    /// Something else.
    Event(EventRead<'a>),
}

/// A process began to write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LogStart<'a> {
    /// Wall clock, ns since 1970.
    pub time_ns: u64,
    /// Names this run of the process.
    pub boot: [u8; 16],
    /// Name of the node.
    pub node: Bytes<'a>,
    /// How the log ended before: `new`, `clean`, `not closed`, `torn tail cut`.
    pub previous_end: Bytes<'a>,
    /// Bytes of the torn tail that were cut.
    pub bytes_cut: u64,
    /// Version of the program.
    pub program: Bytes<'a>,
}

/// A time in which the log could not be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LogGap<'a> {
    /// When it could be written again, ns since 1970.
    pub time_ns: u64,
    /// When it began.
    pub since_ns: u64,
    /// Attempts that failed.
    pub attempts: u64,
    /// Calls that were refused in the meantime.
    pub refused: u64,
    /// Why.
    pub reason: Bytes<'a>,
}

/// [`Who`] as read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WhoRead<'a> {
    /// See [`Who`].
    pub session: u64,
    /// See [`Who`].
    pub backend_pid: i32,
    /// See [`Who`].
    pub client_address: Option<SocketAddr>,
    /// See [`Who`].
    pub customer: Bytes<'a>,
    /// See [`Who`].
    pub login: Bytes<'a>,
    /// See [`Who`].
    pub role: Bytes<'a>,
    /// See [`Who`].
    pub database: Bytes<'a>,
    /// See [`Who`].
    pub credential: Bytes<'a>,
    /// See [`Who`]; empty: clear text.
    pub tls: Bytes<'a>,
    /// See [`Who`].
    pub application_name: Bytes<'a>,
}

/// [`Statement`] as read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StatementRead<'a> {
    /// See [`Statement`].
    pub sequence: u64,
    /// See [`Statement`].
    pub kind: Kind,
    /// See [`Statement`].
    pub outcome: Outcome,
    /// See [`Statement`].
    pub transaction_status: u8,
    /// See [`Statement`].
    pub sqlstate: Option<[u8; 5]>,
    /// See [`Statement`].
    pub text_bytes: u64,
    /// See [`Statement`].
    pub text_parts: u32,
    /// See [`Statement`].
    pub text_ref: Option<u64>,
    /// See [`Statement`].
    pub text_sha256: Option<[u8; 32]>,
    /// See [`Statement`].
    pub started_ns: u64,
    /// See [`Statement`].
    pub duration_ns: u64,
    /// See [`Statement`].
    pub commands: u32,
    /// See [`Statement`].
    pub rows: u64,
    /// See [`Statement`].
    pub bytes_in: u64,
    /// See [`Statement`].
    pub bytes_out: u64,
    /// See [`Statement`].
    pub statement_name: Bytes<'a>,
    /// See [`Statement`].
    pub portal: Bytes<'a>,
    /// See [`Statement`].
    pub tag: Bytes<'a>,
    /// See [`Statement`].
    pub message: Bytes<'a>,
    /// See [`Statement`].
    pub text: Bytes<'a>,
    /// See [`Statement`].
    pub parameters: Long<'a>,
    /// See [`Statement`].
    pub wait_ns: u64,
    /// See [`Statement`].
    pub copied: Option<Copied>,
    /// See [`Statement`].
    pub pins: Pins,
    /// See [`Statement`].
    pub decision: Option<Decision>,
}

/// [`Event`] as read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EventRead<'a> {
    /// Wall clock, ns since 1970.
    pub time_ns: u64,
    /// See [`Event`].
    pub kind: EventKind,
    /// See [`Event`].
    pub outcome: Outcome,
    /// See [`Event`].
    pub session: u64,
    /// See [`Event`].
    pub client_address: Option<SocketAddr>,
    /// See [`Event`].
    pub sqlstate: Option<[u8; 5]>,
    /// See [`Event`].
    pub customer: Bytes<'a>,
    /// See [`Event`].
    pub login: Bytes<'a>,
    /// See [`Event`].
    pub database: Bytes<'a>,
    /// See [`Event`].
    pub tls: Bytes<'a>,
    /// See [`Event`].
    pub application_name: Bytes<'a>,
    /// See [`Event`].
    pub detail: Bytes<'a>,
    /// See [`Event`].
    pub decision: Option<Decision>,
}

/// Why a body cannot be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BodyError(pub &'static str);

impl std::fmt::Display for BodyError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "record body: {}", self.0)
    }
}

impl std::error::Error for BodyError {}

/// The run of the process that a body begins, if it is the record of a start.
pub(super) fn boot_of_start(body: &[u8]) -> Option<[u8; 16]> {
    if body.first() != Some(&LOG_START) {
        return None;
    }
    match decode(body) {
        Ok(Entry::LogStart(start)) => Some(start.boot),
        Ok(_) | Err(_) => None,
    }
}

/// Whether a body is a piece of something long.
pub(super) fn is_part(body: &[u8]) -> bool {
    body.first() == Some(&PART)
}

/// Whether a body ends its process's part of the log.
pub(super) fn is_log_stop(body: &[u8]) -> bool {
    body.first() == Some(&LOG_STOP)
}

/// Reads a body.
///
/// # Errors
/// [`BodyError`] when it is too short, of an unknown kind or version, or holds an unknown code.
pub fn decode(body: &[u8]) -> Result<Entry<'_>, BodyError> {
    let mut read = Cursor(body);
    let [kind, version] = read.array()?;
    if version != VERSION {
        return Err(BodyError("unknown version"));
    }
    Ok(match kind {
        LOG_START => {
            let (time_ns, boot, bytes_cut) = (read.u64()?, read.array()?, read.u64()?);
            let (node, previous_end, program) = (read.bytes()?, read.bytes()?, read.bytes()?);
            Entry::LogStart(LogStart { time_ns, boot, node, previous_end, bytes_cut, program })
        }
        LOG_STOP => Entry::LogStop { time_ns: read.u64()? },
        LOG_GAP => Entry::LogGap(LogGap {
            time_ns: read.u64()?,
            since_ns: read.u64()?,
            attempts: read.u64()?,
            refused: read.u64()?,
            reason: read.bytes()?,
        }),
        SESSION_OPEN => Entry::SessionOpen { time_ns: read.u64()?, who: read.who()? },
        SESSION_CLOSE => {
            Entry::SessionClose { time_ns: read.u64()?, who: read.who()?, reason: read.bytes()? }
        }
        STATEMENT => Entry::Statement(read.who()?, read.statement()?),
        INTENT => Entry::Intent(read.who()?, read.statement()?),
        OUTCOME => Entry::Outcome { session: read.u64()?, statement: read.statement()? },
        PART => {
            let (session, sequence, part) = (read.u64()?, read.u64()?, read.u32()?);
            let bytes = read.bytes()?.kept;
            let code = if read.0.is_empty() { 0 } else { read.u8()? };
            let stream = Stream::from_code(code).ok_or(BodyError("unknown stream"))?;
            Entry::Part { session, stream, sequence, part, bytes }
        }
        EVENT => Entry::Event(read.event()?),
        _ => return Err(BodyError("unknown kind")),
    })
}

/// What is left to read.
struct Cursor<'a>(&'a [u8]);

impl<'a> Cursor<'a> {
    fn array<const N: usize>(&mut self) -> Result<[u8; N], BodyError> {
        let (first, rest) = self.0.split_first_chunk::<N>().ok_or(BodyError("too short"))?;
        self.0 = rest;
        Ok(*first)
    }

    fn u8(&mut self) -> Result<u8, BodyError> {
        self.array().map(|[byte]| byte)
    }

    fn u64(&mut self) -> Result<u64, BodyError> {
        Ok(u64::from_le_bytes(self.array()?))
    }

    fn u32(&mut self) -> Result<u32, BodyError> {
        Ok(u32::from_le_bytes(self.array()?))
    }

    fn bytes(&mut self) -> Result<Bytes<'a>, BodyError> {
        let length = self.u32()?;
        let kept_bytes = length & !CLIPPED;
        let bytes = if length & CLIPPED == 0 { u64::from(kept_bytes) } else { self.u64()? };
        let kept = usize::try_from(kept_bytes).ok().and_then(|count| self.0.split_at_checked(count));
        let (kept, rest) = kept.ok_or(BodyError("too short"))?;
        self.0 = rest;
        Ok(Bytes { kept, bytes })
    }

    fn address(&mut self) -> Result<Option<SocketAddr>, BodyError> {
        let [family] = self.array()?;
        let ip = Ipv6Addr::from(self.array::<16>()?);
        let port = u16::from_le_bytes(self.array()?);
        match family {
            0 => Ok(None),
            4 => {
                let ip = ip.to_ipv4_mapped().ok_or(BodyError("not an IPv4 address"))?;
                Ok(Some(SocketAddr::from((ip, port))))
            }
            6 => Ok(Some(SocketAddr::from((ip, port)))),
            _ => Err(BodyError("unknown address family")),
        }
    }

    fn who(&mut self) -> Result<WhoRead<'a>, BodyError> {
        Ok(WhoRead {
            session: self.u64()?,
            backend_pid: i32::from_le_bytes(self.array()?),
            client_address: self.address()?,
            customer: self.bytes()?,
            login: self.bytes()?,
            role: self.bytes()?,
            database: self.bytes()?,
            credential: self.bytes()?,
            tls: self.bytes()?,
            application_name: self.bytes()?,
        })
    }

    fn statement(&mut self) -> Result<StatementRead<'a>, BodyError> {
        let sequence = self.u64()?;
        let [kind, outcome, transaction_status] = self.array()?;
        let sqlstate = self.sqlstate()?;
        let (text_bytes, text_parts, commands) = (self.u64()?, self.u32()?, self.u32()?);
        let mut statement = StatementRead {
            sequence,
            kind: Kind::from_code(kind).ok_or(BodyError("unknown kind of statement"))?,
            outcome: Outcome::from_code(outcome).ok_or(BodyError("unknown outcome"))?,
            transaction_status,
            sqlstate,
            text_bytes,
            text_parts,
            commands,
            text_ref: Some(self.u64()?).filter(|sequence| *sequence != 0),
            text_sha256: None,
            started_ns: self.u64()?,
            duration_ns: self.u64()?,
            rows: self.u64()?,
            bytes_in: self.u64()?,
            bytes_out: self.u64()?,
            statement_name: self.bytes()?,
            portal: self.bytes()?,
            tag: self.bytes()?,
            message: self.bytes()?,
            text: self.bytes()?,
            parameters: Long::default(),
            wait_ns: 0,
            copied: None,
            pins: Pins::default(),
            decision: None,
        };
        while !self.0.is_empty() {
            match self.u8()? {
                HAS_PARAMETERS => statement.parameters = self.long()?,
                HAS_WAIT => statement.wait_ns = self.u64()?,
                HAS_TEXT_HASH => statement.text_sha256 = Some(self.array()?),
                HAS_PARAMETERS_HASH => statement.parameters.sha256 = Some(self.array()?),
                HAS_COPIED => {
                    let (bytes, [has_digest], digest) = (self.u64()?, self.array()?, self.array()?);
                    statement.copied = Some(Copied { bytes, digest: (has_digest != 0).then_some(digest) });
                }
                HAS_PINS => {
                    let bits = u16::from_le_bytes(self.array()?);
                    statement.pins = Pins::of_bits(bits).ok_or(BodyError("unknown reason of a pin"))?;
                }
                HAS_DECISION => statement.decision = Some(self.decision()?),
                // A later version's.
                _ => break,
            }
        }
        Ok(statement)
    }

    fn long(&mut self) -> Result<Long<'a>, BodyError> {
        let (bytes, parts, of) = (self.u64()?, self.u32()?, self.u64()?);
        let of = Some(of).filter(|of| *of != 0);
        Ok(Long { bytes, parts, of, here: self.bytes()?.kept, sha256: None })
    }

    fn event(&mut self) -> Result<EventRead<'a>, BodyError> {
        let time_ns = self.u64()?;
        let [kind, outcome] = self.array()?;
        Ok(EventRead {
            time_ns,
            kind: EventKind::from_code(kind).ok_or(BodyError("unknown kind of event"))?,
            outcome: Outcome::from_code(outcome).ok_or(BodyError("unknown outcome"))?,
            sqlstate: self.sqlstate()?,
            session: self.u64()?,
            client_address: self.address()?,
            customer: self.bytes()?,
            login: self.bytes()?,
            database: self.bytes()?,
            tls: self.bytes()?,
            application_name: self.bytes()?,
            detail: self.bytes()?,
            decision: if self.0.is_empty() { None } else { Some(self.decision()?) },
        })
    }

    fn decision(&mut self) -> Result<Decision, BodyError> {
        Decision::from_code(self.u8()?).ok_or(BodyError("unknown decision"))
    }

    fn sqlstate(&mut self) -> Result<Option<[u8; 5]>, BodyError> {
        Ok(Some(self.array::<5>()?).filter(|state| *state != [0; 5]))
    }
}

#[cfg(test)]
mod tests {
    use super::super::body::{put_part, put_statement};
    use super::super::record::Statement;
    use super::*;

    #[test]
    fn records_of_earlier_versions_stay_readable() {
        let mut part = Vec::new();
        put_part(&mut part, 7, (Stream::Parameters, 8, 9), b"piece");
        // It had no stream before.
        part.pop();
        let Ok(Entry::Part { stream, bytes, .. }) = decode(&part) else { panic!("not read") };
        assert_eq!((stream, bytes), (Stream::Text, &b"piece"[..]));

        let mut who = Vec::new();
        super::super::body::put_who(&mut who, &crate::audit::tests::who(7));
        let mut body = Vec::new();
        let parameters = Long::here(b"list");
        put_statement(
            &mut body,
            false,
            &who,
            &Statement { text: b"SELECT 1", parameters, ..Statement::default() },
        );
        let Ok(Entry::Statement(_, now)) = decode(&body) else { panic!("not read") };
        assert_eq!(now.parameters, parameters);
        let end = body.windows(8).position(|bytes| bytes == b"SELECT 1").unwrap() + 8;
        let Ok(Entry::Statement(_, before)) = decode(&body[..end]) else { panic!("not read") };
        assert_eq!((before.text.kept, before.parameters), (&b"SELECT 1"[..], Long::default()));
        assert_eq!((now.pins, now.decision), (Pins::default(), None));
        // What a later version adds is passed over.
        let later = [&body[..], &[0xff, 1, 2, 3]].concat();
        assert!(matches!(decode(&later), Ok(Entry::Statement(_, again)) if again == now));
    }
}
