//! The log's keys from an operator's side: nothing is readable without them, a customer's go on request, the platform's
//! is exchanged.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use onevault::audit::keys::{Keyring, month_of};
use serde_json::{Value, json};

use crate::support::postgres::{ANY, Postgres};
use crate::support::vault::{Customer, House, Options, Vault, merge, through};
use crate::support::{cache, eventually, messages, root};

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

/// What a reader of Parquet that knows nothing of OneVault makes of a file with a key; nothing: it cannot open it.
fn opens(path: &Path, key: &[u8]) -> Option<String> {
    let hex: String = key.iter().map(|byte| format!("{byte:02x}")).collect();
    let python = Command::new(cache().join("python/bin/python"))
        .arg(root().join("tests/drivers/archive_round.py"))
        .args([path.as_os_str(), hex.as_ref()])
        .output()
        .expect("scripts/test-tools python");
    python.status.success().then(|| said(&python))
}

/// The customer's files in the archive; waits until there is one.
fn archived(vault: &Vault, customer: &str) -> Vec<PathBuf> {
    let folder = vault.dir.0.join("audit/archive").join(customer);
    eventually("records are archived", || folder.is_dir() && !files(&folder).is_empty());
    files(&folder)
}

#[test]
fn exported_keys_open_the_files_of_one_customer_and_month_and_no_others() {
    let postgres = Postgres::shared(ANY);
    let tenants = [postgres.tenant("given"), postgres.tenant("kept")];
    let options = Options::new(&[Customer::of(&tenants[0]), Customer::of(&tenants[1])]);
    let fast = json!({ "audit": { "checkpoint_interval_ms": 100, "archive": { "interval_s": 1 } } });
    let mut vault = Vault::start(options.with(fast));
    for tenant in &tenants {
        vault.enter(&through(tenant)).value("SELECT 4711");
    }
    let [given, kept] = [0, 1].map(|at: usize| archived(&vault, &tenants[at].role).remove(0));
    vault.stop();
    // A key of another month, which no file has yet.
    let audit = onevault::config::Audit { directory: vault.dir.0.join("audit"), ..Default::default() };
    let now = std::time::UNIX_EPOCH.elapsed().unwrap().as_nanos();
    let [this, other] = [0, 40].map(|days: u128| u64::try_from(now + days * 86_400_000_000_000).unwrap());
    let keyring = Keyring::prepare(&audit).unwrap();
    keyring.current(&tenants[0].role, other).unwrap();
    let month = |time_ns| format!("{}-{:02}", month_of(time_ns) / 100, month_of(time_ns) % 100);
    vault.launch();
    let file = vault.dir.0.join("given.keys");
    let export = |time_ns: u64, file: &Path| {
        let (month, file) = (month(time_ns), file.display().to_string());
        let words =
            ["audit", "keys", "export", "--customer", &tenants[0].role, "--month", &month, "-o", &file];
        vault.command(&words)
    };
    let made = export(this, &file);
    assert!(made.status.success(), "{}", said(&made));
    assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    let text = fs::read_to_string(&file).unwrap();
    let keys: Vec<(u32, Vec<u8>)> = text
        .lines()
        .map(|line| {
            let (number, key) = line.split_once(' ').unwrap();
            (number.parse().unwrap(), STANDARD.decode(key).unwrap())
        })
        .collect();
    assert_eq!(keys.len(), 1, "{text}");
    let listed = Keyring::list(&audit.directory.join("keys")).unwrap();
    let own = listed.into_iter().flatten().find(|listed| listed.label.number == keys[0].0).unwrap();
    assert_eq!((own.label.customer.as_str(), own.label.month), (tenants[0].role.as_str(), month_of(this)));
    let read = opens(&given, &keys[0].1).unwrap();
    assert!(read.contains("pyarrow") && read.contains("SELECT 4711"), "{read}");
    assert_eq!(opens(&kept, &keys[0].1), None, "another customer's file");
    let next = vault.dir.0.join("next.keys");
    let made = export(other, &next);
    assert!(made.status.success(), "{}", said(&made));
    let theirs = fs::read_to_string(&next).unwrap();
    assert!(!theirs.contains(text.trim()) && theirs.lines().count() == 1, "{theirs}");
    let key = STANDARD.decode(theirs.trim().split_once(' ').unwrap().1).unwrap();
    assert_eq!(opens(&given, &key), None, "another month's key");

    assert!(!export(this, &file).status.success(), "a file that is there is not replaced");
    assert_eq!(fs::read_to_string(&file).unwrap(), text);
    let none = export(0, &vault.dir.0.join("none.keys"));
    assert!(!none.status.success() && said(&none).contains("no keys of that month"), "{}", said(&none));
    let acts = vault.records(&["--kind", "log_export", "--customer", &tenants[0].role], 2);
    for (act, time_ns) in acts.iter().zip([this, other]) {
        let detail = act["status_detail"].as_str().unwrap();
        assert!(
            detail.contains("keys of archive files") && detail.contains(&month_of(time_ns).to_string()),
            "{detail}"
        );
        assert!(act["actor.user.name"].as_str().unwrap().contains("uid"), "{act}");
    }
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
