//! The log says what clients said, all of it and nothing else; pins are seen where an operator looks for them.

use std::time::{Duration, Instant};

use serde_json::json;

use crate::support::both::says;
use crate::support::counting;
use crate::support::messages::*;
use crate::support::pooled::{Pooled, is_transaction};
use crate::support::wire::Wire;

/// Statements at the server and in the log are the same ones, with a thief in the house; nothing of ours is in the log, and what is
/// of ours at the server says so.
#[test]
fn the_log_has_every_statement_of_clients_and_none_of_ours() {
    let pooled = Pooled::of("counted", 2, json!({ "pool": { "wait_timeout_ms": 15_000 } }));
    let tenant = &pooled.house.tenant;
    tenant.sql(&format!("ALTER ROLE {} SET log_statement = 'all'", tenant.role));
    let loose = pooled.loose();
    std::thread::scope(|scope| {
        for number in 0..3 {
            let pooled = &pooled;
            scope.spawn(move || work(pooled, number));
        }
    });
    loose.until(8);
    loose.catch();
    pooled.steal();
    let begun = Instant::now();
    loop {
        let at_server = counting::at_server(tenant.postgres, &tenant.role, &tenant.database);
        let in_log = counting::in_log(&pooled.house.vault);
        if at_server.len() == in_log.len() || begun.elapsed() > Duration::from_secs(5) {
            counting::are_the_same("with a thief in the house", &at_server, &in_log);
            break;
        }
        std::thread::sleep(Duration::from_millis(100));
    }
    for record in pooled.house.vault.audit(&[]) {
        let text = record.to_string();
        assert!(!text.contains("/* onevault") && !text.contains("_ov_"), "one of ours is in the log: {text}");
    }
}

/// A bit of everything that a client may say.
fn work(pooled: &Pooled, number: usize) {
    let mut wire = pooled.enter();
    for round in 0..4 {
        wire.rows(&format!("SET work_mem = '{}MB'; SELECT {round}", number + 2));
        let (one, two) = (format!("SELECT {number}, $1::text"), format!("SELECT {number}, $1::int4"));
        says(&mut wire, &[parse("s1", &one), parse("s2", &two), sync()], 1);
        for _ in 0..3 {
            says(&mut wire, &[bind("", "s1", &[Some("x")]), execute("", 0), sync()], 1);
        }
        says(
            &mut wire,
            &[bind("", "s1", &[Some("y")]), execute("", 0), bind("", "s2", &[]), execute("", 0), sync()],
            1,
        );
        says(
            &mut wire,
            &[
                close_statement("s1"),
                close_statement("s2"),
                parse("", "SELEC"),
                execute("", 0),
                sync(),
                query("SELECT 1/0"),
            ],
            2,
        );
        wire.rows("BEGIN");
        wire.rows("CREATE TEMP TABLE mine ON COMMIT DROP AS SELECT 1 AS x");
        wire.rows("COMMIT; SELECT pg_advisory_lock(61), pg_advisory_unlock(61)");
        wire.rows("RESET ALL");
        // Whichever backend it comes to says so in its own way, or OneVault lets it.
        wire.rows(&format!("CREATE TABLE shape{number} (a int)"));
        let shape = format!("SELECT * FROM shape{number}");
        says(&mut wire, &[parse("s3", &shape), bind("", "s3", &[]), execute("", 0), sync()], 1);
        wire.rows(&format!("ALTER TABLE shape{number} ALTER a TYPE bigint"));
        let heard = says(&mut wire, &[bind("", "s3", &[]), execute("", 0), sync()], 1);
        assert!(heard[0].starts_with("B ErrorResponse S=ERROR C=0A000"), "{heard:#?}");
        says(&mut wire, &[close_statement("s3"), sync()], 1);
        wire.rows(&format!("DROP TABLE shape{number}"));
        says(&mut wire, &[function_call(1257, &["four"])], 1);
    }
    wire.send(&terminate());
    wire.rest();
}

/// A request that fails for want of an unnamed statement is not recorded with the text of an older one.
#[test]
fn what_finds_no_statement_has_no_text() {
    let pooled = Pooled::new("no_text");
    let mut wire = pooled.enter();
    let run = all(&[bind("", "", &[]), execute("", 0), sync()]);
    for ending in [query("SELECT 'between'"), all(&[parse("", "SELEC"), sync()])] {
        says(&mut wire, &[parse("", "SELECT 'older'"), sync()], 1);
        says(&mut wire, &[ending], 1);
        says(&mut wire, std::slice::from_ref(&run), 1);
    }
    wire.send(&terminate());
    wire.rest();
    let begun = Instant::now();
    let mut missed = Vec::new();
    while missed.len() < 2 && begun.elapsed() < Duration::from_secs(5) {
        missed = pooled.house.vault.audit(&[]);
        missed.retain(|record| record["db.response.status_code"] == "26000");
    }
    assert_eq!(missed.len(), 2, "{missed:#?}");
    for record in missed {
        assert!(!record.to_string().contains("older"), "{record:#}");
    }
}

/// What a batch was meant to run behind the request at which it failed, or behind one that waited for a backend in vain, stands in
/// the log with its text, as it does when all of the batch is on its way before the server answers.
#[test]
fn what_runs_behind_a_failure_has_its_text() {
    let pooled = Pooled::new("skipped_text");
    let run = |name| all(&[bind("", name, &[]), execute("", 0)]);
    let mut wire = pooled.enter();
    says(&mut wire, &[parse("kept", "SELECT 'kept'"), parse("odd", "SELECT $1::int AS odd"), sync()], 1);
    // Each is said up to its failure, then on.
    let batches = [
        (all(&[parse("", "SELEC 'unnamed'")]), run("")),
        (all(&[parse("named", "SELEC 'named'")]), run("named")),
        (all(&[bind("", "odd", &[Some("no number")])]), execute("", 0)),
        (all(&[parse("", "SELEC"), run("")]), run("kept")),
    ];
    for (begun, rest) in &batches {
        wire.send(&all(&[begun.clone(), flush()]));
        wire.until(|frame| frame.is_error());
        wire.send(&all(&[rest.clone(), sync()]));
        wire.until_ready();
    }
    let mut texts =
        vec!["SELEC 'unnamed'", "SELEC 'named'", "SELECT $1::int AS odd", "SELEC", "SELECT 'kept'"];
    if is_transaction() {
        // No backend is free: refused in the queue, or cancelled there.
        let mut holder = pooled.enter();
        holder.rows("BEGIN");
        let batches = [
            (run("kept"), "SELECT 'kept'"),
            (all(&[parse("", "SELECT 'refused'"), run("")]), "SELECT 'refused'"),
            (all(&[parse("new", "SELECT 'new'"), bind("p", "new", &[]), execute("p", 3)]), "SELECT 'new'"),
            (all(&[describe_statement("kept"), run("kept")]), "SELECT 'kept'"),
        ];
        for (number, (batch, text)) in batches.iter().enumerate() {
            wire.send(&all(&[batch.clone(), sync()]));
            if number % 2 == 1 {
                std::thread::sleep(Duration::from_millis(100));
                let request = cancel_request(wire.key.0, &wire.key.1);
                let _ = Wire::plain(pooled.house.vault.port).try_send(&request);
            }
            let code = if number % 2 == 1 { "57014" } else { "53300" };
            assert_eq!(wire.until_ready()[0].field('C'), code, "{text}");
            texts.push(text);
        }
        holder.rows("COMMIT");
    }
    wire.send(&terminate());
    wire.rest();
    let skipped = pooled.house.vault.records(&["--outcome", "skipped"], texts.len());
    let told: Vec<&str> =
        skipped.iter().map(|record| record["db.query.text"].as_str().unwrap_or_default()).collect();
    assert_eq!(told, texts, "{skipped:#?}");
}

/// A session that holds its backend is seen in metrics and in `onevault status`, with the reason, while it does; afterwards
/// its record says that it did.
#[test]
fn pins_are_seen_by_the_operator() {
    if !is_transaction() {
        return;
    }
    let pooled = Pooled::new("seen");
    let mut wire = pooled.enter();
    assert!(pooled.pins().is_empty());
    wire.rows("CREATE TEMP TABLE mine (x int)");
    wire.rows("LISTEN news");
    pooled.assert_held("temporary_object");
    pooled.assert_held("listen");
    let status = pooled.house.vault.command(&["status"]);
    let status = String::from_utf8_lossy(&status.stdout).into_owned();
    assert!(status.contains("temporary_object") && status.contains("listen"), "{status}");
    wire.rows("DROP TABLE mine; UNLISTEN *");
    pooled.steal();
    assert!(pooled.pins().is_empty(), "{:?}", pooled.pins());
    wire.send(&terminate());
    wire.rest();
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_secs(5) {
        let records = pooled.house.vault.audit(&[]);
        let closed = records.iter().filter(|record| record["ov.kind"] == "session_close");
        if closed
            .map(ToString::to_string)
            .any(|text| text.contains("temporary_object") && text.contains("listen"))
        {
            return;
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    panic!("the session's record does not say why it held a backend");
}
