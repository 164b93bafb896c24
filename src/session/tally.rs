//! What a session counts while it works: its outcomes for the metrics, its figures for whoever looks at the board.

use std::time::{Duration, Instant};

use crate::telemetry;
use crate::telemetry::live::{Held, Seen, Totals};

/// The figures of one session.
#[derive(Debug)]
pub(crate) struct Tally {
    outcomes: telemetry::Statements,
    seen: Seen,
    /// Since when a transaction is open, or what will be one.
    transaction_since: Option<Instant>,
}

fn ns(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

impl Tally {
    /// Nothing yet.
    pub(crate) const fn new(outcomes: telemetry::Statements, seen: Seen) -> Self {
        Self { outcomes, seen, transaction_since: None }
    }

    fn count(&self, more: &Totals) {
        self.seen.count(more);
    }

    /// An execution begins.
    pub(crate) fn began(&mut self, at: Instant) {
        self.seen.asks(at);
        self.transaction_since.get_or_insert(at);
    }

    /// An execution has ended.
    pub(crate) fn ended(&mut self, outcome: &'static str, took: Duration) {
        self.outcomes.count(outcome);
        self.count(&Totals { queries: 1, query_ns: ns(took), ..Totals::default() });
    }

    /// No transaction is open.
    pub(crate) fn rests(&mut self) {
        if let Some(since) = self.transaction_since.take() {
            self.count(&Totals { transactions: 1, transaction_ns: ns(since.elapsed()), ..Totals::default() });
        }
    }

    /// The client has sent a `Parse`, which goes to the server.
    pub(crate) fn parsed(&self) {
        self.count(&Totals { client_parses: 1, server_parses: 1, ..Totals::default() });
    }

    /// The server gets a `Parse` of ours.
    pub(crate) fn parsed_again(&self) {
        self.count(&Totals { server_parses: 1, ..Totals::default() });
    }

    /// The client has sent a `Bind`.
    pub(crate) fn bound(&self) {
        self.count(&Totals { binds: 1, ..Totals::default() });
    }

    /// So many bytes came from the client.
    pub(crate) fn received(&self, bytes: usize) {
        self.count(&Totals { received: u64::try_from(bytes).unwrap_or(u64::MAX), ..Totals::default() });
    }

    /// So many bytes came from the server.
    pub(crate) fn answered(&self, bytes: usize) {
        self.count(&Totals { sent: u64::try_from(bytes).unwrap_or(u64::MAX), ..Totals::default() });
    }

    /// It waits for a backend since then.
    pub(crate) fn waits(&self, since: Instant) {
        self.seen.waits(Some(since));
    }

    /// It waits no longer.
    pub(crate) fn waited(&self, wait: Duration) {
        self.seen.waits(None);
        self.count(&Totals { wait_ns: ns(wait), ..Totals::default() });
    }

    /// It has a backend.
    pub(crate) fn takes(&self, held: &Held) {
        self.seen.takes(held);
    }
}
