//! In `write_ahead` the log holds every statement that a database has seen, whenever the process is killed.

use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use serde_json::json;

use crate::support::messages;
use crate::support::vault::{House, MODES};
use crate::support::wire::Wire;

/// Kills in a usual run; `ONEVAULT_CRASHES` asks for more.
const CRASHES: u64 = 5;
const CLIENTS: u64 = 6;

/// Says something and waits for its end; `false` when the connection ends before.
fn answered(wire: &mut Wire, bytes: &[u8]) -> bool {
    wire.try_send(bytes).is_ok() && wire.until_ready().last().is_some_and(|frame| frame.tag == b'Z')
}

/// One client: inserts a marker per statement, simple and extended in turn, until the connection is gone.
fn insert_until_killed(house: &House, client: u64, next: &AtomicU64, stop: &AtomicBool) {
    let mut wire = Wire::plain(house.vault.port);
    if wire.login(&house.login()).is_err() {
        return;
    }
    while !stop.load(Ordering::Relaxed) {
        let marker = next.fetch_add(1, Ordering::Relaxed);
        let sql = format!("INSERT INTO marks VALUES ('mark {marker} of {client}')");
        let bytes =
            if marker.is_multiple_of(2) { messages::query(&sql) } else { messages::extended(&sql, &[]) };
        if !answered(&mut wire, &bytes) {
            return;
        }
    }
}

#[test]
fn no_statement_that_reached_a_database_is_missing_from_the_log_after_a_kill() {
    let crashes =
        std::env::var("ONEVAULT_CRASHES").ok().and_then(|text| text.parse().ok()).unwrap_or(CRASHES);
    for mode in MODES {
        let changes = json!({ "audit": { "mode": "write_ahead" }, "pool": { "mode": mode } });
        is_killed(House::with("crash", |options| options.with(changes)), crashes);
    }
}

fn is_killed(mut house: House, crashes: u64) {
    house.direct().rows("CREATE TABLE marks (mark text)");
    let next = AtomicU64::new(0);
    for crash in 0..crashes {
        let stop = AtomicBool::new(false);
        let pid = house.vault.pid();
        std::thread::scope(|scope| {
            for client in 0..CLIENTS {
                let (house, next, stop) = (&house, &next, &stop);
                scope.spawn(move || insert_until_killed(house, client, next, stop));
            }
            // Moments that fall anywhere within the first statements of a session or among thousands.
            std::thread::sleep(Duration::from_millis(20 + crash * 7919 % 283));
            let pid = rustix::process::Pid::from_raw(i32::try_from(pid).unwrap()).unwrap();
            rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
            stop.store(true, Ordering::Relaxed);
        });
        house.vault.kill();
        house.vault.launch();
        let verified = house.vault.command(&["audit", "verify"]);
        assert!(
            verified.status.success(),
            "after crash {crash}: {}",
            String::from_utf8_lossy(&verified.stdout)
        );
    }
    // A statement may still be on its way in a backend whose client was killed.
    let in_database = loop {
        let busy = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()";
        if house.direct().value(busy) == "0" {
            break house.direct().rows("SELECT mark FROM marks");
        }
        std::thread::sleep(Duration::from_millis(20));
    };
    let log = house.vault.audit(&["--kind", "statement"]);
    let texts: Vec<&str> = log.iter().filter_map(|record| record["db.query.text"].as_str()).collect();
    let logged: HashSet<&str> = texts
        .iter()
        .filter_map(|text| text.strip_prefix("INSERT INTO marks VALUES ('")?.strip_suffix("')"))
        .collect();
    assert_eq!(logged.len(), texts.len(), "a statement stands in the log twice");
    let missing: Vec<_> =
        in_database.concat().into_iter().flatten().filter(|mark| !logged.contains(mark.as_str())).collect();
    assert!(missing.is_empty(), "{} of {} are missing: {missing:?}", missing.len(), in_database.len());
    assert!(in_database.len() > usize::try_from(crashes).unwrap() * 10, "only {} inserts", in_database.len());
    let unknown = log.iter().filter(|record| record["ov.outcome"] == "unknown").count();
    assert!(unknown <= usize::try_from(crashes * CLIENTS).unwrap(), "{unknown} outcomes are unknown");
}
