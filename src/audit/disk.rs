//! The journal's folder: one lock, segments of fixed size, the next one prepared in the background.
//!
//! Only its owner may look into it (0700, files 0600), links are not followed, and one process at a time writes. What is
//! written where is decided by [`super::writer`]; this module knows files, not records.

use std::fs::File;
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use rustix::fs::{AtFlags, CWD, FallocateFlags, FlockOperation, Mode, OFlags};

use super::begin::{Begin, remaining};
use super::body::wide;
use super::gate::lock;
use super::journal::{Header, segment_name, segment_number};

/// Held as long as a process writes.
pub(super) const LOCK_NAME: &str = "journal.lock";
/// The segment that is being prepared.
pub(super) const NEXT_NAME: &str = "next.prepared";
/// Zeros are written in pieces of this size.
static ZEROS: [u8; 1 << 16] = [0; 1 << 16];
/// After a failure the preparation is tried again.
const PREPARE_AGAIN: Duration = Duration::from_millis(200);

/// What the writer needs of a disk; tests have one that fails.
pub(super) trait Disk: Send {
    /// Writes all bytes at an offset of the current segment.
    fn write(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()>;
    /// Makes what was written last through a loss of power.
    fn sync(&mut self) -> io::Result<()>;
    /// Makes the prepared segment the current one, of the size in the header. [`io::ErrorKind::WouldBlock`]: it is not
    /// ready yet.
    fn rotate(&mut self, header: &Header) -> io::Result<()>;
    /// How far the next segment is.
    fn next(&self) -> Next;
}

/// How far the next segment is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Next {
    /// It can be taken.
    Ready,
    /// Zeros are being written.
    Preparing,
    /// The last attempt failed; the next one follows.
    Failed(String),
}

/// The folder, with its lock and the segment that is written.
#[derive(Debug)]
pub(super) struct Directory {
    folder: Arc<File>,
    path: PathBuf,
    _lock: File,
    segment_bytes: u64,
    current: Option<File>,
    /// Taken for [`Disk::rotate`]; `true`: it has its final name already.
    taken: Option<(File, bool)>,
    spare: Arc<Spare>,
    preparing: Option<JoinHandle<()>>,
}

#[derive(Debug)]
struct Spare {
    state: Mutex<(Option<File>, Option<String>)>,
    changed: Condvar,
    stop: AtomicBool,
}

/// Why a folder cannot be used.
#[derive(Debug)]
pub(super) enum FolderError {
    /// Another process writes there.
    Locked,
    /// Others may write there.
    Open,
    Io(io::Error),
}

impl From<io::Error> for FolderError {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

/// Opens a folder for reading its entries.
pub(super) fn open_folder(path: &Path) -> io::Result<File> {
    let flags = OFlags::DIRECTORY | OFlags::CLOEXEC | OFlags::RDONLY;
    Ok(File::from(rustix::fs::openat(CWD, path, flags, Mode::empty())?))
}

/// Opens a file of the folder without following a link.
pub(super) fn open_file(folder: &File, name: &str, flags: OFlags) -> io::Result<File> {
    let flags = flags | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    Ok(File::from(rustix::fs::openat(folder, name, flags, Mode::RUSR | Mode::WUSR)?))
}

/// The numbers of the segments in a folder, in order.
pub(super) fn segments(path: &Path) -> io::Result<Vec<u64>> {
    let mut numbers = Vec::new();
    for entry in std::fs::read_dir(path)? {
        numbers.extend(entry?.file_name().to_str().and_then(segment_number));
    }
    numbers.sort_unstable();
    Ok(numbers)
}

impl Directory {
    /// Makes the folder if it is not there, and takes its lock.
    pub(super) fn open(path: &Path, segment_bytes: u64) -> Result<Self, FolderError> {
        if let Some(parent) = path.parent().filter(|parent| !parent.as_os_str().is_empty()) {
            std::fs::create_dir_all(parent)?;
        }
        match rustix::fs::mkdir(path, Mode::RWXU) {
            // A folder whose own name is lost with the power would take all segments along.
            Ok(()) => open_folder(&path.join(".."))?.sync_all()?,
            Err(rustix::io::Errno::EXIST) => {}
            Err(error) => return Err(FolderError::Io(error.into())),
        }
        let folder = open_folder(path)?;
        let metadata = folder.metadata()?;
        let mode = metadata.mode();
        if mode & 0o077 != 0 {
            if metadata.uid() == rustix::process::geteuid().as_raw() {
                folder.set_permissions(PermissionsExt::from_mode(0o700))?;
            } else if mode & 0o022 != 0 {
                return Err(FolderError::Open);
            }
        }
        let held = open_file(&folder, LOCK_NAME, OFlags::CREATE | OFlags::RDWR)?;
        match rustix::fs::flock(&held, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(rustix::io::Errno::WOULDBLOCK) => return Err(FolderError::Locked),
            Err(error) => return Err(FolderError::Io(error.into())),
        }
        let spare = Spare { state: Mutex::default(), changed: Condvar::new(), stop: AtomicBool::new(false) };
        Ok(Self {
            folder: Arc::new(folder),
            path: path.to_owned(),
            _lock: held,
            segment_bytes,
            current: None,
            taken: None,
            spare: Arc::new(spare),
            preparing: None,
        })
    }

    /// Where the journal begins, if not with segment 1, and the numbers of its segments, in order.
    pub(super) fn segments(&self) -> io::Result<(Option<Begin>, Vec<u64>)> {
        remaining(&self.path)
    }

    /// Makes an existing segment the current one.
    pub(super) fn continue_segment(&mut self, segment: u64) -> io::Result<&File> {
        let file = open_file(&self.folder, &segment_name(segment), OFlags::RDWR)?;
        Ok(self.current.insert(file))
    }

    /// Overwrites a part of the current segment with zeros, for good, and keeps what was there in a file of its own.
    pub(super) fn cut(&mut self, segment: u64, from: u64, torn: &[u8]) -> io::Result<()> {
        let name = format!("{segment:010}-{from}.cut");
        let kept = open_file(&self.folder, &name, OFlags::CREATE | OFlags::TRUNC | OFlags::WRONLY)?;
        kept.write_all_at(torn, 0)?;
        kept.sync_all()?;
        self.folder.sync_all()?;
        let mut at = from;
        for piece in torn.chunks(ZEROS.len()) {
            self.write(at, ZEROS.get(..piece.len()).unwrap_or_default())?;
            at = at.saturating_add(wide(piece.len()));
        }
        self.sync()
    }

    /// Begins to prepare the next segment.
    pub(super) fn prepare(&mut self) -> io::Result<()> {
        let (folder, spare, bytes) = (Arc::clone(&self.folder), Arc::clone(&self.spare), self.segment_bytes);
        let prepare = move || {
            while !spare.stop.load(Ordering::Acquire) {
                let made = prepare_segment(&folder, bytes, &spare.stop);
                let mut state = lock(&spare.state);
                match made {
                    Ok(file) => {
                        *state = (Some(file), None);
                        spare.changed.notify_all();
                        return;
                    }
                    Err(error) => {
                        if state.1.is_none() {
                            tracing::warn!(%error, "next segment of the audit log cannot be prepared");
                        }
                        state.1 = Some(format!("next segment of the audit log: {error}"));
                    }
                }
                drop(state);
                std::thread::park_timeout(PREPARE_AGAIN);
            }
        };
        self.preparing = Some(std::thread::Builder::new().name("audit-prepare".into()).spawn(prepare)?);
        Ok(())
    }

    fn take_next(&mut self) -> io::Result<(File, bool)> {
        if let Some(taken) = self.taken.take() {
            return Ok(taken);
        }
        let state = lock(&self.spare.state);
        let waited = self.spare.changed.wait_timeout_while(state, PREPARE_AGAIN, |state| state.0.is_none());
        let (mut state, _) = waited.map_err(|_| io::Error::other("preparation failed"))?;
        match (state.0.take(), &state.1) {
            (Some(file), _) => Ok((file, false)),
            (None, Some(reason)) => Err(io::Error::other(reason.clone())),
            (None, None) => Err(io::ErrorKind::WouldBlock.into()),
        }
    }

    fn install(&self, file: &File, renamed: &mut bool, header: &Header) -> io::Result<()> {
        file.write_all_at(&header.encode(), 0)?;
        file.sync_data()?;
        if !*renamed {
            let name = segment_name(header.segment);
            match rustix::fs::statat(&self.folder, &name, AtFlags::SYMLINK_NOFOLLOW) {
                Err(rustix::io::Errno::NOENT) => {}
                Ok(_) => {
                    let exists = format!("segment {name} exists already");
                    return Err(io::Error::new(io::ErrorKind::AlreadyExists, exists));
                }
                Err(error) => return Err(error.into()),
            }
            rustix::fs::renameat(&self.folder, NEXT_NAME, &self.folder, &name)?;
            *renamed = true;
        }
        self.folder.sync_all()
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        self.spare.stop.store(true, Ordering::Release);
        if let Some(preparing) = self.preparing.take() {
            preparing.thread().unpark();
            // It must not touch the folder when another writer has the lock.
            if preparing.join().is_err() {
                tracing::error!("preparing the next segment of the audit log panicked");
            }
        }
    }
}

impl Disk for Directory {
    fn write(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let current = self.current.as_ref().ok_or(io::ErrorKind::NotFound)?;
        current.write_all_at(bytes, offset)
    }

    fn sync(&mut self) -> io::Result<()> {
        self.current.as_ref().ok_or(io::ErrorKind::NotFound)?.sync_data()
    }

    fn rotate(&mut self, header: &Header) -> io::Result<()> {
        let (file, mut renamed) = self.take_next()?;
        if let Err(error) = self.install(&file, &mut renamed, header) {
            self.taken = Some((file, renamed));
            return Err(error);
        }
        self.current = Some(file);
        self.prepare()
    }

    fn next(&self) -> Next {
        match &*lock(&self.spare.state) {
            (Some(_), _) => Next::Ready,
            (None, Some(reason)) => Next::Failed(reason.clone()),
            (None, None) => Next::Preparing,
        }
    }
}

/// Makes a file of zeros whose blocks are all allocated and written, so that writing into it changes no metadata.
fn prepare_segment(folder: &File, bytes: u64, stop: &AtomicBool) -> io::Result<File> {
    match rustix::fs::unlinkat(folder, NEXT_NAME, AtFlags::empty()) {
        Ok(()) | Err(rustix::io::Errno::NOENT) => {}
        Err(error) => return Err(error.into()),
    }
    let file = open_file(folder, NEXT_NAME, OFlags::CREATE | OFlags::EXCL | OFlags::RDWR)?;
    let filled = match rustix::fs::fallocate(&file, FallocateFlags::empty(), 0, bytes) {
        Ok(()) | Err(rustix::io::Errno::OPNOTSUPP) => fill(&file, bytes, stop),
        Err(error) => Err(error.into()),
    };
    match filled {
        Ok(()) => Ok(file),
        Err(error) => {
            // Leave the room to others while there is none.
            rustix::fs::unlinkat(folder, NEXT_NAME, AtFlags::empty())?;
            Err(error)
        }
    }
}

fn fill(file: &File, bytes: u64, stop: &AtomicBool) -> io::Result<()> {
    let mut at = 0;
    while at < bytes {
        if stop.load(Ordering::Acquire) {
            return Err(io::ErrorKind::Interrupted.into());
        }
        let piece =
            ZEROS.get(..usize::try_from(bytes.saturating_sub(at)).unwrap_or(ZEROS.len())).unwrap_or(&ZEROS);
        file.write_all_at(piece, at)?;
        at = at.saturating_add(wide(piece.len()));
    }
    file.sync_all()
}
