//! The end of a OneVault, asked for or forced: transactions are finished, clients are told, records are whole.

use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::json;

use crate::support::messages::*;
use crate::support::vault::{House, MODES};
use crate::support::wire::Wire;

/// Waits until nobody new is let in.
fn until_closed(port: u16, login: &crate::support::wire::Login) {
    let begun = Instant::now();
    while Wire::try_plain(port).is_ok_and(|mut wire| wire.login(login).is_ok()) {
        assert!(begun.elapsed() < Duration::from_secs(5), "new clients are still let in");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// An idle client hears 57P01 at once; one in a transaction goes on to its end and hears it then.
#[test]
fn a_drain_waits_for_open_transactions() {
    for mode in MODES {
        waits_for_transactions(House::pooled("drain", mode));
    }
}

fn waits_for_transactions(mut house: House) {
    let (mut idle, mut busy, mut running) = (house.enter(), house.enter(), house.enter());
    busy.rows("CREATE TABLE t (x int); BEGIN; INSERT INTO t VALUES (1)");
    running.send(&query("SELECT pg_sleep(1), 'finished'"));
    std::thread::sleep(Duration::from_millis(200));
    house.vault.signal(Signal::TERM);
    let last = idle.rest();
    assert_eq!(last.last().unwrap().field('C'), "57P01");
    let frames = running.rest();
    assert!(frames.iter().any(|frame| frame.line().ends_with("|finished")), "the statement was cut off");
    assert_eq!(busy.value("INSERT INTO t VALUES (2); SELECT count(*) FROM t"), "2");
    let frames = {
        busy.send(&query("COMMIT"));
        busy.rest()
    };
    assert_eq!(frames[0].line(), "B CommandComplete COMMIT");
    assert_eq!(frames.last().unwrap().field('C'), "57P01", "{frames:?}");
    assert!(house.vault.wait().success(), "{}", house.vault.stderr());
    assert_eq!(house.direct().value("SELECT count(*) FROM t"), "2");
    let records = house.vault.audit(&["--kind", "statement"]);
    assert!(records.iter().all(|record| record["ov.outcome"] == "ok"), "{records:#?}");
    assert_eq!(records.len(), 4);
}

/// While draining nobody new is let in.
#[test]
fn nobody_enters_a_house_that_is_closing() {
    let mut house = House::new("closing");
    let mut busy = house.enter();
    busy.rows("BEGIN");
    house.vault.signal(Signal::TERM);
    until_closed(house.vault.port, &house.login());
    busy.send(&query("ROLLBACK"));
    busy.rest();
    assert!(house.vault.wait().success());
}

/// A transaction that does not end is ended when the time is over, and its work is taken back.
#[test]
fn a_drain_ends_in_time() {
    for mode in MODES {
        let changes = json!({ "pool": { "mode": mode }, "limits": { "drain_timeout_ms": 500 } });
        ends_in_time(House::with("late", |options| options.with(changes)));
    }
}

fn ends_in_time(mut house: House) {
    house.direct().rows("CREATE TABLE t (x int)");
    let (mut open, mut running) = (house.enter(), house.enter());
    open.rows("BEGIN; INSERT INTO t VALUES (1)");
    running.send(&query("SELECT pg_sleep(60)"));
    std::thread::sleep(Duration::from_millis(200));
    let begun = Instant::now();
    house.vault.signal(Signal::TERM);
    assert_eq!(open.rest().last().unwrap().field('C'), "57P01");
    house.vault.wait();
    assert!(begun.elapsed() < Duration::from_secs(8), "{:?}", begun.elapsed());
    running.rest();
    let counted = Instant::now();
    while house
        .tenant
        .sql("SELECT 1 FROM pg_stat_activity WHERE query LIKE '%pg_sleep(60)' AND state = 'active'")
        .len()
        > 1
    {
        assert!(counted.elapsed() < Duration::from_secs(10), "the statement runs on");
        std::thread::sleep(Duration::from_millis(50));
    }
    assert_eq!(house.direct().value("SELECT count(*) FROM t"), "0");
    let records = house.vault.audit(&["--grep", "pg_sleep(60)", "--kind", "statement"]);
    assert_eq!(records.len(), 1, "{records:#?}");
    assert_ne!(records[0]["ov.outcome"], "ok");
}

/// What is left by a clean end is a log that verifies, and the next start goes on in it.
#[test]
fn a_restart_goes_on_where_it_ended() {
    let mut house = House::new("again");
    for round in 1..=3 {
        house.enter().rows(&format!("SELECT 'round {round}'"));
        house.vault.stop();
        let output = house.vault.command(&["audit", "verify"]);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        assert_eq!(house.vault.audit(&["--kind", "statement"]).len(), round);
        house.vault.launch();
    }
}
