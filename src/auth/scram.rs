//! SCRAM-SHA-256 and SCRAM-SHA-256-PLUS as pure machines, for both ends of an exchange.
//!
//! [`ServerExchange`] proves a client against a stored [`Verifier`]; [`ClientExchange`] proves OneVault to a
//! database server and the server to OneVault. What always holds: an exchange advances one message at a time and
//! any error ends it; everything a peer sends is bounded; proofs and signatures are compared in constant time.
//! This room knows no socket, no clock, no customer: whether a login exists is decided by whoever picks the verifier.
//!
//! Sources: RFC 5802, RFC 7677, RFC 5929 section 4.1, sasl-authentication#SASL-SCRAM-SHA-256

use std::fmt;

mod client;
mod crypto;
mod server;
#[cfg(test)]
mod tests;
mod verifier;

pub use client::{Challenge, ClientExchange};
pub use crypto::{ClientKeys, tls_server_end_point};
pub use server::ServerExchange;
pub use verifier::Verifier;

/// The mechanism without channel binding.
pub const SCRAM_SHA_256: &str = "SCRAM-SHA-256";
/// The mechanism bound to the TLS connection it runs in.
pub const SCRAM_SHA_256_PLUS: &str = "SCRAM-SHA-256-PLUS";
/// What PostgreSQL uses for new passwords, and what a mock verifier claims.
pub const ITERATIONS_DEFAULT: u32 = 4096;
/// The most iterations ever computed; a peer that asks for more is refused.
pub const ITERATIONS_MAX: u32 = 1_000_000;
/// The longest nonce accepted, in bytes.
pub const NONCE_BYTES_MAX: usize = 1024;
/// The longest salt accepted, in bytes once decoded.
pub const SALT_BYTES_MAX: usize = 1024;
/// The longest single message accepted, in bytes.
pub const MESSAGE_BYTES_MAX: usize = 8 * 1024;

/// The only channel binding type PostgreSQL knows.
const END_POINT: &str = "tls-server-end-point";

/// What ties an exchange to the connection below it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Binding {
    /// Nothing: no TLS, or a certificate whose hash is not defined.
    None,
    /// The hash of the server's certificate (`tls-server-end-point`).
    TlsServerEndPoint(Vec<u8>),
}

/// Why an exchange ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ScramError {
    /// The message breaks RFC 5802 or a limit (08P01).
    Malformed(&'static str),
    /// The peer asks for what is not spoken here (0A000).
    Unsupported(&'static str),
    /// The two ends do not see the same TLS connection, or one was talked out of binding (28000).
    ChannelBinding(&'static str),
    /// The proof is wrong: another password, or no such login (28P01).
    Proof,
    /// The server did not show that it knows the password (08P01).
    ServerSignature,
    /// The peer asks for no iterations, or for more than [`ITERATIONS_MAX`].
    Iterations,
    /// A message came out of turn (08P01).
    Order,
    /// The operating system gave no randomness.
    Random,
}

impl fmt::Display for ScramError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Malformed(rule) => write!(f, "malformed SCRAM message: {rule}"),
            Self::Unsupported(what) => write!(f, "SCRAM {what} is not supported"),
            Self::ChannelBinding(rule) => write!(f, "SCRAM channel binding failed: {rule}"),
            Self::Proof => f.write_str("password authentication failed"),
            Self::ServerSignature => f.write_str("SCRAM server signature is wrong"),
            Self::Iterations => f.write_str("SCRAM iteration count is out of range"),
            Self::Order => f.write_str("SCRAM message out of turn"),
            Self::Random => f.write_str("random numbers are not available"),
        }
    }
}

impl std::error::Error for ScramError {}

/// Reads `name=value`, where the value ends at the next comma or at the end; returns the value and what follows.
fn attribute(text: &str, name: char) -> Result<(&str, Option<&str>), ScramError> {
    let value = text
        .strip_prefix(name)
        .and_then(|rest| rest.strip_prefix('='))
        .ok_or(ScramError::Malformed("an expected attribute is missing"))?;
    Ok(match value.split_once(',') {
        Some((value, rest)) => (value, Some(rest)),
        None => (value, None),
    })
}

/// The message as text, when it is short enough, UTF-8 and free of NUL.
fn text(message: &[u8]) -> Result<&str, ScramError> {
    if message.len() > MESSAGE_BYTES_MAX {
        return Err(ScramError::Malformed("the message is too long"));
    }
    match std::str::from_utf8(message) {
        Ok(text) if !text.contains('\0') => Ok(text),
        Ok(_) => Err(ScramError::Malformed("the message holds a NUL")),
        Err(_) => Err(ScramError::Malformed("the message is not UTF-8")),
    }
}

/// A nonce is 1 to 1024 printable ASCII characters, none of them a comma.
fn checked_nonce(nonce: &str) -> Result<&str, ScramError> {
    if nonce.is_empty() || nonce.len() > NONCE_BYTES_MAX {
        return Err(ScramError::Malformed("the nonce has a bad length"));
    }
    if !nonce.bytes().all(|b| b.is_ascii_graphic() && b != b',') {
        return Err(ScramError::Malformed("the nonce has a forbidden character"));
    }
    Ok(nonce)
}

/// Every attribute of `rest` is `letter=value`; `m=` demands an extension nobody knows.
fn extensions(rest: Option<&str>) -> Result<(), ScramError> {
    for part in rest.into_iter().flat_map(|rest| rest.split(',')) {
        let mut chars = part.chars();
        match (chars.next(), chars.next()) {
            (Some('m'), Some('=')) => return Err(ScramError::Unsupported("mandatory extension")),
            (Some(name), Some('=')) if name.is_ascii_alphabetic() => {}
            (_, _) => return Err(ScramError::Malformed("an attribute has no name")),
        }
    }
    Ok(())
}
