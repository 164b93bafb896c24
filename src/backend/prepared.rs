//! Prepared statements that sessions share and backends hold.
//!
//! A [`Prepared`] is one text as all sessions of a customer role and database share it: its number names it on every
//! backend (`_ov_<number>`). An [`Interner`] finds the one that is already there; a [`Cache`] says which of them a
//! backend holds.
//!
//! What always holds: a number is given once in the life of the process; equal numbers mean equal text, types and
//! settings at `Parse`, and the same parameters and columns; an interner holds what somebody else holds, and nothing more.
//!
//! Source: protocol-flow#PROTOCOL-FLOW-EXT-QUERY

use std::hash::{BuildHasher as _, RandomState};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, Weak};

use std::collections::HashMap;

use super::memory::Carried;

mod cache;
#[cfg(test)]
mod tests;

pub use cache::{Cache, Copy};

/// The number of a statement that no backend has: binding it is refused, closing it does nothing.
pub const NOBODY: u64 = 0;

/// The number of a statement that is made where a name is to be found in use. It is never run.
pub const TAKEN: u64 = 1;

/// A prepared statement, shared by all who have parsed the same.
#[derive(Debug)]
pub struct Prepared {
    id: u64,
    text: Box<[u8]>,
    types: Box<[u8]>,
    settings: Carried,
    /// What the server says that it takes and gives, once that is known.
    shown: OnceLock<Shown>,
    /// Where it is entered, and under which hash; it leaves by itself.
    home: Weak<Table>,
    hash: u64,
}

/// What a server says of a statement.
#[derive(Debug, Clone)]
pub struct Shown {
    /// Its parameters and columns, as a number that no client can predict.
    pub number: u64,
    /// Its parameters' types, as a `Parse` says them; `None` where they were not all there to be read.
    pub types: Option<Box<[u8]>>,
    /// Parsed again with these types it is the same, whatever has become of its tables.
    pub is_sure: bool,
}

impl Prepared {
    /// Its number, which no other one ever has.
    #[must_use]
    pub const fn id(&self) -> u64 {
        self.id
    }

    /// Its text.
    #[must_use]
    pub const fn text(&self) -> &[u8] {
        &self.text
    }

    /// What stood behind the text in its `Parse`: how many parameter types, and which.
    #[must_use]
    pub const fn types(&self) -> &[u8] {
        &self.types
    }

    /// The session settings under which it was first parsed: literals in its text are read by them.
    #[must_use]
    pub const fn settings(&self) -> &Carried {
        &self.settings
    }

    /// Appends its name on a backend, without a terminator.
    pub fn write_name(&self, out: &mut Vec<u8>) {
        out.extend(name(self.id));
    }

    /// The types of all its parameters once they are known, and before that those it was given. A server parses
    /// a statement again with the types that it has found the first time, and so does who parses it for a client.
    #[must_use]
    pub fn types_found(&self) -> &[u8] {
        self.shown.get().and_then(|shown| shown.types.as_deref()).unwrap_or(&self.types)
    }

    /// Whether parsing it with [`Self::types_found`] makes what its number stands for, or fails.
    #[must_use]
    pub fn is_sure(&self) -> bool {
        self.shown.get().is_some_and(|shown| shown.is_sure)
    }

    /// Whether the server shows this of it. The first time that it says something, that is it.
    pub fn shows(&self, shown: &Shown) -> bool {
        self.shown.get_or_init(|| shown.clone()).number == shown.number
    }

    /// Whether it is this one.
    #[must_use]
    pub fn is(&self, text: &[u8], types: &[u8], settings: &Carried) -> bool {
        *self.text == *text && *self.types == *types && self.settings == *settings
    }
}

/// The name on a backend of the statement with this number.
#[must_use]
pub fn name(id: u64) -> Vec<u8> {
    format!("_ov_{id}").into_bytes()
}

/// The number of the statement with this name on a backend, if it is one of ours.
#[must_use]
pub fn id_of(name: &[u8]) -> Option<u64> {
    let digits = std::str::from_utf8(name.strip_prefix(b"_ov_")?).ok()?;
    digits.parse().ok().filter(|id| self::name(*id) == name)
}

impl Drop for Prepared {
    fn drop(&mut self) {
        if let Some(home) = self.home.upgrade() {
            home.forget(self.hash, self);
        }
    }
}

/// Gives the same [`Prepared`] for the same text, types and settings: one for each customer role and database.
#[derive(Debug, Default)]
pub struct Interner(Arc<Table>);

/// Statements by a hash that no client can predict. Two that fall on one hash are not shared; nothing else is lost.
#[derive(Debug, Default)]
struct Table {
    hasher: RandomState,
    entries: Mutex<HashMap<u64, Weak<Prepared>>>,
}

impl Interner {
    /// The one that equals these, or a new one.
    #[must_use]
    pub fn intern(&self, text: &[u8], types: &[u8], settings: &Carried) -> Arc<Prepared> {
        let hash = self.0.hasher.hash_one((text, types, settings));
        if let Some(known) = self.0.find(hash).filter(|known| known.is(text, types, settings)) {
            return known;
        }
        let prepared = Arc::new(Prepared {
            id: next_id(),
            text: text.into(),
            types: types.into(),
            settings: settings.clone(),
            shown: OnceLock::new(),
            home: Arc::downgrade(&self.0),
            hash,
        });
        self.0.enter(prepared)
    }

    /// The server shows something else of this one than it did: what has the same text from now on. Those who know it as it
    /// was keep it.
    #[must_use]
    pub fn changed(&self, former: &Prepared, shown: &Shown) -> Arc<Prepared> {
        let Prepared { text, types, settings, hash, .. } = former;
        if let Some(known) = self.0.find(*hash).filter(|known| known.is(text, types, settings))
            && known.shows(shown)
        {
            return known;
        }
        let prepared = Arc::new(Prepared {
            id: next_id(),
            text: text.clone(),
            types: types.clone(),
            settings: settings.clone(),
            shown: OnceLock::from(shown.clone()),
            home: Arc::downgrade(&self.0),
            hash: *hash,
        });
        self.0.replace(&prepared);
        prepared
    }

    /// One number for what a server has said, which no client can predict.
    #[must_use]
    pub fn number(&self, said: &[u8]) -> u64 {
        self.0.hasher.hash_one(said)
    }

    /// How many it knows.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.entries.lock().unwrap_or_else(PoisonError::into_inner).len()
    }

    /// Whether it knows none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

fn next_id() -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(TAKEN + 1);
    NEXT.fetch_add(1, Ordering::Relaxed)
}

/// An emptied table gives memory back, unless it is smaller than so many entries.
const CAPACITY_KEPT: usize = 64;

impl Table {
    /// A statement found is never dropped under the lock: if it was the last of its kind, it wants the lock itself.
    fn find(&self, hash: u64) -> Option<Arc<Prepared>> {
        let entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        let found = entries.get(&hash).and_then(Weak::upgrade);
        drop(entries);
        found
    }

    /// Enters a new one, unless somebody was faster with an equal one.
    fn enter(&self, prepared: Arc<Prepared>) -> Arc<Prepared> {
        let mut entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        let entry = entries.entry(prepared.hash).or_default();
        let Some(other) = entry.upgrade() else {
            *entry = Arc::downgrade(&prepared);
            return prepared;
        };
        drop(entries);
        if other.is(&prepared.text, &prepared.types, &prepared.settings) { other } else { prepared }
    }

    fn replace(&self, prepared: &Arc<Prepared>) {
        let mut entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        entries.insert(prepared.hash, Arc::downgrade(prepared));
    }

    fn forget(&self, hash: u64, gone: &Prepared) {
        let mut entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        if entries.get(&hash).is_some_and(|entry| std::ptr::eq(entry.as_ptr(), gone)) {
            entries.remove(&hash);
            if entries.capacity() / 4 > entries.len().max(CAPACITY_KEPT) {
                entries.shrink_to_fit();
            }
        }
    }
}
