//! Limits protect everyone from anyone: each is told by name (53300), and what it holds back comes in when there is room.

use std::time::{Duration, Instant};

use serde_json::json;

use crate::support::messages::*;
use crate::support::postgres::{ANY, Postgres};
use crate::support::transcript::Frame;
use crate::support::vault::{Customer, House, MODES, Options, Vault, through};
use crate::support::wire::Wire;

fn refused(house: &House) -> Frame {
    Wire::plain(house.vault.port).login(&house.login()).expect_err("it was let in")
}

/// A place that is given up is free again.
fn enters_soon(house: &House) -> Wire {
    let begun = Instant::now();
    loop {
        let mut wire = Wire::plain(house.vault.port);
        if wire.login(&house.login()).is_ok() {
            return wire;
        }
        assert!(begun.elapsed() < Duration::from_secs(10), "the place is not free again");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Clients of the process, of an address, of a customer and of a login.
#[test]
fn one_client_too_many_is_told_which_limit_it_is() {
    let process = |name: &str| json!({ "limits": { name: 2 } });
    let cases = [
        (process("clients_max"), json!({})),
        (process("clients_per_address_max"), json!({})),
        (json!({}), json!({ "limits": { "clients_max": 2 } })),
        (json!({}), json!({ "logins": { "LOGIN": { "clients_max": 2 } } })),
    ];
    for (config, customer) in cases {
        let tenant = Postgres::shared(ANY).tenant("clients");
        let changes = customer.to_string().replace("LOGIN", &tenant.role);
        let customer = Customer::of(&tenant).with(serde_json::from_str(&changes).unwrap());
        let vault = Vault::start(Options::new(&[customer]).with(config.clone()));
        let house = House { vault, tenant };
        let (mut first, _second) = (house.enter(), house.enter());
        for _ in 0..3 {
            let error = refused(&house);
            assert_eq!(
                (error.field('S').as_str(), error.field('C').as_str()),
                ("FATAL", "53300"),
                "{}",
                error.line()
            );
            assert!(error.line().contains("clients"), "{config}: {}", error.line());
        }
        assert_eq!(first.value("SELECT 'here'"), "here");
        first.send(&terminate());
        first.rest();
        assert_eq!(enters_soon(&house).value("SELECT 'in'"), "in");
    }
}

/// Backends: who comes first waits first, nobody waits longer than the limit says, and it has a name. Logins wait like
/// that with session pooling; with transaction pooling statements do (`pooling_transaction::waits`).
#[test]
fn waiting_for_a_backend_is_fair_and_ends() {
    let house = House::with("wait", |options| {
        let pool = json!({ "mode": "session", "wait_timeout_ms": 1000 });
        options.with(json!({ "limits": { "backends_max": 1 }, "pool": pool }))
    });
    let mut holder = house.enter();
    let begun = Instant::now();
    let error = refused(&house);
    let waited = begun.elapsed();
    assert_eq!(error.field('C'), "53300", "{}", error.line());
    assert!(error.line().contains("backends_max"), "{}", error.line());
    assert!((Duration::from_millis(900)..Duration::from_secs(5)).contains(&waited), "{waited:?}");
    let login = house.login();
    let port = house.vault.port;
    let waiters: Vec<_> = (0..3)
        .map(|_| {
            std::thread::sleep(Duration::from_millis(60));
            let login = login.clone();
            std::thread::spawn(move || {
                let mut wire = Wire::plain(port);
                wire.login(&login).unwrap();
                let at = Instant::now();
                wire.send(&terminate());
                wire.rest();
                at
            })
        })
        .collect();
    std::thread::sleep(Duration::from_millis(100));
    holder.send(&terminate());
    holder.rest();
    let times: Vec<_> = waiters.into_iter().map(|waiter| waiter.join().unwrap()).collect();
    assert!(times.is_sorted(), "a newcomer overtook a waiter");
}

/// A customer that uses all it may have leaves the others what is theirs.
#[test]
fn a_greedy_customer_starves_only_itself() {
    for mode in MODES {
        takes_all_it_may_have(mode);
    }
}

fn takes_all_it_may_have(mode: &str) {
    let (greedy, modest) = (Postgres::shared(ANY).tenant("greedy"), Postgres::shared(ANY).tenant("modest"));
    let limited = Customer::of(&greedy).with(json!({ "limits": { "backends_max": 2 } }));
    let config = json!({ "pool": { "mode": mode, "wait_timeout_ms": 300 }, "limits": { "backends_max": 4 } });
    let vault = Vault::start(Options::new(&[limited, Customer::of(&modest)]).with(config));
    let mut held = [vault.enter(&through(&greedy)), vault.enter(&through(&greedy))];
    held.iter_mut().for_each(|wire| drop(wire.rows("BEGIN")));
    let mut wire = Wire::plain(vault.port);
    let told = match wire.login(&through(&greedy)) {
        Ok(()) => wire.sqlstate("SELECT 'refused'"),
        Err(error) => error.field('C'),
    };
    assert_eq!(told, "53300", "{mode}");
    assert_eq!(vault.enter(&through(&modest)).value("SELECT 'served'"), "served");
}

/// Idle backends are closed after their time, so that limits hold what is used and no more.
#[test]
fn idle_backends_are_closed_after_their_time() {
    let house =
        House::with("idletime", |options| options.with(json!({ "pool": { "idle_timeout_ms": 300 } })));
    let mut wire = house.enter();
    wire.send(&terminate());
    wire.rest();
    let held = format!("SELECT count(*) FROM pg_stat_activity WHERE usename = '{}'", house.tenant.role);
    let begun = Instant::now();
    while house.tenant.sql(&held)[0][0].as_deref() != Some("0") {
        assert!(begun.elapsed() < Duration::from_secs(40), "the backend is kept");
        std::thread::sleep(Duration::from_millis(100));
    }
}
