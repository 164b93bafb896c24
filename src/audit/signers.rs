//! Who signs for the log: found among the keys at the start, replaced when somebody asks for it.
//!
//! What always holds: the public key that lies beside the log says who signs, and without the private key to it nobody does; a key is
//! replaced in this order, and what was begun goes on at the next start: the new one is on disk, every log has a checkpoint of
//! both, the public key is exchanged, the vault's own log says so, the old private key is destroyed.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::evidence::{folder_of, key_beside};
use super::gate::now_ns;
use super::keys::file::Tombstone;
use super::keys::{Keyring, Seed};
use super::notary::notes::PUBLIC_KEY;
use super::notary::{Told, Trouble};
use crate::proof::note::{Signer, Verifier};

/// Every log gets a checkpoint of both keys in this time, or the answer is that it goes on.
const PATIENCE: Duration = Duration::from_secs(20);
const LOOK_EVERY: Duration = Duration::from_millis(20);
/// How the record of a new key begins; behind it come the old one, [`BETWEEN`] and the new one.
pub(super) const RECORD: &str = "signing key replaced: ";
/// Between the keys in the record.
pub(super) const BETWEEN: &str = " by ";

/// Who signs at the start.
#[derive(Debug)]
pub(super) struct Found {
    /// Who signed last.
    pub(super) current: Arc<Signer>,
    /// Who is about to.
    pub(super) next: Option<Arc<Signer>>,
}

fn signer((_, seed): &(u32, Seed), origin: &str) -> Result<Arc<Signer>, Trouble> {
    let signer =
        Signer::new(origin, seed).map_err(|_| Trouble::Signer("origin names no vault".to_owned()))?;
    Ok(Arc::new(signer))
}

/// Finds who signs for the log in a folder; at its very first start a key is made.
pub(super) fn find(keyring: &Keyring, origin: &str, directory: &Path) -> Result<Found, Trouble> {
    let beside = key_beside(directory).map_err(|error| Trouble::Signer(error.to_string()))?;
    let of_keys = |error: super::keys::KeyError| Trouble::Signer(error.to_string());
    let mut signers = Vec::new();
    for seed in keyring.signers().map_err(of_keys)? {
        signers.push(signer(&seed, origin)?);
    }
    let at = match &beside {
        Some(key) => signers.iter().position(|signer| signer.verifier() == key),
        None if signers.is_empty() => {
            signers.push(signer(&keyring.make_signer().map_err(of_keys)?, origin)?);
            Some(0)
        }
        None => Some(0),
    };
    let mut signers = signers.into_iter().skip(at.unwrap_or(usize::MAX));
    match (signers.next(), beside) {
        (Some(current), _) => Ok(Found { current, next: signers.next() }),
        (None, key) => Err(lost(directory, origin, key.as_ref())),
    }
}

fn lost(directory: &Path, origin: &str, key: Option<&Verifier>) -> Trouble {
    let path = folder_of(directory).join(PUBLIC_KEY);
    let (path, key) = (path.display(), key.map(Verifier::encoded).unwrap_or_default());
    let is_other = !key.starts_with(&format!("{origin}+"));
    Trouble::Signer(if is_other {
        format!("{path} has the key of another vault, {key}; audit.origin is {origin}")
    } else {
        format!(
            "no key of the keyring is the private key to {key} in {path}: the file of the signing key is lost, \
             damaged or another one (onevault audit keys list)"
        )
    })
}

/// Replaces who signs. `record` says it in the vault's own log and answers when that is on disk.
///
/// # Errors
/// Why it is not done; what was begun goes on when it can.
pub(super) fn replace(
    (keyring, told): (&Keyring, &Told),
    origin: &str,
    (by, why): (&str, &str),
    record: &dyn Fn(&str) -> Result<(), String>,
) -> Result<String, String> {
    let signs = who_signs(told)?;
    let of_keys = |error: super::keys::KeyError| error.to_string();
    let newest = keyring.signers().map_err(of_keys)?.pop().ok_or("the keyring has no signing key")?;
    let is_signing = signer(&newest, origin).map_err(|trouble| trouble.to_string())?.verifier() == &signs;
    let newest = if is_signing { keyring.make_signer().map_err(of_keys)? } else { newest };
    go_on((keyring, told), origin, (by, why), (&signs, &newest), record)
}

/// Who signs; right after the start that takes a moment.
fn who_signs(told: &Told) -> Result<Verifier, String> {
    let begun = Instant::now();
    loop {
        match (told.signs(), told.trouble()) {
            (Some(key), _) => return Ok(key),
            (None, Some(trouble)) => return Err(format!("nothing is signed at the moment: {trouble}")),
            (None, None) if begun.elapsed() > PATIENCE => return Err("nothing is signed yet".to_owned()),
            (None, None) => std::thread::sleep(LOOK_EVERY),
        }
    }
}

/// Ends what an earlier process had begun, if it had. `false`: that cannot be told yet.
///
/// # Errors
/// As [`replace`].
pub(super) fn finish(
    (keyring, told): (&Keyring, &Told),
    origin: &str,
    record: &dyn Fn(&str) -> Result<(), String>,
) -> Result<bool, String> {
    let mut signers = keyring.signers().map_err(|error| error.to_string())?;
    let (Some(newest), Some(signs)) = (signers.pop(), told.signs()) else { return Ok(false) };
    let Some(before) = signers.pop() else { return Ok(true) };
    let of = |seed| signer(seed, origin).map_err(|trouble| trouble.to_string());
    // Where the new one signs already, the one before it is who did.
    let is_signing = of(&newest)?.verifier() == &signs;
    let old = if is_signing { of(&before)?.verifier().clone() } else { signs };
    let by = ("onevault", "it was begun before an end of the process");
    go_on((keyring, told), origin, by, (&old, &newest), record).map(|_| true)
}

fn go_on(
    (keyring, told): (&Keyring, &Told),
    origin: &str,
    (by, why): (&str, &str),
    (old, newest): (&Verifier, &(u32, Seed)),
    record: &dyn Fn(&str) -> Result<(), String>,
) -> Result<String, String> {
    let next = signer(newest, origin).map_err(|trouble| trouble.to_string())?;
    let new = next.verifier().clone();
    told.sign_with(next);
    let begun = Instant::now();
    while told.signs().as_ref() != Some(&new) {
        if begun.elapsed() > PATIENCE {
            let trouble =
                told.trouble().unwrap_or_else(|| "not every log has been signed with it yet".to_owned());
            return Err(format!("{} is made and will sign as soon as it can: {trouble}", new.encoded()));
        }
        std::thread::sleep(LOOK_EVERY);
    }
    let (old, new) = (old.encoded(), new.encoded());
    record(&format!("{RECORD}{old}{BETWEEN}{new}; by {by}: {why}"))?;
    let why = format!("replaced as signing key: {why}");
    let tombstone = Tombstone { time_ns: now_ns(), by: by.to_owned(), why };
    keyring.retire_signers(newest.0, &tombstone).map_err(|error| error.to_string())?;
    Ok(format!("{new} signs from now on; {old} does not any more"))
}
