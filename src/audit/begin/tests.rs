//! Segments go only as the file says, and what goes otherwise is found.

use std::sync::Arc;

use super::super::tests::{Folder, keyring, select, wait, who};
use super::super::verify::verify;
use super::super::{Log, OpenError, Statement};
use super::*;

/// Some segments, closed in order.
fn long(folder: &Folder) -> Vec<u64> {
    let log = Log::open(&folder.config(), "n").unwrap();
    let mut session = log.session(&who(1));
    let text = vec![b'z'; 60_000];
    for sequence in 1..=60 {
        let ticket =
            session.statement(&Statement { text: &text, text_bytes: 60_000, ..select(sequence) }).unwrap();
        wait(|cx| session.poll_durable(ticket, cx)).unwrap();
    }
    drop((session, log));
    segments(&folder.0).unwrap()
}

#[test]
fn a_journal_goes_on_without_the_segments_that_were_deleted_in_order() {
    let folder = Folder::new();
    let numbers = long(&folder);
    assert!(numbers.len() >= 4, "{numbers:?}");
    let keyring = keyring(&folder);
    assert_eq!(trim(&folder.0, 3, 0, &keyring).unwrap(), 0, "too young");
    assert_eq!(trim(&folder.0, 3, u64::MAX, &keyring).unwrap(), 2);
    assert_eq!(segments(&folder.0).unwrap(), numbers[2..]);
    let begin = Begin::read(&folder.0).unwrap().unwrap();
    assert!(begin.segment == 3 && begin.is_own(&keyring).unwrap());
    let counts = verify(&folder.0, Some(keyring), |_| {}).unwrap();
    assert!(counts.statements < 60 && counts.statements > 10);
    let after = long(&folder);
    assert!(after.len() > numbers.len() - 2 && after[0] == 3);
    verify(&folder.0, None, |_| {}).unwrap();
}

#[test]
fn a_segment_that_was_taken_away_is_missed() {
    let folder = Folder::new();
    long(&folder);
    let keyring = keyring(&folder);
    trim(&folder.0, 2, u64::MAX, &keyring).unwrap();
    fs::remove_file(folder.0.join(segment_name(2))).unwrap();
    let error = verify(&folder.0, Some(keyring), |_| {}).unwrap_err().to_string();
    assert!(error.contains("0000000002.journal") && error.contains("missing"), "{error}");
    let refused = Log::open(&folder.config(), "n").unwrap_err();
    assert!(matches!(refused, OpenError::Damaged { .. }), "{refused}");
}

#[test]
fn a_file_that_somebody_else_wrote_is_not_believed() {
    let folder = Folder::new();
    long(&folder);
    let keyring = keyring(&folder);
    trim(&folder.0, 2, u64::MAX, &keyring).unwrap();
    // Segment 2 goes, and the file is made to speak of 3.
    let header = header(&folder.0, 3).unwrap();
    let begin = Begin::read(&folder.0).unwrap().unwrap();
    let forged = Begin { segment: 3, record: header.first_record, chain: header.previous, ..begin };
    forged.write(&folder.0).unwrap();
    fs::remove_file(folder.0.join(segment_name(2))).unwrap();
    assert!(!forged.is_own(&keyring).unwrap());
    let error = verify(&folder.0, Some(keyring), |_| {}).unwrap_err().to_string();
    assert!(error.contains("journal.begin"), "{error}");
    for bad in [&b""[..], b"onevault journal begin 1\n", b"\0", b"\xffnevault journal begin 1\n"] {
        fs::write(folder.0.join(NAME), bad).unwrap();
        let error = verify(&folder.0, None, |_| {}).unwrap_err().to_string();
        assert!(error.contains("journal.begin"), "{error}");
        assert!(Log::open(&folder.config(), "n").is_err(), "a start believed {bad:?}");
    }
}

#[test]
fn a_file_of_before_and_one_that_names_another_key_are_named() {
    let folder = Folder::new();
    long(&folder);
    let keyring = keyring(&folder);
    let path = folder.0.join(NAME);
    trim(&folder.0, 2, u64::MAX, &keyring).unwrap();
    let before = fs::read(&path).unwrap();
    trim(&folder.0, 3, u64::MAX, &keyring).unwrap();
    let now = fs::read(&path).unwrap();
    let told = |bytes: &[u8]| {
        fs::write(&path, bytes).unwrap();
        let refused = Log::open(&folder.config(), "n").is_err();
        (verify(&folder.0, Some(Arc::clone(&keyring)), |_| {}).unwrap_err().to_string(), refused)
    };
    let (text, refused) = told(&before);
    assert!(text.contains("0000000002.journal") && text.contains("journal.begin") && refused, "{text}");
    let at = now.windows(5).position(|found| found == b"\nkey ").unwrap() + 5;
    for digit in b'0'..=b'9' {
        let mut other = now.clone();
        other[at] = digit;
        if other != now {
            let (text, _) = told(&other);
            assert!(text.contains("journal.begin"), "{}: {text}", char::from(digit));
        }
    }
}

#[test]
fn an_end_between_the_file_and_the_deletion_is_made_good() {
    let folder = Folder::new();
    let numbers = long(&folder);
    let keyring = keyring(&folder);
    write_only(&folder.0, 3, &keyring);
    verify(&folder.0, Some(Arc::clone(&keyring)), |_| {}).unwrap();
    long(&folder);
    // Unless the process that has just ended did it.
    assert!([0, 2].contains(&trim(&folder.0, 1, u64::MAX, &keyring).unwrap()));
    assert_eq!(segments(&folder.0).unwrap()[..2], numbers[2..4]);
    verify(&folder.0, Some(keyring), |_| {}).unwrap();
}

#[test]
fn what_could_go_is_told_and_stays() {
    let folder = Folder::new();
    let numbers = long(&folder);
    let keyring = keyring(&folder);
    assert_eq!(could_go(&folder.0, 3, u64::MAX).unwrap(), 2);
    assert_eq!((could_go(&folder.0, 3, 0).unwrap(), could_go(&folder.0, 1, u64::MAX).unwrap()), (0, 0));
    assert_eq!(segments(&folder.0).unwrap(), numbers);
    assert_eq!(trim(&folder.0, 3, u64::MAX, &keyring).unwrap(), 2);
    assert_eq!(could_go(&folder.0, 3, u64::MAX).unwrap(), 0);
}
