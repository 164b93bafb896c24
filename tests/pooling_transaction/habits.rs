//! What drivers say that are not among those in `tests/drivers`, written by hand after what they send: sqlx and Npgsql.
//!
//! Source: protocol-flow#PROTOCOL-FLOW-EXT-QUERY

use crate::support::messages::*;
use crate::support::pooled::Pooled;

/// sqlx describes each statement once, by a name that counts up, and closes each portal.
#[test]
fn sqlx_describes_once_and_closes_each_portal() {
    let pooled = Pooled::new("sqlx");
    let prepare =
        |name: &str, sql: &str| all(&[parse_typed(name, sql, &[23]), describe_statement(name), sync()]);
    let fetch = |name: &str, value: &str| {
        all(&[bind("", name, &[Some(value)]), execute("", 0), close_portal(""), sync()])
    };
    let fetch_one = |name: &str, value: &str| {
        all(&[bind("", name, &[Some(value)]), execute("", 1), close_portal(""), sync()])
    };
    pooled.stolen(&[
        query("SET application_name = 'sqlx'"),
        prepare("sqlx_s_1", "SELECT $1 + 1"),
        fetch("sqlx_s_1", "41"),
        prepare("sqlx_s_2", "SELECT generate_series(1, $1)"),
        fetch("sqlx_s_2", "3"),
        fetch_one("sqlx_s_2", "3"),
        fetch("sqlx_s_1", "no number"),
        fetch("sqlx_s_1", "1"),
        query("BEGIN"),
        fetch("sqlx_s_1", "2"),
        query("SAVEPOINT _sqlx_savepoint_1"),
        prepare("sqlx_s_3", "SELECT $1 / 0"),
        fetch("sqlx_s_3", "3"),
        query("ROLLBACK TO SAVEPOINT _sqlx_savepoint_1"),
        query("COMMIT"),
        // The cache is full: the oldest is closed.
        all(&[close_statement("sqlx_s_1"), sync()]),
        fetch("sqlx_s_1", "4"),
        fetch("sqlx_s_3", "5"),
    ]);
}

/// Npgsql puts what undoes a session's state in front of the next command, in the same write, and several commands before a `Sync`.
#[test]
fn npgsql_undoes_its_session_in_front_of_the_next_command() {
    let pooled = Pooled::new("npgsql");
    let command = |sql: &str| all(&[parse("", sql), bind("", "", &[]), describe_portal(""), execute("", 0)]);
    let undo = "SET SESSION AUTHORIZATION DEFAULT;RESET ALL;CLOSE ALL;UNLISTEN *;\
        SELECT pg_advisory_unlock_all();DISCARD SEQUENCES;DISCARD TEMP";
    let prepared =
        |name: &str| all(&[bind("", name, &[Some("7")]), describe_portal(""), execute("", 0), sync()]);
    pooled.tried(&[
        all(&[command("SET work_mem = '5MB'"), command("SHOW work_mem"), sync()]),
        all(&[parse("_p1", "SELECT $1::int4"), describe_statement("_p1"), sync()]),
        prepared("_p1"),
        all(&[query("DISCARD ALL"), command("SHOW work_mem"), sync()]),
        prepared("_p1"),
        all(&[parse("_auto0", "SELECT $1::int4 * 2"), prepared("_auto0")]),
        all(&[command("SELECT 1"), command("SELECT 1/0"), command("SELECT 2"), sync()]),
        all(&[command("CREATE TEMP TABLE mine (x int)"), sync()]),
        all(&[query(undo), command("SELECT 'no such table' FROM mine"), sync()]),
        all(&[query(undo), prepared("_auto0")]),
        all(&[command("SELECT 1"), sync(), command("SELECT 2"), sync(), command("SELECT 1/0"), sync()]),
        all(&[query("BEGIN"), command("SELECT 3"), sync()]),
        query("ROLLBACK"),
        all(&[close_statement("_auto0"), sync(), query("DISCARD ALL"), command("SHOW work_mem"), sync()]),
    ]);
}
