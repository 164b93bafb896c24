//! Requests to shred a customer's keys, as files: a command writes one, the process that writes the log carries it out.
//!
//! `keys/requests/NAME.request` asks, `NAME.done` or `NAME.failed` answers. A request that was begun and not finished is
//! begun again by the next process, so a shred that was asked for happens, whatever ends in between.

use std::io;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::file::Tombstone;
use super::{KeyError, Keyring};
use crate::audit::gate::now_ns;
use crate::audit::mailbox;
pub use crate::audit::mailbox::Asked;
use crate::ids::CustomerId;

/// In the keyring's folder.
const FOLDER_NAME: &str = "requests";
/// What is asked for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Request {
    /// Whose keys.
    pub customer: String,
    /// Why.
    pub reason: String,
    /// Who asks.
    pub by: String,
}

/// What must happen besides the keys' own affairs.
pub trait Steps {
    /// Why this must not happen at all, if something forbids it; asked before anything is done.
    fn forbidden(&mut self, request: &Request) -> Option<String>;

    /// The keys retire. `true`: nothing needs them any more, they may go; `false`: come again.
    ///
    /// # Errors
    /// Why this cannot be found out at the moment; it is tried again.
    fn may_go(&mut self, request: &Request, keys: &[u32]) -> Result<bool, String>;

    /// The keys are gone; recorded before it is answered.
    ///
    /// # Errors
    /// Why it cannot be recorded at the moment; it is tried again.
    fn gone(&mut self, request: &Request, keys: &[u32]) -> Result<(), String>;
}

/// Leaves a request in a keyring's folder.
///
/// # Errors
/// What the operating system says, also where there is no keyring.
pub fn ask(keyring: &Path, request: &Request) -> io::Result<Asked> {
    mailbox::ask(&keyring.join(FOLDER_NAME), request)
}

/// Whether a request waits to be carried out.
///
/// # Errors
/// Why the folder of requests cannot be read.
pub fn has_requests(keyring: &Path) -> io::Result<bool> {
    Ok(!mailbox::waiting(&keyring.join(FOLDER_NAME))?.is_empty())
}

/// Looks for requests and does what can be done; only the process that writes the log may.
///
/// # Errors
/// Why the folder of requests cannot be read.
pub fn carry_out(keyring: &Keyring, steps: &mut dyn Steps) -> io::Result<()> {
    for path in mailbox::waiting(&keyring.folder.path().join(FOLDER_NAME))? {
        let outcome = match read(&path) {
            Ok(request) => shred(keyring, &request, steps),
            Err(what) => Outcome::Done(Err(what)),
        };
        match outcome {
            Outcome::Later(why) => tracing::info!(file = %path.display(), why, "keys are not shredded yet"),
            Outcome::Done(answer) => mailbox::reply(&path, &answer)?,
        }
    }
    Ok(())
}

enum Outcome {
    Done(Result<String, String>),
    Later(String),
}

fn read(path: &Path) -> Result<Request, String> {
    let request: Request = mailbox::read(path)?;
    CustomerId::parse(&request.customer).map_err(|error| error.to_string())?;
    Ok(request)
}

fn shred(keyring: &Keyring, request: &Request, steps: &mut dyn Steps) -> Outcome {
    if let Some(why) = steps.forbidden(request) {
        return Outcome::Done(Err(why));
    }
    let retiring = match keyring.retire(&request.customer) {
        Ok(retiring) => retiring,
        Err(error @ KeyError::Damaged { .. }) => return Outcome::Done(Err(error.to_string())),
        Err(error) => return Outcome::Later(error.to_string()),
    };
    match steps.may_go(request, &retiring) {
        Ok(true) => {}
        Ok(false) => return Outcome::Later("their records are still needed".into()),
        Err(why) => return Outcome::Later(why),
    }
    let tombstone = Tombstone { time_ns: now_ns(), by: request.by.clone(), why: request.reason.clone() };
    let gone = match keyring.shred(&request.customer, &tombstone) {
        Ok(gone) => gone,
        Err(error) => return Outcome::Later(error.to_string()),
    };
    match steps.gone(request, &gone) {
        Ok(()) => Outcome::Done(Ok(format!("{} keys of {} were shredded", gone.len(), request.customer))),
        Err(why) => Outcome::Later(why),
    }
}
