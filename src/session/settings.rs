//! A session's settings, as its transactions make and unmake them.
//!
//! What always holds: while [`Journal::is_certain`], [`Journal::current`] is what the server has in force at each
//! `ReadyForQuery`, apart from what `SET LOCAL` hides until the transaction ends. It learns only from answers: what
//! completed, what failed, and the status of `ReadyForQuery`. Its memory has a limit.
//!
//! Source: sql-set, sql-savepoint, protocol-flow#PROTOCOL-FLOW-MULTI-STATEMENT

use crate::backend::memory::{Carried, Name, Value};

use super::effect::Effect;

#[cfg(test)]
mod tests;

/// What open savepoints may keep, in bytes.
const SAVEPOINTS_BYTES_MAX: usize = 256 * 1024;

/// What a savepoint takes beside its name and the settings that changed since the one before, about.
const SAVEPOINT_BYTES: usize = 64;

/// What is in force at one moment.
#[derive(Debug, Clone, Default)]
struct State {
    settings: Carried,
    /// Whether a `SET LOCAL` hides one of them.
    is_local: bool,
}

#[derive(Debug)]
struct Savepoint {
    name: Name,
    state: State,
    bytes: usize,
}

/// The settings of one session.
#[derive(Debug, Default)]
pub(crate) struct Journal {
    /// At the end of the last transaction: what a rollback returns to.
    committed: Carried,
    now: State,
    savepoints: Vec<Savepoint>,
    savepoints_bytes: usize,
    /// The transaction failed; whatever ends it, it is rolled back.
    has_failed: bool,
    is_uncertain: bool,
}

impl Journal {
    /// What is in force, but for what `SET LOCAL` hides.
    pub(crate) const fn current(&self) -> &Carried {
        &self.now.settings
    }

    /// Whether a `SET LOCAL` may be in force.
    pub(crate) const fn is_local(&self) -> bool {
        self.now.is_local
    }

    /// Whether the settings can be said to another backend. Once they cannot, the session keeps its own, until the
    /// truth is known again.
    pub(crate) const fn is_certain(&self) -> bool {
        !self.is_uncertain
    }

    /// A statement completed, and this is what it did. A `COMMIT` that the server answered with `ROLLBACK` is one.
    pub(crate) fn completed(&mut self, effect: &Effect) {
        match effect {
            Effect::Set(name, value) => self.set(name, value.clone()),
            Effect::Reset(name) => self.now.settings = self.now.settings.without(name),
            Effect::ResetAll => self.now.settings = Carried::default(),
            // Until the server has said what is in force, nobody else need know it.
            Effect::SetLocal(_) | Effect::SetUnknown(_) => self.now.is_local = true,
            Effect::Commit => self.commit(),
            Effect::Rollback => self.roll_back(),
            Effect::Savepoint(name) => self.open(name),
            Effect::Release(name) => {
                if let Some(at) = self.innermost(name) {
                    self.close(at);
                }
            }
            Effect::RollbackTo(name) => self.return_to(name),
            // It runs outside transactions only, and commits by itself.
            Effect::DiscardAll => {
                self.is_uncertain = false;
                self.now.settings = Carried::default();
                self.commit();
            }
            // What was done before `BEGIN` in the same transaction stays a part of it, and the one that `AND CHAIN`
            // begins is as any other.
            Effect::Begin
            | Effect::Chain
            | Effect::Deallocate(_)
            | Effect::DeallocateAll
            | Effect::SqlPrepare
            | Effect::SetBound { .. }
            | Effect::Pin(_)
            | Effect::MayUnpin
            | Effect::DiscardSequences
            | Effect::SequenceRead
            | Effect::SequenceReadLater
            | Effect::SequenceStep
            | Effect::Unsure => {}
        }
    }

    /// A statement failed, and its transaction with it. A block that failed shows nothing and takes nothing but its end
    /// or a return to a savepoint, so what is in force meanwhile does not matter.
    pub(crate) const fn failed(&mut self) {
        self.has_failed = true;
    }

    /// `ReadyForQuery`: outside a transaction block the transaction is over.
    pub(crate) fn ready(&mut self, status: u8) {
        if status != b'I' {
            return;
        }
        if self.has_failed {
            self.roll_back();
        } else {
            self.commit();
        }
    }

    /// The server was asked, and this is what is in force outside any transaction.
    pub(crate) fn adopt(&mut self, truth: Carried) {
        self.is_uncertain = !truth.is_certain();
        self.now.settings = truth;
        self.commit();
    }

    fn set(&mut self, name: &[u8], value: Value) {
        let settings = self.now.settings.with(name, value);
        if settings.is_certain() {
            self.now.settings = settings;
        } else {
            self.is_uncertain = true;
        }
    }

    fn commit(&mut self) {
        self.committed.clone_from(&self.now.settings);
        self.end();
    }

    fn roll_back(&mut self) {
        self.now.settings.clone_from(&self.committed);
        self.end();
    }

    fn end(&mut self) {
        self.now.is_local = false;
        self.has_failed = false;
        self.savepoints.clear();
        self.savepoints_bytes = 0;
    }

    fn open(&mut self, name: &[u8]) {
        let former = self.savepoints.last().map_or(&self.committed, |savepoint| &savepoint.state.settings);
        let changed = if *former == self.now.settings { 0 } else { self.now.settings.bytes() };
        let bytes = SAVEPOINT_BYTES + name.len() + changed;
        if self.savepoints_bytes + bytes > SAVEPOINTS_BYTES_MAX {
            self.is_uncertain = true;
            return;
        }
        self.savepoints_bytes += bytes;
        self.savepoints.push(Savepoint { name: name.into(), state: self.now.clone(), bytes });
    }

    fn innermost(&self, name: &[u8]) -> Option<usize> {
        self.savepoints.iter().rposition(|savepoint| *savepoint.name == *name)
    }

    /// Closes a savepoint and those inside it.
    fn close(&mut self, at: usize) {
        let bytes: usize = self.savepoints.drain(at..).map(|savepoint| savepoint.bytes).sum();
        self.savepoints_bytes -= bytes;
    }

    fn return_to(&mut self, name: &[u8]) {
        let Some(at) = self.innermost(name) else { return };
        self.close(at + 1);
        if let Some(savepoint) = self.savepoints.last() {
            self.now = savepoint.state.clone();
        }
        self.has_failed = false;
    }
}
