//! Lets records go that are older than their class is kept in their log: files of the archive whole, or made anew without the class.
//!
//! What always holds: a record goes when the day of its file lies back longer than the age of its class, no hold covers the file, and the log
//! has a record of it on disk, which names the decision; what is gone is written down before that, chained with the keyring's key, so that
//! what is missing without that is still found missing; a file goes when all classes are over, or when the one that was made of it was
//! read back and is right. Hashes in the trees stay, so proofs of all that is left hold. A log whose customer nobody
//! knows any more is not touched, and nothing is while holds cannot be read. Doing it again after any interruption does no harm.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::super::archive::check::check;
use super::super::archive::file::{FileError, Keys};
use super::super::archive::follower::own_folder;
use super::super::archive::name::{Class, Name};
use super::super::archive::place::{self, Place, make_folder};
use super::super::archive::sealer::thin::{Thinned, thin};
use super::super::keys::{KeyError, Keyring};
use super::super::notary::state::State;
use super::super::record::{Event, EventKind};
use super::super::render::rfc3339;
use super::register::{Act, Hold, Register};
use super::{OWN_LOG, Policy};
use crate::config::{self, Age, Retention};

/// So many files are made anew at one time; then others have their turn.
pub(super) const THINNED_AT_ONCE: usize = 8;

/// How it stands with the files of one log.
#[derive(Debug, Default)]
pub struct Standing {
    /// Files that may go.
    pub over: Vec<Name>,
    /// Files of which some classes may go, with these.
    pub thin: Vec<(Name, Vec<Class>)>,
    /// Files that a hold keeps, with the hold.
    pub held: Vec<(Name, Hold)>,
    /// Files that are kept.
    pub kept: usize,
    /// How long each class is kept; `None`: for ever, because nobody knows the customer.
    pub retention: Option<Retention>,
}

/// What went.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Gone {
    /// The log.
    pub log: String,
    /// Files.
    pub files: usize,
    /// Records.
    pub records: u64,
}

/// What went of a log by its age.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Aged {
    /// Places whose records all went: from, and before; in order.
    pub whole: Vec<(u64, u64)>,
    /// Records of one class in the file with this first and last place, and how many.
    pub classes: BTreeMap<(u64, u64, Class), u64>,
}

impl Aged {
    /// How many records a file is without, as its name says; `None`: nothing says that one of these classes went.
    #[must_use]
    pub fn of_file(&self, name: &Name) -> Option<u64> {
        let of = |class| self.classes.get(&(name.first, name.last, class)).copied();
        name.without.classes().try_fold(0_u64, |sum, class| Some(sum.saturating_add(of(class)?)))
    }

    /// Whether the record at a place can have gone.
    #[must_use]
    pub fn may_hold(&self, index: u64) -> bool {
        self.whole.iter().any(|(from, to)| (*from..*to).contains(&index))
            || self.classes.keys().any(|(first, last, _)| (*first..=*last).contains(&index))
    }

    /// Whether nothing went.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.whole.is_empty() && self.classes.is_empty()
    }
}

/// What went of a log by its age.
///
/// # Errors
/// Why that cannot be told, in words.
pub fn aged(directory: &Path, keyring: &Keyring, log: &str) -> Result<Aged, String> {
    let register = Register::of_log(directory, keyring, log)?;
    let (mut ranges, mut classes) = (Vec::new(), BTreeMap::new());
    for (_, decision) in register.decisions() {
        match &decision.act {
            Act::Expire { customer, first, last, .. } if customer == log => {
                ranges.push((*first, last.saturating_add(1)));
            }
            Act::Thin { customer, first, last, class, records, .. } if customer == log => {
                let class = Class::ALL.into_iter().find(|known| known.name() == class);
                let class =
                    class.ok_or_else(|| format!("what went of log {log} has a class that nobody knows"))?;
                // Said again it was interrupted before.
                classes.insert((*first, *last, class), *records);
            }
            // Its chain would hold in another log's place, too.
            Act::Begin {}
            | Act::Expire { .. }
            | Act::Thin { .. }
            | Act::Hold { .. }
            | Act::Release { .. }
            | Act::Review { .. } => {
                return Err(format!("what went of log {log} is another log's"));
            }
        }
    }
    ranges.sort_unstable();
    Ok(Aged { whole: joined(&ranges), classes })
}

/// The places of a log whose records all went by their age: from, and before; in order.
///
/// # Errors
/// As [`aged`].
pub fn expired(directory: &Path, keyring: &Keyring, log: &str) -> Result<Vec<(u64, u64)>, String> {
    aged(directory, keyring, log).map(|aged| aged.whole)
}

/// Neighbours and overlaps as one.
fn joined(ranges: &[(u64, u64)]) -> Vec<(u64, u64)> {
    let mut joined: Vec<(u64, u64)> = Vec::new();
    for (from, to) in ranges {
        match joined.last_mut() {
            Some((_, end)) if *from <= *end => *end = (*end).max(*to),
            Some(_) | None => joined.push((*from, *to)),
        }
    }
    joined
}

/// How long a class is kept.
const fn age(retention: Retention, class: Class) -> Age {
    match class {
        Class::Statement => retention.statement,
        Class::Session => retention.session,
        Class::Event => retention.event,
    }
}

fn standing(
    place: &dyn Place,
    holds: &Register,
    (log, policy): (&str, Option<&Policy>),
    now_ns: u64,
) -> Result<Standing, String> {
    let listed = place.list(log).map_err(|error| format!("archive of log {log}: {error}"))?;
    let retention = policy.map(|policy| policy.retention);
    let is_over = |name: &Name, class: Class| {
        let kept = retention.and_then(|retention| age(retention, class).duration());
        let kept_ns = kept.and_then(|kept| u64::try_from(kept.as_nanos()).ok());
        kept_ns.is_some_and(|kept| name.day.end_ns().saturating_add(kept) <= now_ns)
    };
    let mut standing = Standing { retention, ..Standing::default() };
    for (name, _) in listed {
        let over: Vec<Class> = Class::ALL.into_iter().filter(|class| is_over(&name, *class)).collect();
        let new: Vec<Class> = over.iter().copied().filter(|class| !name.without.has(*class)).collect();
        let is_all = over.len() == Class::ALL.len();
        if new.is_empty() && !is_all {
            standing.kept = standing.kept.saturating_add(1);
        } else if let Some(hold) = holds.held(log, name.earliest.begin_ns(), name.day.end_ns()) {
            standing.held.push((name, hold));
        } else if is_all {
            standing.over.push(name);
        } else {
            standing.thin.push((name, new));
        }
    }
    standing.over.sort_unstable_by_key(|name| name.first);
    standing.thin.sort_unstable_by_key(|(name, _)| name.first);
    Ok(standing)
}

/// How it stands with each log that the archive has.
///
/// # Errors
/// Why that cannot be told.
pub fn standings(
    audit: &config::Audit,
    keyring: &Keyring,
    policies: &BTreeMap<String, Policy>,
    now_ns: u64,
) -> Result<BTreeMap<String, Standing>, String> {
    let place = place::open_to_read(audit).map_err(|error| error.to_string())?;
    standings_in(place.as_ref(), (audit, keyring), policies, now_ns)
}

fn standings_in(
    place: &dyn Place,
    (audit, keyring): (&config::Audit, &Keyring),
    policies: &BTreeMap<String, Policy>,
    now_ns: u64,
) -> Result<BTreeMap<String, Standing>, String> {
    let holds = Register::read(&audit.directory, keyring)?;
    let archived = State::read(&own_folder(&audit.directory)).map_err(|trouble| trouble.to_string())?;
    let logs = archived.unwrap_or_default().logs.into_keys();
    let of = |log: String| {
        let standing = standing(place, &holds, (&log, policies.get(&log)), now_ns)?;
        Ok((log, standing))
    };
    logs.map(of).collect()
}

/// Records an event, and answers when it is on disk.
type Record<'a> = &'a mut dyn FnMut(&Event<'_>) -> Result<(), String>;

/// Lets go what is over in all logs, but not more than [`THINNED_AT_ONCE`] files with a part of their classes.
///
/// # Errors
/// The first thing that kept it from going on; what went is recorded.
pub(in crate::audit) fn run(
    audit: &config::Audit,
    keyring: &Arc<Keyring>,
    policies: &BTreeMap<String, Policy>,
    now_ns: u64,
    record: Record<'_>,
) -> Result<Vec<Gone>, String> {
    let place = place::open_to_read(audit).map_err(|error| error.to_string())?;
    run_in(place.as_ref(), (audit, keyring), policies, now_ns, record)
}

/// The same, with the archive in a place.
pub(super) fn run_in(
    place: &dyn Place,
    (audit, keyring): (&config::Audit, &Arc<Keyring>),
    policies: &BTreeMap<String, Policy>,
    now_ns: u64,
    record: Record<'_>,
) -> Result<Vec<Gone>, String> {
    let (mut all, mut room) = (Vec::new(), THINNED_AT_ONCE);
    let path = own_folder(&audit.directory).join("thinned.unsealed");
    let mut sweep = Sweep { place, audit, keyring, path, record };
    for (log, standing) in standings_in(place, (audit, keyring), policies, now_ns)? {
        let Some(retention) = standing.retention else { continue };
        all.extend(sweep.whole(&log, &standing.over, retention)?);
        for (name, classes) in &standing.thin {
            if room == 0 {
                return Ok(all);
            }
            let gone = sweep.classes(&log, name, classes, retention)?;
            room = room.saturating_sub(usize::from(gone.is_some()));
            all.extend(gone);
        }
    }
    Ok(all)
}

/// What lets records go.
struct Sweep<'a> {
    place: &'a dyn Place,
    audit: &'a config::Audit,
    keyring: &'a Arc<Keyring>,
    /// Where files are made.
    path: PathBuf,
    record: Record<'a>,
}

fn of(name: &Name, error: impl std::fmt::Display) -> String {
    format!("archive file {name}: {error}")
}

impl Sweep<'_> {
    /// Files of which all is over.
    fn whole(&mut self, log: &str, over: &[Name], retention: Retention) -> Result<Option<Gone>, String> {
        let known = expired(&self.audit.directory, self.keyring, log)?;
        let is_known = |name: &Name| known.iter().any(|(from, to)| *from <= name.first && name.last < *to);
        let new: Vec<&Name> = over.iter().filter(|name| !is_known(name)).collect();
        let mut gone = None;
        let mut register = Register::of_log(&self.audit.directory, self.keyring, log)?;
        if !new.is_empty() {
            self.begin()?;
            let acts = new.iter().map(|name| Act::Expire {
                customer: log.to_owned(),
                first: name.first,
                last: name.last,
                until_ns: name.day.end_ns(),
            });
            register.decide_all(self.keyring, acts)?;
            let records = new.iter().map(|name| name.records()).fold(0, u64::saturating_add);
            gone = Some(Gone { log: log.to_owned(), files: new.len(), records });
        }
        // What was decided and is still there was interrupted, perhaps before it was told.
        if !over.is_empty() {
            let age = Class::ALL.into_iter().map(|class| age(retention, class)).max();
            self.tell(log, &register, &whole_words(log, over, age.unwrap_or(Age::FOREVER)))?;
        }
        for name in over {
            self.place.delete(name).map_err(|error| of(name, error))?;
        }
        Ok(gone)
    }

    /// A file of which some classes are over.
    fn classes(
        &mut self,
        log: &str,
        name: &Name,
        classes: &[Class],
        retention: Retention,
    ) -> Result<Option<Gone>, String> {
        let keys: Arc<dyn Keys> = Arc::<Keyring>::clone(self.keyring);
        if let Some(folder) = self.path.parent() {
            make_folder(folder).map_err(|error| of(name, error))?;
        }
        let made = match thin(self.place, &keys, name, classes, &self.path) {
            // Nobody can read it any more; it goes when all is over.
            Err(FileError::Key(KeyError::Shredded(_))) => return Ok(None),
            made => made.map_err(|error| of(name, error))?,
        };
        if made.left == 0 {
            return self.whole(log, std::slice::from_ref(name), retention);
        }
        self.begin()?;
        let mut register = Register::of_log(&self.audit.directory, self.keyring, log)?;
        let acts = made.gone.iter().map(|(class, records)| Act::Thin {
            customer: log.to_owned(),
            first: name.first,
            last: name.last,
            until_ns: name.day.end_ns(),
            class: class.name().to_owned(),
            records: *records,
        });
        register.decide_all(self.keyring, acts)?;
        self.tell(log, &register, &class_words(log, name, &made, retention))?;
        self.exchange(name, &made, keys).map_err(|error| of(&made.name, error))?;
        let records = made.gone.values().copied().fold(0, u64::saturating_add);
        Ok(Some(Gone { log: log.to_owned(), files: 1, records }))
    }

    /// Puts the new file, reads it back, and deletes the one that it is made of.
    fn exchange(&self, name: &Name, made: &Thinned, keys: Arc<dyn Keys>) -> Result<(), FileError> {
        self.place.put(&made.name, &self.path)?;
        let read = check(&made.name, self.place.open(&made.name)?, keys, |_| None);
        match read {
            Ok(count) if count == made.left => Ok(self.place.delete(name)?),
            read => {
                self.place.delete(&made.name)?;
                read?;
                Err(FileError::Damaged(None, "it does not have what was written".to_owned()))
            }
        }
    }

    /// With the key for decisions there must be a register of holds: one that is missing then holds everything.
    fn begin(&self) -> Result<(), String> {
        let mut holds = Register::read(&self.audit.directory, self.keyring)?;
        if holds.decisions().next().is_none() {
            holds.decide(self.keyring, Act::Begin {})?;
        }
        Ok(())
    }

    /// Records what goes, in the log it goes from and in the vault's own.
    fn tell(&mut self, log: &str, register: &Register, words: &str) -> Result<(), String> {
        let mark = register.mark(None).map(|mark| mark.to_string()).unwrap_or_default();
        let detail = format!("{mark}{words}");
        let event = Event { detail: detail.as_bytes(), ..Event::new(EventKind::RetentionDelete) };
        if log != OWN_LOG {
            (self.record)(&Event { customer: log, ..event })?;
        }
        (self.record)(&event)
    }
}

fn whole_words(log: &str, names: &[Name], age: Age) -> String {
    let records = names.iter().map(Name::records).fold(0, u64::saturating_add);
    let until = names.iter().map(|name| name.day.end_ns()).max().unwrap_or(0);
    let mut words = format!(
        "{records} records of {log} of all classes, in {} files, went: kept for {age}, from before {}; places",
        names.len(),
        rfc3339(until)
    );
    let mut places: Vec<(u64, u64)> =
        names.iter().map(|name| (name.first, name.last.saturating_add(1))).collect();
    places.sort_unstable();
    for (from, to) in joined(&places) {
        // Writing to a String cannot fail.
        let _ = write!(words, " {from}-{}", to.saturating_sub(1));
    }
    words
}

fn class_words(log: &str, name: &Name, made: &Thinned, retention: Retention) -> String {
    let each: Vec<String> = made
        .gone
        .iter()
        .map(|(class, records)| {
            format!("{records} of class {} (kept for {})", class.name(), age(retention, *class))
        })
        .collect();
    let (first, last, until) = (name.first, name.last, rfc3339(name.day.end_ns()));
    format!(
        "records of {log} went: {}, from before {until}, among places {first}-{last}; {} are left",
        each.join(", "),
        made.left
    )
}
