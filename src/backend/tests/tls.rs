//! Servers with certificates that are not quite right.

use std::path::PathBuf;

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::crypto::aws_lc_rs::{default_provider, sign::any_supported_type};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::ResolvesServerCert;
use rustls::sign::CertifiedKey;

use super::liar::Liar;
use super::*;

/// A certificate, whatever key belongs to it, and the file with its authority.
struct Identity {
    certificate: CertificateDer<'static>,
    key: KeyPair,
    authority: Authority,
}

/// A PEM file that is removed with its owner.
struct Authority(PathBuf);

impl Authority {
    fn new(pem: &str) -> Self {
        use std::sync::atomic::{AtomicU32, Ordering};
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let path =
            std::env::temp_dir().join(format!("onevault-authority-{}-{number}.pem", std::process::id()));
        std::fs::write(&path, pem).unwrap();
        Self(path)
    }
}

impl Drop for Authority {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

#[derive(Debug)]
struct Always(Arc<CertifiedKey>);

impl ResolvesServerCert for Always {
    fn resolve(&self, _: rustls::server::ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.0))
    }
}

fn parameters(name: &str, until: i32) -> CertificateParams {
    let mut parameters = CertificateParams::new([name.to_owned()]).unwrap();
    parameters.not_before = rcgen::date_time_ymd(2020, 1, 1);
    parameters.not_after = rcgen::date_time_ymd(until, 1, 1);
    parameters
}

fn authority(name: &str, until: i32) -> CertificateParams {
    let mut parameters = parameters(name, until);
    parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    parameters
}

/// A certificate signed by an authority.
fn signed(name: &str, until: i32) -> Identity {
    let (ca_key, key) = (KeyPair::generate().unwrap(), KeyPair::generate().unwrap());
    let ca = authority("authority", 2100).self_signed(&ca_key).unwrap();
    let certificate =
        parameters(name, until).signed_by(&key, &Issuer::new(authority("authority", 2100), ca_key)).unwrap();
    Identity { certificate: certificate.der().clone(), key, authority: Authority::new(&ca.pem()) }
}

/// A certificate that is its own authority, as `openssl req -x509` makes it.
fn own_authority(name: &str, until: i32) -> Identity {
    let key = KeyPair::generate().unwrap();
    let ca = authority(name, until).self_signed(&key).unwrap();
    Identity { certificate: ca.der().clone(), authority: Authority::new(&ca.pem()), key }
}

/// Whether a server that shows this certificate is spoken to after the handshake.
async fn is_trusted(identity: &Identity, mode: SslMode) -> bool {
    let key = PrivateKeyDer::try_from(identity.key.serialize_der()).unwrap();
    let key = any_supported_type(&key).unwrap();
    // Nothing checks here that certificate and key belong together.
    let shown = Arc::new(CertifiedKey::new(vec![identity.certificate.clone()], key));
    let config = rustls::ServerConfig::builder_with_provider(Arc::new(default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(Always(shown)));
    let config = Arc::new(config);
    let liar = Liar::new(move |talk| talk.shake_hands(Arc::clone(&config)));
    let ssl_root_cert = Some(identity.authority.0.clone());
    let server = Server { host: "localhost".into(), ssl_root_cert, ..server(liar.port, mode) };
    match Dialler::default()
        .connect(
            &destination(server, "app"),
            &Settings::default(),
            (Duration::from_secs(5), &Default::default()),
        )
        .await
    {
        Err(ConnectError::Tls(_)) => false,
        // The handshake is over, and the server hangs up.
        Err(ConnectError::Network(_)) => true,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_certificate_must_fit_what_is_demanded() {
    use SslMode::{Require, VerifyCa, VerifyFull};
    for (what, identity, trusted) in [
        ("right in all", signed("localhost", 2100), [true, true, true]),
        ("another name", signed("other.example", 2100), [true, true, false]),
        ("expired", signed("localhost", 2021), [true, false, false]),
        ("its own authority", own_authority("localhost", 2100), [true, true, true]),
        ("its own authority, another name", own_authority("other.example", 2100), [true, true, false]),
        ("its own authority, expired", own_authority("localhost", 2021), [true, false, false]),
        (
            "another authority",
            Identity { authority: signed("localhost", 2100).authority, ..signed("localhost", 2100) },
            [true, false, false],
        ),
        (
            "somebody else's certificate",
            Identity { key: KeyPair::generate().unwrap(), ..signed("localhost", 2100) },
            [false, false, false],
        ),
    ] {
        for (mode, expected) in [Require, VerifyCa, VerifyFull].into_iter().zip(trusted) {
            assert_eq!(is_trusted(&identity, mode).await, expected, "{what}, {mode:?}");
        }
    }
}

#[tokio::test]
async fn a_changed_authority_is_read_again() {
    let (first, second) = (signed("localhost", 2100), signed("localhost", 2100));
    let server = Server { ssl_root_cert: Some(first.authority.0.clone()), ..server(1, SslMode::VerifyFull) };
    let configurations = crate::backend::tls::Configurations::default();
    let before = format!("{:?}", configurations.of(&server).unwrap());
    assert_eq!(format!("{:?}", configurations.of(&server).unwrap()), before);
    tokio::time::sleep(Duration::from_millis(20)).await;
    std::fs::copy(&second.authority.0, &first.authority.0).unwrap();
    assert_ne!(format!("{:?}", configurations.of(&server).unwrap()), before);
    std::fs::write(&first.authority.0, "nonsense").unwrap();
    assert!(configurations.of(&server).is_err());
}
