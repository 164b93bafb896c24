//! The thread that carries out what commands ask for, of the log ([`acts`]) and of its keys, and makes the next month's keys
//! ahead of time.
//!
//! A customer's keys are shredded in this order: they retire; the log says so, and when that record is on disk the writer
//! uses them no more; whatever else needs their records is asked ([`Before`]); they go; the log says that, too.

use std::collections::HashSet;
use std::fmt;
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use super::acts;
use super::gate::{Gate, now_ns};
use super::keeping::register::Register;
use super::keys::requests::{Request, Steps, carry_out};
use super::keys::{Keyring, month_of};
use super::record::{Event, EventKind};
use super::scribe::Scribe;

/// How often it looks.
const EVERY: Duration = Duration::from_millis(200);
/// Keys of a month are made from so long before it on, in ns: a day.
const AHEAD_NS: u64 = 86_400_000_000_000;
/// So many of them at a time, so that the writer never waits long for one of its own.
const AHEAD_KEYS: u32 = 20;

/// Says of a customer and the numbers of its keys whether nothing needs them any more.
pub(super) type Hook = Box<dyn Fn(&str, &[u32]) -> Result<bool, String> + Send + Sync>;

/// What is asked before keys go; nothing is, until it is set.
#[derive(Default)]
pub(super) struct Before(OnceLock<Hook>);

impl Before {
    /// Sets it; the first one stays.
    pub(super) fn set(&self, hook: Hook) {
        if self.0.set(hook).is_err() {
            tracing::error!("what is asked before keys are shredded was set twice");
        }
    }
}

impl fmt::Debug for Before {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Before").field(&self.0.get().is_some()).finish()
    }
}

/// Starts the thread; it ends with the writer.
pub(super) fn start(gate: &Arc<Gate>, keyring: &Arc<Keyring>, directory: PathBuf) -> io::Result<()> {
    let Some(scribe) = Scribe::of(gate) else { return Ok(()) };
    let (gate, keyring) = (Arc::clone(gate), Arc::clone(keyring));
    let attend = move || {
        let mut attendant = Attendant {
            directory: directory.clone(),
            keyring: Arc::clone(&keyring),
            gate,
            scribe,
            begun: HashSet::new(),
        };
        let mut ahead = (0, 0);
        while !attendant.gate.wait_finished(EVERY) {
            if let Err(error) = carry_out(&keyring, &mut attendant) {
                tracing::error!(%error, "requests to shred keys cannot be read");
            }
            let backends = &attendant.gate.backends;
            let carried = acts::carry_out(&directory, backends, |event| attendant.record_event(event));
            if let Err(error) = carried {
                tracing::error!(%error, "what commands ask for cannot be read, or not answered");
            }
            attendant.make_ahead(&keyring, now_ns(), &mut ahead);
        }
    };
    std::thread::Builder::new().name("audit-keys".into()).spawn(attend)?;
    Ok(())
}

struct Attendant {
    /// The log's.
    directory: PathBuf,
    keyring: Arc<Keyring>,
    gate: Arc<Gate>,
    scribe: Scribe,
    /// What the log was told of in this run.
    begun: HashSet<(String, String)>,
}

impl Attendant {
    /// Records an act of an operator in the vault's own log and waits until it is on disk.
    fn record(&self, detail: &str) -> Result<(), String> {
        let event = Event { detail: detail.as_bytes(), ..Event::new(EventKind::AdminAction) };
        self.record_event(&event)
    }

    /// Records something in its customer's log and waits until it is on disk.
    fn record_event(&self, event: &Event<'_>) -> Result<(), String> {
        self.scribe.record(event)
    }

    /// Makes keys of the month that comes, for the logs of this process, some at a time.
    fn make_ahead(&self, keyring: &Keyring, now: u64, done: &mut (u32, u32)) {
        let soon = now.saturating_add(AHEAD_NS);
        let month = month_of(soon);
        if month == month_of(now) {
            return;
        }
        if done.0 != month {
            *done = (month, 0);
        }
        let logs = u32::try_from(self.gate.logs.count()).unwrap_or(u32::MAX);
        for log in (done.1..logs).take(usize::try_from(AHEAD_KEYS).unwrap_or(1)) {
            if keyring.current(&self.gate.logs.name(log), soon).is_err() {
                // The writer will say so when it needs the key.
                return;
            }
            done.1 = log.saturating_add(1);
        }
    }
}

impl Steps for Attendant {
    /// Records that are held keep their keys; that somebody asked is recorded.
    fn forbidden(&mut self, request: &Request) -> Option<String> {
        let Request { customer, reason, by } = request;
        let why = match Register::read(&self.directory, &self.keyring) {
            Ok(register) => {
                let hold = register.held(customer, 0, u64::MAX)?;
                format!("hold {} forbids it: {}", hold.number, hold.reason)
            }
            Err(why) => format!("everything is held as long as holds cannot be read: {why}"),
        };
        let told = self.record(&format!("shred of {customer} refused: {why}; by {by}: {reason}"));
        told.err().or_else(|| Some(format!("the keys of {customer} were not shredded: {why}")))
    }

    fn may_go(&mut self, request: &Request, keys: &[u32]) -> Result<bool, String> {
        let Request { customer, reason, by } = request;
        let told = (customer.clone(), reason.clone());
        if !self.begun.contains(&told) {
            let count = keys.len();
            self.record(&format!("shred of {customer} begun: {count} keys retire; by {by}: {reason}"))?;
            self.begun.insert(told);
        }
        self.gate.before_shred.0.get().map_or(Ok(true), |hook| hook(customer, keys))
    }

    fn gone(&mut self, request: &Request, keys: &[u32]) -> Result<(), String> {
        let Request { customer, reason, by } = request;
        self.record(&format!("shred of {customer} done: {} keys are gone; by {by}: {reason}", keys.len()))?;
        self.begun.remove(&(customer.clone(), reason.clone()));
        Ok(())
    }
}
