//! The log's records, wherever they lie: the archive first, then the journal from where the archive ends.
//!
//! What always holds: each record is handed out exactly once, those of one log in the order of their places; a record that
//! ought to be there and is not is an error, never passed over; memory is bounded by some batches of each log that is
//! read at one time. Nothing is changed and no lock is taken, so it works beside the process that writes, and inside it.
//!
//! A **log** is a customer's, by its id, or the vault's own ([`OWN_LOG`]). Several logs are read as one in the order in which their
//! records began, about: within a log the order is that in which they ended.
//!
//! ```text
//! archived.rs  the archive's part      tail.rs  the journal's
//! ```

mod archived;
mod tail;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use super::archive::check::check_each;
use super::archive::file::{FileError, Keys};
use super::archive::follower::own_folder;
pub use super::archive::name::OWN_LOG;
use super::archive::name::{Name, covering};
use super::archive::place::{self, Place};
pub use super::archive::span::Span;
use super::arrow::Leaf;
use super::begin::{self, Begin};
use super::evidence::folder_of;
use super::join::{BadBody, Lost, Shown, Whole};
use super::keeping::retention::{self, Aged};
use super::keys::{KeyError, Keyring};
use super::notary::Trouble;
use super::notary::state::{self, State};
use super::reader::{End, Pieces, Place as JournalPlace, ReadError};
use super::render;
use super::row::Row;
use crate::config;
pub use archived::ArchivedFile;
pub use tail::Tail;

/// Files may be replaced by a larger one while they are read; then it is looked again, so often.
const LOOKS_MAX: u32 = 8;

/// Which records.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wanted {
    /// Of this log only: a customer's id, or [`OWN_LOG`].
    pub log: Option<String>,
    /// Which of them. Places mean something where one log is named.
    pub span: Span,
    /// What is running is handed out at the end, as `unknown`. It has no place yet.
    pub with_open: bool,
    /// Each record's place is told. Without, segments of the journal that lie before the span are not read.
    pub with_index: bool,
}

impl Wanted {
    /// All that was recorded and is complete, with its places.
    pub const ALL: Self = Self { log: None, span: Span::ALL, with_open: false, with_index: true };

    /// All of one log.
    #[must_use]
    pub fn of(log: &str) -> Self {
        Self { log: Some(log.to_owned()), ..Self::ALL }
    }

    fn takes_log(&self, log: &str) -> bool {
        self.log.as_ref().is_none_or(|only| only == log)
    }

    fn takes(&self, log: &str, index: Option<u64>, began_ns: u64) -> bool {
        let in_place = index.is_none_or(|index| (self.span.from..self.span.to).contains(&index));
        self.takes_log(log) && in_place && self.span.holds_time(began_ns)
    }
}

/// A record.
#[derive(Debug, Clone, Copy)]
pub struct Found<'a> {
    /// Its log: a customer's id, or [`OWN_LOG`].
    pub log: &'a str,
    /// Its place in the log, from 0; `None`: it is not complete, or was not asked for.
    pub index: Option<u64>,
    /// Number of its data key; 0: none.
    pub key: u32,
    /// Its columns.
    pub row: &'a Row<'a>,
    from: From<'a>,
}

#[derive(Debug, Clone, Copy)]
enum From<'a> {
    Journal(&'a Shown<'a>, &'a Pieces),
    Archive(&'a Whole<'a>, &'a str),
}

impl<'a> Found<'a> {
    /// Text and parameters, whole. Of the journal they are read now; what cannot be read any more is missing.
    ///
    /// # Errors
    /// [`HistoryError`] when they are not what the record says.
    pub fn whole(&self) -> Result<Whole<'a>, HistoryError> {
        match self.from {
            From::Journal(shown, pieces) => Ok(shown.load(pieces)?),
            From::Archive(whole, _) if whole.is_of(self.row) => Ok(borrowed(whole)),
            From::Archive(_, file) => {
                let damaged = FileError::Damaged(self.index, Lost::Changed.what().to_owned());
                Err(HistoryError::File(file.to_owned(), damaged))
            }
        }
    }

    /// The file of the archive that it is from; `None`: the journal.
    #[must_use]
    pub const fn file(&self) -> Option<&'a str> {
        match self.from {
            From::Journal(..) => None,
            From::Archive(_, file) => Some(file),
        }
    }

    /// Where its (first) record lies in the journal, if it does.
    #[must_use]
    pub const fn place(&self) -> Option<JournalPlace> {
        match self.from {
            From::Journal(shown, _) => Some(shown.place),
            From::Archive(..) => None,
        }
    }

    /// Text and parameters, whole; only what was shredded is missing.
    ///
    /// # Errors
    /// [`HistoryError`] when they cannot be had or are not what the record says.
    pub(super) fn load_whole(&self) -> Result<Whole<'a>, HistoryError> {
        match self.from {
            From::Journal(shown, pieces) => Ok(shown.load_whole(pieces)?),
            From::Archive(..) => self.whole(),
        }
    }

    /// One line of JSON, as [`render::json`].
    ///
    /// # Errors
    /// As [`Found::whole`].
    pub fn json(&self) -> Result<String, HistoryError> {
        Ok(render::json(self.row, &self.whole()?))
    }

    /// One line for people, as [`render::human`].
    ///
    /// # Errors
    /// As [`Found::whole`].
    pub fn human(&self) -> Result<String, HistoryError> {
        Ok(render::human(self.row, &self.whole()?))
    }

    /// The canonical bytes of its long columns, behind those of [`Row::canonical`].
    pub fn canonical_long(&self, put: impl FnMut(&[u8])) {
        let long = match self.from {
            From::Journal(shown, _) => shown.here(),
            From::Archive(whole, _) => (&*whole.text, &*whole.parameters),
        };
        self.row.canonical_long(long, put);
    }
}

fn borrowed<'a>(whole: &'a Whole<'_>) -> Whole<'a> {
    Whole { text: (&*whole.text).into(), parameters: (&*whole.parameters).into() }
}

/// What else there is to tell when all was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Ended {
    /// Records that are unreadable, because their keys were shredded.
    pub shredded: u64,
    /// Bytes behind the journal's last record that are the beginning of a write that was not completed.
    pub torn_bytes: u64,
}

/// Why records cannot be read.
#[derive(Debug)]
pub enum HistoryError {
    /// The journal cannot be read, or is damaged.
    Journal(ReadError),
    /// A record of the journal is no record.
    Body(BadBody),
    /// A file of the archive, by its name, cannot be read or is damaged.
    File(String, FileError),
    /// The archive of a log cannot be looked at.
    Place(String, io::Error),
    /// Records that the archive has had are in none of its files: log, first and last place.
    Missing(String, u64, u64),
    /// What says how far the archive is (the file) does not reach to where the journal begins.
    Behind(PathBuf),
    /// What the archive or the notary keeps of how far they are cannot be read.
    State(String),
}

impl fmt::Display for HistoryError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Journal(error) => write!(f, "{error}"),
            Self::Body(BadBody(place, what)) => write!(f, "record {}: {what}", place.record),
            Self::File(name, error) => write!(f, "archive file {name}: {error}"),
            Self::Place(log, error) => write!(f, "archive of log {log}: {error}"),
            Self::Missing(log, first, last) => {
                write!(f, "archive of log {log}: records {first} to {last} are in none of its files")
            }
            Self::Behind(file) => write!(
                f,
                "{}: it is missing or older than the journal's beginning, so nobody can tell which records the archive \
                 has; the process that writes the log finds that out anew when it starts",
                file.display()
            ),
            Self::State(what) => f.write_str(what),
        }
    }
}

impl std::error::Error for HistoryError {}

impl std::convert::From<ReadError> for HistoryError {
    fn from(error: ReadError) -> Self {
        Self::Journal(error)
    }
}

impl std::convert::From<BadBody> for HistoryError {
    fn from(bad: BadBody) -> Self {
        Self::Body(bad)
    }
}

impl std::convert::From<Trouble> for HistoryError {
    fn from(trouble: Trouble) -> Self {
        match trouble {
            Trouble::Journal(error) => Self::Journal(error),
            Trouble::Record(..)
            | Trouble::Key(..)
            | Trouble::Files(..)
            | Trouble::Changed(..)
            | Trouble::Signer(_)
            | Trouble::Signed(..) => Self::State(trouble.to_string()),
        }
    }
}

/// All records of a vault's logs. See the module's description.
pub struct History {
    audit: config::Audit,
    /// What the journal began with when this was opened.
    begin: Option<Begin>,
    keyring: Arc<Keyring>,
    place: Box<dyn Place>,
    archived: State,
    /// Places of each log whose records were shredded: from and to.
    gone: BTreeMap<String, Vec<(u64, u64)>>,
    /// What went of each log by its age.
    aged: BTreeMap<String, Aged>,
    /// Why nobody can tell that, of these logs.
    untold: BTreeMap<String, String>,
}

impl fmt::Debug for History {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("History").field("journal", &self.audit.directory).finish_non_exhaustive()
    }
}

impl History {
    /// Looks how far the archive is. What is archived while this is used is read from the journal.
    ///
    /// # Errors
    /// [`HistoryError`] when that cannot be found out.
    pub fn open(audit: &config::Audit, keyring: Arc<Keyring>) -> Result<Self, HistoryError> {
        // Before the archive's state, which is written before segments are deleted.
        let begin = Begin::read(&audit.directory).map_err(|error| {
            HistoryError::Journal(ReadError::Io(audit.directory.join(begin::NAME), error))
        })?;
        let archived = State::read(&own_folder(&audit.directory))?.unwrap_or_default();
        if begin.as_ref().is_some_and(|begin| archived.record.saturating_add(1) < begin.record) {
            return Err(HistoryError::Behind(own_folder(&audit.directory).join(state::NAME)));
        }
        let signed = State::read(&folder_of(&audit.directory))?.unwrap_or_default();
        let place =
            place::open_to_read(audit).map_err(|error| HistoryError::Place("(all)".to_owned(), error))?;
        let gone = signed.logs.iter().map(|(log, sizes)| (log.clone(), sizes.gone(Some(&keyring))));
        let mut gone: BTreeMap<String, Vec<(u64, u64)>> = gone.filter(|(_, gone)| !gone.is_empty()).collect();
        let (mut aged, mut untold) = (BTreeMap::new(), BTreeMap::new());
        for log in archived.logs.keys() {
            // Where that cannot be told, what is missing is missing.
            let went = retention::aged(&audit.directory, &keyring, log).unwrap_or_else(|error| {
                tracing::error!(error, "nobody can tell which records went by their age");
                untold.insert(log.clone(), error);
                Aged::default()
            });
            if !went.whole.is_empty() {
                let all = gone.entry(log.clone()).or_default();
                all.extend(&went.whole);
                all.sort_unstable();
            }
            aged.insert(log.clone(), went);
        }
        Ok(Self { audit: audit.clone(), begin, keyring, place, archived, gone, aged, untold })
    }

    /// The logs that the archive has, and how many records of each, shredded ones included.
    pub fn archived_logs(&self) -> impl Iterator<Item = (&str, u64)> {
        self.archived.logs.iter().map(|(log, sizes)| (log.as_str(), sizes.leaves))
    }

    /// Hands out the records that are wanted; nothing is read twice.
    ///
    /// # Errors
    /// [`HistoryError`], or what `take` answers; then nothing more is read.
    pub fn each<E: std::convert::From<HistoryError>>(
        &self,
        wanted: &Wanted,
        mut take: impl FnMut(&Found<'_>) -> Result<(), E>,
    ) -> Result<Ended, E> {
        let shredded = self.each_archived(wanted, &mut take)?;
        let mut tail = self.tail(wanted)?;
        loop {
            tail.read_on(&mut take)?;
            let end = tail.end()?;
            if end == End::More {
                continue;
            }
            if wanted.with_open {
                tail.finish(&mut take)?;
            }
            let torn_bytes = if let End::Torn(bytes) = end { bytes } else { 0 };
            return Ok(Ended { shredded: shredded.saturating_add(tail.shredded()), torn_bytes });
        }
    }

    /// Hands out those that lie in the archive. Answers how many of them are shredded.
    ///
    /// # Errors
    /// [`HistoryError`], or what `take` answers.
    pub fn each_archived<E: std::convert::From<HistoryError>>(
        &self,
        wanted: &Wanted,
        take: impl FnMut(&Found<'_>) -> Result<(), E>,
    ) -> Result<u64, E> {
        archived::each(self, wanted, &BTreeMap::new(), take)
    }

    /// The journal from where the archive ends.
    ///
    /// # Errors
    /// [`HistoryError`] when it cannot be opened.
    pub fn tail(&self, wanted: &Wanted) -> Result<Tail, HistoryError> {
        Tail::open(self, wanted)
    }

    /// Number of the last record of the journal that the archive has.
    #[must_use]
    pub const fn archived_record(&self) -> u64 {
        self.archived.record
    }

    /// Reads a file of the archive whole, holds it against its name and hands out its records.
    ///
    /// # Errors
    /// [`HistoryError::File`], also with what `take` answers.
    pub(super) fn check_file(
        &self,
        name: &Name,
        take: impl FnMut(Leaf, &Row<'_>, &Whole<'_>) -> Result<(), FileError>,
    ) -> Result<(), HistoryError> {
        let of = |error| self.trouble_of(name, error);
        let wrong = |what: String| of(FileError::Damaged(None, what));
        let file = self.place.open(name).map_err(|error| of(FileError::Io(error)))?;
        let found = check_each(name, file, self.file_keys(), |_| None, take).map_err(of)?;
        let went = self.aged_of(&name.log).and_then(|aged| aged.of_file(name)).unwrap_or(0);
        let lost = name.records().saturating_sub(found);
        if lost != went {
            return Err(wrong(format!("{lost} of its records are missing, and {went} went by their age")));
        }
        Ok(())
    }

    /// What is wrong with a file. That its key was shredded only if the key was its log's: else it was put there.
    pub(super) fn trouble_of(&self, name: &Name, mut error: FileError) -> HistoryError {
        if let FileError::Key(KeyError::Shredded(key)) = error {
            match self.keyring.is_of(key, &name.log) {
                Ok(true) => {}
                Ok(false) => error = FileError::Damaged(None, format!("key {key} is of another log")),
                Err(trouble) => error = FileError::Key(trouble),
            }
        }
        HistoryError::File(name.to_string(), error)
    }

    /// What went of a log by its age.
    #[must_use]
    pub fn aged_of(&self, log: &str) -> Option<&Aged> {
        self.aged.get(log)
    }

    /// The names of a log's files with records that the archive had when this was opened.
    pub(super) fn names(&self, log: &str, size: u64) -> Result<Vec<Name>, HistoryError> {
        let listed = self.place.list(log).map_err(|error| HistoryError::Place(log.to_owned(), error))?;
        Ok(listed.into_iter().map(|(name, _)| name).filter(|name| name.first < size).collect())
    }

    fn gone_of(&self, log: &str) -> &[(u64, u64)] {
        self.gone.get(log).map_or(&[], Vec::as_slice)
    }

    /// The files of a log, and what of them is to be read. Records that are in none must have been shredded.
    pub(super) fn files(&self, log: &str, from: u64, size: u64) -> Result<Vec<(Name, u64)>, HistoryError> {
        let mut names = self.names(log, size)?;
        names.retain(|name| name.last >= from);
        let mut files: Vec<(Name, u64)> = Vec::new();
        let mut next = from;
        for piece in covering(&names) {
            let begin = piece.from.max(from);
            self.must_be_gone(log, next, begin)?;
            next = piece.name.last.saturating_add(1);
            files.push((piece.name.clone(), begin));
        }
        self.must_be_gone(log, next, size)?;
        Ok(files)
    }

    /// Places from `next` to before `end` must have been shredded.
    fn must_be_gone(&self, log: &str, mut next: u64, end: u64) -> Result<(), HistoryError> {
        for (from, to) in self.gone_of(log) {
            if *from <= next {
                next = next.max(*to);
            }
        }
        if next < end {
            // Where what went is not known, that is what is wrong, as far as anybody can say.
            let untold = self.untold.get(log).cloned().map(HistoryError::State);
            let missing = || HistoryError::Missing(log.to_owned(), next, end.saturating_sub(1));
            return Err(untold.unwrap_or_else(missing));
        }
        Ok(())
    }

    fn file_keys(&self) -> Arc<dyn Keys> {
        Arc::<Keyring>::clone(&self.keyring)
    }
}
