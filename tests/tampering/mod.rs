//! Who can write to the log's folder changes, cuts, swaps, rolls back and re-orders: it is found, and the place is named.
//!
//! What by its nature is not found is said in [`BY_NATURE`], as in `docs/THREATS.md`, and nowhere else.

mod fill;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use onevault::audit::evidence::{Evidence, check_files, key_beside};
use onevault::audit::keys::file::State;
use onevault::audit::keys::{Keyring, folder_of};
use onevault::audit::verify::verify;
use onevault::proof::cosignature::Witness;
use serde_json::json;

use self::fill::{Filled, copy, files, filled, said};
use crate::support::vault::House;

/// What a file is. A file of another kind fails the tests, so that none is forgotten.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    Segment,
    Begin,
    Prepared,
    Lock,
    Cut,
    Key,
    Newest,
    NotaryState,
    PublicKey,
    History,
    Cosigned,
    Row,
    ArchiveState,
    Archived,
    Register,
    Expired,
    Sealed,
    Position,
    Left,
}

/// Ways of changing a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Way {
    Byte,
    Cut,
    /// Its last part is gone.
    Shortened,
    Removed,
    Swapped,
    Reordered,
    RolledBack,
}

/// What cannot be found, and why.
const BY_NATURE: &[(Kind, &[Way], &str)] = &[
    (
        Kind::Cut,
        &[Way::Byte, Way::Cut, Way::Removed, Way::Swapped],
        "bytes that were no record, kept for whoever wonders",
    ),
    (Kind::Prepared, &[Way::Cut, Way::Removed], "nothing is in it yet"),
    (Kind::Lock, &[Way::Removed], "nothing is ever in it"),
    (
        Kind::Left,
        &[Way::Byte, Way::Cut, Way::Removed, Way::Swapped, Way::RolledBack],
        "an end of the process left it unfinished, and nobody reads it",
    ),
    (Kind::Sealed, &[Way::Removed, Way::RolledBack], "working files; what they say follows from records"),
    (Kind::Position, &[Way::Removed, Way::RolledBack], "records are read again, and none is counted twice"),
    (Kind::Cosigned, &[Way::RolledBack], "what the witness stood for then still holds; it stands for less"),
    (Kind::ArchiveState, &[Way::RolledBack], "the journal still has what it does not know of"),
    (Kind::Key, &[Way::RolledBack], "it was destroyed, and a copy came back; the record of the shred stays"),
];

fn kind(name: &str) -> Option<Kind> {
    let parts: Vec<&str> = name.split('/').collect();
    Some(match parts.as_slice() {
        [file] if file.ends_with(".journal") => Kind::Segment,
        ["journal.begin"] => Kind::Begin,
        ["next.prepared"] => Kind::Prepared,
        ["archive.state", "next.unsealed"] => Kind::Left,
        ["proof" | "archive.state" | "digest" | "alerts" | "reconcile" | "keeping", .., file]
            if file.ends_with(".new") =>
        {
            Kind::Left
        }
        ["journal.lock"] | ["keys", "keys.lock"] => Kind::Lock,
        [file] if file.ends_with(".cut") => Kind::Cut,
        ["keys", file] if file.ends_with(".key") => Kind::Key,
        ["proof", "latest"] => Kind::Newest,
        ["proof", "state"] => Kind::NotaryState,
        ["proof", "checkpoints.pub"] => Kind::PublicKey,
        ["proof", _, "history"] => Kind::History,
        ["proof", _, "cosigned"] => Kind::Cosigned,
        ["proof", _, file] if file.starts_with("row") => Kind::Row,
        ["archive.state", "state"] => Kind::ArchiveState,
        ["archive", .., file] if file.ends_with(".parquet") => Kind::Archived,
        ["keeping", "register"] => Kind::Register,
        ["keeping", "expired", _] => Kind::Expired,
        ["digest", "position.json"] => Kind::Position,
        ["digest" | "alerts" | "reconcile", _, _] => Kind::Sealed,
        _ => return None,
    })
}

/// Verifies as the command does, with a witness that must stand for each log; what it says, if anything is wrong.
fn damage(folder: &Path, witness: &Witness, only: Option<&str>) -> Option<String> {
    let audit =
        onevault::config::Audit { directory: folder.to_owned(), ..onevault::config::Audit::default() };
    let verified = || -> Result<u64, String> {
        let keyring = Arc::new(Keyring::of_log(&audit).map_err(|error| error.to_string())?);
        let counts = match key_beside(folder).map_err(|error| error.to_string())? {
            Some(key) => {
                let evidence = Evidence::of(&audit, keyring, key);
                evidence.verify(only, &[], |_| {}).and_then(|(counts, logs)| {
                    evidence.witnessed(&logs, (std::slice::from_ref(witness), 1)).map(|_| counts)
                })
            }
            None => check_files(folder, &keyring).and_then(|()| Ok(verify(folder, Some(keyring), |_| {})?)),
        };
        let counts = counts.map_err(|error| error.to_string())?;
        Ok(counts.torn_bytes)
    };
    match verified() {
        Ok(0) => None,
        Ok(torn) => Some(format!("torn: {torn} bytes behind the last record of the last .journal")),
        Err(what) => Some(what),
    }
}

/// The same of the journal alone.
fn chain_damage(folder: &Path) -> Option<String> {
    let audit =
        onevault::config::Audit { directory: folder.to_owned(), ..onevault::config::Audit::default() };
    let keyring = Arc::new(Keyring::of_log(&audit).unwrap());
    match verify(folder, Some(keyring), |_| {}) {
        Ok(counts) if counts.torn_bytes == 0 => None,
        Ok(counts) => {
            Some(format!("torn: {} bytes behind the last record of the last .journal", counts.torn_bytes))
        }
        Err(error) => Some(error.to_string()),
    }
}

/// The folder as it is, and what is done to it.
struct Scene<'a> {
    filled: &'a Filled,
    folder: PathBuf,
    names: Vec<String>,
    tried: BTreeMap<(Kind, Way), u32>,
    not_found: Vec<String>,
}

impl Scene<'_> {
    fn read(&self, name: &str) -> Vec<u8> {
        fs::read(self.folder.join(name)).unwrap()
    }

    /// The log that a file is of, if it is of one.
    fn log_of<'n>(&self, name: &'n str) -> Option<&'n str> {
        let parts: Vec<&str> = name.split('/').collect();
        match parts.as_slice() {
            ["proof" | "archive", log, _, ..] => Some(log),
            ["keeping", "expired", log] => Some(log),
            _ => None,
        }
    }

    /// What was shredded is read by nobody, so nobody sees what becomes of it.
    fn is_unreadable(&self, name: &str) -> bool {
        let is_theirs = name.split('/').nth(1) == Some(&self.filled.customers[2]);
        is_theirs && matches!(kind(name), Some(Kind::Archived | Kind::Sealed))
    }

    /// Nothing says that it was there, if nothing was encrypted with it.
    fn is_newest_key(&self, name: &str) -> bool {
        self.names
            .iter()
            .filter(|name| kind(name) == Some(Kind::Key))
            .max()
            .is_some_and(|newest| newest == name)
    }

    /// Whether what was told names the file, or the log whose records it is about.
    fn names_it(&self, told: &str, name: &str) -> bool {
        let inside = name.strip_prefix("archive/").unwrap_or(name);
        if told.contains(inside) {
            return true;
        }
        let kind = kind(name).unwrap();
        if kind == Kind::Segment {
            // The records of a segment that is cut away are missing in their logs.
            return told.contains(".journal") || told.contains("more were signed");
        }
        // Of one that is not there nobody knows that it was.
        let is_gone = kind == Kind::Expired && !self.folder.join(name).exists();
        if is_gone || matches!(kind, Kind::Row | Kind::Archived | Kind::Cosigned) {
            return told.contains(&format!("log {}", self.log_of(name).unwrap()));
        }
        // The vault's own checkpoint says which others there are.
        let words = [
            "is missing, with its checkpoints",
            "are missing, with their",
            "has no checkpoint any more",
            "signed with the vault's own",
        ];
        if kind == Kind::Newest && words.iter().any(|word| told.contains(word)) {
            return true;
        }
        // What the journal begins with is told by the segment that is not there.
        kind == Kind::Begin && told.contains("no journal.begin")
    }

    /// Files were changed; asserts that this is found, and puts them back.
    fn expect(&mut self, way: Way, what: &str, changed: &[(&str, Option<Vec<u8>>)]) {
        let good: Vec<_> = changed.iter().map(|(name, _)| (*name, self.read(name))).collect();
        for (name, bytes) in changed {
            match bytes {
                Some(bytes) => fs::write(self.folder.join(name), bytes).unwrap(),
                None => fs::remove_file(self.folder.join(name)).unwrap(),
            }
        }
        let (first, _) = changed[0];
        let kind = kind(first).unwrap();
        let only = self.log_of(first).filter(|_| way == Way::Byte);
        // The chain is what shows it, and much quicker than all that hangs on it.
        let is_of_chain = kind == Kind::Segment && way == Way::Byte;
        let told = if is_of_chain {
            chain_damage(&self.folder)
        } else {
            damage(&self.folder, &self.filled.witness, only)
        };
        *self.tried.entry((kind, way)).or_default() += 1;
        let is_by_nature = BY_NATURE.iter().any(|(of, ways, _)| *of == kind && ways.contains(&way))
            || self.is_unreadable(first)
            || (way == Way::Removed && self.is_newest_key(first));
        match told {
            None if is_by_nature => {}
            None => self.not_found.push(format!("{first}: {what} was not found")),
            Some(told) if changed.iter().any(|(name, _)| self.names_it(&told, name)) => {}
            Some(told) => self.not_found.push(format!("{first}: {what} is told as: {told}")),
        }
        for (name, bytes) in good {
            fs::write(self.folder.join(name), bytes).unwrap();
        }
    }

    /// A file that passes for one that nobody can read any more.
    fn under_a_shredded_key(&self, name: &str, good: &[u8]) -> Option<Vec<u8>> {
        let keys = Keyring::list(&folder_of(&self.folder)).unwrap().into_iter().map(Result::unwrap);
        let mut shredded = keys.filter(|key| matches!(key.state, State::Shredded(_)));
        let mut bad = good.to_vec();
        if kind(name) == Some(Kind::Sealed) {
            bad[8..12].copy_from_slice(&shredded.next()?.label.number.to_le_bytes());
        } else if kind(name) == Some(Kind::Archived) {
            let word = b"onevault:";
            let at = good.windows(word.len()).position(|found| found == word)? + word.len();
            let digits = good[at..].iter().take_while(|byte| byte.is_ascii_digit()).count();
            let mut texts = shredded.map(|key| key.label.number.to_string());
            bad[at..at + digits].copy_from_slice(texts.find(|text| text.len() == digits)?.as_bytes());
        }
        (bad != good).then_some(bad)
    }

    fn change_all_ways(&mut self, name: &str) {
        let (kind, good) = (kind(name).unwrap(), self.read(name));
        let is_first = !self.tried.contains_key(&(kind, Way::Cut));
        for at in places(kind, &good, is_first) {
            let mut bad = good.clone();
            bad[at] ^= 1 << (at % 8);
            self.expect(Way::Byte, &format!("byte {at} of {}", good.len()), &[(name, Some(bad))]);
        }
        if kind == Kind::Lock {
            self.expect(Way::Byte, "something in it", &[(name, Some(b"x".to_vec()))]);
        }
        for end in [0, 1, good.len() / 2, good.len().saturating_sub(1)] {
            if end < good.len() {
                let what = format!("cut at {end} of {}", good.len());
                self.expect(Way::Cut, &what, &[(name, Some(good[..end].to_vec()))]);
            }
        }
        self.expect(Way::Removed, "removed", &[(name, None)]);
        if let Some(bad) = self.under_a_shredded_key(name, &good) {
            self.expect(Way::Byte, "under a key that was shredded", &[(name, Some(bad))]);
        }
        let pieces = pieces(kind, &good);
        let differ = |pair: &&[(usize, usize)]| good[pair[0].0..pair[0].1] != good[pair[1].0..pair[1].1];
        for pair in pieces.windows(2).filter(differ).take(3) {
            let bad = exchanged(&good, (pair[0], pair[1]));
            self.expect(Way::Reordered, &format!("{pair:?} exchanged"), &[(name, Some(bad))]);
        }
        if let (Kind::History | Kind::Newest | Kind::Cosigned | Kind::Register | Kind::Row, Some((from, _))) =
            (kind, pieces.last())
        {
            self.expect(Way::Shortened, "without its last part", &[(name, Some(good[..*from].to_vec()))]);
        }
        let mut others =
            self.names.iter().filter(|other| *other.as_str() > *name && self::kind(other) == Some(kind));
        if let Some(other) = others.find(|other| self.read(other) != good).cloned() {
            let (what, theirs) = (format!("swapped with {other}"), self.read(&other));
            self.expect(Way::Swapped, &what, &[(name, Some(theirs)), (&other, Some(good.clone()))]);
        }
        if let Some(older) = fs::read(self.filled.before.join(name)).ok().filter(|older| *older != good) {
            self.expect(Way::RolledBack, "rolled back", &[(name, Some(older))]);
        }
    }
}

/// Places in a file at which bytes are changed: some; of the first of its kind all of a small one; of a large one its ends and some between.
fn places(kind: Kind, bytes: &[u8], is_first: bool) -> Vec<usize> {
    let length = bytes.len();
    if !is_first && kind != Kind::Segment {
        return (0..length).step_by((length / 12).max(1)).chain(length.checked_sub(1)).collect();
    }
    let last = || bytes.iter().rposition(|byte| *byte != 0).unwrap_or(0) + 1;
    // Behind its records a segment is zeros.
    let end = if kind == Kind::Segment { last() } else { length };
    const FEW: [(Kind, (usize, usize, usize, usize)); 6] = [
        (Kind::Segment, (0, 192, 4, 40)),
        (Kind::Archived, (0, 8, 120, 16)),
        (Kind::Row, (256, 8, 8, 16)),
        (Kind::Key, (1 << 10, 0, 0, 0)),
        (Kind::Prepared, (0, 1, 1, 4)),
        (Kind::Sealed, (0, 24, 16, 16)),
    ];
    let few = FEW.iter().find(|(of, _)| *of == kind);
    let (small, head, tail, between) = few.map_or((600, 130, 130, 60), |(_, few)| *few);
    if end <= small {
        return (0..end).collect();
    }
    let step = (end / (between + 1)).max(1);
    let mut places: Vec<usize> = (0..head.min(end)).chain((0..end).step_by(step)).collect();
    places.extend(end.saturating_sub(tail)..end);
    if kind == Kind::Segment {
        places.extend([(end + 5).min(length - 1), length - 1]);
    }
    places.sort_unstable();
    places.dedup();
    places
}

/// The parts of a file that can change places: frames, notes, hashes, lines.
fn pieces(kind: Kind, bytes: &[u8]) -> Vec<(usize, usize)> {
    let mut found = Vec::new();
    let mut at = 0;
    if kind == Kind::Segment {
        at = 192;
        while at + 56 < bytes.len() {
            let length = u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap());
            if length == 0 {
                break;
            }
            found.push((at, at + 56 + usize::try_from(length).unwrap()));
            at += 56 + usize::try_from(length).unwrap();
        }
    } else if matches!(kind, Kind::History | Kind::Newest | Kind::Cosigned) {
        let text = std::str::from_utf8(bytes).unwrap();
        while let Some((head, _)) = text.get(at..).unwrap().split_once('\n') {
            let length: usize = head.strip_prefix("note ").unwrap().parse().unwrap();
            found.push((at, at + head.len() + 1 + length));
            at += head.len() + 1 + length;
        }
    } else if kind == Kind::Row {
        found.extend((0..bytes.len() / 32).map(|at| (at * 32, at * 32 + 32)));
    } else if kind == Kind::Archived {
        found.extend([(4, 68), (68, 132)]);
    } else if !matches!(kind, Kind::Prepared | Kind::Lock | Kind::Cut | Kind::Key | Kind::Sealed | Kind::Left)
    {
        for line in bytes.split_inclusive(|byte| *byte == b'\n') {
            found.push((at, at + line.len()));
            at += line.len();
        }
    }
    found
}

fn exchanged(bytes: &[u8], (first, second): ((usize, usize), (usize, usize))) -> Vec<u8> {
    let part = |(from, to): (usize, usize)| &bytes[from..to];
    [&bytes[..first.0], part(second), &bytes[first.1..second.0], part(first), &bytes[second.1..]].concat()
}

#[test]
fn every_change_cut_swap_roll_back_and_re_ordering_is_found_and_its_place_is_named() {
    let filled = filled();
    let folder = filled.vault.dir.0.join("audit");
    let names = files(&folder);
    let unknown: Vec<_> = names.iter().filter(|name| kind(name).is_none()).collect();
    assert!(unknown.is_empty(), "files of a kind that nobody has thought of: {unknown:?}");
    assert_eq!(damage(&folder, &filled.witness, None), None, "before anything was changed");
    let (tried, not_found) = (BTreeMap::new(), Vec::new());
    let mut scene = Scene { filled: &filled, folder, names, tried, not_found };
    let begun = Instant::now();
    let mut took: BTreeMap<Kind, Duration> = BTreeMap::new();
    for name in scene.names.clone() {
        let now = Instant::now();
        scene.change_all_ways(&name);
        *took.entry(kind(&name).unwrap()).or_default() += now.elapsed();
    }
    println!("{:?} in {:?}: {took:?}", scene.tried, begun.elapsed());
    assert!(
        scene.not_found.is_empty(),
        "{} were not found, or misplaced:\n{}",
        scene.not_found.len(),
        scene.not_found.join("\n")
    );
    assert_eq!(damage(&scene.folder, &filled.witness, None), None, "everything was put back");
    by_the_command(&scene);
}

/// One change of each kind of file through the command; its exit code says it, and its words name the place.
fn by_the_command(scene: &Scene<'_>) {
    let verify = || scene.filled.vault.command(&["audit", "verify"]);
    let first = verify();
    assert!(first.status.success(), "{}", said(&first));
    let mut seen = Vec::new();
    for name in &scene.names {
        let (kind, good) = (kind(name).unwrap(), scene.read(name));
        if seen.contains(&kind) || matches!(kind, Kind::Cut | Kind::Lock | Kind::Left) {
            continue;
        }
        seen.push(kind);
        let mut bad = good.clone();
        bad[good.len().min(300) / 2] ^= 1;
        fs::write(scene.folder.join(name), bad).unwrap();
        let told = verify();
        assert_eq!(told.status.code(), Some(1), "{name}: {}", said(&told));
        assert!(scene.names_it(&said(&told), name), "{name}: {}", said(&told));
        fs::write(scene.folder.join(name), good).unwrap();
    }
    assert!(seen.len() >= 14, "{seen:?}");
    assert!(verify().status.success());
    assert_eq!(scene.filled.customers.len(), 3);
}

#[test]
fn everything_rolled_back_at_once_is_whole_and_the_second_place_shows_it() {
    let mut house = House::with("all_rolled_back", |options| options);
    house.vault.stop();
    let anchors = house.vault.dir.0.join("anchors");
    let changes = json!({ "audit": { "checkpoint_interval_ms": 100, "anchor": { "url": format!("file://{}", anchors.display()), "interval_s": 1 } } });
    house.vault.change(changes);
    house.vault.launch();
    house.enter().value("SELECT 'before'");
    house.vault.stop();
    let (now, before) = (house.vault.dir.0.join("audit"), house.vault.dir.0.join("before"));
    copy(&now, &before);
    house.vault.launch();
    house.enter().value("SELECT 'the deed'");
    house.vault.records(&["--grep", "the deed", "--kind", "statement"], 1);
    let told = |arguments: &[&str]| house.vault.command(arguments);
    let count = || files(&anchors).len();
    let begun = (Instant::now(), count());
    while count() < begun.1 + 3 {
        assert!(begun.0.elapsed() < Duration::from_secs(30), "nothing is anchored");
        std::thread::sleep(Duration::from_millis(50));
    }
    let anchored = ["audit", "verify", "--anchors"];
    // While the process goes on signing and anchoring.
    let good = told(&anchored);
    assert!(good.status.success(), "{}", said(&good));
    house.vault.kill();
    fs::remove_dir_all(&now).unwrap();
    fs::rename(&before, &now).unwrap();
    let alone = house.vault.command(&["audit", "verify"]);
    assert!(alone.status.success(), "all of it fits: {}", said(&alone));
    let shown = house.vault.command(&anchored);
    assert_eq!(shown.status.code(), Some(1), "{}", said(&shown));
    assert!(said(&shown).contains("it was rolled back"), "{}", said(&shown));
}
