//! How far the notary has come: the last record taken, where reading must begin again, and each tree's size.
//!
//! What always holds: the file is whole or not there (it is replaced by renaming); it is written after what it speaks of
//! is on disk. Losing it costs reading the journal from its beginning.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs::File;
use std::io::{self, Write as _};
use std::path::Path;

use super::Trouble;

const NAME: &str = "state";
const FIRST_LINE: &str = "onevault notary 1";
/// So many bytes are read at most: a million logs.
const BYTES_MAX: u64 = 128 << 20;

/// What the file says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(in crate::audit) struct State {
    /// Number of the last record taken.
    pub(in crate::audit) record: u64,
    /// The segment in which reading begins again: that of the oldest intent without its outcome.
    pub(in crate::audit) segment: u64,
    /// Each log's sizes.
    pub(in crate::audit) logs: BTreeMap<String, Sizes>,
}

/// How far one log is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(in crate::audit) struct Sizes {
    /// Leaves.
    pub(in crate::audit) leaves: u64,
    /// So many of them from the first on stand for records whose keys were shredded.
    pub(in crate::audit) shredded: u64,
}

/// Puts a file in the place of another at once, for good.
pub(super) fn replace(folder: &Path, name: &str, bytes: &[u8]) -> io::Result<()> {
    let new = folder.join(format!("{name}.new"));
    let mut file = File::create(&new)?;
    file.write_all(bytes)?;
    file.sync_data()?;
    std::fs::rename(&new, folder.join(name))?;
    File::open(folder)?.sync_all()
}

/// Reads a file of the notary's folder; nothing when there is none.
pub(super) fn read(folder: &Path, name: &str, bytes_max: u64) -> Result<Option<String>, Trouble> {
    let path = folder.join(name);
    let file = match File::open(&path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(Trouble::Files(path, error)),
    };
    let mut text = String::new();
    match io::Read::read_to_string(&mut io::Read::take(file, bytes_max), &mut text) {
        Ok(_) => Ok(Some(text)),
        Err(error) if error.kind() == io::ErrorKind::InvalidData => {
            Err(Trouble::Changed(path, "it is no text"))
        }
        Err(error) => Err(Trouble::Files(path, error)),
    }
}

impl State {
    /// Reads the file; nothing when there is none.
    pub(in crate::audit) fn read(folder: &Path) -> Result<Option<Self>, Trouble> {
        let Some(text) = read(folder, NAME, BYTES_MAX)? else { return Ok(None) };
        let bad = || Trouble::Changed(folder.join(NAME), "it is not as it was written");
        Self::parse(&text).map(Some).ok_or_else(bad)
    }

    /// Writes the file, for good.
    pub(in crate::audit) fn write(&self, folder: &Path) -> Result<(), Trouble> {
        let replaced = replace(folder, NAME, self.encode().as_bytes());
        replaced.map_err(|error| Trouble::Files(folder.join(NAME), error))
    }

    fn encode(&self) -> String {
        let mut text = format!("{FIRST_LINE}\nrecord {}\nsegment {}\n", self.record, self.segment);
        for (name, sizes) in &self.logs {
            // Writing to a String cannot fail.
            let _ = writeln!(text, "log {name} {} {}", sizes.leaves, sizes.shredded);
        }
        let sum = crc32fast::hash(text.as_bytes());
        let _ = writeln!(text, "sum {sum:08x}");
        text
    }

    fn parse(text: &str) -> Option<Self> {
        let (body, sum) = text.strip_suffix('\n')?.rsplit_once("\nsum ")?;
        let body = format!("{body}\n");
        if format!("{:08x}", crc32fast::hash(body.as_bytes())) != sum {
            return None;
        }
        let mut lines = body.lines();
        if lines.next() != Some(FIRST_LINE) {
            return None;
        }
        let record = lines.next()?.strip_prefix("record ")?.parse().ok()?;
        let segment = lines.next()?.strip_prefix("segment ")?.parse().ok()?;
        let mut logs = BTreeMap::new();
        for line in lines {
            let mut words = line.strip_prefix("log ")?.split(' ');
            let name = words.next().filter(|name| super::log_of(name.as_bytes()) == *name)?;
            let (leaves, shredded) = (words.next()?.parse().ok()?, words.next()?.parse().ok()?);
            if words.next().is_some() || shredded > leaves {
                return None;
            }
            logs.insert(name.to_owned(), Sizes { leaves, shredded });
        }
        Some(Self { record, segment, logs })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_state_is_read_as_it_was_written_and_no_other() {
        let logs = [("_", 7, 0), ("one_spa", 30, 12)];
        let sizes =
            |(name, leaves, shredded): (&str, u64, u64)| (name.to_owned(), Sizes { leaves, shredded });
        let logs = logs.into_iter().map(sizes).collect();
        let state = State { record: 12, segment: 2, logs };
        let text = state.encode();
        assert_eq!(State::parse(&text), Some(state));
        for at in 0..text.len() {
            let mut other = text.clone().into_bytes();
            other[at] ^= 1;
            let other = String::from_utf8(other).unwrap();
            assert_eq!(State::parse(&other), None, "{other}");
            assert_eq!(State::parse(text.get(..at).unwrap()), None);
        }
    }
}
