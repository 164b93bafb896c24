//! Lengths and types that lie: refused before anything is kept for them, and only their sender is harmed.
//!
//! Source: protocol-overview#PROTOCOL-MESSAGE-CONCEPTS

use std::time::{Duration, Instant};

use serde_json::json;

use super::conversation::all_hold;
use crate::support::messages::*;
use crate::support::vault::{House, Vault};
use crate::support::wire::Wire;

/// Resident memory of the program, in KiB.
fn memory_kib(vault: &Vault) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", vault.pid())).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

/// The SQLSTATE of the last words, if there are any, within a time that no wait for more bytes would keep.
fn last_words(mut wire: Wire) -> String {
    let begun = Instant::now();
    let frames = wire.rest();
    assert!(begun.elapsed() < Duration::from_secs(5), "the connection was kept");
    frames.last().map(|frame| frame.field('C')).unwrap_or_default()
}

#[test]
fn a_startup_packet_of_a_bad_length_is_refused_at_once() {
    let house = House::new("bad_startup");
    for length in [0_u32, 3, 4, 7, 10_001, 65_536, 0x7fff_ffff, 0x8000_0000, u32::MAX] {
        let mut wire = Wire::plain(house.vault.port);
        wire.send(&length.to_be_bytes());
        assert_eq!(last_words(wire), "08P01", "length {length}");
    }
    // Bytes of other protocols, and a packet without its terminator.
    for bytes in [
        &b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"[..],
        b"EHLO mail\r\n",
        &[0, 0, 0, 12, 0, 3, 0, 0, b'u', b's', b'e', b'r'],
    ] {
        let mut wire = Wire::plain(house.vault.port);
        wire.send(bytes);
        assert_eq!(last_words(wire), "08P01", "{bytes:?}");
    }
    let mut old = Wire::plain(house.vault.port);
    old.send(&startup(2 << 16, &[("user", "x")]));
    assert_eq!(last_words(old), "0A000");
    assert_eq!(house.enter().value("SELECT 'unharmed'"), "unharmed");
}

#[test]
fn a_login_message_of_a_bad_length_or_type_is_refused_at_once() {
    let house = House::new("bad_login");
    let header = |tag: u8, length: u32| [&[tag][..], &length.to_be_bytes()].concat();
    for bytes in [
        header(b'p', 0),
        header(b'p', 3),
        header(b'p', 65_536),
        header(b'p', 0x3fff_ffff),
        header(b'p', u32::MAX),
        query("SELECT 'before the login'"),
        terminate(),
        header(b'Q', 0x3fff_ffff),
    ] {
        let mut wire = Wire::plain(house.vault.port);
        wire.send(&house.login().startup());
        assert_eq!(wire.frame().unwrap().line(), "B Authentication 10");
        wire.send(&bytes);
        let said = last_words(wire);
        assert!(said == "08P01" || bytes[0] == b'X' && said.is_empty(), "{:?}: {said}", &bytes[..5]);
    }
    // A password before anything else is no startup packet.
    let mut wire = Wire::plain(house.vault.port);
    wire.send(&message(b'p', b"secret\0"));
    assert_eq!(last_words(wire), "08P01");
    assert_eq!(house.enter().value("SELECT 'unharmed'"), "unharmed");
}

#[test]
fn a_message_of_an_unknown_type_ends_its_session_after_the_answers_before_it() {
    all_hold("unknown_type", include_str!("transcripts/unknown_type.txt"));
}

#[test]
fn a_message_of_a_bad_length_is_told_after_the_answers_before_it() {
    let house = House::new("bad_length");
    let mut other = house.enter();
    for tag in [b'Q', b'P', b'S', b'd', b'!', 0, 0x16] {
        for length in [0_u32, 3, 1 << 30, 0x7fff_ffff, 0x8000_0000, u32::MAX] {
            let mut wire = house.enter();
            wire.send(&all(&[query("SELECT 'answered'"), vec![tag], length.to_be_bytes().to_vec()]));
            let frames = wire.rest();
            let tags: Vec<u8> = frames.iter().map(|frame| frame.tag).collect();
            assert_eq!(tags, b"TDCZE", "{tag} {length}");
            assert_eq!(frames[4].field('C'), "08P01");
        }
    }
    assert_eq!(other.value("SELECT 'unharmed'"), "unharmed");
}

/// Announced and never sent: nothing is kept for it, in any phase of a session.
#[test]
fn memory_does_not_follow_an_announced_length() {
    let house = House::new("announced");
    let mut warm = house.enter();
    warm.value("SELECT 1");
    let before = memory_kib(&house.vault);
    let mut kept = Vec::new();
    for tag in *b"QPBEDCFdpf" {
        for _ in 0..3 {
            let mut wire = house.enter();
            wire.send(&[&[tag][..], &0x3fff_ffff_u32.to_be_bytes(), &[b'x'; 40_000]].concat());
            kept.push(wire);
        }
    }
    std::thread::sleep(Duration::from_millis(300));
    let grown = memory_kib(&house.vault).saturating_sub(before);
    assert!(grown < 16 * 1024, "{grown} KiB more for {} announcements", kept.len());
    assert_eq!(warm.value("SELECT 'unharmed'"), "unharmed");
}

/// A batch that failed may go on for as long as its client likes; what is skipped is forgotten.
#[test]
fn a_failed_batch_without_an_end_holds_no_memory() {
    let house = House::new("endless");
    let mut wire = house.enter();
    wire.send(&all(&[
        parse("", "SELECT 1"),
        bind("", "", &[]),
        execute("", 0),
        parse("s", "SELEC"),
        flush(),
    ]));
    wire.until(|frame| frame.tag == b'E');
    let before = memory_kib(&house.vault);
    let statement = parse("s", &format!("SELECT '{}'", "x".repeat(12_000)));
    let skipped = all(&[statement, bind("p", "s", &[]), describe_portal("p")]).repeat(100);
    for _ in 0..80 {
        wire.send(&skipped);
    }
    let grown = memory_kib(&house.vault).saturating_sub(before);
    assert!(grown < 16 * 1024, "{grown} KiB more");
    wire.send(&all(&[execute("p", 0), sync()]));
    wire.until_ready();
    assert_eq!(wire.value("SELECT 'unharmed'"), "unharmed");
    let records = house.vault.records(&["--kind", "execute"], 2);
    let mut ends: Vec<_> =
        records.iter().map(|r| (r["ov.outcome"].as_str(), r["ov.text_bytes"].as_u64())).collect();
    ends.sort();
    assert_eq!(ends, [(Some("ok"), Some(8)), (Some("skipped"), Some(12_009))]);
}

#[test]
fn messages_of_64_mib_pass_both_ways() {
    // What waits for the log's writer, and what that has taken, are counted with the rest.
    let house = House::with("large", |options| options.with(json!({ "audit": { "buffer_bytes": 4 << 20 } })));
    let mut wire = house.enter();
    let text = "x".repeat(64 << 20);
    let before = memory_kib(&house.vault);
    let frames = wire.talk(&all(&[
        parse("", "SELECT length($1), $1"),
        bind("", "", &[Some(&text)]),
        execute("", 0),
        sync(),
    ]));
    let row = frames.iter().find(|frame| frame.tag == b'D').expect("a row").values();
    assert_eq!((row[0].as_deref(), row[1].as_ref().map(String::len)), (Some("67108864"), Some(64 << 20)));
    let grown = memory_kib(&house.vault).saturating_sub(before);
    assert!(grown < 32 * 1024, "{grown} KiB more");
    assert_eq!(wire.value(&format!("SELECT length('{text}')")), "67108864");
    assert_eq!(wire.value("SELECT 'in step'"), "in step");
}

#[test]
fn a_message_over_the_limit_is_refused_and_one_within_passes() {
    let house =
        House::with("limit", |options| options.with(json!({ "limits": { "message_bytes_max": 100_000 } })));
    let mut wire = house.enter();
    let fits = format!("SELECT length('{}')", "x".repeat(99_000));
    assert_eq!(wire.value(&fits), "99000");
    wire.send(&query(&format!("SELECT length('{}')", "x".repeat(101_000))));
    let error = wire.rest().last().cloned().expect("a word");
    assert_eq!(
        (error.field('S').as_str(), error.field('C').as_str()),
        ("FATAL", "08P01"),
        "{}",
        error.line()
    );
    assert_eq!(house.enter().value("SELECT 'unharmed'"), "unharmed");
}

/// A client that sends for ever and reads nothing is held up, not stored.
#[test]
fn a_pipeline_that_is_never_read_is_held_up() {
    let house = House::new("unread");
    let mut other = house.enter();
    let mut wire = house.enter();
    let before = memory_kib(&house.vault);
    wire.tcp().set_write_timeout(Some(Duration::from_millis(500))).unwrap();
    let chunk =
        all(&[parse("", "SELECT repeat('x', 5000)"), bind("", "", &[]), execute("", 0), sync()]).repeat(500);
    let mut chunks = 0;
    while chunks < 1000 && wire.try_send(&chunk).is_ok() {
        chunks += 1;
    }
    assert!(chunks < 1000, "somebody buffers without a limit");
    let grown = memory_kib(&house.vault).saturating_sub(before);
    assert!(grown < 24 * 1024, "{grown} KiB more");
    assert_eq!(other.value("SELECT 'unharmed'"), "unharmed");
}

/// Names as long as a message: the log must not take the statement for another one.
#[test]
fn a_long_portal_name_does_not_hide_what_is_run() {
    let house = House::new("long_name");
    let mut wire = house.enter();
    wire.talk(&all(&[parse("", "SELECT 'harmless'"), parse("evil", "SELECT 'evil', length($1)"), sync()]));
    let portal = "p".repeat(3000);
    let bind = bind(&portal, "evil", &[Some(&"x".repeat(20_000))]);
    // The names arrive in two pieces.
    let (head, tail) = bind.split_at(600);
    wire.send(head);
    std::thread::sleep(Duration::from_millis(100));
    wire.send(tail);
    let frames = wire.talk(&all(&[execute(&portal, 0), sync()]));
    let ran = frames.iter().any(|frame| frame.tag == b'D' && frame.values()[0].as_deref() == Some("evil"));
    if !ran {
        return; // refused: nothing is hidden
    }
    let begun = Instant::now();
    loop {
        let records = house.vault.audit(&[]);
        if records.iter().any(|record| record["db.query.text"] == "SELECT 'evil', length($1)") {
            break;
        }
        assert!(begun.elapsed() < Duration::from_secs(2), "what was run is not in the log: {records:#?}");
        std::thread::sleep(Duration::from_millis(50));
    }
}
