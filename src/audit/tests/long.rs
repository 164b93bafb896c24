//! Long texts lie in parts; their records prove them all the same.

use super::super::evidence::{Evidence, NotVerified, Which, key_beside};
use super::sealed::shred;
use super::*;
use crate::proof::record::fields;

/// Records a text that goes ahead in parts, as a session does whose client sends it slowly.
fn long(session: &mut SessionLog, sequence: u64, text: &[u8]) {
    for (part, piece) in text.chunks(TEXT_INLINE_BYTES_MAX).enumerate() {
        session.part((Stream::Text, sequence, u32::try_from(part).unwrap()), piece).unwrap();
    }
}

fn durable(session: &mut SessionLog, statement: &Statement<'_>) {
    let ticket = session.statement(statement).unwrap();
    wait(|cx| session.poll_durable(ticket, cx)).unwrap();
}

fn evidence(folder: &Folder) -> Evidence {
    Evidence::new(&folder.0, keyring(folder), key_beside(&folder.0).unwrap().unwrap())
}

#[test]
fn a_record_outlives_the_key_of_its_text() {
    let folder = Folder::new();
    let log = Log::open(&folder.config(), "n").unwrap();
    let mut session = log.session(&who(1));
    let text = vec![b'x'; 150_000];
    long(&mut session, 1, &text);
    durable(&mut session, &spilled(&text, 3, select(1)));
    shred(&folder, "one_spa");
    // The statement that was prepared then runs under a new key.
    let again = Statement { text_ref: Some(1), ..spilled(&text, 3, select(2)) };
    durable(&mut session, &again);
    drop((session, log));
    let (_, logs) = evidence(&folder).verify(None, &[], |_| {}).unwrap();
    let spa = &logs["one_spa"];
    assert_eq!((spa.records, spa.signed, spa.shredded), (2, 2, 1));
    let line = statements(&folder).remove(0);
    assert_eq!(line["ov.text_missing_bytes"], 150_000);
    assert_eq!(line["ov.text_sha256"], render::hex(&journal::sha256(&text)));
    let proof = evidence(&folder).prove("one_spa", Which::Index(1)).unwrap();
    proof.check(&[key_beside(&folder.0).unwrap().unwrap()]).unwrap();
    assert!(fields(&proof.canonical).unwrap().iter().all(|field| field.name() != Some("text")));
}

#[test]
fn a_proof_shows_the_text_that_lay_in_parts() {
    let folder = Folder::new();
    let log = Log::open(&folder.config(), "n").unwrap();
    let mut session = log.session(&who(1));
    let text = vec![b'x'; 150_000];
    // Split by the log itself, as the parameters are.
    let parameters = Long::here(&text[..100_000]);
    durable(&mut session, &Statement { text: &text, parameters, ..select(1) });
    drop((session, log));
    let proof = evidence(&folder).prove("one_spa", Which::Index(0)).unwrap();
    let known = [key_beside(&folder.0).unwrap().unwrap()];
    proof.check(&known).unwrap();
    let shown = fields(&proof.canonical).unwrap();
    let of = |name| shown.iter().find(|field| field.name() == Some(name)).unwrap().value;
    assert_eq!(of("text"), crate::proof::record::Value::Bytes(&text));
    assert_eq!(of("parameters"), crate::proof::record::Value::Bytes(&text[..100_000]));
    let mut other = proof.clone();
    let at = other.canonical.len() - 1;
    other.canonical[at] ^= 1;
    assert!(other.check(&known).is_err());
}

#[test]
fn parts_that_are_not_what_their_record_says_are_named() {
    let folder = Folder::new();
    let log = Log::open(&folder.config(), "n").unwrap();
    let mut session = log.session(&who(1));
    let text = vec![b'x'; 150_000];
    long(&mut session, 1, &text);
    durable(&mut session, &spilled(&text, 3, select(1)));
    long(&mut session, 2, &text);
    durable(&mut session, &spilled(&text[1..], 3, select(2)));
    drop((session, log));
    let what = "its text or parameters are not those whose hash it has";
    let told = evidence(&folder).verify(None, &[], |_| {}).unwrap_err();
    // The start, three parts and their record, three parts.
    let place = "record 9: ";
    assert!(
        matches!(&told, NotVerified::Differs(told) if told.contains(&format!("{place}{what}"))),
        "{told}"
    );
    let mut reader = reader(&folder);
    let (mut joiner, pieces, mut bad) = (join::Joiner::new(&reader), reader.pieces(), Vec::new());
    while let Some(raw) = reader.next_record().unwrap() {
        let show = |shown: &join::Shown<'_>| {
            bad.extend(shown.load(&pieces).err().map(|join::BadBody(place, what)| (place.record, what)));
            Ok::<_, join::BadBody>(())
        };
        joiner.take(&raw, show).unwrap();
    }
    assert_eq!(bad, [(9, what)]);
}
