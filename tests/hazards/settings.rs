//! Startup settings and versions: the server has the last word, and a bad one harms its sender only.
//!
//! Source: protocol-flow#PROTOCOL-FLOW-START-UP

use serde_json::json;

use crate::support::messages::*;
use crate::support::postgres::{ANY, Postgres};
use crate::support::transcript::{Frame, lines};
use crate::support::vault::{Customer, House, MODES, Options, Vault};
use crate::support::wire::{Login, PROTOCOL_3_2, Wire};

/// The greeting of a login, or its error; pids and keys left out.
fn greeted(port: u16, login: &Login) -> Vec<String> {
    let mut wire = Wire::plain(port);
    match wire.login(login) {
        Ok(()) => {
            let mut said = lines(&wire.greeting);
            said.sort();
            let settings = [
                "search_path",
                "statement_timeout",
                "DateStyle",
                "work_mem",
                "client_encoding",
                "TimeZone",
                "geqo",
            ];
            for name in settings {
                said.push(format!("{name}={}", wire.value(&format!("SHOW {name}"))));
            }
            said
        }
        Err(error) => vec![error.line()],
    }
}

fn same_greeting(house: &House, change: impl Fn(Login) -> Login) -> Vec<String> {
    let direct = greeted(house.tenant.postgres.port, &change(house.tenant.login()));
    let through = greeted(house.vault.port, &change(house.login()));
    assert_eq!(through, direct, "through OneVault (left) and directly (right)");
    direct
}

#[test]
fn every_startup_setting_reaches_the_server() {
    let house = House::new("settings");
    same_greeting(&house, |login| login);
    for (name, value) in [
        ("options", "-c search_path=pg_catalog -c statement_timeout=7s"),
        ("options", "--search_path=pg_catalog --work-mem=1MB"),
        ("options", "-c application_name=a\\ b -c geqo=off"),
        ("options", ""),
        ("DateStyle", "German"),
        ("datestyle", "SQL, DMY"),
        ("client_encoding", "LATIN1"),
        ("TimeZone", "Asia/Tokyo"),
        ("application_name", "a name with 'quotes' and \u{fc}"),
        ("work_mem", "1234kB"),
        ("replication", "off"),
    ] {
        let said = same_greeting(&house, |login| login.with(name, value));
        assert!(said.len() > 10, "{name}={value}: {said:?}");
    }
    // The last one of two counts, as directly.
    same_greeting(&house, |login| login.with("DateStyle", "German").with("DateStyle", "SQL"));
}

#[test]
fn a_bad_startup_setting_is_refused_in_the_servers_words_and_harms_its_sender_only() {
    let house = House::new("bad_settings");
    let mut other = house.enter();
    for (name, value) in [
        ("nonsense", "1"),
        ("statement_timeout", "abc"),
        ("client_encoding", "KLINGON"),
        ("TimeZone", "Nowhere/Land"),
        ("options", "-c nonsense=1"),
        ("options", "--bad"),
        ("options", "-c work_mem=-1"),
        ("options", "-X what"),
        ("role", "postgres"),
        ("session_replication_role", "replica"),
        ("shared_buffers", "1MB"),
    ] {
        let said = same_greeting(&house, |login| login.with(name, value));
        assert!(said[0].starts_with("B ErrorResponse S=FATAL"), "{name}={value}: {said:?}");
        assert_eq!(other.value("SELECT 'unharmed'"), "unharmed");
        assert_eq!(house.enter().value("SELECT 'new'"), "new", "after {name}={value}");
    }
}

#[test]
fn a_replication_connection_is_refused_and_harms_nobody() {
    let house = House::new("replication");
    for value in ["true", "database", "on", "1", "yes"] {
        let error =
            Wire::plain(house.vault.port).login(&house.login().with("replication", value)).unwrap_err();
        assert_eq!(error.field('C'), "0A000", "{}", error.line());
        assert_eq!(house.enter().value("SELECT 'new'"), "new");
    }
}

/// What comes before `ReadyForQuery` of a login that asks for more than is spoken.
fn negotiated(port: u16, login: &Login) -> Vec<Frame> {
    let mut wire = Wire::plain(port);
    wire.send(&login.startup());
    let first = wire.frame().unwrap();
    assert_eq!(first.tag, b'v', "{}", first.line());
    let second = wire.frame().unwrap();
    assert_eq!(second.line(), "B Authentication 10");
    wire.vanish();
    vec![first]
}

#[test]
fn a_version_is_negotiated_exactly_once() {
    let tenant = Postgres::shared(ANY).tenant("negotiated");
    // With session pooling it is the login that waits for a backend.
    let customer = Customer::of(&tenant).pooled("session").with(json!({ "limits": { "backends_max": 1 } }));
    let house = House { vault: Vault::start(Options::new(&[customer])), tenant };
    let mut login = house.login().with("_pq_.one", "1").with("_pq_.two", "2");
    login.version = (3 << 16) | 9999;
    let told = negotiated(house.vault.port, &login);
    let expected =
        [&PROTOCOL_3_2.to_be_bytes()[..], &[0, 0, 0, 2], &cstr("_pq_.one"), &cstr("_pq_.two")].concat();
    assert_eq!(told[0].body, expected);
    // A login that waits for its backend is told no second time.
    let holder = house.enter();
    let (port, waiting) = (house.vault.port, login);
    let waits = std::thread::spawn(move || {
        let mut wire = Wire::plain(port);
        wire.login(&waiting).unwrap();
        let again = wire.greeting.iter().filter(|frame| frame.tag == b'v').count();
        (again, wire.value("SELECT 'served'"))
    });
    std::thread::sleep(std::time::Duration::from_millis(300));
    drop(holder);
    assert_eq!(waits.join().unwrap(), (0, "served".to_owned()));
    // What is spoken is not negotiated.
    for version in [196_608, PROTOCOL_3_2] {
        let mut login = house.login();
        login.version = version;
        let mut wire = Wire::plain(house.vault.port);
        wire.send(&login.startup());
        assert_eq!(wire.frame().unwrap().line(), "B Authentication 10");
    }
}

/// A login that waits for a backend, as with session pooling, is told which limit it is when that takes longer than is
/// allowed; the one who holds it works on.
#[test]
fn a_wait_for_a_backend_ends_and_is_told() {
    let tenant = Postgres::shared(ANY).tenant("waiting");
    let customer = Customer::of(&tenant).pooled("session").with(json!({ "limits": { "backends_max": 1 } }));
    let options = Options::new(&[customer]).with(json!({ "pool": { "wait_timeout_ms": 300 } }));
    let house = House { vault: Vault::start(options), tenant };
    let mut holder = house.enter();
    let error = Wire::plain(house.vault.port).login(&house.login()).unwrap_err();
    assert_eq!(error.field('C'), "53300", "{}", error.line());
    assert!(error.line().contains("backends_max"), "{}", error.line());
    assert_eq!(holder.value("SELECT 'unharmed'"), "unharmed");
    drop(holder);
    assert_eq!(house.enter().value("SELECT 'next'"), "next");
}

/// However a login or a session ends, its place among the backends is free again.
#[test]
fn no_place_is_lost_however_a_login_fails() {
    for mode in MODES {
        places_are_free_again(mode);
    }
}

fn places_are_free_again(mode: &str) {
    let tenant = Postgres::shared(ANY).tenant("places");
    let limits = json!({ "limits": { "backends_max": 1, "clients_max": 3 } });
    let customer = Customer::of(&tenant).pooled(mode).with(limits);
    let options = Options::new(&[customer]).with(json!({ "pool": { "wait_timeout_ms": 3000 } }));
    let house = House { vault: Vault::start(options), tenant };
    let port = house.vault.port;
    for round in 0..4 {
        // Refused by the server; wrong password; left at the challenge; left while waiting; left at once.
        assert!(Wire::plain(port).login(&house.login().with("nonsense", "1")).is_err());
        let mut wrong = house.login();
        wrong.password.push('x');
        assert!(Wire::plain(port).login(&wrong).is_err());
        let mut early = Wire::plain(port);
        early.send(&house.login().startup());
        early.frame();
        early.vanish();
        let mut holder = house.enter();
        // With transaction pooling that is what holds it.
        holder.rows("BEGIN");
        let login = house.login();
        let waits = std::thread::spawn(move || {
            let wire = Wire::plain(port);
            let tcp = wire.tcp().try_clone().unwrap();
            let waiting = std::thread::spawn(move || {
                let mut wire = wire;
                wire.login(&login).is_ok_and(|()| wire.talk(&query("SELECT 'too late'")).is_empty())
            });
            std::thread::sleep(std::time::Duration::from_millis(200));
            tcp.shutdown(std::net::Shutdown::Both).unwrap();
            waiting.join()
        });
        let _ = waits.join();
        assert_eq!(holder.value("SELECT 'holds'"), "holds", "round {round}");
        drop(holder);
        assert_eq!(house.enter().value("SELECT 'next'"), "next", "round {round}");
    }
}
