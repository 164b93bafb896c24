//! The journal from where the archive ends.
//!
//! What always holds: segments that are deleted meanwhile, because the archive has them by then, are read from there; no record is
//! handed out twice for that, and where it cannot be told which were, reading fails. That parts of a long text are there is
//! seen when its record is handed out: whoever asks for the text much later may find it missing.

use std::collections::{BTreeMap, HashMap};
use std::io::ErrorKind;
use std::sync::Arc;

use super::super::begin::Begin;
use super::super::join::{BadBody, Joiner, Shown, Text};
use super::super::journal::segment_name;
use super::super::keys::Keyring;
use super::super::notary::log_of;
use super::super::notary::state::State;
use super::super::reader::{End, Pieces, ReadError, Reader};
use super::super::row::{Column, Row};
use super::{Found, From, History, HistoryError, LOOKS_MAX, Wanted, archived};
use crate::config;

/// Reads on as the journal grows.
#[derive(Debug)]
pub struct Tail {
    /// `None`: there is no journal.
    reader: Option<(Reader, Joiner, Pieces)>,
    /// Records up to here are in the archive; they are read for what hangs on them.
    known: u64,
    wanted: Wanted,
    logs: HashMap<String, Log>,
    lost: Lost,
    /// Records that were passed over in the archive, because their keys were shredded.
    shredded: u64,
    audit: config::Audit,
    keyring: Arc<Keyring>,
}

/// What has to be known if the journal is taken away while it is read.
#[derive(Debug)]
struct Lost {
    /// What the journal began with.
    begin: Option<Begin>,
    /// It was taken away before it could be opened.
    is_all: bool,
    /// How many records of each log the archive had.
    archived: BTreeMap<String, u64>,
    /// Number of the last record that was read.
    read: u64,
    /// Of each log, the number of the last one that was handed out.
    last: HashMap<String, u64>,
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
    last: &'a mut HashMap<String, u64>,
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
        take(&Found { log, index, key: shown.key, row: &row, from: From::Journal(shown, self.pieces) })?;
        let record = row.number_of(Column::Record);
        match self.last.get_mut(log) {
            Some(last) => *last = record,
            None => _ = self.last.insert(log.to_owned(), record),
        }
        Ok(())
    }
}

impl Tail {
    pub(super) fn open(history: &History, wanted: &Wanted) -> Result<Self, HistoryError> {
        let State { record, segment, needed, logs } = &history.archived;
        let since_ns = if wanted.with_index { 0 } else { wanted.span.since_ns };
        let journal = &history.audit.directory;
        let (reader, is_all) = match Reader::begin(journal, (*segment > 0).then_some(*segment), since_ns) {
            Ok(reader) => {
                let reader = reader.with_keys_of(Arc::clone(&history.keyring), wanted.log.as_deref());
                let reader = reader.skipping_to(*needed);
                let (joiner, pieces) = (Joiner::new(&reader), reader.pieces());
                (Some((reader, joiner, pieces)), false)
            }
            Err(ReadError::Empty(_)) => (None, false),
            Err(_) if has_moved(&history.audit, history.begin.as_ref()) => (None, true),
            Err(error) => return Err(error.into()),
        };
        let names = logs.keys().chain(history.gone.keys());
        let log = |name: &String| {
            let mut gone = history.gone_of(name).to_vec();
            gone.reverse();
            (name.clone(), Log { next: logs.get(name).map_or(0, |sizes| sizes.leaves), gone })
        };
        let archived = history.archived_logs().map(|(log, leaves)| (log.to_owned(), leaves)).collect();
        let (begin, last) = (history.begin.clone(), HashMap::new());
        Ok(Self {
            reader,
            known: *record,
            wanted: wanted.clone(),
            logs: names.map(log).collect(),
            lost: Lost { begin, is_all, archived, read: *record, last },
            shredded: 0,
            audit: history.audit.clone(),
            keyring: Arc::clone(&history.keyring),
        })
    }

    /// Hands out what there is by now.
    ///
    /// # Errors
    /// [`HistoryError`], or what `take` answers.
    pub fn read_on<E: std::convert::From<HistoryError>>(
        &mut self,
        mut take: impl FnMut(&Found<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        for _ in 0..LOOKS_MAX {
            let read = if self.lost.is_all { Ok(()) } else { self.read_journal(&mut take) };
            match read {
                Ok(()) if !self.lost.is_all => return Ok(()),
                Ok(()) => {}
                Err(Stop::Lost(_)) if has_moved(&self.audit, self.lost.begin.as_ref()) => {}
                Err(stop) => return Err(stop.error()),
            }
            self.catch_up(&mut take)?;
        }
        let what = "segments of the journal are deleted faster than they are read";
        Err(HistoryError::State(what.to_owned()).into())
    }

    fn read_journal<E>(&mut self, take: &mut impl FnMut(&Found<'_>) -> Result<(), E>) -> Result<(), Stop<E>> {
        let Some((reader, joiner, pieces)) = &mut self.reader else { return Ok(()) };
        let (logs, last) = (&mut self.logs, &mut self.lost.last);
        let mut hand = Hand { pieces, wanted: &self.wanted, logs, last };
        while let Some(raw) = reader.next_record().map_err(Stop::<E>::Lost)? {
            let is_known = raw.place.record <= self.known;
            joiner.take::<Stop<E>>(&raw, |shown| {
                if is_known {
                    return Ok(());
                }
                if let Some(error) = gone_part(shown, &self.audit, self.lost.begin.as_ref()) {
                    return Err(Stop::Lost(error));
                }
                hand.on(shown, true, take).map_err(Stop::Taker)
            })?;
            self.lost.read = self.lost.read.max(raw.place.record);
        }
        Ok(())
    }

    /// Hands out of the archive what it has got since, and goes on in the journal behind that.
    fn catch_up<E: std::convert::From<HistoryError>>(
        &mut self,
        take: &mut impl FnMut(&Found<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        let history = History::open(&self.audit, Arc::clone(&self.keyring))?;
        let unclear = |log: &str| {
            let what =
                "segments of the journal were deleted while they were read, and the archive does not have";
            HistoryError::State(format!("{what} what was read last of log {log}"))
        };
        if history.archived_record() < self.lost.read {
            return Err(unclear("any").into());
        }
        let mut last = std::mem::take(&mut self.lost.last);
        let shredded = archived::each(&history, &self.wanted, &self.lost.archived, |found| {
            match last.get(found.log) {
                Some(record) if *record == found.row.number_of(Column::Record) => _ = last.remove(found.log),
                Some(_) => {}
                None => return take(found),
            }
            Ok(())
        })?;
        if let Some(log) = last.keys().next() {
            return Err(unclear(log).into());
        }
        let shredded = self.shredded.saturating_add(shredded);
        *self = Self { shredded, ..Self::open(&history, &self.wanted)? };
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
        let (logs, last) = (&mut self.logs, &mut self.lost.last);
        let mut hand = Hand { pieces, wanted: &self.wanted, logs, last };
        joiner.finish(|shown| hand.on(shown, false, &mut take))
    }

    /// Records that were passed over because their keys were shredded.
    #[must_use]
    pub fn shredded(&self) -> u64 {
        let unreadable = self.reader.as_ref().map_or(0, |(_, joiner, _)| joiner.unreadable());
        self.shredded.saturating_add(unreadable)
    }
}

/// Whether segments were deleted, because the archive has them.
fn has_moved(audit: &config::Audit, begin: Option<&Begin>) -> bool {
    Begin::read(&audit.directory).is_ok_and(|now| now.as_ref() != begin)
}

/// That parts of a record lie in segments that were deleted since, because the archive has all of it.
fn gone_part(shown: &Shown<'_>, audit: &config::Audit, begin: Option<&Begin>) -> Option<ReadError> {
    let mut long = [shown.text, shown.parameters].into_iter().filter(|text| !matches!(text, Text::Here(_)));
    long.clone().next()?;
    // Where it cannot be read, the journal's next segment tells.
    let now = Begin::read(&audit.directory).ok()?.filter(|now| Some(now) != begin)?;
    let is_gone = |text: Text<'_>| match text {
        Text::Here(_) => false,
        Text::Parts { places, .. } => places.first().is_some_and(|place| place.segment < now.segment),
        // They lie before all that was read, nobody knows where.
        Text::Before { .. } => true,
    };
    let gone = || ReadError::Io(audit.directory.join(segment_name(now.segment)), ErrorKind::NotFound.into());
    long.any(is_gone).then(gone)
}

/// Why reading stops.
enum Stop<E> {
    Lost(ReadError),
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
            Self::Lost(error) => HistoryError::Journal(error).into(),
            Self::Bad(bad) => HistoryError::Body(bad).into(),
            Self::Taker(error) => error,
        }
    }
}
