//! The client's end: proves OneVault to a database server, and the server to OneVault.
//!
//! What always holds: an exchange is finished only after the server showed its signature; whoever sees
//! `AuthenticationOk` before [`ClientExchange::is_finished`] talks to an impostor.
//!
//! Source: RFC 5802 sections 5 to 7

use super::crypto::{self, ClientKeys};
use super::verifier::iterations_of;
use super::{
    Binding, END_POINT, SALT_BYTES_MAX, SCRAM_SHA_256, SCRAM_SHA_256_PLUS, ScramError, attribute,
    checked_nonce, extensions, text,
};

/// One login, as the client sees it.
#[derive(Debug)]
pub struct ClientExchange {
    mechanism: &'static str,
    /// The GS2 header and, with binding, the end point's hash.
    bound: Vec<u8>,
    header: String,
    nonce: String,
    state: State,
}

#[derive(Debug)]
enum State {
    Start,
    Challenged { so_far: String, nonce: String, salt: Vec<u8>, iterations: u32 },
    Answered { signature: [u8; 32] },
    Finished,
    Over,
}

/// What the server asks: keys of this salt and count.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Challenge {
    /// At most 1 KiB.
    pub salt: Vec<u8>,
    /// 1 to 1,000,000.
    pub iterations: u32,
}

impl ClientExchange {
    /// Chooses a mechanism among those the server offers: the bound one when both ends can.
    ///
    /// # Errors
    /// [`ScramError::Unsupported`] when no SCRAM-SHA-256 is offered; [`ScramError::Random`].
    pub fn new<'a>(offered: impl Iterator<Item = &'a [u8]>, binding: &Binding) -> Result<Self, ScramError> {
        Self::with_nonce(offered, binding, crypto::nonce()?)
    }

    pub(super) fn with_nonce<'a>(
        offered: impl Iterator<Item = &'a [u8]>,
        binding: &Binding,
        nonce: String,
    ) -> Result<Self, ScramError> {
        let (mut plain, mut plus) = (false, false);
        for mechanism in offered {
            plain |= mechanism == SCRAM_SHA_256.as_bytes();
            plus |= mechanism == SCRAM_SHA_256_PLUS.as_bytes();
        }
        let (mechanism, header, hash): (_, _, &[u8]) = match (plain, plus, binding) {
            (_, true, Binding::TlsServerEndPoint(hash)) => {
                (SCRAM_SHA_256_PLUS, format!("p={END_POINT},,"), hash)
            }
            (true, _, Binding::None) => (SCRAM_SHA_256, "n,,".to_owned(), &[]),
            (true, false, Binding::TlsServerEndPoint(_)) => (SCRAM_SHA_256, "y,,".to_owned(), &[]),
            (false, _, _) => return Err(ScramError::Unsupported("mechanism of the server")),
        };
        let mut bound = header.clone().into_bytes();
        bound.extend_from_slice(hash);
        Ok(Self { mechanism, bound, header, nonce, state: State::Start })
    }

    /// The mechanism chosen.
    #[must_use]
    pub const fn mechanism(&self) -> &'static str {
        self.mechanism
    }

    /// The data of `SASLInitialResponse`. The name stays empty: PostgreSQL takes it from the startup packet.
    #[must_use]
    pub fn client_first(&self) -> Vec<u8> {
        format!("{}{}", self.header, self.bare()).into_bytes()
    }

    fn bare(&self) -> String {
        format!("n=,r={}", self.nonce)
    }

    /// Takes `AuthenticationSASLContinue`.
    ///
    /// # Errors
    /// Any [`ScramError`]; the exchange is over then.
    pub fn server_first(&mut self, message: &[u8]) -> Result<Challenge, ScramError> {
        let State::Start = std::mem::replace(&mut self.state, State::Over) else {
            return Err(ScramError::Order);
        };
        let message = text(message)?;
        let (nonce, rest) = attribute(message, 'r')?;
        let nonce = checked_nonce(nonce)?;
        if nonce.strip_prefix(self.nonce.as_str()).is_none_or(str::is_empty) {
            return Err(ScramError::Malformed("the nonce does not continue ours"));
        }
        let (salt, rest) = attribute(rest.ok_or(ScramError::Malformed("the salt is missing"))?, 's')?;
        let salt = crypto::decode(salt)?;
        if salt.is_empty() || salt.len() > SALT_BYTES_MAX {
            return Err(ScramError::Malformed("the salt has a bad length"));
        }
        let (count, rest) = attribute(rest.ok_or(ScramError::Malformed("the count is missing"))?, 'i')?;
        let iterations = iterations_of(count)?;
        extensions(rest)?;
        let challenge = Challenge { salt: salt.clone(), iterations };
        let so_far = format!("{},{message}", self.bare());
        self.state = State::Challenged { so_far, nonce: nonce.to_owned(), salt, iterations };
        Ok(challenge)
    }

    /// The data of `SASLResponse`, from keys that fit the challenge.
    ///
    /// # Errors
    /// [`ScramError::Order`] without a challenge or with keys of another one.
    pub fn client_final(&mut self, keys: &ClientKeys) -> Result<Vec<u8>, ScramError> {
        let State::Challenged { so_far, nonce, salt, iterations } =
            std::mem::replace(&mut self.state, State::Over)
        else {
            return Err(ScramError::Order);
        };
        if !keys.fit(&salt, iterations) {
            return Err(ScramError::Order);
        }
        let without_proof = format!("c={},r={nonce}", crypto::encode(&self.bound));
        let signed = format!("{so_far},{without_proof}");
        let proof = crypto::xor(&keys.client_key, &crypto::sign(&keys.stored_key, signed.as_bytes()));
        self.state = State::Answered { signature: crypto::sign(&keys.server_key, signed.as_bytes()) };
        Ok(format!("{without_proof},p={}", crypto::encode(&proof)).into_bytes())
    }

    /// Takes `AuthenticationSASLFinal`.
    ///
    /// # Errors
    /// [`ScramError::ServerSignature`] when the server does not know the password either.
    pub fn server_final(&mut self, message: &[u8]) -> Result<(), ScramError> {
        let State::Answered { signature } = std::mem::replace(&mut self.state, State::Over) else {
            return Err(ScramError::Order);
        };
        let (said, rest) = attribute(text(message)?, 'v')?;
        extensions(rest)?;
        if !crypto::equal(&crypto::decode(said)?, &signature) {
            return Err(ScramError::ServerSignature);
        }
        self.state = State::Finished;
        Ok(())
    }

    /// Whether the server has proven itself.
    #[must_use]
    pub const fn is_finished(&self) -> bool {
        matches!(self.state, State::Finished)
    }
}
