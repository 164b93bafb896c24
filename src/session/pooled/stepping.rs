//! Who asks for what sequences gave, and whom that holds.
//!
//! What always holds: once it is known that sessions of a role and database ask for last values, a session that steps a
//! sequence keeps its backend.
//!
//! Source: functions-sequence

use crate::backend::memory::Memory;
use crate::protocol::report::ServerReport;
use crate::protocol::sqlstate::SqlState;
use crate::session::pins::Reason;

use super::Pooled;

/// Where the server says that there is no last value, in any language.
const FILE: &[u8] = b"sequence.c";

impl Pooled {
    /// Last values are asked for, by this session or by what it has made: those that there may be are kept.
    pub(super) fn asks_for_last_values(&mut self) {
        self.made.habits.sequences_are_read();
        if self.last_values.may_be_asked() {
            self.pin(Reason::Sequence);
        }
    }

    pub(super) fn steps_a_sequence(&mut self) {
        self.last_values.stepped();
        if self.made.habits.are_sequences_read() {
            self.pin(Reason::Sequence);
        }
    }

    /// A function that is not known, or `DO`, may step one.
    pub(super) fn may_step_a_sequence(&mut self) {
        self.last_values.stepped();
        self.may_have_stepped = true;
        if self.made.habits.do_functions_step() {
            self.pin(Reason::Sequence);
        }
    }

    /// The session has said `DISCARD`.
    pub(super) const fn forget_last_values(&mut self, memory: &mut Memory) {
        self.last_values.discarded(&mut memory.sequences);
        self.may_have_stepped = false;
    }

    /// A statement failed. If there was no last value for what it asked, that is the last time, whatever asked: a
    /// default, a trigger, a view that was made elsewhere.
    pub(super) fn may_have_asked(&mut self, report: &ServerReport<'_>) {
        if report.code == Some(SqlState::NOT_IN_PREREQUISITE_STATE) && report.file == FILE {
            self.asks_for_last_values();
            if self.may_have_stepped {
                self.made.habits.functions_step();
            }
        }
    }
}
