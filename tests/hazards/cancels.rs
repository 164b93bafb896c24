//! Cancel requests stop the query they were meant for, and nothing else, however many come and whenever.
//!
//! Source: protocol-flow#PROTOCOL-FLOW-CANCELING-REQUESTS

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use serde_json::json;

use crate::support::liar::{Liar, PASSWORD};
use crate::support::messages::*;
use crate::support::postgres::{ANY, Postgres};
use crate::support::vault::{Customer, House, MODES, Options, Vault};
use crate::support::wire::{Login, PROTOCOL_3_2, Wire};

/// Asks for a cancel and waits until the connection is closed; nothing is ever answered.
fn cancel(port: u16, key: &(i32, Vec<u8>)) {
    let mut wire = Wire::plain(port);
    wire.send(&cancel_request(key.0, &key.1));
    assert!(wire.bytes(1).is_empty(), "a cancel request is not answered");
}

fn outcome(wire: &mut Wire) -> String {
    let frames = wire.until_ready();
    frames.iter().find(|frame| frame.is_error()).map(|frame| frame.field('C')).unwrap_or_default()
}

#[test]
fn a_cancel_stops_its_own_query_and_no_other() {
    let house = House::new("own");
    let (mut one, mut two) = (house.enter(), house.enter());
    let mut modern = house.login();
    modern.version = PROTOCOL_3_2;
    let mut three = house.vault.enter_tls(&modern);
    assert_eq!((one.key.1.len(), three.key.1.len()), (4, 32), "longer keys under protocol 3.2");
    for wire in [&mut one, &mut two, &mut three] {
        wire.send(&query("SELECT pg_sleep(20)"));
    }
    std::thread::sleep(Duration::from_millis(300));
    let begun = Instant::now();
    cancel(house.vault.port, &one.key);
    assert_eq!(outcome(&mut one), "57014");
    assert!(two.within(Duration::from_millis(100)).is_empty());
    cancel(house.vault.port, &three.key);
    assert_eq!(outcome(&mut three), "57014");
    // Also through TLS.
    let mut inside = Wire::tls(house.vault.port, "localhost", &house.vault.ca()).unwrap();
    inside.send(&cancel_request(two.key.0, &two.key.1));
    assert!(inside.bytes(1).is_empty());
    assert_eq!(outcome(&mut two), "57014");
    assert!(begun.elapsed() < Duration::from_secs(8));
    assert_eq!(one.value("SELECT 'goes on'"), "goes on");
}

/// Wrong keys cause no work at any server, and the true secret of a backend is nobody's.
#[test]
fn a_wrong_key_does_nothing_at_all() {
    for mode in MODES {
        keys_are_tried(mode);
    }
}

fn keys_are_tried(mode: &str) {
    let liar = Liar::new(|talk| {
        talk.login()?;
        // The query is never answered: there is something to be cancelled.
        talk.asked()?;
        Some(())
    });
    let customer = liar.customer().pooled(mode);
    let login = Login::new(&format!("app@{}", customer.id), PASSWORD, "app");
    let vault = Vault::start(Options::new(&[customer]));
    let mut wire = vault.enter(&login);
    wire.send(&query("x"));
    std::thread::sleep(Duration::from_millis(100));
    let (pid, secret) = wire.key.clone();
    let (truth, near) = (pid.to_be_bytes().to_vec(), {
        let mut near = secret.clone();
        near[3] ^= 1;
        near
    });
    for wrong in
        [(pid, truth), (pid, near), (pid + 1, secret.clone()), (pid, vec![0; 4]), (-1, vec![255; 256])]
    {
        cancel(vault.port, &wrong);
    }
    // Lengths that no key has.
    for bytes in [0, 3, 257, 9000] {
        let mut wire = Wire::plain(vault.port);
        wire.send(&cancel_request(pid, &vec![1; bytes]));
        wire.rest();
    }
    assert!(liar.cancels.lock().unwrap().is_empty(), "{mode}");
    cancel(vault.port, &(pid, secret));
    assert_eq!(liar.cancels.lock().unwrap().len(), 1, "{mode}");
    drop(wire);
}

/// Many requests for one backend reach its server one or two at a time; the session goes on and others notice nothing.
#[test]
fn a_storm_of_cancels_is_calmed() {
    for mode in MODES {
        a_storm(mode);
    }
}

fn a_storm(mode: &str) {
    let liar = Liar::honest();
    let customer = liar.customer().pooled(mode);
    let login = Login::new(&format!("app@{}", customer.id), PASSWORD, "app");
    let vault = Vault::start(Options::new(&[customer]));
    let (mut wire, mut other) = (vault.enter(&login), vault.enter(&login));
    let (port, key) = (vault.port, wire.key.clone());
    let storm: Vec<_> = (0..8)
        .map(|_| {
            let key = key.clone();
            std::thread::spawn(move || (0..20).for_each(|_| cancel(port, &key)))
        })
        .collect();
    let begun = Instant::now();
    for _ in 0..20 {
        assert_eq!(other.value("x"), "x");
    }
    assert!(begun.elapsed() < Duration::from_secs(5));
    storm.into_iter().for_each(|thread| thread.join().unwrap());
    assert_eq!(wire.value("y"), "y");
    assert!(liar.cancels.lock().unwrap().len() <= 160);
    let secrets = liar.cancels.lock().unwrap().clone();
    // In transaction pooling it runs nothing, so that nothing is to be cancelled.
    assert!(secrets.iter().all(|secret| *secret == secrets[0]), "one backend is meant");
}

/// Clients take turns on one backend while cancels for the former one rain down: none hits the next one.
#[test]
fn a_late_cancel_never_hits_the_next_client() {
    for mode in MODES {
        cancels_come_late(mode);
    }
}

fn cancels_come_late(mode: &str) {
    let tenant = Postgres::shared(ANY).tenant("late");
    let customer = Customer::of(&tenant).pooled(mode).with(json!({ "limits": { "backends_max": 1 } }));
    let house = House { vault: Vault::start(Options::new(&[customer])), tenant };
    let port = house.vault.port;
    let mut pids = Vec::new();
    for round in 0..10 {
        let mut wire = house.enter();
        pids.push(wire.value("SELECT pg_backend_pid()"));
        let over = Arc::new(AtomicBool::new(false));
        let rain: Vec<_> = (0..3)
            .map(|_| {
                let (key, over) = (wire.key.clone(), Arc::clone(&over));
                std::thread::spawn(move || {
                    while !over.load(Ordering::SeqCst) {
                        cancel(port, &key);
                    }
                })
            })
            .collect();
        std::thread::sleep(Duration::from_millis(20));
        wire.send(&terminate());
        drop(wire);
        let mut next = house.enter();
        for _ in 0..2 {
            assert_eq!(next.sqlstate("SELECT pg_sleep(0.1)"), "", "{mode}, round {round}");
        }
        over.store(true, Ordering::SeqCst);
        rain.into_iter().for_each(|thread| thread.join().unwrap());
    }
    pids.dedup();
    assert!(pids.len() < 10, "backends were given on");
}

/// A cancel of an idle session is forgotten, as the server does; and each one is in the log.
#[test]
fn a_cancel_of_an_idle_session_is_forgotten_and_recorded() {
    let house = House::new("idle_cancel");
    let mut wire = house.enter();
    cancel(house.vault.port, &wire.key);
    std::thread::sleep(Duration::from_millis(50));
    assert_eq!(wire.sqlstate("SELECT pg_sleep(0.05)"), "");
    wire.send(&query("SELECT pg_sleep(20)"));
    std::thread::sleep(Duration::from_millis(200));
    cancel(house.vault.port, &wire.key);
    assert_eq!(outcome(&mut wire), "57014");
    let begun = Instant::now();
    loop {
        let records = house.vault.audit(&[]);
        let cancels = records.iter().filter(|record| record["ov.kind"] == "cancel").count();
        let cancelled = records.iter().any(|record| {
            record["ov.outcome"] == "cancelled" && record["db.query.text"] == "SELECT pg_sleep(20)"
        });
        if cancels == 2 && cancelled {
            break;
        }
        assert!(begun.elapsed() < Duration::from_secs(3), "{cancels} cancels are recorded");
        std::thread::sleep(Duration::from_millis(50));
    }
}
