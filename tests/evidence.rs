//! An auditor who trusts nobody: what was signed holds, one record is proven, and every change by an owner of the files shows.

use std::fs;
use std::path::PathBuf;
use std::process::Output;
use std::time::{Duration, Instant};

use serde_json::json;

use crate::support::vault::House;

fn house(word: &str) -> House {
    House::with(word, |options| options.with(json!({ "audit": { "checkpoint_interval_ms": 200 } })))
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&[output.stdout.as_slice(), &output.stderr].concat()).into_owned()
}

fn proof(house: &House, name: &str) -> PathBuf {
    house.vault.dir.0.join("audit/proof").join(name)
}

/// Asks again and again, for at most thirty seconds.
fn asked<T>(mut ask: impl FnMut() -> Option<T>) -> T {
    let begun = Instant::now();
    loop {
        if let Some(answer) = ask() {
            return answer;
        }
        assert!(begun.elapsed() < Duration::from_secs(30), "no answer");
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// Waits until a checkpoint covers what was recorded so far, and gives it.
fn signed(house: &House, log: &str, records: usize) -> String {
    asked(|| {
        let output = house.vault.command(&["audit", "checkpoint", "--customer", log]);
        let text = String::from_utf8(output.stdout).ok().filter(|_| output.status.success())?;
        let size: usize = text.lines().nth(1)?.parse().ok()?;
        (size >= records).then_some(text)
    })
}

#[test]
fn one_record_is_proven_to_somebody_who_has_nothing_but_the_key() {
    let mut house = house("proven");
    let secret = "the price was 4711";
    house.enter().value(&format!("SELECT '{secret}'"));
    let mut other = house.enter();
    for number in 0..10 {
        other.value(&format!("SELECT {number} + 1"));
    }
    drop(other);
    let customer = house.tenant.role.clone();
    let record = house.vault.records(&["--grep", secret], 1).remove(0)["metadata.sequence"].to_string();
    signed(&house, &customer, 12);
    let file = house.vault.dir.0.join("record.tlog-proof");
    let output = file.to_str().unwrap();
    let made =
        house.vault.command(&["audit", "prove", "--customer", &customer, "--record", &record, "-o", output]);
    assert!(made.status.success(), "{}", said(&made));
    let key = fs::read_to_string(proof(&house, "checkpoints.pub")).unwrap();
    // The vault is gone; what is left is the proof and the key.
    house.vault.stop();
    fs::rename(house.vault.dir.0.join("audit"), house.vault.dir.0.join("elsewhere")).unwrap();
    let check = |text: &str| {
        fs::write(&file, text).unwrap();
        house.vault.command(&["audit", "check-proof", output, "--key", key.trim()])
    };
    let text = fs::read_to_string(&file).unwrap();
    let checked = check(&text);
    assert!(checked.status.success(), "{}", said(&checked));
    for part in
        [secret, "text: SELECT", "outcome: ok", &format!("in log onevault/{customer}, signed by onevault")]
    {
        assert!(said(&checked).contains(part), "{part}: {}", said(&checked));
    }
    let index = text.lines().nth(2).unwrap();
    let other = check(&text.replace(index, "index 0"));
    assert_eq!(other.status.code(), Some(1), "{}", said(&other));
    assert!(said(&other).contains("not proven"), "{}", said(&other));
    let elsewhere = house.vault.command(&["audit", "check-proof", "/dev/null", "--key", key.trim()]);
    assert_eq!(elsewhere.status.code(), Some(1));
}

#[test]
fn an_idle_log_is_signed_again_and_again() {
    let house = house("idle");
    let customer = house.tenant.role.clone();
    house.enter().value("SELECT 1");
    let first = signed(&house, &customer, 3);
    let later = asked(|| Some(signed(&house, &customer, 3)).filter(|later| *later != first));
    let head = |text: &str| text.lines().take(3).map(str::to_owned).collect::<Vec<_>>();
    assert_eq!(head(&first), head(&later));
    assert!(
        first.lines().nth(3).unwrap().starts_with("time 20") && first.lines().nth(3) < later.lines().nth(3)
    );
}

#[test]
fn a_vault_that_was_rolled_back_is_caught_by_a_kept_checkpoint() {
    let mut house = house("rolled_back");
    let customer = house.tenant.role.clone();
    house.enter().value("SELECT 'before'");
    signed(&house, &customer, 3);
    house.vault.stop();
    let (audit, before) = (house.vault.dir.0.join("audit"), house.vault.dir.0.join("before"));
    let copy = |from: &PathBuf, to: &PathBuf| {
        let copied = std::process::Command::new("cp").arg("-a").arg(from).arg(to).status().unwrap();
        assert!(copied.success());
    };
    copy(&audit, &before);
    house.vault.launch();
    house.enter().value("SELECT 'the deed'");
    let kept = house.vault.dir.0.join("kept.txt");
    fs::write(&kept, signed(&house, &customer, 6)).unwrap();
    house.vault.stop();
    let kept = ["audit", "verify", "--checkpoint", kept.to_str().unwrap()];
    assert!(house.vault.command(&kept).status.success());
    fs::remove_dir_all(&audit).unwrap();
    copy(&before, &audit);
    // All of the folder is as it once was, so it is whole; only who kept something elsewhere can tell.
    assert!(house.vault.command(&["audit", "verify"]).status.success());
    let verified = house.vault.command(&kept);
    assert_eq!(verified.status.code(), Some(1));
    assert!(said(&verified).contains("missing"), "{}", said(&verified));
}

#[test]
fn after_a_kill_the_next_checkpoint_follows_from_the_last() {
    let mut house = house("killed_notary");
    let customer = house.tenant.role.clone();
    let mut kept = Vec::new();
    for round in 0..4 {
        let mut wire = house.enter();
        for number in 0..20 {
            wire.value(&format!("SELECT {round} * {number}"));
        }
        if round != 2 {
            kept.push(signed(&house, &customer, kept.len() + 1));
        }
        house.vault.kill();
        house.vault.launch();
    }
    drop(house.enter());
    // What a killed process had recorded last may be lost; what it had signed is not.
    let size: usize = kept.last().and_then(|text| text.lines().nth(1)).unwrap().parse().unwrap();
    signed(&house, &customer, size + 1);
    let files: Vec<PathBuf> = kept
        .iter()
        .enumerate()
        .map(|(number, text)| {
            let file = house.vault.dir.0.join(format!("kept-{number}"));
            fs::write(&file, text).unwrap();
            file
        })
        .collect();
    let mut arguments = vec!["audit", "verify"];
    for file in &files {
        arguments.extend(["--checkpoint", file.to_str().unwrap()]);
    }
    house.vault.stop();
    let verified = house.vault.command(&arguments);
    assert!(verified.status.success(), "{}", said(&verified));
    assert!(said(&verified).contains(&format!("log {customer}: ")), "{}", said(&verified));
}
