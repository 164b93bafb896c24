//! An issuer's public keys (JWKS), each with the algorithms it may be used for.
//!
//! Source: RFC 7517, RFC 7518

use std::str::FromStr;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm, DecodingKey};
use serde_json::{Map, Value};

use super::json;

/// The largest JWKS file, in bytes.
pub const JWKS_BYTES_MAX: usize = 64 * 1024;

/// Algorithms an issuer may use at all: signatures with a public key.
const ALGORITHMS: [&str; 9] =
    ["RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "EdDSA"];

/// The smallest and largest RSA modulus, in bytes.
const RSA_BYTES: std::ops::RangeInclusive<usize> = 256..=1024;

/// Public keys of one issuer.
#[derive(Debug, Clone)]
pub struct Keys(Vec<Key>);

/// One public key.
#[derive(Debug, Clone)]
pub(super) struct Key {
    kid: Option<String>,
    algorithms: Vec<Algorithm>,
    key: DecodingKey,
}

impl Keys {
    /// Reads a JWKS; each key may be used for those of `algorithms` that fit it.
    ///
    /// # Errors
    /// A sentence, for a file that is no JWKS, holds a secret or a weak key, or has no key for `algorithms`.
    pub fn parse(jwks: &[u8], algorithms: &[String]) -> Result<Self, String> {
        if jwks.len() > JWKS_BYTES_MAX {
            return Err(format!("the JWKS is larger than {JWKS_BYTES_MAX} bytes"));
        }
        let allowed = algorithms.iter().map(|name| algorithm(name)).collect::<Result<Vec<_>, _>>()?;
        let set = json::object(jwks).ok_or("the JWKS is not JSON with each member once")?;
        let entries = set.get("keys").and_then(Value::as_array).ok_or("the JWKS has no list \"keys\"")?;
        let mut keys: Vec<Key> = Vec::with_capacity(entries.len());
        for entry in entries {
            let members = entry.as_object().ok_or("a key of the JWKS is not an object")?;
            if let Some(key) = Key::read(members, &allowed)? {
                if keys.iter().any(|other| other.kid == key.kid) {
                    return Err("two keys of the JWKS have the same \"kid\"".into());
                }
                keys.push(key);
            }
        }
        if keys.is_empty() {
            return Err("the JWKS has no key for the algorithms allowed".into());
        }
        Ok(Self(keys))
    }

    /// The key of this name; a token without `kid` means the only key.
    pub(super) fn find(&self, kid: Option<&str>) -> Option<&Key> {
        match (kid, self.0.as_slice()) {
            (Some(kid), keys) => keys.iter().find(|key| key.kid.as_deref() == Some(kid)),
            (None, [only]) => Some(only),
            (None, _) => None,
        }
    }
}

impl Key {
    /// The key, if it may be used for this algorithm.
    pub(super) fn for_algorithm(&self, algorithm: Algorithm) -> Option<&DecodingKey> {
        self.algorithms.contains(&algorithm).then_some(&self.key)
    }

    /// `None`: a key for other algorithms or for encryption.
    fn read(members: &Map<String, Value>, allowed: &[Algorithm]) -> Result<Option<Self>, String> {
        let text = |name: &str| members.get(name).and_then(Value::as_str);
        let demand = |name: &str| text(name).ok_or(format!("a key of the JWKS has no \"{name}\""));
        if members.contains_key("d") || text("kty") == Some("oct") {
            return Err("the JWKS holds a secret; only public keys belong there".into());
        }
        let (fitting, key): (&[Algorithm], _) = match (demand("kty")?, text("crv")) {
            ("RSA", _) => (
                &[
                    Algorithm::RS256,
                    Algorithm::RS384,
                    Algorithm::RS512,
                    Algorithm::PS256,
                    Algorithm::PS384,
                    Algorithm::PS512,
                ],
                rsa(demand("n")?, demand("e")?)?,
            ),
            ("EC", Some("P-256")) => (&[Algorithm::ES256], elliptic(demand("x")?, demand("y")?, 32)?),
            ("EC", Some("P-384")) => (&[Algorithm::ES384], elliptic(demand("x")?, demand("y")?, 48)?),
            ("OKP", Some("Ed25519")) => (&[Algorithm::EdDSA], edwards(demand("x")?)?),
            (_, _) => return Ok(None),
        };
        let own = text("alg").map(Algorithm::from_str);
        let fits = |algorithm: &Algorithm| match &own {
            Some(own) => own.as_ref() == Ok(algorithm),
            None => true,
        };
        let algorithms = fitting.iter().filter(|algorithm| allowed.contains(algorithm) && fits(algorithm));
        let algorithms: Vec<Algorithm> = algorithms.copied().collect();
        if algorithms.is_empty() || text("use").is_some_and(|usage| usage != "sig") {
            return Ok(None);
        }
        Ok(Some(Self { kid: text("kid").map(str::to_owned), algorithms, key }))
    }
}

/// An algorithm by its exact name.
fn algorithm(name: &str) -> Result<Algorithm, String> {
    let known = ALGORITHMS.contains(&name).then(|| Algorithm::from_str(name).ok()).flatten();
    known.ok_or_else(|| format!("algorithm \"{name}\" is not allowed; allowed are {}", ALGORITHMS.join(", ")))
}

fn bytes(text: &str) -> Result<Vec<u8>, String> {
    URL_SAFE_NO_PAD.decode(text).map_err(|_| "a key of the JWKS is not base64url".to_owned())
}

fn rsa(modulus: &str, exponent: &str) -> Result<DecodingKey, String> {
    let (n, e) = (bytes(modulus)?, bytes(exponent)?);
    let odd = |number: &[u8]| number.last().is_some_and(|byte| byte & 1 == 1);
    if !RSA_BYTES.contains(&n.len()) || n.first() == Some(&0) || !odd(&n) || !odd(&e) || e == [1] {
        return Err("an RSA key of the JWKS is weak or larger than 8192 bits".into());
    }
    Ok(DecodingKey::from_rsa_raw_components(&n, &e))
}

fn elliptic(x: &str, y: &str, size: usize) -> Result<DecodingKey, String> {
    if bytes(x)?.len() != size || bytes(y)?.len() != size {
        return Err("an EC key of the JWKS has a coordinate of the wrong size".into());
    }
    DecodingKey::from_ec_components(x, y).map_err(|_| "an EC key of the JWKS is not valid".to_owned())
}

fn edwards(x: &str) -> Result<DecodingKey, String> {
    if bytes(x)?.len() != 32 {
        return Err("an Ed25519 key of the JWKS has the wrong size".into());
    }
    DecodingKey::from_ed_components(x).map_err(|_| "an Ed25519 key of the JWKS is not valid".to_owned())
}
