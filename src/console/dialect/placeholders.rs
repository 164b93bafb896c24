//! Parameters of a statement: where they stand, and which types they have.
//!
//! What always holds: a parameter whose type is known is planned as a value of that type, so what is sent for it means what it means to
//! PostgreSQL.

#![expect(
    clippy::wildcard_enum_match_arm,
    reason = "the engine's and the parser's enums grow with their versions; what is not known is left as it is"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{
    Expr, LimitClause, Query, Statement, Value, Visit as _, VisitMut as _, Visitor, VisitorMut,
};
use datafusion::sql::sqlparser::dialect::PostgreSqlDialect;
use datafusion::sql::sqlparser::parser::Parser;

use crate::console::values::Known;

/// What a statement says of its parameters, by their numbers from 0.
#[derive(Debug, Default, PartialEq, Eq)]
pub(in crate::console) struct Placeholders {
    /// The highest number and one.
    pub(in crate::console) count: usize,
    /// What the statement itself makes of them.
    pub(in crate::console) casts: BTreeMap<usize, Known>,
    /// What `LIMIT` and `OFFSET` take.
    pub(in crate::console) limits: BTreeSet<usize>,
    /// Lists whose items something is compared with.
    pub(in crate::console) lists: BTreeSet<usize>,
}

/// The number of a parameter, from 0.
fn number(expr: &Expr) -> Option<usize> {
    match expr {
        Expr::Value(value) => match &value.value {
            Value::Placeholder(name) => name.strip_prefix('$')?.parse::<usize>().ok()?.checked_sub(1),
            _ => None,
        },
        Expr::Nested(inner) => number(inner),
        _ => None,
    }
}

impl Placeholders {
    /// Looks through a statement.
    pub(in crate::console) fn of(statement: &Statement) -> Self {
        struct Look(Placeholders);
        impl Visitor for Look {
            type Break = ();

            fn pre_visit_query(&mut self, query: &Query) -> ControlFlow<()> {
                if let Some(LimitClause::LimitOffset { limit, offset, .. }) = &query.limit_clause {
                    let both = limit.iter().chain(offset.iter().map(|offset| &offset.value));
                    self.0.limits.extend(both.filter_map(number));
                }
                let fetch = query.fetch.iter().filter_map(|fetch| fetch.quantity.as_ref());
                self.0.limits.extend(fetch.filter_map(number));
                ControlFlow::Continue(())
            }

            fn pre_visit_expr(&mut self, expr: &Expr) -> ControlFlow<()> {
                if let Some(at) = number(expr) {
                    self.0.count = self.0.count.max(at.saturating_add(1));
                }
                match expr {
                    Expr::Cast { expr: inner, data_type, .. } => {
                        if let (Some(at), Some(known)) =
                            (number(inner), Known::called(&data_type.to_string()))
                        {
                            self.0.casts.entry(at).or_insert(known);
                        }
                    }
                    Expr::AnyOp { right, .. } | Expr::AllOp { right, .. } => {
                        self.0.lists.extend(number(right));
                    }
                    _ => {}
                }
                ControlFlow::Continue(())
            }
        }
        let mut look = Look(Self::default());
        // Nothing breaks it off.
        let _ = statement.visit(&mut look);
        look.0
    }

    /// Writes the types that are known into a statement. Of lists that are not known, the comparison with one item is left, so that the
    /// engine can tell of which type an item is.
    pub(in crate::console) fn write(&self, statement: &mut Statement, types: &[Option<Known>]) {
        struct Write<'a>(&'a Placeholders, &'a [Option<Known>]);
        impl Write<'_> {
            fn known(&self, expr: &Expr) -> Option<&Known> {
                self.1.get(number(expr)?)?.as_ref()
            }
        }
        impl VisitorMut for Write<'_> {
            type Break = ();

            fn post_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<()> {
                match &*expr {
                    Expr::AnyOp { left, compare_op, right, .. } | Expr::AllOp { left, compare_op, right }
                        if number(right).is_some() && self.known(right).is_none() =>
                    {
                        let (left, op, right) = (left.clone(), compare_op.clone(), right.clone());
                        *expr = Expr::BinaryOp { left, op, right };
                    }
                    Expr::Value(_) => {
                        let at = number(expr).filter(|at| !self.0.limits.contains(at));
                        if let (Some(_), Some(known)) = (at, self.known(expr)) {
                            let text = format!("CAST({expr} AS {})", known.sql());
                            let parser = Parser::new(&PostgreSqlDialect {});
                            let cast = parser.try_with_sql(&text).and_then(|mut parser| parser.parse_expr());
                            if let Ok(cast) = cast {
                                *expr = cast;
                            }
                        }
                    }
                    _ => {}
                }
                ControlFlow::Continue(())
            }
        }
        // Nothing breaks it off.
        let _ = statement.visit(&mut Write(self, types));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::console::dialect::Dialect;

    fn read(text: &str) -> Statement {
        Dialect::new().read(text).unwrap().remove(0)
    }

    #[test]
    fn places_and_casts_of_parameters_are_found() {
        let statement = read("SELECT $2::date, a FROM b WHERE c = ANY($3) AND d > ALL($1::int[]) LIMIT $5");
        let found = Placeholders::of(&statement);
        assert_eq!(found.count, 5);
        assert_eq!(found.casts.get(&1), Known::called("date").as_ref());
        assert_eq!(found.casts.get(&0), Known::called("int[]").as_ref());
        assert_eq!((found.limits, found.lists), (BTreeSet::from([4]), BTreeSet::from([2])));
    }

    #[test]
    fn known_types_are_written_and_unknown_lists_become_their_items() {
        let mut statement = read("SELECT $1 FROM b WHERE c = ANY($2) AND d = ANY($3) LIMIT $4");
        let types = [Known::called("interval"), Known::called("text[]"), None, Known::called("int8")];
        Placeholders::of(&statement).write(&mut statement, &types);
        assert_eq!(
            statement.to_string(),
            "SELECT CAST($1 AS INTERVAL) FROM b WHERE c = ANY(CAST($2 AS TEXT[])) AND d = $3 LIMIT $4"
        );
    }
}
