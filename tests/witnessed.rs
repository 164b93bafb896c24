//! An operator whose log is watched by a witness and anchored in a second place, and who replaces the signing key.

use std::fs;
use std::process::Output;

use serde_json::json;

use crate::support::eventually;
use crate::support::vault::House;
use crate::support::witness::Witness;

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&[output.stdout.as_slice(), &output.stderr].concat()).into_owned()
}

/// What a command that must succeed says.
fn well(house: &House, arguments: &[&str]) -> String {
    let output = house.vault.command(arguments);
    assert!(output.status.success(), "{arguments:?}: {}", said(&output));
    said(&output)
}

/// Whether health has nothing to say of witnesses.
fn is_witnessed(house: &House) -> bool {
    !house.vault.http("/health").contains("unwitnessed\":\"")
}

#[test]
fn a_signing_key_is_replaced_under_a_witness_and_anchors_and_all_that_was_signed_holds() {
    let witness = Witness::start();
    let watched = witness.config();
    let mut house = House::with("witnessed_rotation", |options| {
        options.with(json!({ "audit": { "checkpoint_interval_ms": 100 } })).with(json!({ "audit": watched }))
    });
    house.vault.stop();
    let anchors = house.vault.dir.0.join("anchors");
    house.vault.change(json!({ "audit": { "anchor": {
        "url": format!("file://{}", anchors.display()), "interval_s": 1,
    } } }));
    house.vault.launch();
    let customer = house.tenant.role.clone();
    let proof = house.vault.dir.0.join("audit/proof");
    let public = || fs::read_to_string(proof.join("checkpoints.pub")).unwrap().trim().to_owned();
    // The witness was given no key yet.
    eventually("nobody stands for the log", || !is_witnessed(&house));
    let old = public();
    witness.trust(&old);
    house.enter().value("SELECT 'before the new key'");
    eventually("the witness stands for it", || is_witnessed(&house));
    let cosigned = proof.join(&customer).join("cosigned");
    let size = || -> u64 {
        let text = fs::read_to_string(&cosigned).unwrap_or_default();
        text.lines().nth(2).and_then(|line| line.parse().ok()).unwrap_or(0)
    };
    eventually("a cosignature is kept", || size() > 2);
    let kept = house.vault.dir.0.join("kept.txt");
    fs::write(&kept, well(&house, &["audit", "checkpoint", "--customer", &customer])).unwrap();

    let told = well(&house, &["audit", "keys", "rotate-signer", "--reason", "each year"]);
    let new = public();
    assert!(new != old && told.contains(&new) && told.contains(&old), "{told}");
    // What it signed before stands, and it signs nothing for a stranger.
    let verify = ["audit", "verify", "--anchors", "--checkpoint", kept.to_str().unwrap()];
    house.enter().value("SELECT 'after the new key'");
    eventually("health says that the witness must be told", || !is_witnessed(&house));
    let before = size();
    well(&house, &verify);
    assert_eq!(size(), before);
    witness.trust(&new);
    eventually("the witness stands for it again", || is_witnessed(&house));
    eventually("it has seen what came behind", || size() > before);

    for key in [&old, &new] {
        let told = well(&house, &[&verify[..], &["--key", key]].concat());
        assert!(told.contains("witness"), "{told}");
    }
    let record = house.vault.records(&["--grep", "after the new key", "--kind", "query"], 1);
    let record = record[0]["metadata.sequence"].to_string();
    let bundle = house.vault.dir.0.join("record.tlog-proof");
    let bundle = bundle.to_str().unwrap();
    well(&house, &["audit", "prove", "--customer", &customer, "--record", &record, "-o", bundle]);
    let witness_key = witness.key();
    let check = |key: &str| {
        house.vault.command(&["audit", "check-proof", bundle, "--key", key, "--witness", &witness_key])
    };
    assert!(check(&new).status.success(), "{}", said(&check(&new)));
    assert_eq!(check(&old).status.code(), Some(1), "the old key does not stand for it");

    house.vault.stop();
    house.vault.launch();
    house.enter().value("SELECT 'after a start'");
    eventually("the witness stands for it after a start", || is_witnessed(&house));
    well(&house, &verify);
    house.vault.stop();
    well(&house, &verify);
    fs::remove_file(&cosigned).unwrap();
    let missed = house.vault.command(&verify);
    assert_eq!(missed.status.code(), Some(1));
    assert!(said(&missed).contains(&format!("log {customer}: 0 of 1 witnesses")), "{}", said(&missed));
}
