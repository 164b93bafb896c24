//! PostgreSQL's SQL as tokens: what is a quote, what is a comment, where a word begins and ends.
//!
//! The rules are those of the server's own scanner. What always holds: any bytes are read without a panic; a text may
//! come in pieces of any size and gives the same tokens however it is cut; memory is bounded by
//! [`lexer::KEPT_BYTES_MAX`] whatever the text; a text in one piece is read without an allocation. This room knows
//! what a word is, not what a statement does.
//!
//! Not known here: the client's encoding. In one whose characters may hold bytes of ASCII (SJIS, BIG5, GBK, ..), or where a
//! single byte above 127 has a lower case, what is read may differ from what the server reads.
//!
//! Source: PostgreSQL manual, section "Lexical Structure".
#![cfg_attr(not(test), warn(clippy::arithmetic_side_effects))]

mod cursor;
pub mod ident;
pub mod keywords;
pub mod lexer;
mod quotes;
#[cfg(test)]
mod tests;
pub mod token;

pub use ident::Ident;
pub use keywords::{Category, category};
pub use lexer::Lexer;
pub use token::{Kind, Token};
