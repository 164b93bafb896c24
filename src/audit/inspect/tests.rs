//! Changes by somebody who can write everything but sign: found, and placed.

use std::os::unix::fs::FileExt;
use std::sync::Arc;

use super::super::Log as Journal;
use super::super::journal::{HEADER_BYTES, Link, append, segment_name};
use super::super::keys::Keyring;
use super::super::leaf::Salts;
use super::super::notary::Notary;
use super::super::segment::Segment;
use super::super::tests::{Folder, bodies, keyring, select, wait, who};
use super::*;
use crate::proof::note::Signer;

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

fn fixed(journal: &Folder) -> Fixed {
    Fixed(Salts::new(&[1; 32]), Some(keyring(journal)))
}

/// A journal, and what its notary has signed: after each of its three runs of ten statements.
struct Vault {
    journal: Folder,
    own: Folder,
}

impl Vault {
    fn new() -> Self {
        let vault = Self { journal: Folder::new(), own: Folder::new() };
        for run in 0..3 {
            vault.run(run * 10);
        }
        vault
    }

    fn run(&self, before: u64) {
        let log = Journal::open(&self.journal.config(), "node").unwrap();
        let mut session = log.session(&who(1));
        for number in 1..=10 {
            let ticket = session.statement(&select(before + number)).unwrap();
            wait(|cx| session.poll_durable(ticket, cx)).unwrap();
        }
        drop((session, log));
        let mut notary =
            Notary::open(&self.journal.0, &self.own.0, "vault", signer(), fixed(&self.journal)).unwrap();
        notary.follow(None).unwrap();
        notary.round("2026-03-01T12:00:00Z").unwrap();
    }

    fn check(&self, outside: &[Checkpoint]) -> Result<BTreeMap<String, LogCounts>, Trouble> {
        let mut reader = Reader::open(&self.journal.0)?.with_keys(keyring(&self.journal));
        let known = vec![signer().verifier().clone()];
        let note = |checkpoint: &Checkpoint| (checkpoint.clone(), checkpoint.sign(&signer()).unwrap());
        let kept = outside.iter().map(note).collect();
        let outside = Outside { vault: "vault", known, kept, only: None };
        let mut inspection = Inspection::open(&reader, &self.own.0, outside, fixed(&self.journal))?;
        while let Some(raw) = reader.next_record()? {
            inspection.take(&raw)?;
        }
        inspection.finish()
    }

    fn latest(&self) -> Checkpoint {
        let known = [signer().verifier().clone()];
        latest(&self.own.0, &known).unwrap().remove("vault/one_spa").unwrap().0
    }

    /// Writes the journal again with other bodies, every checksum and chain hash made to fit.
    fn rewrite(&self, change: impl Fn(&mut Vec<Vec<u8>>)) {
        let path = self.journal.0.join(segment_name(1));
        let file = File::open(&path).unwrap();
        let segment = Segment::open(file, 1).unwrap().unwrap();
        let header = segment.header;
        let mut bodies = bodies(&self.journal);
        change(&mut bodies);
        let mut link = Link { record: header.first_record, chain: header.chain(), salt: header.salt };
        let mut frames = Vec::new();
        for body in &bodies {
            append(&mut frames, &mut link, 0, None, body);
        }
        frames.resize(usize::try_from(segment.size).unwrap() - HEADER_BYTES, 0);
        let file = std::fs::OpenOptions::new().write(true).open(&path).unwrap();
        file.write_all_at(&frames, wide(HEADER_BYTES)).unwrap();
    }
}

#[test]
fn what_was_signed_holds() {
    let vault = Vault::new();
    let counts = vault.check(&[vault.latest()]).unwrap();
    let spa = &counts["one_spa"];
    // Three rounds that showed growth, the newest once more, and the one from outside.
    assert_eq!((spa.records, spa.signed, spa.checkpoints), (30, 30, 5));
    assert_eq!(spa.signed_at.as_deref(), Some("2026-03-01T12:00:00Z"));
    assert_eq!(counts["_"].records, 6);
}

#[test]
fn a_record_that_is_another_is_named_though_the_chain_fits() {
    // Run 2 begins with record 13 (12 a run: start, ten statements, stop).
    for at in [2_usize, 14, 20, 33] {
        let vault = Vault::new();
        vault.rewrite(|bodies| {
            let rows = bodies[at].len() - 30;
            bodies[at][rows] ^= 1;
        });
        let told = vault.check(&[]).unwrap_err();
        let record = u64::try_from(at).unwrap() + 1;
        assert!(matches!(&told, Trouble::Record(place, _) if place.record == record), "{at}: {told}");
    }
}

#[test]
fn records_that_are_gone_exchanged_or_added_are_named() {
    let vault = Vault::new();
    vault.rewrite(|bodies| bodies.truncate(20));
    assert!(
        matches!(vault.check(&[]).unwrap_err(), Trouble::Signed(log, _) if log == "_" || log == "one_spa")
    );
    let vault = Vault::new();
    vault.rewrite(|bodies| bodies.swap(5, 6));
    assert!(matches!(vault.check(&[]).unwrap_err(), Trouble::Record(place, _) if place.record == 6));
    let vault = Vault::new();
    vault.rewrite(|bodies| {
        let again = bodies[15].clone();
        bodies.insert(16, again);
    });
    assert!(matches!(vault.check(&[]).unwrap_err(), Trouble::Record(place, _) if place.record == 17));
    let vault = Vault::new();
    vault.rewrite(|bodies| {
        bodies.remove(16);
    });
    assert!(matches!(vault.check(&[]).unwrap_err(), Trouble::Record(place, _) if place.record == 17));
}

#[test]
fn a_journal_without_what_was_signed_is_no_proof_of_innocence() {
    let vault = Vault::new();
    std::fs::remove_dir_all(&vault.journal.0).unwrap();
    let log = Journal::open(&vault.journal.config(), "node").unwrap();
    drop(log);
    assert!(matches!(vault.check(&[]).unwrap_err(), Trouble::Record(..) | Trouble::Signed(..)));
}

#[test]
fn every_byte_of_the_notarys_files_is_checked() {
    let vault = Vault::new();
    for name in ["latest", "state", "one_spa/history", "one_spa/row0", "_/row0", "_/history"] {
        let path = vault.own.0.join(name);
        let good = std::fs::read(&path).unwrap();
        for at in 0..good.len() {
            let mut bad = good.clone();
            bad[at] ^= 1 << (at % 7);
            std::fs::write(&path, &bad).unwrap();
            let told = vault.check(&[]).map_err(|trouble| trouble.to_string()).unwrap_err();
            assert!(told.contains(name), "{name}, byte {at}: {told}");
        }
        std::fs::write(&path, &good).unwrap();
    }
    vault.check(&[]).unwrap();
}

#[test]
fn all_rolled_back_together_is_seen_by_whoever_kept_a_checkpoint() {
    let vault = Vault::new();
    let before = Folder::new();
    std::fs::create_dir_all(&before.0).unwrap();
    let copied = std::process::Command::new("cp")
        .arg("-a")
        .args([&vault.journal.0, &vault.own.0, &before.0])
        .status()
        .unwrap();
    assert!(copied.success());
    vault.run(30);
    let kept = vault.latest();
    vault.check(std::slice::from_ref(&kept)).unwrap();
    for folder in [&vault.journal.0, &vault.own.0] {
        std::fs::remove_dir_all(folder).unwrap();
        std::fs::rename(before.0.join(folder.file_name().unwrap()), folder).unwrap();
    }
    vault.check(&[]).unwrap();
    assert!(matches!(vault.check(&[kept]).unwrap_err(), Trouble::Signed(..)));
}
