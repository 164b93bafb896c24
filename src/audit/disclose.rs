//! Makes the proof of one record: what [`crate::proof::bundle`] checks.

use std::path::Path;

use super::body::wide;
use super::join::{Joiner, Shown};
use super::notary::notes::latest;
use super::notary::state::State;
use super::notary::trees::Files;
use super::notary::{SaltsOf, Trouble, log_of, origin_of};
use super::reader::{Pieces, Reader};
use super::row::{Column, PARAMETERS_TAG, Row, TEXT_TAG};
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
    reader: Reader,
    folder: &Path,
    (vault, known): (&str, &[Verifier]),
    (log, which): (&str, Which),
    mut salts: K,
) -> Result<Bundle, NoProof> {
    let origin = origin_of(vault, log);
    let (checkpoint, note): (Checkpoint, String) =
        latest(folder, known)?.remove(&origin).ok_or(NoProof::Unsigned)?;
    let state = State::read(folder)?.unwrap_or_default();
    let keyring = salts.keyring();
    let gone = state.logs.get(log).map(|sizes| sizes.gone(keyring.as_deref())).unwrap_or_default();
    let found = find(reader, log, which, gone)?.ok_or(NoProof::Unknown)?;
    let path = inclusion(&Files::of(folder, log), found.index, checkpoint.size)?;
    let path = path.ok_or(NoProof::Unsigned)?;
    let salts = salts.salts(found.key).map_err(|what| Trouble::Key(found.key, what))?;
    let salt = salts.salt(found.index);
    Ok(Bundle { index: found.index, salt, canonical: found.canonical, path, checkpoint: note })
}

/// `gone`: indices from and to of records of the log that cannot be read any more.
fn find(
    mut reader: Reader,
    log: &str,
    which: Which,
    mut gone: Vec<(u64, u64)>,
) -> Result<Option<Found>, Trouble> {
    let (mut joiner, pieces) = (Joiner::new(&reader), reader.pieces());
    let (mut next, mut found) = (0_u64, None);
    gone.reverse();
    while let (Some(raw), None) = (reader.next_record()?, &found) {
        joiner.take(&raw, |shown| {
            let row = Row::of(shown);
            if log_of(row.bytes_of(Column::Customer)) != log {
                return Ok::<(), Trouble>(());
            }
            while let Some((_, to)) = gone.pop_if(|(from, _)| *from <= next) {
                next = next.max(to);
            }
            let is_it = match which {
                Which::Record(record) => shown.place.record == record,
                Which::Index(index) => next == index,
            };
            if is_it && found.is_none() {
                let canonical = canonical(shown, &row, &pieces)?;
                found = Some(Found { index: next, key: shown.key, canonical });
            }
            next = next.saturating_add(1);
            Ok(())
        })?;
    }
    Ok(found)
}

/// The canonical bytes of what is shown, and behind them what lies in parts: see [`crate::proof::record`].
fn canonical(shown: &Shown<'_>, row: &Row<'_>, pieces: &Pieces) -> Result<Vec<u8>, Trouble> {
    let mut out = Vec::new();
    row.canonical(&mut out);
    let whole = shown.load_whole(pieces)?;
    for (tag, long) in [(TEXT_TAG, whole.text), (PARAMETERS_TAG, whole.parameters)] {
        if !long.is_empty() {
            out.push(tag);
            out.extend_from_slice(&wide(long.len()).to_le_bytes());
            out.extend_from_slice(&long);
        }
    }
    Ok(out)
}
