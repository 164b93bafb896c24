//! Statements that are understood at their end: transactions, prepared statements, `DISCARD`.

use std::borrow::Borrow;

use crate::session::effect::Effect;
use crate::sql::{Ident, Kind};

use super::Rules;
use super::reader::Reader;

impl<R: Borrow<Rules>> Reader<R> {
    /// The statement whose tokens were kept is over.
    pub(super) fn understand(&mut self) {
        match self.head.word(0).as_bytes() {
            b"commit" | b"end" => self.understand_end(Effect::Commit),
            b"rollback" | b"abort" => match self.savepoint_of_rollback() {
                Some(name) => self.push(Effect::RollbackTo(name.as_bytes().into())),
                None => self.understand_end(Effect::Rollback),
            },
            b"savepoint" => self.push_named(1, Effect::Savepoint),
            b"release" => {
                let at = if self.head.word(1).is("savepoint") && self.head.len() > 2 { 2 } else { 1 };
                self.push_named(at, Effect::Release);
            }
            b"prepare" => {
                let two_phase = self.head.word(1).is("transaction")
                    && !matches!(self.head.kind(2), Some(Kind::Word | Kind::Symbol(_)));
                self.push(if two_phase { Effect::Commit } else { Effect::SqlPrepare });
            }
            b"deallocate" => {
                let at = if self.head.word(1).is("prepare") && self.head.len() > 2 { 2 } else { 1 };
                if self.head.word(at).is("all") {
                    self.push(Effect::DeallocateAll);
                } else {
                    self.push_named(at, Effect::Deallocate);
                }
            }
            b"discard" => match self.head.word(1).as_bytes() {
                b"all" => self.push(Effect::DiscardAll),
                b"sequences" => self.push(Effect::DiscardSequences),
                b"temp" | b"temporary" => self.push(Effect::MayUnpin),
                _ => {}
            },
            b"set" => self.understand_set(),
            b"reset" => self.understand_reset(),
            _ => {}
        }
    }

    fn push_named(&mut self, at: usize, effect: impl FnOnce(Box<[u8]>) -> Effect) {
        if let Some(name) = self.head.ident(at) {
            self.push(effect(name.as_bytes().into()));
        }
    }

    /// `COMMIT ..`, `ROLLBACK ..`, which speak of the transaction at hand unless they speak of a prepared one.
    fn understand_end(&mut self, effect: Effect) {
        if self.head.word(1).is("prepared") {
            return;
        }
        self.push(effect);
        let words: Vec<_> = (1..5).map(|at| self.head.word(at)).collect();
        if words.windows(2).any(|pair| matches!(pair, [and, chain] if and.is("and") && chain.is("chain"))) {
            self.push(Effect::Chain);
        }
    }

    /// `ROLLBACK [WORK | TRANSACTION] TO [SAVEPOINT] name`
    fn savepoint_of_rollback(&self) -> Option<Ident> {
        let word = self.head.word(1);
        let to = if word.is("work") || word.is("transaction") { 2 } else { 1 };
        if !self.head.word(to).is("to") {
            return None;
        }
        let name = to.saturating_add(1);
        let noise = self.head.word(name).is("savepoint") && self.head.len() > name.saturating_add(1);
        self.head.ident(name.saturating_add(usize::from(noise)))
    }
}
