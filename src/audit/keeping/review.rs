//! Who has looked through a log, up to when, and for which logs somebody should have by now.
//!
//! What always holds: a review names the signed checkpoint that was there when it was signed off, so what was reviewed cannot be
//! another history later; a log of which there are no records is never overdue.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use std::time::Duration;

use super::super::evidence::{folder_of as proofs_of, key_beside};
use super::super::gate::now_ns;
use super::super::keys::{Keyring, folder_of as keys_of};
use super::super::notary::notes::latest;
use super::super::notary::origin_of;
use super::super::render::{hex, rfc3339};
use super::register::{Act, Register};
use super::{OWN_LOG, Policy};

/// A review as it was signed off.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Review {
    /// When it was signed off, ns since 1970.
    pub time_ns: u64,
    /// The log.
    pub customer: String,
    /// From this time on.
    pub since_ns: u64,
    /// Up to this time.
    pub until_ns: u64,
    /// Records that the signed checkpoint covered.
    pub size: u64,
    /// The checkpoint's root, in hexadecimal digits.
    pub root: String,
    /// Who reviewed.
    pub by: String,
    /// What there was to say.
    pub note: String,
}

/// How it stands with one log's reviews.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Standing {
    /// Up to when it was reviewed; where it never was, since when there are records. ns since 1970.
    pub reviewed_ns: u64,
    /// Whether it ever was.
    pub is_reviewed: bool,
    /// How often it has to be; `None`: nobody asks.
    pub every: Option<Duration>,
    /// For how long it should have been.
    pub overdue: Duration,
}

impl Register {
    /// Every review, the oldest first.
    #[must_use]
    pub fn reviews(&self) -> Vec<Review> {
        let review = |(_, decision): (u64, &super::register::Decision)| match &decision.act {
            Act::Review { customer, since_ns, until_ns, size, root, by, note } => Some(Review {
                time_ns: decision.time_ns,
                customer: customer.clone(),
                since_ns: *since_ns,
                until_ns: *until_ns,
                size: *size,
                root: root.clone(),
                by: by.clone(),
                note: note.clone(),
            }),
            Act::Begin {}
            | Act::Hold { .. }
            | Act::Release { .. }
            | Act::Expire { .. }
            | Act::Thin { .. } => None,
        };
        self.decisions().filter_map(review).collect()
    }

    /// Up to when a log was reviewed, if it was.
    #[must_use]
    pub fn reviewed(&self, log: &str) -> Option<u64> {
        let of_log = self.reviews().into_iter().filter(|review| review.customer == log);
        of_log.map(|review| review.until_ns).max()
    }
}

/// A review as a decision, with the checkpoint as it is now.
pub(super) fn sign_off(
    directory: &Path,
    register: &Register,
    (customer, since_ns, until_ns): (&str, Option<u64>, u64),
    (by, note): (&str, &str),
) -> Result<(Act, String), String> {
    if until_ns > now_ns() {
        return Err("what has not happened yet cannot be reviewed".to_owned());
    }
    let since_ns = since_ns.or_else(|| register.reviewed(customer)).unwrap_or(0);
    if since_ns >= until_ns {
        return Err(format!("it was reviewed up to {} before", rfc3339(since_ns)));
    }
    let unsigned = || format!("no signed checkpoint of the log of {customer} is there yet");
    let key = key_beside(directory).map_err(|error| error.to_string())?.ok_or_else(unsigned)?;
    let origin = origin_of(key.name(), customer);
    let mut notes = latest(&proofs_of(directory), &[key]).map_err(|error| error.to_string())?;
    let (checkpoint, _) = notes.remove(&origin).ok_or_else(unsigned)?;
    let (size, root) = (checkpoint.size, hex(&checkpoint.root));
    let between = if note.is_empty() { "" } else { ": " };
    let detail = format!(
        "reviewed from {} to {} by {by}, checkpoint of {size} records, root {root}{between}{note}",
        rfc3339(since_ns),
        rfc3339(until_ns)
    );
    let (customer, by, note) = (customer.to_owned(), by.to_owned(), note.to_owned());
    Ok((Act::Review { customer, since_ns, until_ns, size, root, by, note }, detail))
}

/// How it stands with the reviews of each log that has records, or has to be reviewed.
///
/// # Errors
/// Why that cannot be told.
pub fn standings(
    directory: &Path,
    keyring: &Keyring,
    policies: &BTreeMap<String, Policy>,
) -> Result<BTreeMap<String, Standing>, String> {
    let register = Register::read(directory, keyring)?;
    let mut began: HashMap<String, u64> = HashMap::new();
    for key in Keyring::list(&keys_of(directory)).map_err(|error| error.to_string())?.into_iter().flatten() {
        let label = key.label;
        let first = began.entry(label.customer).or_insert(label.created_ns);
        *first = label.created_ns.min(*first);
    }
    let mut reviewed: HashMap<String, u64> = HashMap::new();
    for review in register.reviews() {
        let last = reviewed.entry(review.customer).or_insert(0);
        *last = review.until_ns.max(*last);
    }
    let now = now_ns();
    let standing = |(log, began): (String, u64)| {
        let every = policies.get(&log).and_then(|policy| policy.review_every);
        let last = reviewed.get(&log).copied();
        let reviewed_ns = last.unwrap_or(began);
        let since = Duration::from_nanos(now.saturating_sub(reviewed_ns));
        let overdue = every.map_or(Duration::ZERO, |every| since.saturating_sub(every));
        (log, Standing { reviewed_ns, is_reviewed: last.is_some(), every, overdue })
    };
    Ok(began.into_iter().filter(|(log, _)| log != OWN_LOG).map(standing).collect())
}
