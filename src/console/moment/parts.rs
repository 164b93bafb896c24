//! Year, month, day, clock and zone of a text.
//!
//! What always holds: each part is there once at most; what is not understood is refused.

use chrono::{DateTime, Days, NaiveDate, NaiveDateTime, NaiveTime, TimeDelta};

use super::fields::{Field, MONTHS, WEEKDAYS, place};
use super::zones::{Zone, abbreviated, called};
use super::{Moment, Tried, Wrong};
use crate::telemetry::wall_clock;

/// The furthest that a zone is from UTC, in seconds.
const OFFSET_MAX: i64 = 16 * 3_600;

/// What was found in a text so far.
#[derive(Debug, Default)]
pub(super) struct Parts {
    /// Year, month and day in one number; the year has this many digits.
    date: Option<((usize, u32), u32, u32)>,
    /// A month by its name, and the numbers around it, with how many digits they have.
    month: Option<u32>,
    numbers: Vec<(usize, u32)>,
    /// A day by what it is today.
    day: Option<NaiveDate>,
    now: Option<NaiveDateTime>,
    /// Seconds since midnight, and ns.
    time: Option<(u32, u32)>,
    /// Nothing but a clock may come next.
    awaits_clock: bool,
    zone: Option<Zone>,
    is_afternoon: Option<bool>,
    is_before_christ: Option<bool>,
    has_weekday: bool,
}

/// A number; none is 0.
fn number(digits: &str) -> Tried<u32> {
    if !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(Wrong::Syntax);
    }
    if digits.is_empty() { Ok(0) } else { digits.parse().map_err(|_| Wrong::Range) }
}

/// Puts a part in its place, which must be free.
fn put<T>(place: &mut Option<T>, value: T) -> Tried<()> {
    if place.is_some() {
        return Err(Wrong::Syntax);
    }
    *place = Some(value);
    Ok(())
}

impl Parts {
    /// Takes all of a text's pieces.
    pub(super) fn of(fields: &[Field<'_>]) -> Tried<Self> {
        let mut parts = Self::default();
        for (at, field) in fields.iter().enumerate() {
            match *field {
                Field::Number(text) => parts.number(text)?,
                Field::Clock(text) => parts.clock(text)?,
                Field::Joined(text) => parts.joined(text)?,
                Field::Offset(is_west, far) => put(&mut parts.zone, offset(is_west, far)?)?,
                Field::Word(word) => {
                    let next = fields.get(at.saturating_add(1));
                    parts.word(&word.to_ascii_lowercase(), next)?;
                }
            }
        }
        Ok(parts)
    }

    fn named(&self) -> usize {
        usize::from(self.month.is_some())
    }

    fn has_date(&self) -> bool {
        self.date.is_some() || self.day.is_some() || self.numbers.len().saturating_add(self.named()) == 3
    }

    fn number(&mut self, text: &str) -> Tried<()> {
        let (digits, fraction) = text.split_once('.').map_or((text, None), |(a, b)| (a, Some(b)));
        let value = number(digits)?;
        let count = digits.len();
        let is_new =
            self.date.is_none() && self.day.is_none() && self.numbers.is_empty() && self.month.is_none();
        if self.awaits_clock || self.has_date() {
            let (hours, minutes, seconds) = match (count, fraction) {
                (4, None) => (value / 100, value % 100, 0),
                (6, _) => (value / 10_000, value / 100 % 100, value % 100),
                _ => return Err(Wrong::Syntax),
            };
            return self.time_is(hours, minutes, (seconds, fraction.map_or(Ok(0), nanoseconds)?));
        }
        if fraction.is_some() {
            return Err(Wrong::Syntax);
        }
        if count >= 6 && is_new {
            let year = (count.saturating_sub(4), value / 10_000);
            return put(&mut self.date, (year, value / 100 % 100, value % 100));
        }
        self.part_of_date(count, value)
    }

    /// Another number of a date that is not whole yet.
    fn part_of_date(&mut self, count: usize, value: u32) -> Tried<()> {
        if self.has_date() || count >= 6 {
            return Err(Wrong::Syntax);
        }
        self.numbers.push((count, value));
        Ok(())
    }

    /// Reads `HH:MM[:SS[.f]]`, or `MM:SS.f`.
    fn clock(&mut self, text: &str) -> Tried<()> {
        let mut pieces = text.split(':');
        let first = number(pieces.next().unwrap_or_default())?;
        let second = pieces.next().unwrap_or_default();
        let third = pieces.next();
        if pieces.next().is_some() {
            return Err(Wrong::Syntax);
        }
        let seconds = |text: &str| -> Tried<(u32, u32)> {
            let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
            Ok((number(whole)?, nanoseconds(fraction)?))
        };
        match third {
            Some(third) => self.time_is(first, number(second)?, seconds(third)?),
            None if second.contains('.') => self.time_is(0, first, seconds(second)?),
            None => self.time_is(first, number(second)?, (0, 0)),
        }
    }

    fn time_is(&mut self, hours: u32, minutes: u32, (seconds, ns): (u32, u32)) -> Tried<()> {
        let is_midnight = (minutes, seconds, ns) == (0, 0, 0);
        let is_leap = seconds == 60 && ns == 0;
        if hours > 24 || (hours == 24 && !is_midnight) || minutes > 59 || (seconds > 59 && !is_leap) {
            return Err(Wrong::Range);
        }
        self.awaits_clock = false;
        put(&mut self.time, (hours * 3_600 + minutes * 60 + seconds, ns))
    }

    /// Reads a date; or behind one a clock with its zone, or a zone's name.
    fn joined(&mut self, text: &str) -> Tried<()> {
        let has_day =
            self.has_date() || (self.month.is_some() && self.numbers.iter().any(|(count, _)| *count < 3));
        if has_day && (self.awaits_clock || text.starts_with(|c: char| c.is_ascii_digit())) {
            let (clock, far) = text.split_once('-').ok_or(Wrong::Syntax)?;
            self.number(clock)?;
            return put(&mut self.zone, offset(true, far)?);
        }
        if has_day {
            return put(&mut self.zone, called(text).ok_or(Wrong::Unknown)?);
        }
        // Nothing but a zone may stand ahead of a date that is written so.
        if self.time.is_some()
            || self.has_weekday
            || self.is_afternoon.is_some()
            || self.is_before_christ.is_some()
        {
            return Err(Wrong::Syntax);
        }
        for piece in text.split(['-', '/', '.']) {
            match place(&MONTHS, &piece.to_ascii_lowercase()) {
                Some(at) => self.month_is(at)?,
                None if piece.is_empty() => return Err(Wrong::Syntax),
                None => self.part_of_date(piece.len(), number(piece)?)?,
            }
        }
        if self.has_date() { Ok(()) } else { Err(Wrong::Syntax) }
    }

    fn month_is(&mut self, at: usize) -> Tried<()> {
        if self.has_date() {
            return Err(Wrong::Syntax);
        }
        put(&mut self.month, u32::try_from(at).map_err(|_| Wrong::Range)? + 1)
    }

    fn word(&mut self, word: &str, next: Option<&Field<'_>>) -> Tried<()> {
        if let Some(zone) = abbreviated(word) {
            return put(&mut self.zone, zone);
        }
        match word {
            "t" => {
                let is_clock = matches!(next, Some(Field::Number(_) | Field::Clock(_) | Field::Joined(_)));
                if !self.has_date() || !is_clock {
                    return Err(Wrong::Syntax);
                }
                self.awaits_clock = true;
            }
            "at" | "on" => {}
            "am" | "pm" => put(&mut self.is_afternoon, word == "pm")?,
            "ad" | "bc" => put(&mut self.is_before_christ, word == "bc")?,
            "now" => put(&mut self.now, now())?,
            "epoch" => put(&mut self.now, DateTime::UNIX_EPOCH.naive_utc())?,
            "today" => put(&mut self.day, now().date())?,
            "yesterday" => put(&mut self.day, now().date() - Days::new(1))?,
            "tomorrow" => put(&mut self.day, now().date() + Days::new(1))?,
            _ => match place(&MONTHS, word) {
                Some(at) => self.month_is(at)?,
                None if place(&WEEKDAYS, word).is_some() && !self.has_weekday => self.has_weekday = true,
                None => put(&mut self.zone, called(word).ok_or(Wrong::Syntax)?)?,
            },
        }
        Ok(())
    }

    /// The day that was found, if one was.
    fn day(&self) -> Tried<Option<NaiveDate>> {
        let date = match (self.date, self.month, self.numbers.as_slice()) {
            (date, None, []) => date,
            (None, Some(month), [first, second]) => {
                let (year, (_, day)) = if first.0 > 2 { (*first, *second) } else { (*second, *first) };
                Some((year, month, day))
            }
            // Of other orders nobody can tell the day from the month.
            (None, None, [year, (_, month), (_, day)]) if year.0 > 2 => Some((*year, *month, *day)),
            _ => return Err(Wrong::Syntax),
        };
        let is_before_christ = self.is_before_christ == Some(true);
        match (date, self.day) {
            (Some(((digits, year), month, day)), None) => {
                let year = match (i32::try_from(year).map_err(|_| Wrong::Range)?, digits) {
                    (1.., _) if is_before_christ => 1 - i32::try_from(year).map_err(|_| Wrong::Range)?,
                    (year @ 0..70, ..3) if !is_before_christ => year + 2_000,
                    (year @ 70.., ..3) => year + 1_900,
                    (0, _) => return Err(Wrong::Range),
                    (year, _) => year,
                };
                NaiveDate::from_ymd_opt(year, month, day).ok_or(Wrong::Range).map(Some)
            }
            (None, day) if !is_before_christ => Ok(day),
            _ => Err(Wrong::Syntax),
        }
    }

    pub(super) fn whole(&self) -> Tried<Moment> {
        let day = self.day()?;
        let has_clock = self.time.is_some() || self.zone.is_some() || self.is_afternoon.is_some();
        let (day, (mut seconds, ns)) = match (day, self.now) {
            (None, Some(now)) if !has_clock => {
                let behind = now.signed_duration_since(now.date().and_time(NaiveTime::MIN));
                return Ok(Moment::At(now.date(), behind, Some(Zone::Offset(0))));
            }
            (Some(day), None) => (day, self.time.unwrap_or_default()),
            _ => return Err(Wrong::Syntax),
        };
        if let Some(is_afternoon) = self.is_afternoon {
            match (seconds / 3_600, is_afternoon) {
                (13.., _) => return Err(Wrong::Range),
                (12, false) => seconds -= 12 * 3_600,
                (0..12, true) => seconds += 12 * 3_600,
                _ => {}
            }
        }
        let behind = TimeDelta::seconds(seconds.into()) + TimeDelta::nanoseconds(ns.into());
        Ok(Moment::At(day, behind, self.zone))
    }
}

/// How far a zone is: hours, `HHMM`, or `HH:MM[:SS]`.
fn offset(is_west: bool, far: &str) -> Tried<Zone> {
    let mut pieces = far.split(':');
    let first = pieces.next().unwrap_or_default();
    let (minutes, seconds) = (pieces.next(), pieces.next().map_or(Ok(0), number)?);
    let hours = number(first)?;
    let (hours, minutes) = match minutes {
        Some(minutes) => (hours, number(minutes)?),
        None if first.len() > 2 => (hours / 100, hours % 100),
        None => (hours, 0),
    };
    if pieces.next().is_some() {
        return Err(Wrong::Syntax);
    }
    let far = i64::from(hours) * 3_600 + i64::from(minutes) * 60 + i64::from(seconds);
    if far >= OFFSET_MAX || minutes > 59 || seconds > 59 {
        return Err(Wrong::Displacement);
    }
    Ok(Zone::Offset(if is_west { -far } else { far }))
}

/// What stands behind the point of seconds, in ns; more digits say nothing.
fn nanoseconds(digits: &str) -> Tried<u32> {
    if !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(Wrong::Syntax);
    }
    let ns = digits.bytes().chain(std::iter::repeat(b'0')).take(9);
    Ok(ns.fold(0, |ns, digit| ns * 10 + u32::from(digit - b'0')))
}

fn now() -> NaiveDateTime {
    let now = wall_clock();
    let seconds = i64::try_from(now.as_secs()).unwrap_or(i64::MAX);
    DateTime::from_timestamp(seconds, now.subsec_nanos()).unwrap_or_default().naive_utc()
}
