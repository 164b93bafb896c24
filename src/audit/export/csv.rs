//! Records as RFC 4180: a line of names, then a line for each record, each ended by CR LF.
//!
//! What always holds: a spreadsheet that opens the file runs nothing of it. A text that begins with what a spreadsheet takes
//! for a formula, or with an apostrophe, has an apostrophe in front: take one off to have the text again. Texts stand between quotes,
//! numbers do not; nothing at all between two commas is null, `""` an empty text. Bytes that are not UTF-8 show U+FFFD, and
//! the last column, `not_utf8`, has them exactly: `column=base64`, with a space between two.

use std::io::Write as _;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::super::escape::json_list;
use super::super::join::Whole;
use super::super::render::{hex, rfc3339};
use super::super::row::{Column, Row, Type, Value};
use super::{FINGERPRINT, PARAMETERS, TABLES, TEXT, parameters, text};
use crate::gist::Gist;

/// Name of the column with the exact bytes of what is not UTF-8.
const NOT_UTF8: &str = "not_utf8";

/// What a spreadsheet may take for the beginning of a formula, also in the wide forms that East Asian versions accept.
const BEGINNINGS: [char; 12] =
    ['=', '+', '-', '@', '\t', '\r', '\n', '\'', '\u{ff1d}', '\u{ff0b}', '\u{ff0d}', '\u{ff20}'];

/// The line of names.
pub(super) fn head() -> Vec<u8> {
    let names = Column::ALL.iter().map(|column| column.name()).chain([
        TEXT,
        PARAMETERS,
        TABLES,
        FINGERPRINT,
        NOT_UTF8,
    ]);
    let mut line = names.collect::<Vec<_>>().join(",").into_bytes();
    line.extend_from_slice(b"\r\n");
    line
}

/// Appends a record's line; the relations that a statement names are a JSON array.
pub fn line(out: &mut Vec<u8>, (row, gist): (&Row<'_>, Option<&Gist>), whole: &Whole<'_>) {
    let mut odd = String::new();
    for column in Column::ALL {
        match (row.get(column), column.kind()) {
            (Value::Nothing, _) => {}
            (Value::Number(time_ns), Type::Time) => out.extend_from_slice(rfc3339(*time_ns).as_bytes()),
            (Value::Number(number), _) => {
                // Writing to a vector cannot fail.
                let _ = write!(out, "{number}");
            }
            (Value::Bytes(bytes), Type::Raw) => field(out, &hex(bytes)),
            (Value::Bytes(bytes), _) => words(out, &mut odd, column.name(), bytes),
        }
        out.push(b',');
    }
    if let Some(text) = text(row, whole) {
        words(out, &mut odd, TEXT, text);
    }
    out.push(b',');
    if let Some(parameters) = parameters(whole) {
        field(out, &parameters);
    }
    out.push(b',');
    if let Some(tables) = gist.and_then(|gist| gist.tables.as_deref()) {
        field(out, &json_list(tables));
    }
    out.push(b',');
    if let Some(gist) = gist {
        field(out, &gist.fingerprint);
    }
    out.push(b',');
    if !odd.is_empty() {
        field(out, &odd);
    }
    out.extend_from_slice(b"\r\n");
}

/// Appends bytes that mean text, and what of them a text cannot hold to `odd`.
fn words(out: &mut Vec<u8>, odd: &mut String, name: &str, bytes: &[u8]) {
    let shown = String::from_utf8_lossy(bytes);
    if matches!(shown, std::borrow::Cow::Owned(_)) {
        if !odd.is_empty() {
            odd.push(' ');
        }
        odd.push_str(name);
        odd.push('=');
        STANDARD.encode_string(bytes, odd);
    }
    field(out, &shown);
}

/// Appends a text between quotes.
fn field(out: &mut Vec<u8>, text: &str) {
    out.push(b'"');
    if text.starts_with(BEGINNINGS) {
        out.push(b'\'');
    }
    for byte in text.bytes() {
        if byte == b'"' {
            out.push(b'"');
        }
        out.push(byte);
    }
    out.push(b'"');
}
