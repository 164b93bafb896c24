//! Answers of the console as bytes.
//!
//! Source: protocol-message-formats

use pgwire::api::Type;
use pgwire::api::results::{FieldFormat, FieldInfo};
use pgwire::messages::data::DataRow;

use super::dialect::shown;
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
