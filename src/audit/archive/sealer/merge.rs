//! Makes one file of the many that a log got in a day.
//!
//! What always holds: the files that were merged are deleted only after the one that was made of them was put, read back
//! whole and found right; so whatever is interrupted, each record is there, and reading by names finds it once.

use super::super::super::arrow::{Builder, Leaf};
use super::super::super::join::Whole;
use super::super::super::row::Row;
use super::super::check::{check, log_of};
use super::super::file::{FileError, Opened, Reader, Writer};
use super::super::name::{Day, Name, Without, covering, needless};
use super::{Arc, BATCH_BYTES_MAX, BATCH_ROWS_MAX, KeyError, SealError, Sealer, create};

/// Merged files are not larger than this, but where one was before.
const MERGED_BYTES_MAX: u64 = 256 << 20;

/// Says what the log's tree has at a place: the beginning of the leaf's hash, or that it cannot tell.
pub type LeafCheck<'a> = &'a dyn Fn(u64) -> Option<[u8; 4]>;

impl Sealer {
    /// Merges the files of a log's days before `today`. Answers how many files there are less.
    ///
    /// # Errors
    /// [`SealError`], with the name of a file that is damaged; nothing was deleted that is needed.
    pub fn merge(&self, log: &str, today: Day, leaf_check: LeafCheck<'_>) -> Result<usize, SealError> {
        let listed =
            |sealer: &Self| sealer.place.list(log).map_err(|error| SealError::List(log.to_owned(), error));
        let mut gone = self.clear(&listed(self)?, leaf_check)?;
        let groups = groups(&listed(self)?, today).into_iter().map(|group| self.by_key(group));
        let groups = groups.collect::<Result<Vec<_>, _>>()?;
        for group in groups.into_iter().flatten().filter(|group| group.len() > 1) {
            match self.merge_group(log, &group, leaf_check) {
                Ok(()) => gone = gone.saturating_add(group.len().saturating_sub(1)),
                // Nobody can read these any more; they go by their age.
                Err(SealError::File(_, FileError::Key(KeyError::Shredded(_)))) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(gone)
    }

    /// Neighbours under the same data key: a file goes with its key.
    fn by_key(&self, group: Vec<Name>) -> Result<Vec<Vec<Name>>, SealError> {
        let mut groups: Vec<(Option<u32>, Vec<Name>)> = Vec::new();
        for name in group {
            let file = self.place.open(&name).map_err(|error| of(&name, error))?;
            let key = match Opened::open(file, Arc::clone(&self.keys)) {
                Ok(opened) => Some(opened.key()),
                // Nobody can read it any more; it goes by its age.
                Err(FileError::Key(KeyError::Shredded(_))) => None,
                Err(error) => return Err(of(&name, error)),
            };
            match groups.last_mut().filter(|(last, _)| key.is_some() && *last == key) {
                Some((_, names)) => names.push(name),
                None => groups.push((key, vec![name])),
            }
        }
        Ok(groups.into_iter().map(|(_, names)| names).collect())
    }

    /// Deletes what an interrupted merge left behind, if the file that was made of it is right.
    fn clear(&self, listed: &[(Name, u64)], leaf_check: LeafCheck<'_>) -> Result<usize, SealError> {
        let names: Vec<Name> = listed.iter().map(|(name, _)| name.clone()).collect();
        let needless = needless(&names);
        let kept = names.iter().filter(|name| !needless.contains(name));
        let holds = |kept: &Name, name: &Name| kept.first <= name.first && name.last <= kept.last;
        let kept: Vec<_> = kept.filter(|kept| needless.iter().any(|name| holds(kept, name))).collect();
        let mut right = Vec::new();
        for name in kept {
            match self.check(name, leaf_check) {
                Ok(()) => right.push(name),
                Err(SealError::File(_, FileError::Key(KeyError::Shredded(_)))) => {}
                Err(error) => return Err(error),
            }
        }
        let mut gone = 0_usize;
        for name in needless.iter().filter(|name| right.iter().any(|kept| holds(kept, name))) {
            self.place.delete(name).map_err(|error| of(name, error))?;
            gone = gone.saturating_add(1);
        }
        Ok(gone)
    }

    fn check(&self, name: &Name, leaf_check: LeafCheck<'_>) -> Result<(), SealError> {
        let file = self.place.open(name).map_err(|error| of(name, error))?;
        check(name, file, Arc::clone(&self.keys), leaf_check).map_err(|error| of(name, error))?;
        Ok(())
    }

    fn merge_group(&self, log: &str, group: &[Name], leaf_check: LeafCheck<'_>) -> Result<(), SealError> {
        let (Some(first), Some(last)) = (group.first(), group.last()) else { return Ok(()) };
        let earliest = group.iter().map(|name| name.earliest).min().unwrap_or(first.earliest);
        let merged = Name { last: last.last, earliest, ..first.clone() };
        let path = self.spool.join("merged.unsealed");
        let mut output: Option<Output> = None;
        for name in group {
            let file = self.place.open(name).map_err(|error| of(name, error))?;
            let reader = Reader::open(file, Arc::clone(&self.keys)).map_err(|error| of(name, error))?;
            let mut next = name.first;
            let read = reader.each(|leaf, row, whole| {
                if log_of(row) != name.log
                    || leaf.index != next
                    || leaf_check(next).is_some_and(|check| check != leaf.check)
                {
                    let what = "it is not the record that belongs in this place";
                    return Err(FileError::Damaged(Some(leaf.index), what.to_owned()));
                }
                next = next.saturating_add(1);
                if output.is_none() {
                    let key = match leaf.key {
                        0 => self.keys.number_for(log, name.day.begin_ns()).map_err(FileError::Key)?,
                        key => key,
                    };
                    let writer = Writer::create(create(&path)?, key, self.keys.as_ref())?;
                    output = Some(Output { writer, builder: Builder::new() });
                }
                output.as_mut().map_or(Ok(()), |output| output.push(leaf, row, whole))
            });
            read.map_err(|error| of(name, error))?;
        }
        let Some(output) = output else { return Ok(()) };
        output.finish().map_err(|error| of(&merged, error))?;
        self.place.put(&merged, &path).map_err(|error| of(&merged, error))?;
        if let Err(error) = self.check(&merged, leaf_check) {
            self.place.delete(&merged).map_err(|error| of(&merged, error))?;
            return Err(error);
        }
        group.iter().try_for_each(|name| self.place.delete(name).map_err(|error| of(name, error)))
    }
}

/// A file that is written.
pub(super) struct Output {
    pub(super) writer: Writer,
    pub(super) builder: Builder,
}

impl Output {
    pub(super) fn push(&mut self, leaf: Leaf, row: &Row<'_>, whole: &Whole<'_>) -> Result<(), FileError> {
        self.builder.push(leaf, row, whole)?;
        if self.builder.rows() >= BATCH_ROWS_MAX || self.builder.bytes() >= BATCH_BYTES_MAX {
            self.writer.write(&self.builder.finish()?)?;
        }
        Ok(())
    }

    pub(super) fn finish(mut self) -> Result<u64, FileError> {
        if self.builder.rows() > 0 {
            self.writer.write(&self.builder.finish()?)?;
        }
        self.writer.finish()
    }
}

fn of(name: &Name, error: impl Into<FileError>) -> SealError {
    SealError::File(name.to_string(), error.into())
}

/// Which files become one: neighbours of one day that is over, two or more.
fn groups(listed: &[(Name, u64)], today: Day) -> Vec<Vec<Name>> {
    let size = |name: &Name| listed.iter().find(|(other, _)| other == name).map_or(0, |(_, size)| *size);
    let mut groups: Vec<(u64, Vec<Name>)> = Vec::new();
    for piece in covering(listed.iter().map(|(name, _)| name)) {
        let (name, bytes) = (piece.name, size(piece.name));
        if name.day >= today || piece.from != name.first || name.without != Without::default() {
            groups.push((MERGED_BYTES_MAX, Vec::new()));
            continue;
        }
        let fits = |(sum, group): &(u64, Vec<Name>)| {
            let last = group.last()?;
            let is_next = last.last.checked_add(1) == Some(name.first) && last.day == name.day;
            (is_next && sum.saturating_add(bytes) <= MERGED_BYTES_MAX).then_some(())
        };
        match groups.last_mut() {
            Some(group) if fits(group).is_some() => {
                group.0 = group.0.saturating_add(bytes);
                group.1.push(name.clone());
            }
            Some(_) | None => groups.push((bytes, vec![name.clone()])),
        }
    }
    groups.into_iter().map(|(_, group)| group).filter(|group| group.len() > 1).collect()
}
