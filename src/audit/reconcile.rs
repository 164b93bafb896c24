//! Compares a customer's log with what the customer's own server has counted since the last time.
//!
//! Statements are compared by their texts without values: literals and parameters are `?`, words in lower case, comments and
//! white space gone. What always holds: the log's part of a comparison begins before and ends after the server's, so what went
//! through OneVault is never missing from it; what is kept of the last look is encrypted with the customer's key.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use aws_lc_rs::digest::{SHA256, digest};
use serde::{Deserialize, Serialize};

use super::digest::store::{Store, StoreError};
use super::gate::now_ns;
use super::history::{History, HistoryError, Span, Wanted};
use super::keys::Keyring;
use super::render::hex;
use super::row::{Column, Row};
use crate::config;
use crate::sql::{Category, Ident, Kind, Lexer, Token, category};

/// In the log's folder.
const FOLDER_NAME: &str = "reconcile";
/// Stands in everything that OneVault itself says to a server.
const OURS: &str = "/* onevault */";
/// What it says before somebody else gets a backend.
const SCRUB: &str = "discard all";
/// A text is shown up to so many characters.
const SHOWN_CHARS: usize = 300;

/// Statements of one kind.
pub type Counts = BTreeMap<String, u64>;

/// What the server had counted when it was looked at.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Baseline {
    /// Just before the look, ns since 1970 by the vault's clock.
    pub time_ns: u64,
    /// When the server's counters began.
    pub since: String,
    /// How often entries had been thrown out.
    pub thrown_out: i64,
    /// Calls by the name of the kind.
    pub calls: Counts,
    /// Calls of roles other than the customer's.
    pub others_calls: u64,
}

/// Statements that the server has counted and the log has not.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Missing {
    /// The text, as the server shows it.
    pub text: String,
    /// Calls at the server since the last look.
    pub server: u64,
    /// Executions in the log in that time.
    pub log: u64,
}

/// What a comparison says.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Compared {
    /// Calls that the server has counted since the last look.
    pub server: u64,
    /// Of these, calls that OneVault itself made.
    pub own: u64,
    /// Executions in the log that came to an end without an error.
    pub log: u64,
    /// Calls of other roles; they cannot have come through OneVault.
    pub others: u64,
    /// Kinds of which the server has more.
    pub missing: Vec<Missing>,
}

impl Compared {
    /// Calls that the log lacks.
    #[must_use]
    pub fn lacks(&self) -> u64 {
        self.missing.iter().map(|missing| missing.server.saturating_sub(missing.log)).sum()
    }
}

/// A kind of statements as the server has counted it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    /// Its text.
    pub text: String,
    /// Calls.
    pub calls: u64,
}

/// The calls of each kind, by name; kinds that differ in white space and values only are one.
#[must_use]
pub fn calls_of(seen: &[Seen]) -> Counts {
    let mut calls = Counts::new();
    for Seen { text, calls: more } in seen {
        let kind = name_of(&kinds(text.as_bytes()).join(";"));
        let count: &mut u64 = calls.entry(kind).or_default();
        *count = count.saturating_add(*more);
    }
    calls
}

/// What the server has more of than the log, since the baseline.
#[must_use]
pub fn compare(seen: &[Seen], before: &Counts, log: &Counts) -> Compared {
    let now = calls_of(seen);
    let grown = |kind: &str| {
        let calls = now.get(kind).copied().unwrap_or(0);
        calls.saturating_sub(before.get(kind).copied().unwrap_or(0))
    };
    let mut compared = Compared { log: log.values().sum(), ..Compared::default() };
    let mut told = BTreeMap::new();
    for Seen { text, .. } in seen {
        let normal = kinds(text.as_bytes()).join(";");
        let kind = name_of(&normal);
        let (server, in_log) = (grown(&kind), log.get(&kind).copied().unwrap_or(0));
        if told.insert(kind, ()).is_some() || server == 0 {
            continue;
        }
        compared.server = compared.server.saturating_add(server);
        if text.contains(OURS) || normal == SCRUB {
            compared.own = compared.own.saturating_add(server);
        } else if server > in_log {
            let text = text.chars().take(SHOWN_CHARS).collect();
            compared.missing.push(Missing { text, server, log: in_log });
        }
    }
    compared.missing.sort_by_key(|missing| std::cmp::Reverse(missing.server.saturating_sub(missing.log)));
    compared
}

/// The executions in a customer's log that ended without an error from a time on, by the name of their kind.
///
/// # Errors
/// [`HistoryError`].
pub fn executions(
    history: &History,
    customer: &str,
    (database, since_ns): (&str, u64),
) -> Result<Counts, HistoryError> {
    let mut counts = Counts::new();
    // What began before may have ended since; a day is longer than most statements take.
    let begun_ns = since_ns.saturating_sub(86_400_000_000_000);
    let span = Span { since_ns: begun_ns, ..Span::ALL };
    let wanted = Wanted { log: Some(customer.to_owned()), span, with_open: false, with_index: false };
    history.each(&wanted, |found| {
        if is_counted(found.row, database, since_ns) {
            for kind in kinds(&found.whole()?.text) {
                let count: &mut u64 = counts.entry(name_of(&kind)).or_default();
                *count = count.saturating_add(1);
            }
        }
        Ok::<(), HistoryError>(())
    })?;
    Ok(counts)
}

/// Whether the server may have counted it in that database since then. A failed batch may have had some that ended well.
fn is_counted(row: &Row<'_>, database: &str, since_ns: u64) -> bool {
    let end = row.number_of(Column::Time).saturating_add(row.number_of(Column::DurationNs));
    let kind = row.bytes_of(Column::Kind);
    row.bytes_of(Column::Class) == b"statement"
        && kind != b"log_read"
        && row.bytes_of(Column::Database) == database.as_bytes()
        && ![&b"skipped"[..], b"refused"].contains(&row.bytes_of(Column::Outcome))
        && end >= since_ns
}

/// The statements of a text without their values.
fn kinds(text: &[u8]) -> Vec<String> {
    let mut kinds = Kinds::default();
    let mut lexer = Lexer::new(true);
    lexer.feed(text, &mut |token| kinds.take(&token));
    // Whether the text ends in a quote is the server's affair.
    let _ = lexer.finish(&mut |token| kinds.take(&token));
    kinds.end();
    kinds.done
}

#[derive(Default)]
struct Kinds {
    done: Vec<String>,
    now: String,
    depth: usize,
    /// A `-` before a number belongs to it when nothing stands before that it could be subtracted from.
    before: Before,
    minus: bool,
}

#[derive(Default, Clone, Copy, PartialEq, Eq)]
enum Before {
    /// The begin, an operator, or a word such as `SELECT`.
    #[default]
    Nothing,
    Value,
}

impl Kinds {
    fn take(&mut self, token: &Token<'_>) {
        let kind = token.kind;
        let is_number = kind == Kind::Number;
        if std::mem::take(&mut self.minus) && !is_number {
            self.put("-", Before::Nothing);
        }
        if kind == Kind::Symbol(b';') && self.depth == 0 {
            self.end();
        } else if kind == Kind::Operator && token.text == b"-" && self.before == Before::Nothing {
            self.minus = true;
        } else if kind == Kind::Word {
            let word = Ident::of(token);
            let is_reserved =
                category(word.as_bytes()).is_some_and(|category| category == Category::Reserved);
            let before = if is_reserved { Before::Nothing } else { Before::Value };
            self.put(&String::from_utf8_lossy(word.as_bytes()), before);
        } else if is_number || is_value(kind) {
            self.put("?", Before::Value);
        } else if matches!(kind, Kind::Quoted | Kind::QuotedUnicode) {
            self.put(&String::from_utf8_lossy(token.text), Before::Value);
        } else {
            if kind == Kind::Symbol(b'(') {
                self.depth = self.depth.saturating_add(1);
            } else if kind == Kind::Symbol(b')') {
                self.depth = self.depth.saturating_sub(1);
            }
            let is_closing = matches!(kind, Kind::Symbol(b')' | b']'));
            self.put(
                &String::from_utf8_lossy(token.text),
                if is_closing { Before::Value } else { Before::Nothing },
            );
        }
    }

    fn put(&mut self, word: &str, before: Before) {
        if !self.now.is_empty() {
            self.now.push(' ');
        }
        self.now.push_str(word);
        self.before = before;
    }

    fn end(&mut self) {
        let now = std::mem::take(&mut self.now);
        self.done.extend(Some(now).filter(|now| !now.is_empty()));
        *self = Self { done: std::mem::take(&mut self.done), ..Self::default() };
    }
}

const fn is_value(kind: Kind) -> bool {
    matches!(
        kind,
        Kind::String | Kind::Escaped | Kind::StringUnicode | Kind::Bits | Kind::Dollar | Kind::Parameter
    )
}

fn name_of(normal: &str) -> String {
    hex(digest(&SHA256, normal.as_bytes()).as_ref().get(..12).unwrap_or_default())
}

/// The baselines of a log.
#[derive(Debug)]
pub struct Baselines(Store);

/// The folder of a log's baselines.
pub(super) fn folder_of(directory: &Path) -> PathBuf {
    directory.join(FOLDER_NAME)
}

impl Baselines {
    /// Of the log as configured.
    #[must_use]
    pub fn of(audit: &config::Audit, keyring: Arc<Keyring>) -> Self {
        Self(Store::new(folder_of(&audit.directory), keyring))
    }

    /// The last one of a database at a server.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn last(&self, customer: &str, place: &str) -> Result<Option<Baseline>, StoreError> {
        Ok(self.0.read(customer, &file_of(place))?.map(|(baseline, _)| baseline))
    }

    /// Keeps another one.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn keep(&self, customer: &str, place: &str, baseline: &Baseline) -> Result<(), StoreError> {
        let key = self.0.key(customer, now_ns())?;
        self.0.write(customer, &file_of(place), baseline, &key)
    }
}

fn file_of(place: &str) -> String {
    format!("{}.sealed", name_of(place))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(list: &[(&str, u64)]) -> Vec<Seen> {
        list.iter().map(|(text, calls)| Seen { text: (*text).to_owned(), calls: *calls }).collect()
    }

    #[test]
    fn texts_that_differ_in_values_and_spaces_are_of_one_kind() {
        for (left, right) in [
            ("SELECT  1 -- x", "select $1"),
            ("select 'it''s', E'a', $$b$$ from T", "SELECT $1, $2, $3 FROM t"),
            ("select -5, a - 5, (1) - 5, x[1]-2", "select $1, a - $2, ($3) - $4, x[$5]-$6"),
            ("insert into t values (1, -2.5e3)", "insert into t values ($1, $2)"),
            ("select a from \"T\" where b = 0x1f", "select a from \"T\" where b = $1"),
        ] {
            assert_eq!(kinds(left.as_bytes()), kinds(right.as_bytes()), "{left}");
        }
        for (left, right) in
            [("select a", "select b"), ("select \"A\"", "select a"), ("select - a", "select a")]
        {
            assert_ne!(kinds(left.as_bytes()), kinds(right.as_bytes()), "{left}");
        }
        assert_eq!(kinds(b"begin; select 1;; commit").len(), 3);
        assert_eq!(kinds(b"create rule r as on insert to t do (select 1; select 2)").len(), 1);
    }

    #[test]
    fn what_the_server_counted_and_the_log_has_not_is_named() {
        let first = seen(&[("SELECT $1", 10), ("select a from t", 3)]);
        let before = calls_of(&first);
        let now = seen(&[
            ("SELECT $1", 15),
            ("select a from t", 3),
            ("select secret from t", 2),
            ("DISCARD ALL", 40),
            ("SET a = b /* onevault */", 7),
        ]);
        let log = Counts::from([(name_of("select ?"), 5), (name_of("select other"), 9)]);
        let compared = compare(&now, &before, &log);
        assert_eq!((compared.server, compared.own, compared.log, compared.lacks()), (54, 47, 14, 2));
        assert_eq!(compared.missing[0], Missing { text: "select secret from t".into(), server: 2, log: 0 });
        let log = Counts::from([(name_of("select ?"), 4), (name_of("select secret from t"), 2)]);
        let lacking = compare(&now, &before, &log);
        assert_eq!((lacking.lacks(), lacking.missing[0].text.as_str()), (1, "SELECT $1"));
    }
}
