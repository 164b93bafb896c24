//! Seals records into files: gathers them log by log, and puts them where they are kept.
//!
//! What always holds: a record is in the archive once [`Sealer::finish_round`] said so, and before that its journal must
//! stay; whatever is interrupted, taking the same records again neither loses nor doubles one, because what a log has
//! already is known from its files' names. Memory is bounded by [`MEMORY_BYTES_MAX`]; when a file cannot be put, nothing is
//! dropped: records are not taken until it can.
//!
//! A file has records of one log, without a gap in their places. It ends where a record ends on a later day than the
//! one before, or more than a day earlier, which only a clock that was set does.

mod merge;
pub(in crate::audit) mod thin;

use std::collections::HashMap;
use std::fmt;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::array::RecordBatch;

use super::super::arrow::{BadBatch, Builder, Leaf};
use super::super::join::Whole;
use super::super::keys::KeyError;
use super::super::row::{Column, Row};
use super::check::{check, ended};
use super::file::{FileError, Keys, Writer};
use super::name::{Day, Name, Without};
use super::place::{Place, make_folder};
pub use merge::LeafCheck;

/// Records that are gathered and not in a file yet, about; beyond that the log with the most is sealed early.
const MEMORY_BYTES_MAX: usize = 64 << 20;
/// What is gathered becomes a batch at this size.
const BATCH_ROWS_MAX: usize = 8 << 10;
const BATCH_BYTES_MAX: usize = 8 << 20;

/// Why the sealer does not go on. Try again later: nothing is lost as long as the journal is kept.
#[derive(Debug)]
pub enum SealError {
    /// A file cannot be made or put.
    File(String, FileError),
    /// What is in the archive cannot be told.
    List(String, io::Error),
    /// A record that cannot be one.
    Record(BadBatch),
}

impl fmt::Display for SealError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(name, error) => write!(f, "archive file {name}: {error}"),
            Self::List(log, error) => write!(f, "files of log {log} in the archive: {error}"),
            Self::Record(error) => write!(f, "archive: {error}"),
        }
    }
}

impl std::error::Error for SealError {}

/// What became of a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Taken {
    /// It will be in the archive with the next round.
    New,
    /// It is there already.
    Known,
}

/// Gathered records of one log.
#[derive(Debug, Default)]
struct Gathered {
    batches: Vec<RecordBatch>,
    builder: Builder,
    bytes: usize,
    first: u64,
    /// Number of the data key of the first record that has one: the file's.
    key: u32,
    /// The earliest day on which a record began, and the latest on which one ended.
    days: (Day, Day),
}

#[derive(Debug)]
struct Log {
    /// The first place that neither the archive nor `gathered` has.
    next: u64,
    gathered: Option<Box<Gathered>>,
}

/// Figures for metrics and health.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Figures {
    /// Files put since the start.
    pub files: u64,
    /// Their bytes.
    pub file_bytes: u64,
    /// Records in them.
    pub records: u64,
    /// Records that could not be put in a file because their key was destroyed.
    pub shredded: u64,
}

/// Seals records. See the module's description.
pub struct Sealer {
    place: Box<dyn Place>,
    keys: Arc<dyn Keys>,
    spool: PathBuf,
    logs: HashMap<String, Log>,
    bytes: usize,
    memory_bytes_max: usize,
    figures: Figures,
    /// `None`: all files are believed.
    trusted: Option<HashMap<String, u64>>,
}

impl fmt::Debug for Sealer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sealer")
            .field("bytes", &self.bytes)
            .field("figures", &self.figures)
            .finish_non_exhaustive()
    }
}

impl Sealer {
    /// A sealer that makes its files in the folder `spool`, which is its own: what an interrupted one left there is deleted.
    ///
    /// # Errors
    /// When the folder cannot be made or emptied.
    pub fn open(place: Box<dyn Place>, keys: Arc<dyn Keys>, spool: &Path) -> io::Result<Self> {
        make_folder(spool)?;
        for entry in fs::read_dir(spool)? {
            let path = entry?.path();
            if path.extension().is_some_and(|ending| ending == "unsealed") {
                fs::remove_file(path)?;
            }
        }
        Ok(Self {
            place,
            keys,
            spool: spool.to_owned(),
            logs: HashMap::new(),
            bytes: 0,
            memory_bytes_max: MEMORY_BYTES_MAX,
            figures: Figures::default(),
            trusted: None,
        })
    }

    /// Takes the next record of a log, with its whole text and parameters. Those of one log come in the order of their places.
    ///
    /// # Errors
    /// [`SealError`]: the record was not taken; come again with it.
    pub fn take(
        &mut self,
        log: &str,
        leaf: Leaf,
        row: &Row<'_>,
        whole: &Whole<'_>,
    ) -> Result<Taken, SealError> {
        let next = self.next(log)?;
        if leaf.index < next {
            return Ok(Taken::Known);
        }
        let days = (Day::of(row.number_of(Column::Time)), Day::of(ended(row)));
        let gathered = self.logs.get(log).and_then(|known| known.gathered.as_ref());
        let goes_on = |gathered: &Gathered| {
            // A file goes with one data key.
            let is_same_key = leaf.key == 0 || gathered.key == 0 || leaf.key == gathered.key;
            is_same_key
                && leaf.index == next
                && days.1 <= gathered.days.1
                && days.1.end_ns() >= gathered.days.1.begin_ns()
        };
        if gathered.is_some_and(|gathered| !goes_on(gathered)) {
            self.seal(log)?;
        }
        while self.bytes > self.memory_bytes_max {
            self.seal_largest()?;
        }
        let Some(known) = self.logs.get_mut(log) else { return Ok(Taken::Known) };
        let gathered = known.gathered.get_or_insert_with(|| {
            Box::new(Gathered { first: leaf.index, key: leaf.key, days, ..Gathered::default() })
        });
        let before = gathered.bytes;
        gathered.push(leaf, row, whole).map_err(SealError::Record)?;
        gathered.days = (gathered.days.0.min(days.0), gathered.days.1.max(days.1));
        self.bytes = self.bytes.saturating_add(gathered.bytes.saturating_sub(before));
        known.next = leaf.index.saturating_add(1);
        Ok(Taken::New)
    }

    /// Puts everything that was taken in files. When this answers without an error, all of it is in the archive for good.
    ///
    /// # Errors
    /// The first [`SealError`]; what could be put was.
    pub fn finish_round(&mut self) -> Result<(), SealError> {
        let waiting = self.logs.iter().filter(|(_, log)| log.gathered.is_some());
        let mut names: Vec<String> = waiting.map(|(name, _)| name.clone()).collect();
        names.sort_unstable();
        let mut first = Ok(());
        for name in names {
            let sealed = self.seal(&name);
            first = first.and(sealed);
        }
        first
    }

    /// What was done since the start.
    #[must_use]
    pub const fn figures(&self) -> Figures {
        self.figures
    }

    /// Bytes of memory that gathered records take, about.
    #[must_use]
    pub const fn waiting_bytes(&self) -> usize {
        self.bytes
    }

    /// The first place of a log that the archive does not have and that was not taken.
    ///
    /// # Errors
    /// [`SealError::List`].
    pub fn next(&mut self, log: &str) -> Result<u64, SealError> {
        if let Some(known) = self.logs.get(log) {
            return Ok(known.next);
        }
        let names = self.place.list(log).map_err(|error| SealError::List(log.to_owned(), error))?;
        let trusted =
            self.trusted.as_ref().map_or(u64::MAX, |trusted| trusted.get(log).copied().unwrap_or(0));
        let mut next = 0;
        for (name, _) in &names {
            if name.last >= trusted && !self.is_whole(name)? {
                continue;
            }
            next = next.max(name.last.saturating_add(1));
        }
        self.logs.insert(log.to_owned(), Log { next, gathered: None });
        Ok(next)
    }

    /// Whether a file that nobody has read since it was put is whole. One that is not is deleted: its records come again.
    fn is_whole(&self, name: &Name) -> Result<bool, SealError> {
        let of = |error| SealError::File(name.to_string(), error);
        let file = self.place.open(name).map_err(|error| of(FileError::Io(error)))?;
        match check(name, file, Arc::clone(&self.keys), |_| None) {
            Ok(_) | Err(FileError::Key(KeyError::Shredded(_))) => Ok(true),
            Err(FileError::Damaged(..)) => {
                self.place.delete(name).map_err(|error| of(FileError::Io(error)))?;
                Ok(false)
            }
            Err(error) => Err(of(error)),
        }
    }

    /// How many records of each log are in files that were read back. Later files are read before they are believed.
    pub(super) fn trust(&mut self, sizes: HashMap<String, u64>) {
        self.trusted = Some(sizes);
    }

    fn seal_largest(&mut self) -> Result<(), SealError> {
        let sizes = self.logs.iter().filter_map(|(name, log)| Some((log.gathered.as_ref()?.bytes, name)));
        match sizes.max().map(|(_, name)| name.clone()) {
            Some(name) => self.seal(&name),
            None => {
                self.bytes = 0;
                Ok(())
            }
        }
    }

    /// Puts what was gathered of a log in a file. On an error it is still gathered.
    fn seal(&mut self, log: &str) -> Result<(), SealError> {
        let Some(known) = self.logs.get_mut(log) else { return Ok(()) };
        let Some(mut gathered) = known.gathered.take() else { return Ok(()) };
        let name = Name {
            log: log.to_owned(),
            day: gathered.days.1,
            first: gathered.first,
            last: known.next.saturating_sub(1),
            earliest: gathered.days.0.min(gathered.days.1),
            without: Without::default(),
        };
        let path = self.spool.join("next.unsealed");
        let put = gathered
            .write(&path, log, self.keys.as_ref())
            .and_then(|bytes| Ok((bytes, self.place.put(&name, &path)?)))
            .and_then(|done| {
                let file = self.place.open(&name)?;
                check(&name, file, Arc::clone(&self.keys), |_| None).map(|_| done)
            });
        let bytes = match put {
            Ok((bytes, ())) => bytes,
            // Nobody can read these records any more, so there is nothing to keep.
            Err(FileError::Key(KeyError::Shredded(_))) => {
                self.figures.shredded = self.figures.shredded.saturating_add(name.records());
                self.bytes = self.bytes.saturating_sub(gathered.bytes);
                return Ok(());
            }
            Err(error) => {
                known.gathered = Some(gathered);
                return Err(SealError::File(name.to_string(), error));
            }
        };
        self.bytes = self.bytes.saturating_sub(gathered.bytes);
        self.figures.files = self.figures.files.saturating_add(1);
        self.figures.file_bytes = self.figures.file_bytes.saturating_add(bytes);
        self.figures.records = self.figures.records.saturating_add(name.records());
        Ok(())
    }
}

impl Gathered {
    fn push(&mut self, leaf: Leaf, row: &Row<'_>, whole: &Whole<'_>) -> Result<(), BadBatch> {
        if self.key == 0 {
            self.key = leaf.key;
        }
        let before = self.builder.bytes();
        self.builder.push(leaf, row, whole)?;
        self.bytes = self.bytes.saturating_add(self.builder.bytes().saturating_sub(before));
        if self.builder.rows() >= BATCH_ROWS_MAX || self.builder.bytes() >= BATCH_BYTES_MAX {
            self.batches.push(self.builder.finish()?);
        }
        Ok(())
    }

    /// Writes a file; answers its size.
    fn write(&mut self, path: &Path, log: &str, keys: &dyn Keys) -> Result<u64, FileError> {
        if self.key == 0 {
            self.key = keys.number_for(log, self.days.1.begin_ns()).map_err(FileError::Key)?;
        }
        if self.builder.rows() > 0 {
            self.batches.push(self.builder.finish()?);
        }
        let file = create(path)?;
        let mut writer = Writer::create(file, self.key, keys)?;
        for batch in &self.batches {
            writer.write(batch)?;
        }
        writer.finish()
    }
}

/// A file of the spool; what lay there is gone.
pub(super) fn create(path: &Path) -> io::Result<File> {
    File::options().write(true).create(true).truncate(true).mode(0o600).open(path)
}

#[cfg(test)]
mod tests;
