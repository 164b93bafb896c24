//! Lets threads of the log record what they do: an event, on disk before anything follows from it.

use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use super::alert::Rule;
use super::body;
use super::gate::{Gate, Shard, now_ns};
use super::record::Event;

/// A record that is not on disk by then is waited for the next time.
const RECORD_TIME: Duration = Duration::from_secs(5);

/// Records events.
#[derive(Debug, Clone)]
pub(super) struct Scribe {
    gate: Arc<Gate>,
    shard: Arc<Shard>,
}

impl Scribe {
    /// Of a log that is open.
    pub(super) fn of(gate: &Arc<Gate>) -> Option<Self> {
        let shard = gate.shards.first().map(Arc::clone)?;
        Some(Self { gate: Arc::clone(gate), shard })
    }

    /// Raises an alert, where alerts are sent.
    pub(super) fn raise(&self, rule: Rule, customer: &str, what: &str) {
        if let Some(alerts) = self.gate.alerts.get() {
            alerts.raise(rule, customer, what, now_ns());
        }
    }

    /// Records an event in the log of its customer and waits until it is on disk.
    pub(super) fn record(&self, event: &Event<'_>) -> Result<(), String> {
        let log = self.gate.logs.number(event.customer);
        let pushed = self.gate.push((0, log), &self.shard, |out| body::put_event(out, now_ns(), event));
        let ticket = pushed.map_err(|why| why.to_string())?;
        let (begun, waiter) = (Instant::now(), Arc::default());
        loop {
            match self.gate.poll_durable(ticket, &waiter, &Context::from_waker(Waker::noop())) {
                Poll::Ready(done) => return done.map_err(|why| why.to_string()),
                Poll::Pending if begun.elapsed() > RECORD_TIME => return Err("the log hangs".into()),
                Poll::Pending => std::thread::sleep(Duration::from_millis(5)),
            }
        }
    }
}
