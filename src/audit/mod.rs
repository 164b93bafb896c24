//! The audit log: every statement, login and administrative act in a journal that cannot be changed unnoticed.
//!
//! [`Log`] is opened once; each session gets a [`SessionLog`]. Records are encoded into a buffer of the worker; one thread
//! writes and syncs for all. What always holds: a record that was accepted is never dropped, and a log that cannot be
//! written says so ([`Unavailable`], SQLSTATE 58030) before a statement begins. This room knows nothing of sockets,
//! pools or SQL.
//!
//! ```text
//! log.rs      Log, SessionLog: the way in          record.rs  what a record says
//! gate.rs     who waits, whether there is room     body.rs    its bytes · entry.rs  reading them
//! writer.rs   the thread; group commit; watchdog   journal.rs segments and frames · segment.rs  reading them
//! disk.rs     folder, lock, prepared segments      recovery.rs  after an end of any kind · begin.rs  its first segment
//! keys/       the keyring                          seal.rs    bodies encrypted · logs.rs
//! digest/     a day of a customer, in short          alert/     what somebody hears of at once
//! acts.rs     what commands have recorded          attend.rs  the thread that looks after keys and acts
//! row.rs      a record as typed columns             arrow.rs   rows as Arrow batches and back
//! signers.rs  who signs                           archive/    files for years                       history.rs archive and journal as one
//! export/     records as CSV, OCSF and Parquet    keeping/   holds, retention, reviews · mailbox.rs · scribe.rs
//! files.rs    what else lies in the folder          pin.rs, decision.rs  why a backend was kept, why something was refused
//! join.rs     one whole record of its parts       values.rs  parameters as PostgreSQL would print them
//! ```

pub mod abroad;
pub mod acts;
pub mod alert;
pub mod archive;
pub mod arrow;
mod attend;
mod begin;
mod body;
mod decision;
pub mod digest;
mod disclose;
mod disk;
pub mod entry;
mod escape;
pub mod evidence;
pub mod export;
mod files;
#[cfg(fuzzing)]
pub mod fuzzing;
mod gate;
mod health;
pub mod history;
mod inspect;
pub mod join;
mod journal;
pub mod keeping;
pub mod keys;
mod leaf;
mod log;
mod logs;
pub mod mailbox;
mod notary;
mod open_error;
mod pin;
pub mod reader;
pub mod reconcile;
mod record;
mod recovery;
pub mod render;
pub mod row;
mod scribe;
mod seal;
mod segment;
pub mod signed;
mod signers;
#[cfg(test)]
mod tests;
mod tree;
pub mod values;
pub mod verify;
mod waiters;
mod writer;

pub use decision::Decision;
pub use gate::Ticket;
pub use health::{Health, State, Unavailable};
pub use log::{Log, SessionLog};
pub use open_error::OpenError;
pub use pin::{Pin, Pins};
pub use record::{
    Copied, Event, EventKind, Kind, Long, NAME_BYTES_MAX, Outcome, Statement, Stream, TEXT_INLINE_BYTES_MAX,
    Who,
};
