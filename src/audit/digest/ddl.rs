//! Which statements of a text create, change or drop objects or rights, by their first words.
//!
//! What a function, a trigger or a `DO` block does is not seen.

use crate::sql::{Ident, Kind, Lexer, Token};

/// First words, and whether the word behind them says more.
const VERBS: [(&str, bool); 11] = [
    ("alter", true),
    ("comment", false),
    ("create", true),
    ("drop", true),
    ("grant", false),
    ("import", true),
    ("reassign", false),
    ("reindex", false),
    ("revoke", false),
    ("security", true),
    ("truncate", false),
];
/// Words between the verb and what it makes.
const BETWEEN: [&str; 9] =
    ["or", "replace", "temp", "temporary", "unlogged", "global", "local", "recursive", "unique"];
/// So many different ones are named of a text.
const NAMED_MAX: usize = 16;

/// What the statements of a text do to objects, such as `CREATE TABLE`; each once.
#[derive(Debug, Default)]
pub(super) struct Ddl {
    pub(super) found: Vec<String>,
    at: At,
    depth: usize,
}

/// Where in a statement.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum At {
    /// Before its first word.
    #[default]
    Begin,
    /// Behind a verb of [`VERBS`].
    Verb(&'static str),
    /// In `SELECT`: an `INTO` makes it one that creates.
    Select,
    /// Nothing more is looked for.
    Rest,
}

/// Whether the text may hold any: a look that costs little, for the many that do not.
pub(super) fn may_hold(text: &[u8]) -> bool {
    let begin = text.iter().position(|byte| !byte.is_ascii_whitespace()).unwrap_or(0);
    let text = text.get(begin..).unwrap_or_default().trim_ascii_end();
    let body = text.strip_suffix(b";").unwrap_or(text);
    let begins = |word: &str| {
        text.get(..word.len()).is_some_and(|begin| begin.eq_ignore_ascii_case(word.as_bytes()))
            && text.get(word.len()).is_none_or(|next| !next.is_ascii_alphanumeric() && *next != b'_')
    };
    let is_tame = ["insert", "update", "delete", "begin", "commit", "rollback", "set", "show"]
        .iter()
        .any(|word| begins(word))
        || (begins("select") && !body.windows(4).any(|word| word.eq_ignore_ascii_case(b"into")));
    !is_tame || body.contains(&b';')
}

impl Ddl {
    /// Of a whole text.
    pub(super) fn of(text: &[u8]) -> Vec<String> {
        let mut ddl = Self::default();
        if may_hold(text) {
            let mut lexer = Lexer::new(true);
            lexer.feed(text, &mut |token| ddl.take(&token));
            // Whether the text ends in a quote is the server's affair.
            let _ = lexer.finish(&mut |token| ddl.take(&token));
            ddl.end();
        }
        ddl.found
    }

    /// Of a text that `each` hands out piece by piece.
    pub(super) fn of_pieces(each: impl FnOnce(&mut dyn FnMut(&[u8])) -> bool) -> Vec<String> {
        let (mut ddl, mut lexer) = (Self::default(), Lexer::new(true));
        if !each(&mut |piece| lexer.feed(piece, &mut |token| ddl.take(&token))) {
            ddl.found.push("not known: a part of the text cannot be read".to_owned());
        }
        let _ = lexer.finish(&mut |token| ddl.take(&token));
        ddl.end();
        ddl.found
    }

    /// Of a command tag, which is all the server says.
    pub(super) fn of_tag(tag: &str) -> Option<String> {
        let verb = tag.split(' ').next().unwrap_or_default();
        VERBS.iter().any(|(known, _)| verb.eq_ignore_ascii_case(known)).then(|| tag.to_owned())
    }

    fn take(&mut self, token: &Token<'_>) {
        let kind = token.kind;
        if kind == Kind::Symbol(b';') && self.depth == 0 {
            self.end();
        } else if kind == Kind::Symbol(b'(') {
            self.depth = self.depth.saturating_add(1);
        } else if kind == Kind::Symbol(b')') {
            self.depth = self.depth.saturating_sub(1);
        } else if kind == Kind::Word {
            self.word(Ident::of(token));
        } else if matches!(self.at, At::Verb(_)) {
            self.end_verb("");
        }
    }

    fn word(&mut self, word: Ident) {
        match self.at {
            At::Begin if self.depth == 0 => {
                let verb = VERBS.iter().find(|(verb, _)| word.is(verb));
                self.at = match verb {
                    Some((verb, true)) => At::Verb(verb),
                    Some((verb, false)) => {
                        self.name(verb, "");
                        At::Rest
                    }
                    None if word.is("select") || word.is("with") => At::Select,
                    // What is explained may be carried out.
                    None if ["explain", "analyze", "verbose"].iter().any(|name| word.is(name)) => At::Begin,
                    None => At::Rest,
                };
            }
            At::Verb(_) if BETWEEN.iter().any(|between| word.is(between)) => {}
            At::Verb(_) => self.end_verb(std::str::from_utf8(word.as_bytes()).unwrap_or("")),
            At::Select if self.depth == 0 && (word.is("insert") || word.is("from")) => self.at = At::Rest,
            At::Select if self.depth == 0 && word.is("into") => {
                self.name("select into", "");
                self.at = At::Rest;
            }
            At::Begin | At::Select | At::Rest => {}
        }
    }

    fn end_verb(&mut self, what: &str) {
        if let At::Verb(verb) = self.at {
            self.name(verb, what);
        }
        self.at = At::Rest;
    }

    fn end(&mut self) {
        self.end_verb("");
        (self.at, self.depth) = (At::Begin, 0);
    }

    fn name(&mut self, verb: &str, what: &str) {
        let name = format!("{verb} {what}").trim().to_uppercase();
        if self.found.len() < NAMED_MAX && !self.found.contains(&name) {
            self.found.push(name);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statements_that_change_objects_are_found_and_no_others() {
        for (text, expected) in [
            ("CREATE TABLE t (a int)", &["CREATE TABLE"][..]),
            ("/* x */ create or replace temp view v as select 1", &["CREATE VIEW"]),
            ("select 1; drop table t; drop table u", &["DROP TABLE"]),
            ("select a into b from c", &["SELECT INTO"]),
            ("create table x as select 1", &["CREATE TABLE"]),
            ("grant select on t to bob", &["GRANT"]),
            ("alter role bob login", &["ALTER ROLE"]),
            ("create unique index concurrently i on t(a)", &["CREATE INDEX"]),
            ("TRUNCATE t", &["TRUNCATE"]),
            ("explain analyze create table x as select 1", &["CREATE TABLE"]),
            ("drop", &["DROP"]),
            ("select 'create table t'", &[]),
            ("select created into_time from t", &[]),
            ("insert into t select 1", &[]),
            ("with x as (select 1) insert into t select * from x", &[]),
            ("update t set a = 'drop table t; '", &[]),
            ("set search_path = a; create schema b", &["CREATE SCHEMA"]),
            ("", &[]),
            ("select \"into\" from t", &[]),
        ] {
            assert_eq!(Ddl::of(text.as_bytes()), expected, "{text}");
        }
    }

    #[test]
    fn any_bytes_are_read_and_the_names_stay_few() {
        for length in 0..200_u8 {
            let bytes: Vec<u8> = (0..length).map(|at| at.wrapping_mul(length) ^ 0xa5).collect();
            Ddl::of(&bytes);
        }
        let many: String = (0..1000).map(|number| format!("create x{number} y;")).collect();
        assert_eq!(Ddl::of(many.as_bytes()).len(), NAMED_MAX);
    }
}
