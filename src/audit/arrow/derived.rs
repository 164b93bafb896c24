//! Columns that follow from a statement's text: the relations that it names and its fingerprint, see [`crate::gist`].
//!
//! What always holds: they are no part of a record and no proof covers them, so whoever checks a file makes them anew and
//! compares. Their names say how they were made: what another way of making them has stored is not taken for theirs, and made
//! anew when it is read. Where nobody could tell when a file was made the fingerprint is an empty text; then they are made anew too.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, DictionaryArray, ListArray, ListBuilder, RecordBatch, StringArray, StringBuilder,
    StringDictionaryBuilder,
};
use arrow::datatypes::{DataType, Field, Int32Type};

use super::super::row::{Column, Row};
use super::{BadBatch, words};
use crate::gist::{self, Gist, Unknown};

/// Name of the column with the relations. The number changes whenever the same text would give something else.
pub const TABLES: &str = "tables_1";
/// Name of the column with the fingerprint. Its number is the same.
pub const FINGERPRINT: &str = "fingerprint_1";

/// What a statement is about; `None` for what is no statement, has no text, or cannot be parsed.
///
/// # Errors
/// [`Unknown`]: nobody can tell now.
pub fn gist_of(row: &Row<'_>, text: &[u8]) -> Result<Option<Arc<Gist>>, Unknown> {
    if text.is_empty() || row.bytes_of(Column::Class) != b"statement" {
        return Ok(None);
    }
    gist::of(text)
}

/// The type of [`TABLES`].
#[must_use]
pub fn list() -> DataType {
    DataType::List(Arc::new(Field::new_list_field(DataType::Utf8, true)))
}

/// The columns; none where there is no parser.
pub(super) fn fields() -> Vec<Field> {
    if !gist::IS_BUILT {
        return Vec::new();
    }
    vec![Field::new(TABLES, list(), true), Field::new(FINGERPRINT, words(), true)]
}

/// Appends the relations of a text to a column.
pub fn append_tables(tables: &mut ListBuilder<StringBuilder>, gist: Option<&Gist>) {
    match gist.and_then(|gist| gist.tables.as_ref()) {
        Some(named) => {
            named.iter().for_each(|table| tables.values().append_value(table));
            tables.append(true);
        }
        None => tables.append_null(),
    }
}

/// Gathers the columns of a batch.
pub(super) struct Build {
    tables: ListBuilder<StringBuilder>,
    fingerprint: StringDictionaryBuilder<Int32Type>,
}

impl Default for Build {
    fn default() -> Self {
        let tables = ListBuilder::with_capacity(StringBuilder::with_capacity(0, 0), 0);
        Self { tables, fingerprint: StringDictionaryBuilder::new() }
    }
}

impl Build {
    /// Appends a record's. Answers how many bytes they take in memory, about.
    pub(super) fn push(&mut self, row: &Row<'_>, text: &[u8]) -> Result<usize, BadBatch> {
        if !gist::IS_BUILT {
            return Ok(0);
        }
        match gist_of(row, text) {
            Ok(None) => self.nothing(),
            Ok(Some(gist)) => {
                append_tables(&mut self.tables, Some(&gist));
                self.fingerprint.append(&gist.fingerprint)?;
                return Ok(gist.tables.iter().flatten().map(String::len).sum());
            }
            Err(Unknown) => {
                self.tables.append_null();
                self.fingerprint.append("")?;
            }
        }
        Ok(0)
    }

    /// Appends what a further piece of a record has: nothing.
    pub(super) fn nothing(&mut self) {
        if gist::IS_BUILT {
            self.tables.append_null();
            self.fingerprint.append_null();
        }
    }

    pub(super) fn finish(&mut self) -> Vec<ArrayRef> {
        if !gist::IS_BUILT {
            return Vec::new();
        }
        vec![Arc::new(self.tables.finish()), Arc::new(self.fingerprint.finish())]
    }
}

/// The columns of a batch that was read.
pub struct Kept<'a> {
    tables: &'a ListArray,
    fingerprint: &'a DictionaryArray<Int32Type>,
    words: &'a StringArray,
}

impl<'a> Kept<'a> {
    /// `None`: the batch has none.
    ///
    /// # Errors
    /// [`BadBatch`] when only one is there, or is of another type.
    pub fn of(batch: &'a RecordBatch) -> Result<Option<Self>, BadBatch> {
        let column = |name| batch.column_by_name(name).map(|array| array.as_any());
        if column(TABLES).is_none() && column(FINGERPRINT).is_none() {
            return Ok(None);
        }
        let tables = column(TABLES).and_then(|array| array.downcast_ref::<ListArray>());
        let fingerprint =
            column(FINGERPRINT).and_then(|array| array.downcast_ref::<DictionaryArray<Int32Type>>());
        let kept = tables.zip(fingerprint).and_then(|(tables, fingerprint)| {
            let words = fingerprint.values().as_any().downcast_ref()?;
            tables.values().as_any().downcast_ref::<StringArray>()?;
            Some(Self { tables, fingerprint, words })
        });
        kept.map(Some).ok_or_else(|| BadBatch(format!("columns {TABLES} and {FINGERPRINT}")))
    }

    /// The fingerprint of a row; an empty text where nobody could tell.
    #[must_use]
    pub fn fingerprint(&self, at: usize) -> Option<&'a str> {
        let key = self.fingerprint.key(at).filter(|key| *key < self.words.len())?;
        Some(self.words.value(key))
    }

    /// Whether a row names a relation.
    #[must_use]
    pub fn names(&self, at: usize, table: &str) -> bool {
        self.tables(at).into_iter().flatten().any(|named| named == Some(table))
    }

    /// Whether a row has what its text gives. Where nobody can tell now, or could then, this is so.
    #[must_use]
    pub fn is_of(&self, at: usize, row: &Row<'_>, text: &[u8]) -> bool {
        let Ok(gist) = gist_of(row, text) else { return true };
        let fingerprint = self.fingerprint(at);
        if fingerprint == Some("") && gist.is_some() {
            return true;
        }
        let named = self.tables(at).map(|tables| tables.into_iter().flatten().collect::<Vec<_>>());
        let expected = gist.as_ref().and_then(|gist| gist.tables.as_deref());
        fingerprint == gist.as_ref().map(|gist| gist.fingerprint.as_str())
            && named.is_some() == expected.is_some()
            && named.iter().flatten().eq(expected.iter().copied().flatten())
    }

    fn tables(&self, at: usize) -> Option<Vec<Option<&'a str>>> {
        if at >= self.tables.len() || self.tables.is_null(at) {
            return None;
        }
        let begin = usize::try_from(*self.tables.value_offsets().get(at)?).ok()?;
        let count = usize::try_from(self.tables.value_length(at)).ok()?;
        let words: &'a StringArray = self.tables.values().as_any().downcast_ref()?;
        let places = begin..begin.saturating_add(count).min(words.len());
        Some(places.map(|at| words.is_valid(at).then(|| words.value(at))).collect())
    }
}

#[cfg(test)]
#[cfg(feature = "console")]
mod tests {
    use arrow::array::UInt64Array;

    use super::super::{Builder, Leaf, Rows};
    use super::*;
    use crate::audit::join::Whole;
    use crate::audit::row::Value;

    fn batch(texts: &[(&str, &str)]) -> RecordBatch {
        let mut builder = Builder::new();
        for (class, text) in texts {
            let mut row = Row::default();
            row.set(Column::Class, Value::Bytes(class.as_bytes().into()));
            let whole = Whole { text: text.as_bytes().into(), parameters: b"".as_slice().into() };
            builder.push(Leaf::default(), &row, &whole).unwrap();
        }
        builder.finish().unwrap()
    }

    #[test]
    fn what_a_text_gives_is_stored_and_what_was_changed_is_found() {
        let texts = [
            ("statement", "SELECT * FROM business.patients, b"),
            ("statement", "SELECT 1"),
            ("statement", "no sql"),
            ("copy", "SELECT * FROM x"),
        ];
        let batch = batch(&texts);
        let kept = Kept::of(&batch).unwrap().unwrap();
        let rows = Rows::of(&batch).unwrap();
        assert!(kept.names(0, "business.patients") && kept.names(0, "b") && !kept.names(1, "b"));
        assert_eq!(kept.fingerprint(1), Some("50fde20626009aba"));
        assert_eq!((kept.fingerprint(2), kept.fingerprint(3)), (None, None));
        for at in 0..texts.len() {
            let stored = rows.get(at).unwrap();
            assert!(kept.is_of(at, &stored.row, stored.text), "row {at}");
            for other in texts.map(|(_, text)| text).iter().filter(|_| at < 3) {
                let is_same = kept.is_of(at, &stored.row, other.as_bytes());
                assert_eq!(is_same, other.as_bytes() == stored.text || (at == 2 && *other == "no sql"));
            }
        }
        assert!(Kept::of(&batch.project(&[0]).unwrap()).unwrap().is_none());
        let at = batch.schema().index_of(TABLES).unwrap();
        assert!(Kept::of(&batch.project(&[at]).unwrap()).is_err());
        let other = Arc::new(UInt64Array::from(vec![0_u64; texts.len()]));
        let schema = arrow::datatypes::Schema::new(vec![
            Field::new(TABLES, DataType::UInt64, true),
            Field::new(FINGERPRINT, DataType::UInt64, true),
        ]);
        let other = RecordBatch::try_new(Arc::new(schema), vec![other.clone(), other]).unwrap();
        assert!(Kept::of(&other).is_err());
    }
}
