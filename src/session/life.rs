//! The life of one connection, from accept to close.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout};

use crate::audit::{Decision, Event, EventKind, Outcome};
use crate::backend::{CancelOutcome, Lease, cancel_running};
use crate::ids::BackendKey;
use crate::protocol::report::Report;
use crate::protocol::sqlstate::SqlState;
use crate::stream::Stream;
use crate::telemetry;
use crate::tls::{First, Greeted};

use super::admission::{Admitted, Arrived, admit};
use super::ledger::Ledger;
use super::relay::{End, Left, Relay};
use super::{Shared, error};

/// How long a client that is sent away may take to read why.
const FAREWELL: Duration = Duration::from_secs(1);

/// Serves one client until it leaves or is sent away. Errors end here: they are told, recorded and logged.
pub async fn serve(shared: Arc<Shared>, tcp: TcpStream, peer: SocketAddr) {
    // Borrowed from, not taken apart: a session's memory would hold the whole and its parts side by side.
    let Some(mut admitted) = Box::pin(arrive(&shared, tcp, peer)).await else { return };
    let limits = (admitted.ledger.mode(), shared.config.limits.message_bytes_max, admitted.timeouts);
    let Admitted { stream, held, ledger, registered, .. } = &mut admitted;
    let mut relay = Relay::new(stream, held.take(), ledger, &registered.control, limits);
    let end = relay.run().await;
    let left = relay.end();
    Box::pin(leave(&mut admitted.stream, &mut admitted.ledger, end, left)).await;
}

/// Greeting and login.
async fn arrive(shared: &Arc<Shared>, tcp: TcpStream, peer: SocketAddr) -> Option<Admitted> {
    let deadline = Instant::now() + Duration::from_millis(shared.config.limits.login_timeout_ms);
    let greeted = match shared.greeter.greet(tcp, peer, deadline.into_std()).await {
        Ok(greeted) => greeted,
        Err(cause) => {
            refuse_greeting(shared, peer, &cause);
            return None;
        }
    };
    let Greeted { stream, request, sni, end_point, tls_version } = greeted;
    match request {
        First::Startup(startup) => {
            let arrived = Arrived { stream, startup, peer, sni, end_point, tls_version, deadline };
            admit(shared, arrived).await
        }
        First::Cancel(key) => {
            cancel(shared, peer, &key).await;
            None
        }
    }
}

fn refuse_greeting(shared: &Shared, peer: SocketAddr, cause: &crate::tls::GreetError) {
    use crate::tls::GreetError;
    let sqlstate = match cause {
        // A port scan or a health check: nobody was refused anything.
        GreetError::Closed => return,
        GreetError::Violation(report) => Some(report.code.0),
        GreetError::Timeout | GreetError::Tls(_) => None,
    };
    let detail = cause.to_string();
    tracing::info!(address = %peer, reason = detail, "connection refused");
    let event = Event {
        outcome: Outcome::Refused,
        client_address: Some(peer),
        sqlstate,
        detail: detail.as_bytes(),
        decision: Some(Decision::Greeting),
        ..Event::new(EventKind::ConnectionRefused)
    };
    if let Err(unavailable) = shared.audit.event(&event) {
        tracing::error!(%unavailable, "a refused connection could not be recorded");
    }
}

/// A `CancelRequest` is never answered, whatever becomes of it.
pub(crate) async fn cancel(shared: &Shared, peer: SocketAddr, key: &BackendKey) {
    let outcome = shared.cancels.cancel(key).await;
    if !matches!(outcome, CancelOutcome::Unknown) {
        metrics::counter!(telemetry::CANCELS_TOTAL).increment(1);
    }
    let (outcome, session, detail, decision) = match outcome {
        CancelOutcome::Delivered(session) => (Outcome::Ok, session.0, "delivered", None),
        CancelOutcome::Dropped(session) => {
            (Outcome::Refused, session.0, "dropped", Some(Decision::CancelNothing))
        }
        CancelOutcome::Failed(session) => (Outcome::Error, session.0, "database not reached", None),
        CancelOutcome::Unknown => (Outcome::Refused, 0, "unknown key", Some(Decision::CancelKey)),
    };
    let event = Event {
        client_address: Some(peer),
        session,
        outcome,
        detail: detail.as_bytes(),
        decision,
        ..Event::new(EventKind::Cancel)
    };
    if let Err(unavailable) = shared.audit.event(&event) {
        tracing::error!(%unavailable, "a cancel request could not be recorded");
    }
}

/// The session's end: what is open is recorded, the backend goes back or is closed, the client is told.
async fn leave(stream: &mut Stream, ledger: &mut Ledger, end: End, left: Left) {
    let reason = error::reason(&end);
    let report = error::farewell(&end);
    let code = report.as_ref().map(|report| report.code);
    let running = ledger.lease().owed() > 0;
    ledger.decide(error::decision(&end));
    ledger.end(Outcome::Unknown, code.or(lost(&end)), reason.as_bytes());
    let Left { lease, scrubbing, pins, in_step, may_tell } = left;
    if let Some(lease) = lease {
        let in_step = in_step && !matches!(end, End::BackendLeft { .. } | End::BackendViolation);
        part(lease, in_step, running && !matches!(end, End::BackendLeft { .. })).await;
    }
    if let Some(scrubbing) = scrubbing {
        scrubbing.await;
    }
    let reason =
        if pins.is_empty() { reason.into() } else { format!("{reason}; kept its backend for {pins}") };
    if let Err(unavailable) = ledger.log().closed(&reason) {
        tracing::error!(%unavailable, "the end of a session could not be recorded");
    }
    match report {
        Some(report) if may_tell => farewell(stream, &report).await,
        Some(_) | None => {
            // The peer may be gone already; nothing depends on it.
            let _ = timeout(FAREWELL, stream.shutdown()).await;
        }
    }
}

/// A backend goes back scrubbed, or is closed; what still runs on it is stopped.
async fn part(lease: Lease, in_step: bool, running: bool) {
    if in_step {
        if let Err(cause) = lease.hand_back().await {
            tracing::debug!(%cause, "backend closed instead of handed back");
        }
        return;
    }
    if running {
        cancel_running(&lease).await;
    }
    lease.discard();
}

/// The code under which a statement is recorded whose server is gone.
const fn lost(end: &End) -> Option<SqlState> {
    match end {
        End::BackendLeft { .. } | End::BackendViolation => Some(SqlState::CONNECTION_FAILURE),
        End::Terminated
        | End::ClientLeft
        | End::Violation(_)
        | End::UnknownMessage(_)
        | End::Audit(_)
        | End::Drained
        | End::Killed
        | End::SettingsLost
        | End::IdleInTransaction
        | End::IdleSession => None,
    }
}

/// Tells the client why its connection ends, and ends it.
pub(crate) async fn farewell(stream: &mut Stream, report: &Report) {
    crate::tls::farewell(stream, report, (Instant::now() + FAREWELL).into_std()).await;
}

/// Passes on a server's last message and ends the connection.
pub(crate) async fn last_words(stream: &mut Stream, frame: &[u8]) {
    let say = async {
        stream.write_all(frame).await?;
        stream.flush().await?;
        stream.shutdown().await?;
        let mut forgotten = [0; 1024];
        // What the client had sent is read, or a reset could overtake the message.
        for _ in 0..64 {
            if stream.read(&mut forgotten).await? == 0 {
                break;
            }
        }
        std::io::Result::Ok(())
    };
    // The client may be gone already; nothing depends on it.
    let _ = timeout(FAREWELL, say).await;
}
