//! What an `ErrorResponse` or `NoticeResponse` says.
//!
//! Source: protocol-error-fields

use std::borrow::Cow;
use std::fmt;

use super::fields::Fields;
use super::sqlstate::SqlState;

/// How bad it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Severity {
    /// The statement failed; the session goes on.
    Error,
    /// The session ends.
    Fatal,
    /// Only news.
    Notice,
    /// Only news, but worth reading.
    Warning,
}

impl Severity {
    /// The word PostgreSQL uses.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Error => "ERROR",
            Self::Fatal => "FATAL",
            Self::Notice => "NOTICE",
            Self::Warning => "WARNING",
        }
    }
}

/// An error or notice in our own words: lower case, no full stop, no internal host name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// How bad it is.
    pub severity: Severity,
    /// The error code.
    pub code: SqlState,
    /// One line.
    pub message: Cow<'static, str>,
    /// More about this case.
    pub detail: Option<Cow<'static, str>>,
    /// What to do about it.
    pub hint: Option<Cow<'static, str>>,
}

impl Report {
    /// The session ends with this.
    #[must_use]
    pub fn fatal(code: SqlState, message: impl Into<Cow<'static, str>>) -> Self {
        Self { severity: Severity::Fatal, code, message: message.into(), detail: None, hint: None }
    }

    /// The statement fails with this.
    #[must_use]
    pub fn error(code: SqlState, message: impl Into<Cow<'static, str>>) -> Self {
        Self { severity: Severity::Error, ..Self::fatal(code, message) }
    }

    /// Adds a detail.
    #[must_use]
    pub fn detail(self, detail: impl Into<Cow<'static, str>>) -> Self {
        Self { detail: Some(detail.into()), ..self }
    }

    /// Adds a hint.
    #[must_use]
    pub fn hint(self, hint: impl Into<Cow<'static, str>>) -> Self {
        Self { hint: Some(hint.into()), ..self }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {} ({})", self.severity.as_str(), self.message, self.code)
    }
}

/// A server's `ErrorResponse` or `NoticeResponse`, borrowed. Every field is optional: a server may leave any out.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ServerReport<'a> {
    /// `V`, or `S` where an old server sends no `V`.
    pub severity: &'a [u8],
    /// `C`, when it has five characters.
    pub code: Option<SqlState>,
    /// `M`
    pub message: &'a [u8],
    /// `F`: the file of the server's source that says so.
    pub file: &'a [u8],
}

impl<'a> ServerReport<'a> {
    /// Reads what can be read of `body`; a body cut short gives what came before the cut.
    #[must_use]
    pub fn parse(body: &'a [u8]) -> Self {
        let mut report = Self::default();
        let mut fields = Fields::of(body);
        while let Ok(kind) = fields.u8("field type") {
            let Ok(value) = fields.cstr("field value") else { break };
            match kind {
                b'V' => report.severity = value,
                b'S' if report.severity.is_empty() => report.severity = value,
                b'C' => report.code = value.try_into().ok().map(SqlState),
                b'M' => report.message = value,
                b'F' => report.file = value,
                0 => break,
                _ => {}
            }
        }
        report
    }

    /// Whether the server ends the session with this.
    #[must_use]
    pub fn is_fatal(&self) -> bool {
        matches!(self.severity, b"FATAL" | b"PANIC")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_may_leave_out_any_field() {
        let whole = b"SERREUR\0VERROR\0C42601\0Msyntax error\0P1\0\0";
        let report = ServerReport::parse(whole);
        assert_eq!((report.severity, report.message), (&b"ERROR"[..], &b"syntax error"[..]));
        assert_eq!(report.code, Some(SqlState(*b"42601")));
        for end in 0..whole.len() {
            let _ = ServerReport::parse(&whole[..end]);
        }
        assert_eq!(ServerReport::parse(b"SFATAL\0C426\0\0").code, None);
        assert!(ServerReport::parse(b"SFATAL\0\0").is_fatal());
    }
}
