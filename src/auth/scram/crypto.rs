//! The arithmetic of SCRAM: keys from passwords, proofs from keys, hashes of certificates.
//!
//! What always holds: nothing here compares a secret with `==`, and secret bytes are wiped when dropped.
//!
//! Source: RFC 5802 section 3

use std::num::NonZeroU32;

use aws_lc_rs::{digest, hmac, pbkdf2, rand};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use zeroize::{Zeroize, Zeroizing};

use super::{ITERATIONS_MAX, SALT_BYTES_MAX, ScramError};

/// A SHA-256 value, or a key of that length.
pub(super) type Key = [u8; 32];

/// What a password becomes once salted: all that is needed to log in, without PBKDF2.
///
/// It is as secret as the password itself, and wiped when dropped.
#[derive(Clone)]
pub struct ClientKeys {
    salt: Box<[u8]>,
    iterations: u32,
    pub(super) client_key: Key,
    pub(super) stored_key: Key,
    pub(super) server_key: Key,
}

impl ClientKeys {
    /// Derives the keys; takes about 0.25 µs per iteration, so above some thousands not on a worker thread.
    ///
    /// # Errors
    /// [`ScramError::Iterations`] for 0 or more than [`ITERATIONS_MAX`], [`ScramError::Malformed`] for a long salt.
    pub fn derive(password: &str, salt: &[u8], iterations: u32) -> Result<Self, ScramError> {
        if salt.len() > SALT_BYTES_MAX {
            return Err(ScramError::Malformed("the salt is too long"));
        }
        let count = NonZeroU32::new(iterations).filter(|n| n.get() <= ITERATIONS_MAX);
        let count = count.ok_or(ScramError::Iterations)?;
        let normal = normalized(password);
        let mut salted = Zeroizing::new([0; 32]);
        pbkdf2::derive(pbkdf2::PBKDF2_HMAC_SHA256, count, salt, normal.as_bytes(), salted.as_mut());
        let client_key = sign(salted.as_ref(), b"Client Key");
        Ok(Self {
            salt: salt.into(),
            iterations,
            client_key,
            stored_key: sha256(&client_key),
            server_key: sign(salted.as_ref(), b"Server Key"),
        })
    }

    /// Whether these keys answer a challenge with this salt and count.
    #[must_use]
    pub fn fit(&self, salt: &[u8], iterations: u32) -> bool {
        *self.salt == *salt && self.iterations == iterations
    }
}

impl Drop for ClientKeys {
    fn drop(&mut self) {
        self.client_key.zeroize();
        self.stored_key.zeroize();
        self.server_key.zeroize();
    }
}

impl std::fmt::Debug for ClientKeys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("ClientKeys(***)")
    }
}

/// The password as PostgreSQL hashes it: SASLprep, or the bytes as they are where that is not possible.
fn normalized(password: &str) -> Zeroizing<String> {
    let prepared = stringprep::saslprep(password).ok().filter(|text| !text.is_empty());
    Zeroizing::new(prepared.map_or_else(|| password.to_owned(), std::borrow::Cow::into_owned))
}

/// HMAC-SHA-256.
pub(super) fn sign(key: &[u8], message: &[u8]) -> Key {
    let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), message);
    first_chunk(tag.as_ref())
}

/// SHA-256.
pub(super) fn sha256(message: &[u8]) -> Key {
    first_chunk(digest::digest(&digest::SHA256, message).as_ref())
}

fn first_chunk(bytes: &[u8]) -> Key {
    bytes.first_chunk().copied().unwrap_or_default()
}

/// `left XOR right`.
pub(super) fn xor(left: &Key, right: &Key) -> Key {
    let mut out = *left;
    out.iter_mut().zip(right).for_each(|(a, b)| *a ^= b);
    out
}

/// Compares without telling where the difference is.
pub(super) fn equal(left: &[u8], right: &[u8]) -> bool {
    aws_lc_rs::constant_time::verify_slices_are_equal(left, right).is_ok()
}

/// A fresh nonce: 18 random bytes as 24 printable characters.
pub(super) fn nonce() -> Result<String, ScramError> {
    let mut bytes = [0; 18];
    rand::fill(&mut bytes).map_err(|_| ScramError::Random)?;
    Ok(encode(&bytes))
}

pub(super) fn random_salt() -> Result<[u8; 16], ScramError> {
    let mut bytes = [0; 16];
    rand::fill(&mut bytes).map_err(|_| ScramError::Random)?;
    Ok(bytes)
}

pub(super) fn encode(bytes: &[u8]) -> String {
    STANDARD.encode(bytes)
}

pub(super) fn decode(text: &str) -> Result<Vec<u8>, ScramError> {
    STANDARD.decode(text).map_err(|_| ScramError::Malformed("a value is not base64"))
}

pub(super) fn decode_key(text: &str) -> Result<Key, ScramError> {
    decode(text)?.try_into().map_err(|_| ScramError::Malformed("a key has a bad length"))
}

/// The `tls-server-end-point` hash of a DER certificate; `None` when its signature algorithm defines no hash
/// (Ed25519), and then channel binding is not offered.
///
/// SHA-256 stands in for MD5 and SHA-1. Source: RFC 5929 section 4.1
#[must_use]
pub fn tls_server_end_point(certificate_der: &[u8]) -> Option<Vec<u8>> {
    use x509_parser::prelude::FromDer as _;
    use x509_parser::signature_algorithm::SignatureAlgorithm;
    let (_, certificate) = x509_parser::certificate::X509Certificate::from_der(certificate_der).ok()?;
    let oid = match SignatureAlgorithm::try_from(&certificate.signature_algorithm) {
        Ok(SignatureAlgorithm::RSASSA_PSS(parameters)) => parameters.hash_algorithm_oid().to_id_string(),
        Ok(_) | Err(_) => certificate.signature_algorithm.algorithm.to_id_string(),
    };
    let algorithm = match oid.as_str() {
        // md5WithRSA, sha1WithRSA, ecdsa-with-SHA1, sha1; then sha256 with RSA, ECDSA, alone.
        "1.2.840.113549.1.1.4"
        | "1.2.840.113549.1.1.5"
        | "1.2.840.10045.4.1"
        | "1.3.14.3.2.26"
        | "1.2.840.113549.1.1.11"
        | "1.2.840.10045.4.3.2"
        | "2.16.840.1.101.3.4.2.1" => &digest::SHA256,
        "1.2.840.113549.1.1.12" | "1.2.840.10045.4.3.3" | "2.16.840.1.101.3.4.2.2" => &digest::SHA384,
        "1.2.840.113549.1.1.13" | "1.2.840.10045.4.3.4" | "2.16.840.1.101.3.4.2.3" => &digest::SHA512,
        "1.2.840.113549.1.1.14" | "1.2.840.10045.4.3.1" | "2.16.840.1.101.3.4.2.4" => &digest::SHA224,
        _ => return None,
    };
    Some(digest::digest(algorithm, certificate_der).as_ref().to_vec())
}
