//! What becomes of records after they were made: who took a copy, what must not go, what may go when, who has looked.
//!
//! What always holds: only the process that writes the log decides and deletes; commands ask it ([`Wish`]). What was decided is in
//! the log, on disk, before it is answered. Decisions that later ones depend on are also in a [`register`], which nobody
//! can change unnoticed without the platform key; where it cannot be read, everything is held.
//!
//! ```text
//! register.rs   decisions, one a line, chained with a keyed hash     wishes.rs  carries out what is asked for
//! ```

pub mod register;
mod wishes;

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::archive::name::OWN_LOG;
use super::mailbox::{self, Asked};
use crate::ids::CustomerId;
pub(super) use wishes::Keeper;

/// In the log's folder.
const FOLDER_NAME: &str = "keeping";
/// In that.
const REQUESTS_NAME: &str = "requests";

/// What is asked of the process that writes the log. Times are ns since 1970.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "wish", rename_all = "snake_case", deny_unknown_fields)]
pub enum Wish {
    /// Records must not go.
    Hold {
        /// The log.
        customer: String,
        /// From this time on.
        since_ns: u64,
        /// Before this time.
        until_ns: u64,
        /// Why.
        reason: String,
        /// Who says so.
        by: String,
    },
    /// A hold ends.
    Release {
        /// The log.
        customer: String,
        /// The hold's number.
        number: u64,
        /// Why.
        reason: String,
        /// Who says so.
        by: String,
    },
}

impl Wish {
    /// The log that it concerns.
    fn customer(&self) -> &str {
        match self {
            Self::Hold { customer, .. } | Self::Release { customer, .. } => customer,
        }
    }

    /// Whether it names a log and whoever asks.
    fn check(&self) -> Result<(), String> {
        let customer = self.customer();
        if customer != OWN_LOG {
            CustomerId::parse(customer).map_err(|error| error.to_string())?;
        }
        Ok(())
    }
}

/// The folder of decisions in a log's.
#[must_use]
pub fn folder_of(directory: &Path) -> PathBuf {
    directory.join(FOLDER_NAME)
}

/// Leaves a wish for the process that writes the log in this folder.
///
/// # Errors
/// What the operating system says.
pub fn ask(directory: &Path, wish: &Wish) -> std::io::Result<Asked> {
    let folder = folder_of(directory);
    super::archive::place::make_folder(&folder)?;
    mailbox::ask(&folder.join(REQUESTS_NAME), wish)
}

#[cfg(test)]
mod tests;
