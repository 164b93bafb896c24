//! What a server says that a statement takes and gives, as one number to compare.
//!
//! What always holds: two statements that a client could tell apart by their parameters' types or by their columns' names
//! and types have different numbers; which table a column is of does not count, as it does not for the server. Of
//! a description above 16 KiB the beginning and the length count.
//!
//! Source: protocol-message-formats

use crate::protocol::fields::Fields;
use crate::protocol::frame::HEADER_BYTES;
use crate::protocol::walk::HEAD_BYTES_MIN;

/// Up to this size a message is always there whole.
const WHOLE_BYTES_MAX: usize = 16 << 10;

/// Appends what counts of a `RowDescription` of so many bytes, of which `body` is the beginning.
pub(crate) fn columns(body: &[u8], total_bytes: usize, out: &mut Vec<u8>) {
    out.extend(total_bytes.to_be_bytes());
    let known = if total_bytes <= WHOLE_BYTES_MAX { body.len() } else { HEAD_BYTES_MIN - HEADER_BYTES };
    let mut fields = Fields::of(body.get(..known).unwrap_or(body));
    let Ok(count) = fields.i16("column count") else { return };
    out.extend(count.to_be_bytes());
    while let Ok(name) = fields.cstr("name") {
        // Table, number in it; then type, size and modifier; then format.
        let (Ok(_), Ok(kind), Ok(_)) =
            (fields.bytes(6, "origin"), fields.bytes(10, "type"), fields.bytes(2, "format"))
        else {
            return;
        };
        out.extend_from_slice(name);
        out.push(0);
        out.extend_from_slice(kind);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(columns: &[(&str, u8, u8)]) -> Vec<u8> {
        let mut body = u16::try_from(columns.len()).unwrap().to_be_bytes().to_vec();
        for (name, table, kind) in columns {
            body.extend(name.as_bytes());
            body.extend([0, 0, 0, 0, *table, 0, 1, 0, 0, 0, *kind, 0, 4, 255, 255, 255, 255, 0, 0]);
        }
        let mut out = Vec::new();
        super::columns(&body, body.len() + HEADER_BYTES, &mut out);
        out
    }

    #[test]
    fn names_and_types_of_columns_count_and_their_tables_do_not() {
        let one = shown(&[("a", 1, 23), ("b", 1, 25)]);
        assert_eq!(one, shown(&[("a", 2, 23), ("b", 3, 25)]));
        for other in [&[("a", 1, 23), ("c", 1, 25)][..], &[("a", 1, 23), ("b", 1, 23)], &[("a", 1, 23)], &[]]
        {
            assert_ne!(one, shown(other));
        }
    }

    #[test]
    fn a_long_description_reads_the_same_however_much_of_it_is_there() {
        let body: Vec<u8> =
            std::iter::repeat_n(b"name\0..............\x02\0\0\0", 4_000).flatten().copied().collect();
        let read = |bytes: usize| {
            let mut out = Vec::new();
            columns(&body[..bytes], body.len() + HEADER_BYTES, &mut out);
            out
        };
        assert_eq!(read(HEAD_BYTES_MIN - HEADER_BYTES), read(body.len()));
    }
}
