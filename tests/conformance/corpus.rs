//! The protocol's corners: what a client says, and the records it leaves, word for word.

use serde_json::{Value, json};

use super::house;
use crate::support::messages::*;
use crate::support::vault::{House, MODES};
use crate::support::wire::Wire;

/// A record as one line: kind, outcome, transaction status, rows, tag or SQLSTATE, text, parameters.
fn line(record: &Value) -> String {
    let text = |field: &str| record[field].as_str().unwrap_or("-").to_owned();
    let end = record.get("db.response.status_code").or_else(|| record.get("ov.command_tag"));
    let end = end.and_then(Value::as_str).unwrap_or("-");
    let mut line = format!(
        "{} {} {} {} [{end}] {}",
        text("ov.kind"),
        text("ov.outcome"),
        text("ov.transaction_status"),
        record["db.response.returned_rows"],
        text("db.query.text"),
    );
    for number in 0.. {
        match record.get(format!("db.query.parameter.{number}")) {
            Some(value) => line.push_str(&format!(" ${}={}", number + 1, value.as_str().unwrap_or("NULL"))),
            None => break,
        }
    }
    line
}

/// Says something in a house of each pooling, and compares what it leaves.
fn leaves(word: &str, say: impl Fn(&House, &mut Wire), expected: &[&str]) {
    for pooling in MODES {
        let house = house(word, pooling, "acknowledged", json!({}));
        let mut wire = house.enter();
        say(&house, &mut wire);
        let lines: Vec<_> = house.vault.audit(&["--kind", "statement"]).iter().map(line).collect();
        assert_eq!(lines, expected, "{pooling}");
    }
}

#[test]
fn names_stand_for_what_they_were_given_last() {
    leaves(
        "named",
        |_, wire| {
            let (one, two) = (parse("a", "SELECT 'one', $1::text"), parse("b", "SELECT 'two', $1::text"));
            let run = |name: &str, value| all(&[bind("", name, &[Some(value)]), execute("", 0)]);
            wire.talk(&all(&[one, two, run("a", "1"), run("b", "2"), run("a", "3"), sync()]));
            // Closed and given again; and the unnamed one, which needs no closing.
            let again = parse("a", "SELECT 'again', $1::text");
            wire.talk(&all(&[close_statement("a"), again, run("a", "4"), sync()]));
            wire.talk(&all(&[
                parse("", "SELECT 'x', $1::text"),
                parse("", "SELECT 'y', $1::text"),
                run("", "5"),
                sync(),
            ]));
            // A portal that is not the unnamed one, from a statement that is.
            wire.talk(&all(&[
                bind("p", "", &[Some("6")]),
                bind("b", "a", &[Some("7")]),
                execute("p", 0),
                execute("b", 0),
                sync(),
            ]));
        },
        &[
            "execute ok I 1 [SELECT 1] SELECT 'one', $1::text $1=1",
            "execute ok I 1 [SELECT 1] SELECT 'two', $1::text $1=2",
            "execute ok I 1 [SELECT 1] SELECT 'one', $1::text $1=3",
            "execute ok I 1 [SELECT 1] SELECT 'again', $1::text $1=4",
            "execute ok I 1 [SELECT 1] SELECT 'y', $1::text $1=5",
            "execute ok I 1 [SELECT 1] SELECT 'y', $1::text $1=6",
            "execute ok I 1 [SELECT 1] SELECT 'again', $1::text $1=7",
        ],
    );
}

#[test]
fn the_tenth_parameter_is_not_the_first_with_a_zero() {
    let values: Vec<String> = (1..=11).map(|number| format!("v{number}")).collect();
    let sql = "SELECT $1::text, $2::text, $3::text, $4::text, $5::text, $6::text, $7::text, $8::text, $9::text, $10::text, $11::text";
    let expected: String =
        values.iter().enumerate().map(|(at, value)| format!(" ${}={value}", at + 1)).collect();
    leaves(
        "tenth",
        |_, wire| {
            let values: Vec<_> = values.iter().map(|value| Some(value.as_str())).collect();
            wire.talk(&extended(sql, &values));
        },
        &[&format!("execute ok I 1 [SELECT 1] {sql}{expected}")],
    );
}

#[test]
fn a_thousand_executions_are_a_thousand_records() {
    for pooling in MODES {
        let house = house("thousand", pooling, "buffered", json!({}));
        let mut wire = house.enter();
        wire.talk(&all(&[parse("s", "SELECT $1::int"), sync()]));
        let batch: Vec<_> = (0..1000)
            .map(|number| all(&[bind("", "s", &[Some(&number.to_string())]), execute("", 0)]))
            .collect();
        wire.talk(&[batch.concat(), sync()].concat());
        let records = house.vault.records(&["--kind", "execute"], 1000);
        for (number, record) in records.iter().enumerate() {
            assert_eq!(record["db.query.parameter.0"], number.to_string(), "{pooling}");
        }
    }
}

#[test]
fn what_runs_nothing_leaves_nothing_and_what_fails_says_so() {
    leaves(
        "fails",
        |_, wire| {
            wire.talk(&all(&[parse("s", "SELECT 1"), describe_statement("s"), sync()]));
            wire.send(&all(&[bind("", "s", &[]), describe_portal(""), flush()]));
            wire.until(|frame| frame.tag == b'T');
            wire.talk(&sync());
            wire.talk(&query(""));
            wire.talk(&all(&[parse("", "SELEC"), sync()]));
            wire.talk(&all(&[
                parse("", "SELECT $1::int"),
                bind("", "", &[Some("x")]),
                execute("", 0),
                sync(),
            ]));
            wire.talk(&all(&[describe_statement("nothing"), sync()]));
            // One fails, the rest of its batch is not run; the next batch is.
            wire.talk(&all(&[
                extended("SELECT 1/$1::int", &[Some("0")])[..].to_vec(),
                extended("SELECT 2", &[]),
            ]));
            wire.until_ready();
            let skipped = [parse("", "SELECT 3"), bind("", "", &[]), execute("", 0)];
            let broken =
                [parse("", "SELECT 4/x FROM generate_series(0, 1) x"), bind("", "", &[]), execute("", 0)];
            wire.talk(&all(&[all(&broken), all(&skipped), sync()]));
        },
        &[
            "query ok I 0 [-] ",
            "parse error I 0 [42601] SELEC",
            "bind error I 0 [22P02] SELECT $1::int $1=x",
            "execute skipped - 0 [-] SELECT $1::int $1=x",
            "describe error I 0 [26000] ",
            // The server finds it when it plans.
            "bind error I 0 [22012] SELECT 1/$1::int $1=0",
            "execute skipped - 0 [-] SELECT 1/$1::int $1=0",
            "execute ok I 1 [SELECT 1] SELECT 2",
            // What failed is recorded with the status at the end of its batch, and so behind what it made the server skip.
            "execute skipped - 0 [-] SELECT 3",
            "execute error I 0 [22012] SELECT 4/x FROM generate_series(0, 1) x",
        ],
    );
}

#[test]
fn several_statements_in_one_text_are_one_record() {
    leaves(
        "several",
        |_, wire| {
            wire.talk(&query("SELECT 1; SELECT 1/0; SELECT 3"));
            wire.talk(&query("BEGIN; SELECT 1"));
            wire.talk(&query("SELECT 1/0"));
            wire.talk(&query("SELECT 5"));
            wire.talk(&query("ROLLBACK"));
        },
        &[
            "query error I 1 [22012] SELECT 1; SELECT 1/0; SELECT 3",
            "query ok T 1 [SELECT 1] BEGIN; SELECT 1",
            "query error E 0 [22012] SELECT 1/0",
            "query error E 0 [25P02] SELECT 5",
            "query ok I 0 [ROLLBACK] ROLLBACK",
        ],
    );
}

#[test]
fn sql_that_names_statements_and_roles_is_recorded_as_said() {
    leaves(
        "sqlnames",
        |_, wire| {
            for sql in [
                "PREPARE p AS SELECT $1::int",
                "EXECUTE p(7)",
                "DEALLOCATE p",
                "DISCARD ALL",
                "SET ROLE NONE",
                "SET client_encoding = 'LATIN1'",
                "RESET client_encoding",
                "LISTEN c",
                "NOTIFY c, 'x'",
                "UNLISTEN *",
            ] {
                wire.talk(&query(sql));
            }
        },
        &[
            "query ok I 0 [PREPARE] PREPARE p AS SELECT $1::int",
            "query ok I 1 [SELECT 1] EXECUTE p(7)",
            "query ok I 0 [DEALLOCATE] DEALLOCATE p",
            "query ok I 0 [DISCARD ALL] DISCARD ALL",
            "query ok I 0 [SET] SET ROLE NONE",
            "query ok I 0 [SET] SET client_encoding = 'LATIN1'",
            "query ok I 0 [RESET] RESET client_encoding",
            "query ok I 0 [LISTEN] LISTEN c",
            "query ok I 0 [NOTIFY] NOTIFY c, 'x'",
            "query ok I 0 [UNLISTEN] UNLISTEN *",
        ],
    );
}

/// What is copied is counted, and its digest is the same whichever way and in whatever pieces it goes.
#[test]
fn copies_are_counted_and_digested() {
    for pooling in MODES {
        let house = house("copied", pooling, "write_ahead", json!({}));
        let mut wire = house.enter();
        wire.rows("CREATE TABLE t (x text)");
        let rows: String = (0..3000).map(|number| format!("row {number}\n")).collect();
        let mut copy_in = |pieces: usize, last: Vec<u8>| {
            wire.rows("TRUNCATE t");
            wire.send(&query("COPY t FROM STDIN"));
            wire.until(|frame| frame.tag == b'G');
            for piece in rows.as_bytes().chunks(pieces) {
                wire.send(&copy_data(piece));
            }
            wire.talk(&last);
        };
        copy_in(rows.len(), copy_done());
        copy_in(7000, copy_done());
        copy_in(7000, copy_fail("no more"));
        copy_in(11, copy_done());
        wire.talk(&query("COPY t TO STDOUT"));
        wire.talk(&all(&[
            parse("", "COPY (SELECT 'other') TO STDOUT"),
            bind("", "", &[]),
            execute("", 0),
            sync(),
        ]));
        let mut records = house.vault.records(&["--kind", "copy_in"], 4);
        records.extend(house.vault.records(&["--kind", "copy_out"], 2));
        let lines: Vec<_> = records.iter().map(line).collect();
        let copy_in = "copy_in ok I 3000 [COPY 3000] COPY t FROM STDIN";
        let expected = [
            copy_in,
            copy_in,
            // As the server says it: the client has cancelled it.
            "copy_in cancelled I 0 [57014] COPY t FROM STDIN",
            copy_in,
            "copy_out ok I 3000 [COPY 3000] COPY t TO STDOUT",
            "copy_out ok I 1 [COPY 1] COPY (SELECT 'other') TO STDOUT",
        ];
        assert_eq!(lines, expected, "{pooling}");
        for record in &records[..5] {
            assert_eq!(record["ov.copy_bytes"], rows.len(), "{pooling}: {record:#}");
            let digest = record["ov.copy_hmac"].as_str().unwrap();
            assert!(digest.len() == 64 && record["ov.copy_hmac"] == records[0]["ov.copy_hmac"], "{record:#}");
        }
        assert_ne!(records[5]["ov.copy_hmac"], records[0]["ov.copy_hmac"]);
    }
}

/// Both ways, in pieces that fit no limit of ours; a masked customer's content is nowhere, whatever is asked for.
#[test]
fn the_content_of_a_copy_is_recorded_where_it_is_chosen() {
    for (parameters, is_recorded) in [("full", true), ("masked", false), ("none", false)] {
        let audit = json!({ "audit": { "copy_data": "content", "parameters": parameters } });
        let house = house("content", "transaction", "acknowledged", audit);
        let mut wire = house.enter();
        wire.rows("CREATE TABLE t (x text)");
        let rows: String = (0..40_000).map(|number| format!("patient {number}\n")).collect();
        wire.send(&query("COPY t FROM STDIN"));
        wire.until(|frame| frame.tag == b'G');
        for piece in rows.as_bytes().chunks(100_003) {
            wire.send(&copy_data(piece));
        }
        wire.talk(&copy_done());
        wire.talk(&query("COPY t TO STDOUT"));
        wire.talk(&query("COPY (SELECT 'short') TO STDOUT"));
        let copies = house.vault.records(&["--kind", "copy_out"], 2);
        let pieces = house.vault.audit(&["--kind", "copy_data"]);
        if !is_recorded {
            assert!(
                pieces.is_empty() && copies.iter().all(|copy| copy["ov.copy_data"].is_null()),
                "{parameters}"
            );
            continue;
        }
        let of = |sequence: &Value| -> String {
            let mut at = 0;
            let own = pieces.iter().filter(|piece| piece["ov.sequence"] == *sequence);
            let texts = own.map(|piece| {
                assert_eq!(piece["ov.copy_bytes"], at, "{piece:#}");
                let text = piece["ov.copy_data"].as_str().unwrap();
                at += text.len();
                text
            });
            texts.collect()
        };
        let copy_in = house.vault.audit(&["--kind", "copy_in"]).remove(0);
        for (copy, content) in [(&copy_in, &*rows), (&copies[0], &*rows), (&copies[1], "short\n")] {
            assert_eq!(of(&copy["ov.sequence"]), content, "{copy:#}");
            assert_eq!(copy["ov.copy_bytes"], content.len());
        }
        let counted = house.vault.command(&["audit", "show", "--count"]);
        assert_eq!(String::from_utf8_lossy(&counted.stdout).trim(), "4", "pieces are no statements");
        assert!(house.vault.command(&["audit", "verify"]).status.success());
    }
}

#[test]
fn a_long_beginning_hides_nothing() {
    for pooling in MODES {
        let house = house("hidden", pooling, "acknowledged", json!({}));
        let mut wire = house.enter();
        let sql = format!("/* {} */ SELECT 'behind'", "x".repeat(1 << 20));
        wire.talk(&query(&sql));
        wire.talk(&extended(&sql, &[]));
        for record in house.vault.records(&["--kind", "statement"], 2) {
            assert!(record["db.query.text"] == sql, "{pooling}");
            assert_eq!(record["ov.text_bytes"], sql.len());
        }
    }
}

#[test]
fn bytes_that_are_no_text_are_kept() {
    for pooling in MODES {
        let house = house("bytes", pooling, "acknowledged", json!({}));
        let mut wire = house.enter();
        wire.talk(&message(b'Q', b"SELECT '\xff\xfe'\0"));
        let record = house.vault.records(&["--kind", "query"], 1).remove(0);
        assert_eq!(record["db.response.status_code"], "22021", "{pooling}");
        assert_eq!(record["db.query.text.base64"], "U0VMRUNUICf//ic=");
    }
}

#[test]
fn sessions_and_cancels_are_recorded() {
    for pooling in MODES {
        let house = house("events", pooling, "acknowledged", json!({}));
        let mut wire = house.enter();
        wire.rows("SET application_name = 'renamed'");
        wire.rows("CREATE TEMP TABLE kept (x int)");
        wire.send(&query("SELECT pg_sleep(30)"));
        std::thread::sleep(std::time::Duration::from_millis(300));
        let mut other = Wire::plain(house.vault.port);
        let key = [&80_877_102_u32.to_be_bytes()[..], &wire.key.0.to_be_bytes(), &wire.key.1].concat();
        other.send(&[&length(key.len() + 4)[..], &key].concat());
        wire.until_ready();
        wire.send(&terminate());
        wire.rest();
        let sleep = house.vault.records(&["--grep", "pg_sleep"], 1).remove(0);
        assert_eq!(line(&sleep), "query cancelled I 0 [57014] SELECT pg_sleep(30)", "{pooling}");
        assert_eq!(sleep["actor.app_name"], "renamed");
        let cancel = house.vault.records(&["--kind", "cancel"], 1).remove(0);
        assert_eq!((&cancel["ov.outcome"], &cancel["status_detail"]), (&json!("ok"), &json!("delivered")));
        assert_eq!(cancel["actor.session.uid"], sleep["actor.session.uid"]);
        house.vault.records(&["--kind", "session_open"], 1);
        let closed = house.vault.records(&["--kind", "session_close"], 1).remove(0);
        let detail = closed["status_detail"].as_str().unwrap();
        assert_eq!(detail.contains("kept its backend for"), pooling == "transaction", "{detail}");
    }
}

#[test]
fn the_wait_for_a_backend_is_apart_from_the_duration() {
    let own = json!({ "limits": { "backends_max": 1 } });
    let house = house("waited", "transaction", "acknowledged", own);
    let (mut holder, mut waiter) = (house.enter(), house.enter());
    holder.rows("BEGIN");
    waiter.send(&query("SELECT 'waited'"));
    std::thread::sleep(std::time::Duration::from_millis(400));
    holder.rows("COMMIT");
    waiter.until_ready();
    let record = house.vault.records(&["--grep", "'waited'"], 1).remove(0);
    let [wait_ms, duration_ms] =
        ["ov.wait_ns", "ov.duration_ns"].map(|field| record[field].as_u64().unwrap_or(0) / 1_000_000);
    assert!(wait_ms >= 300 && duration_ms < wait_ms, "{record:#}");
    // Who held the backend all the while has waited for nobody.
    let held = house.vault.records(&["--grep", "COMMIT"], 1).remove(0);
    assert_eq!(held.get("ov.wait_ns"), None, "{held:#}");
}
