//! Prepared statements and portals of the console: types of parameters, their values, formats of results.
//!
//! What always holds: a `Bind` whose counts do not fit its statement or its body is refused before anything reads a value.

use std::sync::Arc;

use arrow_pg::datatypes::df::deserialize_parameters_with_server_types;
use arrow_pg::datatypes::into_pg_type;
use bytes::Bytes;
use datafusion::arrow::datatypes::DataType;
use datafusion::common::ParamValues;
use datafusion::logical_expr::LogicalPlan;
use pgwire::api::Type;
use pgwire::api::portal::{Format, Portal as Bound};
use pgwire::api::stmt::StoredStatement;
use pgwire::messages::extendedquery::Bind;

use super::fault::{Fault, of_engine, of_wire};
use super::run::Running;
use super::statement::Work;
use crate::protocol::fields::Fields;
use crate::protocol::frame::FrameError;
use crate::protocol::sqlstate::SqlState;

/// Parameters that a statement may have.
const PARAMETERS_MAX: usize = 1_000;

/// A prepared statement.
#[derive(Debug)]
pub(super) struct Prepared {
    pub(super) text: Arc<str>,
    pub(super) work: Work,
    /// Types of the parameters: as the client said, else as the plan infers, else text.
    pub(super) types: Vec<Type>,
    inferred: Vec<Option<DataType>>,
}

impl Prepared {
    /// `body` is the `Parse` message's.
    pub(super) fn new(text: String, work: Work, body: &[u8]) -> Result<Self, Fault> {
        let inferred = match &work {
            Work::Rows(plan) | Work::Copy(plan, _) => parameters(plan)?,
            Work::Nothing | Work::Tell(..) => Vec::new(),
        };
        let said = said_types(body).map_err(violation)?;
        let count = inferred.len().max(said.len());
        if count > PARAMETERS_MAX {
            let text = format!("a statement may have {PARAMETERS_MAX} parameters");
            return Err(Fault::new(SqlState::PROGRAM_LIMIT_EXCEEDED, text));
        }
        let of = |at: usize| -> Result<Type, Fault> {
            if let Some(said) = said.get(at).copied().filter(|oid| ![0, Type::UNKNOWN.oid()].contains(oid)) {
                return Ok(Type::from_oid(said).unwrap_or(Type::TEXT));
            }
            match inferred.get(at).and_then(Option::as_ref) {
                Some(inferred) => into_pg_type(inferred).map_err(of_wire),
                None => Ok(Type::TEXT),
            }
        };
        let types = (0..count).map(of).collect::<Result<_, _>>()?;
        Ok(Self { text: text.into(), work, types, inferred })
    }
}

/// The types of `$1`, `$2`, .. as far as the plan tells them.
fn parameters(plan: &LogicalPlan) -> Result<Vec<Option<DataType>>, Fault> {
    let types = plan.get_parameter_types().map_err(|error| of_engine(&error))?;
    let number = |name: &str| name.trim_start_matches('$').parse::<usize>().unwrap_or(0);
    let count = types.keys().map(|name| number(name)).max().unwrap_or(0);
    if count > PARAMETERS_MAX {
        return Ok(vec![None; count.min(PARAMETERS_MAX.saturating_add(1))]);
    }
    Ok((1..=count).map(|at| types.get(&format!("${at}")).cloned().flatten()).collect())
}

fn said_types(body: &[u8]) -> Result<Vec<u32>, FrameError> {
    let mut fields = Fields::of(body);
    fields.cstr("statement name")?;
    fields.cstr("query")?;
    let count = fields.i16("parameter types")?;
    (0..count).map(|_| fields.i32("parameter type").map(i32::cast_unsigned)).collect()
}

fn violation(error: FrameError) -> Fault {
    Fault::new(SqlState::PROTOCOL_VIOLATION, error.to_string())
}

/// A statement with its values, perhaps running.
pub(super) struct Portal {
    pub(super) text: Arc<str>,
    pub(super) work: Work,
    pub(super) format: Format,
    pub(super) values: Option<ParamValues>,
    pub(super) running: Option<Running>,
    /// A row description goes ahead of its rows: of a `Query`'s.
    pub(super) is_described: bool,
}

impl Portal {
    /// Of a statement without parameters.
    pub(super) fn of(work: Work) -> Self {
        Self {
            text: "".into(),
            work,
            format: Format::UnifiedText,
            values: None,
            running: None,
            is_described: false,
        }
    }

    /// `body` is the `Bind` message's.
    pub(super) fn bind(prepared: &Arc<Prepared>, body: &[u8]) -> Result<Self, Fault> {
        let (formats, values, results) = read(body).map_err(violation)?;
        let count = prepared.types.len();
        if values.len() != count {
            let text = format!("bind message supplies {} parameters, but {count} are needed", values.len());
            return Err(Fault::new(SqlState::PROTOCOL_VIOLATION, text));
        }
        let columns = match &prepared.work {
            Work::Rows(plan) => plan.schema().fields().len(),
            Work::Nothing | Work::Copy(..) | Work::Tell(..) => results.len(),
        };
        for (found, most) in [(formats.len(), count), (results.len(), columns)] {
            if found > 1 && found != most {
                let text = format!("bind message has {found} formats, but {most} are needed");
                return Err(Fault::new(SqlState::PROTOCOL_VIOLATION, text));
            }
        }
        let format = match results.as_slice() {
            [] => Format::UnifiedText,
            [one] => Format::from(*one),
            many => Format::Individual(many.to_vec()),
        };
        let values = (count > 0).then(|| decode(prepared, formats, values)).transpose()?;
        let (text, work) = (Arc::clone(&prepared.text), prepared.work.clone());
        Ok(Self { text, work, format, values, running: None, is_described: false })
    }
}

fn decode(prepared: &Prepared, formats: Vec<i16>, values: Vec<Option<Bytes>>) -> Result<ParamValues, Fault> {
    let types: Vec<Option<Type>> = prepared.types.iter().cloned().map(Some).collect();
    let stored = Arc::new(StoredStatement::new(String::new(), (), types));
    let bound =
        Bound::try_new(&Bind::new(None, None, formats, values, Vec::new()), stored).map_err(of_wire)?;
    let inferred: Vec<Option<&DataType>> = prepared.inferred.iter().map(Option::as_ref).collect();
    let wire: Vec<Option<&Type>> = prepared.types.iter().map(Some).collect();
    deserialize_parameters_with_server_types(&bound, &inferred, &wire).map_err(of_wire)
}

type Read = (Vec<i16>, Vec<Option<Bytes>>, Vec<i16>);

fn read(body: &[u8]) -> Result<Read, FrameError> {
    let mut fields = Fields::of(body);
    fields.cstr("portal name")?;
    fields.cstr("statement name")?;
    let formats = codes(&mut fields)?;
    let mut values = Vec::new();
    for _ in 0..fields.i16("parameter count")? {
        values.push(match usize::try_from(fields.i32("length")?) {
            Ok(length) => Some(Bytes::copy_from_slice(fields.bytes(length, "parameter")?)),
            Err(_) => None,
        });
    }
    let results = codes(&mut fields)?;
    fields.end()?;
    Ok((formats, values, results))
}

fn codes(fields: &mut Fields<'_>) -> Result<Vec<i16>, FrameError> {
    (0..fields.i16("format count")?).map(|_| fields.i16("format")).collect()
}
