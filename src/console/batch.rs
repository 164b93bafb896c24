//! Rows of the log as the columns an auditor sees.
//!
//! What always holds: numbers are `Int64`, times are UTC with ns, texts are UTF-8 with U+FFFD for what is not, other bytes are
//! hexadecimal digits; what says nothing is NULL.

use std::sync::Arc;

use arrow::array::{
    ArrayRef, Int64Builder, ListBuilder, RecordBatch, RecordBatchOptions, StringBuilder,
    TimestampNanosecondBuilder,
};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use arrow::error::ArrowError;

use crate::audit::arrow::derived::{append_tables, gist_of, list};
use crate::audit::render::hex;
use crate::audit::row::{Column, Row, Type, Value};
use crate::audit::values::Parameters;
use crate::gist::Gist;

/// A column of a table: one of a row's, the text, or what follows from it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Cell {
    /// One of the row's.
    Of(Column),
    /// The whole list of parameters.
    Parameters,
    /// The whole text.
    Text,
    /// The relations that the text names.
    Tables,
    /// The text's fingerprint.
    Fingerprint,
}

impl Cell {
    /// Its name.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Of(column) => column.name(),
            Self::Parameters => "parameters",
            Self::Text => "text",
            Self::Tables => "tables",
            Self::Fingerprint => "fingerprint",
        }
    }

    /// Whether it follows from the text.
    pub(super) const fn is_derived(self) -> bool {
        matches!(self, Self::Tables | Self::Fingerprint)
    }

    fn data_type(self) -> DataType {
        match self {
            Self::Of(column) => match column.kind() {
                Type::Number => DataType::Int64,
                Type::Time => DataType::Timestamp(TimeUnit::Nanosecond, Some("UTC".into())),
                Type::Text | Type::Raw => DataType::Utf8,
            },
            Self::Parameters | Self::Text | Self::Fingerprint => DataType::Utf8,
            Self::Tables => list(),
        }
    }
}

/// The schema of a table with these columns.
pub(super) fn schema(fields: &[Cell]) -> SchemaRef {
    let fields: Vec<Field> =
        fields.iter().map(|field| Field::new(field.name(), field.data_type(), true)).collect();
    Arc::new(Schema::new(fields))
}

enum Builder {
    Number(Int64Builder),
    Time(TimestampNanosecondBuilder),
    Text(StringBuilder),
    Hex(StringBuilder),
    List(ListBuilder<StringBuilder>),
}

/// Rows on their way into a batch.
pub(super) struct Rows {
    schema: SchemaRef,
    builders: Vec<(Cell, Builder)>,
    count: usize,
    bytes: usize,
}

impl Rows {
    /// For a table, or some columns of one.
    pub(super) fn new(fields: &[Cell]) -> Self {
        let builder = |field: &Cell| {
            let builder = match field {
                Cell::Of(column) => match column.kind() {
                    Type::Number => Builder::Number(Int64Builder::new()),
                    Type::Time => Builder::Time(TimestampNanosecondBuilder::new().with_timezone("UTC")),
                    Type::Text => Builder::Text(StringBuilder::new()),
                    Type::Raw => Builder::Hex(StringBuilder::new()),
                },
                Cell::Parameters | Cell::Text | Cell::Fingerprint => Builder::Text(StringBuilder::new()),
                Cell::Tables => Builder::List(ListBuilder::new(StringBuilder::new())),
            };
            (*field, builder)
        };
        Self { schema: schema(fields), builders: fields.iter().map(builder).collect(), count: 0, bytes: 0 }
    }

    /// Rows that were put in.
    pub(super) const fn count(&self) -> usize {
        self.count
    }

    /// Bytes of texts among them.
    pub(super) const fn bytes(&self) -> usize {
        self.bytes
    }

    /// Puts a row in; `text` is a statement's whole text and `parameters` its list of parameters, empty: none.
    pub(super) fn push(&mut self, row: &Row<'_>, text: &[u8], parameters: &[u8]) {
        let is_derived = self.builders.iter().any(|(field, _)| field.is_derived());
        // Where nobody can tell, nothing is said.
        let gist = is_derived.then(|| gist_of(row, text).ok().flatten()).flatten();
        for (field, builder) in &mut self.builders {
            let whole;
            let value = match field {
                Cell::Of(column) => row.get(*column),
                Cell::Tables => {
                    self.bytes = self.bytes.saturating_add(builder.append_list(gist.as_deref()));
                    continue;
                }
                Cell::Fingerprint => {
                    let fingerprint = gist.as_ref().map(|gist| gist.fingerprint.as_bytes());
                    whole = fingerprint.map_or(Value::Nothing, |bytes| Value::Bytes(bytes.into()));
                    &whole
                }
                Cell::Text if text.is_empty() => &Value::Nothing,
                Cell::Parameters if parameters.is_empty() => &Value::Nothing,
                Cell::Parameters => {
                    whole = Value::Bytes(listed(parameters).into_bytes().into());
                    &whole
                }
                Cell::Text => {
                    whole = Value::Bytes(text.into());
                    &whole
                }
            };
            self.bytes = self.bytes.saturating_add(builder.append(value));
        }
        self.count = self.count.saturating_add(1);
    }

    /// The batch of what was put in; the next one begins.
    ///
    /// # Errors
    /// Never for what [`Self::push`] took, unless a batch's texts exceed 2 GiB.
    pub(super) fn batch(&mut self) -> Result<RecordBatch, ArrowError> {
        let options = RecordBatchOptions::new().with_row_count(Some(self.count));
        let arrays: Vec<ArrayRef> = self.builders.iter_mut().map(|(_, builder)| builder.finish()).collect();
        (self.count, self.bytes) = (0, 0);
        RecordBatch::try_new_with_options(Arc::clone(&self.schema), arrays, &options)
    }
}

/// A list of parameters as a JSON array of texts and nulls.
pub(super) fn listed(parameters: &[u8]) -> String {
    let values = Parameters::read(parameters).map(|parameter| match parameter.text() {
        Some(text) => serde_json::Value::String(String::from_utf8_lossy(&text).into_owned()),
        None => serde_json::Value::Null,
    });
    serde_json::Value::Array(values.collect()).to_string()
}

impl Builder {
    fn append(&mut self, value: &Value<'_>) -> usize {
        match (self, value) {
            (Self::Number(builder), Value::Number(number)) => {
                builder.append_value(i64::try_from(*number).unwrap_or(i64::MAX));
            }
            (Self::Time(builder), Value::Number(number)) => {
                builder.append_value(i64::try_from(*number).unwrap_or(i64::MAX));
            }
            (Self::Text(builder), Value::Bytes(bytes)) => {
                builder.append_value(String::from_utf8_lossy(bytes));
                return bytes.len();
            }
            (Self::Hex(builder), Value::Bytes(bytes)) => builder.append_value(hex(bytes)),
            (Self::Number(builder), Value::Nothing | Value::Bytes(_)) => builder.append_null(),
            (Self::Time(builder), Value::Nothing | Value::Bytes(_)) => builder.append_null(),
            (Self::Text(builder) | Self::Hex(builder), Value::Nothing | Value::Number(_)) => {
                builder.append_null();
            }
            (Self::List(builder), _) => builder.append_null(),
        }
        0
    }

    fn append_list(&mut self, gist: Option<&Gist>) -> usize {
        if let Self::List(builder) = self {
            append_tables(builder, gist);
        }
        gist.and_then(|gist| gist.tables.as_ref()).into_iter().flatten().map(String::len).sum()
    }

    fn finish(&mut self) -> ArrayRef {
        match self {
            Self::Number(builder) => Arc::new(builder.finish()),
            Self::Time(builder) => Arc::new(builder.finish()),
            Self::Text(builder) | Self::Hex(builder) => Arc::new(builder.finish()),
            Self::List(builder) => Arc::new(builder.finish()),
        }
    }
}

impl std::fmt::Debug for Rows {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Rows({} rows, {} bytes)", self.count, self.bytes)
    }
}
