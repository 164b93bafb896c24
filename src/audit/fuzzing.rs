//! Ways for the fuzz targets (`fuzz/`) to decoders that nobody outside of this room calls; built with `--cfg fuzzing` only.
//!
//! What always holds: they are called as the log calls them, and with checksums that fit, for whoever can write a file can
//! make these, too.

use std::fs;
use std::io;
use std::path::Path;

use super::abroad::anchor::checkpoints;
use super::acts::{self, Backends};
use super::begin::Begin;
use super::digest::follower::is_position_whole;
use super::journal::{HEADER_BYTES, Header, Link, append, segment_name};
use super::keeping::Wish;
use super::keys::file::KeyFile;
use super::mailbox;
use super::notary::notes;
use super::notary::state::State;
use super::record::Event;
use crate::proof::note::Verifier;

/// Bytes of the segment that [`journal`] makes.
const SEGMENT_BYTES: usize = 64 << 10;

fn read<T, E: std::fmt::Display>(found: Result<T, E>) -> Result<T, String> {
    found.map_err(|error| error.to_string())
}

/// A state of the notary or of the archive: reads it, and answers what would be written for it, which is read as the same.
///
/// # Errors
/// It is refused.
pub fn state(folder: &Path, lines: &str) -> Result<String, String> {
    let path = folder.join(super::notary::state::NAME);
    let text = format!("{lines}sum {:08x}\n", crc32fast::hash(lines.as_bytes()));
    read(fs::write(&path, &text))?;
    let state = read(State::read(folder))?;
    read(state.clone().unwrap_or_default().write(folder))?;
    let again = read(fs::read_to_string(&path))?;
    let is_same = State::read(folder).is_ok_and(|same| same == state);
    if is_same { Ok(again) } else { Err(format!("{text:?} was read as {again:?}")) }
}

/// What the journal begins with.
///
/// # Errors
/// It is refused.
pub fn begin(folder: &Path, text: &[u8]) -> Result<(), String> {
    read(fs::write(folder.join(super::begin::NAME), text))?;
    read(Begin::read(folder)).map(|_| ())
}

/// A file of a key: reads it, and answers what would be written for it.
///
/// # Errors
/// It is refused.
pub fn key_file(fields: &[u8]) -> Result<Vec<u8>, String> {
    let bytes = [fields, &crc32fast::hash(fields).to_le_bytes()].concat();
    KeyFile::decode(&bytes).map(|file| file.encode()).map_err(str::to_owned)
}

/// How far the digests are; whether it is taken for what was written.
#[must_use]
pub fn position(folder: &Path, json: &str) -> bool {
    let text = format!("{json}\n{:08x}\n", crc32fast::hash(json.as_bytes()));
    fs::write(folder.join(super::digest::follower::POSITION), text).is_ok() && is_position_whole(folder).1
}

/// The head of a segment: reads it, and answers what would be written for it.
#[must_use]
pub fn segment_head(fields: &[u8; HEADER_BYTES]) -> Option<[u8; HEADER_BYTES]> {
    let mut bytes = *fields;
    let (fields, sum) = bytes.split_last_chunk_mut::<4>()?;
    *sum = crc32fast::hash(fields).to_le_bytes();
    Header::decode(&bytes).map(|header| header.encode())
}

/// A journal of one segment with these bodies, as one who has no key can forge it.
///
/// # Errors
/// What the operating system says.
pub fn journal<'a>(folder: &Path, bodies: impl Iterator<Item = &'a [u8]>) -> io::Result<()> {
    let header = Header {
        segment: 1,
        first_record: 1,
        boot: [1; 16],
        created_ns: 1,
        bytes: u64::try_from(SEGMENT_BYTES).unwrap_or(0),
        node: Header::node_place("node"),
        salt: 7,
        previous: [0; 32],
    };
    let mut bytes = header.encode().to_vec();
    let mut link = Link { record: 1, chain: header.chain(), salt: 7 };
    for body in bodies {
        append(&mut bytes, &mut link, 0, None, body);
    }
    bytes.resize(SEGMENT_BYTES, 0);
    fs::write(folder.join(segment_name(1)), bytes)
}

/// The notary's files of a vault with one customer, whose bytes are all the same.
///
/// # Errors
/// What the operating system says.
pub fn notes(folder: &Path, bytes: &[u8], key: &Verifier) -> io::Result<()> {
    fs::write(folder.join(notes::LATEST), bytes)?;
    let names = [notes::HISTORY, notes::COSIGNED];
    for (log, name) in ["_", "one_spa"].into_iter().flat_map(|log| names.map(|name| (log, name))) {
        fs::create_dir_all(folder.join(log))?;
        fs::write(folder.join(log).join(name), bytes)?;
    }
    let known = notes::signers(folder, key).unwrap_or_else(|_| vec![key.clone()]);
    // What is not read is refused; neither is of interest.
    let _ = (notes::latest(folder, &known), notes::terms_of(folder, "one_spa", &known).is_ok());
    let _ = (notes::history(folder, "one_spa", &known), notes::cosigned_notes(folder, "one_spa", &known));
    let _ = std::str::from_utf8(bytes).ok().and_then(|text| checkpoints(text, &known));
    let healed = |folder: &Path| {
        notes::heal_all(folder)?;
        fs::read(folder.join("one_spa").join(notes::HISTORY))
    };
    let once = healed(folder)?;
    for log in ["_", "one_spa"] {
        // What was cut is kept, and would grow without end.
        let _ = fs::remove_file(folder.join(log).join("history.cut"));
    }
    if !bytes.starts_with(&once) || healed(folder)? != once {
        return Err(io::Error::other("a torn end was not cut at once, or more than that was changed"));
    }
    Ok(())
}

/// A request of a command to have something recorded. What was recorded: kind, log, and in words.
///
/// # Errors
/// What the operating system says, or that nobody answered.
pub fn act(folder: &Path, request: &[u8]) -> io::Result<Vec<(&'static str, String, Vec<u8>)>> {
    let own = folder.join("acts");
    fs::create_dir_all(&own)?;
    let path = own.join("a.request");
    fs::write(&path, request)?;
    let mut recorded = Vec::new();
    let mut record = |event: &Event<'_>| {
        recorded.push((event.kind.name(), event.customer.to_owned(), event.detail.to_vec()));
        Ok(())
    };
    let backends = Backends::default();
    backends.set(Box::new(|_| Vec::new()));
    acts::carry_out(folder, &backends, &mut record)?;
    if path.exists() {
        return Err(io::Error::other("nobody has answered"));
    }
    fs::remove_file(own.join("a.done")).or_else(|_| fs::remove_file(own.join("a.failed")))?;
    Ok(recorded)
}

/// What is asked of whoever keeps records.
///
/// # Errors
/// It is refused.
pub fn wish(folder: &Path, request: &[u8]) -> Result<Wish, String> {
    let path = folder.join("a.wish");
    read(fs::write(&path, request))?;
    let wish: Wish = mailbox::read(&path)?;
    wish.check()?;
    Ok(wish)
}
