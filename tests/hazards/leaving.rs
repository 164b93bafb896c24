//! Clients that leave, politely or not, and backends that die: nothing runs on, nothing is held, nothing is half told.

use std::io::Read;
use std::time::{Duration, Instant};

use crate::support::messages::*;
use crate::support::vault::{House, MODES};
use crate::support::wire::Wire;

/// The ways to leave.
#[derive(Debug, Clone, Copy)]
enum Goodbye {
    Terminate,
    End,
    Reset,
    HalfMessage,
}

const ALL: [Goodbye; 4] = [Goodbye::Terminate, Goodbye::End, Goodbye::Reset, Goodbye::HalfMessage];
const RUDE: [Goodbye; 3] = [Goodbye::End, Goodbye::Reset, Goodbye::HalfMessage];

fn leave(mut wire: Wire, how: Goodbye) {
    match how {
        Goodbye::Terminate => wire.send(&terminate()),
        Goodbye::End => wire.vanish(),
        Goodbye::Reset => {
            socket2::SockRef::from(wire.tcp()).set_linger(Some(Duration::ZERO)).unwrap();
        }
        Goodbye::HalfMessage => {
            wire.send(b"Q\0\0\0\x40INSERT INTO t VALU");
            wire.vanish();
        }
    }
    drop(wire);
}

fn soon(what: &str, limit: Duration, mut done: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !done() {
        assert!(begun.elapsed() < limit, "{what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Nobody runs anything in the house's database but who asks.
fn quiet(house: &House) -> bool {
    let running = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() \
        AND pid <> pg_backend_pid() AND (state <> 'idle' OR xact_start IS NOT NULL)";
    house.tenant.sql(running)[0][0].as_deref() == Some("0")
}

#[test]
fn a_client_that_leaves_in_a_transaction_leaves_no_lock() {
    let house = House::new("in_transaction");
    house.direct().rows("CREATE TABLE t (x int)");
    for how in ALL {
        let mut wire = house.enter();
        wire.rows("BEGIN; INSERT INTO t VALUES (1); LOCK TABLE t; SELECT pg_advisory_lock(1)");
        leave(wire, how);
        let mut other = house.direct();
        soon(&format!("locks are held after {how:?}"), Duration::from_secs(2), || {
            other.sqlstate("LOCK TABLE t IN ACCESS EXCLUSIVE MODE NOWAIT") == "25P01"
                && other.sqlstate("BEGIN; LOCK TABLE t IN ACCESS EXCLUSIVE MODE NOWAIT; COMMIT").is_empty()
                || {
                    other.rows("ROLLBACK");
                    false
                }
        });
        assert_eq!(other.value("SELECT count(*) FROM t"), "0", "{how:?}");
        assert_eq!(other.value("SELECT pg_try_advisory_lock(1)"), "t", "{how:?}");
    }
}

#[test]
fn a_query_stops_when_its_client_leaves() {
    let house = House::new("mid_query");
    house.direct().rows("CREATE TABLE t (x int)");
    for how in RUDE {
        let mut wire = house.enter();
        wire.send(&query("SELECT pg_sleep(60)"));
        soon("it runs", Duration::from_secs(5), || !quiet(&house));
        leave(wire, how);
        soon(&format!("the query runs on after {how:?}"), Duration::from_secs(3), || quiet(&house));
    }
    assert_eq!(house.direct().value("SELECT count(*) FROM t"), "0", "half a message is no statement");
}

/// Sends until nobody takes any more, at most so many bytes; gives how many it were.
fn fill(wire: &mut Wire, chunk: &[u8], bytes_max: usize) -> usize {
    wire.tcp().set_write_timeout(Some(Duration::from_millis(300))).unwrap();
    let mut sent = 0;
    while sent < bytes_max && wire.try_send(chunk).is_ok() {
        sent += chunk.len();
    }
    sent
}

/// So much is sent behind the query that nobody reads it: that the client was lost is noticed all the same. (An orderly end
/// would stand behind all those bytes; nobody can see it yet.)
#[test]
fn a_query_stops_when_a_client_with_a_stuck_pipeline_is_lost() {
    let house = House::new("stuck");
    for filler in [all(&[parse("", "SELECT 1"), sync()]), all(&[parse("", "SELECT 1"), copy_done()])] {
        let (chunk, limit) = (filler.repeat(500), 64 << 20);
        let mut wire = house.enter();
        wire.send(&query("SELECT pg_sleep(60)"));
        let taken = fill(&mut wire, &chunk, limit);
        assert!(taken < limit, "somebody buffers without a limit");
        leave(wire, Goodbye::Reset);
        soon("the query runs on after a reset", Duration::from_secs(4), || quiet(&house));
    }
    assert_eq!(house.enter().value("SELECT 'served'"), "served");
}

#[test]
fn a_statement_before_terminate_is_finished() {
    let house = House::new("finished");
    house.direct().rows("CREATE TABLE t (x int)");
    let mut wire = house.enter();
    wire.send(&all(&[query("INSERT INTO t SELECT 1 FROM pg_sleep(0.3)"), terminate()]));
    assert_eq!(wire.rest().last().map(|frame| frame.tag), Some(b'Z'));
    assert_eq!(house.direct().value("SELECT count(*) FROM t"), "1");
}

#[test]
fn a_client_that_leaves_in_a_copy_or_an_answer_harms_nobody() {
    let house = House::new("mid_copy");
    house.direct().rows("CREATE TABLE t (x int)");
    for how in ALL {
        let mut wire = house.enter();
        wire.send(&query("COPY t FROM STDIN"));
        assert_eq!(wire.frame().unwrap().tag, b'G');
        wire.send(&copy_data(b"1\n2\n"));
        leave(wire, how);
        soon(&format!("the copy goes on after {how:?}"), Duration::from_secs(3), || quiet(&house));
        let mut wire = house.enter();
        wire.send(&query("SELECT repeat('x', 1000) FROM generate_series(1, 1000000)"));
        wire.bytes(100_000);
        leave(wire, how);
        soon(&format!("the answer goes on after {how:?}"), Duration::from_secs(8), || quiet(&house));
        let mut next = house.enter();
        assert_eq!(next.value("SELECT 'mine'"), "mine");
    }
    assert_eq!(house.direct().value("SELECT count(*) FROM t"), "0");
}

/// What was under way is in the log, and says that nobody knows how it ended.
#[test]
fn a_statement_whose_client_left_is_recorded() {
    let house = House::new("left_record");
    let mut wire = house.enter();
    wire.send(&query("SELECT pg_sleep(60)"));
    soon("it runs", Duration::from_secs(5), || !quiet(&house));
    leave(wire, Goodbye::Reset);
    soon("no record", Duration::from_secs(5), || {
        house.vault.audit(&[]).iter().any(|record| {
            record["db.query.text"] == "SELECT pg_sleep(60)"
                && ["unknown", "cancelled"].contains(&record["ov.outcome"].as_str().unwrap())
        })
    });
}

fn killed(house: &House, before: &str) -> (Vec<String>, Vec<String>) {
    let one = |mut wire: Wire| {
        let pid = wire.value("SELECT pg_backend_pid()");
        wire.rows(before);
        // Behind this one, what OneVault itself may have asked is answered.
        wire.rows("SELECT 1");
        house.tenant.sql(&format!("SELECT pg_terminate_backend({pid})"));
        let _ = wire.try_send(&query("INSERT INTO t VALUES (7)"));
        wire.rest().iter().map(|frame| frame.line()).collect::<Vec<_>>()
    };
    (one(house.direct()), one(house.enter()))
}

#[test]
fn a_killed_backend_is_told_in_the_servers_words_and_nothing_runs_afterwards() {
    for mode in MODES {
        let house = House::pooled("killed", mode);
        house.direct().rows("CREATE TABLE t (x int)");
        // With transaction pooling a session has no backend to lose behind its first `SELECT 1`.
        let held = ["BEGIN; INSERT INTO t VALUES (1)", "CREATE TEMP TABLE mine (x int)", "SELECT 1"];
        for before in &held[..if mode == "session" { 3 } else { 2 }] {
            let (direct, through) = killed(&house, before);
            assert_eq!(through, direct, "{mode}, after {before}");
            assert!(direct[0].starts_with("B ErrorResponse S=FATAL C=57P01"), "{direct:?}");
        }
        assert_eq!(house.direct().value("SELECT count(*) FROM t"), "0", "{mode}");
    }
}

/// The client reads slowly; its backend is killed while half a row is under way.
#[test]
fn a_backend_killed_in_a_row_leaves_no_words_in_it() {
    let house = House::new("mid_row");
    let mut wire = house.enter();
    let pid = wire.value("SELECT pg_backend_pid()");
    wire.send(&query("SELECT repeat('x', 10000000) FROM generate_series(1, 20)"));
    wire.bytes(50_000);
    std::thread::sleep(Duration::from_millis(200));
    house.tenant.sql(&format!("SELECT pg_terminate_backend({pid})"));
    let mut rest = Vec::new();
    let mut tcp = wire.tcp();
    let _ = tcp.read_to_end(&mut rest);
    // Rows of x with their headers; an error may only stand at a boundary, and then it is the last thing said.
    let words = rest.windows(10).position(|window| window == b"terminatin");
    let boundary = rest.windows(6).rposition(|window| window == b"E\0\0\0\0" || window.starts_with(b"E\0\0"));
    assert!(words.is_none() || boundary.is_some(), "words inside a row");
    if words.is_none() {
        assert!(
            rest.iter().rev().take(100).all(|byte| *byte == b'x'),
            "something else than the row's own bytes"
        );
    }
    assert_eq!(house.enter().value("SELECT 'served'"), "served");
}
