//! Which names in front of a parenthesis are calls, and what the functions called leave behind.

use std::borrow::Borrow;

use crate::session::effect::Effect;
use crate::session::pins::Reason;
use crate::sql::{Category, category};

use super::Rules;
use super::names::is_stateless;
use super::reader::{Earlier, Last, Reader};

/// Words and what stands before them, where the parenthesis behind them is syntax.
const SYNTAX: [(&str, &[&str]); 13] = [
    ("by", &["group", "order", "partition"]),
    ("conflict", &["on"]),
    ("exclude", &["add"]),
    ("first", &["fetch"]),
    ("insert", &["then"]),
    ("key", &["primary", "foreign"]),
    ("materialized", &["as", "not"]),
    ("next", &["fetch"]),
    ("second", &["interval", "to"]),
    ("set", &["update"]),
    ("sets", &["grouping"]),
    ("varying", &["bit", "char", "character", "nchar"]),
    ("zone", &["time"]),
];

impl<R: Borrow<Rules>> Reader<R> {
    /// A parenthesis opens where calls run.
    #[inline]
    pub(super) fn opened_behind_name(&mut self) {
        if matches!(self.last, Last::Word | Last::Quoted) && self.is_call() {
            self.called();
        }
    }

    /// A parenthesis opens in what runs later.
    pub(super) fn opened_for_later(&mut self) {
        let built_in = !self.qualified || self.schema.is("pg_catalog");
        let is_named = matches!(self.last, Last::Word | Last::Quoted) && built_in;
        if is_named && kept_state(self.name.as_bytes()) == Some(Effect::SequenceRead) {
            self.push(Effect::SequenceReadLater);
        }
    }

    /// A string that may hold what runs later; of a long one, the beginning.
    pub(super) fn code(&mut self, text: &[u8]) {
        if asks_for_last_values(text) {
            self.push(Effect::SequenceReadLater);
        }
    }

    /// Whether the name at hand is called: it is no list of columns, no type with a modifier, and no syntax.
    fn is_call(&self) -> bool {
        let behind_word = match self.before {
            Last::Cast | Last::Quoted | Last::Operand | Last::Close { leads: false } => return false,
            Last::Word => true,
            Last::Nothing
            | Last::Dot
            | Last::Open
            | Last::Close { leads: true }
            | Last::Comma
            | Last::Other => false,
        };
        if behind_word && !self.may_lead_to_call() {
            return false;
        }
        if self.qualified {
            return true;
        }
        if self.in_with_list() {
            return false;
        }
        if !self.is_word {
            return true;
        }
        match category(self.name.as_bytes()) {
            Some(Category::Reserved) => false,
            // Syntax, but for those that may be functions too.
            Some(Category::Column) => self.name.is("substring") || self.name.is("overlay"),
            Some(Category::Young) => self.rules.borrow().server_major < 17 || self.name.is("json_object"),
            Some(Category::Function) => !(behind_word && self.is_behind_name_or_join()),
            Some(Category::Unreserved) => !(behind_word && (self.is_syntax() || self.is_method())),
            None => !(behind_word && self.is_method()),
        }
    }

    /// Whether a call may stand behind the word before. Behind a word that is no keyword it is a list of columns, as in
    /// `FROM t a (x, y)`, or a type, as in `ADD c geometry (point)`.
    fn may_lead_to_call(&self) -> bool {
        let names = matches!(
            self.previous.as_bytes(),
            b"as" | b"into" | b"references" | b"type" | b"execute" | b"recursive" | b"with"
        );
        !names && category(self.previous.as_bytes()).is_some()
    }

    /// `x JOIN (..)`, `LEFT JOIN (..)`, `NOT LIKE (..)` are no calls; `SELECT left (..)` is.
    fn is_behind_name_or_join(&self) -> bool {
        match category(self.previous.as_bytes()) {
            Some(Category::Function) | None => true,
            Some(Category::Unreserved) => !matches!(self.previous.as_bytes(), b"by" | b"escape" | b"zone"),
            Some(Category::Reserved) => self.previous.is("not"),
            Some(Category::Column | Category::Young) => false,
        }
    }

    fn is_syntax(&self) -> bool {
        if self.name.is("cube") || self.name.is("rollup") {
            // `GROUP BY CUBE (..)`, but `ORDER BY cube(..)`.
            return self.previous.is("by") && self.earlier == Earlier::Group;
        }
        let known = SYNTAX.iter().find(|(word, _)| self.name.is(word));
        known.is_some_and(|(_, before)| before.iter().any(|word| self.previous.is(word)))
    }

    /// `EXCLUDE USING gist (..)`, `TABLESAMPLE system (..)`
    fn is_method(&self) -> bool {
        let methods: &[&str] = match self.previous.as_bytes() {
            b"using" => &["btree", "hash", "gist", "gin", "spgist", "brin"],
            b"tablesample" => &["bernoulli", "system"],
            _ => &[],
        };
        methods.iter().any(|method| self.name.is(method))
    }

    fn called(&mut self) {
        let rules = self.rules.borrow();
        let name = self.name.as_bytes();
        let schema = self.qualified.then(|| self.schema.as_bytes());
        let built_in = schema.is_none_or(|schema| schema == b"pg_catalog");
        let effect = if rules.pin_functions.may_have(schema, name) {
            Effect::Pin(Reason::Function)
        } else if built_in && name == b"set_config" {
            return self.begin_call();
        } else if let Some(effect) = kept_state(name).filter(|_| built_in) {
            effect
        } else if built_in && is_stateless(name, rules.server_major)
            || rules.stateless_functions.has(schema, name)
        {
            return;
        } else {
            Effect::Unsure
        };
        self.push(effect);
    }
}

/// Whether `lastval (` or `currval (` stands somewhere in these bytes, with or without quotes.
fn asks_for_last_values(text: &[u8]) -> bool {
    text.windows(7).enumerate().any(|(at, word)| {
        let is_either = word.eq_ignore_ascii_case(b"lastval") || word.eq_ignore_ascii_case(b"currval");
        is_either && {
            let behind = text.get(at.saturating_add(7)..).unwrap_or_default();
            let behind = behind.strip_prefix(b"\"").unwrap_or(behind);
            behind.trim_ascii_start().first() == Some(&b'(')
        }
    })
}

/// What a built-in function leaves behind, of those whose work is to leave something behind.
pub(super) fn kept_state(name: &[u8]) -> Option<Effect> {
    match name {
        b"nextval" | b"setval" => Some(Effect::SequenceStep),
        b"lastval" | b"currval" => Some(Effect::SequenceRead),
        b"setseed" => Some(Effect::Pin(Reason::Seed)),
        b"pg_advisory_lock"
        | b"pg_advisory_lock_shared"
        | b"pg_try_advisory_lock"
        | b"pg_try_advisory_lock_shared" => Some(Effect::Pin(Reason::AdvisoryLock)),
        b"pg_advisory_unlock" | b"pg_advisory_unlock_shared" | b"pg_advisory_unlock_all" => {
            Some(Effect::MayUnpin)
        }
        _ => None,
    }
}
