//! Startup settings are a session's defaults whatever backend it is on, and what the server has reported to it stays true.
//!
//! Source: protocol-flow#PROTOCOL-ASYNC, libpq-status#LIBPQ-PQPARAMETERSTATUS

use crate::support::messages::*;
use crate::support::pooled::{Pooled, is_transaction, say};
use crate::support::wire::Login;

fn dressed(login: Login) -> Login {
    login
        .with("options", "-c work_mem=5MB -c search_path=pg_catalog -c custom.key=started")
        .with("application_name", "a started one")
        .with("DateStyle", "German")
        .with("TimeZone", "Asia/Tokyo")
}

#[test]
fn startup_settings_hold_on_every_backend_and_are_what_reset_returns_to() {
    let pooled = Pooled::new("started");
    let shown =
        "SELECT current_setting('work_mem'), current_setting('search_path'), current_setting('custom.key'),
        current_setting('application_name'), current_setting('DateStyle'), current_setting('TimeZone')";
    let texts = [
        shown,
        "SET work_mem = '6MB'; SET DateStyle = ISO; SET custom.key = 'changed'; SET application_name = 'another'",
        shown,
        "RESET work_mem; RESET DateStyle",
        shown,
        "SET TimeZone TO DEFAULT; RESET ALL",
        shown,
        "SET work_mem = '7MB'",
        "DISCARD ALL;",
        shown,
    ];
    pooled.stolen_as(&dressed, &texts.map(query));
}

/// What the client was last told of a parameter is what holds, after each change and each theft.
#[test]
fn reported_parameters_are_true() {
    let pooled = Pooled::new("reported");
    let texts = [
        "SELECT 1",
        "SET DateStyle = 'SQL, DMY'",
        "SET TimeZone = 'Asia/Tokyo'; SET application_name = 'reported'; SET IntervalStyle = iso_8601",
        "BEGIN; SET TimeZone = 'Europe/Rome'; ROLLBACK",
        "BEGIN; SET LOCAL DateStyle = 'German'; SELECT now() IS NULL; COMMIT",
        "SET client_encoding = 'LATIN1'",
        "SET default_transaction_read_only = on",
        "RESET ALL",
        "SET DateStyle = 'German'",
        "DISCARD ALL;",
    ];
    let logins: [fn(Login) -> Login; 2] = [|login| login, dressed];
    for login in logins {
        pooled.both_as(&login, |wire, steal| {
            let mut heard = Vec::new();
            for text in texts {
                heard.extend(say(wire, &query(text)));
                steal();
                for (name, told) in wire.parameters.clone() {
                    // Some parameters can be told but not asked for.
                    let held = wire.value(&format!("SELECT coalesce(current_setting('{name}', true), '?')"));
                    if held != "?" && name != "session_authorization" {
                        assert_eq!(held, told, "{name} after {text}");
                    }
                    steal();
                }
            }
            heard
        });
    }
}

/// Nothing is said to a session that another one's settings were the reason for.
#[test]
fn nobody_hears_of_the_thiefs_settings() {
    let pooled = Pooled::new("unheard");
    let mut wire = pooled.enter();
    for _ in 0..12 {
        pooled.steal();
        let tags: Vec<u8> = wire.talk(&query("SELECT 'mine'")).iter().map(|frame| frame.tag).collect();
        assert_eq!(tags, b"TDCZ");
    }
    assert!(wire.within(std::time::Duration::from_millis(100)).is_empty());
}

/// Text goes both ways in the encoding that was asked for, at the start or later.
#[test]
fn encodings_are_their_sessions_own() {
    let pooled = Pooled::new("encodings");
    let changes: [fn(Login) -> Login; 2] = [|login| login, |login| login.with("client_encoding", "LATIN1")];
    let texts = [
        "SHOW client_encoding",
        "SELECT chr(252)",
        "SET client_encoding = 'LATIN9'",
        "SELECT convert_from('\\xc3bc'::bytea, 'UTF8'), octet_length(convert_to(chr(252), 'UTF8'))",
        "SELECT chr(8364)",
        "SET NAMES 'WIN1252'",
        "SELECT chr(252)",
        "SELECT chr(12354)",
        "SET NAMES DEFAULT",
        "SELECT chr(252)",
        "SET client_encoding = 'UTF8'",
        "SELECT chr(12354)",
    ];
    for change in changes {
        pooled.stolen_as(&change, &texts.map(query));
    }
}

/// The first statement of a block may still be `SET TRANSACTION`: nothing of ours runs inside the client's transaction.
#[test]
fn nothing_of_ours_runs_inside_a_clients_transaction() {
    let pooled = Pooled::new("inside");
    let heard = pooled.stolen_sql(&[
        "SET work_mem = '3MB'",
        "BEGIN",
        "SET TRANSACTION ISOLATION LEVEL SERIALIZABLE, READ ONLY, DEFERRABLE",
        "SELECT current_setting('transaction_isolation'), current_setting('transaction_read_only')",
        "COMMIT",
        "SET default_transaction_read_only = on",
        "CREATE TABLE refused (x int)",
        "BEGIN READ WRITE; CREATE TABLE allowed (x int); DROP TABLE allowed; COMMIT",
        "SET default_transaction_isolation = 'repeatable read'",
        "BEGIN",
        "SET TRANSACTION SNAPSHOT '00000003-0000001B-1'",
        "ROLLBACK",
        // Implicit transactions of a batch and of several statements too.
        "SET TRANSACTION ISOLATION LEVEL SERIALIZABLE; SHOW transaction_isolation",
        "SELECT 1",
    ]);
    assert!(heard.contains(&"B DataRow serializable|on".to_owned()), "{heard:#?}");
    let mut wire = pooled.enter();
    wire.rows("SET work_mem = '4MB'");
    pooled.steal();
    // One transaction, one statement: the server counts no other of this session.
    let begun = wire.value(
        "SELECT (now() = statement_timestamp())::text || (xact_start = query_start)::text
        FROM pg_stat_activity WHERE pid = pg_backend_pid()",
    );
    assert!(begun == "truetrue" || !is_transaction(), "{begun}");
}
