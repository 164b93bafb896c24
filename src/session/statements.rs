//! Which text a prepared statement's or a portal's name stands for, and what a portal was bound to, so that each
//! execution can be recorded with its text and parameters.
//!
//! What always holds: names change with the *answers* of the server, in its order; a `Parse` that failed leaves
//! nothing behind. Names count as far as PostgreSQL compares them, 63 bytes.
//!
//! Source: protocol-flow#PROTOCOL-FLOW-EXT-QUERY

use std::collections::HashMap;
use std::sync::{Arc, OnceLock};

use crate::ids::NAME_BYTES_MAX;

/// Where something lies that is too long for its record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Spilled {
    /// The sequence under which its parts were recorded.
    pub(crate) sequence: u64,
    /// How many there are.
    pub(crate) parts: u32,
    /// SHA-256 of all of it.
    pub(crate) sha256: [u8; 32],
}

/// A prepared statement as the audit log needs it.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Statement {
    /// Its name; empty for the unnamed one.
    pub(crate) name: Box<[u8]>,
    /// Its text; empty when it was recorded in parts.
    pub(crate) text: Box<[u8]>,
    /// The text's full length.
    pub(crate) text_bytes: u64,
    /// Where the text lies when it is not here.
    pub(crate) parts: Option<Spilled>,
    /// The types of its parameters behind their number, as its `Parse` said; empty: it said none.
    pub(crate) declared: Box<[u8]>,
    /// The same as the server said.
    described: OnceLock<Box<[u8]>>,
}

impl Statement {
    /// What is known of the types of its parameters.
    pub(crate) fn types(&self) -> &[u8] {
        self.described.get().unwrap_or(&self.declared)
    }
}

/// A statement as its `Parse` said it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Parsed<'a> {
    pub(crate) text: &'a [u8],
    pub(crate) text_bytes: u64,
    pub(crate) parts: Option<Spilled>,
    pub(crate) types: &'a [u8],
}

impl Parsed<'_> {
    fn named(&self, name: &[u8]) -> Arc<Statement> {
        Arc::new(Statement {
            name: name.into(),
            text: self.text.into(),
            text_bytes: self.text_bytes,
            parts: self.parts,
            declared: self.types.into(),
            described: OnceLock::new(),
        })
    }
}

/// A list of parameters.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum Bound<T> {
    /// There are none, or they are not recorded.
    #[default]
    Nothing,
    /// Here.
    Here(T),
    /// Recorded in parts: the whole length in bytes, and where.
    Parts(u64, Spilled),
}

impl<T> Bound<T> {
    /// The same elsewhere.
    pub(crate) fn map<U>(self, to: impl FnOnce(T) -> U) -> Bound<U> {
        match self {
            Self::Nothing => Bound::Nothing,
            Self::Here(list) => Bound::Here(to(list)),
            Self::Parts(bytes, spilled) => Bound::Parts(bytes, spilled),
        }
    }
}

impl Bound<Vec<u8>> {
    pub(crate) fn as_slice(&self) -> Bound<&[u8]> {
        match self {
            Self::Nothing => Bound::Nothing,
            Self::Here(list) => Bound::Here(list),
            Self::Parts(bytes, spilled) => Bound::Parts(*bytes, *spilled),
        }
    }
}

/// A portal that is gone, with the execution it left unfinished.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Unfinished<S> {
    pub(crate) portal: Box<[u8]>,
    pub(crate) list: Bound<Vec<u8>>,
    pub(crate) execution: Box<S>,
}

/// Memory that is kept for the next unnamed portal's parameters is at most so much.
const SPARE_BYTES_MAX: usize = 1 << 10;

/// Every name one session has given.
#[derive(Debug)]
pub(crate) struct Statements<S> {
    unnamed: Option<Arc<Statement>>,
    named: HashMap<Box<[u8]>, Arc<Statement>>,
    unnamed_portal: Option<Portal<S>>,
    portals: HashMap<Box<[u8]>, Portal<S>>,
    /// For the parameters of the next unnamed portal.
    spare: Vec<u8>,
}

/// A portal: its statement, what it was bound to, and its unfinished execution.
#[derive(Debug)]
struct Portal<S> {
    statement: Arc<Statement>,
    list: Bound<Vec<u8>>,
    suspended: Option<Box<S>>,
}

impl<S> Default for Statements<S> {
    fn default() -> Self {
        Self {
            unnamed: None,
            named: HashMap::new(),
            unnamed_portal: None,
            portals: HashMap::new(),
            spare: Vec::new(),
        }
    }
}

/// A name as far as PostgreSQL compares it.
pub(crate) fn significant(name: &[u8]) -> &[u8] {
    name.get(..NAME_BYTES_MAX).unwrap_or(name)
}

impl<S> Statements<S> {
    /// `ParseComplete`: the name now stands for this text. An equal unnamed statement is kept as it is.
    pub(crate) fn parsed(&mut self, name: &[u8], parsed: Parsed<'_>) {
        if name.is_empty()
            && let Some(unnamed) = &self.unnamed
            && *unnamed.text == *parsed.text
            && *unnamed.declared == *parsed.types
            && unnamed.parts.is_none()
            && parsed.parts.is_none()
        {
            return;
        }
        let statement = parsed.named(name);
        if name.is_empty() {
            self.unnamed = Some(statement);
        } else {
            self.named.insert(significant(name).into(), statement);
        }
    }

    /// `ParameterDescription`: the types that the statement's parameters have.
    pub(crate) fn described(&mut self, name: &[u8], types: &[u8]) {
        let statement =
            if name.is_empty() { self.unnamed.as_mut() } else { self.named.get_mut(significant(name)) };
        let Some(statement) = statement.filter(|statement| statement.types() != types) else { return };
        if statement.described.set(types.into()).is_err() {
            // It was parsed anew meanwhile, and its parameters have other types now.
            let Statement { name, text, text_bytes, parts, declared, .. } = &**statement;
            let parsed = Parsed { text, text_bytes: *text_bytes, parts: *parts, types: declared };
            let anew = parsed.named(name);
            // A new one has no description yet.
            let _ = anew.described.set(types.into());
            *statement = anew;
        }
    }

    /// A `Parse` failed, or a `Query` was run, which has no name: the unnamed statement is gone, a named one stays.
    pub(crate) fn not_parsed(&mut self, name: &[u8]) {
        if name.is_empty() {
            self.unnamed = None;
        }
    }

    /// The statement of a name.
    pub(crate) fn statement(&self, name: &[u8]) -> Option<&Arc<Statement>> {
        if name.is_empty() { self.unnamed.as_ref() } else { self.named.get(significant(name)) }
    }

    /// The statement of a portal, and what it was bound to.
    pub(crate) fn portal(&self, name: &[u8]) -> Option<(&Arc<Statement>, Bound<&[u8]>)> {
        let portal =
            if name.is_empty() { self.unnamed_portal.as_ref() } else { self.portals.get(significant(name)) };
        portal.map(|portal| (&portal.statement, portal.list.as_slice()))
    }

    /// `BindComplete`: the portal is made from the statement. Gives the execution its name had left unfinished.
    pub(crate) fn bound(
        &mut self,
        portal: &[u8],
        statement: &[u8],
        list: Bound<&[u8]>,
    ) -> Option<Unfinished<S>> {
        let statement = Arc::clone(self.statement(statement)?);
        let unfinished = self.closed_portal(portal);
        let mut room = if portal.is_empty() { std::mem::take(&mut self.spare) } else { Vec::new() };
        let list = list.map(|list| {
            room.extend_from_slice(list);
            room
        });
        let made = Portal { statement, list, suspended: None };
        if portal.is_empty() {
            self.unnamed_portal = Some(made);
        } else {
            self.portals.insert(significant(portal).into(), made);
        }
        unfinished
    }

    /// `PortalSuspended`: more rows may be asked for.
    pub(crate) fn suspended(&mut self, portal: &[u8], execution: Box<S>) -> Result<(), Box<S>> {
        match self.portal_mut(portal) {
            Some(portal) => portal.suspended = Some(execution),
            None => return Err(execution),
        }
        Ok(())
    }

    /// The execution a portal left unfinished.
    pub(crate) fn resume(&mut self, portal: &[u8]) -> Option<Box<S>> {
        self.portal_mut(portal)?.suspended.take()
    }

    /// `CloseComplete` of a portal. Gives its unfinished execution.
    pub(crate) fn closed_portal(&mut self, name: &[u8]) -> Option<Unfinished<S>> {
        if !name.is_empty() {
            return self.portals.remove(significant(name))?.left(significant(name).into()).ok();
        }
        match self.unnamed_portal.take()?.left(Box::default()) {
            Ok(unfinished) => Some(unfinished),
            Err(Bound::Here(mut list)) if list.capacity() <= SPARE_BYTES_MAX => {
                list.clear();
                self.spare = list;
                None
            }
            Err(_) => None,
        }
    }

    /// `CloseComplete` of a statement.
    pub(crate) fn closed_statement(&mut self, name: &[u8]) {
        if name.is_empty() {
            self.unnamed = None;
        } else {
            self.named.remove(significant(name));
        }
    }

    /// `DEALLOCATE ALL` or `DISCARD ALL` was run.
    pub(crate) fn deallocated(&mut self) {
        self.unnamed = None;
        self.named = HashMap::new();
    }

    /// `PREPARE` or `DEALLOCATE` was run by SQL: each name that the text may speak of stands for that text now.
    pub(crate) fn renamed(&mut self, text: &[u8], text_bytes: u64, parts: Option<Spilled>) {
        if self.named.is_empty() {
            return;
        }
        let lower = text.to_ascii_lowercase();
        let holds = |part: &[u8]| lower.windows(part.len().max(1)).any(|window| window == part);
        // A name may be written with escapes, or in parts that are not kept here; then it may be any.
        let any = parts.is_some() || holds(b"u&") || holds(b"\"\"");
        let sql = Parsed { text, text_bytes, parts, types: b"" };
        for (name, statement) in &mut self.named {
            if any || holds(&name.to_ascii_lowercase()) {
                *statement = sql.named(&statement.name);
            }
        }
    }

    /// The transaction ended and took the portals along. Gives the executions they left unfinished.
    pub(crate) fn transaction_ended(&mut self, mut unfinished: impl FnMut(Unfinished<S>)) {
        self.closed_portal(b"").into_iter().for_each(&mut unfinished);
        if !self.portals.is_empty() {
            for (name, portal) in std::mem::take(&mut self.portals) {
                portal.left(name).into_iter().for_each(&mut unfinished);
            }
        }
    }

    fn portal_mut(&mut self, name: &[u8]) -> Option<&mut Portal<S>> {
        if name.is_empty() { self.unnamed_portal.as_mut() } else { self.portals.get_mut(significant(name)) }
    }
}

impl<S> Portal<S> {
    /// What it leaves unfinished; else its list.
    fn left(self, portal: Box<[u8]>) -> Result<Unfinished<S>, Bound<Vec<u8>>> {
        let Self { list, suspended, .. } = self;
        match suspended {
            Some(execution) => Ok(Unfinished { portal, list, execution }),
            None => Err(list),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(text: &[u8]) -> Parsed<'_> {
        Parsed { text, text_bytes: 8, parts: None, types: b"" }
    }

    #[test]
    fn a_portal_keeps_the_text_it_was_bound_to() {
        let mut names = Statements::<u32>::default();
        names.parsed(b"", said(b"SELECT 1"));
        names.parsed(b"s", said(b"SELECT 2"));
        assert!(names.bound(b"", b"", Bound::Nothing).is_none());
        assert!(names.bound(b"p", b"s", Bound::Nothing).is_none());
        names.parsed(b"", said(b"SELECT 3"));
        names.closed_statement(b"s");
        assert_eq!(names.portal(b"").map(|(s, _)| &*s.text), Some(&b"SELECT 1"[..]));
        assert_eq!(names.portal(b"p").map(|(s, _)| &*s.text), Some(&b"SELECT 2"[..]));
        assert!(names.statement(b"s").is_none());
    }

    #[test]
    fn a_parse_that_failed_leaves_a_named_statement_and_no_unnamed_one() {
        let mut names = Statements::<u32>::default();
        names.parsed(b"", said(b"SELECT 1"));
        names.parsed(b"s", said(b"SELECT 2"));
        names.not_parsed(b"s");
        assert!(names.statement(b"s").is_some() && names.statement(b"").is_some());
        names.not_parsed(b"");
        assert!(names.statement(b"s").is_some() && names.statement(b"").is_none());
    }

    #[test]
    fn an_unfinished_execution_ends_with_its_portal() {
        let mut names = Statements::<u32>::default();
        names.parsed(b"s", said(b"SELECT 2"));
        names.bound(b"p", b"s", Bound::Nothing);
        names.suspended(b"p", Box::new(7)).unwrap();
        assert_eq!(names.resume(b"p"), Some(Box::new(7)));
        names.suspended(b"p", Box::new(8)).unwrap();
        let mut ended = Vec::new();
        names.transaction_ended(|left| ended.push(*left.execution));
        assert_eq!((ended, names.suspended(b"p", Box::new(9))), (vec![8], Err(Box::new(9))));
    }

    #[test]
    fn a_name_given_again_by_sql_no_longer_stands_for_its_former_text() {
        let known = |sql: &[u8]| {
            let mut names = Statements::<u32>::default();
            names.parsed(b"S1", said(b"SELECT 1"));
            names.parsed(b"other", said(b"SELECT 2"));
            names.renamed(sql, 0, None);
            [b"S1".as_slice(), b"other"].map(|name| names.statement(name).unwrap().text.to_vec())
        };
        let sql = b"DEALLOCATE s1; PREPARE s1 AS DELETE FROM t";
        assert_eq!(known(sql), [sql.to_vec(), b"SELECT 2".to_vec()]);
        for hidden in [b"PREPARE U&\"\\0053\\0031\" AS DELETE".as_slice(), b"PREPARE \"a\"\"b\" AS DELETE"] {
            assert_eq!(known(hidden), [hidden.to_vec(), hidden.to_vec()]);
        }
    }

    #[test]
    fn a_name_counts_as_far_as_the_server_compares_it() {
        let mut names = Statements::<u32>::default();
        names.parsed(&[b'n'; 70], said(b"SELECT 1"));
        assert!(names.statement(&[b'n'; 64]).is_some());
    }
}
