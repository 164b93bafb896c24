//! Follows the journal behind the notary, and hands records to the sealer.
//!
//! What always holds: a record is handed on only when its leaf, made anew, is what the notary's tree has in its place; none
//! is passed over but what was shredded before it was sealed; where it has come to is written down only after all
//! before that is in the archive, so after any end of the process it begins again there.

use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::super::arrow::Leaf;
use super::super::begin::Begin;
use super::super::join::{BadBody, Joiner, Shown};
use super::super::keys::Keyring;
use super::super::leaf::LogHash;
use super::super::notary::salts::RingSalts;
use super::super::notary::state::{Sizes, State};
use super::super::notary::trees::Files;
use super::super::notary::{SaltsOf, Trouble, leaf_of, log_of, origin_of};
use super::super::reader::{Pieces, ReadError, Reader};
use super::super::row::{Column, Row};
use super::super::tree::{Hash, Rows};
use super::name::Day;
use super::place::{Place, make_folder};
use super::sealer::{SealError, Sealer, Taken};

/// Leaves that are read at one time.
const LEAVES_AT_ONCE: u64 = 256;
/// Records that are handed on at one time, so that a round is not late.
const RECORDS_AT_ONCE: u32 = 1 << 15;

/// Why the archive does not go on. It begins again where the last round ended.
#[derive(Debug)]
pub(in crate::audit) enum ArchiveTrouble {
    /// Of the journal, the tree or the keys.
    Notary(Trouble),
    /// Of the archive.
    Seal(SealError),
    /// Of a folder of its own.
    Folder(PathBuf, io::Error),
}

impl fmt::Display for ArchiveTrouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Notary(trouble) => write!(f, "{trouble}"),
            Self::Seal(error) => write!(f, "{error}"),
            Self::Folder(path, error) => write!(f, "{}: {error}", path.display()),
        }
    }
}

impl std::error::Error for ArchiveTrouble {}

impl From<Trouble> for ArchiveTrouble {
    fn from(trouble: Trouble) -> Self {
        Self::Notary(trouble)
    }
}

impl From<ReadError> for ArchiveTrouble {
    fn from(error: ReadError) -> Self {
        Self::Notary(error.into())
    }
}

impl From<BadBody> for ArchiveTrouble {
    fn from(bad: BadBody) -> Self {
        Self::Notary(bad.into())
    }
}

impl From<SealError> for ArchiveTrouble {
    fn from(error: SealError) -> Self {
        Self::Seal(error)
    }
}

/// Where things are.
#[derive(Debug, Clone)]
pub(in crate::audit) struct Folders {
    /// The journal's.
    pub(in crate::audit) journal: PathBuf,
    /// The notary's.
    pub(in crate::audit) notary: PathBuf,
    /// The follower's own.
    pub(in crate::audit) own: PathBuf,
}

/// Leaves of the trees, read some at a time.
struct Leaves {
    folder: PathBuf,
    read: HashMap<String, (u64, Vec<Hash>)>,
}

impl Leaves {
    fn get(&mut self, log: &str, index: u64, size: u64) -> Result<Hash, Trouble> {
        let kept = |(first, hashes): &(u64, Vec<Hash>)| {
            let at = usize::try_from(index.checked_sub(*first)?).ok()?;
            hashes.get(at).copied()
        };
        if let Some(hash) = self.read.get(log).and_then(kept) {
            return Ok(hash);
        }
        let count = size.saturating_sub(index).clamp(1, LEAVES_AT_ONCE);
        let mut hashes = vec![Hash::default(); usize::try_from(count).unwrap_or(1)];
        Files::of(&self.folder, log).read(0, index, &mut hashes)?;
        let hash = hashes.first().copied().unwrap_or_default();
        self.read.insert(log.to_owned(), (index, hashes));
        Ok(hash)
    }
}

/// Follows the journal. See the module's description.
pub(in crate::audit) struct Follower {
    folders: Folders,
    vault: String,
    reader: Reader,
    joiner: Joiner,
    pieces: Pieces,
    salts: RingSalts,
    leaves: Leaves,
    sealer: Sealer,
    /// Of each log the next place, and how the tree names the log.
    logs: BTreeMap<String, (u64, LogHash)>,
    taken: u64,
    known: u64,
    /// What it had written down is not there, though the journal goes on behind it.
    is_lost: bool,
    scratch: Vec<u8>,
}

impl Follower {
    /// Goes on where the last round ended, or begins.
    pub(in crate::audit) fn open(
        folders: &Folders,
        vault: &str,
        place: Box<dyn Place>,
        keyring: &Arc<Keyring>,
    ) -> Result<Self, ArchiveTrouble> {
        let own = |error| ArchiveTrouble::Folder(folders.own.clone(), error);
        make_folder(&folders.own).map_err(own)?;
        let begin = Begin::read(&folders.journal).map_err(own)?;
        let state = State::read(&folders.own)?;
        let reaches = |state: &State, begin: &Begin| state.record.saturating_add(1) >= begin.record;
        let is_lost = begin.is_some_and(|begin| !state.as_ref().is_some_and(|state| reaches(state, &begin)));
        let state = state.filter(|_| !is_lost);
        let reader = match &state {
            Some(state) => Reader::open_at(&folders.journal, state.segment)?,
            None => Reader::open(&folders.journal)?,
        };
        let reader = reader.with_keys(Arc::clone(keyring));
        let state = state.unwrap_or_default();
        let mut sealer = Sealer::open(place, Arc::<Keyring>::clone(keyring), &folders.own).map_err(own)?;
        // Where it is not known how far the archive is, nothing of it may be taken for half made and deleted.
        if !is_lost {
            sealer.trust(state.logs.iter().map(|(name, sizes)| (name.clone(), sizes.leaves)).collect());
        }
        let hash = |name: &str| LogHash::of(&origin_of(vault, name));
        let logs = state.logs.into_iter().map(|(name, sizes)| {
            let hash = hash(&name);
            (name, (sizes.leaves, hash))
        });
        Ok(Self {
            folders: folders.clone(),
            vault: vault.to_owned(),
            joiner: Joiner::new(&reader),
            pieces: reader.pieces(),
            reader,
            salts: RingSalts::new(Arc::clone(keyring)),
            leaves: Leaves { folder: folders.notary.clone(), read: HashMap::new() },
            sealer,
            logs: logs.collect(),
            taken: state.record,
            known: state.record,
            is_lost,
            scratch: Vec::new(),
        })
    }

    /// Whether what it had written down was lost, and is being found anew.
    pub(in crate::audit) const fn is_lost(&self) -> bool {
        self.is_lost
    }

    /// Hands on what the notary has signed, some of it at a time. `true`: all of it.
    pub(in crate::audit) fn follow(&mut self) -> Result<bool, ArchiveTrouble> {
        let Some(signed) = State::read(&self.folders.notary)? else { return Ok(true) };
        for _ in 0..RECORDS_AT_ONCE {
            if self.taken >= signed.record {
                self.find_all(&signed);
                return Ok(true);
            }
            let Some(raw) = self.reader.next_record()? else { return Ok(true) };
            let (record, is_known) = (raw.place.record, raw.place.record <= self.known);
            let mut hand = Hand {
                vault: &self.vault,
                pieces: &self.pieces,
                salts: &mut self.salts,
                leaves: &mut self.leaves,
                sealer: &mut self.sealer,
                logs: &mut self.logs,
                sizes: &signed.logs,
                scratch: &mut self.scratch,
                is_lost: self.is_lost,
            };
            self.joiner.take(&raw, |shown| if is_known { Ok(()) } else { hand.on(shown) })?;
            self.taken = self.taken.max(record);
        }
        Ok(false)
    }

    /// All of the journal was handed on: logs that have no record in it are in the archive whole.
    fn find_all(&mut self, signed: &State) {
        if std::mem::take(&mut self.is_lost) {
            for (name, sizes) in &signed.logs {
                let hash = || LogHash::of(&origin_of(&self.vault, name));
                self.logs.entry(name.clone()).or_insert_with(|| (sizes.leaves, hash()));
            }
        }
    }

    /// Puts all that was handed on in files, and writes down how far that is. Answers the first segment of the journal that
    /// is still needed; 0: not known yet.
    pub(in crate::audit) fn round(&mut self) -> Result<u64, ArchiveTrouble> {
        self.sealer.finish_round()?;
        if self.is_lost {
            return Ok(0);
        }
        let oldest = self.joiner.oldest();
        let state = State {
            record: self.taken,
            segment: self.reader.position().0.min(oldest.map_or(u64::MAX, |place| place.segment)),
            needed: oldest.map_or(self.taken.saturating_add(1), |place| place.record),
            logs: self.logs.iter().map(|(name, (leaves, _))| (name.clone(), Sizes::of(*leaves))).collect(),
        };
        state.write(&self.folders.own)?;
        Ok(state.segment)
    }

    /// The logs that records were handed on of.
    pub(in crate::audit) fn logs(&self) -> Vec<String> {
        self.logs.keys().cloned().collect()
    }

    /// Merges the files of a log's days before `today`. Answers how many files there are less.
    pub(in crate::audit) fn merge(&self, log: &str, today: Day) -> Result<usize, ArchiveTrouble> {
        let size = self.logs.get(log).map_or(0, |(size, _)| *size);
        let leaves = Leaves { folder: self.folders.notary.clone(), read: HashMap::new() };
        let leaves = RefCell::new(leaves);
        let check = |index| {
            let leaf = (index < size).then(|| leaves.borrow_mut().get(log, index, size))?;
            leaf.ok()?.first_chunk().copied()
        };
        Ok(self.sealer.merge(log, today, &check)?)
    }

    /// Whether an intent without its outcome is encrypted with one of these keys.
    pub(in crate::audit) fn has_open(&self, keys: &[u32]) -> bool {
        self.joiner.has_open(keys)
    }

    /// Puts what was handed on in files, and does not write down how far that is, as if the process ended there.
    #[cfg(test)]
    pub(in crate::audit) fn seal_only(&mut self) -> Result<(), SealError> {
        self.sealer.finish_round()
    }

    /// Segment and byte up to which the journal was read.
    pub(in crate::audit) fn position(&self) -> (u64, u64) {
        self.reader.position()
    }
}

/// What it takes to hand a record on.
struct Hand<'a> {
    vault: &'a str,
    pieces: &'a Pieces,
    salts: &'a mut RingSalts,
    leaves: &'a mut Leaves,
    sealer: &'a mut Sealer,
    logs: &'a mut BTreeMap<String, (u64, LogHash)>,
    sizes: &'a BTreeMap<String, Sizes>,
    scratch: &'a mut Vec<u8>,
    /// Records may be in the archive already, and parts of their texts be gone with the journal's former segments.
    is_lost: bool,
}

impl Hand<'_> {
    fn on(&mut self, shown: &Shown<'_>) -> Result<(), ArchiveTrouble> {
        let row = Row::of(shown);
        let name = log_of(row.bytes_of(Column::Customer));
        if !self.logs.contains_key(name) {
            let hash = LogHash::of(&origin_of(self.vault, name));
            self.logs.insert(name.to_owned(), (0, hash));
        }
        let Some((next, hash)) = self.logs.get_mut(name) else { return Ok(()) };
        let size = self.sizes.get(name).map_or(0, |sizes| sizes.leaves);
        let salts = self.salts.salts(shown.key).map_err(|what| Trouble::Key(shown.key, what))?;
        // Between two records there is nothing, but for records that were shredded and cannot be read any more.
        for index in *next..size {
            let leaf = leaf_of((*hash, index), shown, &row, salts, self.scratch);
            if self.leaves.get(name, index, size)? != leaf {
                continue;
            }
            if self.is_lost && index < self.sealer.next(name)? {
                *next = index.saturating_add(1);
                return Ok(());
            }
            let check = leaf.first_chunk().copied().unwrap_or_default();
            let leaf = Leaf { index, check, key: shown.key };
            let _: Taken = self.sealer.take(name, leaf, &row, &shown.load_whole(self.pieces)?)?;
            *next = index.saturating_add(1);
            return Ok(());
        }
        Err(Trouble::Record(shown.place, "the notary's tree does not have it").into())
    }
}

/// The archive's own folder in a log's.
pub(in crate::audit) fn own_folder(directory: &Path) -> PathBuf {
    directory.join("archive.state")
}

#[cfg(test)]
mod tests;
