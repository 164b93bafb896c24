//! Which records of a log are meant: by their places and by when they began; and which row groups of a file can have them.
//!
//! What always holds: a row group is passed over only when its statistics say that none of its records is meant, and never one
//! into which the text of a record goes on that may be.

use parquet::file::metadata::{ParquetMetaData, RowGroupMetaData};
use parquet::file::statistics::Statistics;

use super::super::arrow::INDEX;
use super::super::row::Column;
use super::name::Name;

/// Records of one log, or of each.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span {
    /// From this place in the log on, counted from 0.
    pub from: u64,
    /// Before this place.
    pub to: u64,
    /// That began at this time or later, in ns since 1970.
    pub since_ns: u64,
    /// That began before this time.
    pub until_ns: u64,
}

impl Span {
    /// Every record.
    pub const ALL: Self = Self { from: 0, to: u64::MAX, since_ns: 0, until_ns: u64::MAX };

    /// Whether a record with this place that began then is meant.
    #[must_use]
    pub const fn holds(&self, index: u64, began_ns: u64) -> bool {
        self.from <= index && index < self.to && self.holds_time(began_ns)
    }

    /// Whether a record that began then can be meant.
    #[must_use]
    pub const fn holds_time(&self, began_ns: u64) -> bool {
        self.since_ns <= began_ns && began_ns < self.until_ns
    }

    /// Whether a file can have records that are meant, by its name.
    #[must_use]
    pub fn meets(&self, name: &Name) -> bool {
        name.last >= self.from && name.first < self.to && name.may_hold(self.since_ns, self.until_ns)
    }

    /// The row groups of a file that can have records that are meant.
    #[must_use]
    pub fn groups(&self, metadata: &ParquetMetaData) -> Vec<usize> {
        let mut chosen = Vec::new();
        // The last place of the chosen group before.
        let mut last = None;
        for (number, group) in metadata.row_groups().iter().enumerate() {
            let places = range(group, INDEX);
            let times = range(group, Column::Time.name());
            let by_place = places.is_none_or(|(first, last)| last >= self.from && first < self.to);
            let by_time = times.is_none_or(|(first, last)| last >= self.since_ns && first < self.until_ns);
            let goes_on = last.is_some() && places.map(|(first, _)| first) == last;
            last = None;
            if (by_place && by_time) || goes_on {
                chosen.push(number);
                last = places.map(|(_, last)| last);
            }
        }
        chosen
    }
}

/// The least and the greatest number of a column; nothing where that is not known.
#[must_use]
pub fn range(group: &RowGroupMetaData, column: &str) -> Option<(u64, u64)> {
    let chunk = group.columns().iter().find(|chunk| chunk.column_path().string() == column)?;
    match chunk.statistics()? {
        Statistics::Int64(numbers) => {
            Some((numbers.min_opt()?.cast_unsigned(), numbers.max_opt()?.cast_unsigned()))
        }
        Statistics::Boolean(_)
        | Statistics::Int32(_)
        | Statistics::Int96(_)
        | Statistics::Float(_)
        | Statistics::Double(_)
        | Statistics::ByteArray(_)
        | Statistics::FixedLenByteArray(_) => None,
    }
}
