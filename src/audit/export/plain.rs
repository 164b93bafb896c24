//! Records as Parquet without encryption: the columns of a [`Row`], then `text`, `parameters`, `tables`, `fingerprint` and
//! `not_utf8`.
//!
//! What always holds: one row for each record, however long its text. Numbers are UInt64, times Timestamp(ns, UTC), texts
//! UTF-8 with U+FFFD for what is not, other bytes lower-case hexadecimal digits; `parameters` is a JSON array of texts and nulls;
//! `not_utf8` names the columns whose bytes are not UTF-8, with a space between two.

use std::io::Write;
use std::sync::Arc;

use arrow::array::{
    ArrayRef, ListBuilder, RecordBatch, StringBuilder, StringDictionaryBuilder, TimestampNanosecondBuilder,
    UInt64Builder,
};
use arrow::datatypes::{DataType, Field, Int32Type, Schema, SchemaRef, TimeUnit};
use parquet::arrow::ArrowWriter;
use parquet::basic::{Compression, ZstdLevel};
use parquet::file::properties::WriterProperties;

use super::super::arrow::derived::{append_tables, list};
use super::super::join::Whole;
use super::super::render::hex;
use super::super::row::{Column, Row, Type, Value};
use super::{FINGERPRINT, NotWritten, PARAMETERS, TABLES, TEXT, parameters, text};
use crate::gist::Gist;

const NOT_UTF8: &str = "not_utf8";
/// Gathered rows become a batch at this size.
const BATCH_ROWS_MAX: usize = 8 << 10;
const BATCH_BYTES_MAX: usize = 8 << 20;
/// Rows and bytes of a row group; what is larger is not kept in memory.
const GROUP_ROWS_MAX: usize = 1 << 17;
const GROUP_BYTES_MAX: usize = 32 << 20;
/// zstd's level.
const ZSTD_LEVEL: i32 = 3;

fn words() -> DataType {
    DataType::Dictionary(Box::new(DataType::Int32), Box::new(DataType::Utf8))
}

/// The schema of the files.
#[must_use]
pub fn schema() -> SchemaRef {
    let mut fields: Vec<Field> = Column::ALL.into_iter().map(field).collect();
    fields.push(Field::new(TEXT, DataType::Utf8, true));
    fields.push(Field::new(PARAMETERS, DataType::Utf8, true));
    fields.push(Field::new(TABLES, list(), true));
    fields.push(Field::new(FINGERPRINT, words(), true));
    fields.push(Field::new(NOT_UTF8, DataType::Utf8, true));
    Arc::new(Schema::new(fields))
}

fn field(column: Column) -> Field {
    let kind = match column.kind() {
        Type::Number => DataType::UInt64,
        Type::Time => DataType::Timestamp(TimeUnit::Nanosecond, Some("UTC".into())),
        Type::Text | Type::Raw => words(),
    };
    Field::new(column.name(), kind, true)
}

enum Build {
    Number(UInt64Builder),
    Time(TimestampNanosecondBuilder),
    Words(StringDictionaryBuilder<Int32Type>),
}

impl Build {
    fn of(column: Column) -> Self {
        match column.kind() {
            Type::Number => Self::Number(UInt64Builder::with_capacity(0)),
            Type::Time => Self::Time(TimestampNanosecondBuilder::with_capacity(0).with_timezone("UTC")),
            Type::Text | Type::Raw => Self::Words(StringDictionaryBuilder::new()),
        }
    }

    /// Appends a value; `false`: it is text that is not UTF-8.
    fn push(&mut self, column: Column, value: &Value<'_>) -> Result<bool, NotWritten> {
        match (self, value) {
            (Self::Number(build), Value::Number(number)) => build.append_value(*number),
            (Self::Time(build), Value::Number(number)) => build.append_value(number.cast_signed()),
            (Self::Words(build), Value::Bytes(bytes)) => {
                let shown = match column.kind() {
                    Type::Raw => hex(bytes).into(),
                    Type::Number | Type::Time | Type::Text => String::from_utf8_lossy(bytes),
                };
                build.append(&shown).map_err(written)?;
                return Ok(column.kind() == Type::Raw || matches!(shown, std::borrow::Cow::Borrowed(_)));
            }
            (Self::Number(build), _) => build.append_null(),
            (Self::Time(build), _) => build.append_null(),
            (Self::Words(build), _) => build.append_null(),
        }
        Ok(true)
    }

    fn finish(&mut self) -> ArrayRef {
        match self {
            Self::Number(build) => Arc::new(build.finish()),
            Self::Time(build) => Arc::new(build.finish()),
            Self::Words(build) => Arc::new(build.finish()),
        }
    }
}

fn written(error: impl std::fmt::Display) -> NotWritten {
    NotWritten(error.to_string())
}

/// Writes a file.
pub(super) struct Writer<W: Write + Send> {
    inner: ArrowWriter<W>,
    columns: Vec<(Column, Build)>,
    text: StringBuilder,
    parameters: StringBuilder,
    tables: ListBuilder<StringBuilder>,
    fingerprint: StringDictionaryBuilder<Int32Type>,
    odd: StringBuilder,
    rows: usize,
    bytes: usize,
}

impl<W: Write + Send> Writer<W> {
    pub(super) fn begin(out: W) -> Result<Self, NotWritten> {
        let level = ZstdLevel::try_new(ZSTD_LEVEL).map_err(written)?;
        let properties = WriterProperties::builder()
            .set_created_by(format!("onevault {}", env!("CARGO_PKG_VERSION")))
            .set_compression(Compression::ZSTD(level))
            .set_max_row_group_row_count(Some(GROUP_ROWS_MAX))
            .set_max_row_group_bytes(Some(GROUP_BYTES_MAX))
            .build();
        let inner = ArrowWriter::try_new(out, schema(), Some(properties)).map_err(written)?;
        Ok(Self {
            inner,
            columns: Column::ALL.into_iter().map(|column| (column, Build::of(column))).collect(),
            text: StringBuilder::new(),
            parameters: StringBuilder::new(),
            tables: ListBuilder::new(StringBuilder::new()),
            fingerprint: StringDictionaryBuilder::new(),
            odd: StringBuilder::new(),
            rows: 0,
            bytes: 0,
        })
    }

    pub(super) fn take(
        &mut self,
        (row, gist): (&Row<'_>, Option<&Gist>),
        whole: &Whole<'_>,
    ) -> Result<(), NotWritten> {
        let mut odd: Vec<&str> = Vec::new();
        for (column, build) in &mut self.columns {
            if !build.push(*column, row.get(*column))? {
                odd.push(column.name());
            }
        }
        let text = text(row, whole).map(String::from_utf8_lossy);
        if matches!(text, Some(std::borrow::Cow::Owned(_))) {
            odd.push(TEXT);
        }
        self.text.append_option(text);
        self.parameters.append_option(parameters(whole));
        append_tables(&mut self.tables, gist);
        match gist {
            Some(gist) => {
                self.fingerprint.append(&gist.fingerprint).map_err(written)?;
            }
            None => self.fingerprint.append_null(),
        }
        let named = gist.and_then(|gist| gist.tables.as_ref()).into_iter().flatten();
        self.odd.append_option((!odd.is_empty()).then(|| odd.join(" ")));
        self.rows = self.rows.saturating_add(1);
        self.bytes = self.bytes.saturating_add(whole.text.len()).saturating_add(whole.parameters.len());
        self.bytes = self.bytes.saturating_add(named.map(String::len).sum());
        if self.rows >= BATCH_ROWS_MAX || self.bytes >= BATCH_BYTES_MAX {
            self.flush()?;
        }
        Ok(())
    }

    fn flush(&mut self) -> Result<(), NotWritten> {
        let mut columns: Vec<ArrayRef> = self.columns.iter_mut().map(|(_, build)| build.finish()).collect();
        columns.push(Arc::new(self.text.finish()));
        columns.push(Arc::new(self.parameters.finish()));
        columns.push(Arc::new(self.tables.finish()));
        columns.push(Arc::new(self.fingerprint.finish()));
        columns.push(Arc::new(self.odd.finish()));
        (self.rows, self.bytes) = (0, 0);
        let batch = RecordBatch::try_new(schema(), columns).map_err(written)?;
        self.inner.write(&batch).map_err(written)
    }

    pub(super) fn finish(mut self) -> Result<W, NotWritten> {
        if self.rows > 0 {
            self.flush()?;
        }
        self.inner.into_inner().map_err(written)
    }
}
