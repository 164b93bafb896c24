//! The channel binding `tls-server-end-point`: a hash of the certificate the client was shown.
//!
//! Refuses to know which certificate that is.
//!
//! Source: sasl-authentication#SASL-SCRAM-SHA-256, RFC 5929 section 4.1

use aws_lc_rs::digest::{self, Algorithm};
use x509_parser::der_parser::Oid;
use x509_parser::prelude::{FromDer, X509Certificate};
use x509_parser::signature_algorithm::SignatureAlgorithm;

/// The hash of a certificate (DER) with its own signature's hash function, SHA-256 in place of MD5 and SHA-1.
/// None where the signature names no hash function (Ed25519): such a connection offers no channel binding.
pub(super) fn hash(certificate: &[u8]) -> Option<Vec<u8>> {
    let (_, parsed) = X509Certificate::from_der(certificate).ok()?;
    let signature = &parsed.signature_algorithm;
    let algorithm = match SignatureAlgorithm::try_from(signature) {
        Ok(SignatureAlgorithm::RSASSA_PSS(parameters)) => by_hash(parameters.hash_algorithm_oid()),
        Ok(_) | Err(_) => by_signature(&signature.algorithm),
    }?;
    Some(digest::digest(algorithm, certificate).as_ref().to_vec())
}

/// RSA PKCS #1 v1.5 and ECDSA: the identifier names the hash too.
fn by_signature(oid: &Oid<'_>) -> Option<&'static Algorithm> {
    match oid.to_id_string().as_str() {
        "1.2.840.113549.1.1.4" | "1.2.840.113549.1.1.5" | "1.2.840.113549.1.1.11" => Some(&digest::SHA256),
        "1.2.840.113549.1.1.12" => Some(&digest::SHA384),
        "1.2.840.113549.1.1.13" => Some(&digest::SHA512),
        "1.2.840.113549.1.1.14" | "1.2.840.10045.4.3.1" => Some(&digest::SHA224),
        "1.2.840.10045.4.1" | "1.2.840.10045.4.3.2" => Some(&digest::SHA256),
        "1.2.840.10045.4.3.3" => Some(&digest::SHA384),
        "1.2.840.10045.4.3.4" => Some(&digest::SHA512),
        _ => None,
    }
}

/// RSA PSS: the hash is a parameter.
fn by_hash(oid: &Oid<'_>) -> Option<&'static Algorithm> {
    match oid.to_id_string().as_str() {
        "1.3.14.3.2.26" | "2.16.840.1.101.3.4.2.1" => Some(&digest::SHA256),
        "2.16.840.1.101.3.4.2.2" => Some(&digest::SHA384),
        "2.16.840.1.101.3.4.2.3" => Some(&digest::SHA512),
        "2.16.840.1.101.3.4.2.4" => Some(&digest::SHA224),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn self_signed(algorithm: &'static rcgen::SignatureAlgorithm) -> Vec<u8> {
        let key = rcgen::KeyPair::generate_for(algorithm).unwrap();
        let params = rcgen::CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
        params.self_signed(&key).unwrap().der().to_vec()
    }

    #[test]
    fn the_hash_follows_the_signature() {
        for (algorithm, hash_with) in [
            (&rcgen::PKCS_ECDSA_P256_SHA256, Some(&digest::SHA256)),
            (&rcgen::PKCS_ECDSA_P384_SHA384, Some(&digest::SHA384)),
            (&rcgen::PKCS_ED25519, None),
        ] {
            let der = self_signed(algorithm);
            let want = hash_with.map(|hash_with| digest::digest(hash_with, &der).as_ref().to_vec());
            assert_eq!(hash(&der), want);
        }
        assert_eq!(hash(b"not a certificate"), None);
    }
}
