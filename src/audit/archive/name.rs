//! Names of the archive's files, and which files to read: decided from names alone.
//!
//! What always holds: a covering reads each record that any of the files has exactly once, whatever files there are:
//! repeated ones, some that were merged into another and not deleted yet, some that overlap in part.
//!
//! A name is `<log>/<yyyy>/<mm>/<dd>/<first>-<last>.parquet` with the first and the last place in the log, or
//! `<first>-<last>~<yyyymmdd>.parquet` when a record in it began on an earlier day. The day is that on which the newest of its
//! records ended, in UTC. `.without-<class>-<class>` before the ending says which classes it had, and has no more.

use std::fmt;

use crate::ids::CustomerId;

/// The log of what belongs to no customer.
pub const OWN_LOG: &str = "_";
/// What names end with.
const ENDING: &str = ".parquet";
/// And before that, where classes went.
const WITHOUT: &str = ".without";
/// ns in a day.
const DAY_NS: u64 = 86_400_000_000_000;

/// A day in UTC, counted from 1970-01-01.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Day(u32);

impl Day {
    /// The last day that a name can hold: 9999-12-31.
    const MAX: Self = Self(2_932_896);

    /// The day of a time in ns since 1970.
    #[must_use]
    pub fn of(time_ns: u64) -> Self {
        Self(u32::try_from(time_ns / DAY_NS).unwrap_or(u32::MAX)).min(Self::MAX)
    }

    /// When it begins, in ns since 1970.
    #[must_use]
    pub fn begin_ns(self) -> u64 {
        u64::from(self.0).saturating_mul(DAY_NS)
    }

    /// When the next one begins, in ns since 1970.
    #[must_use]
    pub fn end_ns(self) -> u64 {
        self.begin_ns().saturating_add(DAY_NS)
    }

    fn date(self) -> (i32, u8, u8) {
        let epoch = time::OffsetDateTime::UNIX_EPOCH.date();
        let date = epoch.checked_add(time::Duration::days(i64::from(self.0))).unwrap_or(epoch);
        (date.year(), u8::from(date.month()), date.day())
    }

    fn from_date(year: &str, month: &str, day: &str) -> Option<Self> {
        let digits = |text: &str, length| text.len() == length && text.bytes().all(|c| c.is_ascii_digit());
        if !(digits(year, 4) && digits(month, 2) && digits(day, 2)) {
            return None;
        }
        let month = time::Month::try_from(month.parse::<u8>().ok()?).ok()?;
        let date = time::Date::from_calendar_date(year.parse().ok()?, month, day.parse().ok()?).ok()?;
        let days = (date - time::OffsetDateTime::UNIX_EPOCH.date()).whole_days();
        u32::try_from(days).ok().map(Self)
    }
}

/// Classes of records as their ages have them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Class {
    /// Executions, and what a `COPY` moved.
    Statement,
    /// Begins and ends of sessions.
    Session,
    /// Everything else.
    Event,
}

impl Class {
    /// Every class.
    pub const ALL: [Self; 3] = [Self::Statement, Self::Session, Self::Event];

    /// Its name, in the configuration, in names of files and in what is recorded.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Statement => "statement",
            Self::Session => "session",
            Self::Event => "event",
        }
    }

    /// The class of a record, by the record's own word.
    #[must_use]
    pub const fn of_record(class: &[u8]) -> Self {
        match class {
            b"statement" | b"copy" => Self::Statement,
            b"session" => Self::Session,
            _ => Self::Event,
        }
    }

    const fn bit(self) -> u8 {
        match self {
            Self::Statement => 1,
            Self::Session => 2,
            Self::Event => 4,
        }
    }
}

/// Classes whose records a file had, and has no more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Without(u8);

impl Without {
    /// These, and one more.
    #[must_use]
    pub const fn and(self, class: Class) -> Self {
        Self(self.0 | class.bit())
    }

    /// Whether it is one of them.
    #[must_use]
    pub const fn has(self, class: Class) -> bool {
        self.0 & class.bit() != 0
    }

    /// Each of them.
    pub fn classes(self) -> impl Iterator<Item = Class> {
        Class::ALL.into_iter().filter(move |class| self.has(*class))
    }

    fn parse(text: &str) -> Option<Self> {
        let class = |word| Class::ALL.into_iter().find(|class| class.name() == word);
        text.split('-').try_fold(Self::default(), |found, word| Some(found.and(class(word)?)))
    }
}

/// What a file's name says.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Name {
    /// The log: a customer's id, or [`OWN_LOG`].
    pub log: String,
    /// The day on which the newest of its records ended.
    pub day: Day,
    /// Place of its first record in the log.
    pub first: u64,
    /// Place of its last record.
    pub last: u64,
    /// The day on which its earliest record began; not after `day`.
    pub earliest: Day,
    /// Classes whose records went by their age. What is said of first, last and days is from before.
    pub without: Without,
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (year, month, day) = self.day.date();
        let Self { log, first, last, .. } = self;
        write!(f, "{log}/{year:04}/{month:02}/{day:02}/{first:012}-{last:012}")?;
        if self.earliest < self.day {
            let (year, month, day) = self.earliest.date();
            write!(f, "~{year:04}{month:02}{day:02}")?;
        }
        if self.without != Without::default() {
            f.write_str(WITHOUT)?;
            self.without.classes().try_for_each(|class| write!(f, "-{}", class.name()))?;
        }
        f.write_str(ENDING)
    }
}

impl Name {
    /// Reads a name; `None` for what this program would not write.
    #[must_use]
    pub fn parse(path: &str) -> Option<Self> {
        let mut parts = path.split('/');
        let [log, year, month, day, file] = std::array::from_fn(|_| parts.next().unwrap_or_default());
        let range = file.strip_suffix(ENDING)?;
        let (range, without) = match range.split_once(WITHOUT) {
            None => (range, Without::default()),
            Some((range, classes)) => (range, Without::parse(classes.strip_prefix('-')?)?),
        };
        let (range, earliest) =
            range.split_once('~').map_or((range, None), |(range, day)| (range, Some(day)));
        let (first, last) = range.split_once('-')?;
        let day = Day::from_date(year, month, day)?;
        let earliest = match earliest {
            None => day,
            Some(text) => Day::from_date(text.get(..4)?, text.get(4..6)?, text.get(6..)?)?,
        };
        let (first, last) = (first.parse().ok()?, last.parse().ok()?);
        let name = Self { log: log.to_owned(), day, first, last, earliest, without };
        let is_log = log == OWN_LOG || CustomerId::parse(log).is_ok();
        // What does not come out again as it was read, such as a longer number of zeros, is not ours.
        (is_log && name.first <= name.last && name.to_string() == path).then_some(name)
    }

    /// Whether a record that began in this time (from, before; ns since 1970) can be in the file.
    #[must_use]
    pub fn may_hold(&self, since_ns: u64, until_ns: u64) -> bool {
        self.day.end_ns() > since_ns && self.earliest.begin_ns() < until_ns
    }

    /// How many records it has, or had.
    #[must_use]
    pub const fn records(&self) -> u64 {
        self.last.saturating_sub(self.first).saturating_add(1)
    }
}

/// A file to read, and from where on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Piece<'a> {
    /// The file.
    pub name: &'a Name,
    /// Records before this place are in the pieces before.
    pub from: u64,
}

/// Which files of one log to read, in the log's order.
#[must_use]
pub fn covering<'a>(names: impl IntoIterator<Item = &'a Name>) -> Vec<Piece<'a>> {
    let mut names: Vec<_> = names.into_iter().collect();
    // Of those with one beginning the longest first; of equal ones the same each time.
    names.sort_unstable_by(|a, b| {
        (a.first, b.last, a.day, a.earliest, a.without).cmp(&(b.first, a.last, b.day, b.earliest, b.without))
    });
    let mut pieces: Vec<Piece<'a>> = Vec::new();
    let mut rest = names.into_iter().peekable();
    let mut next = 0_u64;
    while let Some(begin) = rest.peek() {
        next = next.max(begin.first);
        let mut best: Option<&Name> = None;
        while let Some(name) = rest.next_if(|name| name.first <= next) {
            if name.last >= next && best.is_none_or(|best| name.last > best.last) {
                best = Some(name);
            }
        }
        let Some(name) = best else { continue };
        pieces.push(Piece { name, from: next });
        match name.last.checked_add(1) {
            Some(after) => next = after,
            None => break,
        }
    }
    pieces
}

/// The places of one log that none of the files has, before the last of them: first and last of each gap.
#[must_use]
pub fn gaps(pieces: &[Piece<'_>]) -> Vec<(u64, u64)> {
    let mut gaps = Vec::new();
    let mut next = 0_u64;
    for piece in pieces {
        if piece.from > next {
            gaps.push((next, piece.from.saturating_sub(1)));
        }
        next = piece.name.last.saturating_add(1);
    }
    gaps
}

/// The files whose every record is in one other file: what is left behind when a merge is interrupted.
#[must_use]
pub fn needless(names: &[Name]) -> Vec<&Name> {
    let is_in = |name: &Name, other: &Name| {
        other.first <= name.first && name.last <= other.last && other.records() > name.records()
    };
    names.iter().filter(|name| names.iter().any(|other| is_in(name, other))).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    fn name(first: u64, last: u64) -> Name {
        let day = Day::of(1_772_323_200_000_000_000);
        Name { log: "one_spa".to_owned(), day, first, last, earliest: day, without: Without::default() }
    }

    #[test]
    fn a_name_says_log_day_and_places() {
        let one = name(0, 41);
        assert_eq!(one.to_string(), "one_spa/2026/03/01/000000000000-000000000041.parquet");
        let late = Name { earliest: Day::of(1_772_323_199_000_000_000), ..name(5, 5) };
        assert_eq!(late.to_string(), "one_spa/2026/03/01/000000000005-000000000005~20260228.parquet");
        let thin =
            Name { without: Without::default().and(Class::Event).and(Class::Statement), ..late.clone() };
        let ending = "000000000005-000000000005~20260228.without-statement-event.parquet";
        assert!(thin.to_string().ends_with(ending), "{thin}");
        for name in [one, late, thin, Name { log: OWN_LOG.to_owned(), ..name(u64::MAX - 1, u64::MAX) }] {
            assert_eq!(Name::parse(&name.to_string()), Some(name));
        }
    }

    #[test]
    fn what_is_not_a_name_is_none() {
        for bad in [
            "",
            "one_spa/2026/03/01/000000000000-000000000041.parquet.tmp",
            "one_spa/2026/02/30/000000000000-000000000041.parquet",
            "one_spa/2026/3/1/000000000000-000000000041.parquet",
            "one_spa/2026/03/01/0-41.parquet",
            "one_spa/2026/03/01/000000000042-000000000041.parquet",
            "one_spa/2026/03/01/+00000000000-000000000041.parquet",
            "one_spa/2026/03/01/000000000000-000000000041~20260301.parquet",
            "one_spa/2026/03/01/000000000000-000000000041~20260302.parquet",
            "../2026/03/01/000000000000-000000000041.parquet",
            "One/2026/03/01/000000000000-000000000041.parquet",
            "a/one_spa/2026/03/01/000000000000-000000000041.parquet",
            "one_spa/2026/03/01/000000000000-000000000041~é0260228.parquet",
            "one_spa/1969/12/31/000000000000-000000000041.parquet",
            "one_spa/2026/03/01/000000000000-000000000041.without.parquet",
            "one_spa/2026/03/01/000000000000-000000000041.without-.parquet",
            "one_spa/2026/03/01/000000000000-000000000041.without-event-statement.parquet",
            "one_spa/2026/03/01/000000000000-000000000041.without-copy.parquet",
        ] {
            assert_eq!(Name::parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn a_file_is_passed_over_only_when_none_of_its_records_can_be_meant() {
        let day = name(0, 0).day;
        let late = Name { earliest: Day::of(day.begin_ns() - 1), ..name(0, 0) };
        assert!(late.may_hold(0, u64::MAX));
        assert!(late.may_hold(day.begin_ns() - DAY_NS, day.begin_ns() - DAY_NS + 1));
        assert!(!late.may_hold(0, day.begin_ns() - DAY_NS));
        assert!(
            name(0, 0).may_hold(day.end_ns() - 1, u64::MAX) && !name(0, 0).may_hold(day.end_ns(), u64::MAX)
        );
        assert!(!name(0, 0).may_hold(0, day.begin_ns()));
    }

    proptest! {
        #[test]
        fn any_day_is_written_and_read(time_ns: u64) {
            let day = Day::of(time_ns);
            let name = Name { day, earliest: day, ..name(1, 2) };
            prop_assert_eq!(Name::parse(&name.to_string()), Some(name));
            prop_assert!(day.begin_ns() <= time_ns && time_ns < day.end_ns());
        }

        #[test]
        fn any_text_is_a_name_or_is_not(text: String, part in "[a-z_/0-9~.-]{0,60}") {
            for text in [text, part] {
                prop_assert!(Name::parse(&text).is_none_or(|name| name.to_string() == text));
            }
        }

        #[test]
        fn a_covering_reads_each_record_once(ranges in prop::collection::vec((0_u64..40, 0_u64..12), 0..12)) {
            let names: Vec<_> = ranges.iter().map(|(first, more)| name(*first, first + more)).collect();
            let mut wanted = BTreeMap::new();
            for name in &names {
                wanted.extend((name.first..=name.last).map(|place| (place, 1)));
            }
            let mut read = BTreeMap::new();
            let pieces = covering(&names);
            for piece in &pieces {
                prop_assert!(piece.name.first <= piece.from && piece.from <= piece.name.last);
                for place in piece.from..=piece.name.last {
                    *read.entry(place).or_insert(0) += 1;
                }
            }
            prop_assert_eq!(&read, &wanted);
            let last = wanted.keys().next_back().copied().unwrap_or(0);
            let missing: Vec<_> = gaps(&pieces).into_iter().flat_map(|(first, last)| first..=last).collect();
            let expected: Vec<_> = (0..last).filter(|place| !wanted.contains_key(place)).collect();
            prop_assert_eq!(missing, expected);
        }

        #[test]
        fn without_the_needless_files_nothing_is_missing(
            ranges in prop::collection::vec((0_u64..20, 0_u64..12), 0..12)
        ) {
            let names: Vec<_> = ranges.iter().map(|(first, more)| name(*first, first + more)).collect();
            let places = |names: &[&Name]| -> Vec<u64> {
                let mut places: Vec<_> = names.iter().flat_map(|name| name.first..=name.last).collect();
                places.sort_unstable();
                places.dedup();
                places
            };
            let needless = needless(&names);
            let kept: Vec<_> = names.iter().filter(|name| !needless.contains(name)).collect();
            prop_assert_eq!(places(&kept), places(&names.iter().collect::<Vec<_>>()));
        }
    }
}
