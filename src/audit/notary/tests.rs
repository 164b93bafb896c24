//! The notary on real journals.

use super::super::leaf::SALTS;
use super::super::tests::{Folder, keyring, select, who};
use super::super::tree::{consistency, inclusion};
use super::super::{Event, EventKind, Log as Journal, Outcome, SessionLog, Statement};
use super::trees::Files;
use super::*;
use crate::proof::bundle::Bundle;
use crate::proof::checkpoint::Checkpoint;
use crate::proof::note::Verifier;
use crate::proof::tree::{check_consistency, root};

struct Fixed(Salts, Option<Arc<Keyring>>);

impl SaltsOf for Fixed {
    fn salts(&mut self, _: u32) -> Result<&Salts, String> {
        Ok(&self.0)
    }

    fn keyring(&self) -> Option<Arc<Keyring>> {
        self.1.clone()
    }
}

fn signer() -> Arc<Signer> {
    Arc::new(Signer::new("vault", &[9; 32]).unwrap())
}

fn known() -> [Verifier; 1] {
    [signer().verifier().clone()]
}

fn salts() -> Salts {
    Salts::new(&[u8::try_from(SALTS.len()).unwrap(); 32])
}

fn fixed(journal: &Folder) -> Fixed {
    Fixed(salts(), Some(keyring(journal)))
}

fn notary(journal: &Folder, own: &Folder) -> Result<Notary<Fixed>, Trouble> {
    Notary::open(&journal.0, &own.0, "vault", signer(), fixed(journal))
}

/// One round of a notary that lives as long.
fn round(journal: &Folder, own: &Folder) -> Result<(), Trouble> {
    let mut notary = notary(journal, own)?;
    notary.follow(None)?;
    notary.round("2026-03-01T12:00:00Z")
}

fn latest(own: &Folder) -> Vec<Checkpoint> {
    let read = notes::latest(&own.0, &known()).unwrap();
    read.into_values().map(|(checkpoint, _)| checkpoint).collect()
}

fn durable(log: &mut SessionLog, statement: &Statement<'_>) {
    let ticket = log.statement(statement).unwrap();
    super::super::tests::wait(|cx| log.poll_durable(ticket, cx)).unwrap();
}

#[test]
fn each_customer_has_a_log_of_its_own_and_the_vault_one() {
    let (journal, own) = (Folder::new(), Folder::new());
    let log = Journal::open(&journal.config(), "node").unwrap();
    let mut barn = log.session(&super::super::Who { customer: "one_barn", ..who(2) });
    let mut spa = log.session(&who(1));
    for number in 1..=5 {
        durable(&mut spa, &select(number));
    }
    durable(&mut barn, &select(1));
    log.event(&Event { customer: "../etc", ..Event::new(EventKind::LoginFailed) }).unwrap();
    drop((spa, barn, log));
    round(&journal, &own).unwrap();
    let sizes: Vec<_> = latest(&own).into_iter().map(|note| (note.origin, note.size)).collect();
    // The start, the end, and what names no customer that could be.
    let expected = [("vault/_", 3), ("vault/one_barn", 1), ("vault/one_spa", 5)];
    assert_eq!(sizes, expected.map(|(origin, size)| (origin.to_owned(), size)));
}

/// A journal with intents that end late, never, and in another run.
fn eventful(folder: &Folder) {
    for run in 0..3_u64 {
        let log = Journal::open(&folder.config(), "node").unwrap();
        let mut first = log.session(&who(1));
        let mut second = log.session(&who(2));
        first.opened().unwrap();
        second.opened().unwrap();
        let long = vec![b'a' + u8::try_from(run).unwrap(); 150_000];
        for number in 1..=40 {
            first.intent(&select(number)).unwrap();
            if number % 7 != 0 {
                first.outcome(&select(number)).unwrap();
            }
            let text: &[u8] = if number % 9 == 0 { &long } else { b"select 1" };
            durable(&mut second, &Statement { text, text_bytes: 0, ..select(number) });
        }
        first.outcome(&Statement { outcome: Outcome::Error, ..select(7) }).unwrap();
        first.closed("client left").unwrap();
        second.closed("client left").unwrap();
    }
}

#[test]
fn a_notary_that_ends_anywhere_goes_on_as_if_it_had_not() {
    let (journal, whole) = (Folder::new(), Folder::new());
    eventful(&journal);
    round(&journal, &whole).unwrap();
    let expected = latest(&whole);
    for step in [1_usize, 7, 50] {
        let pieces = Folder::new();
        let mut reader = Reader::open(&journal.0).unwrap().with_keys(keyring(&journal));
        let mut count = 0_usize;
        while reader.next_record().unwrap().is_some() {
            count += 1;
            if !count.is_multiple_of(step * 13) {
                continue;
            }
            // Each time a new one that takes up to here, and signs or dies before it does.
            let mut notary = notary(&journal, &pieces).unwrap();
            notary.follow(Some(reader.position())).unwrap();
            if count.is_multiple_of(2) {
                notary.round("2026-03-01T12:00:00Z").unwrap();
            } else {
                notary.write_trees().unwrap();
            }
        }
        round(&journal, &pieces).unwrap();
        assert_eq!(latest(&pieces), expected, "step {step}");
        for log in ["one_spa", "_"] {
            let history = notes::history(&pieces.0, log, &known()).unwrap();
            for pair in history.windows(2) {
                let (old, new) = (&pair[0].0, &pair[1].0);
                let proof = consistency(&Files::of(&pieces.0, log), old.size, new.size).unwrap().unwrap();
                check_consistency((old.size, &old.root), (new.size, &new.root), &proof).unwrap();
            }
        }
    }
}

#[test]
fn every_record_is_proven_to_somebody_who_has_only_the_key() {
    let (journal, own) = (Folder::new(), Folder::new());
    eventful(&journal);
    round(&journal, &own).unwrap();
    let (checkpoint, note) = notes::latest(&own.0, &known()).unwrap().remove("vault/one_spa").unwrap();
    let mut reader = Reader::open(&journal.0).unwrap().with_keys(keyring(&journal));
    let (mut joiner, salts) = (Joiner::new(&reader), salts());
    let (mut index, mut leaves) = (0, Vec::new());
    while let Some(raw) = reader.next_record().unwrap() {
        joiner
            .take(&raw, |shown| {
                let row = Row::of(shown);
                if row.bytes_of(Column::Customer) != b"one_spa" {
                    return Ok::<(), Trouble>(());
                }
                let mut canonical = Vec::new();
                row.canonical(&mut canonical);
                row.canonical_long(shown.here(), |bytes| canonical.extend_from_slice(bytes));
                let path = inclusion(&Files::of(&own.0, "one_spa"), index, checkpoint.size)?.unwrap();
                let bundle =
                    Bundle { index, salt: salts.salt(index), canonical, path, checkpoint: note.clone() };
                bundle.check(&known()).unwrap();
                let leaf =
                    crate::proof::record::leaf(("vault/one_spa", index), &bundle.salt, &bundle.canonical);
                leaves.push(leaf.unwrap());
                index += 1;
                Ok(())
            })
            .unwrap();
    }
    assert_eq!(index, checkpoint.size);
    assert_eq!(root(leaves), checkpoint.root);
}

#[test]
fn nothing_is_signed_that_does_not_follow_from_what_was() {
    let (journal, own) = (Folder::new(), Folder::new());
    let write = |sequence| {
        let log = Journal::open(&journal.config(), "node").unwrap();
        durable(&mut log.session(&who(1)), &select(sequence));
    };
    write(1);
    round(&journal, &own).unwrap();
    let before = latest(&own);
    // Another journal in its place, and a notary that knows nothing of the former one.
    std::fs::remove_dir_all(&journal.0).unwrap();
    std::fs::remove_file(own.0.join("state")).unwrap();
    write(2);
    write(3);
    assert!(matches!(round(&journal, &own), Err(Trouble::Signed(_, ProofError::Wrong(_)))));
    assert_eq!(latest(&own), before);
}

#[test]
fn a_history_that_was_torn_by_a_loss_of_power_is_healed_at_every_byte() {
    let (journal, own) = (Folder::new(), Folder::new());
    let mut lengths = Vec::new();
    let path = own.0.join("one_spa").join("history");
    for run in 1..=3 {
        let log = Journal::open(&journal.config(), "node").unwrap();
        durable(&mut log.session(&who(1)), &select(run));
        drop(log);
        round(&journal, &own).unwrap();
        lengths.push(std::fs::metadata(&path).unwrap().len());
    }
    let good = std::fs::read(&path).unwrap();
    let at = |length: u64| usize::try_from(length).unwrap();
    for cut in at(lengths[1])..good.len() {
        // What was never written may read as zeros.
        for zeros in [0, 3] {
            let torn = [&good[..cut], &vec![0; zeros]].concat();
            std::fs::write(&path, &torn).unwrap();
            drop(notary(&journal, &own).unwrap());
            assert_eq!(std::fs::read(&path).unwrap(), good[..at(lengths[1])], "cut at {cut}");
            assert_eq!(notes::history(&own.0, "one_spa", &known()).unwrap().len(), 2);
        }
    }
    // Damage before the end is none of that.
    let mut bad = good.clone();
    bad[at(lengths[0]) + 5] ^= 1;
    std::fs::write(&path, &bad).unwrap();
    drop(notary(&journal, &own).unwrap());
    assert_eq!(std::fs::read(&path).unwrap(), bad);
    std::fs::write(&path, &good).unwrap();
    round(&journal, &own).unwrap();
    assert_eq!(std::fs::read(&path).unwrap(), good);
}

#[test]
fn only_the_beginning_of_a_note_is_cut_from_a_history() {
    let own = Folder::new();
    let path = own.0.join("one_spa").join("history");
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    let healed = |bytes: &[u8]| {
        std::fs::write(&path, bytes).unwrap();
        notes::heal_all(&own.0).unwrap();
        std::fs::read(&path).unwrap()
    };
    for torn in
        [&b"n"[..], b"note", b"not\0\0", b"\0\0\0", b"note 7", b"note 7\nabc\n", b"note 7\nabc\0\0\0\0"]
    {
        assert_eq!(healed(torn), b"", "{torn:?}");
    }
    // What nobody writes was not torn: it stays for whoever verifies.
    for damage in [&b"mote 7\nabcdef\n"[..], b"x", b"nota", b"x\nnote 7", b"mote 3\nab\nnote 7\nabc"] {
        assert_eq!(healed(damage), damage);
    }
    assert_eq!(healed(b"note 3\nab\nnote 7\nabc"), b"note 3\nab\n");
}

#[test]
fn a_changed_file_of_the_notary_is_named() {
    let (journal, own) = (Folder::new(), Folder::new());
    eventful(&journal);
    round(&journal, &own).unwrap();
    for name in ["latest", "state", "one_spa/row0"] {
        let path = own.0.join(name);
        let good = std::fs::read(&path).unwrap();
        let mut bad = good.clone();
        // The last leaf hash stands alone in its tree's peaks or beside one neighbour.
        let at = good.len() - 20;
        bad[at] ^= 1;
        std::fs::write(&path, &bad).unwrap();
        let log = Journal::open(&journal.config(), "node").unwrap();
        durable(&mut log.session(&who(1)), &select(1));
        drop(log);
        let trouble = round(&journal, &own).unwrap_err();
        let told = trouble.to_string();
        assert!(told.contains(name) || told.contains("log one_spa"), "{name}: {told}");
        std::fs::write(&path, &good).unwrap();
    }
}
