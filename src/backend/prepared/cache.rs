//! Which prepared statements one backend holds, in the order of their last use.

use std::collections::{BTreeMap, HashMap};

/// What a backend holds of a statement.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Copy {
    /// Nothing.
    Missing,
    /// Something that may not be it.
    Stale,
    /// It.
    Fresh,
}

#[derive(Debug, Clone, Copy)]
struct Entry {
    /// Whether it is what its number says.
    is_trusted: bool,
    /// When it was last used, as the cache counts.
    used: u64,
}

/// The prepared statements of one backend, by number.
#[derive(Debug, Default)]
pub struct Cache {
    entries: HashMap<u64, Entry>,
    /// Numbers by their last use.
    order: BTreeMap<u64, u64>,
    clock: u64,
}

impl Cache {
    /// What it holds of a statement.
    #[must_use]
    pub fn find(&self, id: u64) -> Copy {
        match self.entries.get(&id) {
            None => Copy::Missing,
            Some(entry) if entry.is_trusted => Copy::Fresh,
            Some(_) => Copy::Stale,
        }
    }

    /// A statement is used.
    pub fn touch(&mut self, id: u64) {
        let Some(entry) = self.entries.get_mut(&id) else { return };
        if entry.used != self.clock {
            self.order.remove(&entry.used);
            self.clock = self.clock.saturating_add(1);
            entry.used = self.clock;
            self.order.insert(self.clock, id);
        }
    }

    /// A statement was parsed, and is used.
    pub fn insert(&mut self, id: u64) {
        self.remove(id);
        self.clock = self.clock.saturating_add(1);
        self.entries.insert(id, Entry { is_trusted: true, used: self.clock });
        self.order.insert(self.clock, id);
    }

    /// A statement is gone.
    pub fn remove(&mut self, id: u64) {
        if let Some(entry) = self.entries.remove(&id) {
            self.order.remove(&entry.used);
        }
    }

    /// A statement may be there or not, and may be another.
    pub fn distrust(&mut self, id: u64) {
        if !self.entries.contains_key(&id) {
            self.insert(id);
        }
        if let Some(entry) = self.entries.get_mut(&id) {
            entry.is_trusted = false;
        }
    }

    /// All are gone.
    pub fn clear(&mut self) {
        self.entries = HashMap::new();
        self.order = BTreeMap::new();
    }

    /// The least recently used one if more than `max` are held, except `spare`.
    #[must_use]
    pub fn surplus(&self, max: usize, spare: impl Fn(u64) -> bool) -> Option<u64> {
        if self.len() <= max {
            return None;
        }
        self.order.values().copied().find(|id| !spare(*id))
    }

    /// All that are held, or may be.
    pub fn ids(&self) -> impl Iterator<Item = u64> {
        self.order.values().copied()
    }

    /// How many are held.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether none is held.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }
}
