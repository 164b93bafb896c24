//! Certificates for development, made by the program itself: an authority and one leaf signed by it.
//!
//! Always holds: private keys are written 0600 and never leave their folder; what is there and still good is
//! used again, so clients can keep `ca.pem` as their `sslrootcert`. Not for production: whoever reads the
//! folder can be anyone to those who trust its authority.

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::net::IpAddr;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use time::{Duration, OffsetDateTime};
use x509_parser::extensions::{GeneralName, ParsedExtension};
use x509_parser::prelude::{FromDer, X509Certificate};

use crate::config;
use crate::telemetry;

const AUTHORITY_DAYS: i64 = 3650;
const LEAF_DAYS: i64 = 397;
/// A leaf with less time left than this is made anew.
const LEAF_DAYS_LEFT_MIN: i64 = 30;

/// What [`ensure`] leaves in the folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Development {
    /// What clients trust: `sslrootcert`.
    pub authority: PathBuf,
    /// What OneVault shows.
    pub certificate: config::Certificate,
}

/// The names a development certificate has beside those asked for.
#[must_use]
pub fn names(base_domain: &str) -> Vec<String> {
    let mut names = vec!["localhost".to_owned(), "127.0.0.1".to_owned(), "::1".to_owned()];
    if !base_domain.is_empty() {
        names.extend([base_domain.to_owned(), format!("*.{base_domain}")]);
    }
    names
}

/// Makes what is missing, expired or does not cover `names` (host names and addresses) in `dir`.
///
/// # Errors
/// A sentence that names the file or what rcgen refused.
pub fn ensure(dir: &Path, names: &[String]) -> Result<Development, String> {
    let development = Development {
        authority: dir.join("ca.pem"),
        certificate: config::Certificate { chain: dir.join("server.pem"), key: dir.join("server.key") },
    };
    if is_good(&development, names) {
        return Ok(development);
    }
    fs::create_dir_all(dir).map_err(|error| format!("could not create \"{}\": {error}", dir.display()))?;
    let (authority_key, kept) = authority_key(&dir.join("ca.key"))?;
    let now =
        OffsetDateTime::from_unix_timestamp(telemetry::unix_seconds()).map_err(|error| error.to_string())?;
    let params = authority_params(now);
    if !kept || fs::metadata(&development.authority).is_err() {
        let certificate = params.self_signed(&authority_key).map_err(|error| error.to_string())?;
        write_whole(&development.authority, certificate.pem().as_bytes(), 0o644)?;
    }
    let issuer = Issuer::from_params(&params, &authority_key);
    let key = KeyPair::generate().map_err(|error| error.to_string())?;
    let leaf = leaf_params(names, now)
        .and_then(|params| params.signed_by(&key, &issuer))
        .map_err(|error| error.to_string())?;
    write_whole(&development.certificate.key, key.serialize_pem().as_bytes(), 0o600)?;
    write_whole(&development.certificate.chain, leaf.pem().as_bytes(), 0o644)?;
    tracing::info!(folder = %dir.display(), ?names, "made a development certificate");
    Ok(development)
}

/// The authority's key, and whether it was there before.
fn authority_key(path: &Path) -> Result<(KeyPair, bool), String> {
    if let Ok(pem) = fs::read_to_string(path) {
        let key = KeyPair::from_pem(&pem).map_err(|error| format!("{}: {error}", path.display()))?;
        return Ok((key, true));
    }
    let key = KeyPair::generate().map_err(|error| error.to_string())?;
    write_whole(path, key.serialize_pem().as_bytes(), 0o600)?;
    Ok((key, false))
}

fn authority_params(now: OffsetDateTime) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, "OneVault development authority");
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params.not_before = now.saturating_sub(Duration::days(1));
    params.not_after = now.saturating_add(Duration::days(AUTHORITY_DAYS));
    params
}

fn leaf_params(names: &[String], now: OffsetDateTime) -> Result<CertificateParams, rcgen::Error> {
    let mut params = CertificateParams::new(names)?;
    params.distinguished_name.push(DnType::CommonName, "OneVault development");
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    params.use_authority_key_identifier_extension = true;
    params.not_before = now.saturating_sub(Duration::days(1));
    params.not_after = now.saturating_add(Duration::days(LEAF_DAYS));
    Ok(params)
}

/// Whether all files are there and the leaf is the authority's, has time left and covers the names.
fn is_good(development: &Development, names: &[String]) -> bool {
    let der = |path: &Path| CertificateDer::from_pem_slice(&fs::read(path).ok()?).ok();
    let (Some(leaf), Some(authority)) = (der(&development.certificate.chain), der(&development.authority))
    else {
        return false;
    };
    let (Ok((_, leaf)), Ok((_, authority))) =
        (X509Certificate::from_der(&leaf), X509Certificate::from_der(&authority))
    else {
        return false;
    };
    let covered = covered_names(&leaf);
    let wanted_until = telemetry::unix_seconds().saturating_add(LEAF_DAYS_LEFT_MIN * 86_400);
    development.certificate.key.exists()
        && leaf.validity().not_after.timestamp() > wanted_until
        && authority.validity().not_after.timestamp() > wanted_until
        && key_identifier(&leaf, true).is_some_and(|id| Some(id) == key_identifier(&authority, false))
        && names.iter().all(|name| covered.contains(name))
}

/// The key that signed this certificate, or its own, as its extensions name them.
fn key_identifier(certificate: &X509Certificate<'_>, of_issuer: bool) -> Option<Vec<u8>> {
    certificate.extensions().iter().find_map(|extension| {
        let parsed = extension.parsed_extension();
        if of_issuer {
            let ParsedExtension::AuthorityKeyIdentifier(id) = parsed else { return None };
            return Some(id.key_identifier.as_ref()?.0.to_vec());
        }
        let ParsedExtension::SubjectKeyIdentifier(id) = parsed else { return None };
        Some(id.0.to_vec())
    })
}

fn covered_names(certificate: &X509Certificate<'_>) -> Vec<String> {
    let Ok(Some(extension)) = certificate.subject_alternative_name() else { return Vec::new() };
    let names = extension.value.general_names.iter().filter_map(|name| {
        if let GeneralName::DNSName(name) = name {
            return Some((*name).to_owned());
        }
        let GeneralName::IPAddress(bytes) = name else { return None };
        let v4 = <[u8; 4]>::try_from(*bytes).map(IpAddr::from);
        let address = v4.or_else(|_| <[u8; 16]>::try_from(*bytes).map(IpAddr::from)).ok()?;
        Some(address.to_string())
    });
    names.collect()
}

/// Writes beside the file and renames, so that nobody ever reads half of it.
fn write_whole(path: &Path, bytes: &[u8], mode: u32) -> Result<(), String> {
    let failed = |error: std::io::Error| format!("could not write \"{}\": {error}", path.display());
    let beside = path.with_extension(format!("{}.tmp", std::process::id()));
    let _ = fs::remove_file(&beside);
    let mut file =
        OpenOptions::new().write(true).create_new(true).mode(mode).open(&beside).map_err(failed)?;
    file.write_all(bytes).map_err(failed)?;
    file.sync_all().map_err(failed)?;
    fs::rename(&beside, path).map_err(failed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn what_is_good_is_used_again_and_what_is_not_is_made_anew() {
        let dir = std::env::temp_dir().join(format!("onevault-development-{}", std::process::id()));
        let _ = fs::remove_dir_all(&dir);
        let wanted = names("vault.test");
        let made = ensure(&dir, &wanted).unwrap();
        let (authority, leaf) =
            (fs::read(&made.authority).unwrap(), fs::read(&made.certificate.chain).unwrap());
        for key in ["ca.key", "server.key"] {
            assert_eq!(fs::metadata(dir.join(key)).unwrap().permissions().mode() & 0o777, 0o600, "{key}");
        }

        assert_eq!(ensure(&dir, &wanted).unwrap(), made);
        assert_eq!(fs::read(&made.certificate.chain).unwrap(), leaf, "made anew for nothing");

        ensure(&dir, &names("other.test")).unwrap();
        assert_ne!(fs::read(&made.certificate.chain).unwrap(), leaf, "a name more needs a new leaf");
        assert_eq!(fs::read(&made.authority).unwrap(), authority, "clients keep their authority");
        assert!(is_good(&made, &names("other.test")) && !is_good(&made, &wanted));

        fs::remove_file(dir.join("ca.key")).unwrap();
        ensure(&dir, &wanted).unwrap();
        assert!(is_good(&made, &wanted), "a new authority signs a new leaf");
        assert_ne!(fs::read(&made.authority).unwrap(), authority);
        fs::remove_dir_all(&dir).unwrap();
    }
}
