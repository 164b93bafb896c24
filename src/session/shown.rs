//! What a server says that a statement takes and gives.
//!
//! What always holds: of two statements that a client could tell apart by their parameters' types or by their columns' names
//! and types, what counts is different; which table a column is of does not count, as it does not for the server. Of
//! a description above 16 KiB the beginning and the length count.
//!
//! Source: protocol-message-formats

use crate::protocol::fields::Fields;
use crate::protocol::frame::HEADER_BYTES;
use crate::protocol::walk::HEAD_BYTES_MIN;
use crate::sql::{Kind, Lexer, Token};

/// Up to this size a message is always there whole.
const WHOLE_BYTES_MAX: usize = 16 << 10;

/// What the server has said of one statement.
#[derive(Debug, Default)]
pub(crate) struct Said {
    /// What counts of it.
    pub(crate) counts: Vec<u8>,
    /// The types of its parameters, as a `Parse` would say them; `None` when they are not all there.
    pub(crate) types: Option<Box<[u8]>>,
}

impl Said {
    /// `ParameterDescription`, of so many bytes, of which `body` is the beginning. It comes first.
    pub(crate) fn parameters(&mut self, body: &[u8], total_bytes: usize) {
        self.counts.clear();
        self.counts.extend(total_bytes.to_be_bytes());
        self.counts.extend_from_slice(known(body, total_bytes));
        self.types = (body.len().saturating_add(HEADER_BYTES) == total_bytes).then(|| body.into());
    }

    /// `RowDescription`, in the same way.
    pub(crate) fn columns(&mut self, body: &[u8], total_bytes: usize) {
        self.counts.extend(total_bytes.to_be_bytes());
        let mut fields = Fields::of(known(body, total_bytes));
        let Ok(count) = fields.i16("column count") else { return };
        self.counts.extend(count.to_be_bytes());
        while let Ok(name) = fields.cstr("name") {
            // Table, number in it; then type, size and modifier; then format.
            let (Ok(_), Ok(kind), Ok(_)) =
                (fields.bytes(6, "origin"), fields.bytes(10, "type"), fields.bytes(2, "format"))
            else {
                return;
            };
            self.counts.extend_from_slice(name);
            self.counts.push(0);
            self.counts.extend_from_slice(kind);
        }
    }
}

/// As much of a description as is always there.
fn known(body: &[u8], total_bytes: usize) -> &[u8] {
    let known = if total_bytes <= WHOLE_BYTES_MAX { body.len() } else { HEAD_BYTES_MIN - HEADER_BYTES };
    body.get(..known).unwrap_or(body)
}

/// Whether what is parsed from this text with the same parameters is the same whatever has become of tables. What changes
/// data has no columns without a `RETURNING`, whatever rules there are; `EXPLAIN` and `SHOW` say in their text what theirs are;
/// those of `FETCH` and `EXECUTE` are never compared by a server, and belong to what they speak of.
pub(crate) fn is_sure(text: &[u8], has_columns: bool) -> bool {
    match first_word(text).as_deref() {
        Some(b"explain" | b"show" | b"fetch" | b"execute") => true,
        // A procedure may be made anew, and give something then.
        Some(b"call") => false,
        _ => !has_columns,
    }
}

/// The word that a text begins with, in lower case.
pub(crate) fn first_word(text: &[u8]) -> Option<Vec<u8>> {
    let mut first: Option<Vec<u8>> = None;
    let mut look = |token: &Token<'_>| {
        if token.kind == Kind::Word && first.is_none() {
            first = Some(token.text.to_ascii_lowercase());
        }
    };
    let mut lexer = Lexer::new(true);
    lexer.feed(text, &mut |token| look(&token));
    let _ = lexer.finish(&mut |token| look(&token));
    first
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
        let mut said = Said::default();
        said.columns(&body, body.len() + HEADER_BYTES);
        said.counts
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
            let mut said = Said::default();
            said.parameters(&body[..bytes], body.len() + HEADER_BYTES);
            said.columns(&body[..bytes], body.len() + HEADER_BYTES);
            said
        };
        let (some, all) = (read(HEAD_BYTES_MIN - HEADER_BYTES), read(body.len()));
        assert_eq!(some.counts, all.counts);
        assert_eq!((some.types, all.types.as_deref()), (None, Some(&body[..])));
    }

    #[test]
    fn what_has_no_columns_is_sure_and_so_is_what_no_server_compares() {
        for text in ["FETCH c", "/* x */ ; explain SELECT 1", "-- y\nExecute s", "SHOW ALL"] {
            assert!(is_sure(text.as_bytes(), false) && is_sure(text.as_bytes(), true), "{text}");
        }
        for text in
            ["INSERT INTO fetch VALUES (1)", "(SELECT call)", "WITH x AS (SELECT 1) DELETE FROM t", ""]
        {
            assert!(is_sure(text.as_bytes(), false) && !is_sure(text.as_bytes(), true), "{text}");
        }
        assert!(!is_sure(b"CALL p()", false));
    }
}
