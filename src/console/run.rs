//! A plan's rows, within the limits of time, rows and queries at one time.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use arrow_pg::datatypes::{arrow_schema_to_pg_fields, encode_recordbatch};
use datafusion::arrow::array::RecordBatch;
use datafusion::common::ParamValues;
use datafusion::logical_expr::LogicalPlan;
use datafusion::physical_plan::execute_stream;
use datafusion::prelude::SessionContext;
use futures_util::StreamExt as _;
use pgwire::api::portal::Format;
use pgwire::api::results::FieldInfo;
use pgwire::error::PgWireResult;
use pgwire::messages::data::DataRow;
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout_at};

use super::aside;
use super::fault::{Fault, of_engine, of_wire};
use super::stop::Stopped;
use super::{Inner, Stop};
use crate::protocol::sqlstate::SqlState;

/// Batches on their way to the client.
const BATCHES: usize = 2;

/// The columns of a plan, in these formats.
pub(super) fn fields(plan: &LogicalPlan, format: &Format) -> Result<Arc<Vec<FieldInfo>>, Fault> {
    arrow_schema_to_pg_fields(plan.schema().as_arrow(), format, None).map(Arc::new).map_err(of_wire)
}

/// Until when a statement may run, and who may end it before.
pub(super) struct Limits<'a> {
    pub(super) console: &'a Inner,
    pub(super) stop: &'a Stop,
    deadline: Instant,
}

impl<'a> Limits<'a> {
    /// A statement begins; a wish to cancel that came before it is over.
    pub(super) fn begin(console: &'a Inner, stop: &'a Stop, own: Option<Duration>) -> Self {
        stop.asked.store(false, Ordering::Release);
        let most = Duration::from_millis(console.config.statement_timeout_ms);
        Self { console, stop, deadline: Instant::now() + own.map_or(most, |own| own.min(most)) }
    }

    /// Does something that may take long.
    pub(super) async fn within<T>(&self, work: impl Future<Output = T>) -> Result<T, Fault> {
        let stopped = async {
            while !self.stop.asked.load(Ordering::Acquire) {
                self.stop.notify.notified().await;
            }
        };
        tokio::select! {
            biased;
            () = stopped => Err(Fault::cancelled()),
            done = timeout_at(self.deadline, work) => done.map_err(|_| Fault::timeout()),
        }
    }
}

type Encoded = Box<dyn Iterator<Item = PgWireResult<DataRow>> + Send + Sync>;

/// A batch, or the end.
type Given = Result<Option<RecordBatch>, Fault>;

/// A plan that runs.
pub(super) struct Running {
    batches: mpsc::Receiver<Given>,
    fields: Arc<Vec<FieldInfo>>,
    batch: Option<RecordBatch>,
    rows: Option<Encoded>,
    /// Rows of the batch that were given.
    at: usize,
    sent: u64,
    ended: bool,
    stopped: Stopped,
}

impl Drop for Running {
    fn drop(&mut self) {
        self.stopped.stop();
    }
}

impl Running {
    /// Begins to run a plan, on a thread of its own. Dropping it ends the query.
    pub(super) fn start(
        console: &Inner,
        context: &SessionContext,
        plan: LogicalPlan,
        values: Option<ParamValues>,
        fields: Arc<Vec<FieldInfo>>,
    ) -> Result<Self, Fault> {
        let permit = Arc::clone(&console.queries).try_acquire_owned().map_err(|_| {
            let text = "too many queries of the console are running (console.queries_max)";
            Fault::new(SqlState::TOO_MANY_CONNECTIONS, text)
        })?;
        let (to_client, batches) = mpsc::channel(BATCHES);
        let (context, stopped) = (context.clone(), Stopped::default());
        let watching = stopped.clone();
        aside::run(permit, move || async move {
            let ended = tokio::select! {
                biased;
                ended = pump(&context, plan, values, (&to_client, &watching)) => ended,
                () = to_client.closed() => Ok(()),
            };
            // Nobody may listen any more.
            let _ = to_client.send(ended.map(|()| None)).await;
        })?;
        Ok(Self { batches, fields, batch: None, rows: None, at: 0, sent: 0, ended: false, stopped })
    }

    /// The columns, in their formats.
    pub(super) fn fields(&self) -> Arc<Vec<FieldInfo>> {
        Arc::clone(&self.fields)
    }

    /// From the next row on, values come in these formats.
    pub(super) fn encode_as(&mut self, fields: Arc<Vec<FieldInfo>>) {
        let is_same = self.fields.iter().zip(fields.iter()).all(|(old, new)| old.format() == new.format());
        if is_same {
            return;
        }
        self.fields = fields;
        if let Some(batch) = &self.batch {
            let rest = batch.slice(self.at, batch.num_rows().saturating_sub(self.at));
            self.rows = Some(encode_recordbatch(Arc::clone(&self.fields), rest.clone()));
            self.batch = Some(rest);
            self.at = 0;
        }
    }

    /// The next row; `None` behind the last.
    pub(super) async fn next(&mut self, limits: &Limits<'_>) -> Result<Option<DataRow>, Fault> {
        loop {
            if let Some(row) = self.rows.as_mut().and_then(Iterator::next) {
                self.sent = self.sent.saturating_add(1);
                self.at = self.at.saturating_add(1);
                let most = limits.console.config.rows_max;
                if self.sent > most {
                    let text = format!("the query returns more than {most} rows (console.rows_max)");
                    return Err(Fault::new(SqlState::PROGRAM_LIMIT_EXCEEDED, text));
                }
                return row.map(Some).map_err(of_wire);
            }
            if self.ended {
                return Ok(None);
            }
            let given = limits.within(self.batches.recv()).await?.ok_or_else(aside::broken)??;
            self.ended = given.is_none();
            self.at = 0;
            self.batch = given;
            let batch = self.batch.clone();
            self.rows = batch.map(|batch| -> Encoded { encode_recordbatch(Arc::clone(&self.fields), batch) });
        }
    }
}

/// Runs a plan to its end, as fast as the client takes the batches.
async fn pump(
    context: &SessionContext,
    plan: LogicalPlan,
    values: Option<ParamValues>,
    (to_client, stopped): (&mpsc::Sender<Given>, &Stopped),
) -> Result<(), Fault> {
    let plan = match values {
        Some(values) => plan.replace_params_with_values(&values).map_err(|error| of_engine(&error))?,
        None => plan,
    };
    let frame = context.execute_logical_plan(plan).await.map_err(|error| of_engine(&error))?;
    let tasks = Arc::new(frame.task_ctx());
    let plan = frame.create_physical_plan().await.map_err(|error| of_engine(&error))?;
    let plan = stopped.watch(plan).map_err(|error| of_engine(&error))?;
    let mut stream = execute_stream(plan, tasks).map_err(|error| of_engine(&error))?;
    while let Some(batch) = stream.next().await {
        let batch = batch.map_err(|error| of_engine(&error))?;
        if to_client.send(Ok(Some(batch))).await.is_err() {
            break;
        }
    }
    Ok(())
}
