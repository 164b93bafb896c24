//! The daily digest: what a customer's log says of one day, short enough to be looked at every day.
//!
//! A thread of its own follows what is on disk, behind whoever writes. What always holds: nothing waits for it; a record is
//! counted once, on one day of the customer's own clocks, across any end of the process; memory for a customer is bounded,
//! and what there is no room to list is counted; every day has a digest, an empty one too; a digest is encrypted as the
//! records are, and unreadable when these are shredded.
//!
//! ```text
//! count.rs     what a record adds to its day    ddl.rs    which statements of a text change objects
//! store.rs     encrypted files                  known.rs  from where logins have come before
//! days.rs      what is being counted, its end   follower.rs  follows the journal · life.rs  the thread
//! ```

mod count;
mod days;
mod ddl;
pub(super) mod follower;
mod known;
pub(super) mod life;
pub mod store;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

pub use count::Finding;

/// Lines of one list; what is beyond is counted only.
pub const LISTED_MAX: usize = 200;
/// Logins of a day that are counted apart.
pub const LOGINS_MAX: usize = 500;
/// Longer names and words keep their beginning, in characters.
const WORD_CHARS_MAX: usize = 128;
/// Stands for the logins beyond [`LOGINS_MAX`].
const OTHERS: &str = "(others)";
/// In the log's folder.
const FOLDER_NAME: &str = "digest";

/// The folder of a log's digests.
#[must_use]
pub fn folder_of(directory: &Path) -> PathBuf {
    directory.join(FOLDER_NAME)
}

/// One day of one customer.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Digest {
    /// Whose; `_`: what belongs to no customer.
    pub customer: String,
    /// The day, such as `2026-11-22`, on the clocks of `time_zone`.
    pub day: String,
    /// The customer's time zone.
    pub time_zone: String,
    /// The day was over when this was made.
    pub is_over: bool,
    /// Number of the last record that is counted; 0: none was.
    pub through: u64,
    /// Records.
    pub records: u64,
    /// By login.
    pub logins: BTreeMap<String, LoginDay>,
    /// Sessions of a login from an address it never came from before.
    pub new_addresses: Section,
    /// Logins that failed.
    pub failed_logins: Section,
    /// Connections and statements that were refused or denied.
    pub refused: Section,
    /// Reads of many rows, at once or over the day.
    pub bulk_reads: Section,
    /// Statements that create, change or drop objects or rights.
    pub ddl: Section,
    /// Use outside the customer's business hours.
    pub off_hours: Section,
    /// Reads and exports of the log itself.
    pub log_reads: Section,
    /// What operators did, and changes of the configuration.
    pub administration: Section,
    /// What the log says of itself: gaps, and starts after no clean end.
    pub log: Section,
}

/// What a login did on a day.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LoginDay {
    /// Sessions that began.
    pub sessions: u64,
    /// Executions.
    pub statements: u64,
    /// Those that failed.
    pub errors: u64,
    /// Rows that were read.
    pub rows_read: u64,
    /// Rows that were changed.
    pub rows_changed: u64,
    /// Sessions and executions outside business hours.
    pub off_hours: u64,
    /// The first and the last time it was seen, RFC 3339 in UTC.
    pub first: String,
    /// See `first`.
    pub last: String,
}

/// One thing to look at: how often, and where.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Section {
    /// How often it happened.
    pub count: u64,
    /// How many of these no line says.
    pub unlisted: u64,
    /// Those that are alike in one line, at most [`LISTED_MAX`].
    pub lines: Vec<Line>,
}

/// What happened alike.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Line {
    /// The login, as proven; of a failed one as given.
    pub login: String,
    /// Where from.
    pub address: String,
    /// What, in words of the program's own or of SQL's; never a statement's text.
    pub what: String,
    /// How often.
    pub count: u64,
    /// Rows.
    pub rows: u64,
    /// Number of the first record.
    pub record: u64,
    /// The first and the last time, RFC 3339 in UTC.
    pub first: String,
    /// See `first`.
    pub last: String,
}

impl Digest {
    /// Of a day on which nothing happened yet.
    #[must_use]
    pub fn new(customer: &str, day: &str, time_zone: &str) -> Self {
        let (customer, day, time_zone) = (customer.to_owned(), day.to_owned(), time_zone.to_owned());
        Self { customer, day, time_zone, ..Self::default() }
    }

    /// The lists with their names, in the order in which they are shown.
    #[must_use]
    pub const fn sections(&self) -> [(&'static str, &Section); 9] {
        [
            ("new addresses", &self.new_addresses),
            ("failed logins", &self.failed_logins),
            ("refused or denied", &self.refused),
            ("bulk reads", &self.bulk_reads),
            ("DDL and rights", &self.ddl),
            ("off-hours use", &self.off_hours),
            ("reads of the log", &self.log_reads),
            ("administration", &self.administration),
            ("the log itself", &self.log),
        ]
    }

    fn login(&mut self, name: &str) -> &mut LoginDay {
        let has_room = self.logins.len() < LOGINS_MAX || self.logins.contains_key(name);
        self.logins.entry(if has_room { name.to_owned() } else { OTHERS.to_owned() }).or_default()
    }
}

impl Section {
    /// One more; `true`: there was none like it.
    fn add(&mut self, line: Line) -> bool {
        self.count = self.count.saturating_add(1);
        let alike = |known: &&mut Line| {
            (&known.login, &known.address, &known.what) == (&line.login, &line.address, &line.what)
        };
        if let Some(known) = self.lines.iter_mut().find(alike) {
            known.count = known.count.saturating_add(1);
            known.rows = known.rows.saturating_add(line.rows);
            known.last = line.last;
            return false;
        }
        if self.lines.len() < LISTED_MAX {
            self.lines.push(line);
        } else {
            self.unlisted = self.unlisted.saturating_add(1);
        }
        true
    }
}

/// As much of a name as is kept.
fn word(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).chars().take(WORD_CHARS_MAX).collect()
}

#[cfg(test)]
mod tests;
