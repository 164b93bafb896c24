//! Checks every log against its tree and its signed checkpoints, record by record, from the bodies up.
//!
//! What always holds: each leaf is made anew from its record; nothing is taken from the notary's files but what is compared.
//! The first thing that differs is named: the record when the signed checkpoint says that the record is wrong, the
//! notary's file when the checkpoint says that the record is right.

mod archived;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use super::body::wide;
use super::join::{Joiner, Lost, Shown};
use super::keeping::register::Mark;
use super::keeping::retention::expired;
use super::leaf::LogHash;
use super::notary::notes::{COSIGNED, HISTORY, LATEST, cosigned_notes, history, latest};
use super::notary::state::{Sizes, State};
use super::notary::trees::Files;
use super::notary::{SaltsOf, Trouble, leaf_of, log_of, origin_of};
use super::reader::{Pieces, Place, Raw, Reader};
use super::row::{Column, Row};
use super::tree::{Hash, Tree};
use crate::proof::ProofError;
use crate::proof::checkpoint::Checkpoint;
use crate::proof::note::Verifier;
use crate::proof::succession::Terms;

/// Hashes that are read from a row's file at a time.
const WINDOW: usize = 4096;

/// Checkpoints of a log's history that the newest one may lack.
const STEPS_BEHIND_MAX: usize = 3;

/// What was checked of one log.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct LogCounts {
    /// Records.
    pub records: u64,
    /// Records that a signed checkpoint covers.
    pub signed: u64,
    /// Records whose keys were shredded: their leaves are checked, they cannot be.
    pub shredded: u64,
    /// Records that went by their age: their leaves are checked, they cannot be.
    pub aged: u64,
    /// Records that were not looked at, because they are not of the span that was asked for: their leaves are checked.
    pub passed: u64,
    /// Signed checkpoints that hold.
    pub checkpoints: u64,
    /// When the newest of them was signed, as it says.
    pub signed_at: Option<String>,
}

/// One log on its way.
struct Check {
    hash: LogHash,
    tree: Tree,
    /// Checkpoints that are still to come, the next one last.
    ahead: Vec<Checkpoint>,
    counts: LogCounts,
    stored: BTreeMap<u32, Stored>,
    /// The first leaf since the last good checkpoint that is another than the stored one.
    differs: Option<Place>,
    /// The first hash in a file that is another than it should be.
    file: Option<PathBuf>,
    /// The first file that lacks a hash.
    missing: Option<PathBuf>,
    /// The first record behind the last good checkpoint.
    since: Option<Place>,
    /// Indices from and to of records that are gone, and how; the next ones last.
    gone: Vec<(u64, u64, Why)>,
}

/// Why a leaf is not made anew from its record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Why {
    /// It was shredded.
    Shredded,
    /// It went by its age.
    Aged,
    /// It is not of the span that was asked for.
    Passed,
}

impl LogCounts {
    fn count(&mut self, why: Why) {
        let counter = match why {
            Why::Shredded => &mut self.shredded,
            Why::Aged => &mut self.aged,
            Why::Passed => &mut self.passed,
        };
        *counter = counter.saturating_add(1);
    }
}

/// A row's file, read ahead.
struct Stored {
    path: PathBuf,
    file: Option<File>,
    first: u64,
    bytes: Vec<u8>,
}

impl Stored {
    fn of(files: &Files, row: u32) -> Self {
        let path = files.path(row);
        Self { file: File::open(&path).ok(), path, first: 0, bytes: Vec::new() }
    }

    /// The stored hash; nothing where none was written, or not yet.
    fn get(&mut self, index: u64) -> Option<Hash> {
        let behind = self.first.saturating_add(wide(self.bytes.len() / 32));
        if !(self.first..behind).contains(&index) {
            let mut bytes = vec![0; WINDOW.saturating_mul(32)];
            let read = self.file.as_ref()?.read_at(&mut bytes, index.saturating_mul(32)).ok()?;
            bytes.truncate(read);
            (self.first, self.bytes) = (index, bytes);
        }
        let at = usize::try_from(index.saturating_sub(self.first)).ok()?.saturating_mul(32);
        let hash: &Hash = self.bytes.get(at..)?.first_chunk()?;
        Some(*hash).filter(|hash| *hash != Hash::default())
    }
}

/// What the files are held against.
pub(super) struct Outside<'a> {
    /// Name of the vault.
    pub(super) vault: &'a str,
    /// Who signs.
    pub(super) known: Vec<Verifier>,
    /// Checkpoints that somebody has kept elsewhere.
    pub(super) kept: Vec<(Checkpoint, String)>,
    /// Only this log.
    pub(super) only: Option<&'a str>,
}

/// All logs of a vault.
pub(super) struct Inspection<K> {
    folder: PathBuf,
    vault: String,
    known: Vec<Verifier>,
    only: Option<String>,
    sizes: BTreeMap<String, Sizes>,
    joiner: Joiner,
    pieces: Pieces,
    salts: K,
    checks: BTreeMap<String, Check>,
    /// Checkpoints by their origin, of logs that have not been met.
    latest: BTreeMap<String, (Checkpoint, String)>,
    kept: Vec<(Checkpoint, String)>,
    scratch: Vec<u8>,
    /// Records up to this number are in the archive, and were checked there.
    archived: u64,
    /// The last decision of each register that a record tells of.
    marks: BTreeMap<String, Mark>,
}

/// Kinds of records that begin with the mark of a decision.
const DECIDED: [&[u8]; 4] = [b"hold_set", b"hold_released", b"review", b"retention_delete"];

impl<K: SaltsOf> Inspection<K> {
    /// Checks against what lies in the notary's folder, and what is known from elsewhere.
    pub(super) fn open(
        reader: &Reader,
        folder: &Path,
        outside: Outside<'_>,
        salts: K,
    ) -> Result<Self, Trouble> {
        let Outside { vault, known, kept, only } = outside;
        let latest = latest(folder, &known)?;
        // Written before what is signed of it, so it is read behind that.
        let sizes = State::read(folder)?.unwrap_or_default().logs;
        Ok(Self {
            folder: folder.to_owned(),
            vault: vault.to_owned(),
            known,
            only: only.map(str::to_owned),
            sizes,
            joiner: Joiner::new(reader),
            pieces: reader.pieces(),
            salts,
            checks: BTreeMap::new(),
            latest,
            kept,
            scratch: Vec::new(),
            archived: 0,
            marks: BTreeMap::new(),
        })
    }

    /// Takes the next record of the journal.
    pub(super) fn take(&mut self, raw: &Raw<'_>) -> Result<(), Trouble> {
        let mut joiner = std::mem::take(&mut self.joiner);
        let is_known = raw.place.record <= self.archived;
        let taken = joiner.take(raw, |shown| if is_known { Ok(()) } else { self.record(shown) });
        self.joiner = joiner;
        taken
    }

    fn record(&mut self, shown: &Shown<'_>) -> Result<(), Trouble> {
        let row = Row::of(shown);
        let name = log_of(row.bytes_of(Column::Customer));
        if self.only.as_ref().is_some_and(|only| only != name) {
            return Ok(());
        }
        self.listen(&row);
        if !self.checks.contains_key(name) {
            let check = self.begin(name)?;
            self.checks.insert(name.to_owned(), check);
        }
        let Some(check) = self.checks.get_mut(name) else { return Ok(()) };
        let salts = self.salts.salts(shown.key).map_err(|what| Trouble::Key(shown.key, what))?;
        check.shredded(name, &self.folder)?;
        let at = (check.hash, check.tree.size());
        let leaf = leaf_of(at, shown, &row, salts, &mut self.scratch);
        for long in [&shown.text, &shown.parameters] {
            match long.each(&self.pieces, |_| {}) {
                Ok(()) | Err(Lost::Shredded) => {}
                Err(lost) => return Err(Trouble::Record(shown.place, lost.what())),
            }
        }
        match check.push(leaf, Some(shown.place), name, &self.folder) {
            Err(Trouble::Record(place, what)) => Err(self.earliest(place, what)),
            pushed => pushed,
        }
    }

    /// What differs in one log may have begun in another, where no checkpoint has been met yet.
    fn earliest(&self, place: Place, what: &'static str) -> Trouble {
        let differing = self.checks.values().filter_map(|check| check.differs);
        let first = differing.min_by_key(|place| place.record).filter(|first| first.record < place.record);
        first
            .map_or(Trouble::Record(place, what), |first| Trouble::Record(first, "it is not what was signed"))
    }

    fn begin(&mut self, name: &str) -> Result<Check, Trouble> {
        let origin = origin_of(&self.vault, name);
        let mut ahead = self.signed(name, &origin)?;
        ahead.retain(|checkpoint| checkpoint.size > 0);
        // Equal sizes stay in the order in which they were signed.
        ahead.sort_by_key(|checkpoint| checkpoint.size);
        ahead.reverse();
        let mut check = Check {
            gone: Vec::new(),
            hash: LogHash::of(&origin),
            tree: Tree::default(),
            ahead,
            counts: LogCounts::default(),
            stored: BTreeMap::new(),
            differs: None,
            file: None,
            missing: None,
            since: None,
        };
        let keyring = self.salts.keyring();
        let shredded = self.sizes.get(name).map(|sizes| sizes.gone(keyring.as_deref())).unwrap_or_default();
        check.gone = shredded.into_iter().map(|(from, to)| (from, to, Why::Shredded)).collect();
        // What went by its age has its leaves, too.
        if let (Some(keyring), Some(directory)) = (keyring, self.folder.parent()) {
            let aged = expired(directory, &keyring, name).unwrap_or_default();
            check.gone.extend(aged.into_iter().map(|(from, to)| (from, to, Why::Aged)));
            check.gone.sort_unstable();
        }
        check.gone.reverse();
        Ok(check)
    }

    /// Keeps what a record says of decisions about what is kept.
    fn listen(&mut self, row: &Row<'_>) {
        if !DECIDED.contains(&row.bytes_of(Column::Kind)) {
            return;
        }
        if let Some(mark) = Mark::of_record(row.bytes_of(Column::Message)) {
            let last = self.marks.entry(mark.register.clone()).or_insert_with(|| mark.clone());
            if mark.number > last.number {
                *last = mark;
            }
        }
    }

    /// The last decision of each register that a record has told of.
    pub(super) fn marks(&self) -> Vec<Mark> {
        self.marks.values().cloned().collect()
    }

    /// The newest checkpoint of each log, by the log's name.
    pub(super) fn newest(&self) -> BTreeMap<String, (Checkpoint, String)> {
        let named =
            |(origin, note): (&String, &(Checkpoint, String))| Some((self.name_of(origin)?, note.clone()));
        self.latest.iter().filter_map(named).collect()
    }

    /// All that was signed of a log, by somebody who stood for it then.
    fn signed(&mut self, name: &str, origin: &str) -> Result<Vec<Checkpoint>, Trouble> {
        let mut notes = history(&self.folder, name, &self.known)?;
        let of_log = |error| Trouble::Signed(name.to_owned(), error);
        let terms = Terms::of(&self.known, notes.iter().map(|(_, note)| note.as_str())).map_err(of_log)?;
        let latest = self.latest.remove(origin);
        self.fits(name, &notes, latest.as_ref())?;
        notes.extend(latest);
        let cosigned = cosigned_notes(&self.folder, name, &self.known)?;
        if cosigned.iter().any(|(checkpoint, _)| checkpoint.origin != origin) {
            let path = self.folder.join(name).join(COSIGNED);
            return Err(Trouble::Changed(path, "a checkpoint in it is of another log"));
        }
        notes.extend(cosigned);
        notes.extend(self.kept.iter().filter(|(checkpoint, _)| checkpoint.origin == origin).cloned());
        let checked = |(checkpoint, note): (Checkpoint, String)| match self.known.len() {
            // Its signature was checked when it was read.
            0 | 1 => Ok(checkpoint),
            _ => terms.check(&note),
        };
        notes.into_iter().map(checked).collect::<Result<_, _>>().map_err(of_log)
    }

    /// The notary's files fit one another: its state is written first, then the history, then the newest checkpoint, which
    /// ends in between leave behind by a step each.
    fn fits(
        &self,
        name: &str,
        history: &[(Checkpoint, String)],
        latest: Option<&(Checkpoint, String)>,
    ) -> Result<(), Trouble> {
        let signed = latest.map_or(0, |(latest, _)| latest.size);
        let changed = |file: &str, what| Err(Trouble::Changed(self.folder.join(file), what));
        let origin = origin_of(&self.vault, name);
        if history.iter().any(|(checkpoint, _)| checkpoint.origin != origin) {
            return changed(&format!("{name}/{HISTORY}"), "a checkpoint in it is of another log");
        }
        let last = history.last().map_or(0, |(last, _)| last.size);
        if last < signed {
            return changed(&format!("{name}/{HISTORY}"), "checkpoints at its end are missing");
        }
        if self.sizes.get(name).map_or(0, |sizes| sizes.leaves) < signed {
            return changed("state", "it is older than what was signed");
        }
        let before = history.iter().rev().nth(STEPS_BEHIND_MAX);
        let is_behind = |latest: Option<u64>| before.is_some_and(|(before, _)| latest < Some(before.size));
        if is_behind(latest.map(|(latest, _)| latest.size)) {
            // The process may have gone on since.
            let now = self::latest(&self.folder, &self.known)?;
            if is_behind(now.get(&origin).map(|(latest, _)| latest.size)) {
                return changed(LATEST, "it is older than the checkpoints of a log's history");
            }
        }
        Ok(())
    }

    /// All was taken: what is signed must have been met.
    pub(super) fn finish(mut self) -> Result<BTreeMap<String, LogCounts>, Trouble> {
        let unmet: Vec<String> = self.latest.keys().filter_map(|origin| self.name_of(origin)).collect();
        let only = self.only.clone();
        for name in unmet.into_iter().filter(|name| only.as_ref().is_none_or(|only| only == name)) {
            let check = self.begin(&name)?;
            self.checks.insert(name, check);
        }
        let checks = self.checks.into_iter();
        checks.map(|(name, check)| Ok((name.clone(), check.finish(&name, &self.folder)?))).collect()
    }

    fn name_of(&self, origin: &str) -> Option<String> {
        Some(origin.strip_prefix(&self.vault)?.strip_prefix('/')?.to_owned())
    }
}

impl Check {
    /// Where records were shredded there are their leaves, which are checked with all that is built on them.
    fn shredded(&mut self, name: &str, folder: &Path) -> Result<(), Trouble> {
        self.gone_before(u64::MAX, name, folder)
    }

    /// The same up to a place whose record is there: one that is to go and has not gone yet.
    fn gone_before(&mut self, limit: u64, name: &str, folder: &Path) -> Result<(), Trouble> {
        while let Some((_, to, why)) = self.gone.pop_if(|(from, ..)| *from <= self.tree.size()) {
            self.fill((to.min(limit), why), name, folder)?;
            if limit < to {
                self.gone.push((limit, to, why));
                return Ok(());
            }
        }
        Ok(())
    }

    /// Takes leaves as they are stored, up to a place.
    fn fill(&mut self, (to, why): (u64, Why), name: &str, folder: &Path) -> Result<(), Trouble> {
        let mut leaves = Stored::of(&Files::of(folder, name), 0);
        while self.tree.size() < to {
            let leaf = leaves.get(self.tree.size());
            let leaf = leaf.ok_or_else(|| Trouble::Changed(leaves.path.clone(), "a hash is missing"))?;
            self.counts.count(why);
            self.push(leaf, None, name, folder)?;
        }
        Ok(())
    }

    fn push(&mut self, leaf: Hash, place: Option<Place>, name: &str, folder: &Path) -> Result<(), Trouble> {
        self.since = self.since.or(place);
        let (stored, files) = (&mut self.stored, Files::of(folder, name));
        let (mut differs, mut file, mut missing) = (self.differs, self.file.take(), self.missing.take());
        self.tree.push(leaf, |(row, index, hash)| {
            let kept = stored.entry(row).or_insert_with(|| Stored::of(&files, row));
            match kept.get(index) {
                Some(found) if found == hash => {}
                None => {
                    missing.get_or_insert_with(|| kept.path.clone());
                }
                Some(_) => {
                    file.get_or_insert_with(|| kept.path.clone());
                    if row == 0 {
                        differs = differs.or(place);
                    }
                }
            }
        });
        (self.differs, self.file, self.missing) = (differs, file, missing);
        self.counts.records = self.tree.size();
        self.compare(name, folder)
    }

    /// Compares with the checkpoints of this size.
    fn compare(&mut self, name: &str, folder: &Path) -> Result<(), Trouble> {
        while let Some(checkpoint) = self.ahead.pop_if(|next| next.size <= self.tree.size()) {
            if checkpoint.root != self.tree.root() {
                return Err(match (self.differs, self.since) {
                    (Some(place), _) => Trouble::Record(place, "it is not what was signed"),
                    (None, Some(place)) => {
                        Trouble::Record(place, "this or a later record is not what was signed")
                    }
                    (None, None) => Trouble::Changed(
                        Files::of(folder, name).path(0),
                        "a hash of a shredded record is not what was signed",
                    ),
                });
            }
            if let Some(file) = self.file.take() {
                return Err(Trouble::Changed(file, "a hash is not that of the records, which are as signed"));
            }
            // Hashes are on disk before what they lead to is signed.
            if let Some(file) = self.missing.take() {
                return Err(Trouble::Changed(file, "a hash is missing"));
            }
            self.counts.checkpoints = self.counts.checkpoints.saturating_add(1);
            self.counts.signed = checkpoint.size;
            let time = checkpoint.extensions.iter().find_map(|line| line.strip_prefix("time "));
            self.counts.signed_at = time.map(str::to_owned);
            self.since = None;
        }
        Ok(())
    }

    fn finish(mut self, name: &str, folder: &Path) -> Result<LogCounts, Trouble> {
        self.shredded(name, folder)?;
        self.compare(name, folder)?;
        if !self.ahead.is_empty() {
            let what = "records at its end are missing: more were signed than there are";
            return Err(Trouble::Signed(name.to_owned(), ProofError::Wrong(what)));
        }
        match (self.differs, self.file) {
            (Some(place), _) => Err(Trouble::Record(place, "it is not what the notary took")),
            (None, Some(file)) => Err(Trouble::Changed(file, "a hash is not that of the records")),
            (None, None) => Ok(self.counts),
        }
    }
}
