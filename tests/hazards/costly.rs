//! What a database server may make costly, it makes costly for its own customer.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use serde_json::json;

use super::liars::unique_salt;
use crate::support::liar::*;
use crate::support::messages::*;
use crate::support::scram::Server;
use crate::support::vault::{Options, Vault};
use crate::support::wire::{Login, Wire};

/// A server that makes each login as costly as is allowed delays its own customer's logins, not those at other servers.
#[test]
fn costly_challenges_leave_a_turn_to_other_servers() {
    let costly = |iterations| {
        Liar::new(move |talk| {
            let mut scram = Server::new(PASSWORD);
            scram.iterations = iterations;
            scram.salt = unique_salt(talk.number);
            talk.challenge(&mut scram, "suffix")?;
            let (_, last) = talk.hear()?;
            let proof = scram.last(std::str::from_utf8(&last).unwrap())?;
            talk.say(&all(&[authentication(12, proof.as_bytes()), authentication(0, b""), talk.greeting()]))?;
            talk.serve()
        })
    };
    let (hostile, decent) = (costly(1_000_000), costly(20_000));
    let customers = [&hostile, &decent].map(Liar::customer);
    let logins =
        customers.clone().map(|customer| Login::new(&format!("app@{}", customer.id), PASSWORD, "app"));
    let fresh = json!({ "pool": { "fresh_backends": true } });
    let vault = Vault::start(Options::new(&customers).with(fresh));
    let over = Arc::new(AtomicBool::new(false));
    let storm: Vec<_> = (0..6)
        .map(|_| {
            let (port, login, over) = (vault.port, logins[0].clone(), Arc::clone(&over));
            std::thread::spawn(move || {
                while !over.load(Ordering::SeqCst) {
                    let _ = Wire::plain(port).login(&login);
                }
            })
        })
        .collect();
    std::thread::sleep(Duration::from_millis(500));
    let mut waits: Vec<Duration> = (0..5)
        .map(|_| {
            let begun = Instant::now();
            vault.enter(&logins[1]);
            begun.elapsed()
        })
        .collect();
    over.store(true, Ordering::SeqCst);
    storm.into_iter().for_each(|thread| thread.join().unwrap());
    waits.sort();
    assert!(waits[2] < Duration::from_millis(600), "{waits:?}");
}
