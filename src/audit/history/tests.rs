//! What is read is the same wherever it lies.

use super::super::archive::follower::{Folders, Follower};
use super::super::archive::name::Day;
use super::super::archive::place::Local;
use super::super::row::Column;
use super::super::tests::{Folder, keyring, select, wait, who};
use super::*;
use crate::audit::{Event, EventKind, Log, Statement, Who};

const HOUR_NS: u64 = 3_600_000_000_000;
/// Later than any test, so that the log's own records come first.
const BEGIN_NS: u64 = 4_000_000_000_000_000_000;

/// Records as they were handed out: log, place, canonical bytes, JSON, line.
type Read = Vec<(String, Option<u64>, Vec<u8>, String, String)>;

fn read(folder: &Folder, wanted: &Wanted) -> Result<Read, HistoryError> {
    let history = History::open(&folder.config(), keyring(folder))?;
    let mut read = Vec::new();
    history.each(wanted, |found| {
        let mut bytes = Vec::new();
        found.row.canonical(&mut bytes);
        found.canonical_long(|piece| bytes.extend_from_slice(piece));
        read.push((found.log.to_owned(), found.index, bytes, found.json()?, found.human()?));
        Ok::<(), HistoryError>(())
    })?;
    Ok(read)
}

/// Of each log its own, in order.
fn by_log(read: Read) -> BTreeMap<String, Read> {
    let mut logs: BTreeMap<String, Read> = BTreeMap::new();
    for record in read {
        logs.entry(record.0.clone()).or_default().push(record);
    }
    logs
}

/// One life of a process: two customers, failed and long statements, parameters, sessions and events, one hour apart each.
fn live(folder: &Folder, begin: u64) {
    let config = config::Audit { buffer_bytes: 16 << 20, ..folder.config() };
    let log = Log::open(&config, "node").unwrap();
    let mut spa = log.session(&who(1));
    let mut barn = log.session(&Who { customer: "one_barn", ..who(2) });
    spa.opened().unwrap();
    let long = vec![b'x'; 3 << 20];
    for number in 1..=5 {
        let started_ns = BEGIN_NS + (begin + number) * HOUR_NS;
        let odd = Statement { text: b"select '\xff'", text_bytes: 10, started_ns, ..select(number) };
        let ticket = spa.statement(&odd).unwrap();
        wait(|cx| spa.poll_durable(ticket, cx)).unwrap();
        let text = if number == 3 { long.as_slice() } else { b"select 2" };
        let failed = Statement {
            text,
            text_bytes: u64::try_from(text.len()).unwrap(),
            started_ns,
            sqlstate: Some(*b"42P01"),
            message: b"relation \"x\" does not exist",
            tag: b"",
            outcome: crate::audit::Outcome::Error,
            ..select(number)
        };
        let ticket = barn.statement(&failed).unwrap();
        wait(|cx| barn.poll_durable(ticket, cx)).unwrap();
    }
    log.event(&Event { detail: b"a reason", login: b"eve", ..Event::new(EventKind::LoginFailed) }).unwrap();
    spa.closed("bye").unwrap();
    log.close();
}

/// Archives what is signed.
fn archive(folder: &Folder) -> Follower {
    let config = folder.config();
    let folders = Folders {
        journal: config.directory.clone(),
        notary: folder_of(&config.directory),
        own: own_folder(&config.directory),
    };
    let place = Local::open(&config.directory.join("archive")).unwrap();
    let mut follower = Follower::open(&folders, &config.origin, Box::new(place), &keyring(folder)).unwrap();
    while !follower.follow().unwrap() {}
    follower.round().unwrap();
    follower
}

#[test]
fn archive_and_journal_read_as_the_journal_alone_did() {
    let folder = Folder::new();
    live(&folder, 0);
    live(&folder, 20);
    let before = read(&folder, &Wanted::ALL).unwrap();
    let first = archive(&folder);
    assert_eq!(by_log(read(&folder, &Wanted::ALL).unwrap()), by_log(before));
    drop(first);
    live(&folder, 40);
    let all = by_log(read(&folder, &Wanted::ALL).unwrap());
    assert_eq!(all.keys().collect::<Vec<_>>(), ["_", "one_barn", "one_spa"]);
    for (log, records) in &all {
        let places: Vec<_> = records.iter().map(|record| record.1.unwrap()).collect();
        assert_eq!(
            places,
            (0..records.len()).map(|at| u64::try_from(at).unwrap()).collect::<Vec<_>>(),
            "{log}"
        );
    }
    let follower = archive(&folder);
    assert_eq!(by_log(read(&folder, &Wanted::ALL).unwrap()), all);
    follower.merge(Day::of(u64::MAX)).unwrap();
    assert_eq!(by_log(read(&folder, &Wanted::ALL).unwrap()), all);
    assert_eq!(read(&folder, &Wanted::of("one_barn")).unwrap(), all["one_barn"]);
}

#[test]
fn a_span_of_time_or_of_places_is_all_of_it_and_nothing_else() {
    let folder = Folder::new();
    live(&folder, 0);
    drop(archive(&folder));
    live(&folder, 20);
    let all = read(&folder, &Wanted::of("one_barn")).unwrap();
    assert_eq!(all.len(), 10);
    let (since_ns, until_ns) = (BEGIN_NS + 3 * HOUR_NS, BEGIN_NS + 22 * HOUR_NS);
    let timely = Wanted { span: Span { since_ns, until_ns, ..Span::ALL }, ..Wanted::of("one_barn") };
    assert_eq!(read(&folder, &timely).unwrap(), all[2..6]);
    let placed = Wanted { span: Span { from: 4, to: 7, ..Span::ALL }, ..Wanted::of("one_barn") };
    assert_eq!(read(&folder, &placed).unwrap(), all[4..7]);
    let span = Span { until_ns, ..Span::ALL };
    let unplaced = Wanted { with_index: false, span, ..Wanted::of("one_barn") };
    assert_eq!(read(&folder, &unplaced).unwrap().len(), 6);
}

#[test]
fn several_logs_come_in_the_order_of_time() {
    let folder = Folder::new();
    live(&folder, 0);
    drop(archive(&folder));
    let history = History::open(&folder.config(), keyring(&folder)).unwrap();
    let mut times = Vec::new();
    let taken = history.each_archived(&Wanted::ALL, |found| {
        if found.log != OWN_LOG && found.row.bytes_of(Column::Class) == b"statement" {
            times.push(found.row.number_of(Column::Time));
        }
        Ok::<(), HistoryError>(())
    });
    taken.unwrap();
    assert!(times.len() == 10 && times.is_sorted(), "{times:?}");
}

#[test]
fn a_file_that_is_not_there_is_an_error_and_named() {
    let folder = Folder::new();
    live(&folder, 0);
    drop(archive(&folder));
    let history = History::open(&folder.config(), keyring(&folder)).unwrap();
    let (name, _) = history.place.list("one_spa").unwrap().remove(0);
    history.place.delete(&name).unwrap();
    let error = read(&folder, &Wanted::ALL).unwrap_err();
    assert!(matches!(&error, HistoryError::Missing(log, _, _) if log == "one_spa"), "{error}");
    assert_eq!(read(&folder, &Wanted::of("one_barn")).unwrap().len(), 5);
}
