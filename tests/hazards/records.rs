//! What a client sends cannot bend the log: one line for each statement, lossless, whole, and nothing left out.

use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde_json::Value;

use crate::support::messages::*;
use crate::support::vault::House;
use crate::support::wire::{Login, Wire};

/// Waits until the log has what is looked for.
fn found(house: &House, what: &str, fits: impl Fn(&Value) -> bool) -> Value {
    let begun = Instant::now();
    loop {
        let records = house.vault.audit(&[]);
        if let Some(record) = records.into_iter().find(&fits) {
            return record;
        }
        assert!(begun.elapsed() < Duration::from_secs(4), "{what} is not in the log");
        std::thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn whatever_a_statement_is_made_of_it_is_one_line_and_comes_back_whole() {
    let house = House::new("lines");
    let mut wire = house.enter();
    let long = format!("SELECT length('{}')", "long ".repeat(600_000));
    for text in [
        "SELECT 'a\nb\r\nc'",
        "SELECT '\u{1b}[31mred\u{1b}[0m\u{7}\u{8}'",
        "SELECT 'line\u{2028}separator\u{2029}paragraph\u{85}next'",
        "SELECT 'bidi \u{202e}txet\u{2066}'",
        "SELECT '\"} {\"forged\": true}'",
        "SELECT 'tab\tand \\ backslash'",
        "SELECT '\u{1F980}'",
        long.as_str(),
    ] {
        wire.rows(text);
        let record = found(&house, "the statement", |record| record["db.query.text"] == text);
        assert_eq!(record["ov.text_bytes"], text.len());
        assert_eq!(record["ov.outcome"], "ok");
    }
    // For people: one line each, and nothing that a terminal obeys.
    let shown = house.vault.command(&["audit", "show"]);
    assert!(shown.status.success());
    let text = String::from_utf8(shown.stdout).unwrap();
    let bad = |letter: char| {
        letter.is_control() && letter != '\n' || "\u{2028}\u{2029}\u{202e}\u{2066}\u{85}".contains(letter)
    };
    assert!(!text.contains(bad), "{:?}", text.lines().find(|line| line.contains(bad)));
    assert_eq!(text.lines().filter(|line| line.contains("SELECT")).count(), 8, "one line for each");
}

/// Bytes that are no UTF-8 are kept as they came.
#[test]
fn bytes_of_another_encoding_are_not_lost() {
    let house = House::new("bytes");
    let mut wire = house.enter();
    wire.rows("SET client_encoding = 'LATIN1'");
    wire.talk(&message(b'Q', b"SELECT 'caf\xe9 \xff'\0"));
    let record = found(&house, "the statement", |record| {
        record["db.query.text"].as_str().is_some_and(|text| text.contains("caf"))
    });
    let exact = BASE64.decode(record["db.query.text.base64"].as_str().unwrap()).unwrap();
    assert_eq!(exact, b"SELECT 'caf\xe9 \xff'");
    assert_eq!(record["ov.text_bytes"], 15);
}

#[test]
fn no_kind_of_execution_and_no_refusal_is_left_out() {
    let house = House::new("kinds");
    let mut wire = house.enter();
    wire.rows("PREPARE by_sql AS SELECT 'prepared by SQL'");
    wire.rows("EXECUTE by_sql");
    wire.rows("DO $$ BEGIN PERFORM 1; END $$");
    assert_eq!(wire.sqlstate("SELECT * FROM pg_authid"), "42501");
    for (text, outcome) in [
        ("PREPARE by_sql AS SELECT 'prepared by SQL'", "ok"),
        ("EXECUTE by_sql", "ok"),
        ("DO $$ BEGIN PERFORM 1; END $$", "ok"),
        ("SELECT * FROM pg_authid", "error"),
    ] {
        found(&house, text, |record| record["db.query.text"] == text && record["ov.outcome"] == outcome);
    }
    let user = format!("nobody@{}", house.tenant.role);
    Wire::plain(house.vault.port).login(&Login::new(&user, "x", "app")).unwrap_err();
    found(&house, "the failed login", |record| {
        record["ov.kind"] == "login_failed"
            && record["actor.user.name"] == user
            && record["src_endpoint.ip"] == "127.0.0.1"
    });
    Wire::plain(house.vault.port).login(&house.login().with("replication", "true")).unwrap_err();
    let mut login = house.login();
    "elsewhere".clone_into(&mut login.database);
    Wire::plain(house.vault.port).login(&login).unwrap_err();
    for code in ["0A000", "3D000"] {
        found(&house, code, |record| {
            record["ov.kind"] == "connection_refused" && record["db.response.status_code"] == code
        });
    }
}
