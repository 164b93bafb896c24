//! What lies in the folder says nothing without a key, and goes on being a log when keys change or go.

use super::keys::file::{KeyFile, State as KeyState};
use super::keys::requests::{Request, ask};
use super::keys::{KeyError, Keyring, PlatformKey, default_file, folder_of};
use super::reader::{Body, ReadError, Reader};
use super::verify::verify;
use super::*;
use crate::audit::evidence::{Evidence, key_beside};
use crate::config::KeySource;

const SECRETS: [&str; 6] =
    ["hunter2-text", "hunter2-tag", "hunter2-name", "hunter2-app", "hunter2-detail", "hunter2-login"];

/// Every file below a folder, whole.
fn files(path: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(path).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files(&path));
        } else {
            found.push((path.clone(), std::fs::read(path).unwrap()));
        }
    }
    found
}

fn holds(bytes: &[u8], part: &[u8]) -> bool {
    bytes.windows(part.len()).any(|window| window == part)
}

/// One record of a customer, on disk.
fn write(log: &Log, customer: &'static str, session: u64, text: &[u8]) {
    let mut session = log.session(&Who { customer, ..who(session) });
    let ticket = session.statement(&Statement { text, text_bytes: 0, ..select(1) }).unwrap();
    wait(|cx| session.poll_durable(ticket, cx)).unwrap();
}

fn texts(folder: &Folder) -> Vec<String> {
    statements(folder).iter().map(|line| line["db.query.text"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn planted_secrets_are_found_in_no_file() {
    let folder = Folder::new();
    let log = Log::open(&folder.config(), "node").unwrap();
    let [text, tag, name, app, detail, login] = SECRETS.map(str::as_bytes);
    let mut session = log.session(&Who { application_name: app, ..who(1) });
    session.opened().unwrap();
    let long = [text, &b"y".repeat(200_000), text].concat();
    for text in [text, &long] {
        let statement =
            Statement { text, text_bytes: 0, tag, statement_name: name, message: detail, ..select(1) };
        session.intent(&statement).unwrap();
        session.outcome(&statement).unwrap();
        session.statement(&statement).unwrap();
    }
    session.closed("hunter2-detail").unwrap();
    log.event(&Event { login, detail, ..Event::new(EventKind::LoginFailed) }).unwrap();
    drop((session, log));
    assert!(shown(&folder).iter().any(|line| line.to_string().contains("hunter2-login")));
    for (path, bytes) in files(&folder.0) {
        let hex = render::hex(b"hunter2");
        for part in ["hunter2", "yyyyyyyyyyyyyyyy", hex.as_str(), &hex.to_uppercase(), "aHVudGVyM"] {
            assert!(!holds(&bytes, part.as_bytes()), "{part} in {}", path.display());
        }
    }
}

#[test]
fn without_its_platform_key_a_log_neither_opens_nor_is_read() {
    let folder = Folder::new();
    drop(Log::open(&folder.config(), "n").unwrap());
    write(&Log::open(&folder.config(), "n").unwrap(), "one_spa", 1, b"select 7");
    let other = folder.0.with_extension("other");
    PlatformKey::make(&other).unwrap();
    let source = KeySource { file: Some(other.clone()), ..KeySource::default() };
    let config = Audit { platform_key: source, ..folder.config() };
    let opened = Log::open(&config, "n");
    assert!(matches!(&opened, Err(OpenError::Keys(KeyError::OtherPlatform(_)))), "{opened:?}");
    assert!(matches!(Keyring::of_log(&config), Err(KeyError::OtherPlatform(_))));
    std::fs::remove_file(other).unwrap();
    // The chain needs no key.
    let counts = verify(&folder.0, None, |_| {}).unwrap();
    assert_eq!((counts.starts, counts.closed, counts.statements), (2, 1, 0));
    assert_eq!(texts(&folder), ["select 7"]);
}

#[test]
fn a_record_whose_key_is_missing_or_another_is_no_record() {
    let folder = Folder::new();
    let log = Log::open(&folder.config(), "n").unwrap();
    write(&log, "one_spa", 1, b"select 1");
    write(&log, "one_barn", 2, b"select 2");
    drop(log);
    let keys = folder_of(&folder.0);
    let (first, away) = (keys.join("0000000002.key"), keys.join("away"));
    std::fs::rename(&first, &away).unwrap();
    let missing = verify(&folder.0, Some(keyring(&folder)), |_| {});
    assert!(
        matches!(&missing, Err(ReadError::Key(KeyError::Missing(file))) if *file == first),
        "{missing:?}"
    );
    std::fs::rename(&away, &first).unwrap();
    // A key that somebody with the platform key made in its place.
    let mut ring = keyring(&folder);
    std::fs::rename(&first, &away).unwrap();
    std::fs::rename(keys.join("0000000003.key"), keys.join("away2")).unwrap();
    ring = {
        drop(ring);
        Arc::new(Keyring::prepare(&folder.config()).unwrap())
    };
    ring.current("one_spa", gate::now_ns()).unwrap();
    let broken = verify(&folder.0, Some(ring), |_| {});
    assert!(matches!(&broken, Err(ReadError::Damaged { what, .. }) if what.contains("key")), "{broken:?}");
}

#[test]
fn two_runs_encrypt_the_same_record_with_another_key_stream() {
    let (running, left) = (Folder::new(), Folder::new());
    let log = Log::open(&running.config(), "n").unwrap();
    write(&log, "one_spa", 1, b"select 1");
    let before = log.health().offset_bytes;
    write(&log, "one_spa", 1, b"select 1");
    let end = log.health().offset_bytes;
    copy(&running, &left);
    drop(log);
    // The last record is torn; the next run cuts it, and its number comes again.
    let path = left.0.join("0000000001.journal");
    let span =
        |bytes: &[u8]| bytes[usize::try_from(before).unwrap() + 56..usize::try_from(end).unwrap()].to_vec();
    let first = span(&std::fs::read(&path).unwrap());
    let file = std::fs::OpenOptions::new().write(true).open(&path).unwrap();
    std::os::unix::fs::FileExt::write_all_at(&file, b"\0", end - 1).unwrap();
    let log = Log::open(&left.config(), "n").unwrap();
    write(&log, "one_spa", 1, b"select 1");
    drop(log);
    let read: Vec<_> = {
        let mut reader = Reader::open(&left.0).unwrap().with_keys(keyring(&left));
        let mut places = Vec::new();
        while let Some(raw) = reader.next_record().unwrap() {
            places.push((raw.place.record, raw.place.offset, raw.key));
        }
        places
    };
    // 1 start, 2 statement, 3 start (the number of the torn statement), 4 statement, 5 stop.
    assert_eq!(read.iter().map(|(record, ..)| *record).collect::<Vec<_>>(), [1, 2, 3, 4, 5]);
    assert_eq!((read[1].2, read[3].2), (2, 2), "one key for both runs");
    let bytes = std::fs::read(&path).unwrap();
    let at = usize::try_from(read[3].1).unwrap() + 56;
    let second = &bytes[at..at + first.len()];
    let alike = first.iter().zip(second).filter(|(a, b)| a == b).count();
    assert!(alike < first.len() / 10, "{alike} of {} bytes", first.len());
}

#[test]
fn only_run_and_number_together_give_the_same_key_stream() {
    let folder = Folder::new();
    let log = Log::open(&folder.config(), "n").unwrap();
    let ring = log.keyring().unwrap();
    let logs = logs::Logs::new();
    let sealed = |boot: u8, record: u64| {
        let mut sealer = seal::Sealer::new(Arc::clone(&ring), [boot; 16]);
        sealer.begin_batch(gate::now_ns());
        let mut body = *b"the same text in all of them";
        sealer.key(&logs, 0).unwrap().seal(record, &[0; 20], &mut body).unwrap();
        body
    };
    assert_eq!(sealed(1, 7), sealed(1, 7));
    for other in [sealed(2, 7), sealed(1, 8), sealed(1, 7 << 32)] {
        let alike = sealed(1, 7).iter().zip(&other).filter(|(a, b)| a == b).count();
        assert!(alike < 10, "{alike}");
    }
}

#[test]
fn a_body_is_bound_to_the_fields_of_its_frame() {
    let folder = Folder::new();
    let log = Log::open(&folder.config(), "n").unwrap();
    write(&log, "one_spa", 1, b"select 1");
    let boot = log.boot();
    drop(log);
    let file = std::fs::File::open(folder.0.join("0000000001.journal")).unwrap();
    let mut segment = segment::Segment::open(file, 1).unwrap().unwrap();
    segment.step().unwrap();
    let segment::Step::Frame(head) = segment.step().unwrap() else { panic!("no frame") };
    let mut opener = seal::Opener::new(keyring(&folder), None);
    assert!(opener.open(boot, &head, segment.body()).is_ok());
    for other in [
        journal::FrameHead { record: head.record + 1, ..head },
        journal::FrameHead { back: head.back + 1, ..head },
        journal::FrameHead { length: head.length + 1, ..head },
    ] {
        assert!(matches!(opener.open(boot, &other, segment.body()), Err(seal::Closed::Broken)), "{other:?}");
    }
    assert!(matches!(opener.open([0; 16], &head, segment.body()), Err(seal::Closed::Broken)));
}

#[test]
fn a_journal_from_before_there_were_keys_is_read_and_goes_on() {
    let folder = Folder::new();
    drop(Log::open(&folder.config(), "n").unwrap());
    // Such a journal has frames of format 0 only, and no keyring.
    std::fs::remove_dir_all(folder_of(&folder.0)).unwrap();
    std::fs::remove_file(default_file(&folder.0)).unwrap();
    assert_eq!(shown(&folder).len(), 2);
    write(&Log::open(&folder.config(), "n").unwrap(), "one_spa", 1, b"select 1");
    assert_eq!((shown(&folder).len(), texts(&folder).len()), (5, 1));
}

#[test]
fn keys_are_wrapped_anew_while_the_log_is_written() {
    let folder = Folder::new();
    let log = Log::open(&folder.config(), "n").unwrap();
    write(&log, "one_spa", 1, b"select 1");
    let next = folder.0.with_extension("next");
    PlatformKey::make(&next).unwrap();
    let source = |file: &Path| KeySource { file: Some(file.to_owned()), ..KeySource::default() };
    let old = source(&default_file(&folder.0));
    let both = Audit { platform_key: source(&next), platform_key_previous: old, ..folder.config() };
    let rotated = std::thread::scope(|scope| {
        let writing = scope.spawn(|| {
            for number in 2..40 {
                write(&log, if number % 2 == 0 { "one_spa" } else { "one_barn" }, number, b"select 2");
            }
        });
        let rotated = Keyring::of_log(&both).unwrap().rotate().unwrap();
        writing.join().unwrap();
        rotated
    });
    assert!(rotated.rewrapped >= 1);
    drop(log);
    // The running process made the second customer's key with the platform key it knew.
    Keyring::of_log(&both).unwrap().rotate().unwrap();
    let config = Audit { platform_key: source(&next), ..folder.config() };
    let ring = Arc::new(Keyring::of_log(&config).unwrap());
    assert_eq!(verify(&folder.0, Some(ring), |_| {}).unwrap().statements, 39);
    Log::open(&config, "n").unwrap();
    std::fs::remove_file(next).unwrap();
}

#[test]
fn a_new_month_has_new_keys() {
    let folder = Folder::new();
    let log = Log::open(&folder.config(), "n").unwrap();
    let ring = log.keyring().unwrap();
    let logs = logs::Logs::new();
    let mut sealer = seal::Sealer::new(Arc::clone(&ring), [1; 16]);
    let spa = logs.number("one_spa");
    let mut number_at = |time| {
        sealer.begin_batch(time);
        sealer.key(&logs, spa).unwrap().number()
    };
    let (november, december) = (1_796_083_199_999_999_999, 1_796_083_200_000_000_000);
    let first = number_at(november);
    assert_eq!(number_at(november), first);
    let second = number_at(december);
    assert_ne!(first, second);
    assert_eq!(
        (ring.by_number(first).unwrap().month(), ring.by_number(second).unwrap().month()),
        (202_611, 202_612)
    );
    assert_eq!(number_at(november), first, "a clock that goes back");
}

/// Asks for a shred and waits for what comes of it.
pub(super) fn shred(folder: &Folder, customer: &str) -> String {
    let request =
        Request { customer: customer.into(), reason: "contract ended".into(), by: "an operator".into() };
    let asked = ask(&folder_of(&folder.0), &request).unwrap();
    let begun = Instant::now();
    loop {
        if let Some(answer) = asked.answer().unwrap() {
            return answer.unwrap();
        }
        assert!(begun.elapsed() < Duration::from_secs(10), "nobody answered");
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn a_running_process_shreds_one_customer_and_the_others_stay_readable() {
    let folder = Folder::new();
    let log = Log::open(&folder.config(), "n").unwrap();
    let mut session = log.session(&who(1));
    let ticket = session.statement(&Statement { text: b"of the spa", text_bytes: 0, ..select(1) }).unwrap();
    wait(|cx| session.poll_durable(ticket, cx)).unwrap();
    write(&log, "one_barn", 2, b"of the barn");
    assert_eq!(shred(&folder, "one_spa"), "1 keys of one_spa were shredded");
    // The same session goes on, under a new key.
    let ticket = session.statement(&Statement { text: b"after", text_bytes: 0, ..select(2) }).unwrap();
    wait(|cx| session.poll_durable(ticket, cx)).unwrap();
    drop((session, log));
    assert_eq!(texts(&folder), ["of the barn", "after"]);
    let counts = verify(&folder.0, Some(keyring(&folder)), |_| {}).unwrap();
    assert_eq!((counts.shredded, counts.statements), (1, 2));
    // The leaf of what is gone stands in its tree, and what was signed still holds.
    let key = key_beside(&folder.0).unwrap().unwrap();
    let (_, logs) = Evidence::new(&folder.0, keyring(&folder), key).verify(None, &[], |_| {}).unwrap();
    let (spa, barn) = (&logs["one_spa"], &logs["one_barn"]);
    assert_eq!((spa.records, spa.signed, spa.shredded), (2, 2, 1));
    assert_eq!((barn.records, barn.signed, barn.shredded), (1, 1, 0));
    let mut reader = Reader::open(&folder.0).unwrap().with_keys(keyring(&folder));
    let mut bodies = Vec::new();
    while let Some(raw) = reader.next_record().unwrap() {
        bodies.push(raw.body == Body::Shredded);
    }
    assert_eq!(bodies.iter().filter(|is_shredded| **is_shredded).count(), 1);
    let acts: Vec<_> = shown(&folder).into_iter().filter(|line| line["ov.kind"] == "admin_action").collect();
    let said = |line: &serde_json::Value| line["status_detail"].as_str().unwrap().to_owned();
    assert_eq!(
        acts.iter().map(said).collect::<Vec<_>>(),
        [
            "shred of one_spa begun: 1 keys retire; by an operator: contract ended",
            "shred of one_spa done: 1 keys are gone; by an operator: contract ended",
        ]
    );
    Log::open(&folder.config(), "n").unwrap();
}

#[test]
fn a_customer_without_a_key_is_refused_and_the_others_are_not() {
    let folder = Folder::new();
    let log = Log::open(&folder.config(), "n").unwrap();
    write(&log, "one_barn", 2, b"before");
    // No new key can be made while somebody else holds the keyring.
    let held = std::fs::File::open(folder_of(&folder.0).join("keys.lock")).unwrap();
    rustix::fs::flock(&held, rustix::fs::FlockOperation::LockExclusive).unwrap();
    let mut spa = log.session(&who(1));
    let ticket = spa.statement(&Statement { text: b"held back", text_bytes: 0, ..select(1) }).unwrap();
    assert_eq!(wait(|cx| spa.poll_durable(ticket, cx)), Err(Unavailable::Failing));
    assert_eq!(spa.intent(&select(2)), Err(Unavailable::Failing));
    assert_eq!(wait(|cx| spa.poll_room(cx)), Err(Unavailable::Failing));
    assert_eq!((log.health().state, log.health().logs_failing), (State::Ok, 1));
    // Longer than the watchdog's patience: it must not take what is held back for a hanging disk.
    for _ in 0..3 {
        std::thread::sleep(Duration::from_millis(2_500));
        assert_eq!(log.health().state, State::Ok);
        write(&log, "one_barn", 2, b"meanwhile");
    }
    let ticket = spa.statement(&Statement { text: b"held back, too", text_bytes: 0, ..select(3) }).unwrap();
    drop(held);
    let begun = Instant::now();
    while log.health().logs_failing > 0 {
        assert!(begun.elapsed() < Duration::from_secs(10), "never well");
        std::thread::sleep(Duration::from_millis(5));
    }
    wait(|cx| spa.poll_durable(ticket, cx)).unwrap();
    drop((spa, log));
    let read = texts(&folder);
    let own: Vec<&str> = read.iter().map(String::as_str).filter(|text| text.starts_with("held")).collect();
    assert_eq!((own, read.len()), (vec!["held back", "held back, too"], 6));
    let gap = shown(&folder).into_iter().find(|line| line["ov.kind"] == "log_gap").unwrap();
    assert!(gap["status_detail"].as_str().unwrap().starts_with("customer one_spa: keyring"), "{gap}");
    assert!(gap["ov.refused"].as_u64().unwrap() >= 2, "{gap}");
}

#[test]
fn a_key_that_never_comes_does_not_keep_the_log_from_closing() {
    let folder = Folder::new();
    let log = Log::open(&Audit { stall_timeout_ms: 300, ..folder.config() }, "n").unwrap();
    write(&log, "one_barn", 2, b"before");
    let held = std::fs::File::open(folder_of(&folder.0).join("keys.lock")).unwrap();
    rustix::fs::flock(&held, rustix::fs::FlockOperation::LockExclusive).unwrap();
    let mut spa = log.session(&who(1));
    spa.statement(&select(1)).unwrap();
    let begun = Instant::now();
    drop(spa);
    drop(log);
    assert!(begun.elapsed() < Duration::from_secs(5));
    drop(held);
    assert_eq!(texts(&folder), ["before"]);
    assert_eq!(shown(&folder).last().unwrap()["ov.kind"], "log_stop");
}

#[test]
fn a_changed_byte_of_a_key_file_is_named_by_who_reads_the_log() {
    let folder = Folder::new();
    write(&Log::open(&folder.config(), "n").unwrap(), "one_spa", 1, b"select 1");
    let path = folder_of(&folder.0).join("0000000002.key");
    let good = std::fs::read(&path).unwrap();
    for at in 0..good.len() {
        let mut bytes = good.clone();
        bytes[at] ^= 0x10;
        std::fs::write(&path, bytes).unwrap();
        let read = verify(&folder.0, Some(keyring(&folder)), |_| {});
        assert!(
            matches!(&read, Err(ReadError::Key(KeyError::Damaged { file, .. })) if *file == path),
            "{at}: {read:?}"
        );
    }
    let file = KeyFile::decode(&good).unwrap();
    assert_eq!(file.state, KeyState::Active);
}

#[test]
fn a_key_file_with_a_byte_that_nobody_writes_is_refused_though_its_checksum_fits() {
    let folder = Folder::new();
    write(&Log::open(&folder.config(), "n").unwrap(), "one_spa", 1, b"select 1");
    let mut bytes = std::fs::read(folder_of(&folder.0).join("0000000002.key")).unwrap();
    assert_eq!(KeyFile::decode(&bytes).unwrap().encode(), bytes);
    bytes[11] = 1;
    let (fields, sum) = bytes.split_last_chunk_mut::<4>().unwrap();
    *sum = crc32fast::hash(fields).to_le_bytes();
    assert!(KeyFile::decode(&bytes).is_err());
}

#[test]
fn who_reads_one_log_opens_no_other_customers_record() {
    let folder = Folder::new();
    let log = Log::open(&folder.config(), "n").unwrap();
    write(&log, "one_spa", 1, b"of the spa");
    write(&log, "one_barn", 2, b"of the barn");
    drop(log);
    let mut reader = Reader::open(&folder.0).unwrap().with_keys_of(keyring(&folder), Some("one_spa"));
    let mut opened = Vec::new();
    while let Some(raw) = reader.next_record().unwrap() {
        if let Body::Plain(body) = raw.body
            && raw.key > 0
        {
            opened.push(body.to_vec());
        }
    }
    assert_eq!(opened.len(), 1);
    assert!(holds(&opened[0], b"of the spa"));
    assert_eq!(reader.end().unwrap(), reader::End::Clean);
}
