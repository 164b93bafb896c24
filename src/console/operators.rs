//! Operators by their numbers, as PostgreSQL writes them.
//!
//! What always holds: the numbers are those of `pg_operator`; one that is not there stays a number.

use std::collections::HashMap;
use std::sync::LazyLock;

use datafusion::arrow::array::ArrayRef;
use datafusion::common::ScalarValue;
use datafusion::error::Result;
use datafusion_pg_catalog::pg_catalog::PgCatalogStaticTables;
use pgwire::api::Type;

/// Types whose names in SQL are not the server's own.
const SPELLED: [(&str, &str); 14] = [
    ("bool", "boolean"),
    ("bpchar", "character"),
    ("char", "\"char\""),
    ("float4", "real"),
    ("float8", "double precision"),
    ("int2", "smallint"),
    ("int4", "integer"),
    ("int8", "bigint"),
    ("time", "time without time zone"),
    ("timestamp", "timestamp without time zone"),
    ("timestamptz", "timestamp with time zone"),
    ("timetz", "time with time zone"),
    ("varbit", "bit varying"),
    ("varchar", "character varying"),
];

static OPERATORS: LazyLock<HashMap<String, String>> = LazyLock::new(|| read().unwrap_or_default());

/// The operator with this number and the types of its sides: `<(integer,integer)`.
pub(super) fn called(number: &str) -> String {
    OPERATORS.get(number).cloned().unwrap_or_else(|| number.to_owned())
}

fn read() -> Result<HashMap<String, String>> {
    let mut all = HashMap::new();
    for batch in PgCatalogStaticTables::try_new()?.pg_operator.data() {
        let columns = ["oid", "oprname", "oprleft", "oprright"].map(|name| batch.column_by_name(name));
        let [Some(oid), Some(name), Some(left), Some(right)] = columns else { continue };
        for row in 0..batch.num_rows() {
            let text =
                |array: &ArrayRef| ScalarValue::try_from_array(array, row).map(|value| value.to_string());
            let sides = format!("({},{})", of_type(&text(left)?), of_type(&text(right)?));
            all.insert(text(oid)?, text(name)? + &sides);
        }
    }
    Ok(all)
}

/// What a type is called in SQL.
fn of_type(number: &str) -> String {
    let Some(known) = number.parse().ok().and_then(Type::from_oid) else {
        return if number == "0" { "NONE".to_owned() } else { number.to_owned() };
    };
    let spelled = SPELLED.iter().find(|(name, _)| *name == known.name());
    spelled.map_or_else(|| known.name().to_owned(), |(_, spelled)| (*spelled).to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn operators_are_called_by_their_signs_and_types() {
        for (number, expected) in [
            ("97", "<(integer,integer)"),
            ("1322", "<(timestamp with time zone,timestamp with time zone)"),
            ("1", "1"),
        ] {
            assert_eq!(called(number), expected);
        }
    }
}
