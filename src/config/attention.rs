//! What of the log somebody should look at: daily digests.

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
