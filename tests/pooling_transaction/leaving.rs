//! However a client leaves, its backend is soon somebody else's, with nothing open; and a slow reader holds none.
//!
//! Source: protocol-flow#PROTOCOL-FLOW-TERMINATION

use std::time::{Duration, Instant};

use serde_json::json;

use crate::support::eventually;
use crate::support::messages::*;
use crate::support::pooled::{Pooled, is_transaction};
use crate::support::wire::Wire;

#[test]
fn an_open_transaction_ends_with_its_client() {
    let pooled = Pooled::new("open");
    pooled.direct().rows("CREATE TABLE t (x int)");
    let ways: [fn(&mut Wire); 5] = [
        |wire| wire.send(&terminate()),
        |wire| wire.vanish(),
        |wire| socket2::SockRef::from(wire.tcp()).set_linger(Some(Duration::ZERO)).unwrap(),
        |wire| wire.send(&all(&[query("INSERT INTO t VALUES (2)"), terminate()])),
        |wire| {
            assert_eq!(wire.sqlstate("SELECT 1/0"), "22012");
            wire.vanish();
        },
    ];
    for (way, leave) in ways.iter().enumerate() {
        let mut wire = pooled.enter();
        wire.rows("BEGIN; LOCK TABLE t; INSERT INTO t VALUES (1)");
        wire.rows("SELECT pg_advisory_lock(51)");
        leave(&mut wire);
        drop(wire);
        eventually("the locks are still held", || {
            let held = "SELECT count(*) FROM pg_locks WHERE mode = 'AccessExclusiveLock' OR locktype = 'advisory' AND objid = 51";
            pooled.house.tenant.sql(held)[0][0].as_deref() == Some("0")
        });
        pooled.steal();
        assert_eq!(pooled.direct().value("SELECT count(*) FROM t"), "0", "way {way}");
    }
}

/// A client that leaves in the middle of a statement, an answer, a copy or a message: the query stops and its answer is nobody's.
#[test]
fn what_runs_ends_with_its_client() {
    let pooled = Pooled::with("running", json!({ "pool": { "wait_timeout_ms": 15_000 } }));
    pooled.direct().rows("CREATE TABLE t (x text)");
    let leavings: [Vec<u8>; 8] = [
        query("SELECT pg_sleep(60), 'secret'"),
        query("SELECT 'secret' FROM generate_series(1, 3000000)"),
        query("COPY (SELECT 'secret' FROM generate_series(1, 3000000)) TO STDOUT"),
        all(&[parse("s1", "SELECT 'secret'"), bind("", "s1", &[]), execute("", 0)]),
        all(&[parse("", "SELECT 'secret'"), bind("", "", &[]), execute("", 0), flush()]),
        all(&[query("COPY t FROM STDIN"), copy_data(b"secret\n")]),
        all(&[query("COPY t FROM STDIN"), copy_data(b"secret\n")[..4].to_vec()]),
        query("SELECT 'secret'")[..9].to_vec(),
    ];
    for (number, leaving) in leavings.iter().enumerate() {
        let mut wire = pooled.enter();
        wire.send(leaving);
        std::thread::sleep(Duration::from_millis(100));
        wire.vanish();
        let begun = Instant::now();
        let frames = pooled.enter().talk(&query("SELECT 'mine'"));
        assert_eq!(frames[1].values(), [Some("mine".to_owned())], "leaving {number}");
        pooled.steal();
        assert!(begun.elapsed() < Duration::from_secs(8), "leaving {number}");
        let running = "SELECT count(*) FROM pg_stat_activity WHERE query LIKE '%secret%' AND state = 'active' AND pid <> pg_backend_pid()";
        eventually("the statement runs on", || {
            pooled.house.tenant.sql(running)[0][0].as_deref() == Some("0")
        });
    }
    assert_eq!(pooled.direct().value("SELECT count(*) FROM t"), "0");
}

/// A client that leaves while it waits in the queue leaves the queue.
#[test]
fn a_waiting_client_that_leaves_takes_no_backend() {
    let pooled = Pooled::with("gone", json!({ "pool": { "wait_timeout_ms": 10_000 } }));
    let mut holder = pooled.enter();
    holder.rows("BEGIN");
    for _ in 0..5 {
        let mut waiter = pooled.enter();
        waiter.send(&query("SELECT 'too late'"));
        std::thread::sleep(Duration::from_millis(30));
        waiter.vanish();
    }
    holder.rows("COMMIT");
    let begun = Instant::now();
    pooled.steal();
    assert!(begun.elapsed() < Duration::from_secs(5));
    assert_eq!(holder.value("SELECT 'goes on'"), "goes on");
}

/// A result whose tail lies unread at the client holds nobody up: the server is ready, so the backend is free.
#[test]
fn a_slow_reader_does_not_hold_the_backend() {
    let pooled = Pooled::with("slow", json!({ "pool": { "wait_timeout_ms": 10_000 } }));
    let mut slow = pooled.enter();
    socket2::SockRef::from(slow.tcp()).set_recv_buffer_size(32 << 10).unwrap();
    for _ in 0..3 {
        slow.send(&query("SELECT repeat('x', 1000) FROM generate_series(1, 400)"));
        std::thread::sleep(Duration::from_millis(100));
        let mut next = pooled.enter();
        let begun = Instant::now();
        assert_eq!(next.value("SELECT 'not held up'"), "not held up");
        assert!(begun.elapsed() < Duration::from_secs(3), "{:?}", begun.elapsed());
        pooled.steal();
        let frames = slow.until_ready();
        assert_eq!(frames.iter().filter(|frame| frame.tag == b'D').count(), 400);
    }
    // Its own transaction is another matter: that one it does hold.
    slow.send(&query("BEGIN; SELECT repeat('x', 1000) FROM generate_series(1, 400)"));
    std::thread::sleep(Duration::from_millis(100));
    let mut next = pooled.enter();
    next.send(&query("SELECT 1"));
    assert!(!is_transaction() || next.within(Duration::from_millis(500)).is_empty());
    slow.until_ready();
    slow.rows("COMMIT");
    next.until_ready();
}

/// A session may log in, say nothing, and leave: it never had a backend to hold.
#[test]
fn idle_sessions_hold_no_backend() {
    let pooled = Pooled::new("idle");
    let idle: Vec<Wire> = (0..20).map(|_| pooled.enter()).collect();
    pooled.steal();
    if is_transaction() {
        let held =
            format!("SELECT count(*) FROM pg_stat_activity WHERE usename = '{}'", pooled.house.tenant.role);
        assert_eq!(pooled.house.tenant.sql(&held)[0][0].as_deref(), Some("1"));
    }
    drop(idle);
    pooled.steal();
}

/// A server that was told of the end goes with its client, and to nobody else.
#[test]
fn who_does_not_wait_for_answers_leaves_no_dying_backend() {
    let pooled = Pooled::new("hasty");
    let mut other = pooled.enter();
    for round in 0..20 {
        let mut hasty = pooled.enter();
        hasty.send(&all(&[query("SELECT 1"), terminate()]));
        hasty.until_ready();
        assert_eq!(other.value("SELECT 'unharmed'"), "unharmed", "round {round}");
    }
}
