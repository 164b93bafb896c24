//! Checks what the audit log proves, with nothing but the proof: no vault, no network, no clock.
//!
//! What always holds: nothing here makes a leaf or a tree of the log, so that a mistake made there is not made again here,
//! and whoever signs can check with it what was made; nothing is believed that a hash or a signature does not bear out; any
//! input gets an answer or a [`ProofError`].
//!
//! ```text
//! tree.rs        RFC 6962 trees: a record is in a tree, a tree is the beginning of another
//! note.rs        C2SP signed notes: a text and who stands for it
//! checkpoint.rs  C2SP tlog-checkpoint: the size and root of a tree, in a note
//! cosignature.rs C2SP tlog-cosignature: witnesses stand for a checkpoint, too
//! succession.rs  which key signs after which
//! record.rs      a disclosed record, and the leaf that stands for it
//! bundle.rs      C2SP tlog-proof: record, place and checkpoint in one text
//! ```

use std::fmt;

pub mod bundle;
pub mod checkpoint;
pub mod cosignature;
pub mod note;
pub mod record;
pub mod succession;
pub mod tree;

/// Why a proof is none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ProofError {
    /// It cannot be read; what is wrong with it.
    Malformed(&'static str),
    /// It can be read, and does not hold; what does not.
    Wrong(&'static str),
}

impl fmt::Display for ProofError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Malformed(what) => write!(f, "malformed: {what}"),
            Self::Wrong(what) => write!(f, "not proven: {what}"),
        }
    }
}

impl std::error::Error for ProofError {}
