//! Transaction pooling: a session's backend is taken away between any two of its transactions, used by somebody who leaves behind
//! whatever can be left behind, and given back; the session never notices. A file per topic; the thief is in `support/thief.rs`.
//!
//! Each conversation is held on a direct connection too and must read the same. The same tests pass with session pooling:
//! `ONEVAULT_TEST_POOL` says which one is tried.

mod batches;
mod bulk;
mod cancels;
mod carried;
mod conversations;
mod copies;
mod deaths;
mod habits;
mod held;
mod large;
mod leaving;
mod names;
mod news;
mod ours;
mod parameters;
mod programs;
mod records;
mod sequences;
mod settled;
mod trips;
mod waits;
