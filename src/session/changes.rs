//! Which requests under way change what statements stand for, and who has to wait for their answers.
//!
//! What always holds: within a batch, what was sent is as good as done, because whatever follows a failure is skipped.
//! From one batch to the next nothing is taken for granted: a message that speaks of a statement waits until all changes
//! of earlier batches are answered.
//!
//! Source: protocol-flow#PROTOCOL-FLOW-PIPELINING

use super::effect::{Effect, Effects};
use super::lease::Request;
use super::note::{Injected, Note};

/// Changes that are not answered.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Changes {
    named: Count,
    unnamed: Count,
    /// SQL that makes or ends statements by name. What it does, its answer says.
    by_sql: usize,
}

/// Changes of one kind. Answers come in the order of what was sent.
#[derive(Debug, Clone, Copy, Default)]
struct Count {
    /// Sent before the last `Sync`.
    earlier: usize,
    /// Sent since.
    batch: usize,
}

impl Count {
    const fn came(&mut self) {
        self.batch = self.batch.saturating_add(1);
    }

    const fn went(&mut self) {
        if self.earlier > 0 {
            self.earlier = self.earlier.saturating_sub(1);
        } else {
            self.batch = self.batch.saturating_sub(1);
        }
    }

    const fn sync(&mut self) {
        self.earlier = self.earlier.saturating_add(self.batch);
        self.batch = 0;
    }
}

impl Changes {
    /// A request is owed.
    pub(crate) fn came(&mut self, request: Request, note: &Note) {
        if request == Request::Sync {
            self.named.sync();
            self.unnamed.sync();
        }
        if is_of_named(note) {
            self.named.came();
        }
        if is_of_unnamed(request, note) {
            self.unnamed.came();
        }
        if is_by_sql(note) {
            self.by_sql = self.by_sql.saturating_add(1);
        }
    }

    /// A request is answered, or was skipped.
    pub(crate) fn went(&mut self, request: Request, note: &Note) {
        if is_of_named(note) {
            self.named.went();
        }
        if is_of_unnamed(request, note) {
            self.unnamed.went();
        }
        if is_by_sql(note) {
            self.by_sql = self.by_sql.saturating_sub(1);
        }
    }

    /// Whether what a name stands for hangs on an answer.
    pub(crate) const fn is_open_for_names(self) -> bool {
        self.named.earlier > 0 || self.by_sql > 0
    }

    /// Whether what the unnamed statement is hangs on an answer.
    pub(crate) const fn is_open_for_unnamed(self) -> bool {
        self.unnamed.earlier > 0 && self.unnamed.batch == 0
    }

    /// Whether a change of the unnamed statement was sent in this batch and is not answered.
    pub(crate) const fn has_unnamed(self) -> bool {
        self.unnamed.batch > 0
    }
}

const fn is_of_named(note: &Note) -> bool {
    match note {
        Note::Named(_) | Note::Own | Note::Taken | Note::Closed => true,
        Note::Injected(injected) => {
            matches!(injected, Injected::Parse(_) | Injected::Check(..) | Injected::Close(_))
        }
        Note::None
        | Note::Effects(..)
        | Note::Unnamed(_)
        | Note::NoUnnamed
        | Note::Bound(_)
        | Note::Changed => false,
    }
}

/// Each `Query` of the client's ends the unnamed statement.
fn is_of_unnamed(request: Request, note: &Note) -> bool {
    let by_note = matches!(note, Note::Unnamed(_) | Note::NoUnnamed | Note::Injected(Injected::Unnamed(_)));
    by_note || (request == Request::Query && !note.is_injected())
}

fn is_by_sql(note: &Note) -> bool {
    let Note::Effects(effects, _) = note else { return false };
    speaks_of_names(effects)
}

/// Whether SQL makes, uses or ends statements by name.
pub(crate) fn speaks_of_names(effects: &Effects) -> bool {
    effects.list.iter().any(|(_, effect)| {
        matches!(
            effect,
            Effect::Deallocate(_) | Effect::DeallocateAll | Effect::DiscardAll | Effect::SqlPrepare
        )
    })
}
