//! A file made anew without the records of classes that went by their age.
//!
//! What always holds: the file that it is made of is only read; the new one has every other record byte for byte, under the
//! same data key, and says in its name which classes it is without.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use super::super::super::row::Column;
use super::super::file::{FileError, Keys, Opened, Writer};
use super::super::name::{Class, Name};
use super::super::place::Place;
use super::super::span::Span;
use super::create;
use super::merge::Output;
use crate::audit::arrow::Builder;

/// What there is of it.
#[derive(Debug)]
pub(in crate::audit) struct Thinned {
    /// The new file's.
    pub(in crate::audit) name: Name,
    /// How many records it is without that the other one had, by class.
    pub(in crate::audit) gone: BTreeMap<Class, u64>,
    /// How many it has.
    pub(in crate::audit) left: u64,
}

/// Writes into `path` what is left of a file without some classes.
///
/// # Errors
/// [`FileError`], of either file.
pub(in crate::audit) fn thin(
    place: &dyn Place,
    keys: &Arc<dyn Keys>,
    name: &Name,
    classes: &[Class],
    path: &Path,
) -> Result<Thinned, FileError> {
    let opened = Opened::open(place.open(name)?, Arc::clone(keys))?;
    let writer = Writer::create(create(path)?, opened.key(), keys.as_ref())?;
    let mut output = Output { writer, builder: Builder::new() };
    let mut gone: BTreeMap<Class, u64> = classes.iter().map(|class| (*class, 0)).collect();
    let mut left = 0_u64;
    opened.read(&Span::ALL)?.each(|leaf, row, whole| {
        if let Some(count) = gone.get_mut(&Class::of_record(row.bytes_of(Column::Class))) {
            *count = count.saturating_add(1);
            return Ok(());
        }
        left = left.saturating_add(1);
        output.push(leaf, row, whole)
    })?;
    output.finish()?;
    let without = classes.iter().fold(name.without, |without, class| without.and(*class));
    Ok(Thinned { name: Name { without, ..name.clone() }, gone, left })
}
