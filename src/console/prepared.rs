//! Prepared statements and portals of the console: types of parameters, their values, formats of results.
//!
//! What always holds: a `Bind` whose counts do not fit its statement or its body is refused before anything reads a value.

use std::sync::Arc;

use arrow_pg::datatypes::into_pg_type;
use bytes::Bytes;
use datafusion::arrow::datatypes::DataType;
use datafusion::common::{ParamValues, ScalarValue};
use datafusion::logical_expr::LogicalPlan;
use pgwire::api::Type;
use pgwire::api::portal::Format;

use super::dialect::Placeholders;
use super::fault::{Fault, of_engine, of_wire};
use super::run::Running;
use super::statement::Work;
use super::values::Known;
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
    /// As clients know them.
    pub(super) types: Vec<Type>,
    known: Vec<Known>,
    /// What the plan takes where it has chosen the type itself.
    taken: Vec<Option<DataType>>,
}

impl Prepared {
    pub(super) fn new(text: String, work: Work, types: Types) -> Self {
        let Types { said, known, taken, .. } = types;
        let known: Vec<Known> = known.into_iter().map(|known| known.unwrap_or(Known::TEXT)).collect();
        let wire =
            |(at, known): (usize, &Known)| said.get(at).cloned().flatten().unwrap_or_else(|| known.wire());
        let types = known.iter().enumerate().map(wire).collect();
        Self { text: text.into(), work, types, known, taken }
    }
}

/// The types of a statement's parameters: as the client said, else as the statement says, else as its plan needs them, else text.
#[derive(Debug)]
pub(super) struct Types {
    said: Vec<Option<Type>>,
    known: Vec<Option<Known>>,
    /// Those that are written into the statement.
    written: Vec<Option<Known>>,
    taken: Vec<Option<DataType>>,
}

impl Types {
    /// As far as they are known without a plan.
    ///
    /// # Errors
    /// 54000: there are too many parameters.
    pub(super) fn of(places: &Placeholders, said: &[Option<Type>]) -> Result<Self, Fault> {
        let count = places.count.max(said.len());
        if count > PARAMETERS_MAX {
            let text = format!("a statement may have {PARAMETERS_MAX} parameters");
            return Err(Fault::new(SqlState::PROGRAM_LIMIT_EXCEEDED, text));
        }
        let known = |at: usize| {
            // What was said to be a text may stand for anything that has one.
            let said = said.get(at).and_then(Option::as_ref).map(Known::of).filter(|known| !known.is_text());
            let limit = || places.limits.contains(&at).then(|| Known::of(&Type::INT8));
            limit().or(said).or_else(|| places.casts.get(&at).cloned())
        };
        let known: Vec<Option<Known>> = (0..count).map(known).collect();
        Ok(Self { said: said.to_vec(), written: known.clone(), known, taken: Vec::new() })
    }

    /// What is to be written into the statement.
    pub(super) fn written(&self) -> &[Option<Known>] {
        &self.written
    }

    /// Takes the others from the plan; answers whether the statement is to be planned again, with more types written into it.
    ///
    /// # Errors
    /// The plan needs a type that no parameter has.
    pub(super) fn complete(
        &mut self,
        places: &Placeholders,
        plan: Option<&LogicalPlan>,
    ) -> Result<bool, Fault> {
        let inferred = plan.map(parameters).transpose()?.unwrap_or_default();
        let mut again = false;
        self.taken = vec![None; self.known.len()];
        for (at, known) in self.known.iter_mut().enumerate().filter(|(_, known)| known.is_none()) {
            let found = inferred.get(at).cloned().flatten();
            let item = found.as_ref().map(into_pg_type).transpose().map_err(of_wire)?;
            let item = item.as_ref().map_or(Known::TEXT, Known::of);
            let is_list = places.lists.contains(&at);
            let now = if is_list { item.list() } else { item };
            if is_list || found.is_none() {
                again |= plan.is_some();
                if let Some(written) = self.written.get_mut(at) {
                    *written = Some(now.clone());
                }
            } else if let Some(taken) = self.taken.get_mut(at) {
                *taken = found;
            }
            *known = Some(now);
        }
        Ok(again)
    }
}

/// The types of `$1`, `$2`, .. as far as the plan tells them.
fn parameters(plan: &LogicalPlan) -> Result<Vec<Option<DataType>>, Fault> {
    let types = plan.get_parameter_types().map_err(|error| of_engine(&error))?;
    Ok((1..=PARAMETERS_MAX).map(|at| types.get(&format!("${at}")).cloned().flatten()).collect())
}

/// What the client says of types in a `Parse` message; `None`: nothing.
///
/// # Errors
/// 08P01: the message is not whole.
pub(super) fn said_types(body: &[u8]) -> Result<Vec<Option<Type>>, Fault> {
    said(body).map_err(violation)
}

fn said(body: &[u8]) -> Result<Vec<Option<Type>>, FrameError> {
    let mut fields = Fields::of(body);
    fields.cstr("statement name")?;
    fields.cstr("query")?;
    let count = fields.i16("parameter types")?;
    let known = |oid: u32| {
        (oid != 0 && oid != Type::UNKNOWN.oid()).then(|| Type::from_oid(oid).unwrap_or(Type::TEXT))
    };
    (0..count).map(|_| fields.i32("parameter type").map(|oid| known(oid.cast_unsigned()))).collect()
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
    /// A cursor whose values are binary, whoever asks.
    pub(super) is_binary: bool,
    /// It outlives the transaction, and is not of an earlier one.
    pub(super) holds: bool,
    pub(super) is_new: bool,
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
            is_binary: false,
            holds: false,
            is_new: false,
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
            Work::Nothing | Work::Copy(..) | Work::Open(_) | Work::Fetch(_) | Work::Tell(..) => results.len(),
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
        let values = (count > 0).then(|| decode(prepared, &formats, &values)).transpose()?;
        let (text, work) = (Arc::clone(&prepared.text), prepared.work.clone());
        Ok(Self { text, format, values, ..Self::of(work) })
    }
}

fn decode(prepared: &Prepared, formats: &[i16], values: &[Option<Bytes>]) -> Result<ParamValues, Fault> {
    let one = |(at, sent): (usize, &Option<Bytes>)| -> Result<ScalarValue, Fault> {
        let format = if formats.len() == 1 { formats.first() } else { formats.get(at) };
        let is_binary = format.is_some_and(|format| *format == 1);
        let known = prepared.known.get(at).unwrap_or(&Known::TEXT);
        let wire = prepared.types.get(at).unwrap_or(&Type::TEXT);
        let value = known.value(wire, sent.as_deref(), is_binary)?;
        match prepared.taken.get(at).and_then(Option::as_ref) {
            Some(taken) => value.cast_to(taken).map_err(|error| of_engine(&error)),
            None => Ok(value),
        }
    };
    let values: Vec<ScalarValue> = values.iter().enumerate().map(one).collect::<Result<_, _>>()?;
    Ok(ParamValues::from(values))
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
