//! What a word says of the statement it stands in.

use std::borrow::Borrow;

use crate::session::effect::Effect;
use crate::session::pins::Reason;
use crate::sql::{Token, category};

use super::Rules;
use super::reader::{Earlier, Last, Mode, Reader};

impl<R: Borrow<Rules>> Reader<R> {
    /// A word without quotes that nothing qualifies; it stands in `name`.
    #[inline]
    pub(super) fn word(&mut self) {
        match self.mode {
            Mode::Run => self.running_word(),
            Mode::Start => self.first_word(),
            Mode::Words | Mode::Silent => {}
            Mode::Explained => {
                if self.name.is("execute") && self.is_behind("as") {
                    self.push(Effect::SqlPrepare);
                }
            }
            Mode::Bounds => {
                if self.depth == 0 && self.name.is("partition") {
                    self.mode = Mode::Table;
                }
            }
            Mode::Explain { analyze } => self.explain_word(analyze),
            Mode::ExplainOptions { analyze, named } => self.explain_option(analyze, named),
            Mode::Create => self.create_word(),
            Mode::Table => self.table_word(),
            Mode::Index => {
                if self.depth == 0 && self.name.is("where") {
                    self.mode = Mode::Run;
                }
            }
            Mode::Routine { body } => self.routine_word(body),
            Mode::Alter => self.alter_word(),
            Mode::Copy | Mode::CopyFrom => self.copy_word(),
            Mode::Declare => self.declare_word(),
        }
    }

    /// The word that a statement begins with.
    fn first_word(&mut self) {
        self.mode = match self.name.as_bytes() {
            b"select" => {
                self.plain_select = true;
                Mode::Run
            }
            b"with" => {
                self.set_with_list(true);
                Mode::Run
            }
            b"update" => {
                self.updating = true;
                Mode::Run
            }
            b"insert" | b"delete" | b"values" | b"merge" | b"table" => Mode::Run,
            b"begin" | b"start" => {
                self.push(Effect::Begin);
                Mode::Silent
            }
            b"commit" | b"end" | b"abort" | b"rollback" | b"savepoint" | b"release" | b"set" | b"reset"
            | b"discard" | b"deallocate" | b"prepare" => Mode::Words,
            b"explain" => Mode::Explain { analyze: false },
            b"create" => Mode::Create,
            b"alter" => Mode::Alter,
            b"copy" => Mode::Copy,
            b"declare" => Mode::Declare,
            b"fetch" | b"move" | b"show" | b"notify" | b"truncate" | b"lock" | b"grant" | b"revoke"
            | b"comment" | b"vacuum" | b"analyze" | b"analyse" | b"cluster" | b"reindex" | b"refresh"
            | b"checkpoint" | b"security" | b"reassign" => Mode::Silent,
            _ => return self.first_word_of_few(),
        };
    }

    fn first_word_of_few(&mut self) {
        let (effect, mode) = match self.name.as_bytes() {
            b"execute" => (Effect::SqlPrepare, Mode::Run),
            b"call" => (Effect::Unsure, Mode::Run),
            b"drop" | b"close" | b"unlisten" => (Effect::MayUnpin, Mode::Silent),
            b"listen" => (Effect::Pin(Reason::Listen), Mode::Silent),
            b"load" => (Effect::Pin(Reason::Load), Mode::Silent),
            // `DO`, `IMPORT FOREIGN SCHEMA`, or a statement of a newer server.
            _ => (Effect::Unsure, Mode::Silent),
        };
        self.push(effect);
        self.mode = mode;
    }

    #[inline]
    fn running_word(&mut self) {
        match self.name.as_bytes() {
            b"from" | b"where" | b"union" | b"intersect" | b"except" | b"group" | b"having" | b"limit"
            | b"offset" | b"fetch"
                if self.depth == 0 =>
            {
                self.plain_select = false;
            }
            b"to" if self.copying && self.depth == 0 => self.mode = Mode::Silent,
            b"select" | b"values" | b"insert" | b"delete" | b"merge" | b"table" => self.begin_query(),
            b"update" => {
                self.updating = true;
                self.begin_query();
            }
            b"with" if matches!(self.last, Last::Nothing | Last::Open) => self.set_with_list(true),
            b"into" => {
                self.plain_select = false;
                if self.is_behind("insert") || self.is_behind("merge") {
                    self.push(Effect::SequenceStep);
                }
            }
            b"temp" | b"temporary" => {
                let local = self.is_behind("local") || self.is_behind("global");
                if self.is_behind("into") || (local && self.earlier == Earlier::Into) {
                    self.push(Effect::Pin(Reason::TemporaryObject));
                }
            }
            b"default" if self.updating && !self.altering => self.push(Effect::SequenceStep),
            b"execute" if self.is_behind("as") => self.push(Effect::SqlPrepare),
            b"identity" if self.altering && self.is_behind("as") => self.push(Effect::SequenceStep),
            b"serial" | b"serial2" | b"serial4" | b"serial8" | b"bigserial" | b"smallserial"
                if self.altering =>
            {
                self.push(Effect::SequenceStep);
            }
            _ => {}
        }
    }

    /// A query begins, or the one behind a list of `WITH`.
    fn begin_query(&mut self) {
        if self.in_with_list() {
            self.set_with_list(false);
        }
    }

    fn explain_word(&mut self, analyze: bool) {
        match self.name.as_bytes() {
            b"analyze" | b"analyse" => self.mode = Mode::Explain { analyze: true },
            b"verbose" => {}
            _ if analyze => self.first_word(),
            word => {
                if word == b"execute" {
                    self.push(Effect::SqlPrepare);
                }
                self.mode = Mode::Explained;
            }
        }
        self.plain_select = false;
    }

    fn explain_option(&mut self, analyze: bool, named: bool) {
        if self.last == Last::Open
            && matches!(self.name.as_bytes(), b"select" | b"values" | b"with" | b"table")
        {
            // No options, but a query in parentheses, which is not run.
            self.mode = Mode::Silent;
        } else if matches!(self.last, Last::Open | Last::Comma) {
            let named = self.name.is("analyze") || self.name.is("analyse");
            self.mode = Mode::ExplainOptions { analyze: analyze || named, named };
        } else if named && (self.name.is("false") || self.name.is("off")) {
            self.mode = Mode::ExplainOptions { analyze: false, named: false };
        }
    }

    /// A parenthesis opens.
    pub(super) fn opened(&mut self) {
        let behind_first = self.last == Last::Word && self.before == Last::Nothing;
        match self.mode {
            Mode::Copy if behind_first => {
                self.copying = true;
                self.mode = Mode::Run;
            }
            Mode::Explain { .. } if behind_first => {
                self.mode = Mode::ExplainOptions { analyze: false, named: false };
            }
            Mode::Explain { analyze } => self.mode = if analyze { Mode::Run } else { Mode::Silent },
            Mode::Run | Mode::Bounds => self.opened_behind_name(),
            Mode::Index if self.depth > 0 => self.opened_behind_name(),
            Mode::Words | Mode::Silent | Mode::Table | Mode::Routine { .. } => self.opened_for_later(),
            Mode::Start
            | Mode::Explained
            | Mode::ExplainOptions { .. }
            | Mode::Create
            | Mode::Index
            | Mode::Alter
            | Mode::Copy
            | Mode::CopyFrom
            | Mode::Declare => {}
        }
    }

    /// A closing parenthesis or bracket has brought us back to this depth.
    pub(super) fn closed(&mut self) {
        if let Mode::ExplainOptions { analyze, .. } = self.mode
            && self.depth == 0
        {
            self.mode = Mode::Explain { analyze };
        }
        self.close_call();
    }

    pub(super) fn operand(&mut self, token: &Token<'_>) {
        if let Mode::ExplainOptions { named: true, .. } = self.mode
            && token.text == b"0"
        {
            self.mode = Mode::ExplainOptions { analyze: false, named: false };
        } else if let Mode::Silent | Mode::Routine { .. } = self.mode {
            // The body of a function, or of `DO`.
            self.code(token.text);
        }
    }

    fn create_word(&mut self) {
        match self.name.as_bytes() {
            b"or" | b"replace" | b"global" | b"local" | b"unlogged" | b"recursive" | b"unique"
            | b"trusted" | b"procedural" | b"foreign" => {}
            b"temp" | b"temporary" => self.push(Effect::Pin(Reason::TemporaryObject)),
            b"table" | b"materialized" => self.mode = Mode::Table,
            b"index" => self.mode = Mode::Index,
            b"function" | b"procedure" => self.mode = Mode::Routine { body: None },
            // Their scripts may do anything.
            b"extension" | b"language" => {
                self.push(Effect::Unsure);
                self.mode = Mode::Silent;
            }
            _ => self.mode = Mode::Silent,
        }
    }

    fn table_word(&mut self) {
        if self.depth > 0 {
            return;
        }
        // The query that fills it, or the bounds of a partition.
        if self.name.is("as") {
            self.mode = Mode::Run;
        } else if self.name.is("values") && self.is_behind("for") {
            self.mode = Mode::Bounds;
        }
    }

    fn alter_word(&mut self) {
        match self.name.as_bytes() {
            b"foreign" => {}
            b"table" | b"index" | b"view" | b"materialized" | b"domain" => {
                self.altering = true;
                self.mode = Mode::Run;
            }
            b"extension" => {
                self.push(Effect::Unsure);
                self.mode = Mode::Silent;
            }
            _ => self.mode = Mode::Silent,
        }
    }

    fn copy_word(&mut self) {
        if self.depth > 0 {
            return;
        }
        match (self.mode, self.name.as_bytes()) {
            (Mode::Copy, b"from") => {
                self.push(Effect::SequenceStep);
                self.mode = Mode::CopyFrom;
            }
            (Mode::Copy, b"to") => self.mode = Mode::Silent,
            (Mode::CopyFrom, b"where") => self.mode = Mode::Run,
            _ => {}
        }
    }

    fn declare_word(&mut self) {
        if self.name.is("hold") && self.is_behind("with") {
            self.push(Effect::Pin(Reason::HeldCursor));
        } else if self.name.is("for") {
            self.mode = Mode::Run;
        }
    }

    /// Follows a body of statements to its `END`.
    fn routine_word(&mut self, body: Option<u32>) {
        let body = match (body, self.name.as_bytes()) {
            (None, b"atomic") if self.depth == 0 && self.is_behind("begin") => Some(0),
            (Some(0), b"end") if self.last == Last::Nothing || self.is_behind("atomic") => None,
            (Some(cases), b"end") if cases > 0 && !self.is_behind("as") => Some(cases.saturating_sub(1)),
            (Some(cases), b"case") if !self.is_label() => Some(cases.saturating_add(1)),
            _ => return,
        };
        self.mode = Mode::Routine { body };
    }

    /// Whether the name stands right behind this word.
    pub(super) fn is_behind(&self, word: &str) -> bool {
        self.before == Last::Word && self.previous.is(word)
    }

    /// Whether the word stands behind an expression: it is the label of a column.
    pub(super) fn is_label(&self) -> bool {
        match self.before {
            Last::Close { leads } => !leads,
            Last::Operand | Last::Quoted => true,
            Last::Word => self.previous.is("as") || category(self.previous.as_bytes()).is_none(),
            Last::Nothing | Last::Dot | Last::Open | Last::Comma | Last::Cast | Last::Other => false,
        }
    }
}
