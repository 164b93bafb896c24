//! Backends that die: unseen between two transactions, told inside one, and nothing runs outside the transaction it was meant for.
//!
//! Source: protocol-flow#PROTOCOL-FLOW-TERMINATION

use std::time::Duration;

use crate::support::messages::*;
use crate::support::pooled::{Pooled, is_transaction};
use crate::support::transcript::Frame;

fn kill(pooled: &Pooled) {
    pooled.house.tenant.sql(
        "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity
         WHERE datname = current_database() AND usename <> 'postgres' AND backend_type = 'client backend'",
    );
}

/// Between two transactions a session has no backend to lose: whatever dies there is replaced, and all it had is there.
#[test]
fn a_backend_that_dies_between_transactions_is_replaced_unseen() {
    if !is_transaction() {
        return;
    }
    let pooled = Pooled::new("between");
    let mut wire = pooled.enter();
    wire.rows("SET work_mem = '3MB'; SET search_path = pg_catalog");
    wire.talk(&all(&[parse("s1", "SELECT 'kept'"), parse("", "SELECT 'unnamed'"), sync()]));
    for round in 0..4 {
        kill(&pooled);
        let run = |name| all(&[bind("", name, &[]), execute("", 0), sync()]);
        if round == 0 {
            assert_eq!(wire.talk(&run(""))[1].values(), [Some("unnamed".to_owned())]);
            kill(&pooled);
        }
        let row: Vec<_> =
            wire.talk(&run("s1")).iter().filter(|frame| frame.tag == b'D').map(Frame::values).collect();
        assert_eq!(row, [[Some("kept".to_owned())]], "round {round}");
        kill(&pooled);
        let shown = "SELECT current_setting('work_mem') || current_setting('search_path')";
        assert_eq!(wire.value(shown), "3MBpg_catalog", "round {round}");
        pooled.steal();
    }
}

/// Inside a transaction the server's last words arrive, and nothing that follows runs as if there had been no transaction.
#[test]
fn a_backend_that_dies_in_a_transaction_takes_the_transaction_with_it() {
    let pooled = Pooled::new("inside");
    pooled.direct().rows("CREATE TABLE t (x int)");
    for way in 0..4 {
        let mut wire = pooled.enter();
        wire.rows("BEGIN");
        wire.rows("INSERT INTO t VALUES (1)");
        match way {
            // Idle; while a statement runs; with a pipeline on its way; in the middle of a copy.
            0 => kill(&pooled),
            1 => wire.send(&query("SELECT pg_sleep(20)")),
            2 => wire.send(&all(&[
                query("SELECT pg_sleep(20)"),
                query("INSERT INTO t VALUES (2)"),
                query("COMMIT"),
            ])),
            _ => {
                wire.send(&query("COPY t FROM STDIN"));
                wire.until(|frame| frame.tag == b'G');
                wire.send(&copy_data(b"3\n"));
            }
        }
        std::thread::sleep(Duration::from_millis(200));
        kill(&pooled);
        // Whether or not the session goes on: what follows blindly must not take effect.
        for text in ["INSERT INTO t VALUES (4)", "COMMIT"] {
            let _ = wire.try_send(&query(text));
        }
        std::thread::sleep(Duration::from_millis(300));
        let frames = wire.within(Duration::from_millis(500));
        let errors: Vec<String> =
            frames.iter().filter(|frame| frame.is_error()).map(|frame| frame.field('C')).collect();
        assert!(
            errors.first().is_some_and(|code| ["57P01", "08006"].contains(&code.as_str())),
            "way {way}: {errors:?}"
        );
        assert_eq!(pooled.direct().value("SELECT count(*) FROM t"), "0", "way {way}");
        drop(wire);
        pooled.steal();
    }
}

/// In the middle of a row nothing can be said any more: the stream ends, and nothing foreign is in it.
#[test]
fn a_backend_that_dies_in_the_middle_of_an_answer_ends_it() {
    let pooled = Pooled::new("midway");
    for text in [
        "SELECT repeat('x', 1000) FROM generate_series(1, 3000000)",
        "COPY (SELECT repeat('x', 1000) FROM generate_series(1, 3000000)) TO STDOUT",
    ] {
        let mut wire = pooled.enter();
        wire.send(&query(text));
        for _ in 0..50 {
            wire.frame();
        }
        kill(&pooled);
        // Everything that still comes is the answer's own, then perhaps the server's last words.
        let mut last = None;
        while let Some(frame) = wire.frame() {
            assert!(b"DdENZ".contains(&frame.tag), "{}", frame.line());
            if frame.tag == b'D' {
                assert_eq!(frame.values()[0].as_ref().map(String::len), Some(1000));
            }
            last = Some(frame);
            if last.as_ref().is_some_and(|frame| frame.tag == b'Z') {
                break;
            }
        }
        assert!(
            last.is_none_or(
                |frame| !frame.is_error() || ["57P01", "08006"].contains(&frame.field('C').as_str())
            )
        );
        drop(wire);
        pooled.steal();
        assert_eq!(pooled.enter().value("SELECT 'next'"), "next");
    }
}

/// A session that holds its backend and loses it while idle: what it held is gone, so it is told, and never goes on without it.
#[test]
fn a_held_backend_that_dies_is_told() {
    let pooled = Pooled::new("held_death");
    let mut wire = pooled.enter();
    wire.rows("CREATE TEMP TABLE mine AS SELECT 1 AS x");
    pooled.assert_held("temporary_object");
    kill(&pooled);
    std::thread::sleep(Duration::from_millis(200));
    let _ = wire.try_send(&query("SELECT x FROM mine"));
    let frames = wire.until_ready();
    let error = frames.iter().find(|frame| frame.is_error()).unwrap();
    assert!(["57P01", "08006"].contains(&error.field('C').as_str()), "{}", error.line());
    drop(wire);
    pooled.steal();
}
