//! Which certificate is shown, with what, and what happens when files change.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::sync::Arc;

use aws_lc_rs::digest;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::*;

#[tokio::test]
async fn the_certificate_follows_the_host_name() {
    let folder = Folder::new();
    let first = folder.made("first", &["first.test", "localhost"]);
    let exact = folder.made("exact", &["one-spa.vault.test"]);
    let wild = folder.made("wild", &["*.vault.test"]);
    let greeter = greeter(&[first.certificate.clone(), exact.certificate.clone(), wild.certificate.clone()]);
    for (name, want) in [
        ("first.test", Some(&first)),
        ("one-spa.vault.test", Some(&exact)),
        ("ONE-SPA.Vault.test", Some(&exact)),
        ("one-barn.vault.test", Some(&wild)),
        ("a.b.vault.test", None),
        ("elsewhere.test", None),
    ] {
        let config = client_config(&[&first.authority, &exact.authority, &wild.authority], &[]);
        let (greeted, tls) = meet(&greeter, 5000, |tcp| enter(tcp, config, name)).await;
        let Some(want) = want else {
            assert!(
                greeted.is_err() && tls.is_err(),
                "{name}: the first certificate does not have this name"
            );
            continue;
        };
        let (greeted, tls) = (greeted.unwrap(), tls.unwrap());
        let leaf = CertificateDer::from_pem_file(&want.certificate.chain).unwrap();
        assert_eq!(shown(&tls), leaf.to_vec(), "{name}");
        assert_eq!(greeted.sni, Some(name.to_ascii_lowercase()));
        assert_eq!(greeted.end_point.as_deref(), Some(digest::digest(&digest::SHA256, &leaf).as_ref()));
    }
}

#[tokio::test]
async fn a_reload_swaps_the_certificate_and_a_bad_one_keeps_the_old() {
    let folder = Folder::new();
    let made = folder.made("a", &["localhost"]);
    let greeter = greeter(std::slice::from_ref(&made.certificate));
    let seen = async |greeter: &Greeter| {
        let config = client_config(&[&made.authority], &[]);
        let (greeted, tls) = meet(greeter, 5000, |tcp| enter(tcp, config, "localhost")).await;
        (shown(&tls.unwrap()), greeted.unwrap().end_point)
    };
    let before = seen(&greeter).await;
    let unchanged = greeter.certificates().choose(None).unwrap();
    greeter.certificates().reload().unwrap();
    assert!(Arc::ptr_eq(&unchanged, &greeter.certificates().choose(None).unwrap()), "tickets are kept");

    folder.made("a", &["localhost", "more.test"]);
    assert_eq!(seen(&greeter).await, before, "nothing changes before the reload");
    greeter.certificates().reload().unwrap();
    let after = seen(&greeter).await;
    assert_ne!(after, before);

    let good = fs::read(&made.certificate.chain).unwrap();
    for bad in [&b""[..], b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"] {
        fs::write(&made.certificate.chain, bad).unwrap();
        let error = greeter.certificates().reload().unwrap_err();
        assert!(error.contains("server.pem"), "{error}");
        assert_eq!(seen(&greeter).await, after);
    }
    let other = folder.made("other", &["localhost"]);
    fs::write(&made.certificate.chain, good).unwrap();
    fs::copy(&other.certificate.key, &made.certificate.key).unwrap();
    let error = greeter.certificates().reload().unwrap_err();
    assert!(error.contains("server.key"), "a key of another certificate: {error}");
    assert_eq!(seen(&greeter).await, after);
}

#[test]
fn a_private_key_that_others_may_read_is_refused() {
    let folder = Folder::new();
    let made = folder.made("a", &["localhost"]);
    let load = || Certificates::load(std::slice::from_ref(&made.certificate), TlsVersion::V1_3).map(|_| ());
    assert_eq!(load(), Ok(()));
    for mode in [0o644, 0o640, 0o604, 0o620] {
        fs::set_permissions(&made.certificate.key, fs::Permissions::from_mode(mode)).unwrap();
        assert!(load().unwrap_err().contains("group or world access"), "{mode:o}");
    }
    fs::set_permissions(&made.certificate.key, fs::Permissions::from_mode(0o400)).unwrap();
    assert_eq!(load(), Ok(()));

    let real = made.certificate.key.with_extension("real");
    fs::rename(&made.certificate.key, &real).unwrap();
    std::os::unix::fs::symlink(&real, &made.certificate.key).unwrap();
    assert!(load().unwrap_err().contains("could not open"), "a link may be turned elsewhere");
}

#[tokio::test]
async fn a_client_may_come_back_with_a_ticket_until_the_certificate_changes() {
    let folder = Folder::new();
    let made = folder.made("a", &["localhost"]);
    let greeter = greeter(std::slice::from_ref(&made.certificate));
    let config = client_config(&[&made.authority], &[]);
    let visit = async || {
        let config = config.clone();
        let (greeted, tls) = meet(&greeter, 5000, |tcp| enter(tcp, config, "localhost")).await;
        // The ticket comes behind the handshake; reading anything takes it in.
        let (mut greeted, mut tls) = (greeted.unwrap(), tls.unwrap());
        greeted.stream.write_all(b"x").await.unwrap();
        tls.read_u8().await.unwrap();
        tls.get_ref().1.handshake_kind()
    };
    assert_eq!(visit().await, Some(rustls::HandshakeKind::Full));
    assert_eq!(visit().await, Some(rustls::HandshakeKind::Resumed));
    folder.made("a", &["localhost", "more.test"]);
    greeter.certificates().reload().unwrap();
    assert_eq!(visit().await, Some(rustls::HandshakeKind::Full));
}

#[tokio::test]
async fn an_old_tls_version_is_refused_when_configured() {
    let folder = Folder::new();
    let made = folder.made("a", &["localhost"]);
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(&made.authority).unwrap()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS12])
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    for (min_version, good) in [(TlsVersion::V1_2, true), (TlsVersion::V1_3, false)] {
        let certificates = Certificates::load(std::slice::from_ref(&made.certificate), min_version).unwrap();
        let greeter = Greeter::new(Arc::new(certificates), false);
        let config = config.clone();
        let (greeted, tls) = meet(&greeter, 5000, |tcp| enter(tcp, config, "localhost")).await;
        assert_eq!((greeted.is_ok(), tls.is_ok()), (good, good));
        if let Ok(greeted) = greeted {
            assert_eq!(greeted.tls_version, Some("TLSv1.2"));
        }
    }
}

#[tokio::test]
async fn records_towards_clients_are_small() {
    let folder = Folder::new();
    let made = folder.made("a", &["localhost"]);
    let greeter = greeter(std::slice::from_ref(&made.certificate));
    let config = client_config(&[&made.authority], &[]);
    let (greeted, tls) = meet(&greeter, 5000, |tcp| enter(tcp, config, "localhost")).await;
    let mut greeted = greeted.unwrap();
    let (mut tcp, _) = tls.unwrap().into_inner();
    greeted.stream.write_all(&[7; 20_000]).await.unwrap();
    drop(greeted);
    let mut raw = Vec::new();
    tcp.read_to_end(&mut raw).await.unwrap();
    let (mut rest, mut records) = (&raw[..], 0);
    while rest.len() > 5 {
        let bytes = usize::from(u16::from_be_bytes([rest[3], rest[4]]));
        assert!(bytes <= 8192 + 17, "{bytes}");
        records += 1;
        rest = &rest[5 + bytes..];
    }
    assert!(records >= 3, "{records}");
}
