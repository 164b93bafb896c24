//! What one session in transaction pooling has built up, and whether it still needs its backend.
//!
//! What always holds: a backend is let go only when nothing of the session's is on it that the next backend could
//! not be given; what the server answers decides, not what was asked for. In doubt the server itself is asked
//! (`examine`), and until it has answered the backend stays.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use crate::backend::memory::{Carried, Memory, Name, Sequences};
use crate::backend::prepared::{Interner, Prepared, id_of};
use crate::backend::{ParameterMap, Reserved, Seat};
use crate::ids::SessionId;
use crate::protocol::frontend::{Parse, Target};
use crate::protocol::sqlstate::SqlState;
use crate::protocol::tag::frontend;

use super::classify::{Rules, carried};
use super::commons::Habits;
use super::effect::{About, Effect, Effects, Suspicion};
use super::lease::Request;
use super::names::Names;
use super::note::{Injected, Listener, Note, Told};
use super::pins::{Pins, Reason, Shown, is_undone};
use super::sequences::LastValues;
use super::settings::Journal;
use super::shown::Said;
use super::unnamed::Unnamed;

mod checks;
mod found;
mod large;

pub(crate) use large::Reading;
mod stepping;

/// What a session is made of that is the same for its whole life.
#[derive(Debug)]
pub(crate) struct Made {
    pub(crate) id: SessionId,
    pub(crate) seat: Seat,
    pub(crate) reserved: Reserved,
    pub(crate) rules: Rules,
    pub(crate) interner: Arc<Interner>,
    pub(crate) habits: Arc<Habits>,
    pub(crate) prepared_max: usize,
    pub(crate) shown: Shown,
}

/// A session in transaction pooling.
#[derive(Debug)]
pub(crate) struct Pooled {
    pub(crate) made: Made,
    pub(crate) journal: Journal,
    pub(crate) last_values: LastValues,
    pub(crate) names: Names,
    pub(crate) unnamed: Unnamed,
    /// What the client has parsed just now: it is to be checked ahead of the next message.
    pub(crate) to_check: Option<(Arc<Prepared>, Name)>,
    /// What the client has parsed in this batch that is not checked, by number and name.
    pub(crate) unchecked: Vec<(u64, Name)>,
    /// What was found not to be what it was, by number.
    pub(crate) changed: Option<u64>,
    /// What the server says of the statement that is checked.
    said: Said,
    /// What executing a portal leaves behind, where that is something.
    pub(crate) portals: HashMap<Box<[u8]>, Arc<Effects>>,
    pub(crate) pins: Pins,
    /// The backend knows this session's statements by their own names, because SQL speaks of them.
    pub(crate) own_names: bool,
    /// Statements that could not be parsed again for that, by number.
    pub(crate) unparsable: Vec<u64>,
    /// A text that arrives in pieces.
    pub(crate) long: Option<Box<Reading>>,
    /// How long it may be idle by its startup settings.
    idle_default: Option<Duration>,
    /// What the client was last told of the server's parameters.
    pub(crate) reported: ParameterMap,
    /// Something may have been left behind, or may be gone: the server is to be asked.
    examine: bool,
    /// The backend must be scrubbed before anybody else has it.
    dirty: bool,
    /// Since the session discarded its last values, something ran that may have stepped a sequence, though no text told.
    may_have_stepped: bool,
    /// Names of this session's that the backend knows for a `DEALLOCATE` to end.
    pub(crate) lent: Vec<Name>,
    /// Settings with a dot whose values only the server knows.
    asked: Vec<Name>,
    /// A statement was read by settings of a transaction that is over.
    is_read_locally: bool,
    /// What the client calls the statement of the request that failed last.
    pub(crate) failed_name: Vec<u8>,
    /// Our own statement that brings settings up to date failed.
    pub(crate) settings_failed: bool,
    pub(crate) unsure: Arc<Effects>,
}

/// What becomes of a backend between two transactions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Rest {
    /// It goes to whoever is next, as it is.
    Release,
    /// It goes to whoever is next after a scrub.
    Scrub,
    /// The server is asked what was left behind.
    Examine,
    /// It stays with its session.
    Keep,
}

impl Pooled {
    pub(crate) fn new(made: Made, reported: ParameterMap) -> Self {
        let mut pins = Pins::default();
        if reported.get(b"client_encoding").is_some_and(|encoding| !carried::is_safe_encoding(encoding)) {
            pins.add(Reason::Encoding);
        }
        let idle_default = made.seat.settings().idle_limit();
        if idle_default.is_err() {
            // The server must see to it.
            pins.add(Reason::Setting);
        }
        Self {
            last_values: LastValues::new(made.id),
            made,
            journal: Journal::default(),
            names: Names::default(),
            unnamed: Unnamed::default(),
            to_check: None,
            unchecked: Vec::new(),
            changed: None,
            said: Said::default(),
            portals: HashMap::new(),
            pins,
            own_names: false,
            unparsable: Vec::new(),
            long: None,
            idle_default: idle_default.ok(),
            reported,
            examine: false,
            dirty: false,
            may_have_stepped: false,
            lent: Vec::new(),
            asked: Vec::new(),
            is_read_locally: false,
            failed_name: Vec::new(),
            settings_failed: false,
            unsure: Arc::new(Effects { statements: 1, list: vec![(0, Effect::Unsure)] }),
        }
    }

    /// What becomes of the backend now that nothing is owed and no transaction is open.
    pub(crate) const fn rest(&self) -> Rest {
        match (self.examine, self.pins.is_empty(), self.dirty || !self.lent.is_empty()) {
            (true, _, _) => Rest::Examine,
            (false, false, _) => Rest::Keep,
            (false, true, true) => Rest::Scrub,
            (false, true, false) => Rest::Release,
        }
    }

    /// The backend was handed back: nothing of this session is on it.
    pub(crate) fn parted(&mut self) {
        (self.dirty, self.examine, self.own_names, self.is_read_locally) = (false, false, false, false);
        self.lent.clear();
    }

    /// Nothing can be taken back any more; a message of the client's may be shaped.
    pub(crate) fn settings(&self) -> &Carried {
        self.journal.current()
    }

    /// How long the session may be idle by its own wish.
    pub(crate) fn idle_limit(&self) -> Option<Duration> {
        let said = self.journal.current().idle_limit();
        said.or(self.idle_default).filter(|limit| !limit.is_zero())
    }

    pub(crate) fn pin(&mut self, reason: Reason) {
        self.pins.add(reason);
        self.dirty = true;
    }

    /// SQL speaks of statements by their names, and may make some.
    pub(crate) fn pins_by_name(&mut self) {
        self.pin(Reason::SqlPrepare);
        self.examine = true;
    }

    /// A statement is read by what `SET LOCAL` says, which no other backend will have.
    pub(crate) fn reads_locally(&mut self) {
        self.is_read_locally = true;
        self.pin(Reason::Setting);
    }

    /// The backend has a statement of this session under the client's own name.
    pub(crate) const fn is_known_by_name(&mut self) {
        self.dirty = true;
    }

    /// A message that no server has got, nor will. What it was to replace or to close goes all the same: the client may
    /// have sent more behind it, which must not run the former statement.
    pub(crate) fn refused(&mut self, tag: u8, body: &[u8]) {
        match (tag, Target::read(body)) {
            (frontend::QUERY, _) | (frontend::CLOSE, Target::Statement(b"")) => self.unnamed.refused(),
            (frontend::PARSE, _) if Parse::read(body).name.is_empty() => self.unnamed.refused(),
            (frontend::CLOSE, Target::Statement(name)) => self.names.closed(name),
            _ => {}
        }
    }

    /// One statement is complete.
    fn completed(&mut self, effect: &Effect, tag: &[u8], memory: &mut Memory) {
        match effect.about() {
            About::Journal if *effect == Effect::Commit && tag == b"ROLLBACK" => {
                self.journal.completed(&Effect::Rollback);
            }
            About::Journal => {
                self.journal.completed(effect);
                if let Effect::Set(name, _) = effect {
                    self.made.habits.setting_is_made(name);
                }
                let is_held = self.pins.has(Reason::Setting) || self.pins.has(Reason::Encoding);
                self.examine |= is_held && Self::is_new_for_settings(effect);
            }
            About::Unknown(name) => {
                self.journal.completed(effect);
                self.ask_for(name);
            }
            About::Statements(Some(name)) => {
                self.names.closed(name);
                // In a large text it may have been one that all share.
                if let Some(id) = id_of(name) {
                    memory.prepared.remove(id);
                }
                self.lent.retain(|lent| lent != name);
                self.examine |= !self.pins.is_empty();
            }
            About::Statements(None) => {
                self.names.clear();
                memory.prepared.clear();
                self.examine |= !self.pins.is_empty();
            }
            About::Everything => self.discarded(memory),
            About::Sequences => {
                self.forget_last_values(memory);
                self.pins.remove(Reason::Sequence);
            }
            About::Suspicion(Suspicion::SequenceRead) => self.pin(Reason::Sequence),
            About::Suspicion(suspicion) => self.suspected(suspicion),
            About::Pins => self.examine |= !self.pins.is_empty(),
        }
    }

    /// A statement may have left something behind, whether it failed or not.
    fn suspected(&mut self, suspicion: Suspicion) {
        match suspicion {
            Suspicion::Pin(reason) => {
                self.pin(reason);
                self.examine = true;
            }
            Suspicion::Unsure => {
                (self.examine, self.dirty) = (true, true);
                self.may_step_a_sequence();
            }
            // If it was told of no value: of those that there may be, others will be asked for.
            Suspicion::SequenceRead | Suspicion::SequenceReadLater => self.asks_for_last_values(),
            Suspicion::SequenceStep => self.steps_a_sequence(),
            Suspicion::SqlPrepare => self.examine = true,
        }
    }

    fn discarded(&mut self, memory: &mut Memory) {
        self.names.clear();
        self.journal.completed(&Effect::DiscardAll);
        memory.prepared.clear();
        memory.settings = Carried::default();
        self.forget_last_values(memory);
        self.own_names = false;
        for reason in Reason::ALL.iter().copied() {
            if !matches!(reason, Reason::Load | Reason::Seed | Reason::Function) {
                self.pins.remove(reason);
            }
        }
        self.is_read_locally = false;
        self.pin_for_settings(false);
        self.examine |= !self.pins.is_empty();
    }

    fn failed(&mut self, note: &Note, (name, code): (&[u8], Option<SqlState>), memory: &mut Memory) {
        match note {
            Note::Injected(Injected::Settings | Injected::Guard) => self.settings_failed = true,
            Note::Injected(Injected::Sequences | Injected::SequencesInBatch) => {
                memory.sequences = Sequences::Anybody;
            }
            Note::Injected(Injected::Close(_) | Injected::Aside) => return,
            Note::Injected(Injected::OwnName(id, in_batch)) => {
                // It is the text that cannot be read any more, and will be no other time.
                let is_of_text = code.is_some_and(|code| code.0.starts_with(b"42"));
                self.unparsable.extend(is_of_text.then_some(*id));
                self.own_names &= is_of_text && !in_batch;
            }
            Note::Named(prepared) => {
                self.names.failed(name);
                lacks(memory, prepared.id(), code);
            }
            Note::Own | Note::Closed => self.names.failed(name),
            Note::Injected(Injected::Parse(id)) => lacks(memory, *id, code),
            Note::Bound(id) if code == Some(SqlState::INVALID_STATEMENT_NAME) => memory.prepared.remove(*id),
            Note::Injected(Injected::Check(prepared, _)) => {
                self.checked(prepared.id());
                memory.prepared.distrust(prepared.id());
            }
            Note::Unnamed(_) => self.unnamed.ended(),
            Note::Effects(effects, done) => {
                let effects = Arc::clone(effects);
                for (_, effect) in effects.list.iter().filter(|(at, _)| at >= done) {
                    match effect.about() {
                        About::Suspicion(Suspicion::Pin(reason)) if is_undone(reason) => {}
                        About::Suspicion(suspicion) => self.suspected(suspicion),
                        About::Journal
                        | About::Unknown(_)
                        | About::Statements(_)
                        | About::Everything
                        | About::Sequences
                        | About::Pins => {}
                    }
                }
            }
            Note::None
            | Note::Taken
            | Note::NoUnnamed
            | Note::Bound(_)
            | Note::Changed
            | Note::Injected(Injected::Unnamed(_)) => {}
        }
        self.journal.failed();
    }

    fn done(&mut self, note: &Note, name: &[u8], memory: &mut Memory) {
        match note {
            Note::Named(prepared) => {
                self.unparsable.retain(|id| *id != prepared.id());
                self.names.parsed(name);
            }
            Note::Own => self.names.parsed(name),
            Note::Closed => self.names.closed(name),
            Note::Unnamed(text) => {
                self.unnamed.parsed(text);
                memory.unnamed = Some((self.made.id, text.number));
            }
            Note::NoUnnamed => {
                self.unnamed.ended();
                memory.unnamed = None;
            }
            Note::Injected(Injected::Unnamed(text)) => {
                memory.unnamed = text.as_ref().map(|text| (self.made.id, text.number));
            }
            Note::Injected(Injected::Check(prepared, _)) => self.checked(prepared.id()),
            Note::None
            | Note::Effects(..)
            | Note::Taken
            | Note::Bound(_)
            | Note::Changed
            | Note::Injected(_) => {}
        }
    }

    fn skipped(&mut self, note: &Note, name: &[u8], memory: &mut Memory) {
        match note {
            Note::Injected(Injected::Sequences | Injected::SequencesInBatch) => {
                memory.sequences = Sequences::Anybody;
            }
            Note::Injected(Injected::Parse(id) | Injected::Close(id)) => memory.prepared.distrust(*id),
            Note::Injected(Injected::Check(prepared, _)) => {
                self.checked(prepared.id());
                memory.prepared.distrust(prepared.id());
            }
            Note::Named(prepared) => {
                memory.prepared.distrust(prepared.id());
                self.names.failed(name);
            }
            Note::Own | Note::Closed => self.names.failed(name),
            Note::Injected(Injected::OwnName(..)) => self.own_names = false,
            Note::Injected(Injected::Aside) => self.lent.retain(|lent| **lent != *name),
            Note::None
            | Note::Effects(..)
            | Note::Unnamed(_)
            | Note::NoUnnamed
            | Note::Taken
            | Note::Bound(_)
            | Note::Changed
            | Note::Injected(_) => {}
        }
    }

    /// Hears for this session what became of its requests on a backend that holds `memory`.
    pub(crate) fn ear<'a>(&'a mut self, memory: &'a mut Memory) -> Ear<'a> {
        Ear { pooled: self, memory }
    }
}

/// A `Parse` failed. Either its statement is not there, or another of its name is.
fn lacks(memory: &mut Memory, id: u64, code: Option<SqlState>) {
    if code == Some(SqlState::DUPLICATE_STATEMENT) {
        memory.prepared.distrust(id);
    } else {
        memory.prepared.remove(id);
    }
}

/// A session that listens, and the memory of its backend.
pub(crate) struct Ear<'a> {
    pooled: &'a mut Pooled,
    memory: &'a mut Memory,
}

impl Listener for Ear<'_> {
    fn hear(&mut self, told: Told<'_>) {
        let Self { pooled, memory } = self;
        match told {
            Told::Command(Note::Effects(effects, done), tag) => {
                let (number, effects) = (*done, Arc::clone(effects));
                *done = done.saturating_add(1);
                for effect in effects.of(number) {
                    pooled.completed(effect, tag, memory);
                }
            }
            Told::Failed(request, note, name, report) => {
                ended_unnamed(request, note, pooled, memory);
                // What fails is not what has stepped before.
                pooled.may_have_asked(report);
                pooled.failed(note, (name, report.code), memory);
                pooled.failed_name = name.to_vec();
            }
            // It has done some of it, and may never be told to go on.
            Told::Suspended(Note::Effects(effects, done)) => {
                let effects = Arc::clone(effects);
                effects.of(*done).for_each(|effect| pooled.interrupted(effect));
            }
            Told::Done(request, note, name) => {
                ended_unnamed(request, note, pooled, memory);
                pooled.done(note, name, memory);
            }
            Told::Shown(note, name, said) => pooled.shown(note, name, said, memory),
            Told::Skipped(note, name) => pooled.skipped(note, name, memory),
            Told::Ready(status) => {
                pooled.journal.ready(status);
                pooled.examine |= pooled.pins.has(Reason::Unexamined);
                pooled.hold_large();
                if !pooled.journal.is_certain() {
                    pooled.pin(Reason::Setting);
                }
            }
            Told::Command(..) | Told::Suspended(_) => {}
        }
    }

    fn pins(&self) -> Pins {
        self.pooled.pins
    }
}

/// A `Query` ends the unnamed statement, and so does a `Parse` without a name that fails.
fn ended_unnamed(request: Request, note: &Note, pooled: &mut Pooled, memory: &mut Memory) {
    if request == Request::Query {
        memory.unnamed = None;
        if !note.is_injected() {
            pooled.unnamed.ended();
        }
    } else if matches!(note, Note::Unnamed(_) | Note::Injected(Injected::Unnamed(_))) {
        memory.unnamed = None;
    }
}
