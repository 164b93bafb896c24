//! The log as a whole, on a real folder.

mod disks;
mod killed;
mod long;
mod sealed;
mod signers;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use super::disk::segments;
use super::entry::{Entry, decode};
use super::row::Row;
use super::*;
use crate::config::{Audit, AuditMode};

/// A folder that goes away with the test.
pub(super) struct Folder(pub(super) PathBuf);

impl Folder {
    pub(super) fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("onevault-audit-{}-{number}", std::process::id()));
        std::fs::remove_dir_all(&path).ok();
        Self(path)
    }

    pub(super) fn config(&self) -> Audit {
        Audit {
            enabled: true,
            directory: self.0.clone(),
            mode: AuditMode::Buffered,
            stall_timeout_ms: 2_000,
            flush_interval_ms: 20,
            segment_bytes: 1 << 20,
            buffer_bytes: 1 << 20,
            ..Audit::default()
        }
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        std::fs::remove_dir_all(&self.0).ok();
        std::fs::remove_file(keys::default_file(&self.0)).ok();
    }
}

pub(super) fn who(session: u64) -> Who<'static> {
    Who {
        session,
        customer: "one_spa",
        login: "anna",
        role: "one_spa_app",
        database: "one_spa",
        credential: "scram",
        client_address: "192.0.2.7:5123".parse().unwrap(),
        tls: Some("TLSv1.3"),
        application_name: b"psql",
        backend_pid: 4711,
    }
}

pub(super) fn select(sequence: u64) -> Statement<'static> {
    Statement {
        sequence,
        text: b"select 1",
        text_bytes: 8,
        started_ns: 1_700_000_000_000_000_000,
        duration_ns: 1_000_000,
        commands: 1,
        tag: b"SELECT 1",
        rows: 1,
        transaction_status: b'I',
        outcome: Outcome::Ok,
        ..Statement::default()
    }
}

/// Every body in the folder, oldest first.
pub(super) fn bodies(folder: &Folder) -> Vec<Vec<u8>> {
    let mut reader = reader(folder);
    let mut bodies = Vec::new();
    while let Some(raw) = reader.next_record().unwrap() {
        bodies.push(raw.plain().unwrap().to_vec());
    }
    bodies
}

/// The keys of a folder's log, for reading.
pub(super) fn keyring(folder: &Folder) -> Arc<keys::Keyring> {
    Arc::new(keys::Keyring::of_log(&folder.config()).unwrap())
}

fn reader(folder: &Folder) -> reader::Reader {
    reader::Reader::open(&folder.0).unwrap().with_keys(keyring(folder))
}

/// Polls like a task, for at most ten seconds.
pub(super) fn wait(
    mut poll: impl FnMut(&mut Context<'_>) -> Poll<Result<(), Unavailable>>,
) -> Result<(), Unavailable> {
    let begun = Instant::now();
    loop {
        if let Poll::Ready(ready) = poll(&mut Context::from_waker(Waker::noop())) {
            return ready;
        }
        assert!(begun.elapsed() < Duration::from_secs(10), "never ready");
        std::thread::sleep(Duration::from_millis(1));
    }
}

#[test]
fn a_durable_record_is_in_the_file() {
    let folder = Folder::new();
    let log = Log::open(&folder.config(), "node").unwrap();
    let mut session = log.session(&who(7));
    session.opened().unwrap();
    let ticket = session.statement(&select(1)).unwrap();
    wait(|cx| session.poll_durable(ticket, cx)).unwrap();
    let read = bodies(&folder);
    assert_eq!(read.len(), 3);
    let Entry::Statement(who, statement) = decode(&read[2]).unwrap() else { panic!("no statement") };
    assert_eq!(
        (who.customer.kept, who.backend_pid, statement.text.kept),
        (&b"one_spa"[..], 4711, &b"select 1"[..])
    );
}

#[test]
fn a_second_writer_is_refused() {
    let folder = Folder::new();
    let log = Log::open(&folder.config(), "node").unwrap();
    assert!(matches!(Log::open(&folder.config(), "node"), Err(OpenError::Locked(_))));
    log.close();
    drop(log);
    Log::open(&folder.config(), "node").unwrap();
}

#[test]
fn the_start_says_how_the_log_ended_before() {
    let folder = Folder::new();
    for expected in ["new", "clean", "clean"] {
        let log = Log::open(&folder.config(), "node").unwrap();
        log.session(&who(1)).statement(&select(1)).unwrap();
        drop(log);
        let read = bodies(&folder);
        let mut starts = read.iter().rev().filter_map(|body| {
            let Entry::LogStart(start) = decode(body).unwrap() else { return None };
            Some(String::from_utf8_lossy(start.previous_end.kept).into_owned())
        });
        assert_eq!(starts.next().unwrap(), expected);
        assert!(matches!(decode(read.last().unwrap()), Ok(Entry::LogStop { .. })));
    }
}

#[test]
fn segments_follow_one_another_and_texts_of_any_length_are_kept() {
    let folder = Folder::new();
    let log = Log::open(&folder.config(), "node").unwrap();
    let mut session = log.session(&who(1));
    let long = vec![b'x'; 3_000_000];
    for sequence in 1..=3 {
        for (part, piece) in long.chunks(TEXT_INLINE_BYTES_MAX).enumerate() {
            wait(|cx| session.poll_room(cx)).unwrap();
            session.part((Stream::Text, sequence, u32::try_from(part).unwrap()), piece).unwrap();
        }
        let spilled = spilled(&long, 46, select(sequence));
        let ticket = session.statement(&spilled).unwrap();
        wait(|cx| session.poll_durable(ticket, cx)).unwrap();
    }
    drop(session);
    drop(log);
    assert!(segments(&folder.0).unwrap().len() >= 9);
    let mut bytes = 0;
    for body in bodies(&folder) {
        if let Entry::Part { bytes: part, .. } = decode(&body).unwrap() {
            bytes += part.len();
        }
    }
    assert_eq!(bytes, 9_000_000);
}

/// A statement whose text went ahead in parts.
fn spilled<'a>(text: &[u8], text_parts: u32, statement: Statement<'a>) -> Statement<'a> {
    let text_sha256 = Some(journal::sha256(text));
    Statement { text: b"", text_bytes: body::wide(text.len()), text_parts, text_sha256, ..statement }
}

/// All that `show` would show, as JSON.
pub(super) fn shown(folder: &Folder) -> Vec<serde_json::Value> {
    let mut lines = Vec::new();
    let mut reader = reader(folder);
    let mut joiner = join::Joiner::new(&reader);
    let pieces = reader.pieces();
    let mut show = |shown: &join::Shown<'_>| {
        let (row, whole) = (Row::of(shown), shown.load(&pieces)?);
        assert!(!render::human(&row, &whole).is_empty());
        lines.push(serde_json::from_str(&render::json(&row, &whole)).unwrap());
        Ok::<_, join::BadBody>(())
    };
    while let Some(raw) = reader.next_record().unwrap() {
        joiner.take(&raw, &mut show).unwrap();
    }
    assert_eq!(reader.end().unwrap(), reader::End::Clean);
    joiner.finish(&mut show).unwrap();
    lines
}

pub(super) fn statements(folder: &Folder) -> Vec<serde_json::Value> {
    shown(folder).into_iter().filter(|line| line["ov.class"] == "statement").collect()
}

#[test]
fn an_intent_and_its_outcome_are_one_statement() {
    let folder = Folder::new();
    let log = Log::open(&folder.config(), "node-1").unwrap();
    let mut session = log.session(&who(9));
    session.opened().unwrap();
    for sequence in 1..=3 {
        let begin = Statement { outcome: Outcome::Unknown, tag: b"", rows: 0, ..select(sequence) };
        session.intent(&begin).unwrap();
    }
    session.outcome(&Statement { rows: 5, ..select(2) }).unwrap();
    session.set_application_name(b"other");
    session.set_backend_pid(12);
    session
        .outcome(&Statement {
            sqlstate: Some(*b"42P01"),
            message: b"relation \"x\" does not exist",
            outcome: Outcome::Error,
            ..select(1)
        })
        .unwrap();
    session.statement(&select(4)).unwrap();
    session.closed("client left").unwrap();
    drop(session);
    drop(log);
    let read = statements(&folder);
    let told: Vec<_> =
        read.iter().map(|line| (line["ov.sequence"].as_u64().unwrap(), &line["ov.outcome"])).collect();
    assert_eq!(told, [(2, &"ok".into()), (1, &"error".into()), (4, &"ok".into()), (3, &"unknown".into())]);
    for line in &read {
        assert_eq!(line["db.query.text"], "select 1");
        assert_eq!(line["metadata.tenant_uid"], "one_spa");
        assert_eq!(line["actor.user.name"], "anna");
        assert_eq!(line["src_endpoint.ip"], "192.0.2.7");
        assert_eq!(line["class_uid"], 6005);
        assert_eq!(line["ov.node"], "node-1");
        assert_eq!(line["ov.boot"], serde_json::json!(render::hex(&log_boot(&folder))));
    }
    assert_eq!(read[0]["db.response.returned_rows"], 5);
    assert_eq!(
        (&read[1]["db.response.status_code"], &read[2]["actor.app_name"]),
        (&"42P01".into(), &"other".into())
    );
    assert_eq!((&read[0]["ov.backend_pid"], &read[2]["ov.backend_pid"]), (&4711.into(), &12.into()));
}

fn log_boot(folder: &Folder) -> [u8; 16] {
    let body = bodies(folder).swap_remove(0);
    let Entry::LogStart(start) = decode(&body).unwrap() else { panic!("no start") };
    start.boot
}

#[test]
fn an_intent_of_a_process_that_died_reads_unknown() {
    let folder = Folder::new();
    let log = Log::open(&folder.config(), "n").unwrap();
    let mut session = log.session(&who(1));
    let ticket = session.intent(&select(1)).unwrap();
    wait(|cx| session.poll_durable(ticket, cx)).unwrap();
    // As if the process were killed: what is on disk is copied while it runs.
    let after = Folder::new();
    copy(&folder, &after);
    let log_after = Log::open(&after.config(), "n").unwrap();
    let mut other = log_after.session(&who(1));
    other.statement(&select(1)).unwrap();
    drop((other, log_after));
    let read = statements(&after);
    assert_eq!(read.len(), 2);
    assert_eq!((&read[0]["ov.outcome"], &read[1]["ov.outcome"]), (&"unknown".into(), &"ok".into()));
    assert_ne!(read[0]["ov.boot"], read[1]["ov.boot"]);
    let end = shown(&after).into_iter().rfind(|line| line["ov.kind"] == "log_start").unwrap();
    assert_eq!(end["ov.previous_end"], "not closed");
}

/// Copies a log with its keys and their platform key.
pub(super) fn copy(from: &Folder, to: &Folder) {
    copy_files(&from.0, &to.0);
    std::fs::copy(keys::default_file(&from.0), keys::default_file(&to.0)).unwrap();
}

fn copy_files(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let (path, to) = entry.map(|entry| (entry.path(), to.join(entry.file_name()))).unwrap();
        if path.is_dir() {
            copy_files(&path, &to);
        } else if let Err(error) = std::fs::copy(path, to) {
            // The notary replaces its files.
            assert_eq!(error.kind(), std::io::ErrorKind::NotFound);
        }
    }
}

#[test]
fn long_texts_are_shown_whole_also_when_they_are_run_again() {
    let folder = Folder::new();
    let log = Log::open(&folder.config(), "n").unwrap();
    let mut session = log.session(&who(1));
    session.opened().unwrap();
    let mut text = vec![b'y'; 200_000];
    text.extend_from_slice("\u{e9}nd".as_bytes());
    let bytes = u64::try_from(text.len()).unwrap();
    // `PREPARE`: what it names says the same text again.
    session.statement(&Statement { text: &text, tag: b"PREPARE", ..select(1) }).unwrap();
    let again = Statement { text_ref: Some(1), ..spilled(&text, 4, select(2)) };
    session.intent(&again).unwrap();
    session.outcome(&again).unwrap();
    drop((session, log));
    for line in statements(&folder) {
        assert_eq!(line["db.query.text"].as_str().unwrap().as_bytes(), text);
        assert_eq!(line["ov.text_bytes"], bytes);
        assert!(line.get("ov.text_missing_bytes").is_none());
    }
    assert_eq!(statements(&folder).len(), 2);
}

#[test]
fn events_are_told_with_what_is_known() {
    let folder = Folder::new();
    let log = Log::open(&folder.config(), "n").unwrap();
    log.event(&Event {
        customer: "one_barn",
        login: b"\xff\nmallory",
        client_address: Some("[2001:db8::1]:77".parse().unwrap()),
        sqlstate: Some(*b"28P01"),
        detail: b"wrong password",
        outcome: Outcome::Refused,
        ..Event::new(EventKind::LoginFailed)
    })
    .unwrap();
    drop(log);
    let line = shown(&folder).into_iter().find(|line| line["ov.kind"] == "login_failed").unwrap();
    assert_eq!(line["actor.user.name"], "\u{fffd}\nmallory");
    assert_eq!(line["actor.user.name.base64"], "/wptYWxsb3J5");
    assert_eq!((&line["src_endpoint.ip"], &line["class_uid"]), (&"2001:db8::1".into(), &3002.into()));
    assert_eq!((&line["db.response.status_code"], &line["status_id"]), (&"28P01".into(), &2.into()));
}

#[test]
fn a_log_that_is_off_takes_everything() {
    let log = Log::disabled();
    let mut session = log.session(&who(1));
    let ticket = session.intent(&select(1)).unwrap();
    wait(|cx| session.poll_room(cx)).unwrap();
    wait(|cx| session.poll_durable(ticket, cx)).unwrap();
    assert_eq!(log.health().state, State::Disabled);
}

#[test]
fn a_buffered_record_is_on_disk_soon_without_anybody_asking() {
    let folder = Folder::new();
    let log = Log::open(&folder.config(), "n").unwrap();
    let mut session = log.session(&who(1));
    for sequence in 1..=5 {
        session.statement(&select(sequence)).unwrap();
        let begun = Instant::now();
        while log.health().records < sequence + 1 {
            assert!(begun.elapsed() < Duration::from_secs(2), "nobody wrote it");
            std::thread::sleep(Duration::from_millis(1));
        }
        // Long enough for the writer to sleep until something comes.
        std::thread::sleep(Duration::from_millis(60));
    }
}

#[test]
fn who_waits_does_not_wait_for_the_interval() {
    let folder = Folder::new();
    let log = Log::open(&Audit { flush_interval_ms: 1_000, ..folder.config() }, "n").unwrap();
    let mut session = log.session(&who(1));
    let begun = Instant::now();
    for sequence in 1..=10 {
        let ticket = session.intent(&select(sequence)).unwrap();
        wait(|cx| session.poll_durable(ticket, cx)).unwrap();
    }
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
}

#[test]
fn a_waiting_task_is_woken() {
    let folder = Folder::new();
    let log = Log::open(&folder.config(), "n").unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    runtime.block_on(async {
        let mut session = log.session(&who(1));
        for sequence in 1..=20 {
            let ticket = session.intent(&select(sequence)).unwrap();
            let waited = std::future::poll_fn(|cx| session.poll_durable(ticket, cx));
            tokio::time::timeout(Duration::from_secs(5), waited).await.expect("woken").unwrap();
            let ticket = log.event(&Event::new(EventKind::Cancel)).unwrap();
            tokio::time::timeout(Duration::from_secs(5), log.durable(ticket)).await.expect("woken").unwrap();
        }
    });
}

#[test]
fn waiting_tasks_are_woken_by_the_attendant_of_their_thread_and_without_it() {
    let folder = Folder::new();
    let log = Log::open(&Audit { flush_interval_ms: 1_000, ..folder.config() }, "n").unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    runtime.block_on(async {
        let attend = || {
            let log = log.clone();
            async move { log.attend_here().await }
        };
        let mut attendants = tokio::task::JoinSet::new();
        attendants.spawn(attend());
        for round in 0..20 {
            let mut sessions = tokio::task::JoinSet::new();
            for number in 1..=40 {
                let mut session = log.session(&who(round * 40 + number));
                sessions.spawn(async move {
                    for sequence in 1..=5 {
                        let ticket = session.intent(&select(sequence)).unwrap();
                        std::future::poll_fn(|cx| session.poll_durable(ticket, cx)).await.unwrap();
                    }
                });
            }
            // In every other round the attendant leaves while tasks wait.
            tokio::task::yield_now().await;
            if round % 2 == 0 {
                attendants.abort_all();
            }
            let all = async { while sessions.join_next().await.transpose().unwrap().is_some() {} };
            tokio::time::timeout(Duration::from_secs(10), all).await.expect("woken");
            if round % 2 == 0 {
                attendants.spawn(attend());
            }
        }
    });
}

#[test]
fn reading_since_a_time_skips_segments_but_no_text() {
    let folder = Folder::new();
    let log = Log::open(&folder.config(), "node-7").unwrap();
    let mut session = log.session(&who(1));
    let text = vec![b'y'; 200_000];
    let now = || u64::try_from(crate::telemetry::wall_clock().as_nanos()).unwrap();
    let run = |session: &mut SessionLog, sequence, text| {
        let ticket = session.statement(&Statement { text, started_ns: now(), ..select(sequence) }).unwrap();
        wait(|cx| session.poll_durable(ticket, cx)).unwrap();
    };
    for sequence in 1..=12 {
        run(&mut session, sequence, &text);
    }
    let since = now();
    let again = Statement { text_ref: Some(1), ..spilled(&text, 4, select(13)) };
    session.statement(&Statement { started_ns: since, ..again }).unwrap();
    for sequence in 14..=25 {
        run(&mut session, sequence, &text);
    }
    drop((session, log));

    let mut reader = reader::Reader::open_since(&folder.0, since).unwrap().with_keys(keyring(&folder));
    assert!(reader.segment().0 > 1);
    let (mut joiner, pieces) = (join::Joiner::new(&reader), reader.pieces());
    let mut found = Vec::new();
    while let Some(raw) = reader.next_record().unwrap() {
        let show = |shown: &join::Shown<'_>| {
            assert_eq!(shown.node, b"node-7");
            if let Entry::Statement(_, statement) = &shown.entry
                && statement.started_ns >= since
            {
                assert!(shown.text.load(&pieces).unwrap().len() == 200_000, "{}", statement.sequence);
                found.push(statement.sequence);
            }
            Ok::<_, join::BadBody>(())
        };
        joiner.take(&raw, show).unwrap();
    }
    assert_eq!(found, (13..=25).collect::<Vec<_>>());
}
