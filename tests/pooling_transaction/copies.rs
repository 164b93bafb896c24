//! COPY, both ways, failing in every place, with thefts before and behind it and none inside.
//!
//! Source: protocol-flow#PROTOCOL-COPY

use crate::support::both::count;
use crate::support::messages::*;
use crate::support::pooled::{Pooled, is_transaction, say};
use crate::support::transcript::lines;

const IN: &str = "COPY t FROM STDIN";

fn by_batch(sql: &str) -> Vec<u8> {
    all(&[parse("", sql), bind("", "", &[]), execute("", 0)])
}

#[test]
fn copies_go_in_and_out_between_thefts() {
    let pooled = Pooled::new("copies");
    let rows = all(&[copy_data(b"1\n2\n"), copy_data(b"3"), copy_data(b"\n"), copy_done()]);
    let heard = pooled.stolen(&[
        query("CREATE TABLE t (x int)"),
        all(&[query(IN), rows.clone()]),
        all(&[by_batch(IN), rows.clone(), sync()]),
        all(&[query("BEGIN"), query(IN), rows, query("ROLLBACK")]),
        query("COPY t TO STDOUT"),
        all(&[by_batch("COPY t TO STDOUT"), sync()]),
        query("COPY (SELECT 1/0) TO STDOUT"),
        query("COPY t TO STDOUT; SELECT 'both'"),
        // Failures: of the client, of a row, of the statement.
        all(&[query(IN), copy_data(b"4\n"), copy_fail("enough")]),
        all(&[by_batch(IN), copy_data(b"4\n"), copy_fail("enough"), sync()]),
        query("COPY nowhere FROM STDIN"),
        // Outside of a copy these are ignored.
        all(&[copy_data(b"5\n"), copy_done(), copy_fail("x"), query("SELECT count(*) FROM t")]),
        query("DROP TABLE t"),
    ]);
    assert_eq!(count(&heard, "B CopyData"), 18, "{heard:#?}");
    assert!(heard.contains(&"B DataRow 6".to_owned()));
}

/// A bad row ends the copy; what comes before the client hears of it is eaten, and the backend is given on once.
#[test]
fn late_data_of_a_failed_copy_is_eaten() {
    let pooled = Pooled::new("late_data");
    pooled.direct().rows("CREATE TABLE t (x int)");
    for statement in [query(IN), by_batch(IN)] {
        let is_extended = statement[0] == b'P';
        pooled.both(|wire, steal| {
            wire.send(&statement);
            let mut heard = lines(&wire.until(|frame| frame.tag == b'G'));
            wire.send(&copy_data(b"no number\n"));
            heard.extend(lines(&wire.until(|frame| frame.is_error() || frame.tag == b'Z')));
            if !is_extended {
                heard.extend(lines(&wire.until_ready()));
                // The server is ready: the backend may be somebody else's while the client still sends.
                steal();
            }
            wire.send(&all(&[copy_data(b"1\n"), copy_data(b"2\n")]));
            steal_if(!is_extended, steal);
            wire.send(&copy_done());
            if is_extended {
                wire.send(&sync());
                heard.extend(lines(&wire.until_ready()));
            }
            heard.extend(say(wire, &query("SELECT count(*) FROM t")));
            steal();
            heard
        });
    }
}

fn steal_if(wanted: bool, steal: &dyn Fn()) {
    if wanted {
        steal();
    }
}

/// While a copy goes on, and until its last Sync, nobody else gets the backend.
#[test]
fn a_copy_keeps_its_backend_to_its_end() {
    let pooled = Pooled::new("whole_copy");
    pooled.direct().rows("CREATE TABLE t (x int)");
    let (mut wire, mut other) = (pooled.enter(), pooled.enter());
    let mut refused = || {
        if is_transaction() {
            assert_eq!(other.sqlstate("SELECT 1"), "53300");
        }
    };
    wire.send(&query(IN));
    wire.until(|frame| frame.tag == b'G');
    wire.send(&copy_data(b"1\n"));
    refused();
    assert_eq!(wire.talk(&copy_done()).len(), 2);
    pooled.steal();
    wire.send(&all(&[by_batch(IN), flush()]));
    wire.until(|frame| frame.tag == b'G');
    wire.send(&all(&[copy_data(b"2\n"), copy_done(), flush()]));
    wire.until(|frame| frame.tag == b'C');
    refused();
    wire.talk(&sync());
    pooled.steal();
    assert_eq!(wire.value("SELECT count(*) FROM t"), "2");
}

/// Sync and Flush between Execute and the data are ignored: exactly one `ReadyForQuery`, and no theft on the first one.
#[test]
fn a_sync_before_the_data_is_ignored() {
    let pooled = Pooled::new("early_sync");
    pooled.direct().rows("CREATE TABLE t (x int)");
    let heard = pooled.both(|wire, steal| {
        wire.send(&all(&[by_batch(IN), sync(), flush()]));
        let mut heard = lines(&wire.until(|frame| frame.tag == b'G'));
        wire.send(&all(&[copy_data(b"7\n"), copy_done(), sync()]));
        heard.extend(lines(&wire.until_ready()));
        heard.extend(lines(&wire.within(std::time::Duration::from_millis(200))));
        steal();
        heard.extend(say(wire, &query("SELECT DISTINCT x FROM t")));
        steal();
        heard
    });
    assert_eq!(count(&heard, "B ReadyForQuery"), 2, "{heard:#?}");
}

/// Large copies in both directions with a thief who wants the backend all the while.
#[test]
fn large_copies_arrive_whole() {
    let pooled = Pooled::with("large_copy", serde_json::json!({ "pool": { "wait_timeout_ms": 20_000 } }));
    let loose = pooled.loose();
    let mut wire = pooled.enter();
    wire.rows("CREATE TABLE large (x text)");
    for _ in 0..3 {
        wire.send(&query("COPY large FROM STDIN"));
        wire.until(|frame| frame.tag == b'G');
        let line = format!("{}\n", "x".repeat(1_000_000));
        for piece in line.repeat(5).as_bytes().chunks(70_000) {
            wire.send(&copy_data(piece));
        }
        wire.talk(&copy_done());
        let frames = wire.talk(&query("COPY large TO STDOUT"));
        let bytes: usize =
            frames.iter().filter(|frame| frame.tag == b'd').map(|frame| frame.body.len()).sum();
        assert_eq!(bytes, 5_000_005);
        wire.rows("TRUNCATE large");
    }
    loose.catch();
}
