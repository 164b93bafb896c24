//! The messages of one client of the console, in their order.
//!
//! What always holds: each `Query` and `Sync` is answered with one `ReadyForQuery`; after an error in the extended protocol
//! nothing is done until `Sync`; names, portals and what waits to be sent are bounded; a portal ends with its transaction unless it is
//! a cursor that holds.
//!
//! ```text
//! extended.rs  prepared statements and portals        work.rs  what a statement does: rows, copies, cursors, effects
//! ```
//!
//! Source: protocol-flow

mod extended;
mod work;

use std::collections::HashMap;
use std::sync::Arc;

use datafusion::prelude::SessionContext;
use datafusion::sql::sqlparser::ast::Statement;
use tokio::sync::mpsc;

use super::aside;
use super::dialect::Dialect;
use super::fault::Fault;
use super::prepared::{Portal, Prepared};
use super::reads::{Ended, Reads};
use super::run::Limits;
use super::settings::{Settings, Told};
use super::statement::{Work, leaves_failed, prepare};
use super::transaction::Transaction;
use super::{Answer, Identity, Inner, Message, Place, Stop, context, wire};
use crate::protocol::frontend::{self as says, Target};
use crate::protocol::sqlstate::SqlState;
use crate::protocol::tag::{backend, frontend};
use crate::protocol::write;

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
    let told = Told::default();
    told.tell(&settings);
    let context = Box::pin(context::context(&console, &identity, &told)).await;
    let Ends { mut incoming, outgoing, stop } = ends;
    let client = outgoing.clone();
    let mut talk = Conversation {
        dialect: Dialect::new(),
        context: context.unwrap_or_else(|error| {
            tracing::error!(%error, "a session of the console has no catalogue");
            SessionContext::new()
        }),
        console,
        settings,
        told,
        reads: Reads::new(identity.log, identity.mode),
        outgoing,
        stop,
        out: Vec::new(),
        transaction: Transaction::none(),
        ready: None,
        skipping: false,
        statements: HashMap::new(),
        portals: HashMap::new(),
    };
    while let Some(message) = incoming.recv().await {
        let taken = tokio::select! {
            biased;
            taken = Box::pin(talk.take(&message)) => taken,
            // What nobody waits for is not read to its end.
            () = client.closed() => {
                talk.reads.leave();
                Err(Gone)
            }
        };
        if taken.is_err() {
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
    told: Told,
    reads: Reads,
    outgoing: mpsc::Sender<Answer>,
    stop: Arc<Stop>,
    out: Vec<u8>,
    transaction: Transaction,
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
        self.transaction.fail();
    }

    async fn be_ready(&mut self) -> Result<(), Gone> {
        if let Err(fault) = self.reads.settle().await {
            self.fail(&fault);
        }
        let status = self.transaction.status();
        if status == b'I' {
            self.portals.retain(|_, portal| portal.holds);
        }
        write::ready_for_query(&mut self.out, status);
        self.ready = Some(status);
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
        let status =
            if fault.is_some() { self.transaction.status_failed() } else { self.transaction.status() };
        self.reads.end(Ended {
            rows: given.rows,
            bytes_out: given.bytes,
            tag: &given.tag,
            fault,
            transaction_status: status,
        });
    }

    async fn all(&mut self, text: &str, given: &mut Given) -> Result<(), Fault> {
        let statements = self.dialect.read(text)?;
        if statements.is_empty() {
            wire::bare(&mut self.out, backend::EMPTY_QUERY_RESPONSE);
        }
        let (console, stop) = (Arc::clone(&self.console), Arc::clone(&self.stop));
        let limits = Limits::begin(&console, &stop, self.settings.statement_timeout());
        for statement in statements {
            if !leaves_failed(&statement) {
                self.transaction.check()?;
            }
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
        let statement = self.dialect.adapt(statement);
        let planned =
            aside::ask(
                permit,
                move || async move { Box::pin(prepare(&context, &settings, statement)).await },
            );
        limits.within(planned).await?
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
