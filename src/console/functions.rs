//! Functions of PostgreSQL that the engine lacks, with what they mean there.
//!
//! What always holds: none has an effect; what they say of the session is what it is at this moment.

#![expect(
    clippy::wildcard_enum_match_arm,
    reason = "the engine's and the parser's enums grow with their versions; what is not known is left as it is"
)]

use std::fmt::Write as _;
use std::sync::Arc;

use datafusion::arrow::array::{ArrayRef, Int32Array, StringArray};
use datafusion::arrow::datatypes::{DataType, Field};
use datafusion::common::ScalarValue;
use datafusion::error::{DataFusionError, Result};
use datafusion::logical_expr::{
    ColumnarValue, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, TypeSignature, Volatility,
};
use datafusion::prelude::SessionContext;
use pgwire::api::Type;

use super::fault::Fault;
use super::operators;
use super::settings::Told;
use super::values::Known;
use crate::protocol::sqlstate::SqlState;

/// The function that gives an operator's name for its number; PostgreSQL has a cast.
pub(super) const OPERATOR: &str = "operator_called";

/// Registers them all.
pub(super) fn register(context: &SessionContext, told: &Told, login: &str) {
    for what in [
        What::CurrentSetting(told.clone()),
        What::CurrentSchema,
        What::CurrentSchemas,
        What::QuoteLiteral("quote_literal"),
        What::QuoteLiteral("quote_nullable"),
        What::ToRegtype,
        What::JsonBuildObject("json_build_object"),
        What::JsonBuildObject("jsonb_build_object"),
        What::UserById(login.to_owned()),
        What::Format,
        What::StatFile,
        What::Operator,
    ] {
        let signature =
            Signature::one_of(vec![TypeSignature::VariadicAny, TypeSignature::Nullary], Volatility::Stable);
        context.register_udf(ScalarUDF::new_from_shared_impl(Arc::new(Function { what, signature })));
    }
}

#[derive(Debug, Clone)]
enum What {
    CurrentSetting(Told),
    CurrentSchema,
    CurrentSchemas,
    QuoteLiteral(&'static str),
    ToRegtype,
    JsonBuildObject(&'static str),
    UserById(String),
    Format,
    StatFile,
    Operator,
}

impl What {
    const fn name(&self) -> &'static str {
        match self {
            Self::CurrentSetting(_) => "current_setting",
            Self::CurrentSchema => "current_schema",
            Self::CurrentSchemas => "current_schemas",
            Self::QuoteLiteral(name) | Self::JsonBuildObject(name) => name,
            Self::ToRegtype => "to_regtype",
            Self::UserById(_) => "pg_get_userbyid",
            Self::Format => "format",
            Self::StatFile => "pg_stat_file",
            Self::Operator => OPERATOR,
        }
    }
}

#[derive(Debug)]
struct Function {
    what: What,
    signature: Signature,
}

// A session has each of them once.
impl PartialEq for Function {
    fn eq(&self, other: &Self) -> bool {
        self.what.name() == other.what.name()
    }
}

impl Eq for Function {}

impl std::hash::Hash for Function {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.what.name().hash(state);
    }
}

impl ScalarUDFImpl for Function {
    fn name(&self) -> &str {
        self.what.name()
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(match self.what {
            What::ToRegtype => DataType::Int32,
            What::CurrentSchemas => DataType::List(Arc::new(Field::new_list_field(DataType::Utf8, true))),
            _ => DataType::Utf8,
        })
    }

    fn invoke_with_args(&self, arguments: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let rows = arguments.number_rows;
        let arrays: Vec<ArrayRef> =
            arguments.args.iter().map(|value| value.to_array(rows)).collect::<Result<_>>()?;
        match &self.what {
            What::CurrentSchema => {
                return Ok(ColumnarValue::Scalar(ScalarValue::Utf8(Some("audit".to_owned()))));
            }
            What::CurrentSchemas => return Ok(ColumnarValue::Scalar(schemas(&arguments.args))),
            _ => {}
        }
        let text = |column: usize, row: usize| -> Result<Option<String>> {
            let Some(array) = arrays.get(column) else { return Ok(None) };
            Ok(printed(&ScalarValue::try_from_array(array, row)?))
        };
        if matches!(self.what, What::ToRegtype) {
            let oids = (0..rows).map(|row| Ok(text(0, row)?.as_deref().and_then(oid_of)));
            return Ok(ColumnarValue::Array(Arc::new(oids.collect::<Result<Int32Array>>()?)));
        }
        let one = |row: usize| -> Result<Option<String>> {
            Ok(match &self.what {
                What::CurrentSetting(told) => {
                    setting(told, text(0, row)?, text(1, row)?.as_deref() == Some("t"))?
                }
                What::QuoteLiteral("quote_nullable") => {
                    Some(text(0, row)?.map_or_else(|| "NULL".to_owned(), |text| quoted(&text)))
                }
                What::QuoteLiteral(_) => text(0, row)?.map(|text| quoted(&text)),
                What::JsonBuildObject(_) => Some(object(&arrays, row)?),
                What::Operator => text(0, row)?.map(|number| operators::called(&number)),
                What::UserById(login) => Some(login.clone()),
                What::Format => {
                    let values = (1..arrays.len()).map(|column| text(column, row));
                    let values = values.collect::<Result<Vec<_>>>()?;
                    text(0, row)?.map(|pattern| formatted(&pattern, &values)).transpose()?
                }
                // Of no file nothing is said, and of any other neither.
                What::StatFile if text(0, row)?.is_some() => {
                    let text = "permission denied for function pg_stat_file";
                    let fault = Fault::new(SqlState::INSUFFICIENT_PRIVILEGE, text);
                    return Err(DataFusionError::External(Box::new(fault)));
                }
                What::StatFile | What::CurrentSchema | What::CurrentSchemas | What::ToRegtype => None,
            })
        };
        Ok(ColumnarValue::Array(Arc::new((0..rows).map(one).collect::<Result<StringArray>>()?)))
    }
}

/// A value as PostgreSQL prints it; `None`: NULL.
fn printed(value: &ScalarValue) -> Option<String> {
    match value {
        null if null.is_null() => None,
        ScalarValue::Boolean(Some(is)) => Some(if *is { "t" } else { "f" }.to_owned()),
        other => Some(other.to_string()),
    }
}

fn schemas(arguments: &[ColumnarValue]) -> ScalarValue {
    let is_all = matches!(arguments.first(), Some(ColumnarValue::Scalar(ScalarValue::Boolean(Some(true)))));
    let names = if is_all { ["pg_catalog", "audit"].as_slice() } else { ["audit"].as_slice() };
    let names: Vec<ScalarValue> =
        names.iter().map(|name| ScalarValue::Utf8(Some((*name).to_owned()))).collect();
    ScalarValue::List(ScalarValue::new_list_nullable(&names, &DataType::Utf8))
}

fn setting(told: &Told, name: Option<String>, may_miss: bool) -> Result<Option<String>> {
    let Some(name) = name else { return Ok(None) };
    match told.of(&name) {
        None if !may_miss => {
            Err(DataFusionError::Execution(format!("unrecognized configuration parameter \"{name}\"")))
        }
        value => Ok(value),
    }
}

/// The number of the type that is called so.
fn oid_of(name: &str) -> Option<i32> {
    // Numbers of types that are built in.
    const BUILT_IN: std::ops::Range<u32> = 16..6_200;
    let plain = name.strip_prefix("pg_catalog.").unwrap_or(name);
    let known = Known::called(plain).filter(|known| !known.is_text()).map(|known| known.wire().oid());
    let named = || BUILT_IN.filter_map(Type::from_oid).find(|of| of.name() == plain).map(|of| of.oid());
    named().or(known).and_then(|oid| i32::try_from(oid).ok())
}

fn quoted(text: &str) -> String {
    let doubled = text.replace('\'', "''");
    if text.contains('\\') { format!("E'{}'", doubled.replace('\\', "\\\\")) } else { format!("'{doubled}'") }
}

/// What `format` makes of a pattern and values: `%s`, `%I`, `%L` and `%%`, with places (`%2$s`) and widths.
fn formatted(pattern: &str, values: &[Option<String>]) -> Result<String> {
    /// A wider field is refused.
    const WIDTH_MAX: usize = 1_000;
    let wrong = |text: &str| {
        let fault = Fault::new(SqlState::INVALID_PARAMETER_VALUE, text);
        DataFusionError::External(Box::new(fault))
    };
    let mut out = String::new();
    let mut next = 0;
    let mut pieces = pattern.split('%');
    out.push_str(pieces.next().unwrap_or_default());
    while let Some(piece) = pieces.next() {
        if piece.is_empty() {
            // Two of them stand for one; what comes then is text.
            out.push('%');
            out.push_str(pieces.next().ok_or_else(|| wrong("unterminated format() type specifier"))?);
            continue;
        }
        let (place, piece) = match piece.split_once('$') {
            Some((place, rest)) if !place.is_empty() && place.bytes().all(|byte| byte.is_ascii_digit()) => {
                (place.parse::<usize>().ok().and_then(|place| place.checked_sub(1)), rest)
            }
            _ => (Some(next), piece),
        };
        let (is_left, piece) = piece.strip_prefix('-').map_or((false, piece), |rest| (true, rest));
        let digits = piece.find(|c: char| !c.is_ascii_digit()).unwrap_or(piece.len());
        let (width, piece) = piece.split_at_checked(digits).unwrap_or(("", piece));
        let width: usize = if width.is_empty() { 0 } else { width.parse().unwrap_or(usize::MAX) };
        let place =
            place.ok_or_else(|| wrong("format specifies argument 0, but arguments are numbered from 1"))?;
        let value = values.get(place).ok_or_else(|| wrong("too few arguments for format()"))?;
        next = place.saturating_add(1);
        let mut rest = piece.chars();
        let shown = match (rest.next(), value) {
            (Some('s'), value) => value.clone().unwrap_or_default(),
            (Some('L'), value) => value.as_deref().map_or_else(|| "NULL".to_owned(), quoted),
            (Some('I'), Some(name)) => identifier(name),
            (Some('I'), None) => return Err(wrong("null values cannot be formatted as an SQL identifier")),
            _ => return Err(wrong("unrecognized format() type specifier")),
        };
        match (width, is_left) {
            (WIDTH_MAX.., _) => return Err(wrong("the width of format() is too large")),
            (width, true) => out.push_str(&format!("{shown:<width$}")),
            (width, false) => out.push_str(&format!("{shown:>width$}")),
        }
        out.push_str(rest.as_str());
    }
    Ok(out)
}

/// A name as it is written in SQL; quoted unless it is of small letters, digits and `_`.
fn identifier(name: &str) -> String {
    let is_plain = name.bytes().all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'_'))
        && !name.starts_with(|c: char| c.is_ascii_digit())
        && !name.is_empty();
    if is_plain { name.to_owned() } else { format!("\"{}\"", name.replace('"', "\"\"")) }
}

/// A row of names and values as an object of JSON.
fn object(arrays: &[ArrayRef], row: usize) -> Result<String> {
    let mut out = String::from("{");
    for (at, array) in arrays.iter().enumerate() {
        let value = ScalarValue::try_from_array(array, row)?;
        let is_name = at % 2 == 0;
        if at > 0 {
            out.push_str(if is_name { ", " } else { " : " });
        }
        let is_number = value.data_type().is_numeric() && !is_name;
        match (printed(&value), &value) {
            (None, _) => out.push_str("null"),
            (Some(_), ScalarValue::Boolean(Some(is))) if !is_name => {
                out.push_str(if *is { "true" } else { "false" });
            }
            (Some(text), _) if is_number => out.push_str(&text),
            (Some(text), _) => escape(&text, &mut out),
        }
    }
    out.push('}');
    Ok(out)
}

fn escape(text: &str, out: &mut String) {
    out.push('"');
    for c in text.chars() {
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            c if u32::from(c) < 32 => {
                // Writing to a text does not fail.
                let _ = write!(out, "\\u{:04x}", u32::from(c));
            }
            c => out.push(c),
        }
    }
    out.push('"');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_quoted_and_types_are_found_by_their_names() {
        assert_eq!(quoted("it's"), "'it''s'");
        assert_eq!(quoted("a\\'b"), "E'a\\\\''b'");
        assert_eq!(oid_of("timestamp with time zone"), Some(1184));
        assert_eq!(oid_of("varchar"), Some(1043));
        assert_eq!(oid_of("pg_catalog.int4range"), Some(3904));
        assert_eq!(oid_of("mood"), None);
    }

    #[test]
    fn patterns_are_filled_with_texts_names_and_literals() {
        let values = ["a b", "it's", "plain"].map(|text| Some(text.to_owned()));
        let made = |pattern: &str| formatted(pattern, &values).map_err(|error| error.to_string());
        assert_eq!(made("%s, %L and %I; 100%%s").unwrap(), "a b, 'it''s' and plain; 100%s");
        assert_eq!(made("%1$I %3$s %1$s|%-5s|%2$6L").unwrap(), "\"a b\" plain a b|it's |'it''s'");
        assert_eq!(formatted("%s%L", &[None, None]).unwrap(), "NULL");
        for wrong in ["%", "%s %s %s %s", "%x", "%0$s", "%9999999999999999999999s", "%1", "%I%", "%5$s"] {
            assert!(made(wrong).is_err(), "{wrong}");
        }
        assert!(formatted("%I", &[None]).is_err());
    }

    #[test]
    fn objects_of_json_hold_names_numbers_and_nulls() {
        let arrays: Vec<ArrayRef> = vec![
            Arc::new(StringArray::from(vec!["a\n\""])),
            Arc::new(Int32Array::from(vec![7])),
            Arc::new(StringArray::from(vec!["b"])),
            Arc::new(StringArray::from(vec![None::<&str>])),
        ];
        assert_eq!(object(&arrays, 0).unwrap(), "{\"a\\n\\\"\" : 7, \"b\" : null}");
    }
}
