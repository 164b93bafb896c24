//! A disk that fails with EIO, at the write or at the sync, and one that hangs: what sessions of each mode see of it.

use std::time::{Duration, Instant};

use serde_json::json;

use crate::support::faults::Fault;
use crate::support::messages;
use crate::support::vault::House;
use crate::support::wire::Wire;

/// `audit.stall_timeout_ms` of these tests.
const STALL: Duration = Duration::from_millis(1_000);
/// What a busy machine, a statement and its batch add.
const SLACK: Duration = Duration::from_millis(4_000);
/// With those by which the process's own log gets to standard error: it may lie on the same disk.
const WRITES: (&str, &[&str]) = ("pwrite64,write", &["audit/0000000001.journal", "stderr"]);
const SYNCS: (&str, &[&str]) = ("fdatasync,fsync", &[]);

/// Says statements until one is refused: its SQLSTATE, how many were not, and how long it took from the first.
fn until_refused(wire: &mut Wire, next: &mut u64) -> (String, Duration) {
    let begun = Instant::now();
    while begun.elapsed() < STALL + SLACK {
        *next += 1;
        let frames = wire.talk(&messages::query(&format!("INSERT INTO marks VALUES ('mark {next}')")));
        if let Some(error) = frames.iter().find(|frame| frame.tag == b'E') {
            return (error.field('C'), begun.elapsed());
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    panic!("nothing was refused");
}

fn is_well(house: &House) {
    let begun = Instant::now();
    while !house.vault.http("/health").starts_with("HTTP/1.1 200") {
        assert!(
            begun.elapsed() < Duration::from_secs(20),
            "it does not heal: {}",
            house.vault.http("/health")
        );
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Everything that ran stands in the log once, the gap, too, and all of it verifies.
fn is_whole(house: &House, mode: &str) {
    let gap = house.vault.records(&["--kind", "log_gap"], 1).remove(0);
    assert!(
        gap["ov.attempts"].as_u64().unwrap() > 0 || gap["ov.refused"].as_u64().unwrap() > 0,
        "{mode}: {gap}"
    );
    let statements = house.vault.audit(&["--kind", "statement", "--grep", "INSERT INTO marks"]);
    let of = |outcome: &str| {
        let texts = statements.iter().filter(|record| record["ov.outcome"] == outcome);
        let mut texts: Vec<_> =
            texts.map(|record| record["db.query.text"].as_str().unwrap().to_owned()).collect();
        texts.sort();
        texts
    };
    let mut ran: Vec<String> =
        house.direct().rows("SELECT mark FROM marks").concat().into_iter().flatten().collect();
    ran.iter_mut().for_each(|mark| *mark = format!("INSERT INTO marks VALUES ('{mark}')"));
    ran.sort();
    let logged = of("ok");
    assert!(ran.iter().all(|text| logged.contains(text)), "{mode}: {ran:?} ran, {statements:?} is logged");
    let mut once = logged.clone();
    once.dedup();
    assert_eq!(once, logged, "{mode}: a statement stands in the log twice");
    let verified = house.vault.command(&["audit", "verify"]);
    assert!(verified.status.success(), "{mode}: {}", String::from_utf8_lossy(&verified.stdout));
}

fn survives(calls: (&str, &[&str]), how: &str) {
    for mode in ["write_ahead", "acknowledged", "buffered"] {
        let audit = json!({ "mode": mode, "stall_timeout_ms": STALL.as_millis() });
        let house = House::with("faulty", |options| options.with(json!({ "audit": audit })));
        house.direct().rows("CREATE TABLE marks (mark text)");
        let (mut wire, mut next) = (house.enter(), 0);
        wire.rows("SELECT 1");
        // The customer's key is made with its first record, and not what is tried here.
        house.vault.records(&["--kind", "statement"], 1);
        let Some(fault) = Fault::on(&house.vault, "audit-writer", calls, how) else { return };
        let (code, took) = until_refused(&mut wire, &mut next);
        assert_eq!(code, "58030", "{mode}");
        assert!(took < STALL + SLACK, "{mode}: refused after {took:?}");
        let health = house.vault.http("/health");
        assert!(health.starts_with("HTTP/1.1 503"), "{mode}: {health}");
        let entered = Wire::plain(house.vault.port).login(&house.login());
        assert_eq!(entered.unwrap_err().field('C'), "58030", "{mode}");
        drop(fault);
        is_well(&house);
        let mut wire = house.enter();
        wire.rows("INSERT INTO marks VALUES ('mark of a well disk')");
        is_whole(&house, mode);
    }
}

#[test]
fn a_disk_that_fails_every_write_refuses_in_time_and_heals_by_itself() {
    survives(WRITES, "error=EIO");
}

#[test]
fn a_disk_that_fails_every_sync_refuses_in_time_and_heals_by_itself() {
    survives(SYNCS, "error=EIO");
}

#[test]
fn a_disk_that_hangs_refuses_in_time_and_heals_by_itself() {
    survives(SYNCS, "delay_enter=3s");
}

/// One record is not written twice because one sync of many failed.
#[test]
fn syncs_that_fail_now_and_then_lose_and_double_nothing() {
    for mode in ["write_ahead", "acknowledged", "buffered"] {
        let house = House::with("flaky", |options| options.with(json!({ "audit": { "mode": mode } })));
        house.direct().rows("CREATE TABLE marks (mark text)");
        house.enter().rows("SELECT 1");
        house.vault.records(&["--kind", "statement"], 1);
        let Some(fault) = Fault::on(&house.vault, "audit-writer", SYNCS, "error=EIO:when=3+7") else {
            return;
        };
        let begun = Instant::now();
        let mut next = 0;
        while begun.elapsed() < Duration::from_secs(2) {
            // A refusal ends the session, or the login: the next one goes on.
            let mut wire = Wire::plain(house.vault.port);
            if wire.login(&house.login()).is_ok() {
                next += 1;
                wire.talk(&messages::query(&format!("INSERT INTO marks VALUES ('mark {next}')")));
            }
        }
        drop(fault);
        is_well(&house);
        let gaps = house.vault.audit(&["--kind", "log_gap"]);
        assert!(!gaps.is_empty(), "{mode}: no sync failed");
        // `buffered`: with this one all before are on disk.
        house.enter().rows("SELECT 'the last'");
        house.vault.records(&["--grep", "the last"], 1);
        let statements = house.vault.audit(&["--kind", "statement", "--grep", "INSERT INTO marks"]);
        let mut logged: Vec<_> =
            statements.iter().map(|record| record["db.query.text"].as_str().unwrap()).collect();
        let count = logged.len();
        logged.sort_unstable();
        logged.dedup();
        assert_eq!(logged.len(), count, "{mode}: a statement stands in the log twice");
        let ran = house.direct().rows("SELECT mark FROM marks").concat().into_iter().flatten();
        let ran: Vec<_> = ran.map(|mark| format!("INSERT INTO marks VALUES ('{mark}')")).collect();
        let missing: Vec<_> =
            ran.iter().filter(|text| logged.binary_search(&text.as_str()).is_err()).collect();
        assert!(
            missing.is_empty() && !ran.is_empty(),
            "{mode}: {missing:?} of {} are not in the log",
            ran.len()
        );
        assert!(house.vault.command(&["audit", "verify"]).status.success(), "{mode}");
    }
}
