//! Each class of records goes by its own age, and everything else stays as it was signed.

use object_store::memory::InMemory;

use super::super::super::Statement;
use super::super::super::archive::name::{Class, Name, Without};
use super::super::super::archive::place::{Local, Place, Remote};
use super::super::super::archive::sealer::thin::thin;
use super::super::super::evidence::{Evidence, LogCounts, NoProof, Which, key_beside};
use super::super::super::gate::now_ns;
use super::super::super::tests::select;
use super::*;
use crate::config::Age;

pub(super) const DAY_NS: u64 = 86_400_000_000_000;

/// What is over after twenty days: statements.
pub(super) fn policies() -> BTreeMap<String, Policy> {
    let retention = Retention { statement: Age::days(10), session: Age::years(7), event: Age::years(7) };
    [("one_spa".to_owned(), Policy { retention, review_every: None })].into()
}

pub(super) struct Scene {
    pub(super) folder: Folder,
    pub(super) audit: config::Audit,
    pub(super) keyring: Arc<Keyring>,
}

impl Scene {
    /// Three sessions with two statements each in the archive.
    pub(super) fn new() -> Self {
        let folder = Folder::new();
        let mut audit = config::Audit { checkpoint_interval_ms: 100, ..folder.config() };
        (audit.archive.enabled, audit.archive.interval_s) = (true, 1);
        let log = Log::open(&audit, "node").unwrap();
        let keyring = log.keyring().unwrap();
        for session in 1..4 {
            let mut session = log.session(&who(session));
            session.opened().unwrap();
            for sequence in 1..=2 {
                session.statement(&Statement { started_ns: now_ns(), ..select(sequence) }).unwrap();
            }
            session.closed("end").unwrap();
        }
        wait(|| {
            let history = History::open(&audit, Arc::clone(&keyring)).unwrap();
            history.archived_logs().any(|(log, size)| log == "one_spa" && size >= 12).then_some(())
        });
        log.close();
        let keyring = Arc::new(Keyring::of_log(&audit).unwrap());
        Self { folder, audit, keyring }
    }

    pub(super) fn place(&self) -> Local {
        Local::open(&self.audit.directory.join("archive")).unwrap()
    }

    fn names(&self) -> Vec<Name> {
        let mut names: Vec<Name> =
            self.place().list("one_spa").unwrap().into_iter().map(|(name, _)| name).collect();
        names.sort_unstable_by_key(|name| name.first);
        names
    }

    fn sweep(&self, days: u64) -> Result<u64, String> {
        let now = now_ns() + days * DAY_NS;
        let gone = retention::run(&self.audit, &self.keyring, &policies(), now, &mut |_| Ok(()))?;
        Ok(gone.iter().map(|gone| gone.records).sum())
    }

    fn evidence(&self) -> Evidence {
        let key = key_beside(&self.folder.0).unwrap().unwrap();
        Evidence::of(&self.audit, Arc::clone(&self.keyring), key)
    }

    pub(super) fn verify(&self) -> Result<LogCounts, String> {
        let verified = self.evidence().verify(None, &[], |_| {});
        verified.map(|(_, mut logs)| logs.remove("one_spa").unwrap()).map_err(|error| error.to_string())
    }
}

#[test]
fn statements_go_and_sessions_stay_provable() {
    let scene = Scene::new();
    let whole: Vec<(Name, Vec<u8>)> = scene
        .names()
        .into_iter()
        .map(|name| {
            let path = scene.audit.directory.join("archive").join(name.to_string());
            (name, fs::read(path).unwrap())
        })
        .collect();
    assert_eq!((scene.verify().unwrap().records, scene.sweep(5)), (12, Ok(0)));
    let mut register = Register::read(&scene.folder.0, &scene.keyring).unwrap();
    let number =
        register.decide(&scene.keyring, hold("one_spa", now_ns() - 1_000_000_000, u64::MAX)).unwrap();
    assert_eq!(scene.sweep(20), Ok(0), "held");
    let release = Act::Release { number, reason: String::new(), by: String::new() };
    register.decide(&scene.keyring, release).unwrap();
    assert_eq!(scene.sweep(20), Ok(6));
    assert_eq!(count(&scene.audit, &scene.keyring), Ok(6));
    assert!(scene.names().iter().all(|name| name.without == Without::default().and(Class::Statement)));
    let counts = scene.verify().unwrap();
    assert_eq!((counts.records, counts.aged, counts.shredded, counts.signed), (12, 6, 0, 12));
    assert_eq!(scene.sweep(20), Ok(0), "once");
    // Opened, two statements, closed.
    let (evidence, key) = (scene.evidence(), key_beside(&scene.folder.0).unwrap().unwrap());
    for index in 0..12 {
        match (index % 4, evidence.prove("one_spa", Which::Index(index))) {
            (0 | 3, proof) => drop(proof.unwrap().check(std::slice::from_ref(&key)).unwrap()),
            (_, proof) => assert!(matches!(proof, Err(NoProof::Aged)), "{index}: {proof:?}"),
        }
    }
    assert!(matches!(evidence.prove("one_spa", Which::Index(99)), Err(NoProof::Unknown)));

    // Where it was interrupted before the old files went, both say the same, and it is done again.
    for (name, bytes) in &whole {
        fs::write(scene.audit.directory.join("archive").join(name.to_string()), bytes).unwrap();
    }
    assert_eq!(scene.verify().unwrap().aged, 0);
    assert_eq!(scene.sweep(20), Ok(6));
    assert_eq!(scene.verify().unwrap().aged, 6);
    assert_eq!(scene.sweep(8 * 366), Ok(12), "the rest with all of it");
    assert_eq!((count(&scene.audit, &scene.keyring), scene.verify().unwrap().aged), (Ok(0), 12));
}

#[test]
fn a_file_that_is_without_more_than_went_by_its_age_is_found() {
    let scene = Scene::new();
    let (place, name) = (scene.place(), scene.names().remove(0));
    let keys: Arc<dyn super::super::super::archive::file::Keys> = Arc::<Keyring>::clone(&scene.keyring);
    let path = scene.folder.0.join("made");
    let exchanged = |name: &Name| {
        place.delete(&scene.names().remove(0)).unwrap();
        place.put(name, &path).unwrap();
        scene.verify()
    };
    // Somebody who has the keys makes it anew, and says so in its name, or does not.
    let original = fs::read(scene.audit.directory.join("archive").join(name.to_string())).unwrap();
    let made = thin(&place, &keys, &name, &[Class::Session], &path).unwrap();
    let told = exchanged(&made.name).unwrap_err();
    assert!(told.contains("6 of its records are missing, and 0 went by their age"), "{told}");
    thin(&place, &keys, &made.name, &[], &path).unwrap();
    let told = exchanged(&name).unwrap_err();
    assert!(told.contains("not the next one"), "{told}");
    fs::write(&path, &original).unwrap();
    exchanged(&name).unwrap();
}

#[test]
fn a_store_of_objects_gets_the_new_file_before_the_old_one_goes() {
    let scene = Scene::new();
    let remote = Remote::over(Arc::new(InMemory::new()), object_store::path::Path::from("vault")).unwrap();
    let copy = scene.folder.0.join("copy");
    for name in scene.names() {
        fs::copy(scene.audit.directory.join("archive").join(name.to_string()), &copy).unwrap();
        remote.put(&name, &copy).unwrap();
    }
    let mut told = Vec::new();
    let now = now_ns() + 20 * DAY_NS;
    let gone = retention::run_in(&remote, (&scene.audit, &scene.keyring), &policies(), now, &mut |event| {
        told.push(String::from_utf8_lossy(event.detail).into_owned());
        Ok(())
    });
    assert_eq!(gone.unwrap().iter().map(|gone| gone.records).sum::<u64>(), 6);
    let left = remote.list("one_spa").unwrap();
    assert!(!left.is_empty() && left.iter().all(|(name, _)| name.without.has(Class::Statement)), "{left:?}");
    assert!(told.iter().all(|words| words.contains("of class statement (kept for 10d)")), "{told:?}");
}

#[test]
fn of_what_went_by_its_age_the_damaged_file_is_named_and_not_the_records() {
    let scene = Scene::new();
    assert_eq!(scene.sweep(8 * 366), Ok(12));
    assert_eq!((count(&scene.audit, &scene.keyring), scene.verify().unwrap().aged), (Ok(0), 12));
    let path = scene.folder.0.join("keeping/expired/one_spa");
    let good = fs::read(&path).unwrap();
    for at in [0, good.len() / 3, good.len() - 1] {
        let mut bad = good.clone();
        bad[at] ^= 1;
        fs::write(&path, bad).unwrap();
        let (verified, read) =
            (scene.verify().unwrap_err(), count(&scene.audit, &scene.keyring).unwrap_err());
        for told in [verified, read] {
            assert!(told.starts_with(path.to_str().unwrap()), "byte {at}: {told}");
        }
    }
}
