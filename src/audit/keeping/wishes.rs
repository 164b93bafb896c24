//! The thread that carries out what commands ask for; it ends with the writer of the log.
//!
//! What always holds: what is asked for is decided, recorded in the log of its customer, and then answered, in this order. A
//! process that ends in between finds the request again; a decision may then be there twice, and is never missing.

use std::collections::{BTreeSet, HashMap};
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::super::alert::Rule;
use super::super::gate::{Gate, now_ns};
use super::super::keys::Keyring;
use super::super::mailbox;
use super::super::record::{Event, EventKind, Outcome};
use super::super::render::rfc3339;
use super::super::scribe::Scribe;
use super::super::signers;
use super::register::{Act, Register};
use super::retention;
use super::review::{sign_off, standings};
use super::{OWN_LOG, REQUESTS_NAME, Rules, Wish, folder_of};
use crate::{config, telemetry};

/// How often it looks.
const EVERY: Duration = Duration::from_millis(500);

/// How often it looks which logs should have been reviewed.
const REVIEWS_EVERY: Duration = Duration::from_secs(60);

/// How often it lets go what is older than it is kept.
const SWEEP_EVERY: Duration = Duration::from_secs(6 * 3_600);

/// Carries out wishes.
#[derive(Debug)]
pub(in crate::audit) struct Keeper {
    audit: config::Audit,
    keyring: Arc<Keyring>,
    gate: Arc<Gate>,
    scribe: Scribe,
    rules: Arc<Rules>,
    /// Up to when logs were reviewed of which it was told that they are overdue.
    told: HashMap<String, u64>,
}

impl Keeper {
    /// Starts the thread.
    pub(in crate::audit) fn start(
        audit: config::Audit,
        gate: &Arc<Gate>,
        keyring: &Arc<Keyring>,
    ) -> io::Result<Arc<Rules>> {
        let rules: Arc<Rules> = Arc::default();
        let Some(scribe) = Scribe::of(gate) else { return Ok(rules) };
        let (keyring, own) = (Arc::clone(keyring), Arc::clone(&rules));
        let gate = Arc::clone(gate);
        let mut keeper = Self { audit, keyring, gate, scribe, rules: own, told: HashMap::new() };
        let live = move || {
            let (mut looked, mut swept): (Option<Instant>, Option<Instant>) = (None, None);
            let mut is_finished = false;
            while !keeper.gate.wait_finished(EVERY) {
                is_finished = is_finished || keeper.finish_signers();
                keeper.look();
                if looked.is_none_or(|looked| looked.elapsed() > REVIEWS_EVERY) && keeper.look_at_reviews() {
                    looked = Some(Instant::now());
                }
                let is_time = swept.is_none_or(|swept| swept.elapsed() > SWEEP_EVERY);
                if is_time && keeper.rules.get().is_some() {
                    swept = match keeper.sweep() {
                        // There may be more; first others have their turn.
                        Ok((_, true)) => None,
                        Ok((_, false)) => Some(Instant::now()),
                        Err(why) => {
                            tracing::error!(why, "records that are older than they are kept stay");
                            Some(Instant::now())
                        }
                    };
                }
            }
        };
        std::thread::Builder::new().name("audit-keeping".into()).spawn(live)?;
        Ok(rules)
    }

    /// Carries out what is waiting.
    fn look(&self) {
        let folder = folder_of(&self.audit.directory).join(REQUESTS_NAME);
        let waiting = match mailbox::waiting(&folder) {
            Ok(waiting) => waiting,
            Err(error) => return tracing::error!(%error, "requests to the audit log cannot be read"),
        };
        for path in waiting {
            let answer = mailbox::read(&path).and_then(|wish: Wish| {
                wish.check()?;
                self.carry_out(&wish)
            });
            if let Err(error) = mailbox::reply(&path, &answer) {
                tracing::error!(%error, file = %path.display(), "a request to the audit log was not answered");
            }
        }
    }

    /// Says which logs should have been reviewed by now: in figures, and each once in its log. `false`: too early to tell.
    fn look_at_reviews(&mut self) -> bool {
        let Some(policies) = self.rules.get() else { return false };
        let standings = match standings(&self.audit.directory, &self.keyring, &policies) {
            Ok(standings) => standings,
            Err(error) => {
                tracing::error!(error, "nobody can tell which logs should be reviewed");
                return true;
            }
        };
        for (log, standing) in standings {
            if standing.every.is_some() {
                metrics::gauge!(telemetry::AUDIT_REVIEW_OVERDUE_SECONDS, "customer" => log.clone())
                    .set(telemetry::gauge(standing.overdue.as_secs()));
            }
            let is_told = self.told.get(&log) == Some(&standing.reviewed_ns);
            if standing.overdue.is_zero() || is_told {
                continue;
            }
            if let Err(why) = self.tell_overdue(&log, standing.reviewed_ns) {
                tracing::warn!(why, "an overdue review is not recorded yet");
                return false;
            }
            self.told.insert(log, standing.reviewed_ns);
        }
        true
    }

    /// The one place that says that a review is overdue.
    fn tell_overdue(&self, customer: &str, reviewed_ns: u64) -> Result<(), String> {
        let since = rfc3339(reviewed_ns);
        tracing::warn!(customer, since, "the audit log should have been reviewed by now");
        let detail = format!("nobody has reviewed what was recorded since {since}");
        let outcome = Outcome::Unknown;
        self.scribe.record(&Event {
            customer,
            outcome,
            detail: detail.as_bytes(),
            ..Event::new(EventKind::ReviewOverdue)
        })?;
        self.scribe.raise(Rule::ReviewOverdue, customer, &detail);
        Ok(())
    }

    fn carry_out(&self, wish: &Wish) -> Result<String, String> {
        match wish {
            Wish::Hold { customer, since_ns, until_ns, reason, by } => {
                if since_ns >= until_ns {
                    return Err("a hold must end after it begins".to_owned());
                }
                let act = Act::Hold {
                    customer: customer.clone(),
                    since_ns: *since_ns,
                    until_ns: *until_ns,
                    reason: reason.clone(),
                    by: by.clone(),
                };
                let mut register = self.register()?;
                let number = register.decide(&self.keyring, act)?;
                let range = range(*since_ns, *until_ns);
                let detail = format!("hold {number} on {customer}, {range}: {reason}");
                self.record_decision(&register, EventKind::HoldSet, (customer, by), &detail)?;
                Ok(detail)
            }
            Wish::Retention {} => self.sweep().map(|(told, is_more)| {
                let more = if is_more { "; there may be more: ask again" } else { "" };
                format!("{told}{more}")
            }),
            Wish::RotateSigner { reason, by } => {
                let told = self.gate.signing.get().ok_or("nothing is signed yet")?;
                signers::replace((&self.keyring, told), &self.audit.origin, (by, reason), &self.in_words(by))
            }
            Wish::Review { customer, since_ns, until_ns, by, user, note } => {
                let mut register = self.register()?;
                let (act, detail) =
                    sign_off(&self.audit.directory, &register, (customer, *since_ns, *until_ns), (by, note))?;
                register.decide(&self.keyring, act)?;
                let told = format!("{detail}; told by {user}");
                self.record_decision(&register, EventKind::Review, (customer, by), &told)?;
                Ok(detail)
            }
            Wish::Release { customer, number, reason, by } => self.release(customer, *number, reason, by),
        }
    }

    /// Ends a change of the signing key that was begun by an earlier process. `false`: it is too early.
    fn finish_signers(&self) -> bool {
        let Some(told) = self.gate.signing.get() else { return false };
        let record = self.in_words("onevault");
        let finished = signers::finish((&self.keyring, told), &self.audit.origin, &record);
        finished.unwrap_or_else(|why| {
            tracing::warn!(why, "the signing key of the audit log is not replaced yet");
            false
        })
    }

    /// Records in the vault's own log what was done, and by whom.
    fn in_words<'a>(&'a self, by: &'a str) -> impl Fn(&str) -> Result<(), String> + 'a {
        |detail| self.record(EventKind::AdminAction, OWN_LOG, by, detail)
    }

    /// Lets go what is older than it is kept. In words what went, and whether there may be more.
    fn sweep(&self) -> Result<(String, bool), String> {
        let policies = self.rules.get().ok_or("nobody has said yet how long records are kept")?;
        let mut record = |event: &Event<'_>| self.scribe.record(event);
        let gone = retention::run(&self.audit, &self.keyring, &policies, now_ns(), &mut record)?;
        let records = gone.iter().map(|gone| gone.records).fold(0, u64::saturating_add);
        let files = gone.iter().map(|gone| gone.files).fold(0, usize::saturating_add);
        let logs: BTreeSet<&str> = gone.iter().map(|gone| gone.log.as_str()).collect();
        let is_more = gone.len() >= retention::THINNED_AT_ONCE;
        Ok((format!("{records} records in {files} files of {} logs went", logs.len()), is_more))
    }

    fn release(&self, customer: &str, number: u64, reason: &str, by: &str) -> Result<String, String> {
        let mut register = self.register()?;
        let hold = register.holds().into_iter().find(|hold| hold.number == number);
        let hold = hold.filter(|hold| hold.customer == customer);
        let hold = hold.ok_or_else(|| format!("{customer} has no hold {number}"))?;
        if hold.released.is_some() {
            return Err(format!("hold {number} was released before"));
        }
        register
            .decide(&self.keyring, Act::Release { number, reason: reason.to_owned(), by: by.to_owned() })?;
        let detail = format!("hold {number} on {customer} released ({}): {reason}", hold.reason);
        self.record_decision(&register, EventKind::HoldReleased, (customer, by), &detail)?;
        Ok(detail)
    }

    fn register(&self) -> Result<Register, String> {
        Register::read(&self.audit.directory, &self.keyring)
    }

    /// Records the last decision, with its mark.
    fn record_decision(
        &self,
        register: &Register,
        kind: EventKind,
        (customer, by): (&str, &str),
        detail: &str,
    ) -> Result<(), String> {
        let mark = register.mark(None).map(|mark| mark.to_string()).unwrap_or_default();
        self.record(kind, customer, by, &format!("{mark}{detail}"))
    }

    /// Records it in the log of its customer and in the vault's own.
    fn record(&self, kind: EventKind, customer: &str, by: &str, detail: &str) -> Result<(), String> {
        let event = Event { login: by.as_bytes(), detail: detail.as_bytes(), ..Event::new(kind) };
        if customer != OWN_LOG {
            self.scribe.record(&Event { customer, ..event })?;
        }
        self.scribe.record(&event)
    }
}

/// From one time to before another, in words.
fn range(since_ns: u64, until_ns: u64) -> String {
    match (since_ns, until_ns) {
        (0, u64::MAX) => "all records".to_owned(),
        (0, until) => format!("records before {}", rfc3339(until)),
        (since, u64::MAX) => format!("records from {}", rfc3339(since)),
        (since, until) => format!("records from {} to {}", rfc3339(since), rfc3339(until)),
    }
}
