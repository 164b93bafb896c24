//! Rows as one value, and subqueries beside `DISTINCT ON`, which the engine does not plan.
//!
//! What always holds: a row becomes an object with the names of its columns, in their order; a subquery is left out in the catalogue only.

#![expect(
    clippy::wildcard_enum_match_arm,
    reason = "the parser's enums grow with its versions; what is not known is left as it is"
)]

use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{
    Distinct, Expr, FunctionArguments, Query, Select, SelectItem, SetExpr, TableFactor, Value, VisitMut as _,
    VisitorMut,
};

use super::last;
use super::nothing::parsed;

/// Rewrites the columns of a query, not of those within it.
pub(super) fn plain(query: &mut Query, is_of_catalogue: bool) {
    body(&mut query.body, is_of_catalogue);
}

fn body(expression: &mut SetExpr, is_of_catalogue: bool) {
    match expression {
        SetExpr::Select(select) => columns(select, is_of_catalogue),
        SetExpr::SetOperation { left, right, .. } => {
            body(left, is_of_catalogue);
            body(right, is_of_catalogue);
        }
        _ => {}
    }
}

fn columns(select: &mut Select, is_of_catalogue: bool) {
    let is_distinct = is_of_catalogue && matches!(select.distinct, Some(Distinct::On(_)));
    let mut projection = std::mem::take(&mut select.projection);
    for item in &mut projection {
        let (SelectItem::UnnamedExpr(expr) | SelectItem::ExprWithAlias { expr, .. }) = item else { continue };
        if let Some(object) = object(select, expr) {
            *expr = object;
        }
        if is_distinct {
            // Nothing breaks it off.
            let _ = expr.visit(&mut Nulls);
        }
    }
    select.projection = projection;
}

/// NULL in the place of subqueries.
struct Nulls;

impl VisitorMut for Nulls {
    type Break = ();

    fn pre_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<()> {
        if matches!(expr, Expr::Subquery(_)) {
            *expr = Expr::Value(Value::Null.with_empty_span());
        }
        ControlFlow::Continue(())
    }
}

/// `row_to_json` of a subquery's row, by the names of its columns.
fn object(select: &Select, expr: &Expr) -> Option<Expr> {
    let Expr::Function(function) = expr else { return None };
    let FunctionArguments::List(list) = &function.args else { return None };
    let ([argument], "row_to_json") = (list.args.as_slice(), last(&function.name).as_str()) else {
        return None;
    };
    let row = argument.to_string();
    let relations = select.from.iter().flat_map(|table| {
        std::iter::once(&table.relation).chain(table.joins.iter().map(|join| &join.relation))
    });
    let mut found = relations.filter_map(|relation| match relation {
        TableFactor::Derived { subquery, alias: Some(alias), .. } if alias.name.to_string() == row => {
            Some(subquery)
        }
        _ => None,
    });
    let mut first = &*found.next()?.body;
    while let SetExpr::SetOperation { left, .. } = first {
        first = left;
    }
    let SetExpr::Select(inner) = first else { return None };
    let pair = |item: &SelectItem| {
        let name = match item {
            SelectItem::UnnamedExpr(Expr::Identifier(name)) => name,
            SelectItem::UnnamedExpr(Expr::CompoundIdentifier(names)) => names.last()?,
            SelectItem::ExprWithAlias { alias, .. } => alias,
            _ => return None,
        };
        Some(format!("'{}', {row}.{name}", name.value.replace('\'', "''")))
    };
    let pairs: Option<Vec<String>> = inner.projection.iter().map(pair).collect();
    parsed(&format!("json_build_object({})", pairs?.join(", ")))
}

#[cfg(test)]
mod tests {
    fn adapted(text: &str) -> String {
        super::super::adapted(text).to_string()
    }

    #[test]
    fn a_row_becomes_an_object_of_its_columns() {
        let text = "SELECT pg_catalog.row_to_json(t) AS x FROM (SELECT login, count(*) AS \"It's\" FROM logins GROUP BY login) t";
        let told = adapted(text);
        assert!(told.contains("json_build_object('login', t.login, 'It''s', t.\"It's\") AS x"), "{told}");
        for text in [
            "SELECT row_to_json(t) AS x FROM logins AS t",
            "SELECT row_to_json(t) AS x FROM (SELECT * FROM logins) AS t",
        ] {
            assert_eq!(adapted(text), text);
        }
    }

    #[test]
    fn beside_distinct_on_subqueries_of_the_catalogue_only_are_left_out() {
        let of = |table: &str| {
            adapted(&format!(
                "SELECT DISTINCT ON (a) a, (SELECT max(b) FROM {table} AS u WHERE u.a = t.a) AS b FROM {table} AS t"
            ))
        };
        assert!(of("pg_class").contains("NULL AS b"), "{}", of("pg_class"));
        assert!(of("logins").contains("max(b)"), "{}", of("logins"));
    }
}
