//! The tables of schema `usage`: sums over the log, as views of its tables, so that whose they are is decided there.

use std::sync::Arc;

use datafusion::catalog::TableProvider;
use datafusion::datasource::ViewTable;
use datafusion::error::Result;
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
    Ok(Arc::new(ViewTable::new(plan, Some(DAILY.to_owned()))))
}
