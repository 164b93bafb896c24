//! Alerts that wait to be sent, in files; where a file cannot be written, in memory.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::super::digest::store::{Store, StoreError};
use super::super::keys::KeyError;
use super::Alert;

const ENDING: &str = "alert";

/// An alert and when it happened, by which they are sent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Kept {
    /// ns since 1970.
    pub(super) time_ns: u64,
    pub(super) alert: Alert,
}

/// Where one is.
#[derive(Debug)]
enum Place {
    /// In the file of this customer.
    File(String),
    Memory(Box<Alert>),
}

/// All of them.
#[derive(Debug)]
pub(super) struct Queue {
    folder: PathBuf,
    store: Store,
    /// By time and id.
    waiting: BTreeMap<(u64, String), Place>,
    most: usize,
}

impl Queue {
    /// With what lies in its folder.
    pub(super) fn open(folder: PathBuf, store: Store, most: usize) -> Result<Self, StoreError> {
        let mut queue = Self { folder, store, waiting: BTreeMap::new(), most };
        for customer in queue.store.customers()? {
            let folder = queue.folder.join(&customer);
            let entries = fs::read_dir(&folder).map_err(|error| StoreError::Io(folder.clone(), error))?;
            for entry in entries {
                let entry = entry.map_err(|error| StoreError::Io(folder.clone(), error))?;
                if let Some(key) = entry.file_name().to_str().and_then(key_of) {
                    queue.waiting.insert(key, Place::File(customer.clone()));
                }
            }
        }
        Ok(queue)
    }

    pub(super) fn len(&self) -> usize {
        self.waiting.len()
    }

    /// Keeps an alert; `false`: there is no room. One that waits already is kept once.
    pub(super) fn put(&mut self, kept: Kept, now_ns: u64) -> bool {
        let key = (kept.time_ns, kept.alert.id.clone());
        if self.waiting.contains_key(&key) {
            return true;
        }
        if self.waiting.len() >= self.most {
            return false;
        }
        let customer = kept.alert.customer.clone();
        let written = self.store.key(&customer, now_ns);
        let written = written.and_then(|data| self.store.write(&customer, &name_of(&key), &kept, &data));
        let place = match written {
            Ok(()) => Place::File(customer),
            Err(error) => {
                tracing::error!(%error, "an alert of the audit log is only in memory until it is sent");
                Place::Memory(Box::new(kept.alert))
            }
        };
        self.waiting.insert(key, place);
        true
    }

    /// The oldest behind another one, and its key.
    pub(super) fn next(&mut self, behind: Option<&(u64, String)>) -> Option<((u64, String), Alert)> {
        loop {
            let found = match behind {
                None => self.waiting.first_key_value(),
                Some(behind) => {
                    self.waiting.range((std::ops::Bound::Excluded(behind), std::ops::Bound::Unbounded)).next()
                }
            };
            let (key, place) = found?;
            let key = key.clone();
            let customer = match place {
                Place::Memory(alert) => return Some((key, (**alert).clone())),
                Place::File(customer) => customer.clone(),
            };
            match self.store.read::<Kept>(&customer, &name_of(&key)) {
                Ok(Some((kept, _))) => return Some((key, kept.alert)),
                Err(error @ StoreError::Io(..)) => {
                    tracing::error!(%error, "an alert of the audit log cannot be read");
                    return None;
                }
                // Shredded with its customer, or nobody's any more.
                Ok(None) | Err(StoreError::Key(KeyError::Shredded(_))) => self.remove(&key),
                Err(error) => {
                    tracing::error!(%error, "an alert of the audit log is lost");
                    self.remove(&key);
                }
            }
        }
    }

    /// It was sent, or never will be.
    pub(super) fn remove(&mut self, key: &(u64, String)) {
        if let Some(Place::File(customer)) = self.waiting.remove(key) {
            let path = self.folder.join(customer).join(name_of(key));
            match fs::remove_file(&path) {
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                // It is sent once more after the next start.
                Err(error) => tracing::warn!(%error, file = %path.display(), "a sent alert is still there"),
            }
        }
    }
}

fn name_of((time_ns, id): &(u64, String)) -> String {
    format!("{time_ns:020}-{id}.{ENDING}")
}

fn key_of(name: &str) -> Option<(u64, String)> {
    let (time, id) = name.strip_suffix(ENDING)?.strip_suffix('.')?.split_once('-')?;
    let key = (time.parse().ok()?, id.to_owned());
    (name_of(&key) == name).then_some(key)
}
