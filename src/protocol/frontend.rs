//! Views over what a frontend sends, as far as the relay and the audit log read it.
//!
//! The views are lenient: a body that breaks off gives what came before the break, because the server, to
//! which the bytes go on unchanged, is the one who refuses it.
//!
//! Source: protocol-message-formats

use super::fields::Fields;
use super::tag::frontend;

/// `Query`: the text, without its terminator.
#[must_use]
pub fn query(body: &[u8]) -> &[u8] {
    Fields::of(body).cstr("query").unwrap_or(body)
}

/// `Parse`, as far as its text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Parse<'a> {
    /// The prepared statement's name; empty for the unnamed one.
    pub name: &'a [u8],
    /// The text.
    pub text: &'a [u8],
}

impl<'a> Parse<'a> {
    /// Reads a body.
    #[must_use]
    pub fn read(body: &'a [u8]) -> Self {
        let mut fields = Fields::of(body);
        let name = fields.cstr("statement name").unwrap_or_default();
        let rest = fields.rest();
        Self { name, text: fields.cstr("query").unwrap_or(rest) }
    }
}

/// `Bind`, as far as its names. The portal comes first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bind<'a> {
    /// The portal made; empty for the unnamed one.
    pub portal: &'a [u8],
    /// The prepared statement it is made from.
    pub statement: &'a [u8],
}

impl<'a> Bind<'a> {
    /// Reads a body.
    #[must_use]
    pub fn read(body: &'a [u8]) -> Self {
        let mut fields = Fields::of(body);
        let portal = fields.cstr("portal name").unwrap_or_default();
        Self { portal, statement: fields.cstr("statement name").unwrap_or_default() }
    }

    /// The bytes of a parameter, from 1 on; `None` where it is NULL, or not in this part of the body.
    #[must_use]
    pub fn parameter(body: &'a [u8], number: u16) -> Option<&'a [u8]> {
        let mut fields = Fields::of(body);
        fields.cstr("portal name").ok()?;
        fields.cstr("statement name").ok()?;
        let formats = usize::try_from(fields.i16("format count").ok()?).ok()?;
        fields.bytes(formats.checked_mul(2)?, "formats").ok()?;
        fields.i16("parameter count").ok()?;
        let mut value = None;
        for _ in 0..number {
            value = match usize::try_from(fields.i32("length").ok()?) {
                Ok(length) => Some(fields.bytes(length, "parameter").ok()?),
                Err(_) => None,
            };
        }
        value
    }
}

/// `Execute`: the portal's name.
#[must_use]
pub fn execute(body: &[u8]) -> &[u8] {
    Fields::of(body).cstr("portal name").unwrap_or_default()
}

/// What a `Close` or `Describe` is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Target<'a> {
    /// `S` and a name.
    Statement(&'a [u8]),
    /// `P` and a name.
    Portal(&'a [u8]),
    /// Neither; the server refuses it.
    Unknown,
}

impl<'a> Target<'a> {
    /// Reads a body.
    #[must_use]
    pub fn read(body: &'a [u8]) -> Self {
        let mut fields = Fields::of(body);
        match (fields.u8("kind"), fields.cstr("name")) {
            (Ok(b'S'), Ok(name)) => Self::Statement(name),
            (Ok(b'P'), Ok(name)) => Self::Portal(name),
            _ => Self::Unknown,
        }
    }
}

/// Whether the names that a message begins with are whole in `body`, which may be only its beginning.
#[must_use]
pub fn names_are_whole(tag: u8, body: &[u8]) -> bool {
    let mut fields = Fields::of(body);
    match tag {
        frontend::PARSE | frontend::EXECUTE => fields.cstr("name").is_ok(),
        frontend::BIND => fields.cstr("portal name").is_ok() && fields.cstr("statement name").is_ok(),
        frontend::DESCRIBE | frontend::CLOSE => fields.u8("kind").is_ok() && fields.cstr("name").is_ok(),
        _ => true,
    }
}

/// `FunctionCall`: the function's object id.
#[must_use]
pub fn function_call(body: &[u8]) -> u32 {
    let oid = Fields::of(body).i32("function").unwrap_or_default();
    u32::from_be_bytes(oid.to_be_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bind_names_its_portal_first() {
        let bind = Bind::read(b"p\0s\0\0\0");
        assert_eq!((bind.portal, bind.statement), (&b"p"[..], &b"s"[..]));
        let parse = Parse::read(b"s\0SELECT 1\0\0\0");
        assert_eq!((parse.name, parse.text), (&b"s"[..], &b"SELECT 1"[..]));
        assert_eq!(Target::read(b"Ss\0"), Target::Statement(b"s"));
        assert_eq!(Target::read(b"x"), Target::Unknown);
        assert_eq!(function_call(&[0, 0, 1, 0]), 256);
        for (body, whole) in [(&b"p\0s\0"[..], true), (b"p\0s", false), (b"p", false)] {
            assert_eq!(names_are_whole(frontend::BIND, body), whole);
        }
    }

    proptest::proptest! {
        #[test]
        fn any_body_is_read_without_a_panic(body in proptest::collection::vec(0_u8..4, 0..40)) {
            let _ = (query(&body), Parse::read(&body), Bind::read(&body), execute(&body));
            let _ = (Target::read(&body), function_call(&body));
        }
    }
}
