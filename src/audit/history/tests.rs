//! What is read is the same wherever it lies.

use super::super::archive::follower::{ArchiveTrouble, Folders, Follower};
use super::super::archive::name::Day;
use super::super::archive::place::Local;
use super::super::begin::{trim, write_only};
use super::super::evidence::{Evidence, Which, key_beside};
use super::super::keys::Listed;
use super::super::keys::file::{Purpose, Tombstone};
use super::super::keys::folder_of as keys_of;
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
    let config = config::Audit { buffer_bytes: 16 << 20, stall_timeout_ms: 60_000, ..folder.config() };
    let log = Log::open(&config, "node").unwrap();
    let mut spa = log.session(&who(1));
    let mut barn = log.session(&Who { customer: "one_barn", ..who(2) });
    spa.opened().unwrap();
    let long = vec![b'x'; 1_200_000];
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
    let mut follower = follower(folder);
    while !follower.follow().unwrap() {}
    follower.round().unwrap();
    follower
}

fn follower(folder: &Folder) -> Follower {
    let config = folder.config();
    let folders = Folders {
        journal: config.directory.clone(),
        notary: folder_of(&config.directory),
        own: own_folder(&config.directory),
    };
    let place = Local::open(&config.directory.join("archive")).unwrap();
    Follower::open(&folders, &config.origin, Box::new(place), &keyring(folder)).unwrap()
}

fn merge(follower: &Follower) -> Result<(), ArchiveTrouble> {
    follower.logs().iter().try_for_each(|log| follower.merge(log, Day::of(u64::MAX)).map(drop))
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
    merge(&follower).unwrap();
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
fn what_began_before_the_archive_ends_is_whole_when_it_ends_behind_it() {
    let folder = Folder::new();
    let log = Log::open(&folder.config(), "node").unwrap();
    let mut spa = log.session(&who(1));
    let mut barn = log.session(&Who { customer: "one_barn", ..who(2) });
    let put = |session: &mut crate::audit::SessionLog, number| {
        let ticket = session.statement(&select(number)).unwrap();
        wait(|cx| session.poll_durable(ticket, cx)).unwrap();
    };
    put(&mut spa, 1);
    let begun = Statement { text: b"select 'long ago'", text_bytes: 17, ..select(2) };
    let intent = spa.intent(&begun).unwrap();
    wait(|cx| spa.poll_durable(intent, cx)).unwrap();
    put(&mut barn, 1);
    log.close();
    drop(archive(&folder));
    let wanted = Wanted { with_open: true, ..Wanted::of("one_spa") };
    let found = read(&folder, &wanted).unwrap();
    let texts: Vec<_> = found.iter().map(|record| record.3.contains("long ago")).collect();
    assert_eq!(texts, [false, true], "{found:?}");
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

/// What the process does behind the journal, up to a step at which it ends.
fn work(folder: &Folder, steps: u32) {
    let mut follower = follower(folder);
    while steps > 0 && !follower.follow().unwrap() {}
    if steps > 1 {
        follower.seal_only().unwrap();
    }
    if steps < 3 {
        return;
    }
    let needed = follower.round().unwrap();
    let keyring = keyring(folder);
    match steps {
        4 => write_only(&folder.0, needed, &keyring),
        5 => assert!(trim(&folder.0, needed, u64::MAX, &keyring).unwrap() > 0),
        6 => assert!(merge(&follower).is_ok()),
        _ => {}
    }
}

#[test]
fn an_end_at_any_step_neither_loses_nor_doubles_a_record() {
    let folder = Folder::new();
    let mut known: BTreeMap<String, Read> = BTreeMap::new();
    let mut draw = 7_u32;
    for life in 0..10 {
        live(&folder, life * 20);
        let ends = if life < 7 { vec![u32::try_from(life).unwrap()] } else { vec![draw % 7, draw / 7 % 7] };
        draw = draw.wrapping_mul(1_103_515_245).wrapping_add(12_345) >> 3;
        for steps in ends {
            let before = by_log(read(&folder, &Wanted::ALL).unwrap());
            work(&folder, steps);
            let now = by_log(read(&folder, &Wanted::ALL).unwrap());
            assert!(now == before, "life {life}: records changed when it ended after step {steps}");
            for (log, records) in &known {
                assert_eq!(now[log][..records.len()], records[..], "life {life}, log {log}");
            }
            known = now;
        }
    }
    for (log, records) in &known {
        let places: Vec<_> = records.iter().filter_map(|record| record.1).collect();
        assert_eq!(places, (0..u64::try_from(records.len()).unwrap()).collect::<Vec<_>>(), "{log}");
    }
    assert_eq!(known["one_barn"].len(), 10 * 5);
    assert!(super::super::disk::segments(&folder.0).unwrap()[0] > 1, "no segment was deleted");
}

fn verified(folder: &Folder, span: &Span) -> Result<u64, String> {
    let key = key_beside(&folder.0).unwrap().unwrap();
    let evidence = Evidence::new(&folder.0, keyring(folder), key);
    let verified = evidence.verify_span(None, span, &[], |_| {});
    verified.map(|(counts, _)| counts.archived).map_err(|error| error.to_string())
}

#[test]
fn every_change_to_a_file_of_the_archive_is_found_and_the_file_is_named() {
    let folder = Folder::new();
    live(&folder, 0);
    drop(archive(&folder));
    live(&folder, 20);
    drop(archive(&folder));
    live(&folder, 40);
    assert!(verified(&folder, &Span::ALL).unwrap() > 10);
    let place = Local::open(&folder.config().directory.join("archive")).unwrap();
    let mut names = place.list("one_barn").unwrap();
    names.sort_by_key(|(name, _)| name.first);
    let path = |at: usize| folder.0.join("archive").join(names[at].0.to_string());
    let (first, second) = (std::fs::read(path(0)).unwrap(), std::fs::read(path(1)).unwrap());
    let must_name = |at: usize, what: &str| {
        let found = verified(&folder, &Span::ALL).unwrap_err();
        assert!(found.contains(&names[at].0.to_string()), "{what}: {found}");
    };
    let step = first.len() / 24;
    for offset in (0..first.len()).step_by(step.max(1)).chain([first.len() - 1]) {
        let mut changed = first.clone();
        changed[offset] ^= 1 << (offset % 8);
        std::fs::write(path(0), changed).unwrap();
        must_name(0, &format!("byte {offset} of {}", first.len()));
    }
    std::fs::write(path(0), &first[..first.len() - 1]).unwrap();
    must_name(0, "cut");
    std::fs::write(path(0), &second).unwrap();
    std::fs::write(path(1), &first).unwrap();
    must_name(0, "swapped");
    std::fs::write(path(1), &second).unwrap();
    std::fs::remove_file(path(0)).unwrap();
    let found = verified(&folder, &Span::ALL).unwrap_err();
    assert!(found.contains("one_barn") && found.contains("none of its files"), "{found}");
    std::fs::write(path(0), &first).unwrap();
    verified(&folder, &Span::ALL).unwrap();
}

#[test]
fn a_part_of_the_time_is_verified_without_the_files_of_the_rest() {
    let folder = Folder::new();
    live(&folder, 0);
    drop(archive(&folder));
    let all = verified(&folder, &Span::ALL).unwrap();
    let until_ns = BEGIN_NS - 48 * HOUR_NS;
    let part = verified(&folder, &Span { until_ns, ..Span::ALL }).unwrap();
    assert!(part > 0 && part < all, "{part} of {all}");
    assert_eq!(verified(&folder, &Span { since_ns: u64::MAX - 1, ..Span::ALL }).unwrap(), 0);
}

#[test]
fn a_record_of_the_archive_is_proven() {
    let folder = Folder::new();
    live(&folder, 0);
    drop(archive(&folder));
    let key = key_beside(&folder.0).unwrap().unwrap();
    let evidence = Evidence::new(&folder.0, keyring(&folder), key.clone());
    for index in [0, 2, 4] {
        let bundle = evidence.prove("one_barn", Which::Index(index)).unwrap();
        assert_eq!(bundle.index, index);
        bundle.check(std::slice::from_ref(&key)).unwrap();
    }
}

/// Archives everything, and deletes every segment that the archive has.
fn archive_and_trim(folder: &Folder) {
    let mut follower = archive(folder);
    let needed = follower.round().unwrap();
    assert!(trim(&folder.0, needed, u64::MAX, &keyring(folder)).unwrap() > 0);
}

#[test]
fn segments_that_go_into_the_archive_while_they_are_read_are_read_from_there() {
    for with_index in [true, false] {
        // At the first record of the archive, of the journal, and at some in between.
        for at in [0, 14, 20, 26, 33] {
            let folder = Folder::new();
            live(&folder, 0);
            archive_and_trim(&folder);
            live(&folder, 20);
            live(&folder, 40);
            let wanted = Wanted { with_index, ..Wanted::ALL };
            let before = by_log(read(&folder, &wanted).unwrap());
            let history = History::open(&folder.config(), keyring(&folder)).unwrap();
            let mut found: Vec<(String, Option<u64>, Vec<u8>)> = Vec::new();
            let read = history.each::<HistoryError>(&wanted, |record| {
                let mut bytes = Vec::new();
                record.row.canonical(&mut bytes);
                record.canonical_long(|piece| bytes.extend_from_slice(piece));
                found.push((record.log.to_owned(), record.index, bytes));
                if found.len() == at + 1 {
                    archive_and_trim(&folder);
                    live(&folder, 60);
                    archive_and_trim(&folder);
                }
                Ok(())
            });
            read.unwrap();
            for (log, records) in &before {
                let own = found.iter().filter(|(of, ..)| of == log).map(|(_, _, bytes)| bytes);
                let own: Vec<_> = own.take(records.len()).collect();
                assert_eq!(own.len(), records.len(), "{log}, {at}");
                for (record, bytes) in records.iter().zip(own) {
                    assert_eq!(record.2, *bytes, "{log}, at {at}");
                }
            }
            for log in before.keys().filter(|_| with_index) {
                let places = found.iter().filter(|(of, ..)| of == log);
                // Places are told of the archive's records, too, so they are all there and in order.
                let places: Vec<u64> = places.filter_map(|(_, index, _)| *index).collect();
                assert_eq!(
                    places,
                    (0..u64::try_from(places.len()).unwrap()).collect::<Vec<_>>(),
                    "{log}, at {at}"
                );
            }
        }
    }
}

#[test]
fn a_segment_that_is_missing_and_in_no_archive_is_damage_also_while_it_is_read() {
    let folder = Folder::new();
    live(&folder, 0);
    archive_and_trim(&folder);
    live(&folder, 20);
    live(&folder, 40);
    live(&folder, 60);
    let history = History::open(&folder.config(), keyring(&folder)).unwrap();
    let mut count = 0;
    let read = history.each::<HistoryError>(&Wanted::ALL, |_| {
        count += 1;
        if count == 1 {
            let numbers = super::super::disk::segments(&folder.0).unwrap();
            assert!(numbers.len() > 2, "{numbers:?}");
            std::fs::remove_file(folder.0.join(super::super::journal::segment_name(numbers[1]))).unwrap();
        }
        Ok(())
    });
    assert!(read.is_err());
}

#[test]
fn a_long_text_whose_parts_go_into_the_archive_while_it_is_read_is_whole() {
    for with_index in [true, false] {
        let folder = Folder::new();
        let config = config::Audit { buffer_bytes: 16 << 20, stall_timeout_ms: 60_000, ..folder.config() };
        let log = Log::open(&config, "node").unwrap();
        let mut spa = log.session(&who(1));
        let mut barn = log.session(&Who { customer: "one_barn", ..who(2) });
        let (text, between) = (vec![b'y'; 200_000], vec![b'x'; 1_200_000]);
        let long = Statement { text: &text, text_bytes: 200_000, ..select(1) };
        spa.intent(&long).unwrap();
        // More than a segment, so that the end lies in another than the parts.
        for (number, text) in [(1, between.as_slice()), (2, &b"select 2"[..])] {
            let text_bytes = u64::try_from(text.len()).unwrap();
            let ticket = barn.statement(&Statement { text, text_bytes, ..select(number) }).unwrap();
            wait(|cx| barn.poll_durable(ticket, cx)).unwrap();
        }
        let ticket = spa.outcome(&long).unwrap();
        wait(|cx| spa.poll_durable(ticket, cx)).unwrap();
        log.close();
        let history = History::open(&folder.config(), keyring(&folder)).unwrap();
        let (mut found, mut begun) = (Vec::new(), None);
        let read = history.each::<HistoryError>(&Wanted { with_index, ..Wanted::ALL }, |record| {
            let sequence = record.row.number_of(Column::Sequence);
            found.push((record.log.to_owned(), sequence, record.whole()?.text.len()));
            if (record.log, sequence) == ("one_barn", 2) {
                begun = record.place().map(|place| place.segment);
                archive_and_trim(&folder);
            }
            Ok(())
        });
        read.unwrap();
        assert!(begun > Some(1), "{begun:?}");
        found.retain(|(log, ..)| log != OWN_LOG);
        let own = |log: &str, sequence, bytes| (log.to_owned(), sequence, bytes);
        let barn = [own("one_barn", 1, 1_200_000), own("one_barn", 2, 8)];
        assert_eq!(found, [&barn[..], &[own("one_spa", 1, 200_000)]].concat());
    }
}

#[test]
fn a_file_that_says_it_is_under_anothers_shredded_key_is_damage_and_not_passed_over() {
    let folder = Folder::new();
    live(&folder, 0);
    archive(&folder);
    let keys: Vec<_> = Keyring::list(&keys_of(&folder.0)).unwrap().into_iter().map(Result::unwrap).collect();
    let of = |customer| {
        let own = |key: &&Listed| key.label.customer == customer && key.label.purpose == Purpose::Records;
        keys.iter().find(own).unwrap().label.number
    };
    let (spa, barn) = (of("one_spa"), of("one_barn"));
    let stone = Tombstone { time_ns: BEGIN_NS, by: "t".into(), why: "t".into() };
    keyring(&folder).retire("one_barn").unwrap();
    keyring(&folder).shred("one_barn", &stone).unwrap();
    let wanted = Wanted { log: Some("one_spa".into()), ..Wanted::ALL };
    assert!(!read(&folder, &wanted).unwrap().is_empty());
    let place = Local::open(&folder.0.join("archive")).unwrap();
    for (name, _) in place.list("one_spa").unwrap() {
        let path = folder.0.join("archive").join(name.to_string());
        let mut bytes = std::fs::read(&path).unwrap();
        let (word, other) = (format!("onevault:{spa}"), format!("onevault:{barn}"));
        let at = bytes.windows(word.len()).position(|found| found == word.as_bytes()).unwrap();
        bytes[at..at + other.len()].copy_from_slice(other.as_bytes());
        std::fs::write(&path, bytes).unwrap();
    }
    let told = read(&folder, &wanted).unwrap_err().to_string();
    assert!(told.contains("one_spa") && told.contains("is of another log"), "{told}");
}
