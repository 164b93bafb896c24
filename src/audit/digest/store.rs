//! Digests in files, encrypted: AES-256-GCM under a key derived from a data key of the customer.
//!
//! A file is the mark `OVDIGST1`, the number of the data key, a random nonce, and the encrypted JSON. Bound to it are the mark, the
//! customer and the file's name, so it cannot be put in another's place. A file is whole or not there: it is replaced by
//! renaming, for good.

use std::fmt;
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::super::archive::place::make_folder;
use super::super::keys::{DataKey, KeyError, Keyring};
use super::super::notary::log_of;
use super::Digest;
use super::days::{STATE, State};

const MARK: &[u8; 8] = b"OVDIGST1";
/// Before the encrypted bytes: mark, key, nonce.
const HEAD_BYTES: usize = 8 + 4 + NONCE_LEN;
/// A longer file is none of ours.
const FILE_BYTES_MAX: u64 = 16 << 20;
/// Purpose under which data keys give the keys of files.
const PURPOSE: &[u8] = b"digest";
const ENDING: &str = "digest";
const UNFINISHED: &str = "new";

/// Why a file cannot be read or written.
#[derive(Debug)]
pub enum StoreError {
    /// The operating system refused.
    Io(PathBuf, io::Error),
    /// Its key cannot be had.
    Key(KeyError),
    /// It is not as it was written.
    Damaged(PathBuf),
}

impl fmt::Display for StoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io(path, error) => write!(f, "{}: {error}", path.display()),
            Self::Key(error) => write!(f, "{error}"),
            Self::Damaged(path) => write!(f, "{} is not as it was written", path.display()),
        }
    }
}

impl std::error::Error for StoreError {}

/// The files of all customers.
#[derive(Debug, Clone)]
pub struct Store {
    folder: PathBuf,
    keyring: Arc<Keyring>,
}

impl Store {
    /// Files in a folder, which need not be there.
    #[must_use]
    pub const fn new(folder: PathBuf, keyring: Arc<Keyring>) -> Self {
        Self { folder, keyring }
    }

    /// The days of which a customer has a digest, in order, such as `2026-11-22`.
    ///
    /// # Errors
    /// [`StoreError::Io`].
    pub fn days(&self, customer: &str) -> Result<Vec<String>, StoreError> {
        let folder = self.folder.join(customer);
        let mut days = Vec::new();
        let entries = match fs::read_dir(&folder) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(days),
            Err(error) => return Err(StoreError::Io(folder, error)),
        };
        for entry in entries {
            let path = entry.map_err(|error| StoreError::Io(folder.clone(), error))?.path();
            let is_one = path.extension().is_some_and(|ending| ending == ENDING);
            days.extend(
                path.file_stem().and_then(|name| name.to_str()).filter(|_| is_one).map(str::to_owned),
            );
        }
        days.sort_unstable();
        Ok(days)
    }

    /// Everybody who has a folder here.
    pub(in crate::audit) fn customers(&self) -> Result<Vec<String>, StoreError> {
        let io = |error| StoreError::Io(self.folder.clone(), error);
        let entries = match fs::read_dir(&self.folder) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(io(error)),
        };
        let mut names = Vec::new();
        for entry in entries {
            let name = entry.map_err(io)?.file_name().into_string().unwrap_or_default();
            names.extend(Some(name).filter(|name| log_of(name.as_bytes()) == name));
        }
        Ok(names)
    }

    /// The files of a customer, without those that are being written.
    pub(in crate::audit) fn names(&self, customer: &str) -> Result<Vec<String>, StoreError> {
        let folder = self.folder.join(customer);
        let io = |error| StoreError::Io(folder.clone(), error);
        let entries = match fs::read_dir(&folder) {
            Ok(entries) => entries,
            Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
                return Ok(Vec::new());
            }
            Err(error) => return Err(io(error)),
        };
        let mut names = Vec::new();
        for entry in entries {
            let name = entry.map_err(io)?.file_name().into_string().unwrap_or_default();
            names.extend(Some(name).filter(|name| !name.ends_with(UNFINISHED)));
        }
        names.sort_unstable();
        Ok(names)
    }

    /// The days of a customer that are not over, as of the last round.
    ///
    /// # Errors
    /// [`StoreError`]; with [`KeyError::Shredded`] where the customer was shredded since.
    pub fn open_days(&self, customer: &str) -> Result<Vec<Digest>, StoreError> {
        let state = self.read::<State>(customer, STATE)?;
        Ok(state.map(|(state, _)| state.open).unwrap_or_default())
    }

    /// Whether there is a digest of a day.
    pub(super) fn has_day(&self, customer: &str, day: &str) -> bool {
        self.folder.join(customer).join(format!("{day}.{ENDING}")).exists()
    }

    /// A day's digest, if there is one.
    ///
    /// # Errors
    /// [`StoreError`]; with [`KeyError::Shredded`] where the customer was shredded since.
    pub fn day(&self, customer: &str, day: &str) -> Result<Option<Digest>, StoreError> {
        Ok(self.read_day(customer, day)?.map(|(digest, _)| digest))
    }

    /// The same with the number of its key.
    pub(super) fn read_day(&self, customer: &str, day: &str) -> Result<Option<(Digest, u32)>, StoreError> {
        self.read(customer, &format!("{day}.{ENDING}"))
    }

    /// Keeps a day's digest.
    pub(super) fn keep_day(&self, digest: &Digest, key: &DataKey) -> Result<(), StoreError> {
        self.write(&digest.customer, &format!("{}.{ENDING}", digest.day), digest, key)
    }

    /// Reads a file of a customer, and the number of its key; nothing: there is none.
    pub(in crate::audit) fn read<T: DeserializeOwned>(
        &self,
        customer: &str,
        name: &str,
    ) -> Result<Option<(T, u32)>, StoreError> {
        let path = self.folder.join(customer).join(name);
        let mut bytes = Vec::new();
        match File::open(&path).and_then(|file| file.take(FILE_BYTES_MAX).read_to_end(&mut bytes)) {
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(StoreError::Io(path, error)),
        }
        let damaged = || StoreError::Damaged(path.clone());
        let (mark, rest) = bytes.split_first_chunk::<8>().ok_or_else(damaged)?;
        let (number, rest) = rest.split_first_chunk().ok_or_else(damaged)?;
        let (nonce, sealed) = rest.split_first_chunk::<NONCE_LEN>().ok_or_else(damaged)?;
        if mark != MARK {
            return Err(damaged());
        }
        let number = u32::from_le_bytes(*number);
        // What is about to be shredded must not be taken into anything new.
        if !self.keyring.is_active(number) {
            // Else a file would pass for that of somebody who was shredded.
            if !self.keyring.is_of(number, customer).map_err(StoreError::Key)? {
                return Err(damaged());
            }
            let gone = self.keyring.by_number(number).err().unwrap_or(KeyError::Shredded(number));
            return Err(StoreError::Key(gone));
        }
        let key = self.keyring.by_number(number).map_err(StoreError::Key)?;
        let mut sealed = sealed.to_vec();
        let opened = sealer(&key)
            .and_then(|key| {
                let nonce = Nonce::assume_unique_for_key(*nonce);
                key.open_in_place(nonce, Aad::from(bound(customer, name)), &mut sealed).ok()
            })
            .ok_or_else(damaged)?;
        let value = serde_json::from_slice(opened).map_err(|_| damaged())?;
        Ok(Some((value, number)))
    }

    /// The key for new files of a customer.
    pub(in crate::audit) fn key(&self, customer: &str, now_ns: u64) -> Result<Arc<DataKey>, StoreError> {
        self.keyring.current(customer, now_ns).map_err(StoreError::Key)
    }

    /// Replaces a file of a customer, for good.
    pub(in crate::audit) fn write<T: Serialize>(
        &self,
        customer: &str,
        name: &str,
        value: &T,
        key: &DataKey,
    ) -> Result<(), StoreError> {
        let folder = self.folder.join(customer);
        let path = folder.join(name);
        let io = |error| StoreError::Io(path.clone(), error);
        let mut nonce = [0; NONCE_LEN];
        aws_lc_rs::rand::fill(&mut nonce).map_err(|_| StoreError::Key(KeyError::Random))?;
        let mut sealed = serde_json::to_vec(value).map_err(|error| io(error.into()))?;
        sealer(key)
            .and_then(|key| {
                let nonce = Nonce::assume_unique_for_key(nonce);
                key.seal_in_place_append_tag(nonce, Aad::from(bound(customer, name)), &mut sealed).ok()
            })
            .ok_or(StoreError::Key(KeyError::Random))?;
        let mut bytes = Vec::with_capacity(HEAD_BYTES.saturating_add(sealed.len()));
        bytes.extend_from_slice(MARK);
        bytes.extend_from_slice(&key.number().to_le_bytes());
        bytes.extend_from_slice(&nonce);
        bytes.append(&mut sealed);
        make_folder(&folder).map_err(io)?;
        replace(&path, &bytes).map_err(io)
    }

    /// See [`Keyring::is_active`].
    pub(super) fn is_active(&self, key: u32) -> bool {
        self.keyring.is_active(key)
    }
}

/// Puts a file in the place of another at once, for good.
pub(super) fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let new = path.with_extension(UNFINISHED);
    let mut file = File::options().write(true).create(true).truncate(true).mode(0o600).open(&new)?;
    file.write_all(bytes)?;
    file.sync_data()?;
    fs::rename(&new, path)?;
    File::open(path.parent().unwrap_or(Path::new(".")))?.sync_all()
}

fn sealer(key: &DataKey) -> Option<LessSafeKey> {
    UnboundKey::new(&AES_256_GCM, key.derive(PURPOSE).as_slice()).ok().map(LessSafeKey::new)
}

fn bound(customer: &str, name: &str) -> Vec<u8> {
    [MARK.as_slice(), customer.as_bytes(), b"/", name.as_bytes()].concat()
}
