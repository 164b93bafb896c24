//! Lets records go that are older than their log keeps them: files of the archive, whole.
//!
//! What always holds: a file goes when its day lies back longer than the longest of the log's ages, no hold covers it, and the log has a
//! record of it on disk, which names the decision; which places are gone is written down before that, chained with the keyring's key, so that
//! what is missing without that is still found missing. Hashes in the trees stay, so proofs of all that is left hold. A log whose customer nobody
//! knows any more is not touched, and nothing is while holds cannot be read. Doing it again after any interruption does no harm.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;

use super::super::archive::follower::own_folder;
use super::super::archive::name::Name;
use super::super::archive::place::{self, Place};
use super::super::keys::Keyring;
use super::super::notary::state::State;
use super::super::record::{Event, EventKind};
use super::super::render::rfc3339;
use super::register::{Act, Hold, Register};
use super::{OWN_LOG, Policy};
use crate::config::{self, Age, Retention};

/// How it stands with the files of one log.
#[derive(Debug, Default)]
pub struct Standing {
    /// Files that may go.
    pub over: Vec<Name>,
    /// Files that a hold keeps, with the hold.
    pub held: Vec<(Name, Hold)>,
    /// Files that are kept.
    pub kept: usize,
    /// How long they are.
    pub age: Option<Age>,
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

/// The places of a log whose records went by their age: from, and before; in order.
///
/// # Errors
/// Why that cannot be told, in words.
pub fn expired(directory: &Path, keyring: &Keyring, log: &str) -> Result<Vec<(u64, u64)>, String> {
    let register = Register::of_log(directory, keyring, log)?;
    let mut ranges = Vec::new();
    for (_, decision) in register.decisions() {
        match &decision.act {
            Act::Expire { customer, first, last, .. } if customer == log => {
                ranges.push((*first, last.saturating_add(1)));
            }
            // Its chain would hold in another log's place, too.
            Act::Begin {}
            | Act::Expire { .. }
            | Act::Hold { .. }
            | Act::Release { .. }
            | Act::Review { .. } => {
                return Err(format!("what went of log {log} is another log's"));
            }
        }
    }
    ranges.sort_unstable();
    Ok(joined(&ranges))
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

/// The longest of the ages: a file has records of every class.
fn age(retention: Retention) -> Age {
    retention.statement.max(retention.session).max(retention.event)
}

fn standing(
    place: &dyn Place,
    holds: &Register,
    (log, policy): (&str, Option<&Policy>),
    now_ns: u64,
) -> Result<Standing, String> {
    let listed = place.list(log).map_err(|error| format!("archive of log {log}: {error}"))?;
    let age = policy.map(|policy| age(policy.retention));
    let kept_ns = age.and_then(Age::duration).and_then(|age| u64::try_from(age.as_nanos()).ok());
    let mut standing = Standing { age, ..Standing::default() };
    for (name, _) in listed {
        let is_over = kept_ns.is_some_and(|kept| name.day.end_ns().saturating_add(kept) <= now_ns);
        if !is_over {
            standing.kept = standing.kept.saturating_add(1);
        } else if let Some(hold) = holds.held(log, name.earliest.begin_ns(), name.day.end_ns()) {
            standing.held.push((name, hold));
        } else {
            standing.over.push(name);
        }
    }
    standing.over.sort_unstable_by_key(|name| name.first);
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
    let holds = Register::read(&audit.directory, keyring)?;
    let archived = State::read(&own_folder(&audit.directory)).map_err(|trouble| trouble.to_string())?;
    let logs = archived.unwrap_or_default().logs.into_keys();
    let of = |log: String| {
        let standing = standing(place.as_ref(), &holds, (&log, policies.get(&log)), now_ns)?;
        Ok((log, standing))
    };
    logs.map(of).collect()
}

/// Lets go what is over in all logs. `record` answers when an event is on disk.
///
/// # Errors
/// The first thing that kept it from going on; what went is recorded.
pub(in crate::audit) fn run(
    audit: &config::Audit,
    keyring: &Keyring,
    policies: &BTreeMap<String, Policy>,
    now_ns: u64,
    record: &mut dyn FnMut(&Event<'_>) -> Result<(), String>,
) -> Result<Vec<Gone>, String> {
    let mut all = Vec::new();
    let place = place::open_to_read(audit).map_err(|error| error.to_string())?;
    for (log, standing) in standings(audit, keyring, policies, now_ns)? {
        let known = expired(&audit.directory, keyring, &log)?;
        let is_known = |name: &Name| known.iter().any(|(from, to)| *from <= name.first && name.last < *to);
        let new: Vec<&Name> = standing.over.iter().filter(|name| !is_known(name)).collect();
        let mut register = Register::of_log(&audit.directory, keyring, &log)?;
        if !new.is_empty() {
            begin(audit, keyring)?;
            let acts = new.iter().map(|name| Act::Expire {
                customer: log.clone(),
                first: name.first,
                last: name.last,
                until_ns: name.day.end_ns(),
            });
            register.decide_all(keyring, acts)?;
            let records = new.iter().map(|name| name.records()).fold(0, u64::saturating_add);
            all.push(Gone { log: log.clone(), files: new.len(), records });
        }
        // What was decided and is still there was interrupted, perhaps before it was told.
        if let (Some(age), false) = (standing.age, standing.over.is_empty()) {
            let mark = register.mark(None).map(|mark| mark.to_string()).unwrap_or_default();
            tell((&log, &mark), &standing.over, age, record)?;
        }
        for name in &standing.over {
            place.delete(name).map_err(|error| format!("archive file {name}: {error}"))?;
        }
    }
    Ok(all)
}

/// With the key for decisions there must be a register of holds: one that is missing then holds everything.
fn begin(audit: &config::Audit, keyring: &Keyring) -> Result<(), String> {
    let mut holds = Register::read(&audit.directory, keyring)?;
    if holds.decisions().next().is_none() {
        holds.decide(keyring, Act::Begin {})?;
    }
    Ok(())
}

/// Records what goes, in the log it goes from and in the vault's own.
fn tell(
    (log, mark): (&str, &str),
    names: &[Name],
    age: Age,
    record: &mut dyn FnMut(&Event<'_>) -> Result<(), String>,
) -> Result<(), String> {
    let records = names.iter().map(|name| name.records()).fold(0, u64::saturating_add);
    let until = names.iter().map(|name| name.day.end_ns()).max().unwrap_or(0);
    let files = names.len();
    let mut detail = format!(
        "{mark}{records} records of {log} of all classes, in {files} files, went: kept for {age}, from before {}; places",
        rfc3339(until)
    );
    let mut places: Vec<(u64, u64)> =
        names.iter().map(|name| (name.first, name.last.saturating_add(1))).collect();
    places.sort_unstable();
    for (from, to) in joined(&places) {
        // Writing to a String cannot fail.
        let _ = write!(detail, " {from}-{}", to.saturating_sub(1));
    }
    let event = Event { detail: detail.as_bytes(), ..Event::new(EventKind::RetentionDelete) };
    if log != OWN_LOG {
        record(&Event { customer: log, ..event })?;
    }
    record(&event)
}
