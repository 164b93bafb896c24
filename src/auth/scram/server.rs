//! The server's end: proves a client against a [`Verifier`].
//!
//! What always holds: `SCRAM-SHA-256-PLUS` is offered exactly when the TLS end point is known; a client that says
//! "you do not support binding" although it was offered was lied to on the way, and fails.
//!
//! Source: RFC 5802 sections 5 to 7

use super::crypto::{self, Key};
use super::{
    Binding, END_POINT, SCRAM_SHA_256, SCRAM_SHA_256_PLUS, ScramError, Verifier, attribute, checked_nonce,
    extensions, text,
};

/// One login, as the server sees it.
#[derive(Debug)]
pub struct ServerExchange {
    verifier: Verifier,
    binding: Binding,
    state: State,
}

#[derive(Debug)]
enum State {
    Start,
    /// The challenge is sent.
    Challenged {
        /// `client-first-message-bare,server-first-message`
        so_far: String,
        /// Client's and server's nonce.
        nonce: String,
        /// What `c=` must decode to.
        bound: Vec<u8>,
    },
    /// The proof was right.
    Finished,
    Over,
}

impl ServerExchange {
    /// Starts an exchange. A login that does not exist gets [`Verifier::mock`].
    #[must_use]
    pub const fn new(verifier: Verifier, binding: Binding) -> Self {
        Self { verifier, binding, state: State::Start }
    }

    /// What to offer in `AuthenticationSASL`, best first.
    #[must_use]
    pub const fn mechanisms(&self) -> &'static [&'static str] {
        match self.binding {
            Binding::None => &[SCRAM_SHA_256],
            Binding::TlsServerEndPoint(_) => &[SCRAM_SHA_256_PLUS, SCRAM_SHA_256],
        }
    }

    /// Takes `SASLInitialResponse` (the chosen mechanism and its data), gives the challenge.
    ///
    /// # Errors
    /// Any [`ScramError`]; the exchange is over then.
    pub fn client_first(&mut self, mechanism: &[u8], message: &[u8]) -> Result<Vec<u8>, ScramError> {
        let nonce = crypto::nonce();
        self.client_first_with(mechanism, message, &nonce?)
    }

    pub(super) fn client_first_with(
        &mut self,
        mechanism: &[u8],
        message: &[u8],
        server_nonce: &str,
    ) -> Result<Vec<u8>, ScramError> {
        let State::Start = std::mem::replace(&mut self.state, State::Over) else {
            return Err(ScramError::Order);
        };
        let message = text(message)?;
        let (header, bare) = self.header(mechanism, message)?;
        if bare.starts_with("m=") {
            return Err(ScramError::Unsupported("mandatory extension"));
        }
        // The name is ignored, as PostgreSQL does: the startup packet said who logs in.
        let (_name, rest) = attribute(bare, 'n')?;
        let (nonce, rest) = attribute(rest.ok_or(ScramError::Malformed("the nonce is missing"))?, 'r')?;
        let nonce = format!("{}{server_nonce}", checked_nonce(nonce)?);
        extensions(rest)?;
        let salt = crypto::encode(&self.verifier.salt);
        let challenge = format!("r={nonce},s={salt},i={}", self.verifier.iterations);
        let mut bound = header.as_bytes().to_vec();
        if let (true, Binding::TlsServerEndPoint(hash)) = (header.starts_with('p'), &self.binding) {
            bound.extend_from_slice(hash);
        }
        self.state = State::Challenged { so_far: format!("{bare},{challenge}"), nonce, bound };
        Ok(challenge.into_bytes())
    }

    /// Splits off the GS2 header and checks that flag, mechanism and what was offered agree.
    fn header<'a>(&self, mechanism: &[u8], message: &'a str) -> Result<(&'a str, &'a str), ScramError> {
        let offered = matches!(self.binding, Binding::TlsServerEndPoint(_));
        let plus = mechanism == SCRAM_SHA_256_PLUS.as_bytes();
        if !(mechanism == SCRAM_SHA_256.as_bytes() || plus && offered) {
            return Err(ScramError::Unsupported("mechanism"));
        }
        let (flag, rest) = message.split_once(',').ok_or(ScramError::Malformed("the header is cut"))?;
        match flag {
            "n" | "y" if plus => {
                return Err(ScramError::Malformed("SCRAM-SHA-256-PLUS without channel binding data"));
            }
            "n" => {}
            "y" if offered => {
                return Err(ScramError::ChannelBinding("it was offered, the client was told otherwise"));
            }
            "y" => {}
            flag if flag.starts_with("p=") => {
                if !plus {
                    return Err(ScramError::Malformed("SCRAM-SHA-256 with channel binding data"));
                }
                if flag.strip_prefix("p=") != Some(END_POINT) {
                    return Err(ScramError::Unsupported("channel binding type"));
                }
            }
            _ => return Err(ScramError::Malformed("the channel binding flag is unknown")),
        }
        let (authzid, bare) = rest.split_once(',').ok_or(ScramError::Malformed("the header is cut"))?;
        if !authzid.is_empty() {
            return Err(ScramError::Unsupported("authorization identity"));
        }
        let header_bytes = message.len().saturating_sub(bare.len());
        Ok((message.get(..header_bytes).unwrap_or_default(), bare))
    }

    /// Takes `SASLResponse`; gives what `AuthenticationSASLFinal` carries when the proof is right.
    ///
    /// # Errors
    /// [`ScramError::Proof`] for a wrong password or a mock verifier; any other for a broken message.
    pub fn client_final(&mut self, message: &[u8]) -> Result<Vec<u8>, ScramError> {
        let State::Challenged { so_far, nonce, bound } = std::mem::replace(&mut self.state, State::Over)
        else {
            return Err(ScramError::Order);
        };
        let message = text(message)?;
        let (without_proof, proof) =
            message.rsplit_once(",p=").ok_or(ScramError::Malformed("the proof is missing"))?;
        let (binding, rest) = attribute(without_proof, 'c')?;
        let (said, rest) = attribute(rest.ok_or(ScramError::Malformed("the nonce is missing"))?, 'r')?;
        extensions(rest)?;
        if said != nonce {
            return Err(ScramError::Malformed("the nonce is not the one of this exchange"));
        }
        if !crypto::equal(&crypto::decode(binding)?, &bound) {
            return Err(ScramError::ChannelBinding("the two ends see different connections"));
        }
        let proof = crypto::decode_key(proof)?;
        let signed = format!("{so_far},{without_proof}");
        if !self.proves(&proof, signed.as_bytes()) {
            return Err(ScramError::Proof);
        }
        self.state = State::Finished;
        let signature = crypto::sign(&self.verifier.server_key, signed.as_bytes());
        Ok(format!("v={}", crypto::encode(&signature)).into_bytes())
    }

    /// Whether the client has proven that it knows the password.
    #[must_use]
    pub const fn is_finished(&self) -> bool {
        matches!(self.state, State::Finished)
    }

    fn proves(&self, proof: &Key, signed: &[u8]) -> bool {
        let client_key = crypto::xor(proof, &crypto::sign(&self.verifier.stored_key, signed));
        let same = crypto::equal(&crypto::sha256(&client_key), &self.verifier.stored_key);
        same && !self.verifier.mock
    }
}
