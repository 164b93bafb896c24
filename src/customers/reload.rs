//! The catalogue in force, and its next version.
//!
//! The catalogue is read again when asked and swapped whole. A bad file keeps its customer's last good version, and
//! the log says what is wrong with it, with file and line. Refuses to know when to reload: `server` watches the
//! folder and hears signals.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::ArcSwap;

use super::files;
use super::{Catalogue, Catalogues};
use crate::config::Problem;
use crate::ids::CustomerId;

/// What a reload has done.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Outcome {
    /// Customers in force now.
    pub customers: usize,
    /// New ones.
    pub added: Vec<CustomerId>,
    /// Those with a new version.
    pub changed: Vec<CustomerId>,
    /// Those that are gone.
    pub removed: Vec<CustomerId>,
    /// Those that keep their last good version because the new one is bad.
    pub kept: Vec<CustomerId>,
    /// Everything that is wrong.
    pub problems: Vec<Problem>,
}

impl Outcome {
    /// Whether the catalogue is another one now.
    #[must_use]
    pub fn is_change(&self) -> bool {
        !(self.added.is_empty() && self.changed.is_empty() && self.removed.is_empty())
    }
}

/// Reads the folder again when asked.
#[derive(Debug)]
pub struct Reloader {
    dir: PathBuf,
    catalogues: Catalogues,
    /// One reload at a time: an older reading must not replace a newer one.
    reloading: Mutex<()>,
}

impl Reloader {
    /// Reads the folder a first time. Customers that are not good are left out, and the outcome says why.
    #[must_use]
    pub fn open(dir: PathBuf) -> (Arc<Self>, Outcome) {
        let catalogues = Arc::new(ArcSwap::from_pointee(Catalogue::default()));
        let reloader = Arc::new(Self { dir, catalogues, reloading: Mutex::new(()) });
        let outcome = reloader.reload();
        (reloader, outcome)
    }

    /// The catalogue in force.
    #[must_use]
    pub fn catalogues(&self) -> Catalogues {
        Arc::clone(&self.catalogues)
    }

    /// Reads the folder and swaps the catalogue. Blocks while it reads.
    pub fn reload(&self) -> Outcome {
        let _one = self.reloading.lock().unwrap_or_else(PoisonError::into_inner);
        let previous = self.catalogues.load_full();
        let survey = files::survey(&self.dir, &previous);
        let mut outcome = compare(&previous, &survey.catalogue);
        outcome.kept = survey.kept;
        outcome.problems = survey.problems;
        if outcome.is_change() {
            self.catalogues.store(Arc::new(survey.catalogue));
        }
        tell(&self.dir, &outcome);
        outcome
    }
}

fn compare(previous: &Catalogue, current: &Catalogue) -> Outcome {
    let mut outcome = Outcome { customers: current.customers.len(), ..Outcome::default() };
    for (id, customer) in &current.customers {
        match previous.customers.get(id) {
            None => outcome.added.push(id.clone()),
            Some(old) if !Arc::ptr_eq(old, customer) => outcome.changed.push(id.clone()),
            Some(_) => {}
        }
    }
    let gone = previous.customers.keys().filter(|id| !current.customers.contains_key(*id));
    outcome.removed = gone.cloned().collect();
    for list in [&mut outcome.added, &mut outcome.changed, &mut outcome.removed] {
        list.sort();
    }
    outcome
}

/// Shouts about problems; mentions changes.
fn tell(dir: &Path, outcome: &Outcome) {
    for problem in &outcome.problems {
        tracing::error!(%problem, "customer configuration is not valid");
    }
    for id in &outcome.kept {
        tracing::error!(customer = %id, "customer keeps its last good configuration");
    }
    if outcome.is_change() {
        let (added, changed, removed) = (outcome.added.len(), outcome.changed.len(), outcome.removed.len());
        let customers = outcome.customers;
        tracing::info!(dir = %dir.display(), customers, added, changed, removed, "customers loaded");
    }
}

#[cfg(test)]
mod tests;
