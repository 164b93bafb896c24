//! The log refuses what it cannot record, heals, is read while it is written, and shows what was changed.

use std::fs;
use std::os::unix::fs::FileExt;
use std::time::{Duration, Instant};

use serde_json::json;

use crate::support::messages;
use crate::support::vault::House;
use crate::support::wire::Wire;

/// A text that fills a segment after some fifteen statements.
fn long(marker: u32) -> String {
    format!("INSERT INTO marks VALUES ({marker}) /* {} */", "x".repeat(60_000))
}

/// Runs statements until one is refused, at most 200; its SQLSTATE, and how many succeeded.
fn insert_until_refused(wire: &mut Wire) -> (String, u32) {
    for marker in 0..200 {
        let frames = wire.talk(&messages::query(&long(marker)));
        if let Some(error) = frames.iter().find(|frame| frame.tag == b'E') {
            return (error.field('C'), marker);
        }
        assert!(frames.iter().any(|frame| frame.tag == b'C'), "no answer to {marker}: {frames:?}");
        // Gives a buffered log the time to notice.
        std::thread::sleep(Duration::from_millis(30));
    }
    panic!("nothing was refused");
}

fn until(what: &str, mut done: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !done() {
        assert!(begun.elapsed() < Duration::from_secs(10), "never: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn a_log_that_cannot_be_written_refuses_statements_and_heals() {
    for mode in ["buffered", "acknowledged", "write_ahead"] {
        let house = House::with("unwritable", |options| options.with(json!({ "audit": { "mode": mode } })));
        house.direct().rows("CREATE TABLE marks (mark integer)");
        // The first segment's successor cannot get its name.
        let obstacle = house.vault.dir.0.join("audit/0000000002.journal");
        fs::create_dir(&obstacle).unwrap();
        let (code, answered) = insert_until_refused(&mut house.enter());
        assert_eq!(code, "58030", "{mode}");
        assert!(house.vault.http("/health").starts_with("HTTP/1.1 503"), "{mode}");
        let refused = Wire::plain(house.vault.port).login(&house.login());
        assert_eq!(refused.unwrap_err().field('C'), "58030", "{mode}");

        fs::remove_dir(&obstacle).unwrap();
        until("well", || house.vault.http("/health").starts_with("HTTP/1.1 200"));
        assert_eq!(house.enter().value("SELECT 1"), "1");
        let in_database: u32 = house.direct().value("SELECT count(*) FROM marks").parse().unwrap();
        let logged = house.vault.audit(&["--kind", "statement", "--grep", "INSERT INTO marks"]);
        let ran = logged.iter().filter(|record| record["ov.outcome"] == "ok").count();
        assert!(
            ran >= usize::try_from(in_database).unwrap() && in_database >= answered,
            "{mode}: {in_database} {ran}"
        );
        if mode == "write_ahead" {
            assert_eq!(in_database, answered, "a statement ran whose intent was not on disk");
        }
        let gap = house.vault.records(&["--kind", "log_gap"], 1).remove(0);
        assert!(gap["ov.refused"].as_u64().unwrap() > 0, "{gap}");
        assert!(house.vault.command(&["audit", "verify"]).status.success());
    }
}

#[test]
fn a_changed_record_is_found_by_verify_and_no_start_goes_over_it() {
    let mut house = House::new("tampered");
    let mut wire = house.enter();
    for number in 0..20 {
        wire.value(&format!("SELECT {number} + 4711"));
    }
    drop(wire);
    house.vault.stop();
    assert!(house.vault.command(&["audit", "verify"]).status.success());

    let path = house.vault.dir.0.join("audit/0000000001.journal");
    let bytes = fs::read(&path).unwrap();
    // Within the record of a statement in the middle: behind the start, the session and some of the others.
    let mut at = 192;
    for _ in 0..10 {
        let length = bytes[at..].first_chunk().map(|bytes| u32::from_le_bytes(*bytes)).unwrap();
        at += 56 + usize::try_from(length).unwrap();
    }
    at += 100;
    let file = fs::OpenOptions::new().write(true).open(&path).unwrap();
    let changed = bytes[at] ^ 1;
    file.write_all_at(&[changed], u64::try_from(at).unwrap()).unwrap();

    let verified = house.vault.command(&["audit", "verify"]);
    let said = String::from_utf8(verified.stdout).unwrap();
    assert_eq!(verified.status.code(), Some(1));
    assert!(said.contains("damaged") && said.contains("0000000001.journal at byte"), "{said}");
    // What lies before the damage is shown, and that there is damage is said.
    let shown = house.vault.command(&["audit", "show", "--json"]);
    let lines = String::from_utf8(shown.stdout).unwrap();
    assert!(lines.contains("SELECT 0 + 4711") && !lines.contains("SELECT 19 + 4711"), "{lines}");
    assert!(!shown.status.success() && String::from_utf8_lossy(&shown.stderr).contains("at byte"));
    let started = house.vault.command(&["serve"]);
    assert!(!started.status.success());
    let said = String::from_utf8_lossy(&[started.stdout, started.stderr].concat()).into_owned();
    assert!(said.contains("damaged") && said.contains("keep the folder"), "{said}");
    let now = fs::read(&path).unwrap();
    assert_eq!((now.len(), now[at]), (bytes.len(), changed));
}

#[test]
fn the_log_is_read_while_it_is_written() {
    let house = House::new("followed");
    let failed = std::thread::scope(|scope| {
        let reader = scope.spawn(|| (0..20).find_map(|_| refused(&house)));
        let mut wire = house.enter();
        let mut marker = 0;
        while !reader.is_finished() {
            marker += 1;
            wire.value(&format!("SELECT {marker} /* {} */", "y".repeat(20_000)));
        }
        reader.join().unwrap()
    });
    assert_eq!(failed, None);
}

/// What `verify` or `show` had against the log, if anything.
fn refused(house: &House) -> Option<String> {
    [&["audit", "verify"][..], &["audit", "show", "--count"]].iter().find_map(|words| {
        let output = house.vault.command(words);
        let said = [output.stdout, output.stderr].concat();
        (!output.status.success()).then(|| String::from_utf8_lossy(&said).into_owned())
    })
}
