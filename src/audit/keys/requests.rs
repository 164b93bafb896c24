//! Requests to shred a customer's keys, as files: a command writes one, the process that writes the log carries it out.
//!
//! `keys/requests/NAME.request` asks, `NAME.done` or `NAME.failed` answers. A request that was begun and not finished is
//! begun again by the next process, so a shred that was asked for happens, whatever ends in between.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::file::Tombstone;
use super::{KeyError, Keyring};
use crate::audit::gate::now_ns;
use crate::ids::CustomerId;

/// In the keyring's folder.
const FOLDER_NAME: &str = "requests";
/// A longer file is no request.
const REQUEST_BYTES_MAX: u64 = 16 << 10;

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

/// A request that was made.
#[derive(Debug)]
pub struct Asked {
    base: PathBuf,
}

/// What must happen besides the keys' own affairs.
pub trait Steps {
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
    let folder = keyring.join(FOLDER_NAME);
    match DirBuilder::new().mode(0o700).create(&folder) {
        Ok(()) => File::open(keyring)?.sync_all()?,
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
        Err(error) => return Err(error),
    }
    let base = folder.join(format!("{}-{}", now_ns(), std::process::id()));
    let unfinished = base.with_extension("new");
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&unfinished)?;
    file.write_all(serde_json::to_string(request)?.as_bytes())?;
    file.sync_all()?;
    fs::rename(&unfinished, base.with_extension("request"))?;
    File::open(&folder)?.sync_all()?;
    Ok(Asked { base })
}

impl Asked {
    /// What came of it, once; `None`: nothing yet.
    ///
    /// # Errors
    /// What the operating system says.
    pub fn answer(&self) -> io::Result<Option<Result<String, String>>> {
        for (ending, is_good) in [("done", true), ("failed", false)] {
            let path = self.base.with_extension(ending);
            match fs::read_to_string(&path) {
                Ok(text) => {
                    fs::remove_file(&path)?;
                    return Ok(Some(if is_good { Ok(text) } else { Err(text) }));
                }
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
        Ok(None)
    }
}

/// Looks for requests and does what can be done; only the process that writes the log may.
///
/// # Errors
/// Why the folder of requests cannot be read.
pub fn carry_out(keyring: &Keyring, steps: &mut dyn Steps) -> io::Result<()> {
    let folder = keyring.folder.path().join(FOLDER_NAME);
    let entries = match fs::read_dir(&folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    let mut paths = Vec::new();
    for entry in entries {
        paths.extend(
            Some(entry?.path()).filter(|path| path.extension().is_some_and(|ending| ending == "request")),
        );
    }
    paths.sort_unstable();
    for path in paths {
        let outcome = match read(&path) {
            Ok(request) => shred(keyring, &request, steps),
            Err(what) => Outcome::Done(Err(what)),
        };
        match outcome {
            Outcome::Later(why) => tracing::info!(file = %path.display(), why, "keys are not shredded yet"),
            Outcome::Done(answer) => reply(&path, &answer)?,
        }
    }
    Ok(())
}

enum Outcome {
    Done(Result<String, String>),
    Later(String),
}

fn read(path: &Path) -> Result<Request, String> {
    let mut text = Vec::new();
    let file = File::open(path).map_err(|error| error.to_string())?;
    file.take(REQUEST_BYTES_MAX).read_to_end(&mut text).map_err(|error| error.to_string())?;
    let request: Request =
        serde_json::from_slice(&text).map_err(|error| format!("this is no request: {error}"))?;
    CustomerId::parse(&request.customer).map_err(|error| error.to_string())?;
    Ok(request)
}

fn shred(keyring: &Keyring, request: &Request, steps: &mut dyn Steps) -> Outcome {
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

fn reply(request: &Path, answer: &Result<String, String>) -> io::Result<()> {
    let (ending, text) = match answer {
        Ok(text) => ("done", text),
        Err(text) => ("failed", text),
    };
    let unfinished = request.with_extension("answer");
    fs::write(&unfinished, text)?;
    fs::rename(&unfinished, request.with_extension(ending))?;
    fs::remove_file(request)
}
