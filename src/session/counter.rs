//! A session with the console: the client's messages go one way, answers the other.
//!
//! What always holds: only whole messages within the limit reach the console; a client that does not read stops its own
//! query and nothing else; drain, idle limits and cancel requests end it as any other session. Who reads was decided by
//! [`crate::routing::reading`]; the console is told so here, and by nothing the client sends.

use std::future::poll_fn;
use std::io;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::time::{Instant, sleep_until, timeout, timeout_at};

use super::admission::{Arrived, Told, say_no, secret_bytes};
use super::census::Counted;
use super::control::{Control, Order};
use super::relay::End;
use super::{Shared, error, login};
use crate::audit::Who;
use crate::backend::Reserved;
use crate::console::{self, Answer, Identity, Line, MESSAGE_BYTES_MAX, Message};
use crate::customers::{RESERVED_DATABASE, Timeouts};
use crate::ids::SessionId;
use crate::protocol::frame::{self, Split};
use crate::protocol::startup::Startup;
use crate::protocol::tag::frontend;
use crate::protocol::write;
use crate::routing::{Reading, value_of};
use crate::stream::Stream;
use crate::telemetry;

/// Bytes that are read at once.
const READ_BYTES: usize = 8 << 10;
/// How long a client may take to read what is left for it at the end.
const FAREWELL: Duration = Duration::from_secs(1);

/// Somebody who may read, with a place.
pub(super) struct Entered {
    pub(super) reading: Reading,
    pub(super) counted: Option<Counted>,
    pub(super) place: console::Entered,
    pub(super) session: SessionId,
}

/// Serves a reader to the end.
pub(super) async fn serve(shared: &Arc<Shared>, mut arrived: Arrived, entered: Entered) {
    let Entered { reading, counted, place, session } = entered;
    let Some(console) = &shared.console else { return };
    let customer = reading.customer();
    let registered = shared.register(session, customer.map(|customer| customer.id.clone()));
    let Some(reserved) = shared.cancels.reserve(session, secret_bytes(&arrived.startup)) else {
        say_no(&mut arrived.stream, Told::Report(error::no_randomness())).await;
        return;
    };
    let default = shared.config.audit.mode;
    let application_name = arrived.startup.get("application_name").unwrap_or_default().to_owned();
    let mut log = shared.audit.session(&who(&arrived, &reading, &application_name, session));
    if let Err(unavailable) = log.opened() {
        say_no(&mut arrived.stream, Told::Report(error::audit_unavailable(unavailable))).await;
        return;
    }
    let identity = Identity {
        login: reading.proof().login().to_string(),
        customer: customer.map(|customer| customer.id.clone()),
        settings: asked(&arrived.startup),
        board: Arc::clone(shared.pools.board()),
        log,
        mode: customer.map_or(default, |customer| customer.audit_mode(default)),
    };
    let line = console.attach(place, identity);
    let mut out = Vec::with_capacity(1024);
    write::authentication_ok(&mut out);
    for (name, value) in &line.parameters {
        write::parameter_status(&mut out, name.as_bytes(), value.as_bytes());
    }
    write::backend_key_data(&mut out, reserved.key());
    write::ready_for_query(&mut out, b'I');
    if timeout_at(arrived.deadline, login::send(&mut arrived.stream, &mut out)).await.is_err() {
        return;
    }
    telemetry::login("ok");
    let limits = &shared.pools.config().limits;
    let timeouts = customer.map_or_else(|| idle_of(limits), |customer| customer.timeouts(limits));
    let message_bytes_max = shared.config.limits.message_bytes_max.min(MESSAGE_BYTES_MAX);
    let mut counter = Counter {
        stream: arrived.stream,
        line,
        control: &registered.control,
        reserved,
        timeouts,
        message_bytes_max,
        unread: Vec::new(),
        owed: 0,
        status: b'I',
        heard: Instant::now(),
    };
    let end = counter.run().await;
    let Counter { mut stream, line, .. } = counter;
    drop(line);
    drop(counted);
    match error::farewell(&end) {
        Some(report) => super::life::farewell(&mut stream, &report).await,
        None => {
            // The client may be gone already; nothing depends on it.
            let _ = timeout(FAREWELL, stream.shutdown()).await;
        }
    }
}

/// Settings that the startup asks for, as parameters or as options.
fn asked(startup: &Startup) -> Vec<(&'static str, String)> {
    let options = startup.get("options").unwrap_or_default();
    let value = |name: &str| startup.get(name).map(str::to_owned).or_else(|| value_of(options, name));
    console::askable().filter_map(|name| Some((name, value(name)?))).collect()
}

fn idle_of(limits: &crate::config::Limits) -> Timeouts {
    let time = |ms: u64| (ms > 0).then(|| Duration::from_millis(ms));
    Timeouts {
        statement: None,
        idle_in_transaction: time(limits.idle_in_transaction_timeout_ms),
        idle_session: time(limits.idle_session_timeout_ms),
    }
}

fn who<'a>(
    arrived: &'a Arrived,
    reading: &'a Reading,
    application_name: &'a str,
    session: SessionId,
) -> Who<'a> {
    Who {
        session: session.0,
        customer: reading.customer().map_or("", |customer| customer.id.as_str()),
        login: reading.proof().login().as_str(),
        role: if reading.customer().is_some() { "auditor" } else { "operator" },
        database: RESERVED_DATABASE,
        credential: reading.proof().credential().as_str(),
        client_address: arrived.peer,
        tls: arrived.tls_version,
        application_name: application_name.as_bytes(),
        backend_pid: 0,
    }
}

struct Counter<'a> {
    stream: Stream,
    line: Line,
    control: &'a Control,
    reserved: Reserved,
    timeouts: Timeouts,
    message_bytes_max: u32,
    /// What the client sent and is no whole message yet, or waits for its turn.
    unread: Vec<u8>,
    /// Messages that will be answered with `ReadyForQuery`.
    owed: usize,
    /// Transaction status.
    status: u8,
    /// When the client was last served.
    heard: Instant,
}

/// What happens next.
enum Next {
    Read(io::Result<usize>),
    Answered(Option<Answer>),
    Told(Order),
    Cancelled,
    Idle,
}

impl Counter<'_> {
    async fn run(&mut self) -> End {
        let mut buffer = vec![0; READ_BYTES];
        loop {
            if let Err(end) = self.pass_on() {
                return end;
            }
            match self.next(&mut buffer).await {
                Next::Read(Ok(0) | Err(_)) => return End::ClientLeft,
                Next::Read(Ok(count)) => {
                    self.unread.extend_from_slice(buffer.get(..count).unwrap_or_default());
                }
                Next::Answered(None) => return End::BackendLeft { told: false },
                Next::Answered(Some(answer)) => {
                    if let Err(end) = self.answer(&answer).await {
                        return end;
                    }
                }
                Next::Told(Order::Kill) => return End::Killed,
                Next::Told(_) => return End::Drained,
                Next::Cancelled => self.line.cancel(),
                Next::Idle if self.status == b'I' => return End::IdleSession,
                Next::Idle => return End::IdleInTransaction,
            }
        }
    }

    /// Hands whole messages over, as long as the console takes them.
    fn pass_on(&mut self) -> Result<(), End> {
        while self.line.messages.capacity() > 0 {
            let (tag, body, length) = match frame::split(&self.unread, self.message_bytes_max) {
                Ok(Split::Whole(frame, _)) => (frame.tag, frame.body().to_vec(), frame.raw.len()),
                Ok(Split::Need { .. }) => return Ok(()),
                Err(error) => return Err(End::Violation(error)),
            };
            self.unread.drain(..length);
            if tag == frontend::TERMINATE {
                return Err(End::Terminated);
            }
            if !frontend::may_come(tag) {
                return Err(End::UnknownMessage(tag));
            }
            if matches!(tag, frontend::QUERY | frontend::SYNC | frontend::FUNCTION_CALL) {
                self.owed = self.owed.saturating_add(1);
            }
            self.heard = Instant::now();
            // There is room, and nobody else sends.
            if self.line.messages.try_send(Message { tag, body }).is_err() {
                return Err(End::BackendLeft { told: false });
            }
        }
        Ok(())
    }

    async fn next(&mut self, buffer: &mut [u8]) -> Next {
        let Self { stream, line, control, reserved, timeouts, owed, status, heard, unread, .. } = self;
        let is_busy = *owed > 0;
        let ends = poll_fn(|cx| {
            control.listen(cx.waker());
            match control.order() {
                Order::Kill => Poll::Ready(Order::Kill),
                Order::Drain if !is_busy && *status == b'I' => Poll::Ready(Order::Drain),
                Order::Drain | Order::GoOn => Poll::Pending,
            }
        });
        let cancelled = poll_fn(|cx| {
            if !is_busy {
                return Poll::Pending;
            }
            reserved.queue(cx.waker());
            if reserved.take_cancelled() { Poll::Ready(()) } else { Poll::Pending }
        });
        let limit = if *status == b'I' { timeouts.idle_session } else { timeouts.idle_in_transaction };
        let idle = async {
            match limit.filter(|_| !is_busy) {
                Some(limit) => sleep_until(*heard + limit).await,
                None => std::future::pending().await,
            }
        };
        // What waits for its turn is bounded: no more is read before the console takes it.
        let may_read = line.messages.capacity() > 0 || unread.len() < READ_BYTES;
        let next = tokio::select! {
            order = ends => Next::Told(order),
            () = cancelled => Next::Cancelled,
            answer = line.answers.recv() => Next::Answered(answer),
            read = stream.read(buffer), if may_read => Next::Read(read),
            () = idle => Next::Idle,
        };
        if !is_busy {
            reserved.unbind();
        }
        next
    }

    async fn answer(&mut self, answer: &Answer) -> Result<(), End> {
        let write = async {
            self.stream.write_all(&answer.bytes).await?;
            self.stream.flush().await
        };
        tokio::pin!(write);
        let killed = poll_fn(|cx| {
            self.control.listen(cx.waker());
            if self.control.order() == Order::Kill { Poll::Ready(()) } else { Poll::Pending }
        });
        tokio::select! {
            written = &mut write => written.map_err(|_| End::ClientLeft)?,
            () = killed => return Err(End::Killed),
        }
        if let Some(status) = answer.ready {
            self.owed = self.owed.saturating_sub(1);
            self.status = status;
            self.heard = Instant::now();
        }
        Ok(())
    }
}
