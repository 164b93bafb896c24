//! The archive's thread: follows behind the notary, seals when it is time, merges when a day is over, says how it is.
//!
//! What always holds: whatever the archive's trouble is, nobody waits for it; it begins again from where all is in the
//! archive, later and later up to [`RETRY_MAX`]. At the end of the process it just ends: the journal has everything.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::super::begin::{could_go, trim};
use super::super::digest::follower::needed_segment as needed_by_digests;
use super::super::gate::{lock, now_ns};
use super::super::keys::requests::has_requests;
use super::super::keys::{Keyring, folder_of};
use super::super::notary::state::State;
use super::follower::{ArchiveTrouble, Folders, Follower, own_folder};
use super::name::Day;
use super::place;
use crate::config;
use crate::telemetry;

/// How often it looks for more.
const FOLLOW_EVERY: Duration = Duration::from_millis(500);
/// After a trouble it waits so long, then twice as long, and so on.
const RETRY_FIRST: Duration = Duration::from_secs(1);
/// It never waits longer.
const RETRY_MAX: Duration = Duration::from_secs(300);
/// The end of the process waits for a file that is being put.
const CLOSE_WAIT: Duration = Duration::from_secs(2);
const HOUR_NS: u64 = 3_600_000_000_000;
/// What the digests have not read is kept so much longer, and no longer: a digest that fails must not fill the disk.
const DIGEST_PATIENCE_NS: u64 = 72 * HOUR_NS;
/// A day's files are merged so long after its end.
const GRACE_NS: u64 = 600_000_000_000;

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
    /// The first segment of the journal that is not in the archive whole.
    needed: AtomicU64,
    /// What the journal is kept for beyond its time, or went without.
    held: Mutex<Option<String>>,
    shreds: Mutex<BTreeMap<String, Shred>>,
}

/// Keys of a customer that are to go.
#[derive(Debug)]
struct Shred {
    keys: Vec<u32>,
    /// How far the journal was when it was asked.
    until: (u64, u64),
    /// All that was recorded under them is in the archive.
    is_ready: bool,
}

impl Told {
    /// Whether keys may go for all the archive knows: all that was recorded under them is there, so their records are what
    /// shredded records are, and not missing.
    fn may_go(&self, customer: &str, keys: &[u32], durable: (u64, u64)) -> Result<bool, String> {
        let mut shreds = lock(&self.shreds);
        match shreds.get(customer).filter(|shred| shred.keys == keys) {
            Some(shred) if shred.is_ready => return Ok(true),
            Some(_) => {}
            None => {
                let shred = Shred { keys: keys.to_vec(), until: durable, is_ready: false };
                shreds.insert(customer.to_owned(), shred);
            }
        }
        drop(shreds);
        let trouble = lock(&self.trouble).clone();
        trouble.map_or(Ok(false), |trouble| Err(format!("the audit log's archive cannot go on: {trouble}")))
    }
}

impl Life {
    /// Why nothing is sealed, if something keeps the archive.
    pub(in crate::audit) fn trouble(&self) -> Option<String> {
        lock(&self.told.trouble).clone()
    }

    /// What the digests have not read of the journal though it is time, if there is such.
    pub(in crate::audit) fn held(&self) -> Option<String> {
        lock(&self.told.held).clone()
    }

    /// The first segment of the journal that the archive still needs; 0: not known yet, so all are.
    pub(in crate::audit) fn needed_segment(&self) -> u64 {
        self.told.needed.load(Ordering::SeqCst)
    }

    /// What is asked before keys are destroyed. `durable`: how far the journal is on disk.
    pub(in crate::audit) fn before_shred(
        &self,
        durable: impl Fn() -> (u64, u64) + Send + Sync + 'static,
    ) -> impl Fn(&str, &[u32]) -> Result<bool, String> + Send + Sync + 'static {
        let told = Arc::clone(&self.told);
        move |customer, keys| told.may_go(customer, keys, durable())
    }

    /// Ends the thread, and waits for it no longer than [`CLOSE_WAIT`]: a file that is being put then is put again later.
    pub(in crate::audit) fn close(&self) {
        let Some(thread) = lock(&self.thread).take() else { return };
        self.told.closing.store(true, Ordering::SeqCst);
        thread.thread().unpark();
        let begun = Instant::now();
        while !thread.is_finished() {
            if begun.elapsed() > CLOSE_WAIT {
                return;
            }
            std::thread::sleep(Duration::from_millis(2));
        }
        if thread.join().is_err() {
            tracing::error!("the audit log's archive panicked");
        }
    }
}

/// Begins the thread.
pub(in crate::audit) fn start(
    audit: &config::Audit,
    notary: std::path::PathBuf,
    keyring: Arc<Keyring>,
) -> std::io::Result<Life> {
    let told = Arc::new(Told::default());
    let folders = Folders { journal: audit.directory.clone(), notary, own: own_folder(&audit.directory) };
    // A process that lives shorter than the interval seals, too.
    let age = std::fs::metadata(folders.own.join("state")).and_then(|found| found.modified());
    let age = age.ok().and_then(|written| written.elapsed().ok()).unwrap_or_default();
    let sealed = Instant::now().checked_sub(age).unwrap_or_else(Instant::now);
    let archivist = Archivist {
        audit: audit.clone(),
        folders,
        keyring,
        told: Arc::clone(&told),
        sealed,
        sealed_at: (0, 0),
        merged: Day::default(),
        to_merge: Vec::new(),
    };
    let thread = std::thread::Builder::new().name("audit-archive".into()).spawn(move || archivist.live())?;
    Ok(Life { told, thread: Mutex::new(Some(thread)) })
}

struct Archivist {
    audit: config::Audit,
    folders: Folders,
    keyring: Arc<Keyring>,
    told: Arc<Told>,
    /// When the last round ended.
    sealed: Instant,
    /// Up to where the journal was read then.
    sealed_at: (u64, u64),
    /// Files of days before this one were merged, or are.
    merged: Day,
    /// The logs whose files are to be merged, one at each step: what comes meanwhile is sealed in time.
    to_merge: Vec<String>,
}

impl Archivist {
    fn live(mut self) {
        let mut follower = None;
        let mut retry = RETRY_FIRST;
        while !self.told.closing.load(Ordering::SeqCst) {
            let pause = match self.step(&mut follower) {
                Ok(()) => {
                    retry = RETRY_FIRST;
                    self.tell(None);
                    FOLLOW_EVERY
                }
                Err(trouble) => {
                    follower = None;
                    self.tell(Some(&trouble));
                    let pause = retry;
                    retry = retry.saturating_mul(2).min(RETRY_MAX);
                    pause
                }
            };
            self.measure(follower.as_ref());
            std::thread::park_timeout(pause);
        }
    }

    fn step(&mut self, follower: &mut Option<Follower>) -> Result<(), ArchiveTrouble> {
        let opened = match follower.take() {
            Some(follower) => follower,
            None => {
                let place = place::open(&self.audit);
                let place = place
                    .map_err(|error| ArchiveTrouble::Folder(place::default_folder(&self.audit), error))?;
                let opened = Follower::open(&self.folders, &self.audit.origin, place, &self.keyring)?;
                self.sealed_at = opened.position();
                opened
            }
        };
        let followed = follower.insert(opened);
        let was_lost = followed.is_lost();
        while !followed.follow()? {
            if self.told.closing.load(Ordering::SeqCst) {
                return Ok(());
            }
            if self.unsealed_bytes(followed) > self.audit.archive.journal_bytes_max {
                break;
            }
        }
        let ready = self.ready_to_go(followed);
        let is_found = was_lost && !followed.is_lost();
        let is_late = is_found
            || !ready.is_empty()
            || self.sealed.elapsed() >= Duration::from_secs(self.audit.archive.interval_s);
        if is_late || self.unsealed_bytes(followed) > self.audit.archive.journal_bytes_max {
            let needed = followed.round()?;
            self.told.needed.store(needed, Ordering::SeqCst);
            (self.sealed, self.sealed_at) = (Instant::now(), followed.position());
            for customer in ready {
                if let Some(shred) = lock(&self.told.shreds).get_mut(&customer) {
                    shred.is_ready = true;
                }
            }
            let today = Day::of(now_ns().saturating_sub(GRACE_NS));
            if self.merged < today {
                (self.to_merge, self.merged) = (followed.logs(), today);
            }
            self.trim(needed, now_ns())?;
        }
        if let Some(log) = self.to_merge.last() {
            followed.merge(log, self.merged)?;
            self.to_merge.pop();
        }
        Ok(())
    }

    /// Customers whose keys wait for the archive, and whose records have all been handed on.
    fn ready_to_go(&self, follower: &Follower) -> Vec<String> {
        let here = follower.position();
        let shreds = lock(&self.told.shreds);
        let waits = |shred: &Shred| !shred.is_ready && shred.until <= here && !follower.has_open(&shred.keys);
        shreds.iter().filter(|(_, shred)| waits(shred)).map(|(customer, _)| customer.clone()).collect()
    }

    /// Deletes segments of the journal that nobody needs any more.
    fn trim(&self, needed: u64, now_ns: u64) -> Result<(), ArchiveTrouble> {
        let folder = &self.audit.directory;
        let of = |error| ArchiveTrouble::Folder(folder.clone(), error);
        if has_requests(&folder_of(folder)).map_err(of)? {
            return Ok(());
        }
        // What the notary has taken is known to it after any end only from its own file.
        let signed = State::read(&self.folders.notary)?.map_or(0, |signed| signed.segment);
        let keep_ns = self.audit.archive.journal_keep_h.saturating_mul(HOUR_NS);
        let until_ns = now_ns.saturating_sub(keep_ns);
        let needed = needed.min(signed);
        let digested =
            if self.audit.digest.enabled { needed_by_digests(folder).map_err(of)? } else { u64::MAX };
        let mut gone = trim(folder, needed.min(digested), until_ns, &self.keyring).map_err(of)?;
        let uncounted =
            trim(folder, needed, until_ns.saturating_sub(DIGEST_PATIENCE_NS), &self.keyring).map_err(of)?;
        gone = gone.saturating_add(uncounted);
        // What has just gone does not wait.
        let waiting = could_go(folder, needed, until_ns).map_err(of)?;
        self.tell_held((waiting, uncounted), digested);
        if gone > 0 {
            tracing::info!(
                segments = gone,
                "segments of the audit log's journal were deleted: the archive has them"
            );
        }
        Ok(())
    }

    /// Says what is kept for the digests only, and what went without them.
    fn tell_held(&self, (waiting, uncounted): (usize, u64), digested: u64) {
        if uncounted > 0 {
            tracing::error!(
                segments = uncounted,
                "segments of the journal went that no daily digest has counted"
            );
        }
        let hours = DIGEST_PATIENCE_NS / HOUR_NS;
        *lock(&self.told.held) = (waiting > 0).then(|| {
            format!(
                "{waiting} segments of the journal have not been read, from segment {digested} on; each is kept for \
                 {hours} hours, and then goes uncounted"
            )
        });
    }

    /// Journal that was read and is not in the archive.
    fn unsealed_bytes(&self, follower: &Follower) -> u64 {
        let (segment, offset) = follower.position();
        let segments = segment.saturating_sub(self.sealed_at.0);
        segments
            .saturating_mul(self.audit.segment_bytes)
            .saturating_add(offset)
            .saturating_sub(self.sealed_at.1)
    }

    fn measure(&self, follower: Option<&Follower>) {
        let waiting = follower.map_or(0, |follower| self.unsealed_bytes(follower));
        metrics::gauge!(telemetry::AUDIT_UNSEALED_BYTES).set(telemetry::gauge(waiting));
        metrics::gauge!(telemetry::AUDIT_UNSEALED_SECONDS)
            .set(telemetry::gauge(self.sealed.elapsed().as_secs()));
    }

    /// Says a trouble once, and its end.
    fn tell(&self, trouble: Option<&ArchiveTrouble>) {
        let text = trouble.map(ToString::to_string);
        let mut known = lock(&self.told.trouble);
        if *known == text {
            return;
        }
        match &text {
            Some(trouble) => tracing::error!(trouble, "the audit log is not archived; its journal is kept"),
            None => tracing::warn!("the audit log is archived again"),
        }
        *known = text;
    }
}

#[cfg(test)]
mod tests;
