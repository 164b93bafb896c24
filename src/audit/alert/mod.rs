//! Alerts: what somebody should hear of at once, sent to a web hook and counted.
//!
//! What always holds: raising one never waits for the network, and nothing that serves a client raises one; an alert that was
//! taken is in a file, encrypted with its customer's key, until the hook has answered 2xx or all attempts are used up, so it comes
//! at least once, with an id by which a second coming is known; the queue is bounded, and what it has no room for is counted, as is
//! what is too much of one kind and customer in an hour; an
//! alert has no statement's text and no parameter.
//!
//! ```text
//! queue.rs   alerts in files    sender.rs  the thread that sends    burst.rs  many failed logins    rate.rs  how many in an hour
//! ```

mod burst;
mod queue;
mod rate;
pub(super) mod sender;
#[cfg(test)]
mod tests;

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::thread::Thread;

use aws_lc_rs::digest::{SHA256, digest};
use serde::{Deserialize, Serialize};

use self::burst::Bursts;
use self::queue::{Kept, Queue};
use self::rate::Rates;
use super::digest::{Finding, Line};
use super::gate::{lock, now_ns};
use super::keys::OWN;
use super::render::{hex, rfc3339};
use crate::config;
use crate::customers::Catalogues;
use crate::telemetry;

/// In the log's folder.
const FOLDER_NAME: &str = "alerts";

/// The folder of a log's alerts.
pub(super) fn folder_of(directory: &Path) -> PathBuf {
    directory.join(FOLDER_NAME)
}

/// What is found while old records are read is told only so long after it happened, in ns: a day.
const AGE_NS: u64 = 86_400_000_000_000;

/// Names the rules; the names are part of what is sent.
macro_rules! rules {
    ($($variant:ident = $name:literal $says:literal;)+) => {
        /// What an alert is about.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Rule {
            $(#[doc = $says] $variant,)+
        }

        impl Rule {
            /// Every rule.
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];

            /// Its name, in what is sent, in metrics and in the configuration.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $name),+ }
            }
        }
    };
}

rules! {
    FailedLogins = "failed_logins" "Many failed logins of a customer in a short time.";
    NewAddress = "new_address" "A login from an address it never came from before.";
    BulkRead = "bulk_read" "A read of many rows, at once or over the day.";
    Ddl = "ddl" "An object or right was created, changed or dropped.";
    OffHours = "off_hours" "Use outside the customer's business hours; a login's first on a day.";
    LogGap = "log_gap" "The log could not be written for a while; it can be again.";
    LogFailing = "log_failing" "The log cannot be written.";
    SigningFailure = "signing_failure" "Checkpoints are not signed.";
    KeyTrouble = "key_trouble" "A customer's records cannot be written for want of a key.";
    ReviewOverdue = "review_overdue" "A review of the log was not signed off in time.";
}

/// What is sent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Alert {
    /// The same however often it is sent.
    pub id: String,
    /// Name of the rule.
    pub rule: String,
    /// Whose; `_`: nobody's.
    pub customer: String,
    /// When it happened, RFC 3339 in UTC.
    pub time: String,
    /// The vault, as in checkpoints.
    pub origin: String,
    /// The login, where there is one.
    pub login: String,
    /// Where from.
    pub address: String,
    /// What, in words.
    pub what: String,
    /// How often.
    pub count: u64,
    /// Rows, of bulk reads.
    pub rows: u64,
    /// Number of a record that shows it; 0: none does.
    pub record: u64,
    /// Alerts of this rule and customer that were not sent since the last one that was, because they were too many.
    #[serde(default)]
    pub held_back: u64,
}

/// How the sending goes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AlertHealth {
    /// Alerts that wait to be sent.
    pub waiting: usize,
    /// Why the last attempt failed; nothing: it did not.
    pub trouble: Option<String>,
}

/// Takes alerts.
pub(super) struct Alerts {
    settings: config::Alerts,
    origin: String,
    catalogues: Catalogues,
    /// Nothing: they are counted only.
    queue: Option<Mutex<Queue>>,
    bursts: Mutex<Bursts>,
    rates: Mutex<Rates>,
    sender: Mutex<Option<Thread>>,
    trouble: Mutex<Option<String>>,
}

impl fmt::Debug for Alerts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Alerts").field("origin", &self.origin).finish_non_exhaustive()
    }
}

impl Alerts {
    fn new(settings: config::Alerts, origin: String, catalogues: Catalogues, queue: Option<Queue>) -> Self {
        let bursts = Bursts::new(settings.failed_logins, settings.failed_logins_window_s);
        let rates = Rates::new(settings.most_per_hour);
        Self {
            rates: Mutex::new(rates),
            settings,
            origin,
            catalogues,
            queue: queue.map(Mutex::new),
            bursts: Mutex::new(bursts),
            sender: Mutex::default(),
            trouble: Mutex::default(),
        }
    }

    /// Something the journal shows. Syncs a file, so not for those who serve clients.
    pub(super) fn found(&self, customer: &str, finding: &Finding) {
        if finding.time_ns.saturating_add(AGE_NS) < now_ns() {
            return;
        }
        let customer = self.known(customer);
        if finding.rule == Rule::FailedLogins {
            let count = lock(&self.bursts).one_more(&customer, finding.time_ns);
            let Some(count) = count else { return };
            // Who of many it was last says little.
            let line = Line { count, login: String::new(), ..finding.line.clone() };
            return self.take(finding.rule, &customer, finding.time_ns, &line);
        }
        self.take(finding.rule, &customer, finding.time_ns, &finding.line);
    }

    /// Something else; `what` is in words and says nothing secret. Raised again with the same words at the same time it has the
    /// same id. Syncs a file, so not for those who serve clients.
    pub(super) fn raise(&self, rule: Rule, customer: &str, what: &str, time_ns: u64) {
        let line = Line { what: what.to_owned(), count: 1, ..Line::default() };
        self.take(rule, &self.known(customer), time_ns, &line);
    }

    /// How the sending goes.
    pub(super) fn health(&self) -> AlertHealth {
        let waiting = self.queue.as_ref().map_or(0, |queue| lock(queue).len());
        AlertHealth { waiting, trouble: lock(&self.trouble).clone() }
    }

    /// Names that no customer has would make metrics and queues of their own.
    fn known(&self, customer: &str) -> String {
        let is_known = self.catalogues.load().customer(customer).is_some();
        if is_known { customer.to_owned() } else { OWN.to_owned() }
    }

    fn take(&self, rule: Rule, customer: &str, time_ns: u64, line: &Line) {
        if self.settings.off.iter().any(|name| name == rule.name()) {
            return;
        }
        let label = customer.to_owned();
        metrics::counter!(telemetry::AUDIT_ALERTS_TOTAL, "rule" => rule.name(), "customer" => label)
            .increment(1);
        let Some(queue) = &self.queue else { return };
        let Some(held_back) = lock(&self.rates).one_more(customer, rule, now_ns()) else {
            return sent("held_back");
        };
        let alert = Alert { held_back, ..self.alert(rule, customer, time_ns, line) };
        let mut queue = lock(queue);
        if !queue.put(Kept { time_ns, alert }, now_ns()) {
            sent("dropped");
            tracing::error!(
                rule = rule.name(),
                customer,
                "an alert of the audit log has no room and is not sent"
            );
        }
        drop(queue);
        if let Some(sender) = &*lock(&self.sender) {
            sender.unpark();
        }
    }

    fn alert(&self, rule: Rule, customer: &str, time_ns: u64, line: &Line) -> Alert {
        let Line { login, address, what, count, rows, record, .. } = line.clone();
        let name = format!("{}\n{}\n{customer}\n{record}\n{time_ns}\n{what}", self.origin, rule.name());
        let hash = digest(&SHA256, name.as_bytes());
        Alert {
            id: hex(hash.as_ref().get(..16).unwrap_or_default()),
            rule: rule.name().to_owned(),
            customer: customer.to_owned(),
            time: rfc3339(time_ns),
            origin: self.origin.clone(),
            login,
            address,
            what,
            count,
            rows,
            record,
            held_back: 0,
        }
    }
}

/// Counts what became of an alert: `delivered`, `failed`, `dropped` or `held_back`.
fn sent(outcome: &'static str) {
    metrics::counter!(telemetry::AUDIT_ALERTS_SENT_TOTAL, "outcome" => outcome).increment(1);
}
