//! One signing key follows another, and each stands for what it signed and for nothing else.

use std::slice::from_ref;

use super::super::evidence::{Evidence, NotVerified, Which, folder_of, key_beside, signing};
use super::super::keeping::{Wish, ask};
use super::super::keys::file::{Purpose, State};
use super::super::keys::{Keyring, folder_of as keys_of};
use super::super::signers::RECORD;
use super::*;
use crate::proof::checkpoint::Checkpoint;
use crate::proof::note::{Signer, Verifier};

fn config(folder: &Folder) -> Audit {
    Audit { checkpoint_interval_ms: 50, ..folder.config() }
}

fn write(log: &Log, sequence: u64) {
    let mut session = log.session(&who(sequence));
    let ticket = session.statement(&select(sequence)).unwrap();
    wait(|cx| session.poll_durable(ticket, cx)).unwrap();
}

fn rotate(folder: &Folder) -> Result<String, String> {
    let wish = Wish::RotateSigner { reason: "each year".into(), by: "olga".into() };
    let asked = ask(&folder.0, &wish).unwrap();
    soon(|| asked.answer().unwrap())
}

/// Asks until there is an answer, for at most thirty seconds.
fn soon<T>(mut ask: impl FnMut() -> Option<T>) -> T {
    let begun = Instant::now();
    loop {
        if let Some(answer) = ask() {
            return answer;
        }
        assert!(begun.elapsed() < Duration::from_secs(30), "no answer");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// It is there when the first checkpoint is.
fn beside(folder: &Folder) -> Verifier {
    soon(|| key_beside(&folder.0).unwrap())
}

fn evidence(folder: &Folder, key: &Verifier) -> Evidence {
    Evidence::new(&folder.0, keyring(folder), key.clone())
}

/// The private key of the one who signs now.
fn private(folder: &Folder) -> Signer {
    let seed = keyring(folder).signers().unwrap().pop().unwrap().1;
    Signer::new("onevault", &seed).unwrap()
}

/// The newest checkpoint of the log, read from its note.
fn newest(folder: &Folder) -> Checkpoint {
    let note = evidence(folder, &beside(folder)).checkpoint("one_spa").unwrap().unwrap();
    Checkpoint::parse(&format!("{}\n", note.split_once("\n\n").unwrap().0)).unwrap()
}

fn signers_of(folder: &Folder) -> Vec<State> {
    // One that is being destroyed cannot be read at that moment.
    let listed = Keyring::list(&keys_of(&folder.0)).unwrap().into_iter().flatten();
    listed.filter(|key| key.label.purpose == Purpose::Signer).map(|key| key.state).collect()
}

#[test]
fn a_key_is_replaced_and_whoever_has_either_verifies_all() {
    let folder = Folder::new();
    let log = Log::open(&config(&folder), "n").unwrap();
    write(&log, 1);
    let first = beside(&folder);
    let proof = soon(|| evidence(&folder, &first).prove("one_spa", Which::Index(0)).ok());
    let told = rotate(&folder).unwrap();
    let second = beside(&folder);
    assert!(told.starts_with(&second.encoded()) && first != second, "{told}");
    write(&log, 2);
    rotate(&folder).unwrap();
    let third = beside(&folder);
    write(&log, 3);
    drop(log);
    for key in [&first, &second, &third] {
        let (_, logs) = evidence(&folder, key).verify(None, &[], |_| {}).unwrap();
        assert_eq!((logs["one_spa"].records, logs["one_spa"].signed), (3, 3));
    }
    let stranger = Signer::new("onevault", &[7; 32]).unwrap().verifier().clone();
    assert!(evidence(&folder, &stranger).verify(None, &[], |_| {}).is_err());
    // What was proven before holds with the key of that time, and what is proven now with the one of now.
    proof.check(from_ref(&first)).unwrap();
    assert!(proof.check(from_ref(&third)).is_err());
    let proof = evidence(&folder, &third).prove("one_spa", Which::Index(0)).unwrap();
    proof.check(from_ref(&third)).unwrap();
    assert!(proof.check(&[first.clone(), second.clone()]).is_err());
    // All of them are told, with their times; the private keys are gone; the log has each change.
    let told = signing(&folder.0).unwrap();
    assert_eq!(told.iter().map(|one| one.key.clone()).collect::<Vec<_>>(), [first, second, third]);
    assert!(told[0].from.is_none() && told[0].until == told[1].from && told[1].until == told[2].from);
    assert!(told[2].until.is_none() && told[2].from.is_some());
    assert!(matches!(signers_of(&folder)[..], [State::Shredded(_), State::Shredded(_), State::Active]));
    let records = bodies(&folder).into_iter().filter(|body| {
        matches!(decode(body), Ok(Entry::Event(event)) if event.detail.kept.starts_with(RECORD.as_bytes()))
    });
    assert_eq!(records.count(), 2);
    let _ = Log::open(&config(&folder), "n").unwrap();
}

#[test]
fn what_a_replaced_key_signs_of_a_later_tree_is_refused() {
    let folder = Folder::new();
    let log = Log::open(&config(&folder), "n").unwrap();
    write(&log, 1);
    let old = private(&folder);
    rotate(&folder).unwrap();
    let handed = newest(&folder);
    write(&log, 2);
    drop(log);
    let (good, key) = (newest(&folder), beside(&folder));
    assert!(handed.size < good.size);
    let verify = |kept: Vec<_>| evidence(&folder, &key).verify(None, &kept, |_| {});
    // As large as it was handed over the old key stands for it, and not for what is right otherwise.
    verify(vec![(handed.clone(), handed.sign(&old).unwrap())]).unwrap();
    let forged = good.sign(&old).unwrap();
    let refused = |told: Result<_, NotVerified>| {
        let told = told.map(|_| ()).unwrap_err().to_string();
        assert!(told.contains("log one_spa") && told.contains("replaced before"), "{told}");
    };
    refused(verify(vec![(good, forged.clone())]));
    let history = folder_of(&folder.0).join("one_spa/history");
    let text = std::fs::read_to_string(&history).unwrap();
    std::fs::write(&history, format!("{text}note {}\n{forged}", forged.len())).unwrap();
    refused(verify(Vec::new()));
    std::fs::write(&history, text).unwrap();
    verify(Vec::new()).unwrap();
}

#[test]
fn a_change_that_was_begun_is_ended_by_the_next_process() {
    let folder = Folder::new();
    let log = Log::open(&config(&folder), "n").unwrap();
    write(&log, 1);
    drop(log);
    let first = beside(&folder);
    // A new key is there, and the process ended before anything was signed with it.
    let writing = Keyring::prepare(&config(&folder)).unwrap();
    writing.make_signer().unwrap();
    drop(writing);
    let log = Log::open(&config(&folder), "n").unwrap();
    let begun = Instant::now();
    while !matches!(signers_of(&folder)[..], [State::Shredded(_), State::Active]) {
        assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", signers_of(&folder));
        std::thread::sleep(Duration::from_millis(20));
    }
    drop(log);
    assert_ne!(beside(&folder), first);
    evidence(&folder, &first).verify(None, &[], |_| {}).unwrap();
}

#[test]
fn without_the_signing_key_nothing_is_signed_and_it_is_said_why() {
    let folder = Folder::new();
    let log = Log::open(&config(&folder), "n").unwrap();
    write(&log, 1);
    drop(log);
    let mut listed = Keyring::list(&keys_of(&folder.0)).unwrap().into_iter().map(Result::unwrap);
    let number = listed.rfind(|key| key.label.purpose == Purpose::Signer).unwrap().label.number;
    let path = keys_of(&folder.0).join(format!("{number:010}.key"));
    let good = std::fs::read(&path).unwrap();
    let mut bent = good.clone();
    bent[60] ^= 1;
    for bytes in [None, Some(&bent)] {
        match bytes {
            None => std::fs::remove_file(&path).unwrap(),
            Some(bytes) => std::fs::write(&path, bytes).unwrap(),
        }
        let log = Log::open(&config(&folder), "n").unwrap();
        let begun = Instant::now();
        let told = loop {
            if let Some(told) = log.health().unsigned {
                break told;
            }
            assert!(begun.elapsed() < Duration::from_secs(10), "no trouble");
            std::thread::sleep(Duration::from_millis(10));
        };
        let key = beside(&folder).encoded();
        assert!(told.contains("lost") && told.contains(&key), "{told}");
        assert!(rotate(&folder).unwrap_err().contains("lost"));
        drop(log);
        std::fs::write(&path, &good).unwrap();
    }
    // What was recorded meanwhile is not signed yet, and holds.
    evidence(&folder, &beside(&folder)).verify(None, &[], |_| {}).unwrap();
}
