//! How commands have something done by the process that writes the log; where none runs, the command is that process for as
//! long as it takes.

use std::time::{Duration, Instant};

use super::review::of_place;
use super::{Failure, Place};
use crate::audit::keeping::{Wish, ask};
use crate::audit::mailbox::Asked;
use crate::audit::{Log, OpenError};
use crate::cli::{Progress, serve};
use crate::config;

/// How often a running process is looked at for an answer.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// What is asked for is done by then, or nobody does it.
const PATIENCE: Duration = Duration::from_secs(30);

/// Has something done, and answers what was said to it.
pub(super) fn have_done(place: &Place, wish: &Wish) -> Result<String, Failure> {
    let audit = &place.audit()?;
    let path = audit.directory.display();
    if !audit.directory.is_dir() {
        return Err(Failure::Message(format!("{path}: no audit log there")));
    }
    let asked = ask(&audit.directory, wish).map_err(|error| Failure::Message(format!("{path}: {error}")))?;
    let progress = Progress::start("waiting for the audit log");
    let answer = wait(audit, &asked, PATIENCE, Some(place));
    drop(progress);
    match answer? {
        Some(Ok(text)) => Ok(text),
        Some(Err(text)) => Err(Failure::Message(text)),
        None => {
            asked.withdraw();
            Err(Failure::Message("the process that writes the audit log did not answer".into()))
        }
    }
}

/// Waits for an answer, and writes the log itself when nobody else does.
pub(super) fn wait(
    audit: &config::Audit,
    asked: &Asked,
    limit: Duration,
    place: Option<&Place>,
) -> Result<Option<Result<String, String>>, Failure> {
    let begun = Instant::now();
    let mut own = None;
    loop {
        let answer = asked.answer().map_err(|error| Failure::Message(error.to_string()))?;
        if answer.is_some() || begun.elapsed() > limit {
            drop::<Option<Log>>(own);
            return Ok(answer);
        }
        if own.is_none() {
            own = match Log::open(audit, &serve::node()) {
                Ok(log) => {
                    if let Some(place) = place {
                        let policies = of_place(place)?;
                        log.keep(Box::new(move || policies.clone()));
                    }
                    Some(log)
                }
                Err(OpenError::Locked(_)) => None,
                Err(error) => return Err(Failure::Message(error.to_string())),
            };
        }
        std::thread::sleep(LOOK_EVERY);
    }
}
