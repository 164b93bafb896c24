//! What PostgreSQL calls a column that has no name of its own.
//!
//! What always holds: two columns of one result may have the same name; inside they differ by a mark that [`shown`] takes off.

#![expect(
    clippy::wildcard_enum_match_arm,
    reason = "the parser's enums grow with its versions; what is not known is left as it is"
)]

use std::collections::HashSet;

use datafusion::sql::sqlparser::ast::{
    Expr, Ident, ObjectName, Query, Select, SelectItem, SetExpr, Subscript, TableFactor, TableWithJoins,
};

/// Ahead of the number and the name of a column whose name stands before it already.
const MARK: &str = "__same_";
/// The mark of the catalogue's own rewriting.
const ALIAS: &str = "__alias_";
const NO_NAME: &str = "?column?";

/// A column's name as clients see it.
pub(in crate::console) fn shown(name: &str) -> &str {
    if let Some(name) = name.strip_prefix(ALIAS) {
        return name;
    }
    let marked = name.strip_prefix(MARK).and_then(|rest| rest.split_once('_'));
    marked
        .filter(|(number, _)| number.bytes().all(|byte| byte.is_ascii_digit()))
        .map_or(name, |(_, name)| name)
}

/// Gives names to all columns of a query's result, and of the queries it selects from.
pub(super) fn give(query: &mut Query) {
    for table in query.with.iter_mut().flat_map(|with| &mut with.cte_tables) {
        give(&mut table.query);
    }
    body(&mut query.body);
}

fn body(expression: &mut SetExpr) {
    match expression {
        SetExpr::Select(one) => select(one),
        SetExpr::Query(query) => give(query),
        SetExpr::SetOperation { left, right, .. } => {
            body(left);
            body(right);
        }
        SetExpr::Values(_)
        | SetExpr::Insert(_)
        | SetExpr::Update(_)
        | SetExpr::Delete(_)
        | SetExpr::Merge(_)
        | SetExpr::Table(_) => {}
    }
}

fn select(select: &mut Select) {
    select.from.iter_mut().for_each(from);
    let mut taken = HashSet::new();
    for (at, item) in select.projection.iter_mut().enumerate() {
        let name = match &*item {
            SelectItem::UnnamedExpr(expr) => name(expr).unwrap_or_else(|| NO_NAME.to_owned()),
            SelectItem::ExprWithAlias { alias, .. } => inside(alias),
            SelectItem::ExprWithAliases { .. }
            | SelectItem::QualifiedWildcard(..)
            | SelectItem::Wildcard(_) => continue,
        };
        let is_new = taken.insert(name.clone());
        let alias = if is_new { name } else { format!("{MARK}{at}_{name}") };
        *item = match std::mem::replace(item, SelectItem::UnnamedExpr(Expr::Identifier(Ident::new("")))) {
            // A column keeps its own name.
            SelectItem::UnnamedExpr(expr) if is_new && is_column(&expr) => SelectItem::UnnamedExpr(expr),
            SelectItem::UnnamedExpr(expr) => {
                SelectItem::ExprWithAlias { expr, alias: Ident::with_quote('"', alias) }
            }
            SelectItem::ExprWithAlias { expr, alias: _ } if !is_new => {
                SelectItem::ExprWithAlias { expr, alias: Ident::with_quote('"', alias) }
            }
            other => other,
        };
    }
}

fn from(table: &mut TableWithJoins) {
    factor(&mut table.relation);
    table.joins.iter_mut().for_each(|join| factor(&mut join.relation));
}

fn factor(factor: &mut TableFactor) {
    match factor {
        TableFactor::Derived { subquery, .. } => give(subquery),
        TableFactor::NestedJoin { table_with_joins, .. } => from(table_with_joins),
        _ => {}
    }
}

/// Words that are called like functions, without brackets.
const WORDS: [&str; 6] =
    ["current_catalog", "current_role", "current_schema", "current_user", "session_user", "user"];

fn is_column(expr: &Expr) -> bool {
    match expr {
        Expr::Identifier(name) => {
            name.quote_style.is_some() || !WORDS.contains(&name.value.to_lowercase().as_str())
        }
        Expr::CompoundIdentifier(_) => true,
        _ => false,
    }
}

/// A name as it counts: in small letters unless it is quoted.
fn inside(ident: &Ident) -> String {
    if ident.quote_style.is_some() { ident.value.clone() } else { ident.value.to_lowercase() }
}

fn of_object(name: &ObjectName) -> Option<String> {
    name.0.last().and_then(|part| part.as_ident()).map(inside)
}

/// PostgreSQL's name for an expression.
fn name(expr: &Expr) -> Option<String> {
    match expr {
        Expr::Identifier(ident) => Some(inside(ident)),
        Expr::CompoundIdentifier(idents) => idents.last().map(inside),
        Expr::Function(function) => of_object(&function.name),
        Expr::Nested(inner) | Expr::Collate { expr: inner, .. } => name(inner),
        Expr::Cast { expr, data_type, .. } => name(expr).or_else(|| Some(type_name(&data_type.to_string()))),
        Expr::Case { else_result, .. } => {
            let named = else_result.as_ref().and_then(|result| name(result));
            Some(named.unwrap_or_else(|| "case".to_owned()))
        }
        Expr::Extract { .. } => Some("extract".to_owned()),
        Expr::Ceil { .. } => Some("ceil".to_owned()),
        Expr::Floor { .. } => Some("floor".to_owned()),
        Expr::Position { .. } => Some("position".to_owned()),
        Expr::Substring { .. } => Some("substring".to_owned()),
        Expr::Trim { .. } => Some("btrim".to_owned()),
        Expr::Overlay { .. } => Some("overlay".to_owned()),
        Expr::Exists { .. } => Some("exists".to_owned()),
        Expr::Array(_) => Some("array".to_owned()),
        Expr::AtTimeZone { .. } => Some("timezone".to_owned()),
        Expr::Subquery(query) => match &*query.body {
            SetExpr::Select(select) => match select.projection.as_slice() {
                [SelectItem::UnnamedExpr(expr)] => name(expr),
                [SelectItem::ExprWithAlias { alias, .. }] => Some(inside(alias)),
                _ => None,
            },
            _ => None,
        },
        Expr::CompoundFieldAccess { root, access_chain } => {
            use datafusion::sql::sqlparser::ast::AccessExpr;
            match access_chain.last() {
                Some(AccessExpr::Dot(field)) => name(field),
                Some(AccessExpr::Subscript(Subscript::Index { .. } | Subscript::Slice { .. })) | None => {
                    name(root)
                }
            }
        }
        _ => None,
    }
}

/// The server's own name of a type.
fn type_name(sql: &str) -> String {
    let plain = sql.to_lowercase();
    let plain = plain.rsplit('.').next().unwrap_or_default();
    let plain = plain.split('(').next().unwrap_or_default().trim();
    match plain {
        "int" | "integer" => "int4",
        "bigint" => "int8",
        "smallint" => "int2",
        "boolean" => "bool",
        "double precision" | "double" => "float8",
        "real" => "float4",
        "character varying" => "varchar",
        "decimal" => "numeric",
        "timestamp with time zone" => "timestamptz",
        "timestamp without time zone" => "timestamp",
        other => other,
    }
    .trim_end_matches("[]")
    .to_owned()
}

#[cfg(test)]
mod tests {
    use datafusion::sql::sqlparser::ast::Statement;

    use super::*;
    use crate::console::dialect::adapted;

    fn named(text: &str) -> Vec<String> {
        let Statement::Query(query) = adapted(text) else { panic!("{text}") };
        let SetExpr::Select(select) = *query.body else { panic!("{text}") };
        let name = |item: &SelectItem| match item {
            SelectItem::UnnamedExpr(expr) => name(expr).unwrap(),
            SelectItem::ExprWithAlias { alias, .. } => shown(&alias.value).to_owned(),
            other => other.to_string(),
        };
        select.projection.iter().map(name).collect()
    }

    #[test]
    fn columns_are_called_as_postgresql_calls_them() {
        for (text, expected) in [
            ("SELECT current_user, session_user", "current_user session_user"),
            ("SELECT 1, 'x', 1 + 1, NULL", "?column? ?column? ?column? ?column?"),
            ("SELECT count(*), count(DISTINCT a), pg_catalog.max(b) FROM t", "count count max"),
            ("SELECT a, A, t.a, \"A\" FROM t", "a a a A"),
            ("SELECT '1'::int, a::text, CAST('x' AS pg_catalog.text) FROM t", "int4 a text"),
            ("SELECT CASE WHEN a THEN 1 END, CASE WHEN a THEN 1 ELSE b END FROM t", "case b"),
            ("SELECT (SELECT max(x) FROM u), EXISTS (SELECT 1), (a) FROM t", "max exists a"),
            ("SELECT version(), a AS b, c AS b FROM t", "version b b"),
        ] {
            let expected: Vec<&str> = expected.split(' ').collect();
            assert_eq!(named(text), expected, "{text}");
        }
    }

    #[test]
    fn only_marks_of_ours_are_taken_off() {
        assert_eq!(shown("__same_2_current_user"), "current_user");
        assert_eq!(shown("__alias_oid"), "oid");
        for own in ["__same_x_y", "__same_2", "text", "__same"] {
            assert_eq!(shown(own), own);
        }
    }
}
