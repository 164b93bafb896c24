//! Columns of the archive's files for a query, without making rows of them.
//!
//! What always holds: the rows are those that reading record by record would give; where a column cannot be had like this, or a
//! text lies in several rows of a file, the file is read record by record.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, BinaryArray, BooleanArray, DictionaryArray, RecordBatch, RecordBatchOptions,
    StringArray, StringBuilder, TimestampNanosecondArray, UInt32Array, UInt64Array, new_null_array,
};
use arrow::compute::cast;
use arrow::datatypes::{Int32Type, SchemaRef};
use arrow::error::ArrowError;
use parquet::file::statistics::Statistics;

use super::batch::{Cell, Rows as Made, listed};
use super::scan::Filter;
use crate::audit::archive::span::{Span, range};
use crate::audit::arrow::derived::{FINGERPRINT, Kept, TABLES};
use crate::audit::arrow::{BadBatch, INDEX, PARAMETERS, PART, PART_BYTES_MAX, TEXT};
use crate::audit::history::ArchivedFile;
use crate::audit::render::hex;
use crate::audit::row::{Column, Row, Type, Value};

/// Texts of a batch take about so much memory at most.
const BYTES: u64 = 8 << 20;
/// Columns that decide whether a row is wanted; the last two only where a query asks for what they say.
const LOOKED_AT: [&str; 9] = [
    INDEX,
    PART,
    Column::Time.name(),
    Column::Class.name(),
    Column::Kind.name(),
    Column::Customer.name(),
    Column::Login.name(),
    TABLES,
    FINGERPRINT,
];

/// The column of a file for a column of a table.
const fn name_of(cell: Cell) -> &'static str {
    match cell {
        Cell::Of(column) => column.name(),
        Cell::Parameters => PARAMETERS,
        Cell::Text => TEXT,
        Cell::Tables => TABLES,
        Cell::Fingerprint => FINGERPRINT,
    }
}

/// Whether a file has what follows from its texts, all of it.
pub(super) fn is_kept(file: &ArchivedFile) -> bool {
    let groups = file.opened.metadata().row_groups();
    groups.iter().all(|group| {
        let chunk = group.columns().iter().find(|chunk| chunk.column_path().string() == FINGERPRINT);
        // An empty one is of a text of which nobody could tell.
        let least = chunk.and_then(|chunk| chunk.statistics()).map(Statistics::min_bytes_opt);
        least.is_some_and(|least| least.is_none_or(|least| !least.is_empty()))
    })
}

/// The columns to read of a file, and how many rows at one time; `None`: it must be read record by record.
pub(super) fn plan(
    file: &ArchivedFile,
    columns: &[Cell],
    is_kept: bool,
    (rows, text_bytes_max): (usize, usize),
) -> Option<(Vec<&'static str>, usize)> {
    let is_made = |cell: Cell| cell.is_derived() && !is_kept;
    let mut names: Vec<_> =
        columns.iter().map(|cell| if is_made(*cell) { TEXT } else { name_of(*cell) }).collect();
    if names.is_empty() {
        // Somebody counts.
        names.push(INDEX);
    }
    let longest = |column: Column| {
        let groups = file.opened.metadata().row_groups().iter();
        groups.filter_map(|group| range(group, column.name())).map(|(_, longest)| longest).max().unwrap_or(0)
    };
    let mut long = 0;
    for (cell, column) in [(Cell::Text, Column::TextBytes), (Cell::Parameters, Column::ParameterBytes)] {
        if names.contains(&name_of(cell)) {
            long = long.max(longest(column));
        }
    }
    let limit = u64::try_from(PART_BYTES_MAX.saturating_sub(8).min(text_bytes_max)).unwrap_or(0);
    if long > limit {
        return None;
    }
    let fitting = usize::try_from(BYTES.checked_div(long).unwrap_or(u64::MAX)).unwrap_or(usize::MAX);
    Some((names, rows.min(fitting).max(1)))
}

/// A column of words: where each row's is in the dictionary.
struct Words<'a>(&'a DictionaryArray<Int32Type>, &'a StringArray);

impl<'a> Words<'a> {
    fn of(batch: &'a RecordBatch, column: Column) -> Result<Self, ArrowError> {
        Self::named(batch, column.name())
    }

    fn named(batch: &'a RecordBatch, name: &str) -> Result<Self, ArrowError> {
        let array = batch.column_by_name(name);
        let array: Option<&DictionaryArray<Int32Type>> =
            array.and_then(|array| array.as_any().downcast_ref());
        let words = array.and_then(|array| Some(Self(array, array.values().as_any().downcast_ref()?)));
        words.ok_or_else(|| missing(name))
    }

    fn get(&self, at: usize) -> &'a str {
        let known = self.0.key(at).filter(|key| *key < self.1.len());
        known.map_or("", |key| self.1.value(key))
    }
}

fn missing(name: &str) -> ArrowError {
    ArrowError::SchemaError(format!("column {name} is missing or of another type"))
}

fn own<'a, T: 'static>(batch: &'a RecordBatch, name: &str) -> Result<&'a T, ArrowError> {
    let array = batch.column_by_name(name);
    array.and_then(|array| array.as_any().downcast_ref()).ok_or_else(|| missing(name))
}

/// Which rows of a file a query wants.
pub(super) fn wanted(
    filter: Filter,
    span: Span,
) -> impl FnMut(RecordBatch) -> Result<BooleanArray, ArrowError> + Send + 'static {
    move |batch| {
        let (index, part): (&UInt64Array, &UInt32Array) = (own(&batch, INDEX)?, own(&batch, PART)?);
        let times: &TimestampNanosecondArray = own(&batch, Column::Time.name())?;
        let kept = if filter.is_derived() { Kept::of(&batch).map_err(|bad| other(&bad))? } else { None };
        let words = |column| Words::of(&batch, column);
        let (classes, kinds) = (words(Column::Class)?, words(Column::Kind)?);
        let (customers, logins) = (words(Column::Customer)?, words(Column::Login)?);
        let takes = |at: usize| {
            let time = times.value(at).cast_unsigned();
            part.value(at) == 0
                && (span.from..span.to).contains(&index.value(at))
                && filter.takes(
                    (classes.get(at), kinds.get(at)),
                    time,
                    (customers.get(at).as_bytes(), logins.get(at).as_bytes()),
                )
                && kept.as_ref().is_none_or(|kept| filter.takes_derived(kept, at))
        };
        Ok((0..batch.num_rows()).map(|at| Some(takes(at))).collect())
    }
}

/// The names of the columns that [`wanted`] looks at; `derived`: also at those that follow from texts.
pub(super) fn looked_at(derived: bool) -> Vec<&'static str> {
    LOOKED_AT.into_iter().filter(|name| derived || ![TABLES, FINGERPRINT].contains(name)).collect()
}

/// A batch of a file as a batch of a table.
pub(super) fn shown(
    batch: &RecordBatch,
    columns: &[Cell],
    schema: &SchemaRef,
) -> Result<RecordBatch, ArrowError> {
    let rows = batch.num_rows();
    let mut arrays = Vec::with_capacity(columns.len());
    for (cell, field) in columns.iter().zip(schema.fields()) {
        arrays.push(match batch.column_by_name(name_of(*cell)) {
            None if cell.is_derived() => made(batch, *cell)?,
            // A file of an earlier version.
            None => new_null_array(field.data_type(), rows),
            Some(array) => match cell {
                Cell::Of(column) if column.kind() == Type::Raw => texts(array, hex)?,
                Cell::Parameters => texts(array, listed)?,
                Cell::Of(_) | Cell::Text | Cell::Fingerprint => cast(array, field.data_type())?,
                Cell::Tables => Arc::clone(array),
            },
        });
    }
    let options = RecordBatchOptions::new().with_row_count(Some(rows));
    RecordBatch::try_new_with_options(Arc::clone(schema), arrays, &options)
}

/// A column that follows from the texts of a batch, where the file does not have it.
fn made(batch: &RecordBatch, cell: Cell) -> Result<ArrayRef, ArrowError> {
    let texts = Words::named(batch, TEXT)?;
    let mut made = Made::new(&[cell]);
    let mut row = Row::default();
    row.set(Column::Class, Value::Bytes(b"statement".as_slice().into()));
    for at in 0..batch.num_rows() {
        made.push(&row, texts.get(at).as_bytes(), b"");
    }
    Ok(Arc::clone(made.batch()?.column(0)))
}

fn other(bad: &BadBatch) -> ArrowError {
    ArrowError::SchemaError(bad.to_string())
}

/// Bytes, in words.
fn texts(array: &ArrayRef, say: impl Fn(&[u8]) -> String) -> Result<ArrayRef, ArrowError> {
    let bytes: &BinaryArray = array.as_any().downcast_ref().ok_or_else(|| missing("of bytes"))?;
    let mut texts = StringBuilder::new();
    for value in bytes {
        texts.append_option(value.map(&say));
    }
    Ok(Arc::new(texts.finish()))
}
