//! What others keep of the logs' checkpoints: witnesses sign them, too, and a second place has copies.
//!
//! What always holds: it never holds a statement or a checkpoint up; what it sends was signed and is on disk; a failure is
//! told in health, metrics and the process's log, and tried again; what comes back is checked before it is kept.
//!
//! ```text
//! witness.rs  C2SP tlog-witness   anchor.rs  the second place
//! ```

pub(super) mod anchor;
#[cfg(test)]
mod tests;
mod witness;

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use tokio::runtime::Runtime;

use super::evidence::key_beside;
use super::gate::{lock, now_ns};
use super::notary::notes::{latest, signers};
use super::render::rfc3339;
use crate::config;
use crate::proof::cosignature::Witness;
use crate::proof::note::Verifier;
use crate::telemetry;
use anchor::Store;
use witness::Desk;

/// How often it looks whether something is due.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// At the end a request that is under way is waited for so long.
const CLOSE_WAIT: Duration = Duration::from_millis(500);

/// The thread, from outside.
#[derive(Debug)]
pub(super) struct Life {
    told: Arc<Told>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

#[derive(Debug, Default)]
struct Told {
    closing: AtomicBool,
    unwitnessed: Mutex<Option<String>>,
    unanchored: Mutex<Option<String>>,
}

impl Life {
    /// Why a witness has not signed the newest checkpoints, if one has not.
    pub(super) fn unwitnessed(&self) -> Option<String> {
        lock(&self.told.unwitnessed).clone()
    }

    /// Why checkpoints are not put into the second place, if they are not.
    pub(super) fn unanchored(&self) -> Option<String> {
        lock(&self.told.unanchored).clone()
    }

    /// Ends; what is under way is left.
    pub(super) fn close(&self) {
        let Some(thread) = lock(&self.thread).take() else { return };
        self.told.closing.store(true, Ordering::SeqCst);
        thread.thread().unpark();
        let begun = Instant::now();
        while !thread.is_finished() && begun.elapsed() < CLOSE_WAIT {
            std::thread::sleep(Duration::from_millis(2));
        }
    }
}

/// The witnesses as configured.
///
/// # Errors
/// What is wrong with a key.
pub fn witnesses(audit: &config::Audit) -> Result<Vec<Witness>, String> {
    let parsed = audit.witnesses.iter().map(|witness| {
        Witness::parse(&witness.key).map_err(|error| format!("witness {}: {error}", witness.url))
    });
    parsed.collect()
}

/// Begins the thread, if there is anything to do. `folder` is the notary's.
pub(super) fn start(audit: &config::Audit, folder: PathBuf) -> std::io::Result<Option<Life>> {
    if audit.witnesses.is_empty() && audit.anchor.url.is_none() {
        return Ok(None);
    }
    let keys = witnesses(audit).map_err(std::io::Error::other)?;
    let desks = audit.witnesses.iter().zip(keys).map(|(place, key)| Desk::new(&place.url, key));
    let told = Arc::new(Told::default());
    let abroad = Abroad {
        desks: desks.collect::<Result<_, _>>().map_err(std::io::Error::other)?,
        audit: audit.clone(),
        folder,
        known: Vec::new(),
        runtime: tokio::runtime::Builder::new_current_thread().enable_all().build()?,
        store: None,
        told: Arc::clone(&told),
    };
    let thread = std::thread::Builder::new().name("audit-abroad".into()).spawn(move || abroad.live())?;
    Ok(Some(Life { told, thread: Mutex::new(Some(thread)) }))
}

struct Abroad {
    desks: Vec<Desk>,
    audit: config::Audit,
    folder: PathBuf,
    known: Vec<Verifier>,
    runtime: Runtime,
    store: Option<Store>,
    told: Arc<Told>,
}

impl Abroad {
    fn live(mut self) {
        let shown = Duration::from_millis(self.audit.checkpoint_interval_ms);
        let anchored = Duration::from_secs(self.audit.anchor.interval_s);
        let (mut witnesses_at, mut anchor_at) = (Instant::now(), Instant::now());
        while !self.told.closing.load(Ordering::SeqCst) {
            let now = Instant::now();
            if !self.desks.is_empty() && now >= witnesses_at {
                let trouble = self.show().err();
                tell(&self.told.unwitnessed, trouble, telemetry::AUDIT_WITNESS_FAILURES_TOTAL);
                witnesses_at = Instant::now().checked_add(shown).unwrap_or(now);
            }
            if self.audit.anchor.url.is_some() && now >= anchor_at {
                let put = self.anchor();
                // One that failed is tried again soon, and so is one before the first checkpoint.
                let pause = if put == Ok(true) { anchored } else { anchored.min(shown) };
                tell(&self.told.unanchored, put.err(), telemetry::AUDIT_ANCHOR_FAILURES_TOTAL);
                anchor_at = Instant::now().checked_add(pause).unwrap_or(now);
            }
            std::thread::park_timeout(LOOK_EVERY);
        }
    }

    /// Finds out who signs, which may be another one than before. Nobody: nothing was signed yet.
    fn look_who_signs(&mut self) -> Result<(), String> {
        let current = key_beside(&self.audit.directory).map_err(|error| error.to_string())?;
        if self.known.last() != current.as_ref() {
            let known = current.map(|key| signers(&self.folder, &key)).transpose();
            self.known = known.map_err(|trouble| trouble.to_string())?.unwrap_or_default();
        }
        Ok(())
    }

    /// Shows every log's newest checkpoint to every witness.
    fn show(&mut self) -> Result<(), String> {
        self.look_who_signs()?;
        let notes = latest(&self.folder, &self.known).map_err(|trouble| trouble.to_string())?;
        let (mut refused, mut silent) = (None, Vec::new());
        for (origin, (checkpoint, note)) in notes.iter().filter(|(_, (checkpoint, _))| checkpoint.size > 0) {
            if self.told.closing.load(Ordering::SeqCst) {
                break;
            }
            let log = origin.strip_prefix(&format!("{}/", self.audit.origin)).unwrap_or(origin);
            let shown = witness::Shown { folder: &self.folder, log, checkpoint, note, known: &self.known };
            if let Err(trouble) = shown.to(&self.desks, &self.runtime, &mut silent) {
                refused.get_or_insert(trouble);
            }
        }
        refused.map_or(Ok(()), Err)
    }

    /// Puts the newest checkpoints of all logs into the second place; `false`: there are none yet.
    fn anchor(&mut self) -> Result<bool, String> {
        self.look_who_signs()?;
        let notes = latest(&self.folder, &self.known).map_err(|trouble| trouble.to_string())?;
        if notes.is_empty() {
            return Ok(false);
        }
        let store = match self.store.take() {
            Some(store) => store,
            None => Store::open(&self.audit)?,
        };
        let store = self.store.insert(store);
        let put = store.put(&self.runtime, &rfc3339(now_ns()), notes.values().map(|(_, note)| note.as_str()));
        put.map(|()| true)
    }
}

/// Says a trouble once, and its end; counts each.
fn tell(known: &Mutex<Option<String>>, trouble: Option<String>, counter: &'static str) {
    if trouble.is_some() {
        metrics::counter!(counter).increment(1);
    }
    let mut known = lock(known);
    if *known == trouble {
        return;
    }
    match &trouble {
        Some(trouble) => tracing::error!(trouble, "checkpoints of the audit log are not kept elsewhere"),
        None => tracing::warn!("checkpoints of the audit log are kept elsewhere again"),
    }
    *known = trouble;
}
