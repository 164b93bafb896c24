//! The archive: the journal's records for years, in Parquet files of one log and one UTC day each.
//!
//! What always holds: a file is written whole before it has its name, and is never changed; names alone say what is there, so
//! whatever is interrupted can be done again without losing or doubling a record; every byte of a file is encrypted with a
//! key that follows from a data key, so it goes with it.
//!
//! ```text
//! name.rs    names, and which files to read        file.rs   one file: written and read · span.rs  which of its rows
//! check.rs   whether a file is what its name says   place.rs  where files are kept · blocks.rs  lengths in a file
//! follower.rs  follows the journal behind the notary   life.rs  the thread
//! sealer.rs  gathers records and puts files; merge.rs makes one of a day's many; thin.rs  without what went by its age
//! ```

mod blocks;
pub mod check;
#[cfg(test)]
mod examples;
pub mod file;
pub(in crate::audit) mod follower;
pub(in crate::audit) mod life;
pub mod name;
pub mod place;
pub mod sealer;
pub mod span;
