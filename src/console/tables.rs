//! The tables of schema `audit`: the log's records by class, for everybody's or for one customer's.
//!
//! What always holds: whose records a table shows is part of the table, decided when the session begins. No text of a query
//! can widen it, because the other records never leave the reader.

use std::sync::Arc;

use async_trait::async_trait;
use datafusion::arrow::datatypes::SchemaRef;
use datafusion::catalog::{Session, TableProvider};
use datafusion::common::ScalarValue;
use datafusion::error::Result;
use datafusion::logical_expr::{BinaryExpr, Expr, Operator, TableProviderFilterPushDown, TableType};
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::streaming::StreamingTableExec;

use super::batch::{Cell, schema};
use super::scan::{Records, Scan, Source};
use crate::audit::row::Column;
use crate::ids::CustomerId;

/// Which records a table shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Which {
    Statements,
    Sessions,
    Logins,
    Events,
    CopyData,
}

impl Which {
    pub(super) const ALL: [Self; 5] =
        [Self::Statements, Self::Sessions, Self::Logins, Self::Events, Self::CopyData];

    /// The table's name in schema `audit`.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Statements => "statements",
            Self::Sessions => "sessions",
            Self::Logins => "logins",
            Self::Events => "events",
            Self::CopyData => "copy_data",
        }
    }

    /// Whether a record belongs there, by its class and kind.
    pub(super) fn takes(self, class: &str, kind: &str) -> bool {
        match self {
            Self::Statements => class == "statement",
            Self::Sessions => class == "session",
            Self::Logins => matches!(kind, "session_open" | "login_failed" | "connection_refused"),
            Self::Events => class == "event" || class == "log",
            Self::CopyData => class == "copy",
        }
    }

    /// Its columns, in the order of their tags, what may be long and what follows from it last.
    pub(super) fn columns(self) -> Vec<Cell> {
        let mut columns: Vec<Cell> =
            Column::ALL.into_iter().filter(|column| self.has(*column)).map(Cell::Of).collect();
        if self == Self::Statements {
            columns.extend([Cell::Parameters, Cell::Text, Cell::Tables, Cell::Fingerprint]);
        }
        if self == Self::CopyData {
            columns.push(Cell::Text);
        }
        columns
    }

    fn has(self, column: Column) -> bool {
        use Column as C;
        let of_client = matches!(
            column,
            C::Record | C::Time | C::Kind | C::Outcome | C::Customer | C::Node | C::Boot | C::Session
        ) || matches!(
            column,
            C::Login | C::Database | C::ClientIp | C::ClientPort | C::Tls | C::ApplicationName | C::Clipped
        );
        let of_log = matches!(
            column,
            C::PreviousEnd | C::BytesCut | C::Program | C::GapSince | C::Attempts | C::Refused
        );
        match self {
            Self::Statements => !of_log && column != C::Class,
            Self::Sessions => {
                of_client || matches!(column, C::Role | C::Credential | C::BackendPid | C::Message)
            }
            Self::CopyData => of_client || matches!(column, C::Sequence | C::CopyBytes | C::TextBytes),
            Self::Logins => {
                of_client || matches!(column, C::Credential | C::Sqlstate | C::Message | C::Decision)
            }
            Self::Events => {
                of_client || of_log || matches!(column, C::Class | C::Sqlstate | C::Message | C::Decision)
            }
        }
    }
}

/// A table of the log.
#[derive(Debug)]
pub(super) struct LogTable {
    which: Which,
    source: Source,
    /// Only this customer's records.
    only: Option<CustomerId>,
    columns: Vec<Cell>,
    schema: SchemaRef,
    /// The longest text that is shown, in bytes.
    text_bytes_max: usize,
}

impl LogTable {
    pub(super) fn new(which: Which, source: Source, only: Option<CustomerId>, text_bytes_max: usize) -> Self {
        let columns = which.columns();
        let schema = schema(&columns);
        Self { which, source, only, columns, schema, text_bytes_max }
    }
}

#[async_trait]
impl TableProvider for LogTable {
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
        filters: &[Expr],
        limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let columns: Vec<Cell> = match projection {
            Some(places) => places.iter().filter_map(|place| self.columns.get(*place).copied()).collect(),
            None => self.columns.clone(),
        };
        let whose = (self.which, self.only.clone());
        let mut scan = Scan::new(whose, self.source.clone(), columns, self.text_bytes_max);
        for filter in filters {
            if let Some((name, operator, value)) = comparison(filter) {
                scan.narrow(name, operator, value);
            }
            for (operator, value) in of_day(filter).into_iter().flatten() {
                scan.narrow("time", operator, &value);
            }
            if let Some(table) = named(filter) {
                scan.narrow_table(table);
            }
        }
        let partition = Arc::new(Records::new(scan));
        let schema = partition.schema_of();
        Ok(Arc::new(StreamingTableExec::try_new(schema, vec![partition], None, [], false, limit)?))
    }

    fn supports_filters_pushdown(&self, filters: &[&Expr]) -> Result<Vec<TableProviderFilterPushDown>> {
        let support = |filter: &&Expr| match comparison(filter) {
            Some(("time" | "kind" | "customer" | "login" | "fingerprint", _, _)) => {
                TableProviderFilterPushDown::Inexact
            }
            None if of_day(filter).is_some() || named(filter).is_some() => {
                TableProviderFilterPushDown::Inexact
            }
            Some(_) | None => TableProviderFilterPushDown::Unsupported,
        };
        Ok(filters.iter().map(support).collect())
    }
}

/// A comparison of a column with a value, the column on the left.
fn comparison(filter: &Expr) -> Option<(&str, Operator, &ScalarValue)> {
    let Expr::BinaryExpr(BinaryExpr { left, op, right }) = filter else { return None };
    if let (Expr::Column(column), Expr::Literal(value, _)) = (left.as_ref(), right.as_ref()) {
        return Some((column.name(), *op, value));
    }
    if let (Expr::Literal(value, _), Expr::Column(column)) = (left.as_ref(), right.as_ref()) {
        return Some((column.name(), op.swap()?, value));
    }
    None
}

/// The relation that `tables` must name: `array_has(tables, 'it')`, which is also what `'it' = ANY(tables)` becomes.
fn named(filter: &Expr) -> Option<&str> {
    let Expr::ScalarFunction(call) = filter else { return None };
    match call.args.as_slice() {
        [Expr::Column(column), Expr::Literal(value, _)]
            if call.name() == "array_has" && column.name() == "tables" =>
        {
            value.try_as_str().flatten()
        }
        _ => None,
    }
}

/// Bounds of `time` that follow from a comparison of its day with a date.
fn of_day(filter: &Expr) -> Option<Vec<(Operator, ScalarValue)>> {
    const DAY_NS: i64 = 86_400_000_000_000;
    let Expr::BinaryExpr(BinaryExpr { left, op, right }) = filter else { return None };
    let (cast, op, value) = match (left.as_ref(), right.as_ref()) {
        (Expr::Cast(cast), Expr::Literal(value, _)) => (cast, *op, value),
        (Expr::Literal(value, _), Expr::Cast(cast)) => (cast, op.swap()?, value),
        _ => return None,
    };
    let (Expr::Column(column), ScalarValue::Date32(Some(day))) = (cast.expr.as_ref(), value) else {
        return None;
    };
    if column.name() != "time" {
        return None;
    }
    let begin = i64::from(*day).checked_mul(DAY_NS)?;
    let at = |ns: i64| ScalarValue::TimestampNanosecond(Some(ns), Some("UTC".into()));
    let (from, until) = ((Operator::GtEq, at(begin)), (Operator::LtEq, at(begin.checked_add(DAY_NS)?)));
    let is_from = matches!(op, Operator::Eq | Operator::Gt | Operator::GtEq);
    let is_until = matches!(op, Operator::Eq | Operator::Lt | Operator::LtEq);
    let bounds: Vec<_> = [(is_from, from), (is_until, until)].into_iter().filter(|(is, _)| *is).collect();
    (!bounds.is_empty()).then(|| bounds.into_iter().map(|(_, bound)| bound).collect())
}
