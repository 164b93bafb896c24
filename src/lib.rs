//! OneVault: a Postgres proxy for platforms that give each customer a database of its own.
//!
//! It ends TLS, finds out who is connecting and to which customer they belong, lends them a backend of
//! that customer's database and of no other, and writes every statement into an audit log.
//!
//! Four bands; arrows point down, and `tests/tidy.rs` fails on an upward `use crate::`.
//!
//! | band | rooms |
//! |---|---|
//! | commands | [`cli`] |
//! | edge | [`server`], [`tls`], [`session`], `console`, [`http`] |
//! | stores | [`backend`], [`audit`], [`provision`] |
//! | decisions | [`routing`], [`auth`], [`customers`] |
//! | ground | [`protocol`], [`sql`], [`stream`], [`ids`], [`config`], [`telemetry`], [`gist`] |
//!
//! `docs/ARCHITECTURE.md` follows one connection through these rooms.

pub mod audit;
pub mod auth;
pub mod backend;
pub mod cli;
pub mod config;
#[cfg(feature = "console")]
pub mod console;
pub mod customers;
pub mod gist;
pub mod http;
pub mod ids;
pub mod proof;
pub mod protocol;
pub mod provision;
pub mod routing;
pub mod server;
pub mod session;
pub mod sql;
pub mod stream;
pub mod telemetry;
pub mod tls;
