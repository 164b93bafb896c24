//! API tokens: `ovt_<environment>_<random>`, shown once and kept as a hash.
//!
//! The first eight letters of the random part are public: with `ovt_<environment>_` they are the token's
//! prefix, which finds it and proves nothing. What follows carries 256 bits. The whole text is hashed with
//! SHA-256 and compared in constant time; a prefix that nobody has takes the same way.

use std::sync::Arc;

use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::rand;

use crate::customers::{Catalogue, Customer, Token};
use crate::ids::Secret;
use crate::routing::Reason;

/// Public letters behind the environment.
const PUBLIC_LETTERS: usize = 8;
/// Secret characters: 43 of 62 kinds hold 256 bits.
const SECRET_CHARACTERS: usize = 43;
/// The longest environment, in bytes.
const ENVIRONMENT_BYTES_MAX: usize = 8;
const LETTERS: &[u8] = b"abcdefghijklmnopqrstuvwxyz";
const BASE62: &[u8] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

/// A token at the one moment when it is known whole.
#[derive(Debug)]
pub struct Fresh {
    /// Shown to its owner once, never kept.
    pub text: Secret,
    /// `ovt_<environment>_<8 letters>`
    pub prefix: String,
    /// SHA-256 of the whole text.
    pub hash: [u8; 32],
}

/// A valid token and its owner.
#[derive(Debug)]
pub struct Shown<'a> {
    /// The owner.
    pub customer: &'a Arc<Customer>,
    /// The entry in the owner's file.
    pub token: &'a Token,
}

/// Makes a token. An environment is 2 to 8 letters a-z.
///
/// # Errors
/// A sentence, when the environment is none or the operating system gives no randomness.
pub fn create(environment: &str) -> Result<Fresh, &'static str> {
    if !is_environment(environment) {
        return Err("an environment has 2 to 8 letters a-z");
    }
    let prefix = format!("ovt_{environment}_{}", random(LETTERS, PUBLIC_LETTERS)?);
    let text = format!("{prefix}{}", random(BASE62, SECRET_CHARACTERS)?);
    let hash = hash(&text);
    Ok(Fresh { text: Secret::new(text), prefix, hash })
}

/// SHA-256 of a token's whole text.
#[must_use]
pub fn hash(text: &str) -> [u8; 32] {
    let mut hash = [0; 32];
    hash.iter_mut().zip(digest(&SHA256, text.as_bytes()).as_ref()).for_each(|(to, from)| *to = *from);
    hash
}

/// The public prefix of a text that has a token's form. Kept apart from [`hash`]: a prefix is no secret.
#[must_use]
pub fn prefix(text: &str) -> Option<&str> {
    let random =
        text.rsplit('_').next().filter(|random| random.len() == PUBLIC_LETTERS + SECRET_CHARACTERS)?;
    let prefix = text.get(..text.len().checked_sub(random.len())?.checked_add(PUBLIC_LETTERS)?)?;
    (is_prefix(prefix) && random.bytes().all(|byte| byte.is_ascii_alphanumeric())).then_some(prefix)
}

/// Whether this is `ovt_<environment>_<8 letters>`.
#[must_use]
pub fn is_prefix(text: &str) -> bool {
    let parts = text.strip_prefix("ovt_").and_then(|rest| rest.split_once('_'));
    parts.is_some_and(|(environment, letters)| {
        is_environment(environment)
            && letters.len() == PUBLIC_LETTERS
            && letters.bytes().all(|byte| byte.is_ascii_lowercase())
    })
}

/// Finds and checks a token; `now` is in seconds since 1970.
///
/// # Errors
/// The [`Reason`], for the record only.
pub(super) fn verify<'a>(catalogue: &'a Catalogue, text: &str, now: i64) -> Result<Shown<'a>, Reason> {
    let found = prefix(text).and_then(|prefix| catalogue.token(prefix));
    let expected = found.map_or([0; 32], |(_, token)| token.hash);
    let same = verify_slices_are_equal(&hash(text), &expected).is_ok();
    let Some((customer, token)) = found.filter(|_| same) else {
        return Err(Reason::UnknownToken);
    };
    if token.revoked_at.is_some_and(|revoked| revoked <= now) {
        return Err(Reason::TokenRevoked);
    }
    if token.expires_at.is_some_and(|expires| expires <= now) {
        return Err(Reason::TokenExpired);
    }
    Ok(Shown { customer, token })
}

fn is_environment(text: &str) -> bool {
    (2..=ENVIRONMENT_BYTES_MAX).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_lowercase())
}

/// Characters of `alphabet`, each as likely as any other: bytes beyond its last multiple are thrown away.
fn random(alphabet: &[u8], length: usize) -> Result<String, &'static str> {
    let multiple = 256_usize.checked_rem(alphabet.len()).and_then(|rest| 256_usize.checked_sub(rest));
    let multiple = multiple.ok_or("the alphabet is empty")?;
    let mut text = String::with_capacity(length);
    while text.len() < length {
        let mut bytes = [0; 64];
        rand::fill(&mut bytes).map_err(|_| "the operating system gives no randomness")?;
        let fair = bytes.iter().map(|byte| usize::from(*byte)).filter(|byte| *byte < multiple);
        let letters = fair.filter_map(|byte| alphabet.get(byte % alphabet.len()).copied().map(char::from));
        text.extend(letters.take(length.saturating_sub(text.len())));
    }
    Ok(text)
}
