//! What transaction pooling remembers of a request until it is answered, and what it hears then.
//!
//! What always holds: in session pooling every note is [`Note::None`] and nobody listens, at no cost.

use std::sync::Arc;

use crate::backend::prepared::Prepared;

use super::effect::Effects;

/// What goes along with a request.
#[derive(Debug, Default)]
pub(crate) enum Note {
    /// Nothing.
    #[default]
    None,
    /// What its statements leave behind, and how many of them are complete.
    Effects(Arc<Effects>, u32),
    /// A `Parse` of the unnamed statement, by number.
    Unnamed(u64),
    /// A `Parse` of a named one; it is `_ov_<id>` on the backend, which may have `had` it before.
    Named(Arc<Prepared>, Had),
    /// A `Parse` that keeps its name.
    Own,
    /// A `Parse` of a name that lives: the server is to refuse it.
    Again(u64),
    /// A `Bind` or `Describe` of a named statement, by its id on the backend.
    Bound(u64),
    /// A `Close` of a named statement.
    Closed,
    /// Ours, not the client's.
    Injected(Injected),
}

/// The generation of the copy that a backend had.
pub(crate) type Had = Option<u64>;

/// A request of ours. Its answers are not for the client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Injected {
    /// Brings the backend's settings up to date. Failing, it ends the session.
    Settings,
    /// Asks for what the settings leave behind when all of them were taken. Failing, it makes the server skip what follows.
    Guard,
    /// `Parse` of a statement that the backend lacked. Failing, the client hears the error for its own message.
    Parse(u64, Had),
    /// `Close` of one that is stale or not used; what it had.
    Close(u64, Had),
    /// `Parse` or `Close` of the unnamed statement.
    Unnamed,
    /// `DISCARD SEQUENCES`.
    Sequences,
    /// A part of saying it in the client's own batch. Failing, the client hears the error for its own message.
    SequencesInBatch,
    /// Whatever it answers, nobody minds.
    Aside,
}

impl Injected {
    /// Whether the client hears of an error, as the server runs no more of the client's batch.
    pub(crate) const fn fails_for_client(self) -> bool {
        matches!(self, Self::Parse(..) | Self::Unnamed | Self::SequencesInBatch)
    }
}

impl Note {
    /// Whether the request is ours.
    pub(crate) const fn injected(&self) -> Option<Injected> {
        match self {
            Self::Injected(injected) => Some(*injected),
            Self::None
            | Self::Effects(..)
            | Self::Unnamed(_)
            | Self::Own
            | Self::Named(..)
            | Self::Again(_)
            | Self::Bound(_)
            | Self::Closed => None,
        }
    }

    /// The id under which the backend knows the statement that an error may speak of.
    pub(crate) fn statement_id(&self) -> Option<u64> {
        match self {
            Self::Named(prepared, _) => Some(prepared.id()),
            Self::Again(id) | Self::Bound(id) | Self::Injected(Injected::Parse(id, _)) => Some(*id),
            Self::None
            | Self::Effects(..)
            | Self::Unnamed(_)
            | Self::Own
            | Self::Closed
            | Self::Injected(_) => None,
        }
    }
}

/// What became of a request.
#[derive(Debug)]
pub(crate) enum Told<'a> {
    /// One of its statements is complete, with this tag.
    Command(&'a mut Note, &'a [u8]),
    /// It has as many rows as were asked for, and may be told to go on.
    Suspended(&'a Note),
    /// It failed.
    Failed(&'a Note, &'a [u8]),
    /// It is answered without an error; the statement's name as the client gave it.
    Done(&'a Note, &'a [u8]),
    /// It was never run.
    Skipped(&'a Note, &'a [u8]),
    /// `ReadyForQuery` for a request of the client's.
    Ready(u8),
}

/// Who hears what becomes of requests.
pub(crate) trait Listener {
    /// Hears one thing.
    fn hear(&mut self, told: Told<'_>);
}

/// Nobody.
impl Listener for () {
    fn hear(&mut self, _: Told<'_>) {}
}

/// What becomes of a message from the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fate {
    /// It is the client's.
    Forward,
    /// It answers us.
    Swallow,
    /// An error for the client, in which the statement has a name of ours.
    Rename(u64),
}
