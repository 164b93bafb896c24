//! Cancel requests end the statement they were meant for and nothing else.
//!
//! Source: protocol-flow#PROTOCOL-FLOW-CANCELING-REQUESTS

use std::time::{Duration, Instant};

use crate::support::messages::*;
use crate::support::postgres::{ANY, Postgres};
use crate::support::vault::{Customer, House, Options, Vault, through};
use crate::support::wire::{PROTOCOL_3_2, Wire};

fn cancel(vault: &Vault, key: &(i32, Vec<u8>)) {
    let mut wire = Wire::plain(vault.port);
    wire.send(&cancel_request(key.0, &key.1));
    assert!(wire.rest().is_empty(), "a cancel request has no answer");
}

/// The statement ends with 57014 and the session goes on, with keys of both lengths, plain and over TLS.
#[test]
fn a_cancel_ends_the_statement_and_not_the_session() {
    let house = House::new("cancel");
    let mut long_key = house.login();
    long_key.version = PROTOCOL_3_2;
    for mut wire in [house.enter(), house.vault.enter(&long_key), house.vault.enter_tls(&house.login())] {
        let begun = Instant::now();
        wire.send(&query("SELECT pg_sleep(20)"));
        std::thread::sleep(Duration::from_millis(200));
        cancel(&house.vault, &wire.key.clone());
        let frames = wire.until_ready();
        let error = frames.iter().find(|frame| frame.is_error()).expect("it slept on");
        assert_eq!(error.field('C'), "57014", "{}", error.line());
        assert!(begun.elapsed() < Duration::from_secs(10));
        assert_eq!(wire.value("SELECT 'goes on'"), "goes on");
    }
    house.vault.records(&["--outcome", "cancelled", "--kind", "statement"], 3);
    house.vault.records(&["--kind", "cancel"], 3);
}

/// A wrong secret, a wrong pid, a key of the server itself and a key of a session that is over do nothing.
#[test]
fn a_cancel_needs_the_whole_key() {
    let house = House::new("guess");
    let gone = house.enter().key;
    let mut wire = house.enter();
    let (pid, secret) = wire.key.clone();
    wire.send(&query("SELECT pg_sleep(2)"));
    let mut wrong = secret.clone();
    wrong[0] ^= 1;
    let long = [secret.clone(), vec![0; 4]].concat();
    for key in [(pid, wrong), (pid, vec![0; 4]), (pid, long), (pid + 1, secret), (0, vec![0; 4]), gone] {
        cancel(&house.vault, &key);
    }
    let frames = wire.until_ready();
    assert!(!frames.iter().any(|frame| frame.is_error()), "{}", frames[0].line());
}

/// Cancels that come late or twice never hit another client's statement, though the backend is the same one.
#[test]
fn a_late_cancel_never_hits_the_next_session() {
    let house = House::with("latecancel", |options| {
        options.with(serde_json::json!({ "limits": { "backends_max": 1 } }))
    });
    for round in 0..15 {
        let mut first = house.enter();
        let key = first.key.clone();
        first.send(&all(&[query("SELECT 1"), terminate()]));
        first.until_ready();
        let port = house.vault.port;
        let canceller = std::thread::spawn(move || {
            for _ in 0..3 {
                let mut wire = Wire::plain(port);
                let _ = wire.try_send(&cancel_request(key.0, &key.1));
                wire.rest();
            }
        });
        let mut second = house.enter();
        let frames = second.talk(&query("SELECT pg_sleep(0.05)"));
        assert!(!frames.iter().any(|frame| frame.is_error()), "round {round}: {}", frames[0].line());
        canceller.join().unwrap();
    }
}

/// One customer's key cancels nothing of another customer.
#[test]
fn a_key_is_good_for_its_own_customer_only() {
    let (one, two) = (Postgres::shared(ANY).tenant("key_one"), Postgres::shared(ANY).tenant("key_two"));
    let vault = Vault::start(Options::new(&[Customer::of(&one), Customer::of(&two)]));
    let mut asleep = vault.enter(&through(&one));
    asleep.send(&query("SELECT pg_sleep(1.5)"));
    let other = vault.enter(&through(&two));
    cancel(&vault, &(asleep.key.0, other.key.1.clone()));
    cancel(&vault, &other.key);
    assert!(!asleep.until_ready().iter().any(|frame| frame.is_error()));
}

/// A storm of cancels opens no storm of connections to the database, and nobody else notices.
#[test]
fn a_storm_of_cancels_is_calm_at_the_server() {
    let house = House::new("storm");
    let mut wire = house.enter();
    wire.send(&query("SELECT pg_sleep(3)"));
    let mut sockets: Vec<_> = (0..200).map(|_| Wire::plain(house.vault.port)).collect();
    for socket in &mut sockets {
        socket.send(&cancel_request(wire.key.0, &wire.key.1));
    }
    assert_eq!(house.enter().value("SELECT 'calm'"), "calm");
    wire.until_ready();
    assert_eq!(wire.value("SELECT 'after'"), "after");
}
