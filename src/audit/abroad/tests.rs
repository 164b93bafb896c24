//! Witnesses and a second place, tried with a witness that checks all that C2SP tlog-witness says.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::super::evidence::{Evidence, NotVerified, Which, folder_of, key_beside};
use super::super::notary::notes::cosigned_notes;
use super::super::tests::{Folder, keyring, select, wait, who};
use super::super::{Log, Who};
use super::*;
use crate::config::Audit;
use crate::proof::checkpoint::Checkpoint;
use crate::proof::cosignature::{Cosigner, cosigned};
use crate::proof::note;
use crate::proof::tree::{Hash, check_consistency, empty_root};

/// What the witness of a test does.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Does {
    /// What the specification says.
    Right,
    /// Signs with another key.
    OtherKey,
    /// Answers without end.
    Endless,
}

type Seen = (BTreeMap<String, (u64, Hash)>, Vec<u16>);

struct Witnessing {
    url: String,
    cosigner: Cosigner,
    /// Sizes and roots by origin, and the answers given.
    seen: Mutex<Seen>,
    does: Does,
    journal: PathBuf,
}

impl Witnessing {
    fn start(journal: &Folder, does: Does) -> Arc<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/w", listener.local_addr().unwrap());
        let seen = Mutex::new((BTreeMap::new(), Vec::new()));
        let cosigner = Cosigner::new("witness.example/w1", &[5; 32]);
        let witness = Arc::new(Self { url, cosigner, seen, does, journal: journal.0.clone() });
        let serving = Arc::clone(&witness);
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                // A client may be gone before it has its answer.
                let _ = serving.serve(stream.unwrap());
            }
        });
        witness
    }

    fn key(&self) -> Witness {
        self.cosigner.witness().clone()
    }

    fn config(&self, audit: Audit) -> Audit {
        let witness = config::Witness { url: self.url.clone(), key: self.key().encoded() };
        Audit { witnesses: vec![witness], witnesses_required: 1, checkpoint_interval_ms: 100, ..audit }
    }

    fn serve(&self, mut stream: TcpStream) -> std::io::Result<()> {
        let mut reader = BufReader::new(stream.try_clone()?);
        let (mut line, mut length) = (String::new(), 0);
        reader.read_line(&mut line)?;
        assert!(line.starts_with("POST /w/add-checkpoint "), "{line}");
        while line != "\r\n" {
            line.clear();
            reader.read_line(&mut line)?;
            if let Some(count) = line.to_ascii_lowercase().strip_prefix("content-length:") {
                length = count.trim().parse().unwrap();
            }
        }
        let mut body = vec![0; length];
        reader.read_exact(&mut body)?;
        if self.does == Does::Endless {
            write!(stream, "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n")?;
            loop {
                stream.write_all(&[b'a'; 4096])?;
            }
        }
        let (status, answer) = self.answer(&String::from_utf8(body).unwrap());
        lock(&self.seen).1.push(status);
        write!(
            stream,
            "HTTP/1.1 {status} X\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{answer}",
            answer.len()
        )
    }

    /// As the specification says, step by step.
    fn answer(&self, body: &str) -> (u16, String) {
        let nothing = |status| (status, String::new());
        let (head, text) = body.split_once("\n\n").unwrap();
        let mut lines = head.lines();
        let old: u64 = lines.next().unwrap().strip_prefix("old ").unwrap().parse().unwrap();
        let proof: Vec<Hash> = lines.map(|line| STANDARD.decode(line).unwrap().try_into().unwrap()).collect();
        let log = key_beside(&self.journal).unwrap().unwrap();
        let Ok((text, _)) = note::open(text, &[log]) else { return nothing(403) };
        let checkpoint = Checkpoint::parse(text).unwrap();
        let mut seen = lock(&self.seen);
        let (size, root) = seen.0.get(&checkpoint.origin).copied().unwrap_or((0, empty_root()));
        if old > checkpoint.size {
            return nothing(400);
        }
        if old != size {
            return (409, format!("{size}\n"));
        }
        if old == checkpoint.size && root != checkpoint.root {
            return nothing(409);
        }
        if check_consistency((old, &root), (checkpoint.size, &checkpoint.root), &proof).is_err() {
            return nothing(422);
        }
        seen.0.insert(checkpoint.origin, (checkpoint.size, checkpoint.root));
        let now = telemetry::wall_clock().as_secs();
        let other = Cosigner::new("witness.example/w1", &[6; 32]);
        let signs = if self.does == Does::OtherKey { &other } else { &self.cosigner };
        // Beside a stranger's.
        (200, signs.line(text, now) + &Cosigner::new("stranger", &[7; 32]).line(text, now))
    }
}

fn until(what: &str, is_so: impl Fn() -> bool) {
    let begun = Instant::now();
    while !is_so() {
        assert!(begun.elapsed() < Duration::from_secs(30), "never: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Records some statements and waits until they are on disk.
fn record(log: &Log, customer: &'static str, count: u64) {
    let mut session = log.session(&Who { customer, ..who(1) });
    for number in 1..=count {
        let ticket = session.statement(&select(number)).unwrap();
        // A busy disk may take longer than statements are made to wait.
        let begun = Instant::now();
        while wait(|cx| session.poll_durable(ticket, cx)).is_err() {
            assert!(begun.elapsed() < Duration::from_secs(60), "never on disk");
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

fn kept(folder: &Folder, log: &str) -> Vec<u64> {
    let Some(key) = key_beside(&folder.0).unwrap() else { return Vec::new() };
    let notes = cosigned_notes(&folder_of(&folder.0), log, &[key]).unwrap();
    notes.into_iter().map(|(checkpoint, _)| checkpoint.size).collect()
}

fn evidence(folder: &Folder) -> Evidence {
    Evidence::new(&folder.0, keyring(folder), key_beside(&folder.0).unwrap().unwrap())
}

fn differs<T: std::fmt::Debug>(found: Result<T, NotVerified>) -> String {
    match found.unwrap_err() {
        NotVerified::Differs(what) => what,
        other @ (NotVerified::Journal(_) | NotVerified::Unknown(_)) => panic!("{other}"),
    }
}

#[test]
fn a_witness_signs_what_it_has_seen_grow_and_whoever_checks_sees_it() {
    let folder = Folder::new();
    let witness = Witnessing::start(&folder, Does::Right);
    let config = witness.config(folder.config());
    let log = Log::open(&config, "n").unwrap();
    record(&log, "one_spa", 3);
    until("the first is signed", || kept(&folder, "one_spa") == [3]);
    record(&log, "one_spa", 6);
    until("what came later is signed", || kept(&folder, "one_spa") == [9]);
    assert_eq!(log.health().unwitnessed, None);
    drop(log);
    // Who has forgotten how far the witness is asks again with what it says.
    std::fs::remove_file(folder_of(&folder.0).join("one_spa/cosigned")).unwrap();
    let log = Log::open(&config, "n").unwrap();
    record(&log, "one_spa", 1);
    until("it goes on", || kept(&folder, "one_spa") == [10]);
    until("the vault's own log, too", || kept(&folder, "_").first() >= Some(&3));
    drop(log);
    assert!(lock(&witness.seen).1.contains(&409));
    let evidence = evidence(&folder);
    let (_, logs) = evidence.verify(None, &[], |_| {}).unwrap();
    let known = [witness.key()];
    assert_eq!(evidence.witnessed(&logs, (&known, 1)).unwrap()["one_spa"], 10);
    let proof = evidence.prove("one_spa", Which::Index(4)).unwrap();
    proof.check(&[key_beside(&folder.0).unwrap().unwrap()]).unwrap();
    let found = cosigned(&proof.checkpoint, &known).unwrap();
    assert_eq!(found.len(), 1, "{}", proof.checkpoint);
    // Somebody else's word is no replacement.
    let other = [Cosigner::new("other", &[9; 32]).witness().clone()];
    assert!(differs(evidence.witnessed(&logs, (&other, 1))).contains("0 of 1 witnesses stand for it"));
    // A byte of the cosignature is another.
    let path = folder_of(&folder.0).join("one_spa/cosigned");
    let text = std::fs::read_to_string(&path).unwrap();
    let at = text.find("witness.example/w1 ").unwrap() + 50;
    let mut bytes = text.into_bytes();
    bytes[at] = if bytes[at] == b'A' { b'B' } else { b'A' };
    std::fs::write(&path, bytes).unwrap();
    assert!(differs(evidence.witnessed(&logs, (&known, 1))).contains("log one_spa"));
}

#[test]
fn a_witness_that_is_away_or_false_holds_nobody_up_and_is_told() {
    let folder = Folder::new();
    for does in [Does::OtherKey, Does::Endless] {
        let witness = Witnessing::start(&folder, does);
        let log = Log::open(&witness.config(folder.config()), "n").unwrap();
        record(&log, "one_spa", 2);
        until("it is told", || log.health().unwitnessed.is_some());
        assert_eq!((log.health().unsigned, kept(&folder, "one_spa").len()), (None, 0));
    }
    let nobody = config::Witness {
        url: "http://127.0.0.1:1".into(),
        key: Cosigner::new("away", &[5; 32]).witness().encoded(),
    };
    let config = Audit { witnesses: vec![nobody], checkpoint_interval_ms: 100, ..folder.config() };
    let log = Log::open(&config, "n").unwrap();
    record(&log, "one_spa", 2);
    until("it is told", || log.health().unwitnessed.is_some_and(|told| told.contains("witness away")));
    drop(log);
    evidence(&folder).verify(None, &[], |_| {}).unwrap();
}

#[test]
fn a_vault_that_was_rolled_back_is_not_what_its_witness_has_seen() {
    let folder = Folder::new();
    let witness = Witnessing::start(&folder, Does::Right);
    let config = witness.config(folder.config());
    let log = Log::open(&config, "n").unwrap();
    record(&log, "one_spa", 3);
    until("it is signed", || kept(&folder, "one_spa") == [3]);
    // The witness has seen more than there is.
    let mut seen = lock(&witness.seen);
    seen.0.get_mut("onevault/one_spa").unwrap().0 = 100;
    drop(seen);
    record(&log, "one_spa", 1);
    until("it is told", || log.health().unwitnessed.is_some_and(|told| told.contains("rolled back")));
}

fn anchored(elsewhere: &Folder, folder: &Folder) -> Audit {
    let url = Some(format!("file://{}", elsewhere.0.display()));
    let anchor = config::Anchor { url, interval_s: 1, ..config::Anchor::default() };
    Audit { anchor, checkpoint_interval_ms: 100, ..folder.config() }
}

fn copy(from: &Folder, to: &Folder) {
    std::fs::create_dir_all(&to.0).unwrap();
    let copied = std::process::Command::new("cp").arg("-aT").arg(&from.0).arg(&to.0).status().unwrap();
    assert!(copied.success());
}

#[test]
fn all_rolled_back_together_is_seen_in_the_second_place() {
    let (folder, before, elsewhere) = (Folder::new(), Folder::new(), Folder::new());
    let config = anchored(&elsewhere, &folder);
    let log = Log::open(&config, "n").unwrap();
    record(&log, "one_spa", 3);
    drop(log);
    copy(&folder, &before);
    let log = Log::open(&config, "n").unwrap();
    record(&log, "one_spa", 2);
    record(&log, "one_barn", 1);
    let store = Store::open(&config).unwrap();
    let has = |origin: &str, size| {
        let known = [key_beside(&folder.0).unwrap().unwrap()];
        let all = store.read(&known).unwrap();
        all.iter().any(|one| one.checkpoint.origin == origin && one.checkpoint.size == size)
    };
    until("both are there", || has("onevault/one_spa", 5) && has("onevault/one_barn", 1));
    assert_eq!(log.health().unanchored, None);
    drop(log);
    let check = || {
        let (_, logs) = evidence(&folder).verify(None, &[], |_| {}).unwrap();
        let evidence = evidence(&folder);
        evidence.anchored(&evidence.anchors(&config).unwrap(), &logs, None)
    };
    assert!(check().unwrap() >= 3);
    std::fs::remove_dir_all(&folder.0).unwrap();
    copy(&before, &folder);
    let told = differs(check());
    assert!(told.starts_with("anchor onevault/") && told.contains("it was rolled back"), "{told}");
    // And on from there, to as many records as there were.
    let log = Log::open(&Audit { anchor: config::Anchor::default(), ..config.clone() }, "n").unwrap();
    record(&log, "one_spa", 4);
    record(&log, "one_barn", 1);
    drop(log);
    assert!(differs(check()).contains("had other records then"));
}

#[test]
fn a_name_in_the_second_place_is_written_once_and_its_failure_is_told() {
    let (folder, elsewhere) = (Folder::new(), Folder::new());
    let config = anchored(&elsewhere, &folder);
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let store = Store::open(&config).unwrap();
    let put = |text: &str| store.put(&runtime, "2026-03-01T12:00:00.5Z", [text].into_iter());
    put("one").unwrap();
    assert!(put("two").is_err());
    let path = elsewhere.0.join("onevault/2026-03-01/12-00-00.5Z.checkpoints");
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "note 3\none");
    // What is not signed is named.
    let known = [note::Signer::new("onevault", &[1; 32]).unwrap().verifier().clone()];
    assert!(store.read(&known).unwrap_err().contains("12-00-00.5Z"));
    // A file in the way of the folder.
    let nowhere = Folder::new();
    std::fs::write(&nowhere.0, "").unwrap();
    let log = Log::open(&anchored(&nowhere, &folder), "n").unwrap();
    record(&log, "one_spa", 1);
    until("it is told", || log.health().unanchored.is_some());
    assert_eq!(log.health().unsigned, None);
    drop(log);
    std::fs::remove_file(&nowhere.0).unwrap();
}
