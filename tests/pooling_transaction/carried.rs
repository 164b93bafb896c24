//! Settings go with their session: made, unmade, taken back with a transaction, never somebody else's.
//!
//! Source: sql-set, sql-reset, functions-admin#FUNCTIONS-ADMIN-SET

use crate::support::both::count;
use crate::support::messages::*;
use crate::support::pooled::Pooled;

/// What a session reads of its settings, in one row.
const SHOWN: &str = "SELECT current_setting('search_path'), current_setting('TimeZone'), current_setting('DateStyle'),
    current_setting('work_mem'), current_setting('application_name'), coalesce(nullif(current_setting('custom.key', true), ''), '-'),
    current_setting('statement_timeout'), current_setting('IntervalStyle'), current_setting('extra_float_digits'),
    current_setting('bytea_output'), current_setting('default_transaction_isolation'), current_setting('enable_seqscan')";

/// Has each of `texts` said with a theft behind it and everything shown after each.
fn shown(word: &str, texts: &[&str]) -> Vec<String> {
    let pooled = Pooled::new(word);
    let steps: Vec<&str> = texts.iter().flat_map(|text| [*text, SHOWN]).collect();
    pooled.stolen_sql(&[&[SHOWN], &steps[..]].concat())
}

#[test]
fn every_kind_of_set_is_kept_for_its_session() {
    shown(
        "kinds",
        &[
            "SET work_mem = '3MB'",
            "SET work_mem TO 4096",
            "SET SESSION search_path = \"a b\", 'c''d', public",
            "SET search_path = ''",
            "SET SCHEMA 'public'",
            "set TimeZone = 'Asia/Tokyo'; SET application_name = E'a\\'b'",
            "SET TIME ZONE INTERVAL '-08:00' HOUR TO MINUTE",
            "SET TIME ZONE -3.5",
            "SET TIME ZONE LOCAL",
            "SET datestyle TO SQL, DMY",
            "SET custom.key = 'it''s'; SET custom.key TO $$dollars$$",
            "SET custom.key TO 'really now'",
            "SET statement_timeout = '1234ms'",
            "SET IntervalStyle = sql_standard",
            "SET extra_float_digits = 3",
            "SET bytea_output = 'escape'",
            "SET SESSION CHARACTERISTICS AS TRANSACTION ISOLATION LEVEL REPEATABLE READ",
            "SET enable_seqscan TO false",
            "SELECT set_config('work_mem', '5MB', false)",
            "SELECT set_config('search_path', 'pg_catalog', false), set_config('custom.key', 'twice', false)",
            "SET work_mem TO DEFAULT",
            "RESET search_path",
            "RESET TIME ZONE; RESET datestyle",
            "RESET ALL",
        ],
    );
}

/// What is refused is not remembered, and what was there before stays.
#[test]
fn a_set_that_fails_changes_nothing() {
    let heard = shown(
        "refused",
        &[
            "SET work_mem = '3MB'",
            "SET work_mem = 'nonsense'",
            "SET work_mem = -1",
            "SET nonsense = 1",
            "SET TimeZone = 'Nowhere/Land'",
            "SET custom.key = 'kept'; SET custom.key = 'lost'; SELECT 1/0",
            "SET custom.key = 'kept'; COMMIT; SELECT 1/0",
            "SET shared_buffers = '1MB'",
            "SET log_statement = 'none'",
            "RESET nonsense",
            "SET search_path TO 1/0",
        ],
    );
    assert!(count(&heard, "B ErrorResponse") >= 9, "{heard:#?}");
}

#[test]
fn settings_follow_their_transaction() {
    shown(
        "transactional",
        &[
            "SET work_mem = '3MB'",
            "BEGIN; SET work_mem = '4MB'; SET custom.key = 'gone'; ROLLBACK",
            "BEGIN; SET work_mem = '5MB'; COMMIT",
            "BEGIN; SET work_mem = '6MB'; SAVEPOINT a; SET work_mem = '7MB'; ROLLBACK TO a; COMMIT",
            "BEGIN; SAVEPOINT a; SET work_mem = '8MB'; RELEASE a; ROLLBACK",
            "BEGIN; SAVEPOINT a; SET work_mem = '9MB'; RELEASE a; COMMIT",
            "BEGIN; SAVEPOINT a; SAVEPOINT a; SET work_mem = '10MB'; ROLLBACK TO a; RELEASE a; SET custom.key = 'x'; ROLLBACK TO a; COMMIT",
            "BEGIN; SET work_mem = '11MB'; COMMIT AND CHAIN; SET work_mem = '12MB'; ROLLBACK",
            "BEGIN; RESET work_mem; ROLLBACK",
            "BEGIN; RESET ALL; COMMIT",
            "BEGIN; SET LOCAL work_mem = '13MB'; COMMIT",
            "BEGIN; SET work_mem = '14MB'; SET LOCAL work_mem = '15MB'; COMMIT",
            "BEGIN; SET LOCAL work_mem = '16MB'; SET work_mem = '17MB'; COMMIT",
            "SELECT set_config('work_mem', '18MB', true), current_setting('work_mem')",
            "SET LOCAL work_mem = '19MB'",
            "BEGIN ISOLATION LEVEL SERIALIZABLE READ ONLY; SET work_mem = '20MB'; END",
            "START TRANSACTION; SET work_mem = '21MB'; ABORT",
        ],
    );
}

/// The same in messages of their own, with the end decided much later; and a failed block whose COMMIT is a ROLLBACK.
#[test]
fn settings_follow_a_transaction_of_many_messages() {
    let pooled = Pooled::new("blocks");
    let mut texts = Vec::new();
    for end in ["COMMIT", "ROLLBACK"] {
        texts.extend([
            "BEGIN",
            "SET work_mem = '3MB'",
            "SAVEPOINT \"A b\"",
            "SET search_path = pg_catalog",
            SHOWN,
        ]);
        texts.extend([
            "SELECT 1/0",
            "SET work_mem = '4MB'",
            "ROLLBACK TO SAVEPOINT \"A b\"",
            SHOWN,
            end,
            SHOWN,
        ]);
        texts.extend(["BEGIN", "SET custom.key = 'x'", "SELECT 1/0", end, SHOWN]);
        texts.extend(["BEGIN", "SET LOCAL DateStyle = 'German'", SHOWN, end, SHOWN]);
        texts.extend([
            "BEGIN",
            "SET TRANSACTION ISOLATION LEVEL SERIALIZABLE",
            "SHOW transaction_isolation",
            end,
        ]);
        texts.extend(["BEGIN", "SET work_mem = '5MB'", "COMMIT; BEGIN; SET work_mem = '6MB'", end, SHOWN]);
    }
    pooled.stolen_sql(&texts);
}

/// By the extended protocol: prepared once, run often, rolled back with its batch.
#[test]
fn settings_may_be_made_by_prepared_statements() {
    let pooled = Pooled::new("extended_set");
    let run = |name: &str| all(&[bind("", name, &[]), execute("", 0)]);
    let made = |sql: &str| all(&[parse("", sql), bind("", "", &[]), execute("", 0)]);
    let heard = pooled.stolen(&[
        all(&[parse("s1", "SET work_mem = '3MB'"), parse("s2", "RESET work_mem"), sync()]),
        all(&[run("s1"), sync()]),
        query("SHOW work_mem"),
        all(&[run("s2"), sync()]),
        query("SHOW work_mem"),
        // A batch is one transaction: what fails takes the SET back.
        all(&[
            made("SET work_mem = '4MB'"),
            made("SHOW work_mem"),
            made("SELECT 1/0"),
            made("SHOW work_mem"),
            sync(),
        ]),
        query("SHOW work_mem"),
        all(&[
            made("SET work_mem = '5MB'"),
            sync(),
            made("SELECT 1/0"),
            sync(),
            made("SHOW work_mem"),
            sync(),
        ]),
        query("SHOW work_mem"),
        // A SET that was parsed and bound and never executed is none.
        all(&[parse("", "SET work_mem = '6MB'"), bind("", "", &[]), sync()]),
        query("SHOW work_mem"),
    ]);
    assert_eq!(count(&heard, "B ErrorResponse"), 2, "{heard:#?}");
}

/// What no parser sees, names and values that are parameters, is found or holds its backend.
#[test]
fn settings_may_be_parameters() {
    let pooled = Pooled::new("bound_set");
    let bound = "SELECT set_config('custom.key', $1, false), set_config($2, '7MB', false)";
    let heard = pooled.tried(&[
        all(&[parse("", bound), bind("", "", &[Some("bound"), Some("work_mem")]), execute("", 0), sync()]),
        query("SELECT current_setting('custom.key'), current_setting('work_mem')"),
        query("RESET ALL"),
        query("SELECT current_setting('work_mem')"),
        query("DISCARD ALL;"),
    ]);
    assert!(heard.contains(&"B DataRow bound|7MB".to_owned()), "{heard:#?}");
    pooled.steal();
}

/// A function's own SET ends with it; a function that SETs for the session does so for its session only.
#[test]
fn functions_that_set_are_kept_apart() {
    let pooled = Pooled::new("functions");
    pooled.stolen_sql(&[
        "CREATE FUNCTION own() RETURNS text LANGUAGE sql SET work_mem = '3MB' AS $$SELECT current_setting('work_mem')$$",
        "CREATE FUNCTION lasting() RETURNS text LANGUAGE plpgsql AS $$BEGIN SET work_mem = '4MB'; SET search_path = pg_catalog, public;
         PERFORM set_config('custom.key', 'lasting', false); RETURN 'set'; END$$",
        "SELECT own()",
        "SHOW work_mem",
        "SELECT lasting()",
        SHOWN,
        "SHOW search_path",
        "RESET ALL",
        SHOWN,
        "DO $$BEGIN SET work_mem = '5MB'; END$$",
        SHOWN,
        "CREATE PROCEDURE calling() LANGUAGE plpgsql AS $$BEGIN SET custom.key = 'called'; COMMIT; END$$",
        "CALL calling()",
        SHOWN,
        "DISCARD ALL;",
        SHOWN,
        "DROP FUNCTION own(); DROP FUNCTION lasting(); DROP PROCEDURE calling()",
    ]);
}

/// Two sessions of one backend, each with settings of its own, taking turns with each other and with the thief.
#[test]
fn two_sessions_never_mix_their_settings() {
    let pooled = Pooled::new("two");
    let mut wires = [pooled.enter(), pooled.enter()];
    if crate::support::pooled::is_transaction() {
        let [one, two] = &mut wires;
        assert_eq!(
            one.value("SELECT pg_backend_pid()"),
            two.value("SELECT pg_backend_pid()"),
            "one backend for both"
        );
    }
    for (number, wire) in wires.iter_mut().enumerate() {
        wire.rows(&format!(
            "SET work_mem = '{}MB'; SET custom.key = 'of {number}'; SET search_path = s{number}",
            number + 2
        ));
        wire.rows(&format!("SET DateStyle = {}", ["'SQL, DMY'", "'SQL, MDY'"][number]));
    }
    let _loose = pooled.loose();
    for round in 0..25 {
        for (number, wire) in wires.iter_mut().enumerate() {
            let seen = wire.value(
                "SELECT current_setting('work_mem') || current_setting('custom.key') || current_setting('search_path')
                 || ' ' || '01/02/2003'::date",
            );
            let date = ["01/02/2003", "01/02/2003"][number];
            assert_eq!(seen, format!("{}MBof {number}s{number} {date}", number + 2), "round {round}");
            let month = wire.value("SELECT extract(month FROM '01/02/2003'::date)");
            assert_eq!(month, ["2", "1"][number], "round {round}");
        }
    }
}

/// A value said again is read by the same rules as when it was first said.
#[test]
fn values_are_said_again_as_they_were_read() {
    let pooled = Pooled::new("spelling");
    let heard = pooled.stolen_sql(&[
        "SET custom.key = 'back\\slash'",
        "SELECT current_setting('custom.key')",
        "SET custom.key = E'tab\\tquote\\'s'",
        "SELECT current_setting('custom.key')",
        "SET custom.key = U&'d\\0061t\\+000061'",
        "SELECT current_setting('custom.key')",
        "SET custom.key = 'two' -- and a comment",
        "SELECT current_setting('custom.key')",
        "SET custom.key = /* here */ 'three' /* there */",
        "SELECT current_setting('custom.key')",
        "SET custom.\"Quoted Name\" = 1.50",
        "SET custom.key = on",
        "SELECT current_setting('custom.key')",
        "SET \"custom.key\" = 'dotted'",
        "SELECT current_setting('custom.key')",
        "SET search_path = \"$user\", public",
        "SHOW search_path",
        "SET search_path = \"Ünï\"",
        "SHOW search_path",
        "SELECT set_config('custom.key', NULL, false)",
        "SELECT current_setting('custom.key')",
    ]);
    assert!(heard.contains(&"B DataRow tab\tquote's".to_owned()), "{heard:#?}");
}
