//! The prepared statements of one session in transaction pooling: what each of its names stands for, and on whichever
//! backend it runs, what must be there.
//!
//! What always holds: names count as far as PostgreSQL compares them, 63 bytes; what was sent is seen by what is sent
//! behind it, and lasts only when the server's answer says so; answers come in the order of what was sent.
//!
//! Source: protocol-flow#PROTOCOL-FLOW-EXT-QUERY

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use crate::backend::memory::Name;
use crate::backend::prepared::Prepared;

use super::effect::Effects;
use super::statements::significant;

#[cfg(test)]
mod tests;

/// What a name stands for.
#[derive(Debug, Clone)]
pub(crate) struct Named {
    /// The statement.
    pub(crate) prepared: Arc<Prepared>,
    /// What it leaves behind when it runs; none when that is nothing.
    pub(crate) effects: Option<Arc<Effects>>,
    /// Its text is not kept: it is where it was parsed, by the client's own name, and nowhere else.
    pub(crate) is_held: bool,
}

/// What a name takes beside its own bytes, about.
const NAME_BYTES: usize = 128;

/// What a statement takes beside its text and types, about.
const STATEMENT_BYTES: usize = 128;

impl Named {
    fn weight(&self) -> Weight {
        let bytes = STATEMENT_BYTES + self.prepared.text().len() + self.prepared.types().len();
        Weight { bytes, held: usize::from(self.is_held) }
    }
}

/// What statements take in memory, about, and how many of them are held where they are.
#[derive(Debug, Clone, Copy, Default)]
struct Weight {
    bytes: usize,
    held: usize,
}

impl Weight {
    const fn add(&mut self, other: Self) {
        self.bytes += other.bytes;
        self.held += other.held;
    }

    const fn remove(&mut self, other: Self) {
        self.bytes -= other.bytes;
        self.held -= other.held;
    }
}

/// Something that was sent and is not answered.
#[derive(Debug)]
enum Change {
    Parse(Named),
    Close,
}

/// One name.
#[derive(Debug, Default)]
struct Slot {
    live: Option<Named>,
    sent: VecDeque<Change>,
    /// What `live` and `sent` take.
    weight: Weight,
}

impl Slot {
    /// What the name will stand for when everything sent has succeeded.
    fn seen(&self) -> Option<&Named> {
        match self.sent.back() {
            None => self.live.as_ref(),
            Some(Change::Parse(named)) => Some(named),
            Some(Change::Close) => None,
        }
    }

    fn is_empty(&self) -> bool {
        self.live.is_none() && self.sent.is_empty()
    }

    fn send(&mut self, change: Change) {
        if let Change::Parse(named) = &change {
            self.weight.add(named.weight());
        }
        self.sent.push_back(change);
    }

    /// Takes what is answered next.
    fn answered(&mut self) -> Option<Change> {
        let change = self.sent.pop_front()?;
        if let Change::Parse(named) = &change {
            self.weight.remove(named.weight());
        }
        if self.sent.is_empty() && self.sent.capacity() > 8 {
            self.sent = VecDeque::new();
        }
        Some(change)
    }

    fn stand_for(&mut self, named: Option<Named>) {
        self.weight.add(named.as_ref().map_or(Weight::default(), Named::weight));
        self.weight.remove(self.live.as_ref().map_or(Weight::default(), Named::weight));
        self.live = named;
    }
}

/// The named statements of one session. The unnamed one is not among them.
#[derive(Debug, Default)]
pub(crate) struct Names {
    named: HashMap<Name, Slot>,
    weight: Weight,
}

impl Names {
    /// What a name stands for, for a message that is sent next.
    pub(crate) fn get(&self, name: &[u8]) -> Option<&Named> {
        self.named.get(significant(name))?.seen()
    }

    /// `Parse` is sent.
    pub(crate) fn sent(&mut self, name: &[u8], named: Named) {
        self.change(name, |slot| slot.send(Change::Parse(named)));
    }

    /// `Close` is sent.
    pub(crate) fn closing(&mut self, name: &[u8]) {
        self.change(name, |slot| slot.send(Change::Close));
    }

    /// `ParseComplete`
    pub(crate) fn parsed(&mut self, name: &[u8]) {
        self.change(name, |slot| {
            if let Some(Change::Parse(named)) = slot.answered() {
                slot.stand_for(Some(named));
            }
        });
    }

    /// What was sent next for this name failed or was skipped: what the name stood for before, it stands for again.
    pub(crate) fn failed(&mut self, name: &[u8]) {
        self.change(name, |slot| drop(slot.answered()));
    }

    /// `CloseComplete`
    pub(crate) fn closed(&mut self, name: &[u8]) {
        self.change(name, |slot| {
            if matches!(slot.sent.front(), Some(Change::Close)) {
                slot.answered();
            }
            slot.stand_for(None);
        });
    }

    /// The server shows of what was parsed last what it shows of this one.
    pub(crate) fn changed(&mut self, name: &[u8], former: u64, prepared: &Arc<Prepared>) {
        self.change(name, |slot| {
            if let Some(live) = &mut slot.live
                && live.prepared.id() == former
            {
                live.prepared = Arc::clone(prepared);
            }
        });
    }

    /// `DEALLOCATE ALL` or `DISCARD ALL` completed: all are gone, but for what was sent behind it.
    pub(crate) fn clear(&mut self) {
        self.named.retain(|_, slot| {
            slot.stand_for(None);
            !slot.sent.is_empty()
        });
        self.weight = Weight::default();
        for (name, slot) in &self.named {
            self.weight.add(slot.weight);
            self.weight.bytes += NAME_BYTES + name.len();
        }
    }

    /// Every name and what it stands for, for a message that is sent next.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&[u8], &Named)> {
        self.named.iter().filter_map(|(name, slot)| Some((&**name, slot.seen()?)))
    }

    /// What all of them take, about, in bytes. Text counts for each name, although sessions share it.
    pub(crate) const fn bytes(&self) -> usize {
        self.weight.bytes
    }

    /// Whether one of them holds its backend.
    pub(crate) const fn are_held(&self) -> bool {
        self.weight.held > 0
    }

    fn change(&mut self, name: &[u8], change: impl FnOnce(&mut Slot)) {
        let name = significant(name);
        if !self.named.contains_key(name) {
            self.named.insert(name.into(), Slot::default());
            self.weight.bytes += NAME_BYTES + name.len();
        }
        let Some(slot) = self.named.get_mut(name) else { return };
        self.weight.remove(slot.weight);
        change(slot);
        self.weight.add(slot.weight);
        if slot.is_empty() {
            self.named.remove(name);
            self.weight.bytes -= NAME_BYTES + name.len();
        }
    }
}
