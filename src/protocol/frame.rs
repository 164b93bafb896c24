//! One message: a type, a length, a body. Nothing is copied.
//!
//! Source: protocol-overview#PROTOCOL-MESSAGE-CONCEPTS

use std::fmt;

/// Type and length: what precedes a body, in bytes.
pub const HEADER_BYTES: usize = 5;

/// The largest length field PostgreSQL itself accepts for a large message (`PQ_LARGE_MESSAGE_LIMIT`): 1 GiB - 1.
pub const MESSAGE_BYTES_MAX: u32 = (1 << 30) - 1;

/// The largest message during a login (passwords, SASL), as in PostgreSQL's `PG_MAX_AUTH_TOKEN_LENGTH`.
pub const LOGIN_BYTES_MAX: u32 = 65_535;

/// A whole message, borrowed: type (1 byte), length (`Int32`, counts itself but not the type), body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Frame<'a> {
    /// The message's type.
    pub tag: u8,
    /// The whole message as it came, header included.
    pub raw: &'a [u8],
}

impl<'a> Frame<'a> {
    /// What follows the header.
    #[must_use]
    pub fn body(&self) -> &'a [u8] {
        self.raw.get(HEADER_BYTES..).unwrap_or_default()
    }
}

/// What [`split`] found at the start of a buffer.
#[derive(Debug, PartialEq, Eq)]
pub enum Split<'a> {
    /// A whole message, and what follows it.
    Whole(Frame<'a>, &'a [u8]),
    /// The message is not complete; at least so many bytes are missing.
    Need {
        /// Bytes missing, as far as is known.
        more_bytes: usize,
    },
}

/// A stream of messages that cannot be followed any further.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FrameError {
    /// A length below 4 or above the limit. Past it no message boundary can be trusted.
    Length {
        /// The message's type.
        tag: u8,
        /// The length field.
        length: u32,
        /// The limit in force.
        limit_bytes: u32,
    },
    /// A body does not have the fields its type demands.
    Body {
        /// What was read when it broke.
        field: &'static str,
    },
}

impl fmt::Display for FrameError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Length { tag, length, limit_bytes } => write!(
                f,
                "invalid message length {length} of message type {:?} (limit {limit_bytes} bytes)",
                char::from(*tag)
            ),
            Self::Body { field } => write!(f, "invalid message format at {field}"),
        }
    }
}

impl std::error::Error for FrameError {}

/// A message's type and its whole size in bytes (header included), once five bytes are there.
///
/// # Errors
/// [`FrameError::Length`] is fatal: past a bad length no message boundary can be trusted.
pub fn header(buf: &[u8], limit_bytes: u32) -> Result<Option<(u8, usize)>, FrameError> {
    let Some(&[tag, a, b, c, d]) = buf.first_chunk::<HEADER_BYTES>() else { return Ok(None) };
    let length = u32::from_be_bytes([a, b, c, d]);
    let total = usize::try_from(length).ok().and_then(|bytes| bytes.checked_add(1));
    match total.filter(|_| (4..=limit_bytes).contains(&length)) {
        Some(total) => Ok(Some((tag, total))),
        None => Err(FrameError::Length { tag, length, limit_bytes }),
    }
}

/// Splits the first message off `buf`.
///
/// # Errors
/// As [`header`].
pub fn split(buf: &[u8], limit_bytes: u32) -> Result<Split<'_>, FrameError> {
    let Some((tag, total)) = header(buf, limit_bytes)? else {
        return Ok(Split::Need { more_bytes: HEADER_BYTES.saturating_sub(buf.len()) });
    };
    Ok(match buf.split_at_checked(total) {
        Some((raw, rest)) => Split::Whole(Frame { tag, raw }, rest),
        None => Split::Need { more_bytes: total.saturating_sub(buf.len()) },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_length_outside_its_bounds_is_refused_before_the_body_is_there() {
        for length in [0_u32, 3, 101, 1 << 31, u32::MAX] {
            let mut buf = vec![b'Q'];
            buf.extend(length.to_be_bytes());
            assert_eq!(split(&buf, 100), Err(FrameError::Length { tag: b'Q', length, limit_bytes: 100 }));
        }
    }

    #[test]
    fn a_frame_ends_where_its_length_says() {
        let buf = b"S\0\0\0\x04Q\0\0\0\x06a\0rest";
        let Ok(Split::Whole(sync, rest)) = split(buf, 100) else { panic!("no frame") };
        assert_eq!((sync.tag, sync.body()), (b'S', &b""[..]));
        let Ok(Split::Whole(query, rest)) = split(rest, 100) else { panic!("no frame") };
        assert_eq!((query.tag, query.body(), rest), (b'Q', &b"a\0"[..], &b"rest"[..]));
        assert_eq!(split(b"Q\0\0\0\x06a", 100), Ok(Split::Need { more_bytes: 1 }));
        assert_eq!(split(b"Q", 100), Ok(Split::Need { more_bytes: 4 }));
    }
}
