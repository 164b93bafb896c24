//! What lies in a log's folder besides journal, archive and trees: keys, the register of decisions, and files that are sealed
//! with a customer's key.
//!
//! What always holds: each of these is opened as those who use it do, and the first that is not as it was written is named;
//! nothing is changed. What was shredded is passed over.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::Path;
use std::sync::Arc;

use serde::de::IgnoredAny;

use super::alert;
use super::digest;
use super::digest::follower::is_position_whole;
use super::digest::store::{Store, StoreError};
use super::disk::{LOCK_NAME, NEXT_NAME};
use super::evidence::NotVerified;
use super::keeping::register::Register;
use super::keys::file::State;
use super::keys::{self, KeyError, Keyring};
use super::reconcile;

/// Reads all of them.
///
/// # Errors
/// [`NotVerified`] names the first file that is not as it was written.
pub fn check(directory: &Path, keyring: &Arc<Keyring>) -> Result<(), NotVerified> {
    keys(directory, keyring)?;
    Register::read(directory, keyring).map_err(NotVerified::Differs)?;
    for folder in [digest::folder_of(directory), alert::folder_of(directory), reconcile::folder_of(directory)]
    {
        sealed(&folder, keyring)?;
    }
    let (position, is_whole) = is_position_whole(&digest::folder_of(directory));
    if !is_whole {
        return Err(NotVerified::Differs(format!("{}: it is not as it was written", position.display())));
    }
    zeros(&directory.join(NEXT_NAME), "it is not filled with zeros")?;
    for lock in [directory.join(LOCK_NAME), keys::folder_of(directory).join(keys::LOCK_NAME)] {
        match fs::metadata(&lock).map(|found| found.len()) {
            Ok(1..) => return Err(NotVerified::Differs(format!("{}: it is not empty", lock.display()))),
            Ok(0) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(NotVerified::Unknown(format!("{}: {error}", lock.display()))),
        }
    }
    Ok(())
}

impl From<KeyError> for NotVerified {
    fn from(error: KeyError) -> Self {
        match error {
            KeyError::Damaged { .. } | KeyError::Missing(_) => Self::Differs(error.to_string()),
            KeyError::Platform(_)
            | KeyError::NoPlatform(_)
            | KeyError::OtherPlatform(_)
            | KeyError::Shredded(_)
            | KeyError::Busy(_)
            | KeyError::Random
            | KeyError::Io(..) => Self::Unknown(error.to_string()),
        }
    }
}

/// Every key, whatever it is for, opens with the platform key it names; numbers are given without gaps, and no file ever goes.
fn keys(directory: &Path, keyring: &Keyring) -> Result<(), NotVerified> {
    let folder = keys::folder_of(directory);
    let mut next = 1_u32;
    for listed in Keyring::list(&folder)? {
        let listed = listed?;
        let number = listed.label.number;
        if number != next {
            return Err(KeyError::Missing(folder.join(keys::key_name(next))).into());
        }
        if !matches!(listed.state, State::Shredded(_)) {
            match keyring.by_number(number) {
                // Shredded since it was listed.
                Ok(_) | Err(KeyError::Shredded(_)) => {}
                Err(error) => return Err(error.into()),
            }
        }
        next = next.saturating_add(1);
    }
    Ok(())
}

/// Each file opens with its key, for its customer and under its name.
fn sealed(folder: &Path, keyring: &Arc<Keyring>) -> Result<(), NotVerified> {
    let store = Store::new(folder.to_owned(), Arc::clone(keyring));
    let told = |error: StoreError| match error {
        StoreError::Damaged(_) => NotVerified::Differs(error.to_string()),
        StoreError::Key(error @ (KeyError::Damaged { .. } | KeyError::Missing(_))) => error.into(),
        StoreError::Io(..) | StoreError::Key(_) => NotVerified::Unknown(error.to_string()),
    };
    for customer in store.customers().map_err(told)? {
        for name in store.names(&customer).map_err(told)? {
            match store.read::<IgnoredAny>(&customer, &name) {
                Ok(_) | Err(StoreError::Key(KeyError::Shredded(_))) => {}
                // The number in the file was changed, or the file of its key is gone.
                Err(StoreError::Key(KeyError::Missing(key))) => {
                    let path = folder.join(&customer).join(&name);
                    let text = format!("{}: there is no key {}", path.display(), key.display());
                    return Err(NotVerified::Differs(text));
                }
                Err(error) => return Err(told(error)),
            }
        }
    }
    Ok(())
}

/// A file that is to hold nothing yet.
fn zeros(path: &Path, what: &str) -> Result<(), NotVerified> {
    let unknown = |error: io::Error| NotVerified::Unknown(format!("{}: {error}", path.display()));
    let mut file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(unknown(error)),
    };
    let (mut bytes, zeros) = ([0; 8192], [0; 8192]);
    loop {
        let read = file.read(&mut bytes).map_err(unknown)?;
        if bytes.get(..read) != zeros.get(..read) {
            return Err(NotVerified::Differs(format!("{}: {what}", path.display())));
        }
        if read == 0 {
            return Ok(());
        }
    }
}
