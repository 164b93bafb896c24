//! A conversation as it is written down: `F` lines are said, `B` lines are what must be heard, on a direct connection
//! and through OneVault alike; `A` lines are what the statement log must say of it.
//!
//! ```text
//! F Parse s1 SELECT $1
//! F Bind '' s1 7
//! F Execute ''
//! F Sync
//! B ParseComplete
//! ...
//! A ok SELECT $1
//! ```
//!
//! `''` is the empty name, `NULL` no value, `\t` and `\n` are what they look like. `B nothing` waits for silence, `B end` for the
//! end of the stream. `...` at the end of a line stands for anything. Errors are written as severity and SQLSTATE; that the rest of
//! them is the same on both sides is checked too.

use std::time::{Duration, Instant};

use serde_json::Value;

use crate::support::messages::*;
use crate::support::transcript::Frame;
use crate::support::unique;
use crate::support::vault::House;
use crate::support::wire::Wire;

/// How long silence must last.
const SILENCE: Duration = Duration::from_millis(120);

/// Holds the conversations of a file. Each begins with `==` and what it is about; a `before` line is SQL that its database needs.
pub(super) fn all_hold(word: &str, file: &str) {
    all_hold_in(&House::new(word), file, false);
}

/// The same in a house of the caller's, over TLS if it is asked for.
pub(crate) fn all_hold_in(house: &House, file: &str, tls: bool) {
    for conversation in file.split("== ").skip(1) {
        let (_about, rest) = conversation.split_once('\n').unwrap();
        match rest.strip_prefix("before ").and_then(|rest| rest.split_once('\n')) {
            Some((before, transcript)) => holds(house, (before, transcript), tls),
            None => holds(house, ("", rest), tls),
        }
    }
}

/// Holds a conversation both ways after running `before` as the customer each time.
fn holds(house: &House, (before, transcript): (&str, &str), tls: bool) {
    let transcript = transcript.trim();
    let spoken = |wire: &mut Wire, side: &str| {
        if !before.is_empty() {
            house.direct().rows(before);
        }
        play(wire, transcript, side)
    };
    let name = unique("conversation");
    let mut wire = Wire::plain(house.tenant.postgres.port);
    wire.login(&house.tenant.login().with("application_name", &name)).unwrap();
    let direct = spoken(&mut wire, "directly");
    let login = house.login().with("application_name", &name);
    let mut wire = if tls { house.vault.enter_tls(&login) } else { house.vault.enter(&login) };
    let through = spoken(&mut wire, "through OneVault");
    assert_eq!(through, direct, "through OneVault (left) and directly (right)\n{transcript}");
    wire.vanish();
    drop(wire);
    recorded(house, &name, transcript);
}

/// Says and hears; gives everything heard in full.
fn play(wire: &mut Wire, transcript: &str, side: &str) -> Vec<String> {
    let (mut heard, mut shown, mut out) = (Vec::new(), Vec::new(), Vec::new());
    let mut ended = false;
    for line in transcript.lines().map(str::trim).filter(|line| !line.is_empty()) {
        match line.split_at(2) {
            ("F ", said) => {
                out.extend(spell(said));
                shown.push(line.to_owned());
            }
            ("B ", expected) => {
                // The peer may have ended the connection already: then hearing tells.
                let _ = wire.try_send(&std::mem::take(&mut out));
                let (full, short) = hear(wire, expected);
                ended = expected == "end";
                let fits = match expected.strip_suffix("...") {
                    Some(beginning) => short.starts_with(beginning),
                    None => short == expected,
                };
                shown.push(format!("B {short}"));
                heard.push(full);
                let so_far = shown.join("\n");
                assert!(fits, "{side}: {expected} was expected\n{so_far}\n\nof\n{transcript}");
            }
            ("A " | "--", _) => {}
            _ => panic!("no line of a transcript: {line}"),
        }
    }
    wire.send(&out);
    if !ended {
        let frames = wire.talk(&query("SELECT 'in step' AS said"));
        let lines: Vec<_> = frames.iter().map(Frame::line).collect();
        let step = [
            "B RowDescription said:25:0",
            "B DataRow in step",
            "B CommandComplete SELECT 1",
            "B ReadyForQuery I",
        ];
        assert_eq!(lines, step, "{side}: out of step after\n{transcript}");
    }
    heard
}

/// What comes next, in full and as a transcript shows it.
fn hear(wire: &mut Wire, expected: &str) -> (String, String) {
    if expected == "nothing" {
        let frames = wire.within(SILENCE);
        let lines: Vec<_> = frames.iter().map(Frame::line).collect();
        let short = if lines.is_empty() { "nothing".to_owned() } else { format!("{lines:?}") };
        return (short.clone(), short);
    }
    match wire.frame() {
        Some(frame) => (frame.line(), short(&frame)),
        None => ("end".to_owned(), "end".to_owned()),
    }
}

fn short(frame: &Frame) -> String {
    match frame.tag {
        b'E' => format!("ErrorResponse {} {}", frame.field('S'), frame.field('C')),
        b'N' => format!("NoticeResponse {} {}", frame.field('S'), frame.field('C')),
        _ => frame.line().split_off(2),
    }
}

fn name(word: &str) -> &str {
    if word == "''" { "" } else { word }
}

fn unescaped(text: &str) -> String {
    text.replace("\\t", "\t").replace("\\n", "\n")
}

/// The bytes of an `F` line.
fn spell(said: &str) -> Vec<u8> {
    let (what, rest) = said.split_once(' ').unwrap_or((said, ""));
    let words: Vec<&str> = rest.split_whitespace().collect();
    let word = |index: usize| words.get(index).copied().unwrap_or_default();
    match what {
        "Query" => query(&unescaped(rest)),
        "Parse" => {
            let (statement, sql) = rest.split_once(' ').unwrap_or((rest, ""));
            parse(name(statement), &unescaped(sql))
        }
        "Bind" => {
            let values: Vec<Option<&str>> =
                words.iter().skip(2).map(|value| (*value != "NULL").then_some(*value)).collect();
            bind(name(word(0)), name(word(1)), &values)
        }
        "Describe" if word(0) == "P" => describe_portal(name(word(1))),
        "Describe" => describe_statement(name(word(1))),
        "Close" if word(0) == "P" => close_portal(name(word(1))),
        "Close" => close_statement(name(word(1))),
        "Execute" => execute(name(word(0)), words.get(1).map_or(0, |rows| rows.parse().unwrap())),
        "Sync" => sync(),
        "Flush" => flush(),
        "CopyData" => copy_data(unescaped(rest).as_bytes()),
        "CopyDone" => copy_done(),
        "CopyFail" => copy_fail(rest),
        "FunctionCall" => function_call(word(0).parse().unwrap(), &words[1..]),
        "Terminate" => terminate(),
        // A type and a length, whatever they are worth.
        "Raw" => {
            let length: u32 = word(1).parse().unwrap();
            [word(0).as_bytes(), &length.to_be_bytes(), word(2).as_bytes()].concat()
        }
        other => panic!("no message: {other}"),
    }
}

/// The log has one record for each `Query`, `Execute` and `FunctionCall`, and the `A` lines if there are any.
fn recorded(house: &House, name: &str, transcript: &str) {
    let said = |what: &&str| {
        ["F Query", "F Execute", "F FunctionCall"].iter().any(|beginning| what.trim().starts_with(beginning))
    };
    let expected: Vec<&str> = transcript.lines().filter_map(|line| line.trim().strip_prefix("A ")).collect();
    let in_step = usize::from(!transcript.contains("B end"));
    let count = transcript.lines().filter(said).count() + in_step;
    let begun = Instant::now();
    loop {
        let all = house.vault.audit(&[]);
        let session = all.iter().find(|record| text(record, "actor.app_name") == name);
        let session = session.map_or(Value::Null, |record| record["actor.session.uid"].clone());
        let of_session = |record: &&Value| {
            text(record, "ov.class") == "statement" && record["actor.session.uid"] == session
        };
        let mut records: Vec<&Value> = all.iter().filter(of_session).collect();
        // What is skipped is recorded at once, what is answered with its answer.
        records.sort_by_key(|record| record["ov.sequence"].as_u64());
        let lines: Vec<String> = records.iter().map(|record| line(record)).collect();
        let wanted = if expected.is_empty() {
            let executions = records.iter().filter(|record| {
                ["query", "execute", "function_call", "copy_in", "copy_out"]
                    .contains(&text(record, "ov.kind"))
            });
            executions.count() == count
        } else {
            let without_step = lines.len().saturating_sub(in_step);
            lines[..without_step] == expected[..]
        };
        if wanted {
            return;
        }
        assert!(
            begun.elapsed() < Duration::from_secs(3),
            "{count} statements or {expected:#?} are expected in the log of\n{transcript}\nit says {lines:#?}"
        );
        std::thread::sleep(Duration::from_millis(40));
    }
}

fn text<'a>(record: &'a Value, key: &str) -> &'a str {
    record[key].as_str().unwrap_or_default()
}

/// `<outcome> <SQLSTATE, if any> <text>`
fn line(record: &Value) -> String {
    let words =
        [text(record, "ov.outcome"), text(record, "db.response.status_code"), text(record, "db.query.text")];
    words.into_iter().filter(|word| !word.is_empty()).collect::<Vec<_>>().join(" ")
}
