//! Whether a statement is still what sessions know by its number.
//!
//! What always holds: a number stands for one text with one kind of parameters and columns; what shows others gets another
//! number, or its session is told.

use crate::backend::memory::Memory;
use crate::protocol::tag::backend;
use crate::session::note::{Injected, Note, Parsed};
use crate::session::shown;

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
        if tag == backend::PARAMETER_DESCRIPTION {
            self.said.clear();
            self.said.extend_from_slice(body);
            return;
        }
        match tag {
            backend::ROW_DESCRIPTION => shown::columns(body, bytes, &mut self.said),
            backend::NO_DATA => {}
            _ => return,
        }
        let number = self.made.interner.number(&std::mem::take(&mut self.said));
        if prepared.shows(number) {
            return;
        }
        memory.prepared.distrust(prepared.id());
        match parsed {
            Parsed::ByUs => self.changed = Some(prepared.id()),
            Parsed::ByClient => {
                let changed = self.made.interner.changed(prepared, number);
                self.names.changed(name, prepared.id(), &changed);
            }
        }
    }
}
