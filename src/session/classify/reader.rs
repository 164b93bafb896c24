//! Tokens in, effects out: where a statement begins and ends, and which kind it is.

use std::borrow::Borrow;

use crate::backend::memory::Value;
use crate::session::effect::{About, Effect, Effects, Suspicion};
use crate::session::pins::Reason;
use crate::sql::{Ident, Kind, Token};

use super::Rules;
use super::head::Head;
use super::set_config::Call;

/// More effects than this are not told apart: the session keeps its backend.
const EFFECTS_MAX: usize = 1024;
/// Nor are effects whose names and values take more than this.
const KEPT_BYTES_MAX: usize = 64 * 1024;

/// How the rest of a statement is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mode {
    /// Its first word comes next.
    Start,
    /// Understood at its end, from its tokens.
    Words,
    /// Its calls run.
    Run,
    /// Nothing in it runs.
    Silent,
    /// Behind `EXPLAIN`. Whether it runs what it explains.
    Explain { analyze: bool },
    /// What is only explained.
    Explained,
    /// In the parentheses behind it. Whether the option at hand is `ANALYZE`.
    ExplainOptions { analyze: bool, named: bool },
    /// Behind `CREATE`: which object?
    Create,
    /// `CREATE TABLE`, `CREATE MATERIALIZED VIEW`: a query behind `AS` runs.
    Table,
    /// The bounds of a partition, which are worked out when it is made.
    Bounds,
    /// `CREATE INDEX`: expressions in parentheses run.
    Index,
    /// `CREATE FUNCTION`, `CREATE PROCEDURE`; how many `CASE`s are open in a body `BEGIN ATOMIC .. END`.
    Routine { body: Option<u32> },
    /// Behind `ALTER`: which object?
    Alter,
    /// Behind `COPY`.
    Copy,
    /// Behind `COPY .. FROM`.
    CopyFrom,
    /// Behind `DECLARE`, before the query.
    Declare,
}

/// What the last token was, as far as it matters for what comes next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Last {
    /// The statement begins.
    Nothing,
    Word,
    Quoted,
    Dot,
    Open,
    /// A closing parenthesis. Whether an expression may come right behind it: `DISTINCT ON (..)`, `OPERATOR(..)`.
    Close {
        leads: bool,
    },
    Comma,
    Cast,
    /// A string, number or parameter.
    Operand,
    Other,
}

/// The name before the last two.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Earlier {
    Into,
    Group,
    Other,
}

/// Reads the tokens of one text.
#[derive(Debug)]
pub(super) struct Reader<R> {
    pub(super) rules: R,
    effects: Effects,
    /// Effects of the statement at hand that have no name, by their bits.
    told: u32,
    /// What the names and values of the effects take, in bytes.
    kept_bytes: usize,
    overflow: bool,
    pub(super) mode: Mode,
    pub(super) last: Last,
    /// What stands before `name` and what qualifies it.
    pub(super) before: Last,
    pub(super) name: Ident,
    pub(super) is_word: bool,
    pub(super) schema: Ident,
    pub(super) qualified: bool,
    /// The name before `name`, wherever it stands, and the one before that as far as it matters.
    pub(super) previous: Ident,
    pub(super) earlier: Earlier,
    pub(super) depth: u32,
    /// By depth: a parenthesis there leads to an expression; a list of `WITH` is being read.
    pub(super) leads: u64,
    pub(super) withs: u64,
    /// The statement's first word is `SELECT`; nothing in it makes its calls conditional.
    pub(super) plain_select: bool,
    /// `UPDATE`, `ALTER TABLE`, `COPY`, `DECLARE`.
    pub(super) updating: bool,
    pub(super) altering: bool,
    pub(super) copying: bool,
    pub(super) call: Option<Call>,
    pub(super) head: Head,
}

impl<R: Borrow<Rules>> Reader<R> {
    pub(super) fn new(rules: R) -> Self {
        Self {
            rules,
            effects: Effects::default(),
            told: 0,
            kept_bytes: 0,
            overflow: false,
            mode: Mode::Start,
            last: Last::Nothing,
            before: Last::Nothing,
            name: Ident::default(),
            is_word: false,
            schema: Ident::default(),
            qualified: false,
            previous: Ident::default(),
            earlier: Earlier::Other,
            depth: 0,
            leads: 0,
            withs: 0,
            plain_select: false,
            updating: false,
            altering: false,
            copying: false,
            call: None,
            head: Head::default(),
        }
    }

    /// The text is over; `whole` if it did not end inside a quote.
    pub(super) fn finish(mut self, whole: bool) -> Effects {
        self.end_statement();
        if whole { self.effects } else { Effects::default() }
    }

    #[inline]
    pub(super) fn token(&mut self, token: &Token<'_>) {
        if token.kind == Kind::Symbol(b';') && self.depth == 0 && !self.in_body() {
            return self.end_statement();
        }
        if self.mode == Mode::Start && token.kind != Kind::Word {
            // Anything else than a parenthesis begins no statement.
            self.mode = if token.kind == Kind::Symbol(b'(') { Mode::Run } else { Mode::Silent };
        }
        if self.call.is_some() {
            self.argument(token);
        }
        let last = match token.kind {
            Kind::Word => self.named(token, true),
            Kind::Quoted => self.named(token, false),
            Kind::QuotedUnicode => {
                // Its name is not worked out.
                self.push(Effect::Unsure);
                self.named(token, false)
            }
            Kind::Symbol(symbol) => self.symbol(symbol),
            Kind::Operator if token.text == b"::" => Last::Cast,
            Kind::Operator | Kind::Junk => Last::Other,
            Kind::Lost => {
                self.overflow();
                Last::Other
            }
            Kind::String
            | Kind::Escaped
            | Kind::StringUnicode
            | Kind::Bits
            | Kind::Dollar
            | Kind::Number
            | Kind::Parameter => {
                self.operand(token);
                Last::Operand
            }
        };
        if self.mode == Mode::Words {
            self.head.push(token);
        }
        self.last = last;
    }

    /// A name, which may go on the one before it behind a dot.
    #[inline]
    fn named(&mut self, token: &Token<'_>, is_word: bool) -> Last {
        if self.last == Last::Dot && self.before != Last::Dot {
            std::mem::swap(&mut self.schema, &mut self.name);
            self.qualified = true;
        } else {
            self.earlier = match self.previous.as_bytes() {
                b"into" => Earlier::Into,
                b"group" => Earlier::Group,
                _ => Earlier::Other,
            };
            std::mem::swap(&mut self.previous, &mut self.name);
            self.before = self.last;
            self.qualified = false;
        }
        self.name.set(token);
        self.is_word = is_word;
        if self.name.as_bytes().starts_with(b"pg_") {
            self.catalog_name();
        }
        if is_word && !self.qualified {
            self.word();
        }
        if is_word { Last::Word } else { Last::Quoted }
    }

    /// A name that begins with `pg_`.
    fn catalog_name(&mut self) {
        let name = self.name.as_bytes();
        if is_temporary_schema(name) {
            self.push(Effect::Pin(Reason::TemporaryObject));
        } else if name == b"pg_settings" && self.updating && self.mode == Mode::Run {
            // An update of this view is a `set_config`.
            self.push(Effect::Pin(Reason::Setting));
        }
    }

    #[inline]
    fn symbol(&mut self, symbol: u8) -> Last {
        match symbol {
            b'(' => {
                self.opened();
                let leads = self.last == Last::Word && (self.name.is("on") || self.name.is("operator"));
                self.deeper(leads)
            }
            b'[' => self.deeper(false),
            b')' | b']' => {
                // Deeper than there are bits: an expression may come.
                let leads = self.depth >= u64::BITS || self.leads >> self.depth & 1 == 1;
                self.depth = self.depth.saturating_sub(1);
                self.closed();
                Last::Close { leads }
            }
            b',' => Last::Comma,
            b'.' => Last::Dot,
            b';' => Last::Nothing,
            _ => Last::Other,
        }
    }

    fn deeper(&mut self, leads: bool) -> Last {
        self.depth = self.depth.saturating_add(1);
        let bit = 1_u64.checked_shl(self.depth).unwrap_or(0);
        self.leads = if leads { self.leads | bit } else { self.leads & !bit };
        self.withs &= !bit;
        Last::Open
    }

    /// A list of `WITH` begins or ends here.
    pub(super) fn set_with_list(&mut self, begins: bool) {
        let bit = 1_u64.checked_shl(self.depth).unwrap_or(0);
        self.withs = if begins { self.withs | bit } else { self.withs & !bit };
    }

    pub(super) const fn in_with_list(&self) -> bool {
        self.depth < u64::BITS && self.withs >> self.depth & 1 == 1
    }

    const fn in_body(&self) -> bool {
        matches!(self.mode, Mode::Routine { body: Some(_) })
    }

    fn end_statement(&mut self) {
        if self.mode == Mode::Start {
            return;
        }
        if self.mode == Mode::Words {
            self.understand();
        }
        self.end_settings();
        self.effects.statements = self.effects.statements.saturating_add(1);
        self.told = 0;
        self.mode = Mode::Start;
        self.last = Last::Nothing;
        self.depth = 0;
        self.leads = 0;
        self.withs = 0;
        self.plain_select = false;
        self.updating = false;
        self.altering = false;
        self.copying = false;
        self.call = None;
        self.head.clear();
    }

    /// The statement at hand leaves this behind. Effects without a name are told once.
    pub(super) fn push(&mut self, effect: Effect) {
        let bit = bit_of(&effect);
        if self.told & bit != 0 || self.overflow {
            return;
        }
        self.told |= bit;
        self.kept_bytes = self.kept_bytes.saturating_add(bytes_of(&effect));
        if self.effects.list.len() >= EFFECTS_MAX || self.kept_bytes > KEPT_BYTES_MAX {
            return self.overflow();
        }
        self.effects.list.push((self.effects.statements, effect));
    }

    /// From here on it is not known what the text does: nobody else gets the backend, and never unscrubbed.
    fn overflow(&mut self) {
        self.overflow = true;
        for effect in [Effect::Pin(Reason::Setting), Effect::Unsure] {
            self.effects.list.push((self.effects.statements, effect));
        }
    }

    /// The effects of the statement at hand.
    pub(super) fn own_effects(&mut self) -> impl Iterator<Item = &mut Effect> {
        let number = self.effects.statements;
        self.effects.list.iter_mut().rev().take_while(move |(at, _)| *at == number).map(|(_, effect)| effect)
    }
}

/// A bit of its own for each effect without a name.
fn bit_of(effect: &Effect) -> u32 {
    match effect.about() {
        About::Suspicion(_) if matches!(effect, Effect::SetBound { .. }) => 0,
        About::Suspicion(Suspicion::Unsure) => 1,
        About::Suspicion(Suspicion::SequenceStep) => 1 << 1,
        About::Suspicion(Suspicion::SequenceRead) => 1 << 2,
        About::Suspicion(Suspicion::SequenceReadLater) => 1 << 5,
        About::Pins => 1 << 3,
        About::Suspicion(Suspicion::SqlPrepare) => 1 << 4,
        About::Suspicion(Suspicion::Pin(reason)) => {
            let place = Reason::ALL.iter().position(|known| *known == reason).unwrap_or_default();
            1_u32 << 8 << place
        }
        About::Journal | About::Unknown(_) | About::Statements(_) | About::Everything | About::Sequences => 0,
    }
}

/// What its names and values take.
fn bytes_of(effect: &Effect) -> usize {
    match effect {
        Effect::Set(name, Value::Tail(value) | Value::Config(value)) => {
            name.len().saturating_add(value.len())
        }
        Effect::Savepoint(name)
        | Effect::Release(name)
        | Effect::RollbackTo(name)
        | Effect::Reset(name)
        | Effect::SetLocal(name)
        | Effect::SetUnknown(name)
        | Effect::Deallocate(name) => name.len(),
        Effect::Begin
        | Effect::Commit
        | Effect::Rollback
        | Effect::Chain
        | Effect::ResetAll
        | Effect::DeallocateAll
        | Effect::DiscardAll
        | Effect::DiscardSequences
        | Effect::SetBound { .. }
        | Effect::SqlPrepare
        | Effect::Pin(_)
        | Effect::MayUnpin
        | Effect::SequenceRead
        | Effect::SequenceReadLater
        | Effect::SequenceStep
        | Effect::Unsure => 0,
    }
}

/// Whether a schema of this name holds temporary objects.
pub(super) fn is_temporary_schema(name: &[u8]) -> bool {
    let rest = name.strip_prefix(b"pg_temp").or(name.strip_prefix(b"pg_toast_temp"));
    rest.is_some_and(|rest| rest.is_empty() || rest.first() == Some(&b'_'))
}
