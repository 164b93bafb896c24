//! Batches, pipelines and portals: the backend stays where something is owed and nowhere else.
//!
//! Source: protocol-flow#PROTOCOL-FLOW-PIPELINING

use std::io::Write;
use std::time::Duration;

use crate::hazards::conversation::all_hold_in;
use crate::support::both::{count, says};
use crate::support::messages::*;
use crate::support::pooled::{Pooled, is_transaction, say};
use crate::support::transcript::lines;

fn run(sql: &str) -> Vec<u8> {
    all(&[parse("", sql), bind("", "", &[]), execute("", 0)])
}

/// Every conversation of the hazards, with a thief in the house.
#[test]
fn conversations_hold_with_a_thief_in_the_house() {
    let pooled = Pooled::of("transcripts", 2, serde_json::json!({ "pool": { "wait_timeout_ms": 15_000 } }));
    let loose = pooled.loose();
    for file in [
        include_str!("../hazards/transcripts/copy_late.txt"),
        include_str!("../hazards/transcripts/copy_out.txt"),
        include_str!("../hazards/transcripts/copy_plain.txt"),
        include_str!("../hazards/transcripts/copy_query.txt"),
        include_str!("../hazards/transcripts/copy_stray.txt"),
        include_str!("../hazards/transcripts/copy_sync.txt"),
        include_str!("../hazards/transcripts/fastpath.txt"),
        include_str!("../hazards/transcripts/flush_only.txt"),
        include_str!("../hazards/transcripts/names_once.txt"),
        include_str!("../hazards/transcripts/notices.txt"),
        include_str!("../hazards/transcripts/portals.txt"),
        include_str!("../hazards/transcripts/reshaped.txt"),
        include_str!("../hazards/transcripts/several.txt"),
        include_str!("../hazards/transcripts/skipped.txt"),
        include_str!("../hazards/transcripts/syncs.txt"),
        include_str!("../hazards/transcripts/unknown_type.txt"),
    ] {
        all_hold_in(&pooled.house, file, false);
    }
    loose.until(20);
    loose.catch();
}

/// Several Syncs on their way, failures in between: each is answered once and in its turn.
#[test]
fn each_sync_of_a_pipeline_is_answered_in_its_turn() {
    let pooled = Pooled::new("syncs");
    let heard = pooled.stolen(&[
        all(&[sync(), sync(), sync()]),
        all(&[
            run("SELECT 1"),
            sync(),
            run("SELECT 1/0"),
            run("SELECT 'skipped'"),
            sync(),
            sync(),
            run("SELECT 2"),
            sync(),
        ]),
        all(&[query("SELECT 3; SELECT 4"), run("SELECT 5"), sync(), query("SELECT 6")]),
        all(&[
            run("BEGIN"),
            sync(),
            run("SELECT 7"),
            sync(),
            run("SELECT 1/0"),
            sync(),
            run("COMMIT"),
            sync(),
            run("SELECT 8"),
            sync(),
        ]),
        all(&[query("BEGIN; SELECT 9"), query("COMMIT"), query("SELECT 10"), sync()]),
    ]);
    let rows: Vec<_> = heard.iter().filter_map(|line| line.strip_prefix("B DataRow ")).collect();
    assert_eq!(rows, ["1", "2", "3", "4", "5", "6", "7", "8", "9", "10"]);
}

/// An implicit transaction is one: nobody comes between its statements, and a failure takes all of it back.
#[test]
fn a_batch_is_one_transaction_on_one_backend() {
    let pooled = Pooled::new("implicit");
    pooled.direct().rows("CREATE TABLE t (x int PRIMARY KEY)");
    let loose = pooled.loose();
    let mut wire = pooled.enter();
    for round in 0..20 {
        wire.send(&all(&[run("SELECT pg_backend_pid()"), run("INSERT INTO t VALUES (1)"), flush()]));
        let first = wire.until(|frame| frame.tag == b'C' && frame.text() == "INSERT 0 1");
        let pid = first.iter().find(|frame| frame.tag == b'D').unwrap().values();
        std::thread::sleep(Duration::from_millis(5));
        let second =
            wire.talk(&all(&[run("SELECT pg_backend_pid()"), run("INSERT INTO t VALUES (1)"), sync()]));
        assert_eq!(second.iter().find(|frame| frame.tag == b'D').unwrap().values(), pid, "round {round}");
        assert_eq!(second.iter().filter(|frame| frame.is_error()).count(), 1);
        assert_eq!(wire.value("SELECT count(*) FROM t"), "0");
    }
    loose.catch();
}

/// Flush brings the answers and no `ReadyForQuery`; until Sync nobody else gets the backend.
#[test]
fn a_batch_without_sync_keeps_its_backend() {
    let pooled = Pooled::new("unsynced");
    let mut wire = pooled.enter();
    wire.send(&all(&[run("SELECT 1"), flush()]));
    let heard = lines(&wire.until(|frame| frame.tag == b'C'));
    assert_eq!(count(&heard, "B DataRow 1"), 1);
    if is_transaction() {
        let mut other = pooled.enter();
        assert_eq!(other.sqlstate("SELECT 1"), "53300");
    }
    assert_eq!(count(&says(&mut wire, &[sync()], 1), "B ReadyForQuery I"), 1);
    pooled.steal();
    // Answers that come without Flush because the server's buffer is full hold it too.
    wire.send(&run("SELECT repeat('x', 100) FROM generate_series(1, 1000)"));
    wire.frame();
    let rest = says(&mut wire, &[sync()], 1);
    assert!(count(&rest, "B DataRow") > 100);
    pooled.steal();
}

/// A simple query inside a batch ends it, as the server does; a portal read in pieces lives as long as its transaction.
#[test]
fn portals_live_as_long_as_their_transaction() {
    let pooled = Pooled::new("portals");
    let series = "SELECT generate_series(1, 7)";
    pooled.stolen(&[
        query("BEGIN"),
        all(&[parse("p1", series), bind("p1", "p1", &[]), execute("p1", 2), sync()]),
        all(&[execute("p1", 2), sync()]),
        query("SELECT 'between'"),
        all(&[execute("p1", 2), describe_portal("p1"), sync()]),
        query("FETCH 1 FROM p1"),
        query("COMMIT"),
        all(&[execute("p1", 2), sync()]),
        all(&[bind("p1", "p1", &[]), execute("p1", 2), execute("p1", 3), sync()]),
        all(&[execute("p1", 2), sync()]),
        all(&[bind("", "p1", &[]), execute("", 2), flush(), execute("", 0), sync()]),
        all(&[bind("p2", "p1", &[]), execute("p2", 3), query("SELECT 'ends it'"), execute("p2", 0), sync()]),
        query("BEGIN; DECLARE c CURSOR FOR SELECT generate_series(1, 5)"),
        all(&[bind("p3", "p1", &[]), execute("p3", 1), sync()]),
        query("FETCH 2 FROM c"),
        query("SAVEPOINT a"),
        query("SELECT 1/0"),
        query("ROLLBACK TO a"),
        all(&[execute("p3", 1), sync()]),
        query("ROLLBACK"),
        all(&[execute("p3", 1), sync()]),
    ]);
}

#[test]
fn a_function_call_is_one_transaction() {
    let pooled = Pooled::new("calls");
    const TEXT_LENGTH: u32 = 1257;
    const INT4_DIVIDE: u32 = 154;
    let heard = pooled.stolen(&[
        function_call(TEXT_LENGTH, &["four"]),
        function_call(INT4_DIVIDE, &["1", "0"]),
        all(&[function_call(TEXT_LENGTH, &["three"]), query("SELECT 1"), function_call(999_999, &[])]),
        query("BEGIN"),
        function_call(TEXT_LENGTH, &["four"]),
        query("COMMIT"),
    ]);
    assert_eq!(count(&heard, "B FunctionCallResponse"), 3, "{heard:#?}");
}

/// A long pipeline, sent before anything is read, with a thief between its transactions: every answer comes, in order.
#[test]
fn a_long_pipeline_crosses_many_thefts() {
    let pooled = Pooled::with("pipeline", serde_json::json!({ "pool": { "wait_timeout_ms": 15_000 } }));
    let loose = pooled.loose();
    let mut wire = pooled.enter();
    say(
        &mut wire,
        &all(&[parse("s1", "SELECT $1::int4, current_setting('TimeZone'), repeat('x', 500)"), sync()]),
    );
    wire.rows("SET TimeZone = 'Europe/Oslo'");
    let total = 3_000;
    let mut tcp = wire.tcp().try_clone().unwrap();
    let writer = std::thread::spawn(move || {
        for number in 0..total {
            let text = number.to_string();
            tcp.write_all(&all(&[bind("", "s1", &[Some(&text)]), execute("", 0), sync()])).unwrap();
        }
    });
    for number in 0..total {
        let frames = wire.until_ready();
        let row = frames.iter().find(|frame| frame.tag == b'D').unwrap().values();
        assert_eq!(row[..2], [Some(number.to_string()), Some("Europe/Oslo".to_owned())]);
    }
    writer.join().unwrap();
    loose.catch();
    assert_eq!(wire.value("SELECT 'in step'"), "in step");
}

/// However a conversation is cut, byte by byte or all at once, it reads the same.
#[test]
fn a_conversation_may_be_cut_anywhere() {
    let pooled = Pooled::new("cut");
    let steps = all(&[
        parse("s1", "SELECT $1::text, current_setting('custom.key', true)"),
        bind("", "s1", &[Some("whole")]),
        execute("", 0),
        sync(),
        query("SET custom.key = 'cut'"),
        bind("", "s1", &[Some("again")]),
        execute("", 0),
        close_statement("s1"),
        sync(),
    ]);
    pooled.both(|wire, steal| {
        let whole = say(wire, &steps);
        wire.rows("RESET custom.key");
        steal();
        let mut tcp = wire.tcp().try_clone().unwrap();
        let bytes = steps.clone();
        let writer = std::thread::spawn(move || {
            for byte in bytes {
                tcp.write_all(&[byte]).unwrap();
                std::thread::sleep(Duration::from_millis(1));
            }
        });
        let cut: Vec<String> = (0..3).flat_map(|_| lines(&wire.until_ready())).collect();
        writer.join().unwrap();
        assert_eq!(count(&cut, "B DataRow"), count(&whole, "B DataRow"));
        cut
    });
}
