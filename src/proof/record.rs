//! A disclosed record: its columns, and the leaf that stands for it in its log's tree.
//!
//! What always holds: a record has one way to be written, and any other is refused; the leaf is made of the record, the
//! salt, the log's name and the index alone.
//!
//! The leaf is 96 bytes: `ovleaf`, 0, 1; SHA-256 of the log's origin; index (`u64`); time in ns since 1970 (`u64`); class
//! (1 statement, 2 session, 3 event, 4 log) and seven zeros; HMAC-SHA-256 of the record's canonical bytes under the salt.
//! Canonical bytes are a version (1), then columns in the order of their tags: tag (`u8`), length (`u32`; `u64` from tag 128
//! on), value. Numbers are little-endian.
//!
//! A long column has a hash among the others when it was kept apart from its record. The hash stands for it in the canonical
//! bytes; the column itself may follow, and is checked against hash and length.

use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::hmac::{Context, HMAC_SHA256, Key};

use super::ProofError;
use super::tree::{Hash, leaf_hash};

/// Bytes of a salt.
pub const SALT_BYTES: usize = 32;

const VERSION: u8 = 1;
const LONG: u8 = 0x80;
/// Tags of the columns that a leaf names.
const TIME: u8 = 2;
const CLASS: u8 = 3;
/// Tags of long columns, each with the tags of its length and of its hash.
const KEPT_APART: [(u8, u8, u8); 2] = [(LONG, 31, 43), (0x81, 39, 44)];

/// Names of columns by their tags, from 1.
const NAMES: [&str; 46] = [
    "record",
    "time",
    "class",
    "kind",
    "outcome",
    "customer",
    "node",
    "boot",
    "session",
    "login",
    "role",
    "database",
    "credential",
    "client_ip",
    "client_port",
    "tls",
    "application_name",
    "backend_pid",
    "sequence",
    "statement_name",
    "portal",
    "duration_ns",
    "commands",
    "command_tag",
    "rows",
    "bytes_in",
    "bytes_out",
    "sqlstate",
    "message",
    "transaction_status",
    "text_bytes",
    "previous_end",
    "bytes_cut",
    "program",
    "gap_since",
    "attempts",
    "refused",
    "clipped",
    "parameter_bytes",
    "wait_ns",
    "copy_bytes",
    "copy_hmac",
    "text_sha256",
    "parameters_sha256",
    "pins",
    "decision",
];
/// Tags of numbers; other columns hold bytes.
const NUMBERS: [u8; 19] = [1, 2, 9, 15, 18, 19, 22, 23, 25, 26, 27, 31, 33, 35, 36, 37, 39, 40, 41];
/// Names of long columns by their tags, from [`LONG`].
const LONG_NAMES: [&str; 2] = ["text", "parameters"];

/// A column of a disclosed record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Field<'a> {
    /// Its number in the format.
    pub tag: u8,
    /// Its value.
    pub value: Value<'a>,
}

/// A column's value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Value<'a> {
    /// A number.
    Number(u64),
    /// Bytes.
    Bytes(&'a [u8]),
}

impl Field<'_> {
    /// Its canonical bytes, piece by piece.
    fn each(&self, mut take: impl FnMut(&[u8])) {
        let number;
        let bytes = match self.value {
            Value::Number(value) => {
                number = value.to_le_bytes();
                &number[..]
            }
            Value::Bytes(bytes) => bytes,
        };
        take(&[self.tag]);
        let length = u64::try_from(bytes.len()).unwrap_or(u64::MAX).to_le_bytes();
        let width = if self.tag < LONG { 4 } else { 8 };
        take(length.get(..width).unwrap_or_default());
        take(bytes);
    }

    /// Whether a column with this tag holds a number.
    #[must_use]
    pub fn is_number(tag: u8) -> bool {
        NUMBERS.contains(&tag)
    }

    /// The column's name; nothing for one of a later version.
    #[must_use]
    pub fn name(&self) -> Option<&'static str> {
        let (names, first): (&[&str], u8) = if self.tag < LONG { (&NAMES, 1) } else { (&LONG_NAMES, LONG) };
        names.get(usize::from(self.tag.checked_sub(first)?)).copied()
    }
}

/// Reads canonical bytes.
///
/// # Errors
/// [`ProofError::Malformed`] for anything that is not the one way to write a record.
pub fn fields(mut bytes: &[u8]) -> Result<Vec<Field<'_>>, ProofError> {
    const SHORT: ProofError = ProofError::Malformed("the record is cut");
    if take::<1>(&mut bytes) != Some([VERSION]) {
        return Err(ProofError::Malformed("a record of another version"));
    }
    let mut fields = Vec::new();
    let mut before = 0;
    while let Some([tag]) = take::<1>(&mut bytes) {
        if tag <= before {
            return Err(ProofError::Malformed("the record's columns are not in order"));
        }
        before = tag;
        let length = if tag < LONG {
            take(&mut bytes).map(u32::from_le_bytes).map(u64::from)
        } else {
            take(&mut bytes).map(u64::from_le_bytes)
        };
        let length = length.and_then(|length| usize::try_from(length).ok()).ok_or(SHORT)?;
        let (value, rest) = bytes.split_at_checked(length).ok_or(SHORT)?;
        bytes = rest;
        let value = if Field::is_number(tag) {
            let number = value.try_into().map_err(|_| ProofError::Malformed("a number has 8 bytes"))?;
            Value::Number(u64::from_le_bytes(number))
        } else {
            Value::Bytes(value)
        };
        fields.push(Field { tag, value });
    }
    Ok(fields)
}

fn take<const N: usize>(rest: &mut &[u8]) -> Option<[u8; N]> {
    let (first, behind) = rest.split_first_chunk::<N>()?;
    *rest = behind;
    Some(*first)
}

/// The hash of the leaf of a record.
///
/// # Errors
/// [`ProofError::Malformed`] for bytes that are no record; [`ProofError::Wrong`] for a text or list of parameters that is not
/// the one whose hash the record has.
pub fn leaf(
    (origin, index): (&str, u64),
    salt: &[u8; SALT_BYTES],
    canonical: &[u8],
) -> Result<Hash, ProofError> {
    let fields = fields(canonical)?;
    let of = |tag| fields.iter().find(|field| field.tag == tag).map(|field| field.value);
    let (Some(Value::Number(time)), Some(Value::Bytes(class))) = (of(TIME), of(CLASS)) else {
        return Err(ProofError::Malformed("a record has a time and a class"));
    };
    let class: u8 = match class {
        b"statement" => 1,
        b"session" => 2,
        b"event" => 3,
        b"log" => 4,
        b"copy" => 5,
        _ => return Err(ProofError::Malformed("a class of another version")),
    };
    let mut mac = Context::with_key(&Key::new(HMAC_SHA256, salt));
    mac.update(&[VERSION]);
    for field in &fields {
        if !is_apart(field, of)? {
            field.each(|bytes| mac.update(bytes));
        }
    }
    let mac = mac.sign();
    let log = digest(&SHA256, origin.as_bytes());
    let header = [
        b"ovleaf\0\x01".as_slice(),
        log.as_ref(),
        &index.to_le_bytes(),
        &time.to_le_bytes(),
        &[class, 0, 0, 0, 0, 0, 0, 0],
        mac.as_ref(),
    ];
    Ok(leaf_hash(&header.concat()))
}

/// Whether a column is not in the leaf, because its hash is.
fn is_apart<'a>(field: &Field<'a>, of: impl Fn(u8) -> Option<Value<'a>>) -> Result<bool, ProofError> {
    let Some((_, length, hash)) = KEPT_APART.into_iter().find(|(tag, ..)| *tag == field.tag) else {
        return Ok(false);
    };
    let (Some(Value::Bytes(hash)), Value::Bytes(bytes)) = (of(hash), field.value) else { return Ok(false) };
    let is_whole = of(length) == u64::try_from(bytes.len()).ok().map(Value::Number);
    if !is_whole || digest(&SHA256, bytes).as_ref() != hash {
        return Err(ProofError::Wrong("the text or the parameters are not those whose hash the record has"));
    }
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record() -> Vec<u8> {
        let mut bytes = vec![VERSION];
        for (tag, value) in [(2, &7_u64.to_le_bytes()[..]), (3, b"statement"), (10, b"app")] {
            bytes.push(tag);
            bytes.extend_from_slice(&u32::try_from(value.len()).unwrap().to_le_bytes());
            bytes.extend_from_slice(value);
        }
        bytes.push(LONG);
        bytes.extend_from_slice(&8_u64.to_le_bytes());
        bytes.extend_from_slice(b"select 1");
        bytes
    }

    #[test]
    fn a_record_is_read_with_the_names_of_its_columns() {
        let record = record();
        let fields = fields(&record).unwrap();
        let shown: Vec<_> = fields.iter().map(|field| (field.name().unwrap(), field.value)).collect();
        let expected = [
            ("time", Value::Number(7)),
            ("class", Value::Bytes(b"statement")),
            ("login", Value::Bytes(b"app")),
            ("text", Value::Bytes(b"select 1")),
        ];
        assert_eq!(shown, expected);
    }

    #[test]
    fn every_byte_of_a_record_and_of_what_it_stands_under_changes_its_leaf() {
        let (record, salt) = (record(), [5; SALT_BYTES]);
        let good = leaf(("vault/one_spa", 3), &salt, &record).unwrap();
        for at in 0..record.len() {
            for bit in 0..8 {
                let mut other = record.clone();
                other[at] ^= 1 << bit;
                assert_ne!(leaf(("vault/one_spa", 3), &salt, &other), Ok(good), "byte {at}, bit {bit}");
            }
            assert!(leaf(("vault/one_spa", 3), &salt, &record[..at]) != Ok(good));
        }
        assert_ne!(leaf(("vault/one_barn", 3), &salt, &record), Ok(good));
        assert_ne!(leaf(("vault/one_spa", 4), &salt, &record), Ok(good));
        assert_ne!(leaf(("vault/one_spa", 3), &[6; SALT_BYTES], &record), Ok(good));
    }

    /// A record with a text that was kept apart, and the text.
    fn apart(text: &[u8]) -> (Vec<u8>, Vec<u8>) {
        let mut bytes = vec![VERSION];
        let hash = digest(&SHA256, text);
        let length = u64::try_from(text.len()).unwrap().to_le_bytes();
        let fields: [(u8, &[u8]); 4] = [(2, &length), (3, b"statement"), (31, &length), (43, hash.as_ref())];
        for (tag, value) in fields {
            bytes.push(tag);
            bytes.extend_from_slice(&u32::try_from(value.len()).unwrap().to_le_bytes());
            bytes.extend_from_slice(value);
        }
        let long = [&[LONG][..], &length, text].concat();
        (bytes, long)
    }

    #[test]
    fn a_text_that_was_kept_apart_may_be_shown_or_left_out_and_no_other_is_taken() {
        let salt = [5; SALT_BYTES];
        let of = |bytes: &[u8]| leaf(("vault/one_spa", 3), &salt, bytes);
        let (record, text) = apart(b"select 1");
        let good = of(&record).unwrap();
        assert_eq!(of(&[&record[..], &text].concat()), Ok(good));
        for at in 0..text.len() {
            let mut other = text.clone();
            other[at] ^= 1;
            assert!(of(&[&record[..], &other].concat()) != Ok(good), "byte {at}");
        }
        assert!(of(&[&record[..], &apart(b"select 2").1].concat()).is_err());
        assert!(of(&[&record[..], &apart(b"select").1].concat()).is_err());
        // What has no hash is a part of the leaf.
        let parameters = [&[0x81][..], &1_u64.to_le_bytes(), b"p"].concat();
        assert_ne!(of(&[&record[..], &parameters].concat()), Ok(good));
    }

    #[test]
    fn what_is_no_record_is_refused() {
        for bad in [&b""[..], b"\x02", b"\x01\x02\x01\0\0\0\0", b"\x01\x02\xff\xff\xff\xff", b"\x01\x80\0"] {
            assert!(fields(bad).is_err(), "{bad:?}");
        }
        let mut twice = record();
        let again = twice[1..].to_vec();
        twice.extend_from_slice(&again);
        assert!(fields(&twice).is_err());
    }
}
