//! The extended protocol through OneVault is the extended protocol: batches, errors in their middle, names, portals.
//!
//! Source: protocol-flow#PROTOCOL-FLOW-EXT-QUERY, protocol-flow#PROTOCOL-FLOW-PIPELINING

use std::io::Write;
use std::time::Duration;

use crate::support::both::{both, count, same, says};
use crate::support::messages::*;
use crate::support::transcript::lines;
use crate::support::vault::House;

fn run(sql: &str) -> Vec<u8> {
    all(&[parse("", sql), bind("", "", &[]), execute("", 0)])
}

/// After an error everything up to Sync is skipped: one error, one `ReadyForQuery`, and nothing behind it runs.
#[test]
fn nothing_runs_after_an_error_until_sync() {
    let house = House::new("skip");
    let batch = [run("CREATE TABLE a (x int)"), run("SELECT 1 / 0"), run("CREATE TABLE b (x int)"), sync()];
    let heard = same(&house, &[batch.to_vec(), vec![run("SELECT to_regclass('b')"), sync()]].concat(), 2);
    assert_eq!(count(&heard, "B ErrorResponse"), 1);
    assert!(heard.contains(&"B DataRow NULL".to_owned()), "{heard:#?}");
}

/// Everything up to Sync is one implicit transaction: a failure takes back what came before it.
#[test]
fn a_failed_batch_takes_back_its_beginning() {
    let house = House::new("implicit");
    house.tenant.direct().rows("CREATE TABLE t (x int PRIMARY KEY)");
    let insert = |value: &str| {
        all(&[parse("", "INSERT INTO t VALUES ($1)"), bind("", "", &[Some(value)]), execute("", 0)])
    };
    let heard = same(&house, &[insert("1"), insert("1"), sync(), run("SELECT count(*) FROM t"), sync()], 2);
    assert!(heard.contains(&"B DataRow 0".to_owned()), "{heard:#?}");
}

/// Syncs and batches behind each other: each is answered in its turn, and a failed one harms only itself.
#[test]
fn batches_may_follow_each_other_without_waiting() {
    let house = House::new("behind");
    same(&house, &[sync(), sync(), sync()], 3);
    let batches = [
        run("SELECT 1"),
        sync(),
        run("SELECT 1 / 0"),
        run("SELECT 'skipped'"),
        sync(),
        sync(),
        run("SELECT 2"),
        sync(),
        query("SELECT 3; SELECT 4"),
        run("SELECT 5"),
        sync(),
    ];
    let heard = same(&house, &batches, 6);
    assert_eq!(count(&heard, "B ErrorResponse"), 1);
    let rows: Vec<_> = heard.iter().filter_map(|line| line.strip_prefix("B DataRow ")).collect();
    assert_eq!(rows, ["1", "2", "3", "4", "5"]);
}

/// A simple query inside an unsynced batch ends it, as the server does.
#[test]
fn a_simple_query_may_stand_inside_a_batch() {
    let house = House::new("inside");
    same(&house, &[run("SELECT 1"), query("SELECT 2"), run("SELECT 3"), sync()], 2);
    same(&house, &[run("SELECT 1 / 0"), query("SELECT 2"), run("SELECT 3"), sync()], 1);
}

/// Flush brings the answers so far and no `ReadyForQuery`; the batch goes on.
#[test]
fn flush_answers_without_ending_the_batch() {
    let house = House::new("flush");
    let heard = both(&house, |wire| {
        wire.send(&all(&[run("CREATE TABLE f (x int)"), flush()]));
        let mut heard = lines(&wire.until(|frame| frame.tag == b'C'));
        heard.extend(lines(&wire.within(Duration::from_millis(300))));
        heard.push("-- Sync".to_owned());
        heard.extend(says(wire, &[run("SELECT 1 / 0"), sync()], 1));
        heard.extend(says(wire, &[query("SELECT to_regclass('f')")], 1));
        heard
    });
    let ready = heard.iter().position(|line| line.starts_with("B ReadyForQuery")).unwrap();
    assert!(ready > heard.iter().position(|line| line == "-- Sync").unwrap(), "{heard:#?}");
    assert!(heard.contains(&"B DataRow NULL".to_owned()), "the batch was one transaction: {heard:#?}");
}

/// A client that sends a long pipeline before it reads anything gets every answer.
#[test]
fn a_long_pipeline_may_be_sent_before_anything_is_read() {
    let house = House::new("long");
    let mut wire = house.enter();
    let each = all(&[parse("", "SELECT repeat('x', 2000)"), bind("", "", &[]), execute("", 0), sync()]);
    let total = 8_000;
    let mut tcp = wire.tcp().try_clone().unwrap();
    let writer = std::thread::spawn(move || {
        for _ in 0..total {
            tcp.write_all(&each).unwrap();
        }
    });
    std::thread::sleep(Duration::from_secs(1));
    let answers = (0..total).filter(|_| wire.until_ready().iter().any(|frame| frame.tag == b'D')).count();
    writer.join().unwrap();
    assert_eq!(answers, total);
    assert_eq!(wire.value("SELECT 'in step'"), "in step");
}

/// The unnamed statement is its client's alone and outlives Sync.
#[test]
fn the_unnamed_statement_is_its_clients_alone() {
    let house = House::new("unnamed");
    let (mut one, mut two) = (house.enter(), house.enter());
    says(&mut one, &[parse("", "SELECT 'one'"), sync()], 1);
    says(&mut two, &[parse("", "SELECT 'two'"), sync()], 1);
    for (wire, expected) in [(&mut one, "B DataRow one"), (&mut two, "B DataRow two")] {
        let heard = says(wire, &[bind("", "", &[]), execute("", 0), sync()], 1);
        assert!(heard.contains(&expected.to_owned()), "{heard:#?}");
    }
}

/// Two clients use one name for different texts, and a new client knows neither.
#[test]
fn statement_names_are_private() {
    let house = House::new("names");
    {
        let (mut one, mut two) = (house.enter(), house.enter());
        says(&mut one, &[parse("s1", "SELECT 'one'"), sync()], 1);
        says(&mut two, &[parse("s1", "SELECT 'two'"), sync()], 1);
        let heard = says(&mut one, &[bind("", "s1", &[]), execute("", 0), sync()], 1);
        assert!(heard.contains(&"B DataRow one".to_owned()), "{heard:#?}");
        one.send(&terminate());
        two.vanish();
    }
    let heard = same(&house, &[bind("", "s1", &[]), execute("", 0), sync()], 1);
    assert_eq!(count(&heard, "B ErrorResponse"), 1);
}

/// A name in use is refused with 42P05 and keeps its text; a failed Parse leaves no name behind.
#[test]
fn a_statement_name_is_taken_once() {
    let house = House::new("twice");
    let run_s1 = all(&[bind("", "s1", &[]), execute("", 0), sync()]);
    let heard = same(
        &house,
        &[parse("s1", "SELECT 'first'"), sync(), parse("s1", "SELECT 'second'"), sync(), run_s1.clone()],
        3,
    );
    assert_eq!(count(&heard, "B ErrorResponse S=ERROR C=42P05"), 1, "{heard:#?}");
    assert!(heard.contains(&"B DataRow first".to_owned()));
    let heard = same(&house, &[parse("s1", "SELEC"), sync(), run_s1.clone()], 2);
    assert_eq!(count(&heard, "B ErrorResponse S=ERROR C=26000"), 1, "{heard:#?}");
    // In the middle of a pipeline: what is parsed behind an error is not parsed.
    same(&house, &[run("SELECT 1 / 0"), parse("s1", "SELECT 1"), sync(), run_s1], 2);
}

/// A statement whose result changed shape fails with 0A000 for its owner; others prepare it anew.
#[test]
fn a_changed_table_is_an_error_for_old_statements_only() {
    let house = House::new("shape");
    both(&house, |wire| {
        wire.rows("DROP TABLE IF EXISTS shape; CREATE TABLE shape (a int)");
        let run_s1 = [bind("", "s1", &[]), execute("", 0), sync()];
        let mut heard = says(wire, &[parse("s1", "SELECT * FROM shape"), sync()], 1);
        heard.extend(says(wire, &run_s1, 1));
        wire.rows("ALTER TABLE shape ADD b int");
        heard.extend(says(wire, &run_s1, 1));
        assert_eq!(count(&heard, "B ErrorResponse S=ERROR C=0A000"), 1);
        heard
    });
    same(
        &house,
        &[parse("s1", "SELECT * FROM shape"), sync(), bind("", "s1", &[]), execute("", 0), sync()],
        2,
    );
}

/// `DEALLOCATE ALL` and `DISCARD ALL` take this client's names and nobody else's.
#[test]
fn deallocate_and_discard_touch_own_statements_only() {
    let house = House::new("discard");
    let mut other = house.enter();
    says(&mut other, &[parse("s1", "SELECT 'mine'"), sync()], 1);
    for sql in ["DEALLOCATE ALL", "DISCARD ALL", "DEALLOCATE s1"] {
        let gone = [parse("s1", "SELECT 1"), sync(), query(sql), bind("", "s1", &[]), execute("", 0), sync()];
        assert_eq!(count(&same(&house, &gone, 3), "B ErrorResponse S=ERROR C=26000"), 1, "{sql}");
        let heard = says(&mut other, &[bind("", "s1", &[]), execute("", 0), sync()], 1);
        assert!(heard.contains(&"B DataRow mine".to_owned()), "{sql}: {heard:#?}");
    }
}

/// A portal read in pieces resumes inside its transaction; after Sync of an implicit one, and for others, it is 34000.
#[test]
fn a_suspended_portal_lives_as_long_as_its_transaction() {
    let house = House::new("portal");
    let series = "SELECT generate_series(1, 5)";
    let inside = [
        query("BEGIN"),
        parse("", series),
        bind("p1", "", &[]),
        execute("p1", 2),
        sync(),
        execute("p1", 2),
        sync(),
        execute("p1", 2),
        sync(),
        query("COMMIT"),
        execute("p1", 2),
        sync(),
    ];
    let heard = same(&house, &inside, 6);
    assert_eq!((count(&heard, "B DataRow"), count(&heard, "B PortalSuspended")), (5, 2), "{heard:#?}");
    assert_eq!(count(&heard, "B ErrorResponse S=ERROR C=34000"), 1);
    let implicit =
        [parse("", series), bind("p1", "", &[]), execute("p1", 2), sync(), execute("p1", 2), sync()];
    assert_eq!(count(&same(&house, &implicit, 2), "B ErrorResponse S=ERROR C=34000"), 1);
}

/// Describe, Close, typed parameters, empty texts and NULLs: every answer in its place.
#[test]
fn every_message_is_answered_in_its_place() {
    let house = House::new("each");
    let messages = [
        parse_typed("s1", "SELECT $1, $2 AS b", &[23, 25]),
        describe_statement("s1"),
        bind("p1", "s1", &[Some("1"), None]),
        describe_portal("p1"),
        execute("p1", 0),
        close_portal("p1"),
        close_statement("s1"),
        close_statement("never there"),
        sync(),
        parse("", ""),
        bind("", "", &[]),
        describe_portal(""),
        execute("", 0),
        sync(),
        parse("", "LISTEN x"),
        describe_statement(""),
        sync(),
        query(""),
        query(";;"),
    ];
    let heard = same(&house, &messages, 5);
    assert_eq!(count(&heard, "B EmptyQueryResponse"), 3, "{heard:#?}");
}

/// The same conversation, one byte at a time and all at once: however a stream is cut, the answers are the same.
#[test]
fn a_conversation_may_be_cut_anywhere() {
    let house = House::new("cut");
    let messages =
        all(&[parse("s1", "SELECT $1::text"), bind("", "s1", &[Some("whole")]), execute("", 0), sync()]);
    let whole = says(&mut house.enter(), std::slice::from_ref(&messages), 1);
    let mut wire = house.enter();
    for byte in &messages {
        wire.send(&[*byte]);
        std::thread::sleep(Duration::from_millis(1));
    }
    assert_eq!(lines(&wire.until_ready()), whole);
}

/// Function calls go through and are answered with one `ReadyForQuery`, also when they fail.
#[test]
fn a_function_call_is_answered_once() {
    let house = House::new("call");
    const TEXT_LENGTH: u32 = 1257; // textlen(text)
    const INT4_DIVIDE: u32 = 154; // int4div(int4, int4)
    let heard = same(
        &house,
        &[function_call(TEXT_LENGTH, &["four"]), function_call(INT4_DIVIDE, &["1", "0"]), query("SELECT 1")],
        3,
    );
    assert_eq!(
        (count(&heard, "B FunctionCallResponse"), count(&heard, "B ErrorResponse")),
        (1, 1),
        "{heard:#?}"
    );
}
