//! How long records are kept, by their class.
//!
//! What always holds: a year counts 366 days, so nothing goes earlier than the calendar says.

use std::fmt;
use std::time::Duration;

use serde::Deserialize;
use serde::de::{Deserializer, Error, Visitor};

/// A day in seconds.
const DAY_S: u64 = 86_400;
/// A longer time is written `forever`.
const DAYS_MAX: u64 = 36_600;

/// A time in whole days, or for ever.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Age(u64);

impl Age {
    /// Without end.
    pub const FOREVER: Self = Self(u64::MAX);

    /// So many years.
    #[must_use]
    pub const fn years(count: u64) -> Self {
        Self(count.saturating_mul(366))
    }

    /// So many days.
    #[must_use]
    pub const fn days(count: u64) -> Self {
        Self(count)
    }

    /// Reads `90d`, `12w`, `7y` or `forever`.
    ///
    /// # Errors
    /// A sentence.
    pub fn parse(text: &str) -> Result<Self, String> {
        if text == "forever" {
            return Ok(Self::FOREVER);
        }
        let days = text.split_at_checked(text.len().saturating_sub(1)).and_then(|(count, unit)| {
            let each = match unit {
                "d" => 1,
                "w" => 7,
                "y" => 366,
                _ => return None,
            };
            let count: u64 = count.parse().ok().filter(|_| count.bytes().all(|c| c.is_ascii_digit()))?;
            count.checked_mul(each).filter(|days| (1..=DAYS_MAX).contains(days))
        });
        days.map(Self)
            .ok_or_else(|| "it must be a time such as 90d, 12w or 7y, at most 100y, or forever".into())
    }

    /// As a duration; `None`: for ever.
    #[must_use]
    pub fn duration(self) -> Option<Duration> {
        (self != Self::FOREVER).then(|| Duration::from_secs(self.0.saturating_mul(DAY_S)))
    }
}

impl fmt::Display for Age {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            u64::MAX => f.write_str("forever"),
            days if days % 366 == 0 => write!(f, "{}y", days / 366),
            days => write!(f, "{days}d"),
        }
    }
}

impl<'de> Deserialize<'de> for Age {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_str(AgeVisitor)
    }
}

struct AgeVisitor;

impl Visitor<'_> for AgeVisitor {
    type Value = Age;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a time such as 90d or 7y")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Age, E> {
        Age::parse(text).map_err(E::custom)
    }
}

/// How long records are kept in the archive.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Retention {
    /// Executions.
    pub statement: Age,
    /// Begins and ends of sessions.
    pub session: Age,
    /// Everything else.
    pub event: Age,
}

impl Default for Retention {
    fn default() -> Self {
        Self { statement: Age::years(7), session: Age::years(2), event: Age::years(7) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_as_they_are_written_and_a_year_is_never_too_short() {
        for (text, days) in [("1d", 1), ("12w", 84), ("7y", 2_562), ("100y", 36_600)] {
            let age = Age::parse(text).unwrap();
            assert_eq!(age.duration(), Some(Duration::from_secs(days * DAY_S)));
            assert_eq!(Age::parse(&age.to_string()), Ok(age));
        }
        assert_eq!(Age::parse("forever").unwrap().duration(), None);
        assert!(Age::years(7) < Age::FOREVER && Age::years(6) < Age::years(7));
        for bad in ["", "d", "0d", "101y", "7", "-7y", "+7y", "7m", "1.5y", "é", "99999999999999999999y"] {
            assert!(Age::parse(bad).is_err(), "{bad}");
        }
    }
}
