//! PgBouncer's words: `SHOW POOLS` and its siblings, as queries of the tables in schema `live`.
//!
//! What always holds: the columns of an answer are PgBouncer's, with its types, in its order. Operators see databases as
//! `<customer>/<database>`, for two customers may have one of the same name; auditors see their customer's plain names. As at PgBouncer, the
//! database `pgbouncer` is among the operators' pools and databases, so that there are some: exporters take none for a failure.

use super::live::What;

/// What `SHOW VERSION` says: whose words these are, and whose server it is.
const VERSION: &str = concat!("PgBouncer 1.24.0 (OneVault ", env!("CARGO_PKG_VERSION"), ")");

/// The query that a word of PgBouncer's behind `SHOW` stands for.
pub(super) fn query(word: &str, is_operator: bool) -> Option<String> {
    let word = word.to_ascii_lowercase();
    if word == "version" {
        return Some(format!("SELECT '{VERSION}' AS version"));
    }
    let what = What::ALL.into_iter().find(|what| what.name() == word)?;
    let column = |name: &str| {
        let is_database = name == "database" && what != What::Databases;
        let is_name = name == "name" && what == What::Databases;
        if is_operator && (is_database || is_name) {
            format!("customer || '/' || \"{name}\" AS \"{name}\"")
        } else {
            format!("\"{name}\"")
        }
    };
    let columns: Vec<String> = what.names().map(column).collect();
    let own = is_operator.then(|| what.own_row()).flatten().map(|row| format!(" UNION ALL SELECT {row}"));
    Some(format!("SELECT {} FROM live.{word}{}", columns.join(", "), own.unwrap_or_default()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_is_its_tables_columns_in_their_order() {
        let lists = query("LISTS", false).unwrap();
        assert_eq!(lists, "SELECT \"list\", \"items\" FROM live.lists");
        let pools = query("pools", true).unwrap();
        assert!(
            pools.starts_with(
                "SELECT customer || '/' || \"database\" AS \"database\", \"user\", \"cl_active\""
            )
        );
        assert!(pools.ends_with("FROM live.pools UNION ALL SELECT 'pgbouncer', 'pgbouncer', CAST(1 AS INT), CAST(0 AS INT), \
             CAST(0 AS INT), CAST(0 AS INT), CAST(0 AS INT), CAST(0 AS INT), CAST(0 AS INT), CAST(0 AS INT), CAST(0 AS INT), \
             CAST(0 AS INT), CAST(0 AS INT), CAST(0 AS INT), CAST(0 AS INT), 'statement', CAST(NULL AS TEXT)"), "{pools}");
        assert!(!query("clients", true).unwrap().contains("UNION"));
        assert_eq!(query("everything", true), None);
    }
}
