//! What a statement that a backend lacks costs on the way to the server, and what it is when it has been parsed there again.
//!
//! Source: protocol-flow#PROTOCOL-FLOW-EXT-QUERY, sql-prepare

use serde_json::json;

use crate::support::both::count;
use crate::support::messages::*;
use crate::support::pooled::{Pooled, is_transaction, say};
use crate::support::postgres::{ANY, Postgres};
use crate::support::road::Road;

fn run(name: &str, values: &[Option<&str>]) -> Vec<u8> {
    all(&[bind("", name, values), describe_portal(""), execute("", 0)])
}

fn once(name: &str, values: &[Option<&str>]) -> Vec<u8> {
    all(&[run(name, values), sync()])
}

/// Backends keep the last statement and no other.
fn forgetful(word: &str) -> Pooled {
    Pooled::with(word, json!({ "pool": { "prepared_statements_max": 1 } }))
}

/// A statement without columns goes in one write with its `Parse`; only what shows columns has to be looked at first.
#[test]
fn a_missing_statement_without_columns_costs_no_round_trip() {
    if !is_transaction() {
        return;
    }
    let road = Road::to(Postgres::shared(ANY).port);
    let pooled = Pooled::for_customer("trips", json!({ "server": { "port": road.port } }));
    pooled.direct().rows("CREATE TABLE t (a int, b text)");
    let (mut wire, mut other) = (pooled.enter(), pooled.enter());
    let texts = [
        ("insert", "INSERT INTO t VALUES ($1, $2)", &[Some("1"), Some("x")][..], 1),
        ("update", "UPDATE t SET b = $1 WHERE a = $2", &[Some("y"), Some("1")], 1),
        ("with", "WITH w AS (SELECT 1 AS a) DELETE FROM t USING w WHERE t.a = w.a", &[], 1),
        ("begin", "BEGIN", &[], 1),
        ("commit", "COMMIT", &[], 1),
        ("empty", "", &[], 1),
        ("show", "SHOW transaction_isolation", &[], 1),
        ("explain", "EXPLAIN SELECT * FROM t", &[], 1),
        ("select", "SELECT a FROM t WHERE a = $1", &[Some("1")], 2),
        ("returning", "INSERT INTO t VALUES (2, 'z') RETURNING a", &[], 2),
    ];
    for (name, text, ..) in texts {
        say(&mut wire, &all(&[parse(name, text), sync()]));
    }
    for round in ["first", "second"] {
        for (name, text, values, expected) in texts {
            // A transaction's end finds its backend, which has all that was used in the transaction.
            if name != "commit" {
                other.rows("DISCARD ALL");
            }
            let trips = road.trips_of(|| {
                let heard = say(&mut wire, &once(name, values));
                assert_eq!(count(&heard, "B ErrorResponse"), 0, "{text}: {heard:#?}");
            });
            assert_eq!(trips, expected, "{text}, {round} time");
            if name == "begin" || name == "commit" {
                continue;
            }
            let trips = road.trips_of(|| drop(say(&mut wire, &once(name, values))));
            assert_eq!(trips, 1, "{text}, there already");
        }
        // Several in one batch: one trip, and one more for each that shows columns.
        other.rows("DISCARD ALL");
        let batch = all(&[
            run("insert", &[Some("3"), None]),
            run("update", &[None, Some("3")]),
            run("with", &[]),
            describe_statement("insert"),
            sync(),
        ]);
        assert_eq!(road.trips_of(|| drop(say(&mut wire, &batch))), 1);
        other.rows("DISCARD ALL");
        let batch = all(&[run("insert", &[Some("3"), None]), run("select", &[Some("3")]), sync()]);
        assert_eq!(road.trips_of(|| drop(say(&mut wire, &batch))), 2);
        // Settings that differ cost none.
        other.rows("DISCARD ALL");
        other.rows("SET work_mem = '5MB'");
        assert_eq!(road.trips_of(|| drop(say(&mut wire, &once("insert", &[None, None])))), 1);
    }
}

/// Parsed again, a statement has the parameters that it had: a server keeps them when it makes a plan anew.
#[test]
fn parameters_stay_what_they_were_when_a_table_changes() {
    let pooled = forgetful("parameters_stay");
    let runs = || {
        [
            once("insert", &[Some("1"), Some("7")]),
            once("update", &[Some("8"), Some("1")]),
            once("select", &[Some("1")]),
            once("delete", &[Some("1")]),
        ]
    };
    let mut steps = vec![
        query("CREATE TABLE t (a int, b int)"),
        all(&[
            parse("insert", "INSERT INTO t VALUES ($1, $2)"),
            parse("update", "UPDATE t SET b = $1 WHERE a = $2"),
            parse("select", "SELECT b FROM t WHERE a = $1"),
            parse("delete", "DELETE FROM t WHERE a = $1"),
            sync(),
        ]),
    ];
    for change in [
        "SELECT 1",
        "ALTER TABLE t ALTER a TYPE bigint",
        "ALTER TABLE t RENAME a TO z",
        "ALTER TABLE t RENAME z TO a",
        "ALTER TABLE t ALTER a TYPE varchar(1)",
        "ALTER TABLE t ALTER a TYPE int USING 1, ADD d int",
        "ALTER TABLE t ADD c int",
        "CREATE RULE r AS ON INSERT TO t DO INSTEAD SELECT 'by a rule'",
        "CREATE OR REPLACE RULE r AS ON INSERT TO t DO INSTEAD UPDATE t SET b = 3 RETURNING *",
        "DROP TABLE t",
        "CREATE TABLE t (a int, b int)",
        "DROP TABLE t",
        "CREATE VIEW t AS SELECT 1 AS a, 2 AS b",
    ] {
        steps.push(query(change));
        steps.extend(runs());
        if change.ends_with("int") {
            steps.push(all(&[describe_statement("insert"), describe_statement("select"), sync()]));
        }
    }
    steps.push(query("DROP VIEW t"));
    let heard = pooled.stolen(&steps);
    assert!(count(&heard, "B ErrorResponse S=ERROR C=42883") > 0, "{heard:#?}");
    assert_eq!(count(&heard, "B ErrorResponse S=ERROR C=0A000"), 0, "{heard:#?}");
}

/// What speaks of a cursor shows that cursor's columns, whichever it had when it was parsed.
#[test]
fn a_prepared_fetch_goes_with_whatever_cursor_there_is() {
    let pooled = forgetful("fetch");
    let fetch = || {
        [
            query("BEGIN; DECLARE c CURSOR FOR SELECT generate_series(1, 9) AS one"),
            once("fetch", &[]),
            once("fetch", &[]),
            query("COMMIT; BEGIN; DECLARE c CURSOR FOR SELECT 'x' AS x, true AS y"),
            once("fetch", &[]),
            query("COMMIT"),
            once("fetch", &[]),
        ]
    };
    let mut steps = vec![all(&[parse("fetch", "FETCH 2 FROM c"), sync()])];
    steps.extend(fetch());
    steps.push(query("DEALLOCATE ALL; BEGIN; DECLARE c CURSOR FOR SELECT 1.5 AS z"));
    steps.push(all(&[parse("fetch", "FETCH 2 FROM c"), sync()]));
    steps.push(query("COMMIT"));
    steps.extend(fetch());
    let heard = pooled.stolen(&steps);
    assert_eq!(count(&heard, "B DataRow x|t"), 2, "{heard:#?}");
}
