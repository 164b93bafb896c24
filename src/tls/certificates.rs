//! The certificates shown to clients: chosen by SNI, read again without a restart.
//!
//! Always holds: a set of certificates is built completely before it replaces the one in force; a set that
//! cannot be built leaves the old one as it is. Each certificate has a TLS configuration of its own, so what
//! a client was shown is known (channel binding), and a ticket never outlives its certificate.
//! Refuses a private key that others may read. Refuses to know what a name in SNI means to anyone.

use std::collections::HashMap;
use std::fs::{File, OpenOptions};
use std::io::Read;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;
use std::sync::Arc;

use arc_swap::ArcSwap;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::NoServerSessionStorage;
use rustls::version::{TLS12, TLS13};
use rustls::{ServerConfig, SupportedProtocolVersion};
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer, X509Certificate};
use zeroize::Zeroizing;

use super::end_point;
use crate::config::{self, TlsVersion};
use crate::telemetry;

/// Plaintext in one TLS record towards a client, in bytes: libpq's asynchronous reading stalls on larger ones.
const RECORD_BYTES_MAX: usize = 8 << 10;
/// What rustls adds to that in its own counting.
const RECORD_HEADER_BYTES: usize = 5;
/// A certificate with less time left than this is mentioned when it is read.
const EXPIRY_WARNING_SECONDS: i64 = 14 * 86_400;
/// The largest PEM file read, in bytes.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// The certificates in force.
#[derive(Debug)]
pub struct Certificates {
    files: Vec<config::Certificate>,
    min_version: TlsVersion,
    current: ArcSwap<Set>,
}

/// One certificate, ready to be shown.
#[derive(Debug)]
pub struct Chosen {
    /// For a handshake with this certificate.
    pub config: Arc<ServerConfig>,
    /// `tls-server-end-point` of this certificate; none: no channel binding.
    pub end_point: Option<Vec<u8>>,
    /// When it expires, in seconds since 1970.
    pub not_after: i64,
    names: Vec<String>,
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
}

#[derive(Debug, Default)]
struct Set {
    all: Vec<Arc<Chosen>>,
    /// Lower case; `*.example.org` is kept as `.example.org`.
    by_name: HashMap<String, Arc<Chosen>>,
}

impl Certificates {
    /// Reads the certificates. None at all is a valid answer: then clients cannot have TLS.
    ///
    /// # Errors
    /// A sentence that names the file.
    pub fn load(files: &[config::Certificate], min_version: TlsVersion) -> Result<Self, String> {
        let set = Set::read(files, min_version, &Set::default())?;
        Ok(Self { files: files.to_vec(), min_version, current: ArcSwap::from_pointee(set) })
    }

    /// Reads the files again and swaps the set; certificates that did not change keep their tickets.
    ///
    /// # Errors
    /// A sentence that names the file; the set in force stays.
    pub fn reload(&self) -> Result<(), String> {
        let set = Set::read(&self.files, self.min_version, &self.current.load())?;
        self.current.store(Arc::new(set));
        Ok(())
    }

    /// The files to watch.
    #[must_use]
    pub fn files(&self) -> &[config::Certificate] {
        &self.files
    }

    /// Whether clients can have TLS.
    #[must_use]
    pub fn any(&self) -> bool {
        !self.current.load().all.is_empty()
    }

    /// The earliest end of a certificate in force, in seconds since 1970.
    #[must_use]
    pub fn first_expiry(&self) -> Option<i64> {
        self.current.load().all.iter().map(|chosen| chosen.not_after).min()
    }

    /// The certificate for a host name: its own, else one with a wildcard for it, else the first.
    #[must_use]
    pub fn choose(&self, server_name: Option<&str>) -> Option<Arc<Chosen>> {
        let set = self.current.load();
        let named = server_name.and_then(|name| {
            let name = name.to_ascii_lowercase();
            let parent = name.find('.').and_then(|dot| name.get(dot..));
            set.by_name.get(&name).or_else(|| set.by_name.get(parent?))
        });
        named.or_else(|| set.all.first()).cloned()
    }
}

impl Set {
    fn read(files: &[config::Certificate], min_version: TlsVersion, old: &Self) -> Result<Self, String> {
        let mut set = Self::default();
        for file in files {
            let chain = read_chain(&file.chain)?;
            let key = read_key(&file.key)?;
            let unchanged = old.all.iter().find(|known| known.chain == chain && known.key == key);
            let chosen = match unchanged {
                Some(known) => Arc::clone(known),
                None => Arc::new(Chosen::build(chain, key, min_version).map_err(|error| {
                    format!("{} with {}: {error}", file.chain.display(), file.key.display())
                })?),
            };
            for name in &chosen.names {
                set.by_name.entry(name.clone()).or_insert_with(|| Arc::clone(&chosen));
            }
            set.all.push(chosen);
        }
        Ok(set)
    }
}

impl Chosen {
    fn build(
        chain: Vec<CertificateDer<'static>>,
        key: PrivateKeyDer<'static>,
        min_version: TlsVersion,
    ) -> Result<Self, String> {
        let leaf = chain.first().ok_or("no certificate in the file")?;
        let (_, parsed) = X509Certificate::from_der(leaf).map_err(|error| error.to_string())?;
        let (names, not_after) = (names(&parsed), parsed.validity().not_after.timestamp());
        let left = not_after.saturating_sub(telemetry::unix_seconds());
        if left < 0 {
            return Err("the certificate has expired".into());
        }
        if left < EXPIRY_WARNING_SECONDS {
            tracing::warn!(?names, days_left = left / 86_400, "a certificate expires soon");
        }
        let end_point = end_point::hash(leaf);
        let config =
            server_config(chain.clone(), key.clone_key(), min_version).map_err(|error| error.to_string())?;
        Ok(Self { config: Arc::new(config), end_point, not_after, names, chain, key })
    }
}

fn server_config(
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
    min_version: TlsVersion,
) -> Result<ServerConfig, rustls::Error> {
    let versions: &[&SupportedProtocolVersion] = match min_version {
        TlsVersion::V1_2 => &[&TLS13, &TLS12],
        TlsVersion::V1_3 => &[&TLS13],
    };
    let mut config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_protocol_versions(versions)?
        .with_no_client_auth()
        .with_single_cert(chain, key)?;
    config.alpn_protocols = vec![super::accept::ALPN.to_vec()];
    config.max_fragment_size = Some(RECORD_BYTES_MAX + RECORD_HEADER_BYTES);
    // Resumption by tickets alone: nothing is kept per client. One is enough for clients that reconnect.
    config.ticketer = aws_lc_rs::Ticketer::new()?;
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 1;
    config.max_early_data_size = 0;
    Ok(config)
}

/// Host names of the certificate, lower case, a wildcard without its `*`.
fn names(certificate: &X509Certificate<'_>) -> Vec<String> {
    let Ok(Some(extension)) = certificate.subject_alternative_name() else { return Vec::new() };
    let names = extension.value.general_names.iter();
    let names =
        names.filter_map(|name| if let GeneralName::DNSName(name) = name { Some(*name) } else { None });
    names.map(|name| name.strip_prefix('*').unwrap_or(name).to_ascii_lowercase()).collect()
}

fn read_chain(path: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let file = File::open(path).map_err(|error| format!("could not open \"{}\": {error}", path.display()))?;
    let pem = read_pem(file, path)?;
    CertificateDer::pem_slice_iter(&pem)
        .collect::<Result<_, _>>()
        .map_err(|error| format!("{}: {error}", path.display()))
}

fn read_key(path: &Path) -> Result<PrivateKeyDer<'static>, String> {
    let file = open_private(path)?;
    let pem = read_pem(file, path)?;
    PrivateKeyDer::from_pem_slice(&pem).map_err(|error| format!("{}: {error}", path.display()))
}

/// Opens a file that holds a secret. The checks look at the open file, so nothing can be exchanged meanwhile.
fn open_private(path: &Path) -> Result<File, String> {
    let place = path.display();
    let file = OpenOptions::new()
        .read(true)
        .custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK)
        .open(path)
        .map_err(|error| format!("could not open private key file \"{place}\": {error}"))?;
    let metadata = file.metadata().map_err(|error| format!("could not stat \"{place}\": {error}"))?;
    if !metadata.is_file() {
        return Err(format!("private key file \"{place}\" is not a regular file"));
    }
    if metadata.mode() & 0o077 != 0 {
        return Err(format!(
            "private key file \"{place}\" has group or world access; its permissions should be u=rw (0600) or less"
        ));
    }
    let owner = metadata.uid();
    if owner != 0 && owner != rustix::process::geteuid().as_raw() {
        return Err(format!(
            "private key file \"{place}\" must be owned by the user OneVault runs as, or by root"
        ));
    }
    Ok(file)
}

fn read_pem(file: File, path: &Path) -> Result<Zeroizing<Vec<u8>>, String> {
    let mut pem = Zeroizing::new(Vec::new());
    file.take(FILE_BYTES_MAX)
        .read_to_end(&mut pem)
        .map_err(|error| format!("could not read \"{}\": {error}", path.display()))?;
    Ok(pem)
}
