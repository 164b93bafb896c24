//! Signed checkpoints: the latest of each log in the file `latest`, all that showed growth in `<log>/history`.
//!
//! What always holds: a log's checkpoint is signed only when the one before is its beginning, as [`crate::proof`] says; a
//! checkpoint that was signed is written before another one of that log is. Each note stands behind a line `note <bytes>`.

use std::collections::BTreeMap;
use std::fs::OpenOptions;
use std::io::Write as _;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::super::keys::OWN;
use super::super::tree::{Tree, consistency};
use super::Trouble;
use super::roster;
use super::state::{read, replace};
use super::trees::{Files, make_folder};
use crate::proof::checkpoint::Checkpoint;
use crate::proof::note::{Signer, Verifier};
use crate::proof::succession::{self, Succession, Terms};
use crate::proof::tree::check_consistency;

pub(in crate::audit) const LATEST: &str = "latest";
pub(in crate::audit) const HISTORY: &str = "history";
pub(in crate::audit) const COSIGNED: &str = "cosigned";
/// The file with the public key.
pub(in crate::audit) const PUBLIC_KEY: &str = "checkpoints.pub";
/// So many bytes of notes are read at most.
const BYTES_MAX: u64 = 1 << 30;
/// Keys are not replaced more often.
const SUCCESSIONS_MAX: usize = 1_000;

/// All logs' newest checkpoints, and who signs.
pub(super) struct Notes {
    folder: PathBuf,
    signer: Arc<Signer>,
    /// Who is about to sign in the place of that one.
    next: Option<Arc<Signer>>,
    latest: BTreeMap<String, (Checkpoint, String)>,
    /// Of logs that have grown; not in their files yet.
    grown: Vec<(String, String)>,
}

/// A file's notes, one behind the other.
pub(in crate::audit) fn split(mut text: &str) -> Option<Vec<&str>> {
    let mut notes = Vec::new();
    while !text.is_empty() {
        let (head, rest) = text.split_once('\n')?;
        let bytes = head.strip_prefix("note ")?.parse().ok()?;
        let (note, rest) = rest.split_at_checked(bytes)?;
        notes.push(note);
        text = rest;
    }
    Some(notes)
}

/// A note behind its length.
pub(in crate::audit) fn framed(note: &str) -> String {
    format!("note {}\n{note}", note.len())
}

const OUT_OF_ORDER: &str = "its checkpoints are not in the order in which they were signed";

/// More than a note with its frame has.
const TAIL_BYTES_MAX: u64 = 64 << 10;

/// Cuts notes at the ends of histories that were not written whole, because the power was lost. What was cut is kept
/// beside, in `history.cut`. Answers the last note of each log.
pub(in crate::audit) fn heal_all(folder: &Path) -> std::io::Result<Vec<(String, String)>> {
    let mut last = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        let (folder, log) = (entry.path(), entry.file_name().into_string().unwrap_or_default());
        let path = folder.join(HISTORY);
        if !path.is_file() {
            continue;
        }
        let file = OpenOptions::new().read(true).write(true).open(&path)?;
        let length = file.metadata()?.len();
        let begin = length.saturating_sub(TAIL_BYTES_MAX);
        let mut tail = vec![0; usize::try_from(length.saturating_sub(begin)).unwrap_or(0)];
        file.read_exact_at(&mut tail, begin)?;
        let Some(torn) = torn(&tail, begin == 0) else {
            last.extend(last_note(&tail, begin == 0).map(|note| (log, note)));
            continue;
        };
        let mut kept =
            OpenOptions::new().append(true).create(true).mode(0o600).open(folder.join("history.cut"))?;
        kept.write_all(tail.get(tail.len().saturating_sub(torn)..).unwrap_or_default())?;
        kept.sync_data()?;
        file.set_len(length.saturating_sub(u64::try_from(torn).unwrap_or(0)))?;
        file.sync_all()?;
        tracing::warn!(path = %path.display(), bytes = torn, "the end of a history of checkpoints was torn, and is cut");
        tail.truncate(tail.len().saturating_sub(torn));
        last.extend(last_note(&tail, begin == 0).map(|note| (log, note)));
    }
    Ok(last)
}

/// Where a history's end has the first bytes of notes.
fn heads(tail: &[u8], is_all: bool) -> Vec<usize> {
    (0..tail.len())
        .filter(|at| tail.get(*at..).is_some_and(|rest| rest.starts_with(b"note ")))
        .filter(|at| at.checked_sub(1).map_or(is_all, |before| tail.get(before) == Some(&b'\n')))
        .collect()
}

/// The last note of a history's end, without its frame.
fn last_note(tail: &[u8], is_all: bool) -> Option<String> {
    let last = heads(tail, is_all).pop()?;
    let text = std::str::from_utf8(tail.get(last..)?).ok()?;
    split(text)?.first().map(|note| (*note).to_owned())
}

/// How many bytes at the end are the beginning of a note and no whole one. `None`: there are none, or it is no torn end.
fn torn(tail: &[u8], is_all: bool) -> Option<usize> {
    let heads = heads(tail, is_all);
    let last = heads.last().copied();
    let end = match last {
        Some(last) => last.saturating_add(whole(tail.get(last..)?).unwrap_or(0)),
        None if is_all && is_begun(tail) => 0,
        None => return None,
    };
    let rest = tail.len().checked_sub(end).filter(|rest| *rest > 0)?;
    // What stands before the last note must be whole, else it is no torn end but damage.
    let before = heads.iter().rev().nth(1).filter(|_| last == Some(end));
    let follows = match before {
        Some(before) => tail.get(*before..).and_then(whole) == end.checked_sub(*before),
        // A first note that is torn has nothing before it.
        None => !is_all || last != Some(end) || end == 0,
    };
    follows.then_some(rest)
}

/// Whether it is so little of a note that it has no head yet; what was never written may read as zeros.
fn is_begun(bytes: &[u8]) -> bool {
    let written = bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last.saturating_add(1));
    bytes.get(..written).is_some_and(|bytes| b"note ".starts_with(bytes))
}

/// The bytes of the whole note, with its frame, that these bytes begin with.
fn whole(bytes: &[u8]) -> Option<usize> {
    let head = bytes.iter().position(|byte| *byte == b'\n')?;
    let count = std::str::from_utf8(bytes.get(..head)?).ok()?.strip_prefix("note ")?;
    let end = head.saturating_add(1).saturating_add(count.parse().ok()?);
    let note = bytes.get(head..end)?;
    (note.ends_with(b"\n") && !note.contains(&0)).then_some(end)
}

/// The newest checkpoint of each log, by its origin.
///
/// # Errors
/// [`Trouble::Changed`] when the file is not as it was written, or a signature is none of `known`.
pub(in crate::audit) fn latest(
    folder: &Path,
    known: &[Verifier],
) -> Result<BTreeMap<String, (Checkpoint, String)>, Trouble> {
    let (path, text) = (folder.join(LATEST), read(folder, LATEST, BYTES_MAX)?.unwrap_or_default());
    let notes = all(&path, &text, known)?;
    if !notes.iter().is_sorted_by(|(before, _), (after, _)| before.origin < after.origin) {
        return Err(Trouble::Changed(path, OUT_OF_ORDER));
    }
    Ok(notes.into_iter().map(|note| (note.0.origin.clone(), note)).collect())
}

/// The checkpoints of one log from its first to its last, as far as they showed growth.
///
/// # Errors
/// As [`latest`].
pub(in crate::audit) fn history(
    folder: &Path,
    log: &str,
    known: &[Verifier],
) -> Result<Vec<(Checkpoint, String)>, Trouble> {
    let (path, folder) = (folder.join(log).join(HISTORY), folder.join(log));
    let notes = all(&path, &read(&folder, HISTORY, BYTES_MAX)?.unwrap_or_default(), known)?;
    if !notes.iter().is_sorted_by(|(before, _), (after, _)| before.size <= after.size) {
        return Err(Trouble::Changed(path, OUT_OF_ORDER));
    }
    Ok(notes)
}

/// The newest checkpoints of one log that witnesses have signed, too.
///
/// # Errors
/// As [`latest`].
pub(in crate::audit) fn cosigned_notes(
    folder: &Path,
    log: &str,
    known: &[Verifier],
) -> Result<Vec<(Checkpoint, String)>, Trouble> {
    let text = read(&folder.join(log), COSIGNED, BYTES_MAX)?.unwrap_or_default();
    all(&folder.join(log).join(COSIGNED), &text, known)
}

/// Puts others in the place of those.
pub(in crate::audit) fn write_cosigned(folder: &Path, log: &str, notes: &[String]) -> Result<(), Trouble> {
    let text: String = notes.iter().map(|note| framed(note)).collect();
    let folder = folder.join(log);
    replace(&folder, COSIGNED, text.as_bytes()).map_err(|error| Trouble::Files(folder.join(COSIGNED), error))
}

/// The keys that have signed for a vault, the oldest first, as the checkpoints of its own log say; `key` is one of them.
///
/// # Errors
/// [`Trouble::Changed`] when those cannot be read, or do not say.
pub(in crate::audit) fn signers(folder: &Path, key: &Verifier) -> Result<Vec<Verifier>, Trouble> {
    succession::chain(key, &successions(folder)?).map_err(|error| Trouble::Signed(OWN.to_owned(), error))
}

/// Which key of a vault followed which, the first one first.
///
/// # Errors
/// As [`signers`].
pub(in crate::audit) fn successions(folder: &Path) -> Result<Vec<Succession>, Trouble> {
    let path = folder.join(OWN).join(HISTORY);
    let text = read(&folder.join(OWN), HISTORY, BYTES_MAX)?.unwrap_or_default();
    if !succession::may_be(&text) {
        return Ok(Vec::new());
    }
    let notes = split(&text).ok_or_else(|| Trouble::Changed(path.clone(), "it is cut or was changed"))?;
    let mut found: Vec<Succession> = Vec::new();
    for note in notes.into_iter().filter(|note| succession::may_be(note)) {
        let read = Succession::read(note).map_err(|error| Trouble::Signed(OWN.to_owned(), error))?;
        found.extend(read);
        if found.len() > SUCCESSIONS_MAX {
            return Err(Trouble::Changed(path, "more keys follow one another than can be"));
        }
    }
    Ok(found)
}

/// Up to which size each of the keys stands for a log.
///
/// # Errors
/// As [`signers`].
pub(in crate::audit) fn terms_of<'a>(
    folder: &Path,
    log: &str,
    known: &'a [Verifier],
) -> Result<Terms<'a>, Trouble> {
    let path = folder.join(log).join(HISTORY);
    // Where no key was replaced there is nothing to look for.
    let text = if known.len() > 1 { read(&folder.join(log), HISTORY, BYTES_MAX)? } else { None };
    let text = text.unwrap_or_default();
    let notes = split(&text).ok_or(Trouble::Changed(path, "it is cut or was changed"))?;
    Terms::of(known, notes).map_err(|error| Trouble::Signed(log.to_owned(), error))
}

fn write_key(folder: &Path, key: &Verifier) -> Result<(), Trouble> {
    let written = replace(folder, PUBLIC_KEY, format!("{}\n", key.encoded()).as_bytes());
    written.map_err(|error| Trouble::Files(folder.join(PUBLIC_KEY), error))
}

fn all(path: &Path, text: &str, known: &[Verifier]) -> Result<Vec<(Checkpoint, String)>, Trouble> {
    let notes = split(text).ok_or_else(|| Trouble::Changed(path.to_owned(), "it is cut or was changed"))?;
    let mut read = Vec::new();
    for note in notes {
        let opened = crate::proof::note::open(note, known).and_then(|(text, _)| Checkpoint::parse(text));
        let checkpoint = opened
            .map_err(|_| Trouble::Changed(path.to_owned(), "a checkpoint's signature does not hold"))?;
        read.push((checkpoint, note.to_owned()));
    }
    Ok(read)
}

impl Notes {
    /// Reads what was signed last.
    pub(super) fn open(folder: &Path, vault: &str, signer: Arc<Signer>) -> Result<Self, Trouble> {
        make_folder(folder).map_err(|error| Trouble::Files(folder.to_owned(), error))?;
        let last = heal_all(folder).map_err(|error| Trouble::Files(folder.to_owned(), error))?;
        let known = [signer.verifier().clone()];
        let prefix = format!("{vault}/");
        let mut latest = BTreeMap::new();
        for (origin, note) in self::latest(folder, &known)? {
            let log = origin.strip_prefix(&prefix);
            let what = "a checkpoint is of another vault";
            let log = log.ok_or_else(|| Trouble::Changed(folder.join(LATEST), what))?;
            latest.insert(log.to_owned(), note);
        }
        write_key(folder, signer.verifier())?;
        let mut notes = Self { folder: folder.to_owned(), signer, next: None, latest, grown: Vec::new() };
        notes.adopt(&prefix, last);
        Ok(notes)
    }

    /// An end came between writing a history and `latest`: what was signed last is the history's last. The file is written
    /// with the next round, when all logs' fit one another.
    fn adopt(&mut self, prefix: &str, last: Vec<(String, String)>) {
        let known = [self.signer.verifier().clone()];
        for (log, note) in last {
            let opened =
                crate::proof::note::open(&note, &known).and_then(|(text, _)| Checkpoint::parse(text));
            let Ok(checkpoint) = opened else { continue };
            let before = self.latest.get(&log).map(|(latest, _)| latest.size);
            if checkpoint.origin == format!("{prefix}{log}") && before < Some(checkpoint.size) {
                self.latest.insert(log, (checkpoint, note));
            }
        }
    }

    /// Who signs.
    pub(super) fn signs(&self) -> &Verifier {
        self.signer.verifier()
    }

    /// From now on both sign, and every checkpoint is kept.
    pub(super) fn begin_to_hand_over(&mut self, next: &Arc<Signer>) {
        self.next = Some(Arc::clone(next));
    }

    /// All logs have a checkpoint of both in their files: the new one signs alone.
    pub(super) fn hand_over(&mut self) -> Result<(), Trouble> {
        if let Some(next) = &self.next {
            write_key(&self.folder, next.verifier())?;
            self.signer = Arc::clone(next);
            self.next = None;
        }
        Ok(())
    }

    /// Signs the state of a tree, whose hashes are in their files.
    pub(super) fn sign(
        &mut self,
        (log, origin): (&str, &str),
        tree: &Tree,
        now: &str,
    ) -> Result<(), Trouble> {
        let before = self.latest.get(log).map(|(checkpoint, _)| (checkpoint.size, checkpoint.root));
        let (size, root) = (tree.size(), tree.root());
        if let Some((old, old_root)) = before {
            let proof = consistency(&Files::of(&self.folder, log), old, size)?.unwrap_or_default();
            check_consistency((old, &old_root), (size, &root), &proof)
                .map_err(|error| Trouble::Signed(log.to_owned(), error))?;
        }
        let mut extensions = vec![format!("time {now}")];
        let next = self.next.as_deref();
        extensions.extend(next.map(|next| succession::line(self.signer.verifier(), next.verifier())));
        if log == OWN {
            extensions.push(roster::line(&self.latest));
        }
        let checkpoint = Checkpoint { origin: origin.to_owned(), size, root, extensions };
        let note = checkpoint.sign(&self.signer);
        let note = note.and_then(|note| next.map_or(Ok(note.clone()), |next| next.sign_too(&note)));
        let note = note.map_err(|error| Trouble::Signed(log.to_owned(), error))?;
        if next.is_some() || before.is_none_or(|(old, _)| old < size) {
            self.grown.push((log.to_owned(), note.clone()));
        }
        self.latest.insert(log.to_owned(), (checkpoint, note));
        Ok(())
    }

    /// Writes what was signed.
    pub(super) fn write(&mut self) -> Result<(), Trouble> {
        // The vault's own comes last: it is there that others see who signs.
        self.grown.sort_by_key(|(log, _)| log != OWN);
        while let Some((log, note)) = self.grown.last() {
            let folder = self.folder.join(log);
            let path = folder.join(HISTORY);
            let written = make_folder(&folder).and_then(|()| {
                let mut file = OpenOptions::new().append(true).create(true).mode(0o600).open(&path)?;
                file.write_all(framed(note).as_bytes())?;
                // So that a loss of power can tear one note only.
                file.sync_data()
            });
            written.map_err(|error| Trouble::Files(path, error))?;
            self.grown.pop();
        }
        let text: String = self.latest.values().map(|(_, note)| framed(note)).collect();
        replace(&self.folder, LATEST, text.as_bytes())
            .map_err(|error| Trouble::Files(self.folder.join(LATEST), error))
    }
}
