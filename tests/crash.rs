//! What each mode of the log promises holds whenever the process is killed, with torn ends and a full disk among the kills.

use std::collections::HashSet;
use std::fs;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::support::faults::Fault;
use crate::support::messages;
use crate::support::vault::{House, MODES};
use crate::support::wire::Wire;

/// Kills in a usual run, of each mode; `ONEVAULT_CRASHES` asks for more.
const CRASHES: u64 = 5;
/// In `buffered` an answer older than this is in the log: `audit.flush_interval_ms`, the sync, and a machine that is busy.
const BUFFERED: Duration = Duration::from_secs(1);
const CLIENTS: u64 = 6;

/// Says something and waits for its end; `false` when it fails or the connection ends before.
fn answered(wire: &mut Wire, bytes: &[u8]) -> bool {
    if wire.try_send(bytes).is_err() {
        return false;
    }
    let frames = wire.until_ready();
    frames.last().is_some_and(|frame| frame.tag == b'Z') && frames.iter().all(|frame| frame.tag != b'E')
}

/// What clients were answered, and when.
type Answered = Mutex<Vec<(String, Instant)>>;

/// One client: inserts a marker per statement, simple and extended in turn, until the connection is gone.
fn insert_until_killed(house: &House, client: u64, next: &AtomicU64, stop: &AtomicBool, told: &Answered) {
    let mut wire = Wire::plain(house.vault.port);
    if wire.login(&house.login()).is_err() {
        return;
    }
    while !stop.load(Ordering::Relaxed) {
        let marker = next.fetch_add(1, Ordering::Relaxed);
        let mark = format!("mark {marker} of {client}");
        let sql = format!("INSERT INTO marks VALUES ('{mark}')");
        let bytes =
            if marker.is_multiple_of(2) { messages::query(&sql) } else { messages::extended(&sql, &[]) };
        if !answered(&mut wire, &bytes) {
            return;
        }
        told.lock().unwrap().push((mark, Instant::now()));
    }
}

/// As a write leaves it that the power went away under: bytes behind the last record that are none.
fn tear(folder: &Path, crash: u64) {
    let segments = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let last =
        segments.filter(|path| path.extension().is_some_and(|ending| ending == "journal")).max().unwrap();
    let bytes = fs::read(&last).unwrap();
    let end = bytes.iter().rposition(|byte| *byte != 0).unwrap() + 1;
    let torn: Vec<u8> =
        (0..crash * 37 % 700 + 1).map(|at| u8::try_from((at * 31 + crash) % 255 + 1).unwrap()).collect();
    // A record may end with zeros; a little further on there is none.
    let at = (end + 16).min(bytes.len() - torn.len());
    fs::OpenOptions::new()
        .write(true)
        .open(&last)
        .unwrap()
        .write_all_at(&torn, u64::try_from(at).unwrap())
        .unwrap();
}

fn crashes() -> u64 {
    std::env::var("ONEVAULT_CRASHES").ok().and_then(|text| text.parse().ok()).unwrap_or(CRASHES)
}

fn house(audit: &str, pool: &str) -> House {
    let changes =
        json!({ "audit": { "mode": audit, "checkpoint_interval_ms": 150 }, "pool": { "mode": pool } });
    House::with("crash", |options| options.with(changes))
}

#[test]
fn no_statement_that_reached_a_database_is_missing_from_the_log_after_a_kill() {
    for pool in MODES {
        let mut house = house("write_ahead", pool);
        let (log, _) = is_killed(&mut house, Duration::ZERO);
        // A statement may still be on its way in a backend whose client was killed.
        let in_database = loop {
            let busy = "SELECT count(*) FROM pg_stat_activity \
                        WHERE datname = current_database() AND pid <> pg_backend_pid()";
            if house.direct().value(busy) == "0" {
                break house.direct().rows("SELECT mark FROM marks");
            }
            std::thread::sleep(Duration::from_millis(20));
        };
        all_are_logged(in_database.concat().into_iter().flatten(), &log);
        let enough = usize::try_from(crashes()).unwrap() * 10;
        assert!(in_database.len() > enough, "only {} inserts", in_database.len());
        let unknown = log.iter().filter(|record| record["ov.outcome"] == "unknown").count();
        assert!(unknown <= usize::try_from(crashes() * CLIENTS).unwrap(), "{unknown} outcomes are unknown");
    }
}

#[test]
fn no_acknowledged_statement_is_missing_from_the_log_after_a_kill() {
    for pool in MODES {
        let (log, answered) = is_killed(&mut house("acknowledged", pool), Duration::ZERO);
        all_are_logged(answered, &log);
    }
}

#[test]
fn no_statement_of_some_time_ago_is_missing_from_a_buffered_log_after_a_kill() {
    let (log, answered) = is_killed(&mut house("buffered", "transaction"), BUFFERED);
    all_are_logged(answered, &log);
}

fn marks(log: &[Value]) -> HashSet<String> {
    let texts: Vec<&str> = log.iter().filter_map(|record| record["db.query.text"].as_str()).collect();
    let mark =
        |text: &&str| text.strip_prefix("INSERT INTO marks VALUES ('")?.strip_suffix("')").map(str::to_owned);
    let marks: HashSet<String> = texts.iter().filter_map(mark).collect();
    assert_eq!(marks.len(), texts.len(), "a statement stands in the log twice");
    marks
}

fn all_are_logged(expected: impl IntoIterator<Item = String>, log: &[Value]) {
    let logged = marks(log);
    let (mut count, mut missing) = (0, Vec::new());
    for mark in expected {
        count += 1;
        missing.extend(Some(mark).filter(|mark| !logged.contains(mark)));
    }
    assert!(missing.is_empty(), "{} of {count} are missing: {missing:?}", missing.len());
    assert!(count > 0, "nothing was inserted");
}

/// Kills it again and again among inserts; the statements of the log, and what was answered `older` before its kill.
fn is_killed(house: &mut House, older: Duration) -> (Vec<Value>, Vec<String>) {
    house.direct().rows("CREATE TABLE marks (mark text)");
    let (next, mut settled) = (AtomicU64::new(0), Vec::new());
    for crash in 0..crashes() {
        let (stop, told) = (AtomicBool::new(false), Answered::default());
        let pid = house.vault.pid();
        let killed = std::thread::scope(|scope| {
            for client in 0..CLIENTS {
                let (house, next, stop, told) = (&*house, &next, &stop, &told);
                scope.spawn(move || insert_until_killed(house, client, next, stop, told));
            }
            // Now and then the disk is full from some moment on; what ended right before waits in memory then.
            let filled = Instant::now() + Duration::from_millis(crash * 31 % 97);
            let full = (crash % 5 == 1).then(|| {
                std::thread::sleep(filled.saturating_duration_since(Instant::now()));
                Fault::on(&house.vault, "audit-writer", ("pwrite64,fallocate", &[]), "error=ENOSPC")
            });
            // Moments that fall anywhere within the first statements of a session or among thousands.
            std::thread::sleep(older + Duration::from_millis(20 + crash * 7919 % 283));
            let pid = rustix::process::Pid::from_raw(i32::try_from(pid).unwrap()).unwrap();
            let killed = if full.is_some() { filled } else { Instant::now() };
            rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
            stop.store(true, Ordering::Relaxed);
            killed
        });
        let answered = told.into_inner().unwrap().into_iter();
        settled.extend(
            answered.filter(|(_, when)| *when + older <= killed || older.is_zero()).map(|(mark, _)| mark),
        );
        house.vault.kill();
        if crash % 3 == 2 {
            tear(&house.vault.dir.0.join("audit"), crash);
        }
        house.vault.launch();
        let verified = house.vault.command(&["audit", "verify"]);
        let said = String::from_utf8_lossy(&verified.stdout);
        assert!(verified.status.success(), "after crash {crash}: {said}");
    }
    let starts = house.vault.audit(&["--kind", "log_start"]);
    let torn = starts.iter().filter(|start| start["ov.previous_end"] == "torn end cut").count();
    assert!(torn >= usize::try_from(crashes() / 3).unwrap(), "{torn} torn ends were cut: {starts:?}");
    (house.vault.audit(&["--kind", "statement"]), settled)
}
