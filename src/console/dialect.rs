//! PostgreSQL's SQL as its tools write it, made into what the query engine plans.
//!
//! What always holds: a statement that reads records keeps its meaning or fails. Its columns get the names that PostgreSQL gives them; a
//! subquery of what is not there gives what it would give. Where a statement reads the catalogue and nothing else, what the engine
//! cannot correlate in a column is NULL, and lists of privileges and members are empty.
//!
//! ```text
//! names.rs   what PostgreSQL calls a column that has no name        nothing.rs       queries of what is not there
//! tokens.rs  words that the parser does not read                    placeholders.rs  types of parameters
//! objects.rs casts to what names an object                          rows.rs          rows as one value
//! absent.rs  tables and functions that have no rows
//! ```

mod absent;
mod names;
mod nothing;
mod objects;
mod placeholders;
mod rows;
mod tokens;

use std::collections::HashSet;
use std::fmt;
use std::ops::ControlFlow;
use std::sync::Arc;

use datafusion::sql::sqlparser::ast::{ObjectName, Query, Statement, TableFactor, Visit as _, Visitor};
use datafusion::sql::sqlparser::dialect::PostgreSqlDialect;
use datafusion::sql::sqlparser::parser::Parser;
use datafusion_pg_catalog::sql::rules::{
    AliasDuplicatedProjectionRewrite, CurrentUserVariableToSessionUserFunctionCall, FixArrayLiteral,
    PrependUnqualifiedPgTableName, RemoveSubqueryFromProjection, ResolveUnqualifiedIdentifier,
    RewriteArrayAnyAllOperation, RewritePgCatalogOperator, RewriteRegCastToSubquery, SqlStatementRewriteRule,
    StripCallableQualifier, StripCollate,
};

pub(super) use absent::ABSENT;
pub(super) use names::shown;
pub(super) use nothing::{with_nothing, without_rows};
pub(super) use placeholders::Placeholders;

use super::fault::{Fault, of_parser};

/// What reads texts.
pub(super) struct Dialect {
    rules: Vec<Arc<dyn SqlStatementRewriteRule>>,
}

impl fmt::Debug for Dialect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Dialect({} rules)", self.rules.len())
    }
}

impl Dialect {
    pub(super) fn new() -> Self {
        Self {
            rules: vec![
                Arc::new(AliasDuplicatedProjectionRewrite),
                Arc::new(ResolveUnqualifiedIdentifier),
                Arc::new(RewriteArrayAnyAllOperation),
                Arc::new(PrependUnqualifiedPgTableName),
                Arc::new(StripCallableQualifier),
                Arc::new(FixArrayLiteral),
                Arc::new(CurrentUserVariableToSessionUserFunctionCall),
                Arc::new(StripCollate),
                Arc::new(RewritePgCatalogOperator),
                Arc::new(RewriteRegCastToSubquery::new()),
            ],
        }
    }

    /// The statements of a text, as they are written. An empty text has none.
    ///
    /// # Errors
    /// 42601 and the like: it cannot be read.
    pub(super) fn read(&self, text: &str) -> Result<Vec<Statement>, Fault> {
        let parser = Parser::new(&PostgreSqlDialect {});
        let parsed = tokens::tokens(text)
            .and_then(|tokens| parser.with_tokens_with_locations(tokens).parse_statements());
        parsed.map_err(|error| of_parser(&error))
    }

    /// A statement as it is to be planned.
    pub(super) fn adapt(&self, mut statement: Statement) -> Statement {
        let is_of_catalogue = reads_catalogue_only(&statement);
        if let Statement::Query(query) = &mut statement {
            names::give(query);
        }
        nothing::fold(&mut statement, is_of_catalogue);
        for rule in &self.rules {
            statement = rule.rewrite(statement);
        }
        if is_of_catalogue {
            // What the engine cannot correlate is left out. Of records nothing is ever left out.
            statement = RemoveSubqueryFromProjection.rewrite(statement);
        }
        statement
    }
}

/// Whether a statement reads what a server says of itself, and nothing else.
fn reads_catalogue_only(statement: &Statement) -> bool {
    struct Seen {
        common: HashSet<String>,
        catalogue: bool,
        others: Vec<String>,
    }
    impl Visitor for Seen {
        type Break = ();

        fn pre_visit_query(&mut self, query: &Query) -> ControlFlow<()> {
            let names = query.with.iter().flat_map(|with| &with.cte_tables);
            self.common.extend(names.map(|table| table.alias.name.value.to_lowercase()));
            ControlFlow::Continue(())
        }

        fn pre_visit_table_factor(&mut self, factor: &TableFactor) -> ControlFlow<()> {
            if let TableFactor::Table { name, args: None, .. } = factor {
                if is_catalogue(name) {
                    self.catalogue = true;
                } else {
                    self.others.push(last(name));
                }
            }
            ControlFlow::Continue(())
        }
    }
    let mut seen = Seen { common: HashSet::new(), catalogue: false, others: Vec::new() };
    // Nothing breaks it off.
    let _ = statement.visit(&mut seen);
    seen.catalogue && seen.others.iter().all(|name| seen.common.contains(name))
}

/// The parts of a name, in small letters.
fn parts(name: &ObjectName) -> Vec<String> {
    name.0.iter().filter_map(|part| part.as_ident()).map(|ident| ident.value.to_lowercase()).collect()
}

/// The last part of a name.
fn last(name: &ObjectName) -> String {
    parts(name).pop().unwrap_or_default()
}

fn is_catalogue(name: &ObjectName) -> bool {
    match parts(name).as_slice() {
        [table] => table.starts_with("pg_"),
        [.., schema, _] => schema == "pg_catalog" || schema == "information_schema",
        [] => false,
    }
}

/// A text's statement as it is planned.
#[cfg(test)]
fn adapted(text: &str) -> Statement {
    let dialect = Dialect::new();
    dialect.adapt(dialect.read(text).unwrap().remove(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn adapted(text: &str) -> String {
        super::adapted(text).to_string()
    }

    #[test]
    fn of_records_no_subquery_is_left_out() {
        let own = "SELECT login, (SELECT count(*) FROM logins AS l WHERE l.login = s.login) AS n FROM statements AS s";
        assert_eq!(adapted(own), own);
        let mixed =
            "SELECT (SELECT max(l.time) FROM logins AS l WHERE l.login = r.rolname) AS n FROM pg_roles AS r";
        assert!(adapted(mixed).contains("max(l.time)"), "{}", adapted(mixed));
        let catalogue = "SELECT (SELECT c.collname FROM pg_collation AS c WHERE c.oid = a.attcollation) AS n FROM pg_attribute AS a";
        assert_eq!(adapted(catalogue), "SELECT NULL AS n FROM pg_catalog.pg_attribute AS a");
    }

    #[test]
    fn what_cannot_be_read_is_a_syntax_error() {
        assert_eq!(Dialect::new().read("SELEC 1").unwrap_err().code.0, *b"42601");
        assert!(Dialect::new().read(" ; -- nothing").unwrap().is_empty());
    }
}
