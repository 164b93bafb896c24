//! The database `onevault`: who gets in, what they see, what they may not do, and that it is on record.

mod drivers;
mod gist;
mod hostile;
mod introspection;
mod limits;
mod times;
mod tools;
mod words;

use std::time::{Duration, Instant};

use serde_json::json;

use crate::support::messages;
use crate::support::postgres::{ANY, Postgres, Tenant};
use crate::support::transcript::lines;
use crate::support::vault::{Customer, Options, Vault};
use crate::support::wire::{Login, Wire};

/// Two customers with an auditor each, an operator, and a statement of each customer's in the log.
pub(super) struct House {
    pub(super) vault: Vault,
    pub(super) one: Tenant,
    pub(super) two: Tenant,
}

impl House {
    pub(super) fn new() -> Self {
        Self::with(json!({}))
    }

    pub(super) fn with(config: serde_json::Value) -> Self {
        let (one, two) = (Postgres::shared(ANY).tenant("audited"), Postgres::shared(ANY).tenant("neighbour"));
        let auditor = |tenant: &Tenant| {
            let entry = json!({ "logins": { "audrey": { "verifier": tenant.verifier(), "auditor": true } } });
            Customer::of(tenant).with(entry)
        };
        let operators = json!({ "operators": [{ "login": "olga", "verifier": one.verifier() }] });
        let options = Options::new(&[auditor(&one), auditor(&two)]).with(operators).with(config);
        let vault = Vault::start(options);
        for (tenant, word) in [(&one, "spa"), (&two, "barn")] {
            let mut wire = vault.enter(&tenant.login());
            assert_eq!(
                wire.value(&format!("SELECT 'secret of the {word}'")),
                format!("secret of the {word}")
            );
        }
        // On a busy machine the program itself takes a while to start.
        let begun = Instant::now();
        while vault.audit(&["--kind", "query"]).len() < 2 {
            assert!(begun.elapsed() < Duration::from_secs(30), "no records: {}", vault.stderr());
            std::thread::sleep(Duration::from_millis(30));
        }
        Self { vault, one, two }
    }

    pub(super) fn auditor(&self, tenant: &Tenant) -> Login {
        Login::new(&format!("audrey@{}", tenant.role), &tenant.password, "onevault")
    }

    pub(super) fn operator(&self) -> Login {
        Login::new("olga", &self.one.password, "onevault")
    }

    pub(super) fn audrey(&self) -> Wire {
        self.vault.enter(&self.auditor(&self.one))
    }
}

fn refused(vault: &Vault, login: &Login) -> String {
    let answer = Wire::plain(vault.port).login(login).unwrap_err();
    answer.line()
}

#[test]
fn an_auditor_sees_the_customers_statements_and_an_operator_everybodys() {
    let house = House::new();
    let texts = "SELECT text FROM audit.statements WHERE kind = 'query' ORDER BY record";
    let mut audrey = house.audrey();
    assert_eq!(audrey.rows(texts), [[Some("SELECT 'secret of the spa'".to_owned())]]);
    let mut other = house.vault.enter(&house.auditor(&house.two));
    assert_eq!(other.rows(texts), [[Some("SELECT 'secret of the barn'".to_owned())]]);
    let mut olga = house.vault.enter(&house.operator());
    assert_eq!(olga.rows(texts).len(), 2);
    let row = "SELECT rows, outcome, login, role, database, credential, text_bytes, command_tag, sqlstate \
               FROM statements WHERE kind = 'query'";
    let role = house.one.role.as_str();
    let expected = ["1", "ok", role, role, house.one.database.as_str(), "scram", "26", "SELECT 1"];
    let found = audrey.rows(row).remove(0);
    assert_eq!(found[..8], expected.map(|text| Some(text.to_owned())));
    assert_eq!(found[8], None);
    assert_eq!(audrey.value("SELECT count(*) FROM audit.sessions WHERE kind = 'session_close'"), "1");
    assert_eq!(audrey.value("SELECT count(*) FROM audit.events WHERE kind = 'log_start'"), "0");
    assert_eq!(olga.value("SELECT count(*) FROM audit.events WHERE kind = 'log_start'"), "1");
}

#[test]
fn days_are_summed_up_and_checkpoints_are_shown_to_whom_they_belong() {
    let house = House::with(json!({ "audit": { "checkpoint_interval_ms": 1000 } }));
    let mut audrey = house.audrey();
    let day = "SELECT customer, login, statements, errors, rows, bytes_in > 0, bytes_out > 0, duration_ns > 0, \
               day = CAST(now() AS DATE) FROM usage.daily";
    let role = house.one.role.as_str();
    let row = [role, role, "1", "0", "1", "t", "t", "t", "t"].map(|text| Some(text.to_owned()));
    assert_eq!(audrey.rows(day), std::slice::from_ref(&row));
    let today = "WHERE day >= CAST(now() AS DATE) AND day < CAST(now() + interval '1 day' AS DATE)";
    assert_eq!(audrey.rows(&format!("{day} {today}")), [row]);
    assert_eq!(audrey.value("SELECT count(*) FROM usage.daily WHERE day < DATE '2020-01-01'"), "0");
    let mut olga = house.vault.enter(&house.operator());
    assert_eq!(olga.value("SELECT count(*) FROM usage.daily"), "2");
    let begun = Instant::now();
    let logs = "SELECT string_agg(log, ' ') FROM (SELECT DISTINCT log FROM checkpoints ORDER BY log)";
    while audrey.value("SELECT count(*) FROM audit.checkpoints") == "0" {
        assert!(begun.elapsed() < Duration::from_secs(30), "no checkpoint: {}", house.vault.stderr());
        std::thread::sleep(Duration::from_millis(100));
    }
    assert_eq!(audrey.value(logs), role);
    assert!(olga.value(logs).contains('_') && olga.value(logs).contains(&house.two.role));
    let signed = "SELECT note FROM checkpoints WHERE size > 0 AND time > now() - interval '1 hour' \
                  AND note LIKE '%' || root || '%' ORDER BY time LIMIT 1";
    assert!(audrey.value(signed).contains("\n\n\u{2014} "));
}

#[test]
fn only_auditors_and_operators_are_let_in_and_auditors_nowhere_else() {
    let house = House::new();
    let (vault, one) = (&house.vault, &house.one);
    let plain = Login::new(&format!("{}@{}", one.role, one.role), &one.password, "onevault");
    assert!(refused(vault, &plain).contains("42501"), "{}", refused(vault, &plain));
    let elsewhere = Login::new(&format!("audrey@{}", one.role), &one.password, &one.database);
    assert!(refused(vault, &elsewhere).contains("42501"));
    // One answer for whoever does not prove a login, operator or not.
    for user in ["olga".to_owned(), "nobody".to_owned(), format!("audrey@{}", one.role), "audrey".to_owned()]
    {
        let answer = refused(vault, &Login::new(&user, "wrong", "onevault"));
        let expected = format!("password authentication failed for user \"{user}\"");
        assert!(answer.contains("28P01") && answer.contains(&expected), "{answer}");
    }
    // An operator is nobody at a customer's database.
    assert!(refused(vault, &Login::new("olga", &one.password, &one.database)).contains("28P01"));
    let mut olga = vault.enter(&house.operator());
    let failed =
        olga.rows("SELECT login, message FROM logins WHERE kind = 'login_failed' AND login = 'nobody'");
    assert_eq!(failed, [[Some("nobody".to_owned()), Some("unknown login".to_owned())]]);
}

#[test]
fn every_read_is_recorded_with_text_rows_and_outcome() {
    let mut house = House::with(json!({ "audit": { "mode": "write_ahead" } }));
    let mut audrey = house.audrey();
    assert_eq!(audrey.value("SELECT 1 + 1"), "2");
    assert_eq!(audrey.sqlstate("DELETE FROM audit.statements"), "25006");
    assert_eq!(audrey.sqlstate("SELECT nothing FROM audit.statements"), "42703");
    let frames = audrey.talk(&messages::extended("SELECT $1::int + 1 AS a", &[Some("41")]));
    assert!(lines(&frames).contains(&"B DataRow 42".to_owned()), "{:?}", lines(&frames));
    drop(audrey);
    house.vault.stop();
    let records = house.vault.records(&["--kind", "log_read", "--customer", &house.one.role], 4);
    let told: Vec<(&str, &str)> = records
        .iter()
        .map(|record| (record["db.query.text"].as_str().unwrap(), record["ov.outcome"].as_str().unwrap()))
        .collect();
    assert_eq!(
        told,
        [
            ("SELECT 1 + 1", "ok"),
            ("DELETE FROM audit.statements", "refused"),
            ("SELECT nothing FROM audit.statements", "error"),
            ("SELECT $1::int + 1 AS a", "ok"),
        ]
    );
    assert_eq!(records[0]["db.response.returned_rows"], 1);
    assert_eq!(records[0]["actor.user.name"], "audrey");
    assert_eq!(records[0]["db.namespace"], "onevault");
    assert_eq!(records[1]["db.response.status_code"], "25006");
}
