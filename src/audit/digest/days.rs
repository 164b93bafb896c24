//! The days that are being counted, customer by customer, and their end.
//!
//! What always holds: a digest says up to which record it counts, so a record that is read again is not counted again; a day is
//! put into its file before it is forgotten here; of whoever has been quiet since the last round nothing is in memory but the
//! name and the last day; what was counted of records whose key is shredded, or is about to be, is not written under a newer
//! key, but forgotten.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use chrono::{Days as Span, NaiveDate};
use serde::{Deserialize, Serialize};

use super::super::join::{Shown, Text};
use super::super::keys::{DataKey, KeyError, OWN};
use super::super::notary::log_of;
use super::super::reader::Pieces;
use super::super::row::{Column, Row};
use super::count::{Counting, Finding, time_of};
use super::ddl::Ddl;
use super::known::Known;
use super::store::{Store, StoreError};
use super::{Digest, word};
use crate::config;
use crate::customers::Catalogues;

/// What is counted and not yet in a day's file, and what must be known on the next day.
pub(super) const STATE: &str = "state.sealed";
/// A day is over so long after its end: what was recorded before is on disk by then.
const GRACE_NS: u64 = 60_000_000_000;
/// Days without a digest, because OneVault did not run, are made up for so far back.
const EMPTY_DAYS_MAX: u64 = 31;
/// Parts of a long text that are looked through.
const PARTS_MAX: usize = 16;

/// What is kept of a customer between two rounds.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct State {
    known: Known,
    /// Days that are not over.
    pub(super) open: Vec<Digest>,
    /// The last day that was over and has its file.
    settled: Option<String>,
    /// Numbers of the keys of all that was counted.
    keys: Vec<u32>,
}

/// A customer in memory.
struct Live {
    state: State,
    rules: Arc<config::Digest>,
    is_changed: bool,
}

/// All customers.
pub(super) struct Days {
    store: Store,
    catalogues: Catalogues,
    defaults: Arc<config::Digest>,
    live: HashMap<String, Live>,
    /// Everybody who was ever met, with the last day that is over.
    settled: BTreeMap<String, Option<NaiveDate>>,
    /// What was found since somebody took it, by customer.
    pub(super) findings: Vec<(String, Finding)>,
}

impl Days {
    pub(super) fn new(
        store: Store,
        catalogues: Catalogues,
        defaults: config::Digest,
    ) -> Result<Self, StoreError> {
        let names = store.customers()?.into_iter().map(|name| (name, None));
        Ok(Self {
            settled: names.collect(),
            store,
            catalogues,
            defaults: Arc::new(defaults),
            live: HashMap::new(),
            findings: Vec::new(),
        })
    }

    /// Counts what is shown, which was complete with this record of the journal.
    pub(super) fn take(&mut self, record: u64, shown: &Shown<'_>, pieces: &Pieces) -> Result<(), StoreError> {
        let row = Row::of(shown);
        let name = log_of(row.bytes_of(Column::Customer));
        self.meet(name)?;
        let Some(live) = self.live.get_mut(name) else { return Ok(()) };
        let rules = Arc::clone(&live.rules);
        let day = rules.time_zone.local(time_of(&row)).date.to_string();
        let State { open, known, keys, .. } = &mut live.state;
        let digest = open_day(&self.store, (open, keys), (name, &day), &rules)?;
        if record <= digest.through {
            return Ok(());
        }
        digest.through = record;
        note(keys, shown.key);
        live.is_changed = true;
        let mut findings = Vec::new();
        let ddl = ddl_of(&row, shown, pieces);
        Counting { digest, known, rules: &rules, findings: &mut findings }.count(&row, ddl);
        self.findings.extend(findings.into_iter().map(|finding| (name.to_owned(), finding)));
        Ok(())
    }

    /// Puts a customer into memory.
    fn meet(&mut self, name: &str) -> Result<(), StoreError> {
        if self.live.contains_key(name) {
            return Ok(());
        }
        let (mut state, key) = match self.store.read::<State>(name, STATE) {
            Ok(found) => found.unwrap_or_default(),
            // Counting begins anew where what was counted is gone for good.
            Err(StoreError::Key(KeyError::Shredded(_))) => (State::default(), 0),
            Err(error @ StoreError::Damaged(_)) => {
                tracing::error!(%error, "a daily digest of the audit log begins anew");
                (State::default(), 0)
            }
            Err(error) => return Err(error),
        };
        note(&mut state.keys, key);
        let settled = state.settled.as_deref().and_then(|day| day.parse().ok());
        self.settled.insert(name.to_owned(), settled);
        let rules = self.rules(name);
        self.live.insert(name.to_owned(), Live { state, rules, is_changed: false });
        Ok(())
    }

    fn rules(&self, name: &str) -> Arc<config::Digest> {
        let catalogue = self.catalogues.load();
        let customer = catalogue.customer(name);
        customer
            .map_or_else(|| Arc::clone(&self.defaults), |customer| Arc::new(customer.digest(&self.defaults)))
    }

    /// Makes what was counted last through any end of the process; ends days that are over if all before `now_ns` was taken.
    pub(super) fn round(&mut self, now_ns: u64, took_all: bool) -> Result<(), StoreError> {
        if took_all {
            let catalogue = self.catalogues.load_full();
            let of_today =
                catalogue.customers.keys().map(|id| id.as_str().to_owned()).chain([OWN.to_owned()]);
            for name in of_today {
                self.settled.entry(name).or_default();
            }
            let names: Vec<String> = self.settled.keys().cloned().collect();
            for name in names {
                let is_there = name == OWN || catalogue.customer(&name).is_some();
                self.settle(&name, is_there, now_ns)?;
            }
        }
        let mut failed = None;
        for (name, live) in self.live.iter_mut().filter(|(_, live)| live.is_changed) {
            let kept = live.key(&self.store, name, now_ns);
            let kept = kept.and_then(|key| self.store.write(name, STATE, &live.state, &key));
            // One customer's trouble is not the others'.
            failed = kept.err().or(failed);
        }
        if let Some(error) = failed {
            return Err(error);
        }
        self.live.clear();
        Ok(())
    }

    /// Ends the days of a customer that are over; one who `is_there` has a digest of each.
    fn settle(&mut self, name: &str, is_there: bool, now_ns: u64) -> Result<(), StoreError> {
        let rules = self.live.get(name).map_or_else(|| self.rules(name), |live| Arc::clone(&live.rules));
        let today = rules.time_zone.local(now_ns.saturating_sub(GRACE_NS)).date;
        let Some(yesterday) = today.pred_opt() else { return Ok(()) };
        let is_over = |digest: &Digest| digest.day.parse::<NaiveDate>().is_ok_and(|day| day < today);
        // A day that was over is open again when something came late.
        let is_late = self.live.get(name).is_some_and(|live| live.state.open.iter().any(is_over));
        if !is_late && self.settled.get(name).copied().flatten() == Some(yesterday) {
            return Ok(());
        }
        self.meet(name)?;
        let Some(live) = self.live.get_mut(name) else { return Ok(()) };
        let key = live.key(&self.store, name, now_ns)?;
        let mut over = Vec::new();
        live.state.open.retain(|digest| {
            over.extend(is_over(digest).then(|| digest.clone()));
            !is_over(digest)
        });
        for mut digest in over {
            digest.is_over = true;
            self.store.keep_day(&digest, &key)?;
        }
        let settled = live.state.settled.as_deref().and_then(|day| day.parse::<NaiveDate>().ok());
        let earliest = today.checked_sub_days(Span::new(EMPTY_DAYS_MAX)).unwrap_or(today);
        let first =
            settled.filter(|_| is_there).and_then(|day| day.succ_opt()).unwrap_or(today).max(earliest);
        for day in first.iter_days().take_while(|day| *day < today) {
            let day = day.to_string();
            if !self.store.has_day(name, &day) {
                let empty = Digest::new(name, &day, &rules.time_zone.to_string());
                self.store.keep_day(&Digest { is_over: true, ..empty }, &key)?;
            }
        }
        live.state.settled = Some(yesterday.to_string());
        live.is_changed = true;
        self.settled.insert(name.to_owned(), Some(yesterday));
        Ok(())
    }
}

impl Live {
    /// The key under which to keep this. Of the keys of what was counted some may be on their way out; all is forgotten then. The
    /// order matters: a key that still was current when it was asked for goes with them.
    fn key(&mut self, store: &Store, name: &str, now_ns: u64) -> Result<Arc<DataKey>, StoreError> {
        let key = store.key(name, now_ns)?;
        let mut others = self.state.keys.iter().filter(|other| **other != key.number());
        if !others.all(|other| store.is_active(*other)) {
            self.state = State { settled: self.state.settled.take(), ..State::default() };
            self.is_changed = true;
        }
        Ok(key)
    }
}

/// Keeps a number among others; 0 is none.
fn note(keys: &mut Vec<u32>, key: u32) {
    if key != 0 && !keys.contains(&key) {
        keys.push(key);
    }
}

/// A day that is being counted; one that was over is opened again.
fn open_day<'a>(
    store: &Store,
    (open, keys): (&'a mut Vec<Digest>, &mut Vec<u32>),
    (name, day): (&str, &str),
    rules: &config::Digest,
) -> Result<&'a mut Digest, StoreError> {
    let at = match open.iter().position(|digest| digest.day == day) {
        Some(at) => at,
        None => {
            let found = match store.read_day(name, day) {
                Err(StoreError::Key(KeyError::Shredded(_)) | StoreError::Damaged(_)) => None,
                found => found?,
            };
            let found = found.map(|(digest, key)| {
                note(keys, key);
                digest
            });
            let new = || Digest::new(name, day, &rules.time_zone.to_string());
            open.push(Digest { is_over: false, ..found.unwrap_or_else(new) });
            open.len().saturating_sub(1)
        }
    };
    open.get_mut(at).ok_or_else(|| StoreError::Damaged(name.into()))
}

/// What a statement does to objects.
fn ddl_of(row: &Row<'_>, shown: &Shown<'_>, pieces: &Pieces) -> Vec<String> {
    if row.bytes_of(Column::Class) != b"statement" {
        return Vec::new();
    }
    let mut found = match shown.text {
        Text::Here(text) => Ddl::of(text),
        Text::Parts { boot, places, sha256 } => {
            let looked = places.get(..PARTS_MAX).unwrap_or(places);
            let first = Text::Parts { boot, places: looked, sha256 };
            let is_part = places.len() > looked.len();
            let mut ddl = Ddl::of_pieces(|take| first.each(pieces, take).is_ok() || is_part);
            ddl.extend(is_part.then(|| "not known: a text over 1 MiB".to_owned()));
            ddl
        }
        Text::Before { .. } => vec!["not known: a long text of an earlier run".to_owned()],
    };
    if found.is_empty() {
        found.extend(Ddl::of_tag(&word(row.bytes_of(Column::CommandTag))));
    }
    found
}
