//! What a statement's text is about: the relations that it names, and the fingerprint that equal statements share.
//!
//! What always holds: it follows from the text alone, so it can be made again wherever the text is; texts are read by
//! PostgreSQL's own parser, which is C, in a process of its own (see [`apart`]), so what a text does to the parser happens to
//! nobody else; a text longer than [`TEXT_BYTES_MAX`] is not read. Nobody who serves a client calls this.
//!
//! ```text
//! parser.rs  asks PostgreSQL's parser          tree.rs    finds relations in what it parsed
//! apart.rs   the process that does it          masked.rs  texts without their literals
//! kept.rs    what is known already
//! ```
//!
//! Without the cargo feature `console` there is no parser: nothing is known of any text.

#[cfg(feature = "console")]
mod apart;
#[cfg(feature = "console")]
mod kept;
#[cfg(feature = "console")]
mod masked;
#[cfg(feature = "console")]
mod parser;
#[cfg(feature = "console")]
mod tree;

use std::sync::Arc;

use serde::{Deserialize, Serialize};

#[cfg(feature = "console")]
pub use apart::{COMMAND, isolate, serve};

/// A longer text is not read, in bytes.
pub const TEXT_BYTES_MAX: usize = 256 << 10;
/// Nor one with so many characters of operators in a row, in bytes: the parser reads such a row again for each of its tokens. No
/// operator has more than 63.
const OPERATORS_BYTES_MAX: usize = 1 << 10;
/// Whether there is a parser.
pub const IS_BUILT: bool = cfg!(feature = "console");

/// What a text is about.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Gist {
    /// The relations that it names, each once and in order, with their schemas where those are written: `business.patients`. A
    /// part with other characters than lower-case letters, digits, `_` and `$` stands in double quotes. `None`: the text is nested
    /// too deeply for all of them to be found.
    pub tables: Option<Vec<String>>,
    /// 16 hexadecimal digits: the same for statements that differ in constants, spaces and aliases only.
    pub fingerprint: String,
}

/// Nobody can tell now: the parser did not answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Unknown;

/// What a text is about; `None`: it cannot be parsed, is too long, or would keep the parser too long. What was said before is said again at once; otherwise
/// this waits for the parser, at most some seconds.
///
/// # Errors
/// [`Unknown`].
pub fn of(text: &[u8]) -> Result<Option<Arc<Gist>>, Unknown> {
    if text.len() > TEXT_BYTES_MAX || text.contains(&0) || is_tedious(text) {
        return Ok(None);
    }
    // Of a text in another encoding, names in ASCII are found.
    let text = String::from_utf8_lossy(text);
    if text.len() > TEXT_BYTES_MAX { Ok(None) } else { read(&text) }
}

fn is_tedious(text: &[u8]) -> bool {
    let is_operator = |byte: &u8| b"+-*/<>=~!@#^&|`?%".contains(byte);
    text.split(|byte| !is_operator(byte)).any(|row| row.len() > OPERATORS_BYTES_MAX)
}

#[cfg(feature = "console")]
fn read(text: &str) -> Result<Option<Arc<Gist>>, Unknown> {
    kept::of(text, apart::ask)
}

#[cfg(not(feature = "console"))]
const fn read(_: &str) -> Result<Option<Arc<Gist>>, Unknown> {
    Err(Unknown)
}

#[cfg(test)]
#[cfg(feature = "console")]
mod tests;
