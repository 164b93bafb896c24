//! LISTEN keeps its backend, notifications reach their listener and nobody else, at once and in order.
//!
//! Source: sql-listen, protocol-flow#PROTOCOL-ASYNC

use std::time::Duration;

use serde_json::json;

use crate::support::messages::*;
use crate::support::pooled::{Pooled, is_transaction};
use crate::support::transcript::{Frame, lines};
use crate::support::wire::Wire;

fn next(wire: &mut Wire) -> String {
    wire.until(|frame| frame.tag == b'A').last().map(Frame::line).unwrap_or_default()
}

#[test]
fn a_listener_keeps_its_backend_and_hears_at_once() {
    let pooled = Pooled::new("listener");
    let mut listener = pooled.enter();
    listener.rows("LISTEN news");
    pooled.assert_held("listen");
    let mut sender = pooled.direct();
    for round in 0..3 {
        sender.rows(&format!("NOTIFY news, 'round {round}'; NOTIFY other, 'not for us'"));
        assert_eq!(next(&mut listener), format!("B NotificationResponse news round {round}"));
    }
    let pid: i64 = sender.value("SELECT pg_backend_pid()").parse().unwrap();
    sender.rows("NOTIFY news");
    let heard = listener.until(|frame| frame.tag == b'A');
    assert_eq!(heard.last().unwrap().number(), pid, "sent by the sender's true pid");
    // Inside a transaction it hears behind it.
    listener.rows("BEGIN");
    sender.rows("NOTIFY news, 'later'");
    assert!(listener.within(Duration::from_millis(150)).is_empty());
    listener.send(&query("COMMIT"));
    let heard = lines(&listener.until_ready());
    let mut heard: Vec<String> = heard.into_iter().filter(|line| line.contains("Notification")).collect();
    if heard.is_empty() {
        heard.push(next(&mut listener));
    }
    assert_eq!(heard, ["B NotificationResponse news later"]);
    listener.rows("UNLISTEN *");
    pooled.steal();
    sender.rows("NOTIFY news, 'unheard'");
    pooled.steal();
    assert!(listener.within(Duration::from_millis(150)).is_empty());
}

/// What never took effect listens to nothing; what is unlistened is let go, name by name.
#[test]
fn a_listen_that_is_taken_back_holds_nothing() {
    let pooled = Pooled::new("taken_back");
    pooled.stolen_sql(&[
        "BEGIN; LISTEN news; ROLLBACK",
        "SELECT count(*) FROM pg_listening_channels()",
        "LISTEN one; UNLISTEN one",
        "LISTEN one; UNLISTEN *",
        "UNLISTEN never",
        "SELECT count(*) FROM pg_listening_channels()",
        "LISTEN one; SELECT 1/0",
        "SELECT count(*) FROM pg_listening_channels()",
        "BEGIN; LISTEN one; UNLISTEN one; COMMIT",
        "LISTEN one; DISCARD ALL",
        "NOTIFY one, 'nobody listens'",
        "SELECT pg_notify('one', 'nobody listens')",
    ]);
    let mut wire = pooled.enter();
    wire.rows("LISTEN one; LISTEN two");
    pooled.assert_held("listen");
    wire.rows("UNLISTEN one");
    pooled.assert_held("listen");
    wire.rows("UNLISTEN two");
    pooled.steal();
}

/// A listener among many others on a few backends, all of whom notify: each message once, in order, and nobody else hears.
#[test]
fn a_notification_is_nobody_elses() {
    let pooled = Pooled::of("crowd", 3, json!({ "pool": { "wait_timeout_ms": 15_000 } }));
    let (mut listener, mut second) = (pooled.enter(), pooled.enter());
    listener.rows("LISTEN news");
    second.rows("LISTEN others");
    let loose = pooled.loose();
    let mut sender = pooled.enter();
    for number in 0..100 {
        let frames = sender.talk(&query(&format!("NOTIFY news, '{number}'")));
        assert!(frames.iter().all(|frame| frame.tag != b'A'), "the sender does not listen");
    }
    for number in 0..100 {
        assert_eq!(next(&mut listener), format!("B NotificationResponse news {number}"));
    }
    assert!(second.within(Duration::from_millis(150)).is_empty());
    assert!(loose.catch() > 0 || !is_transaction());
    // One that notifies itself hears itself, with the pid that it sees itself by.
    let pid: i64 = listener.value("SELECT pg_backend_pid()").parse().unwrap();
    listener.send(&query("NOTIFY news, 'own'"));
    let heard = listener.until_ready();
    let own = heard.iter().find(|frame| frame.tag == b'A').unwrap();
    assert_eq!(own.number(), pid);
}

/// Notices go to whoever caused them.
#[test]
fn notices_are_their_causers_own() {
    let pooled = Pooled::new("notices");
    pooled.stolen_sql(&[
        "SET client_min_messages = debug1",
        "DO $$BEGIN RAISE NOTICE 'one'; RAISE WARNING 'two'; RAISE DEBUG 'three'; END$$",
        "SET client_min_messages = error",
        "DO $$BEGIN RAISE WARNING 'unheard'; END$$",
        "DROP TABLE IF EXISTS nowhere",
        "RESET client_min_messages",
        "DROP TABLE IF EXISTS nowhere",
        "COMMIT",
    ]);
}
