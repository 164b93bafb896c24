//! The archive's part: every file is read whole and held against its name, and every record against its tree.

use super::super::archive::file::FileError;
use super::super::archive::name::{Name, Piece, Without};
use super::super::arrow::Leaf as Stood;
use super::super::evidence::NotVerified;
use super::super::history::{History, HistoryError, Span};
use super::super::join::Whole;
use super::super::keys::KeyError;
use super::super::leaf::Leaf;
use super::{Column, Inspection, Place, Row, SaltsOf, Trouble, Why};

impl From<HistoryError> for NotVerified {
    fn from(error: HistoryError) -> Self {
        match error {
            HistoryError::Journal(error) => Self::Journal(error),
            HistoryError::File(_, FileError::Damaged(..))
            | HistoryError::Missing(..)
            | HistoryError::Behind(_)
            | HistoryError::Body(_) => Self::Differs(error.to_string()),
            HistoryError::File(_, FileError::Io(_) | FileError::Key(_))
            | HistoryError::Place(..)
            | HistoryError::State(_) => Self::Unknown(error.to_string()),
        }
    }
}

impl<K: SaltsOf> Inspection<K> {
    /// Checks what the archive has. Of a span only its records are read; the leaves of the others are the notary's, which are
    /// checked with all that is built on them.
    pub(in crate::audit) fn archived(
        &mut self,
        history: &History,
        span: &Span,
        mut progress: impl FnMut(u64),
    ) -> Result<(), NotVerified> {
        let logs: Vec<(String, u64)> =
            history.archived_logs().map(|(log, size)| (log.to_owned(), size)).collect();
        self.archived = history.archived_record();
        for (log, size) in logs.into_iter().filter(|(_, size)| *size > 0) {
            if self.only.as_ref().is_some_and(|only| *only != log) {
                continue;
            }
            let check = self.begin(&log)?;
            self.checks.insert(log.clone(), check);
            let files = history.files(&log, 0, size)?;
            if *span == Span::ALL {
                self.needless(history, &log, size, &files)?;
            }
            for (name, from) in files.iter().filter(|(name, _)| span.meets(name)) {
                let piece = Piece { name, from: *from };
                self.file(history, &piece, (size, span), &files)?;
                progress(name.records());
            }
            let Some(check) = self.checks.get_mut(&log) else { continue };
            check.shredded(&log, &self.folder)?;
            if *span != Span::ALL {
                check.fill((size, Why::Passed), &log, &self.folder)?;
            }
        }
        Ok(())
    }

    /// Files whose records are in others, too: what an interrupted merge left.
    fn needless(
        &self,
        history: &History,
        log: &str,
        size: u64,
        files: &[(Name, u64)],
    ) -> Result<(), NotVerified> {
        for name in history.names(log, size)? {
            if !files.iter().any(|(known, _)| *known == name) {
                match history.check_file(&name, |_, _, _| Ok(())) {
                    Err(HistoryError::File(_, FileError::Key(KeyError::Shredded(_)))) => {}
                    checked => checked?,
                }
            }
        }
        Ok(())
    }

    fn file(
        &mut self,
        history: &History,
        piece: &Piece<'_>,
        (size, span): (u64, &Span),
        files: &[(Name, u64)],
    ) -> Result<(), NotVerified> {
        let mut trouble = None;
        let is_thin = piece.name.without != Without::default();
        let between = if is_thin { Some(Why::Aged) } else { (*span != Span::ALL).then_some(Why::Passed) };
        let checked = history.check_file(piece.name, |leaf, row, whole| {
            if leaf.index < piece.from || leaf.index >= size {
                return Ok(());
            }
            let taken = self.archived_record(&piece.name.log, leaf, (row, whole), between);
            taken.map_err(|found| {
                let what = FileError::Damaged(Some(leaf.index), found.to_string());
                trouble = Some(found);
                what
            })
        });
        match (checked, trouble) {
            // The record that differs may be in a file before.
            (Err(_), Some(Trouble::Record(place, what))) if place.segment == 0 => {
                let holds = |name: &&Name| (name.first..=name.last).contains(&place.offset);
                let name = files.iter().map(|(name, _)| name).find(holds).unwrap_or(piece.name);
                let (index, record) = (place.offset, place.record);
                let text =
                    format!("archive file {name}: record {index} of its log (number {record}): {what}");
                Err(NotVerified::Differs(text))
            }
            (Err(_), Some(trouble)) => Err(trouble.into()),
            // Its leaves are what is left.
            (Err(HistoryError::File(_, FileError::Key(KeyError::Shredded(_)))), None) => Ok(()),
            (checked, None) => {
                checked?;
                let check = self.checks.get_mut(&piece.name.log).filter(|_| is_thin);
                let end = piece.name.last.saturating_add(1).min(size);
                check.map_or(Ok(()), |check| check.fill((end, Why::Aged), &piece.name.log, &self.folder))?;
                Ok(())
            }
            (Ok(()), Some(_)) => Ok(()),
        }
    }

    fn archived_record(
        &mut self,
        log: &str,
        stood: Stood,
        (row, whole): (&Row<'_>, &Whole<'_>),
        between: Option<Why>,
    ) -> Result<(), Trouble> {
        let place = Place { segment: 0, offset: stood.index, record: row.number_of(Column::Record) };
        self.listen(row);
        let Some(check) = self.checks.get_mut(log) else { return Ok(()) };
        check.gone_before(stood.index, log, &self.folder)?;
        if let Some(why) = between {
            check.fill((stood.index, why), log, &self.folder)?;
        }
        if check.tree.size() != stood.index {
            return Err(Trouble::Record(place, "records before it are missing"));
        }
        if !whole.is_of(row) {
            return Err(Trouble::Record(place, "its text or parameters are not those whose hash it has"));
        }
        let salts = self.salts.salts(stood.key).map_err(|what| Trouble::Key(stood.key, what))?;
        let salt = salts.salt(stood.index);
        let mut leaf = Leaf::begin((check.hash, stood.index), &salt, row, &mut self.scratch);
        row.canonical_long((&whole.text, &whole.parameters), |bytes| leaf.piece(bytes));
        let leaf = leaf.finish();
        let checked = check.push(leaf, Some(place), log, &self.folder);
        if checked.is_ok() && leaf.first_chunk() != Some(&stood.check) {
            return Err(Trouble::Record(place, "the check bytes beside it are not its own"));
        }
        checked
    }
}
