//! Bytes to messages and back: the frontend/backend protocol, versions 3.0 and 3.2.
//!
//! What always holds: framing comes from the outer length only, which is checked against a limit before
//! anything else is believed; a view over a message sees that message's body and nothing behind it; no input
//! panics. This room knows nothing of sockets, customers or sessions.
//!
//! Source: PostgreSQL manual, chapter "Frontend/Backend Protocol".
#![cfg_attr(not(test), warn(clippy::arithmetic_side_effects))]

pub mod fields;
pub mod frame;
pub mod frontend;
pub mod report;
pub mod rewrite;
pub mod sqlstate;
pub mod startup;
pub mod tag;
pub mod walk;
pub mod write;
