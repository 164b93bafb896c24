//! Acts of commands that belong into the log: reads, exports, sign-offs. Only the process that writes the log can record, and
//! only it knows its backends.
//!
//! They are asked for as everything else is, in the folder `acts` ([`mailbox`]). What always holds: when [`record`] answers that it is done, the
//! record is on disk; an act that was asked for is recorded by the next process if this one ends in between, so one may be
//! recorded twice and none is lost.

use std::fmt;
use std::io;
use std::path::Path;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use super::log::Log;
use super::mailbox::{self, Asked};
use super::open_error::OpenError;
use super::record::{Event, EventKind, Outcome};
use crate::config;
use crate::ids::CustomerId;

/// In the log's folder.
const FOLDER_NAME: &str = "acts";
/// How names of acts end that a version before this one has left; such a file is the act alone.
const EARLIER: &str = "act";
/// How often a running process is looked at for an answer.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// Something a command does.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Act {
    /// `log_read`, `log_export` or `admin_action`.
    pub kind: String,
    /// Whose log it belongs to; empty: the vault's own.
    pub customer: String,
    /// Who does it: see [`whoever_runs_this`].
    pub by: String,
    /// What is done, in words.
    pub detail: String,
}

impl Act {
    fn kind(&self) -> Option<EventKind> {
        let kinds = [EventKind::LogRead, EventKind::LogExport, EventKind::AdminAction];
        kinds.into_iter().find(|kind| kind.name() == self.kind)
    }

    fn check(&self) -> Result<EventKind, String> {
        if !self.customer.is_empty() {
            CustomerId::parse(&self.customer).map_err(|error| error.to_string())?;
        }
        self.kind().ok_or_else(|| format!("\"{}\" is no kind of an act", self.kind))
    }

    /// The act as a record.
    pub(super) fn event(&self) -> Option<Event<'_>> {
        let Self { customer, by, detail, .. } = self;
        let (login, detail) = (by.as_bytes(), detail.as_bytes());
        Some(Event { customer, login, detail, outcome: Outcome::Ok, ..Event::new(self.kind()?) })
    }
}

/// What is asked for.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Request {
    /// That something is recorded.
    Act(Act),
    /// Which backends of this customer the process has.
    Backends(String),
}

/// The user of the operating system that runs this process.
#[must_use]
pub fn whoever_runs_this() -> String {
    let user = rustix::process::getuid().as_raw();
    let name = std::env::var("SUDO_USER").or_else(|_| std::env::var("USER")).unwrap_or_default();
    format!("{name} (uid {user})").trim().to_owned()
}

/// Has an act recorded by the process that writes the log; where none runs, opens the log as `node` and does it. Waits for
/// at most `limit`.
///
/// # Errors
/// Why it is not known to be recorded. It may be all the same, later.
pub fn record(audit: &config::Audit, node: &str, act: &Act, limit: Duration) -> Result<(), String> {
    act.check()?;
    let begun = Instant::now();
    let io = |error: io::Error| format!("{}: {error}", audit.directory.display());
    let asked = ask(&audit.directory, &Request::Act(act.clone())).map_err(io)?;
    let mut own: Option<Log> = None;
    loop {
        if let Some(answer) = asked.answer().map_err(io)? {
            return answer.map(|_| ());
        }
        if begun.elapsed() > limit {
            return Err("the process that writes the audit log does not answer".into());
        }
        if own.is_none() {
            own = match Log::open(audit, node) {
                Ok(log) => Some(log),
                Err(OpenError::Locked(_)) => None,
                Err(error) => return Err(error.to_string()),
            };
        }
        std::thread::sleep(LOOK_EVERY);
    }
}

/// A backend of the running process.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Ours {
    /// The server, as the customer writes it.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// By the server's name.
    pub database: String,
    /// The server's process.
    pub process_id: i32,
}

/// Knows the backends of a customer.
type Knows = Box<dyn Fn(&str) -> Vec<Ours> + Send + Sync>;

/// Who is asked for backends; nobody, until it is set.
#[derive(Default)]
pub(super) struct Backends(OnceLock<Knows>);

impl fmt::Debug for Backends {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Backends").field(&self.0.get().is_some()).finish()
    }
}

impl Backends {
    /// Sets who is asked; the first one stays.
    pub(super) fn set(&self, knows: Knows) {
        if self.0.set(knows).is_err() {
            tracing::error!("who knows the backends was set twice");
        }
    }
}

/// The backends that the running process has at a customer's servers at this moment.
///
/// # Errors
/// A sentence, also when none answers within `limit`.
pub fn ask_backends(audit: &config::Audit, customer: &str, limit: Duration) -> Result<Vec<Ours>, String> {
    let io = |error: io::Error| format!("{}: {error}", audit.directory.display());
    let asked = ask(&audit.directory, &Request::Backends(customer.to_owned())).map_err(io)?;
    let begun = Instant::now();
    loop {
        if let Some(answer) = asked.answer().map_err(io)? {
            return answer.and_then(|text| serde_json::from_str(&text).map_err(|error| error.to_string()));
        }
        if begun.elapsed() > limit {
            // Nobody needs the answer any more.
            asked.withdraw();
            return Err("the process that writes the audit log does not answer".into());
        }
        std::thread::sleep(LOOK_EVERY);
    }
}

fn ask(directory: &Path, request: &Request) -> io::Result<Asked> {
    mailbox::ask(&directory.join(FOLDER_NAME), request)
}

/// Looks for what is asked for: answers which backends there are, where they are known, and has each act recorded by `record`, which
/// answers when it is on disk. Only the process that writes the log may.
pub(super) fn carry_out(
    directory: &Path,
    backends: &Backends,
    mut record: impl FnMut(&Event<'_>) -> Result<(), String>,
) -> io::Result<()> {
    let mut can_record = true;
    let folder = directory.join(FOLDER_NAME);
    let earlier = mailbox::left(&folder, EARLIER)?.into_iter();
    let earlier = earlier.map(|path| (mailbox::read(&path).map(Request::Act), path));
    let waiting = mailbox::waiting(&folder)?.into_iter();
    for (request, path) in earlier.chain(waiting.map(|path| (mailbox::read(&path), path))) {
        let answer = match request {
            Err(what) => Err(what),
            Ok(Request::Backends(customer)) => match backends.0.get() {
                Some(knows) => Ok(serde_json::to_string(&knows(&customer))?),
                None => continue,
            },
            Ok(Request::Act(_)) if !can_record => continue,
            Ok(Request::Act(act)) => match act.check().map(|_| act.event().map(|event| record(&event))) {
                Err(what) => Err(what),
                Ok(Some(Ok(())) | None) => Ok(String::new()),
                // It is tried again, and so are those behind it.
                Ok(Some(Err(why))) => {
                    tracing::warn!(why, "an act of a command is not recorded yet");
                    can_record = false;
                    continue;
                }
            },
        };
        mailbox::reply(&path, &answer)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::audit::entry::{Entry, decode};
    use crate::audit::tests::{Folder, bodies};

    const LIMIT: Duration = Duration::from_secs(10);

    fn act(kind: &str, customer: &str) -> Act {
        Act { kind: kind.into(), customer: customer.into(), by: "ann".into(), detail: "looked".into() }
    }

    #[test]
    fn an_act_is_recorded_whether_or_not_a_process_writes_the_log() {
        let folder = Folder::new();
        let audit = folder.config();
        fs::create_dir_all(&audit.directory).unwrap();
        record(&audit, "n", &act("log_read", "one_spa"), LIMIT).unwrap();
        let log = Log::open(&audit, "n").unwrap();
        record(&audit, "n", &act("log_export", ""), LIMIT).unwrap();
        log.close();
        assert_eq!(fs::read_dir(audit.directory.join(FOLDER_NAME)).unwrap().count(), 0);
        let mut found = Vec::new();
        for body in bodies(&folder) {
            if let Ok(Entry::Event(event)) = decode(&body) {
                assert_eq!((event.login.kept, event.detail.kept), (&b"ann"[..], &b"looked"[..]));
                found.push((event.kind.name(), event.customer.kept.to_vec()));
            }
        }
        assert_eq!(found, [("log_read", b"one_spa".to_vec()), ("log_export", Vec::new())]);
    }

    #[test]
    fn what_is_no_act_is_refused_and_one_that_cannot_be_recorded_is_kept() {
        let folder = Folder::new();
        let audit = folder.config();
        fs::create_dir_all(&audit.directory).unwrap();
        for bad in [act("login_failed", "one_spa"), act("log_read", "../x")] {
            assert!(record(&audit, "n", &bad, LIMIT).is_err());
        }
        let asked = |act| ask(&audit.directory, &Request::Act(act)).unwrap();
        let bad = asked(act("sync", ""));
        fs::write(audit.directory.join(FOLDER_NAME).join("zzz.request"), b"\xff{").unwrap();
        let nobody = Backends::default();
        carry_out(&audit.directory, &nobody, |_| panic!("recorded")).unwrap();
        assert!(matches!(bad.answer(), Ok(Some(Err(_)))));
        let good = asked(act("log_read", ""));
        carry_out(&audit.directory, &nobody, |_| Err("full".into())).unwrap();
        assert!(matches!(good.answer(), Ok(None)));
        carry_out(&audit.directory, &nobody, |_| Ok(())).unwrap();
        assert!(matches!(good.answer(), Ok(Some(Ok(_)))));
    }

    #[test]
    fn an_act_that_an_earlier_version_left_is_recorded_and_answered() {
        let folder = Folder::new();
        let own = folder.0.join(FOLDER_NAME);
        fs::create_dir_all(&own).unwrap();
        let name = "01795000000000000000-7-0";
        let text = r#"{"kind":"log_export","customer":"one_spa","by":"ann","detail":"looked"}"#;
        fs::write(own.join(format!("{name}.act")), text).unwrap();
        fs::write(own.join("zzz.act"), b"{").unwrap();
        let (nobody, mut told) = (Backends::default(), Vec::new());
        let mut record = |event: &Event<'_>| {
            told.push((event.kind, event.customer.to_owned(), event.detail.to_vec()));
            Ok(())
        };
        carry_out(&folder.0, &nobody, &mut record).unwrap();
        carry_out(&folder.0, &nobody, &mut record).unwrap();
        assert_eq!(told, [(EventKind::LogExport, "one_spa".to_owned(), b"looked".to_vec())]);
        let mut left: Vec<_> = fs::read_dir(&own)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        left.sort();
        assert_eq!(left, [format!("{name}.done"), "zzz.failed".to_owned()]);
    }

    #[test]
    fn who_asks_for_backends_is_answered_also_when_nothing_can_be_recorded() {
        let folder = Folder::new();
        fs::create_dir_all(&folder.0).unwrap();
        let waits = ask(&folder.0, &Request::Act(act("log_read", ""))).unwrap();
        let asked = ask(&folder.0, &Request::Backends("one_spa".into())).unwrap();
        let backends = Backends::default();
        carry_out(&folder.0, &backends, |_| Err("full".into())).unwrap();
        assert!(matches!(asked.answer(), Ok(None)), "nobody knows them yet");
        let ours = Ours { host: "h".into(), port: 5432, database: "d".into(), process_id: 7 };
        let told = vec![ours];
        let (known, says) = (told.clone(), |customer: &str| customer == "one_spa");
        backends.set(Box::new(move |customer| if says(customer) { known.clone() } else { Vec::new() }));
        carry_out(&folder.0, &backends, |_| Err("full".into())).unwrap();
        let text = asked.answer().unwrap().unwrap().unwrap();
        assert_eq!(serde_json::from_str::<Vec<Ours>>(&text).unwrap(), told);
        assert!(matches!(waits.answer(), Ok(None)));
    }
}
