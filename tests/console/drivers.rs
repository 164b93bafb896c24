//! Drivers and programs on them, as auditors use them: each does its round at the console.
//!
//! The programs are in `tests/drivers/`; `scripts/test-tools` brings what they need.

use std::process::Command;

use super::House;
use crate::support::{cache, root};

/// Five statements, of which one fails.
fn house() -> House {
    let house = House::new();
    let mut wire = house.vault.enter(&house.one.login());
    for text in ["SELECT 'per cent: %'", "SELECT 2", "SELECT 3"] {
        assert_eq!(wire.sqlstate(text), "");
    }
    assert_eq!(wire.sqlstate("SELECT 1 / 0 AS division"), "22012");
    drop(wire);
    house.vault.records(&["--kind", "query", "--customer", &house.one.role], 5);
    house
}

fn python(name: &str) {
    let mut command = Command::new(cache().join("python/bin/python"));
    command.arg(root().join("tests/drivers/console_round.py")).arg(name);
    round(command);
}

fn round(mut command: Command) {
    let house = house();
    let login = house.auditor(&house.one);
    command
        .env("PGHOST", "127.0.0.1")
        .env("PGPORT", house.vault.port.to_string())
        .env("PGSSLMODE", "disable");
    command.env("PGUSER", &login.user).env("PGPASSWORD", &login.password).env("PGDATABASE", "onevault");
    let output = command.env("CUSTOMER", &house.one.role).output().unwrap();
    let (told, errors) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success() && told.ends_with("ok\n"), "{told}\n{errors}");
}

#[test]
fn psycopg_reads_with_parameters_cursors_copies_and_transactions() {
    python("psycopg");
}

#[test]
fn asyncpg_reads_with_parameters_and_cursors() {
    python("asyncpg");
}

#[test]
fn sqlalchemy_finds_tables_and_streams_them() {
    python("sqlalchemy");
}

#[test]
fn node_reads_with_parameters_cursors_copies_and_transactions() {
    let mut command = Command::new("node");
    command.arg("--no-deprecation").arg(root().join("tests/drivers/console_round.js"));
    command.env("NODE_PATH", cache().join("node/node_modules"));
    round(command);
}

#[test]
fn pgx_reads_with_parameters_batches_copies_and_transactions() {
    round(Command::new(cache().join("go/console_round")));
}
