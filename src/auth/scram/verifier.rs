//! What is stored instead of a password, in PostgreSQL's own form.
//!
//! What always holds: a [`Verifier::mock`] looks like a real one to a stranger and proves nobody.
//!
//! Source: catalog-pg-authid, column `rolpassword`

use std::fmt;

use super::crypto::{self, ClientKeys, Key};
use super::{ITERATIONS_DEFAULT, ITERATIONS_MAX, SALT_BYTES_MAX, ScramError};

/// `SCRAM-SHA-256$<iterations>:<salt>$<StoredKey>:<ServerKey>`; `Debug` hides the keys.
#[derive(Clone, PartialEq, Eq)]
pub struct Verifier {
    pub(super) iterations: u32,
    pub(super) salt: Box<[u8]>,
    pub(super) stored_key: Key,
    pub(super) server_key: Key,
    /// Stands for a login that does not exist: no proof is ever right.
    pub(super) mock: bool,
}

impl Verifier {
    /// Reads PostgreSQL's stored form.
    ///
    /// # Errors
    /// [`ScramError::Malformed`] when the form is another one, [`ScramError::Iterations`] when the count is.
    pub fn parse(stored: &str) -> Result<Self, ScramError> {
        const FORM: ScramError =
            ScramError::Malformed("a verifier is SCRAM-SHA-256$n:salt$StoredKey:ServerKey");
        let rest = stored.strip_prefix("SCRAM-SHA-256$").ok_or(FORM)?;
        let (cost, keys) = rest.split_once('$').ok_or(FORM)?;
        let (iterations, salt) = cost.split_once(':').ok_or(FORM)?;
        let (stored_key, server_key) = keys.split_once(':').ok_or(FORM)?;
        let salt = crypto::decode(salt)?;
        if salt.is_empty() || salt.len() > SALT_BYTES_MAX {
            return Err(ScramError::Malformed("the salt has a bad length"));
        }
        Ok(Self {
            iterations: iterations_of(iterations)?,
            salt: salt.into(),
            stored_key: crypto::decode_key(stored_key)?,
            server_key: crypto::decode_key(server_key)?,
            mock: false,
        })
    }

    /// Makes the verifier of a password, with a fresh 16-byte salt.
    ///
    /// # Errors
    /// [`ScramError::Iterations`] for a count of 0 or above 1,000,000; [`ScramError::Random`].
    pub fn from_password(password: &str, iterations: u32) -> Result<Self, ScramError> {
        let salt = crypto::random_salt()?;
        let keys = ClientKeys::derive(password, &salt, iterations)?;
        Ok(Self {
            iterations,
            salt: salt.into(),
            stored_key: keys.stored_key,
            server_key: keys.server_key,
            mock: false,
        })
    }

    /// The verifier shown for a login that does not exist: the same one each time, as long as `secret` stays.
    #[must_use]
    pub fn mock(login: &str, secret: &[u8]) -> Self {
        let keyed = |purpose: &str| crypto::sign(secret, format!("{purpose}\0{login}").as_bytes());
        let salt = keyed("salt");
        Self {
            iterations: ITERATIONS_DEFAULT,
            salt: salt.iter().copied().take(16).collect(),
            stored_key: keyed("stored key"),
            server_key: keyed("server key"),
            mock: true,
        }
    }

    /// Whether this password made the verifier; for passwords that come in clear text. A mock says no, as slowly.
    #[must_use]
    pub fn accepts(&self, password: &str) -> bool {
        let same = ClientKeys::derive(password, &self.salt, self.iterations)
            .is_ok_and(|keys| crypto::equal(&keys.stored_key, &self.stored_key));
        same && !self.mock
    }
}

/// A decimal count without sign or space, 1 to [`ITERATIONS_MAX`].
pub(super) fn iterations_of(text: &str) -> Result<u32, ScramError> {
    if text.is_empty() || !text.bytes().all(|b| b.is_ascii_digit()) {
        return Err(ScramError::Iterations);
    }
    text.parse().ok().filter(|n| (1..=ITERATIONS_MAX).contains(n)).ok_or(ScramError::Iterations)
}

/// PostgreSQL's stored form, as [`Verifier::parse`] reads it.
impl fmt::Display for Verifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (salt, stored_key, server_key) =
            (crypto::encode(&self.salt), crypto::encode(&self.stored_key), crypto::encode(&self.server_key));
        write!(f, "SCRAM-SHA-256${}:{salt}${stored_key}:{server_key}", self.iterations)
    }
}

impl fmt::Debug for Verifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Verifier(SCRAM-SHA-256, {} iterations, ***)", self.iterations)
    }
}
