//! Why the log cannot be opened, in words for the operator.

use std::fmt;
use std::path::PathBuf;

use super::keys::KeyError;

/// Why the log cannot be opened.
#[derive(Debug)]
pub enum OpenError {
    /// A setting makes no sense.
    Setting(&'static str),
    /// Another process writes there.
    Locked(PathBuf),
    /// The folder belongs to somebody else, and others may write there.
    Permissions(PathBuf),
    /// Records that had been on disk cannot be read; nothing was changed.
    Damaged {
        /// The segment.
        file: PathBuf,
        /// Where in it, in bytes.
        offset: u64,
        /// Number of the first record that cannot be read.
        record: u64,
        /// What was found.
        what: &'static str,
    },
    /// The keys cannot be used.
    Keys(KeyError),
    /// The operating system refused.
    Io(PathBuf, std::io::Error),
}

impl fmt::Display for OpenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Setting(rule) => write!(f, "audit: {rule}"),
            Self::Locked(path) => {
                write!(f, "audit log {} is being written by another process", path.display())
            }
            Self::Permissions(path) => {
                write!(f, "audit log {} belongs to another user and others may write to it", path.display())
            }
            Self::Damaged { file, offset, record, what } => {
                let file = file.display();
                write!(
                    f,
                    "audit log is damaged: {file} at byte {offset}, record {record}: {what}; keep the folder \
                     as evidence, name another audit.directory and start again"
                )
            }
            Self::Keys(error) => write!(f, "audit log: {error}"),
            Self::Io(path, error) => write!(f, "audit log {}: {error}", path.display()),
        }
    }
}

impl std::error::Error for OpenError {}
