//! How far the notary has come: the last record taken, where reading must begin again, and each tree's size.
//!
//! What always holds: the file is whole or not there (it is replaced by renaming); it is written after what it speaks of
//! is on disk. Losing it costs reading the journal from its beginning.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs::File;
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use super::super::keys::{KeyError, Keyring};
use super::Trouble;

pub(in crate::audit) const NAME: &str = "state";
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
    /// What a later record may hang on begins with this record; 0: nobody has looked.
    pub(in crate::audit) needed: u64,
    /// Each log's sizes.
    pub(in crate::audit) logs: BTreeMap<String, Sizes>,
}

/// How far one log is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(in crate::audit) struct Sizes {
    /// Leaves.
    pub(in crate::audit) leaves: u64,
    /// Which data key the leaves' records are encrypted with: from an index on, which key.
    pub(in crate::audit) keys: Vec<(u64, u32)>,
}

impl Sizes {
    /// Of leaves of which nobody needs the keys.
    pub(in crate::audit) const fn of(leaves: u64) -> Self {
        Self { leaves, keys: Vec::new() }
    }

    /// Notes the key of the next leaf.
    pub(super) fn key(&mut self, index: u64, key: u32) {
        if self.keys.last().is_none_or(|(_, last)| *last != key) {
            self.keys.push((index, key));
        }
    }

    /// The leaves whose records were shredded: indices from and to, in order.
    pub(in crate::audit) fn gone(&self, keyring: Option<&Keyring>) -> Vec<(u64, u64)> {
        let is_gone =
            |key: u32| keyring.is_some_and(|ring| matches!(ring.by_number(key), Err(KeyError::Shredded(_))));
        let ends = self.keys.iter().skip(1).map(|(from, _)| *from).chain([self.leaves]);
        let runs = self.keys.iter().zip(ends).filter(|((_, key), _)| *key != 0 && is_gone(*key));
        runs.map(|((from, _), to)| (*from, to)).collect()
    }
}

/// Puts a file in the place of another at once, for good.
pub(in crate::audit) fn replace(folder: &Path, name: &str, bytes: &[u8]) -> io::Result<()> {
    let new = folder.join(format!("{name}.new"));
    let mut file = File::options().write(true).create(true).truncate(true).mode(0o600).open(&new)?;
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
        // Writing to a String cannot fail.
        if self.needed > 0 {
            let _ = writeln!(text, "needed {}", self.needed);
        }
        for (name, sizes) in &self.logs {
            let _ = write!(text, "log {name} {}", sizes.leaves);
            for (from, key) in &sizes.keys {
                let _ = write!(text, " {from}:{key}");
            }
            text.push('\n');
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
        let mut lines = body.lines().peekable();
        if lines.next() != Some(FIRST_LINE) {
            return None;
        }
        let record = lines.next()?.strip_prefix("record ")?.parse().ok()?;
        let segment = lines.next()?.strip_prefix("segment ")?.parse().ok()?;
        let behind = u64::saturating_add(record, 1);
        let needed = match lines.peek().and_then(|line| line.strip_prefix("needed ")) {
            Some(needed) => needed.parse().ok().filter(|needed| (1..=behind).contains(needed))?,
            None => 0,
        };
        let mut logs = BTreeMap::new();
        for line in lines.skip(usize::from(needed > 0)) {
            let mut words = line.strip_prefix("log ")?.split(' ');
            let name = words.next().filter(|name| super::log_of(name.as_bytes()) == *name)?;
            let leaves = words.next()?.parse().ok()?;
            let mut sizes = Sizes::of(leaves);
            for word in words {
                let (from, key) = word.split_once(':')?;
                let (from, key) = (from.parse().ok()?, key.parse().ok()?);
                let follows = sizes.keys.last().map_or(from == 0, |(before, _)| *before < from);
                if !follows || from >= leaves {
                    return None;
                }
                sizes.keys.push((from, key));
            }
            logs.insert(name.to_owned(), sizes);
        }
        Some(Self { record, segment, needed, logs })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_state_is_read_as_it_was_written_and_no_other() {
        let spa = Sizes { leaves: 30, keys: vec![(0, 2), (12, 5)] };
        let logs = [("_".to_owned(), Sizes::of(7)), ("one_spa".to_owned(), spa)].into();
        let state = State { record: 12, segment: 2, needed: 9, logs };
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
