//! What goes around OneVault is named by what the server itself has counted.

use serde_json::{Value, json};

use crate::support::postgres::{ANY, Postgres};
use crate::support::vault::{Customer, House, Options, Vault};

/// The exit code and what was found in the customer's only database.
fn reconcile(house: &House) -> (Option<i32>, Value) {
    let arguments = ["audit", "reconcile", "--json", "--customer", &house.tenant.role];
    let output = house.vault.command(&arguments);
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let found: Value = serde_json::from_str(&text)
        .unwrap_or_else(|_| panic!("{text}{}", String::from_utf8_lossy(&output.stderr)));
    (output.status.code(), found[0].clone())
}

#[test]
fn a_session_past_onevault_and_its_statements_are_named() {
    let postgres: &'static Postgres = Box::leak(Box::new(Postgres::preloading(ANY, "pg_stat_statements")));
    let tenant = postgres.tenant("reconcile");
    tenant.sql("CREATE EXTENSION pg_stat_statements");
    let vault = Vault::start(Options::new(&[Customer::of(&tenant)]));
    let house = House { vault, tenant };
    let mut wire = house.enter();
    wire.value("SELECT 1");
    let (code, first) = reconcile(&house);
    assert_eq!(
        (code, &first["around"], &first["statements"]),
        (Some(0), &json!([]), &Value::Null),
        "{first:#}"
    );
    // Work through OneVault, by text and prepared, with errors and more than one statement in a text: nothing is missing.
    for number in 0..20 {
        wire.value(&format!("SELECT {number} + -3"));
        wire.value("BEGIN; SELECT 'x'; COMMIT");
    }
    wire.sqlstate("SELECT * FROM nowhere");
    house.enter().value("SELECT 'another session'");
    let (code, same) = reconcile(&house);
    assert_eq!(
        (code, &same["around"], &same["statements"]["missing"]),
        (Some(0), &json!([]), &json!([])),
        "{same:#}"
    );
    assert!(same["statements"]["server"].as_u64().unwrap() >= 40, "{same:#}");
    let mut past = house.direct();
    past.value("SELECT 'around' || 7");
    wire.value("SELECT 5 + -3");
    let (code, found) = reconcile(&house);
    assert_eq!(code, Some(1), "{found:#}");
    let around = found["around"].as_array().unwrap();
    assert_eq!(around.len(), 1, "{found:#}");
    assert_eq!(
        (&around[0]["role"], &around[0]["pid"]),
        (&json!(house.tenant.role), &json!(past.value("SELECT pg_backend_pid()").parse::<i32>().unwrap()))
    );
    assert!(around[0]["address"].as_str().unwrap().starts_with("127.0.0.1:"), "{found:#}");
    let missing = found["statements"]["missing"].as_array().unwrap();
    assert!(
        missing
            .iter()
            .any(|missing| missing["text"].as_str().unwrap().contains("||") && missing["server"] == 1),
        "{found:#}"
    );
    // What it found is in the customer's log.
    let acts = house.vault.audit(&["--kind", "admin_action", "--customer", &house.tenant.role]);
    assert_eq!(acts.len(), 3);
    assert!(acts[2]["status_detail"].as_str().unwrap().contains("1 sessions around OneVault"), "{acts:#?}");
    // It was told once: the next comparison begins there.
    drop(past);
    std::thread::sleep(std::time::Duration::from_millis(300));
    let (_, again) = reconcile(&house);
    assert_eq!(again["around"], json!([]), "{again:#}");
    assert!(!again["statements"]["missing"].to_string().contains("||"), "{again:#}");
    house.tenant.sql("SELECT pg_stat_statements_reset()");
    let (code, reset) = reconcile(&house);
    assert!(code == Some(1) && reset["remarks"].to_string().contains("reset"), "{reset:#}");
}
