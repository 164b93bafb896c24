//! What goes to a backend in place of a client's message, in transaction pooling.
//!
//! What always holds: each message of the client's becomes exactly one message of the same kind, as it came or with
//! another statement name; what the backend lacks goes right before it, in the same write; a batch that failed and a
//! copy under way are passed on as they came.
//!
//! Source: protocol-flow#PROTOCOL-FLOW-EXT-QUERY

use std::sync::Arc;

use crate::backend::memory::Memory;
use crate::backend::prepared::{Copy, Prepared};
use crate::protocol::frame::{FrameError, HEADER_BYTES};
use crate::protocol::frontend::{self as views, Bind, Parse, Target};
use crate::protocol::rewrite;
use crate::protocol::tag::frontend;
use crate::protocol::write;

use super::classify::{Classifier, classify, set_by_parameter};
use super::effect::{About, Effect, Effects, Suspicion};
use super::lease::Request;
use super::ledger::Ledger;
use super::names::Named;
use super::note::{Injected, Note};
use super::pins::Reason;
use super::pooled::{Pooled, Unnamed, had};
use super::statements::significant;

/// Names of ours on a backend; a client's name that begins like this is one that does not exist.
const OURS: &[u8] = b"_ov_";
/// A statement that no backend has: closing it is answered and does nothing.
const NOBODY: &[u8] = b"_ov_none";
/// `DISCARD SEQUENCES`, under a name of its own.
const SEQUENCES: &[u8] = b"_ov_sequences";

/// A statement that is there when all settings were taken, and only then.
const SETTLED: &[u8] = b"_ov_settled";
/// Makes it.
const SETTLE: &[u8] = b"; PREPARE _ov_settled AS SELECT";
/// Fails where it was not made.
const UNSETTLE: &[u8] = b"DEALLOCATE _ov_settled; ";

/// What one session's statements may take in memory before they stay on its backend.
const NAMES_BYTES_MAX: usize = 4 << 20;

/// Where the bytes for the backend go, and what is owed for them.
pub(crate) struct Shaper<'a> {
    pub(crate) pooled: &'a mut Pooled,
    pub(crate) memory: &'a mut Memory,
    pub(crate) ledger: &'a mut Ledger,
    /// What goes to the backend before the message, or in place of it.
    pub(crate) out: &'a mut Vec<u8>,
}

/// What becomes of the message itself.
#[derive(Debug)]
pub(crate) enum Form {
    /// It follows as it came.
    AsIs(Note),
    /// What stands in its place is in `out`.
    Replaced(Note),
}

impl Shaper<'_> {
    /// A lease begins: settings are brought up to date. The client's own message is behind them in the same write and must
    /// not run under another session's, so a `Describe` goes between: it fails where a setting was refused, and after
    /// a failure of the extended protocol a server skips everything up to a `Sync`, a `Query` as well.
    pub(crate) fn begin(&mut self) {
        self.pooled.last_values.come_to(&mut self.memory.sequences);
        let want = self.pooled.settings().clone();
        if want == self.memory.settings {
            return;
        }
        let mut sql = Vec::new();
        if let Some(way) = want.by_way_of(&self.memory.settings) {
            way.catch_up(&self.memory.settings, &mut sql);
            sql.extend_from_slice(SETTLE);
            self.query(&sql, Injected::Settings);
            self.memory.settings = way;
            sql = UNSETTLE.to_vec();
        }
        want.catch_up(&self.memory.settings, &mut sql);
        sql.extend_from_slice(SETTLE);
        self.query(&sql, Injected::Settings);
        self.memory.settings = want;
        self.message(frontend::DESCRIBE, &[&b"S"[..], SETTLED, b"\0"].concat());
        self.ledger.inject(Request::Describe, Injected::Guard, SETTLED);
        self.message(frontend::CLOSE, &[&b"S"[..], SETTLED, b"\0"].concat());
        self.ledger.inject(Request::Close, Injected::Aside, SETTLED);
    }

    /// A message, whole; or of one too large for that its beginning, header included.
    pub(crate) fn shape(&mut self, tag: u8, raw: &[u8], whole: bool) -> Result<Form, FrameError> {
        let body = raw.get(HEADER_BYTES..).unwrap_or_default();
        let lease = self.ledger.lease();
        if lease.is_skipping() || lease.is_copying_in() {
            return Ok(Form::AsIs(Note::None));
        }
        match tag {
            frontend::QUERY if whole => Ok(Form::AsIs(self.simple(views::query(body)))),
            frontend::QUERY => {
                self.pooled.forget_unnamed();
                self.memory.unnamed = None;
                // What it does is known when it has gone.
                self.own_sequences();
                self.pooled.long = Some(Box::new(Classifier::new(&self.pooled.made.rules)));
                Ok(Form::AsIs(Note::None))
            }
            frontend::PARSE => self.parse(raw, body, whole),
            frontend::BIND => self.bind(raw, body),
            frontend::DESCRIBE => match Target::read(body) {
                Target::Statement(name) => self.named(tag, raw, name),
                Target::Portal(_) | Target::Unknown => Ok(Form::AsIs(Note::None)),
            },
            frontend::CLOSE => self.close(raw, body),
            frontend::EXECUTE => Ok(Form::AsIs(self.execute(views::execute(body)))),
            frontend::FUNCTION_CALL => {
                self.own_sequences();
                Ok(Form::AsIs(Note::Effects(Arc::clone(&self.pooled.unsure), 0)))
            }
            _ => Ok(Form::AsIs(Note::None)),
        }
    }

    /// A simple query: it ends the unnamed statement, and SQL in it may speak of statements by their names.
    fn simple(&mut self, text: &[u8]) -> Note {
        let effects = classify(text, &self.pooled.made.rules);
        self.pooled.forget_unnamed();
        self.memory.unnamed = None;
        if effects.is_empty() {
            return Note::None;
        }
        self.prepare_for(&effects, true);
        Note::Effects(Arc::new(effects), 0)
    }

    /// What a text must find on its backend before it runs.
    fn prepare_for(&mut self, effects: &Effects, simple: bool) {
        for (_, effect) in &effects.list {
            if let Effect::Deallocate(name) = effect
                && !self.pooled.own_names
            {
                self.give_own_name(name);
                self.sync(simple);
            } else if *effect == Effect::SqlPrepare && !self.pooled.own_names {
                self.give_own_names();
                self.sync(simple);
                self.pooled.pin(Reason::SqlPrepare);
            }
            match effect.about() {
                About::Suspicion(Suspicion::SequenceRead) => {
                    self.pooled.made.habits.sequences_are_read();
                    self.own_sequences();
                }
                About::Suspicion(Suspicion::SequenceStep) => self.own_sequences(),
                // Whether it may run behind another statement is not known.
                About::Suspicion(Suspicion::Unsure) if simple => self.own_sequences(),
                About::Suspicion(Suspicion::Unsure | Suspicion::SqlPrepare | Suspicion::Pin(_))
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
    fn own_sequences(&mut self) {
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
        pending().any(|injected| injected == Some(Injected::Guard))
            && pending().all(|injected| injected.is_some())
    }

    /// Makes the client's statement known on this backend by the client's own name.
    fn give_own_name(&mut self, name: &[u8]) {
        let Some(named) = self.pooled.names.get(name) else { return };
        let prepared = Arc::clone(&named.prepared);
        let body = [name, b"\0", prepared.text(), b"\0", prepared.types()].concat();
        self.message(frontend::PARSE, &body);
        self.ledger.inject(Request::Parse, Injected::Aside, name);
        self.pooled.is_known_by_name();
    }

    /// From now on this backend knows all of the session's statements by their own names.
    fn give_own_names(&mut self) {
        let names: Vec<_> = self.pooled.names.iter().map(|(name, _)| name.to_vec()).collect();
        names.iter().for_each(|name| self.give_own_name(name));
        self.pooled.own_names = true;
    }

    /// Behind messages of the extended protocol, before a simple query.
    fn sync(&mut self, simple: bool) {
        if simple {
            self.message(frontend::SYNC, b"");
            self.ledger.inject(Request::Sync, Injected::Aside, b"");
        }
    }

    fn parse(&mut self, raw: &[u8], body: &[u8], whole: bool) -> Result<Form, FrameError> {
        let Parse { name, text } = Parse::read(body);
        let name = significant(name);
        if name.is_empty() {
            return Ok(Form::AsIs(self.unnamed(body, text, whole)));
        }
        if !whole {
            // Too large to be kept: it stays where it is, by its own name.
            self.give_own_names();
            self.pooled.pin(Reason::LargeStatement);
            return Ok(Form::AsIs(Note::None));
        }
        if self.pooled.journal.is_local() && !self.pooled.own_names {
            // It is read by settings that no other backend will have.
            self.give_own_names();
            self.pooled.reads_locally();
        } else if self.pooled.names.bytes() > NAMES_BYTES_MAX && !self.pooled.own_names {
            self.give_own_names();
            self.pooled.pin(Reason::LargeStatement);
        }
        let effects = classify(text, &self.pooled.made.rules);
        let effects = (!effects.is_empty()).then(|| Arc::new(effects));
        if self.pooled.own_names {
            return Ok(Form::AsIs(self.own(name, text, body, effects)));
        }
        if let Some(named) = self.pooled.names.get(name) {
            // It lives: the server is to say so itself.
            let (prepared, generation) = (Arc::clone(&named.prepared), named.generation);
            self.ensure(&prepared, generation, name);
            rewrite::statement(frontend::PARSE, raw, &backend_name(&prepared), self.out)?;
            return Ok(Form::Replaced(Note::Again(prepared.id())));
        }
        let types = types_of(body, text);
        let prepared = self.pooled.made.interner.intern(text, types, self.pooled.settings());
        let (id, generation) = (prepared.id(), prepared.parsed_anew());
        let before = had(self.memory, id);
        if before.is_some() {
            self.close_on_backend(id);
        }
        self.make_room(id);
        rewrite::statement(frontend::PARSE, raw, &backend_name(&prepared), self.out)?;
        self.memory.prepared.insert(id, generation);
        let named = Named { prepared: Arc::clone(&prepared), generation, effects };
        self.pooled.names.sent(name, named);
        Ok(Form::Replaced(Note::Named(prepared, before)))
    }

    /// A `Parse` that keeps its name, on a backend that knows this session's statements by their own names.
    fn own(&mut self, name: &[u8], text: &[u8], body: &[u8], effects: Option<Arc<Effects>>) -> Note {
        if self.pooled.names.get(name).is_some() {
            return Note::None;
        }
        let types = types_of(body, text);
        let prepared = self.pooled.made.interner.intern(text, types, self.pooled.settings());
        let generation = prepared.parsed_anew();
        self.pooled.names.sent(name, Named { prepared, generation, effects });
        Note::Own
    }

    fn unnamed(&mut self, body: &[u8], text: &[u8], whole: bool) -> Note {
        self.memory.unnamed = Some(self.pooled.made.id);
        self.pooled.unnamed_count = self.pooled.unnamed_count.saturating_add(1);
        let number = self.pooled.unnamed_count;
        if let Some((latest, unnamed)) = &mut self.pooled.unnamed
            && whole
            && unnamed.parse.as_deref() == Some(body)
        {
            // Drivers say the same again and again.
            *latest = number;
            return Note::Unnamed(number);
        }
        let large = self.pooled.unnamed.take().is_some_and(|(_, unnamed)| unnamed.parse.is_none());
        if large && !self.pooled.own_names {
            self.pooled.pins.remove(Reason::LargeStatement);
        }
        let effects = if whole { classify(text, &self.pooled.made.rules) } else { Effects::default() };
        let effects = (!effects.is_empty()).then(|| Arc::new(effects));
        if !whole {
            self.pooled.pin(Reason::LargeStatement);
        }
        self.pooled.unnamed =
            Some((number, Arc::new(Unnamed { parse: whole.then(|| body.into()), effects })));
        Note::Unnamed(number)
    }

    fn bind(&mut self, raw: &[u8], body: &[u8]) -> Result<Form, FrameError> {
        let Bind { portal, statement } = Bind::read(body);
        let effects = match significant(statement) {
            b"" => self.pooled.unnamed.as_ref().and_then(|(_, unnamed)| unnamed.effects.clone()),
            name => self.pooled.names.get(name).and_then(|named| named.effects.clone()),
        };
        let portal = significant(portal);
        let effects = effects.map(|effects| bound(effects, body));
        match effects {
            Some(effects) => {
                self.pooled.portals.insert(portal.into(), effects);
            }
            None if self.pooled.portals.is_empty() => {}
            None => {
                self.pooled.portals.remove(portal);
            }
        }
        self.named(frontend::BIND, raw, statement)
    }

    /// A message that speaks of a statement, which must be there under the name it has on the backend.
    fn named(&mut self, tag: u8, raw: &[u8], name: &[u8]) -> Result<Form, FrameError> {
        let name = significant(name);
        if name.is_empty() {
            self.ensure_unnamed();
            return Ok(Form::AsIs(Note::None));
        }
        if self.pooled.own_names {
            return Ok(Form::AsIs(Note::None));
        }
        let Some(named) = self.pooled.names.get(name) else {
            if name.starts_with(OURS) {
                rewrite::statement(tag, raw, NOBODY, self.out)?;
                return Ok(Form::Replaced(Note::None));
            }
            return Ok(Form::AsIs(Note::None));
        };
        let (prepared, generation) = (Arc::clone(&named.prepared), named.generation);
        self.ensure(&prepared, generation, name);
        rewrite::statement(tag, raw, &backend_name(&prepared), self.out)?;
        Ok(Form::Replaced(Note::Bound(prepared.id())))
    }

    /// The backend has this statement, and no older copy of it than the client has seen.
    fn ensure(&mut self, prepared: &Prepared, generation: u64, name: &[u8]) {
        let id = prepared.id();
        let before = match self.memory.prepared.find(id, generation) {
            Copy::Fresh => {
                self.memory.prepared.touch(id);
                return;
            }
            Copy::Stale => {
                let before = had(self.memory, id);
                self.close_on_backend(id);
                before
            }
            Copy::Missing => None,
        };
        self.make_room(id);
        let body = [&backend_name(prepared), &b"\0"[..], prepared.text(), b"\0", prepared.types()].concat();
        self.message(frontend::PARSE, &body);
        self.ledger.inject(Request::Parse, Injected::Parse(id, before), name);
        self.memory.prepared.insert(id, prepared.generation().max(generation));
    }

    fn close_on_backend(&mut self, id: u64) {
        let before = had(self.memory, id);
        let body = [&b"S_ov_"[..], id.to_string().as_bytes(), b"\0"].concat();
        self.message(frontend::CLOSE, &body);
        self.ledger.inject(Request::Close, Injected::Close(id, before), b"");
        self.memory.prepared.remove(id);
    }

    /// Closes what is used least where the backend has too many.
    fn make_room(&mut self, spare: u64) {
        let most = self.pooled.made.prepared_max.saturating_sub(1);
        let busy = |id| {
            id == spare || self.ledger.lease().pending().any(|(_, op)| op.note.statement_id() == Some(id))
        };
        if let Some(id) = self.memory.prepared.surplus(most, busy) {
            self.close_on_backend(id);
        }
    }

    /// The backend's unnamed statement is this session's, or there is none.
    fn ensure_unnamed(&mut self) {
        let id = self.pooled.made.id;
        match (&self.pooled.unnamed, self.memory.unnamed) {
            (Some(_), Some(owner)) if owner == id => {}
            (None, None) => {}
            (Some((_, unnamed)), _) => {
                let body = unnamed.parse.clone().unwrap_or_default();
                self.message(frontend::PARSE, &body);
                self.ledger.inject(Request::Parse, Injected::Unnamed, b"");
                self.memory.unnamed = Some(id);
            }
            (None, Some(_)) => {
                self.message(frontend::CLOSE, b"S\0");
                self.ledger.inject(Request::Close, Injected::Unnamed, b"");
                self.memory.unnamed = None;
            }
        }
    }

    fn close(&mut self, raw: &[u8], body: &[u8]) -> Result<Form, FrameError> {
        let Target::Statement(name) = Target::read(body) else { return Ok(Form::AsIs(Note::None)) };
        let name = significant(name);
        if name.is_empty() {
            self.pooled.forget_unnamed();
            self.memory.unnamed = None;
            return Ok(Form::AsIs(Note::None));
        }
        if self.pooled.names.get(name).is_none() {
            // Perhaps SQL has made it; one of ours it is not.
            if name.starts_with(OURS) {
                rewrite::statement(frontend::CLOSE, raw, NOBODY, self.out)?;
                return Ok(Form::Replaced(Note::None));
            }
            return Ok(Form::AsIs(Note::None));
        }
        self.pooled.names.closing(name);
        if self.pooled.own_names {
            return Ok(Form::AsIs(Note::Closed));
        }
        rewrite::statement(frontend::CLOSE, raw, NOBODY, self.out)?;
        Ok(Form::Replaced(Note::Closed))
    }

    fn execute(&mut self, portal: &[u8]) -> Note {
        if self.pooled.portals.is_empty() {
            return Note::None;
        }
        let Some(effects) = self.pooled.portals.get(significant(portal)).cloned() else { return Note::None };
        self.prepare_for(&effects, false);
        Note::Effects(effects, 0)
    }

    /// A simple query of ours. It ends the backend's unnamed statement.
    fn query(&mut self, sql: &[u8], injected: Injected) {
        self.message(frontend::QUERY, &[sql, b"\0"].concat());
        self.ledger.inject(Request::Query, injected, b"");
        self.memory.unnamed = None;
    }

    fn message(&mut self, tag: u8, body: &[u8]) {
        write::message(self.out, tag, |out| out.extend_from_slice(body));
    }
}

/// What a text leaves behind with the parameters that it gets.
fn bound(effects: Arc<Effects>, body: &[u8]) -> Arc<Effects> {
    if !effects.list.iter().any(|(_, effect)| matches!(effect, Effect::SetBound { .. })) {
        return effects;
    }
    let mut list = Vec::with_capacity(effects.list.len().saturating_add(1));
    for (at, effect) in &effects.list {
        if let Effect::SetBound { number, local } = effect
            && let Some(name) = Bind::parameter(body, *number)
        {
            list.extend(set_by_parameter(name, *local).map(|effect| (*at, effect)));
        } else {
            list.push((*at, effect.clone()));
        }
    }
    Arc::new(Effects { statements: effects.statements, list })
}

fn backend_name(prepared: &Prepared) -> Vec<u8> {
    let mut name = Vec::with_capacity(16);
    prepared.write_name(&mut name);
    name
}

/// What stands behind the text of a `Parse`.
fn types_of<'a>(body: &'a [u8], text: &[u8]) -> &'a [u8] {
    let at = body.iter().position(|&byte| byte == 0).unwrap_or(body.len());
    body.get(at.saturating_add(text.len()).saturating_add(2)..).unwrap_or_default()
}
