//! The journal from where the archive ends.

use std::collections::HashMap;

use super::super::join::{BadBody, Joiner, Shown};
use super::super::notary::log_of;
use super::super::notary::state::State;
use super::super::reader::{End, Pieces, ReadError, Reader};
use super::super::row::{Column, Row};
use super::{Found, From, History, HistoryError, Wanted};

/// Reads on as the journal grows.
#[derive(Debug)]
pub struct Tail {
    /// `None`: there is no journal.
    reader: Option<(Reader, Joiner, Pieces)>,
    /// Records up to here are in the archive; they are read for what hangs on them.
    known: u64,
    wanted: Wanted,
    logs: HashMap<String, Log>,
}

/// Where a log is.
#[derive(Debug, Default)]
struct Log {
    next: u64,
    /// Shredded places that are still to come, the next ones last.
    gone: Vec<(u64, u64)>,
}

impl Log {
    fn take(&mut self) -> u64 {
        while let Some((_, to)) = self.gone.pop_if(|(from, _)| *from <= self.next) {
            self.next = self.next.max(to);
        }
        let index = self.next;
        self.next = index.saturating_add(1);
        index
    }
}

/// What a record is handed on with.
struct Hand<'a> {
    pieces: &'a Pieces,
    wanted: &'a Wanted,
    logs: &'a mut HashMap<String, Log>,
}

impl Hand<'_> {
    fn on<E>(
        &mut self,
        shown: &Shown<'_>,
        is_complete: bool,
        take: &mut impl FnMut(&Found<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        let row = Row::of(shown);
        let log = log_of(row.bytes_of(Column::Customer));
        if !self.wanted.takes_log(log) {
            return Ok(());
        }
        let index = (self.wanted.with_index && is_complete).then(|| match self.logs.get_mut(log) {
            Some(known) => known.take(),
            None => self.logs.entry(log.to_owned()).or_default().take(),
        });
        if !self.wanted.takes(log, index, row.number_of(Column::Time)) {
            return Ok(());
        }
        take(&Found { log, index, key: shown.key, row: &row, from: From::Journal(shown, self.pieces) })
    }
}

impl Tail {
    pub(super) fn open(history: &History, wanted: &Wanted) -> Result<Self, HistoryError> {
        let State { record, segment, logs } = &history.archived;
        let since_ns = if wanted.with_index { 0 } else { wanted.span.since_ns };
        let reader = match Reader::begin(&history.journal, (*segment > 0).then_some(*segment), since_ns) {
            Ok(reader) => {
                let reader = reader.with_keys(std::sync::Arc::clone(&history.keyring));
                let (joiner, pieces) = (Joiner::new(&reader), reader.pieces());
                Some((reader, joiner, pieces))
            }
            Err(ReadError::Empty(_)) => None,
            Err(error) => return Err(error.into()),
        };
        let names = logs.keys().chain(history.gone.keys());
        let log = |name: &String| {
            let mut gone = history.gone_of(name).to_vec();
            gone.reverse();
            (name.clone(), Log { next: logs.get(name).map_or(0, |sizes| sizes.leaves), gone })
        };
        let logs = names.map(log).collect();
        Ok(Self { reader, known: *record, wanted: wanted.clone(), logs })
    }

    /// Hands out what there is by now.
    ///
    /// # Errors
    /// [`HistoryError`], or what `take` answers.
    pub fn read_on<E: std::convert::From<HistoryError>>(
        &mut self,
        mut take: impl FnMut(&Found<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        let Some((reader, joiner, pieces)) = &mut self.reader else { return Ok(()) };
        let mut hand = Hand { pieces, wanted: &self.wanted, logs: &mut self.logs };
        while let Some(raw) = reader.next_record().map_err(HistoryError::from)? {
            let is_known = raw.place.record <= self.known;
            let taken = joiner.take::<Stop<E>>(&raw, |shown| {
                if is_known { Ok(()) } else { hand.on(shown, true, &mut take).map_err(Stop::Taker) }
            });
            taken.map_err(Stop::error)?;
        }
        Ok(())
    }

    /// What lies behind the last record that was read.
    ///
    /// # Errors
    /// [`HistoryError`] when records that had been on disk cannot be read.
    pub fn end(&mut self) -> Result<End, HistoryError> {
        self.reader.as_mut().map_or(Ok(End::Clean), |(reader, ..)| Ok(reader.end()?))
    }

    /// Hands out what was begun and has no end, as `unknown`.
    ///
    /// # Errors
    /// What `take` answers.
    pub fn finish<E: std::convert::From<HistoryError>>(
        &mut self,
        mut take: impl FnMut(&Found<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        let Some((_, joiner, pieces)) = &mut self.reader else { return Ok(()) };
        let mut hand = Hand { pieces, wanted: &self.wanted, logs: &mut self.logs };
        joiner.finish(|shown| hand.on(shown, false, &mut take))
    }

    /// Records that were passed over because their keys were shredded.
    #[must_use]
    pub fn shredded(&self) -> u64 {
        self.reader.as_ref().map_or(0, |(_, joiner, _)| joiner.unreadable())
    }
}

/// Why reading stops.
enum Stop<E> {
    Bad(BadBody),
    Taker(E),
}

impl<E> std::convert::From<BadBody> for Stop<E> {
    fn from(bad: BadBody) -> Self {
        Self::Bad(bad)
    }
}

impl<E: std::convert::From<HistoryError>> Stop<E> {
    fn error(self) -> E {
        match self {
            Self::Bad(bad) => HistoryError::Body(bad).into(),
            Self::Taker(error) => error,
        }
    }
}
