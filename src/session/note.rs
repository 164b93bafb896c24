//! What transaction pooling remembers of a request until it is answered, and what it hears then.
//!
//! What always holds: in session pooling every note is [`Note::None`] and nobody listens, at no cost.

use std::sync::Arc;

use crate::audit::Decision;
use crate::backend::prepared::{NOBODY, Prepared, TAKEN};
use crate::protocol::report::ServerReport;
use crate::protocol::sqlstate::SqlState;
use crate::protocol::tag::backend;

use super::effect::Effects;
use super::lease::Request;
use super::pins::Pins;
use super::unnamed::Text;

/// What goes along with a request.
#[derive(Debug, Default)]
pub(crate) enum Note {
    /// Nothing.
    #[default]
    None,
    /// What its statements leave behind, and how many of them are complete.
    Effects(Arc<Effects>, u32),
    /// A `Parse` of the unnamed statement.
    Unnamed(Arc<Text>),
    /// A `Close` of the unnamed statement.
    NoUnnamed,
    /// A `Parse` of a named one; it is `_ov_<id>` on the backend.
    Named(Arc<Prepared>),
    /// A `Parse` that keeps its name.
    Own,
    /// A `Parse` of a name that lives: the server is to refuse it.
    Taken,
    /// A `Bind` or `Describe` of a named statement, by its id on the backend.
    Bound(u64),
    /// The same of one that is not what it was: the server is to refuse it, and the client to hear why.
    Changed,
    /// A `Close` of a named statement.
    Closed,
    /// Ours, not the client's.
    Injected(Injected),
}

/// A request of ours. Its answers are not for the client.
#[derive(Debug, Clone)]
pub(crate) enum Injected {
    /// Brings the backend's settings up to date. Failing, it ends the session.
    Settings,
    /// Asks for what the settings leave behind when all of them were taken. Failing, it makes the server skip what follows.
    Guard,
    /// `Parse` of a statement that the backend lacked. Failing, the client hears the error for its own message.
    Parse(u64),
    /// `Describe` of it, or of one that the client has just parsed: whether it is what its number says.
    Check(Arc<Prepared>, Parsed),
    /// `Close` of one that is stale or not used.
    Close(u64),
    /// `Parse` of the unnamed statement, or `Close` of one that is not the client's.
    Unnamed(Option<Arc<Text>>),
    /// `DISCARD SEQUENCES`.
    Sequences,
    /// A part of saying it in the client's own batch. Failing, the client hears the error for its own message.
    SequencesInBatch,
    /// `Parse` of the client's statement of this number by the client's own name; whether the client hears an error for its own
    /// message, because it is skipped with it.
    OwnName(u64, bool),
    /// Whatever it answers, nobody minds.
    Aside,
}

/// Whose `Parse` is checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Parsed {
    /// The client's: whatever it is now, that is what its name stands for.
    ByClient,
    /// Ours, of what the client's name stands for since long.
    ByUs,
}

impl Injected {
    /// Whether the client hears of an error, as the server runs no more of the client's batch.
    pub(crate) const fn fails_for_client(&self) -> bool {
        matches!(
            self,
            Self::Parse(_)
                | Self::Check(..)
                | Self::Unnamed(_)
                | Self::SequencesInBatch
                | Self::OwnName(_, true)
        )
    }
}

impl Note {
    /// Whether the request is ours.
    pub(crate) const fn is_injected(&self) -> bool {
        matches!(self, Self::Injected(_))
    }

    /// What is decided about a request that the server was made to refuse with this code.
    pub(crate) fn decision(&self, code: Option<SqlState>) -> Option<Decision> {
        match self {
            Self::Taken => Some(Decision::NameTaken).filter(|_| code == Some(SqlState::DUPLICATE_STATEMENT)),
            Self::Changed => Some(Decision::ChangedResult),
            Self::Bound(id) => Some(Decision::NameReserved).filter(|_| *id == NOBODY),
            Self::None
            | Self::Effects(..)
            | Self::Unnamed(_)
            | Self::NoUnnamed
            | Self::Named(_)
            | Self::Own
            | Self::Closed
            | Self::Injected(_) => None,
        }
    }

    /// What of ours it is.
    pub(crate) fn injected(&self) -> Option<&Injected> {
        if let Self::Injected(injected) = self { Some(injected) } else { None }
    }

    /// What becomes of a message of this type that answers the request.
    pub(crate) fn fate(&self, tag: u8) -> Fate {
        let error = tag == backend::ERROR_RESPONSE;
        match self.injected() {
            None if error && matches!(self, Self::Changed) => Fate::Changed,
            None => self.statement_id().filter(|_| error).map_or(Fate::Forward, Fate::Rename),
            Some(_) if tag == backend::NOTIFICATION_RESPONSE => Fate::Forward,
            Some(Injected::Parse(id)) if error => Fate::Rename(*id),
            Some(injected) if error && injected.fails_for_client() => Fate::Forward,
            Some(_) => Fate::Swallow,
        }
    }

    /// The id under which the backend knows the statement that an error may speak of.
    pub(crate) fn statement_id(&self) -> Option<u64> {
        match self {
            Self::Named(prepared) => Some(prepared.id()),
            Self::Bound(id) | Self::Injected(Injected::Parse(id)) => Some(*id),
            Self::Taken => Some(TAKEN),
            Self::None
            | Self::Effects(..)
            | Self::Unnamed(_)
            | Self::NoUnnamed
            | Self::Own
            | Self::Changed
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
    /// It failed; the statement's name as the client gave it, and what the server says.
    Failed(Request, &'a Note, &'a [u8], &'a ServerReport<'a>),
    /// It is answered without an error.
    Done(Request, &'a Note, &'a [u8]),
    /// The server says what it takes, or gives: the message's type, its body or the beginning of it, its whole size.
    Shown(&'a Note, &'a [u8], (u8, &'a [u8], usize)),
    /// It was never run.
    Skipped(&'a Note, &'a [u8]),
    /// `ReadyForQuery` for a request of the client's.
    Ready(u8),
}

/// Who hears what becomes of requests.
pub(crate) trait Listener {
    /// Hears one thing.
    fn hear(&mut self, told: Told<'_>);

    /// Why the session keeps its backend, by what was heard so far.
    fn pins(&self) -> Pins {
        Pins::default()
    }
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
    /// An error that stands for another one.
    Changed,
}
