//! Types of parameters, and the values that are sent for them.
//!
//! What always holds: a value that is none of its type is refused (22P02, 22003, 22007) and never becomes another one; a time beyond what records
//! can have is the nearest that they can.

use datafusion::arrow::datatypes::{DataType, Field, IntervalMonthDayNano, IntervalUnit, TimeUnit};
use datafusion::common::ScalarValue;
use pgwire::api::Type;

use super::fault::Fault;
use super::moment;
use crate::audit::values::print;
use crate::protocol::sqlstate::SqlState;

/// Digits behind the point of a `numeric`, of 38.
const SCALE: i8 = 10;

/// Types with names of their own: the type, the list of it, what SQL calls it and what else it is called.
const NAMED: [(Type, Type, &str, &str); 15] = [
    (Type::BOOL, Type::BOOL_ARRAY, "BOOLEAN", "bool"),
    (Type::INT2, Type::INT2_ARRAY, "SMALLINT", "int2"),
    (Type::INT4, Type::INT4_ARRAY, "INTEGER", "int4 int"),
    (Type::INT8, Type::INT8_ARRAY, "BIGINT", "int8"),
    (Type::OID, Type::OID_ARRAY, "BIGINT", "oid"),
    (Type::FLOAT4, Type::FLOAT4_ARRAY, "REAL", "float4"),
    (Type::FLOAT8, Type::FLOAT8_ARRAY, "DOUBLE PRECISION", "float8 float double"),
    (Type::NUMERIC, Type::NUMERIC_ARRAY, "DECIMAL(38,10)", "numeric decimal"),
    (Type::TEXT, Type::TEXT_ARRAY, "TEXT", "varchar"),
    (Type::BYTEA, Type::BYTEA_ARRAY, "BYTEA", ""),
    (Type::DATE, Type::DATE_ARRAY, "DATE", ""),
    (Type::TIME, Type::TIME_ARRAY, "TIME", ""),
    (Type::TIMESTAMP, Type::TIMESTAMP_ARRAY, "TIMESTAMP", ""),
    (Type::TIMESTAMPTZ, Type::TIMESTAMPTZ_ARRAY, "TIMESTAMPTZ", ""),
    (Type::INTERVAL, Type::INTERVAL_ARRAY, "INTERVAL", ""),
];

/// A type as the engine knows it: whether it is a list, and of what.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Known {
    of: Type,
    is_list: bool,
}

impl Known {
    pub(super) const TEXT: Self = Self { of: Type::TEXT, is_list: false };

    /// Any type; what has no name here is a text.
    pub(super) fn of(wire: &Type) -> Self {
        if let Some((of, ..)) = NAMED.iter().find(|(one, ..)| one == wire) {
            return Self { of: of.clone(), is_list: false };
        }
        if let Some((of, ..)) = NAMED.iter().find(|(_, list, ..)| list == wire) {
            return Self { of: of.clone(), is_list: true };
        }
        let is_list = wire.name().starts_with('_');
        Self { of: Type::TEXT, is_list }
    }

    /// The type that SQL calls so.
    pub(super) fn called(sql: &str) -> Option<Self> {
        let plain = sql.to_ascii_lowercase();
        let plain = plain.strip_prefix("pg_catalog.").unwrap_or(&plain);
        let (name, is_list) = plain.strip_suffix("[]").map_or((plain, false), |name| (name, true));
        let name = match name.split('(').next().unwrap_or_default().trim() {
            "timestamp with time zone" => "timestamptz",
            "timestamp without time zone" => "timestamp",
            "character varying" => "varchar",
            other => other,
        };
        let is = |(_, _, first, others): &&(Type, Type, &str, &str)| {
            first.eq_ignore_ascii_case(name)
                || others.split(' ').any(|other| !other.is_empty() && other == name)
        };
        NAMED.iter().find(is).map(|(of, ..)| Self { of: of.clone(), is_list })
    }

    /// A list of such values.
    pub(super) fn list(&self) -> Self {
        Self { of: self.of.clone(), is_list: true }
    }

    pub(super) fn is_text(&self) -> bool {
        *self == Self::TEXT
    }

    /// As SQL writes it.
    pub(super) fn sql(&self) -> String {
        let name = NAMED.iter().find(|(of, ..)| *of == self.of).map_or("TEXT", |(_, _, name, _)| name);
        format!("{name}{}", if self.is_list { "[]" } else { "" })
    }

    /// As clients know it.
    pub(super) fn wire(&self) -> Type {
        let list = || {
            NAMED
                .iter()
                .find(|(of, ..)| *of == self.of)
                .map_or(Type::TEXT_ARRAY, |(_, list, ..)| list.clone())
        };
        if self.is_list { list() } else { self.of.clone() }
    }

    fn element(&self) -> DataType {
        match self.of {
            Type::BOOL => DataType::Boolean,
            Type::INT2 => DataType::Int16,
            Type::INT4 => DataType::Int32,
            Type::INT8 | Type::OID => DataType::Int64,
            Type::FLOAT4 => DataType::Float32,
            Type::FLOAT8 => DataType::Float64,
            Type::NUMERIC => DataType::Decimal128(38, SCALE),
            Type::BYTEA => DataType::Binary,
            Type::DATE => DataType::Date32,
            Type::TIME => DataType::Time64(TimeUnit::Nanosecond),
            Type::TIMESTAMP => DataType::Timestamp(TimeUnit::Nanosecond, None),
            Type::TIMESTAMPTZ => DataType::Timestamp(TimeUnit::Nanosecond, Some("UTC".into())),
            Type::INTERVAL => DataType::Interval(IntervalUnit::MonthDayNano),
            _ => DataType::Utf8,
        }
    }

    /// The value that was sent, in the text or the binary format; `None`: NULL.
    ///
    /// # Errors
    /// 22P02, 22003, 22007, 22008: it is no value of the type.
    pub(super) fn value(
        &self,
        wire: &Type,
        sent: Option<&[u8]>,
        is_binary: bool,
    ) -> Result<ScalarValue, Fault> {
        let Some(sent) = sent else {
            let null = if self.is_list {
                let field = Field::new_list_field(self.element(), true);
                ScalarValue::try_from(&DataType::List(field.into()))
            } else {
                ScalarValue::try_from(&self.element())
            };
            return null.map_err(|error| super::fault::of_engine(&error));
        };
        if is_binary && self.of == Type::BYTEA && !self.is_list {
            return Ok(ScalarValue::Binary(Some(sent.to_vec())));
        }
        let printed = if is_binary { print(wire.oid(), sent) } else { sent.into() };
        let text = std::str::from_utf8(&printed).map_err(|_| {
            Fault::new(SqlState::INVALID_TEXT_REPRESENTATION, "invalid byte sequence for encoding \"UTF8\"")
        })?;
        if !self.is_list {
            return self.one(text);
        }
        let items = items(text).ok_or_else(|| {
            Fault::new(SqlState::INVALID_TEXT_REPRESENTATION, format!("malformed array literal: \"{text}\""))
        })?;
        let null = || ScalarValue::try_from(&self.element()).map_err(|error| super::fault::of_engine(&error));
        let values: Result<Vec<ScalarValue>, Fault> =
            items.into_iter().map(|item| item.map_or_else(null, |item| self.one(&item))).collect();
        Ok(ScalarValue::List(ScalarValue::new_list_nullable(&values?, &self.element())))
    }

    /// A value from its text.
    fn one(&self, text: &str) -> Result<ScalarValue, Fault> {
        if let Some(time) = moment::value(text, &self.element()) {
            return time;
        }
        let word = text.trim();
        let value = match self.of {
            Type::TEXT => return Ok(ScalarValue::Utf8(Some(text.to_owned()))),
            Type::BOOL => truth(word).map(|is| ScalarValue::Boolean(Some(is))),
            Type::BYTEA => bytes(word).map(|bytes| ScalarValue::Binary(Some(bytes))),
            Type::INTERVAL => interval(word),
            _ => {
                let plain = if self.of == Type::NUMERIC { plain_number(word) } else { Some(word.to_owned()) };
                let value =
                    plain.and_then(|plain| ScalarValue::Utf8(Some(plain)).cast_to(&self.element()).ok());
                value.filter(|value| !value.is_null())
            }
        };
        value.ok_or_else(|| {
            let is_number = word.parse::<f64>().is_ok();
            let name = self.of.name();
            if is_number
                && matches!(self.of, Type::INT2 | Type::INT4 | Type::INT8 | Type::NUMERIC)
                && !word.contains('.')
            {
                return Fault::new(
                    SqlState::NUMERIC_VALUE_OUT_OF_RANGE,
                    format!("value \"{word}\" is out of range for type {name}"),
                );
            }
            let code = match self.of {
                Type::TIME | Type::INTERVAL => SqlState::INVALID_DATETIME_FORMAT,
                _ => SqlState::INVALID_TEXT_REPRESENTATION,
            };
            Fault::new(code, format!("invalid input syntax for type {name}: \"{word}\""))
        })
    }
}

/// A number without an exponent.
fn plain_number(word: &str) -> Option<String> {
    let Some((digits, exponent)) = word.split_once(['e', 'E']) else { return Some(word.to_owned()) };
    let exponent: i32 = exponent.parse().ok().filter(|exponent: &i32| exponent.abs() <= 64)?;
    let (sign, digits) = digits.strip_prefix('-').map_or(("", digits), |digits| ("-", digits));
    let (whole, part) = digits.split_once('.').unwrap_or((digits, ""));
    let zeros = "0".repeat(usize::try_from(exponent.abs()).ok()?);
    let all = if exponent < 0 { format!("{zeros}{whole}{part}") } else { format!("{whole}{part}{zeros}") };
    // Where the point is now, from the left.
    let ahead = if exponent < 0 { zeros.len() } else { 0 };
    let point = i64::try_from(ahead.saturating_add(whole.len())).ok()?.saturating_add(exponent.into());
    let (whole, part) = all.split_at_checked(usize::try_from(point).ok()?)?;
    Some(format!("{sign}0{whole}.{part}0"))
}

/// An interval as PostgreSQL prints it: numbers with units, and a time.
fn interval(text: &str) -> Option<ScalarValue> {
    const SECOND_NS: f64 = 1e9;
    let (mut months, mut days, mut ns, mut is_any) = (0.0, 0.0, 0.0, false);
    let mut words = text.split([' ', ',']).filter(|word| !word.is_empty() && *word != "@").peekable();
    while let Some(word) = words.next() {
        is_any = true;
        if word.contains(':') {
            let (sign, time) = word.strip_prefix('-').map_or((1.0, word), |time| (-1.0, time));
            let mut seconds = 0.0;
            for (part, unit) in time.trim_start_matches('+').split(':').zip([3_600.0, 60.0, 1.0]) {
                seconds += part.parse::<f64>().ok().filter(|part| *part >= 0.0)? * unit;
            }
            ns += sign * seconds * SECOND_NS;
            continue;
        }
        let end = word.find(|c: char| c.is_ascii_alphabetic()).unwrap_or(word.len());
        let (number, unit) = word.split_at_checked(end)?;
        let number: f64 = number.parse().ok().filter(|number: &f64| number.is_finite())?;
        let unit = if unit.is_empty() { words.next().unwrap_or("s") } else { unit };
        match unit.to_ascii_lowercase().trim_end_matches('s') {
            "y" | "year" => months += number * 12.0,
            "mon" | "month" => months += number,
            "w" | "week" => days += number * 7.0,
            "d" | "day" => days += number,
            "h" | "hour" => ns += number * 3_600.0 * SECOND_NS,
            "m" | "min" | "minute" => ns += number * 60.0 * SECOND_NS,
            "" | "sec" | "second" => ns += number * SECOND_NS,
            "milli" | "millisecond" => ns += number * 1e6,
            "u" | "micro" | "microsecond" => ns += number * 1e3,
            _ => return None,
        }
    }
    // Parts of months and days that are none of whole ones are left to their smaller units.
    let (whole_months, rest) = (months.trunc(), months.fract() * 30.0);
    let (whole_days, rest) = ((days + rest).trunc(), (days + rest).fract());
    let ns = ns + rest * 86_400.0 * SECOND_NS;
    let number = |number: f64| format!("{number:.0}").parse::<i64>().ok();
    let small = |part: f64| number(part).and_then(|part| i32::try_from(part).ok());
    let value = IntervalMonthDayNano::new(small(whole_months)?, small(whole_days)?, number(ns)?);
    is_any.then_some(ScalarValue::IntervalMonthDayNano(Some(value)))
}

fn truth(word: &str) -> Option<bool> {
    match word.to_ascii_lowercase().as_str() {
        "t" | "true" | "y" | "yes" | "on" | "1" => Some(true),
        "f" | "false" | "n" | "no" | "off" | "0" => Some(false),
        _ => None,
    }
}

fn bytes(word: &str) -> Option<Vec<u8>> {
    let Some(digits) = word.strip_prefix("\\x") else {
        return (!word.contains('\\')).then(|| word.as_bytes().to_vec());
    };
    let (pairs, []) = digits.as_bytes().as_chunks::<2>() else { return None };
    let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    pairs.iter().map(|[high, low]| Some((digit(*high)? << 4) | digit(*low)?)).collect()
}

/// The items of a list in one dimension, as PostgreSQL writes it; `None` in the list: NULL.
fn items(text: &str) -> Option<Vec<Option<String>>> {
    let inner = text.trim().strip_prefix('{')?.strip_suffix('}')?;
    let mut items = Vec::new();
    if inner.trim().is_empty() {
        return Some(items);
    }
    let mut characters = inner.chars().peekable();
    loop {
        while characters.next_if(|c| c.is_ascii_whitespace()).is_some() {}
        let mut item = String::new();
        let is_quoted = characters.next_if_eq(&'"').is_some();
        if is_quoted {
            loop {
                match characters.next()? {
                    '"' => break,
                    '\\' => item.push(characters.next()?),
                    other => item.push(other),
                }
            }
            while characters.next_if(|c| c.is_ascii_whitespace()).is_some() {}
        } else {
            while let Some(c) = characters.next_if(|c| *c != ',') {
                match c {
                    '\\' => item.push(characters.next()?),
                    '{' | '}' | '"' => return None,
                    other => item.push(other),
                }
            }
            item.truncate(item.trim_end().len());
            if item.is_empty() {
                return None;
            }
        }
        let is_null = !is_quoted && item.eq_ignore_ascii_case("null");
        items.push((!is_null).then_some(item));
        match characters.next() {
            Some(',') => {}
            Some(_) => return None,
            None => return Some(items),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(of: &Type, text: &str) -> Result<ScalarValue, [u8; 5]> {
        Known::of(of).value(of, Some(text.as_bytes()), false).map_err(|fault| fault.code.0)
    }

    #[test]
    fn values_are_read_as_their_type_or_refused() {
        assert_eq!(value(&Type::INT8, " 42 "), Ok(ScalarValue::Int64(Some(42))));
        assert_eq!(value(&Type::INT2, "40000"), Err(*b"22003"));
        assert_eq!(value(&Type::INT8, "x"), Err(*b"22P02"));
        assert_eq!(value(&Type::BOOL, "off"), Ok(ScalarValue::Boolean(Some(false))));
        assert_eq!(value(&Type::BYTEA, "\\x0aFF"), Ok(ScalarValue::Binary(Some(vec![10, 255]))));
        assert_eq!(value(&Type::BYTEA, "\\x0a0"), Err(*b"22P02"));
        assert_eq!(value(&Type::UUID, "a b"), Ok(ScalarValue::Utf8(Some("a b".to_owned()))));
        let second = |ns| Ok(ScalarValue::TimestampNanosecond(Some(ns), Some("UTC".into())));
        assert_eq!(value(&Type::TIMESTAMPTZ, "1970-01-01 02:00:01+02"), second(1_000_000_000));
        assert_eq!(value(&Type::TIMESTAMPTZ, "9999-12-31 00:00:00+00"), second(i64::MAX));
        assert_eq!(value(&Type::TIMESTAMPTZ, "infinity"), second(i64::MAX));
        assert_eq!(value(&Type::TIMESTAMPTZ, "yesterday noon"), Err(*b"22007"));
        let binary = Known::of(&Type::INT4).value(&Type::INT4, Some(&[0, 0, 1, 0]), true);
        assert_eq!(binary.unwrap(), ScalarValue::Int32(Some(256)));
        let short = Known::of(&Type::INT4).value(&Type::INT4, Some(&[0, 0, 1]), true);
        assert_eq!(short.unwrap_err().code.0, *b"22P02");
        assert!(Known::of(&Type::DATE_ARRAY).value(&Type::DATE_ARRAY, None, false).unwrap().is_null());
    }

    #[test]
    fn intervals_and_numbers_are_read_as_they_are_printed() {
        let span = |months, days, ns| {
            Ok(ScalarValue::IntervalMonthDayNano(Some(IntervalMonthDayNano::new(months, days, ns))))
        };
        assert_eq!(value(&Type::INTERVAL, "01:00:00"), span(0, 0, 3_600_000_000_000));
        assert_eq!(value(&Type::INTERVAL, "1 year 2 mons -3 days -00:00:01.5"), span(14, -3, -1_500_000_000));
        assert_eq!(value(&Type::INTERVAL, "1 day, 90s"), span(0, 1, 90_000_000_000));
        assert_eq!(value(&Type::INTERVAL, "1.5 day"), span(0, 1, 43_200_000_000_000));
        for text in ["", "day", "1 fortnight", "1:x", "99999999999 years"] {
            assert_eq!(value(&Type::INTERVAL, text), Err(*b"22007"), "{text}");
        }
        let number = |text| value(&Type::NUMERIC, text).map(|value| value.to_string());
        assert_eq!(number("1E+3"), number("1000"));
        assert_eq!(number("-12.5e-1"), number("-1.25"));
        assert_eq!(number("1e400"), Err(*b"22003"));
        assert_eq!(number("x"), Err(*b"22P02"));
    }

    #[test]
    fn lists_are_read_with_their_quotes_and_nulls() {
        let told = |text: &str| value(&Type::TEXT_ARRAY, text).map(|list| list.to_string());
        assert_eq!(told(r#"{ok, "a,\"b" ,NULL,"NULL"}"#).unwrap(), r#"[ok, a,"b, , NULL]"#);
        assert_eq!(told("{}").unwrap(), "[]");
        for text in ["", "{a", "{a,}", "{{a}}", "{\"a}", "{a}b"] {
            assert_eq!(told(text), Err(*b"22P02"), "{text}");
        }
        assert_eq!(value(&Type::INT4_ARRAY, "{1,x}"), Err(*b"22P02"));
    }

    #[test]
    fn types_are_known_by_what_sql_calls_them() {
        assert_eq!(Known::called("INT[]").unwrap().wire(), Type::INT4_ARRAY);
        assert_eq!(Known::called("timestamp with time zone").unwrap().sql(), "TIMESTAMPTZ");
        assert_eq!(Known::called("character varying(10)"), Some(Known::TEXT));
        assert_eq!(Known::called("hstore"), None);
    }
}
