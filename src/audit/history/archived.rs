//! The archive's part: each log's files one after another, several logs merged by when records began.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;

use super::super::archive::file::{FileError, Opened, Reader};
use super::super::archive::name::Name;
use super::super::keys::KeyError;
use super::super::row::Column;
use super::{Found, From, History, HistoryError, LOOKS_MAX, Span, Wanted};

/// A file of the archive, opened, with what of it is to be read.
#[derive(Debug)]
pub struct ArchivedFile {
    /// Its name.
    pub name: Name,
    /// Footer and way in.
    pub opened: Opened,
    /// Which of its records.
    pub span: Span,
}

impl ArchivedFile {
    /// Hands out its records that are meant.
    ///
    /// # Errors
    /// [`HistoryError`], or what `take` answers.
    pub fn each<E: std::convert::From<HistoryError>>(
        self,
        mut take: impl FnMut(&Found<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        let (name, span) = (self.name.to_string(), self.span);
        let reader = self.opened.read(&span).map_err(|error| HistoryError::File(name.clone(), error))?;
        let read = reader.each::<Stop<E>>(|leaf, row, whole| {
            if !span.holds(leaf.index, row.number_of(Column::Time)) {
                return Ok(());
            }
            let from = From::Archive(whole, &name);
            let found = Found { log: &self.name.log, index: Some(leaf.index), key: leaf.key, row, from };
            take(&found).map_err(Stop::Taker)
        });
        match read {
            Ok(()) => Ok(()),
            Err(Stop::File(error)) => Err(HistoryError::File(name, error).into()),
            Err(Stop::Taker(error)) => Err(error),
        }
    }
}

/// One log on its way.
struct Cursor<'a> {
    history: &'a History,
    log: &'a str,
    /// What is left: places, and times.
    span: Span,
    /// Files to come, the next one last.
    files: Vec<(Name, u64)>,
    reader: Option<(String, Reader, Span)>,
    shredded: u64,
}

impl<'a> Cursor<'a> {
    fn new(history: &'a History, log: &'a str, size: u64, wanted: Span) -> Result<Self, HistoryError> {
        let span = Span { to: wanted.to.min(size), ..wanted };
        let mut cursor = Self { history, log, span, files: Vec::new(), reader: None, shredded: 0 };
        cursor.list()?;
        Ok(cursor)
    }

    fn list(&mut self) -> Result<(), HistoryError> {
        self.files.clear();
        if self.span.from < self.span.to {
            self.files = self.history.files(self.log, self.span.from, self.span.to)?;
            self.files.retain(|(name, _)| self.span.meets(name));
            self.files.reverse();
        }
        Ok(())
    }

    /// Not later than the next record began; `None`: there is none.
    fn bound(&self) -> Option<u64> {
        self.files.last().map(|(name, _)| name.earliest.begin_ns())
    }

    /// The next file; `None`: there is no more. Files of shredded keys are passed over.
    fn next_file(&mut self) -> Result<Option<ArchivedFile>, HistoryError> {
        let mut looks = 0;
        while let Some((name, from)) = self.files.pop() {
            let span = Span { from: from.max(self.span.from), ..self.span };
            let behind = name.last.saturating_add(1);
            let open = |file: File| Opened::open(file, self.history.file_keys());
            match self.history.place.open(&name).map_err(FileError::Io).and_then(open) {
                Ok(opened) => {
                    self.span.from = behind;
                    return Ok(Some(ArchivedFile { name, opened, span }));
                }
                // It was merged into a larger one in the meantime.
                Err(FileError::Io(error)) if error.kind() == io::ErrorKind::NotFound && looks < LOOKS_MAX => {
                    looks = looks.saturating_add(1);
                    self.span.from = span.from;
                    self.list()?;
                }
                Err(error) => {
                    let trouble = self.history.trouble_of(&name, error);
                    if !matches!(trouble, HistoryError::File(_, FileError::Key(KeyError::Shredded(_)))) {
                        return Err(trouble);
                    }
                    let last = behind.min(span.to);
                    self.shredded = self.shredded.saturating_add(last.saturating_sub(span.from));
                    self.span.from = behind;
                }
            }
        }
        Ok(None)
    }

    /// Hands out records up to the first that began later; when that did. `None`: there are no more.
    fn read<E: std::convert::From<HistoryError>>(
        &mut self,
        until_ns: u64,
        take: &mut impl FnMut(&Found<'_>) -> Result<(), E>,
    ) -> Result<Option<u64>, E> {
        loop {
            let (name, mut reader, span) = match self.reader.take() {
                Some(reader) => reader,
                None => match self.next_file()? {
                    Some(file) => {
                        let name = file.name.to_string();
                        let reader = file.opened.read(&file.span);
                        let reader = reader.map_err(|error| HistoryError::File(name.clone(), error))?;
                        (name, reader, file.span)
                    }
                    None => return Ok(None),
                },
            };
            let read = reader.each_until::<Stop<E>>(until_ns, |leaf, row, whole| {
                if !span.holds(leaf.index, row.number_of(Column::Time)) {
                    return Ok(());
                }
                let from = From::Archive(whole, &name);
                let found = Found { log: self.log, index: Some(leaf.index), key: leaf.key, row, from };
                take(&found).map_err(Stop::Taker)
            });
            match read {
                Ok(Some(next)) => {
                    self.reader = Some((name, reader, span));
                    return Ok(Some(next));
                }
                Ok(None) if self.bound().is_some_and(|bound| bound > until_ns) => return Ok(self.bound()),
                Ok(None) => {}
                Err(Stop::File(error)) => return Err(HistoryError::File(name, error).into()),
                Err(Stop::Taker(error)) => return Err(error),
            }
        }
    }
}

enum Stop<E> {
    File(FileError),
    Taker(E),
}

impl<E> std::convert::From<FileError> for Stop<E> {
    fn from(error: FileError) -> Self {
        Self::File(error)
    }
}

/// `behind`: of these logs only what has this place or a later one.
fn cursors<'a>(
    history: &'a History,
    wanted: &Wanted,
    behind: &BTreeMap<String, u64>,
) -> Result<Vec<Cursor<'a>>, HistoryError> {
    let logs = history.archived_logs().filter(|(log, _)| wanted.takes_log(log));
    let of = |(log, size): (&'a str, u64)| {
        let from = behind.get(log).copied().unwrap_or(0).max(wanted.span.from);
        Cursor::new(history, log, size, Span { from, ..wanted.span })
    };
    logs.map(of).collect()
}

pub(super) fn each<E: std::convert::From<HistoryError>>(
    history: &History,
    wanted: &Wanted,
    behind: &BTreeMap<String, u64>,
    mut take: impl FnMut(&Found<'_>) -> Result<(), E>,
) -> Result<u64, E> {
    let mut cursors = cursors(history, wanted, behind)?;
    // Which log comes next: by when its next record began, about.
    let mut queue: BTreeMap<(u64, usize), ()> = BTreeMap::new();
    let bounds = cursors.iter().enumerate().filter_map(|(at, cursor)| Some(((cursor.bound()?, at), ())));
    queue.extend(bounds);
    while let Some(((_, at), ())) = queue.pop_first() {
        let until = queue.first_key_value().map_or(u64::MAX, |((next, _), ())| *next);
        let Some(cursor) = cursors.get_mut(at) else { continue };
        if let Some(next) = cursor.read(until, &mut take)? {
            queue.insert((next, at), ());
        }
    }
    Ok(cursors.iter().map(|cursor| cursor.shredded).fold(0, u64::saturating_add))
}

impl History {
    /// Opens the files that can have records that are wanted, one after another, for who reads columns and not records. A row of
    /// a file is wanted only if its span holds it. Answers how many records are shredded.
    ///
    /// # Errors
    /// [`HistoryError`], or what `take` answers.
    pub fn each_file<E: std::convert::From<HistoryError>>(
        &self,
        wanted: &Wanted,
        mut take: impl FnMut(ArchivedFile) -> Result<(), E>,
    ) -> Result<u64, E> {
        let mut shredded = 0_u64;
        for mut cursor in cursors(self, wanted, &BTreeMap::new())? {
            while let Some(file) = cursor.next_file()? {
                take(file)?;
            }
            shredded = shredded.saturating_add(cursor.shredded);
        }
        Ok(shredded)
    }
}
