//! The notary: follows the journal, grows a tree for each log, and signs how far it has come.
//!
//! What always holds: it takes only what is on disk, in the journal's order; what it has taken once is in the same place
//! of the same tree for ever, across any end of the process; it signs a checkpoint only when the signed one before is its
//! beginning, checked with code that did not make it. What it keeps can be made anew from the journal, but for the signed
//! checkpoints. It never holds a statement up: when it cannot go on, it says so and tries again.
//!
//! ```text
//! state.rs   how far it has come: a small file, replaced at each round
//! trees.rs   hashes of trees in files   notes.rs   signed checkpoints in files
//! salts.rs   of the keyring             life.rs    the thread
//! roster.rs  which logs there are          past.rs    how many checkpoints are kept
//! ```

mod life;
pub(super) mod notes;
mod past;
pub(super) mod roster;
pub(super) mod salts;
pub(super) mod state;
#[cfg(test)]
mod tests;
pub(super) mod trees;

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::begin::{self, Begin};
use super::join::{BadBody, Joiner, Shown};
use super::keys::{Keyring, OWN};
use super::leaf::{Leaf, LogHash, Salts};
use super::reader::{Place, ReadError, Reader};
use super::row::{Column, Row};
use super::tree::{Hash, Tree};
use crate::ids::CustomerId;
use crate::proof::ProofError;
use crate::proof::note::{Signer, Verifier};

pub(super) use life::{Life, Plan, Told, start};
use notes::Notes;
use state::{Sizes, State};
use trees::Growth;

/// So many records are taken at a time.
const LEAVES_MAX: u64 = 1 << 16;

/// Why the notary does not go on.
#[derive(Debug)]
pub(super) enum Trouble {
    /// The journal cannot be read.
    Journal(ReadError),
    /// A record cannot be read, or is not what was signed.
    Record(Place, &'static str),
    /// The key of a record cannot be had.
    Key(u32, String),
    /// Its own files cannot be read or written.
    Files(PathBuf, io::Error),
    /// One of its own files is not as it was written.
    Changed(PathBuf, &'static str),
    /// Nobody can sign.
    Signer(String),
    /// A signed checkpoint is not the beginning of what there is now.
    Signed(String, ProofError),
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Journal(error) => write!(f, "{error}"),
            Self::Record(Place { segment: 0, offset, record }, what) => {
                write!(f, "archive, record {offset} of its log (number {record}): {what}")
            }
            Self::Record(place, what) => {
                write!(f, "segment {}, byte {}, record {}: {what}", place.segment, place.offset, place.record)
            }
            Self::Key(number, what) => write!(f, "data key {number}: {what}"),
            Self::Files(path, error) => write!(f, "{}: {error}", path.display()),
            Self::Signer(what) => f.write_str(what),
            Self::Changed(path, what) => write!(f, "{}: {what}", path.display()),
            Self::Signed(log, error) => write!(f, "log {log}: its signed checkpoint does not hold: {error}"),
        }
    }
}

impl std::error::Error for Trouble {}

impl From<ReadError> for Trouble {
    fn from(error: ReadError) -> Self {
        Self::Journal(error)
    }
}

impl From<BadBody> for Trouble {
    fn from(BadBody(place, what): BadBody) -> Self {
        Self::Record(place, what)
    }
}

/// Gives the salts of a data key by the key's number.
pub(super) trait SaltsOf {
    /// The salts, or why they cannot be had.
    fn salts(&mut self, key: u32) -> Result<&Salts, String>;

    /// The keys with which records are read.
    fn keyring(&self) -> Option<Arc<Keyring>>;
}

/// One log's tree as it grows.
pub(super) struct Log {
    pub(super) tree: Tree,
    sizes: Sizes,
    hash: LogHash,
    growth: Growth,
    /// Its history is shortened when it is larger, in bytes.
    history_max: u64,
}

impl Log {
    fn new(origin: &str, tree: Tree, sizes: Sizes) -> Self {
        Self { tree, sizes, hash: LogHash::of(origin), growth: Growth::default(), history_max: 0 }
    }
}

impl Log {
    fn sizes(&self) -> Sizes {
        Sizes { leaves: self.tree.size(), ..self.sizes.clone() }
    }
}

/// All logs, the vault's own behind the others: its checkpoint speaks of theirs.
fn own_last(logs: &BTreeMap<String, Log>) -> impl Iterator<Item = (&String, &Log)> {
    let others = logs.iter().filter(|(name, _)| *name != OWN);
    others.chain(logs.get_key_value(OWN))
}

/// The name of a log as checkpoints have it.
pub(super) fn origin_of(vault: &str, log: &str) -> String {
    format!("{vault}/{log}")
}

/// The log that a record with this customer belongs to.
pub(super) fn log_of(customer: &[u8]) -> &str {
    let name = std::str::from_utf8(customer).ok().filter(|name| CustomerId::parse(name).is_ok());
    name.unwrap_or(OWN)
}

/// The hash of what is shown as a leaf: of its record alone, wherever the parts of its text are. `scratch` is working room.
pub(super) fn leaf_of(
    (log, index): (LogHash, u64),
    shown: &Shown<'_>,
    row: &Row<'_>,
    salts: &Salts,
    scratch: &mut Vec<u8>,
) -> Hash {
    let mut leaf = Leaf::begin((log, index), &salts.salt(index), row, scratch);
    row.canonical_long(shown.here(), |bytes| leaf.piece(bytes));
    leaf.finish()
}

/// The state of the notary.
pub(super) struct Notary<K> {
    folder: PathBuf,
    vault: String,
    reader: Reader,
    joiner: Joiner,
    logs: BTreeMap<String, Log>,
    notes: Notes,
    salts: K,
    /// Number of the last record taken.
    taken: u64,
    /// Records up to here had been taken before the start: they are read for what hangs on them.
    known: u64,
    scratch: Vec<u8>,
}

impl<K: SaltsOf> Notary<K> {
    /// Goes on where the last round ended, or begins.
    pub(super) fn open(
        journal: &Path,
        folder: &Path,
        vault: &str,
        signer: Arc<Signer>,
        salts: K,
    ) -> Result<Self, Trouble> {
        let state = State::read(folder)?;
        let begin = Begin::read(journal).map_err(|error| Trouble::Files(journal.join(begin::NAME), error))?;
        let taken = state.as_ref().map_or(0, |state| state.record);
        if begin.is_some_and(|begin| taken.saturating_add(1) < begin.record) {
            // Trees would be made anew without their beginnings.
            let what = "it is missing or older than the journal's beginning";
            return Err(Trouble::Changed(folder.join(state::NAME), what));
        }
        let notes = Notes::open(folder, vault, signer)?;
        let reader = match &state {
            Some(state) => Reader::open_at(journal, state.segment)?,
            None => Reader::open(journal)?,
        };
        let reader = salts.keyring().into_iter().fold(reader, Reader::with_keys);
        let state = state.unwrap_or_default();
        let mut logs = BTreeMap::new();
        for (name, sizes) in state.logs {
            let tree = trees::load(folder, &name, sizes.leaves)?;
            logs.insert(name.clone(), Log::new(&origin_of(vault, &name), tree, sizes));
        }
        let joiner = Joiner::new(&reader);
        Ok(Self {
            folder: folder.to_owned(),
            vault: vault.to_owned(),
            reader,
            joiner,
            logs,
            notes,
            salts,
            taken: state.record,
            known: state.record,
            scratch: Vec::new(),
        })
    }

    /// Takes what is in the journal up to `durable` (segment, offset), or all of it when nobody writes, but not more than some
    /// ten thousand records at a time; whether those were all.
    pub(super) fn follow(&mut self, durable: Option<(u64, u64)>) -> Result<bool, Trouble> {
        let mut looked = false;
        for _ in 0..LEAVES_MAX {
            let here = self.reader.position();
            if durable.is_some_and(|durable| here >= durable) {
                return Ok(true);
            }
            let Some(raw) = self.reader.next_record()? else {
                // What was read ahead may be older than what was written since: the second look is at the file.
                if looked || durable.is_none() {
                    return Ok(true);
                }
                looked = true;
                continue;
            };
            looked = false;
            let (record, is_known) = (raw.place.record, raw.place.record <= self.known);
            let (logs, salts, vault) = (&mut self.logs, &mut self.salts, &self.vault);
            let scratch = &mut self.scratch;
            self.joiner.take(&raw, |shown| {
                if is_known {
                    return Ok(());
                }
                let row = Row::of(shown);
                let name = log_of(row.bytes_of(Column::Customer));
                if !logs.contains_key(name) {
                    logs.insert(
                        name.to_owned(),
                        Log::new(&origin_of(vault, name), Tree::default(), Sizes::default()),
                    );
                }
                let Some(log) = logs.get_mut(name) else { return Ok(()) };
                let salts = salts.salts(shown.key).map_err(|what| Trouble::Key(shown.key, what))?;
                let leaf = leaf_of((log.hash, log.tree.size()), shown, &row, salts, scratch);
                log.sizes.key(log.tree.size(), shown.key);
                log.tree.push(leaf, |stored| log.growth.keep(stored));
                Ok::<(), Trouble>(())
            })?;
            self.taken = self.taken.max(record);
        }
        self.write_trees()?;
        Ok(false)
    }

    /// The keys of the records.
    pub(super) fn keyring(&self) -> Option<Arc<Keyring>> {
        self.salts.keyring()
    }

    /// Whether keys may go, for all I know: no statement is on its way that began under one of them.
    pub(super) fn may_go(&self, keys: &[u32]) -> bool {
        !self.joiner.has_open(keys)
    }

    /// Makes what was taken last, and signs it: one round.
    pub(super) fn round(&mut self, now: &str) -> Result<(), Trouble> {
        self.write_trees()?;
        let oldest = self.joiner.oldest().map_or(u64::MAX, |place| place.segment);
        let state = State {
            record: self.taken,
            segment: self.reader.position().0.min(oldest),
            needed: 0,
            logs: self.logs.iter().map(|(name, log)| (name.clone(), log.sizes())).collect(),
        };
        self.logs.values_mut().try_for_each(|log| log.growth.sync())?;
        state.write(&self.folder)?;
        let mut refused = None;
        for (name, log) in own_last(&self.logs) {
            let origin = origin_of(&self.vault, name);
            if let Err(trouble) = self.notes.sign((name, &origin), &log.tree, now) {
                refused.get_or_insert(trouble);
            }
        }
        self.notes.write()?;
        refused.map_or(Ok(()), Err)
    }

    /// Lets old checkpoints go that need not be kept.
    pub(super) fn shorten(&mut self, now_ns: u64) -> Result<(), Trouble> {
        for (name, log) in &mut self.logs {
            let shortened = past::shorten(&self.folder, name, log.history_max, now_ns);
            log.history_max = shortened
                .map_err(|error| Trouble::Files(self.folder.join(name).join(notes::HISTORY), error))?;
        }
        Ok(())
    }

    /// Who signs.
    pub(super) fn signs(&self) -> &Verifier {
        self.notes.signs()
    }

    /// Lets another sign from now on: every log gets a checkpoint of both, for good. All was signed right before.
    pub(super) fn hand_over(&mut self, next: &Arc<Signer>, now: &str) -> Result<(), Trouble> {
        self.notes.begin_to_hand_over(next);
        for (name, log) in own_last(&self.logs) {
            let origin = origin_of(&self.vault, name);
            self.notes.sign((name, &origin), &log.tree, now)?;
        }
        self.notes.write()?;
        self.notes.hand_over()
    }

    fn write_trees(&mut self) -> Result<(), Trouble> {
        for (name, log) in &mut self.logs {
            log.growth.write(&self.folder, name)?;
        }
        Ok(())
    }
}
