//! Reads the log for a query: the archive's columns, then the journal record by record, filtered, into batches.
//!
//! What always holds: memory is one batch and what is on its way to the query; nobody but the one customer's records leave a
//! scan that has one; a scan whose query has ended stops.

#![expect(
    clippy::wildcard_enum_match_arm,
    reason = "values and errors grow with the engine's versions; what is not known narrows nothing"
)]

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
use super::files::{is_kept, looked_at, plan, shown, wanted};
use super::tables::Which;
use crate::audit::archive::file::FileError;
use crate::audit::archive::span::Span;
use crate::audit::arrow::derived::Kept;
use crate::audit::history::{ArchivedFile, Found, History, HistoryError, OWN_LOG, Wanted};
use crate::audit::join::Whole;
use crate::audit::keys::Keyring;
use crate::audit::reader::ReadError;
use crate::audit::row::{Column, Row};
use crate::config;
use crate::gist::TEXT_BYTES_MAX;
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
    /// The log's settings: where journal and archive lie.
    pub(super) audit: config::Audit,
    /// The keys of its bodies; without them nothing can be read.
    pub(super) keyring: Option<Arc<Keyring>>,
}

/// Which records are read.
#[derive(Debug, Clone)]
pub(super) struct Filter {
    which: Which,
    /// Only this customer's records.
    only: Option<CustomerId>,
    since_ns: u64,
    until_ns: u64,
    kind: Option<String>,
    customer: Option<String>,
    login: Option<String>,
    /// Of statements, where a file says so: those that name this relation, or have this fingerprint.
    table: Option<String>,
    fingerprint: Option<String>,
}

impl Filter {
    /// Whether a record is meant, by its class and kind, when it began, its customer and login.
    pub(super) fn takes(
        &self,
        (class, kind): (&str, &str),
        began_ns: u64,
        (customer, login): (&[u8], &[u8]),
    ) -> bool {
        let is = |wanted: Option<&str>, found: &[u8]| wanted.is_none_or(|wanted| wanted.as_bytes() == found);
        is(self.only.as_ref().map(CustomerId::as_str), customer)
            && self.which.takes(class, kind)
            && (self.since_ns..=self.until_ns).contains(&began_ns)
            && is(self.kind.as_deref(), kind.as_bytes())
            && is(self.customer.as_deref(), customer)
            && is(self.login.as_deref(), login)
    }

    /// Whether something is asked for that follows from texts.
    pub(super) const fn is_derived(&self) -> bool {
        self.table.is_some() || self.fingerprint.is_some()
    }

    /// Whether a row of a file is meant, by what follows from its text.
    pub(super) fn takes_derived(&self, kept: &Kept<'_>, at: usize) -> bool {
        self.table.as_ref().is_none_or(|table| kept.names(at, table))
            && self.fingerprint.as_ref().is_none_or(|print| kept.fingerprint(at) == Some(print))
    }

    fn takes_row(&self, row: &Row<'_>) -> bool {
        let text = |column| std::str::from_utf8(row.bytes_of(column)).unwrap_or_default();
        let who = (row.bytes_of(Column::Customer), row.bytes_of(Column::Login));
        self.takes((text(Column::Class), text(Column::Kind)), row.number_of(Column::Time), who)
    }

    /// The log that the records are in, if it is one. Of an auditor it is the own customer's, and no other is looked at.
    fn wanted(&self) -> Wanted {
        let only = self.only.as_ref().map(CustomerId::as_str);
        let log = only.or(self.customer.as_deref()).map(|customer| match CustomerId::parse(customer) {
            Ok(customer) => customer.as_str().to_owned(),
            Err(_) => OWN_LOG.to_owned(),
        });
        let span = Span { since_ns: self.since_ns, until_ns: self.until_ns.saturating_add(1), ..Span::ALL };
        Wanted { log, span, with_open: true, with_index: false }
    }
}

/// What is read.
#[derive(Debug, Clone)]
pub(super) struct Scan {
    source: Source,
    columns: Vec<Cell>,
    text_bytes_max: usize,
    filter: Filter,
}

impl Scan {
    /// `only`: this customer's records and no others.
    pub(super) fn new(
        (which, only): (Which, Option<CustomerId>),
        source: Source,
        columns: Vec<Cell>,
        text_bytes_max: usize,
    ) -> Self {
        let filter = Filter {
            which,
            only,
            since_ns: 0,
            until_ns: u64::MAX,
            kind: None,
            customer: None,
            login: None,
            table: None,
            fingerprint: None,
        };
        Self { source, columns, text_bytes_max, filter }
    }

    /// Leaves out what a comparison excludes; the query looks again at what is left.
    pub(super) fn narrow(&mut self, name: &str, operator: Operator, value: &ScalarValue) {
        let filter = &mut self.filter;
        if let ("time", Some(ns)) = (name, nanoseconds(value)) {
            if matches!(operator, Operator::Gt | Operator::GtEq | Operator::Eq) {
                filter.since_ns = filter.since_ns.max(ns);
            }
            if matches!(operator, Operator::Lt | Operator::LtEq | Operator::Eq) {
                // A µs is kept in doubt: a value may have been rounded.
                filter.until_ns = filter.until_ns.min(ns.saturating_add(1_000));
            }
        }
        let Some(Some(text)) = value.try_as_str().filter(|_| operator == Operator::Eq) else { return };
        match name {
            "kind" => filter.kind = Some(text.to_owned()),
            "customer" => filter.customer = Some(text.to_owned()),
            "login" => filter.login = Some(text.to_owned()),
            "fingerprint" => filter.fingerprint = Some(text.to_owned()),
            _ => {}
        }
    }

    /// Leaves out, where that is quickly told, what does not name this relation.
    pub(super) fn narrow_table(&mut self, table: &str) {
        self.filter.table = Some(table.to_owned());
    }

    /// Reads to the end and gives batches, until `give` answers that nobody wants more.
    fn read(&self, mut give: impl FnMut(Option<RecordBatch>) -> bool) -> Result<()> {
        let Some(keyring) = self.source.keyring.clone() else { return Ok(()) };
        let wanted = self.filter.wanted();
        let history = History::open(&self.source.audit, keyring).map_err(|error| damaged(&error))?;
        let mut rows = Rows::new(&self.columns);
        let archived = history.each_file::<Stop>(&wanted, |file| self.file(file, &mut rows, &mut give));
        Stop::end(archived)?;
        let mut tail = match history.tail(&wanted) {
            Ok(tail) => tail,
            Err(HistoryError::Journal(ReadError::Empty(_))) => return Ok(()),
            Err(error) => return Err(damaged(&error)),
        };
        let mut looked = 0_u32;
        let read = tail.read_on::<Stop>(|found| {
            looked = looked.saturating_add(1);
            if looked.is_multiple_of(LOOK) && !give(None) {
                return Err(Stop::Unwanted);
            }
            self.show(found, &mut rows, &mut give)
        });
        Stop::end(read)?;
        tail.end().map_err(|error| damaged(&error))?;
        tail.finish::<Stop>(|found| self.show(found, &mut rows, &mut give))?;
        if rows.count() > 0 {
            give(Some(rows.batch()?));
        }
        Ok(())
    }

    /// Reads a file of the archive: its columns, or record by record where texts lie in several rows.
    fn file(
        &self,
        file: ArchivedFile,
        rows: &mut Rows,
        give: &mut impl FnMut(Option<RecordBatch>) -> bool,
    ) -> std::result::Result<(), Stop> {
        let name = file.name.to_string();
        let of = |error| damaged(&HistoryError::File(name.clone(), error));
        let is_kept = is_kept(&file);
        let Some((columns, batch_rows)) = plan(&file, &self.columns, is_kept, (ROWS, self.text_bytes_max))
        else {
            return file.each::<Stop>(|found| self.show(found, rows, give));
        };
        let looks_at = looked_at(is_kept && self.filter.is_derived());
        let takes = Box::new(wanted(self.filter.clone(), file.span));
        let batches = file.opened.batches(&file.span, &columns, (&looks_at, takes), batch_rows);
        let schema = schema(&self.columns);
        for batch in batches.map_err(|error| Stop::Failed(of(error)))? {
            let batch = batch.map_err(|error| of(FileError::Damaged(None, error.to_string())))?;
            let batch = shown(&batch, &self.columns, &schema).map_err(DataFusionError::from)?;
            if !give(Some(batch)) {
                return Err(Stop::Unwanted);
            }
        }
        Ok(())
    }

    fn show(
        &self,
        found: &Found<'_>,
        rows: &mut Rows,
        give: &mut impl FnMut(Option<RecordBatch>) -> bool,
    ) -> std::result::Result<(), Stop> {
        let row = found.row;
        if !self.filter.takes_row(row) {
            return Ok(());
        }
        let long = [(Cell::Text, Column::TextBytes), (Cell::Parameters, Column::ParameterBytes)];
        let mut whole = Whole::default();
        for (cell, length) in long.into_iter().filter(|(cell, _)| self.columns.contains(cell)) {
            let bytes = row.number_of(length);
            if usize::try_from(bytes).is_ok_and(|bytes| bytes > self.text_bytes_max) {
                let (name, record) = (cell.name(), row.number_of(Column::Record));
                let text = format!("{name} of record {record} has {bytes} bytes; leave out that column");
                return Err(Stop::Failed(DataFusionError::ResourcesExhausted(text)));
            }
        }
        let is_derived = self.columns.iter().any(|cell| cell.is_derived());
        let is_readable = row.number_of(Column::TextBytes) <= u64::try_from(TEXT_BYTES_MAX).unwrap_or(0);
        if long.iter().any(|(cell, _)| self.columns.contains(cell)) || (is_derived && is_readable) {
            whole = found.whole()?;
        }
        rows.push(row, &whole.text, &whole.parameters);
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

impl Stop {
    /// That nobody wants more is reported like any other end before the end: nobody hears of it.
    fn end<T>(read: std::result::Result<T, Self>) -> Result<()> {
        read.map(|_| ()).map_err(Into::into)
    }
}

impl From<HistoryError> for Stop {
    fn from(error: HistoryError) -> Self {
        Self::Failed(damaged(&error))
    }
}

impl From<DataFusionError> for Stop {
    fn from(error: DataFusionError) -> Self {
        Self::Failed(error)
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
fn damaged(error: &HistoryError) -> DataFusionError {
    tracing::error!(%error, "the console could not read the audit log");
    let text = match error {
        HistoryError::Journal(ReadError::Damaged { record, what, .. }) => {
            format!("audit log damaged at record {record}: {what}")
        }
        HistoryError::Body(_) | HistoryError::Missing(..) => format!("audit log damaged: {error}"),
        HistoryError::File(_, error @ FileError::Damaged(..)) => format!("audit log {error}"),
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

#[cfg(test)]
mod tests {
    use super::*;

    fn scan(only: Option<&str>) -> Scan {
        let only = only.map(|name| CustomerId::parse(name).unwrap());
        let source = Source { audit: config::Audit::default(), keyring: None };
        Scan::new((Which::Statements, only), source, Vec::new(), 1)
    }

    #[test]
    fn a_scan_of_one_customer_takes_nobody_elses_records_and_looks_into_no_other_log() {
        let mut own = scan(Some("one_spa"));
        let takes =
            |scan: &Scan, customer: &[u8]| scan.filter.takes(("statement", "query"), 7, (customer, b"x"));
        assert!(takes(&own, b"one_spa"));
        for asked in [None, Some("two_barn"), Some("_"), Some("")] {
            if let Some(asked) = asked {
                own.narrow("customer", Operator::Eq, &ScalarValue::from(asked));
            }
            for other in [&b"two_barn"[..], b"", b"_", b"one_spa2", b"one_sp"] {
                assert!(!takes(&own, other), "{asked:?} {other:?}");
            }
            assert_eq!(own.filter.wanted().log.as_deref(), Some("one_spa"), "{asked:?}");
        }
        let all = scan(None);
        assert!(takes(&all, b"one_spa") && takes(&all, b""));
        assert_eq!(all.filter.wanted().log, None);
    }

    #[test]
    fn what_a_comparison_leaves_is_taken_and_the_rest_is_not() {
        let time = |ns: i64| ScalarValue::TimestampNanosecond(Some(ns), Some("UTC".into()));
        let mut narrow = scan(None);
        narrow.narrow("time", Operator::GtEq, &time(5_000));
        narrow.narrow("time", Operator::Lt, &time(9_000));
        narrow.narrow("kind", Operator::Eq, &ScalarValue::from("query"));
        narrow.narrow("kind", Operator::NotEq, &ScalarValue::from("execute"));
        narrow.narrow("login", Operator::Eq, &ScalarValue::from("ann"));
        let takes =
            |kind: &str, ns: u64, login: &[u8]| narrow.filter.takes(("statement", kind), ns, (b"c", login));
        for ns in [5_000, 8_999, 9_000, 10_000] {
            assert!(takes("query", ns, b"ann"), "{ns}");
        }
        assert!(!takes("query", 4_999, b"ann") && !takes("query", 10_001, b"ann"));
        assert!(!takes("execute", 6_000, b"ann") && !takes("query", 6_000, b"bob"));
        let span = narrow.filter.wanted().span;
        assert_eq!((span.since_ns, span.until_ns), (5_000, 10_001));
    }
}
