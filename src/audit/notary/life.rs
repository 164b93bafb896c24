//! The notary's thread: follows a few times a second, signs every ten, says how it is.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::super::gate::{Gate, lock, now_ns};
use super::super::render::rfc3339;
use super::super::signers::Found;
use super::{Notary, SaltsOf, Trouble};
use crate::proof::note::{Signer, Verifier};

/// How often it looks for more.
const FOLLOW_EVERY: Duration = Duration::from_millis(250);
/// How often it looks for old checkpoints that need not be kept.
const SHORTEN_EVERY: Duration = Duration::from_secs(6 * 3_600);
/// At the end it takes what is left for so long.
const CLOSE_LIMIT: Duration = Duration::from_secs(5);
/// And waits so long for what it cannot do without.
const CLOSE_PATIENCE: Duration = Duration::from_millis(500);

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
    /// Who signs, or why nobody can.
    pub(in crate::audit) signer: Result<Found, Trouble>,
    pub(in crate::audit) salts: K,
}

/// The thread, from outside.
#[derive(Debug)]
pub(in crate::audit) struct Life {
    told: Arc<Told>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

#[derive(Debug, Default)]
pub(in crate::audit) struct Told {
    closing: AtomicBool,
    hurry: AtomicBool,
    trouble: Mutex<Option<String>>,
    shreds: Mutex<BTreeMap<String, Shred>>,
    signs: Mutex<Option<Verifier>>,
    next: Mutex<Option<Arc<Signer>>>,
}

/// Keys of a customer that are to go.
#[derive(Debug)]
enum Shred {
    /// The notary needs their records still.
    Asked(Vec<u32>),
    /// It has taken all of them.
    Ready,
}

impl Told {
    /// Whether keys may go: `true` once, when all that was recorded under them has its leaf and no record that needs them is
    /// to come.
    pub(in crate::audit) fn may_go(&self, customer: &str, keys: &[u32]) -> Result<bool, String> {
        if let Some(trouble) = &*lock(&self.trouble) {
            return Err(format!("the audit log's notary cannot go on: {trouble}"));
        }
        let mut shreds = lock(&self.shreds);
        if matches!(shreds.get(customer), Some(Shred::Ready)) {
            shreds.remove(customer);
            return Ok(true);
        }
        shreds.insert(customer.to_owned(), Shred::Asked(keys.to_vec()));
        Ok(false)
    }

    /// Signs soon: somebody waits for what was recorded up to now.
    pub(in crate::audit) fn hurry(&self) {
        self.hurry.store(true, Ordering::SeqCst);
    }

    /// Who signs; nobody, as long as the notary has not begun.
    pub(in crate::audit) fn signs(&self) -> Option<Verifier> {
        lock(&self.signs).clone()
    }

    /// Lets another sign, as soon as that can be.
    pub(in crate::audit) fn sign_with(&self, next: Arc<Signer>) {
        *lock(&self.next) = Some(next);
        self.hurry();
    }

    /// See [`Life::trouble`].
    pub(in crate::audit) fn trouble(&self) -> Option<String> {
        lock(&self.trouble).clone()
    }

    fn asked(&self) -> Vec<(String, Vec<u32>)> {
        let shreds = lock(&self.shreds);
        let asked = shreds.iter().filter_map(|(customer, shred)| match shred {
            Shred::Asked(keys) => Some((customer.clone(), keys.clone())),
            Shred::Ready => None,
        });
        asked.collect()
    }
}

impl Life {
    /// Why no checkpoints are signed, if something keeps the notary.
    pub(in crate::audit) fn trouble(&self) -> Option<String> {
        lock(&self.told.trouble).clone()
    }

    /// What others may ask.
    pub(in crate::audit) fn told(&self) -> Arc<Told> {
        Arc::clone(&self.told)
    }

    /// Takes what is left, signs it, ends; what takes too long is left for the next start. The writer has ended before.
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
    let live = move || {
        let opened = plan.signer.and_then(|Found { current, next }| {
            *lock(&told.next) = next;
            Notary::open(&plan.journal, &plan.folder, &plan.vault, current, plan.salts)
        });
        match opened {
            Ok(notary) => {
                *lock(&told.signs) = Some(notary.signs().clone());
                Living { gate, told, notary, signed: None, shortened: None, going: Vec::new() }
                    .live(plan.every);
            }
            Err(trouble) => tell(&told, Some(&trouble)),
        }
    };
    let thread = std::thread::Builder::new().name("audit-notary".into()).spawn(live)?;
    Ok(Life { told: outside, thread: Mutex::new(Some(thread)) })
}

/// How far it has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Come {
    /// All that is on disk was taken.
    All,
    /// There is more.
    Part,
    /// It waits for something.
    Held,
}

struct Living<K> {
    gate: Arc<Gate>,
    told: Arc<Told>,
    notary: Notary<K>,
    signed: Option<Instant>,
    /// When old checkpoints were let go last.
    shortened: Option<Instant>,
    /// Keys that were let go and are about to be destroyed: nothing is taken meanwhile.
    going: Vec<u32>,
}

impl<K: SaltsOf> Living<K> {
    fn live(mut self, every: Duration) {
        let (mut closing_since, mut come) = (None, Come::Part);
        loop {
            let closing = self.told.closing.load(Ordering::SeqCst);
            let limit = if come == Come::Held { CLOSE_PATIENCE } else { CLOSE_LIMIT };
            let overdue = closing && closing_since.get_or_insert_with(Instant::now).elapsed() >= limit;
            let hurries = self.told.hurry.swap(false, Ordering::SeqCst);
            let is_due = hurries || self.signed.is_none_or(|signed| signed.elapsed() >= every);
            let done = self.turn(is_due, closing, overdue);
            come = done.as_ref().map_or(Come::Held, |come| *come);
            match done {
                Ok(_) if is_due => tell(&self.told, None),
                Ok(_) => {}
                Err(trouble) => tell(&self.told, Some(&trouble)),
            }
            if overdue || (closing && come == Come::All) {
                return;
            }
            if come != Come::Part {
                std::thread::park_timeout(FOLLOW_EVERY);
            }
        }
    }

    /// Takes some records.
    fn turn(&mut self, is_due: bool, closing: bool, overdue: bool) -> Result<Come, Trouble> {
        // Asked before it is looked how far the journal is: what was recorded until then is taken.
        let asked = self.told.asked();
        let come = if overdue || self.waits_for_keys() {
            Come::Held
        } else if self.notary.follow(Some(self.gate.durable_position()))? {
            Come::All
        } else {
            Come::Part
        };
        if is_due || overdue || (closing && come == Come::All) {
            self.signed = Some(Instant::now());
            self.notary.round(&rfc3339(now_ns()))?;
            self.hand_over()?;
            if self.shortened.is_none_or(|shortened| shortened.elapsed() >= SHORTEN_EVERY) {
                self.shortened = Some(Instant::now());
                self.notary.shorten(now_ns())?;
            }
        }
        if let Some((customer, keys)) = asked.into_iter().next().filter(|_| come == Come::All)
            && self.notary.may_go(&keys)
        {
            self.notary.round(&rfc3339(now_ns()))?;
            self.going = keys;
            lock(&self.told.shreds).insert(customer, Shred::Ready);
        }
        Ok(come)
    }

    /// Lets another sign, where one waits.
    fn hand_over(&mut self) -> Result<(), Trouble> {
        let Some(next) = lock(&self.told.next).clone() else { return Ok(()) };
        if next.verifier() != self.notary.signs() {
            self.notary.hand_over(&next, &rfc3339(now_ns()))?;
        }
        *lock(&self.told.next) = None;
        *lock(&self.told.signs) = Some(self.notary.signs().clone());
        Ok(())
    }

    fn waits_for_keys(&mut self) -> bool {
        let keyring = self.notary.keyring();
        let is_there = |key: &u32| keyring.as_ref().is_some_and(|keyring| keyring.by_number(*key).is_ok());
        self.going.retain(is_there);
        !self.going.is_empty()
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
