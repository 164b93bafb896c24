//! Whatever happens while records are sealed, each is in the archive once.

use std::sync::atomic::{AtomicU32, Ordering};

use super::super::check::check;
use super::super::examples::{DAY_NS, Folder, Ring, leaf, statement, text};
use super::super::name::{covering, gaps};
use super::super::place::Local;
use super::*;
use crate::audit::row::Value;

/// Does so many steps; the one behind them fails, after it was done or without, and so do all that follow: what comes
/// of it is what a process leaves that was killed there.
struct Dying {
    inner: Local,
    left: Arc<AtomicU32>,
    does_it: bool,
}

impl Dying {
    fn step<T>(&self, what: impl FnOnce(&Local) -> io::Result<T>) -> io::Result<T> {
        let left = self.left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1));
        if left.is_ok() {
            return what(&self.inner);
        }
        if self.does_it && left == Err(0) {
            let _ = what(&self.inner);
        }
        Err(io::Error::other("killed"))
    }
}

impl Place for Dying {
    fn list(&self, log: &str) -> io::Result<Vec<(Name, u64)>> {
        self.step(|inner| inner.list(log))
    }
    fn put(&self, name: &Name, file: &Path) -> io::Result<()> {
        self.step(|inner| inner.put(name, file))
    }
    fn open(&self, name: &Name) -> io::Result<File> {
        self.step(|inner| inner.open(name))
    }
    fn delete(&self, name: &Name) -> io::Result<()> {
        self.step(|inner| inner.delete(name))
    }
}

const DAYS_NS: u64 = 86_400_000_000_000;

struct Scene {
    folder: Folder,
    ring: Arc<Ring>,
}

impl Scene {
    fn new() -> Self {
        Self { folder: Folder::new(), ring: Arc::default() }
    }

    fn local(&self) -> Local {
        Local::open(&self.folder.0.join("archive")).unwrap()
    }

    fn sealer(&self, place: impl Place + 'static) -> Sealer {
        let keys: Arc<Ring> = Arc::clone(&self.ring);
        Sealer::open(Box::new(place), keys, &self.folder.0.join("spool")).unwrap()
    }

    fn dying(&self, steps: u32, does_it: bool) -> Sealer {
        let left = Arc::new(AtomicU32::new(steps));
        self.sealer(Dying { inner: self.local(), left, does_it })
    }

    fn names(&self, log: &str) -> Vec<Name> {
        self.local().list(log).unwrap().into_iter().map(|(name, _)| name).collect()
    }

    /// Reads what the archive has of a log and answers its size; each file must be right and nothing missing.
    fn whole(&self, log: &str) -> u64 {
        let names = self.names(log);
        let pieces = covering(&names);
        assert_eq!(gaps(&pieces), [], "{names:?}");
        let keys: Arc<Ring> = Arc::clone(&self.ring);
        for piece in &pieces {
            let file = self.local().open(piece.name).unwrap();
            let checked = check(piece.name, file, keys.clone(), |index| Some(leaf(index, 1).check)).unwrap();
            assert_eq!(checked, piece.name.records());
        }
        pieces.iter().map(|piece| piece.name.last - piece.from + 1).sum()
    }
}

fn row(log: &str, index: u64, begin_ns: u64) -> Row<'static> {
    let mut row = statement(index, begin_ns);
    row.set(Column::Customer, Value::Bytes(log.as_bytes().to_vec().into()));
    row
}

/// Two logs, two days, several rounds: what the notary hands out, from the beginning each time.
fn work(sealer: &mut Sealer) -> Result<(), SealError> {
    for round in 0..4 {
        for index in round * 2..round * 2 + 2 {
            for log in ["one_spa", "one_barn"] {
                sealer.take(log, leaf(index, 1), &row(log, index, DAY_NS + round / 3 * DAYS_NS), &text())?;
            }
        }
        sealer.finish_round()?;
    }
    Ok(())
}

fn merge(sealer: &Sealer) -> Result<usize, SealError> {
    let today = Day::of(DAY_NS + DAYS_NS);
    let mut gone = 0;
    for log in ["one_spa", "one_barn"] {
        gone += sealer.merge(log, today, &|index| Some(leaf(index, 1).check))?;
    }
    Ok(gone)
}

#[test]
fn a_kill_at_any_step_of_a_seal_or_a_merge_neither_loses_nor_doubles() {
    let mut kills = 0;
    for does_it in [false, true] {
        for steps in 0.. {
            let scene = Scene::new();
            let mut sealer = scene.dying(steps, does_it);
            let died = work(&mut sealer).and_then(|()| merge(&sealer)).is_err();
            drop(sealer);
            fs::write(scene.folder.0.join("spool/next.unsealed"), b"half").unwrap();
            let mut sealer = scene.sealer(scene.local());
            assert!(!scene.folder.0.join("spool/next.unsealed").exists());
            work(&mut sealer).unwrap();
            assert_eq!(scene.whole("one_spa"), 8, "killed at {steps}");
            merge(&sealer).unwrap();
            assert_eq!((scene.whole("one_spa"), scene.whole("one_barn")), (8, 8), "killed at {steps}");
            // Of the day that is over one file, and today's.
            assert_eq!(scene.names("one_spa").len(), 2, "killed at {steps}: {:?}", scene.names("one_spa"));
            if !died {
                break;
            }
            kills += 1;
        }
    }
    assert!(kills > 30, "{kills}");
}

#[test]
fn a_place_that_cannot_be_reached_stops_the_taking_and_loses_nothing() {
    let scene = Scene::new();
    let left = Arc::new(AtomicU32::new(1));
    let mut sealer = scene.sealer(Dying { inner: scene.local(), left: Arc::clone(&left), does_it: false });
    sealer.memory_bytes_max = 4_000;
    let mut refused = 0;
    for index in 0..40 {
        let take = |sealer: &mut Sealer| {
            sealer.take("one_spa", leaf(index, 1), &row("one_spa", index, DAY_NS), &text())
        };
        if take(&mut sealer).is_err() {
            refused += 1;
            assert!(take(&mut sealer).is_err() && sealer.waiting_bytes() < 6_000);
            // It is put and read back.
            left.store(2, Ordering::Relaxed);
            take(&mut sealer).unwrap();
        }
    }
    assert!(refused > 1);
    assert!(sealer.finish_round().is_err());
    left.store(2, Ordering::Relaxed);
    sealer.finish_round().unwrap();
    assert_eq!((scene.whole("one_spa"), sealer.waiting_bytes()), (40, 0));
}

#[test]
fn records_that_come_again_are_known() {
    let scene = Scene::new();
    let mut sealer = scene.sealer(scene.local());
    let mut take = |index| {
        let taken = sealer.take("one_spa", leaf(index, 1), &row("one_spa", index, DAY_NS), &text()).unwrap();
        sealer.finish_round().unwrap();
        taken
    };
    assert_eq!(
        [0, 1, 0, 1, 2].map(&mut take),
        [Taken::New, Taken::New, Taken::Known, Taken::Known, Taken::New]
    );
    assert_eq!(scene.whole("one_spa"), 3);
}

#[test]
fn a_clock_that_was_set_or_a_missing_record_begins_another_file() {
    let scene = Scene::new();
    let mut sealer = scene.sealer(scene.local());
    let day = |days: u64| DAY_NS + days * DAYS_NS;
    // Late in its day, the next day, the evening before again, far ahead, back, and one that is missing.
    for (index, time) in [(0, day(0)), (1, day(1)), (2, day(0)), (3, day(900)), (4, day(1)), (6, day(1))] {
        sealer.take("one_spa", leaf(index, 1), &row("one_spa", index, time), &text()).unwrap();
    }
    sealer.finish_round().unwrap();
    let mut names: Vec<_> = scene.names("one_spa");
    names.sort_unstable_by_key(|name| name.first);
    let ranges: Vec<_> = names.iter().map(|name| (name.first, name.last)).collect();
    assert_eq!(ranges, [(0, 0), (1, 2), (3, 3), (4, 4), (6, 6)]);
    assert_eq!((names[1].day, names[1].earliest), (Day::of(day(1)), Day::of(day(0))));
    assert_eq!(gaps(&covering(&names)), [(5, 5)]);
}

#[test]
fn what_was_shredded_is_let_go_and_counted() {
    let scene = Scene::new();
    let mut sealer = scene.sealer(scene.local());
    sealer.take("one_spa", leaf(0, 1), &row("one_spa", 0, DAY_NS), &text()).unwrap();
    sealer.take("one_barn", leaf(0, 2), &row("one_barn", 0, DAY_NS), &text()).unwrap();
    scene.ring.shredded.lock().unwrap().push(1);
    sealer.finish_round().unwrap();
    assert_eq!((sealer.figures().shredded, sealer.figures().records, sealer.waiting_bytes()), (1, 1, 0));
    assert_eq!((scene.names("one_spa").len(), scene.whole("one_barn")), (0, 1));
}

#[test]
fn files_that_are_swapped_renamed_or_changed_are_named_and_never_merged() {
    let scene = Scene::new();
    let mut sealer = scene.sealer(scene.local());
    work(&mut sealer).unwrap();
    let root = scene.folder.0.join("archive");
    let mut names = scene.names("one_spa");
    names.sort_unstable_by_key(|name| name.first);
    let [first, second] = [&names[0], &names[1]].map(|name| root.join(name.to_string()));
    let barn = root.join(names[0].to_string().replace("one_spa", "one_barn"));
    let other = check(&names[0], File::open(&barn).unwrap(), scene.ring.clone(), |_| None).unwrap_err();
    assert!(other.to_string().contains("another log"), "{other}");
    let whole = fs::read(&first).unwrap();
    let mut changed = whole.clone();
    changed[700] ^= 1;
    for wrong in
        [fs::read(&second).unwrap(), fs::read(barn).unwrap(), changed, whole[..900].to_vec(), Vec::new()]
    {
        fs::write(&first, wrong).unwrap();
        let error = merge(&sealer).unwrap_err().to_string();
        assert!(error.contains(&names[0].to_string()), "{error}");
        assert_eq!(scene.names("one_spa").len(), 4);
    }
    fs::write(&first, whole).unwrap();
    // Another day, another range.
    let moved = Name { last: names[0].last + 1, ..names[0].clone() };
    fs::rename(&first, root.join(moved.to_string())).unwrap();
    let file = scene.local().open(&moved).unwrap();
    let keys: Arc<Ring> = Arc::clone(&scene.ring);
    let error = check(&moved, file, keys, |_| None).unwrap_err();
    assert!(matches!(error, FileError::Damaged(Some(2), _)), "{error}");
}

#[test]
fn the_folder_and_its_files_are_their_owners_alone() {
    use std::os::unix::fs::PermissionsExt;
    let scene = Scene::new();
    let mut sealer = scene.sealer(scene.local());
    work(&mut sealer).unwrap();
    let mut open = vec![scene.folder.0.join("archive"), scene.folder.0.join("spool")];
    let mut seen = 0;
    while let Some(path) = open.pop() {
        let mode = fs::metadata(&path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode, if path.is_dir() { 0o700 } else { 0o600 }, "{}", path.display());
        seen += 1;
        if path.is_dir() {
            open.extend(fs::read_dir(path).unwrap().map(|entry| entry.unwrap().path()));
        }
    }
    assert!(seen > 10);
}
