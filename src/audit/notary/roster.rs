//! Which logs there are: each checkpoint of the vault's own log says how many, which, and how far each is.
//!
//! What always holds: it is said of the checkpoints that are written together with that one, so a log that is taken away whole,
//! or put back to an earlier state, is missed by whoever has the vault's own log, without anything that is kept elsewhere.
//!
//! The line is `logs <count> <names> <states>`: SHA-256, in base64, of the names, each with a newline, in their order; and of
//! name, size and root (in base64), with spaces between and a newline behind each.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::super::journal::sha256;
use super::super::keys::OWN;
use crate::proof::checkpoint::Checkpoint;

const WORD: &str = "logs ";
/// More names are not tried one by one.
const TRIED_MAX: usize = 10_000;

/// The newest checkpoint of each log, by the log's name.
type Latest = BTreeMap<String, (Checkpoint, String)>;

fn hash_of<'a>(names: impl Iterator<Item = &'a str>) -> String {
    let text: String = names.flat_map(|name| [name, "\n"]).collect();
    STANDARD.encode(sha256(text.as_bytes()))
}

fn others(latest: &Latest) -> impl Iterator<Item = (&str, &Checkpoint)> {
    let others = latest.iter().filter(|(name, _)| *name != OWN);
    others.map(|(name, (checkpoint, _))| (name.as_str(), checkpoint))
}

/// The line for a checkpoint of the vault's own log.
pub(super) fn line(latest: &Latest) -> String {
    let mut states = String::new();
    for (name, Checkpoint { size, root, .. }) in others(latest) {
        // Writing to a String cannot fail.
        let _ = writeln!(states, "{name} {size} {}", STANDARD.encode(root));
    }
    let names = hash_of(others(latest).map(|(name, _)| name));
    format!("{WORD}{} {names} {}", others(latest).count(), STANDARD.encode(sha256(states.as_bytes())))
}

/// Compares the newest checkpoints with what the one of the vault's own log says of the others. `rumours`: names of which there
/// may have been logs; a missing one is named if it is among them.
///
/// # Errors
/// What differs, in words.
pub(in crate::audit) fn check(latest: &Latest, rumours: &BTreeSet<String>) -> Result<(), String> {
    let Some((own, _)) = latest.get(OWN) else {
        let is_empty = latest.is_empty();
        return if is_empty {
            Ok(())
        } else {
            Err("the vault's own log has no checkpoint any more".to_owned())
        };
    };
    let said = own.extensions.iter().find(|line| line.starts_with(WORD));
    // Earlier versions did not say it.
    let Some(said) = said.filter(|said| **said != line(latest)) else { return Ok(()) };
    let mut words = said.split(' ').skip(1);
    let count: usize = words.next().and_then(|count| count.parse().ok()).unwrap_or(0);
    let names = words.next().unwrap_or_default();
    let here: BTreeSet<&str> = others(latest).map(|(name, _)| name).collect();
    if hash_of(here.iter().copied()) == names {
        return Err(
            "the newest checkpoint of a log is not the one that was signed with the vault's own".to_owned()
        );
    }
    let rumours: Vec<&str> =
        rumours.iter().map(String::as_str).filter(|name| *name != OWN && !here.contains(name)).collect();
    let is_with = |more: &[&str]| {
        let all: BTreeSet<&str> = here.iter().copied().chain(more.iter().copied()).collect();
        hash_of(all.into_iter()) == names
    };
    let lost = count.saturating_sub(here.len());
    if is_with(&rumours) {
        return Err(format!("log {} is missing, with its checkpoints", rumours.join(", log ")));
    }
    let one = rumours.iter().take(TRIED_MAX).find(|name| is_with(&[name]));
    Err(match one {
        Some(name) => format!("log {name} is missing, with its checkpoints"),
        None => format!(
            "{lost} of {count} logs are missing, with their checkpoints, or others stand in their place"
        ),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn latest(names: &[&str]) -> Latest {
        let of = |name: &str, extensions| {
            let origin = format!("vault/{name}");
            (Checkpoint { origin, size: 7, root: [1; 32], extensions }, String::new())
        };
        let mut latest: Latest =
            names.iter().map(|name| ((*name).to_owned(), of(name, Vec::new()))).collect();
        latest.insert(OWN.to_owned(), of(OWN, vec![line(&latest)]));
        latest
    }

    #[test]
    fn a_log_that_is_missing_is_named_where_anything_speaks_of_it() {
        let whole = latest(&["one_barn", "one_spa", "one_wealth"]);
        let none = BTreeSet::new();
        assert_eq!(check(&whole, &none), Ok(()));
        let mut cut = whole;
        cut.remove("one_spa");
        assert!(check(&cut, &none).unwrap_err().contains("1 of 3 logs"));
        let rumours: BTreeSet<String> = ["one_barn", "one_spa", "never_was"].map(str::to_owned).into();
        assert!(check(&cut, &rumours).unwrap_err().starts_with("log one_spa is missing"));
        cut.remove("one_wealth");
        let rumours: BTreeSet<String> = ["one_wealth", "one_spa", "_"].map(str::to_owned).into();
        assert!(check(&cut, &rumours).unwrap_err().starts_with("log one_spa, log one_wealth is missing"));
        cut.remove(OWN);
        assert!(check(&cut, &rumours).is_err());
        assert_eq!(check(&Latest::new(), &rumours), Ok(()));
    }

    #[test]
    fn a_log_that_was_put_back_alone_is_seen() {
        let mut latest = latest(&["one_barn", "one_spa"]);
        latest.get_mut("one_spa").unwrap().0.size = 6;
        assert!(check(&latest, &BTreeSet::new()).unwrap_err().contains("newest checkpoint of a log"));
        // A vault that was signed by an earlier version says nothing.
        latest.get_mut(OWN).unwrap().0.extensions.clear();
        assert_eq!(check(&latest, &BTreeSet::new()), Ok(()));
    }
}
