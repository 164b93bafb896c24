//! Session pooling: a backend belongs to one client from login to end, and nothing of that client stays behind.

use std::time::{Duration, Instant};

use serde_json::json;

use crate::support::both::says;
use crate::support::eventually;
use crate::support::messages::*;
use crate::support::vault::House;
use crate::support::wire::Wire;

/// One backend for everybody, so that what one client leaves behind the next one would find.
fn one_backend(word: &str) -> House {
    let (pool, limits) = (json!({ "mode": "session" }), json!({ "backends_max": 1 }));
    House::with(word, |options| options.with(json!({ "pool": pool, "limits": limits })))
}

/// The process id told at login is the server's own, and it is used again by the next client.
#[test]
fn the_backend_is_known_by_its_true_pid_and_used_again() {
    let house = one_backend("pid");
    let mut first = house.enter();
    let pid = first.value("SELECT pg_backend_pid()");
    assert_eq!(pid, first.key.0.to_string());
    first.send(&terminate());
    assert!(first.rest().is_empty());
    assert_eq!(house.enter().value("SELECT pg_backend_pid()"), pid);
}

/// Settings, role, temporary tables, held cursors, sequences, locks, LISTEN, prepared statements: all gone.
#[test]
fn nothing_of_a_client_is_left_for_the_next_one() {
    let house = one_backend("left");
    house.tenant.sql(&format!("CREATE ROLE {0}_other; GRANT {0}_other TO {0}", house.tenant.role));
    let role = &house.tenant.role;
    let mut first = house.enter();
    let pid = first.value("SELECT pg_backend_pid()");
    first.rows("CREATE SEQUENCE s; CREATE TABLE t (x text); INSERT INTO t VALUES ('real')");
    first.rows("SELECT nextval('s')");
    first.rows(
        "SET work_mem = '7MB'; SET custom.key = 'mine'; SELECT set_config('search_path', 'nowhere', false)",
    );
    first.rows("SET search_path = public; CREATE TEMP TABLE t AS SELECT 'false' AS x; PREPARE p AS SELECT 1");
    first.rows("SELECT pg_advisory_lock(42); LISTEN news");
    first.rows("BEGIN; DECLARE held CURSOR WITH HOLD FOR SELECT 1; COMMIT");
    first.rows("SET row_security = off; SET client_encoding = latin1");
    first.rows("SET default_transaction_read_only = on");
    first.rows(&format!("SET ROLE {role}_other"));
    says(&mut first, &[parse("named", "SELECT 1"), sync()], 1);
    first.send(&terminate());
    assert!(first.rest().is_empty());

    let mut next = house.enter();
    assert_eq!(next.value("SELECT pg_backend_pid()"), pid, "this test needs the same backend");
    assert_eq!(next.value("SELECT x FROM t"), "real");
    assert_eq!(next.value("SELECT current_user"), *role);
    assert_ne!(next.value("SHOW work_mem"), "7MB");
    assert_eq!(next.value("SHOW default_transaction_read_only"), "off");
    assert_eq!(next.parameters["client_encoding"], "UTF8");
    let left = "SELECT (SELECT count(*) FROM pg_prepared_statements) + (SELECT count(*) FROM pg_cursors)
        + (SELECT count(*) FROM pg_listening_channels()) + (SELECT count(*) FROM pg_locks WHERE locktype = 'advisory')";
    assert_eq!(next.value(left), "0");
    assert_eq!(next.sqlstate("SELECT lastval()"), "55000");
    assert_eq!(next.value("SELECT coalesce(current_setting('custom.key', true), '')"), "");
    drop(next);
    house.tenant.sql(&format!("DROP ROLE {role}_other"));
}

/// A client that leaves inside a transaction, politely or not, gives up its locks at once.
#[test]
fn locks_are_gone_when_their_client_is() {
    let house = House::pooled("locks", "session");
    house.direct().rows("CREATE TABLE t (x int)");
    let ways: [fn(&mut Wire); 3] = [
        |wire| wire.send(&terminate()),
        |wire| wire.vanish(),
        |wire| {
            // A reset instead of an end.
            socket2::SockRef::from(wire.tcp()).set_linger(Some(Duration::ZERO)).unwrap();
        },
    ];
    for leave in ways {
        let mut wire = house.enter();
        wire.rows("BEGIN; LOCK TABLE t; SELECT pg_advisory_lock(1)");
        leave(&mut wire);
        drop(wire);
        eventually("the locks are still held", || {
            let held =
                "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' OR mode = 'AccessExclusiveLock'";
            house.tenant.sql(held)[0][0].as_deref() == Some("0")
        });
    }
}

/// A client that leaves while its statement runs stops the statement, and nobody gets its answer.
#[test]
fn a_statement_ends_with_its_client() {
    let house = one_backend("midway");
    let leavings: [Vec<u8>; 5] = [
        query("SELECT pg_sleep(60), 'secret'"),
        query("SELECT 'secret' FROM generate_series(1, 3000000)"),
        all(&[query("COPY (SELECT 'secret' FROM generate_series(1, 3000000)) TO STDOUT")]),
        all(&[parse("", "SELECT 'secret'"), bind("", "", &[]), execute("", 0)]),
        query("SELECT 'secret'")[..9].to_vec(),
    ];
    for (number, leaving) in leavings.iter().enumerate() {
        let mut wire = house.enter();
        wire.send(leaving);
        std::thread::sleep(Duration::from_millis(100));
        wire.vanish();
        let begun = Instant::now();
        let frames = house.enter().talk(&query("SELECT 'mine'"));
        assert_eq!(frames[1].values(), [Some("mine".to_owned())], "leaving {number}");
        assert!(begun.elapsed() < Duration::from_secs(8), "leaving {number}");
        let running = "SELECT count(*) FROM pg_stat_activity WHERE query LIKE '%secret%' AND state = 'active'
            AND pid <> pg_backend_pid()";
        eventually("the statement runs on", || house.tenant.sql(running)[0][0].as_deref() == Some("0"));
    }
}

/// A client that leaves in the middle of sending a copy takes the copy back.
#[test]
fn a_copy_ends_with_its_client() {
    let house = one_backend("halfcopy");
    house.direct().rows("CREATE TABLE t (x int)");
    for rest in [copy_data(b"2\n"), copy_data(b"2\n")[..4].to_vec()] {
        let mut wire = house.enter();
        wire.send(&query("COPY t FROM STDIN"));
        wire.until(|frame| frame.tag == b'G');
        wire.send(&all(&[copy_data(b"1\n"), rest]));
        wire.vanish();
        assert_eq!(house.enter().value("SELECT count(*) FROM t"), "0");
    }
}

/// Whatever the server says at any time goes to the client that holds the backend: notices, parameters, notifications.
#[test]
fn what_the_server_says_by_itself_arrives() {
    let house = House::pooled("news", "session");
    let mut listener = house.enter();
    let mut stranger = house.enter();
    listener.rows("LISTEN news");
    let mut sender = house.enter();
    sender.rows("NOTIFY news, 'for all'");
    let frame = listener.frame().unwrap();
    assert_eq!(frame.line(), "B NotificationResponse news for all");
    assert_eq!(frame.number(), i64::from(sender.key.0));
    assert!(stranger.within(Duration::from_millis(200)).is_empty());
    // While idle: a setting changed for this session by an operator's reload.
    let database = &house.tenant.database;
    let frames = listener.talk(&query("DO $$ BEGIN RAISE WARNING 'careful'; END $$"));
    assert_eq!(
        frames[0].line().split(" W=").next(),
        Some("B NoticeResponse S=WARNING C=01000 M=careful"),
        "{database}"
    );
}

/// A backend that dies while nobody uses it is replaced unseen.
#[test]
fn a_backend_that_dies_idle_is_replaced() {
    let house = one_backend("idle");
    for _ in 0..3 {
        let mut wire = house.enter();
        let pid = wire.key.0;
        wire.send(&terminate());
        wire.rest();
        house.tenant.sql(&format!("SELECT pg_terminate_backend({pid}, 5000)"));
        assert_eq!(house.enter().value("SELECT 'replaced'"), "replaced");
    }
}

/// A backend that dies under its client: the server's own last words arrive, and the connection ends.
#[test]
fn the_servers_last_words_are_passed_on() {
    let house = House::pooled("words", "session");
    for busy in [false, true] {
        let mut wire = house.enter();
        wire.rows("BEGIN");
        if busy {
            wire.send(&query("SELECT pg_sleep(20)"));
            std::thread::sleep(Duration::from_millis(200));
        }
        house.tenant.sql(&format!("SELECT pg_terminate_backend({})", wire.key.0));
        let frames = wire.rest();
        let last = frames.last().unwrap();
        assert_eq!((last.field('S'), last.field('C')), ("FATAL".into(), "57P01".into()), "{}", last.line());
        assert_eq!(frames.iter().filter(|frame| frame.is_error()).count(), 1);
    }
    assert_eq!(house.enter().value("SELECT 1"), "1");
}

/// `fresh_backends`: no client ever gets a used backend. That is session pooling, whatever is usual.
#[test]
fn fresh_backends_are_fresh() {
    let house = House::with("fresh", |options| options.with(json!({ "pool": { "fresh_backends": true } })));
    let mut pids: Vec<_> = (0..5)
        .map(|_| {
            let mut wire = house.enter();
            let pid = wire.value("SELECT pg_backend_pid()");
            wire.send(&terminate());
            wire.rest();
            pid
        })
        .collect();
    pids.sort();
    pids.dedup();
    assert_eq!(pids.len(), 5);
}
