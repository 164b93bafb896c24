//! The messages of one client of the console, in their order.
//!
//! What always holds: each `Query` and `Sync` is answered with one `ReadyForQuery`; after an error in the extended protocol
//! nothing is done until `Sync`; names, portals and what waits to be sent are bounded.
//!
//! Source: protocol-flow

use std::collections::HashMap;
use std::sync::Arc;

use datafusion::prelude::SessionContext;
use datafusion::sql::sqlparser::ast::Statement;
use pgwire::api::portal::Format;
use tokio::sync::mpsc;

use super::aside;
use super::dialect::Dialect;
use super::fault::Fault;
use super::prepared::{Portal, Prepared};
use super::reads::{Ended, Reads};
use super::run::{Limits, Running, fields};
use super::settings::Settings;
use super::statement::{CopyForm, Effect, Work, prepare};
use super::{Answer, Identity, Inner, Message, Place, Stop, context, wire};
use crate::protocol::fields::Fields;
use crate::protocol::frontend::{self as says, Target};
use crate::protocol::sqlstate::SqlState;
use crate::protocol::tag::{backend, frontend};
use crate::protocol::write;

/// Answers go on in pieces of about this size.
const PIECE_BYTES: usize = 32 << 10;
/// Prepared statements, and portals, that a session may have at one time.
const NAMES_MAX: usize = 256;

/// The console's end of a line.
pub(super) struct Ends {
    pub(super) incoming: mpsc::Receiver<Message>,
    pub(super) outgoing: mpsc::Sender<Answer>,
    pub(super) stop: Arc<Stop>,
}

/// Talks with one client until it leaves.
pub(super) async fn run(
    console: Arc<Inner>,
    identity: Identity,
    settings: Settings,
    ends: Ends,
    _place: Place,
) {
    let context = Box::pin(context::context(&console, &identity)).await;
    let Ends { mut incoming, outgoing, stop } = ends;
    let mut talk = Conversation {
        dialect: Dialect::new(),
        context: context.unwrap_or_else(|error| {
            tracing::error!(%error, "a session of the console has no catalogue");
            SessionContext::new()
        }),
        console,
        settings,
        reads: Reads::new(identity.log, identity.mode),
        outgoing,
        stop,
        out: Vec::new(),
        status: b'I',
        ready: None,
        skipping: false,
        statements: HashMap::new(),
        portals: HashMap::new(),
    };
    while let Some(message) = incoming.recv().await {
        if Box::pin(talk.take(&message)).await.is_err() {
            break;
        }
    }
    talk.reads.close("console session ended");
}

/// The client is gone.
pub(super) struct Gone;

struct Conversation {
    console: Arc<Inner>,
    context: SessionContext,
    dialect: Dialect,
    settings: Settings,
    reads: Reads,
    outgoing: mpsc::Sender<Answer>,
    stop: Arc<Stop>,
    out: Vec<u8>,
    /// Transaction status.
    status: u8,
    /// `ReadyForQuery` is in `out`.
    ready: Option<u8>,
    /// An error came in a batch: nothing until `Sync`.
    skipping: bool,
    statements: HashMap<Vec<u8>, Arc<Prepared>>,
    portals: HashMap<Vec<u8>, Portal>,
}

/// What an execution has given so far.
#[derive(Default)]
struct Given {
    rows: u64,
    bytes: u64,
    tag: String,
    suspended: bool,
}

impl Conversation {
    async fn take(&mut self, message: &Message) -> Result<(), Gone> {
        if self.skipping && message.tag != frontend::SYNC {
            return Ok(());
        }
        let done = match message.tag {
            frontend::QUERY => return Box::pin(self.query(message)).await,
            frontend::PARSE => Box::pin(self.parse(&message.body)).await,
            frontend::BIND => self.bind(&message.body),
            frontend::DESCRIBE => self.describe(&message.body),
            frontend::EXECUTE => return Box::pin(self.execute(message)).await,
            frontend::CLOSE => {
                match Target::read(&message.body) {
                    Target::Statement(name) => drop(self.statements.remove(name)),
                    Target::Portal(name) => drop(self.portals.remove(name)),
                    Target::Unknown => {}
                }
                wire::bare(&mut self.out, backend::CLOSE_COMPLETE);
                Ok(())
            }
            frontend::FLUSH => return self.send().await,
            frontend::SYNC => {
                self.skipping = false;
                self.portals.clear();
                return self.be_ready().await;
            }
            frontend::COPY_DATA | frontend::COPY_DONE | frontend::COPY_FAIL => Ok(()),
            frontend::FUNCTION_CALL => {
                let text = "function calls by message are not supported";
                self.fail(&Fault::new(SqlState::FEATURE_NOT_SUPPORTED, text));
                return self.be_ready().await;
            }
            _ => return Err(Gone),
        };
        if let Err(fault) = done {
            self.fail(&fault);
            self.skipping = true;
            return self.send().await;
        }
        Ok(())
    }

    fn fail(&mut self, fault: &Fault) {
        write::error_response(&mut self.out, &fault.report());
        if self.status == b'T' {
            self.status = b'E';
        }
    }

    async fn be_ready(&mut self) -> Result<(), Gone> {
        if let Err(fault) = self.reads.settle().await {
            self.fail(&fault);
        }
        write::ready_for_query(&mut self.out, self.status);
        self.ready = Some(self.status);
        self.send().await
    }

    async fn send(&mut self) -> Result<(), Gone> {
        if self.out.is_empty() {
            return Ok(());
        }
        let answer = Answer { bytes: std::mem::take(&mut self.out), ready: self.ready.take() };
        self.outgoing.send(answer).await.map_err(|_| Gone)
    }

    /// A text of any number of statements.
    async fn query(&mut self, message: &Message) -> Result<(), Gone> {
        let text = String::from_utf8_lossy(says::query(&message.body)).into_owned();
        if let Err(fault) = self.reads.begin(&text, message.body.len()).await {
            self.fail(&fault);
            return self.be_ready().await;
        }
        let mut given = Given::default();
        let done = Box::pin(self.all(&text, &mut given)).await;
        self.booked(&given, done.as_ref().err());
        if let Err(fault) = done {
            self.fail(&fault);
        }
        self.be_ready().await
    }

    fn booked(&mut self, given: &Given, fault: Option<&Fault>) {
        let status = if fault.is_some() && self.status == b'T' { b'E' } else { self.status };
        self.reads.end(Ended {
            rows: given.rows,
            bytes_out: given.bytes,
            tag: &given.tag,
            fault,
            transaction_status: status,
        });
    }

    async fn all(&mut self, text: &str, given: &mut Given) -> Result<(), Fault> {
        let statements = self.dialect.parse(text)?;
        if statements.is_empty() {
            wire::bare(&mut self.out, backend::EMPTY_QUERY_RESPONSE);
        }
        let (console, stop) = (Arc::clone(&self.console), Arc::clone(&self.stop));
        let limits = Limits::begin(&console, &stop, self.settings.statement_timeout());
        for statement in statements {
            let work = self.prepare(statement, &limits).await?;
            let mut portal = Portal::of(work);
            portal.is_described = true;
            Box::pin(self.work(&mut portal, 0, given, &limits)).await?;
        }
        Ok(())
    }

    /// Plans a statement, on a thread of its own.
    async fn prepare(&self, statement: Statement, limits: &Limits<'_>) -> Result<Work, Fault> {
        let permit = limits.within(Arc::clone(&self.console.plans).acquire_owned()).await?;
        let permit = permit.map_err(|_| aside::broken())?;
        let (context, settings) = (self.context.clone(), self.settings.clone());
        let planned =
            aside::ask(
                permit,
                move || async move { Box::pin(prepare(&context, &settings, statement)).await },
            );
        limits.within(planned).await?
    }

    async fn parse(&mut self, body: &[u8]) -> Result<(), Fault> {
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
        let mut statements = self.dialect.parse(&text)?;
        if statements.len() > 1 {
            let text = "cannot insert multiple commands into a prepared statement";
            return Err(Fault::new(SqlState::SYNTAX_ERROR, text));
        }
        let (console, stop) = (Arc::clone(&self.console), Arc::clone(&self.stop));
        let limits = Limits::begin(&console, &stop, self.settings.statement_timeout());
        let work = match statements.pop() {
            Some(statement) => self.prepare(statement, &limits).await?,
            None => Work::Nothing,
        };
        let prepared = Prepared::new(text, work, body)?;
        self.statements.insert(name, Arc::new(prepared));
        wire::bare(&mut self.out, backend::PARSE_COMPLETE);
        Ok(())
    }

    fn bind(&mut self, body: &[u8]) -> Result<(), Fault> {
        let names = says::Bind::read(body);
        let prepared = self.statements.get(names.statement).ok_or_else(|| no_statement(names.statement))?;
        if self.portals.len() >= NAMES_MAX {
            let text = format!("more than {NAMES_MAX} portals");
            return Err(Fault::new(SqlState::PROGRAM_LIMIT_EXCEEDED, text));
        }
        let portal = Portal::bind(prepared, body)?;
        self.portals.insert(names.portal.to_vec(), portal);
        wire::bare(&mut self.out, backend::BIND_COMPLETE);
        Ok(())
    }

    fn describe(&mut self, body: &[u8]) -> Result<(), Fault> {
        let (work, format) = match Target::read(body) {
            Target::Statement(name) => {
                let prepared = self.statements.get(name).ok_or_else(|| no_statement(name))?;
                wire::parameter_description(&mut self.out, &prepared.types);
                (&prepared.work, Format::UnifiedText)
            }
            Target::Portal(name) => {
                let portal = self.portals.get_mut(name).ok_or_else(|| no_portal(name))?;
                portal.is_described = false;
                (&portal.work, portal.format.clone())
            }
            Target::Unknown => {
                return Err(Fault::new(SqlState::PROTOCOL_VIOLATION, "invalid DESCRIBE message subtype"));
            }
        };
        match work {
            Work::Rows(plan) => wire::row_description(&mut self.out, &fields(plan, &format)?),
            Work::Nothing | Work::Copy(..) | Work::Tell(..) => wire::bare(&mut self.out, backend::NO_DATA),
        }
        Ok(())
    }

    async fn execute(&mut self, message: &Message) -> Result<(), Gone> {
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

    /// Does what a portal stands for; at most `rows_max` rows, 0: all.
    async fn work(
        &mut self,
        portal: &mut Portal,
        rows_max: u64,
        given: &mut Given,
        limits: &Limits<'_>,
    ) -> Result<(), Fault> {
        let ends = matches!(&portal.work, Work::Tell(_, Effect::End));
        if self.status == b'E' && !ends {
            let text = "current transaction is aborted, commands ignored until end of transaction block";
            return Err(Fault::new(SqlState::IN_FAILED_TRANSACTION, text));
        }
        match portal.work.clone() {
            Work::Nothing => wire::bare(&mut self.out, backend::EMPTY_QUERY_RESPONSE),
            Work::Tell(tag, effect) => {
                let tag = if self.status == b'E' { "ROLLBACK" } else { tag };
                self.effect(effect);
                given.tag = tag.to_owned();
                wire::command_complete(&mut self.out, tag);
            }
            Work::Rows(plan) => {
                if portal.running.is_none() {
                    let fields = fields(&plan, &portal.format)?;
                    if portal.is_described {
                        wire::row_description(&mut self.out, &fields);
                    }
                    let values = portal.values.take();
                    portal.running =
                        Some(Running::start(&self.console, &self.context, plan, values, fields)?);
                }
                self.rows(portal, rows_max, given, limits).await?;
            }
            Work::Copy(plan, form) => {
                let fields = fields(&plan, &Format::UnifiedText)?;
                let values = portal.values.take();
                let mut running =
                    Running::start(&self.console, &self.context, plan, values, Arc::clone(&fields))?;
                wire::copy_out(&mut self.out, fields.len());
                if form.header {
                    wire::copy_header(&mut self.out, form, &fields);
                }
                self.copy(&mut running, form, given, limits).await?;
            }
        }
        Ok(())
    }

    async fn rows(
        &mut self,
        portal: &mut Portal,
        rows_max: u64,
        given: &mut Given,
        limits: &Limits<'_>,
    ) -> Result<(), Fault> {
        let Some(running) = &mut portal.running else { return Ok(()) };
        let first = given.rows;
        loop {
            if rows_max > 0 && given.rows.saturating_sub(first) >= rows_max {
                given.suspended = true;
                wire::bare(&mut self.out, backend::PORTAL_SUSPENDED);
                return Ok(());
            }
            let Some(row) = running.next(limits).await? else { break };
            given.rows = given.rows.saturating_add(1);
            let before = self.out.len();
            wire::data_row(&mut self.out, &row);
            self.count(given, before);
            self.piece(limits).await?;
        }
        given.tag = format!("SELECT {}", given.rows.saturating_sub(first));
        wire::command_complete(&mut self.out, &given.tag);
        Ok(())
    }

    async fn copy(
        &mut self,
        running: &mut Running,
        form: CopyForm,
        given: &mut Given,
        limits: &Limits<'_>,
    ) -> Result<(), Fault> {
        while let Some(row) = running.next(limits).await? {
            given.rows = given.rows.saturating_add(1);
            let before = self.out.len();
            wire::copy_row(&mut self.out, form, &row);
            self.count(given, before);
            self.piece(limits).await?;
        }
        wire::bare(&mut self.out, backend::COPY_DONE);
        given.tag = format!("COPY {}", given.rows);
        wire::command_complete(&mut self.out, &given.tag);
        Ok(())
    }

    fn count(&self, given: &mut Given, before: usize) {
        let more = self.out.len().saturating_sub(before);
        given.bytes = given.bytes.saturating_add(u64::try_from(more).unwrap_or(u64::MAX));
    }

    /// Sends what has gathered; waits while the client is slow, no longer than the statement may take.
    async fn piece(&mut self, limits: &Limits<'_>) -> Result<(), Fault> {
        if self.out.len() < PIECE_BYTES {
            return Ok(());
        }
        let answer = Answer { bytes: std::mem::take(&mut self.out), ready: self.ready.take() };
        let sent = limits.within(self.outgoing.send(answer)).await?;
        sent.map_err(|_| Fault::new(SqlState::CONNECTION_FAILURE, "the client has left"))
    }

    fn effect(&mut self, effect: Effect) {
        match effect {
            Effect::None => {}
            Effect::Begin => self.status = b'T',
            Effect::End => self.status = b'I',
            Effect::Set(name, value) => {
                self.settings.put(&name, &value);
                let reported = self.settings.reported().find(|(known, _)| *known == name);
                if let Some((name, value)) = reported {
                    write::parameter_status(&mut self.out, name.as_bytes(), value.as_bytes());
                }
            }
            Effect::Deallocate(Some(name)) => drop(self.statements.remove(name.as_bytes())),
            Effect::Deallocate(None) => self.statements.clear(),
        }
    }
}

fn no_statement(name: &[u8]) -> Fault {
    let text = match name {
        b"" => "unnamed prepared statement does not exist".to_owned(),
        name => format!("prepared statement \"{}\" does not exist", String::from_utf8_lossy(name)),
    };
    Fault::new(SqlState::INVALID_STATEMENT_NAME, text)
}

fn no_portal(name: &[u8]) -> Fault {
    let text = format!("portal \"{}\" does not exist", String::from_utf8_lossy(name));
    Fault::new(SqlState::INVALID_CURSOR_NAME, text)
}
