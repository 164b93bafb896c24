//! The folder of the keys: each file replaced whole or not at all, one process at a time, what is replaced overwritten.
//!
//! `keys.lock` is held (`flock`) while a file is made or replaced, so a command and the running process do not undo one
//! another's work. Readers take no lock: a rename is atomic.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::fs::{AtFlags, FlockOperation, Mode, OFlags};

use super::KeyError;
use super::file::{FILE_BYTES_MAX, KeyFile, State};
use crate::audit::body::wide;
use crate::audit::disk::{open_file, open_folder};

pub(in crate::audit) const LOCK_NAME: &str = "keys.lock";
const ENDING: &str = ".key";
const UNFINISHED: &str = ".key.new";
/// Another process that holds the lock for longer is in the way. Short, because the writer of the log waits here, and
/// long enough for a busy disk to sync the few files of one replacement.
const LOCK_TIME: Duration = Duration::from_millis(500);

/// The file name of a key.
pub(in crate::audit) fn key_name(number: u32) -> String {
    format!("{number:010}{ENDING}")
}

fn key_number(name: &str) -> Option<u32> {
    let number = name.strip_suffix(ENDING)?.parse().ok()?;
    (key_name(number) == name).then_some(number)
}

/// The folder.
#[derive(Debug)]
pub(super) struct Folder {
    path: PathBuf,
    /// `None`: there is none.
    folder: Option<File>,
}

/// The right to change files; ends when it is dropped.
#[derive(Debug)]
pub(super) struct Held {
    _lock: File,
}

impl Folder {
    /// Opens the folder for reading, if it is there.
    pub(super) fn open(path: &Path) -> Result<Self, KeyError> {
        match open_folder(path) {
            Ok(folder) => Ok(Self { path: path.to_owned(), folder: Some(folder) }),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                Ok(Self { path: path.to_owned(), folder: None })
            }
            Err(error) => Err(KeyError::Io(path.to_owned(), error)),
        }
    }

    /// Makes the folder (0700) if it is not there, and ends what was left half done.
    pub(super) fn prepare(path: &Path) -> Result<Self, KeyError> {
        let io = |error| KeyError::Io(path.to_owned(), error);
        match rustix::fs::mkdir(path, Mode::RWXU) {
            Ok(()) => open_folder(&path.join("..")).and_then(|parent| parent.sync_all()).map_err(io)?,
            Err(rustix::io::Errno::EXIST) => {}
            Err(error) => return Err(io(error.into())),
        }
        let folder = Self::open(path)?;
        let held = folder.lock()?;
        folder.finish_what_was_begun(&held)?;
        Ok(folder)
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn file_path(&self, number: u32) -> PathBuf {
        self.path.join(key_name(number))
    }

    fn folder(&self) -> Result<&File, KeyError> {
        let missing = || KeyError::Io(self.path.clone(), io::ErrorKind::NotFound.into());
        self.folder.as_ref().ok_or_else(missing)
    }

    /// The numbers of the keys that have a file, in order.
    pub(super) fn numbers(&self) -> Result<Vec<u32>, KeyError> {
        let mut numbers: Vec<_> = self.names()?.iter().filter_map(|name| key_number(name)).collect();
        numbers.sort_unstable();
        Ok(numbers)
    }

    fn names(&self) -> Result<Vec<String>, KeyError> {
        if self.folder.is_none() {
            return Ok(Vec::new());
        }
        let io = |error| KeyError::Io(self.path.clone(), error);
        let mut names = Vec::new();
        for entry in std::fs::read_dir(&self.path).map_err(io)? {
            names.extend(entry.map_err(io)?.file_name().into_string().ok());
        }
        Ok(names)
    }

    /// Reads a key's file, which must be the one of this number.
    pub(super) fn read(&self, number: u32) -> Result<KeyFile, KeyError> {
        let name = key_name(number);
        let file = match open_file(self.folder()?, &name, OFlags::RDONLY) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(KeyError::Missing(self.file_path(number)));
            }
            Err(error) => return Err(KeyError::Io(self.file_path(number), error)),
        };
        let mut bytes = Vec::with_capacity(256);
        let read = file.take(wide(FILE_BYTES_MAX)).read_to_end(&mut bytes);
        read.map_err(|error| KeyError::Io(self.file_path(number), error))?;
        let read = KeyFile::decode(&bytes).and_then(|file| {
            if file.label.number == number { Ok(file) } else { Err("it is the file of another key") }
        });
        read.map_err(|what| KeyError::Damaged { file: self.file_path(number), what })
    }

    /// Waits for a moment for the right to change files.
    pub(super) fn lock(&self) -> Result<Held, KeyError> {
        let io = |error| KeyError::Io(self.path.join(LOCK_NAME), error);
        let lock = open_file(self.folder()?, LOCK_NAME, OFlags::CREATE | OFlags::RDWR).map_err(io)?;
        let begun = Instant::now();
        loop {
            match rustix::fs::flock(&lock, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => return Ok(Held { _lock: lock }),
                Err(rustix::io::Errno::WOULDBLOCK) if begun.elapsed() < LOCK_TIME => {
                    std::thread::sleep(Duration::from_millis(5));
                }
                Err(rustix::io::Errno::WOULDBLOCK) => return Err(KeyError::Busy(self.path.clone())),
                Err(error) => return Err(io(error.into())),
            }
        }
    }

    /// Whether a number has a file, readable or not.
    pub(super) fn has(&self, number: u32) -> Result<bool, KeyError> {
        match rustix::fs::statat(self.folder()?, key_name(number), AtFlags::SYMLINK_NOFOLLOW) {
            Ok(_) => Ok(true),
            Err(rustix::io::Errno::NOENT) => Ok(false),
            Err(error) => Err(KeyError::Io(self.file_path(number), error.into())),
        }
    }

    /// Writes a key's file, new or in place of the old one, so that it outlives a loss of power.
    pub(super) fn write(&self, _: &Held, file: &KeyFile) -> Result<(), KeyError> {
        let number = file.label.number;
        let io = |error| KeyError::Io(self.file_path(number), error);
        let folder = self.folder()?;
        let name = key_name(number);
        let old = match open_file(folder, &name, OFlags::RDWR) {
            Ok(old) => Some(old),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(io(error)),
        };
        let bytes = file.encode();
        let unfinished = format!("{number:010}{UNFINISHED}");
        let written = write_new(folder, &unfinished, &bytes);
        written.map_err(|error| KeyError::Io(self.path.join(&unfinished), error))?;
        // Of a shredded key nothing may be left, whatever happens next: a start completes the rename.
        if let (Some(old), State::Shredded(_)) = (&old, &file.state) {
            overwrite(old).map_err(io)?;
        }
        rustix::fs::renameat(folder, &unfinished, folder, &name).map_err(|error| io(error.into()))?;
        folder.sync_all().map_err(io)?;
        if let Some(old) = old {
            overwrite(&old).map_err(io)?;
        }
        Ok(())
    }

    /// A tombstone that waits for its name gets it; everything else that was not finished was told to nobody.
    fn finish_what_was_begun(&self, _: &Held) -> Result<(), KeyError> {
        let folder = self.folder()?;
        for name in self.names()?.iter().filter(|name| name.ends_with(UNFINISHED)) {
            let io = |error| KeyError::Io(self.path.join(name), error);
            let file = open_file(folder, name, OFlags::RDWR).map_err(io)?;
            let mut bytes = Vec::new();
            (&file).take(wide(FILE_BYTES_MAX)).read_to_end(&mut bytes).map_err(io)?;
            let tombstone = KeyFile::decode(&bytes).ok().filter(|file| file.wrapped.is_none());
            match tombstone.map(|file| key_name(file.label.number)) {
                Some(to) => {
                    if let Ok(old) = open_file(folder, &to, OFlags::RDWR) {
                        overwrite(&old).map_err(io)?;
                    }
                    rustix::fs::renameat(folder, name, folder, &to)
                }
                None => {
                    overwrite(&file).map_err(io)?;
                    rustix::fs::unlinkat(folder, name, AtFlags::empty())
                }
            }
            .map_err(|error| io(error.into()))?;
        }
        folder.sync_all().map_err(|error| KeyError::Io(self.path.clone(), error))
    }
}

fn write_new(folder: &File, name: &str, bytes: &[u8]) -> io::Result<()> {
    match rustix::fs::unlinkat(folder, name, AtFlags::empty()) {
        Ok(()) | Err(rustix::io::Errno::NOENT) => {}
        Err(error) => return Err(error.into()),
    }
    let file = open_file(folder, name, OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY)?;
    file.write_all_at(bytes, 0)?;
    file.sync_all()
}

/// What the file held is gone from it. Whether it is gone from the medium is the file system's and the medium's affair.
fn overwrite(file: &File) -> io::Result<()> {
    let bytes = usize::try_from(file.metadata()?.len()).unwrap_or(FILE_BYTES_MAX).min(FILE_BYTES_MAX);
    file.write_all_at(&vec![0; bytes], 0)?;
    file.sync_all()
}
