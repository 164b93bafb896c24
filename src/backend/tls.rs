//! TLS towards database servers, as libpq's `sslmode` words it.
//!
//! What always holds: a server's handshake signature is checked in every mode, so even `require` speaks to whoever
//! owns the certificate it showed; nothing read before the handshake survives it. Host names are checked against
//! the certificate's subject alternative names only, never its common name.
//! This room knows no customer and no SQL.
//!
//! Source: libpq-ssl#LIBPQ-SSL-PROTECTION

use std::collections::HashMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::SystemTime;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{Resumption, verify_server_cert_signed_by_trust_anchor, verify_server_name};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{CertificateError, ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme};
use tokio::net::TcpStream;
use tokio_rustls::{TlsConnector, TlsStream};

use super::limits::lock;
use crate::auth::scram::{Binding, tls_server_end_point};
use crate::customers::{Server, SslMode};
use crate::stream::Stream;

/// How to speak TLS to one server.
#[derive(Clone, Debug)]
pub struct ClientTls {
    config: Arc<ClientConfig>,
    name: ServerName<'static>,
}

/// Why TLS cannot even be tried.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TlsSettingsError {
    /// The host is neither a DNS name nor an address.
    HostName,
    /// `verify-ca` and `verify-full` need `ssl_root_cert`.
    NoRootCertificate,
    /// The authorities' file has no usable certificate.
    RootCertificate(PathBuf),
    /// The cryptography refuses the protocol versions.
    Versions,
}

impl fmt::Display for TlsSettingsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::HostName => f.write_str("host is neither a DNS name nor an address"),
            Self::NoRootCertificate => f.write_str("ssl_root_cert is needed for verify-ca and verify-full"),
            Self::RootCertificate(path) => write!(f, "no usable certificate in {}", path.display()),
            Self::Versions => f.write_str("no usable TLS version"),
        }
    }
}

impl std::error::Error for TlsSettingsError {}

/// TLS configurations, one for each mode and authorities' file, read again when the file changes.
#[derive(Debug, Default)]
pub struct Configurations {
    made: Mutex<HashMap<(SslMode, Option<PathBuf>), Made>>,
}

#[derive(Debug)]
struct Made {
    modified: Option<SystemTime>,
    config: Arc<ClientConfig>,
}

impl Configurations {
    /// How to speak TLS to `server`; `None` when its mode is `disable`.
    ///
    /// # Errors
    /// [`TlsSettingsError`]: the customer's configuration must change.
    pub fn of(&self, server: &Server) -> Result<Option<ClientTls>, TlsSettingsError> {
        let file = match server.ssl_mode {
            SslMode::Disable => return Ok(None),
            SslMode::Require => None,
            SslMode::VerifyCa | SslMode::VerifyFull => {
                Some(server.ssl_root_cert.clone().ok_or(TlsSettingsError::NoRootCertificate)?)
            }
        };
        let name = ServerName::try_from(server.host.clone()).map_err(|_| TlsSettingsError::HostName)?;
        let modified = file.as_deref().and_then(modified);
        let key = (server.ssl_mode, file);
        if let Some(made) = lock(&self.made).get(&key).filter(|made| made.modified == modified) {
            return Ok(Some(ClientTls { config: Arc::clone(&made.config), name }));
        }
        let config = Arc::new(configuration(key.0, key.1.as_deref())?);
        lock(&self.made).insert(key, Made { modified, config: Arc::clone(&config) });
        Ok(Some(ClientTls { config, name }))
    }
}

fn modified(path: &Path) -> Option<SystemTime> {
    std::fs::metadata(path).and_then(|data| data.modified()).ok()
}

/// What a mode means to rustls; `file` holds the authorities for `verify-ca` and `verify-full`.
///
/// # Errors
/// [`TlsSettingsError`]: the configuration must change.
pub(crate) fn configuration(mode: SslMode, file: Option<&Path>) -> Result<ClientConfig, TlsSettingsError> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let trust = match (mode, file) {
        (SslMode::Disable | SslMode::Require, _) | (_, None) => Trust::Any,
        (SslMode::VerifyCa | SslMode::VerifyFull, Some(path)) => {
            let (roots, known) = authorities(path)?;
            Trust::Known { roots, known, name_too: mode == SslMode::VerifyFull }
        }
    };
    let verifier = Verifier { trust, provider: Arc::clone(&provider) };
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])
        .map_err(|_| TlsSettingsError::Versions)?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier))
        .with_no_client_auth();
    // PostgreSQL does not resume sessions, and no other protocol may answer.
    config.resumption = Resumption::disabled();
    config.alpn_protocols = vec![b"postgresql".to_vec()];
    Ok(config)
}

type Authorities = (RootCertStore, Vec<CertificateDer<'static>>);

fn authorities(path: &Path) -> Result<Authorities, TlsSettingsError> {
    let unusable = || TlsSettingsError::RootCertificate(path.to_owned());
    let (mut roots, mut known) = (RootCertStore::empty(), Vec::new());
    for certificate in CertificateDer::pem_file_iter(path).map_err(|_| unusable())? {
        let certificate = certificate.map_err(|_| unusable())?;
        roots.add(certificate.clone()).map_err(|_| unusable())?;
        known.push(certificate);
    }
    if known.is_empty() { Err(unusable()) } else { Ok((roots, known)) }
}

/// Shakes hands on a socket on which the server has just agreed; gives the stream and what SCRAM can bind to.
///
/// # Errors
/// The handshake's, with rustls's words.
pub(super) async fn handshake(tls: &ClientTls, tcp: TcpStream) -> std::io::Result<(Stream, Binding)> {
    let stream = TlsConnector::from(Arc::clone(&tls.config)).connect(tls.name.clone(), tcp).await?;
    let certificate = stream.get_ref().1.peer_certificates().and_then(<[_]>::first);
    let binding = certificate
        .and_then(|certificate| tls_server_end_point(certificate))
        .map_or(Binding::None, Binding::TlsServerEndPoint);
    Ok((Stream::Tls(Box::new(TlsStream::Client(stream))), binding))
}

/// Whom to believe.
#[derive(Debug)]
enum Trust {
    /// `require`: whoever owns the certificate shown.
    Any,
    /// `verify-ca` and, with `name_too`, `verify-full`.
    Known { roots: RootCertStore, known: Vec<CertificateDer<'static>>, name_too: bool },
}

#[derive(Debug)]
struct Verifier {
    trust: Trust,
    provider: Arc<CryptoProvider>,
}

impl Verifier {
    fn chain(
        &self,
        shown: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        now: UnixTime,
    ) -> Result<(), Error> {
        let Trust::Known { roots, known, name_too } = &self.trust else { return Ok(()) };
        let certificate = ParsedCertificate::try_from(shown)?;
        // A self-signed certificate that is itself in the file is an authority and yet the server's own.
        if known.iter().any(|one| one == shown) {
            check_validity(shown, now)?;
        } else {
            let algorithms = self.provider.signature_verification_algorithms.all;
            verify_server_cert_signed_by_trust_anchor(&certificate, roots, intermediates, now, algorithms)?;
        }
        if *name_too { verify_server_name(&certificate, server_name) } else { Ok(()) }
    }
}

fn check_validity(shown: &CertificateDer<'_>, now: UnixTime) -> Result<(), Error> {
    use x509_parser::prelude::FromDer as _;
    let bad = || Error::InvalidCertificate(CertificateError::BadEncoding);
    let (_, certificate) = x509_parser::certificate::X509Certificate::from_der(shown).map_err(|_| bad())?;
    let seconds = i64::try_from(now.as_secs()).map_err(|_| bad())?;
    let validity = certificate.validity();
    if seconds < validity.not_before.timestamp() {
        return Err(Error::InvalidCertificate(CertificateError::NotValidYet));
    }
    if seconds > validity.not_after.timestamp() {
        return Err(Error::InvalidCertificate(CertificateError::Expired));
    }
    Ok(())
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        self.chain(end_entity, intermediates, server_name, now).map(|()| ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, cert, dss, &self.provider.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, cert, dss, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}
