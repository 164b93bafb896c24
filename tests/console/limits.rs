//! What a reader may cost: time, rows, memory, sessions; cancel requests and the end of the process.

use std::time::{Duration, Instant};

use serde_json::json;

use super::{House, refused};
use crate::support::eventually;
use crate::support::messages;
use crate::support::transcript::lines;
use crate::support::wire::Wire;

const ENDLESS: &str = "SELECT count(*) FROM generate_series(1, 100000) a, generate_series(1, 100000) b \
                       WHERE a.value * b.value % 7 = 3";

#[test]
fn a_query_over_a_limit_ends_with_its_code_and_the_record_says_so() {
    let house = House::with(json!({
        "console": { "statement_timeout_ms": 1500, "rows_max": 100, "memory_bytes": 1 << 20, "sessions_max": 2 },
    }));
    let mut audrey = house.audrey();
    let begun = Instant::now();
    assert_eq!(audrey.sqlstate(ENDLESS), "57014");
    assert!(begun.elapsed() < Duration::from_secs(6), "{:?}", begun.elapsed());
    assert_eq!(audrey.sqlstate("SELECT * FROM generate_series(1, 101)"), "54000");
    assert_eq!(audrey.rows("SELECT * FROM generate_series(1, 100)").len(), 100);
    let sorted = "SELECT value FROM generate_series(1, 1000000) ORDER BY value % 7919, value";
    assert_eq!(audrey.sqlstate(sorted), "53200");
    assert_eq!(audrey.sqlstate("SET statement_timeout = 5000; SELECT 1"), "");
    assert_eq!(audrey.value("SELECT 1"), "1");
    let second = house.audrey();
    assert!(refused(&house.vault, &house.operator()).contains("console.sessions_max"));
    drop((audrey, second));
    let records = house.vault.records(&["--kind", "log_read", "--grep", "generate_series"], 4);
    let codes: Vec<_> = records.iter().map(|record| record["db.response.status_code"].as_str()).collect();
    assert_eq!(codes, [Some("57014"), Some("54000"), None, Some("53200")]);
    assert_eq!(records[0]["ov.outcome"], "cancelled");
}

#[test]
fn more_queries_at_once_than_are_allowed_are_refused_until_the_client_of_one_leaves() {
    let house = House::with(json!({ "console": { "queries_max": 1 } }));
    let (mut audrey, mut second) = (house.audrey(), house.audrey());
    // Its first row says that it has the place; the others nobody takes.
    audrey.send(&messages::query("SELECT repeat('x', 1000) FROM generate_series(1, 1000000)"));
    audrey.until(|frame| frame.tag == b'D');
    assert_eq!(second.sqlstate("SELECT 1"), "53300");
    drop(audrey);
    eventually("there is a place again", || second.sqlstate("SELECT 1").is_empty());
    // One that never shows a row.
    let mut audrey = house.audrey();
    audrey.send(&messages::query(ENDLESS));
    std::thread::sleep(Duration::from_millis(500));
    drop(audrey);
    for text in ["repeat", "count"] {
        let left = house.vault.records(&["--kind", "log_read", "--grep", text], 1);
        assert_eq!(
            (&left[0]["ov.outcome"], &left[0]["ov.decision"]),
            (&json!("cancelled"), &json!("ended:client_left")),
            "{text}"
        );
    }
    eventually("there is a place once more", || second.sqlstate("SELECT 1").is_empty());
}

#[test]
fn a_cancel_request_stops_the_read_and_the_session_goes_on() {
    let house = House::new();
    let mut audrey = house.audrey();
    let key = audrey.key.clone();
    audrey.send(&messages::query(ENDLESS));
    // One that comes before the query began is over.
    let mut frames = String::new();
    while !frames.contains("B ReadyForQuery") {
        Wire::plain(house.vault.port).send(&messages::cancel_request(key.0, &key.1));
        frames.push_str(&lines(&audrey.within(Duration::from_millis(500))).join("\n"));
    }
    assert!(frames.contains("57014") && frames.contains("user request"), "{frames}");
    assert_eq!(audrey.value("SELECT 1"), "1");
}

/// Joins that compare for hours and find little or nothing.
const ENDLESS_JOINS: [&str; 4] = [
    ENDLESS,
    "SELECT count(*) FROM generate_series(1, 1000000) a, generate_series(1, 1000000) b",
    "SELECT count(*) FROM generate_series(1, 1000000) a JOIN generate_series(1, 1000000) b \
     ON a.value % 2 = b.value % 2 AND a.value * b.value < 0",
    "WITH RECURSIVE t(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM t) SELECT count(*) FROM t",
];

#[test]
fn a_query_that_nobody_waits_for_stops_its_work() {
    let house = House::with(json!({ "console": { "statement_timeout_ms": 500 } }));
    let mut audrey = house.audrey();
    for sql in ENDLESS_JOINS {
        assert_eq!(audrey.sqlstate(sql), "57014", "{sql}");
        let begun = Instant::now();
        while house.vault.has_thread("console-query") {
            assert!(begun.elapsed() < Duration::from_secs(20), "still at work: {sql}");
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}

#[test]
fn a_draining_process_ends_idle_readers_at_once() {
    let mut house = House::new();
    let mut audrey = house.audrey();
    assert_eq!(audrey.value("SELECT 1"), "1");
    let begun = Instant::now();
    house.vault.stop();
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
    assert!(lines(&audrey.rest()).join("\n").contains("57P01"));
}
