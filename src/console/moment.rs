//! Times as people write them, in the forms that PostgreSQL takes and that mean one thing only.
//!
//! `fields.rs` cuts a text into pieces, `parts.rs` finds year, clock and zone in them, `zones.rs` knows zones; here they become a value.
//!
//! What always holds: a text that is no time is refused (22007, 22008) and never becomes another one; where no zone is written it is
//! UTC; a time beyond what records can have is the nearest that they can.

#![expect(
    clippy::wildcard_enum_match_arm,
    reason = "the engine's types grow with its versions; what is not known is no time"
)]

mod fields;
mod parts;
mod zones;

use chrono::{NaiveDate, NaiveTime, TimeDelta};
use datafusion::arrow::datatypes::{DataType, TimeUnit};
use datafusion::common::ScalarValue;

use parts::Parts;
use zones::Zone;

use super::fault::Fault;
use crate::protocol::sqlstate::SqlState;

/// A longer text is no time; in bytes.
const TEXT_MAX: usize = 128;

/// The time that a text stands for, as a value of this type; `None`: it is no type of times, or of a zone that is not known.
///
/// # Errors
/// 22007: it is no time. 22008: there is no such day or hour. 22009: no zone is so far away. 22023: there is no such zone.
pub(super) fn value(text: &str, kind: &DataType) -> Option<Result<ScalarValue, Fault>> {
    let zone = match kind {
        DataType::Timestamp(_, Some(zone)) => zones::called(zone)?,
        DataType::Timestamp(_, None) | DataType::Date32 => Zone::Offset(0),
        _ => return None,
    };
    Some(read(text, kind).map(|time| time.value(kind, zone)))
}

/// What a time of this type is called in an error.
fn name(kind: &DataType) -> &'static str {
    match kind {
        DataType::Date32 => "date",
        DataType::Timestamp(_, Some(_)) => "timestamp with time zone",
        _ => "timestamp",
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Moment {
    Earliest,
    Latest,
    /// On a day, so long after midnight, on the clock of a zone; `None`: none is written.
    At(NaiveDate, TimeDelta, Option<Zone>),
}

impl Moment {
    fn value(self, kind: &DataType, default: Zone) -> ScalarValue {
        let (is_date, zone) = match kind {
            DataType::Timestamp(_, zone) => (false, zone.clone()),
            _ => (true, None),
        };
        let ns = match self {
            Self::Earliest => i64::MIN,
            Self::Latest => i64::MAX,
            Self::At(day, behind, written) => {
                let midnight = day.and_time(NaiveTime::MIN);
                let clock = midnight.checked_add_signed(behind).unwrap_or(midnight);
                let at = match (is_date, &zone) {
                    (true, _) => midnight,
                    // PostgreSQL passes over the zone of a text that becomes a time without one.
                    (false, None) => clock,
                    (false, Some(_)) => written.unwrap_or(default).utc(clock),
                };
                let end = if at.and_utc().timestamp() < 0 { i64::MIN } else { i64::MAX };
                at.and_utc().timestamp_nanos_opt().unwrap_or(end)
            }
        };
        const SECOND_NS: i64 = 1_000_000_000;
        match kind {
            DataType::Timestamp(TimeUnit::Nanosecond, _) => ScalarValue::TimestampNanosecond(Some(ns), zone),
            DataType::Timestamp(TimeUnit::Microsecond, _) => {
                ScalarValue::TimestampMicrosecond(Some(ns.div_euclid(1_000)), zone)
            }
            DataType::Timestamp(TimeUnit::Millisecond, _) => {
                ScalarValue::TimestampMillisecond(Some(ns.div_euclid(1_000_000)), zone)
            }
            DataType::Timestamp(TimeUnit::Second, _) => {
                ScalarValue::TimestampSecond(Some(ns.div_euclid(SECOND_NS)), zone)
            }
            _ => ScalarValue::Date32(i32::try_from(ns.div_euclid(86_400 * SECOND_NS)).ok()),
        }
    }
}

/// Why a text is no time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Wrong {
    Syntax,
    Range,
    Displacement,
    Unknown,
}

type Tried<T> = Result<T, Wrong>;

fn read(text: &str, kind: &DataType) -> Result<Moment, Fault> {
    let word = text.trim();
    let tried = if word.len() > TEXT_MAX { Err(Wrong::Syntax) } else { moment(word) };
    tried.map_err(|wrong| match wrong {
        Wrong::Syntax => Fault::new(
            SqlState::INVALID_DATETIME_FORMAT,
            format!("invalid input syntax for type {}: \"{text}\"", name(kind)),
        ),
        Wrong::Range => Fault::new(
            SqlState::DATETIME_FIELD_OVERFLOW,
            format!("date/time field value out of range: \"{text}\""),
        ),
        Wrong::Displacement => Fault::new(
            SqlState::INVALID_TIME_ZONE_DISPLACEMENT,
            format!("time zone displacement out of range: \"{text}\""),
        ),
        Wrong::Unknown => Fault::new(
            SqlState::INVALID_PARAMETER_VALUE,
            format!("time zone of \"{text}\" is not recognized"),
        ),
    })
}

fn moment(word: &str) -> Tried<Moment> {
    match word.to_ascii_lowercase().as_str() {
        "infinity" | "+infinity" => return Ok(Moment::Latest),
        "-infinity" => return Ok(Moment::Earliest),
        _ => {}
    }
    Parts::of(&fields::fields(word)?)?.whole()
}

#[cfg(test)]
mod tests {
    use chrono::DateTime;

    use super::*;

    const TIME: DataType = DataType::Timestamp(TimeUnit::Nanosecond, None);

    fn told(text: &str, zone: &str) -> Result<String, [u8; 5]> {
        let kind = DataType::Timestamp(TimeUnit::Nanosecond, Some(zone.into()));
        match value(text, &kind).unwrap() {
            Ok(ScalarValue::TimestampNanosecond(Some(ns), Some(_))) => {
                Ok(DateTime::from_timestamp_nanos(ns).format("%F %T%.f").to_string())
            }
            Ok(other) => panic!("{other}"),
            Err(fault) => Err(fault.code.0),
        }
    }

    #[test]
    fn a_time_without_a_zone_is_in_the_zone_that_is_asked_for() {
        let clock = "2026-07-15 09:00";
        assert_eq!(told(clock, "UTC").unwrap(), "2026-07-15 09:00:00");
        assert_eq!(told(clock, "Europe/Berlin").unwrap(), "2026-07-15 07:00:00");
        assert_eq!(told("2026-07-15 09:00 UTC", "Europe/Berlin").unwrap(), "2026-07-15 09:00:00");
        assert_eq!(value(clock, &DataType::Timestamp(TimeUnit::Second, Some("Nowhere".into()))), None);
        assert_eq!(value(clock, &DataType::Utf8), None);
    }

    #[test]
    fn what_records_cannot_have_is_the_nearest_that_they_can() {
        let ns = |text| match value(text, &TIME).unwrap() {
            Ok(ScalarValue::TimestampNanosecond(Some(ns), None)) => ns,
            other => panic!("{other:?}"),
        };
        assert_eq!((ns("infinity"), ns("9999-12-31 23:59")), (i64::MAX, i64::MAX));
        assert_eq!((ns("-infinity"), ns("0044-03-15 BC")), (i64::MIN, i64::MIN));
        assert_eq!(ns("1970-01-01 00:00:00.1234567899"), 123_456_789);
        let day = value("infinity", &DataType::Date32).unwrap();
        assert_eq!(day, Ok(ScalarValue::Date32(Some(106_751))));
        let second = value("2026-10-15 09:00:00.9", &DataType::Timestamp(TimeUnit::Second, None)).unwrap();
        assert_eq!(second, Ok(ScalarValue::TimestampSecond(Some(1_792_054_800), None)));
    }

    #[test]
    fn whatever_is_in_a_text_is_a_time_or_refused() {
        use proptest::prelude::*;
        let pieces = prop::sample::select(vec![
            "2026-10-15",
            "9",
            "09:00",
            ":",
            "-",
            "+",
            "/",
            ".",
            " ",
            "T",
            "Z",
            "oct",
            "bc",
            "pm",
            "now",
            "today",
            "4294967296",
            "99999999999",
            "262143-12-31",
            "é",
            "\0",
            "Europe/Berlin",
            "infinity",
            "0",
            "24:00:00",
        ]);
        proptest!(|(pieces in prop::collection::vec(pieces, 0..12))| {
            let text = pieces.concat();
            for kind in [TIME, DataType::Date32, DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()))] {
                if let Err(fault) = value(&text, &kind).unwrap() {
                    prop_assert!(fault.code.0.starts_with(b"220"), "{text}: {fault}");
                }
            }
        });
        for text in ["10/11/2026", "15/10/2026", "1-2-3", &"1".repeat(200)] {
            assert_eq!(told(text, "UTC"), Err(*b"22007"), "{text}");
        }
    }
}
