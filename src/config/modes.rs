//! How durable records are, and what of values they hold.

use serde::Deserialize;

/// How durable a record is, and when.
#[derive(Debug, Clone, Copy, Deserialize, PartialEq, Eq, PartialOrd, Ord)]
#[serde(rename_all = "snake_case")]
pub enum AuditMode {
    /// On disk within 50 ms; a full buffer makes statements wait, it never drops.
    Buffered,
    /// On disk before the client sees `ReadyForQuery`.
    Acknowledged,
    /// The intent is on disk before the statement's bytes reach the database.
    WriteAhead,
}

/// What of values reaches the log: literals, parameters, messages of errors.
#[derive(Debug, Clone, Copy, Deserialize, PartialEq, Eq, PartialOrd, Ord)]
#[serde(rename_all = "snake_case")]
pub enum Parameters {
    /// All, but for passwords that DDL sets.
    Full,
    /// A keyed hash of each, by which equal ones are found.
    Masked,
    /// Nothing.
    None,
}

/// What of the data of a `COPY` reaches the log.
#[derive(Debug, Clone, Copy, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
pub enum CopyData {
    /// How much it was, and a keyed digest.
    Digest,
    /// All of it, too, where `audit.parameters` is `full`.
    Content,
}
