//! The tables of schema `usage`: sums over the log, made of its tables, so that whose they are is decided there.

use std::borrow::Cow;
use std::sync::Arc;

use async_trait::async_trait;
use datafusion::arrow::datatypes::SchemaRef;
use datafusion::catalog::{Session, TableProvider};
use datafusion::datasource::{TableType, ViewTable};
use datafusion::error::Result;
use datafusion::logical_expr::{Expr, LogicalPlan};
use datafusion::physical_plan::ExecutionPlan;
use datafusion::prelude::SessionContext;

/// One row for each customer, UTC day and login. What the log says of itself and reads of the log are no use of a database.
const DAILY: &str = "SELECT customer, CAST(time AS DATE) AS day, login, count(*) AS statements, \
    count(*) FILTER (WHERE outcome <> 'ok') AS errors, sum(rows) AS rows, sum(bytes_in) AS bytes_in, \
    sum(bytes_out) AS bytes_out, sum(duration_ns) AS duration_ns FROM audit.statements \
    WHERE kind IN ('query', 'execute', 'function_call', 'copy_in', 'copy_out', 'copy_both') \
    GROUP BY customer, CAST(time AS DATE), login";

/// `usage.daily`, over the tables that the session has.
///
/// # Errors
/// The tables are not there.
pub(super) async fn daily(context: &SessionContext) -> Result<Arc<dyn TableProvider>> {
    let plan = context.state().create_logical_plan(DAILY).await?;
    Ok(Arc::new(Sums(ViewTable::new(plan, None))))
}

/// A query that is a table to whoever asks the catalogue: there are no rules, as views have them.
#[derive(Debug)]
struct Sums(ViewTable);

#[async_trait]
impl TableProvider for Sums {
    fn schema(&self) -> SchemaRef {
        self.0.schema()
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    fn get_logical_plan(&self) -> Option<Cow<'_, LogicalPlan>> {
        self.0.get_logical_plan()
    }

    async fn scan(
        &self,
        state: &dyn Session,
        projection: Option<&Vec<usize>>,
        filters: &[Expr],
        limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        self.0.scan(state, projection, filters, limit).await
    }
}
