//! What a backend still holds of the sessions that had it: their settings, their prepared statements.
//!
//! In transaction pooling a backend goes from session to session as it is. What always holds: this says exactly what
//! the server holds, or the backend is scrubbed or closed; it is never shared between customers.

use std::sync::Arc;

use crate::ids::SessionId;

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

/// The settings that a session has made beyond its startup settings, sorted by name. Cloning shares them.
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

/// What one backend holds.
#[derive(Debug, Default)]
pub struct Memory {
    /// The settings in force beyond those it was dialled with.
    pub settings: Carried,
    /// Whose unnamed statement it holds.
    pub unnamed: Option<SessionId>,
    /// Whose `lastval()` and `currval()` it may answer.
    pub sequences: Option<SessionId>,
}
