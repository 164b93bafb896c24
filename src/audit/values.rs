//! Parameters as a record holds them, and their values as PostgreSQL would print them.
//!
//! What always holds: any bytes can be read; what is no value of its type is shown as `\x` and hexadecimal digits, never
//! left out and never a panic. NULL is apart from empty. Times with a zone are printed in UTC, dates in ISO form.
//!
//! The list as it lies in a record: the number of known types (`u16`) and their oids (`u32`), as `Parse` or
//! `ParameterDescription` said them, then the part of `Bind` or `FunctionCall` that begins with the formats, all as it
//! came, in network byte order.
//!
//! Source: protocol-message-formats#PROTOCOL-MESSAGE-FORMATS-BIND

use std::borrow::Cow;

use crate::protocol::fields::Fields;

mod arrays;
mod moments;
mod networks;
mod numbers;
#[cfg(test)]
mod tests;

/// One parameter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Parameter<'a> {
    /// Oid of its type; 0 when nobody said it.
    pub oid: u32,
    /// Whether `value` is in the binary format.
    pub is_binary: bool,
    /// As it was sent; `None`: NULL.
    pub value: Option<&'a [u8]>,
}

impl<'a> Parameter<'a> {
    /// As PostgreSQL would print it; `None`: NULL.
    #[must_use]
    pub fn text(&self) -> Option<Cow<'a, [u8]>> {
        let value = self.value?;
        Some(if self.is_binary { print(self.oid, value) } else { Cow::Borrowed(value) })
    }

    /// Name of its type, or its oid; `unknown` when nobody said it.
    #[must_use]
    pub fn type_name(&self) -> Cow<'static, str> {
        name(self.oid).map_or_else(|| Cow::Owned(self.oid.to_string()), Cow::Borrowed)
    }
}

/// A record's list of parameters, in their order.
#[derive(Debug, Clone)]
pub struct Parameters<'a> {
    types: &'a [u8],
    formats: &'a [u8],
    values: Fields<'a>,
    number: usize,
    count: usize,
}

impl<'a> Parameters<'a> {
    /// Reads a list; one that breaks off has the values that came before.
    #[must_use]
    pub fn read(list: &'a [u8]) -> Self {
        let mut fields = Fields::of(list);
        let types = counted(&mut fields, 4);
        let formats = counted(&mut fields, 2);
        let count = fields.i16("parameter count").unwrap_or_default();
        let count = usize::from(count.cast_unsigned());
        Self { types, formats, values: fields, number: 0, count }
    }

    /// How many there are, as the message says.
    #[must_use]
    pub const fn announced(&self) -> usize {
        self.count
    }

    fn oid(&self) -> u32 {
        let known = self.types.as_chunks::<4>().0.get(self.number);
        known.map_or(0, |oid| u32::from_be_bytes(*oid))
    }

    /// One format stands for all.
    fn is_binary(&self) -> bool {
        let formats = self.formats.as_chunks::<2>().0;
        let format = if formats.len() == 1 { formats.first() } else { formats.get(self.number) };
        format.is_some_and(|format| *format == [0, 1])
    }
}

impl<'a> Iterator for Parameters<'a> {
    type Item = Parameter<'a>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.number >= self.count {
            return None;
        }
        let length = self.values.i32("length").ok()?;
        let value = match usize::try_from(length) {
            Ok(length) => Some(self.values.bytes(length, "parameter").ok()?),
            Err(_) => None,
        };
        let parameter = Parameter { oid: self.oid(), is_binary: self.is_binary(), value };
        self.number = self.number.saturating_add(1);
        Some(parameter)
    }
}

/// So many items of a width behind their count; what is there of them.
fn counted<'a>(fields: &mut Fields<'a>, width: usize) -> &'a [u8] {
    let count = fields.i16("count").unwrap_or_default();
    let bytes = usize::from(count.cast_unsigned()).saturating_mul(width);
    fields.bytes(bytes, "items").unwrap_or_default()
}

/// A value in the binary format of a type, as PostgreSQL would print it; as hexadecimal digits where the type is not known
/// here or the bytes are none of its values.
#[must_use]
pub fn print(oid: u32, value: &[u8]) -> Cow<'_, [u8]> {
    if is_text(oid) {
        return Cow::Borrowed(value);
    }
    if oid == JSONB
        && let Some((1, text)) = value.split_first()
    {
        return Cow::Borrowed(text);
    }
    Cow::Owned(scalar(oid, value).or_else(|| arrays::array(oid, value)).unwrap_or_else(|| hex(value)))
}

fn hex(value: &[u8]) -> Vec<u8> {
    let mut out = b"\\x".to_vec();
    out.extend(super::render::hex(value).into_bytes());
    out
}

/// A value that is not an array and whose binary form is not its text.
fn scalar(oid: u32, value: &[u8]) -> Option<Vec<u8>> {
    let text = match oid {
        BOOL => match value {
            [0] => "f".to_owned(),
            [_] => "t".to_owned(),
            _ => return None,
        },
        INT2 => i16::from_be_bytes(value.try_into().ok()?).to_string(),
        INT4 => i32::from_be_bytes(value.try_into().ok()?).to_string(),
        INT8 => i64::from_be_bytes(value.try_into().ok()?).to_string(),
        OID | XID => u32::from_be_bytes(value.try_into().ok()?).to_string(),
        FLOAT4 => numbers::float4(f32::from_be_bytes(value.try_into().ok()?)),
        FLOAT8 => numbers::float8(f64::from_be_bytes(value.try_into().ok()?)),
        NUMERIC => numbers::numeric(value)?,
        BIT | VARBIT => numbers::bits(value)?,
        BYTEA => return Some(hex(value)),
        UUID => networks::uuid(value)?,
        MACADDR | MACADDR8 => networks::macaddr(value)?,
        INET | CIDR => networks::inet(value)?,
        DATE => moments::date(i32::from_be_bytes(value.try_into().ok()?)),
        TIME => moments::time(i64::from_be_bytes(value.try_into().ok()?))?,
        TIMETZ => moments::time_tz(value)?,
        TIMESTAMP => moments::timestamp(i64::from_be_bytes(value.try_into().ok()?), ""),
        TIMESTAMPTZ => moments::timestamp(i64::from_be_bytes(value.try_into().ok()?), "+00"),
        INTERVAL => moments::interval(value)?,
        _ => return None,
    };
    Some(text.into_bytes())
}

/// Whether a type's binary form is its text.
const fn is_text(oid: u32) -> bool {
    matches!(oid, NAME | TEXT | JSON | XML | UNKNOWN | BPCHAR | VARCHAR)
}

macro_rules! types {
    ($($name:ident = $oid:literal $text:literal),+ $(,)?) => {
        $(const $name: u32 = $oid;)+
        /// Of the types that are read here, but for arrays.
        const NAMES: &[(u32, &str)] = &[(0, "unknown"), $(($oid, $text)),+];
    };
}

types!(
    BOOL = 16 "bool",
    BYTEA = 17 "bytea",
    NAME = 19 "name",
    INT8 = 20 "int8",
    INT2 = 21 "int2",
    INT4 = 23 "int4",
    TEXT = 25 "text",
    OID = 26 "oid",
    XID = 28 "xid",
    JSON = 114 "json",
    XML = 142 "xml",
    CIDR = 650 "cidr",
    FLOAT4 = 700 "float4",
    FLOAT8 = 701 "float8",
    UNKNOWN = 705 "unknown",
    MACADDR8 = 774 "macaddr8",
    MACADDR = 829 "macaddr",
    INET = 869 "inet",
    BPCHAR = 1042 "bpchar",
    VARCHAR = 1043 "varchar",
    DATE = 1082 "date",
    TIME = 1083 "time",
    TIMESTAMP = 1114 "timestamp",
    TIMESTAMPTZ = 1184 "timestamptz",
    INTERVAL = 1186 "interval",
    TIMETZ = 1266 "timetz",
    BIT = 1560 "bit",
    VARBIT = 1562 "varbit",
    NUMERIC = 1700 "numeric",
    UUID = 2950 "uuid",
    JSONB = 3802 "jsonb",
);

/// Of the arrays that are read here.
const ARRAYS: &[(u32, &str)] = &[
    (143, "xml[]"),
    (199, "json[]"),
    (651, "cidr[]"),
    (775, "macaddr8[]"),
    (1000, "bool[]"),
    (1001, "bytea[]"),
    (1003, "name[]"),
    (1005, "int2[]"),
    (1007, "int4[]"),
    (1009, "text[]"),
    (1014, "bpchar[]"),
    (1015, "varchar[]"),
    (1016, "int8[]"),
    (1021, "float4[]"),
    (1022, "float8[]"),
    (1028, "oid[]"),
    (1040, "macaddr[]"),
    (1041, "inet[]"),
    (1115, "timestamp[]"),
    (1182, "date[]"),
    (1183, "time[]"),
    (1185, "timestamptz[]"),
    (1187, "interval[]"),
    (1231, "numeric[]"),
    (1270, "timetz[]"),
    (1561, "bit[]"),
    (1563, "varbit[]"),
    (2951, "uuid[]"),
    (3807, "jsonb[]"),
];

/// The name of a type that is read here.
fn name(oid: u32) -> Option<&'static str> {
    NAMES.iter().chain(ARRAYS).find(|(known, _)| *known == oid).map(|(_, name)| *name)
}
