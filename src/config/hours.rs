//! When people work: a time zone, and the hours of the week in which use is expected.

use std::fmt;

use chrono::{DateTime, Datelike, NaiveDate, Timelike};
use chrono_tz::Tz;
use serde::Deserialize;

/// Minutes of a day.
const DAY_MINUTES: u32 = 24 * 60;
/// As they are written, Monday first.
const DAYS: [&str; 7] = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"];

/// A time zone by its name, such as `America/New_York`, with its summer times.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct Zone(Tz);

impl Default for Zone {
    fn default() -> Self {
        Self(Tz::UTC)
    }
}

impl TryFrom<String> for Zone {
    type Error = String;

    fn try_from(name: String) -> Result<Self, String> {
        let told = |_| format!("\"{name}\" is no time zone; one is written like Europe/Paris or UTC");
        name.parse().map(Self).map_err(told)
    }
}

impl fmt::Display for Zone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.name())
    }
}

/// A moment as clocks of a zone show it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Local {
    /// The date.
    pub date: NaiveDate,
    /// Minutes since midnight.
    minute: u32,
}

impl Zone {
    /// What clocks show at a time in ns since 1970.
    #[must_use]
    pub fn local(self, time_ns: u64) -> Local {
        let time = DateTime::from_timestamp_nanos(i64::try_from(time_ns).unwrap_or(i64::MAX));
        let local = time.with_timezone(&self.0).naive_local();
        let minute = local.hour().saturating_mul(60).saturating_add(local.minute());
        Local { date: local.date(), minute }
    }
}

/// Hours of some days of the week: `mon-fri 08:00-18:30`, `sat,sun 10:00-14:00`. The end is not one of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct Hours {
    /// Monday first.
    days: [bool; 7],
    from: u32,
    to: u32,
}

impl TryFrom<String> for Hours {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let told =
            "hours are written like \"mon-fri 08:00-18:00\" or \"sat,sun 10:00-14:00\"; they end at 24:00";
        Self::parse(&text).ok_or_else(|| told.to_owned())
    }
}

impl Hours {
    fn parse(text: &str) -> Option<Self> {
        let (list, times) = text.split_once(' ')?;
        let mut days = [false; 7];
        for part in list.split(',') {
            let (first, last) = part.split_once('-').unwrap_or((part, part));
            let (first, last) = (day(first)?, day(last)?);
            if first > last {
                return None;
            }
            days.iter_mut().take(last.saturating_add(1)).skip(first).for_each(|day| *day = true);
        }
        let (from, to) = times.split_once('-')?;
        let (from, to) = (minute(from)?, minute(to)?);
        (from < to).then_some(Self { days, from, to })
    }

    /// Whether a moment lies in them.
    #[must_use]
    pub fn hold(&self, at: Local) -> bool {
        let day = usize::try_from(at.date.weekday().num_days_from_monday()).unwrap_or(0);
        self.days.get(day).copied().unwrap_or(false) && (self.from..self.to).contains(&at.minute)
    }
}

fn day(name: &str) -> Option<usize> {
    DAYS.iter().position(|day| *day == name)
}

fn minute(text: &str) -> Option<u32> {
    let (hours, minutes) = text.split_once(':')?;
    let number = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok())?;
    let (hours, minutes): (u32, u32) = (number(hours)?, number(minutes)?);
    let minute = hours.checked_mul(60)?.checked_add(minutes)?;
    (text.len() == 5 && minutes < 60 && minute <= DAY_MINUTES).then_some(minute)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hours(text: &str) -> Result<Hours, String> {
        Hours::try_from(text.to_owned())
    }

    fn at(zone: &str, text: &str) -> Local {
        let time = DateTime::parse_from_rfc3339(text).unwrap().timestamp_nanos_opt().unwrap();
        Zone::try_from(zone.to_owned()).unwrap().local(u64::try_from(time).unwrap())
    }

    #[test]
    fn hours_are_those_of_the_customers_clocks_summer_and_winter() {
        let week = hours("mon-fri 08:00-18:00").unwrap();
        // 2026-11-20 is a Friday: New York is five hours behind UTC then, and four in July.
        for (time, is_open) in [
            ("2026-11-20T12:59:59Z", false),
            ("2026-11-20T13:00:00Z", true),
            ("2026-11-20T22:59:59Z", true),
            ("2026-11-20T23:00:00Z", false),
            ("2026-11-21T15:00:00Z", false),
            ("2026-07-17T12:00:00Z", true),
            ("2026-07-17T22:00:00Z", false),
        ] {
            assert_eq!(week.hold(at("America/New_York", time)), is_open, "{time}");
        }
        assert_eq!(at("Pacific/Auckland", "2026-11-20T12:00:00Z").date.to_string(), "2026-11-21");
        let sunday = hours("sat,sun 10:00-24:00").unwrap();
        assert!(sunday.hold(at("UTC", "2026-11-22T23:59:59Z")));
        assert!(!sunday.hold(at("UTC", "2026-11-23T00:00:00Z")));
    }

    #[test]
    fn what_is_no_time_is_refused() {
        for bad in ["", "mon", "mon 8:00-18:00", "mon 18:00-08:00", "mon 08:00-24:01", "fri-mon 08:00-09:00"]
        {
            assert!(hours(bad).is_err(), "{bad}");
        }
        for bad in ["mon 08:60-09:00", "xyz 08:00-09:00", "mon 08:00-08:00", "mon +8:00-09:00", "mon 08:00"] {
            assert!(hours(bad).is_err(), "{bad}");
        }
        assert!(Zone::try_from("Mars/Olympus".to_owned()).is_err());
    }
}
