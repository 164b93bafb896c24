//! The notary's thread: follows a few times a second, signs every ten, says how it is.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::super::gate::{Gate, lock, now_ns};
use super::super::render::rfc3339;
use super::{Notary, SaltsOf, Trouble};
use crate::proof::note::Signer;

/// How often it looks for more.
const FOLLOW_EVERY: Duration = Duration::from_millis(250);

/// What it is made of.
pub(in crate::audit) struct Plan<K> {
    /// The journal's folder.
    pub(in crate::audit) journal: PathBuf,
    /// Its own.
    pub(in crate::audit) folder: PathBuf,
    /// Name of the vault.
    pub(in crate::audit) vault: String,
    /// From one checkpoint to the next.
    pub(in crate::audit) every: Duration,
    pub(in crate::audit) signer: Signer,
    pub(in crate::audit) salts: K,
}

/// The thread, from outside.
#[derive(Debug)]
pub(in crate::audit) struct Life {
    told: Arc<Told>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

#[derive(Debug, Default)]
struct Told {
    closing: AtomicBool,
    trouble: Mutex<Option<String>>,
}

impl Life {
    /// Why no checkpoints are signed, if something keeps the notary.
    pub(in crate::audit) fn trouble(&self) -> Option<String> {
        lock(&self.told.trouble).clone()
    }

    /// Takes what is left, signs it, ends. The journal's writer has ended before.
    pub(in crate::audit) fn close(&self) {
        let Some(thread) = lock(&self.thread).take() else { return };
        self.told.closing.store(true, Ordering::SeqCst);
        thread.thread().unpark();
        if thread.join().is_err() {
            tracing::error!("the audit log's notary panicked");
        }
    }
}

/// Begins the thread.
pub(in crate::audit) fn start<K: SaltsOf + Send + 'static>(
    gate: Arc<Gate>,
    plan: Plan<K>,
) -> std::io::Result<Life> {
    let told = Arc::new(Told::default());
    let outside = Arc::clone(&told);
    let thread =
        std::thread::Builder::new().name("audit-notary".into()).spawn(move || live(&gate, plan, &told))?;
    Ok(Life { told: outside, thread: Mutex::new(Some(thread)) })
}

fn live<K: SaltsOf>(gate: &Gate, plan: Plan<K>, told: &Told) {
    let Plan { journal, folder, vault, every, signer, salts } = plan;
    let mut notary = match Notary::open(&journal, &folder, &vault, signer, salts) {
        Ok(notary) => notary,
        Err(trouble) => {
            tell(told, Some(&trouble));
            return;
        }
    };
    let mut signed: Option<Instant> = None;
    loop {
        let closing = told.closing.load(Ordering::SeqCst);
        let due = closing || signed.is_none_or(|signed| signed.elapsed() >= every);
        let done = notary.follow(Some(gate.durable_position())).and_then(|()| {
            if due {
                signed = Some(Instant::now());
                notary.round(&rfc3339(now_ns()))?;
            }
            Ok(due)
        });
        match done {
            Ok(true) => tell(told, None),
            Ok(false) => {}
            Err(trouble) => tell(told, Some(&trouble)),
        }
        if closing {
            return;
        }
        std::thread::park_timeout(FOLLOW_EVERY);
    }
}

/// Says a trouble once, and its end.
fn tell(told: &Told, trouble: Option<&Trouble>) {
    let text = trouble.map(ToString::to_string);
    let mut known = lock(&told.trouble);
    if *known == text {
        return;
    }
    match &text {
        Some(trouble) => tracing::error!(trouble, "no checkpoint of the audit log is signed"),
        None => tracing::warn!("checkpoints of the audit log are signed again"),
    }
    *known = text;
}
