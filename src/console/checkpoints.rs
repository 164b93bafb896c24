//! The table `audit.checkpoints`: what the notary has signed.
//!
//! What always holds: memory is one batch; an auditor sees the checkpoints of the customer's own log only.

use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array, RecordBatch, StringArray, TimestampNanosecondArray};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use async_trait::async_trait;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use datafusion::catalog::{Session, TableProvider};
use datafusion::error::{DataFusionError, Result};
use datafusion::execution::TaskContext;
use datafusion::logical_expr::{Expr, TableType};
use datafusion::physical_plan::stream::RecordBatchReceiverStream;
use datafusion::physical_plan::streaming::{PartitionStream, StreamingTableExec};
use datafusion::physical_plan::{ExecutionPlan, SendableRecordBatchStream};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::scan::Source;
use crate::audit::signed::{Checkpoints, Signed, logs};
use crate::ids::CustomerId;

/// A batch goes on with this many rows.
const ROWS: usize = 1024;
/// Batches on their way.
const BATCHES: usize = 2;

/// The table.
#[derive(Debug, Clone)]
pub(super) struct CheckpointTable {
    source: Source,
    /// Only this customer's log.
    only: Option<CustomerId>,
    schema: SchemaRef,
}

impl CheckpointTable {
    pub(super) fn new(source: Source, only: Option<CustomerId>) -> Self {
        let time = DataType::Timestamp(TimeUnit::Nanosecond, Some("UTC".into()));
        let fields = vec![
            Field::new("log", DataType::Utf8, true),
            Field::new("time", time, true),
            Field::new("size", DataType::Int64, true),
            Field::new("root", DataType::Utf8, true),
            Field::new("note", DataType::Utf8, true),
        ];
        Self { source, only, schema: Arc::new(Schema::new(fields)) }
    }

    /// Reads to the end and gives batches, until `give` answers that nobody wants more.
    fn read(&self, mut give: impl FnMut(RecordBatch) -> bool) -> Result<()> {
        let directory = &self.source.audit.directory;
        let names = match &self.only {
            Some(only) => vec![only.to_string()],
            None => logs(directory).map_err(|error| failed(&error))?,
        };
        for log in names {
            let mut rows = Vec::new();
            for signed in Checkpoints::of(directory, &log).map_err(|error| failed(&error))? {
                rows.push(signed.map_err(|error| failed(&error))?);
                if rows.len() >= ROWS && !give(self.batch(&log, &std::mem::take(&mut rows))?) {
                    return Ok(());
                }
            }
            if !rows.is_empty() && !give(self.batch(&log, &rows)?) {
                return Ok(());
            }
        }
        Ok(())
    }

    fn batch(&self, log: &str, rows: &[Signed]) -> Result<RecordBatch> {
        let times = rows.iter().map(|row| {
            let time = OffsetDateTime::parse(row.time()?, &Rfc3339).ok()?;
            i64::try_from(time.unix_timestamp_nanos()).ok()
        });
        let times: TimestampNanosecondArray = times.collect();
        let size = |row: &Signed| i64::try_from(row.checkpoint.size).unwrap_or(i64::MAX);
        let texts = |text: &dyn Fn(&Signed) -> String| -> ArrayRef {
            Arc::new(StringArray::from_iter_values(rows.iter().map(text)))
        };
        let arrays: Vec<ArrayRef> = vec![
            texts(&|_| log.to_owned()),
            Arc::new(times.with_timezone("UTC")),
            Arc::new(Int64Array::from_iter_values(rows.iter().map(size))),
            texts(&|row| STANDARD.encode(row.checkpoint.root)),
            texts(&|row| row.note.clone()),
        ];
        Ok(RecordBatch::try_new(Arc::clone(&self.schema), arrays)?)
    }
}

/// Of a place in a file a reader learns nothing.
fn failed(error: &std::io::Error) -> DataFusionError {
    tracing::error!(%error, "the console could not read the checkpoints");
    DataFusionError::External("the signed checkpoints cannot be read".into())
}

impl PartitionStream for CheckpointTable {
    fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    fn execute(&self, _: Arc<TaskContext>) -> SendableRecordBatchStream {
        let mut builder = RecordBatchReceiverStream::builder(Arc::clone(&self.schema), BATCHES);
        let (table, to_query) = (self.clone(), builder.tx());
        builder.spawn_blocking(move || table.read(|batch| to_query.blocking_send(Ok(batch)).is_ok()));
        builder.build()
    }
}

#[async_trait]
impl TableProvider for CheckpointTable {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    async fn scan(
        &self,
        _state: &dyn Session,
        projection: Option<&Vec<usize>>,
        _filters: &[Expr],
        limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let schema = Arc::clone(&self.schema);
        let partition: Arc<dyn PartitionStream> = Arc::new(self.clone());
        Ok(Arc::new(StreamingTableExec::try_new(schema, vec![partition], projection, [], false, limit)?))
    }
}
