//! Secrets that clients say are found nowhere: not in the log's files, not in what reads them, not in the process's own log,
//! not in its metrics.

use serde_json::json;

use super::house;
use crate::support::messages::*;
use crate::support::vault::{House, MODES};
use crate::support::wire::Wire;

/// Stands in each secret text.
const WORD: &str = "zq7plAnted";
/// Secret numbers.
const NUMBERS: [&str; 2] = ["424209136517", "515109136518"];

fn bind_as(format: u8, value: &[u8]) -> Vec<u8> {
    let head = [0, 0, 0, 1, 0, format, 0, 1];
    message(b'B', &[&head[..], &length(value.len()), value, &[0, 0]].concat())
}

/// Says every secret in every way there is, and waits for each answer.
fn plant(wire: &mut Wire) {
    let w = WORD;
    wire.rows(&format!("CREATE TABLE planted (x text UNIQUE); INSERT INTO planted VALUES ('{w}1')"));
    let texts = [
        format!("SELECT '{w}', E'{w}\\n', N'{w}', U&'{w}', $${w}$$, $t${w}$t$, {}", NUMBERS[0]),
        format!("SELECT 1 /* {w} */ -- {w}"),
        format!("SELECT X'00', 'a' '{w}'"),
        // Refused by the server, who quotes it.
        format!("SELECT '{w}'::int"),
        format!("INSERT INTO planted VALUES ('{w}1')"),
        format!("SELECT {}::int2", NUMBERS[0]),
        format!("SELECT '{w}"),
        format!("SELECT 'a\\', {w}, 'b'"),
        format!("DO $$ BEGIN RAISE EXCEPTION '{w}' USING DETAIL = '{w}'; END $$"),
        format!("SELECT length('{}')", w.repeat(20_000)),
        format!("SELECT length('{w}'), '{}', '{w}'", "x ".repeat(40_000)),
        // One quote too many: what looks like words is strings, and only the end tells.
        format!("INSERT INTO planted VALUES ('it's', {}1)", format!("'{w}', ").repeat(8_000)),
        format!("INSERT INTO planted VALUES ('it's', {}1)", format!("'{w}', ").repeat(40_000)),
    ];
    for text in &texts {
        wire.talk(&query(text));
        wire.talk(&all(&[parse("", text), bind("", "", &[]), execute("", 0), sync()]));
        // In as many pieces as it has bytes, or many.
        for piece in query(text).chunks(1.max(text.len() / 500)) {
            wire.send(piece);
        }
        wire.until_ready();
    }
    let long = w.repeat(20_000);
    for value in [w.as_bytes(), long.as_bytes()] {
        for format in [0, 1] {
            let batch = [parse_typed("", "SELECT length($1)", &[25]), bind_as(format, value)];
            wire.talk(&[&batch[..], &[execute("", 0), sync()]].concat().concat());
        }
    }
    let number: i64 = NUMBERS[1].parse().unwrap();
    let batch = [parse_typed("", "SELECT $1 + 1", &[20]), bind_as(1, &number.to_be_bytes())];
    wire.talk(&[&batch[..], &[execute("", 0), sync()]].concat().concat());
    wire.talk(&all(&[parse("", "SELECT $1::int"), bind("", "", &[Some(w)]), execute("", 0), sync()]));
    wire.talk(&function_call(1257, &[w]));
    wire.send(&query("COPY planted FROM STDIN"));
    wire.until(|frame| frame.tag == b'G');
    wire.talk(&all(&[copy_data(format!("{w}2\n{w}1\n").as_bytes()), copy_done()]));
    wire.send(&query("COPY planted FROM STDIN"));
    wire.until(|frame| frame.tag == b'G');
    wire.talk(&all(&[copy_data(format!("{w}3\n").as_bytes()), copy_fail(w)]));
    wire.talk(&query("COPY planted TO STDOUT"));
    wire.talk(&query(&format!("PREPARE p AS SELECT $1::text; EXECUTE p('{w}')")));
    // What a batch that failed skips, and what nobody answers.
    let skipped = [query(&format!("SELECT '{w}'")), sync()];
    wire.send(&[vec![parse("", "SELEC")], skipped.to_vec()].concat().concat());
    wire.until_ready();
    wire.send(&query(&format!("SELECT pg_sleep(60), '{w}'")));
}

/// Everything that is kept or told.
fn told(house: &mut House) -> Vec<(String, Vec<u8>)> {
    let mut found = vec![("metrics".to_owned(), house.vault.http("/metrics").into_bytes())];
    house.vault.stop();
    for arguments in [&["audit", "show", "--json"][..], &["audit", "show"]] {
        let output = house.vault.command(arguments);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        found.push((arguments.join(" "), [output.stdout, output.stderr].concat()));
    }
    found.push(("process log".to_owned(), house.vault.stderr().into_bytes()));
    let mut folders = vec![house.vault.dir.0.join("audit")];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else {
                found.push((path.display().to_string(), std::fs::read(&path).unwrap()));
            }
        }
    }
    found
}

fn holds(bytes: &[u8], part: &str) -> bool {
    bytes.windows(part.len()).any(|window| window.eq_ignore_ascii_case(part.as_bytes()))
}

#[test]
fn planted_secrets_are_found_nowhere() {
    for pooling in MODES {
        for (handling, durability) in [("masked", "buffered"), ("none", "write_ahead")] {
            let own = json!({ "audit": { "parameters": handling } });
            let mut house = house("secrets", pooling, durability, own);
            let mut wire = house.enter();
            plant(&mut wire);
            std::thread::sleep(std::time::Duration::from_millis(200));
            wire.vanish();
            let hex: String = WORD.bytes().map(|byte| format!("{byte:02x}")).collect();
            let number: i64 = NUMBERS[1].parse().unwrap();
            let bytes: String = number.to_be_bytes().iter().map(|byte| format!("{byte:02x}")).collect();
            for (place, bytes_of) in told(&mut house) {
                for secret in [WORD, &hex, NUMBERS[0], NUMBERS[1], bytes.trim_start_matches('0')] {
                    assert!(!holds(&bytes_of, secret), "{pooling}, {handling}: {secret} in {place}");
                }
            }
            let records = house.vault.audit(&["--kind", "statement"]);
            assert!(records.len() > 40, "{}", records.len());
            let with = |text: &str| records.iter().filter(|record| record.to_string().contains(text)).count();
            if handling == "none" {
                assert_eq!(with("db.query.parameter"), 0);
                assert!(with("SELECT ?::int2") > 0 && with("22P02") > 0, "{records:#?}");
                continue;
            }
            // Equal values look alike, whichever way they came.
            let found = records.iter().find_map(|record| record["db.query.parameter.0"].as_str());
            let digits = found.and_then(|text| text.strip_prefix("text:")).unwrap();
            assert_eq!(digits.len(), 16, "{digits}");
            assert!(with(&format!("string:{digits}")) >= 3, "{digits}: {records:#?}");
        }
    }
}

#[test]
fn a_password_is_not_recorded_even_where_everything_is() {
    let mut house = House::new("passwords");
    let mut wire = house.enter();
    wire.talk(&query(&format!("ALTER ROLE nobody_here PASSWORD '{WORD}'; SELECT 'kept'")));
    wire.talk(&all(&[parse("", &format!("ALTER ROLE nobody_here PASSWORD '{WORD}'")), sync()]));
    drop(wire);
    for (place, bytes) in told(&mut house) {
        assert!(!holds(&bytes, WORD), "{place}");
    }
    assert!(
        house.vault.audit(&[]).iter().any(|record| {
            record["db.query.text"] == "ALTER ROLE nobody_here PASSWORD '***'; SELECT 'kept'"
        })
    );
}
