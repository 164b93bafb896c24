//! Ends queries that do not come up for air.
//!
//! What always holds: a join looks at its stop before each piece of work and gives way after some pieces, however many rows it
//! compares without finding one. Without that, a join of two long tables goes on for as long as it takes behind a client that has
//! left, and behind every limit of time.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::datatypes::{DataType, Schema};
use datafusion::common::tree_node::{Transformed, TreeNode as _};
use datafusion::error::{DataFusionError, Result};
use datafusion::logical_expr::ColumnarValue;
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::coop::CooperativeExec;
use datafusion::physical_plan::joins::utils::JoinFilter;
use datafusion::physical_plan::joins::{
    CrossJoinExec, HashJoinExec, NestedLoopJoinExec, NestedLoopJoinExecBuilder,
};

/// Whether a query is wanted no more.
#[derive(Debug, Clone, Default)]
pub(super) struct Stopped(Arc<AtomicBool>);

impl Stopped {
    /// The query ends at its next look.
    pub(super) fn stop(&self) {
        self.0.store(true, Ordering::Release);
    }

    /// The plan, with joins that look.
    ///
    /// # Errors
    /// What the engine says of the plan; nothing that depends on rows.
    pub(super) fn watch(&self, plan: Arc<dyn ExecutionPlan>) -> Result<Arc<dyn ExecutionPlan>> {
        plan.transform_up(|plan| {
            let watched: Arc<dyn ExecutionPlan> =
                if let Some(join) = plan.downcast_ref::<NestedLoopJoinExec>() {
                    let (left, right) = (Arc::clone(join.left()), Arc::clone(join.right()));
                    let filter = join.filter().map(|filter| self.filter(filter));
                    let built = NestedLoopJoinExecBuilder::new(left, right, *join.join_type())
                        .with_projection_ref(join.projection().clone())
                        .with_filter(filter);
                    Arc::new(built.build()?)
                } else if let Some(join) = plan.downcast_ref::<HashJoinExec>() {
                    let filter = join.filter().map(|filter| self.filter(filter));
                    join.builder().with_filter(filter).build_exec()?
                } else if plan.is::<CrossJoinExec>() {
                    plan
                } else {
                    return Ok(Transformed::no(plan));
                };
            Ok(Transformed::yes(Arc::new(CooperativeExec::new(watched))))
        })
        .map(|transformed| transformed.data)
    }

    fn filter(&self, filter: &JoinFilter) -> JoinFilter {
        let expression = Watched { inner: Arc::clone(filter.expression()), stopped: self.clone() };
        JoinFilter::new(Arc::new(expression), filter.column_indices().to_vec(), Arc::clone(filter.schema()))
    }
}

/// An expression that is an error once its query is stopped.
#[derive(Debug)]
struct Watched {
    inner: Arc<dyn PhysicalExpr>,
    stopped: Stopped,
}

impl PartialEq for Watched {
    fn eq(&self, other: &Self) -> bool {
        self.inner.eq(&other.inner)
    }
}

impl Eq for Watched {}

impl Hash for Watched {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.inner.hash(state);
    }
}

impl fmt::Display for Watched {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.inner.fmt(to)
    }
}

impl PhysicalExpr for Watched {
    fn data_type(&self, schema: &Schema) -> Result<DataType> {
        self.inner.data_type(schema)
    }

    fn nullable(&self, schema: &Schema) -> Result<bool> {
        self.inner.nullable(schema)
    }

    fn evaluate(&self, batch: &RecordBatch) -> Result<ColumnarValue> {
        if self.stopped.0.load(Ordering::Acquire) {
            return Err(DataFusionError::Execution("the query was stopped".to_owned()));
        }
        self.inner.evaluate(batch)
    }

    fn children(&self) -> Vec<&Arc<dyn PhysicalExpr>> {
        vec![&self.inner]
    }

    fn with_new_children(
        self: Arc<Self>,
        mut children: Vec<Arc<dyn PhysicalExpr>>,
    ) -> Result<Arc<dyn PhysicalExpr>> {
        let inner = children.pop().unwrap_or_else(|| Arc::clone(&self.inner));
        Ok(Arc::new(Self { inner, stopped: self.stopped.clone() }))
    }

    fn fmt_sql(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.inner.fmt_sql(to)
    }
}
