//! Damage of every kind: found, placed, never taken for something else, never a panic.

use std::os::unix::fs::FileExt;
use std::path::PathBuf;

use proptest::prelude::*;

use super::super::journal::{FRAME_BYTES, FrameHead, HEADER_BYTES, Header, reseal, segment_name};
use super::super::tests::{Folder, bodies, copy, keyring, select, wait, who};
use super::super::{Log, OpenError};
use super::super::{SessionLog, Statement};
use super::*;

fn check(folder: &Folder) -> Result<Counts, ReadError> {
    verify_all(Reader::open(&folder.0)?.impatient().with_keys(keyring(folder)), |_| {}, |_| Ok(()))
}

fn is_whole(folder: &Folder) -> bool {
    check(folder).is_ok_and(|counts| counts.torn_bytes == 0)
}

fn segment(folder: &Folder, number: u64) -> PathBuf {
    folder.0.join(segment_name(number))
}

fn sync(session: &mut SessionLog, sequence: u64) {
    let ticket = session.statement(&select(sequence)).unwrap();
    wait(|cx| session.poll_durable(ticket, cx)).unwrap();
}

/// A folder with `batches` synced batches of one statement each, left as by a kill; and where its records end.
fn killed(batches: u64) -> (Folder, u64) {
    let (running, left) = (Folder::new(), Folder::new());
    let log = Log::open(&running.config(), "n").unwrap();
    let mut session = log.session(&who(1));
    for sequence in 1..=batches {
        sync(&mut session, sequence);
    }
    let end = log.health().offset_bytes;
    copy(&running, &left);
    (left, end)
}

/// Two full segments and the beginning of a third, closed in order.
fn long() -> Folder {
    let folder = Folder::new();
    let log = Log::open(&folder.config(), "n").unwrap();
    let mut session = log.session(&who(1));
    let text = vec![b'z'; 60_000];
    for sequence in 1..=36 {
        let ticket = session.statement(&Statement { text: &text, ..select(sequence) }).unwrap();
        wait(|cx| session.poll_durable(ticket, cx)).unwrap();
    }
    drop((session, log));
    folder
}

fn flip(path: &PathBuf, offset: u64, bits: u8) {
    let file = std::fs::OpenOptions::new().read(true).write(true).open(path).unwrap();
    let mut byte = [0];
    file.read_exact_at(&mut byte, offset).unwrap();
    file.write_all_at(&[byte[0] ^ bits], offset).unwrap();
}

#[test]
fn an_untouched_log_verifies_and_is_counted() {
    let folder = long();
    let counts = check(&folder).unwrap();
    assert_eq!((counts.segments, counts.statements, counts.starts), (3, 36, 1));
    assert_eq!((counts.torn_bytes, counts.records), (0, 38));
}

#[test]
fn every_changed_byte_is_found_and_placed() {
    let (folder, end) = killed(4);
    let path = segment(&folder, 1);
    for offset in (0..end + 64).chain([500_000, (1 << 20) - 1]) {
        flip(&path, offset, 1 << (offset % 8));
        match check(&folder) {
            Ok(counts) => assert!(counts.torn_bytes > 0, "byte {offset} was not found"),
            Err(ReadError::Damaged { offset: named, .. }) => assert!(named <= offset, "{named} > {offset}"),
            Err(other) => panic!("{other}"),
        }
        flip(&path, offset, 1 << (offset % 8));
    }
    assert!(is_whole(&folder));
}

#[test]
fn damage_to_what_was_on_disk_is_never_cut() {
    let (folder, end) = killed(4);
    // Everything but the last batch is followed by a batch that was written after it had been synced.
    let last = end - (end - u64::try_from(HEADER_BYTES).unwrap()) / 5;
    for offset in (u64::try_from(HEADER_BYTES).unwrap()..last - 60).step_by(37) {
        let damaged = Folder::new();
        copy(&folder, &damaged);
        flip(&segment(&damaged, 1), offset, 0x10);
        let before = std::fs::read(segment(&damaged, 1)).unwrap();
        match Log::open(&damaged.config(), "n") {
            Err(OpenError::Damaged { offset: named, record, .. }) => {
                assert!(named <= offset && record >= 1);
            }
            other => panic!("byte {offset}: {other:?}"),
        }
        assert_eq!(std::fs::read(segment(&damaged, 1)).unwrap(), before, "a damaged log was changed");
    }
}

#[test]
fn a_torn_end_is_cut_at_every_byte_and_told() {
    let (folder, end) = killed(3);
    let whole = bodies(&folder);
    let begin = {
        let (shorter, end) = killed(2);
        drop(shorter);
        end
    };
    for torn in (begin + 1..end).step_by(3) {
        let after = Folder::new();
        copy(&folder, &after);
        let file = std::fs::OpenOptions::new().write(true).open(segment(&after, 1)).unwrap();
        let zeros = vec![0; usize::try_from(end - torn).unwrap()];
        file.write_all_at(&zeros, torn).unwrap();
        drop(Log::open(&after.config(), "n").unwrap());
        let read = bodies(&after);
        assert_eq!(read[..whole.len() - 1], whole[..whole.len() - 1], "cut at {torn}");
        assert_eq!(read.len(), whole.len() + 1, "a start and a stop follow");
        let Entry::LogStart(start) = decode(&read[whole.len() - 1]).unwrap() else { panic!("no start") };
        assert_eq!(start.previous_end.kept, b"torn end cut");
        assert!(start.bytes_cut > 0 && start.bytes_cut <= torn - begin);
        assert!(is_whole(&after));
        let kept = std::fs::metadata(after.0.join(format!("0000000001-{begin}.cut"))).unwrap();
        assert_eq!(kept.len(), start.bytes_cut);
    }
}

#[test]
fn a_last_batch_with_a_hole_in_its_beginning_is_a_torn_end() {
    let (running, left) = (Folder::new(), Folder::new());
    let log = Log::open(&running.config(), "n").unwrap();
    let begin = log.health().offset_bytes;
    let mut session = log.session(&who(1));
    // The writer sleeps 20 ms after the first of them, so they are one batch.
    for sequence in 1..=4 {
        session.statement(&select(sequence)).unwrap();
    }
    sync(&mut session, 5);
    copy(&running, &left);
    let file = std::fs::OpenOptions::new().write(true).open(segment(&left, 1)).unwrap();
    file.write_all_at(&[0; 100], begin).unwrap();
    assert!(check(&left).unwrap().torn_bytes > 0);
    drop(Log::open(&left.config(), "n").unwrap());
    assert_eq!(bodies(&left).len(), 3);
}

#[test]
fn a_record_changed_together_with_its_checksum_is_found() {
    let (folder, _) = killed(4);
    let path = segment(&folder, 1);
    let mut bytes = std::fs::read(&path).unwrap();
    let header = Header::decode(bytes[..HEADER_BYTES].try_into().unwrap()).unwrap();
    let mut at = HEADER_BYTES;
    for record in 1..=3 {
        let length = FrameHead::decode(bytes[at..at + FRAME_BYTES].try_into().unwrap()).unwrap().length;
        let end = at + FRAME_BYTES + length;
        if record == 3 {
            bytes[at + FRAME_BYTES + 30] ^= 2;
            reseal(header.salt, &mut bytes[at..end]);
            std::fs::write(&path, &bytes).unwrap();
            let error = check(&folder).unwrap_err().to_string();
            // What follows shows that this one had been on disk, so nobody takes it for a torn end.
            assert!(error.contains(&format!("at byte {at}, record 3: chain hash does not fit")), "{error}");
            return;
        }
        at = end;
    }
}

#[test]
fn a_missing_or_exchanged_segment_is_found() {
    for number in 1..=2 {
        let folder = long();
        std::fs::remove_file(segment(&folder, number)).unwrap();
        let error = check(&folder).unwrap_err().to_string();
        assert!(error.contains("missing"), "{error}");
    }
    let folder = long();
    let aside = folder.0.join("aside");
    std::fs::rename(segment(&folder, 1), &aside).unwrap();
    std::fs::rename(segment(&folder, 2), segment(&folder, 1)).unwrap();
    std::fs::rename(aside, segment(&folder, 2)).unwrap();
    assert!(matches!(check(&folder), Err(ReadError::Damaged { .. })));
    // One of another log, with the right number.
    let (folder, other) = (long(), long());
    std::fs::copy(segment(&other, 2), segment(&folder, 2)).unwrap();
    let error = check(&folder).unwrap_err().to_string();
    assert!(error.contains("0000000002.journal at byte 0") && error.contains("does not follow"), "{error}");
}

#[test]
fn frames_in_a_text_are_not_taken_for_records() {
    let (source, end) = killed(2);
    let bytes = std::fs::read(segment(&source, 1)).unwrap();
    let frames = &bytes[HEADER_BYTES..usize::try_from(end).unwrap()];
    let (running, left) = (Folder::new(), Folder::new());
    let log = Log::open(&running.config(), "n").unwrap();
    let begin = log.health().offset_bytes;
    let mut session = log.session(&who(1));
    let ticket = session.statement(&Statement { text: frames, ..select(1) }).unwrap();
    wait(|cx| session.poll_durable(ticket, cx)).unwrap();
    copy(&running, &left);
    flip(&segment(&left, 1), begin + 20, 1);
    assert!(check(&left).unwrap().torn_bytes > 0, "frames inside the text made a torn end look like damage");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn no_damage_makes_reading_panic(
        edits in prop::collection::vec((0_u64..3_000, any::<Vec<u8>>()), 1..6),
        cut in prop::option::of(0_u64..3_000),
    ) {
        let (folder, _) = killed(4);
        let file = std::fs::OpenOptions::new().write(true).open(segment(&folder, 1)).unwrap();
        let before = std::fs::read(segment(&folder, 1)).unwrap();
        for (offset, bytes) in &edits {
            file.write_all_at(bytes, *offset).unwrap();
        }
        if let Some(cut) = cut {
            file.set_len(cut).unwrap();
        }
        if std::fs::read(segment(&folder, 1)).unwrap() != before {
            prop_assert!(!is_whole(&folder));
        }
        // Opening either refuses or goes on; what it leaves verifies.
        if let Ok(log) = Log::open(&folder.config(), "n") {
            drop(log);
            prop_assert!(is_whole(&folder));
        }
    }

    #[test]
    fn any_bytes_can_be_decoded_or_refused(kind in 0_u8..12, mut bytes: Vec<u8>) {
        bytes.splice(0..0, [kind, 1]);
        let _ = decode(&bytes);
    }
}
