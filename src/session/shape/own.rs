//! What a backend must have before a text runs that speaks of it: statements by the client's own names, values of sequences.
//!
//! What always holds: nothing of another session's is under a name that SQL may say.

use std::sync::Arc;

use crate::backend::prepared::{TAKEN, name as backend_name};
use crate::protocol::tag::frontend;
use crate::session::changes::speaks_of_names;
use crate::session::effect::{About, Effect, Effects, Suspicion};
use crate::session::lease::{IDLE, Request};
use crate::session::names::Named;
use crate::session::note::Injected;

use super::{OURS, Shaper};

/// `DISCARD SEQUENCES`, under a name of its own.
const SEQUENCES: &[u8] = b"_ov_sequences";

impl Shaper<'_> {
    /// What a text must find on its backend before it runs.
    pub(super) fn prepare_for(&mut self, effects: &Effects, simple: bool) {
        self.own_names_for(Some(effects), simple);
        let lease = self.ledger.lease();
        let in_block = lease.status() != IDLE || (lease.owed() > 0 && !self.is_first());
        for (number, effect) in &effects.list {
            // What goes ahead of the text takes the transaction's snapshot, and behind that there is no `SET TRANSACTION`
            // and no `LOCK` that the rest of the text is to see the end of.
            let is_behind = simple && in_block && *number > 0;
            if let Effect::Deallocate(name) = effect
                && !self.pooled.own_names
            {
                if name.starts_with(OURS) {
                    self.give_own_names(simple);
                } else {
                    self.lend(name);
                    self.sync(simple);
                }
            }
            match effect.about() {
                About::Suspicion(Suspicion::SequenceRead) => {
                    self.pooled.made.habits.sequences_are_read();
                    self.own_sequences();
                }
                About::Suspicion(Suspicion::SequenceStep | Suspicion::Unsure) if is_behind => {}
                About::Suspicion(Suspicion::SequenceStep) => self.own_sequences(),
                // Whether it may run behind another statement is not known.
                About::Suspicion(Suspicion::Unsure) if simple => self.own_sequences(),
                About::Suspicion(
                    Suspicion::Unsure
                    | Suspicion::SequenceReadLater
                    | Suspicion::SqlPrepare
                    | Suspicion::Pin(_),
                )
                | About::Journal
                | About::Unknown(_)
                | About::Statements(_)
                | About::Everything
                | About::Sequences
                | About::Pins => {}
            }
        }
    }

    /// The values that sequences gave are this session's own, or none: those of others are discarded.
    pub(super) fn own_sequences(&mut self) {
        if self.pooled.last_values.are_on(self.memory.sequences) {
            return;
        }
        self.pooled.last_values.discarded(&mut self.memory.sequences);
        if !self.ledger.lease().is_unsynced() || self.is_first() {
            return self.query(b"/* onevault */ DISCARD SEQUENCES", Injected::Sequences);
        }
        // In a batch, which a `Query` would end.
        for (tag, request, body) in [
            (
                frontend::PARSE,
                Request::Parse,
                [SEQUENCES, b"\0/* onevault */ DISCARD SEQUENCES\0\0\0"].concat(),
            ),
            (frontend::BIND, Request::Bind, [SEQUENCES, b"\0", SEQUENCES, b"\0\0\0\0\0\0\0"].concat()),
            (frontend::EXECUTE, Request::Execute, [SEQUENCES, b"\0\0\0\0\0"].concat()),
            (frontend::CLOSE, Request::Close, [b"P", SEQUENCES, b"\0"].concat()),
            (frontend::CLOSE, Request::Close, [b"S", SEQUENCES, b"\0"].concat()),
        ] {
            self.message(tag, &body);
            self.ledger.inject(request, Injected::SequencesInBatch, SEQUENCES);
        }
    }

    /// Nothing but what brings settings up to date has gone to the backend in this lease.
    fn is_first(&self) -> bool {
        let pending = || self.ledger.lease().pending().map(|(_, op)| op.note.injected());
        pending().any(|injected| matches!(injected, Some(Injected::Guard)))
            && pending().all(|injected| injected.is_some())
    }

    /// A text is to find statements by the client's names. `EXECUTE` must find them when it is parsed and bound: what it returns is
    /// settled then.
    pub(super) fn own_names_for(&mut self, effects: Option<&Effects>, simple: bool) {
        let Some(effects) = effects.filter(|_| !self.pooled.own_names) else { return };
        if effects.list.iter().any(|(_, effect)| *effect == Effect::SqlPrepare) {
            self.give_own_names(simple);
            self.pooled.pins_by_name();
        }
    }

    /// Gives `DEALLOCATE` something of this name to end. It has no text: what cannot be parsed any more, because its table
    /// is gone, would fail the client's transaction.
    fn lend(&mut self, name: &[u8]) {
        if self.pooled.names.get(name).is_some() && !self.pooled.lent.iter().any(|lent| **lent == *name) {
            self.message(frontend::PARSE, &[name, b"\0\0\0\0"].concat());
            self.ledger.inject(Request::Parse, Injected::Aside, name);
            self.pooled.lent.push(name.into());
        }
    }

    /// Makes the client's statement known on this backend by the client's own name. One that cannot be parsed any more, because
    /// its table is gone, fails what it stands in: a batch of the client's, or nothing where a `Sync` may follow.
    fn give_own_name(&mut self, name: &[u8], simple: bool) {
        let Some(named) = self.pooled.names.get(name) else { return };
        let prepared = Arc::clone(&named.prepared);
        if self.pooled.unparsable.contains(&prepared.id()) {
            return;
        }
        // It may be there since a batch that failed half way.
        self.message(frontend::CLOSE, &[b"S", name, b"\0"].concat());
        self.ledger.inject(Request::Close, Injected::Aside, b"");
        let body = [name, b"\0", prepared.text(), b"\0", prepared.types_found()].concat();
        self.message(frontend::PARSE, &body);
        self.ledger.inject(Request::Parse, Injected::OwnName(prepared.id(), !simple), name);
        self.sync(simple);
    }

    /// From now on this backend knows all of the session's statements by their own names, and no others: SQL may say any name.
    pub(super) fn give_own_names(&mut self, simple: bool) {
        if self.pooled.own_names {
            return;
        }
        let shared: Vec<u64> = self.memory.prepared.ids().collect();
        shared.into_iter().for_each(|id| self.close_on_backend(id));
        self.message(frontend::CLOSE, &[b"S", &backend_name(TAKEN)[..], b"\0"].concat());
        self.ledger.inject(Request::Close, Injected::Aside, b"");
        // Those that execute others stand behind them.
        let is_late = |named: &Named| named.effects.as_deref().is_some_and(speaks_of_names);
        let names = || self.pooled.names.iter();
        let early = names().filter(|(_, named)| !is_late(named));
        let names: Vec<_> =
            early.chain(names().filter(|(_, named)| is_late(named))).map(|(name, _)| name.to_vec()).collect();
        self.sync(simple);
        names.iter().for_each(|name| self.give_own_name(name, simple));
        self.pooled.own_names = true;
        self.pooled.is_known_by_name();
    }

    /// Behind messages of the extended protocol, before a simple query.
    fn sync(&mut self, simple: bool) {
        if simple {
            self.message(frontend::SYNC, b"");
            self.ledger.inject(Request::Sync, Injected::Aside, b"");
        }
    }
}
