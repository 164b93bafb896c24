//! Before and during the TLS handshake: nothing said in clear text survives it, nobody can stall or confuse it.
//!
//! Source: protocol-flow#PROTOCOL-FLOW-SSL

use std::time::{Duration, Instant};

use serde_json::json;

use crate::support::messages::*;
use crate::support::vault::House;
use crate::support::wire::{Binding, Wire};

/// TLS by request and direct TLS with ALPN, verified by the authority, bound to the certificate.
#[test]
fn clients_come_in_over_tls() {
    let house = House::new("tls");
    let mut wire = house.vault.enter_tls(&house.login());
    assert_eq!(wire.value("SELECT 1"), "1");
    let mut direct =
        Wire::direct_tls(house.vault.port, "localhost", &house.vault.ca(), &["postgresql"]).unwrap();
    direct.login(&house.login()).unwrap();
    assert_eq!(direct.value("SELECT 1"), "1");
    // To the database it is another connection, with its own terms.
    assert_eq!(direct.value("SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()"), "f");
}

/// Direct TLS without the right ALPN is another protocol's client, or a confused one.
#[test]
fn direct_tls_needs_its_protocol_name() {
    let house = House::new("alpn");
    for alpn in [&[][..], &["http/1.1"][..], &["h2", "http/1.1"][..]] {
        let let_in = Wire::direct_tls(house.vault.port, "localhost", &house.vault.ca(), alpn)
            .is_ok_and(|mut wire| wire.login(&house.login()).is_ok());
        assert!(!let_in, "{alpn:?}");
    }
}

/// Bytes sent in clear text behind the request for encryption end the connection, they are never taken as encrypted.
#[test]
fn bytes_ahead_of_the_handshake_are_refused() {
    let house = House::new("stuffed");
    let stuffing: [Vec<u8>; 3] = [house.login().startup(), b"x".to_vec(), query("SELECT 1")];
    for request in [ssl_request(), gssenc_request()] {
        for stuffed in &stuffing {
            let mut wire = Wire::plain(house.vault.port);
            wire.send(&[request.clone(), stuffed.clone()].concat());
            let heard = wire.bytes(10_000);
            assert!(!heard.contains(&b'R'), "a login began: {heard:?}");
            assert!(wire.try_send(&house.login().startup()).is_err() || wire.bytes(1).is_empty());
        }
    }
}

/// One request for TLS and one for GSS encryption per connection; GSS is declined.
#[test]
fn each_kind_of_encryption_is_asked_for_once() {
    let house = House::new("once");
    let mut wire = Wire::plain(house.vault.port);
    wire.send(&gssenc_request());
    assert_eq!(wire.bytes(1), b"N");
    wire.send(&gssenc_request());
    let again = wire.bytes(1);
    assert_ne!(again, b"N", "it would go on without end");
    assert_ne!(again, b"S");
    let mut wire = Wire::plain(house.vault.port);
    wire.send(&gssenc_request());
    assert_eq!(wire.bytes(1), b"N");
    wire.send(&ssl_request());
    assert_eq!(wire.bytes(1), b"S");
}

/// Without permission for plain connections a startup in clear text is told why it may not come in.
#[test]
fn plain_connections_are_told_to_use_tls() {
    let house =
        House::with("plain", |options| options.with(json!({ "listen": { "plain_from_loopback": false } })));
    let error = Wire::plain(house.vault.port).login(&house.login()).unwrap_err();
    assert_eq!(error.field('C'), "28000", "{}", error.line());
    assert_eq!(house.vault.enter_tls(&house.login()).value("SELECT 1"), "1");
}

/// Silence is limited in every phase of a login, and accepting never waits for it.
#[test]
fn silent_clients_are_sent_away_and_hold_nobody_up() {
    let house =
        House::with("silent", |options| options.with(json!({ "limits": { "login_timeout_ms": 1500 } })));
    let hello = [vec![22, 3, 1, 0, 200], vec![1; 50]].concat();
    let beginnings: [Vec<u8>; 5] =
        [vec![], vec![0], ssl_request(), [ssl_request(), hello].concat(), house.login().startup()];
    let begun = Instant::now();
    let mut silent: Vec<Wire> = Vec::new();
    for _ in 0..10 {
        for beginning in &beginnings {
            let mut wire = Wire::plain(house.vault.port);
            wire.send(beginning);
            silent.push(wire);
        }
    }
    assert_eq!(house.enter().value("SELECT 'at once'"), "at once");
    assert!(begun.elapsed() < Duration::from_secs(5));
    for wire in &mut silent {
        wire.bytes(100_000);
    }
    assert!(begun.elapsed() < Duration::from_secs(15), "they were kept {:?}", begun.elapsed());
}

/// Channel binding: used when offered; a client that was told it is not offered, or that saw another certificate, fails.
#[test]
fn channel_binding_cannot_be_talked_away() {
    let house = House::new("binding");
    for (binding, is_in) in
        [(Binding::Prefer, true), (Binding::Never, true), (Binding::Denied, false), (Binding::Wrong, false)]
    {
        let mut wire = Wire::tls(house.vault.port, "localhost", &house.vault.ca()).unwrap();
        let mut login = house.login();
        login.binding = binding;
        assert_eq!(wire.login(&login).is_ok(), is_in, "{binding:?}");
    }
}

/// Lengths that lie, and floods before the login, cost their sender the connection and nobody memory.
#[test]
fn nonsense_before_the_login_ends_its_connection() {
    let house = House::new("nonsense");
    let lies: [Vec<u8>; 9] = [
        vec![0, 0, 0, 0, 0, 3, 0, 0],
        vec![0, 0, 0, 7, 0, 3, 0],
        vec![0, 0, 39, 17, 0, 3, 0, 0],
        vec![255, 255, 255, 255, 0, 3, 0, 0],
        vec![127, 255, 255, 255, 0, 3, 0, 0],
        startup(196_608, &[]),
        untagged(&[&196_608_u32.to_be_bytes()[..], b"user\0x"].concat()),
        untagged(&[&196_608_u32.to_be_bytes()[..], b"user\0x\0\0behind\0"].concat()),
        b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n".to_vec(),
    ];
    for lie in &lies {
        let mut wire = Wire::plain(house.vault.port);
        wire.send(lie);
        let _ = wire.try_send(&vec![b'x'; 20_000]);
        let frames = wire.bytes(100_000);
        assert!(!frames.starts_with(b"R"), "{lie:?}");
    }
    assert_eq!(house.enter().value("SELECT 'unharmed'"), "unharmed");
}
