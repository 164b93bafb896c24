//! What an operator does with records afterwards: copies them out, keeps them from going; the log knows of both.

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::support::vault::{House, Vault};
use crate::support::{cache, root};

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&[output.stdout.as_slice(), &output.stderr].concat()).into_owned()
}

/// What a command that must succeed says.
fn well(vault: &Vault, arguments: &[&str]) -> String {
    let output = vault.command(arguments);
    assert!(output.status.success(), "{arguments:?}: {}", said(&output));
    said(&output)
}

/// What a command that must not succeed says.
fn refused(vault: &Vault, arguments: &[&str]) -> String {
    let output = vault.command(arguments);
    assert!(!output.status.success(), "{arguments:?}: {}", said(&output));
    said(&output)
}

fn export(vault: &Vault, customer: &str, format: &str, more: &[&str]) -> (PathBuf, String) {
    let path = vault.dir.0.join(format!("export-{customer}-{}.{format}", more.len()));
    let name = path.display().to_string();
    let arguments = ["audit", "export", "--customer", customer, "--format", format, "-o", &name];
    (path, well(vault, &[&arguments, more].concat()))
}

fn sha256(bytes: &[u8]) -> String {
    let hash = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, bytes);
    hash.as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}

#[test]
fn an_export_in_each_format_is_what_others_read_and_is_recorded_with_its_hash() {
    let mut house = House::new("exported");
    let customer = house.tenant.role.clone();
    for _ in 0..3 {
        house.enter().value("SELECT '=1+1'");
    }
    house.enter().value(&format!("SELECT length('{}')", "x".repeat(2_000_000)));
    let shown = house.vault.records(&["--customer", &customer, "--kind", "statement"], 4);
    let until = shown[3]["time"].as_u64().unwrap() + 1;
    let until = format!("{}.{:03}Z", rfc3339(until / 1000), until % 1000);
    let more = ["--kind", "statement", "--until", &until];
    let mut exported = Vec::new();
    for (number, format) in ["parquet", "csv", "ocsf"].into_iter().enumerate() {
        if number == 2 {
            // Without a running process the command itself is the one that records.
            house.vault.stop();
        }
        let (path, told) = export(&house.vault, &customer, format, &more);
        let hash = sha256(&fs::read(&path).unwrap());
        assert!(told.starts_with("4 records (statement)") && told.contains(&hash), "{told}");
        exported.push((path, hash));
    }
    let acts = house.vault.audit(&["--kind", "log_export", "--customer", &customer]);
    assert_eq!(acts.len(), 3);
    for (act, (path, hash)) in acts.iter().zip(&exported) {
        let detail = act["status_detail"].as_str().unwrap();
        assert!(detail.contains(hash) && detail.contains(&path.display().to_string()), "{detail}");
        assert!(act["actor.user.name"].as_str().unwrap().contains("uid"), "{act}");
    }
    let output = Command::new(cache().join("python/bin/python"))
        .arg(root().join("tests/drivers/export_round.py"))
        .args(exported.iter().map(|(path, _)| path))
        .output()
        .expect("scripts/test-tools python");
    let expected = "pyarrow 4 3\nduckdb 4 3 True\ncsv 4 3\nocsf 4 3\n";
    assert_eq!(String::from_utf8_lossy(&output.stdout), expected, "{}", said(&output));

    let name = exported[0].0.display().to_string();
    let again = ["audit", "export", "--customer", &customer, "--format", "csv", "-o", &name];
    assert!(refused(&house.vault, &again).contains("there already"));
    let left = fs::read_dir(&house.vault.dir.0).unwrap().flatten();
    assert!(left.into_iter().all(|entry| !entry.file_name().to_string_lossy().contains("unfinished")));
}

fn rfc3339(seconds: u64) -> String {
    let days = |seconds: u64| i64::try_from(seconds / 86_400).unwrap();
    // Civil date of a day since 1970, as Howard Hinnant's well-known algorithm has it.
    let z = days(seconds) + 719_468;
    let (era, doe) = (z / 146_097, z % 146_097);
    let yoe = (doe - doe / 1_460 + doe / 36_524 - doe / 146_096) / 365;
    let doy = doe - (365 * yoe + yoe / 4 - yoe / 100);
    let mp = (5 * doy + 2) / 153;
    let (day, month) = (doy - (153 * mp + 2) / 5 + 1, if mp < 10 { mp + 3 } else { mp - 9 });
    let year = yoe + era * 400 + i64::from(month <= 2);
    let rest = seconds % 86_400;
    format!("{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}", rest / 3600, rest / 60 % 60, rest % 60)
}

#[test]
fn an_export_of_one_customer_has_no_record_of_another() {
    let house = House::new("export_own");
    let customer = house.tenant.role.clone();
    house.enter().value("SELECT 'mine'");
    house.vault.records(&["--customer", &customer, "--grep", "mine"], 1);
    let (path, _) = export(&house.vault, "_", "ocsf", &[]);
    let of_vault = fs::read_to_string(path).unwrap();
    assert!(of_vault.contains("log_start") && !of_vault.contains("mine"));
    let (path, told) = export(&house.vault, "somebody_else", "ocsf", &[]);
    assert_eq!(fs::read_to_string(path).unwrap(), "");
    assert!(told.starts_with("0 records"), "{told}");
    let (path, _) = export(&house.vault, &customer, "ocsf", &["--kind", "session", "--kind", "query"]);
    let text = fs::read_to_string(path).unwrap();
    assert!(text.contains("mine") && text.contains("session_open"));
    for line in text.lines() {
        let object: Value = serde_json::from_str(line).unwrap();
        assert_eq!(object["metadata"]["tenant_uid"], customer.as_str());
    }
}

#[test]
fn a_hold_is_recorded_and_keeps_keys_from_being_shredded_until_it_is_released() {
    let mut house = House::new("held");
    let customer = house.tenant.role.clone();
    house.enter().value("SELECT 'evidence'");
    house.vault.records(&["--grep", "evidence", "--kind", "statement"], 1);
    let hold = |words: &[&'static str]| -> Vec<String> {
        let all = ["audit", "hold"].iter().chain(words.iter().take(1));
        all.map(|word| (*word).to_owned())
            .chain(["--customer".to_owned(), customer.clone()])
            .chain(words.iter().skip(1).map(|word| (*word).to_owned()))
            .collect()
    };
    fn strs(words: &[String]) -> Vec<&str> {
        words.iter().map(String::as_str).collect()
    }
    let shred = ["audit", "shred", "--customer", &customer, "--reason", "asked for"];
    let set = hold(&["set", "--since", "2026-01-01", "--reason", "case 4711"]);
    assert!(well(&house.vault, &strs(&set)).contains("hold 1 on"));
    assert!(refused(&house.vault, &shred).contains("hold 1 forbids it: case 4711"));
    house.vault.stop();
    assert!(refused(&house.vault, &shred).contains("hold 1"), "nor does a command alone");
    let register = house.vault.dir.0.join("audit/keeping/register");
    let good = fs::read(&register).unwrap();
    fs::write(&register, &good[..good.len() - 2]).unwrap();
    assert!(refused(&house.vault, &shred).contains("everything is held"));
    assert!(refused(&house.vault, &["audit", "hold", "list"]).contains("everything is held"));
    fs::write(&register, good).unwrap();

    let release = hold(&["release", "--number", "1", "--reason", "case closed"]);
    assert!(well(&house.vault, &strs(&release)).contains("case closed"));
    let listed = well(&house.vault, &["audit", "hold", "list"]);
    assert!(listed.contains("case 4711; released") && listed.ends_with("case closed\n"), "{listed}");
    for (kind, word) in [("hold_set", "case 4711"), ("hold_released", "case closed")] {
        let acts = house.vault.audit(&["--kind", kind]);
        let owners: Vec<_> = acts.iter().map(|act| act["metadata.tenant_uid"].as_str()).collect();
        assert_eq!(owners, [Some(customer.as_str()), None], "in the customer's log and in the vault's");
        assert!(acts.iter().all(|act| act["status_detail"].as_str().unwrap().contains(word)), "{acts:?}");
    }
    assert_eq!(house.vault.audit(&["--grep", "evidence"]).len(), 1);
    assert!(well(&house.vault, &shred).contains("shredded"));
    assert_eq!(house.vault.audit(&["--grep", "evidence"]).len(), 0);
    well(&house.vault, &["audit", "verify"]);
    for bad in [&["set", "--reason", " "][..], &["release", "--number", "9", "--reason", "x"]] {
        refused(&house.vault, &strs(&hold(bad)));
    }
}

#[test]
fn a_review_is_signed_off_with_the_checkpoint_and_an_overdue_one_is_told() {
    let mut house = House::with("reviewed", |options| {
        options.with(json!({ "audit": { "checkpoint_interval_ms": 200 } }))
    });
    let customer = house.tenant.role.clone();
    house.enter().value("SELECT 'to be looked at'");
    house.vault.records(&["--grep", "looked", "--kind", "statement"], 1);
    let status = || house.vault.command(&["audit", "review", "--status", "--customer", &customer]);
    let told = status();
    assert!(told.status.success() && said(&told).contains("never reviewed"), "{}", said(&told));
    let sign = |until: &str| {
        let words = ["audit", "review", "--customer", &customer, "--until", until, "--by", "Anna Meier"];
        house.vault.command(&[&words[..], &["--note", "nothing unusual"]].concat())
    };
    let begun = Instant::now();
    let mut signed = sign("0s");
    while !signed.status.success() {
        assert!(said(&signed).contains("no signed checkpoint"), "{}", said(&signed));
        assert!(begun.elapsed() < Duration::from_secs(20));
        signed = sign("0s");
    }
    let act = house.vault.audit(&["--kind", "review", "--customer", &customer]).remove(0);
    let detail = act["status_detail"].as_str().unwrap();
    assert!(
        detail.contains("by Anna Meier, checkpoint of") && detail.contains("nothing unusual"),
        "{detail}"
    );
    assert_eq!(act["actor.user.name"], "Anna Meier");
    let root = detail.split("root ").nth(1).unwrap().get(..64).unwrap().to_owned();
    let listed = well(&house.vault, &["audit", "review", "--list", "--customer", &customer]);
    assert!(listed.contains(&root) && listed.lines().count() == 1, "{listed}");
    assert!(said(&status()).contains("reviewed up to"));
    for (until, word) in [("2100-01-01", "not happened"), ("2020-01-01", "reviewed up to")] {
        let refused = sign(until);
        assert!(!refused.status.success() && said(&refused).contains(word), "{}", said(&refused));
    }
    assert!(!house.vault.http("/metrics").contains("review_overdue_seconds"), "nobody asks");

    // Reviewed a long time ago, of a customer that has to be reviewed every day.
    house.vault.stop();
    let folder = house.vault.dir.0.join("customers").join(&customer).join("config.yaml");
    let mut config: Value = serde_json::from_str(&fs::read_to_string(&folder).unwrap()).unwrap();
    config["audit"] = json!({ "review_interval": "1d" });
    fs::write(&folder, config.to_string()).unwrap();
    let keys = house.vault.dir.0.join("audit/keys");
    assert!(keys.is_dir());
    house.vault.launch();
    let begun = Instant::now();
    let line = format!("onevault_audit_review_overdue_seconds{{customer=\"{customer}\"}} 0");
    while !house.vault.http("/metrics").contains(&line) {
        assert!(begun.elapsed() < Duration::from_secs(20), "{}", house.vault.http("/metrics"));
        std::thread::sleep(Duration::from_millis(50));
    }
}
