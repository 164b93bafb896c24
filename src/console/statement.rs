//! From a text to what is to be done: only reads and harmless settings get through.
//!
//! What always holds: whatever is not known to be a read is refused, once by its form and once more by its plan.

#![expect(
    clippy::wildcard_enum_match_arm,
    reason = "the parser's and the engine's enums grow with their versions; what is not known is refused"
)]

use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::logical_expr::LogicalPlan;
use datafusion::prelude::SessionContext;
use datafusion::sql::parser::Statement as Planned;
use datafusion::sql::sqlparser::ast::{CopySource, CopyTarget, Query, SetExpr, Statement};

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
    /// Answers with a tag.
    Tell(&'static str, Effect),
}

/// How `COPY` writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct CopyForm {
    pub(super) csv: bool,
    pub(super) header: bool,
    pub(super) delimiter: u8,
}

/// What a statement changes in its session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Effect {
    None,
    Begin,
    End,
    Set(String, String),
    Deallocate(Option<String>),
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
                CopySource::Table { table_name, .. } => {
                    parsed(context, &format!("SELECT * FROM {table_name}"))?
                }
            };
            let form = copy_form(&options, &legacy_options)?;
            match Box::pin(rows(context, Statement::Query(query))).await? {
                Work::Rows(plan) => Ok(Work::Copy(plan, form)),
                other => Ok(other),
            }
        }
        Statement::StartTransaction { .. } => Ok(Work::Tell("BEGIN", Effect::Begin)),
        Statement::Commit { .. } => Ok(Work::Tell("COMMIT", Effect::End)),
        Statement::Rollback { savepoint: None, .. } => Ok(Work::Tell("ROLLBACK", Effect::End)),
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
        Statement::Discard { .. } => Ok(Work::Tell("DISCARD ALL", Effect::Deallocate(None))),
        Statement::Reset(_) => Ok(Work::Tell("RESET", Effect::None)),
        Statement::Close { .. } => Ok(Work::Tell("CLOSE CURSOR", Effect::None)),
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
    let otherwise = dialect::without_rows(&statement);
    let mut planned = context.state().statement_to_plan(Planned::Statement(Box::new(statement))).await;
    if otherwise.is_some() {
        planned = planned.and_then(|plan| context.state().optimize(&plan).map(|_| plan));
    }
    if let (Err(error), Some(otherwise)) = (&planned, otherwise) {
        tracing::debug!(%error, "a query without rows is not planned as it is");
        planned = context.state().statement_to_plan(Planned::Statement(Box::new(otherwise))).await;
    }
    let plan = planned.map_err(|error| of_engine(&error))?;
    check(&plan)?;
    Ok(Work::Rows(plan))
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

fn copy_form(
    options: &[datafusion::sql::sqlparser::ast::CopyOption],
    legacy: &[datafusion::sql::sqlparser::ast::CopyLegacyOption],
) -> Result<CopyForm, Fault> {
    use datafusion::sql::sqlparser::ast::{CopyLegacyCsvOption, CopyLegacyOption, CopyOption};
    let mut form = CopyForm { csv: false, header: false, delimiter: 0 };
    let unknown = || Fault::new(SqlState::FEATURE_NOT_SUPPORTED, "this option of COPY is not supported");
    let byte = |c: char| u8::try_from(c).ok().filter(u8::is_ascii).ok_or_else(unknown);
    for option in options {
        match option {
            CopyOption::Format(name) if name.value.eq_ignore_ascii_case("csv") => form.csv = true,
            CopyOption::Format(name) if name.value.eq_ignore_ascii_case("text") => form.csv = false,
            CopyOption::Header(header) => form.header = *header,
            CopyOption::Delimiter(c) => form.delimiter = byte(*c)?,
            _ => return Err(unknown()),
        }
    }
    for option in legacy {
        match option {
            CopyLegacyOption::Csv(options) => {
                form.csv = true;
                for option in options {
                    match option {
                        CopyLegacyCsvOption::Header => form.header = true,
                        _ => return Err(unknown()),
                    }
                }
            }
            CopyLegacyOption::Header => form.header = true,
            CopyLegacyOption::Delimiter(c) => form.delimiter = byte(*c)?,
            _ => return Err(unknown()),
        }
    }
    if form.delimiter == 0 {
        form.delimiter = if form.csv { b',' } else { b'\t' };
    }
    Ok(form)
}
