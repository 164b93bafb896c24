//! What the server says a session has left behind, as against what its texts told.
//!
//! What always holds: an answer ends every suspicion that it does not bear out; what the server cannot be asked
//! (a loaded library, a seed, a function that is named in the configuration) is taken to be there still.

use crate::backend::Findings;
use crate::backend::memory::{Carried, Name, Value};
use crate::session::classify::carried;
use crate::session::effect::{About, Effect};
use crate::session::pins::Reason;

use super::Pooled;

/// So many settings of one's own are asked for at most.
const ASKED_MAX: usize = 256;

impl Pooled {
    /// The settings with a dot that the server is to be asked for, as no view of its own shows them: those that the
    /// session has made, those with an unknown value, and those that sessions of its kind were ever seen to make.
    pub(crate) fn own_settings(&self) -> Vec<Name> {
        let made = self.journal.current().names().filter(|name| is_own(name)).cloned();
        let mut names: Vec<Name> = made.chain(self.asked.iter().cloned()).collect();
        self.made.habits.settings(&mut names);
        names.sort();
        names.dedup();
        names.retain(|name| name.is_ascii());
        names
    }

    /// The server has said what is left; `encoding` is the client's. `None`: it could not, and everything is taken to be
    /// there still.
    pub(crate) fn examined(&mut self, findings: Option<Findings>, encoding: Option<&[u8]>) {
        self.examine = false;
        let Some(found) = findings else {
            self.pins.add(Reason::Unexamined);
            return;
        };
        self.pins.remove(Reason::Unexamined);
        let is_unsafe = encoding.is_some_and(|encoding| !carried::is_safe_encoding(encoding));
        let seen = [
            (Reason::TemporaryObject, found.temporary_object),
            (Reason::HeldCursor, found.held_cursor),
            (Reason::AdvisoryLock, found.advisory_lock),
            (Reason::Listen, found.listen),
            (Reason::SqlPrepare, found.sql_prepare),
            (Reason::Role, found.role),
            (Reason::Encoding, is_unsafe),
        ];
        for (reason, there) in seen {
            if there { self.pins.add(reason) } else { self.pins.remove(reason) }
        }
        let is_bound = self.adopt(&found);
        self.pin_for_settings(is_bound);
    }

    /// The settings in force, as the server says them: a function may have made some that no text has told. Answers
    /// whether one of them holds its backend.
    fn adopt(&mut self, found: &Findings) -> bool {
        let mut truth = self.own_truth(&found.own);
        let mut is_bound = false;
        for (name, value) in &found.settings {
            let name = name.to_ascii_lowercase();
            if name.contains(&b'.') {
                continue;
            }
            let is_plain = match name.as_slice() {
                b"client_encoding" => carried::is_safe_encoding(value),
                // What objects without a schema are then, no text tells.
                b"search_path" => !value.windows(7).any(|part| part.eq_ignore_ascii_case(b"pg_temp")),
                b"standard_conforming_strings" if **value == *b"on" => continue,
                name => carried::is_carried(name),
            };
            truth = truth.with(&name, Value::Config(quoted(value)));
            if !is_plain {
                truth = truth.without(&name);
                is_bound = true;
            }
        }
        self.journal.adopt(truth);
        is_bound
    }

    /// Those with a dot. One that was reset reads as an empty string for as long as the connection lives.
    fn own_truth(&mut self, found: &[(Name, Box<[u8]>)]) -> Carried {
        let mut truth = Carried::default();
        let asked = std::mem::take(&mut self.asked);
        for name in self.journal.current().names().filter(|name| is_own(name) && !name.is_ascii()) {
            if let Some(value) = self.journal.current().get(name) {
                truth = truth.with(name, value.clone());
            }
        }
        for (name, value) in found {
            let is_known = self.journal.current().get(name).is_some() || asked.contains(name);
            if is_known || !value.is_empty() {
                truth = truth.with(name, Value::Config(quoted(value)));
            }
        }
        truth
    }

    /// Settings hold the backend, if anything about them does.
    pub(super) fn pin_for_settings(&mut self, is_bound: bool) {
        let is_uncertain = self.idle_default.is_none() || self.is_read_locally || !self.journal.is_certain();
        if is_bound || is_uncertain {
            self.pin(Reason::Setting);
        } else {
            self.pins.remove(Reason::Setting);
        }
    }

    /// A setting has a value that only the server knows.
    pub(super) fn ask_for(&mut self, name: &Name) {
        self.examine = true;
        if !is_own(name) || self.asked.contains(name) {
            return;
        }
        self.made.habits.setting_is_made(name);
        if self.asked.len() < ASKED_MAX && name.is_ascii() {
            self.asked.push(name.clone());
        } else {
            self.pin(Reason::Function);
        }
    }

    /// A setting was made or unmade: what held the backend before may do so no more.
    pub(super) const fn is_new_for_settings(effect: &Effect) -> bool {
        matches!(effect, Effect::Set(..) | Effect::Reset(_) | Effect::ResetAll)
    }

    /// A statement has done a part of what it does.
    pub(super) fn interrupted(&mut self, effect: &Effect) {
        if let Effect::Set(name, _) | Effect::SetUnknown(name) = effect {
            self.journal.completed(&Effect::SetUnknown(name.clone()));
            self.ask_for(name);
        } else if let Effect::SetLocal(_) = effect {
            self.journal.completed(effect);
        } else if let About::Suspicion(suspicion) = effect.about() {
            self.suspected(suspicion);
        }
    }
}

/// Whether it is a setting of the user's own making, or of an extension's.
fn is_own(name: &[u8]) -> bool {
    name.contains(&b'.')
}

/// A string literal that means the same whatever `standard_conforming_strings` says.
fn quoted(value: &[u8]) -> Box<[u8]> {
    let mut literal = Vec::with_capacity(value.len().saturating_add(4));
    if value.contains(&b'\\') {
        literal.extend_from_slice(b" E");
    }
    literal.push(b'\'');
    for &byte in value {
        if matches!(byte, b'\'' | b'\\') {
            literal.push(byte);
        }
        literal.push(byte);
    }
    literal.push(b'\'');
    literal.into()
}
