//! Why a backend was kept, and what OneVault refused or ended: in the record of each statement, login and cancel request it
//! concerns, and wherever records are shown.

use std::time::Duration;

use serde_json::{Value, json};

use super::{everywhere, house, said};
use crate::support::messages::*;
use crate::support::vault::House;
use crate::support::wire::{Login, Wire};

/// `ov.decision` and `ov.outcome` of a record, where the first is there.
fn decided(record: &Value) -> String {
    let text = |field: &str| record[field].as_str().unwrap_or("-").to_owned();
    format!("{} {} {}", text("ov.kind"), text("ov.outcome"), text("ov.decision"))
}

/// Waits until sessions have ended: what they began has its outcome then.
fn ended(house: &House, sessions: usize) {
    house.vault.records(&["--kind", "session_close"], sessions);
}

/// A house with one backend, for which nobody waits for long.
fn narrow(word: &str, durability: &str) -> House {
    let own = json!({ "limits": { "backends_max": 1 }, "pool": { "wait_timeout_ms": 200 } });
    house(word, "transaction", durability, own)
}

#[test]
fn a_statement_says_why_its_session_keeps_its_backend() {
    everywhere("pinned", |house, what| {
        let mut wire = house.enter();
        let texts = [
            "SELECT 'before'",
            "CREATE TEMP TABLE mine (x int)",
            "INSERT INTO mine VALUES (1)",
            "LISTEN news",
            "SELECT * FROM no_such_table",
            "DROP TABLE mine; UNLISTEN *",
            "SELECT 'after'",
        ];
        for text in texts {
            wire.talk(&query(text));
        }
        wire.talk(&extended("LISTEN news", &[]));
        wire.send(&terminate());
        wire.rest();
        ended(house, 1);
        let records = house.vault.records(&["--kind", "statement"], texts.len() + 1);
        let pins: Vec<_> = records.iter().map(|record| record["ov.pins"].as_str()).collect();
        if what.contains("session") {
            assert_eq!(pins, [None; 8], "{what}");
            return;
        }
        let table = Some("temporary_object");
        let both = Some("temporary_object,listen");
        assert_eq!(pins, [None, table, table, both, both, both, None, Some("listen")], "{what}");
        assert!(records.iter().all(|record| record.get("ov.decision").is_none()), "{what}");
    });
}

#[test]
fn what_is_refused_for_want_of_a_backend_says_so() {
    for durability in ["buffered", "write_ahead"] {
        let house = narrow("refused_lease", durability);
        let (mut holder, mut wire) = (house.enter(), house.enter());
        holder.rows("BEGIN");
        assert_eq!(wire.sqlstate("SELECT 'refused'"), "53300");
        let heard = wire.talk(&extended("SELECT 'batch'", &[]));
        assert_eq!(heard[0].field('C'), "53300");
        wire.send(&query("SELECT 'cancelled'"));
        std::thread::sleep(Duration::from_millis(50));
        let _ = Wire::plain(house.vault.port).try_send(&cancel_request(wire.key.0, &wire.key.1));
        assert_eq!(wire.until_ready()[0].field('C'), "57014");
        holder.rows("COMMIT");
        wire.rows("SELECT 'let through'");
        drop((holder, wire));
        ended(&house, 2);
        let records = house.vault.records(&["--kind", "statement"], 7);
        let refused = records.iter().find(|record| record["db.query.text"] == "SELECT 'refused'").unwrap();
        let session = &refused["actor.session.uid"];
        let records = records.iter().filter(|record| record["actor.session.uid"] == *session);
        assert_eq!(
            records.map(decided).collect::<Vec<_>>(),
            [
                "query refused refused:backend_limit",
                "parse refused refused:backend_limit",
                "execute skipped refused:backend_limit",
                "query cancelled refused:cancelled_waiting",
                "query ok -",
            ],
            "{durability}"
        );
    }
}

/// What the server refuses because OneVault gave it something to refuse.
#[test]
fn names_that_are_refused_say_by_which_rule() {
    let house = narrow("refused_name", "acknowledged");
    let mut wire = house.enter();
    wire.rows("CREATE TABLE changing (x int)");
    wire.talk(&all(&[parse("s", "SELECT * FROM changing"), sync()]));
    wire.talk(&all(&[parse("s", "SELECT 1"), sync()]));
    wire.talk(&all(&[parse("s", "no SQL at all"), sync()]));
    wire.talk(&all(&[bind("", "_ov_5", &[]), sync()]));
    let mut other = house.enter();
    other.rows("ALTER TABLE changing ADD COLUMN y int");
    other.talk(&all(&[parse("s", "SELECT * FROM changing"), sync()]));
    wire.talk(&all(&[bind("", "s", &[]), execute("", 0), sync()]));
    let fields = ["ov.kind", "db.response.status_code", "ov.decision"];
    let failed = house.vault.records(&["--outcome", "error"], 4);
    assert_eq!(
        failed.iter().map(|record| said(record, &fields)).collect::<Vec<_>>(),
        [
            json!({ "ov.kind": "parse", "db.response.status_code": "42P05", "ov.decision": "refused:name_taken" }),
            json!({ "ov.kind": "parse", "db.response.status_code": "42601" }),
            json!({ "ov.kind": "bind", "db.response.status_code": "26000", "ov.decision": "refused:name_reserved" }),
            json!({ "ov.kind": "bind", "db.response.status_code": "0A000", "ov.decision": "refused:changed_result" }),
        ]
    );
}

#[test]
fn what_ends_with_its_session_and_who_is_turned_away_say_why() {
    everywhere("ended", |house, what| {
        let mut wire = house.enter();
        wire.send(&query("SELECT pg_sleep(30)"));
        std::thread::sleep(Duration::from_millis(300));
        drop(wire);
        ended(house, 1);
        let record = house.vault.records(&["--grep", "pg_sleep"], 1).remove(0);
        assert_eq!(decided(&record), "query unknown ended:client_left", "{what}");
        let login = Login { password: "wrong".to_owned(), ..house.login() };
        Wire::plain(house.vault.port).login(&login).unwrap_err();
        let record = house.vault.records(&["--kind", "login_failed"], 1).remove(0);
        assert_eq!(decided(&record), "login_failed refused refused:login", "{what}");
        Wire::plain(house.vault.port).login(&house.login().with("replication", "true")).unwrap_err();
        let record = house.vault.records(&["--kind", "connection_refused"], 1).remove(0);
        assert_eq!(decided(&record), "connection_refused refused refused:replication", "{what}");
        Wire::plain(house.vault.port).send(&cancel_request(1, &[7; 4]));
        let record = house.vault.records(&["--kind", "cancel"], 1).remove(0);
        assert_eq!(decided(&record), "cancel refused refused:cancel_key", "{what}");
    });
}

/// In SQL, in each export, and for people.
#[test]
fn pins_and_decisions_are_seen_wherever_records_are() {
    let house = narrow("decided_seen", "acknowledged");
    let (mut holder, mut wire) = (house.enter(), house.enter());
    holder.rows("LISTEN news");
    assert_eq!(wire.sqlstate("SELECT 'refused'"), "53300");
    let customer = house.tenant.role.as_str();
    house.vault.records(&["--grep", "'refused'"], 1);
    let shown = house.vault.command(&["audit", "show", "--customer", customer]);
    let shown = String::from_utf8_lossy(&shown.stdout).into_owned();
    assert!(shown.contains("[kept for listen ]") && shown.contains("[ refused:backend_limit ]"), "{shown}");
    for format in ["csv", "ocsf"] {
        let path = house.vault.dir.0.join(format!("export.{format}"));
        let path = path.to_str().unwrap();
        let told =
            house.vault.command(&["audit", "export", "--customer", customer, "--format", format, "-o", path]);
        assert!(told.status.success(), "{}", String::from_utf8_lossy(&told.stderr));
        let file = std::fs::read_to_string(path).unwrap();
        assert!(file.contains("\"listen\"") && file.contains("\"refused:backend_limit\""), "{file}");
    }
}
