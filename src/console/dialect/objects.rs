//! Casts to what names an object, and what lies in a list of types.
//!
//! What always holds: in the catalogue functions, operators and dictionaries go by the names or the numbers that its columns hold; a cast
//! changes none of them, but for an operator's, which is shown with its types.

#![expect(
    clippy::wildcard_enum_match_arm,
    reason = "the parser's enums grow with its versions; what is not known is left as it is"
)]

use datafusion::sql::sqlparser::ast::{AccessExpr, Expr, Subscript};

use super::nothing::{is_text, parsed};
use crate::console::functions::OPERATOR;

/// A type without its schema.
fn type_of(sql: &str) -> String {
    let plain = sql.to_lowercase();
    plain.strip_prefix("pg_catalog.").unwrap_or(&plain).to_owned()
}

/// What a cast stands for, where it is to one of PostgreSQL's own types.
pub(super) fn cast(inner: &Expr, kind: &str) -> Option<Expr> {
    let text = inner.to_string();
    match type_of(kind).as_str() {
        "regproc" | "regprocedure" if is_text(&text) => parsed(&text.replace("'pg_catalog.", "'")),
        "regoperator" if !is_text(&text) => parsed(&format!("{OPERATOR}({text})")),
        "regproc" | "regprocedure" | "regoper" | "regoperator" | "regdictionary" | "regconfig" | "name"
        | "\"char\"" | "cstring" => parsed(&format!("CAST({text} AS TEXT)")),
        // What a client sends for it is the name itself, though it was said to be a text.
        kind @ ("regclass" | "regtype" | "regnamespace") => match inner {
            Expr::Cast { expr: sent, .. } if sent.to_string().starts_with('$') => {
                parsed(&format!("CAST({sent} AS {kind})"))
            }
            _ => None,
        },
        // A function by its name.
        "oid" if is_text(&text) && text.contains(|c: char| c.is_ascii_alphabetic()) => {
            parsed(&format!("(SELECT max(oid) FROM pg_catalog.pg_proc WHERE proname = {text})"))
        }
        _ => None,
    }
}

/// One type of a function's arguments, which are numbers with spaces between them.
pub(super) fn argument(root: &Expr, access: &[AccessExpr]) -> Option<Expr> {
    let (list, index) = match access {
        [AccessExpr::Subscript(Subscript::Index { index })] => (root.to_string(), index),
        [AccessExpr::Dot(column), AccessExpr::Subscript(Subscript::Index { index })] => {
            (format!("{root}.{column}"), index)
        }
        _ => return None,
    };
    let is_list = list.to_lowercase().rsplit('.').next() == Some("proargtypes");
    let one = || parsed(&format!("TRY_CAST(split_part({list}, ' ', ({index}) + 1) AS INT)"));
    is_list.then(one).flatten()
}

/// A comparison of a function that goes by its name with the number of one: with its name.
pub(super) fn compared(left: &Expr, right: &Expr) -> Option<Expr> {
    let column = |expr: &Expr| match expr {
        Expr::CompoundIdentifier(names) => names.last().map(|name| name.value.to_lowercase()),
        _ => None,
    };
    let named = |expr: &Expr| matches!(column(expr).as_deref(), Some("amproc" | "oprcode"));
    let (name, number) = match (named(left), named(right)) {
        (true, false) => (left, right),
        (false, true) => (right, left),
        _ => return None,
    };
    let Expr::CompoundIdentifier(names) = number else { return None };
    let [table, oid] = names.as_slice() else { return None };
    oid.value.eq_ignore_ascii_case("oid").then(|| parsed(&format!("{name} = {table}.proname"))).flatten()
}

#[cfg(test)]
mod tests {
    use crate::console::dialect::adapted;

    #[test]
    fn functions_go_by_the_names_that_columns_hold() {
        for (text, expected) in [
            ("SELECT p.prsstart::regproc AS x FROM pg_ts_parser AS p", "CAST(p.prsstart AS TEXT) AS x"),
            ("SELECT 'now'::regproc::oid AS x", "max(oid) FROM pg_catalog.pg_proc WHERE proname = 'now'"),
            ("SELECT o.amopopr::regoperator AS x FROM pg_amop AS o", "operator_called(o.amopopr) AS x"),
            ("SELECT '12'::oid AS x FROM pg_proc AS p WHERE p.oid = '12'::oid", "'12'::oid AS x"),
            (
                "SELECT 1 AS x FROM pg_proc AS p JOIN pg_type AS t ON t.oid = p.proargtypes[1]",
                "t.oid = TRY_CAST(split_part(p.proargtypes, ' ', (1) + 1) AS INT)",
            ),
            (
                "SELECT 1 AS x FROM pg_amproc AS a JOIN pg_proc AS p ON p.oid = a.amproc",
                "ON a.amproc = p.proname",
            ),
            ("SELECT l.record AS x FROM logins AS l WHERE l.oid = l.amproc", "l.oid = l.amproc"),
        ] {
            let told = adapted(text).to_string();
            assert!(told.contains(expected), "{told}");
        }
    }
}
