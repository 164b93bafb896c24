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

/// `Parse`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Parse<'a> {
    /// The prepared statement's name; empty for the unnamed one.
    pub name: &'a [u8],
    /// The text.
    pub text: &'a [u8],
    /// The types its parameters are said to have, behind their number; empty when there are none or they break off.
    pub types: &'a [u8],
}

impl<'a> Parse<'a> {
    /// Reads a body.
    #[must_use]
    pub fn read(body: &'a [u8]) -> Self {
        let mut fields = Fields::of(body);
        let name = fields.cstr("statement name").unwrap_or_default();
        let rest = fields.rest();
        let text = fields.cstr("query").unwrap_or(rest);
        Self { name, text, types: types(fields.rest()) }
    }
}

/// Types behind their number, as in `Parse` and `ParameterDescription`; empty when there are none or they break off.
#[must_use]
pub fn types(body: &[u8]) -> &[u8] {
    let count = Fields::of(body).i16("types").map(|count| usize::from(count.cast_unsigned()));
    let bytes = count.ok().filter(|count| *count > 0).map(|count| count.saturating_mul(4).saturating_add(2));
    bytes.and_then(|bytes| body.get(..bytes)).unwrap_or_default()
}

/// Whether there is anything in a list of parameters: formats and values, each behind their number.
#[must_use]
pub fn has_parameters(list: &[u8]) -> bool {
    let mut fields = Fields::of(list);
    let formats = fields.i16("formats").map(|count| usize::from(count.cast_unsigned()));
    let skipped = formats.and_then(|formats| fields.bytes(formats.saturating_mul(2), "formats"));
    // One that breaks off is not nothing.
    !(skipped.is_ok() && fields.i16("parameters") == Ok(0))
}

/// `Bind`. The portal comes first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bind<'a> {
    /// The portal made; empty for the unnamed one.
    pub portal: &'a [u8],
    /// The prepared statement it is made from.
    pub statement: &'a [u8],
    /// Formats and values of the parameters, and what stands behind them.
    pub list: &'a [u8],
}

impl<'a> Bind<'a> {
    /// Reads a body.
    #[must_use]
    pub fn read(body: &'a [u8]) -> Self {
        let mut fields = Fields::of(body);
        let portal = fields.cstr("portal name").unwrap_or_default();
        let statement = fields.cstr("statement name").unwrap_or_default();
        Self { portal, statement, list: fields.rest() }
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

/// `FunctionCall`: the function's object id; formats and values of its arguments, and what stands behind them.
#[must_use]
pub fn function_call(body: &[u8]) -> (u32, &[u8]) {
    let mut fields = Fields::of(body);
    let oid = fields.i32("function").unwrap_or_default();
    (oid.cast_unsigned(), fields.rest())
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
        assert_eq!(function_call(&[0, 0, 1, 0, 7]), (256, &[7][..]));
        let typed = Parse::read(b"\0SELECT $1\0\0\x01\0\0\0\x17");
        assert_eq!(typed.types, b"\0\x01\0\0\0\x17");
        assert_eq!((types(b"\0\x02\0\0\0\x17"), types(b"\0\0")), (&b""[..], &b""[..]));
        for (list, has) in [(&b"\0\0\0\0\0\0"[..], false), (b"\0\0\0\x01", true), (b"\0\x01\0", true)] {
            assert_eq!(has_parameters(list), has);
        }
        for (body, whole) in [(&b"p\0s\0"[..], true), (b"p\0s", false), (b"p", false)] {
            assert_eq!(names_are_whole(frontend::BIND, body), whole);
        }
    }

    proptest::proptest! {
        #[test]
        fn any_body_is_read_without_a_panic(body in proptest::collection::vec(0_u8..4, 0..40)) {
            let _ = (query(&body), Parse::read(&body), Bind::read(&body), execute(&body));
            let _ = (Target::read(&body), function_call(&body), types(&body), has_parameters(&body));
        }
    }
}
