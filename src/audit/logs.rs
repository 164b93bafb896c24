//! The logs of a process: each customer's has a number, which sessions push beside their records; and which of them cannot be
//! written while the others can, because there is no key for them.
//!
//! The vault's own log is number 0. A number holds as long as the process.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use super::gate::{lock, now_ns};
use super::keys::OWN;
use crate::ids::CustomerId;

/// Names, numbers and trouble of the logs.
#[derive(Debug)]
pub(super) struct Logs {
    names: RwLock<Names>,
    failing: AtomicUsize,
    troubles: Mutex<HashMap<u32, Trouble>>,
}

#[derive(Debug)]
struct Names {
    numbers: HashMap<Arc<str>, u32>,
    names: Vec<Arc<str>>,
}

/// One log's trouble.
#[derive(Debug, Clone)]
pub(super) struct Trouble {
    pub(super) since_ns: u64,
    pub(super) attempts: u64,
    pub(super) refused: u64,
    pub(super) reason: String,
}

impl Logs {
    pub(super) fn new() -> Self {
        let own: Arc<str> = OWN.into();
        let names = Names { numbers: HashMap::from([(Arc::clone(&own), 0)]), names: vec![own] };
        Self { names: RwLock::new(names), failing: AtomicUsize::new(0), troubles: Mutex::default() }
    }

    /// The number of a customer's log; of no customer: the vault's own.
    pub(super) fn number(&self, customer: &str) -> u32 {
        let known = self.names.read().unwrap_or_else(PoisonError::into_inner).numbers.get(customer).copied();
        known.unwrap_or_else(|| {
            // Names that no customer can have would give whoever invents them logs and keys without end.
            if CustomerId::parse(customer).is_err() {
                return 0;
            }
            let mut names = self.names.write().unwrap_or_else(PoisonError::into_inner);
            let next = u32::try_from(names.names.len()).unwrap_or(0);
            let name: Arc<str> = customer.into();
            let number = *names.numbers.entry(Arc::clone(&name)).or_insert(next);
            if number == next {
                names.names.push(name);
            }
            number
        })
    }

    /// The customer of a log.
    pub(super) fn name(&self, log: u32) -> Arc<str> {
        let names = self.names.read().unwrap_or_else(PoisonError::into_inner);
        let name = usize::try_from(log).ok().and_then(|at| names.names.get(at));
        name.map_or_else(|| OWN.into(), Arc::clone)
    }

    /// How many have a number.
    pub(super) fn count(&self) -> usize {
        self.names.read().unwrap_or_else(PoisonError::into_inner).names.len()
    }

    /// Whether this log cannot be written at the moment. Where none is in trouble it costs one load.
    pub(super) fn is_failing(&self, log: u32) -> bool {
        self.failing.load(Ordering::Acquire) > 0 && lock(&self.troubles).contains_key(&log)
    }

    /// How many cannot be written.
    pub(super) fn failing(&self) -> usize {
        self.failing.load(Ordering::Acquire)
    }

    /// Those that cannot be written, and since when, in ns since 1970.
    pub(super) fn troubled(&self) -> Vec<(Arc<str>, u64)> {
        let troubles = lock(&self.troubles);
        troubles.iter().map(|(log, trouble)| (self.name(*log), trouble.since_ns)).collect()
    }

    /// Counts a call that is refused because of it.
    pub(super) fn count_refusal(&self, log: u32) {
        if let Some(trouble) = lock(&self.troubles).get_mut(&log) {
            trouble.refused = trouble.refused.saturating_add(1);
        }
    }

    /// A log cannot be written; `true`: since now.
    pub(super) fn begin_trouble(&self, log: u32, reason: &str) -> bool {
        let mut troubles = lock(&self.troubles);
        let is_new = !troubles.contains_key(&log);
        let trouble = troubles.entry(log).or_insert_with(|| Trouble {
            since_ns: now_ns(),
            attempts: 0,
            refused: 0,
            reason: reason.to_owned(),
        });
        trouble.attempts = trouble.attempts.saturating_add(1);
        self.failing.store(troubles.len(), Ordering::Release);
        is_new
    }

    /// Its records are on disk; what there was to tell.
    pub(super) fn end_trouble(&self, log: u32) -> Option<Trouble> {
        let mut troubles = lock(&self.troubles);
        let ended = troubles.remove(&log);
        self.failing.store(troubles.len(), Ordering::Release);
        ended
    }
}
