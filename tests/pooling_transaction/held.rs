//! State that only its own backend has keeps that backend, for a named reason, and no longer than it is there.
//!
//! Source: sql-discard, functions-admin#FUNCTIONS-ADVISORY-LOCKS, sql-declare

use crate::support::both::count;
use crate::support::messages::*;
use crate::support::pooled::{Pooled, is_transaction, say};
use crate::support::transcript::lines;
use crate::support::wire::Wire;

/// Something that is made, is there, and goes.
struct State {
    reason: &'static str,
    make: &'static [&'static str],
    /// Answers otherwise when the state is lost.
    proof: &'static [&'static str],
    unmake: &'static [&'static str],
}

/// Makes, proves and unmakes each state, directly and then through OneVault; meanwhile nobody else gets the backend, and
/// afterwards somebody does.
fn is_held(word: &str, states: &[State]) {
    let pooled = Pooled::new(word);
    for state in states {
        let mut direct = pooled.direct();
        let steps = [state.make, state.proof, state.unmake, &["SELECT 'goes on'", "BEGIN; SELECT 1; COMMIT"]];
        let directly = steps.map(|texts| all_said(&mut direct, texts));
        drop(direct);
        let mut wire = pooled.enter();
        pooled.steal();
        for (step, (texts, expected)) in steps.iter().zip(directly).enumerate() {
            let through = all_said(&mut wire, texts);
            assert_eq!(through, expected, "through OneVault (left) and directly (right): {texts:?}");
            if step < 2 {
                pooled.assert_held(state.reason);
            } else {
                // Nothing is left that could come back to life.
                pooled.steal();
            }
        }
    }
}

fn all_said(wire: &mut Wire, texts: &[&str]) -> Vec<String> {
    texts.iter().flat_map(|text| say(wire, &query(text))).collect()
}

#[test]
fn a_temporary_object_is_held() {
    let reason = "temporary_object";
    is_held(
        "temporary",
        &[
            State {
                reason,
                make: &["CREATE TEMP TABLE mine AS SELECT 1 AS x"],
                proof: &["SELECT x FROM mine"],
                unmake: &["DROP TABLE mine"],
            },
            State {
                reason,
                make: &["SELECT 2 AS x INTO TEMPORARY mine", "CREATE TEMP VIEW seen AS SELECT 3 AS y"],
                proof: &["SELECT * FROM mine, seen"],
                unmake: &["DISCARD TEMP"],
            },
            State {
                reason,
                make: &[
                    "CREATE TABLE pg_temp.mine (x int)",
                    "BEGIN; CREATE LOCAL TEMP SEQUENCE counted; COMMIT",
                ],
                proof: &["SELECT nextval('counted')", "SELECT count(*) FROM mine"],
                unmake: &["DROP SEQUENCE counted; DROP TABLE mine"],
            },
            State {
                reason,
                make: &["CREATE FUNCTION pg_temp.f() RETURNS int LANGUAGE sql AS 'SELECT 4'"],
                proof: &["SELECT pg_temp.f()"],
                unmake: &["DROP FUNCTION pg_temp.f()"],
            },
            State {
                reason,
                make: &["DO $$BEGIN CREATE TEMP TABLE hidden AS SELECT 5 AS x; END$$"],
                proof: &["SELECT x FROM hidden"],
                unmake: &["DISCARD ALL;"],
            },
        ],
    );
}

/// A temporary table hides a real one for its own session only, and what goes with its transaction holds nothing.
#[test]
fn a_temporary_table_hides_for_its_own_session_only() {
    let pooled = Pooled::new("hides");
    pooled.direct().rows("CREATE TABLE t (x text); INSERT INTO t VALUES ('real')");
    let heard = pooled.stolen_sql(&[
        "SELECT x FROM t",
        "BEGIN; CREATE TEMP TABLE t ON COMMIT DROP AS SELECT 'false' AS x; SELECT x FROM t; COMMIT",
        "SELECT x FROM t",
        "BEGIN; CREATE TEMP TABLE t AS SELECT 'false' AS x; ROLLBACK",
        "SELECT x FROM t",
        "CREATE TEMP TABLE t AS SELECT 'false' AS x; DROP TABLE t",
        "SELECT x FROM t",
        "BEGIN",
        "CREATE TEMP TABLE t AS SELECT 'false' AS x",
        "SELECT x FROM t",
        "SAVEPOINT a; DROP TABLE t; ROLLBACK TO a; DROP TABLE t",
        "COMMIT",
        "SELECT x FROM t",
    ]);
    assert_eq!(count(&heard, "B DataRow real"), 5, "{heard:#?}");
}

#[test]
fn a_held_cursor_is_held() {
    let reason = "held_cursor";
    is_held(
        "cursor",
        &[
            State {
                reason,
                make: &["DECLARE c CURSOR WITH HOLD FOR SELECT generate_series(1, 5)"],
                proof: &["FETCH 2 FROM c", "FETCH c", "SELECT name FROM pg_cursors"],
                unmake: &["CLOSE c"],
            },
            State {
                reason,
                make: &[
                    "BEGIN",
                    "DECLARE c SCROLL CURSOR WITH HOLD FOR SELECT generate_series(1, 5)",
                    "FETCH 2 FROM c",
                    "COMMIT",
                ],
                proof: &["FETCH BACKWARD c", "MOVE c"],
                unmake: &["CLOSE ALL"],
            },
        ],
    );
    let pooled = Pooled::new("unheld");
    pooled.stolen_sql(&[
        "BEGIN; DECLARE c CURSOR FOR SELECT 1; COMMIT",
        "FETCH c",
        "BEGIN; DECLARE c CURSOR WITH HOLD FOR SELECT 1; ROLLBACK",
        "FETCH c",
    ]);
}

#[test]
fn an_advisory_lock_is_held_until_it_is_released() {
    let reason = "advisory_lock";
    const MINE: &str = "SELECT mode, objid FROM pg_locks WHERE locktype = 'advisory' AND pid = pg_backend_pid() ORDER BY 1, 2";
    is_held(
        "advisory",
        &[
            State {
                reason,
                make: &["SELECT pg_advisory_lock(11)"],
                proof: &[MINE, "SELECT pg_advisory_unlock(99)", MINE],
                unmake: &["SELECT pg_advisory_unlock(11)"],
            },
            State {
                reason,
                make: &[
                    "SELECT pg_advisory_lock(12), pg_advisory_lock_shared(13)",
                    "SELECT pg_try_advisory_lock(12)",
                ],
                proof: &["SELECT pg_advisory_unlock(12)", "SELECT pg_advisory_unlock_shared(13)", MINE],
                unmake: &["SELECT pg_advisory_unlock_all()"],
            },
            State {
                reason,
                // A lock of the session outlives the transaction in which it was taken, however that ends.
                make: &["BEGIN; SELECT pg_advisory_lock(1, 14); ROLLBACK"],
                proof: &[MINE],
                unmake: &["SELECT pg_advisory_unlock(1, 14)"],
            },
        ],
    );
    let pooled = Pooled::new("xact_lock");
    pooled.stolen_sql(&[
        "BEGIN; SELECT pg_advisory_xact_lock(15); COMMIT",
        "SELECT pg_advisory_xact_lock(16)",
        "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND pid = pg_backend_pid()",
    ]);
}

/// Nobody shares a lock by sharing a backend.
#[test]
fn two_sessions_do_not_share_an_advisory_lock() {
    let pooled = Pooled::of("exclusive", 2, serde_json::json!({}));
    let (mut one, mut two) = (pooled.enter(), pooled.enter());
    for _ in 0..5 {
        assert_eq!(one.value("SELECT pg_try_advisory_lock(21)"), "t");
        assert_eq!(two.value("SELECT pg_try_advisory_lock(21)"), "f");
        assert_eq!(one.value("SELECT pg_advisory_unlock(21)"), "t");
        assert_eq!(two.value("SELECT pg_try_advisory_lock(21)"), "t");
        assert_eq!(one.value("SELECT pg_try_advisory_lock(21)"), "f");
        assert_eq!(two.value("SELECT pg_advisory_unlock(21)"), "t");
    }
}

#[test]
fn statements_prepared_by_sql_are_held() {
    let reason = "sql_prepare";
    is_held(
        "by_sql",
        &[
            State {
                reason,
                make: &["PREPARE q AS SELECT 42"],
                proof: &["EXECUTE q", "PREPARE q AS SELECT 43", "EXECUTE q"],
                unmake: &["DEALLOCATE q"],
            },
            State {
                reason,
                // It outlives the transaction that was taken back.
                make: &["BEGIN; PREPARE q (int) AS SELECT $1 + 1; ROLLBACK"],
                proof: &[
                    "EXECUTE q(41)",
                    "EXPLAIN (COSTS OFF) EXECUTE q(1)",
                    "CREATE TABLE made AS EXECUTE q(1)",
                    "DROP TABLE made",
                ],
                unmake: &["DEALLOCATE PREPARE ALL"],
            },
        ],
    );
    let pooled = Pooled::new("failed_prepare");
    pooled.stolen_sql(&["PREPARE q AS SELECT nothing", "EXECUTE q", "DEALLOCATE q", "DEALLOCATE ALL"]);
}

#[test]
fn a_role_is_held() {
    let pooled = Pooled::new("roles");
    let other = format!("{}_other", pooled.house.tenant.role);
    pooled.house.tenant.sql(&format!("CREATE ROLE {other}; GRANT {other} TO {}", pooled.house.tenant.role));
    let who = "SELECT current_user = session_user, current_setting('role')";
    let mut wire = pooled.enter();
    for (make, unmake) in [
        (format!("SET ROLE {other}"), "RESET ROLE"),
        (format!("SET SESSION ROLE '{other}'"), "SET ROLE NONE"),
        (format!("SELECT set_config('role', '{other}', false)"), "RESET ALL; RESET ROLE"),
        (format!("DO $$BEGIN SET ROLE {other}; END$$"), "DISCARD ALL;"),
    ] {
        pooled.steal();
        wire.rows(&make);
        pooled.assert_held("role");
        assert_eq!(wire.rows(who), [[Some("f".to_owned()), Some(other.clone())]], "{make}");
        wire.rows(unmake);
        assert_eq!(wire.rows(who), [[Some("t".to_owned()), Some("none".to_owned())]], "{unmake}");
    }
    pooled.steal();
    // For one transaction only: nothing is held.
    wire.rows(&format!("BEGIN; SET LOCAL ROLE {other}; SELECT 1; COMMIT"));
    pooled.steal();
    assert_eq!(wire.sqlstate("SET ROLE postgres"), "42501");
    pooled.steal();
    drop(wire);
    pooled.house.tenant.sql(&format!("DROP ROLE {other}"));
}

/// A library that was loaded and a seed that was set cannot be looked for: the backend is held to the session's end.
#[test]
fn a_seed_is_held_to_the_end() {
    let pooled = Pooled::new("seed");
    let mut wire = pooled.enter();
    let mut direct = pooled.direct();
    let drawn = "SELECT random(), random()";
    for text in ["SELECT setseed(0.25)", drawn, "SET seed = 0.5", drawn, drawn] {
        let (through, direct) = (lines(&wire.talk(&query(text))), lines(&direct.talk(&query(text))));
        assert_eq!(through, direct);
        pooled.assert_held("seed");
    }
    wire.send(&terminate());
    assert!(wire.rest().is_empty());
    pooled.steal();
}

#[test]
fn a_load_that_fails_is_told_as_directly() {
    let pooled = Pooled::new("load");
    let heard = crate::support::both::same(
        &pooled.house,
        &[query("LOAD 'no such library'"), query("LOAD 'plpgsql'")],
        2,
    );
    assert!(count(&heard, "B ErrorResponse") >= 1, "{heard:#?}");
}

/// What failed was undone by the server and holds nothing, not even for a look.
#[test]
fn a_refused_setting_holds_nothing() {
    let pooled = Pooled::new("refused_set");
    let mut wire = pooled.enter();
    for text in [
        "SET nonsense = 1",
        "SET log_statement = 'none'",
        "SET search_path TO 1/0",
        "SET client_encoding = 'nonsense'",
        "SET ROLE postgres",
        "CREATE TEMP TABLE t AS SELECT 1/0",
        "SET default_tablespace = ''; SELECT 1/0",
        "SET default_tablespace = 'nowhere'",
    ] {
        assert_ne!(wire.sqlstate(text), "", "{text}");
        assert_eq!(pooled.pins(), [""; 0], "{text}");
        pooled.steal();
    }
}

/// Drivers say settings with a parameter: the server is asked what became of it, and the next backend is told.
#[test]
fn a_setting_with_a_parameter_is_carried() {
    let pooled = Pooled::new("bound");
    let said = |sql: &str, values: &[Option<&str>]| {
        all(&[parse("", sql), bind("", "", values), execute("", 0), sync()])
    };
    let before = "SELECT current_setting('jit'), set_config('jit', $1, false)";
    pooled.stolen(&[
        said(before, &[Some("off")]),
        query("SHOW jit"),
        said("SELECT set_config('custom.key', $1, false)", &[Some("it's \\ mine")]),
        query("SHOW custom.key"),
        said("SELECT set_config($1, $2, false)", &[Some("custom.Other"), Some("named")]),
        query("SHOW custom.other"),
        said("SELECT set_config($1, $2, true)", &[Some("custom.other"), Some("local")]),
        query("SHOW custom.other"),
        said("SELECT set_config('custom.key', $1, false)", &[None]),
        query("SELECT current_setting('custom.key')"),
        query("BEGIN"),
        said("SELECT set_config('custom.other', $1, false)", &[Some("undone")]),
        query("ROLLBACK"),
        query("SHOW custom.other"),
        // Suspended after a row, and never told to go on.
        all(&[
            parse("", "SELECT set_config('work_mem', x || 'MB', false) FROM generate_series(7, 9) x"),
            bind("", "", &[]),
            execute("", 2),
            sync(),
        ]),
        query("SHOW work_mem"),
    ]);
}

/// A setting with a dot that only a function names is in no view of the server's: it is lost, unless its name was
/// ever said by a text of the customer's, or the configuration names the function.
#[test]
fn a_setting_that_only_a_function_names_must_be_known() {
    let sets = "CREATE FUNCTION enters(who text) RETURNS text LANGUAGE sql AS $$SELECT set_config('app.who', who, false)$$";
    let read = "SELECT current_setting('app.who', true)";
    let pooled = Pooled::new("unnamed_setting");
    pooled.direct().rows(sets);
    let mut wire = pooled.enter();
    wire.rows("SELECT enters('first')");
    pooled.steal();
    assert_eq!(wire.value(read), if is_transaction() { "" } else { "first" });
    pooled.enter().rows("SET app.who = 'somebody else'");
    wire.rows("SELECT enters('second')");
    pooled.steal();
    assert_eq!(wire.value(read), "second");

    let named =
        Pooled::for_customer("named_setting", serde_json::json!({ "pool": { "pin_functions": ["enters"] } }));
    named.direct().rows(sets);
    let mut wire = named.enter();
    wire.rows("SELECT enters('first')");
    named.assert_held("function");
    assert_eq!(wire.value(read), "first");
}

/// A library stays with the connection that has loaded it, whatever is discarded.
#[test]
fn a_loaded_library_is_held_to_the_end() {
    let pooled = Pooled::new("loaded");
    // Who is no superuser may load from one directory only, which is empty unless somebody has filled it.
    let role = pooled.house.tenant.role.clone();
    pooled.house.tenant.sql(&format!("ALTER ROLE {role} SUPERUSER"));
    let mut wire = pooled.enter();
    wire.rows("LOAD 'auto_explain'");
    pooled.assert_held("load");
    wire.rows("SET auto_explain.log_min_duration = '1h'");
    wire.rows("DISCARD ALL;");
    pooled.assert_held("load");
    assert_eq!(wire.value("SHOW auto_explain.log_min_duration"), "-1");
    wire.send(&terminate());
    assert!(wire.rest().is_empty());
    drop(wire);
    pooled.house.tenant.sql(&format!("ALTER ROLE {role} NOSUPERUSER"));
    pooled.steal();
}

/// Settings that cannot be said again with certainty hold their backend until they are reset.
#[test]
fn settings_that_change_how_text_is_read_are_held() {
    is_held(
        "reading",
        &[
            State {
                reason: "setting",
                make: &["SET standard_conforming_strings = off", "SET escape_string_warning = off"],
                proof: &["SELECT 'a\\'b'", "SHOW standard_conforming_strings"],
                unmake: &["RESET escape_string_warning", "RESET standard_conforming_strings"],
            },
            State {
                reason: "encoding",
                make: &["SET client_encoding = 'SJIS'"],
                proof: &["SELECT octet_length('a')", "SHOW client_encoding"],
                unmake: &["RESET client_encoding"],
            },
            State {
                reason: "setting",
                make: &["SET default_tablespace = ''; SET search_path = public, pg_temp"],
                proof: &["SHOW search_path"],
                unmake: &["RESET default_tablespace", "SET search_path = public"],
            },
            State {
                reason: "setting",
                make: &["SET escape_string_warning = off", "SET default_table_access_method = 'heap'"],
                proof: &["SHOW escape_string_warning"],
                unmake: &["RESET ALL"],
            },
        ],
    );
}

/// What a function does unseen is found: nothing of it reaches others, and nothing of it is lost to its session.
#[test]
fn what_functions_do_unseen_is_found() {
    let pooled = Pooled::new("unseen");
    pooled.direct().rows(
        "CREATE FUNCTION locks() RETURNS void LANGUAGE sql AS 'SELECT pg_advisory_lock(31)';
         CREATE FUNCTION listens() RETURNS void LANGUAGE plpgsql AS $$BEGIN EXECUTE 'LISTEN unseen'; END$$;
         CREATE FUNCTION makes() RETURNS void LANGUAGE plpgsql AS $$BEGIN CREATE TEMP TABLE unseen AS SELECT 7 AS x; END$$;
         CREATE FUNCTION harmless() RETURNS int LANGUAGE sql IMMUTABLE AS 'SELECT 8'",
    );
    for (make, reason, proof, unmake) in [
        (
            "locks",
            "advisory_lock",
            "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'",
            "SELECT pg_advisory_unlock_all()",
        ),
        ("listens", "listen", "SELECT * FROM pg_listening_channels()", "UNLISTEN *"),
        ("makes", "temporary_object", "SELECT x FROM unseen", "DROP TABLE unseen"),
    ] {
        let mut wire = pooled.enter();
        wire.rows(&format!("SELECT {make}()"));
        pooled.assert_held(reason);
        assert!(["1", "unseen", "7"].contains(&wire.value(proof).as_str()), "{make}");
        wire.rows(unmake);
        pooled.steal();
        wire.rows(&format!("SELECT {make}()"));
        wire.vanish();
        drop(wire);
        pooled.steal();
    }
    let mut wire = pooled.enter();
    assert_eq!(wire.value("SELECT harmless()"), "8");
    pooled.steal();
}
