//! How a process ends: first politely, then firmly, then at once.
//!
//! SIGTERM or SIGINT: no new clients; each session ends with its transaction; after
//! `limits.drain_timeout_ms` the others are ended with 57P01. A second signal skips the wait.
//! Refuses to know what a transaction is.

use std::time::{Duration, Instant};

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::time::sleep;

use super::{Clients, Edge};

/// How often the number of clients is looked at while draining.
const LOOK: Duration = Duration::from_millis(10);
/// How long sessions may take to end once they are told to end at once.
const FIRM: Duration = Duration::from_secs(3);
/// How often the log says how many are left.
const TELL: Duration = Duration::from_secs(1);

/// What is expected of sessions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Stage {
    /// To go on.
    #[default]
    Serving,
    /// To end when no transaction is open.
    AfterTransaction,
    /// To end at once, with 57P01.
    Now,
}

/// How it ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// No session was left.
    Clean,
    /// Some sessions did not end though they were told to, and were cut off.
    Forced {
        /// How many.
        clients: usize,
    },
}

/// The signals the process listens to.
#[derive(Debug)]
pub(super) struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hangup: Signal,
}

/// Who can ask for the end or for a reload.
pub(super) trait Asks {
    /// The next that is asked for. Dropping the future loses nothing.
    async fn next(&mut self) -> Asked;
}

/// What a signal asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Asked {
    End,
    Reload,
}

impl Signals {
    pub(super) fn listen() -> Result<Self, String> {
        let listen = |kind| signal(kind).map_err(|error| format!("could not listen for signals: {error}"));
        Ok(Self {
            terminate: listen(SignalKind::terminate())?,
            interrupt: listen(SignalKind::interrupt())?,
            hangup: listen(SignalKind::hangup())?,
        })
    }
}

impl Asks for Signals {
    async fn next(&mut self) -> Asked {
        tokio::select! {
            _ = self.terminate.recv() => Asked::End,
            _ = self.interrupt.recv() => Asked::End,
            _ = self.hangup.recv() => Asked::Reload,
        }
    }
}

/// The next time the end is asked for.
async fn end<A: Asks>(asks: &mut A) {
    while asks.next().await != Asked::End {}
}

/// Ends all sessions within `timeout` and a moment.
pub(super) async fn drain<E: Edge, A: Asks>(
    edge: &E,
    clients: &Clients,
    asks: &mut A,
    timeout: Duration,
) -> Ended {
    tracing::info!(clients = clients.count(), "draining: sessions end with their transactions");
    edge.drain(Stage::AfterTransaction);
    tokio::select! {
        () = none_left(clients) => {}
        () = sleep(timeout) => tracing::warn!(clients = clients.count(), "drain timeout: ending the other sessions"),
        () = end(asks) => tracing::warn!(clients = clients.count(), "asked again: ending the other sessions"),
    }
    edge.drain(Stage::Now);
    tokio::select! {
        () = none_left(clients) => {}
        () = sleep(FIRM) => {}
    }
    match clients.count() {
        0 => Ended::Clean,
        clients => Ended::Forced { clients },
    }
}

async fn none_left(clients: &Clients) {
    let mut told = Instant::now();
    while clients.count() > 0 {
        if told.elapsed() > TELL {
            tracing::info!(clients = clients.count(), "draining");
            told = Instant::now();
        }
        sleep(LOOK).await;
    }
}
