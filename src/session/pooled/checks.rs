//! Whether a statement is still what sessions know by its number.
//!
//! What always holds: a number stands for one text with one kind of parameters and columns; what shows others gets another
//! number, or its session is told.

use crate::backend::memory::Memory;
use crate::backend::prepared::Shown;
use crate::protocol::tag::backend;
use crate::session::note::{Injected, Note, Parsed};
use crate::session::shown::{self, Said};

use super::Pooled;

impl Pooled {
    /// A check came to its end, or to nothing.
    pub(crate) fn checked(&mut self, id: u64) {
        if let Some(at) = self.unchecked.iter().position(|(other, _)| *other == id) {
            self.unchecked.remove(at);
        }
    }

    /// The server says what a statement takes, then what it gives.
    pub(super) fn shown(
        &mut self,
        note: &Note,
        name: &[u8],
        (tag, body, bytes): (u8, &[u8], usize),
        memory: &mut Memory,
    ) {
        let Some(Injected::Check(prepared, parsed)) = note.injected() else { return };
        match tag {
            backend::PARAMETER_DESCRIPTION => return self.said.parameters(body, bytes),
            backend::ROW_DESCRIPTION => self.said.columns(body, bytes),
            backend::NO_DATA => {}
            _ => return,
        }
        let Said { counts, types } = std::mem::take(&mut self.said);
        let is_sure = types.is_some() && shown::is_sure(prepared.text(), tag == backend::ROW_DESCRIPTION);
        let shown = Shown { number: self.made.interner.number(&counts), types, is_sure };
        if prepared.shows(&shown) {
            return;
        }
        memory.prepared.distrust(prepared.id());
        match parsed {
            Parsed::ByUs => self.changed = Some(prepared.id()),
            Parsed::ByClient => {
                let changed = self.made.interner.changed(prepared, &shown);
                self.names.changed(name, prepared.id(), &changed);
            }
        }
    }
}
