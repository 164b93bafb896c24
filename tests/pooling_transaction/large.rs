//! Texts too large to be kept leave behind what they say, and nothing else; what is prepared from them holds its backend while it lives.
//!
//! Source: protocol-flow#PROTOCOL-FLOW-EXT-QUERY

use std::cell::Cell;

use crate::support::both::count;
use crate::support::messages::*;
use crate::support::pooled::{Pooled, say};
use crate::support::transcript::Frame;

/// So large that no backend is given it twice.
const LARGE_BYTES: usize = 200_000;

fn run(name: &str) -> Vec<u8> {
    all(&[bind("", name, &[]), execute("", 0)])
}

fn once(name: &str) -> Vec<u8> {
    all(&[run(name), sync()])
}

fn large(beginning: &str, bytes: usize) -> String {
    format!("{beginning} '{}'", "x".repeat(bytes))
}

/// What somebody else of the same role finds; nothing if there is no backend for them.
fn found_by_others(pooled: &Pooled) -> Option<String> {
    let mut wire = pooled.enter();
    let frames = wire.talk(&query(
        "SELECT coalesce(current_setting('app.who', true), '') || '|' || current_setting('search_path') || '|' ||
            (SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND pid = pg_backend_pid()) || '|' ||
            coalesce(to_regclass('pg_temp.mine')::text, '')",
    ));
    frames.iter().find(|frame| frame.tag == b'D').map(Frame::values).and_then(|row| row[0].clone())
}

/// However a text comes and however large it is, what it does to its session is its session's own.
#[test]
fn what_a_large_text_does_is_its_sessions_own() {
    let pooled = Pooled::new("large_texts");
    let does = [
        (
            "SELECT set_config('app.who', 'mine', false),",
            "SELECT current_setting('app.who')",
            "RESET app.who",
        ),
        (
            "SELECT pg_advisory_lock(77),",
            "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND pid = pg_backend_pid()",
            "SELECT pg_advisory_unlock_all()",
        ),
        ("CREATE TEMP TABLE mine AS SELECT", "SELECT count(*) FROM pg_temp.mine", "DROP TABLE pg_temp.mine"),
        ("SET search_path = public,", "SELECT length(current_setting('search_path'))", "RESET search_path"),
        ("DO", "SELECT current_setting('app.who', true)", "RESET app.who"),
    ];
    let mut wire = pooled.enter();
    for bytes in [20_000, 1_000_000] {
        for (beginning, question, end) in does {
            let text = if beginning == "DO" {
                format!(
                    "DO $$BEGIN PERFORM set_config('app.who', 'mine', false); END /* {} */$$",
                    "x".repeat(bytes)
                )
            } else {
                large(beginning, bytes)
            };
            for way in ["simple", "unnamed", "named"] {
                let messages = match way {
                    "simple" => query(&text),
                    "unnamed" => all(&[parse("", &text), run(""), sync()]),
                    _ => all(&[parse("s1", &text), run("s1"), close_statement("s1"), sync()]),
                };
                let heard = say(&mut wire, &messages);
                let what = format!("{beginning} .. of {bytes} bytes, {way}");
                assert_eq!(count(&heard, "B ErrorResponse"), 0, "{what}: {:?}", heard.last());
                if let Some(found) = found_by_others(&pooled) {
                    assert_eq!(found, "|\"$user\", public|0|", "{what}");
                }
                let own = wire.value(question);
                assert!(!own.is_empty() && own != "0", "{what}: {own}");
                assert_eq!(wire.sqlstate(end), "", "{what}");
                wire.rows("SELECT 'another'");
                pooled.steal();
            }
        }
    }
}

/// Until it is closed, by whatever means, a large statement is where its session is, and so are the others; then nothing is held.
#[test]
fn a_large_statement_holds_its_backend_until_it_ends() {
    let pooled = Pooled::new("large_held");
    let (one, two) =
        (large("SELECT 'one', length(", LARGE_BYTES) + ")", large("SELECT 'two', md5(", LARGE_BYTES) + ")");
    for end in [
        all(&[close_statement("l1"), close_statement("l2"), sync()]),
        all(&[query("DEALLOCATE l1; DEALLOCATE l2")]),
        all(&[parse("", "DEALLOCATE l1"), run(""), parse("", "DEALLOCATE l2"), run(""), sync()]),
        query("DEALLOCATE ALL"),
        query("DISCARD ALL"),
    ] {
        // The direct connection comes first.
        let is_through = Cell::new(false);
        pooled.both(|wire, steal| {
            let held = || {
                if is_through.get() {
                    pooled.assert_held("large_statement");
                }
            };
            let mut heard = say(wire, &all(&[parse("small", "SELECT 'small'"), sync()]));
            steal();
            heard.extend(say(wire, &all(&[parse("l1", &one), sync()])));
            held();
            heard.extend(say(wire, &all(&[parse("l2", &two), run("l1"), run("small"), sync()])));
            heard.extend(say(wire, &all(&[run("l2"), parse("new", "SELECT 'new'"), run("new"), sync()])));
            held();
            heard.extend(say(wire, &end));
            steal();
            for name in ["small", "new", "l1", "l2"] {
                heard.extend(say(wire, &once(name)));
                steal();
            }
            is_through.set(true);
            heard
        });
    }
}

/// A large Parse that came to nothing holds nothing.
#[test]
fn a_large_parse_that_fails_holds_nothing() {
    let pooled = Pooled::new("large_failed");
    let fine = large("SELECT", LARGE_BYTES);
    let heard = pooled.stolen(&[
        all(&[parse("small", "SELECT 'small'"), sync()]),
        all(&[parse("l1", &large("SELEC", LARGE_BYTES)), sync()]),
        once("l1"),
        all(&[parse("l1", "SELEC"), parse("l1", &fine), run("l1"), sync()]),
        once("l1"),
        all(&[parse("small", &fine), sync()]),
        once("small"),
        all(&[parse("", &large("SELEC", LARGE_BYTES)), sync()]),
        once(""),
        all(&[
            parse("l2", &fine),
            parse("l2", &fine),
            close_statement("l2"),
            sync(),
            close_statement("l2"),
            sync(),
        ]),
        once("l2"),
        once("small"),
    ]);
    assert_eq!(count(&heard, "B DataRow small"), 2, "{heard:#?}");
}

/// SQL in a large text may speak of statements by their names.
#[test]
fn a_large_text_may_execute_what_the_protocol_has_named() {
    let pooled = Pooled::new("large_execute");
    let value = "v".repeat(LARGE_BYTES);
    let heard = pooled.both(|wire, steal| {
        let mut heard = say(wire, &all(&[parse("s1", "SELECT length($1::text)"), sync()]));
        steal();
        for text in [
            format!("EXECUTE s1('{value}')"),
            format!("PREPARE s2 AS SELECT length('{value}')"),
            format!("EXECUTE s2 /* {value} */"),
            format!("DEALLOCATE s1 /* {value} */"),
            "DEALLOCATE ALL".to_owned(),
        ] {
            heard.extend(say(wire, &query(&text)));
        }
        steal();
        heard.extend(say(wire, &once("s1")));
        heard
    });
    assert_eq!(count(&heard, &format!("B DataRow {LARGE_BYTES}")), 2, "{heard:#?}");
}
