//! Signed checkpoints as they lie beside the log, one by one.
//!
//! What always holds: memory is one note; nothing is changed. Nobody's signature is checked here: whoever doubts one has the note.

use std::fs::File;
use std::io::{self, BufRead as _, BufReader, Read as _};
use std::path::Path;

use super::evidence::folder_of;
use super::notary::notes::{HISTORY, LATEST, split};
use crate::proof::checkpoint::Checkpoint;

/// The longest note, in bytes.
const NOTE_BYTES_MAX: u64 = 64 << 10;
/// The file with the newest note of each log, in bytes at most.
const LATEST_BYTES_MAX: u64 = 64 << 20;

/// A checkpoint as it was signed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Signed {
    /// What it says.
    pub checkpoint: Checkpoint,
    /// The whole note, signatures included.
    pub note: String,
}

impl Signed {
    /// When it was signed, by the vault's clock: RFC 3339, UTC.
    #[must_use]
    pub fn time(&self) -> Option<&str> {
        self.checkpoint.extensions.iter().find_map(|line| line.strip_prefix("time "))
    }
}

/// The logs of which something was signed, by name.
///
/// # Errors
/// The folder cannot be read.
pub fn logs(directory: &Path) -> io::Result<Vec<String>> {
    let entries = match std::fs::read_dir(folder_of(directory)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries?,
    };
    let mut names = Vec::new();
    for entry in entries {
        let entry = entry?;
        if entry.path().join(HISTORY).is_file() {
            names.extend(entry.file_name().into_string());
        }
    }
    names.sort_unstable();
    Ok(names)
}

/// The checkpoints of one log from its first to its newest: each that showed growth, and the newest.
#[derive(Debug)]
pub struct Checkpoints {
    history: Option<BufReader<File>>,
    newest: Option<String>,
    last: String,
}

impl Checkpoints {
    /// Of a log; one of which nothing was signed has none.
    ///
    /// # Errors
    /// A file cannot be read.
    pub fn of(directory: &Path, log: &str) -> io::Result<Self> {
        let folder = folder_of(directory);
        let history = match File::open(folder.join(log).join(HISTORY)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            file => Some(BufReader::new(file?)),
        };
        Ok(Self { history, newest: newest(&folder, log)?, last: String::new() })
    }

    fn next_note(&mut self) -> io::Result<Option<String>> {
        let Some(history) = &mut self.history else {
            return Ok(self.newest.take().filter(|note| *note != self.last));
        };
        let mut head = String::new();
        history.by_ref().take(64).read_line(&mut head)?;
        if head.is_empty() {
            self.history = None;
            return self.next_note();
        }
        let bytes = head.trim_end().strip_prefix("note ").and_then(|bytes| bytes.parse::<u64>().ok());
        let bytes = bytes.filter(|bytes| *bytes <= NOTE_BYTES_MAX).ok_or_else(broken)?;
        let mut note = String::new();
        history.by_ref().take(bytes).read_to_string(&mut note)?;
        if u64::try_from(note.len()) != Ok(bytes) {
            // It is being written.
            self.history = None;
            return self.next_note();
        }
        self.last.clone_from(&note);
        Ok(Some(note))
    }
}

fn broken() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "a file of checkpoints is not as it was written")
}

/// The newest note of a log.
fn newest(folder: &Path, log: &str) -> io::Result<Option<String>> {
    let mut text = String::new();
    match File::open(folder.join(LATEST)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        file => file?.take(LATEST_BYTES_MAX).read_to_string(&mut text)?,
    };
    let notes = split(&text).ok_or_else(broken)?;
    let is_its = |note: &&str| {
        let origin = note.lines().next().unwrap_or_default();
        origin.rsplit_once('/').is_some_and(|(_, name)| name == log)
    };
    Ok(notes.into_iter().find(is_its).map(str::to_owned))
}

impl Iterator for Checkpoints {
    type Item = io::Result<Signed>;

    fn next(&mut self) -> Option<Self::Item> {
        let note = match self.next_note() {
            Ok(note) => note?,
            Err(error) => {
                (self.history, self.newest) = (None, None);
                return Some(Err(error));
            }
        };
        let text = note.split_once("\n\n").map(|(text, _)| format!("{text}\n"));
        let checkpoint = text.and_then(|text| Checkpoint::parse(&text).ok());
        Some(checkpoint.map(|checkpoint| Signed { checkpoint, note }).ok_or_else(broken))
    }
}
