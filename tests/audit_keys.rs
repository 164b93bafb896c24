//! The log's keys from an operator's side: nothing is readable without them, a customer's go on request, the platform's
//! is exchanged.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Output;

use serde_json::{Value, json};

use crate::support::messages;
use crate::support::vault::{House, Vault, merge};

fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { found.extend(files(&path)) } else { found.push(path) }
    }
    found
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&[output.stdout.as_slice(), &output.stderr].concat()).into_owned()
}

/// What a command that must succeed says.
fn well(vault: &Vault, arguments: &[&str]) -> String {
    let output = vault.command(arguments);
    assert!(output.status.success(), "{arguments:?}: {}", said(&output));
    said(&output)
}

fn holds(bytes: &[u8], part: &str) -> bool {
    bytes.windows(part.len()).any(|window| window == part.as_bytes())
}

#[test]
fn what_a_client_says_is_in_no_file_of_the_log() {
    let mut house = House::new("sealed");
    let mut wire = house.enter();
    wire.value("SELECT 'tr0ub4dor' || 'text'");
    wire.talk(&messages::extended("SELECT $1::text", &[Some("tr0ub4dor-parameter")]));
    wire.talk(&messages::query("SELECT tr0ub4dor_error"));
    wire.value(&format!("SELECT length('tr0ub4dor {}')", "x".repeat(100_000)));
    drop(wire);
    house.vault.stop();
    assert!(house.vault.audit(&["--grep", "tr0ub4dor"]).len() >= 3);
    let folder = house.vault.dir.0.join("audit");
    for path in files(&folder) {
        let bytes = fs::read(&path).unwrap();
        for part in ["tr0ub4dor", "747230756234646f72", "dHIwdWI0ZG9y", "xxxxxxxxxxxxxxxx"] {
            assert!(!holds(&bytes, part), "{part} in {}", path.display());
        }
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o077, 0, "{}", path.display());
    }
    for path in [house.vault.dir.0.join("stderr"), folder.with_extension("key")] {
        assert!(!holds(&fs::read(path).unwrap(), "tr0ub4dor"));
    }
}

#[test]
fn a_customer_is_shredded_by_the_running_process_and_by_a_command_alone() {
    let mut house = House::new("shredded");
    let customer = house.tenant.role.clone();
    let shred = ["audit", "shred", "--customer", &customer, "--reason", "contract ended"];
    house.enter().value("SELECT 'before'");
    house.vault.records(&["--grep", "before", "--kind", "statement"], 1);
    assert!(well(&house.vault, &shred).contains("shredded"));
    // Sessions go on; what they say from now on has a new key.
    house.enter().value("SELECT 'after'");
    house.vault.records(&["--grep", "after", "--kind", "statement"], 1);
    assert_eq!(house.vault.audit(&["--grep", "before"]).len(), 0);
    house.vault.stop();
    assert!(well(&house.vault, &shred).contains("shredded"));
    assert_eq!(house.vault.audit(&["--customer", &customer]).len(), 0);
    let verified = well(&house.vault, &["audit", "verify"]);
    assert!(
        verified.contains("records whose keys were shredded") && verified.contains("chain are whole"),
        "{verified}"
    );
    let listed = well(&house.vault, &["audit", "keys", "list"]);
    let gone: Vec<_> = listed.lines().filter(|line| line.contains("shredded")).collect();
    assert!(gone.len() >= 2 && gone.iter().all(|line| line.contains(&customer)), "{listed}");
    assert!(gone.iter().all(|line| line.ends_with("contract ended")), "{listed}");
    let acts = house.vault.audit(&["--kind", "admin_action"]);
    assert_eq!(acts.len(), 4, "{acts:?}");
    for (customer, reason) in [("_", "x"), ("../x", "x"), (customer.as_str(), " ")] {
        let refused = house.vault.command(&["audit", "shred", "--customer", customer, "--reason", reason]);
        assert!(!refused.status.success(), "{customer}");
    }
    house.vault.launch();
    house.enter().value("SELECT 1");
}

/// Changes keys of the configuration file.
fn configure(vault: &Vault, changes: Value) {
    let path = vault.dir.0.join("onevault.yaml");
    let mut config: Value = serde_json::from_str(&fs::read_to_string(&path).unwrap()).unwrap();
    merge(&mut config, changes);
    fs::write(path, config.to_string()).unwrap();
}

#[test]
fn the_platform_key_is_exchanged_and_the_old_one_is_good_for_nothing() {
    let mut house = House::new("rotated");
    house.enter().value("SELECT 4711");
    house.vault.stop();
    let old = house.vault.dir.0.join("audit.key");
    let command = json!(["printf", "%064d", "42"]);
    configure(
        &house.vault,
        json!({ "audit": { "platform_key": { "command": command }, "platform_key_previous": { "file": old } } }),
    );
    house.vault.launch();
    assert!(well(&house.vault, &["audit", "keys", "rotate"]).contains("were wrapped anew"));
    house.enter().value("SELECT 4712");
    house.vault.stop();
    configure(&house.vault, json!({ "audit": { "platform_key_previous": { "file": null } } }));
    fs::rename(&old, old.with_extension("away")).unwrap();
    house.vault.launch();
    house.enter().value("SELECT 4713");
    house.vault.stop();
    assert_eq!(house.vault.audit(&["--grep", "SELECT 471"]).len(), 3);
    assert!(well(&house.vault, &["audit", "keys", "rotate"]).starts_with("0 keys were wrapped anew"));

    configure(&house.vault, json!({ "audit": { "platform_key": { "command": [] } } }));
    for key in [false, true] {
        if key {
            fs::rename(old.with_extension("away"), &old).unwrap();
        }
        for arguments in
            [&["serve"][..], &["audit", "show"], &["audit", "verify"], &["audit", "keys", "rotate"]]
        {
            let output = house.vault.command(arguments);
            let told =
                if key { "another platform key" } else { "platform key they were made with is missing" };
            assert!(
                !output.status.success() && said(&output).contains(told),
                "{arguments:?}: {}",
                said(&output)
            );
        }
        well(&house.vault, &["audit", "keys", "list"]);
    }
}
