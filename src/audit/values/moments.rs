//! Dates, times and intervals, as PostgreSQL prints them with `DateStyle` ISO and `IntervalStyle` postgres.
//!
//! Dates count days, timestamps microseconds, from 2000-01-01.

use std::fmt::Write as _;

use crate::protocol::fields::Fields;

const SECOND: i64 = 1_000_000;
const DAY: i64 = 86_400 * SECOND;
/// Days from 0000-03-01 to 2000-01-01.
const DAYS_TO_2000: i64 = 730_425;
const DAYS_IN_400_YEARS: i64 = 146_097;

/// Days since 2000-01-01.
pub(super) fn date(days: i32) -> String {
    match days {
        i32::MAX => "infinity".to_owned(),
        i32::MIN => "-infinity".to_owned(),
        days => {
            let (text, era) = day(days.into());
            text + era
        }
    }
}

/// Microseconds since 2000-01-01; `zone` goes behind the time.
pub(super) fn timestamp(micros: i64, zone: &str) -> String {
    match micros {
        i64::MAX => "infinity".to_owned(),
        i64::MIN => "-infinity".to_owned(),
        micros => {
            let (text, era) = day(micros.div_euclid(DAY));
            format!("{text} {}{zone}{era}", clock(micros.rem_euclid(DAY)))
        }
    }
}

/// Microseconds since midnight, which may be the next one.
pub(super) fn time(micros: i64) -> Option<String> {
    (0..=DAY).contains(&micros).then(|| clock(micros))
}

/// A time and seconds west of Greenwich.
pub(super) fn time_tz(value: &[u8]) -> Option<String> {
    let (micros, zone) = value.split_first_chunk::<8>()?;
    let west = i32::from_be_bytes(zone.try_into().ok()?);
    let (sign, seconds) = (if west > 0 { '-' } else { '+' }, west.unsigned_abs());
    let mut out = time(i64::from_be_bytes(*micros))?;
    let (hours, minutes, seconds) = (seconds / 3_600, seconds / 60 % 60, seconds % 60);
    write!(out, "{sign}{hours:02}").ok()?;
    if minutes != 0 || seconds != 0 {
        write!(out, ":{minutes:02}").ok()?;
    }
    if seconds != 0 {
        write!(out, ":{seconds:02}").ok()?;
    }
    Some(out)
}

/// Microseconds, days, months.
pub(super) fn interval(value: &[u8]) -> Option<String> {
    let (micros, rest) = value.split_first_chunk::<8>()?;
    let micros = i64::from_be_bytes(*micros);
    let mut fields = Fields::of(rest);
    let (days, months) = (fields.i32("days").ok()?, fields.i32("months").ok()?);
    fields.end().ok()?;
    match (micros, days, months) {
        (i64::MAX, i32::MAX, i32::MAX) => return Some("infinity".to_owned()),
        (i64::MIN, i32::MIN, i32::MIN) => return Some("-infinity".to_owned()),
        _ => {}
    }
    let mut out = String::new();
    let mut negative = false;
    for (count, unit) in [(months / 12, "year"), (months % 12, "mon"), (days, "day")] {
        if count != 0 {
            let space = if out.is_empty() { "" } else { " " };
            let plus = if negative && count > 0 { "+" } else { "" };
            let plural = if count == 1 { "" } else { "s" };
            write!(out, "{space}{plus}{count} {unit}{plural}").ok()?;
            negative = count < 0;
        }
    }
    if out.is_empty() || micros != 0 {
        let space = if out.is_empty() { "" } else { " " };
        let sign = match (micros < 0, negative) {
            (true, _) => "-",
            (false, true) => "+",
            (false, false) => "",
        };
        let clock = clock(i64::try_from(micros.unsigned_abs()).ok()?);
        write!(out, "{space}{sign}{clock}").ok()?;
    }
    Some(out)
}

/// Hours, minutes, seconds and their fraction without its last zeros.
fn clock(micros: i64) -> String {
    let (seconds, fraction) = (micros / SECOND, micros % SECOND);
    let (hours, minutes) = (seconds / 3_600, seconds / 60 % 60);
    let mut out = format!("{hours:02}:{minutes:02}:{:02}", seconds % 60);
    if fraction != 0 {
        out.push('.');
        out.push_str(format!("{fraction:06}").trim_end_matches('0'));
    }
    out
}

/// The day so many days after 2000-01-01, and its era where that is not ours. Years are counted from March, so that the day
/// that some years lack is the last one.
fn day(days: i64) -> (String, &'static str) {
    let since_march = days.saturating_add(DAYS_TO_2000);
    let cycle = since_march.div_euclid(DAYS_IN_400_YEARS);
    let in_cycle = since_march.rem_euclid(DAYS_IN_400_YEARS);
    let year_in_cycle = (in_cycle - in_cycle / 1_460 + in_cycle / 36_524 - in_cycle / 146_096) / 365;
    let in_year = in_cycle - (365 * year_in_cycle + year_in_cycle / 4 - year_in_cycle / 100);
    let month_from_march = (5 * in_year + 2) / 153;
    let day = in_year - (153 * month_from_march + 2) / 5 + 1;
    let (month, carry) =
        if month_from_march < 10 { (month_from_march + 3, 0) } else { (month_from_march - 9, 1) };
    let year = cycle * 400 + year_in_cycle + carry;
    if year > 0 {
        (format!("{year:04}-{month:02}-{day:02}"), "")
    } else {
        (format!("{:04}-{month:02}-{day:02}", 1 - year), " BC")
    }
}
