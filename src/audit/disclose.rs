//! Makes the proof of one record: what [`crate::proof::bundle`] checks.

use std::path::Path;

use super::body::wide;
use super::history::{Found as Record, History, HistoryError, Span, Wanted};
use super::notary::notes::{cosigned_notes, latest};
use super::notary::trees::Files;
use super::notary::{SaltsOf, Trouble, origin_of};
use super::row::{Column, PARAMETERS_TAG, TEXT_TAG};
use super::tree::inclusion;
use crate::proof::bundle::Bundle;
use crate::proof::checkpoint::Checkpoint;
use crate::proof::note::Verifier;

/// Which record is to be proven.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Which {
    /// By its number in the journal.
    Record(u64),
    /// By its index in its log.
    Index(u64),
}

/// Why there is no proof.
#[derive(Debug)]
pub enum NoProof {
    /// The log has no such record.
    Unknown,
    /// It is not there any more, or never was: records of the log went by their age.
    Aged,
    /// No signed checkpoint covers it yet.
    Unsigned,
    /// Something cannot be read.
    Trouble(String),
}

impl From<Trouble> for NoProof {
    fn from(trouble: Trouble) -> Self {
        Self::Trouble(trouble.to_string())
    }
}

struct Found {
    index: u64,
    key: u32,
    canonical: Vec<u8>,
}

/// The proof of a record of the log with this name.
pub(super) fn disclose<K: SaltsOf>(
    history: &History,
    folder: &Path,
    (vault, known): (&str, &[Verifier]),
    (log, which): (&str, Which),
    mut salts: K,
) -> Result<Bundle, NoProof> {
    let origin = origin_of(vault, log);
    let newest = latest(folder, known)?.remove(&origin).ok_or(NoProof::Unsigned)?;
    let Some(found) = find(history, log, which)? else {
        let may_have_gone = history.aged_of(log).is_some_and(|aged| match which {
            Which::Index(index) => aged.may_hold(index),
            Which::Record(number) => !aged.is_empty() && number <= history.archived_record(),
        });
        return Err(if may_have_gone { NoProof::Aged } else { NoProof::Unknown });
    };
    // One that witnesses have signed shows more.
    let cosigned = cosigned_notes(folder, log, known)?.into_iter();
    let covering = cosigned.filter(|(checkpoint, _)| checkpoint.size > found.index);
    let (checkpoint, note): (Checkpoint, String) =
        covering.max_by_key(|(_, note)| note.lines().count()).unwrap_or(newest);
    let path = inclusion(&Files::of(folder, log), found.index, checkpoint.size)?;
    let path = path.ok_or(NoProof::Unsigned)?;
    let salts = salts.salts(found.key).map_err(|what| Trouble::Key(found.key, what))?;
    let salt = salts.salt(found.index);
    Ok(Bundle { index: found.index, salt, canonical: found.canonical, path, checkpoint: note })
}

/// Why looking for it ends.
enum Stop {
    Found,
    Trouble(String),
}

impl From<HistoryError> for Stop {
    fn from(error: HistoryError) -> Self {
        Self::Trouble(error.to_string())
    }
}

fn find(history: &History, log: &str, which: Which) -> Result<Option<Found>, NoProof> {
    let span = match which {
        Which::Index(index) => Span { from: index, to: index.saturating_add(1), ..Span::ALL },
        Which::Record(_) => Span::ALL,
    };
    let mut found = None;
    let read = history.each(&Wanted { span, ..Wanted::of(log) }, |record| {
        let is_it = match which {
            Which::Record(number) => record.row.number_of(Column::Record) == number,
            Which::Index(index) => record.index == Some(index),
        };
        let Some(index) = record.index.filter(|_| is_it) else { return Ok(()) };
        found = Some(Found { index, key: record.key, canonical: canonical(record)? });
        Err(Stop::Found)
    });
    match read {
        Ok(_) | Err(Stop::Found) => Ok(found),
        Err(Stop::Trouble(what)) => Err(NoProof::Trouble(what)),
    }
}

/// The canonical bytes of a record, and behind them what lies in parts: see [`crate::proof::record`].
fn canonical(record: &Record<'_>) -> Result<Vec<u8>, HistoryError> {
    let mut out = Vec::new();
    record.row.canonical(&mut out);
    let whole = record.load_whole()?;
    for (tag, long) in [(TEXT_TAG, whole.text), (PARAMETERS_TAG, whole.parameters)] {
        if !long.is_empty() {
            out.push(tag);
            out.extend_from_slice(&wide(long.len()).to_le_bytes());
            out.extend_from_slice(&long);
        }
    }
    Ok(out)
}
