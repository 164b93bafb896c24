//! Where the journal begins, once segments of it were deleted because the archive has them.
//!
//! What always holds: the file `journal.begin` is written before a segment is deleted, so a segment that is missing and that it
//! does not speak of was taken away by somebody else; it has the chain hash with which the first segment must go on, and a
//! MAC that nobody makes without the vault's keys. Without the file the journal begins with segment 1.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use aws_lc_rs::hmac::{HMAC_SHA256, Key, sign};

use super::disk::segments;
use super::gate::now_ns;
use super::journal::{HEADER_BYTES, Hash, Header, segment_name};
use super::keys::{KeyError, Keyring, OWN};
use super::notary::state::replace;
use super::render::hex;

pub(super) const NAME: &str = "journal.begin";
/// What is told of the segment that the file names, where it is not there.
pub(super) const FIRST_IS_MISSING: &str =
    "the segment is missing with which the journal begins, as its journal.begin says";
const FIRST_LINE: &str = "onevault journal begin 1";
/// Purpose under which a data key gives the key of the MAC.
const PURPOSE: &[u8] = b"journal begin";
/// The file is not longer.
const BYTES_MAX: u64 = 1 << 10;

/// The first segment that is there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Begin {
    /// Its number.
    pub(super) segment: u64,
    /// Number of its first record.
    pub(super) record: u64,
    /// The last chain hash of the segment before it.
    pub(super) chain: Hash,
    key: u32,
    mac: String,
}

fn bad(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("{NAME}: {what}"))
}

impl Begin {
    fn of(header: &Header, keyring: &Keyring) -> io::Result<Self> {
        let key = keyring.current(OWN, now_ns()).map_err(io::Error::other)?;
        let Header { segment, first_record: record, previous: chain, .. } = *header;
        let begin = Self { segment, record, chain, key: key.number(), mac: String::new() };
        let mac = begin.mac_with(key.derive(PURPOSE).as_slice());
        Ok(Self { mac, ..begin })
    }

    fn text(&self) -> String {
        let Self { segment, record, chain, key, .. } = self;
        format!("{FIRST_LINE}\nsegment {segment}\nrecord {record}\nchain {}\nkey {key}\n", hex(chain))
    }

    fn mac_with(&self, secret: &[u8]) -> String {
        hex(sign(&Key::new(HMAC_SHA256, secret), self.text().as_bytes()).as_ref())
    }

    /// Reads the file of a journal's folder; nothing where there is none.
    pub(super) fn read(folder: &Path) -> io::Result<Option<Self>> {
        let mut bytes = Vec::new();
        match File::open(folder.join(NAME)) {
            Ok(file) => file.take(BYTES_MAX).read_to_end(&mut bytes)?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        let begin = std::str::from_utf8(&bytes).ok().and_then(Self::parse);
        begin.map(Some).ok_or_else(|| bad("it is not as it was written"))
    }

    fn parse(text: &str) -> Option<Self> {
        let mut lines = text.strip_suffix('\n')?.split('\n');
        let mut next = |word: &str| lines.next()?.strip_prefix(word);
        next(FIRST_LINE).filter(|rest| rest.is_empty())?;
        let (segment, record) = (next("segment ")?.parse().ok()?, next("record ")?.parse().ok()?);
        let chain = bytes_of(next("chain ")?)?;
        let (key, mac) = (next("key ")?.parse().ok()?, next("mac ")?.to_owned());
        let begin = Self { segment, record, chain, key, mac };
        // What does not come out again as it was read was not written by this program.
        (segment > 1 && format!("{}mac {}\n", begin.text(), begin.mac) == text).then_some(begin)
    }

    /// Whether it was written by who has the vault's keys; not, if there is no such key as it names, or none any more.
    pub(super) fn is_own(&self, keyring: &Keyring) -> Result<bool, KeyError> {
        match keyring.by_number(self.key) {
            Ok(key) => Ok(self.mac_with(key.derive(PURPOSE).as_slice()) == self.mac),
            Err(KeyError::Missing(_) | KeyError::Shredded(_)) => Ok(false),
            Err(error) => Err(error),
        }
    }

    fn write(&self, folder: &Path) -> io::Result<()> {
        replace(folder, NAME, format!("{}mac {}\n", self.text(), self.mac).as_bytes())
    }
}

fn bytes_of(digits: &str) -> Option<Hash> {
    let mut hash = Hash::default();
    if digits.len() != hash.len().saturating_mul(2) {
        return None;
    }
    for (at, byte) in hash.iter_mut().enumerate() {
        let from = at.saturating_mul(2);
        *byte = u8::from_str_radix(digits.get(from..from.saturating_add(2))?, 16).ok()?;
    }
    Some(hash)
}

/// The numbers of a journal's segments in order, without those that are about to be deleted; and where it begins, if not with
/// segment 1.
pub(super) fn remaining(folder: &Path) -> io::Result<(Option<Begin>, Vec<u64>)> {
    loop {
        let begin = Begin::read(folder)?;
        let first = begin.as_ref().map_or(1, |begin| begin.segment);
        let numbers: Vec<u64> = segments(folder)?.into_iter().filter(|number| *number >= first).collect();
        // Segments may have been deleted between the two looks.
        if numbers.first() == Some(&first) || Begin::read(folder)? == begin {
            return Ok((begin, numbers));
        }
    }
}

fn header(folder: &Path, segment: u64) -> io::Result<Header> {
    let mut bytes = [0; HEADER_BYTES];
    File::open(folder.join(segment_name(segment)))?.read_exact(&mut bytes)?;
    let header = Header::decode(&bytes).filter(|header| header.segment == segment);
    header.ok_or_else(|| bad("the header of the segment it is to name is damaged"))
}

/// The first segment that must stay: the ones before it have nothing from `needed` on, and were ended before `until_ns`.
fn first_to_keep(
    folder: &Path,
    numbers: &[u64],
    (needed, until_ns): (u64, u64),
) -> io::Result<Option<Header>> {
    let mut first = None;
    for number in numbers.iter().skip(1).take_while(|number| **number <= needed) {
        let header = header(folder, *number)?;
        if header.created_ns > until_ns {
            break;
        }
        first = Some(header);
    }
    Ok(first)
}

/// How many segments [`trim`] would delete.
pub(super) fn could_go(folder: &Path, needed: u64, until_ns: u64) -> io::Result<usize> {
    let (_, numbers) = remaining(folder)?;
    let first = first_to_keep(folder, &numbers, (needed, until_ns))?;
    Ok(first.map_or(0, |first| numbers.iter().filter(|number| **number < first.segment).count()))
}

/// Deletes the segments before `needed` whose last record was written before `until_ns`. Only the process that writes may.
/// Answers how many there were.
pub(super) fn trim(folder: &Path, needed: u64, until_ns: u64, keyring: &Keyring) -> io::Result<u64> {
    let (begin, numbers) = remaining(folder)?;
    let first = first_to_keep(folder, &numbers, (needed, until_ns))?;
    let keep_from = match (&first, begin) {
        (Some(header), _) => {
            Begin::of(header, keyring)?.write(folder)?;
            header.segment
        }
        // An end came between writing the file and deleting the segments.
        (None, Some(begin)) => begin.segment,
        (None, None) => return Ok(0),
    };
    let mut gone = 0_u64;
    let before = segments(folder)?.into_iter().filter(|number| *number < keep_from);
    let paths: Vec<PathBuf> = before.map(|number| folder.join(segment_name(number))).collect();
    for path in &paths {
        fs::remove_file(path)?;
        gone = gone.saturating_add(1);
    }
    if gone > 0 {
        File::open(folder)?.sync_all()?;
    }
    Ok(gone)
}

/// Writes down that the journal begins with a segment, and deletes nothing, as if the process ended there.
#[cfg(test)]
pub(super) fn write_only(folder: &Path, segment: u64, keyring: &Keyring) {
    Begin::of(&header(folder, segment).unwrap(), keyring).unwrap().write(folder).unwrap();
}

#[cfg(test)]
mod tests;
