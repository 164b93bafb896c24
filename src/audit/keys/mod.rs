//! The keys of the audit log: for each customer and month one that encrypts its records, wrapped by the platform key.
//!
//! The keyring is a folder, `keys` inside the log's own, with one file a key ([`mod@file`]). Always holds: a number names one key
//! for ever; a key that was handed out for writing is on disk; who may read the folder and lacks the platform key can
//! tell which keys there are and nothing else; destroying the files of a customer makes its records unreadable and changes
//! no byte of the log. Refuses to know what is encrypted with the keys.
//!
//! ```text
//! mod.rs       Keyring: finding, making, listing     platform.rs  the key that wraps the others
//! file.rs      the bytes of one key's file           folder.rs    reading and replacing files
//! life.rs      rotation, retiring, shredding         requests.rs  what a command asks the running process for
//! ```

pub mod file;
mod folder;
pub mod life;
mod platform;
pub mod requests;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use aws_lc_rs::hkdf::{HKDF_SHA256, Salt};
use time::OffsetDateTime;
use zeroize::Zeroizing;

use self::file::{KeyFile, Label, Purpose, Secret, State, Wrapped};
use self::folder::Folder;
pub(super) use self::folder::{LOCK_NAME, key_name};
pub use self::platform::{PlatformKey, default_file};
use super::gate::{lock, now_ns};
use crate::config;

/// The vault's own log: records that belong to no customer.
pub const OWN: &str = "_";
/// The keyring's folder in the log's.
const FOLDER_NAME: &str = "keys";

/// Why there is no key.
#[derive(Debug)]
pub enum KeyError {
    /// The platform key cannot be had.
    Platform(String),
    /// There are keys, but no platform key for them.
    NoPlatform(PathBuf),
    /// A key is wrapped by another platform key than the configured ones.
    OtherPlatform(PathBuf),
    /// A file is not as it was written.
    Damaged {
        /// The file.
        file: PathBuf,
        /// What was found.
        what: &'static str,
    },
    /// A key's file is not there.
    Missing(PathBuf),
    /// The key was destroyed on purpose.
    Shredded(u32),
    /// Another process changes the keyring and does not come to an end.
    Busy(PathBuf),
    /// The operating system has no random numbers.
    Random,
    /// The operating system refused.
    Io(PathBuf, io::Error),
}

impl fmt::Display for KeyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Platform(what) => f.write_str(what),
            Self::NoPlatform(path) => write!(
                f,
                "the keys in {} cannot be used: the platform key they were made with is missing \
                 (audit.platform_key; without a setting {})",
                path.display(),
                path.parent().map(default_file).unwrap_or_default().display()
            ),
            Self::OtherPlatform(file) => write!(
                f,
                "key {} was made with another platform key than the one of audit.platform_key",
                file.display()
            ),
            Self::Damaged { file, what } => write!(f, "key {} is damaged: {what}", file.display()),
            Self::Missing(file) => write!(f, "key {} is missing", file.display()),
            Self::Shredded(number) => write!(f, "key {number} was shredded"),
            Self::Busy(path) => write!(f, "keyring {} is being changed by another process", path.display()),
            Self::Random => f.write_str("no random numbers"),
            Self::Io(path, error) => write!(f, "{}: {error}", path.display()),
        }
    }
}

impl std::error::Error for KeyError {}

/// A key in use; wiped from memory with its last owner.
pub struct DataKey {
    number: u32,
    customer: Arc<str>,
    month: u32,
    secret: Secret,
}

impl fmt::Debug for DataKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DataKey").field("number", &self.number).finish_non_exhaustive()
    }
}

impl DataKey {
    /// The key's number, as in the frames of the journal.
    #[must_use]
    pub const fn number(&self) -> u32 {
        self.number
    }

    /// Whose it is; [`OWN`]: the vault's own.
    #[must_use]
    pub fn customer(&self) -> &str {
        &self.customer
    }

    /// The month of its records, such as 202611.
    #[must_use]
    pub const fn month(&self) -> u32 {
        self.month
    }

    /// A key for one purpose (HKDF-SHA-256); others cannot be told from it.
    #[must_use]
    pub fn derive(&self, purpose: &[u8]) -> Zeroizing<[u8; 32]> {
        let mut derived = Secret::default();
        let pseudorandom = Salt::new(HKDF_SHA256, b"onevault audit").extract(self.secret.as_slice());
        let filled = pseudorandom.expand(&[purpose], HKDF_SHA256).and_then(|key| key.fill(&mut *derived));
        debug_assert!(filled.is_ok(), "32 bytes can always be derived");
        derived
    }
}

/// The platform key, and the one before it while keys wrapped by it are about.
#[derive(Debug)]
pub struct PlatformKeys {
    current: PlatformKey,
    previous: Option<PlatformKey>,
}

impl PlatformKeys {
    /// With the key before, if there is one.
    #[must_use]
    pub const fn new(current: PlatformKey, previous: Option<PlatformKey>) -> Self {
        Self { current, previous }
    }

    fn named(&self, name: [u8; 8]) -> Option<&PlatformKey> {
        [Some(&self.current), self.previous.as_ref()].into_iter().flatten().find(|key| key.name() == name)
    }
}

/// A key as the folder shows it to anybody.
#[derive(Debug)]
pub struct Listed {
    /// Whose it is, and of when.
    pub label: Label,
    /// How far its life is.
    pub state: State,
    /// Names the platform key that wraps it; `None`: shredded.
    pub platform: Option<[u8; 8]>,
}

/// All keys of a log.
#[derive(Debug)]
pub struct Keyring {
    folder: Folder,
    platform: Option<PlatformKeys>,
    known: Mutex<Known>,
    /// Goes up when keys retire or go, so that nobody keeps them.
    generation: AtomicU64,
}

#[derive(Debug, Default)]
struct Known {
    /// The largest number there is.
    last: u32,
    /// Of each customer, purpose and month the newest active key.
    active: HashMap<(Arc<str>, Purpose, u32), u32>,
    /// What the writer asks for again and again.
    current: HashMap<Arc<str>, Arc<DataKey>>,
    opened: HashMap<u32, Arc<DataKey>>,
    /// Numbers of keys that sign, in order.
    signers: Vec<u32>,
}

/// What a signing key is made of; wiped from memory when it is dropped.
pub type Seed = Zeroizing<[u8; 32]>;

/// The month of a wall clock, such as 202611.
#[must_use]
pub fn month_of(time_ns: u64) -> u32 {
    let time = OffsetDateTime::from_unix_timestamp_nanos(i128::from(time_ns));
    let time = time.unwrap_or(OffsetDateTime::UNIX_EPOCH);
    let year = u32::try_from(time.year()).unwrap_or(0);
    year.saturating_mul(100).saturating_add(u32::from(u8::from(time.month())))
}

/// The keyring's folder of a log.
#[must_use]
pub fn folder_of(directory: &Path) -> PathBuf {
    directory.join(FOLDER_NAME)
}

impl Keyring {
    /// Opens a keyring for reading and changes nothing. One that is not there is empty.
    ///
    /// # Errors
    /// [`KeyError`]: the folder cannot be read, or its keys were made with another platform key.
    pub fn open(path: &Path, platform: Option<PlatformKeys>) -> Result<Self, KeyError> {
        Self::over(Folder::open(path)?, platform)
    }

    /// Opens the keyring of a log as configured, for reading.
    ///
    /// # Errors
    /// [`KeyError`], also when there are keys and no platform key.
    pub fn of_log(audit: &config::Audit) -> Result<Self, KeyError> {
        let folder = Folder::open(&folder_of(&audit.directory))?;
        let source = source(audit);
        if folder.numbers()?.is_empty() && source.is_file_missing() {
            return Self::over(folder, None);
        }
        let platform = read_platform(audit, &source, folder.path())?;
        Self::over(folder, Some(platform))
    }

    /// Opens the keyring of a log as configured, for writing: makes the folder, and at the very first start the platform
    /// key if none is configured.
    ///
    /// # Errors
    /// [`KeyError`], also when there are keys and no platform key.
    pub fn prepare(audit: &config::Audit) -> Result<Self, KeyError> {
        let folder = Folder::prepare(&folder_of(&audit.directory))?;
        let source = source(audit);
        let is_first = folder.numbers()?.is_empty() && !audit.platform_key.is_set();
        if is_first && source.is_file_missing() {
            let file = default_file(&audit.directory);
            PlatformKey::make(&file).map_err(|error| KeyError::Io(file.clone(), error))?;
            tracing::warn!(
                file = %file.display(),
                "made a platform key for the audit log beside it; keep it in another place and name it in \
                 audit.platform_key: who has both can read everything, who loses it can read nothing"
            );
        }
        let platform = read_platform(audit, &source, folder.path())?;
        Self::over(folder, Some(platform))
    }

    fn over(folder: Folder, platform: Option<PlatformKeys>) -> Result<Self, KeyError> {
        let mut known = Known::default();
        for number in folder.numbers()? {
            known.last = known.last.max(number);
            let file = match folder.read(number) {
                Ok(file) => file,
                // One bad file must not keep the log from being written; whoever needs this key is told.
                Err(error @ (KeyError::Damaged { .. } | KeyError::Missing(_))) => {
                    tracing::error!(%error, "records under this key cannot be read");
                    continue;
                }
                Err(error) => return Err(error),
            };
            if let Some(wrapped) = &file.wrapped {
                let platform = platform.as_ref().ok_or_else(|| KeyError::NoPlatform(folder.path().into()))?;
                if platform.named(wrapped.platform).is_none() {
                    return Err(KeyError::OtherPlatform(folder.file_path(number)));
                }
            }
            if file.label.purpose == Purpose::Signer && file.wrapped.is_some() {
                known.signers.push(number);
            }
            if file.state == State::Active {
                known.active.insert(place_of(&file.label), number);
            }
        }
        Ok(Self { folder, platform, known: Mutex::new(known), generation: AtomicU64::new(0) })
    }

    /// The key for new records of a customer, by the writer's clock; made durably if there is none.
    ///
    /// # Errors
    /// [`KeyError`] when it can neither be read nor made.
    pub fn current(&self, customer: &str, now_ns: u64) -> Result<Arc<DataKey>, KeyError> {
        let month = month_of(now_ns);
        let mut known = lock(&self.known);
        if let Some(key) = known.current.get(customer).filter(|key| key.month == month) {
            return Ok(Arc::clone(key));
        }
        let key = self.of(&mut known, customer, Purpose::Records, month)?;
        known.current.insert(Arc::clone(&key.customer), Arc::clone(&key));
        Ok(key)
    }

    /// The key with a number, for reading.
    ///
    /// # Errors
    /// [`KeyError`]; [`KeyError::Shredded`] where the key is gone on purpose.
    pub fn by_number(&self, number: u32) -> Result<Arc<DataKey>, KeyError> {
        let mut known = lock(&self.known);
        self.opened(&mut known, number)
    }

    /// Whether a key is neither shredded nor about to be, as its file says now.
    #[must_use]
    pub fn is_active(&self, number: u32) -> bool {
        self.folder.read(number).is_ok_and(|file| file.state == State::Active)
    }

    /// Whether a key is a customer's, shredded or not, as its file says now.
    ///
    /// # Errors
    /// [`KeyError`] when the file cannot be read.
    pub fn is_of(&self, number: u32, customer: &str) -> Result<bool, KeyError> {
        Ok(self.folder.read(number)?.label.customer == customer)
    }

    /// What masks values of a customer; made durably if there is none. Gone when the customer is shredded.
    ///
    /// # Errors
    /// [`KeyError`] when it can neither be read nor made.
    pub fn mask_key(&self, customer: &str) -> Result<Zeroizing<[u8; 32]>, KeyError> {
        let key = self.of(&mut lock(&self.known), customer, Purpose::Mask, 0)?;
        Ok(key.derive(b"mask"))
    }

    /// What the vault's signing keys are made of, with the keys' numbers, the oldest first: one, or two while one is replaced.
    ///
    /// # Errors
    /// [`KeyError`] when one cannot be read.
    pub fn signers(&self) -> Result<Vec<(u32, Seed)>, KeyError> {
        let mut known = lock(&self.known);
        let numbers = known.signers.clone();
        let seed = |number| Ok((number, self.opened(&mut known, number)?.derive(b"signer")));
        numbers.into_iter().map(seed).collect()
    }

    /// Makes one more, durably.
    ///
    /// # Errors
    /// [`KeyError`].
    pub fn make_signer(&self) -> Result<(u32, Seed), KeyError> {
        let mut known = lock(&self.known);
        let key = self.make(&mut known, (Arc::from(OWN), Purpose::Signer, 0))?;
        Ok((key.number, key.derive(b"signer")))
    }

    /// What shows that the vault's own decisions about what is kept were not changed. Absent and `make`: made durably.
    ///
    /// # Errors
    /// [`KeyError`] when it can neither be read nor made.
    pub fn keeping_key(&self, make: bool) -> Result<Option<Zeroizing<[u8; 32]>>, KeyError> {
        let mut known = lock(&self.known);
        if !make && !known.active.contains_key(&(Arc::from(OWN), Purpose::Keeping, 0)) {
            return Ok(None);
        }
        Ok(Some(self.of(&mut known, OWN, Purpose::Keeping, 0)?.derive(b"keeping")))
    }

    /// Another number than before: keys that were kept must be asked for again.
    #[must_use]
    pub fn generation(&self) -> u64 {
        self.generation.load(Ordering::Acquire)
    }

    /// Every key in a folder, in the order of the numbers; of files that cannot be read, why. Needs no platform key.
    ///
    /// # Errors
    /// [`KeyError`] when the folder cannot be read.
    pub fn list(path: &Path) -> Result<Vec<Result<Listed, KeyError>>, KeyError> {
        let listed = |file: KeyFile| Listed {
            platform: file.wrapped.map(|wrapped| wrapped.platform),
            label: file.label,
            state: file.state,
        };
        let folder = Folder::open(path)?;
        let numbers = folder.numbers()?;
        Ok(numbers.into_iter().map(|number| folder.read(number).map(listed)).collect())
    }

    fn of(
        &self,
        known: &mut Known,
        customer: &str,
        purpose: Purpose,
        month: u32,
    ) -> Result<Arc<DataKey>, KeyError> {
        let place = (Arc::from(customer), purpose, month);
        if let Some(number) = known.active.get(&place).copied() {
            match self.opened(known, number) {
                // The file was lost or spoilt: new records get a key that is whole.
                Err(error @ (KeyError::Damaged { .. } | KeyError::Missing(_)))
                    if purpose == Purpose::Records =>
                {
                    tracing::error!(%error, "records under this key cannot be read; a new one is made");
                }
                opened => return opened,
            }
        }
        self.make(known, place)
    }

    fn opened(&self, known: &mut Known, number: u32) -> Result<Arc<DataKey>, KeyError> {
        if let Some(key) = known.opened.get(&number) {
            return Ok(Arc::clone(key));
        }
        let file = self.folder.read(number)?;
        let Some(wrapped) = &file.wrapped else { return Err(KeyError::Shredded(number)) };
        let secret = self.unwrap(&file.label, wrapped)?;
        let Label { customer, month, .. } = file.label;
        let key = Arc::new(DataKey { number, customer: customer.into(), month, secret });
        known.opened.insert(number, Arc::clone(&key));
        Ok(key)
    }

    fn unwrap(&self, label: &Label, wrapped: &Wrapped) -> Result<Secret, KeyError> {
        let platform = self.platform()?.named(wrapped.platform);
        let platform =
            platform.ok_or_else(|| KeyError::OtherPlatform(self.folder.file_path(label.number)))?;
        let what = "it does not open with the platform key it names";
        let damaged = || KeyError::Damaged { file: self.folder.file_path(label.number), what };
        wrapped.open(label, platform).ok_or_else(damaged)
    }

    fn platform(&self) -> Result<&PlatformKeys, KeyError> {
        self.platform.as_ref().ok_or_else(|| KeyError::NoPlatform(self.folder.path().to_owned()))
    }

    fn make(&self, known: &mut Known, place: (Arc<str>, Purpose, u32)) -> Result<Arc<DataKey>, KeyError> {
        let (customer, purpose, month) = &place;
        let held = self.folder.lock()?;
        let mut number = known.last.saturating_add(1);
        while self.folder.has(number)? {
            number = number.saturating_add(1);
        }
        let mut secret = Secret::default();
        aws_lc_rs::rand::fill(secret.as_mut_slice()).map_err(|_| KeyError::Random)?;
        let label = Label {
            number,
            purpose: *purpose,
            customer: customer.as_ref().to_owned(),
            month: *month,
            created_ns: now_ns(),
        };
        let wrapped = Wrapped::seal(&secret, &label, &self.platform()?.current).ok_or(KeyError::Random)?;
        self.folder.write(&held, &KeyFile { label, state: State::Active, wrapped: Some(wrapped) })?;
        known.last = number;
        let key = DataKey { number, customer: Arc::clone(customer), month: *month, secret };
        let key = Arc::new(key);
        if *purpose == Purpose::Signer {
            known.signers.push(number);
        }
        known.active.insert(place, number);
        known.opened.insert(number, Arc::clone(&key));
        Ok(key)
    }
}

fn place_of(label: &Label) -> (Arc<str>, Purpose, u32) {
    (Arc::from(label.customer.as_str()), label.purpose, label.month)
}

/// Where the platform key comes from: a file beside the log's folder, unless the configuration names another place.
fn source(audit: &config::Audit) -> config::KeySource {
    if audit.platform_key.is_set() {
        return audit.platform_key.clone();
    }
    config::KeySource { file: Some(default_file(&audit.directory)), ..config::KeySource::default() }
}

fn read_platform(
    audit: &config::Audit,
    source: &config::KeySource,
    keyring: &Path,
) -> Result<PlatformKeys, KeyError> {
    if !audit.platform_key.is_set() && source.is_file_missing() {
        return Err(KeyError::NoPlatform(keyring.to_owned()));
    }
    let current = PlatformKey::read(source).map_err(KeyError::Platform)?;
    let previous = Some(&audit.platform_key_previous).filter(|source| source.is_set());
    let previous = previous.map(PlatformKey::read).transpose().map_err(KeyError::Platform)?;
    Ok(PlatformKeys::new(current, previous))
}
