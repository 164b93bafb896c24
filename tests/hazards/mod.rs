//! What goes wrong in other poolers and proxies, and how this one behaves: a test for each known fault.
//!
//! Conversations are written down as transcripts and held twice, directly and through OneVault.

pub(crate) mod conversation;

mod batches;
mod cancels;
mod copies;
mod costly;
mod disks;
mod framing;
mod greetings;
mod leaving;
mod liars;
mod lies;
mod logins;
mod records;
mod scrubbed;
mod settings;
