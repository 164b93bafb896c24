//! What a backend still holds of the sessions that had it: their settings, their prepared statements.
//!
//! In transaction pooling a backend goes from session to session as it is. What always holds: this says exactly what
//! the server holds, or the backend is scrubbed or closed; it is never shared between customers.
//!
//! Source: sql-set, sql-reset

use std::cmp::Ordering;
use std::hash::{Hash, Hasher};
use std::sync::Arc;
use std::time::Duration;

use crate::ids::SessionId;

use super::prepared;

mod datestyle;
#[cfg(test)]
mod oracle;
mod patience;
#[cfg(test)]
mod tests;

pub(super) use patience::{NAME as IDLE_TIMEOUT, read as read_idle_limit};

/// A name as PostgreSQL compares it: unquoted ones in lower case, at most 63 bytes.
pub type Name = Box<[u8]>;

/// A setting's value as the client wrote it, ready to be said again.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Value {
    /// What stood behind `SET name TO` (or `=`), token for token: `warn`, `'x', "Y"`, `INTERVAL '1' HOUR TO MINUTE`.
    Tail(Box<[u8]>),
    /// The second argument of `set_config`, a string literal with its quotes.
    Config(Box<[u8]>),
}

impl Value {
    fn text(&self) -> &[u8] {
        match self {
            Self::Tail(text) | Self::Config(text) => text,
        }
    }
}

/// What the settings of one session may take, in bytes, with [`ENTRY_BYTES`] for each beside its text.
const CARRIED_BYTES_MAX: usize = 16 * 1024;

/// What a setting takes beside its name and value, about.
const ENTRY_BYTES: usize = 64;

const DATE_STYLE: &[u8] = b"datestyle";
const CLIENT_ENCODING: &[u8] = b"client_encoding";

/// The settings that a session has made beyond its startup settings, sorted by name. Cloning shares them.
///
/// Names count without regard to the case of ASCII letters, as the server finds its settings.
#[derive(Debug, Clone, Default)]
pub struct Carried(Option<Arc<[(Name, Value)]>>);

impl PartialEq for Carried {
    fn eq(&self, other: &Self) -> bool {
        match (&self.0, &other.0) {
            (None, None) => true,
            (Some(one), Some(two)) => Arc::ptr_eq(one, two) || one == two,
            (None, Some(_)) | (Some(_), None) => false,
        }
    }
}

impl Eq for Carried {}

impl Hash for Carried {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.list().hash(state);
    }
}

impl Carried {
    /// Whether there is none.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.0.is_none()
    }

    /// Their names, sorted.
    pub fn names(&self) -> impl Iterator<Item = &Name> {
        self.list().iter().map(|(name, _)| name)
    }

    /// The value of a setting, if the session made it.
    #[must_use]
    pub fn get(&self, name: &[u8]) -> Option<&Value> {
        let at = self.find(name).ok()?;
        self.list().get(at).map(|(_, value)| value)
    }

    /// These, with one more or another value.
    #[must_use]
    pub fn with(&self, name: &[u8], value: Value) -> Self {
        let value = if name.eq_ignore_ascii_case(DATE_STYLE) {
            datestyle::behind(self.get(DATE_STYLE), value)
        } else {
            value
        };
        let at = self.find(name);
        let (Ok(start) | Err(start)) = at;
        let end = if at.is_ok() { start.saturating_add(1) } else { start };
        let list = self.list();
        let entry = (Name::from(name.to_ascii_lowercase()), value);
        let before = list.get(..start).unwrap_or_default();
        let behind = list.get(end..).unwrap_or_default();
        Self(Some(before.iter().cloned().chain([entry]).chain(behind.iter().cloned()).collect()))
    }

    /// These, without one.
    #[must_use]
    pub fn without(&self, name: &[u8]) -> Self {
        let Ok(at) = self.find(name) else { return self.clone() };
        let list = self.list();
        if list.len() == 1 {
            return Self(None);
        }
        let others = list.iter().enumerate().filter(|(number, _)| *number != at);
        Self(Some(others.map(|(_, entry)| entry.clone()).collect()))
    }

    /// What they take in memory, about, in bytes.
    #[must_use]
    pub fn bytes(&self) -> usize {
        let each = |(name, value): &(Name, Value)| ENTRY_BYTES + name.len() + value.text().len();
        self.list().iter().map(each).sum()
    }

    /// How long the session may be idle by its own wish, if it has said so; zero is "for ever".
    #[must_use]
    pub fn idle_limit(&self) -> Option<Duration> {
        self.get(patience::NAME.as_bytes()).and_then(patience::of)
    }

    /// Whether a statement's time is limited: one of ours, too, would have to end in that time.
    #[must_use]
    pub fn is_timed(&self) -> bool {
        [&b"statement_timeout"[..], b"transaction_timeout"].iter().any(|name| self.get(name).is_some())
    }

    /// These on a backend that may lie idle as long as it likes.
    #[must_use]
    pub fn patient(&self) -> Self {
        self.with(patience::NAME.as_bytes(), Value::Tail((*b"0").into()))
    }

    /// Whether they can be said again with certainty. Not so: more than 16 KiB of them; a `DateStyle` or an
    /// `idle_session_timeout` in words that are not understood; a `client_encoding` beside text that is not ASCII, as it is not known which of
    /// the two encodings that text was said in.
    #[must_use]
    pub fn is_certain(&self) -> bool {
        let understood = self.get(DATE_STYLE).is_none_or(datestyle::is_understood)
            && self.get(patience::NAME.as_bytes()).is_none_or(|value| patience::of(value).is_some());
        let one_encoding = self.get(CLIENT_ENCODING).is_none() || self.list().iter().all(is_ascii);
        understood && one_encoding && self.bytes() <= CARRIED_BYTES_MAX
    }

    /// Where a backend that holds `from` must be taken first, by a `Query` of its own: the server reads a `Query` in
    /// the encoding that is in force when it comes, and text that is not ASCII was said in the one of the startup.
    #[must_use]
    pub fn by_way_of(&self, from: &Self) -> Option<Self> {
        let misread = from.get(CLIENT_ENCODING).is_some() && !self.list().iter().all(is_ascii);
        misread.then(|| from.without(CLIENT_ENCODING))
    }

    /// Appends the SQL that takes a backend from `from` to these; nothing when they are equal.
    pub fn catch_up(&self, from: &Self, sql: &mut Vec<u8>) {
        if self == from {
            return;
        }
        sql.extend(b"/* onevault */");
        let start = sql.len();
        let mut say = |change: &dyn Fn(&mut Vec<u8>)| {
            sql.extend(if sql.len() == start { &b" "[..] } else { b"; " });
            change(sql);
        };
        for (name, _) in from.list() {
            // A date style may say only half, and keep the other half of what is in force.
            if self.get(name).is_none() || (**name == *DATE_STYLE && self.get(name) != from.get(name)) {
                say(&|sql| reset(sql, name));
            }
        }
        for (name, value) in self.list() {
            if from.get(name) != Some(value) {
                say(&|sql| set(sql, name, value));
            }
        }
    }

    fn list(&self) -> &[(Name, Value)] {
        self.0.as_deref().unwrap_or_default()
    }

    fn find(&self, name: &[u8]) -> Result<usize, usize> {
        self.list().binary_search_by(|(other, _)| in_order(other, name))
    }
}

fn in_order(one: &[u8], two: &[u8]) -> Ordering {
    one.iter().map(u8::to_ascii_lowercase).cmp(two.iter().map(u8::to_ascii_lowercase))
}

fn is_ascii((name, value): &(Name, Value)) -> bool {
    name.is_ascii() && value.text().is_ascii()
}

fn reset(sql: &mut Vec<u8>, name: &[u8]) {
    sql.extend(b"RESET ");
    identifier(sql, name);
}

fn set(sql: &mut Vec<u8>, name: &[u8], value: &Value) {
    match value {
        // The grammar has intervals only here.
        Value::Tail(tail) if name == b"timezone" && begins_with_interval(tail) => {
            sql.extend(b"SET TIME ZONE ");
            sql.extend(tail);
        }
        Value::Tail(tail) => {
            sql.extend(b"SET ");
            identifier(sql, name);
            sql.extend(b" TO ");
            sql.extend(tail);
        }
        Value::Config(literal) => {
            sql.extend(b"SELECT pg_catalog.set_config(");
            string(sql, name);
            sql.extend(b", ");
            sql.extend(literal);
            sql.extend(b", false)");
        }
    }
}

fn begins_with_interval(tail: &[u8]) -> bool {
    tail.get(..8).is_some_and(|word| word.eq_ignore_ascii_case(b"interval"))
}

/// Appends a setting's name, each part of it in quotes: `"a"."b"`.
fn identifier(sql: &mut Vec<u8>, name: &[u8]) {
    for (number, part) in name.split(|&byte| byte == b'.').enumerate() {
        if number > 0 {
            sql.push(b'.');
        }
        quoted(sql, b'"', part);
    }
}

/// Appends a string literal that reads the same whatever `standard_conforming_strings` says.
fn string(sql: &mut Vec<u8>, text: &[u8]) {
    if text.contains(&b'\\') {
        sql.push(b'E');
    }
    quoted(sql, b'\'', text);
}

fn quoted(sql: &mut Vec<u8>, quote: u8, text: &[u8]) {
    sql.push(quote);
    for &byte in text {
        if byte == quote || (byte == b'\\' && quote == b'\'') {
            sql.push(byte);
        }
        sql.push(byte);
    }
    sql.push(quote);
}

/// Whose last values `lastval()` and `currval()` answer with on one backend.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Sequences {
    /// Nobody's: no session has had the backend since they were discarded.
    #[default]
    Nobody,
    /// One session's: no other has had the backend since.
    Of(Claim),
    /// Perhaps those of several sessions.
    Anybody,
}

/// A session's claim to what a backend holds. Its number changes whenever the session has had another backend.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Claim {
    /// The session.
    pub session: SessionId,
    /// The number that the session gave it.
    pub number: u64,
}

/// What one backend holds.
#[derive(Debug, Default)]
pub struct Memory {
    /// The settings in force beyond those it was dialled with.
    pub settings: Carried,
    /// The prepared statements it has.
    pub prepared: prepared::Cache,
    /// Whose unnamed statement it holds, and which of its owner's.
    pub unnamed: Option<(SessionId, u64)>,
    /// Whose `lastval()` and `currval()` it answers.
    pub sequences: Sequences,
}
