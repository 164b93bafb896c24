//! Answers of the console as bytes.
//!
//! Source: protocol-message-formats

use pgwire::api::Type;
use pgwire::api::results::{FieldFormat, FieldInfo};
use pgwire::messages::data::DataRow;

use super::dialect::shown;
use super::statement::CopyForm;
use crate::protocol::fields::Fields;
use crate::protocol::tag::backend;
use crate::protocol::write::message;

/// `RowDescription`.
pub(super) fn row_description(out: &mut Vec<u8>, fields: &[FieldInfo]) {
    message(out, b'T', |out| {
        out.extend(count(fields.len()));
        for field in fields {
            out.extend(shown(field.name()).bytes().filter(|byte| *byte != 0));
            out.push(0);
            out.extend([0; 6]);
            out.extend(field.datatype().oid().to_be_bytes());
            out.extend(width(field.datatype()).to_be_bytes());
            out.extend((-1_i32).to_be_bytes());
            let binary = u16::from(field.format() == FieldFormat::Binary);
            out.extend(binary.to_be_bytes());
        }
    });
}

/// The size of a type's values in bytes; -1: they differ.
fn width(of: &Type) -> i16 {
    match *of {
        Type::BOOL | Type::CHAR => 1,
        Type::INT2 => 2,
        Type::INT4 | Type::FLOAT4 | Type::OID | Type::DATE => 4,
        Type::INT8 | Type::FLOAT8 | Type::TIMESTAMP | Type::TIMESTAMPTZ | Type::TIME => 8,
        Type::NAME => 64,
        _ => -1,
    }
}

fn count(of: usize) -> [u8; 2] {
    u16::try_from(of).unwrap_or(u16::MAX).to_be_bytes()
}

/// `ParameterDescription`.
pub(super) fn parameter_description(out: &mut Vec<u8>, types: &[Type]) {
    message(out, b't', |out| {
        out.extend(count(types.len()));
        types.iter().for_each(|of| out.extend(of.oid().to_be_bytes()));
    });
}

/// `DataRow`.
pub(super) fn data_row(out: &mut Vec<u8>, row: &DataRow) {
    message(out, b'D', |out| {
        out.extend(row.field_count.to_be_bytes());
        out.extend_from_slice(&row.data);
    });
}

/// `CommandComplete`.
pub(super) fn command_complete(out: &mut Vec<u8>, tag: &str) {
    message(out, backend::COMMAND_COMPLETE, |out| {
        out.extend_from_slice(tag.as_bytes());
        out.push(0);
    });
}

/// A message without a body: `ParseComplete`, `BindComplete`, `NoData` and the like.
pub(super) fn bare(out: &mut Vec<u8>, tag: u8) {
    message(out, tag, |_| {});
}

/// `CopyOutResponse`: text, so many columns.
pub(super) fn copy_out(out: &mut Vec<u8>, columns: usize) {
    message(out, b'H', |out| {
        out.push(0);
        out.extend(count(columns));
        (0..columns).for_each(|_| out.extend([0, 0]));
    });
}

/// `CopyData` with the names of the columns.
pub(super) fn copy_header(out: &mut Vec<u8>, form: CopyForm, fields: &[FieldInfo]) {
    message(out, b'd', |out| {
        for (at, field) in fields.iter().enumerate() {
            copy_value(out, form, at, Some(shown(field.name()).as_bytes()));
        }
        out.push(b'\n');
    });
}

/// `CopyData` with one row.
pub(super) fn copy_row(out: &mut Vec<u8>, form: CopyForm, row: &DataRow) {
    message(out, b'd', |out| {
        let mut fields = Fields::of(&row.data);
        for at in 0..usize::try_from(row.field_count).unwrap_or(0) {
            let Ok(length) = fields.i32("length") else { break };
            let value = usize::try_from(length).ok().and_then(|length| fields.bytes(length, "value").ok());
            copy_value(out, form, at, value);
        }
        out.push(b'\n');
    });
}

fn copy_value(out: &mut Vec<u8>, form: CopyForm, at: usize, value: Option<&[u8]>) {
    if at > 0 {
        out.push(form.delimiter);
    }
    match (form.csv, value) {
        (true, None) => {}
        (true, Some(value)) => csv_value(out, form, value),
        (false, None) => out.extend_from_slice(b"\\N"),
        (false, Some(value)) => text_value(out, form, value),
    }
}

fn csv_value(out: &mut Vec<u8>, form: CopyForm, value: &[u8]) {
    let special = |byte: &u8| matches!(byte, b'"' | b'\n' | b'\r') || *byte == form.delimiter;
    if !value.is_empty() && value != b"\\." && !value.iter().any(special) {
        out.extend_from_slice(value);
        return;
    }
    out.push(b'"');
    for byte in value {
        if *byte == b'"' {
            out.push(b'"');
        }
        out.push(*byte);
    }
    out.push(b'"');
}

fn text_value(out: &mut Vec<u8>, form: CopyForm, value: &[u8]) {
    for byte in value {
        let escaped = match byte {
            b'\\' => b'\\',
            b'\n' => b'n',
            b'\r' => b'r',
            b'\t' => b't',
            8 => b'b',
            11 => b'v',
            12 => b'f',
            other if *other == form.delimiter => *other,
            other => {
                out.push(*other);
                continue;
            }
        };
        out.extend([b'\\', escaped]);
    }
}
