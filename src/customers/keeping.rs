//! How long a customer's records are kept, and how often somebody must have looked at them.
//!
//! What always holds: what a framework demands is never undercut; a customer's own word comes before the configuration's.

use std::time::Duration;

use super::Customer;
use crate::config::{Age, Retention};

/// What a customer says itself; what is absent is as its frameworks and the configuration say.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Keeping {
    /// How long executions are kept.
    pub statement: Option<Age>,
    /// How long begins and ends of sessions are.
    pub session: Option<Age>,
    /// How long everything else is.
    pub event: Option<Age>,
    /// How often the log is to be reviewed.
    pub review_interval: Option<Age>,
}

/// Frameworks, how long they have records kept at least, and the clause that says so.
const LEAST_AGES: [(&str, Age, &str); 3] = [
    ("hipaa", Age::years(6), "HIPAA 164.316(b)(2)(i)"),
    ("pci", Age::years(1), "PCI DSS 10.5.1"),
    ("sox", Age::years(7), "SOX 404 (17 CFR 210.2-06)"),
];

/// Frameworks, how often they have logs reviewed where nothing else is said, whether that may be seldomer, and the clause.
const INTERVALS: [(&str, Age, bool, &str); 2] = [
    ("pci", Age::days(1), false, "PCI DSS 10.4.1"),
    ("hipaa", Age::days(7), true, "HIPAA 164.308(a)(1)(ii)(D)"),
];

/// The longest time that one of these frameworks demands, and the clause.
#[must_use]
pub(super) fn least_age(frameworks: &[String]) -> Option<(Age, &'static str)> {
    let demands = LEAST_AGES.iter().filter(|(name, ..)| frameworks.iter().any(|one| one == name));
    demands.map(|(_, age, clause)| (*age, *clause)).max_by_key(|(age, _)| *age)
}

/// The longest interval that these frameworks let pass, and the clause.
#[must_use]
pub(super) fn longest_interval(frameworks: &[String]) -> Option<(Age, &'static str)> {
    let demands =
        INTERVALS.iter().filter(|(name, _, is_free, _)| !is_free && frameworks.iter().any(|one| one == name));
    demands.map(|(_, age, _, clause)| (*age, *clause)).min_by_key(|(age, _)| *age)
}

impl Customer {
    /// How long its records are kept: what it says itself, else the longer of what its frameworks demand and `default`.
    #[must_use]
    pub fn retention(&self, default: Retention) -> Retention {
        let least = least_age(&self.compliance).map_or(Age::days(0), |(age, _)| age);
        let Keeping { statement, session, event, .. } = self.audit_keeping;
        Retention {
            statement: statement.unwrap_or(default.statement.max(least)),
            session: session.unwrap_or(default.session.max(least)),
            event: event.unwrap_or(default.event.max(least)),
        }
    }

    /// How often its log must be reviewed: what it says itself, else as its frameworks do; `None`: nobody asks.
    #[must_use]
    pub fn review_interval(&self) -> Option<Duration> {
        let demands = INTERVALS.iter().filter(|(name, ..)| self.compliance.iter().any(|one| one == name));
        let demanded = demands.map(|(_, age, ..)| *age).min();
        self.audit_keeping.review_interval.or(demanded).and_then(Age::duration)
    }
}
