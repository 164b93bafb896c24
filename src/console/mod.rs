//! The database `onevault`: SQL over the audit log, for auditors and operators.
//!
//! [`Console::attach`] gives a session of the relay a [`Line`] to a conversation on a thread of the console's own; each query
//! has another, at a lower priority, so that none delays a worker. What always holds: who reads is handed over with the line and stands in
//! nothing a client sends; every read is recorded, with its text, rows and outcome; whatever is not a read is refused.
//! This room knows nothing of sockets, passwords and pools.
//!
//! ```text
//! conversation.rs  the messages of one client      statement.rs  what a text may do · settings.rs  SET and SHOW
//! run.rs           a plan's rows, within limits    reads.rs      the record of each read
//! aside.rs         threads of queries              shims.rs      functions that tools ask for
//! context.rs       what a session may see          tables.rs, scan.rs  the log as tables
//! batch.rs         rows as columns                 prepared.rs   parameters and portals
//! checkpoints.rs   what was signed, as a table      usage.rs      sums over the log
//! dialect.rs       PostgreSQL's ways of SQL        catalogue.rs  pg_catalog as it is here
//! live.rs          sessions and pools as tables    words.rs      PgBouncer's SHOW
//! wire.rs          answers as bytes                fault.rs      errors with their codes
//! transaction.rs   what ends with a transaction    cursors.rs    DECLARE and FETCH
//! copy.rs          COPY .. TO STDOUT               values.rs     types and values of parameters
//! moment.rs        times as people write them      literals.rs   texts in a plan that are times
//! functions.rs     PostgreSQL's functions that the engine lacks    operators.rs  operators by their numbers
//! ```

mod aside;
mod batch;
mod catalogue;
mod checkpoints;
mod context;
mod conversation;
mod copy;
mod cursors;
mod dialect;
mod fault;
mod files;
mod functions;
mod literals;
mod live;
mod moment;
mod operators;
mod prepared;
mod reads;
mod run;
mod scan;
mod settings;
mod shims;
mod statement;
mod stop;
mod tables;
mod transaction;
mod usage;
mod values;
mod wire;
mod words;

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::runtime::Builder;
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::task::JoinSet;

use crate::audit::{Log, SessionLog};
use crate::config::{self, AuditMode, Config};
use crate::ids::CustomerId;
use crate::telemetry::live::Board;
use scan::Source;

/// Messages and answers on their way; more wait at their sender.
const ON_THE_WAY: usize = 8;

/// Answers go on in pieces of about this size.
const PIECE_BYTES: usize = 32 << 10;

/// The largest message the console takes, in bytes.
pub const MESSAGE_BYTES_MAX: u32 = 1 << 20;

/// The console of a process; clones are the same.
#[derive(Debug, Clone)]
pub struct Console(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    config: config::Console,
    source: Source,
    told: Arc<live::Told>,
    sessions: Arc<Semaphore>,
    /// Plans that are being made: one a session.
    plans: Arc<Semaphore>,
    queries: Arc<Semaphore>,
    /// Sessions on their way to the thread of conversations, which ends with this.
    talks: mpsc::Sender<Talk>,
}

/// A conversation that is about to begin.
type Talk = Pin<Box<dyn Future<Output = ()> + Send>>;

/// Who reads.
#[derive(Debug)]
pub struct Identity {
    /// The login that was proven.
    pub login: String,
    /// Whose records; `None`: everybody's, for an operator.
    pub customer: Option<CustomerId>,
    /// Settings that the client asked for, by the names of [`askable`].
    pub settings: Vec<(&'static str, String)>,
    /// Sessions, backends and pools at this moment.
    pub board: Arc<Board>,
    /// Where the reads are recorded; its begin is recorded already.
    pub log: SessionLog,
    /// How durable the records of the reads are, and when.
    pub mode: AuditMode,
}

/// Names of settings that a client may ask for when its session begins.
pub fn askable() -> impl Iterator<Item = &'static str> {
    settings::askable()
}

/// A client's message, whole.
#[derive(Debug)]
pub struct Message {
    /// Its type.
    pub tag: u8,
    /// What follows type and length.
    pub body: Vec<u8>,
}

/// Whole messages for the client.
#[derive(Debug)]
pub struct Answer {
    /// The messages.
    pub bytes: Vec<u8>,
    /// `ReadyForQuery` among them, and the last one's transaction status.
    pub ready: Option<u8>,
}

/// A conversation, as the relay sees it. Dropping it ends the conversation and what it runs.
#[derive(Debug)]
pub struct Line {
    /// Takes the client's messages.
    pub messages: mpsc::Sender<Message>,
    /// Gives answers; ends when the conversation has ended.
    pub answers: mpsc::Receiver<Answer>,
    /// What the client is told of the server at the begin.
    pub parameters: Vec<(&'static str, String)>,
    stop: Arc<Stop>,
}

impl Line {
    /// Cancels the read under way.
    pub fn cancel(&self) {
        self.stop.asked.store(true, Ordering::Release);
        self.stop.notify.notify_one();
    }
}

/// A wish that the read under way ends.
#[derive(Debug, Default)]
struct Stop {
    asked: AtomicBool,
    notify: Notify,
}

/// As many sessions as `console.sessions_max` allows are there already.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Full;

/// A session's place in the count.
type Place = OwnedSemaphorePermit;

impl Console {
    /// Starts the threads; `None` when the console or the audit log is switched off.
    ///
    /// # Errors
    /// A sentence when the threads cannot be started.
    pub fn start(config: &Config, log: &Log) -> Result<Option<Self>, String> {
        if !config.console.enabled || !config.audit.enabled {
            return Ok(None);
        }
        let console = config.console.clone();
        Ok(Some(Self(Arc::new(Inner {
            source: Source { audit: config.audit.clone(), keyring: log.keyring() },
            told: Arc::new(live::Told::new(config)),
            sessions: Arc::new(Semaphore::new(console.sessions_max)),
            plans: Arc::new(Semaphore::new(console.sessions_max)),
            queries: Arc::new(Semaphore::new(console.queries_max)),
            talks: thread(console.sessions_max)?,
            config: console,
        }))))
    }

    /// Whether there is room for a session; its place must be kept until [`Self::attach`].
    ///
    /// # Errors
    /// [`Full`].
    pub fn enter(&self) -> Result<Entered, Full> {
        let place = Arc::clone(&self.0.sessions).try_acquire_owned().map_err(|_| Full)?;
        Ok(Entered { place })
    }

    /// Begins a conversation with somebody whose right to read was proven.
    #[must_use]
    pub fn attach(&self, entered: Entered, identity: Identity) -> Line {
        let (messages, incoming) = mpsc::channel(ON_THE_WAY);
        let (outgoing, answers) = mpsc::channel(ON_THE_WAY);
        let stop = Arc::new(Stop::default());
        let settings =
            settings::Settings::new(&identity.login, &identity.settings, identity.customer.is_none());
        let parameters = settings.reported().map(|(name, value)| (name, value.to_owned())).collect();
        let ends = conversation::Ends { incoming, outgoing, stop: Arc::clone(&stop) };
        let console = Arc::clone(&self.0);
        let talks = self.0.talks.clone();
        let talk = conversation::run(console, identity, settings, ends, entered.place);
        // There is room for each session that has a place; should the thread be gone, the line ends at once.
        let _ = talks.try_send(Box::pin(talk));
        Line { messages, answers, parameters, stop }
    }
}

/// A place for a session.
#[derive(Debug)]
pub struct Entered {
    place: Place,
}

/// The thread of all conversations, with a runtime of its own.
fn thread(sessions_max: usize) -> Result<mpsc::Sender<Talk>, String> {
    let runtime = Builder::new_current_thread().enable_time().build();
    let runtime = runtime.map_err(|error| format!("could not start a runtime of the console: {error}"))?;
    let (talks, mut incoming) = mpsc::channel::<Talk>(sessions_max);
    let work = move || {
        aside::be_nice();
        runtime.block_on(async {
            let mut talks = JoinSet::new();
            loop {
                tokio::select! {
                    talk = incoming.recv() => match talk {
                        Some(talk) => { talks.spawn(talk); }
                        None => break,
                    },
                    Some(ended) = talks.join_next() => {
                        if ended.is_err_and(|error| error.is_panic()) {
                            tracing::error!("a session of the console panicked; others are not affected");
                        }
                    }
                }
            }
        });
        // A query may be under way; nothing it does is missed.
        runtime.shutdown_background();
    };
    let thread = std::thread::Builder::new().name("console".to_owned()).spawn(work);
    thread.map(|_| talks).map_err(|error| format!("could not start a thread of the console: {error}"))
}
