//! What goes to a backend in place of a client's message, in transaction pooling.
//!
//! What always holds: each message of the client's becomes exactly one message of the same kind, as it came or with
//! another statement name; what the backend lacks goes right before it, in the same write; a batch that failed and a
//! copy under way are passed on as they came.
//!
//! Source: protocol-flow#PROTOCOL-FLOW-EXT-QUERY

use std::sync::Arc;

use crate::backend::memory::{Memory, Name};
use crate::backend::prepared::{Copy, NOBODY, Prepared, TAKEN, name as backend_name};
use crate::protocol::frame::{FrameError, HEADER_BYTES};
use crate::protocol::frontend::{self as views, Bind, Parse, Target};
use crate::protocol::rewrite;
use crate::protocol::tag::frontend;
use crate::protocol::write;

use super::changes::speaks_of_names;
use super::classify::{classify, set_by_parameter};
use super::effect::{Effect, Effects};
use super::lease::Request;
use super::ledger::Ledger;
use super::names::Named;
use super::note::{Injected, Note, Parsed};
use super::pooled::{Pooled, Reading};
use super::shown::first_word;
use super::statements::significant;

mod own;

/// Names of ours on a backend; a client's name that begins like this is one that does not exist.
const OURS: &[u8] = b"_ov_";

/// A cursor that is there when all settings were taken, and only then. No prepared statement: to describe one, the server may
/// read it anew (anybody has made a schema), which takes the snapshot of the transaction that the client's own message runs
/// in, and behind that a `BEGIN ISOLATION LEVEL ..` fails. A held cursor's columns are settled.
const SETTLED: &[u8] = b"_ov_settled";
/// Makes it.
const SETTLE: &[u8] = b"; DECLARE _ov_settled CURSOR WITH HOLD FOR SELECT";
/// Fails where it was not made.
const UNSETTLE: &[u8] = b"CLOSE _ov_settled; ";

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
    /// It comes again when more is answered.
    Wait,
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
        self.message(frontend::DESCRIBE, &[&b"P"[..], SETTLED, b"\0"].concat());
        self.ledger.inject(Request::Describe, Injected::Guard, b"");
        self.message(frontend::CLOSE, &[&b"P"[..], SETTLED, b"\0"].concat());
        self.ledger.inject(Request::Close, Injected::Aside, b"");
    }

    /// A message, whole; or of one too large for that its beginning, header included.
    pub(crate) fn shape(&mut self, tag: u8, raw: &[u8], whole: bool) -> Result<Form, FrameError> {
        let body = raw.get(HEADER_BYTES..).unwrap_or_default();
        let lease = self.ledger.lease();
        if lease.is_skipping() || lease.is_copying_in() {
            if let Some((prepared, _)) = self.pooled.to_check.take() {
                self.pooled.checked(prepared.id());
            }
            return Ok(Form::AsIs(Note::None));
        }
        self.check_parsed();
        if self.must_wait(tag, body) {
            return Ok(self.wait());
        }
        match tag {
            frontend::QUERY if whole => Ok(self.simple(views::query(body))),
            frontend::QUERY => {
                // What it does is known when it has gone. What it speaks of, its beginning may tell.
                let first = first_word(views::query(body));
                if matches!(first.as_deref(), Some(b"execute" | b"prepare" | b"deallocate")) {
                    if self.ledger.changes().is_open_for_names() {
                        return Ok(self.wait());
                    }
                    self.prepare_for(&Effects { statements: 1, list: vec![(0, Effect::SqlPrepare)] }, true);
                }
                self.pooled.unnamed.ending();
                self.own_sequences();
                self.pooled.long = Some(Reading::query(&self.pooled.made.rules));
                Ok(Form::AsIs(Note::None))
            }
            frontend::PARSE => self.parse(raw, body, whole),
            frontend::BIND => self.bind(raw, body),
            frontend::DESCRIBE => match Target::read(body) {
                Target::Statement(name) => self.describe(raw, name),
                Target::Portal(_) | Target::Unknown => Ok(Form::AsIs(Note::None)),
            },
            frontend::CLOSE => self.close(raw, body),
            frontend::EXECUTE => Ok(self.execute(views::execute(body))),
            frontend::FUNCTION_CALL => {
                self.own_sequences();
                Ok(Form::AsIs(Note::Effects(Arc::clone(&self.pooled.unsure), 0)))
            }
            _ => Ok(Form::AsIs(Note::None)),
        }
    }

    /// Whether the statement that a message speaks of hangs on an answer.
    fn must_wait(&self, tag: u8, body: &[u8]) -> bool {
        let changes = self.ledger.changes();
        let name = match (tag, Target::read(body)) {
            (frontend::PARSE, _) => Parse::read(body).name,
            (frontend::BIND, _) => Bind::read(body).statement,
            (frontend::DESCRIBE | frontend::CLOSE, Target::Statement(name)) => name,
            _ => return false,
        };
        match (name, tag) {
            (b"", frontend::BIND | frontend::DESCRIBE) => changes.is_open_for_unnamed(),
            (b"", _) => false,
            _ => changes.is_open_for_names(),
        }
    }

    /// The message waits. In a batch, the server keeps its answers back unless it is asked for them.
    fn wait(&mut self) -> Form {
        if self.ledger.lease().is_unsynced() {
            self.message(frontend::FLUSH, b"");
        }
        Form::Wait
    }

    /// A simple query: it ends the unnamed statement, and SQL in it may speak of statements by their names.
    fn simple(&mut self, text: &[u8]) -> Form {
        let effects = classify(text, &self.pooled.made.rules);
        if self.must_wait_for(Some(&effects)) {
            return self.wait();
        }
        self.pooled.unnamed.ending();
        if effects.is_empty() {
            return Form::AsIs(Note::None);
        }
        self.prepare_for(&effects, true);
        Form::AsIs(Note::Effects(Arc::new(effects), 0))
    }

    fn parse(&mut self, raw: &[u8], body: &[u8], whole: bool) -> Result<Form, FrameError> {
        let Parse { name, text, .. } = Parse::read(body);
        let name = significant(name);
        if !whole {
            self.large_parse(name);
            return Ok(Form::AsIs(Note::None));
        }
        if name.is_empty() {
            return Ok(self.unnamed(body, text));
        }
        if self.pooled.journal.is_local() && !self.pooled.own_names {
            // It is read by settings that no other backend will have.
            self.give_own_names(false);
            self.pooled.reads_locally();
        } else if self.pooled.names.bytes() > NAMES_BYTES_MAX {
            self.give_own_names(false);
        }
        let effects = classify(text, &self.pooled.made.rules);
        let effects = (!effects.is_empty()).then(|| Arc::new(effects));
        self.own_names_for(effects.as_deref(), false);
        if self.pooled.own_names {
            return Ok(Form::AsIs(self.own(name, text, body, effects)));
        }
        if self.pooled.names.get(name).is_some() {
            return self.taken(raw);
        }
        let types = types_of(body, text);
        let prepared = self.pooled.made.interner.intern(text, types, self.pooled.settings());
        let id = prepared.id();
        if self.memory.prepared.find(id) != Copy::Missing {
            self.close_on_backend(id);
        }
        self.make_room(id);
        rewrite::statement(frontend::PARSE, raw, &backend_name(id), self.out)?;
        self.memory.prepared.insert(id);
        self.pooled.names.sent(name, Named { prepared: Arc::clone(&prepared), effects, is_held: false });
        self.pooled.to_check = Some((Arc::clone(&prepared), name.into()));
        self.pooled.unchecked.push((id, name.into()));
        Ok(Form::Replaced(Note::Named(prepared)))
    }

    /// A `Parse` too large to be kept: a named one stays where it is, by its own name.
    fn large_parse(&mut self, name: &[u8]) {
        if !name.is_empty() {
            self.give_own_names(false);
        }
        if name.is_empty() || self.pooled.names.get(name).is_none() {
            self.pooled.long = Some(Reading::parse(&self.pooled.made.rules, name));
        }
    }

    /// A `Parse` of a name that lives: the server is to say so itself, once it has found nothing else to complain of.
    fn taken(&mut self, raw: &[u8]) -> Result<Form, FrameError> {
        let name = backend_name(TAKEN);
        self.message(frontend::CLOSE, &[b"S", &name[..], b"\0"].concat());
        self.ledger.inject(Request::Close, Injected::Aside, b"");
        self.message(frontend::PARSE, &[&name[..], b"\0\0\0\0"].concat());
        self.ledger.inject(Request::Parse, Injected::Aside, b"");
        rewrite::statement(frontend::PARSE, raw, &name, self.out)?;
        Ok(Form::Replaced(Note::Taken))
    }

    /// A `Parse` that keeps its name, on a backend that knows this session's statements by their own names.
    fn own(&mut self, name: &[u8], text: &[u8], body: &[u8], effects: Option<Arc<Effects>>) -> Note {
        if self.pooled.names.get(name).is_some() {
            return Note::None;
        }
        let is_held = self.pooled.names.bytes() > NAMES_BYTES_MAX;
        let (text, types) = if is_held { (&b""[..], &b"\0\0"[..]) } else { (text, types_of(body, text)) };
        let prepared = self.pooled.made.interner.intern(text, types, self.pooled.settings());
        self.pooled.names.sent(name, Named { prepared, effects, is_held });
        Note::Own
    }

    fn unnamed(&mut self, body: &[u8], text: &[u8]) -> Form {
        let effects = match self.pooled.unnamed.same(body) {
            Some(same) => same.effects.clone(),
            None => {
                let effects = classify(text, &self.pooled.made.rules);
                (!effects.is_empty()).then(|| Arc::new(effects))
            }
        };
        if self.must_wait_for(effects.as_deref()) {
            return self.wait();
        }
        self.own_names_for(effects.as_deref(), false);
        Form::AsIs(Note::Unnamed(self.pooled.unnamed.sent(Some(body), effects)))
    }

    /// Whether SQL speaks of names for which an answer is out.
    fn must_wait_for(&self, effects: Option<&Effects>) -> bool {
        effects.is_some_and(speaks_of_names) && self.ledger.changes().is_open_for_names()
    }

    /// Makes ready for a message that speaks of a statement, and tells what that leaves behind, as far as it is known; its text
    /// may be about to speak of others by their names. `Err`: the message must wait.
    fn make_ready(&mut self, statement: &[u8]) -> Result<Option<Arc<Effects>>, Form> {
        let name = significant(statement);
        let effects = if name.is_empty() {
            if !self.ledger.changes().has_unnamed() {
                self.pooled.unnamed.settle();
            }
            self.pooled.unnamed.seen().and_then(|unnamed| unnamed.effects.clone())
        } else {
            self.pooled.names.get(name).and_then(|named| named.effects.clone())
        };
        if self.must_wait_for(effects.as_deref()) {
            return Err(self.wait());
        }
        self.own_names_for(effects.as_deref(), false);
        if name.is_empty() {
            self.ensure_unnamed();
        }
        Ok(effects)
    }

    fn bind(&mut self, raw: &[u8], body: &[u8]) -> Result<Form, FrameError> {
        let Bind { portal, statement, .. } = Bind::read(body);
        let effects = match self.make_ready(statement) {
            Ok(effects) => effects,
            Err(wait) => return Ok(wait),
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

    fn describe(&mut self, raw: &[u8], name: &[u8]) -> Result<Form, FrameError> {
        match self.make_ready(name) {
            Ok(_) => self.named(frontend::DESCRIBE, raw, name),
            Err(wait) => Ok(wait),
        }
    }

    /// A message that speaks of a statement, which must be there under the name it has on the backend.
    fn named(&mut self, tag: u8, raw: &[u8], name: &[u8]) -> Result<Form, FrameError> {
        let name = significant(name);
        if name.is_empty() || self.pooled.own_names {
            return Ok(Form::AsIs(Note::None));
        }
        let Some(named) = self.pooled.names.get(name) else {
            if name.starts_with(OURS) {
                rewrite::statement(tag, raw, &backend_name(NOBODY), self.out)?;
                return Ok(Form::Replaced(Note::Bound(NOBODY)));
            }
            return Ok(Form::AsIs(Note::None));
        };
        let prepared = Arc::clone(&named.prepared);
        if self.pooled.changed.take() == Some(prepared.id()) {
            self.close_on_backend(prepared.id());
            rewrite::statement(tag, raw, &backend_name(NOBODY), self.out)?;
            return Ok(Form::Replaced(Note::Changed));
        }
        if !self.is_there(&prepared, name) {
            return Ok(self.wait());
        }
        rewrite::statement(tag, raw, &backend_name(prepared.id()), self.out)?;
        Ok(Form::Replaced(Note::Bound(prepared.id())))
    }

    /// What the client has parsed may be another statement than others know by its number.
    fn check_parsed(&mut self) {
        let Some((prepared, name)) = self.pooled.to_check.take() else { return };
        self.check(&prepared, Parsed::ByClient, &name);
    }

    fn check(&mut self, prepared: &Arc<Prepared>, parsed: Parsed, name: &[u8]) {
        self.message(frontend::DESCRIBE, &[b"S", &backend_name(prepared.id())[..], b"\0"].concat());
        self.ledger.inject(Request::Describe, Injected::Check(Arc::clone(prepared), parsed), name);
    }

    /// Whether what is sent next finds this statement on the backend, as the client knows it. If not, it is on its way.
    fn is_there(&mut self, prepared: &Arc<Prepared>, name: &[u8]) -> bool {
        let id = prepared.id();
        match self.memory.prepared.find(id) {
            Copy::Fresh => {
                self.memory.prepared.touch(id);
                let mut unchecked = self.pooled.unchecked.iter().rev();
                return unchecked.find(|(other, _)| *other == id).is_none_or(|(_, by)| **by == *name);
            }
            Copy::Stale => self.close_on_backend(id),
            Copy::Missing => {}
        }
        self.make_room(id);
        let body = [&backend_name(id), &b"\0"[..], prepared.text(), b"\0", prepared.types_found()].concat();
        self.message(frontend::PARSE, &body);
        self.ledger.inject(Request::Parse, Injected::Parse(id), name);
        if prepared.is_sure() {
            self.memory.prepared.insert(id);
            return true;
        }
        self.check(prepared, Parsed::ByUs, name);
        self.pooled.unchecked.push((id, Name::default()));
        self.memory.prepared.insert(id);
        false
    }

    fn close_on_backend(&mut self, id: u64) {
        self.message(frontend::CLOSE, &[b"S", &backend_name(id)[..], b"\0"].concat());
        self.ledger.inject(Request::Close, Injected::Close(id), b"");
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
        if self.ledger.changes().has_unnamed() {
            return;
        }
        let pooled = &mut *self.pooled;
        pooled.unnamed.settle();
        let now = pooled.unnamed.now().cloned();
        if now.as_ref().map(|text| (pooled.made.id, text.number)) == self.memory.unnamed {
            return;
        }
        match now.as_ref().map(|text| &text.parse) {
            Some(Some(body)) => {
                self.message(frontend::PARSE, body);
                self.ledger.inject(Request::Parse, Injected::Unnamed(now), b"");
            }
            // Where a large one is, its session has stayed.
            Some(None) => {}
            None => {
                self.message(frontend::CLOSE, b"S\0");
                self.ledger.inject(Request::Close, Injected::Unnamed(None), b"");
            }
        }
    }

    fn close(&mut self, raw: &[u8], body: &[u8]) -> Result<Form, FrameError> {
        let Target::Statement(name) = Target::read(body) else { return Ok(Form::AsIs(Note::None)) };
        let name = significant(name);
        if name.is_empty() {
            self.pooled.unnamed.ending();
            return Ok(Form::AsIs(Note::NoUnnamed));
        }
        if self.pooled.names.get(name).is_none() {
            // Perhaps SQL has made it; one of ours it is not.
            if name.starts_with(OURS) && !self.pooled.own_names {
                rewrite::statement(frontend::CLOSE, raw, &backend_name(NOBODY), self.out)?;
                return Ok(Form::Replaced(Note::None));
            }
            return Ok(Form::AsIs(Note::None));
        }
        self.pooled.names.closing(name);
        if self.pooled.own_names {
            return Ok(Form::AsIs(Note::Closed));
        }
        rewrite::statement(frontend::CLOSE, raw, &backend_name(NOBODY), self.out)?;
        Ok(Form::Replaced(Note::Closed))
    }

    fn execute(&mut self, portal: &[u8]) -> Form {
        let Some(effects) = self.pooled.portals.get(significant(portal)).cloned() else {
            return Form::AsIs(Note::None);
        };
        if self.must_wait_for(Some(&effects)) {
            return self.wait();
        }
        self.prepare_for(&effects, false);
        Form::AsIs(Note::Effects(effects, 0))
    }

    /// A simple query of ours. It ends the backend's unnamed statement, and is answered before anything behind it.
    fn query(&mut self, sql: &[u8], injected: Injected) {
        self.memory.unnamed = None;
        self.message(frontend::QUERY, &[sql, b"\0"].concat());
        self.ledger.inject(Request::Query, injected, b"");
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

/// What stands behind the text of a `Parse`.
fn types_of<'a>(body: &'a [u8], text: &[u8]) -> &'a [u8] {
    let at = body.iter().position(|&byte| byte == 0).unwrap_or(body.len());
    body.get(at.saturating_add(text.len()).saturating_add(2)..).unwrap_or_default()
}
