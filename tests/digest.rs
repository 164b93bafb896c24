//! The daily digest, as the customer's auditor gets it.

use serde_json::{Value, json};

use crate::support::vault::{House, Vault};
use crate::support::wire::Wire;

fn digest(vault: &Vault, arguments: &[&str]) -> Result<Value, String> {
    let output = vault.command(&[&["audit", "digest", "--json"], arguments].concat());
    if output.status.success() {
        return Ok(serde_json::from_slice(&output.stdout).unwrap());
    }
    Err(String::from_utf8_lossy(&output.stderr).into_owned())
}

/// Today's, once it says so many statements of the login.
fn counted(house: &House, statements: u64) -> Value {
    let (vault, role) = (&house.vault, house.tenant.role.as_str());
    let day = vault.audit(&["--limit", "1"]).remove(0)["time_dt"]
        .as_str()
        .unwrap()
        .split('T')
        .next()
        .unwrap()
        .to_owned();
    let mut found = Value::Null;
    for _ in 0..100 {
        if let Ok(today) = digest(vault, &["--customer", role, "--day", &day]) {
            found = today;
            if found["logins"][role]["statements"] == statements {
                return found;
            }
        }
        std::thread::sleep(std::time::Duration::from_millis(200));
    }
    panic!("not counted: {found:#}");
}

#[test]
fn a_day_says_who_came_from_where_and_what_is_worth_a_look() {
    let mut house = House::with("digest", |options| {
        options.with(json!({ "audit": { "digest": { "interval_s": 1, "bulk_rows_statement": 100 } } }))
    });
    let secret = "Zaphod Beeblebrox";
    let mut wire = house.enter();
    wire.value(&format!("SELECT '{secret}'"));
    wire.value("SELECT max(a) FROM generate_series(1, 3) a");
    wire.sqlstate("SELECT a FROM generate_series(1, 250) a");
    wire.sqlstate("CREATE TABLE kept (a int)");
    wire.sqlstate("DROP TABLE nowhere");
    let mut stranger = Wire::plain(house.vault.port);
    let wrong = crate::support::wire::Login { password: "wrong".into(), ..house.login() };
    assert!(stranger.login(&wrong).is_err());
    drop(wire);
    let today = counted(&house, 5);
    let of_login = &today["logins"][&house.tenant.role];
    assert_eq!(
        (&of_login["sessions"], &of_login["errors"], &of_login["rows_read"]),
        (&json!(1), &json!(1), &json!(252))
    );
    let whats = |section: &str| -> Vec<String> {
        let lines = today[section]["lines"].as_array().unwrap();
        lines.iter().map(|line| format!("{} {}", line["what"].as_str().unwrap(), line["rows"])).collect()
    };
    assert_eq!(whats("bulk_reads"), ["at once 250"]);
    assert_eq!(whats("ddl"), ["CREATE TABLE 0", "DROP TABLE (error) 0"]);
    assert_eq!(whats("failed_logins"), ["28P01 0"]);
    assert_eq!(today["new_addresses"]["lines"][0]["address"], "127.0.0.1");
    assert!(!today.to_string().contains(secret), "{today:#}");
    // Each look is in the log before it is answered, and in the digest, too.
    let reads = house.vault.audit(&["--kind", "log_read", "--customer", &house.tenant.role]);
    assert!(!reads.is_empty() && reads[0]["status_detail"].as_str().unwrap().starts_with("daily digest of "));
    assert!(reads[0]["actor.user.name"].as_str().unwrap().contains("uid"));
    // Across an end nothing is lost and nothing counted twice.
    house.vault.kill();
    house.vault.launch();
    house.enter().value("SELECT 1");
    let today = counted(&house, 6);
    assert_eq!((&today["ddl"]["count"], &today["new_addresses"]["count"]), (&json!(2), &json!(1)));
    house.vault.stop();
    // Also where no process runs.
    let output =
        house.vault.command(&["audit", "digest", "--customer", "_", "--day", today["day"].as_str().unwrap()]);
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(
        output.status.success() && text.contains("the log itself: 1") && text.contains("not closed"),
        "{text}"
    );
    assert!(digest(&house.vault, &["--customer", "../x"]).is_err());
    assert!(
        digest(&house.vault, &["--customer", "_", "--day", "2001-02-03"]).unwrap_err().contains("no digest")
    );
}
