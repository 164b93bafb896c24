//! What tools ask of the catalogue before they show anything: each question is answered, with the columns they look for.
//!
//! A line of `introspection/*.sql` is one question, in the shapes in which browsers of databases and drivers ask; `-- gives:`
//! ahead of it are the columns of PostgreSQL's answer.

use std::process::Command;

use super::House;
use crate::support::messages;
use crate::support::root;
use crate::support::transcript::lines;
use crate::support::wire::Wire;

const TOOLS: [&str; 2] = ["browser", "driver"];

/// The names of the columns in a line that describes them.
fn columns(line: &str) -> Vec<&str> {
    line.split(' ').skip(2).map(|column| column.rsplitn(3, ':').last().unwrap()).collect()
}

fn asked(wire: &mut Wire, tool: &str, text: &str, gives: Option<&str>) -> Option<String> {
    for way in ["simple", "extended"] {
        let frames = match way {
            "extended" if text.trim_end_matches(';').contains(';') => continue,
            "extended" => wire.talk(&messages::extended(text.trim_end_matches(';'), &[])),
            _ => wire.talk(&messages::query(text)),
        };
        let told = lines(&frames);
        if let Some(error) = told.iter().find(|line| line.starts_with("B ErrorResponse")) {
            return Some(format!("{tool}, {way}: {error}\n    {text}"));
        }
        let described = told.iter().rfind(|line| line.starts_with("B RowDescription"));
        let found = described.map(|line| columns(line).join(" ")).unwrap_or_default();
        if gives.is_some_and(|gives| gives != found) {
            return Some(format!(
                "{tool}, {way}: columns {found}, not {}\n    {text}",
                gives.unwrap_or_default()
            ));
        }
    }
    None
}

#[test]
fn what_tools_ask_of_the_catalogue_is_answered_with_the_columns_they_look_for() {
    let house = House::new();
    let mut audrey = house.audrey();
    let schema = audrey.value("SELECT oid FROM pg_catalog.pg_namespace WHERE nspname = 'audit'");
    let table = audrey.value("SELECT oid FROM pg_catalog.pg_class WHERE relname = 'statements'");
    let mut failed = Vec::new();
    for tool in TOOLS {
        let path = root().join(format!("tests/console/introspection/{tool}.sql"));
        let mut gives = None;
        for line in std::fs::read_to_string(path).unwrap().lines() {
            if let Some(names) = line.strip_prefix("-- gives: ") {
                gives = Some(names.to_owned());
            } else if !line.starts_with("--") {
                let text = line.replace("16384", &schema).replace("16400", &table);
                failed.extend(asked(&mut audrey, tool, &text, gives.take().as_deref()));
            }
        }
    }
    assert!(failed.is_empty(), "{} failed\n{}", failed.len(), failed.join("\n"));
}

#[test]
fn jdbc_finds_schemas_tables_columns_and_keys_and_fetches_rows_in_parts() {
    let house = House::new();
    let login = house.auditor(&house.one);
    let mut command = Command::new("java");
    command.args([
        "-XX:TieredStopAtLevel=1",
        "-Duser.timezone=Etc/UTC",
        "-cp",
        "/usr/share/java/postgresql.jar",
    ]);
    command.arg(root().join("tests/drivers/JdbcMetadata.java"));
    command.env("PGUSER", &login.user).env("PGPASSWORD", &login.password);
    let output = command.env("PGPORT", house.vault.port.to_string()).output().unwrap();
    let told = String::from_utf8_lossy(&output.stdout);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{told}\n{errors}");
    for expected in [
        "PostgreSQL 16.0",
        "audit|statements|TABLE|",
        "audit|statements|time|93|timestamptz|",
        "audit|statements|record|-5|int8|",
        "audit|statements|text|12|text|",
        "getPrimaryKeys: table_cat table_schem table_name column_name key_seq pk_name = 0",
        "text text false",
        "fetched 17",
        "recorded 1",
        "refused 42703",
    ] {
        assert!(told.contains(expected), "{expected}: {told}");
    }
}
