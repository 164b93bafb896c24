//! Follows what is on disk and hands each record to its day.
//!
//! What always holds: how far it has come is written down only after all that was counted is; the file is replaced whole, and
//! losing it costs reading the journal again, not counting it again.

use std::fmt;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::super::archive::place::make_folder;
use super::super::join::{BadBody, Joiner};
use super::super::keys::Keyring;
use super::super::reader::{Pieces, ReadError, Reader};
use super::Finding;
use super::days::Days;
use super::store::{Store, StoreError, replace};
use crate::config;
use crate::customers::Catalogues;

/// How far it has come, in the folder of the digests.
pub(in crate::audit) const POSITION: &str = "position.json";
/// Records that are taken at one time, so that a round is not late.
const RECORDS_AT_ONCE: u32 = 1 << 15;

/// Why it does not go on. It begins again where the last round ended.
#[derive(Debug)]
pub(in crate::audit) enum DigestTrouble {
    /// The journal cannot be read.
    Journal(ReadError),
    /// A record cannot be read.
    Record(BadBody),
    /// A digest cannot be read or written.
    Store(StoreError),
}

impl fmt::Display for DigestTrouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Journal(error) => write!(f, "{error}"),
            Self::Record(BadBody(place, what)) => write!(f, "record {}: {what}", place.record),
            Self::Store(error) => write!(f, "{error}"),
        }
    }
}

impl std::error::Error for DigestTrouble {}

impl From<ReadError> for DigestTrouble {
    fn from(error: ReadError) -> Self {
        Self::Journal(error)
    }
}

impl From<BadBody> for DigestTrouble {
    fn from(bad: BadBody) -> Self {
        Self::Record(bad)
    }
}

impl From<StoreError> for DigestTrouble {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

/// How far it has come.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Position {
    /// Number of the last record that was taken.
    record: u64,
    /// The segment in which reading begins again: that of the oldest intent without its outcome.
    segment: u64,
}

/// Where it reads and writes, and by which rules.
pub(in crate::audit) struct Plan {
    /// The journal's folder.
    pub(in crate::audit) journal: PathBuf,
    pub(in crate::audit) keyring: Arc<Keyring>,
    pub(in crate::audit) catalogues: Catalogues,
    /// For customers that say nothing else.
    pub(in crate::audit) rules: config::Digest,
}

/// The state of the digests.
pub(in crate::audit) struct Follower {
    folder: PathBuf,
    reader: Reader,
    joiner: Joiner,
    pieces: Pieces,
    days: Days,
    taken: u64,
    /// Records up to here were taken before: they are read for what hangs on them.
    known: u64,
}

impl Follower {
    /// Goes on where the last round ended, or begins with the oldest record there is.
    pub(in crate::audit) fn open(plan: &Plan) -> Result<Self, DigestTrouble> {
        let folder = super::folder_of(&plan.journal);
        let io = |error| StoreError::Io(folder.clone(), error);
        make_folder(&folder).map_err(io)?;
        let position = read_position(&folder).map_err(io)?;
        let reader = match Reader::open_at(&plan.journal, position.segment) {
            Ok(reader) => reader,
            // It never was anywhere, or the segment is gone.
            Err(_) => Reader::open(&plan.journal)?,
        };
        let reader = reader.with_keys(Arc::clone(&plan.keyring));
        let (joiner, pieces) = (Joiner::new(&reader), reader.pieces());
        let store = Store::new(folder.clone(), Arc::clone(&plan.keyring));
        let days = Days::new(store, Arc::clone(&plan.catalogues), plan.rules.clone())?;
        Ok(Self { folder, reader, joiner, pieces, days, taken: position.record, known: position.record })
    }

    /// Takes what is in the journal up to `durable` (segment, offset), or all of it when nobody writes, but not more than some
    /// ten thousand records; whether those were all.
    pub(in crate::audit) fn follow(&mut self, durable: Option<(u64, u64)>) -> Result<bool, DigestTrouble> {
        let mut looked = false;
        for _ in 0..RECORDS_AT_ONCE {
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
            let record = raw.place.record;
            let (days, pieces, is_known) = (&mut self.days, &self.pieces, record <= self.known);
            self.joiner.take(&raw, |shown| {
                if is_known {
                    return Ok(());
                }
                days.take(record, shown, pieces).map_err(DigestTrouble::from)
            })?;
            self.taken = self.taken.max(record);
        }
        Ok(false)
    }

    /// What was found since this was asked last, by customer.
    pub(in crate::audit) fn findings(&mut self) -> Vec<(String, Finding)> {
        std::mem::take(&mut self.days.findings)
    }

    /// Makes what was counted last, and ends days that are over if all before `now_ns` was taken. The segment of the journal
    /// in which it begins again.
    pub(in crate::audit) fn round(&mut self, now_ns: u64, took_all: bool) -> Result<u64, DigestTrouble> {
        self.days.round(now_ns, took_all)?;
        let oldest = self.joiner.oldest().map_or(u64::MAX, |place| place.segment);
        let position = Position { record: self.taken, segment: self.reader.position().0.min(oldest) };
        let path = self.folder.join(POSITION);
        let written = serde_json::to_string(&position).map_err(io::Error::from);
        let written = written.and_then(|text| replace(&path, summed(&text).as_bytes()));
        written.map_err(|error| StoreError::Io(path, error))?;
        Ok(position.segment)
    }
}

/// The first segment of a journal that the digests still need, as they have written it down; `u64::MAX`: none were ever made.
pub(in crate::audit) fn needed_segment(journal: &Path) -> io::Result<u64> {
    let folder = super::folder_of(journal);
    if folder.is_dir() { read_position(&folder).map(|position| position.segment) } else { Ok(u64::MAX) }
}

/// A text with its checksum on a line behind it.
fn summed(text: &str) -> String {
    format!("{text}\n{:08x}\n", crc32fast::hash(text.as_bytes()))
}

fn parse_position(bytes: &[u8]) -> Option<Position> {
    let text = std::str::from_utf8(bytes).ok()?;
    let (json, _) = text.split_once('\n')?;
    serde_json::from_str(json).ok().filter(|_| summed(json) == text)
}

/// Whether what says how far it has come is as it was written, or not there; with its path.
pub(in crate::audit) fn is_position_whole(folder: &Path) -> (PathBuf, bool) {
    let path = folder.join(POSITION);
    let is_whole = match fs::read(&path) {
        Ok(bytes) => parse_position(&bytes).is_some(),
        Err(error) => error.kind() == io::ErrorKind::NotFound,
    };
    (path, is_whole)
}

/// A file that says nothing sensible is one that is not there: reading begins again, and counts nothing twice.
fn read_position(folder: &Path) -> io::Result<Position> {
    match fs::read(folder.join(POSITION)) {
        Ok(bytes) => Ok(parse_position(&bytes).unwrap_or_default()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Position::default()),
        Err(error) => Err(error),
    }
}
