//! Reads the journal for a query: record by record, joined, filtered, into batches.
//!
//! What always holds: memory is one batch and what is on its way to the query; nobody but the one customer's records leave a
//! scan that has one; a scan whose query has ended stops.

#![expect(
    clippy::wildcard_enum_match_arm,
    reason = "values and errors grow with the engine's versions; what is not known narrows nothing"
)]

use std::borrow::Cow;
use std::path::PathBuf;
use std::sync::Arc;

use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::datatypes::SchemaRef;
use datafusion::common::ScalarValue;
use datafusion::error::{DataFusionError, Result};
use datafusion::execution::TaskContext;
use datafusion::logical_expr::Operator;
use datafusion::physical_plan::SendableRecordBatchStream;
use datafusion::physical_plan::stream::RecordBatchReceiverStream;
use datafusion::physical_plan::streaming::PartitionStream;

use super::batch::{Cell, Rows, schema};
use super::tables::Which;
use crate::audit::join::{BadBody, Joiner, Lost, Shown};
use crate::audit::keys::Keyring;
use crate::audit::reader::{Pieces, ReadError, Reader};
use crate::audit::render::summary;
use crate::audit::row::{Column, Row};
use crate::ids::CustomerId;

/// A batch goes on with this many rows.
const ROWS: usize = 1024;
/// And with this many bytes of texts.
const BYTES: usize = 1 << 20;
/// Batches on their way.
const BATCHES: usize = 2;
/// After this many records it is looked whether anybody still wants them.
const LOOK: u32 = 1024;

/// Where the records are.
#[derive(Debug, Clone)]
pub(super) struct Source {
    /// The journal's folder.
    pub(super) directory: PathBuf,
    /// The keys of its bodies.
    pub(super) keyring: Option<Arc<Keyring>>,
}

/// What is read.
#[derive(Debug, Clone)]
pub(super) struct Scan {
    which: Which,
    source: Source,
    columns: Vec<Cell>,
    text_bytes_max: usize,
    /// Only this customer's records.
    pub(super) only: Option<CustomerId>,
    since_ns: u64,
    until_ns: u64,
    kind: Option<String>,
    customer: Option<String>,
    login: Option<String>,
}

impl Scan {
    pub(super) const fn new(which: Which, source: Source, columns: Vec<Cell>, text_bytes_max: usize) -> Self {
        Self {
            which,
            source,
            columns,
            text_bytes_max,
            only: None,
            since_ns: 0,
            until_ns: u64::MAX,
            kind: None,
            customer: None,
            login: None,
        }
    }

    /// Leaves out what a comparison excludes; the query looks again at what is left.
    pub(super) fn narrow(&mut self, name: &str, operator: Operator, value: &ScalarValue) {
        if let ("time", Some(ns)) = (name, nanoseconds(value)) {
            if matches!(operator, Operator::Gt | Operator::GtEq | Operator::Eq) {
                self.since_ns = self.since_ns.max(ns);
            }
            if matches!(operator, Operator::Lt | Operator::LtEq | Operator::Eq) {
                // A µs is kept in doubt: a value may have been rounded.
                self.until_ns = self.until_ns.min(ns.saturating_add(1_000));
            }
        }
        let Some(Some(text)) = value.try_as_str().filter(|_| operator == Operator::Eq) else { return };
        match name {
            "kind" => self.kind = Some(text.to_owned()),
            "customer" => self.customer = Some(text.to_owned()),
            "login" => self.login = Some(text.to_owned()),
            _ => {}
        }
    }

    fn takes(&self, shown: &Shown<'_>) -> bool {
        let summary = summary(&shown.entry);
        let is = |wanted: Option<&str>, found: &[u8]| wanted.is_none_or(|wanted| wanted.as_bytes() == found);
        is(self.only.as_ref().map(CustomerId::as_str), summary.customer)
            && self.which.takes(summary.class, summary.kind)
            && (self.since_ns..=self.until_ns).contains(&summary.time_ns)
            && is(self.kind.as_deref(), summary.kind.as_bytes())
            && is(self.customer.as_deref(), summary.customer)
            && is(self.login.as_deref(), summary.login)
    }

    /// Reads to the end and gives batches, until `give` answers that nobody wants more.
    fn read(&self, mut give: impl FnMut(Option<RecordBatch>) -> bool) -> Result<()> {
        let keyring = self.source.keyring.clone();
        let mut reader = match Reader::open_since(&self.source.directory, self.since_ns) {
            Ok(reader) => match keyring {
                Some(keyring) => reader.with_keys(keyring),
                None => reader,
            },
            Err(ReadError::Empty(_)) => return Ok(()),
            Err(error) => return Err(damaged(&error)),
        };
        let pieces = reader.pieces();
        let mut joiner = Joiner::new(&reader);
        let mut rows = Rows::new(&self.columns);
        let mut looked = 0_u32;
        while let Some(raw) = reader.next_record().map_err(|error| damaged(&error))? {
            joiner.take::<Stop>(&raw, |shown| self.show(shown, &pieces, &mut rows, &mut give))?;
            looked = looked.saturating_add(1);
            if looked.is_multiple_of(LOOK) && !give(None) {
                return Ok(());
            }
        }
        reader.end().map_err(|error| damaged(&error))?;
        joiner.finish::<Stop>(|shown| self.show(shown, &pieces, &mut rows, &mut give))?;
        if rows.count() > 0 {
            give(Some(rows.batch()?));
        }
        Ok(())
    }

    fn show(
        &self,
        shown: &Shown<'_>,
        pieces: &Pieces,
        rows: &mut Rows,
        give: &mut impl FnMut(Option<RecordBatch>) -> bool,
    ) -> std::result::Result<(), Stop> {
        if !self.takes(shown) {
            return Ok(());
        }
        let row = Row::of(shown);
        let long = [
            (Cell::Text, &shown.text, Column::TextBytes),
            (Cell::Parameters, &shown.parameters, Column::ParameterBytes),
        ];
        let mut whole = [Cow::Borrowed(&[][..]), Cow::Borrowed(&[][..])];
        for ((cell, part, length), whole) in long.into_iter().zip(&mut whole) {
            if !self.columns.contains(&cell) {
                continue;
            }
            let bytes = row.number_of(length);
            if usize::try_from(bytes).is_ok_and(|bytes| bytes > self.text_bytes_max) {
                let (name, record) = (cell.name(), row.number_of(Column::Record));
                let text = format!("{name} of record {record} has {bytes} bytes; leave out that column");
                return Err(Stop::Failed(DataFusionError::ResourcesExhausted(text)));
            }
            *whole = match part.load(pieces) {
                Err(Lost::Changed) => return Err(BadBody(shown.place, Lost::Changed.what()).into()),
                loaded => loaded.unwrap_or_default(),
            };
        }
        let [text, parameters] = whole;
        rows.push(&row, &text, &parameters);
        if rows.count() >= ROWS || rows.bytes() >= BYTES {
            let batch = rows.batch().map_err(|error| Stop::Failed(error.into()))?;
            if !give(Some(batch)) {
                return Err(Stop::Unwanted);
            }
        }
        Ok(())
    }
}

/// Why reading stops before the end.
enum Stop {
    Unwanted,
    Failed(DataFusionError),
}

impl From<BadBody> for Stop {
    fn from(bad: BadBody) -> Self {
        let BadBody(place, what) = bad;
        let text = format!("audit log damaged: record {}: {what}", place.record);
        Self::Failed(DataFusionError::External(text.into()))
    }
}

impl From<Stop> for DataFusionError {
    fn from(stop: Stop) -> Self {
        match stop {
            Stop::Unwanted => Self::Execution("nobody reads on".to_owned()),
            Stop::Failed(error) => error,
        }
    }
}

/// Of a place in a file an auditor learns the record only.
fn damaged(error: &ReadError) -> DataFusionError {
    tracing::error!(%error, "the console could not read the audit log");
    let text = match error {
        ReadError::Damaged { record, what, .. } => format!("audit log damaged at record {record}: {what}"),
        _ => "the audit log cannot be read".to_owned(),
    };
    DataFusionError::External(text.into())
}

/// A time since 1970 in ns.
fn nanoseconds(value: &ScalarValue) -> Option<u64> {
    let ns = match value {
        ScalarValue::TimestampNanosecond(Some(ns), _) => *ns,
        ScalarValue::TimestampMicrosecond(Some(us), _) => us.checked_mul(1_000)?,
        ScalarValue::TimestampMillisecond(Some(ms), _) => ms.checked_mul(1_000_000)?,
        ScalarValue::TimestampSecond(Some(s), _) => s.checked_mul(1_000_000_000)?,
        _ => return None,
    };
    u64::try_from(ns).ok()
}

/// A scan as DataFusion runs it.
#[derive(Debug)]
pub(super) struct Records {
    scan: Arc<Scan>,
    schema: SchemaRef,
}

impl Records {
    pub(super) fn new(scan: Scan) -> Self {
        let schema = schema(&scan.columns);
        Self { scan: Arc::new(scan), schema }
    }

    pub(super) fn schema_of(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }
}

impl PartitionStream for Records {
    fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    fn execute(&self, _: Arc<TaskContext>) -> SendableRecordBatchStream {
        let mut builder = RecordBatchReceiverStream::builder(Arc::clone(&self.schema), BATCHES);
        let (scan, to_query) = (Arc::clone(&self.scan), builder.tx());
        builder.spawn_blocking(move || {
            scan.read(|batch| match batch {
                Some(batch) => to_query.blocking_send(Ok(batch)).is_ok(),
                None => !to_query.is_closed(),
            })
        });
        builder.build()
    }
}
