//! A cancel request stops what its own session runs or waits for, wherever that is by then, and nobody else's statement ever.
//!
//! Source: protocol-flow#PROTOCOL-FLOW-CANCELING-REQUESTS

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::json;

use crate::support::messages::*;
use crate::support::pooled::{Pooled, is_transaction};
use crate::support::wire::{PROTOCOL_3_2, Wire};

/// Asks for a cancel and waits until the connection is closed; nothing is ever answered.
fn cancel(port: u16, key: &(i32, Vec<u8>)) {
    if let Ok(mut wire) = Wire::try_plain(port) {
        let _ = wire.try_send(&cancel_request(key.0, &key.1));
        assert!(wire.bytes(1).is_empty(), "a cancel request is not answered");
    }
}

/// The SQLSTATEs up to `ReadyForQuery`.
fn outcome(wire: &mut Wire) -> Vec<String> {
    let frames = wire.until_ready();
    assert_eq!(frames.last().map(|frame| frame.tag), Some(b'Z'), "the session goes on");
    frames.iter().filter(|frame| frame.is_error()).map(|frame| frame.field('C')).collect()
}

/// With keys of 4 bytes and of 32, in a transaction and outside, on whatever backend the session is.
#[test]
fn a_running_statement_is_cancelled_on_whatever_backend_it_is() {
    let pooled = Pooled::of("running", 2, json!({ "pool": { "wait_timeout_ms": 15_000 } }));
    let mut modern = pooled.house.login();
    modern.version = PROTOCOL_3_2;
    let (mut short, mut long) = (pooled.enter(), pooled.house.vault.enter_tls(&modern));
    assert_eq!((short.key.1.len(), long.key.1.len()), (4, 32));
    let port = pooled.house.vault.port;
    let begun = Instant::now();
    for round in 0..4 {
        for wire in [&mut short, &mut long] {
            if round % 2 == 1 {
                wire.rows("BEGIN");
            }
            let batch =
                all(&[parse("s1", "SELECT pg_sleep(20)"), bind("", "s1", &[]), execute("", 0), sync()]);
            let slow = if round < 2 { query("SELECT pg_sleep(20)") } else { batch };
            wire.send(&slow);
            std::thread::sleep(Duration::from_millis(150));
            cancel(port, &wire.key);
            assert_eq!(outcome(wire), ["57014"], "round {round}");
            if round % 2 == 1 {
                assert_eq!(wire.sqlstate("SELECT 1"), "25P02");
                wire.rows("ROLLBACK");
            }
            wire.talk(&all(&[close_statement("s1"), sync()]));
            assert_eq!(wire.value("SELECT 'goes on'"), "goes on");
        }
        pooled.steal();
    }
    assert!(begun.elapsed() < Duration::from_secs(15));
}

/// Two sleep side by side: the one that is meant ends, the other sleeps on.
#[test]
fn a_cancel_stops_its_own_and_no_other() {
    let pooled = Pooled::of("own", 2, json!({}));
    let (mut one, mut two) = (pooled.enter(), pooled.enter());
    for _ in 0..3 {
        pooled.steal();
        for wire in [&mut one, &mut two] {
            wire.send(&query("SELECT pg_sleep(0.8)"));
        }
        std::thread::sleep(Duration::from_millis(200));
        cancel(pooled.house.vault.port, &one.key);
        assert_eq!(outcome(&mut one), ["57014"]);
        assert!(outcome(&mut two).is_empty());
    }
}

/// While it waits for a backend, a statement can be cancelled too: one error, and the session goes on.
#[test]
fn a_queued_statement_is_cancelled() {
    if !is_transaction() {
        return;
    }
    let pooled = Pooled::with("queued", json!({ "pool": { "wait_timeout_ms": 20_000 } }));
    let (mut holder, mut waiter) = (pooled.enter(), pooled.enter());
    let waiting = [
        query("SELECT 'never'"),
        all(&[
            parse("s1", "SELECT 'never'"),
            bind("", "s1", &[]),
            describe_portal(""),
            execute("", 0),
            sync(),
        ]),
    ];
    for slow in &waiting {
        holder.rows("BEGIN; SELECT 1");
        waiter.send(slow);
        std::thread::sleep(Duration::from_millis(200));
        let begun = Instant::now();
        cancel(pooled.house.vault.port, &waiter.key);
        assert_eq!(outcome(&mut waiter), ["57014"]);
        assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
        assert!(waiter.within(Duration::from_millis(100)).is_empty(), "one error and one ReadyForQuery");
        // Its place in the queue is free, and the holder was not hit.
        assert_eq!(holder.value("SELECT pg_sleep(0.1)::text || 'unharmed'"), "unharmed");
        holder.rows("COMMIT");
        assert_eq!(waiter.value("SELECT 'goes on'"), "goes on");
        pooled.steal();
    }
}

/// Cancels for a session that has nothing running rain down while a thief uses the backend: it is never hit.
#[test]
fn a_late_cancel_never_hits_the_next_session() {
    let pooled = Pooled::with("late", json!({ "pool": { "wait_timeout_ms": 15_000 } }));
    let mut victim = pooled.enter();
    let mut next = pooled.enter();
    let (port, over) = (pooled.house.vault.port, Arc::new(AtomicBool::new(false)));
    let rain: Vec<_> = (0..2)
        .map(|_| {
            let (key, over) = (victim.key.clone(), Arc::clone(&over));
            std::thread::spawn(move || {
                while !over.load(Ordering::SeqCst) {
                    cancel(port, &key);
                    std::thread::sleep(Duration::from_millis(2));
                }
            })
        })
        .collect();
    let begun = Instant::now();
    let mut rounds = 0;
    while begun.elapsed() < Duration::from_secs(6) {
        // The victim may be hit, at any time; the others never.
        victim.send(&query("SELECT pg_sleep(0.01)"));
        let hit = outcome(&mut victim);
        assert!(hit.is_empty() || hit == ["57014"], "{hit:?}");
        assert_eq!(next.sqlstate("SELECT pg_sleep(0.02)"), "", "round {rounds}");
        rounds += 1;
        if rounds % 5 == 0 {
            pooled.steal();
        }
    }
    over.store(true, Ordering::SeqCst);
    rain.into_iter().for_each(|thread| thread.join().unwrap());
    assert!(rounds > 10, "{rounds}");
    // A cancel that came too late is forgotten.
    cancel(port, &victim.key);
    std::thread::sleep(Duration::from_millis(100));
    assert_eq!(victim.sqlstate("SELECT pg_sleep(0.05)"), "");
}

/// In a pipeline one statement is hit; what stands behind its Sync runs.
#[test]
fn a_cancel_in_a_pipeline_ends_one_batch() {
    let pooled = Pooled::new("pipelined");
    let mut wire = pooled.enter();
    let run = |sql: &str| all(&[parse("", sql), bind("", "", &[]), execute("", 0)]);
    wire.send(&all(&[
        run("SELECT 1"),
        sync(),
        run("SELECT pg_sleep(20)"),
        run("SELECT 2"),
        sync(),
        run("SELECT 3"),
        sync(),
    ]));
    std::thread::sleep(Duration::from_millis(200));
    cancel(pooled.house.vault.port, &wire.key);
    let heard: Vec<_> = (0..3).map(|_| outcome(&mut wire)).collect();
    assert_eq!(heard, [vec![], vec!["57014".to_owned()], vec![]]);
    pooled.steal();
    assert_eq!(wire.value("SELECT 'in step'"), "in step");
}

/// A held backend (a pin) is cancelled like any other.
#[test]
fn a_session_that_holds_its_backend_is_cancelled_too() {
    let pooled = Pooled::new("pinned");
    let mut wire = pooled.enter();
    wire.rows("CREATE TEMP TABLE mine (x int)");
    wire.send(&query("SELECT pg_sleep(20)"));
    std::thread::sleep(Duration::from_millis(200));
    cancel(pooled.house.vault.port, &wire.key);
    assert_eq!(outcome(&mut wire), ["57014"]);
    wire.rows("DROP TABLE mine");
    pooled.steal();
}

/// A cancel that comes while the backend is given the session's settings does not hit those, for then the statement would run
/// without them: it stops the statement.
#[test]
fn a_cancel_stops_no_settings_on_their_way() {
    if !is_transaction() {
        return;
    }
    let pooled = Pooled::of("settings", 1, json!({ "pool": { "wait_timeout_ms": 15_000 } }));
    let (mut wire, mut other) = (pooled.enter(), pooled.enter());
    wire.rows("SET work_mem = '1234kB'");
    let server = |wire: &mut Wire| Pid::from_raw(wire.value("SELECT pg_backend_pid()").parse().unwrap());
    let pid = server(&mut other).unwrap();
    // It lies still, and so does what it is told.
    kill_process(pid, Signal::STOP).unwrap();
    wire.send(&query("SELECT current_setting('work_mem'), pg_sleep(20)"));
    std::thread::sleep(Duration::from_millis(100));
    let key = wire.key.clone();
    let port = pooled.house.vault.port;
    let cancelling = std::thread::spawn(move || cancel(port, &key));
    std::thread::sleep(Duration::from_millis(200));
    kill_process(pid, Signal::CONT).unwrap();
    let begun = Instant::now();
    let heard = outcome(&mut wire);
    cancelling.join().unwrap();
    assert_eq!(heard, ["57014"]);
    assert!(begun.elapsed() < Duration::from_secs(10));
    assert_eq!(wire.value("SELECT current_setting('work_mem')"), "1234kB");
}
