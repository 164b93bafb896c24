//! What of the log somebody should look at: daily digests and alerts.

use std::path::PathBuf;

use serde::Deserialize;

use super::hours::{Hours, Zone};

/// What a day's digest counts as worth a look, for customers that say nothing else.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Digest {
    /// Makes a digest of each customer's day in the background.
    pub enabled: bool,
    /// How often what was counted is kept through any end of the process.
    pub interval_s: u64,
    /// On whose clocks days begin and business hours are.
    pub time_zone: Zone,
    /// When use is expected; empty: always.
    pub business_hours: Vec<Hours>,
    /// A statement that reads so many rows is a bulk read.
    pub bulk_rows_statement: u64,
    /// A login that reads so many rows on a day is one, too.
    pub bulk_rows_day: u64,
}

impl Default for Digest {
    fn default() -> Self {
        Self {
            enabled: true,
            interval_s: 60,
            time_zone: Zone::default(),
            business_hours: Vec::new(),
            bulk_rows_statement: 10_000,
            bulk_rows_day: 100_000,
        }
    }
}

/// What somebody hears of at once, and where.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Alerts {
    /// Where alerts are sent: an address, or `env:NAME` or `file:PATH` of one; absent: they are counted only.
    pub url: Option<String>,
    /// What they are signed with: `env:NAME` or `file:PATH`.
    pub secret: Option<String>,
    /// Authorities (PEM) that are trusted beside the system's.
    pub root_cert: Option<PathBuf>,
    /// One attempt.
    pub timeout_ms: u64,
    /// An alert is given up after so many attempts.
    pub attempts_max: u32,
    /// Alerts that wait; further ones are counted only.
    pub queue_max: usize,
    /// Of one rule and customer so many are sent in an hour; further ones are counted, and told with the next.
    pub most_per_hour: u64,
    /// So many failed logins of a customer ...
    pub failed_logins: usize,
    /// ... in so many seconds are told.
    pub failed_logins_window_s: u64,
    /// Rules of which nothing is told nor counted.
    pub off: Vec<String>,
}

impl Default for Alerts {
    fn default() -> Self {
        Self {
            url: None,
            secret: None,
            root_cert: None,
            timeout_ms: 5_000,
            attempts_max: 50,
            queue_max: 10_000,
            most_per_hour: 60,
            failed_logins: 10,
            failed_logins_window_s: 300,
            off: Vec::new(),
        }
    }
}
