//! Why a session keeps its backend past the end of a transaction: what undoes a reason, and how metrics tell it.

use std::sync::Arc;

use crate::telemetry;

pub(crate) use crate::audit::{Pin as Reason, Pins};

/// Whether what made it is undone when its transaction is rolled back: a statement that failed has made none.
pub(crate) const fn is_undone(reason: Reason) -> bool {
    match reason {
        Reason::TemporaryObject
        | Reason::HeldCursor
        | Reason::Listen
        | Reason::Role
        | Reason::Setting
        | Reason::Encoding => true,
        Reason::AdvisoryLock
        | Reason::SqlPrepare
        | Reason::Load
        | Reason::Seed
        | Reason::Sequence
        | Reason::LargeStatement
        | Reason::Function
        | Reason::Unexamined => false,
    }
}

/// The reasons of one session, as the metrics have them.
#[derive(Debug)]
pub(crate) struct Shown {
    customer: Arc<str>,
    now: Pins,
    ever: Pins,
}

impl Shown {
    pub(crate) fn of(customer: &str) -> Self {
        Self { customer: customer.into(), now: Pins::default(), ever: Pins::default() }
    }

    /// These hold the backend from now on.
    pub(crate) fn show(&mut self, pins: Pins) {
        if pins == self.now {
            return;
        }
        let all = Reason::ALL.iter().copied();
        for reason in all.filter(|reason| pins.has(*reason) != self.now.has(*reason)) {
            let gauge = metrics::gauge!(
                telemetry::PINS, "customer" => Arc::clone(&self.customer), "reason" => reason.name()
            );
            if pins.has(reason) {
                gauge.increment(1);
                self.ever.add(reason);
            } else {
                gauge.decrement(1);
            }
        }
        self.now = pins;
    }

    /// Every reason there was, for the session's record.
    pub(crate) fn ever(&self) -> String {
        self.ever.iter().map(Reason::name).collect::<Vec<_>>().join(", ")
    }
}

impl Drop for Shown {
    fn drop(&mut self) {
        self.show(Pins::default());
    }
}
