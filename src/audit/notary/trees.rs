//! The hashes of trees in files: `<log>/row<n>`, 32 bytes for each hash, in the order of their indices.
//!
//! What always holds: a hash stands at the place that its index gives it, so writing it again changes nothing. A place
//! that was never written, or given back, has zeros; no hash is zeros.

use std::collections::BTreeSet;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use super::super::body::wide;
use super::super::tree::{Hash, Rows, Stored, Tree};
use super::Trouble;

const HASH_BYTES: u64 = 32;

/// The rows of one log.
pub(in crate::audit) struct Files {
    folder: PathBuf,
}

impl Files {
    /// Of the log with this name.
    pub(in crate::audit) fn of(folder: &Path, log: &str) -> Self {
        Self { folder: folder.join(log) }
    }

    /// The file of a row.
    pub(in crate::audit) fn path(&self, row: u32) -> PathBuf {
        self.folder.join(format!("row{row}"))
    }
}

impl Rows for Files {
    type Error = Trouble;

    fn read(&self, row: u32, index: u64, into: &mut [Hash]) -> Result<(), Trouble> {
        let path = self.path(row);
        let opened = File::open(&path).map_err(|error| Trouble::Files(path.clone(), error))?;
        let mut bytes = vec![0; into.len().saturating_mul(32)];
        opened
            .read_exact_at(&mut bytes, index.saturating_mul(HASH_BYTES))
            .map_err(|error| Trouble::Files(path.clone(), error))?;
        for (place, hash) in into.iter_mut().zip(bytes.chunks_exact(32)) {
            place.copy_from_slice(hash);
            if *place == Hash::default() {
                return Err(Trouble::Changed(path, "a hash is missing"));
            }
        }
        Ok(())
    }
}

/// The tree of a log at a size.
pub(in crate::audit) fn load(folder: &Path, log: &str, size: u64) -> Result<Tree, Trouble> {
    Tree::load(size, &Files::of(folder, log))
}

/// Hashes that are not in their files yet: for each row the first one's index, and all of them.
#[derive(Debug, Default)]
pub(super) struct Growth {
    rows: Vec<(u64, Vec<u8>)>,
    /// Files that were written and may be lost with the power.
    written: BTreeSet<PathBuf>,
}

impl Growth {
    /// Takes a hash; those of a row come in the order of their indices.
    pub(super) fn keep(&mut self, (row, index, hash): Stored) {
        let Ok(at) = usize::try_from(row) else { return };
        while self.rows.len() <= at {
            self.rows.push((0, Vec::new()));
        }
        if let Some((first, bytes)) = self.rows.get_mut(at) {
            if bytes.is_empty() {
                *first = index;
            }
            bytes.extend_from_slice(&hash);
        }
    }

    /// Writes all into the files. What was written stays when something else cannot be; it is written again then.
    pub(super) fn write(&mut self, folder: &Path, log: &str) -> Result<(), Trouble> {
        if self.rows.iter().all(|(_, bytes)| bytes.is_empty()) {
            return Ok(());
        }
        let files = Files::of(folder, log);
        make_folder(&files.folder).map_err(|error| Trouble::Files(files.folder.clone(), error))?;
        for (row, (first, bytes)) in self.rows.iter().enumerate().filter(|(_, (_, bytes))| !bytes.is_empty())
        {
            let path = files.path(u32::try_from(row).unwrap_or(u32::MAX));
            if !path.exists() {
                self.written.extend([files.folder.clone(), folder.to_owned()]);
            }
            append(&path, first.saturating_mul(HASH_BYTES), bytes)
                .map_err(|error| Trouble::Files(path.clone(), error))?;
            self.written.insert(path);
        }
        for (_, bytes) in &mut self.rows {
            *bytes = Vec::new();
        }
        Ok(())
    }

    /// Makes what was written last. Only these files: a sync of all would make everybody on the disk wait.
    pub(super) fn sync(&mut self) -> Result<(), Trouble> {
        while let Some(path) = self.written.first() {
            let synced = File::open(path).and_then(|file| file.sync_data());
            synced.map_err(|error| Trouble::Files(path.clone(), error))?;
            self.written.pop_first();
        }
        Ok(())
    }
}

/// Makes a folder that only its owner may look into.
pub(in crate::audit) fn make_folder(path: &Path) -> io::Result<()> {
    use std::os::unix::fs::DirBuilderExt;
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(path)
}

/// Writes behind what there is. A file that ends before that place has lost something.
fn append(path: &Path, at: u64, bytes: &[u8]) -> io::Result<()> {
    use std::os::unix::fs::OpenOptionsExt;
    let file = OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(path)?;
    if file.metadata()?.len() < at {
        return Err(io::Error::other(format!(
            "it ends before byte {at}, {} bytes follow",
            wide(bytes.len())
        )));
    }
    file.write_all_at(bytes, at)
}
