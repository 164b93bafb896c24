//! Queries of what is not there: tools ask for indexes, keys, triggers, privileges and the like, with SQL of all kinds.
//!
//! What always holds: only tables that have no row in any session are taken for empty, and only where no row of theirs means no
//! row of the query's.

#![expect(
    clippy::wildcard_enum_match_arm,
    reason = "the parser's enums grow with its versions; what is not known is left as it is"
)]

use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{
    BinaryOperator, Expr, FunctionArguments, GroupByExpr, Ident, JoinOperator, LimitClause, Query, Select,
    SelectItem, SetExpr, SetOperator, Statement, TableAlias, TableFactor, TableWithJoins, Value,
    VisitMut as _, VisitorMut,
};
use datafusion::sql::sqlparser::dialect::PostgreSqlDialect;
use datafusion::sql::sqlparser::parser::Parser;

use super::absent::{ABSENT, SETS, SILENT};
use super::{is_catalogue, last, objects, parts, reads_catalogue_only, rows};
use crate::console::catalogue::{INFORMATION_SCHEMA, place_of};

/// Functions that make one row of many.
const AGGREGATES: [&str; 9] =
    ["count", "sum", "min", "max", "avg", "array_agg", "string_agg", "bool_or", "bool_and"];

/// Puts what they give in the place of subqueries that have no rows, and a query the engine knows in the place of `ARRAY(query)`.
pub(super) fn fold(statement: &mut Statement, is_of_catalogue: bool) {
    struct Fold(bool);
    impl VisitorMut for Fold {
        type Break = ();

        fn post_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<()> {
            if let Some(folded) = folded(expr, self.0) {
                *expr = folded;
            }
            ControlFlow::Continue(())
        }

        fn post_visit_query(&mut self, query: &mut Query) -> ControlFlow<()> {
            rows::plain(query, self.0);
            ControlFlow::Continue(())
        }

        fn pre_visit_table_factor(&mut self, factor: &mut TableFactor) -> ControlFlow<()> {
            elsewhere(factor);
            ControlFlow::Continue(())
        }
    }
    // Nothing breaks it off.
    let _ = statement.visit(&mut Fold(is_of_catalogue));
}

/// Tables that lie elsewhere in the engine's catalogue than in PostgreSQL's.
fn elsewhere(factor: &mut TableFactor) {
    let TableFactor::Table { name, args, alias, .. } = factor else { return };
    if args.is_some() && last(name) == "pg_show_all_settings" {
        *name = ["pg_catalog", "pg_settings"].map(Ident::new).to_vec().into();
        *args = None;
    } else if let [.., schema, table] = parts(name).as_slice()
        && schema == INFORMATION_SCHEMA
        && let Some(place) = place_of(table)
    {
        *name = vec![Ident::new("pg_catalog"), Ident::with_quote('"', place)].into();
        alias.get_or_insert_with(|| TableAlias {
            explicit: true,
            name: Ident::new(table),
            columns: Vec::new(),
            at: None,
        });
    }
}

fn folded(expr: &Expr, is_of_catalogue: bool) -> Option<Expr> {
    let answer = |value: Value| Some(Expr::Value(value.with_empty_span()));
    match expr {
        Expr::Subquery(query) => match rows_of(query) {
            Some(Rows::One) if counts(query) => answer(Value::Number("0".to_owned(), false)),
            Some(Rows::None | Rows::One) => answer(Value::Null),
            None if is_of_catalogue => aggregated(query),
            None => None,
        },
        Expr::Exists { subquery, negated } => {
            let is_there = matches!(rows_of(subquery)?, Rows::One);
            answer(Value::Boolean(is_there != *negated))
        }
        Expr::InSubquery { subquery, negated, .. } if matches!(rows_of(subquery)?, Rows::None) => {
            answer(Value::Boolean(*negated))
        }
        Expr::Function(function) if last(&function.name) == "array" => {
            let FunctionArguments::Subquery(query) = &function.args else { return None };
            // In the catalogue only privileges and members are listed so.
            if is_of_catalogue || rows_of(query).is_some() {
                return parsed("array_remove(make_array('x'), 'x')");
            }
            let column = first_name(query)?;
            parsed(&format!("(SELECT array_agg(listed.\"{column}\") FROM ({query}) AS listed)"))
        }
        Expr::Function(function) if last(&function.name) == "to_regtype" => match &function.args {
            FunctionArguments::List(list) => match list.args.as_slice() {
                [argument] => {
                    parsed(&format!("{argument}::regtype")).filter(|_| is_text(&argument.to_string()))
                }
                _ => None,
            },
            FunctionArguments::None | FunctionArguments::Subquery(_) => None,
        },
        Expr::Cast { expr: inner, data_type, .. } => objects::cast(inner, &data_type.to_string()),
        // The part of a text that fits a pattern.
        Expr::Substring { expr: inner, substring_from: Some(from), substring_for: None, .. }
            if is_text(&from.to_string()) =>
        {
            parsed(&format!("array_element(regexp_match({inner}, {from}), 1)"))
        }
        Expr::Like { negated, any: false, expr: inner, pattern, escape_char: Some(escape) } => {
            escaped("LIKE", *negated, inner, pattern, &escape.to_string())
        }
        Expr::ILike { negated, any: false, expr: inner, pattern, escape_char: Some(escape) } => {
            escaped("ILIKE", *negated, inner, pattern, &escape.to_string())
        }
        // What is in a row of an index.
        Expr::CompoundFieldAccess { root, .. } if is_expanded(root) => parsed("CAST(NULL AS INT)"),
        Expr::BinaryOp { left, op: BinaryOperator::Eq, right } if is_of_catalogue => {
            objects::compared(left, right)
        }
        Expr::CompoundFieldAccess { root, access_chain } => objects::argument(root, access_chain),
        _ => None,
    }
}

/// A comparison with a pattern whose character of escape is not the backslash, with one where it is.
fn escaped(word: &str, negated: bool, expr: &Expr, pattern: &Expr, escape: &str) -> Option<Expr> {
    if escape == r"'\'" || !is_text(escape) || escape.chars().count() != 3 {
        return None;
    }
    let twice = escape.trim_matches('\'').repeat(2);
    let own = format!(r"replace({pattern}, '\', '\\')");
    let marked = format!(r"replace(replace({own}, '{twice}', chr(1)), {escape}, '\')");
    let not = if negated { "NOT " } else { "" };
    parsed(&format!("({expr} {not}{word} replace({marked}, chr(1), {escape}))"))
}

/// Whether a piece of SQL is a plain string.
pub(super) fn is_text(sql: &str) -> bool {
    let inner = sql.strip_prefix('\'').and_then(|rest| rest.strip_suffix('\''));
    inner.is_some_and(|inner| !inner.contains('\''))
}

/// A subquery that has at most one row, so that the engine can correlate it.
fn aggregated(query: &Query) -> Option<Expr> {
    let SetExpr::Select(select) = &*query.body else { return None };
    if query.limit_clause.is_some() || query.with.is_some() || select.projection.iter().any(aggregates) {
        return None;
    }
    let (SelectItem::UnnamedExpr(expr) | SelectItem::ExprWithAlias { expr, .. }) =
        select.projection.first()?
    else {
        return None;
    };
    let name = if matches!(expr, Expr::BinaryOp { .. }) { "bool_or" } else { "max" };
    let mut select = select.clone();
    select.projection = vec![SelectItem::UnnamedExpr(parsed(&format!("{name}({expr})"))?)];
    let mut query = query.clone();
    query.body = Box::new(SetExpr::Select(select));
    query.order_by = None;
    Some(Expr::Subquery(Box::new(query)))
}

fn is_expanded(root: &Expr) -> bool {
    match root {
        Expr::Nested(inner) => is_expanded(inner),
        Expr::Function(function) => last(&function.name) == "_pg_expandarray",
        _ => false,
    }
}

/// An expression of ours.
pub(super) fn parsed(text: &str) -> Option<Expr> {
    Parser::new(&PostgreSqlDialect {}).try_with_sql(text).ok()?.parse_expr().ok()
}

/// The name of a query's only column.
fn first_name(query: &Query) -> Option<String> {
    let SetExpr::Select(select) = &*query.body else { return None };
    match select.projection.as_slice() {
        [SelectItem::UnnamedExpr(Expr::Identifier(name))] => Some(name.value.clone()),
        [SelectItem::UnnamedExpr(Expr::CompoundIdentifier(names))] => {
            names.last().map(|name| name.value.clone())
        }
        [SelectItem::ExprWithAlias { alias, .. }] => Some(alias.value.clone()),
        _ => None,
    }
}

/// How many rows a query of what is not there has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Rows {
    None,
    /// One, of an aggregate over nothing.
    One,
}

/// Its rows, if it is a query of what is not there.
fn rows_of(query: &Query) -> Option<Rows> {
    match &*query.body {
        SetExpr::Select(select) if is_empty(select) => {
            let is_plain = matches!(&select.group_by, GroupByExpr::Expressions(list, _) if list.is_empty());
            let is_grouped = !is_plain || select.having.is_some();
            Some(if !is_grouped && select.projection.iter().any(aggregates) { Rows::One } else { Rows::None })
        }
        SetExpr::Query(query) => rows_of(query),
        SetExpr::SetOperation { op: SetOperator::Union, left, right, .. } => {
            (is_side_empty(left) && is_side_empty(right)).then_some(Rows::None)
        }
        _ => None,
    }
}

fn is_side_empty(side: &SetExpr) -> bool {
    match side {
        SetExpr::Select(select) => is_empty(select) && !select.projection.iter().any(aggregates),
        SetExpr::SetOperation { op: SetOperator::Union, left, right, .. } => {
            is_side_empty(left) && is_side_empty(right)
        }
        SetExpr::Query(query) => rows_of(query) == Some(Rows::None),
        _ => false,
    }
}

fn is_empty(select: &Select) -> bool {
    let lists = |item: &SelectItem| match item {
        SelectItem::UnnamedExpr(expr) | SelectItem::ExprWithAlias { expr, .. } => called(expr, &SETS),
        _ => false,
    };
    let has_catalogue = |table: &TableWithJoins| match &table.relation {
        TableFactor::Table { name, args: None, .. } => is_catalogue(name),
        _ => false,
    };
    select.from.iter().any(gives_nothing)
        || (select.from.iter().all(has_catalogue) && select.projection.iter().any(lists))
}

/// Whether there is nothing in a part of `FROM`, by what must be in it for a row.
fn gives_nothing(table: &TableWithJoins) -> bool {
    let mut is_empty = is_absent(&table.relation);
    for join in &table.joins {
        let right = is_absent(&join.relation);
        is_empty = match &join.join_operator {
            JoinOperator::Join(_) | JoinOperator::Inner(_) | JoinOperator::CrossJoin(_) => is_empty || right,
            JoinOperator::Right(_) | JoinOperator::RightOuter(_) => right,
            JoinOperator::FullOuter(_) => is_empty && right,
            _ => is_empty,
        };
    }
    is_empty
}

fn is_absent(factor: &TableFactor) -> bool {
    match factor {
        TableFactor::Table { name, args: None, .. } => {
            is_catalogue(name) && ABSENT.contains(&last(name).as_str())
        }
        TableFactor::Table { name, args: Some(_), .. } | TableFactor::Function { name, .. } => {
            SILENT.contains(&last(name).as_str())
        }
        TableFactor::Derived { subquery, .. } => rows_of(subquery) == Some(Rows::None),
        TableFactor::NestedJoin { table_with_joins, .. } => gives_nothing(table_with_joins),
        _ => false,
    }
}

fn called(expr: &Expr, names: &[&str]) -> bool {
    match expr {
        Expr::Function(function) => names.contains(&last(&function.name).as_str()),
        Expr::Nested(inner) | Expr::Cast { expr: inner, .. } => called(inner, names),
        Expr::CompoundFieldAccess { root, .. } => called(root, names),
        Expr::BinaryOp { left, right, .. } => called(left, names) || called(right, names),
        Expr::Case { conditions, else_result, .. } => {
            let mut parts = conditions.iter().flat_map(|when| [&when.condition, &when.result]);
            parts.any(|part| called(part, names))
                || else_result.as_ref().is_some_and(|part| called(part, names))
        }
        _ => false,
    }
}

fn aggregates(item: &SelectItem) -> bool {
    match item {
        SelectItem::UnnamedExpr(expr) | SelectItem::ExprWithAlias { expr, .. } => called(expr, &AGGREGATES),
        _ => false,
    }
}

fn counts(query: &Query) -> bool {
    let SetExpr::Select(select) = &*query.body else { return false };
    select.projection.iter().any(|item| match item {
        SelectItem::UnnamedExpr(expr) | SelectItem::ExprWithAlias { expr, .. } => match expr {
            Expr::Function(function) => last(&function.name) == "count",
            _ => false,
        },
        _ => false,
    })
}

/// A statement of the catalogue with their mere columns in the place of those queries in its `FROM` that have no rows. `None`: there are
/// none.
pub(in crate::console) fn with_nothing(statement: &Statement) -> Option<Statement> {
    struct Empty(bool);
    impl VisitorMut for Empty {
        type Break = ();

        fn pre_visit_table_factor(&mut self, factor: &mut TableFactor) -> ControlFlow<()> {
            if let TableFactor::Derived { subquery, .. } = factor
                && let Some(Statement::Query(empty)) = without_rows(&Statement::Query(subquery.clone()))
            {
                *subquery = empty;
                self.0 = true;
            }
            ControlFlow::Continue(())
        }
    }
    if !reads_catalogue_only(statement) {
        return None;
    }
    let (mut emptied, mut empty) = (statement.clone(), Empty(false));
    // Nothing breaks it off.
    let _ = emptied.visit(&mut empty);
    empty.0.then_some(emptied)
}

/// A query that has no rows whatever is in its columns: the same columns, and nothing to plan. `None`: it may have some.
pub(in crate::console) fn without_rows(statement: &Statement) -> Option<Statement> {
    let Statement::Query(query) = statement else { return None };
    if rows_of(query)? == Rows::One {
        return None;
    }
    let mut first = &*query.body;
    let select = loop {
        first = match first {
            SetExpr::SetOperation { left, .. } => left,
            SetExpr::Query(inner) => &inner.body,
            SetExpr::Select(select) => break select,
            _ => return None,
        };
    };
    let mut from = Vec::new();
    let null = |alias: &Ident| {
        Some(SelectItem::ExprWithAlias { expr: parsed("CAST(NULL AS TEXT)")?, alias: alias.clone() })
    };
    let mut items = Vec::new();
    for item in &select.projection {
        items.push(match item {
            SelectItem::UnnamedExpr(Expr::Identifier(name)) => null(name)?,
            SelectItem::UnnamedExpr(Expr::CompoundIdentifier(names)) => null(names.last()?)?,
            SelectItem::ExprWithAlias { alias, .. } => null(alias)?,
            SelectItem::QualifiedWildcard(kind, _) => {
                from.push(table_called(select, kind.to_string().trim_end_matches(".*"))?);
                item.clone()
            }
            _ => return None,
        });
    }
    let mut empty = select.clone();
    empty.projection = items;
    empty.from = from;
    empty.distinct = None;
    empty.selection = parsed("false");
    empty.group_by = GroupByExpr::Expressions(Vec::new(), Vec::new());
    empty.having = None;
    let mut plain = query.clone();
    plain.with = None;
    plain.body = Box::new(SetExpr::Select(empty));
    plain.order_by = None;
    plain.limit_clause = None::<LimitClause>;
    Some(Statement::Query(plain))
}

/// The plain table that a query calls so.
fn table_called(select: &Select, alias: &str) -> Option<TableWithJoins> {
    let joined = |table: &TableWithJoins| {
        let joins = table.joins.iter().map(|join| join.relation.clone()).collect::<Vec<_>>();
        std::iter::once(table.relation.clone()).chain(joins).collect::<Vec<_>>()
    };
    let is_called = |factor: &TableFactor| match factor {
        TableFactor::Table { alias: Some(found), args: None, .. } => {
            found.name.value.eq_ignore_ascii_case(alias)
        }
        TableFactor::Table { alias: None, name, args: None, .. } => last(name) == alias.to_lowercase(),
        _ => false,
    };
    let relation = select.from.iter().flat_map(joined).find(is_called)?;
    Some(TableWithJoins { relation, joins: Vec::new() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::console::dialect::adapted;

    #[test]
    fn a_subquery_of_what_is_not_there_is_what_it_gives() {
        for (text, expected) in [
            ("SELECT (SELECT x FROM pg_index) AS a", "SELECT NULL AS a"),
            ("SELECT (SELECT count(*) FROM pg_catalog.pg_trigger WHERE a = 1) AS a", "SELECT 0 AS a"),
            ("SELECT EXISTS (SELECT 1 FROM pg_enum) AS a", "SELECT false AS a"),
            ("SELECT 1 NOT IN (SELECT x FROM pg_class JOIN pg_policy ON true) AS a", "SELECT true AS a"),
            (
                "SELECT ARRAY(SELECT x FROM pg_auth_members) AS a",
                "SELECT array_remove(make_array('x'), 'x') AS a",
            ),
        ] {
            assert_eq!(adapted(text).to_string(), expected);
        }
    }

    #[test]
    fn whatever_may_have_rows_stays() {
        for text in [
            "SELECT (SELECT max(x) FROM pg_class LEFT JOIN pg_index ON true) AS a",
            "SELECT EXISTS (SELECT 1 FROM audit.pg_index) AS a",
            "SELECT (SELECT x FROM statements) AS a FROM logins",
        ] {
            let told = adapted(text).to_string();
            assert!(told.contains("FROM pg_catalog.pg_class") || told == text, "{told}");
        }
        assert_eq!(without_rows(&adapted("SELECT x FROM statements, logins")), None);
        assert_eq!(without_rows(&adapted("SELECT count(*) FROM pg_index")), None);
        assert_eq!(without_rows(&adapted("SELECT x FROM pg_class LEFT JOIN pg_index ON true")), None);
    }

    #[test]
    fn a_query_without_rows_keeps_its_columns() {
        let text = "SELECT i.oid, (information_schema._pg_expandarray(i.indkey)).n AS k, f(1) FROM pg_class c \
                    JOIN pg_index i ON true ORDER BY k";
        let expected = "SELECT CAST(NULL AS TEXT) AS oid, CAST(NULL AS TEXT) AS k, CAST(NULL AS TEXT) AS \"f\" WHERE false";
        for text in [text.to_owned(), format!("({text}) UNION SELECT 1, 2, 3 FROM pg_index")] {
            assert_eq!(without_rows(&adapted(&text)).unwrap().to_string(), expected);
        }
    }
    #[test]
    fn queries_without_rows_give_their_columns_to_the_query_around_them() {
        let inner = "SELECT (x.p).grantee AS who, m.kind FROM (SELECT aclexplode(d.acl) AS p, d.kind FROM pg_default_acl d) x, \
                     pg_db_role_setting m";
        let of = |text: &str| with_nothing(&adapted(text)).map(|statement| statement.to_string());
        let empty = "(SELECT CAST(NULL AS TEXT) AS who, CAST(NULL AS TEXT) AS kind WHERE false)";
        let told = of(&format!("SELECT * FROM ({inner}) y ORDER BY y.who")).unwrap();
        assert_eq!(told, format!("SELECT * FROM {empty} y ORDER BY y.who"));
        let told = of(&format!("SELECT rolname FROM pg_roles UNION ALL SELECT max(y.who) FROM ({inner}) y"))
            .unwrap();
        assert!(told.ends_with(&format!("AS \"max\" FROM {empty} y")), "{told}");
        for whole in [
            "SELECT * FROM (SELECT rolname FROM pg_roles) y",
            "SELECT * FROM (SELECT x FROM pg_index) y, statements",
            "SELECT * FROM (SELECT max(x) AS x FROM pg_index) y",
        ] {
            assert_eq!(of(whole), None, "{whole}");
        }
    }
}
