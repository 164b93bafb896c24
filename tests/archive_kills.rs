//! The process is killed while the journal becomes files: before and after each is put, before how far it is was written down,
//! and while segments are deleted. Nothing is lost, nothing is there twice, and `verify` passes.

use std::fs;

use serde_json::json;

use crate::support::archived::{Life, whole_after};
use crate::support::eventually;
use crate::support::faults::Fault;
use crate::support::vault::House;

const THREAD: &str = "audit-archive";

fn house(word: &str) -> House {
    House::with(word, |options| {
        // What was answered is on disk; segments stay until the digests have read them.
        options.with(json!({ "audit": {
            "mode": "acknowledged", "checkpoint_interval_ms": 100,
            "archive": { "interval_s": 1, "journal_keep_h": 0 }, "digest": { "interval_s": 1 },
        } }))
    })
}

#[test]
fn a_kill_at_any_step_of_archiving_loses_and_doubles_nothing() {
    let mut house = house("killed_archive");
    let mut life = Life::default();
    // Two files are put (rename), their folder is synced, they are read back, how far it is is synced and renamed, what the journal
    // begins with is, too; then segments are deleted.
    let steps = [("rename", 1..=4), ("fsync", 1..=4), ("fdatasync", 1..=2), ("unlink,unlinkat", 1..=3)];
    for (call, times) in steps {
        for time in times {
            let deletes = call.starts_with("unlink");
            if !deletes {
                life.work(&house);
            }
            let how = format!("signal=SIGKILL:when={time}");
            let Some(fault) = Fault::on(&house.vault, THREAD, (call, &[]), &how) else { return };
            if deletes {
                // Deletions come while segments fill up.
                life.work_until_killed(&house);
            }
            life.killed(&mut house, &format!("{call} {time}"));
            drop(fault);
            whole_after(&mut house, &life);
        }
    }
    life.ended(&mut house);
}

/// Until segments of the journal were deleted, because the archive has them.
fn trimmed(house: &House) {
    let mut life = Life::default();
    for _ in 0..3 {
        life.work(house);
    }
    let begin = house.vault.dir.0.join("audit/journal.begin");
    eventually("segments are deleted", || begin.exists());
}

#[test]
fn what_the_archive_has_is_never_hidden_when_it_is_forgotten_how_far_it_is() {
    let mut house = house("forgotten");
    trimmed(&house);
    house.vault.stop();
    // A customer that says nothing any more: all its records are in the archive only.
    let all = house.vault.audit(&[]).len();
    let state = house.vault.dir.0.join("audit/archive.state/state");
    let good = fs::read(&state).unwrap();
    let older = String::from_utf8(good).unwrap();
    let older: Vec<&str> =
        older.lines().filter(|line| !line.starts_with("sum ") && !line.starts_with("needed ")).collect();
    let older: Vec<String> = older
        .into_iter()
        .map(|line| if line.starts_with("record ") { "record 1".to_owned() } else { line.to_owned() })
        .collect();
    let body = format!("{}\n", older.join("\n"));
    let put_back = format!("{body}sum {:08x}\n", crc32fast::hash(body.as_bytes()));
    for forgotten in [None, Some(put_back)] {
        match &forgotten {
            None => fs::remove_file(&state).unwrap(),
            Some(text) => fs::write(&state, text).unwrap(),
        }
        for arguments in [&["audit", "show"][..], &["audit", "verify"], &["audit", "show", "--count"]] {
            let told = house.vault.command(arguments);
            let said = String::from_utf8_lossy(&[told.stdout, told.stderr].concat()).into_owned();
            assert!(!told.status.success() && said.contains("archive.state/state"), "{arguments:?}: {said}");
        }
        house.vault.launch();
        eventually("it is found anew", || house.vault.command(&["audit", "verify"]).status.success());
        house.vault.stop();
        let log = house.vault.audit(&[]);
        let own = |kind: &str| log.iter().filter(|record| record["ov.kind"] == kind).count();
        assert!(log.len() >= all && own("query") == 12, "{} of {all}", log.len());
    }
}
