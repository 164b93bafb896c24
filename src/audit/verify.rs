//! Reads everything again and says whether it is as it was written.
//!
//! What passes here: every checksum, record number and chain hash, the links between segments, the zeros behind the last
//! record, and that every body whose key is there can be read. What it cannot see: records cut off the end with nothing written after them,
//! and a journal rewritten from some place on by somebody who can write to it. `docs/AUDIT.md` says more.

#[cfg(test)]
mod tests;

use std::path::Path;
use std::sync::Arc;

use super::begin::{self, Begin};
use super::entry::{Entry, decode};
use super::journal::segment_name;
use super::keys::Keyring;
use super::reader::{Body, End, Raw, ReadError, Reader};

/// What was read.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Segments.
    pub segments: u64,
    /// Records of all kinds.
    pub records: u64,
    /// Records in files of the archive that were read; 0 where only the journal was.
    pub archived: u64,
    /// Complete executions: joined records and intents.
    pub statements: u64,
    /// Intents whose outcome has not been recorded.
    pub intents_open: u64,
    /// Starts of a process.
    pub starts: u64,
    /// Starts after an end that was not in order.
    pub starts_after_crash: u64,
    /// Bytes of torn ends that were cut, as the records of the starts say.
    pub bytes_cut: u64,
    /// Times in which the log could not be written.
    pub gaps: u64,
    /// Records whose key was shredded: bound into the chain, and unreadable.
    pub shredded: u64,
    /// Records that were not decrypted, because no keys were given.
    pub closed: u64,
    /// Bytes behind the last record that a start would cut; 0: the end is clean.
    pub torn_bytes: u64,
}

impl Counts {
    fn count(&mut self, entry: &Entry<'_>) {
        let add = |counter: &mut u64, count: u64| *counter = counter.saturating_add(count);
        match entry {
            Entry::LogStart(start) => {
                add(&mut self.starts, 1);
                add(&mut self.bytes_cut, start.bytes_cut);
                let in_order: [&[u8]; 2] = [b"new", b"clean"];
                add(&mut self.starts_after_crash, u64::from(!in_order.contains(&start.previous_end.kept)));
            }
            Entry::LogGap(_) => add(&mut self.gaps, 1),
            Entry::Statement(..) => add(&mut self.statements, 1),
            Entry::Intent(..) => {
                add(&mut self.statements, 1);
                add(&mut self.intents_open, 1);
            }
            Entry::Outcome { .. } => self.intents_open = self.intents_open.saturating_sub(1),
            Entry::LogStop { .. }
            | Entry::SessionOpen { .. }
            | Entry::SessionClose { .. }
            | Entry::Part { .. }
            | Entry::Event(_) => {}
        }
    }
}

/// Verifies the journal in a folder, the bodies as far as keys are given; `progress` hears of every 16,384th record.
///
/// # Errors
/// [`ReadError`] names the first thing that is not as it was written. A torn end is no error here; see
/// [`Counts::torn_bytes`].
pub fn verify(
    path: &Path,
    keyring: Option<Arc<Keyring>>,
    progress: impl FnMut(&Counts),
) -> Result<Counts, ReadError> {
    let reader = Reader::open(path)?;
    if let Some(keyring) = &keyring {
        check_mac(path, keyring)?;
    }
    verify_all(keyring.into_iter().fold(reader, Reader::with_keys), progress, |_| Ok(()))
}

/// The journal begins with segment 1, or where it says that it was cut off. Answers with which.
fn check_begin(reader: &Reader) -> Result<u64, ReadError> {
    let io = |error| ReadError::Io(reader.path().to_owned(), error);
    let begin = Begin::read(reader.path()).map_err(io)?;
    let (segment, record, chain) =
        begin.map_or((1, 1, [0; 32]), |begin| (begin.segment, begin.record, begin.chain));
    let (found, first_record) = reader.segment();
    if found != segment {
        let what = if segment == 1 {
            "the segment is missing, and no journal.begin says that it was deleted"
        } else {
            begin::FIRST_IS_MISSING
        };
        let file = reader.path().join(segment_name(segment));
        return Err(ReadError::Damaged { file, offset: 0, record, what });
    }
    if first_record != record || *reader.previous() != chain {
        return Err(reader.damaged(0, record, "it does not follow from what was deleted before it"));
    }
    Ok(segment)
}

/// Segments were deleted by who has the vault's keys, if any were.
pub(super) fn check_mac(path: &Path, keyring: &Keyring) -> Result<(), ReadError> {
    let io = |error| ReadError::Io(path.to_owned(), error);
    let Some(begin) = Begin::read(path).map_err(io)? else { return Ok(()) };
    if begin.is_own(keyring).map_err(ReadError::Key)? {
        return Ok(());
    }
    let what =
        "it was not written by the vault, or the key it names was taken away: so may segments have been";
    let file = path.join(begin::NAME);
    Err(ReadError::Damaged { file, offset: 0, record: begin.record, what })
}

/// `take` sees every record that has passed.
pub(super) fn verify_all<E: From<ReadError>>(
    mut reader: Reader,
    mut progress: impl FnMut(&Counts),
    mut take: impl FnMut(&Raw<'_>) -> Result<(), E>,
) -> Result<Counts, E> {
    let first = check_begin(&reader)?;
    let mut counts = Counts::default();
    loop {
        while let Some(raw) = reader.next_record()? {
            let place = raw.place;
            counts.records = counts.records.saturating_add(1);
            match raw.body {
                Body::Shredded => counts.shredded = counts.shredded.saturating_add(1),
                Body::NoKey | Body::Other => counts.closed = counts.closed.saturating_add(1),
                Body::Plain(body) => {
                    let Ok(entry) = decode(body) else {
                        let what = "the record's body cannot be read";
                        return Err(reader.damaged(place.offset, place.record, what).into());
                    };
                    counts.count(&entry);
                }
            }
            take(&raw)?;
            counts.segments = place.segment.saturating_sub(first).saturating_add(1);
            if counts.records.trailing_zeros() >= 14 {
                progress(&counts);
            }
        }
        match reader.end()? {
            End::More => {}
            End::Clean => return Ok(counts),
            End::Torn(bytes) => return Ok(Counts { torn_bytes: bytes, ..counts }),
        }
    }
}
