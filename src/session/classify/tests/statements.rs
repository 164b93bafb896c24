//! Statements: how many there are, and what each leaves.

use super::{leaves, left};

#[test]
fn statements_are_counted_as_the_server_answers_them() {
    leaves(&[
        ("", "0:"),
        (" ; ;; -- x\n/* ; */", "0:"),
        ("SELECT 1;", "1:"),
        ("SELECT 1; SELECT ';'; SELECT $$;$$", "3:"),
        ("CREATE RULE r AS ON INSERT TO t DO (DELETE FROM a; DELETE FROM b); SELECT 1", "2:"),
        (
            "CREATE FUNCTION f() RETURNS int BEGIN ATOMIC SELECT 1; SELECT CASE WHEN a THEN 1 END; END; SELECT 1",
            "2:",
        ),
        ("CREATE FUNCTION f() RETURNS int BEGIN ATOMIC END; SELECT 1", "2:"),
        (
            "CREATE OR REPLACE PROCEDURE f(begin int) BEGIN ATOMIC SELECT 1 AS end; SELECT 2 end; SELECT 1 AS case; END; SELECT 1",
            "2:",
        ),
        ("CREATE FUNCTION f() RETURNS int LANGUAGE sql RETURN 1; SELECT 1", "2:"),
        ("CREATE FUNCTION f() RETURNS int AS $$ begin atomic; $$ LANGUAGE sql; SELECT 1", "2:"),
        ("(SELECT 1); VALUES (1)", "2:"),
        ("SELECT a[1:2]; SELECT 1", "2:"),
    ]);
}

#[test]
fn a_text_that_ends_inside_a_quote_leaves_nothing() {
    leaves(&[
        ("LISTEN x; SELECT 'a", "0:"),
        ("LISTEN x; SELECT \"a", "0:"),
        ("LISTEN x; SELECT $a$ $$", "0:"),
        ("LISTEN x; /* /* */", "0:"),
    ]);
}

#[test]
fn transactions_begin_and_end() {
    leaves(&[
        ("BEGIN; COMMIT", "2: begin, 1 commit"),
        ("START TRANSACTION ISOLATION LEVEL SERIALIZABLE", "1: begin"),
        ("END WORK AND CHAIN", "1: commit, chain"),
        ("ROLLBACK TRANSACTION AND NO CHAIN", "1: rollback"),
        ("ABORT AND CHAIN", "1: rollback, chain"),
        ("PREPARE TRANSACTION 'x'", "1: commit"),
        ("COMMIT PREPARED 'x'; ROLLBACK PREPARED 'x'", "2:"),
        (
            "SAVEPOINT A; ROLLBACK TO SAVEPOINT a; ROLLBACK WORK TO \"A\"; RELEASE a; RELEASE SAVEPOINT savepoint",
            "5: savepoint a, 1 rollback to a, 2 rollback to A, 3 release a, 4 release savepoint",
        ),
        ("SELECT 'BEGIN'; /* BEGIN; */ SELECT begin FROM t", "2:"),
    ]);
}

#[test]
fn prepared_statements_of_sql_are_told() {
    leaves(&[
        ("PREPARE p AS SELECT f(1)", "1: sqlprepare"),
        ("PREPARE p (int) AS SELECT 1", "1: sqlprepare"),
        ("PREPARE transaction AS SELECT 1", "1: sqlprepare"),
        ("EXECUTE p(1, harmless(2))", "1: sqlprepare"),
        ("EXECUTE p(f(2))", "1: sqlprepare, unsure"),
        ("CREATE TABLE t AS EXECUTE p(1)", "1: sqlprepare"),
        ("EXPLAIN EXECUTE p", "1: sqlprepare"),
        ("EXPLAIN ANALYZE EXECUTE p", "1: sqlprepare"),
        (
            "DEALLOCATE p; DEALLOCATE PREPARE \"P\"; DEALLOCATE ALL; DEALLOCATE PREPARE ALL; DEALLOCATE prepare",
            "5: deallocate p, 1 deallocate P, 2 deallocateall, 3 deallocateall, 4 deallocate prepare",
        ),
        (
            "DISCARD ALL; DISCARD PLANS; DISCARD TEMP; DISCARD SEQUENCES",
            "4: discardall, 2 mayunpin, 3 discardsequences",
        ),
    ]);
}

#[test]
fn temporary_objects_pin() {
    let pinned = [
        "CREATE TEMP TABLE t (a int)",
        "CREATE TEMPORARY TABLE t AS SELECT 1",
        "CREATE LOCAL TEMP TABLE t ()",
        "CREATE GLOBAL TEMPORARY TABLE t ()",
        "CREATE OR REPLACE TEMP VIEW v AS SELECT f(1)",
        "CREATE TEMP SEQUENCE s",
        "CREATE TABLE pg_temp.t (a int)",
        "CREATE TABLE \"pg_temp\".t (a int)",
        "CREATE FUNCTION pg_temp.f() RETURNS int LANGUAGE sql AS ''",
        "CREATE TYPE pg_temp_3.t AS ENUM ()",
        "SELECT 1 INTO TEMP t",
        "SELECT 1 INTO LOCAL TEMPORARY TABLE t",
        "EXPLAIN ANALYZE CREATE TEMP TABLE t AS SELECT 1",
    ];
    for text in pinned {
        assert_eq!(left(text), "1: pin temporary_object");
    }
    leaves(&[
        ("CREATE TABLE temp (a int)", "1:"),
        ("EXPLAIN CREATE TEMP TABLE t AS SELECT 1", "1:"),
        ("SELECT 1 AS temp, temporary FROM temp", "1:"),
        ("INSERT INTO t (temp) VALUES (1)", "1: sequencestep"),
        ("SELECT * FROM pg_template", "1:"),
        ("DROP TABLE t", "1: mayunpin"),
    ]);
}

#[test]
fn other_state_pins() {
    leaves(&[
        ("DECLARE c CURSOR WITH HOLD FOR SELECT 1", "1: pin held_cursor"),
        ("DECLARE c BINARY NO SCROLL CURSOR WITHOUT HOLD FOR SELECT 1", "1:"),
        ("DECLARE c CURSOR FOR SELECT f(1)", "1: unsure"),
        ("CLOSE c; FETCH c; MOVE c", "3: mayunpin"),
        ("LISTEN x; UNLISTEN *; NOTIFY x", "3: pin listen, 1 mayunpin"),
        ("LOAD 'x'", "1: pin load"),
        ("DO $$ BEGIN END $$; CALL p(1)", "2: unsure, 1 unsure"),
        (
            "CREATE EXTENSION x; ALTER EXTENSION x UPDATE; IMPORT FOREIGN SCHEMA a FROM SERVER b INTO c",
            "3: unsure, 1 unsure, 2 unsure",
        ),
        (
            "INSERT INTO t VALUES (1); COPY t FROM STDIN; COPY t (a) TO STDOUT; MERGE INTO t USING s ON a WHEN MATCHED THEN DELETE",
            "4: sequencestep, 1 sequencestep, 3 sequencestep",
        ),
        ("WITH x AS (INSERT INTO t VALUES (1) RETURNING a) SELECT * FROM x", "1: sequencestep"),
        ("UPDATE t SET a = DEFAULT", "1: sequencestep"),
        ("ALTER TABLE t ADD c bigserial", "1: sequencestep"),
        ("UPDATE t SET a = 1; DELETE FROM t; TRUNCATE t; VACUUM; SHOW x; GRANT SELECT ON t TO r", "6:"),
        ("REPACK t", "1: unsure"),
    ]);
}

#[test]
fn what_a_statement_only_explains_is_not_done() {
    leaves(&[
        ("EXPLAIN INSERT INTO t VALUES (f(1))", "1:"),
        ("EXPLAIN (COSTS off) SELECT f(1)", "1:"),
        ("EXPLAIN (SELECT f(1))", "1:"),
        ("EXPLAIN (ANALYZE false, BUFFERS) SELECT f(1)", "1:"),
        ("EXPLAIN (ANALYZE 0) SELECT f(1)", "1:"),
        ("EXPLAIN ANALYZE VERBOSE SELECT f(1)", "1: unsure"),
        ("EXPLAIN ANALYZE (SELECT f(1))", "1: unsure"),
        ("EXPLAIN (COSTS off, ANALYZE) INSERT INTO t SELECT 1", "1: sequencestep"),
        ("EXPLAIN (ANALYZE on, COSTS off) (SELECT f(1))", "1: unsure"),
    ]);
}

#[test]
fn effects_without_end_keep_the_backend() {
    let text = "SET jit = on;".repeat(5000);
    let effects = super::classify(text.as_bytes(), &super::rules());
    assert_eq!(effects.statements, 5000);
    assert!(effects.list.len() < 2000);
    assert!(super::shown(&effects).ends_with("pin setting, 1024 unsure"));
    let value = "x".repeat(10_000);
    let text = format!("SET a.b = '{value}';").repeat(20);
    let effects = super::classify(text.as_bytes(), &super::rules());
    assert!(effects.list.len() < 10 && super::shown(&effects).ends_with("6 pin setting, 6 unsure"));
    let tag = format!("SELECT 1; SELECT ${0}$ ${0}$; LISTEN x", "t".repeat(2000));
    assert_eq!(left(&tag), "2: 1 pin setting, 1 unsure");
}
