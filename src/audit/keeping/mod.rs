//! What becomes of records after they were made: who took a copy, what must not go, what may go when, who has looked.
//!
//! What always holds: only the process that writes the log decides and deletes; commands ask it ([`Wish`]). What was decided is in
//! the log, on disk, before it is answered. Decisions that later ones depend on are also in a [`register`], which nobody
//! can change unnoticed without the platform key; where it cannot be read, everything is held.
//!
//! ```text
//! register.rs   decisions, one a line, chained with a keyed hash     wishes.rs  carries out what is asked for
//! retention.rs  what is older than it is kept goes
//! review.rs     who has looked, and where somebody should have
//! ```

pub mod register;
pub mod retention;
pub mod review;
mod wishes;

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::archive::name::OWN_LOG;
use super::mailbox::{self, Asked};
use crate::config::Retention;
use crate::customers::Catalogue;
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
    /// Somebody has looked through a log.
    Review {
        /// The log.
        customer: String,
        /// From this time on; by default from where the last review ended.
        since_ns: Option<u64>,
        /// Up to this time.
        until_ns: u64,
        /// Who looked.
        by: String,
        /// Who says so.
        user: String,
        /// What there is to say.
        note: String,
    },
    /// Another key signs from now on.
    RotateSigner {
        /// Why.
        reason: String,
        /// Who says so.
        by: String,
    },
    /// What is older than it is kept goes now.
    Retention {},
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
            Self::Hold { customer, .. } | Self::Review { customer, .. } | Self::Release { customer, .. } => {
                customer
            }
            Self::Retention {} | Self::RotateSigner { .. } => OWN_LOG,
        }
    }

    /// Whether it names a log and whoever asks.
    pub(super) fn check(&self) -> Result<(), String> {
        let customer = self.customer();
        if customer != OWN_LOG {
            CustomerId::parse(customer).map_err(|error| error.to_string())?;
        }
        Ok(())
    }
}

/// What holds for one log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Policy {
    /// How long its records are kept.
    pub retention: Retention,
    /// How often somebody has to look; `None`: nobody asks.
    pub review_every: Option<Duration>,
}

/// Says what holds for each log at this moment.
pub type Policies = Box<dyn Fn() -> BTreeMap<String, Policy> + Send + Sync>;

/// What was said of that, once it was.
#[derive(Default)]
pub(super) struct Rules(OnceLock<Policies>);

impl Rules {
    /// Sets it; the first word stays.
    pub(super) fn set(&self, policies: Policies) {
        if self.0.set(policies).is_err() {
            tracing::error!("what holds for the audit logs was said twice");
        }
    }

    /// What holds now; `None`: nobody has said so yet.
    fn get(&self) -> Option<BTreeMap<String, Policy>> {
        self.0.get().map(|policies| policies())
    }
}

impl fmt::Debug for Rules {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Rules").field(&self.0.get().is_some()).finish()
    }
}

/// What holds for each log: the customers', and the vault's own.
#[must_use]
pub fn policies(catalogue: &Catalogue, default: Retention) -> BTreeMap<String, Policy> {
    let of = |customer: &crate::customers::Customer| Policy {
        retention: customer.retention(default),
        review_every: customer.review_interval(),
    };
    let customers = catalogue.customers.iter();
    let mut policies: BTreeMap<String, Policy> =
        customers.map(|(id, customer)| (id.as_str().to_owned(), of(customer))).collect();
    policies.insert(OWN_LOG.to_owned(), Policy { retention: default, review_every: None });
    policies
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
