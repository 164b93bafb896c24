//! Acts of commands that belong into the log: reads, exports, sign-offs. Only the process that writes the log can record.
//!
//! `acts/NAME.act` asks, `NAME.done` or `NAME.failed` answers; `NAME.ask` asks which backends the process has. What always holds: when [`record`] answers that it is done, the
//! record is on disk; an act that was asked for is recorded by the next process if this one ends in between, so one may be
//! recorded twice and none is lost.

use std::fmt;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use super::gate::now_ns;
use super::log::Log;
use super::open_error::OpenError;
use super::record::{Event, EventKind, Outcome};
use crate::config;
use crate::ids::CustomerId;

/// In the log's folder.
const FOLDER_NAME: &str = "acts";
/// A longer file is no act.
const ACT_BYTES_MAX: u64 = 64 << 10;
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
    let base = ask(&audit.directory, act).map_err(io)?;
    let mut own: Option<Log> = None;
    loop {
        if let Some(answer) = answer(&base).map_err(io)? {
            return answer;
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
    let base = leave(&audit.directory, &customer, "ask").map_err(io)?;
    let begun = Instant::now();
    loop {
        match fs::read(base.with_extension("told")) {
            Ok(bytes) => {
                fs::remove_file(base.with_extension("told")).map_err(io)?;
                return serde_json::from_slice(&bytes).map_err(|error| error.to_string());
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(io(error)),
        }
        if begun.elapsed() > limit {
            // Nobody needs the answer any more.
            let _ = fs::remove_file(base.with_extension("ask"));
            return Err("the process that writes the audit log does not answer".into());
        }
        std::thread::sleep(LOOK_EVERY);
    }
}

/// Answers who asks for backends, where they are known.
pub(super) fn answer_asked(directory: &Path, backends: &Backends) -> io::Result<()> {
    let Some(knows) = backends.0.get() else { return Ok(()) };
    for path in paths(directory, "ask")? {
        let customer: Option<String> =
            fs::read(&path).ok().and_then(|text| serde_json::from_slice(&text).ok());
        let told = knows(customer.as_deref().unwrap_or_default());
        let unfinished = path.with_extension("answer");
        fs::write(&unfinished, serde_json::to_vec(&told)?)?;
        fs::remove_file(&path)?;
        fs::rename(&unfinished, path.with_extension("told"))?;
    }
    Ok(())
}

fn ask(directory: &Path, act: &Act) -> io::Result<PathBuf> {
    leave(directory, act, "act")
}

/// Leaves a file for the running process.
fn leave<T: Serialize>(directory: &Path, what: &T, ending: &str) -> io::Result<PathBuf> {
    static NUMBER: AtomicU64 = AtomicU64::new(0);
    let folder = directory.join(FOLDER_NAME);
    match DirBuilder::new().mode(0o700).create(&folder) {
        Ok(()) => File::open(directory)?.sync_all()?,
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
        Err(error) => return Err(error),
    }
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    let base = folder.join(format!("{:020}-{}-{number}", now_ns(), std::process::id()));
    let unfinished = base.with_extension("new");
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&unfinished)?;
    file.write_all(serde_json::to_string(what)?.as_bytes())?;
    file.sync_all()?;
    fs::rename(&unfinished, base.with_extension(ending))?;
    File::open(&folder)?.sync_all()?;
    Ok(base)
}

fn answer(base: &Path) -> io::Result<Option<Result<(), String>>> {
    for (ending, is_good) in [("done", true), ("failed", false)] {
        let path = base.with_extension(ending);
        match fs::read_to_string(&path) {
            Ok(text) => {
                fs::remove_file(&path)?;
                return Ok(Some(if is_good { Ok(()) } else { Err(text) }));
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    Ok(None)
}

/// Looks for acts and has each recorded by `record`, which answers when it is on disk. Only the process that writes the log may.
pub(super) fn carry_out(
    directory: &Path,
    mut record: impl FnMut(&Event<'_>) -> Result<(), String>,
) -> io::Result<()> {
    for path in paths(directory, "act")? {
        let (ending, text) = match read(&path) {
            Err(what) => ("failed", what),
            Ok(act) => match act.event().map(|event| record(&event)) {
                Some(Ok(())) | None => ("done", String::new()),
                // It is tried again.
                Some(Err(why)) => {
                    tracing::warn!(why, "an act of a command is not recorded yet");
                    return Ok(());
                }
            },
        };
        let unfinished = path.with_extension("answer");
        fs::write(&unfinished, text)?;
        fs::rename(&unfinished, path.with_extension(ending))?;
        fs::remove_file(&path)?;
    }
    Ok(())
}

/// What waits, the oldest first.
fn paths(directory: &Path, wanted: &str) -> io::Result<Vec<PathBuf>> {
    let entries = match fs::read_dir(directory.join(FOLDER_NAME)) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let mut paths = Vec::new();
    for entry in entries {
        let path = entry?.path();
        paths.extend(Some(path).filter(|path| path.extension().is_some_and(|ending| ending == wanted)));
    }
    paths.sort_unstable();
    Ok(paths)
}

fn read(path: &Path) -> Result<Act, String> {
    let mut text = Vec::new();
    let file = File::open(path).map_err(|error| error.to_string())?;
    file.take(ACT_BYTES_MAX).read_to_end(&mut text).map_err(|error| error.to_string())?;
    let act: Act = serde_json::from_slice(&text).map_err(|error| format!("this is no act: {error}"))?;
    act.check().map(|_| act)
}

#[cfg(test)]
mod tests {
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
        let bad = ask(&audit.directory, &act("sync", "")).unwrap();
        fs::write(bad.with_file_name("zzz.act"), b"\xff{").unwrap();
        carry_out(&audit.directory, |_| panic!("recorded")).unwrap();
        assert!(matches!(answer(&bad), Ok(Some(Err(_)))));
        let good = ask(&audit.directory, &act("log_read", "")).unwrap();
        carry_out(&audit.directory, |_| Err("full".into())).unwrap();
        assert!(matches!(answer(&good), Ok(None)) && good.with_extension("act").exists());
    }
}
