//! `set_config(..)`: what it sets, where its arguments are literals and it surely runs once.

use std::borrow::Borrow;

use crate::backend::memory::Value;
use crate::session::effect::Effect;
use crate::session::pins::Reason;
use crate::sql::{Kind, Token};

use super::Rules;
use super::head::literal;
use super::reader::{Last, Reader};
use super::settings::{self, Scope};

/// A string literal.
#[derive(Debug)]
struct Literal {
    /// As it stands.
    text: Box<[u8]>,
    said: Box<[u8]>,
}

/// A call of `set_config` whose arguments are being read.
#[derive(Debug)]
pub(super) struct Call {
    /// The depth in front of its parenthesis.
    depth: u32,
    /// It stands in the list of a `SELECT`, alone in its place.
    plain: bool,
    /// Which argument is at hand, and how many tokens it has.
    argument: u32,
    tokens: u32,
    /// The literal that is the whole of the first argument, with and without its quotes.
    name: Option<Box<[u8]>>,
    /// The second.
    value: Option<Literal>,
    local: Option<bool>,
}

impl<R: Borrow<Rules>> Reader<R> {
    /// The parenthesis of a `set_config` opens.
    pub(super) fn begin_call(&mut self) {
        if self.call.is_some() {
            return self.push(Effect::Pin(Reason::Setting));
        }
        let behind = self.before == Last::Comma || self.is_behind("select");
        self.call = Some(Call {
            depth: self.depth,
            plain: self.depth == 0 && self.plain_select && behind,
            argument: 0,
            tokens: 0,
            name: None,
            value: None,
            local: None,
        });
    }

    /// A token, while a call is under way.
    pub(super) fn argument(&mut self, token: &Token<'_>) {
        let Some(call) = &mut self.call else { return };
        let inside = self.depth == call.depth.saturating_add(1);
        if inside && matches!(token.kind, Kind::Symbol(b')')) {
            return;
        }
        if inside && token.kind == Kind::Symbol(b',') {
            call.argument = call.argument.saturating_add(1);
            call.tokens = 0;
            return;
        }
        call.tokens = call.tokens.saturating_add(1);
        let alone = call.tokens == 1;
        match call.argument {
            0 => call.name = literal(token).filter(|_| alone),
            1 => {
                let whole = alone && !token.too_long;
                call.value =
                    literal(token).filter(|_| whole).map(|said| Literal { text: token.text.into(), said });
            }
            2 => {
                let word = token.text.to_ascii_lowercase();
                call.local = match word.as_slice() {
                    b"true" if alone => Some(true),
                    b"false" if alone => Some(false),
                    _ => None,
                };
            }
            _ => {}
        }
    }

    /// A parenthesis has closed: the call's, if it has brought us back there.
    pub(super) fn close_call(&mut self) {
        let Some(call) = self.call.take_if(|call| call.depth >= self.depth) else { return };
        let scope = match call.local {
            Some(true) => Scope::Transaction,
            Some(false) => Scope::Session,
            None => return self.push(Effect::Pin(Reason::Setting)),
        };
        let Some(name) = call.name.filter(|_| call.argument == 2) else {
            return self.push(Effect::Pin(Reason::Setting));
        };
        let name = name.to_ascii_lowercase();
        match (call.value, scope) {
            (Some(Literal { text, said }), _) if call.plain || scope == Scope::Transaction => {
                let conforming = self.rules.borrow().standard_conforming_strings;
                self.push_all(settings::set(&name, Value::Config(text), &said, scope, conforming));
            }
            (None, Scope::Transaction) => self.push_all(settings::set_unknown(&name, scope)),
            (Some(_) | None, Scope::Session | Scope::Transaction) => self.push(Effect::Pin(Reason::Setting)),
        }
    }

    /// The statement is over: a `set_config` in a query with conditions may have run never or often.
    pub(super) fn end_settings(&mut self) {
        if self.call.take().is_some() {
            self.push(Effect::Pin(Reason::Setting));
        }
        if !self.plain_select {
            for effect in self.own_effects() {
                if matches!(effect, Effect::Set(_, Value::Config(_))) {
                    *effect = Effect::Pin(Reason::Setting);
                }
            }
        }
    }
}
