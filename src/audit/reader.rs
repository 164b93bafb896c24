//! Reads the whole journal in order, also while it is being written.
//!
//! Every record that is handed out has passed checksum, record number and chain hash, and every segment follows from the
//! one before. Of what is passed over on purpose (what the archive has, records of other logs) only the numbers are
//! looked at. Nothing is changed and no lock is taken.

use std::fmt;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rustix::fs::OFlags;

use super::begin::{self, remaining};
use super::body::wide;
use super::disk::{open_file, open_folder, segments};
use super::entry::{Entry, boot_of_start, decode, is_part};
use super::join::Lost;
use super::journal::{BODY_BYTES_MAX, FRAME_BYTES, FrameHead, segment_name};
use super::keys::{KeyError, Keyring};
use super::record::Stream;
use super::seal::{Closed, Opener};
use super::segment::{Segment, Step, Tail};

/// What cannot be read at the end is read again, because a write may be under way.
const LOOKS: u32 = 10;
const LOOK_AGAIN: Duration = Duration::from_millis(20);

/// What the error of a piece says whose key was shredded.
pub(super) const SHREDDED: io::ErrorKind = io::ErrorKind::PermissionDenied;

/// Why the journal cannot be read.
#[derive(Debug)]
pub enum ReadError {
    /// The operating system refused.
    Io(PathBuf, io::Error),
    /// There is no journal in the folder.
    Empty(PathBuf),
    /// A key cannot be had; that it was shredded is no error.
    Key(KeyError),
    /// The first thing that is not as it was written.
    Damaged {
        /// The segment.
        file: PathBuf,
        /// Where in it, in bytes.
        offset: u64,
        /// Number of the record that should be there.
        record: u64,
        /// What was found.
        what: &'static str,
    },
}

impl fmt::Display for ReadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io(path, error) => write!(f, "{}: {error}", path.display()),
            Self::Key(error) => write!(f, "{error}"),
            Self::Empty(path) => write!(f, "{}: no audit log there", path.display()),
            Self::Damaged { file, offset, record, what } => {
                write!(f, "{} at byte {offset}, record {record}: {what}", file.display())
            }
        }
    }
}

impl std::error::Error for ReadError {}

/// Where a record lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// Number of the segment.
    pub segment: u64,
    /// Where its frame begins, in bytes.
    pub offset: u64,
    /// Number of the record, from 1 without gaps.
    pub record: u64,
}

/// One record as it lies in the journal.
#[derive(Debug, Clone, Copy)]
pub struct Raw<'a> {
    /// Where.
    pub place: Place,
    /// The run of the process that wrote it.
    pub boot: [u8; 16],
    /// Number of the key it is encrypted with; 0: none.
    pub key: u32,
    /// To be read with [`super::entry::decode`].
    pub body: Body<'a>,
}

/// A record's body, as far as it can be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Body<'a> {
    /// It can.
    Plain(&'a [u8]),
    /// Its key was destroyed on purpose.
    Shredded,
    /// The reader was given no keys.
    NoKey,
    /// It is of another log than the one that is read.
    Other,
}

impl<'a> Raw<'a> {
    /// The body, if it can be read.
    #[must_use]
    pub const fn plain(&self) -> Option<&'a [u8]> {
        match self.body {
            Body::Plain(body) => Some(body),
            Body::Shredded | Body::NoKey | Body::Other => None,
        }
    }
}

/// What lies behind the last record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// Nothing.
    Clean,
    /// More records; they came in the meantime.
    More,
    /// The beginning of a write that was not completed, in bytes. The next start cuts it.
    Torn(u64),
}

/// Goes through the journal.
#[derive(Debug)]
pub struct Reader {
    path: PathBuf,
    folder: Arc<File>,
    segment: Segment,
    boot: [u8; 16],
    looks_max: u32,
    /// Why the last place could not be read.
    bad: Option<&'static str>,
    /// There are segments before the one it began with.
    skipped: bool,
    /// Encrypted records before this one are passed over.
    from: u64,
    opener: Option<Opener>,
}

impl Reader {
    /// Begins with the oldest segment.
    ///
    /// # Errors
    /// [`ReadError`] when there is none or it cannot be opened.
    pub fn open(path: &Path) -> Result<Self, ReadError> {
        Self::open_since(path, 0)
    }

    /// Begins with a segment before which nothing lies that began at `since_ns` or later, as the clock went.
    ///
    /// # Errors
    /// [`ReadError`] when there is no segment or one cannot be opened.
    pub fn open_since(path: &Path, since_ns: u64) -> Result<Self, ReadError> {
        Self::begin(path, None, since_ns)
    }

    /// Begins with a segment. Texts that lie in parts before it are found all the same.
    ///
    /// # Errors
    /// [`ReadError`] when it cannot be opened.
    pub fn open_at(path: &Path, number: u64) -> Result<Self, ReadError> {
        Self::begin(path, Some(number), 0)
    }

    /// Begins with this segment or the oldest one, or a later one before which nothing lies that began at `since_ns` or later.
    pub(super) fn begin(path: &Path, at: Option<u64>, since_ns: u64) -> Result<Self, ReadError> {
        let io = |error| ReadError::Io(path.to_owned(), error);
        let folder = open_folder(path).map_err(io)?;
        let (begin, numbers) = remaining(path).map_err(io)?;
        let none = || match &begin {
            Some(begin) => ReadError::Damaged {
                file: path.join(segment_name(begin.segment)),
                offset: 0,
                record: begin.record,
                what: begin::FIRST_IS_MISSING,
            },
            None => ReadError::Empty(path.to_owned()),
        };
        let first = numbers.first().copied().ok_or_else(none)?;
        let mut segment = open_segment(path, &folder, at.unwrap_or(first))?;
        let later = numbers.into_iter().filter(|number| *number > at.unwrap_or(first));
        for number in later.take_while(|_| since_ns > 0) {
            let later = open_segment(path, &folder, number)?;
            if later.header.created_ns >= since_ns {
                break;
            }
            segment = later;
        }
        let skipped = segment.header.segment != first;
        let boot = segment.header.boot;
        Ok(Self {
            path: path.to_owned(),
            folder: Arc::new(folder),
            segment,
            boot,
            looks_max: LOOKS,
            bad: None,
            skipped,
            from: 0,
            opener: None,
        })
    }

    /// Where the next record begins: segment and offset in bytes.
    #[must_use]
    pub const fn position(&self) -> (u64, u64) {
        (self.segment.header.segment, self.segment.at)
    }

    /// Reads encrypted bodies, too.
    #[must_use]
    pub fn with_keys(self, keyring: Arc<Keyring>) -> Self {
        self.with_keys_of(keyring, None)
    }

    /// Reads encrypted bodies of one log only, or of all. Whose a record is, its key tells.
    pub(super) fn with_keys_of(self, keyring: Arc<Keyring>, log: Option<&str>) -> Self {
        Self { opener: Some(Opener::new(keyring, log)), ..self }
    }

    /// Passes over encrypted records before this one: who has them has held them against their chain.
    pub(super) fn skipping_to(self, record: u64) -> Self {
        Self { from: record, ..self }
    }

    /// Whether records are passed over that are of the log that is read.
    pub(super) const fn skips(&self) -> bool {
        self.from > 0
    }

    /// Nobody writes any more, so nothing is looked at twice.
    #[cfg(test)]
    pub(super) fn impatient(self) -> Self {
        Self { looks_max: 0, ..self }
    }

    /// Number of the segment that is being read, and of its first record.
    #[must_use]
    pub const fn segment(&self) -> (u64, u64) {
        (self.segment.header.segment, self.segment.header.first_record)
    }

    /// Reads the pieces of long texts and parameters, apart from the walk.
    #[must_use]
    pub fn pieces(&self) -> Pieces {
        let skipped =
            (self.skipped || self.from > 0).then(|| (self.path.clone(), self.segment.header.segment));
        let keyring = self.opener.as_ref().map(Opener::keyring);
        Pieces { folder: Arc::clone(&self.folder), skipped, keyring }
    }

    /// The last chain hash before the segment that is being read, as its header has it.
    pub(super) const fn previous(&self) -> &[u8; 32] {
        &self.segment.header.previous
    }

    /// The journal's folder.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Name of the node that made the segment that is being read, or its beginning.
    #[must_use]
    pub fn node(&self) -> &[u8] {
        self.segment.header.node()
    }

    /// The next record; `None`: there is none yet, see [`Reader::end`].
    ///
    /// # Errors
    /// [`ReadError`] at the first thing that is not as it was written.
    pub fn next_record(&mut self) -> Result<Option<Raw<'_>>, ReadError> {
        let mut looks = 0;
        loop {
            self.pass_over().map_err(|error| ReadError::Io(self.path.clone(), error))?;
            let offset = self.segment.at;
            match self.segment.step().map_err(|error| ReadError::Io(self.path.clone(), error))? {
                Step::Frame(head) => {
                    return self.opened(offset, head).map(Some);
                }
                Step::End => {
                    if !self.go_on()? {
                        return Ok(None);
                    }
                }
                Step::Bad(what) => {
                    if self.following()?.is_some() {
                        return Err(self.damaged(offset, self.segment.link.record, what));
                    }
                    if looks >= self.looks_max {
                        self.bad = Some(what);
                        return Ok(None);
                    }
                    looks = looks.saturating_add(1);
                    std::thread::sleep(LOOK_AGAIN);
                }
            }
        }
    }

    /// Goes past what is not wanted: records that are known, and of other logs.
    fn pass_over(&mut self) -> io::Result<()> {
        let (from, opener) = (self.from, &mut self.opener);
        if from == 0 && opener.as_ref().is_none_or(Opener::is_of_all) {
            return Ok(());
        }
        self.segment.skip(|head| {
            head.record >= from && !opener.as_mut().is_some_and(|opener| opener.is_other(head.format))
        })
    }

    fn opened(&mut self, offset: u64, head: FrameHead) -> Result<Raw<'_>, ReadError> {
        let place = Place { segment: self.segment.header.segment, offset, record: head.record };
        let stored = self.segment.body();
        let body = match &mut self.opener {
            _ if head.is_plain() => {
                self.boot = boot_of_start(stored).unwrap_or(self.boot);
                Body::Plain(stored)
            }
            None => Body::NoKey,
            Some(opener) => match opener.open(self.boot, &head, stored) {
                Ok(plain) => Body::Plain(plain),
                Err(Closed::Shredded) => Body::Shredded,
                Err(Closed::Other) => Body::Other,
                Err(Closed::Key(error)) => return Err(ReadError::Key(error)),
                Err(Closed::Broken) => {
                    let what = "the body does not open with its key";
                    let file = self.path.join(segment_name(place.segment));
                    return Err(ReadError::Damaged { file, offset, record: head.record, what });
                }
            },
        };
        Ok(Raw { place, boot: self.boot, key: head.format, body })
    }

    /// What lies behind the last record that was read. Looks at all the rest of the segment.
    ///
    /// # Errors
    /// [`ReadError`] when records that had been on disk cannot be read.
    pub fn end(&mut self) -> Result<End, ReadError> {
        for _ in 0..self.looks_max {
            match self.segment.tail().map_err(|error| ReadError::Io(self.path.clone(), error))? {
                Tail::Clean => return Ok(End::Clean),
                Tail::Torn(_) | Tail::Damaged => {}
            }
            if self.segment.has_more().map_err(|error| ReadError::Io(self.path.clone(), error))? {
                return Ok(End::More);
            }
            std::thread::sleep(LOOK_AGAIN);
        }
        match self.segment.tail().map_err(|error| ReadError::Io(self.path.clone(), error))? {
            Tail::Clean => Ok(End::Clean),
            Tail::Torn(torn) => Ok(End::Torn(wide(torn.len()))),
            Tail::Damaged => {
                let what = self.bad.unwrap_or("zeros, but there are records behind them");
                Err(self.damaged(self.segment.at, self.segment.link.record, what))
            }
        }
    }

    /// Goes to the next segment if this one is complete; `false`: this is the last one, and there is nothing more yet.
    fn go_on(&mut self) -> Result<bool, ReadError> {
        let Some(next) = self.following()? else { return Ok(false) };
        // The writer may have filled this one up just before it began the next.
        if self.segment.has_more().map_err(|error| ReadError::Io(self.path.clone(), error))? {
            return Ok(true);
        }
        let (at, link) = (self.segment.at, self.segment.link);
        if self.segment.tail().map_err(|error| ReadError::Io(self.path.clone(), error))? != Tail::Clean {
            return Err(self.damaged(at, link.record, "bytes that are no record"));
        }
        let after = self.segment.header.segment.saturating_add(1);
        if next != after {
            let file = self.path.join(segment_name(after));
            return Err(ReadError::Damaged {
                file,
                offset: 0,
                record: link.record,
                what: "the segment is missing",
            });
        }
        let segment = open_segment(&self.path, &self.folder, next)?;
        if segment.header.previous != link.chain || segment.header.first_record != link.record {
            let file = self.path.join(segment_name(next));
            let what = "the segment does not follow from the one before";
            return Err(ReadError::Damaged { file, offset: 0, record: link.record, what });
        }
        self.boot = segment.header.boot;
        self.segment = segment;
        Ok(true)
    }

    /// The number of the next segment that exists.
    fn following(&self) -> Result<Option<u64>, ReadError> {
        let current = self.segment.header.segment;
        let numbers = segments(&self.path).map_err(|error| ReadError::Io(self.path.clone(), error))?;
        Ok(numbers.into_iter().find(|number| *number > current))
    }

    fn file(&self) -> PathBuf {
        self.path.join(segment_name(self.segment.header.segment))
    }

    pub(super) fn damaged(&self, offset: u64, record: u64, what: &'static str) -> ReadError {
        ReadError::Damaged { file: self.file(), offset, record, what }
    }
}

/// Reads the pieces of long texts and parameters.
#[derive(Debug, Clone)]
pub struct Pieces {
    folder: Arc<File>,
    /// The folder again, and the segment up to which pieces may lie in segments that were not read.
    skipped: Option<(PathBuf, u64)>,
    keyring: Option<Arc<Keyring>>,
}

impl Pieces {
    /// The pieces of what was spilled before the place where reading began; and what it means if there are none, where
    /// records that were read are no reason.
    pub(super) fn find(
        &self,
        boot: [u8; 16],
        wanted: (u64, u64, Stream),
        mut absent: Lost,
    ) -> (Vec<Place>, Lost) {
        let Some((path, last)) = &self.skipped else { return (Vec::new(), absent) };
        let Ok(mut reader) = Reader::open(path) else { return (Vec::new(), absent) };
        if let Some(keyring) = &self.keyring {
            reader = reader.with_keys(Arc::clone(keyring));
        }
        let mut found = Vec::new();
        while let Ok(Some(raw)) = reader.next_record() {
            if raw.place.segment > *last {
                break;
            }
            if raw.boot == boot && raw.body == Body::Shredded {
                absent = Lost::Shredded;
            }
            if raw.boot == boot
                && let Some(body) = raw.plain().filter(|body| is_part(body))
                && let Ok(Entry::Part { session, sequence, stream, part, .. }) = decode(body)
                && (session, sequence, stream) == wanted
            {
                if part == 0 {
                    found.clear();
                }
                found.push(raw.place);
            }
        }
        (found, absent)
    }

    /// A piece of a text that a run of the process spilled, from the place of its record.
    pub(super) fn piece(&self, boot: [u8; 16], place: Place) -> io::Result<Vec<u8>> {
        let file = open_file(&self.folder, &segment_name(place.segment), OFlags::RDONLY)?;
        let mut frame = [0; FRAME_BYTES];
        file.read_exact_at(&mut frame, place.offset)?;
        let head = FrameHead::decode(&frame).ok_or(io::ErrorKind::InvalidData)?;
        let mut stored = vec![0; head.length.min(BODY_BYTES_MAX)];
        file.read_exact_at(&mut stored, place.offset.saturating_add(wide(FRAME_BYTES)))?;
        let mut opener = self.keyring.clone().map(|keyring| Opener::new(keyring, None));
        let body = match &mut opener {
            _ if head.is_plain() => stored.as_slice(),
            Some(opener) => {
                let opened = opener.open(boot, &head, &stored);
                opened.map_err(|closed| match closed {
                    Closed::Shredded => io::Error::from(SHREDDED),
                    Closed::Key(_) | Closed::Broken | Closed::Other => io::ErrorKind::InvalidData.into(),
                })?
            }
            None => return Err(io::ErrorKind::InvalidData.into()),
        };
        match decode(body) {
            Ok(Entry::Part { bytes, .. }) => Ok(bytes.to_vec()),
            Ok(_) | Err(_) => Err(io::ErrorKind::InvalidData.into()),
        }
    }
}

fn open_segment(path: &Path, folder: &File, number: u64) -> Result<Segment, ReadError> {
    let file = path.join(segment_name(number));
    let opened = open_file(folder, &segment_name(number), OFlags::RDONLY);
    let segment = opened.and_then(|opened| Segment::open(opened, number));
    let segment = segment.map_err(|error| ReadError::Io(file.clone(), error))?;
    segment.ok_or(ReadError::Damaged {
        file,
        offset: 0,
        record: 0,
        what: "the segment's header or its size is not as it was written",
    })
}
