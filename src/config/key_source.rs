//! Where secret bytes come from that are not written into the configuration.

use std::path::PathBuf;

use serde::Deserialize;

/// Where 32 secret bytes come from: one of the three.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct KeySource {
    /// A file (0600): 64 hex digits, base64, or the 32 bytes.
    pub file: Option<PathBuf>,
    /// An environment variable: 64 hex digits or base64.
    pub env: Option<String>,
    /// A command and its arguments; its standard output is the key, as hex digits or base64.
    pub command: Vec<String>,
}

impl KeySource {
    /// Whether any is named.
    #[must_use]
    pub fn is_set(&self) -> bool {
        self.count() > 0
    }

    /// How many are named.
    pub(super) fn count(&self) -> usize {
        [self.file.is_some(), self.env.is_some(), !self.command.is_empty()].iter().filter(|set| **set).count()
    }

    /// Whether it is a file that is not there.
    #[must_use]
    pub fn is_file_missing(&self) -> bool {
        self.file.as_ref().is_some_and(|file| matches!(file.try_exists(), Ok(false)))
    }
}
