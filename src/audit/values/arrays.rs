//! Arrays, as PostgreSQL prints them.
//!
//! Source: arrays#ARRAYS-IO

use super::name;
use crate::protocol::fields::Fields;

/// As many as PostgreSQL has.
const DIMENSIONS_MAX: usize = 6;

/// A value of one of the array types that are known here.
pub(super) fn array(oid: u32, value: &[u8]) -> Option<Vec<u8>> {
    let element_name = name(oid)?.strip_suffix("[]")?;
    let mut fields = Fields::of(value);
    let count = usize::try_from(fields.i32("dimensions").ok()?).ok()?;
    fields.i32("flags").ok()?;
    let element = fields.i32("element").ok()?.cast_unsigned();
    (name(element)? == element_name).then_some(())?;
    if count > DIMENSIONS_MAX {
        return None;
    }
    let mut dimensions = Vec::with_capacity(count);
    for _ in 0..count {
        let (length, lower) = (fields.i32("length").ok()?, fields.i32("lower bound").ok()?);
        // None is empty, or a level could go on for ever without taking a byte.
        dimensions.push((usize::try_from(length).ok().filter(|length| *length > 0)?, lower));
    }
    let mut out = Vec::new();
    if dimensions.iter().any(|(_, lower)| *lower != 1) {
        for (length, lower) in &dimensions {
            let upper = i64::from(*lower).checked_add(i64::try_from(*length).ok()?)?.checked_sub(1)?;
            out.extend(format!("[{lower}:{upper}]").into_bytes());
        }
        out.push(b'=');
    }
    if dimensions.is_empty() {
        out.extend(b"{}");
    } else {
        elements(&mut fields, element, &dimensions, &mut out)?;
    }
    fields.end().ok()?;
    Some(out)
}

/// One level: its elements, or its arrays of the next level. Each element takes at least four bytes of the value.
fn elements(fields: &mut Fields<'_>, oid: u32, dimensions: &[(usize, i32)], out: &mut Vec<u8>) -> Option<()> {
    let ((length, _), inner) = dimensions.split_first()?;
    out.push(b'{');
    for number in 0..*length {
        if number > 0 {
            out.push(b',');
        }
        if !inner.is_empty() {
            elements(fields, oid, inner, out)?;
            continue;
        }
        match usize::try_from(fields.i32("length").ok()?) {
            Ok(length) => {
                let value = fields.bytes(length, "element").ok()?;
                let text = super::print(oid, value);
                quote(&text, out);
            }
            Err(_) => out.extend(b"NULL"),
        }
    }
    out.push(b'}');
    Some(())
}

fn quote(text: &[u8], out: &mut Vec<u8>) {
    let special = |byte: &u8| matches!(byte, b'"' | b'\\' | b'{' | b'}' | b',' | b' ' | b'\t'..=b'\r');
    if !text.is_empty() && !text.eq_ignore_ascii_case(b"null") && !text.iter().any(special) {
        out.extend(text);
        return;
    }
    out.push(b'"');
    for byte in text {
        if matches!(byte, b'"' | b'\\') {
            out.push(b'\\');
        }
        out.push(*byte);
    }
    out.push(b'"');
}
