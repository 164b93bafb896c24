//! The later life of keys: wrapped anew under another platform key, retired, shredded.
//!
//! Each step is done file by file under the folder's lock and can be done again after an interruption. A key is first retired
//! (nothing new is written under it), then whatever still needs it is finished, then it is shredded.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use super::file::{KeyFile, State, Tombstone, Wrapped};
use super::folder::Held;
use super::{KeyError, Keyring, OWN, place_of};
use crate::audit::gate::lock;

/// Longer than others hold the keyring's lock.
const PATIENCE: Duration = Duration::from_secs(10);

/// What a rotation did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Rotated {
    /// Keys wrapped anew.
    pub rewrapped: u64,
    /// Keys that were under the present platform key already.
    pub were_current: u64,
    /// Keys that are gone.
    pub shredded: u64,
}

impl Keyring {
    /// Wraps every key under the present platform key. Can be interrupted and done again; the data keys stay the same.
    ///
    /// # Errors
    /// [`KeyError`] at the first key that cannot be wrapped anew; those before it are.
    pub fn rotate(&self) -> Result<Rotated, KeyError> {
        let mut rotated = Rotated::default();
        let platform = &self.platform()?.current;
        for number in self.folder.numbers()? {
            let held = self.lock_with_patience()?;
            let file = self.folder.read(number)?;
            let counter = match &file.wrapped {
                None => &mut rotated.shredded,
                Some(wrapped) if wrapped.platform == platform.name() => &mut rotated.were_current,
                Some(wrapped) => {
                    let secret = self.unwrap(&file.label, wrapped)?;
                    let anew = Wrapped::seal(&secret, &file.label, platform).ok_or(KeyError::Random)?;
                    self.folder.write(&held, &KeyFile { wrapped: Some(anew), ..file })?;
                    &mut rotated.rewrapped
                }
            };
            *counter = counter.saturating_add(1);
        }
        Ok(rotated)
    }

    /// Lets nothing new be written under a customer's keys; the numbers of those that can still be read. A new record of
    /// the customer gets a new key.
    ///
    /// # Errors
    /// [`KeyError`]; what was retired stays so.
    pub fn retire(&self, customer: &str) -> Result<Vec<u32>, KeyError> {
        let mut retiring = Vec::new();
        for file in self.files_of(customer)? {
            let number = file.label.number;
            if file.state == State::Active {
                let held = self.lock_with_patience()?;
                let file = self.folder.read(number)?;
                if file.state == State::Active {
                    let place = place_of(&file.label);
                    self.folder.write(&held, &KeyFile { state: State::Retiring, ..file })?;
                    let mut known = lock(&self.known);
                    if known.active.get(&place) == Some(&number) {
                        known.active.remove(&place);
                    }
                    known.current.remove(customer);
                }
            }
            if file.wrapped.is_some() {
                retiring.push(number);
            }
        }
        self.generation.fetch_add(1, Ordering::AcqRel);
        Ok(retiring)
    }

    /// Destroys a customer's retiring keys; their numbers. Whatever was encrypted with them is unreadable from now on.
    ///
    /// # Errors
    /// [`KeyError`]; what was destroyed is.
    pub fn shred(&self, customer: &str, tombstone: &Tombstone) -> Result<Vec<u32>, KeyError> {
        let mut gone = Vec::new();
        for file in self.files_of(customer)?.into_iter().filter(|file| file.state == State::Retiring) {
            let held = self.lock_with_patience()?;
            let state = State::Shredded(tombstone.clone());
            let number = file.label.number;
            self.folder.write(&held, &KeyFile { state, wrapped: None, ..file })?;
            lock(&self.known).opened.remove(&number);
            gone.push(number);
        }
        self.generation.fetch_add(1, Ordering::AcqRel);
        Ok(gone)
    }

    /// Destroys the signing keys before one: they were replaced.
    ///
    /// # Errors
    /// [`KeyError`]; what was destroyed is.
    pub fn retire_signers(&self, before: u32, tombstone: &Tombstone) -> Result<(), KeyError> {
        let numbers = lock(&self.known).signers.clone();
        for number in numbers.into_iter().filter(|number| *number < before) {
            let held = self.lock_with_patience()?;
            let file = self.folder.read(number)?;
            let state = State::Shredded(tombstone.clone());
            self.folder.write(&held, &KeyFile { state, wrapped: None, ..file })?;
            let mut known = lock(&self.known);
            known.opened.remove(&number);
            known.signers.retain(|signer| *signer != number);
        }
        Ok(())
    }

    /// Nobody waits for this one.
    fn lock_with_patience(&self) -> Result<Held, KeyError> {
        let begun = Instant::now();
        loop {
            match self.folder.lock() {
                Err(KeyError::Busy(_)) if begun.elapsed() < PATIENCE => {}
                done => return done,
            }
        }
    }

    /// The files of a customer. A file that cannot be read is passed over, and told: it may be another's.
    fn files_of(&self, customer: &str) -> Result<Vec<KeyFile>, KeyError> {
        if customer == OWN {
            let file = self.folder.path().to_owned();
            return Err(KeyError::Damaged { file, what: "the vault's own keys are not shredded" });
        }
        let mut files = Vec::new();
        for number in self.folder.numbers()? {
            match self.folder.read(number) {
                Ok(file) if file.label.customer == customer => files.push(file),
                Ok(_) => {}
                Err(error) => tracing::error!(%error, "a key cannot be read; it may belong to {customer}"),
            }
        }
        Ok(files)
    }
}
