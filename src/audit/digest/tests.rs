//! Real journals, followed with a clock of the test's own.

use std::fs;
use std::sync::Arc;

use arc_swap::ArcSwap;

use super::follower::{Follower, Plan};
use super::store::{Store, StoreError};
use super::*;
use crate::audit::keys::file::Tombstone;
use crate::audit::keys::{KeyError, OWN};
use crate::audit::tests::{Folder, keyring, select, who};
use crate::audit::{Event, EventKind, Log, Statement};
use crate::config;
use crate::customers::Catalogue;
use crate::telemetry::wall_clock;

const DAY_NS: u64 = 86_400_000_000_000;

fn now() -> u64 {
    u64::try_from(wall_clock().as_nanos()).unwrap()
}

fn plan(folder: &Folder) -> Plan {
    Plan {
        journal: folder.0.clone(),
        keyring: keyring(folder),
        catalogues: Arc::new(ArcSwap::from_pointee(Catalogue::default())),
        rules: config::Digest::default(),
    }
}

fn store(folder: &Folder) -> Store {
    Store::new(folder_of(&folder.0), keyring(folder))
}

/// A session with some statements of now, and what else a day has.
fn work(folder: &Folder, session: u64, statements: u64) {
    let log = Log::open(&folder.config(), "n").unwrap();
    let mut of = log.session(&who(session));
    of.opened().unwrap();
    for sequence in 1..=statements {
        let text = if sequence == 1 { &b"create table t ()"[..] } else { b"select 1" };
        let statement = Statement { started_ns: now(), text, text_bytes: 1 + sequence, ..select(sequence) };
        of.intent(&statement).unwrap();
        of.outcome(&statement).unwrap();
    }
    log.event(&Event { customer: "one_spa", login: b"eve", ..Event::new(EventKind::LoginFailed) }).unwrap();
    of.closed("bye").unwrap();
    drop(of);
    log.close();
}

/// Every day of a customer, open or ended.
fn digests(folder: &Folder, customer: &str) -> Vec<Digest> {
    let store = store(folder);
    let mut all = store.open_days(customer).unwrap();
    for day in store.days(customer).unwrap() {
        // A day that is open again stands for its file.
        if all.iter().all(|digest| digest.day != day) {
            all.push(store.day(customer, &day).unwrap().unwrap());
        }
    }
    all
}

/// All that was counted of a customer.
fn counted(folder: &Folder, customer: &str) -> (u64, u64, u64, u64) {
    let all = digests(folder, customer);
    let statements = all.iter().flat_map(|digest| digest.logins.values()).map(|login| login.statements).sum();
    let sum = |count: fn(&Digest) -> u64| all.iter().map(count).sum();
    (
        statements,
        sum(|digest| digest.failed_logins.count),
        sum(|digest| digest.ddl.count),
        sum(|digest| digest.new_addresses.count),
    )
}

#[test]
fn a_restart_at_any_moment_neither_loses_nor_doubles() {
    let folder = Folder::new();
    let (mut sessions, mut statements) = (0, 0);
    for round in 0..8_u64 {
        work(&folder, round + 1, 5);
        (sessions, statements) = (sessions + 1, statements + 5);
        let position = folder_of(&folder.0).join("position.json");
        let before = fs::read(&position).ok();
        let mut follower = Follower::open(&plan(&folder)).unwrap();
        while !follower.follow(None).unwrap() {}
        match round {
            // Ends before anything is written down; or after the day was ended and before that was written down.
            1 | 4 => continue,
            2 => drop(follower.round(now(), false).unwrap()),
            3 | 5 => drop(follower.round(now() + 2 * DAY_NS, true).unwrap()),
            6 => {
                follower.round(now() + 2 * DAY_NS, true).unwrap();
                fs::remove_file(&position).unwrap();
            }
            _ => drop(follower.round(now(), true).unwrap()),
        }
        if round % 2 == 1 {
            // As if the end had come just before the last step.
            before.map_or_else(
                || fs::remove_file(&position).unwrap(),
                |bytes| fs::write(&position, bytes).unwrap(),
            );
        }
        assert_eq!(counted(&folder, "one_spa"), (statements, sessions, sessions, 1), "round {round}");
    }
    // Each start of the eight has left one record of the vault's own, and each end.
    let all = digests(&folder, OWN);
    assert_eq!(all.iter().map(|digest| digest.records).sum::<u64>(), 16);
}

#[test]
fn every_day_has_a_digest_when_it_is_over_an_empty_one_too() {
    let folder = Folder::new();
    work(&folder, 1, 2);
    let mut follower = Follower::open(&plan(&folder)).unwrap();
    assert!(follower.follow(None).unwrap());
    let findings = follower.findings();
    assert_eq!(findings.iter().filter(|(customer, _)| customer == "one_spa").count(), 3, "{findings:?}");
    let begun = now();
    follower.round(begun, true).unwrap();
    let today = config::Zone::default().local(begun).date;
    assert_eq!(store(&folder).days(OWN).unwrap(), Vec::<String>::new());
    follower.round(begun + 3 * DAY_NS, true).unwrap();
    let days: Vec<String> = today.iter_days().take(3).map(|day| day.to_string()).collect();
    assert_eq!(store(&folder).days(OWN).unwrap(), days);
    let [first, second] = [0, 1].map(|at: usize| store(&folder).day(OWN, &days[at]).unwrap().unwrap());
    assert!(first.is_over && first.records == 2 && second.is_over && second.records == 0);
    // Who is in no catalogue has those of its days only.
    assert_eq!(store(&folder).days("one_spa").unwrap(), days[..1]);
}

#[test]
fn a_digest_is_confidential_and_goes_with_the_customers_keys() {
    let folder = Folder::new();
    work(&folder, 1, 2);
    let plan = plan(&folder);
    let mut follower = Follower::open(&plan).unwrap();
    follower.follow(None).unwrap();
    follower.round(now() + 2 * DAY_NS, true).unwrap();
    let day = store(&folder).days("one_spa").unwrap().remove(0);
    let files = folder_of(&folder.0).join("one_spa");
    let path = files.join(format!("{day}.digest"));
    for file in [&path, &files.join("state.sealed")] {
        let bytes = fs::read(file).unwrap();
        for secret in [&b"anna"[..], b"192.0.2", b"CREATE", b"records"] {
            assert!(!bytes.windows(secret.len()).any(|window| window == secret));
        }
    }
    // Changed, cut, or another day's: it is not read.
    let good = fs::read(&path).unwrap();
    let damaged = |bytes: &[u8], day: &str| {
        fs::write(files.join(format!("{day}.digest")), bytes).unwrap();
        matches!(store(&folder).day("one_spa", day), Err(StoreError::Damaged(_) | StoreError::Key(_)))
    };
    for at in (0..good.len()).step_by(7) {
        let mut other = good.clone();
        other[at] ^= 1;
        assert!(damaged(&other, &day) && damaged(&good[..at], &day), "{at}");
    }
    assert!(damaged(&good, "2020-01-01"));
    fs::remove_file(files.join("2020-01-01.digest")).unwrap();
    fs::write(&path, &good).unwrap();
    work(&folder, 2, 1);
    follower.follow(None).unwrap();
    plan.keyring.retire("one_spa").unwrap();
    // What was counted before and is in memory still is not written under a new key, not even beside what has this key.
    work(&folder, 3, 1);
    follower.follow(None).unwrap();
    follower.round(now(), true).unwrap();
    assert!(store(&folder).open_days("one_spa").is_ok_and(|days| days.is_empty()));
    let stone = Tombstone { time_ns: now(), by: "t".into(), why: "t".into() };
    plan.keyring.shred("one_spa", &stone).unwrap();
    let gone = store(&folder).day("one_spa", &day);
    assert!(matches!(gone, Err(StoreError::Key(KeyError::Shredded(_)))), "{gone:?}");
    follower.round(now(), true).unwrap();
    let found = store(&folder).open_days("one_spa");
    assert!(found.as_ref().is_ok_and(Vec::is_empty), "{found:?}");
    work(&folder, 4, 1);
    follower.follow(None).unwrap();
    follower.round(now(), true).unwrap();
    assert_eq!(counted_after_shred(&folder), 1);
}

fn counted_after_shred(folder: &Folder) -> u64 {
    let open = store(folder).open_days("one_spa").unwrap();
    open.iter().flat_map(|digest| digest.logins.values()).map(|login| login.statements).sum()
}

#[test]
fn a_file_that_says_it_is_under_anothers_shredded_key_is_damaged() {
    let folder = Folder::new();
    work(&folder, 1, 1);
    let (keyring, store) = (keyring(&folder), store(&folder));
    let [own, other] = ["one_spa", "one_barn"].map(|customer| keyring.current(customer, now()).unwrap());
    store.write("one_spa", "x.sealed", &1, &own).unwrap();
    assert_eq!(store.read("one_spa", "x.sealed").unwrap(), Some((1, own.number())));
    let stone = Tombstone { time_ns: now(), by: "t".into(), why: "t".into() };
    keyring.retire("one_barn").unwrap();
    keyring.shred("one_barn", &stone).unwrap();
    let path = folder_of(&folder.0).join("one_spa/x.sealed");
    let mut bytes = fs::read(&path).unwrap();
    bytes[8..12].copy_from_slice(&other.number().to_le_bytes());
    fs::write(&path, bytes).unwrap();
    let told = store.read::<u8>("one_spa", "x.sealed");
    assert!(matches!(told, Err(StoreError::Damaged(_))), "{told:?}");
}
