//! Prepared statements and portals: `Parse`, `Bind`, `Describe` and `Execute`.
//!
//! What always holds: a name is given once; a portal keeps the rows that were not asked for yet, until its transaction ends.

use std::sync::Arc;

use datafusion::sql::sqlparser::ast::Statement;
use pgwire::api::Type;
use pgwire::api::portal::Format;

use super::{Conversation, Given, Gone, NAMES_MAX, no_portal, no_statement};
use crate::console::cursors;
use crate::console::dialect::Placeholders;
use crate::console::fault::Fault;
use crate::console::prepared::{Portal, Prepared, Types, said_types};
use crate::console::run::{Limits, fields};
use crate::console::statement::{Work, leaves_failed};
use crate::console::{Message, wire};
use crate::protocol::fields::Fields;
use crate::protocol::frontend::{self as says, Target};
use crate::protocol::sqlstate::SqlState;
use crate::protocol::tag::backend;

impl Conversation {
    pub(super) async fn parse(&mut self, body: &[u8]) -> Result<(), Fault> {
        let parse_message = says::Parse::read(body);
        let name = parse_message.name.to_vec();
        if !name.is_empty() && self.statements.contains_key(&name) {
            let text = format!("prepared statement \"{}\" already exists", String::from_utf8_lossy(&name));
            return Err(Fault::new(SqlState::DUPLICATE_STATEMENT, text));
        }
        if self.statements.len() >= NAMES_MAX {
            let text = format!("more than {NAMES_MAX} prepared statements");
            return Err(Fault::new(SqlState::PROGRAM_LIMIT_EXCEEDED, text));
        }
        let text = String::from_utf8_lossy(parse_message.text).into_owned();
        let mut statements = self.dialect.read(&text)?;
        if statements.len() > 1 {
            let text = "cannot insert multiple commands into a prepared statement";
            return Err(Fault::new(SqlState::SYNTAX_ERROR, text));
        }
        let (console, stop) = (Arc::clone(&self.console), Arc::clone(&self.stop));
        let limits = Limits::begin(&console, &stop, self.settings.statement_timeout());
        let said = said_types(body)?;
        let prepared = match statements.pop() {
            Some(statement) => {
                if !leaves_failed(&statement) {
                    self.transaction.check()?;
                }
                Box::pin(self.typed(text, statement, &said, &limits)).await?
            }
            None => Prepared::new(text, Work::Nothing, Types::of(&Placeholders::default(), &said)?),
        };
        self.statements.insert(name, Arc::new(prepared));
        wire::bare(&mut self.out, backend::PARSE_COMPLETE);
        Ok(())
    }

    /// Plans a statement with the types of its parameters: as the client said, as the statement says, or as the plan needs them.
    async fn typed(
        &self,
        text: String,
        statement: Statement,
        said: &[Option<Type>],
        limits: &Limits<'_>,
    ) -> Result<Prepared, Fault> {
        let places = Placeholders::of(&statement);
        let mut types = Types::of(&places, said)?;
        let mut first = statement.clone();
        places.write(&mut first, types.written());
        let work = self.prepare(first, limits).await?;
        if !types.complete(&places, work.plan())? {
            return Ok(Prepared::new(text, work, types));
        }
        let mut second = statement;
        places.write(&mut second, types.written());
        let work = self.prepare(second, limits).await?;
        Ok(Prepared::new(text, work, types))
    }

    pub(super) fn bind(&mut self, body: &[u8]) -> Result<(), Fault> {
        let names = says::Bind::read(body);
        let prepared = self.statements.get(names.statement).ok_or_else(|| no_statement(names.statement))?;
        if self.portals.len() >= NAMES_MAX {
            let text = format!("more than {NAMES_MAX} portals");
            return Err(Fault::new(SqlState::PROGRAM_LIMIT_EXCEEDED, text));
        }
        if !names.portal.is_empty() && self.portals.contains_key(names.portal) {
            let text = format!("cursor \"{}\" already exists", String::from_utf8_lossy(names.portal));
            return Err(Fault::new(SqlState::DUPLICATE_CURSOR, text));
        }
        let portal = Portal::bind(prepared, body)?;
        self.portals.insert(names.portal.to_vec(), portal);
        wire::bare(&mut self.out, backend::BIND_COMPLETE);
        Ok(())
    }

    pub(super) fn describe(&mut self, body: &[u8]) -> Result<(), Fault> {
        let (work, format) = match Target::read(body) {
            Target::Statement(name) => {
                let prepared = self.statements.get(name).ok_or_else(|| no_statement(name))?;
                wire::parameter_description(&mut self.out, &prepared.types);
                (&prepared.work, Format::UnifiedText)
            }
            Target::Portal(name) => {
                let portal = self.portals.get(name).ok_or_else(|| no_portal(name))?;
                (&portal.work, portal.format.clone())
            }
            Target::Unknown => {
                return Err(Fault::new(SqlState::PROTOCOL_VIOLATION, "invalid DESCRIBE message subtype"));
            }
        };
        let described = match work {
            Work::Rows(plan) => Some(fields(plan, &format)?),
            Work::Fetch(fetching) if !fetching.moves => {
                let cursor = self.portals.get(fetching.name.as_bytes());
                let cursor = cursor.ok_or_else(|| cursors::missing(&fetching.name))?;
                let format = if cursor.is_binary { Format::UnifiedBinary } else { format };
                cursor.work.plan().map(|plan| fields(plan, &format)).transpose()?
            }
            Work::Nothing | Work::Copy(..) | Work::Open(_) | Work::Fetch(_) | Work::Tell(..) => None,
        };
        match described {
            Some(fields) => wire::row_description(&mut self.out, &fields),
            None => wire::bare(&mut self.out, backend::NO_DATA),
        }
        Ok(())
    }

    pub(super) async fn execute(&mut self, message: &Message) -> Result<(), Gone> {
        let name = says::execute(&message.body).to_vec();
        let mut body = Fields::of(&message.body);
        let rows_max = body.cstr("portal name").and_then(|_| body.i32("rows")).unwrap_or(0);
        let rows_max = u64::try_from(rows_max).unwrap_or(0);
        let Some(mut portal) = self.portals.remove(&name) else {
            self.fail(&no_portal(&name));
            self.skipping = true;
            return self.send().await;
        };
        let text = Arc::clone(&portal.text);
        let mut given = Given::default();
        let done = match self.reads.begin(&text, message.body.len()).await {
            Ok(()) => {
                let (console, stop) = (Arc::clone(&self.console), Arc::clone(&self.stop));
                let limits = Limits::begin(&console, &stop, self.settings.statement_timeout());
                let done = Box::pin(self.work(&mut portal, rows_max, &mut given, &limits)).await;
                self.booked(&given, done.as_ref().err());
                done
            }
            Err(fault) => Err(fault),
        };
        match done {
            Ok(()) => {
                if given.suspended {
                    self.portals.insert(name, portal);
                }
            }
            Err(fault) => {
                self.fail(&fault);
                self.skipping = true;
            }
        }
        self.send().await
    }
}
