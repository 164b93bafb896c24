//! Zones by what they are called.

use std::str::FromStr as _;

use chrono::offset::{LocalResult, Offset as _, TimeZone as _};
use chrono::{Days, NaiveDateTime, TimeDelta};
use chrono_tz::{TZ_VARIANTS, Tz};

/// Abbreviations that PostgreSQL knows without being told, and that mean the same all the time; hours east of Greenwich.
const ABBREVIATIONS: [(&str, i64); 31] = [
    ("z", 0),
    ("zulu", 0),
    ("ut", 0),
    ("utc", 0),
    ("uct", 0),
    ("gmt", 0),
    ("wet", 0),
    ("bst", 1),
    ("cet", 1),
    ("cest", 2),
    ("mez", 1),
    ("mesz", 2),
    ("eet", 2),
    ("eest", 3),
    ("est", -5),
    ("edt", -4),
    ("cst", -6),
    ("cdt", -5),
    ("mst", -7),
    ("mdt", -6),
    ("pst", -8),
    ("pdt", -7),
    ("akst", -9),
    ("akdt", -8),
    ("hst", -10),
    ("jst", 9),
    ("kst", 9),
    ("aest", 10),
    ("aedt", 11),
    ("nzst", 12),
    ("nzdt", 13),
];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Zone {
    /// Seconds east of Greenwich.
    Offset(i64),
    Named(Tz),
}

/// A zone by its abbreviation, in small letters.
pub(super) fn abbreviated(word: &str) -> Option<Zone> {
    let found = ABBREVIATIONS.iter().find(|(name, _)| *name == word);
    found.map(|(_, hours)| Zone::Offset(hours * 3_600))
}

/// A zone by its full name, whatever its letters, or as the engine calls UTC.
pub(super) fn called(name: &str) -> Option<Zone> {
    match name {
        "UTC" | "+00:00" | "+00" => Some(Zone::Offset(0)),
        _ => {
            let alike = || TZ_VARIANTS.iter().find(|zone| zone.name().eq_ignore_ascii_case(name)).copied();
            Tz::from_str(name).ok().or_else(alike).map(Zone::Named)
        }
    }
}

impl Zone {
    /// What is UTC when the zone's clock shows this.
    pub(super) fn utc(self, clock: NaiveDateTime) -> NaiveDateTime {
        let seconds = match self {
            Self::Offset(seconds) => seconds,
            Self::Named(zone) => {
                let offset = match zone.offset_from_local_datetime(&clock) {
                    LocalResult::Single(offset) => offset,
                    // Of an hour that comes twice the second is meant; where one is left out, what held before goes on.
                    LocalResult::Ambiguous(_, later) => later,
                    LocalResult::None => {
                        let before = clock.checked_sub_days(Days::new(1)).unwrap_or(clock);
                        zone.offset_from_utc_datetime(&before)
                    }
                };
                i64::from(offset.fix().local_minus_utc())
            }
        };
        clock.checked_sub_signed(TimeDelta::seconds(seconds)).unwrap_or(clock)
    }
}
