//! Rows as Arrow's columns, and back: one schema for the archive's files and for SQL.
//!
//! What always holds: what comes back has the same canonical bytes as what went in, whatever the bytes are; a column that a
//! file does not have says nothing, so older files stay readable; a batch that cannot be what this made is an error.
//!
//! A column of text holds UTF-8, dictionary-encoded. Bytes that are not UTF-8 are there with U+FFFD in their places, and
//! the exact bytes lie in the column `not_utf8`: for each such column its tag (`u8`), a length (`u32`, little-endian) and
//! the bytes. A text or a list of parameters beyond [`PART_BYTES_MAX`] goes on in further rows that have the record's index,
//! `part` from 1, and nothing else. The list is as [`super::values`] describes it.

pub mod derived;
mod pieces;
#[cfg(test)]
mod tests;

use std::fmt;
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, BinaryArray, BinaryBuilder, DictionaryArray, FixedSizeBinaryArray,
    FixedSizeBinaryBuilder, RecordBatch, StringArray, StringDictionaryBuilder, TimestampNanosecondArray,
    TimestampNanosecondBuilder, UInt32Array, UInt32Builder, UInt64Array, UInt64Builder,
};
use arrow::datatypes::{DataType, Field, Int32Type, Schema, SchemaRef, TimeUnit};
use arrow::error::ArrowError;

use super::join::Whole;
use super::row::{Column, PARAMETERS_TAG, Row, TEXT_TAG, Type, Value};
use pieces::Cut;

/// Name of the column with the record's place in its log, from 0.
pub const INDEX: &str = "index";
/// Name of the column with a statement's text.
pub const TEXT: &str = "text";
/// Name of the column with a statement's list of parameters.
pub const PARAMETERS: &str = "parameters";
/// Name of the column with the exact bytes of what is not UTF-8.
pub const NOT_UTF8: &str = "not_utf8";
/// Name of the column with the number of a long text's piece.
pub const PART: &str = "part";
/// Name of the column with the number of the record's data key.
pub const KEY: &str = "key";
/// Name of the column with the beginning of the leaf's hash.
pub const LEAF_CHECK: &str = "leaf_check";

/// A longer text is stored in pieces of this length.
pub const PART_BYTES_MAX: usize = 1 << 20;
/// Bytes of a leaf's hash that are kept.
const CHECK_BYTES: i32 = 4;
/// What a row takes in memory besides its text, about.
const ROW_BYTES: usize = 400;

/// Where a record stands in its log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Leaf {
    /// Its place in the log, from 0.
    pub index: u64,
    /// The beginning of its leaf's hash.
    pub check: [u8; 4],
    /// Number of its data key; 0: none.
    pub key: u32,
}

/// Why a batch is not one of rows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BadBatch(pub String);

impl fmt::Display for BadBatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "not a batch of records: {}", self.0)
    }
}

impl std::error::Error for BadBatch {}

impl From<ArrowError> for BadBatch {
    fn from(error: ArrowError) -> Self {
        Self(error.to_string())
    }
}

fn words() -> DataType {
    DataType::Dictionary(Box::new(DataType::Int32), Box::new(DataType::Utf8))
}

fn type_of(column: Column) -> DataType {
    match column.kind() {
        Type::Number => DataType::UInt64,
        Type::Time => DataType::Timestamp(TimeUnit::Nanosecond, Some("UTC".into())),
        Type::Text => words(),
        Type::Raw => DataType::Binary,
    }
}

/// The schema of records: `index`, the columns of a row, then `text`, `parameters`, `not_utf8`, `part`, `key`, `leaf_check`, and
/// what follows from the text ([`derived`]).
#[must_use]
pub fn schema() -> SchemaRef {
    let columns = Column::ALL.into_iter().map(|column| Field::new(column.name(), type_of(column), true));
    let mut fields = vec![Field::new(INDEX, DataType::UInt64, false)];
    fields.extend(columns);
    fields.extend([
        Field::new(TEXT, words(), true),
        Field::new(PARAMETERS, DataType::Binary, true),
        Field::new(NOT_UTF8, DataType::Binary, true),
        Field::new(PART, DataType::UInt32, false),
        Field::new(KEY, DataType::UInt32, false),
        Field::new(LEAF_CHECK, DataType::FixedSizeBinary(CHECK_BYTES), false),
    ]);
    fields.extend(derived::fields());
    Arc::new(Schema::new(fields))
}

enum Build {
    Number(UInt64Builder),
    Time(TimestampNanosecondBuilder),
    Words(StringDictionaryBuilder<Int32Type>),
    Raw(BinaryBuilder),
}

impl Build {
    fn of(kind: Type) -> Self {
        match kind {
            Type::Number => Self::Number(UInt64Builder::with_capacity(0)),
            Type::Time => Self::Time(TimestampNanosecondBuilder::with_capacity(0).with_timezone("UTC")),
            Type::Text => Self::Words(StringDictionaryBuilder::new()),
            Type::Raw => Self::Raw(BinaryBuilder::with_capacity(0, 0)),
        }
    }

    fn nothing(&mut self) {
        match self {
            Self::Number(build) => build.append_null(),
            Self::Time(build) => build.append_null(),
            Self::Words(build) => build.append_null(),
            Self::Raw(build) => build.append_null(),
        }
    }

    /// Appends a value; bytes that are not UTF-8 also go to `odd`, under `tag`.
    fn push(&mut self, tag: u8, value: &Value<'_>, odd: &mut Vec<u8>) -> Result<(), BadBatch> {
        match (self, value) {
            (build, Value::Nothing) => build.nothing(),
            (Self::Number(build), Value::Number(number)) => build.append_value(*number),
            (Self::Time(build), Value::Number(number)) => build.append_value(number.cast_signed()),
            (Self::Raw(build), Value::Bytes(bytes)) => build.append_value(bytes),
            (Self::Words(build), Value::Bytes(bytes)) => {
                if std::str::from_utf8(bytes).is_err() {
                    odd.push(tag);
                    odd.extend_from_slice(&u32::try_from(bytes.len()).unwrap_or(u32::MAX).to_le_bytes());
                    odd.extend_from_slice(bytes);
                }
                build.append(String::from_utf8_lossy(bytes))?;
            }
            (Self::Number(_) | Self::Time(_), Value::Bytes(_))
            | (Self::Words(_) | Self::Raw(_), Value::Number(_)) => {
                return Err(BadBatch(format!("a value of another type in column {tag}")));
            }
        }
        Ok(())
    }

    fn finish(&mut self) -> ArrayRef {
        match self {
            Self::Number(build) => Arc::new(build.finish()),
            Self::Time(build) => Arc::new(build.finish()),
            Self::Words(build) => Arc::new(build.finish()),
            Self::Raw(build) => Arc::new(build.finish()),
        }
    }
}

/// Gathers rows for a batch.
pub struct Builder {
    schema: SchemaRef,
    index: UInt64Builder,
    columns: Vec<(Column, Build)>,
    text: Build,
    parameters: Build,
    odd: BinaryBuilder,
    part: UInt32Builder,
    key: UInt32Builder,
    check: FixedSizeBinaryBuilder,
    derived: derived::Build,
    rows: usize,
    bytes: usize,
}

impl fmt::Debug for Builder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Builder")
            .field("rows", &self.rows)
            .field("bytes", &self.bytes)
            .finish_non_exhaustive()
    }
}

impl Default for Builder {
    fn default() -> Self {
        Self::new()
    }
}

impl Builder {
    /// For no rows yet.
    #[must_use]
    pub fn new() -> Self {
        Self {
            schema: schema(),
            index: UInt64Builder::with_capacity(0),
            columns: Column::ALL.into_iter().map(|column| (column, Build::of(column.kind()))).collect(),
            text: Build::of(Type::Text),
            parameters: Build::of(Type::Raw),
            odd: BinaryBuilder::with_capacity(0, 0),
            part: UInt32Builder::with_capacity(0),
            key: UInt32Builder::with_capacity(0),
            check: FixedSizeBinaryBuilder::with_capacity(0, CHECK_BYTES),
            derived: derived::Build::default(),
            rows: 0,
            bytes: 0,
        }
    }

    /// Rows gathered so far.
    #[must_use]
    pub const fn rows(&self) -> usize {
        self.rows
    }

    /// About how many bytes of memory they take, not less.
    #[must_use]
    pub const fn bytes(&self) -> usize {
        self.bytes
    }

    /// Appends a record; one with a long text as several rows. An empty text is no text.
    ///
    /// # Errors
    /// [`BadBatch`] when a value is not of its column's type.
    pub fn push(&mut self, leaf: Leaf, row: &Row<'_>, whole: &Whole<'_>) -> Result<(), BadBatch> {
        let (mut text, mut parameters) = (Cut(&whole.text), Cut(&whole.parameters));
        let mut odd = Vec::new();
        for (column, build) in &mut self.columns {
            build.push(column.tag(), row.get(*column), &mut odd)?;
        }
        self.bytes = self.bytes.saturating_add(self.derived.push(row, &whole.text)?);
        let mut pieces = (text.next(), parameters.next());
        for part in 0.. {
            self.end_row(leaf, part, pieces, std::mem::take(&mut odd))?;
            pieces = (text.next(), parameters.next());
            if pieces == (None, None) {
                break;
            }
            self.columns.iter_mut().for_each(|(_, build)| build.nothing());
            self.derived.nothing();
        }
        Ok(())
    }

    fn end_row(
        &mut self,
        leaf: Leaf,
        part: u32,
        (text, parameters): (Option<&[u8]>, Option<&[u8]>),
        mut odd: Vec<u8>,
    ) -> Result<(), BadBatch> {
        self.text.push(TEXT_TAG, &bytes_or_nothing(text), &mut odd)?;
        self.parameters.push(PARAMETERS_TAG, &bytes_or_nothing(parameters), &mut odd)?;
        self.odd.append_option((!odd.is_empty()).then_some(&odd));
        self.index.append_value(leaf.index);
        self.part.append_value(part);
        self.key.append_value(leaf.key);
        self.check.append_value(leaf.check)?;
        let long = [text, parameters].into_iter().flatten().map(<[u8]>::len).sum::<usize>();
        self.rows = self.rows.saturating_add(1);
        self.bytes = self.bytes.saturating_add(ROW_BYTES).saturating_add(long).saturating_add(odd.len());
        Ok(())
    }

    /// The rows gathered so far, as a batch; the builder is empty then.
    ///
    /// # Errors
    /// [`BadBatch`]; cannot be for rows that were taken.
    pub fn finish(&mut self) -> Result<RecordBatch, BadBatch> {
        let mut columns: Vec<ArrayRef> = vec![Arc::new(self.index.finish())];
        columns.extend(self.columns.iter_mut().map(|(_, build)| build.finish()));
        columns.push(self.text.finish());
        columns.push(self.parameters.finish());
        columns.push(Arc::new(self.odd.finish()));
        columns.push(Arc::new(self.part.finish()));
        columns.push(Arc::new(self.key.finish()));
        columns.push(Arc::new(self.check.finish()));
        columns.extend(self.derived.finish());
        (self.rows, self.bytes) = (0, 0);
        Ok(RecordBatch::try_new(Arc::clone(&self.schema), columns)?)
    }
}

fn bytes_or_nothing(bytes: Option<&[u8]>) -> Value<'_> {
    bytes.map_or(Value::Nothing, |bytes| Value::Bytes(bytes.into()))
}

/// A row of a batch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stored<'a> {
    /// Where it stands.
    pub leaf: Leaf,
    /// 0; from 1: only a further piece of the text of the record with this index.
    pub part: u32,
    /// The record; nothing in further pieces.
    pub row: Row<'a>,
    /// Its text, or the piece of it.
    pub text: &'a [u8],
    /// Its list of parameters, or the piece of it.
    pub parameters: &'a [u8],
}

impl<'a> Stored<'a> {
    /// Text and parameters, or the pieces of them.
    #[must_use]
    pub fn whole(&self) -> Whole<'a> {
        Whole { text: self.text.into(), parameters: self.parameters.into() }
    }
}

enum Held<'a> {
    Absent,
    Number(&'a UInt64Array),
    Time(&'a TimestampNanosecondArray),
    Words(&'a DictionaryArray<Int32Type>, &'a StringArray),
    Raw(&'a BinaryArray),
}

impl<'a> Held<'a> {
    fn of(batch: &'a RecordBatch, name: &str, kind: Type) -> Result<Self, BadBatch> {
        let Some(array) = batch.column_by_name(name) else { return Ok(Self::Absent) };
        let any = array.as_any();
        let held = match kind {
            Type::Number => any.downcast_ref().map(Self::Number),
            Type::Time => any.downcast_ref().map(Self::Time),
            Type::Raw => any.downcast_ref().map(Self::Raw),
            Type::Text => any.downcast_ref::<DictionaryArray<Int32Type>>().and_then(|array| {
                array.values().as_any().downcast_ref().map(|values| Self::Words(array, values))
            }),
        };
        held.ok_or_else(|| BadBatch(format!("column {name} is {}", array.data_type())))
    }

    fn get(&self, at: usize) -> Result<Value<'a>, BadBatch> {
        let bytes = |bytes: &'a [u8]| Value::Bytes(bytes.into());
        Ok(match self {
            Self::Absent => Value::Nothing,
            Self::Number(array) if array.is_valid(at) => Value::Number(array.value(at)),
            Self::Time(array) if array.is_valid(at) => Value::Number(array.value(at).cast_unsigned()),
            Self::Raw(array) if array.is_valid(at) => bytes(array.value(at)),
            Self::Words(array, values) => match array.key(at) {
                Some(key) if key < values.len() && values.is_valid(key) => {
                    bytes(values.value(key).as_bytes())
                }
                Some(_) => return Err(BadBatch("a word that is not in its dictionary".to_owned())),
                None => Value::Nothing,
            },
            Self::Number(_) | Self::Time(_) | Self::Raw(_) => Value::Nothing,
        })
    }
}

/// A batch as rows.
pub struct Rows<'a> {
    index: &'a UInt64Array,
    part: &'a UInt32Array,
    key: &'a UInt32Array,
    check: &'a FixedSizeBinaryArray,
    columns: Vec<(Column, Held<'a>)>,
    text: Held<'a>,
    parameters: Held<'a>,
    odd: Held<'a>,
}

impl fmt::Debug for Rows<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Rows").field("rows", &self.index.len()).finish_non_exhaustive()
    }
}

fn own<'a, T: 'static>(batch: &'a RecordBatch, name: &str) -> Result<&'a T, BadBatch> {
    let array = batch.column_by_name(name).filter(|array| array.null_count() == 0);
    array
        .and_then(|array| array.as_any().downcast_ref())
        .ok_or_else(|| BadBatch(format!("column {name} is missing, incomplete or of another type")))
}

impl<'a> Rows<'a> {
    /// The rows of a batch.
    ///
    /// # Errors
    /// [`BadBatch`] when a column is of another type, or one that every row must have is missing.
    pub fn of(batch: &'a RecordBatch) -> Result<Self, BadBatch> {
        let columns: Result<_, BadBatch> = Column::ALL
            .into_iter()
            .map(|column| Ok((column, Held::of(batch, column.name(), column.kind())?)))
            .collect();
        let check: &FixedSizeBinaryArray = own(batch, LEAF_CHECK)?;
        if check.value_length() != CHECK_BYTES {
            return Err(BadBatch(format!("column {LEAF_CHECK} has another width")));
        }
        Ok(Self {
            index: own(batch, INDEX)?,
            part: own(batch, PART)?,
            key: own(batch, KEY)?,
            check,
            columns: columns?,
            text: Held::of(batch, TEXT, Type::Text)?,
            parameters: Held::of(batch, PARAMETERS, Type::Raw)?,
            odd: Held::of(batch, NOT_UTF8, Type::Raw)?,
        })
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.index.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.index.is_empty()
    }

    /// Which piece of its record the row at `at` is: 0, the record itself; `None`: there is no such row.
    #[must_use]
    pub fn part(&self, at: usize) -> Option<u32> {
        (at < self.len()).then(|| self.part.value(at))
    }

    /// The row at `at`.
    ///
    /// # Errors
    /// [`BadBatch`] when there is none, or it is not as this module writes it.
    pub fn get(&self, at: usize) -> Result<Stored<'a>, BadBatch> {
        if at >= self.len() {
            return Err(BadBatch(format!("no row {at}")));
        }
        let mut row = Row::default();
        for (column, held) in &self.columns {
            row.set(*column, held.get(at)?);
        }
        let mut text = borrowed(&self.text.get(at)?);
        let mut odd = borrowed(&self.odd.get(at)?);
        while let Some((tag, bytes)) = next_odd(&mut odd)? {
            match Column::ALL.into_iter().find(|column| column.tag() == tag) {
                Some(column) => row.set(column, Value::Bytes(bytes.into())),
                None if tag == TEXT_TAG => text = bytes,
                None => return Err(BadBatch(format!("bytes of an unknown column {tag}"))),
            }
        }
        let check = self.check.value(at).first_chunk().copied().unwrap_or_default();
        let leaf = Leaf { index: self.index.value(at), check, key: self.key.value(at) };
        let parameters = borrowed(&self.parameters.get(at)?);
        Ok(Stored { leaf, part: self.part.value(at), row, text, parameters })
    }
}

/// Nothing here is made new, so there is nothing to own.
fn borrowed<'a>(value: &Value<'a>) -> &'a [u8] {
    match value {
        Value::Bytes(std::borrow::Cow::Borrowed(bytes)) => bytes,
        Value::Bytes(std::borrow::Cow::Owned(_)) | Value::Nothing | Value::Number(_) => b"",
    }
}

/// Takes the next column's bytes off.
fn next_odd<'a>(odd: &mut &'a [u8]) -> Result<Option<(u8, &'a [u8])>, BadBatch> {
    let Some((tag, rest)) = odd.split_first() else { return Ok(None) };
    let short = || BadBatch(format!("column {NOT_UTF8} ends too early"));
    let (length, rest) = rest.split_first_chunk::<4>().ok_or_else(short)?;
    let length = usize::try_from(u32::from_le_bytes(*length)).unwrap_or(usize::MAX);
    let (bytes, rest) = rest.split_at_checked(length).ok_or_else(short)?;
    *odd = rest;
    Ok(Some((*tag, bytes)))
}
