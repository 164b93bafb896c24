//! The bodies of the journal, encrypted: AES-256-GCM under a key derived from the customer's and the run of the process.
//!
//! The nonce is the record's number. A number may come again after a torn end was cut, but only in another run, whose key
//! is another one; so no key meets a nonce twice. Bound to each body are the fields of its frame, so it cannot be
//! put into another. What the log says of itself (start, stop, gap) names no customer's affairs and stays plain: it is
//! found without a key, and written even where no key can be had.

use std::collections::HashMap;
use std::sync::Arc;

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};

use super::journal::FrameHead;
use super::keys::{DataKey, KeyError, Keyring, month_of};
use super::logs::Logs;

/// A body grows by so much.
pub(super) const TAG_BYTES: usize = 16;
/// The fields of a frame that its body is bound to.
pub(super) type Bound = [u8; 20];

/// What encrypts the bodies of one customer in one run of the process.
pub(super) struct BodyKey {
    number: u32,
    month: u32,
    key: LessSafeKey,
}

impl BodyKey {
    fn new(key: &DataKey, boot: &[u8; 16]) -> Result<Self, KeyError> {
        let mut purpose = [0; 23];
        let (name, run) = purpose.split_at_mut(7);
        name.copy_from_slice(b"journal");
        run.copy_from_slice(boot);
        let derived = key.derive(&purpose);
        let made = UnboundKey::new(&AES_256_GCM, derived.as_slice()).map_err(|_| KeyError::Random)?;
        Ok(Self { number: key.number(), month: key.month(), key: LessSafeKey::new(made) })
    }

    /// Of the data key, as it stands in the frame.
    pub(super) const fn number(&self) -> u32 {
        self.number
    }

    /// Encrypts a body at its place; what follows it. `None`: it was not encrypted.
    pub(super) fn seal(&self, record: u64, bound: &Bound, body: &mut [u8]) -> Option<[u8; TAG_BYTES]> {
        let tag = self.key.seal_in_place_separate_tag(nonce(record), Aad::from(bound), body).ok()?;
        tag.as_ref().try_into().ok()
    }

    /// The plain body; `None`: it is not what was encrypted.
    fn open<'a>(&self, record: u64, bound: &Bound, body: &'a mut [u8]) -> Option<&'a [u8]> {
        self.key.open_in_place(nonce(record), Aad::from(bound), body).ok().map(|plain| &*plain)
    }
}

fn nonce(record: u64) -> Nonce {
    let mut nonce = [0; NONCE_LEN];
    if let Some(place) = nonce.last_chunk_mut() {
        *place = record.to_le_bytes();
    }
    Nonce::assume_unique_for_key(nonce)
}

/// The writer's keys, one for each log that writes this month.
pub(super) struct Sealer {
    keyring: Arc<Keyring>,
    boot: [u8; 16],
    now_ns: u64,
    month: u32,
    generation: u64,
    keys: Vec<Option<BodyKey>>,
}

impl Sealer {
    pub(super) const fn new(keyring: Arc<Keyring>, boot: [u8; 16]) -> Self {
        Self { keyring, boot, now_ns: 0, month: 0, generation: 0, keys: Vec::new() }
    }

    /// A batch begins: from here on no key that retired before is used, and a new month has new keys.
    pub(super) fn begin_batch(&mut self, now_ns: u64) {
        let generation = self.keyring.generation();
        self.now_ns = now_ns;
        self.month = month_of(now_ns);
        if generation != self.generation {
            self.generation = generation;
            self.keys.clear();
        }
    }

    /// Whether the key of a log is at hand, so that it need not be read or made.
    pub(super) fn has_key(&self, log: u32) -> bool {
        let key = usize::try_from(log).ok().and_then(|at| self.keys.get(at)).and_then(Option::as_ref);
        key.is_some_and(|key| key.month == self.month)
    }

    /// The key of a log, made durably where there is none yet.
    pub(super) fn key(&mut self, logs: &Logs, log: u32) -> Result<&BodyKey, KeyError> {
        let at = usize::try_from(log).unwrap_or(usize::MAX);
        if self.keys.len() <= at {
            self.keys.resize_with(at.saturating_add(1), || None);
        }
        let Some(place) = self.keys.get_mut(at) else { return Err(KeyError::Random) };
        if place.as_ref().is_none_or(|key| key.month != self.month) {
            let key = self.keyring.current(&logs.name(log), self.now_ns)?;
            *place = Some(BodyKey::new(&key, &self.boot)?);
        }
        place.as_ref().ok_or(KeyError::Random)
    }
}

/// Why a body stays closed.
#[derive(Debug)]
pub(super) enum Closed {
    /// Its key was destroyed on purpose.
    Shredded,
    /// It is of a log that is not read.
    Other,
    /// The key cannot be had.
    Key(KeyError),
    /// It does not open with its key.
    Broken,
}

/// A reader's keys, for one run of the process at a time.
pub(super) struct Opener {
    keyring: Arc<Keyring>,
    boot: [u8; 16],
    generation: u64,
    keys: HashMap<u32, Found>,
    /// Records of this log only.
    only: Option<Arc<str>>,
    plain: Vec<u8>,
}

/// What is known of a key.
enum Found {
    Key(BodyKey),
    Shredded,
    /// It is of another log.
    Other,
}

impl std::fmt::Debug for Opener {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Opener").finish_non_exhaustive()
    }
}

impl Opener {
    /// Of one log, or of all.
    pub(super) fn new(keyring: Arc<Keyring>, only: Option<&str>) -> Self {
        let only = only.map(Arc::from);
        Self { keyring, boot: [0; 16], generation: 0, keys: HashMap::new(), only, plain: Vec::new() }
    }

    /// Whether records of every log are read.
    pub(super) const fn is_of_all(&self) -> bool {
        self.only.is_none()
    }

    pub(super) fn keyring(&self) -> Arc<Keyring> {
        Arc::clone(&self.keyring)
    }

    /// Whether a record is of another log than the one that is read, as its key tells. What cannot be told is not.
    pub(super) fn is_other(&mut self, number: u32) -> bool {
        let Some(only) = &self.only else { return false };
        match self.keys.get(&number) {
            Some(found) => matches!(found, Found::Other),
            None => {
                let is_other = self.keyring.by_number(number).is_ok_and(|key| **only != *key.customer());
                if is_other {
                    self.keys.insert(number, Found::Other);
                }
                is_other
            }
        }
    }

    /// Decrypts the body of a frame that a run of the process wrote.
    pub(super) fn open(&mut self, boot: [u8; 16], head: &FrameHead, body: &[u8]) -> Result<&[u8], Closed> {
        let generation = self.keyring.generation();
        if self.boot != boot || self.generation != generation {
            self.keys.clear();
            (self.boot, self.generation) = (boot, generation);
        }
        let key = match self.keys.entry(head.format) {
            std::collections::hash_map::Entry::Occupied(known) => known.into_mut(),
            std::collections::hash_map::Entry::Vacant(place) => {
                let is_other =
                    |key: &DataKey| self.only.as_ref().is_some_and(|only| **only != *key.customer());
                place.insert(match self.keyring.by_number(head.format) {
                    Ok(key) if is_other(&key) => Found::Other,
                    Ok(key) => Found::Key(BodyKey::new(&key, &boot).map_err(Closed::Key)?),
                    Err(KeyError::Shredded(_)) => Found::Shredded,
                    Err(error) => return Err(Closed::Key(error)),
                })
            }
        };
        let key = match key {
            Found::Key(key) => key,
            Found::Shredded => return Err(Closed::Shredded),
            Found::Other => return Err(Closed::Other),
        };
        self.plain.clear();
        self.plain.extend_from_slice(body);
        key.open(head.record, &head.bound(), &mut self.plain).ok_or(Closed::Broken)
    }
}
