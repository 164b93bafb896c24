//! Before the login: TLS asked for twice, too late, with something stuffed in front, or never finished.
//!
//! Source: protocol-flow#PROTOCOL-FLOW-SSL

use std::io::{Read, Write};
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::json;

use crate::support::messages::*;
use crate::support::vault::House;
use crate::support::wire::Wire;

#[test]
fn clear_text_behind_a_request_for_encryption_ends_the_connection() {
    let house = House::new("stuffed");
    let startup = house.login().startup();
    for request in [ssl_request(), gssenc_request()] {
        for stuffed in [startup.clone(), vec![0], query("SELECT 1"), ssl_request(), vec![0x16, 3, 1]] {
            let mut wire = Wire::plain(house.vault.port);
            wire.send(&all(&[request.clone(), stuffed]));
            let first = wire.bytes(1);
            assert_eq!(first, b"E", "it was taken for an answer to go on");
            assert!(wire.bytes(1 << 16).windows(5).any(|word| word == b"08P01"));
        }
    }
    // Sent after the answer, where a handshake must come: it is no handshake, and nothing of it is kept.
    let mut wire = Wire::plain(house.vault.port);
    wire.send(&ssl_request());
    assert_eq!(wire.bytes(1), b"S");
    wire.send(&startup);
    let rest = wire.bytes(1 << 16);
    assert!(!rest.windows(4).any(|word| word == b"SCRA"), "a login in clear text was begun");
    assert_eq!(house.enter().value("SELECT 'unharmed'"), "unharmed");
}

#[test]
fn encryption_is_asked_for_once() {
    let house = House::new("recursion");
    // GSS is refused once; a second time ends it, and so does TLS inside TLS.
    let mut wire = Wire::plain(house.vault.port);
    wire.send(&gssenc_request());
    assert_eq!(wire.bytes(1), b"N");
    wire.send(&gssenc_request());
    assert_eq!(wire.rest().last().unwrap().field('C'), "08P01");
    for request in [ssl_request(), gssenc_request()] {
        let mut inside = Wire::tls(house.vault.port, "localhost", &house.vault.ca()).unwrap();
        inside.send(&request);
        assert_eq!(inside.rest().last().unwrap().field('C'), "08P01");
    }
    // GSS, then TLS, then a login: what libpq does.
    let mut wire = Wire::plain(house.vault.port);
    wire.send(&gssenc_request());
    assert_eq!(wire.bytes(1), b"N");
    wire.send(&house.login().startup());
    assert_eq!(wire.frame().unwrap().line(), "B Authentication 10");
}

#[test]
fn a_silent_peer_is_sent_away_and_delays_nobody() {
    let limits = json!({ "limits": { "login_timeout_ms": 900 }, "listen": { "workers": 1 } });
    let house = House::with("silent", |options| options.with(limits));
    let port = house.vault.port;
    let begun = Instant::now();
    let mut silent = Vec::new();
    for stage in 0..6 {
        for _ in 0..10 {
            let mut wire = if stage == 4 {
                Wire::tls(port, "localhost", &house.vault.ca()).unwrap()
            } else {
                Wire::plain(port)
            };
            match stage {
                0 | 4 => {}
                1 => wire.send(&[0, 0]),
                2 => {
                    wire.send(&ssl_request());
                    assert_eq!(wire.bytes(1), b"S");
                }
                3 => {
                    wire.send(&ssl_request());
                    assert_eq!(wire.bytes(1), b"S");
                    wire.send(&[0x16, 3, 1, 2, 0, 1, 0, 1]);
                }
                _ => {
                    wire.send(&house.login().startup());
                    assert_eq!(wire.frame().unwrap().line(), "B Authentication 10");
                }
            }
            silent.push(wire);
        }
    }
    let login = Instant::now();
    assert_eq!(house.enter().value("SELECT 'not delayed'"), "not delayed");
    assert!(login.elapsed() < Duration::from_millis(800), "it took {:?}", login.elapsed());
    for wire in &mut silent {
        wire.rest();
    }
    assert!(begun.elapsed() < Duration::from_secs(6), "they were kept for {:?}", begun.elapsed());
}

#[test]
fn a_protocol_in_alpn_that_is_not_ours_is_refused() {
    let house = House::new("alpn");
    let (port, ca) = (house.vault.port, house.vault.ca());
    for alpn in [&["http/1.1"][..], &["h2", "imap"], &[]] {
        assert!(Wire::direct_tls(port, "localhost", &ca, alpn).is_err(), "{alpn:?}");
    }
    let mut wire = Wire::direct_tls(port, "localhost", &ca, &["postgresql"]).unwrap();
    wire.login(&house.login()).unwrap();
    assert_eq!(wire.value("SELECT 'direct'"), "direct");
}

/// A hello cut into single bytes, as `rustls` once could not take.
#[test]
fn a_hello_may_come_byte_by_byte() {
    struct Slow(std::net::TcpStream);
    impl Read for Slow {
        fn read(&mut self, buf: &mut [u8]) -> std::io::Result<usize> {
            self.0.read(buf)
        }
    }
    impl Write for Slow {
        fn write(&mut self, buf: &[u8]) -> std::io::Result<usize> {
            for byte in buf {
                self.0.write_all(&[*byte])?;
            }
            Ok(buf.len())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            self.0.flush()
        }
    }
    let house = House::new("bytewise");
    let mut wire = Wire::plain(house.vault.port);
    wire.send(&ssl_request());
    assert_eq!(wire.bytes(1), b"S");
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let versions =
        rustls::ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let config = versions.with_root_certificates(rustls::RootCertStore::empty()).with_no_client_auth();
    let name = rustls::pki_types::ServerName::try_from("localhost").unwrap();
    let mut connection = rustls::ClientConnection::new(Arc::new(config), name).unwrap();
    let mut slow = Slow(wire.tcp().try_clone().unwrap());
    // It gets as far as the certificate, which nobody here trusts.
    let mut ended = None;
    while connection.is_handshaking() && ended.is_none() {
        ended = connection.complete_io(&mut slow).err();
    }
    assert!(
        ended.unwrap().to_string().contains("certificate"),
        "the handshake came as far as the certificate"
    );
    assert_eq!(house.vault.enter_tls(&house.login()).value("SELECT 'unharmed'"), "unharmed");
}
