//! From a text to what is to be done: only reads and harmless settings get through.
//!
//! What always holds: whatever is not known to be a read is refused, once by its form and once more by its plan.

#![expect(
    clippy::wildcard_enum_match_arm,
    reason = "the parser's and the engine's enums grow with their versions; what is not known is refused"
)]

use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::error::DataFusionError;
use datafusion::logical_expr::LogicalPlan;
use datafusion::prelude::SessionContext;
use datafusion::sql::parser::Statement as Planned;
use datafusion::sql::sqlparser::ast::{
    CloseCursor, CopySource, CopyTarget, DiscardObject, Query, SetExpr, Statement,
};

use super::copy::CopyForm;
use super::cursors::{self, Fetching, Opening};
use super::dialect;
use super::fault::{Fault, of_engine};
use super::settings;
use super::words;
use crate::protocol::sqlstate::SqlState;

/// What a statement does.
#[derive(Debug, Clone)]
pub(super) enum Work {
    /// Nothing stands there.
    Nothing,
    /// Shows rows.
    Rows(LogicalPlan),
    /// Gives rows as `COPY .. TO STDOUT` does.
    Copy(LogicalPlan, CopyForm),
    /// Opens a cursor.
    Open(Box<Opening>),
    /// Gives rows of a cursor.
    Fetch(Fetching),
    /// Answers with a tag.
    Tell(&'static str, Effect),
}

/// What a statement changes in its session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Effect {
    None,
    /// Begins a transaction, with these settings.
    Begin(Vec<(&'static str, String)>),
    /// Settings of the transaction.
    Modes(Vec<(&'static str, String)>),
    Commit,
    Rollback,
    Savepoint(String),
    Release(String),
    BackTo(String),
    Set {
        name: String,
        value: String,
        is_local: bool,
    },
    /// `None`: all settings.
    Reset(Option<String>),
    /// `None`: all prepared statements.
    Deallocate(Option<String>),
    /// `None`: all cursors.
    Close(Option<String>),
    /// Everything is as it was at the begin.
    Discard,
}

impl Work {
    /// The plan of what it shows, or of what it opens.
    pub(super) const fn plan(&self) -> Option<&LogicalPlan> {
        match self {
            Self::Rows(plan) | Self::Copy(plan, _) => Some(plan),
            Self::Open(opening) => Some(&opening.plan),
            Self::Nothing | Self::Fetch(_) | Self::Tell(..) => None,
        }
    }
}

/// Whether a statement is one that a failed transaction still takes.
pub(super) const fn leaves_failed(statement: &Statement) -> bool {
    matches!(statement, Statement::Commit { .. } | Statement::Rollback { .. })
}

/// What a statement does, or why it may not.
pub(super) async fn prepare(
    context: &SessionContext,
    known: &settings::Settings,
    statement: Statement,
) -> Result<Work, Fault> {
    match statement {
        Statement::Query(query) => Box::pin(rows(context, Statement::Query(query))).await,
        Statement::Explain { statement: inner, analyze, verbose, format, describe_alias, .. } => {
            if !matches!(*inner, Statement::Query(_)) {
                return Err(read_only(&inner));
            }
            // Options that speak of costs and buffers have no meaning here.
            let plain = Statement::Explain {
                describe_alias,
                analyze,
                verbose,
                query_plan: false,
                estimate: false,
                statement: inner,
                format,
                options: None,
            };
            Box::pin(rows(context, plain)).await
        }
        Statement::Copy { source, to: true, target: CopyTarget::Stdout, options, legacy_options, .. } => {
            let query = match source {
                CopySource::Query(query) => query,
                CopySource::Table { table_name, columns } => {
                    let columns: Vec<String> = columns.iter().map(ToString::to_string).collect();
                    let columns = if columns.is_empty() { "*".to_owned() } else { columns.join(", ") };
                    parsed(context, &format!("SELECT {columns} FROM {table_name}"))?
                }
            };
            let form = CopyForm::asked(&options, &legacy_options)?;
            match Box::pin(rows(context, Statement::Query(query))).await? {
                Work::Rows(plan) => Ok(Work::Copy(plan, form)),
                other => Ok(other),
            }
        }
        Statement::Declare { stmts } => match stmts.into_iter().next() {
            Some(declare) => {
                let (name, is_binary, holds, query) = cursors::declared(declare)?;
                match Box::pin(rows(context, Statement::Query(query))).await? {
                    Work::Rows(plan) => Ok(Work::Open(Box::new(Opening { name, plan, is_binary, holds }))),
                    other => Ok(other),
                }
            }
            None => Ok(Work::Nothing),
        },
        Statement::Fetch { name, direction, into, .. } => {
            Ok(Work::Fetch(cursors::fetching(&name, &direction, into.as_ref())?))
        }
        Statement::Close { cursor: CloseCursor::Specific { name } } => {
            Ok(Work::Tell("CLOSE CURSOR", Effect::Close(Some(cursors::called(&name)))))
        }
        Statement::Close { cursor: CloseCursor::All } => {
            Ok(Work::Tell("CLOSE CURSOR ALL", Effect::Close(None)))
        }
        other => Box::pin(of_session(context, known, other)).await,
    }
}

/// What a statement that reads nothing of the log does.
async fn of_session(
    context: &SessionContext,
    known: &settings::Settings,
    statement: Statement,
) -> Result<Work, Fault> {
    match statement {
        Statement::StartTransaction { modes, begin, .. } => {
            let tag = if begin { "BEGIN" } else { "START TRANSACTION" };
            Ok(Work::Tell(tag, Effect::Begin(settings::modes(&modes))))
        }
        Statement::Commit { .. } => Ok(Work::Tell("COMMIT", Effect::Commit)),
        Statement::Rollback { savepoint: None, .. } => Ok(Work::Tell("ROLLBACK", Effect::Rollback)),
        Statement::Rollback { savepoint: Some(name), .. } => {
            Ok(Work::Tell("ROLLBACK", Effect::BackTo(cursors::called(&name))))
        }
        Statement::Savepoint { name } => {
            Ok(Work::Tell("SAVEPOINT", Effect::Savepoint(cursors::called(&name))))
        }
        Statement::ReleaseSavepoint { name } => {
            Ok(Work::Tell("RELEASE", Effect::Release(cursors::called(&name))))
        }
        Statement::UNLISTEN { .. } => Ok(Work::Tell("UNLISTEN", Effect::None)),
        Statement::Set(set) => settings::set(set),
        Statement::ShowVariable { variable } => {
            let words: Vec<String> = variable.iter().map(|word| word.value.clone()).collect();
            match words.as_slice() {
                [word] => match words::query(word, known.is_operator()) {
                    Some(query) => Box::pin(rows(context, Statement::Query(parsed(context, &query)?))).await,
                    None => known.show(context, &words),
                },
                _ => known.show(context, &words),
            }
        }
        Statement::ShowDatabases { .. } => {
            let query = words::query("databases", known.is_operator()).unwrap_or_default();
            Box::pin(rows(context, Statement::Query(parsed(context, &query)?))).await
        }
        Statement::Deallocate { name, .. } => {
            let name = (!name.value.eq_ignore_ascii_case("all")).then_some(name.value);
            Ok(Work::Tell("DEALLOCATE", Effect::Deallocate(name)))
        }
        Statement::Discard { object_type: DiscardObject::ALL } => {
            Ok(Work::Tell("DISCARD ALL", Effect::Discard))
        }
        Statement::Discard { object_type: DiscardObject::PLANS } => {
            Ok(Work::Tell("DISCARD PLANS", Effect::None))
        }
        Statement::Discard { object_type: DiscardObject::SEQUENCES } => {
            Ok(Work::Tell("DISCARD SEQUENCES", Effect::None))
        }
        Statement::Discard { object_type: DiscardObject::TEMP } => {
            Ok(Work::Tell("DISCARD TEMP", Effect::None))
        }
        Statement::Reset(statement) => settings::reset(&statement.reset),
        other => Err(read_only(&other)),
    }
}

/// The query of a text of ours.
fn parsed(context: &SessionContext, text: &str) -> Result<Box<Query>, Fault> {
    let parsed = context.state().sql_to_statement(text, &datafusion::config::Dialect::PostgreSQL);
    match parsed.map_err(|error| of_engine(&error))? {
        Planned::Statement(statement) => match *statement {
            Statement::Query(query) => Ok(query),
            other => Err(read_only(&other)),
        },
        _ => Err(Fault::new(SqlState::FEATURE_NOT_SUPPORTED, "this source of COPY is not supported")),
    }
}

async fn rows(context: &SessionContext, statement: Statement) -> Result<Work, Fault> {
    if let Statement::Query(query) = &statement
        && writes(query)
    {
        return Err(read_only(&statement));
    }
    // What is not there is not there, whatever is asked of it.
    let others = [dialect::with_nothing(&statement), dialect::without_rows(&statement)];
    let has_others = others.iter().any(Option::is_some);
    let mut planned = plan(context, statement, has_others).await;
    for other in others.into_iter().flatten() {
        let Err(error) = &planned else { break };
        tracing::debug!(%error, "a query without rows is not planned as it is");
        if let Ok(plan) = plan(context, other, true).await {
            planned = Ok(plan);
        }
    }
    let plan = planned.map_err(|error| of_engine(&error))?;
    check(&plan)?;
    Ok(Work::Rows(plan))
}

/// A statement's plan; `tried`: one that can be made better.
async fn plan(
    context: &SessionContext,
    statement: Statement,
    tried: bool,
) -> Result<LogicalPlan, DataFusionError> {
    let state = context.state();
    let plan = state.statement_to_plan(Planned::Statement(Box::new(statement))).await?;
    if tried {
        state.optimize(&plan)?;
    }
    Ok(plan)
}

/// Whether a query is an `INSERT` and the like behind its `WITH`.
fn writes(query: &Query) -> bool {
    fn body(expression: &SetExpr) -> bool {
        match expression {
            SetExpr::Select(select) => select.into.is_some(),
            SetExpr::Query(query) => writes(query),
            SetExpr::SetOperation { left, right, .. } => body(left) || body(right),
            SetExpr::Values(_) | SetExpr::Table(_) => false,
            SetExpr::Insert(_) | SetExpr::Update(_) | SetExpr::Delete(_) | SetExpr::Merge(_) => true,
        }
    }
    let inner = query.with.iter().flat_map(|with| &with.cte_tables);
    body(&query.body) || inner.into_iter().any(|table| writes(&table.query))
}

/// Whatever a text looked like, its plan changes nothing and writes nowhere.
fn check(plan: &LogicalPlan) -> Result<(), Fault> {
    let mut found = None;
    let mut is_secret = false;
    let seen = plan.apply_with_subqueries(|node| {
        let refused = match node {
            LogicalPlan::Ddl(ddl) => Some(ddl.name().to_owned()),
            LogicalPlan::Dml(dml) => Some(dml.name().to_owned()),
            LogicalPlan::Copy(_) => Some("COPY".to_owned()),
            LogicalPlan::Statement(statement) => Some(statement.name().to_owned()),
            LogicalPlan::Extension(_) => Some("an extension".to_owned()),
            LogicalPlan::TableScan(scan) => {
                is_secret |= scan.table_name.table() == "pg_authid";
                None
            }
            _ => None,
        };
        Ok(match refused {
            Some(name) => {
                found = Some(name);
                TreeNodeRecursion::Stop
            }
            None => TreeNodeRecursion::Continue,
        })
    });
    seen.map_err(|error| of_engine(&error))?;
    if is_secret {
        let text = "permission denied for table pg_authid";
        return Err(Fault::new(SqlState::INSUFFICIENT_PRIVILEGE, text));
    }
    match found {
        Some(name) => Err(Fault::new(
            SqlState::READ_ONLY_TRANSACTION,
            format!("cannot execute {name} in a read-only transaction"),
        )),
        None => Ok(()),
    }
}

fn read_only(statement: &Statement) -> Fault {
    let text = statement.to_string();
    let mut words = text.split(|c: char| !c.is_ascii_alphabetic()).filter(|word| !word.is_empty());
    let first = words.next().unwrap_or("this").to_ascii_uppercase();
    let mut words = words.skip_while(|word| ["OR", "REPLACE"].contains(&word.to_ascii_uppercase().as_str()));
    let second = words.next().filter(|_| matches!(first.as_str(), "CREATE" | "DROP" | "ALTER"));
    let name =
        second.map_or_else(|| first.clone(), |second| format!("{first} {}", second.to_ascii_uppercase()));
    Fault::new(SqlState::READ_ONLY_TRANSACTION, format!("cannot execute {name} in a read-only transaction"))
}
