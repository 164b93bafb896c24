//! Asks PostgreSQL's parser about a text, in this process.
//!
//! What always holds: what is said is the same whenever it is asked, whatever the machine. The parser recurses as far as the
//! thread's stack reaches and then refuses, and it sends the process's standard error elsewhere while it reads: so [`super::apart`]
//! gives it a process of its own.

use std::collections::BTreeSet;

use pg_query::{FingerprintOptions, fingerprint, parse, summary};

use super::Gist;
use super::masked::filled;
use super::tree::{named, relations};

/// Kinds of statements whose relations the parser's summary names completely.
const SUMMED_UP: [&str; 7] = [
    "DeleteStmt",
    "InsertStmt",
    "SelectStmt",
    "TransactionStmt",
    "UpdateStmt",
    "VariableSetStmt",
    "VariableShowStmt",
];

/// What a text is about; `None`: it cannot be parsed.
pub(super) fn read(text: &str) -> Option<Gist> {
    parsed(text).or_else(|| parsed(&filled(text)?))
}

fn parsed(text: &str) -> Option<Gist> {
    let fingerprint = fingerprint(text, 0, FingerprintOptions::RANGEVAR_PG17_COMPAT).ok()?.hex;
    let tables = summed_up(text).or_else(|| all(text)).map(|tables| tables.into_iter().collect());
    Some(Gist { tables, fingerprint })
}

/// The relations that the parser's summary names, where those are all. It knows nothing of where a name of a `WITH` ends.
fn summed_up(text: &str) -> Option<BTreeSet<String>> {
    let summary = summary(text, 0, -1).ok()?;
    let is_all = summary.cte_names.is_empty()
        && summary.statement_types.iter().all(|kind| SUMMED_UP.contains(&kind.as_str()));
    let tables = summary.tables.iter().map(|table| named(&table.schema_name, &table.table_name));
    is_all.then(|| tables.collect())
}

/// Those of the whole tree: slower, and of one that is very deep not to be had.
fn all(text: &str) -> Option<BTreeSet<String>> {
    let tree = serde_json::to_value(parse(text, 0).ok()?.protobuf).ok()?;
    let mut tables = BTreeSet::new();
    relations(&tree, &mut tables);
    Some(tables)
}
