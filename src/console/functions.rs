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

use super::settings::Told;
use super::values::Known;

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
                What::UserById(login) => Some(login.clone()),
                What::CurrentSchema | What::CurrentSchemas | What::ToRegtype => None,
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
