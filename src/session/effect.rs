//! What a statement leaves behind in its session, in words that pooling decides by.
//!
//! What always holds: a word is a promise about the *statement's text*, made before it runs; whether it came true is
//! learned from the server's answers. In doubt the word is [`Effect::Unsure`].

use crate::backend::memory::{Name, Value};

use super::pins::Reason;

/// One thing that one statement does to its session. Most statements do none of these.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Effect {
    /// `BEGIN`, `START TRANSACTION`
    Begin,
    /// `COMMIT`, `END`, `PREPARE TRANSACTION`
    Commit,
    /// `ROLLBACK`, `ABORT`
    Rollback,
    /// `.. AND CHAIN`, behind [`Effect::Commit`] or [`Effect::Rollback`]
    Chain,
    /// `SAVEPOINT name`
    Savepoint(Name),
    /// `RELEASE name`
    Release(Name),
    /// `ROLLBACK TO name`
    RollbackTo(Name),
    /// `SET name ..` or `set_config('name', '..', false)` of a setting that can be carried.
    Set(Name, Value),
    /// `RESET name`, `SET name TO DEFAULT`
    Reset(Name),
    /// `RESET ALL`
    ResetAll,
    /// `SET LOCAL name ..`, `set_config('name', '..', true)`: gone at the end of the transaction.
    SetLocal(Name),
    /// `set_config('name', $1, false)` and the like: set to a value that no text tells, or perhaps not set.
    SetUnknown(Name),
    /// `set_config($1, ..)`: the name is the parameter of this number.
    SetBound {
        /// From 1.
        number: u16,
        /// Whether it ends with the transaction.
        local: bool,
    },
    /// `DEALLOCATE name`
    Deallocate(Name),
    /// `DEALLOCATE ALL`
    DeallocateAll,
    /// `DISCARD ALL`
    DiscardAll,
    /// `DISCARD SEQUENCES`
    DiscardSequences,
    /// `PREPARE name ..`, `EXECUTE name ..`, and whatever else speaks of prepared statements by SQL.
    SqlPrepare,
    /// State is made that cannot be carried.
    Pin(Reason),
    /// State that holds a pin may be gone: `DROP TABLE`, `CLOSE`, `UNLISTEN`, `pg_advisory_unlock`, `DISCARD TEMP`, ..
    MayUnpin,
    /// `lastval()`, `currval(..)`: reads what the session's own sequences gave it.
    SequenceRead,
    /// The same in what will run later: a default, a view, the body of a function.
    SequenceReadLater,
    /// A sequence may step, so that `lastval()` has an answer: `nextval`, `setval`, `INSERT`, `COPY .. FROM`, `MERGE`.
    SequenceStep,
    /// A function that is not known, `DO`, `CALL`: it may do any of these.
    Unsure,
}

/// What an effect is about, where that is all that matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum About<'a> {
    /// Transactions, savepoints and settings, which only make sense together.
    Journal,
    /// A setting of this name has a value that only the server knows.
    Unknown(&'a Name),
    /// The session's prepared statements: the one of this name, or all.
    Statements(Option<&'a Name>),
    /// Everything that a session can have.
    Everything,
    /// What its sequences gave it is forgotten.
    Sequences,
    /// A pin may be over.
    Pins,
    /// What may be there even if the statement failed.
    Suspicion(Suspicion),
}

/// Something that may be left behind, though no text can tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Suspicion {
    /// [`Effect::Pin`]
    Pin(Reason),
    /// [`Effect::SqlPrepare`]
    SqlPrepare,
    /// [`Effect::SequenceRead`]
    SequenceRead,
    /// [`Effect::SequenceReadLater`]
    SequenceReadLater,
    /// [`Effect::SequenceStep`]
    SequenceStep,
    /// [`Effect::Unsure`]
    Unsure,
}

impl Effect {
    /// What it is about.
    pub(crate) const fn about(&self) -> About<'_> {
        match self {
            Self::Begin
            | Self::Commit
            | Self::Rollback
            | Self::Chain
            | Self::Savepoint(_)
            | Self::Release(_)
            | Self::RollbackTo(_)
            | Self::Set(..)
            | Self::Reset(_)
            | Self::ResetAll
            | Self::SetLocal(_) => About::Journal,
            Self::SetUnknown(name) => About::Unknown(name),
            // Where there is no `Bind`, nobody knows.
            Self::SetBound { .. } => About::Suspicion(Suspicion::Pin(Reason::Setting)),
            Self::Deallocate(name) => About::Statements(Some(name)),
            Self::DeallocateAll => About::Statements(None),
            Self::DiscardAll => About::Everything,
            Self::DiscardSequences => About::Sequences,
            Self::MayUnpin => About::Pins,
            Self::Pin(reason) => About::Suspicion(Suspicion::Pin(*reason)),
            Self::SqlPrepare => About::Suspicion(Suspicion::SqlPrepare),
            Self::SequenceRead => About::Suspicion(Suspicion::SequenceRead),
            Self::SequenceReadLater => About::Suspicion(Suspicion::SequenceReadLater),
            Self::SequenceStep => About::Suspicion(Suspicion::SequenceStep),
            Self::Unsure => About::Suspicion(Suspicion::Unsure),
        }
    }
}

/// What the statements of one text leave behind. Equal to the default when they leave nothing.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Effects {
    /// How many statements the text has; empty ones do not count, as the server does not answer them.
    pub(crate) statements: u32,
    /// By statement, from 0, in the order of the text.
    pub(crate) list: Vec<(u32, Effect)>,
}

impl Effects {
    /// Whether nothing is left behind.
    pub(crate) const fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// What statement `number` leaves behind.
    pub(crate) fn of(&self, number: u32) -> impl Iterator<Item = &Effect> {
        self.list.iter().filter(move |(at, _)| *at == number).map(|(_, effect)| effect)
    }
}
