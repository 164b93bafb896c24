//! What comes before a session: the packets that have a length and no type.
//!
//! Source: protocol-message-formats#PROTOCOL-MESSAGE-FORMATS-STARTUPMESSAGE, protocol-flow#PROTOCOL-FLOW-SSL

use super::fields::Fields;
use super::frame::FrameError;
use crate::ids::BackendKey;

/// The largest startup packet, in bytes, its length field included (`MAX_STARTUP_PACKET_LENGTH`).
pub const STARTUP_BYTES_MAX: usize = 10_000;

/// The longest cancel key of protocol 3.2, in bytes.
pub const CANCEL_SECRET_BYTES_MAX: usize = 256;

/// Protocol versions in the form of the wire: major in the upper 16 bits, minor in the lower.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Version(pub u32);

impl Version {
    /// 3.0: every server.
    pub const V3_0: Self = Self(3 << 16);
    /// 3.2: PostgreSQL 18; longer cancel keys.
    pub const V3_2: Self = Self((3 << 16) | 2);

    /// The part before the point.
    #[must_use]
    pub const fn major(self) -> u32 {
        self.0 >> 16
    }

    /// The part behind the point.
    #[must_use]
    pub const fn minor(self) -> u32 {
        self.0 & 0xffff
    }
}

const CANCEL_REQUEST: u32 = (1234 << 16) | 5678;
const SSL_REQUEST: u32 = (1234 << 16) | 5679;
const GSSENC_REQUEST: u32 = (1234 << 16) | 5680;

/// One packet of the phase before the login.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Request {
    /// `SSLRequest`
    Ssl,
    /// `GSSENCRequest`
    GssEnc,
    /// `CancelRequest`
    Cancel(BackendKey),
    /// `StartupMessage`
    Startup(Startup),
}

/// A `StartupMessage`: the version asked for and its parameters, in the order they were sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Startup {
    /// The version the client asks for; its major part is 3.
    pub version: Version,
    /// Name and value of each parameter.
    pub parameters: Vec<(String, String)>,
}

impl Startup {
    /// The value of a parameter; the last one counts, as in the server.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&str> {
        self.parameters.iter().rev().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// The version to speak: what was asked for, but never above 3.2 and 3.0 for the 3.1 that never was.
    #[must_use]
    pub fn negotiated(&self) -> Version {
        if self.version >= Version::V3_2 { Version::V3_2 } else { Version::V3_0 }
    }

    /// Names of `_pq_.` options: none is known, so all are told in `NegotiateProtocolVersion`.
    pub fn unknown_options(&self) -> impl Iterator<Item = &str> {
        self.parameters.iter().map(|(name, _)| name.as_str()).filter(|name| name.starts_with("_pq_."))
    }
}

/// Why a packet is none of the four.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StartupError {
    /// A version other than 3.x. PostgreSQL answers 0A000.
    Version(Version),
    /// A length or layout that no packet has. PostgreSQL answers 08P01.
    Layout(&'static str),
}

impl From<FrameError> for StartupError {
    fn from(_: FrameError) -> Self {
        Self::Layout("invalid startup packet layout: expected terminator as last byte")
    }
}

/// The whole size of the packet that starts with these 4 bytes.
///
/// # Errors
/// [`StartupError::Layout`] for a length below 8 or above [`STARTUP_BYTES_MAX`].
pub fn packet_bytes(length: [u8; 4]) -> Result<usize, StartupError> {
    usize::try_from(u32::from_be_bytes(length))
        .ok()
        .filter(|bytes| (8..=STARTUP_BYTES_MAX).contains(bytes))
        .ok_or(StartupError::Layout("invalid length of startup packet"))
}

/// Reads one packet, its length field included.
///
/// # Errors
/// [`StartupError`] says what a server would say.
pub fn parse(packet: &[u8]) -> Result<Request, StartupError> {
    let mut fields = Fields::of(packet.get(4..).unwrap_or_default());
    let code = u32::from_be_bytes(fields.i32("code")?.to_be_bytes());
    match code {
        SSL_REQUEST => Ok(fields.end().map(|()| Request::Ssl)?),
        GSSENC_REQUEST => Ok(fields.end().map(|()| Request::GssEnc)?),
        CANCEL_REQUEST => {
            let process_id = fields.i32("process id")?;
            let secret = fields.rest();
            if secret.len() < 4 || secret.len() > CANCEL_SECRET_BYTES_MAX {
                return Err(StartupError::Layout("invalid length of cancel request packet"));
            }
            Ok(Request::Cancel(BackendKey { process_id, secret: secret.into() }))
        }
        _ => parameters(Version(code), fields).map(Request::Startup),
    }
}

fn parameters(version: Version, mut fields: Fields<'_>) -> Result<Startup, StartupError> {
    if version.major() != 3 {
        return Err(StartupError::Version(version));
    }
    let mut parameters = Vec::new();
    loop {
        let name = fields.cstr("parameter name")?;
        if name.is_empty() {
            break;
        }
        let value = fields.cstr("parameter value")?;
        parameters.push((text(name)?, text(value)?));
    }
    fields.end()?;
    Ok(Startup { version, parameters })
}

fn text(bytes: &[u8]) -> Result<String, StartupError> {
    std::str::from_utf8(bytes)
        .map(str::to_owned)
        .map_err(|_| StartupError::Layout("startup parameters must be valid UTF-8"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::write;

    #[test]
    fn each_packet_is_recognised_and_nothing_else_is() {
        let mut out = Vec::new();
        write::ssl_request(&mut out);
        assert_eq!(parse(&out), Ok(Request::Ssl));
        out.clear();
        let key = BackendKey { process_id: 7, secret: Box::new([1; 32]) };
        write::cancel_request(&mut out, &key);
        assert_eq!(parse(&out), Ok(Request::Cancel(key)));
        out.clear();
        write::startup_message(&mut out, Version::V3_2, [("user", "a"), ("database", "b"), ("user", "c")]);
        let Ok(Request::Startup(startup)) = parse(&out) else { panic!("no startup") };
        assert_eq!((startup.get("user"), startup.get("database")), (Some("c"), Some("b")));
        out.push(0);
        assert!(parse(&out).is_err(), "bytes behind the terminator");
        assert_eq!(
            parse(&[0, 0, 0, 8, 0, 2, 0, 0]),
            Err(StartupError::Version(Version(2 << 16))),
            "protocol 2 is refused by its version"
        );
    }

    #[test]
    fn a_version_above_ours_is_negotiated_down() {
        let startup = |version| Startup { version: Version(version), parameters: Vec::new() };
        assert_eq!(startup(3 << 16 | 9999).negotiated(), Version::V3_2);
        assert_eq!(startup(3 << 16 | 1).negotiated(), Version::V3_0);
    }

    proptest::proptest! {
        #[test]
        fn any_packet_is_read_without_a_panic(packet in proptest::collection::vec(0_u8.., 0..200)) {
            let _ = parse(&packet);
        }
    }
}
