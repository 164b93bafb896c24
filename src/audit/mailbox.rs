//! Requests as files: a command leaves one, the process that writes the log carries it out and answers.
//!
//! `NAME.request` asks, `NAME.done` or `NAME.failed` answers. What always holds: a request is there whole or not at all; one
//! that was begun and not answered is found again by the next process.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::gate::now_ns;

/// A longer file is no request.
const REQUEST_BYTES_MAX: u64 = 64 << 10;

/// A request that was made.
#[derive(Debug)]
pub struct Asked {
    base: PathBuf,
}

/// Leaves a request in a folder, which is made if it is not there; the one above it must be.
///
/// # Errors
/// What the operating system says.
pub fn ask<T: Serialize>(folder: &Path, request: &T) -> io::Result<Asked> {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    match DirBuilder::new().mode(0o700).create(folder) {
        Ok(()) => File::open(folder.parent().unwrap_or(folder))?.sync_all()?,
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
        Err(error) => return Err(error),
    }
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    let base = folder.join(format!("{}-{}-{number}", now_ns(), std::process::id()));
    let unfinished = base.with_extension("new");
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&unfinished)?;
    file.write_all(serde_json::to_string(request)?.as_bytes())?;
    file.sync_all()?;
    fs::rename(&unfinished, base.with_extension("request"))?;
    File::open(folder)?.sync_all()?;
    Ok(Asked { base })
}

impl Asked {
    /// What came of it, once; `None`: nothing yet.
    ///
    /// # Errors
    /// What the operating system says.
    pub fn answer(&self) -> io::Result<Option<Result<String, String>>> {
        for (ending, is_good) in [("done", true), ("failed", false)] {
            let path = self.base.with_extension(ending);
            match fs::read_to_string(&path) {
                Ok(text) => {
                    fs::remove_file(&path)?;
                    return Ok(Some(if is_good { Ok(text) } else { Err(text) }));
                }
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
        Ok(None)
    }

    /// Takes the request back, if nobody has answered it.
    pub fn withdraw(self) {
        // What is gone was taken up.
        let _ = fs::remove_file(self.base.with_extension("request"));
    }
}

/// The requests in a folder, the oldest first; none where there is no folder.
pub(super) fn waiting(folder: &Path) -> io::Result<Vec<PathBuf>> {
    left(folder, "request")
}

/// The files in a folder whose name has this ending, in their order.
pub(super) fn left(folder: &Path, with: &str) -> io::Result<Vec<PathBuf>> {
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let mut paths = Vec::new();
    for entry in entries {
        paths
            .extend(Some(entry?.path()).filter(|path| path.extension().is_some_and(|ending| ending == with)));
    }
    paths.sort_unstable();
    Ok(paths)
}

/// Reads a request.
pub(super) fn read<T: DeserializeOwned>(path: &Path) -> Result<T, String> {
    let mut text = Vec::new();
    let file = File::open(path).map_err(|error| error.to_string())?;
    file.take(REQUEST_BYTES_MAX).read_to_end(&mut text).map_err(|error| error.to_string())?;
    serde_json::from_slice(&text).map_err(|error| format!("this is no request: {error}"))
}

/// Answers a request, which is gone then.
pub(super) fn reply(request: &Path, answer: &Result<String, String>) -> io::Result<()> {
    let (ending, text) = match answer {
        Ok(text) => ("done", text),
        Err(text) => ("failed", text),
    };
    let unfinished = request.with_extension("answer");
    fs::write(&unfinished, text)?;
    fs::rename(&unfinished, request.with_extension(ending))?;
    fs::remove_file(request)
}
