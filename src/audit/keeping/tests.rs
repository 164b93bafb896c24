//! What was decided is there whole, or everything is held.

mod ages;
mod stores;

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::super::history::{History, HistoryError, Wanted};
use super::super::keys::Keyring;
use super::super::keys::file::State;
use super::super::keys::requests::{Request, ask as ask_to_shred};
use super::super::tests::{Folder, who};
use super::super::{Log, keys};
use super::register::{Act, Mark, Register};
use super::*;
use crate::config;

const REASON: &str = "Meier v. Spa, \"case\" 4711\\";

fn hold(customer: &str, since_ns: u64, until_ns: u64) -> Act {
    let (reason, by) = (REASON.to_owned(), "olga".to_owned());
    Act::Hold { customer: customer.to_owned(), since_ns, until_ns, reason, by }
}

struct Kept {
    folder: Folder,
    keyring: Keyring,
}

impl Kept {
    fn new() -> Self {
        let folder = Folder::new();
        fs::create_dir(&folder.0).unwrap();
        let keyring = Keyring::prepare(&folder.config()).unwrap();
        Self { folder, keyring }
    }

    fn register(&self) -> Result<Register, String> {
        Register::read(&self.folder.0, &self.keyring)
    }

    fn decide(&self, act: Act) -> u64 {
        self.register().unwrap().decide(&self.keyring, act).unwrap()
    }

    fn file(&self) -> PathBuf {
        folder_of(&self.folder.0).join("register")
    }
}

#[test]
fn a_hold_covers_its_log_and_its_time_until_it_is_released() {
    let kept = Kept::new();
    assert_eq!(kept.register().unwrap().held("one_spa", 0, u64::MAX), None);
    assert!(!kept.file().exists(), "reading makes nothing");
    let number = kept.decide(hold("one_spa", 100, 200));
    let held = |log, since, until| kept.register().unwrap().held(log, since, until).map(|hold| hold.number);
    for (since, until, expected) in
        [(0, 100, None), (0, 101, Some(1)), (199, 300, Some(1)), (200, 300, None), (150, 151, Some(1))]
    {
        assert_eq!(held("one_spa", since, until), expected, "{since} {until}");
        assert_eq!(held("one_barn", since, until), None);
    }
    let release = Act::Release { number, reason: "settled".to_owned(), by: "karl".to_owned() };
    assert_eq!(kept.decide(release), 2);
    assert_eq!(held("one_spa", 0, u64::MAX), None);
    let released = kept.register().unwrap().holds().remove(0).released.unwrap();
    assert_eq!((released.1.as_str(), released.2.as_str()), ("settled", "karl"));
    // Another start reads the same.
    let keyring = Keyring::prepare(&kept.folder.config()).unwrap();
    assert_eq!(Register::read(&kept.folder.0, &keyring).unwrap().holds().len(), 1);
}

#[test]
fn a_register_that_was_changed_cut_or_taken_away_is_no_register() {
    let kept = Kept::new();
    kept.decide(hold("one_spa", 0, u64::MAX));
    kept.decide(hold("one_barn", 5, 6));
    let good = fs::read(kept.file()).unwrap();
    let is_read = |bytes: &[u8]| {
        fs::write(kept.file(), bytes).unwrap();
        kept.register().is_ok()
    };
    assert!(is_read(&good));
    for at in 0..good.len() {
        let mut other = good.clone();
        other[at] ^= 1;
        assert!(!is_read(&other), "byte {at}");
    }
    let lines: Vec<&[u8]> = good.split_inclusive(|byte| *byte == b'\n').collect();
    for at in 0..good.len() {
        // Whole decisions at the end that are gone look as if they had not been made yet.
        let is_older = at == lines[0].len() + lines[1].len();
        assert_eq!(is_read(&good[..at]), is_older, "cut at {at}");
    }
    assert!(!is_read(&[lines[0], lines[2], lines[1]].concat()), "exchanged");
    assert!(!is_read(&[lines[0], lines[2]].concat()), "the first taken out");
    assert!(!is_read(&[good.as_slice(), lines[1]].concat()), "one said again");
    fs::remove_file(kept.file()).unwrap();
    assert!(kept.register().unwrap_err().contains("missing"));
}

fn wait<T>(mut look: impl FnMut() -> Option<T>) -> T {
    let begun = Instant::now();
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(begun.elapsed() < Duration::from_secs(20));
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn keys_of_held_records_stay_also_when_nobody_can_tell_what_is_held() {
    let folder = Folder::new();
    let config = folder.config();
    let log = Log::open(&config, "node").unwrap();
    let mut session = log.session(&who(1));
    session.opened().unwrap();
    session.closed("end").unwrap();
    let done = |wish: &Wish| {
        let asked = ask(&folder.0, wish).unwrap();
        wait(|| asked.answer().unwrap())
    };
    let customer = || "one_spa".to_owned();
    let (reason, by) = (REASON.to_owned(), "olga".to_owned());
    let set =
        Wish::Hold { customer: customer(), since_ns: 1, until_ns: 2, reason: reason.clone(), by: by.clone() };
    assert!(done(&set).unwrap().contains("hold 1 on one_spa"));
    let backwards =
        Wish::Hold { customer: customer(), since_ns: 2, until_ns: 2, reason: reason.clone(), by: by.clone() };
    assert!(done(&backwards).is_err());

    let shred = || {
        let request = Request { customer: customer(), reason: "asked".into(), by: "me".into() };
        let asked = ask_to_shred(&keys::folder_of(&folder.0), &request).unwrap();
        wait(|| asked.answer().unwrap())
    };
    let active = || {
        let listed = Keyring::list(&keys::folder_of(&folder.0)).unwrap();
        let of_spa = listed.into_iter().flatten().filter(|key| key.label.customer == "one_spa");
        of_spa.filter(|key| matches!(key.state, State::Active)).count()
    };
    wait(|| (active() == 1).then_some(()));
    assert!(shred().unwrap_err().contains("hold 1"));
    let register = folder_of(&folder.0).join("register");
    let good = fs::read(&register).unwrap();
    fs::write(&register, b"").unwrap();
    assert!(shred().unwrap_err().contains("everything is held"));
    assert_eq!(active(), 1, "no key has retired");
    fs::write(&register, good).unwrap();
    for (customer, number) in [("one_spa", 2), ("one_barn", 1)] {
        let wrong =
            Wish::Release { customer: customer.into(), number, reason: reason.clone(), by: by.clone() };
        assert!(done(&wrong).is_err());
    }
    let release = Wish::Release { customer: customer(), number: 1, reason, by };
    assert!(done(&release).unwrap().contains("released"));
    assert!(done(&release).unwrap_err().contains("before"));
    assert!(shred().unwrap().contains("shredded"));
    let _: Arc<Keyring> = log.keyring().unwrap();
}

#[test]
fn a_log_that_nobody_reviews_in_time_is_told_once_and_again_after_the_next_review() {
    use super::super::entry::{Entry, decode};
    use super::super::tests::bodies;
    let folder = Folder::new();
    let log = Log::open(&folder.config(), "node").unwrap();
    log.session(&who(1)).opened().unwrap();
    let every = Duration::from_millis(1);
    let policy = Policy { retention: Retention::default(), review_every: Some(every) };
    log.keep(Box::new(move || [("one_spa".to_owned(), policy), ("one_barn".to_owned(), policy)].into()));
    let told = || {
        let entries = bodies(&folder);
        let is_overdue = |body: &&Vec<u8>| {
            matches!(decode(body), Ok(Entry::Event(event))
                if event.kind == super::super::EventKind::ReviewOverdue && event.customer.kept == b"one_spa")
        };
        entries.iter().filter(is_overdue).count()
    };
    wait(|| (told() == 1).then_some(()));
    std::thread::sleep(Duration::from_millis(1_200));
    log.close();
    assert_eq!(told(), 1, "once");
    let keyring = Keyring::of_log(&folder.config()).unwrap();
    let policies = [("one_spa".to_owned(), policy)].into();
    let standing = review::standings(&folder.0, &keyring, &policies).unwrap().remove("one_spa").unwrap();
    assert!(!standing.is_reviewed && standing.overdue > Duration::from_secs(1));
    let mut register = Register::read(&folder.0, &keyring).unwrap();
    let review = Act::Review {
        customer: "one_spa".to_owned(),
        since_ns: 0,
        until_ns: super::super::gate::now_ns(),
        size: 1,
        root: "00".to_owned(),
        by: "anna".to_owned(),
        note: String::new(),
    };
    register.decide(&keyring, review).unwrap();
    let hourly = Policy { review_every: Some(Duration::from_secs(3_600)), ..policy };
    let policies = [("one_spa".to_owned(), hourly)].into();
    let standing = review::standings(&folder.0, &keyring, &policies).unwrap().remove("one_spa").unwrap();
    assert!(standing.is_reviewed && standing.overdue.is_zero());
}

/// A log with records of one_spa in the archive, closed.
fn archived() -> (Folder, config::Audit, Arc<Keyring>) {
    let folder = Folder::new();
    let mut audit = config::Audit { checkpoint_interval_ms: 100, ..folder.config() };
    (audit.archive.enabled, audit.archive.interval_s) = (true, 1);
    let log = Log::open(&audit, "node").unwrap();
    let keyring = log.keyring().unwrap();
    for session in 1..4 {
        let mut session = log.session(&who(session));
        session.opened().unwrap();
        session.closed("end").unwrap();
    }
    wait(|| {
        let history = History::open(&audit, Arc::clone(&keyring)).unwrap();
        history.archived_logs().any(|(log, size)| log == "one_spa" && size >= 6).then_some(())
    });
    log.close();
    let keyring = Arc::new(Keyring::of_log(&audit).unwrap());
    (folder, audit, keyring)
}

fn count(audit: &config::Audit, keyring: &Arc<Keyring>) -> Result<usize, String> {
    let history = History::open(audit, Arc::clone(keyring)).map_err(|error| error.to_string())?;
    let mut found = 0;
    let read = history.each::<HistoryError>(&Wanted::of("one_spa"), |_| {
        found += 1;
        Ok(())
    });
    read.map(|_| found).map_err(|error| error.to_string())
}

fn seven_years() -> Retention {
    let age = config::Age::years(7);
    Retention { statement: age, session: age, event: age }
}

const YEAR_NS: u64 = 366 * 86_400_000_000_000;

#[test]
fn what_is_older_than_it_is_kept_goes_with_a_record_and_everything_else_that_is_missing_is_missing() {
    let (folder, audit, keyring) = archived();
    let now = super::super::gate::now_ns();
    let (years, day) = (|count: u64| now + count * YEAR_NS, 2 * 86_400_000_000_000);
    let mut told: Vec<String> = Vec::new();
    let policy = Policy { retention: seven_years(), review_every: None };
    let policies: BTreeMap<_, _> = [("one_spa".to_owned(), policy)].into();
    let mut sweep = |policies: &BTreeMap<String, Policy>, now: u64| {
        retention::run(&audit, &keyring, policies, now, &mut |event| {
            told.push(format!("{} {}", event.customer, String::from_utf8_lossy(event.detail)));
            Ok(())
        })
    };
    assert_eq!(count(&audit, &keyring), Ok(6));
    assert_eq!(sweep(&policies, years(7) - day), Ok(vec![]), "too early");
    assert_eq!(sweep(&BTreeMap::new(), years(99)), Ok(vec![]), "nobody knows the customer");
    let mut register = Register::read(&folder.0, &keyring).unwrap();
    let number = register.decide(&keyring, hold("one_spa", now - 1_000_000_000, now + 1)).unwrap();
    assert_eq!(sweep(&policies, years(8)), Ok(vec![]), "held");
    let good = fs::read(folder_of(&folder.0).join("register")).unwrap();
    fs::write(folder_of(&folder.0).join("register"), "rubbish").unwrap();
    assert!(sweep(&policies, years(8)).is_err(), "nobody can tell what is held");
    fs::write(folder_of(&folder.0).join("register"), good).unwrap();
    let release = Act::Release { number, reason: String::new(), by: String::new() };
    register.decide(&keyring, release).unwrap();
    assert_eq!(count(&audit, &keyring), Ok(6));

    // Something that takes a file without a record is found.
    let place = super::super::archive::place::open(&audit).unwrap();
    let (name, _) = place.list("one_spa").unwrap().remove(0);
    let path = audit.directory.join("archive").join(name.to_string());
    let bytes = fs::read(&path).unwrap();
    fs::remove_file(&path).unwrap();
    assert!(count(&audit, &keyring).unwrap_err().contains("are in none of its files"));
    fs::write(&path, &bytes).unwrap();

    let gone = sweep(&policies, years(8)).unwrap();
    assert_eq!(gone.iter().map(|gone| gone.records).sum::<u64>(), 6);
    assert_eq!(count(&audit, &keyring), Ok(0), "and nothing is missing");
    assert!(place.list("one_spa").unwrap().is_empty());
    assert!(!place.list(OWN_LOG).unwrap().is_empty(), "other logs stay");
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(&path, &bytes).unwrap();
    assert_eq!(sweep(&policies, years(8)), Ok(vec![]), "an interrupted deletion is not counted twice");
    assert!(place.list("one_spa").unwrap().is_empty(), "and is finished");
    // That one may not have been told before it was interrupted.
    assert_eq!(told.len(), 4, "{told:?}");
    let mark = Register::of_log(&folder.0, &keyring, "one_spa").unwrap().mark(None).unwrap();
    assert!(told[0].starts_with(&format!("one_spa {mark}6 records")), "{told:?}");
    assert!(told[1].starts_with(&format!(" {mark}6 records")) && told[2..] == told[..2], "{told:?}");
    assert_eq!(mark.check(&folder.0, &keyring), Ok(()));
    assert!(told[0].contains("kept for 7y") && told[0].contains("places 0-5"), "{told:?}");

    // What says so is worth nothing when it was changed, or is another log's.
    let says = folder_of(&folder.0).join("expired/one_spa");
    let good = fs::read(&says).unwrap();
    for at in (0..good.len()).step_by(7) {
        let mut other = good.clone();
        other[at] ^= 1;
        fs::write(&says, other).unwrap();
        assert!(count(&audit, &keyring).is_err(), "byte {at}");
    }
    fs::remove_file(&says).unwrap();
    assert!(count(&audit, &keyring).is_err());
    assert!(mark.check(&folder.0, &keyring).unwrap_err().contains("put back"));
    fs::write(says.with_file_name("_"), &good).unwrap();
    assert!(retention::expired(&folder.0, &keyring, OWN_LOG).is_err());
    fs::write(folder_of(&folder.0).join("register"), &good).unwrap();
    assert!(Register::read(&folder.0, &keyring).is_err(), "nor is it one of holds");
}

#[test]
fn records_that_go_before_anything_else_was_decided_hold_nothing_up() {
    let (folder, audit, keyring) = archived();
    let policy = Policy { retention: seven_years(), review_every: None };
    let policies: BTreeMap<_, _> = [("one_spa".to_owned(), policy)].into();
    let now = super::super::gate::now_ns() + 8 * YEAR_NS;
    let gone = retention::run(&audit, &keyring, &policies, now, &mut |_| Ok(())).unwrap();
    assert_eq!(gone.len(), 1);
    assert_eq!(count(&audit, &keyring), Ok(0));
    let register = Register::read(&folder.0, &keyring).unwrap();
    assert_eq!((register.holds(), register.reviews()), (vec![], vec![]));
    assert_eq!(retention::run(&audit, &keyring, &policies, now, &mut |_| Ok(())), Ok(vec![]));
}

#[test]
fn decisions_that_were_put_back_as_they_were_before_are_missed_by_verify() {
    let folder = Folder::new();
    let audit = config::Audit { checkpoint_interval_ms: 50, ..folder.config() };
    let log = Log::open(&audit, "node").unwrap();
    log.session(&who(1)).opened().unwrap();
    let (reason, by) = (REASON.to_owned(), "olga".to_owned());
    let set = Wish::Hold { customer: "one_spa".into(), since_ns: 1, until_ns: 2, reason, by };
    let path = folder_of(&folder.0).join("register");
    let mut earlier = Vec::new();
    for _ in 0..2 {
        earlier.push(fs::read(&path).ok());
        let asked = ask(&folder.0, &set).unwrap();
        wait(|| asked.answer().unwrap()).unwrap();
    }
    log.close();
    drop(log);
    let keyring = Arc::new(Keyring::of_log(&audit).unwrap());
    let key = super::super::evidence::key_beside(&folder.0).unwrap().unwrap();
    let evidence = super::super::evidence::Evidence::of(&audit, keyring, key);
    let verify = || evidence.verify(None, &[], |_| {}).map(|_| ()).map_err(|error| error.to_string());
    assert_eq!(verify(), Ok(()));
    let good = fs::read(&path).unwrap();
    fs::write(&path, earlier.remove(1).unwrap()).unwrap();
    let told = verify().unwrap_err();
    assert!(told.contains("keeping/register") && told.contains("record of decision 2"), "{told}");
    fs::remove_file(&path).unwrap();
    assert!(verify().unwrap_err().contains("missing"));
    fs::write(&path, good).unwrap();
    assert_eq!(verify(), Ok(()));
}

#[test]
fn a_mark_is_read_as_it_is_written_and_no_other() {
    let kept = Kept::new();
    kept.decide(hold("one_spa", 0, u64::MAX));
    let mark = kept.register().unwrap().mark(None).unwrap();
    assert_eq!(Mark::of_record(format!("{mark}hold 1").as_bytes()), Some(mark.clone()));
    assert_eq!(mark.check(&kept.folder.0, &kept.keyring), Ok(()));
    assert_eq!(
        (kept.register().unwrap().mark(Some(2)), kept.register().unwrap().mark(Some(0))),
        (None, None)
    );
    for bad in [
        "",
        "hold 1",
        "[",
        "[]",
        "[register 1]",
        "[register x 0123456789abcdef]",
        "[../x 1 0123456789abcdef]",
        "[register 1 0123456789abcdef 2]",
        "[expired/../x 1 0123456789abcdef]",
    ] {
        assert_eq!(Mark::of_record(bad.as_bytes()), None, "{bad}");
    }
    let other = Mark::of_record(b"[register 1 0123456789abcdef]").unwrap();
    assert!(other.check(&kept.folder.0, &kept.keyring).is_err());
}
