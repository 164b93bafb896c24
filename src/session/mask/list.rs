//! A list of parameters with masked values, however it arrives.

use aws_lc_rs::hmac::Context;

use super::{Mask, named};
use crate::audit::values::Parameter;
use crate::protocol::fields::Fields;

/// Longer values are masked as they go by, in the format in which they came.
const WHOLE_BYTES_MAX: usize = 16 << 10;

/// Masks one list, as a record holds it.
#[derive(Debug)]
pub(crate) struct ListMask {
    mask: Mask,
    /// What came and is not masked yet.
    held: Vec<u8>,
    /// Types and formats, once they are there.
    head: Option<(Vec<u8>, Vec<u8>)>,
    number: usize,
    /// A long value: its type, what is left of it, and what it makes so far.
    long: Option<(String, usize, Box<Context>)>,
}

/// What a list begins with.
struct Head<'a> {
    types: &'a [u8],
    formats: &'a [u8],
    count: &'a [u8],
    bytes: usize,
}

fn head(list: &[u8]) -> Option<Head<'_>> {
    let mut fields = Fields::of(list);
    let mut counted = |width: usize| {
        let count = usize::from(fields.i16("count").ok()?.cast_unsigned());
        fields.bytes(count.saturating_mul(width), "items").ok()
    };
    let (types, formats) = (counted(4)?, counted(2)?);
    let count = fields.bytes(2, "parameters").ok()?;
    Some(Head { types, formats, count, bytes: list.len().saturating_sub(fields.rest().len()) })
}

impl ListMask {
    pub(crate) fn new(mask: &Mask) -> Self {
        Self { mask: mask.clone(), held: Vec::new(), head: None, number: 0, long: None }
    }

    /// The next piece; what is recorded instead goes to `out`.
    pub(crate) fn feed(&mut self, piece: &[u8], out: &mut Vec<u8>) {
        let mut piece = piece;
        if let Some((kind, left, context)) = &mut self.long {
            let (value, rest) = piece.split_at_checked(*left).unwrap_or((piece, &[]));
            context.update(value);
            *left = left.saturating_sub(value.len());
            piece = rest;
            if *left > 0 {
                return;
            }
            put(out, &named(kind, &context.clone().sign()));
            self.long = None;
        }
        self.held.extend_from_slice(piece);
        let held = std::mem::take(&mut self.held);
        let mut rest = &held[..];
        if self.head.is_none() {
            let Some(Head { types, formats, count, bytes }) = head(rest) else {
                self.held = held;
                return;
            };
            out.extend_from_slice(&u16::try_from(types.len() / 4).unwrap_or(u16::MAX).to_be_bytes());
            out.extend_from_slice(types);
            // All of them are text now.
            out.extend_from_slice(&[0, 0]);
            out.extend_from_slice(count);
            self.head = Some((types.to_vec(), formats.to_vec()));
            rest = rest.get(bytes..).unwrap_or_default();
        }
        while let Some(behind) = self.value(rest, out) {
            rest = behind;
        }
        self.held = rest.to_vec();
    }

    /// One value, if it is whole or long; gives what is behind it.
    fn value<'a>(&mut self, list: &'a [u8], out: &mut Vec<u8>) -> Option<&'a [u8]> {
        let mut fields = Fields::of(list);
        let length = fields.i32("length").ok()?;
        let Ok(length) = usize::try_from(length) else {
            out.extend_from_slice(&length.to_be_bytes());
            self.number = self.number.saturating_add(1);
            return Some(fields.rest());
        };
        let is_long = length > WHOLE_BYTES_MAX;
        if !is_long && fields.rest().len() < length {
            return None;
        }
        let mut parameter = self.parameter();
        self.number = self.number.saturating_add(1);
        if is_long {
            let mut context = self.mask.context();
            let (value, rest) = fields.rest().split_at_checked(length).unwrap_or((fields.rest(), &[]));
            context.update(value);
            let left = length.saturating_sub(value.len());
            if left > 0 {
                self.long = Some((parameter.type_name().into_owned(), left, Box::new(context)));
            } else {
                put(out, &named(&parameter.type_name(), &context.sign()));
            }
            return Some(rest);
        }
        parameter.value = fields.bytes(length, "value").ok();
        let text = parameter.text().unwrap_or_default();
        put(out, &self.mask.value(&parameter.type_name(), &text));
        Some(fields.rest())
    }

    /// The next one, without its value.
    fn parameter<'a>(&self) -> Parameter<'a> {
        let (types, formats) =
            self.head.as_ref().map_or((&[][..], &[][..]), |(types, formats)| (types, formats));
        let oid = types.as_chunks::<4>().0.get(self.number).map_or(0, |oid| u32::from_be_bytes(*oid));
        let formats = formats.as_chunks::<2>().0;
        let format = if formats.len() == 1 { formats.first() } else { formats.get(self.number) };
        Parameter { oid, is_binary: format == Some(&[0, 1]), value: None }
    }
}

fn put(out: &mut Vec<u8>, value: &[u8]) {
    out.extend_from_slice(&u32::try_from(value.len()).unwrap_or_default().to_be_bytes());
    out.extend_from_slice(value);
}
