//! Whether a file is what its name says, whole and unchanged.
//!
//! What always holds: a file that passes has each record from its name's first place to its last once and in order, but for those of
//! classes that its name is without, which it has not; under the customer's name, with the check bytes of its leaves; each of its bytes was authenticated, or is a length that fits.

use std::fs::File;
use std::sync::Arc;

use super::super::arrow::Leaf;
use super::super::join::Whole;
use super::super::row::{Column, Row};
use super::file::{FileError, Keys, Reader};
use super::name::{Class, Day, Name, OWN_LOG, Without};
use crate::ids::CustomerId;

/// Reads a file whole and compares it with its name, and each record with `leaf_check`, where that knows the leaf of a
/// place. Answers how many records it has. What follows from texts is not compared, as who has just written it does not.
///
/// # Errors
/// [`FileError`]; where one record can be named, with its place in the log.
pub fn check(
    name: &Name,
    file: File,
    keys: Arc<dyn Keys>,
    leaf_check: impl FnMut(u64) -> Option<[u8; 4]>,
) -> Result<u64, FileError> {
    check_all(name, Reader::open(file, keys)?, leaf_check, |_, _, _| Ok(()))
}

/// The same, and hands out each record that has passed: also what follows from its text must be what the text gives.
///
/// # Errors
/// As [`check`], or what `take` answers.
pub fn check_each(
    name: &Name,
    file: File,
    keys: Arc<dyn Keys>,
    leaf_check: impl FnMut(u64) -> Option<[u8; 4]>,
    take: impl FnMut(Leaf, &Row<'_>, &Whole<'_>) -> Result<(), FileError>,
) -> Result<u64, FileError> {
    check_all(name, Reader::open(file, keys)?.comparing(), leaf_check, take)
}

fn check_all(
    name: &Name,
    reader: Reader,
    mut leaf_check: impl FnMut(u64) -> Option<[u8; 4]>,
    mut take: impl FnMut(Leaf, &Row<'_>, &Whole<'_>) -> Result<(), FileError>,
) -> Result<u64, FileError> {
    let mut next = name.first;
    let mut days = (Day::of(u64::MAX), Day::default());
    let (mut end, mut found) = (false, 0_u64);
    let is_thin = name.without != Without::default();
    reader.each(|leaf, row, whole| {
        let wrong = |what: &str| Err(FileError::Damaged(Some(leaf.index), what.to_owned()));
        if end || leaf.index < next || leaf.index > name.last || (!is_thin && leaf.index != next) {
            return wrong("its place is not the next one that the file's name promises");
        }
        if leaf_check(leaf.index).is_some_and(|check| check != leaf.check) {
            return wrong("it is not the record that the log's tree has there");
        }
        if name.without.has(Class::of_record(row.bytes_of(Column::Class))) {
            return wrong("its class is one that the file is without, by its name");
        }
        if log_of(row) != name.log {
            return wrong("it belongs to another log than the file");
        }
        let time = row.number_of(Column::Time);
        days = (days.0.min(Day::of(time)), days.1.max(Day::of(ended(row))));
        end = leaf.index == name.last;
        next = leaf.index.saturating_add(1);
        found = found.saturating_add(1);
        take(leaf, row, whole)
    })?;
    if !end && !is_thin {
        return Err(FileError::Damaged(
            Some(next),
            "the file ends before the last record of its name".to_owned(),
        ));
    }
    let is_within = days.0 >= name.earliest && days.1 <= name.day;
    if (days.0.min(name.day), days.1) != (name.earliest, name.day) && !(is_thin && is_within) {
        return Err(FileError::Damaged(None, "its records are not of the days of its name".to_owned()));
    }
    Ok(found)
}

/// The log that a record belongs to.
pub(super) fn log_of<'a>(row: &'a Row<'_>) -> &'a str {
    let name = std::str::from_utf8(row.bytes_of(Column::Customer)).ok();
    name.filter(|name| CustomerId::parse(name).is_ok()).unwrap_or(OWN_LOG)
}

/// When a record was complete, in ns since 1970.
pub(super) fn ended(row: &Row<'_>) -> u64 {
    row.number_of(Column::Time).saturating_add(row.number_of(Column::DurationNs))
}
