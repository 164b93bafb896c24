//! What a text leaves behind in its session, read from the text alone.
//!
//! Pooling by transaction decides by it whether a backend can go on to the next session. What always holds: whatever the
//! bytes, an answer and no panic; memory is bounded; a text without effects is read without an allocation if it comes in
//! one piece. In doubt the answer is [`Effect::Unsure`].
//!
//! A text that ends inside a quote or comment leaves nothing: the server refuses it.
//!
//! # What no text shows
//! A statement may run functions that it does not call by name. These are not seen, and what such a function leaves behind
//! is found only by an examination or a scrub that something else asked for:
//!
//! - triggers, event triggers, rules, and the functions behind views, defaults, generated columns, check constraints, row
//!   policies, index expressions, domains and foreign tables;
//! - operators, casts and the input functions of types, where they are not PostgreSQL's own;
//! - `row.f`, which calls `f(row)` where the row has no such column;
//! - a function of the user's own with the name of a built-in one, which is called where `search_path` names its schema before
//!   `pg_catalog`, or where it fits the types of the arguments better;
//! - a library that comes with the first call of a C function;
//! - `search_path` of the role or the database with `pg_temp` at its head.
//!
//! What calls `lastval()` or `currval()` when it runs is told by the text that makes it.
//!
//! `pool.pin_functions` and `pool.stateless_functions` name functions whose calls are seen.

mod calls;
pub(crate) mod carried;
mod head;
mod names;
mod reader;
mod set_config;
mod settings;
mod utility;
mod words;

#[cfg(test)]
mod tests;

/// What `set_config($1, ..)` leaves behind, now that its parameter has a value.
pub(crate) fn set_by_parameter(name: &[u8], local: bool) -> impl Iterator<Item = Effect> {
    let scope = if local { settings::Scope::Transaction } else { settings::Scope::Session };
    settings::set_unknown(&name.to_ascii_lowercase(), scope).into_iter().flatten()
}

use std::sync::{Arc, LazyLock};

use crate::sql::Lexer;

use super::effect::{Effect, Effects};
pub(crate) use names::FunctionNames;
use reader::Reader;

/// By what a text is read.
#[derive(Debug, Clone)]
pub(crate) struct Rules {
    /// The setting of this name, as it is in force for the session.
    pub(crate) standard_conforming_strings: bool,
    /// Functions that leave nothing behind.
    pub(crate) stateless_functions: Arc<FunctionNames>,
    /// Functions whose callers keep their backend.
    pub(crate) pin_functions: Arc<FunctionNames>,
    /// The server's major version; 0 if it is not known. What is built in only since 18 is known from 18 on.
    pub(crate) server_major: u16,
}

impl Default for Rules {
    fn default() -> Self {
        Self {
            standard_conforming_strings: true,
            stateless_functions: Arc::default(),
            pin_functions: Arc::default(),
            server_major: 0,
        }
    }
}

/// What a text leaves behind.
pub(crate) fn classify(text: &[u8], rules: &Rules) -> Effects {
    let mut lexer = Lexer::new(rules.standard_conforming_strings);
    let mut reader = Reader::new(rules);
    lexer.feed(text, &mut |token| reader.token(&token));
    let whole = lexer.finish(&mut |token| reader.token(&token));
    reader.finish(whole)
}

/// How many statements a text has, and how many effects they leave behind.
#[must_use]
pub fn count_effects(text: &[u8]) -> (u32, usize) {
    static RULES: LazyLock<Rules> = LazyLock::new(Rules::default);
    let effects = classify(text, &RULES);
    (effects.statements, effects.list.len())
}

/// Reads a text that comes in pieces.
#[derive(Debug)]
pub(crate) struct Classifier {
    lexer: Lexer,
    reader: Reader<Rules>,
}

impl Classifier {
    /// At the beginning of a text.
    pub(crate) fn new(rules: &Rules) -> Self {
        Self { lexer: Lexer::new(rules.standard_conforming_strings), reader: Reader::new(rules.clone()) }
    }

    /// The next piece.
    pub(crate) fn feed(&mut self, piece: &[u8]) {
        self.lexer.feed(piece, &mut |token| self.reader.token(&token));
    }

    /// The text is over.
    pub(crate) fn finish(mut self) -> Effects {
        let whole = self.lexer.finish(&mut |token| self.reader.token(&token));
        self.reader.finish(whole)
    }
}
