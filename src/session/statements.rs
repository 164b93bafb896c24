//! Which text a prepared statement's or a portal's name stands for, so that each execution can be recorded
//! with its text.
//!
//! What always holds: names change with the *answers* of the server, in its order; a `Parse` that failed leaves
//! nothing behind. Names count as far as PostgreSQL compares them, 63 bytes.
//!
//! Source: protocol-flow#PROTOCOL-FLOW-EXT-QUERY

use std::collections::HashMap;
use std::sync::Arc;

use crate::ids::NAME_BYTES_MAX;

/// A prepared statement as the audit log needs it.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Statement {
    /// Its name; empty for the unnamed one.
    pub(crate) name: Box<[u8]>,
    /// Its text; empty when it was recorded in parts.
    pub(crate) text: Box<[u8]>,
    /// The text's full length.
    pub(crate) text_bytes: u64,
    /// The sequence whose parts hold the text, and how many there are.
    pub(crate) parts: Option<(u64, u32)>,
}

/// Every name one session has given.
#[derive(Debug)]
pub(crate) struct Statements<S> {
    unnamed: Option<Arc<Statement>>,
    named: HashMap<Box<[u8]>, Arc<Statement>>,
    unnamed_portal: Option<Portal<S>>,
    portals: HashMap<Box<[u8]>, Portal<S>>,
}

/// A portal: its statement, and its unfinished execution.
#[derive(Debug)]
struct Portal<S> {
    statement: Arc<Statement>,
    suspended: Option<Box<S>>,
}

impl<S> Default for Statements<S> {
    fn default() -> Self {
        Self { unnamed: None, named: HashMap::new(), unnamed_portal: None, portals: HashMap::new() }
    }
}

/// A name as far as PostgreSQL compares it.
pub(crate) fn significant(name: &[u8]) -> &[u8] {
    name.get(..NAME_BYTES_MAX).unwrap_or(name)
}

impl<S> Statements<S> {
    /// `ParseComplete`: the name now stands for this text. An equal unnamed statement is kept as it is.
    pub(crate) fn parsed(&mut self, name: &[u8], text: &[u8], text_bytes: u64, parts: Option<(u64, u32)>) {
        if name.is_empty()
            && let Some(unnamed) = &self.unnamed
            && *unnamed.text == *text
            && unnamed.parts.is_none()
            && parts.is_none()
        {
            return;
        }
        let statement = Arc::new(Statement { name: name.into(), text: text.into(), text_bytes, parts });
        if name.is_empty() {
            self.unnamed = Some(statement);
        } else {
            self.named.insert(significant(name).into(), statement);
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

    /// The statement of a portal.
    pub(crate) fn portal(&self, name: &[u8]) -> Option<&Arc<Statement>> {
        let portal =
            if name.is_empty() { self.unnamed_portal.as_ref() } else { self.portals.get(significant(name)) };
        portal.map(|portal| &portal.statement)
    }

    /// `BindComplete`: the portal is made from the statement. Gives the execution its name had left unfinished.
    pub(crate) fn bound(&mut self, portal: &[u8], statement: &[u8]) -> Option<Box<S>> {
        let statement = Arc::clone(self.statement(statement)?);
        let made = Portal { statement, suspended: None };
        let former = if portal.is_empty() {
            self.unnamed_portal.replace(made)
        } else {
            self.portals.insert(significant(portal).into(), made)
        };
        former.and_then(|former| former.suspended)
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
    pub(crate) fn closed_portal(&mut self, name: &[u8]) -> Option<Box<S>> {
        let portal =
            if name.is_empty() { self.unnamed_portal.take() } else { self.portals.remove(significant(name)) };
        portal.and_then(|portal| portal.suspended)
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
    pub(crate) fn renamed(&mut self, text: &[u8], text_bytes: u64, parts: Option<(u64, u32)>) {
        if self.named.is_empty() {
            return;
        }
        let lower = text.to_ascii_lowercase();
        let holds = |part: &[u8]| lower.windows(part.len().max(1)).any(|window| window == part);
        // A name may be written with escapes, or in parts that are not kept here; then it may be any.
        let any = parts.is_some() || holds(b"u&") || holds(b"\"\"");
        for (name, statement) in &mut self.named {
            if any || holds(&name.to_ascii_lowercase()) {
                let name = statement.name.clone();
                *statement = Arc::new(Statement { name, text: text.into(), text_bytes, parts });
            }
        }
    }

    /// The transaction ended and took the portals along. Gives the executions they left unfinished.
    pub(crate) fn transaction_ended(&mut self, mut unfinished: impl FnMut(Box<S>)) {
        if let Some(portal) = self.unnamed_portal.take() {
            portal.suspended.into_iter().for_each(&mut unfinished);
        }
        if !self.portals.is_empty() {
            for (_, portal) in std::mem::take(&mut self.portals) {
                portal.suspended.into_iter().for_each(&mut unfinished);
            }
        }
    }

    fn portal_mut(&mut self, name: &[u8]) -> Option<&mut Portal<S>> {
        if name.is_empty() { self.unnamed_portal.as_mut() } else { self.portals.get_mut(significant(name)) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_portal_keeps_the_text_it_was_bound_to() {
        let mut names = Statements::<u32>::default();
        names.parsed(b"", b"SELECT 1", 8, None);
        names.parsed(b"s", b"SELECT 2", 8, None);
        assert!(names.bound(b"", b"").is_none());
        assert!(names.bound(b"p", b"s").is_none());
        names.parsed(b"", b"SELECT 3", 8, None);
        names.closed_statement(b"s");
        assert_eq!(names.portal(b"").map(|s| &*s.text), Some(&b"SELECT 1"[..]));
        assert_eq!(names.portal(b"p").map(|s| &*s.text), Some(&b"SELECT 2"[..]));
        assert!(names.statement(b"s").is_none());
    }

    #[test]
    fn a_parse_that_failed_leaves_a_named_statement_and_no_unnamed_one() {
        let mut names = Statements::<u32>::default();
        names.parsed(b"", b"SELECT 1", 8, None);
        names.parsed(b"s", b"SELECT 2", 8, None);
        names.not_parsed(b"s");
        assert!(names.statement(b"s").is_some() && names.statement(b"").is_some());
        names.not_parsed(b"");
        assert!(names.statement(b"s").is_some() && names.statement(b"").is_none());
    }

    #[test]
    fn an_unfinished_execution_ends_with_its_portal() {
        let mut names = Statements::<u32>::default();
        names.parsed(b"s", b"SELECT 2", 8, None);
        names.bound(b"p", b"s");
        names.suspended(b"p", Box::new(7)).unwrap();
        assert_eq!(names.resume(b"p"), Some(Box::new(7)));
        names.suspended(b"p", Box::new(8)).unwrap();
        let mut ended = Vec::new();
        names.transaction_ended(|execution| ended.push(*execution));
        assert_eq!((ended, names.suspended(b"p", Box::new(9))), (vec![8], Err(Box::new(9))));
    }

    #[test]
    fn a_name_given_again_by_sql_no_longer_stands_for_its_former_text() {
        let known = |sql: &[u8]| {
            let mut names = Statements::<u32>::default();
            names.parsed(b"S1", b"SELECT 1", 8, None);
            names.parsed(b"other", b"SELECT 2", 8, None);
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
        names.parsed(&[b'n'; 70], b"SELECT 1", 8, None);
        assert!(names.statement(&[b'n'; 64]).is_some());
    }
}
