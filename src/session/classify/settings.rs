//! `SET` and `RESET`: which setting, which value, and whether it can be carried.

use std::borrow::Borrow;

use crate::backend::memory::{Name, Value};
use crate::session::effect::Effect;
use crate::session::pins::Reason;
use crate::sql::{Kind, Token};

use super::Rules;
use super::carried::{is_carried, is_safe_encoding};
use super::head::{Head, literal};
use super::reader::Reader;

/// No setting has a longer name.
const NAME_BYTES_MAX: usize = 255;

/// How long a setting holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Scope {
    Session,
    Transaction,
}

/// What is left behind by a setting set: at most two effects.
pub(super) type Left = [Option<Effect>; 2];

const NOTHING: Left = [None, None];

const fn pin(reason: Reason) -> Left {
    [Some(Effect::Pin(reason)), None]
}

/// A setting is set. `name` is in lower case, `said` is what the value says, as far as it can be told.
pub(super) fn set(name: &[u8], value: Value, said: &[u8], scope: Scope, conforming: bool) -> Left {
    if name.len() > NAME_BYTES_MAX {
        return pin(Reason::Setting);
    }
    let more = match name {
        b"client_encoding" if !is_safe_encoding(said) => Some(Reason::Encoding),
        // Saying what is so already changes nothing. Drivers do.
        b"standard_conforming_strings" if conforming && is_on(said) => return NOTHING,
        b"standard_conforming_strings" => Some(Reason::Setting),
        b"search_path" if may_name_temporary_schema(said) => Some(Reason::TemporaryObject),
        b"seed" => return pin(Reason::Seed),
        b"transaction_isolation" | b"transaction_read_only" | b"transaction_deferrable" => return NOTHING,
        _ => None,
    };
    match scope {
        Scope::Transaction => [Some(Effect::SetLocal(name.into())), more.map(Effect::Pin)],
        Scope::Session if is_role(name) => {
            let none = said.eq_ignore_ascii_case(b"none");
            [Some(Effect::Pin(Reason::Role)), none.then_some(Effect::MayUnpin)]
        }
        Scope::Session => match more {
            // The server is asked whether it names that schema, and held while it does.
            Some(Reason::TemporaryObject) => set_unknown(name, scope),
            Some(reason) => pin(reason),
            None if name == b"client_encoding" || is_carried(name) => {
                [Some(Effect::Set(name.into(), value)), None]
            }
            None => pin(Reason::Setting),
        },
    }
}

/// A setting is set to what cannot be told, or perhaps not set.
pub(super) fn set_unknown(name: &[u8], scope: Scope) -> Left {
    let more = match (name, scope) {
        (b"client_encoding", _) => Some(Reason::Encoding),
        (b"seed", _) => Some(Reason::Seed),
        // Outside the transaction the server is asked.
        (b"standard_conforming_strings", Scope::Transaction) => Some(Reason::Setting),
        (b"search_path", Scope::Transaction) => Some(Reason::TemporaryObject),
        _ => None,
    };
    let first = match scope {
        _ if name.len() > NAME_BYTES_MAX => Effect::Pin(Reason::Setting),
        Scope::Transaction => Effect::SetLocal(name.into()),
        Scope::Session if is_role(name) => Effect::Pin(Reason::Role),
        Scope::Session => Effect::SetUnknown(name.into()),
    };
    [Some(first), more.map(Effect::Pin)]
}

/// A setting goes back to what it was when the session began.
fn reset(name: &[u8], scope: Scope) -> Left {
    match scope {
        _ if matches!(
            name,
            b"transaction_isolation" | b"transaction_read_only" | b"transaction_deferrable"
        ) =>
        {
            NOTHING
        }
        Scope::Transaction => [Some(Effect::SetLocal(name.into())), None],
        Scope::Session if is_role(name) => [Some(Effect::Pin(Reason::Role)), Some(Effect::MayUnpin)],
        Scope::Session => [Some(Effect::Reset(name.into())), None],
    }
}

fn is_role(name: &[u8]) -> bool {
    matches!(name, b"role" | b"session_authorization")
}

fn is_on(said: &[u8]) -> bool {
    [&b"on"[..], b"true", b"yes", b"1"].iter().any(|on| said.eq_ignore_ascii_case(on))
}

/// Whether objects that name no schema may be made in the temporary one.
fn may_name_temporary_schema(path: &[u8]) -> bool {
    path.windows(7).any(|part| part.eq_ignore_ascii_case(b"pg_temp"))
}

impl<R: Borrow<Rules>> Reader<R> {
    pub(super) fn push_all(&mut self, left: Left) {
        left.into_iter().flatten().for_each(|effect| self.push(effect));
    }

    /// `SET ..`
    pub(super) fn understand_set(&mut self) {
        let behind = (self.head.word(1), self.head.word(2));
        let (scope, at) = match (behind.0.as_bytes(), behind.1.as_bytes()) {
            (b"local", _) => (Scope::Transaction, 2),
            (b"session", b"authorization" | b"characteristics") => (Scope::Session, 1),
            (b"session", _) => (Scope::Session, 2),
            _ => (Scope::Session, 1),
        };
        let (first, second) = (self.head.word(at), self.head.word(at.saturating_add(1)));
        let behind_one = at.saturating_add(1);
        let behind_two = at.saturating_add(2);
        match (first.as_bytes(), second.as_bytes()) {
            (b"time", b"zone") => self.set_to(b"timezone", behind_two, scope),
            (b"xml", b"option") => self.set_to(b"xmloption", behind_two, scope),
            (b"session", b"authorization") => self.set_to(b"session_authorization", behind_two, scope),
            (b"session", b"characteristics") => self.understand_characteristics(at.saturating_add(4)),
            (b"transaction" | b"constraints" | b"catalog", _) => {}
            (b"names", _) => self.set_to(b"client_encoding", behind_one, scope),
            (b"schema", _) => self.set_to(b"search_path", behind_one, scope),
            (b"role", word) if word != b"to" && !self.head.is_operator(behind_one, b"=") => {
                self.set_to(b"role", behind_one, scope);
            }
            _ => match self.setting_at(at) {
                Some((name, at)) if self.head.is_operator(at, b"=") || self.head.word(at).is("to") => {
                    self.set_to(&name, at.saturating_add(1), scope);
                }
                // `SET .. FROM CURRENT`, or nothing that the server takes.
                _ => self.push(Effect::Pin(Reason::Setting)),
            },
        }
    }

    /// The name of a setting, and where it ends.
    fn setting_at(&self, at: usize) -> Option<(Name, usize)> {
        let mut name = self.head.ident(at)?.as_bytes().to_ascii_lowercase();
        let mut end = at.saturating_add(1);
        while self.head.kind(end) == Some(Kind::Symbol(b'.')) {
            let part = self.head.ident(end.saturating_add(1))?;
            name.push(b'.');
            name.extend(part.as_bytes().to_ascii_lowercase());
            end = end.saturating_add(2);
        }
        Some((name.into(), end))
    }

    /// A setting is set to what stands from `at` on.
    fn set_to(&mut self, name: &[u8], at: usize, scope: Scope) {
        let word = self.head.word(at);
        let alone = self.head.len() == at.saturating_add(1);
        let is_default = word.is("default") || (word.is("local") && name == b"timezone");
        if (is_default && alone) || (self.head.len() == at && name == b"client_encoding") {
            return self.push_all(reset(name, scope));
        }
        let conforming = self.rules.borrow().standard_conforming_strings;
        let left = match said(&self.head, at, name) {
            _ if self.head.cut || !is_value(&self.head, at) => None,
            Some(said) => Some(set(name, Value::Tail(self.head.tail(at)), &said, scope, conforming)),
            // What it says matters for these only.
            None if matches!(name, b"search_path" | b"client_encoding") || is_role(name) => None,
            None => Some(set(name, Value::Tail(self.head.tail(at)), b"", scope, conforming)),
        };
        self.push_all(left.unwrap_or_else(|| set_unknown(name, scope)));
    }

    /// `SET SESSION CHARACTERISTICS AS TRANSACTION ..`, which sets defaults.
    fn understand_characteristics(&mut self, from: usize) {
        let words: Vec<_> = self.head.from(from).filter(|token| token.kind == Kind::Word).collect();
        let words: Vec<_> = words.iter().map(|token| token.text.to_ascii_lowercase()).collect();
        let mut found: Vec<(&[u8], &[u8])> = Vec::new();
        for (at, word) in words.iter().enumerate() {
            let before = at.checked_sub(1).and_then(|at| words.get(at)).map_or(&b""[..], Vec::as_slice);
            let (isolation, read_only, deferrable) = (
                &b"default_transaction_isolation"[..],
                &b"default_transaction_read_only"[..],
                &b"default_transaction_deferrable"[..],
            );
            match (before, word.as_slice()) {
                (b"level", b"serializable") => found.push((isolation, b"'serializable'")),
                (b"read", b"committed") => found.push((isolation, b"'read committed'")),
                (b"read", b"uncommitted") => found.push((isolation, b"'read uncommitted'")),
                (b"repeatable", b"read") => found.push((isolation, b"'repeatable read'")),
                (b"read", b"only") => found.push((read_only, b"on")),
                (b"read", b"write") => found.push((read_only, b"off")),
                (b"not", b"deferrable") => found.push((deferrable, b"off")),
                (_, b"deferrable") => found.push((deferrable, b"on")),
                _ => {}
            }
        }
        for (name, value) in found {
            self.push(Effect::Set(name.into(), Value::Tail(value.into())));
        }
    }

    /// `RESET ..`
    pub(super) fn understand_reset(&mut self) {
        let (first, second) = (self.head.word(1), self.head.word(2));
        match (first.as_bytes(), second.as_bytes()) {
            (b"all", _) => self.push(Effect::ResetAll),
            (b"time", b"zone") => self.push_all(reset(b"timezone", Scope::Session)),
            (b"session", b"authorization") => self.push_all(reset(b"session_authorization", Scope::Session)),
            (b"transaction", b"isolation") => {}
            _ => {
                if let Some((name, _)) = self.setting_at(1) {
                    self.push_all(reset(&name, Scope::Session));
                }
            }
        }
    }
}

/// Whether the tokens from `at` on are a value: nothing else may be said again.
fn is_value(head: &Head, at: usize) -> bool {
    let mut depth = 0_u32;
    let mut tokens = head.from(at);
    let good = tokens.all(|token| match token.kind {
        Kind::Word
        | Kind::Quoted
        | Kind::QuotedUnicode
        | Kind::String
        | Kind::Escaped
        | Kind::StringUnicode
        | Kind::Dollar
        | Kind::Number
        | Kind::Symbol(b',') => true,
        Kind::Symbol(b'(') => {
            depth = depth.saturating_add(1);
            true
        }
        Kind::Symbol(b')') => {
            let open = depth > 0;
            depth = depth.saturating_sub(1);
            open
        }
        Kind::Operator => matches!(token.text, b"+" | b"-"),
        Kind::Bits | Kind::Parameter | Kind::Symbol(_) | Kind::Junk | Kind::Lost => false,
    });
    good && depth == 0 && head.len() > at
}

/// What the values from `at` on say, with a comma between two; `None` if one is written in a way that is not worked out.
/// Of a `search_path` with quotes inside quotes only the bytes between all quotes and blanks: whatever name is in it is in these.
fn said(head: &Head, at: usize, name: &[u8]) -> Option<Box<[u8]>> {
    let plain = |token: &Token<'_>| match token.kind {
        Kind::String | Kind::Dollar => true,
        Kind::Escaped => !token.text.contains(&b'\\'),
        Kind::Word
        | Kind::Quoted
        | Kind::QuotedUnicode
        | Kind::StringUnicode
        | Kind::Bits
        | Kind::Number
        | Kind::Parameter
        | Kind::Operator
        | Kind::Symbol(_)
        | Kind::Junk
        | Kind::Lost => false,
    };
    let bare = |token: &Token<'_>| -> Option<Box<[u8]>> {
        let kept = |byte: &&u8| !byte.is_ascii_whitespace() && **byte != b'\'';
        (name == b"search_path" && plain(token)).then(|| token.text.iter().filter(kept).copied().collect())
    };
    let says = |token: Token<'_>| match token.kind {
        Kind::Word | Kind::Quoted => Some(crate::sql::Ident::of(&token).as_bytes().into()),
        Kind::String | Kind::Escaped => literal(&token).or_else(|| bare(&token)),
        Kind::Dollar => bare(&token),
        Kind::Number | Kind::Operator | Kind::Symbol(_) => Some(token.text.into()),
        Kind::QuotedUnicode
        | Kind::StringUnicode
        | Kind::Bits
        | Kind::Parameter
        | Kind::Junk
        | Kind::Lost => None,
    };
    let values: Option<Vec<Box<[u8]>>> = head.from(at).map(says).collect();
    values.map(|values| values.concat().into())
}
