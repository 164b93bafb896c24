//! `set_config(..)`: what it sets, where its arguments are literals and it surely runs once; else which setting.

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

/// The first argument, as far as it is one token.
#[derive(Debug)]
enum Named {
    Literal(Box<[u8]>),
    /// A parameter, by its number.
    Parameter(u16),
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
    name: Option<Named>,
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
            0 => call.name = named(token).filter(|_| alone),
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
            Some(false) | None => Scope::Session,
        };
        let name = match call.name.filter(|_| call.argument == 2) {
            Some(Named::Literal(name)) => name.to_ascii_lowercase(),
            Some(Named::Parameter(number)) => {
                return self.push(Effect::SetBound { number, local: scope == Scope::Transaction });
            }
            None => return self.push(Effect::Pin(Reason::Setting)),
        };
        let is_told = call.local.is_some() && (call.plain || scope == Scope::Transaction);
        let left = match call.value.filter(|_| is_told) {
            Some(Literal { text, said }) => {
                let conforming = self.rules.borrow().standard_conforming_strings;
                settings::set(&name, Value::Config(text), &said, scope, conforming)
            }
            None => settings::set_unknown(&name, scope),
        };
        self.push_all(left);
    }

    /// The statement is over: a `set_config` in a query with conditions may have run never or often.
    pub(super) fn end_settings(&mut self) {
        if self.call.take().is_some() {
            self.push(Effect::Pin(Reason::Setting));
        }
        if !self.plain_select {
            for effect in self.own_effects() {
                if let Effect::Set(name, Value::Config(_)) = effect {
                    *effect = Effect::SetUnknown(std::mem::take(name));
                }
            }
        }
    }
}

fn named(token: &Token<'_>) -> Option<Named> {
    if token.kind == Kind::Parameter {
        let number = std::str::from_utf8(token.text.get(1..)?).ok()?;
        return number.parse().ok().map(Named::Parameter);
    }
    literal(token).map(Named::Literal)
}
