//! What lies in a log's folder besides journal, archive and trees: keys, the register of decisions, and files that are sealed
//! with a customer's key.
//!
//! What always holds: each of these is opened as those who use it do, and the first that is not as it was written is named;
//! nothing is changed. What was shredded is passed over.

use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use serde::de::IgnoredAny;

use super::alert;
use super::body::wide;
use super::digest;
use super::digest::follower::is_position_whole;
use super::digest::store::{Store, StoreError};
use super::disk::{LOCK_NAME, NEXT_NAME};
use super::evidence::NotVerified;
use super::journal::{HEADER_BYTES, Header};
use super::keeping::register::{self, Register};
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
    for log in register::logs(directory).map_err(NotVerified::Unknown)? {
        Register::of_log(directory, keyring, &log).map_err(NotVerified::Differs)?;
    }
    for folder in [digest::folder_of(directory), alert::folder_of(directory), reconcile::folder_of(directory)]
    {
        sealed(&folder, keyring)?;
    }
    let (position, is_whole) = is_position_whole(&digest::folder_of(directory));
    if !is_whole {
        return Err(NotVerified::Differs(format!("{}: it is not as it was written", position.display())));
    }
    prepared(&directory.join(NEXT_NAME))?;
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

/// The segment that is prepared: zeros, or a header and zeros when it is about to get its name, or never got it.
///
/// It may become the current segment while it is read, and then it is no longer this function's.
fn prepared(path: &Path) -> Result<(), NotVerified> {
    let unknown = |error: io::Error| NotVerified::Unknown(format!("{}: {error}", path.display()));
    // A header is written in one call, but may be seen half of it.
    for patience in [Duration::from_millis(100), Duration::ZERO] {
        let mut file = match File::open(path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(unknown(error)),
        };
        if holds_no_frame(&mut file).map_err(unknown)? || !is_still(path, &file).map_err(unknown)? {
            return Ok(());
        }
        std::thread::sleep(patience);
    }
    Err(NotVerified::Differs(format!("{}: it is not filled with zeros", path.display())))
}

fn holds_no_frame(file: &mut File) -> io::Result<bool> {
    let mut header = Vec::new();
    file.take(wide(HEADER_BYTES)).read_to_end(&mut header)?;
    let is_header = header.first_chunk().is_some_and(|header| Header::decode(header).is_some());
    if !is_header && header.iter().any(|byte| *byte != 0) {
        return Ok(false);
    }
    let (mut bytes, zeros) = ([0; 8192], [0; 8192]);
    loop {
        let read = file.read(&mut bytes)?;
        if bytes.get(..read) != zeros.get(..read) {
            return Ok(false);
        }
        if read == 0 {
            return Ok(true);
        }
    }
}

/// Whether the name stands for this file and no other.
fn is_still(path: &Path, file: &File) -> io::Result<bool> {
    let opened = file.metadata()?;
    match fs::symlink_metadata(path) {
        Ok(named) => Ok((named.dev(), named.ino()) == (opened.dev(), opened.ino())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::Folder;
    use super::*;

    #[test]
    fn a_prepared_segment_may_have_a_header_and_nothing_more() {
        let folder = Folder::new();
        fs::create_dir_all(&folder.0).unwrap();
        let path = folder.0.join(NEXT_NAME);
        assert!(prepared(&path).is_ok());
        let node = Header::node_place("here");
        let header = Header {
            segment: 7,
            first_record: 4711,
            boot: [1; 16],
            created_ns: 1,
            bytes: 1 << 14,
            node,
            salt: 1,
            previous: [2; 32],
        };
        let mut bytes = vec![0; 1 << 14];
        let told = |bytes: &[u8]| {
            fs::write(&path, bytes).unwrap();
            prepared(&path)
        };
        assert!(told(&bytes).is_ok());
        bytes[..HEADER_BYTES].copy_from_slice(&header.encode());
        assert!(told(&bytes).is_ok());
        for at in [0, HEADER_BYTES - 1, HEADER_BYTES, (1 << 14) - 1] {
            bytes[at] ^= 1;
            assert!(matches!(told(&bytes), Err(NotVerified::Differs(_))), "{at}");
            bytes[at] ^= 1;
        }
    }
}
