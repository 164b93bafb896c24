//! Which functions are known, and for what.

use std::collections::HashSet;
use std::sync::LazyLock;

/// Functions named by the configuration, in lower case, with or without a schema.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct FunctionNames {
    /// `schema.name`, or `name` in any schema.
    given: HashSet<Box<[u8]>>,
    /// The names of all of them without their schemas.
    bare: HashSet<Box<[u8]>>,
}

impl<T: AsRef<str>> FromIterator<T> for FunctionNames {
    fn from_iter<I: IntoIterator<Item = T>>(names: I) -> Self {
        let mut found = Self::default();
        for name in names {
            let name = name.as_ref().to_lowercase();
            let bare = name.rsplit('.').next().unwrap_or_default();
            found.bare.insert(bare.as_bytes().into());
            found.given.insert(name.into_bytes().into());
        }
        found
    }
}

impl FunctionNames {
    /// Whether the function called is surely one of them.
    pub(super) fn has(&self, schema: Option<&[u8]>, name: &[u8]) -> bool {
        if self.given.is_empty() {
            return false;
        }
        self.given.contains(name)
            || schema.is_some_and(|schema| self.given.contains([schema, b".", name].concat().as_slice()))
    }

    /// Whether it may be one of them: a name without a schema is searched for in any.
    pub(super) fn may_have(&self, schema: Option<&[u8]>, name: &[u8]) -> bool {
        self.has(schema, name) || (schema.is_none() && self.bare.contains(name))
    }
}

/// Functions of `pg_catalog` in PostgreSQL 15 to 18 that neither keep state in the session nor run SQL given as text.
/// Without those that no statement can call (handlers, triggers, support functions).
///
/// Made from `pg_proc` (`oid < 16384`, no argument or result of type `internal`, `trigger`) of both versions, less:
/// `set_config`, `setseed`, those of sequences and session-level advisory locks; `query_to_xml` and its kin, `ts_stat`,
/// `ts_rewrite`; those of replication origins, slots, logical decoding and base backups; `binary_upgrade_*`, `pg_export_snapshot`,
/// `pg_extension_config_dump`, `pg_import_system_collations`.
const STATELESS: &str = include_str!("functions.txt");

/// The same of PostgreSQL 18 alone. On an older server a user's own function may have such a name.
const STATELESS_SINCE_18: &str = include_str!("functions_since_18.txt");

fn set_of(list: &'static str) -> HashSet<&'static [u8]> {
    list.split_ascii_whitespace().map(str::as_bytes).collect()
}

/// Whether a built-in function of this name leaves nothing behind.
pub(super) fn is_stateless(name: &[u8], server_major: u16) -> bool {
    static ALWAYS: LazyLock<HashSet<&'static [u8]>> = LazyLock::new(|| set_of(STATELESS));
    static SINCE_18: LazyLock<HashSet<&'static [u8]>> = LazyLock::new(|| set_of(STATELESS_SINCE_18));
    ALWAYS.contains(name) || (server_major >= 18 && SINCE_18.contains(name))
}
