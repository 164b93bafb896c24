//! Whoever waits too long is told which limit it is, as an error inside the session; the server's own timeouts are the session's own.
//!
//! Source: runtime-config-client#GUC-IDLE-IN-TRANSACTION-SESSION-TIMEOUT, protocol-flow#PROTOCOL-FLOW-EXT-QUERY

use std::time::{Duration, Instant};

use serde_json::json;

use crate::support::messages::*;
use crate::support::pooled::{Pooled, is_transaction};
use crate::support::transcript::lines;

/// One E and one Z per Sync, whatever form the request has; and the session goes on.
#[test]
fn a_wait_that_is_too_long_is_an_error_inside_the_session() {
    if !is_transaction() {
        return;
    }
    let pooled = Pooled::with("long_wait", json!({ "pool": { "wait_timeout_ms": 300 } }));
    let (mut holder, mut wire) = (pooled.enter(), pooled.enter());
    holder.rows("BEGIN");
    let run = |sql: &str| all(&[parse("", sql), bind("", "", &[]), describe_portal(""), execute("", 0)]);
    for (request, ready) in [
        (query("SELECT 1"), 1),
        (all(&[run("SELECT 1"), run("SELECT 2"), sync()]), 1),
        (all(&[parse("s1", "SELECT 1"), sync()]), 1),
        (all(&[bind("", "", &[]), execute("", 0), sync()]), 1),
        (query("BEGIN"), 1),
        (query("COPY pg_class TO STDOUT"), 1),
        (function_call(1257, &["four"]), 1),
    ] {
        let begun = Instant::now();
        wire.send(&request);
        let heard: Vec<String> = (0..ready).flat_map(|_| lines(&wire.until_ready())).collect();
        assert_eq!(heard.len(), 2, "one error and one ReadyForQuery: {heard:#?}");
        assert!(heard[0].starts_with("B ErrorResponse S=ERROR C=53300"), "{heard:#?}");
        assert!(heard[0].contains("backends_max"), "{heard:#?}");
        assert_eq!(heard[1], "B ReadyForQuery I");
        assert!(begun.elapsed() < Duration::from_secs(5));
    }
    // Several batches on their way: each is refused or, once there is a backend, answered.
    wire.send(&all(&[run("SELECT 1"), sync(), run("SELECT 2"), sync()]));
    let heard: Vec<String> = (0..2).flat_map(|_| lines(&wire.until_ready())).collect();
    assert_eq!(
        heard.iter().filter(|line| line.starts_with("B ErrorResponse S=ERROR C=53300")).count(),
        2,
        "{heard:#?}"
    );
    assert_eq!(heard.len(), 4, "{heard:#?}");
    assert!(wire.within(Duration::from_millis(100)).is_empty());
    assert_eq!(holder.value("SELECT 'unharmed'"), "unharmed");
    holder.rows("COMMIT");
    // A Parse that was refused gave no name.
    let frames = wire.talk(&all(&[bind("", "s1", &[]), execute("", 0), sync()]));
    assert_eq!(frames[0].field('C'), "26000", "{}", frames[0].line());
    assert_eq!(wire.value("SELECT 'goes on'"), "goes on");
    // The refused statements are in the log, as refused.
    let refused = pooled.house.vault.audit(&["--kind", "statement"]);
    let refused = refused.iter().filter(|record| record["db.response.status_code"] == "53300").count();
    assert!(refused >= 6, "{refused} refused statements are in the log");
}

/// A Parse that came to nothing leaves no unnamed statement, least of all the former one: else a client that sends its batches behind
/// each other would run what it did not mean.
#[test]
fn a_refused_parse_leaves_no_unnamed_statement() {
    if !is_transaction() {
        return;
    }
    let pooled = Pooled::with("refused_parse", json!({ "pool": { "wait_timeout_ms": 300 } }));
    let (mut holder, mut wire) = (pooled.enter(), pooled.enter());
    let run = all(&[bind("", "", &[]), execute("", 0), sync()]);
    wire.talk(&all(&[parse("", "SELECT 'former'"), sync()]));
    holder.rows("BEGIN");
    assert_eq!(wire.talk(&all(&[parse("", "SELECT 'meant'"), sync()]))[0].field('C'), "53300");
    holder.rows("COMMIT");
    let heard = lines(&wire.talk(&run));
    assert!(heard[0].starts_with("B ErrorResponse S=ERROR C=26000"), "{heard:#?}");
    // The same for one that was to be closed and given anew, with the next batch on its way already.
    wire.talk(&all(&[parse("s1", "SELECT 'former'"), sync()]));
    holder.rows("BEGIN");
    let anew = all(&[close_statement("s1"), parse("s1", "SELECT 'meant'"), sync()]);
    assert_eq!(wire.talk(&anew)[0].field('C'), "53300");
    holder.rows("COMMIT");
    let heard = lines(&wire.talk(&all(&[bind("", "s1", &[]), execute("", 0), sync()])));
    assert!(heard[0].starts_with("B ErrorResponse S=ERROR C=26000"), "{heard:#?}");
}

/// Waiters are served in the order in which they came.
#[test]
fn waiters_are_served_in_their_order() {
    let pooled = Pooled::with("order", json!({ "pool": { "wait_timeout_ms": 15_000 } }));
    let mut holder = pooled.enter();
    holder.rows("CREATE SEQUENCE turn; BEGIN");
    let mut waiters: Vec<_> = (0..6).map(|_| pooled.enter()).collect();
    for wire in &mut waiters {
        wire.send(&query("SELECT nextval('turn')"));
        std::thread::sleep(Duration::from_millis(60));
    }
    // Without the order of arrival the last ones would be as likely to be first.
    if is_transaction() {
        holder.rows("COMMIT");
        let turns: Vec<String> = waiters
            .iter_mut()
            .map(|wire| {
                wire.until_ready().iter().find(|frame| frame.tag == b'D').unwrap().values()[0]
                    .clone()
                    .unwrap()
            })
            .collect();
        assert_eq!(turns, ["1", "2", "3", "4", "5", "6"]);
    }
}

/// `statement_timeout` is its session's own, wherever its statements run.
#[test]
fn statement_timeouts_are_the_sessions_own() {
    let pooled = Pooled::new("statement_timeout");
    let mut other = pooled.enter();
    pooled.stolen_sql(&[
        "SET statement_timeout = '150ms'",
        "SELECT pg_sleep(5)",
        "SELECT 'goes on'",
        "BEGIN",
        "SELECT pg_sleep(5)",
        "COMMIT",
        "SET LOCAL statement_timeout = 0",
        "BEGIN; SET LOCAL statement_timeout = 0; SELECT pg_sleep(0.3); COMMIT",
        "SELECT pg_sleep(5)",
        "SET lock_timeout = '100ms'; RESET statement_timeout",
        "SELECT pg_sleep(0.3)",
    ]);
    assert_eq!(other.sqlstate("SELECT pg_sleep(0.4)"), "");
}

/// A transaction that idles too long is ended by the server; its words arrive, and others are not harmed.
#[test]
fn an_idle_transaction_is_ended_in_the_servers_words() {
    let pooled = Pooled::new("idle_block");
    let mut other = pooled.enter();
    let heard = pooled.both(|wire, steal| {
        wire.rows("SET idle_in_transaction_session_timeout = '200ms'");
        steal();
        wire.rows("BEGIN");
        lines(&wire.rest())
    });
    assert_eq!(heard.len(), 1, "{heard:#?}");
    assert!(heard[0].starts_with("B ErrorResponse S=FATAL C=25P03"), "{heard:#?}");
    pooled.steal();
    other.rows("BEGIN");
    std::thread::sleep(Duration::from_millis(500));
    other.rows("COMMIT");
}

/// A session that idles too long by its own wish is ended; a backend that waits in the pool is nobody's idle session.
#[test]
fn an_idle_session_is_ended_by_its_own_timeout_only() {
    let pooled = Pooled::new("idle_session");
    let mut other = pooled.enter();
    let heard = pooled.both(|wire, steal| {
        wire.rows("SET idle_session_timeout = '1500ms'");
        steal();
        wire.rows("SELECT 1");
        lines(&wire.rest())
    });
    assert_eq!(heard.len(), 1, "{heard:#?}");
    assert!(heard[0].starts_with("B ErrorResponse S=FATAL C=57P05"), "{heard:#?}");
    std::thread::sleep(Duration::from_millis(1600));
    assert_eq!(other.value("SELECT 'unharmed'"), "unharmed");
    pooled.steal();
}

/// The end of a session that was silent for too long, in its log.
fn assert_ended_for_idleness(pooled: &Pooled) {
    let ends = || {
        let closed = pooled.house.vault.audit(&["--kind", "session_close"]);
        closed.iter().any(|record| record["status_detail"].as_str().unwrap().contains("idle session timeout"))
    };
    let begun = Instant::now();
    while !ends() {
        assert!(begun.elapsed() < Duration::from_secs(5), "no session's record says why it ended");
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// Whoever made the limit, and whether the session ever spoke: it is told in PostgreSQL's words, and its record says so.
#[test]
fn a_silent_session_is_told_why_it_ends() {
    let house = |config| Pooled::with("silent", config);
    for (word, pooled, name, value) in [
        (
            "configured",
            house(json!({ "limits": { "idle_session_timeout_ms": 1200 } })),
            "application_name",
            "a",
        ),
        ("startup", house(json!({})), "idle_session_timeout", "1200"),
        ("options", house(json!({})), "options", "-c work_mem=1MB --idle-session-timeout=1200ms"),
    ] {
        for speaks in [false, true] {
            let mut wire = pooled.house.vault.enter(&pooled.house.login().with(name, value));
            if speaks {
                assert_eq!(wire.value("SELECT 'once'"), "once");
            }
            let begun = Instant::now();
            let heard = lines(&wire.rest());
            assert_eq!(heard.len(), 1, "{word}: {heard:#?}");
            assert!(heard[0].starts_with("B ErrorResponse S=FATAL C=57P05"), "{word}: {heard:#?}");
            assert!(heard[0].contains("terminating connection due to idle-session timeout"), "{heard:#?}");
            assert!(begun.elapsed() > Duration::from_millis(600), "{word}: {:?}", begun.elapsed());
        }
        if is_transaction() || word == "configured" {
            assert_ended_for_idleness(&pooled);
        }
    }
}

/// A backend that lies idle between two sessions is not ended by what the last one wished for itself.
#[test]
fn no_backend_is_ended_by_a_former_sessions_wish() {
    if !is_transaction() {
        return;
    }
    let pooled = Pooled::new("wishes");
    let mut other = pooled.enter();
    let pid = other.value("SELECT pg_backend_pid()");
    for wish in [
        "SET idle_session_timeout = 900",
        "SELECT set_config('idle_session_timeout', '900ms', false)",
        "SET idle_session_timeout = '900'; SET idle_in_transaction_session_timeout = '150ms'; SET statement_timeout = '450ms'",
    ] {
        let mut wire = pooled.enter();
        wire.rows(wish);
        assert_eq!(wire.value("SELECT 1"), "1", "{wish}");
        assert_ne!(wire.value("SHOW idle_session_timeout"), "0", "{wish}");
        let heard = lines(&wire.rest());
        assert!(heard[0].starts_with("B ErrorResponse S=FATAL C=57P05"), "{wish}: {heard:#?}");
        std::thread::sleep(Duration::from_millis(1000));
        // Its statement_timeout is not the other's either.
        assert_eq!(other.value("SELECT pg_backend_pid() FROM pg_sleep(0.6)"), pid, "{wish}");
        assert_eq!(other.value("SHOW idle_session_timeout"), "0", "{wish}");
    }
    // A wish in a transaction that is rolled back was none, and zero is for ever.
    let mut wire = pooled.enter();
    for sql in [
        "BEGIN",
        "SET idle_session_timeout = 200",
        "ROLLBACK",
        "BEGIN; SET LOCAL idle_session_timeout = 200; COMMIT",
        "SET idle_session_timeout = 200; SET idle_session_timeout = 0",
    ] {
        wire.rows(sql);
    }
    std::thread::sleep(Duration::from_millis(500));
    assert_eq!(wire.value("SELECT pg_backend_pid()"), pid);
    // One that is not understood holds its backend, so that the server keeps the time.
    wire.rows("SET idle_session_timeout = '1.5s'");
    pooled.assert_held("setting");
    assert!(lines(&wire.rest())[0].starts_with("B ErrorResponse S=FATAL C=57P05"));
}

/// A session that holds its backend, and one that waits for it, are ended by no timer of the other kind.
#[test]
fn who_holds_or_waits_is_not_idle() {
    let pooled = Pooled::with("holds", json!({ "pool": { "wait_timeout_ms": 3000 } }));
    let (mut holder, mut wire) = (pooled.enter(), pooled.enter());
    wire.rows("SET idle_session_timeout = '900ms'");
    holder.rows("BEGIN; LISTEN nobody; COMMIT; BEGIN");
    wire.send(&query("SELECT 'at last'"));
    std::thread::sleep(Duration::from_millis(1200));
    holder.rows("COMMIT; UNLISTEN *");
    let heard = lines(&wire.until_ready());
    assert!(heard.iter().any(|line| line == "B DataRow at last"), "{heard:#?}");
    // Pinned, the server itself keeps the time.
    let mut pinned = pooled.enter();
    pinned.rows("LISTEN somebody; SET idle_session_timeout = '900ms'");
    let heard = lines(&pinned.rest());
    assert_eq!(heard.len(), 1, "{heard:#?}");
    assert!(heard[0].starts_with("B ErrorResponse S=FATAL C=57P05"), "{heard:#?}");
}
