//! The thread that carries out what commands ask for; it ends with the writer of the log.
//!
//! What always holds: what is asked for is decided, recorded in the log of its customer, and then answered, in this order. A
//! process that ends in between finds the request again; a decision may then be there twice, and is never missing.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::super::gate::Gate;
use super::super::keys::Keyring;
use super::super::mailbox;
use super::super::record::{Event, EventKind};
use super::super::render::rfc3339;
use super::super::scribe::Scribe;
use super::register::{Act, Register};
use super::{OWN_LOG, REQUESTS_NAME, Wish, folder_of};

/// How often it looks.
const EVERY: Duration = Duration::from_millis(500);

/// Carries out wishes.
#[derive(Debug)]
pub(in crate::audit) struct Keeper {
    directory: PathBuf,
    keyring: Arc<Keyring>,
    scribe: Scribe,
}

impl Keeper {
    /// Starts the thread.
    pub(in crate::audit) fn start(
        directory: PathBuf,
        gate: &Arc<Gate>,
        keyring: &Arc<Keyring>,
    ) -> io::Result<()> {
        let Some(scribe) = Scribe::of(gate) else { return Ok(()) };
        let keeper = Self { directory, keyring: Arc::clone(keyring), scribe };
        let gate = Arc::clone(gate);
        let live = move || {
            while !gate.wait_finished(EVERY) {
                keeper.look();
            }
        };
        std::thread::Builder::new().name("audit-keeping".into()).spawn(live)?;
        Ok(())
    }

    /// Carries out what is waiting.
    fn look(&self) {
        let folder = folder_of(&self.directory).join(REQUESTS_NAME);
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
                let number = self.register()?.decide(&self.keyring, act)?;
                let range = range(*since_ns, *until_ns);
                let detail = format!("hold {number} on {customer}, {range}: {reason}");
                self.record(EventKind::HoldSet, customer, by, &detail)?;
                Ok(detail)
            }
            Wish::Release { customer, number, reason, by } => self.release(customer, *number, reason, by),
        }
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
        self.record(EventKind::HoldReleased, customer, by, &detail)?;
        Ok(detail)
    }

    fn register(&self) -> Result<Register, String> {
        Register::read(&self.directory, &self.keyring)
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
