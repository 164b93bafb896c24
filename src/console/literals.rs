//! Texts in a plan that stand for times: in quotes beside a column, in a cast, in a list.
//!
//! What always holds: a text that a plan needs as a time is read in one place, [`moment`], before anything runs, so that a scan sees the
//! time and what is none is refused.

use datafusion::arrow::datatypes::DataType;
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TreeNode as _};
use datafusion::error::{DataFusionError, Result};
use datafusion::logical_expr::expr::Cast;
use datafusion::logical_expr::expr_rewriter::NamePreserver;
use datafusion::logical_expr::{Expr, LogicalPlan};
use datafusion::optimizer::AnalyzerRule;

use super::moment;

/// Comes behind the engine's own rules: by then whatever must become a time is cast to one.
#[derive(Debug)]
pub(super) struct Times;

impl AnalyzerRule for Times {
    fn name(&self) -> &'static str {
        "times"
    }

    fn analyze(&self, plan: LogicalPlan, _: &ConfigOptions) -> Result<LogicalPlan> {
        let rewritten = plan.transform_up_with_subqueries(|node| {
            let names = NamePreserver::new(&node);
            node.map_expressions(|expr| {
                let name = names.save(&expr);
                let read = expr.transform_up(literal)?;
                Ok(read.update_data(|expr| name.restore(expr)))
            })
        })?;
        Ok(rewritten.data)
    }
}

/// A cast of a text to a time, as that time.
fn literal(expr: Expr) -> Result<Transformed<Expr>> {
    let Expr::Cast(Cast { expr: inner, field }) = &expr else { return Ok(Transformed::no(expr)) };
    match text(inner).and_then(|text| moment::value(text, field.data_type())) {
        Some(Ok(time)) => Ok(Transformed::yes(Expr::Literal(time, None))),
        Some(Err(fault)) => Err(DataFusionError::External(Box::new(fault))),
        None => Ok(Transformed::no(expr)),
    }
}

fn text(expr: &Expr) -> Option<&str> {
    if let Expr::Cast(Cast { expr: inner, field }) = expr {
        let is_text = matches!(field.data_type(), DataType::Utf8 | DataType::Utf8View | DataType::LargeUtf8);
        return is_text.then(|| text(inner)).flatten();
    }
    let Expr::Literal(value, _) = expr else { return None };
    value.try_as_str().flatten()
}
