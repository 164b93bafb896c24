//! A reader over one message's body. It sees that body and nothing behind it.
//!
//! Source: protocol-message-types

use super::frame::FrameError;

/// What is left of a body.
#[derive(Debug, Clone, Copy)]
pub struct Fields<'a> {
    rest: &'a [u8],
}

impl<'a> Fields<'a> {
    /// Reads `body` from its start.
    #[must_use]
    pub const fn of(body: &'a [u8]) -> Self {
        Self { rest: body }
    }

    /// `String`: bytes up to a NUL, which is consumed. Bytes, because `client_encoding` may not be UTF-8.
    ///
    /// # Errors
    /// [`FrameError::Body`] when there is no NUL.
    pub fn cstr(&mut self, field: &'static str) -> Result<&'a [u8], FrameError> {
        let end = self.rest.iter().position(|&byte| byte == 0).ok_or(FrameError::Body { field })?;
        let (text, rest) = self.rest.split_at_checked(end).ok_or(FrameError::Body { field })?;
        self.rest = rest.get(1..).unwrap_or_default();
        Ok(text)
    }

    /// So many bytes.
    ///
    /// # Errors
    /// [`FrameError::Body`] when fewer are left.
    pub fn bytes(&mut self, count: usize, field: &'static str) -> Result<&'a [u8], FrameError> {
        let (bytes, rest) = self.rest.split_at_checked(count).ok_or(FrameError::Body { field })?;
        self.rest = rest;
        Ok(bytes)
    }

    /// `Byte1`
    ///
    /// # Errors
    /// [`FrameError::Body`] when nothing is left.
    pub fn u8(&mut self, field: &'static str) -> Result<u8, FrameError> {
        self.array::<1>(field).map(|[byte]| byte)
    }

    /// `Int16`
    ///
    /// # Errors
    /// [`FrameError::Body`] when fewer than 2 bytes are left.
    pub fn i16(&mut self, field: &'static str) -> Result<i16, FrameError> {
        self.array(field).map(i16::from_be_bytes)
    }

    /// `Int32`
    ///
    /// # Errors
    /// [`FrameError::Body`] when fewer than 4 bytes are left.
    pub fn i32(&mut self, field: &'static str) -> Result<i32, FrameError> {
        self.array(field).map(i32::from_be_bytes)
    }

    /// All that is left.
    #[must_use]
    pub const fn rest(self) -> &'a [u8] {
        self.rest
    }

    /// The body must end here: left-over bytes are a violation, never "the next message".
    ///
    /// # Errors
    /// [`FrameError::Body`] when bytes are left.
    pub const fn end(self) -> Result<(), FrameError> {
        if self.rest.is_empty() { Ok(()) } else { Err(FrameError::Body { field: "end of message" }) }
    }

    fn array<const N: usize>(&mut self, field: &'static str) -> Result<[u8; N], FrameError> {
        let (bytes, rest) = self.rest.split_first_chunk::<N>().ok_or(FrameError::Body { field })?;
        self.rest = rest;
        Ok(*bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_field_never_reads_past_the_body() {
        let mut fields = Fields::of(b"ab\0\0\x01x");
        assert_eq!(fields.cstr("a"), Ok(&b"ab"[..]));
        assert_eq!(fields.i16("b"), Ok(1));
        assert_eq!(fields.i32("c"), Err(FrameError::Body { field: "c" }));
        assert_eq!(fields.end(), Err(FrameError::Body { field: "end of message" }));
        assert_eq!(fields.u8("d"), Ok(b'x'));
        assert_eq!(fields.cstr("e"), Err(FrameError::Body { field: "e" }));
        assert_eq!(fields.end(), Ok(()));
    }
}
