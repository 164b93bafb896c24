//! What the journal has is in the archive, record by record, whatever ended in between.

use super::super::check::check;
use super::super::file::Reader as File;
use super::super::file::{FileError, Keys};
use super::super::name::{Name, covering, gaps};
use super::super::place::Local;
use super::*;
use crate::audit::notary::Notary;
use crate::audit::tests::{Folder, keyring, select, wait, who};
use crate::audit::{Log as Journal, SessionLog, Statement, Who};
use crate::proof::note::Signer;

const VAULT: &str = "vault";

struct Scene {
    journal: Folder,
    other: Folder,
}

impl Scene {
    fn new() -> Self {
        Self { journal: Folder::new(), other: Folder::new() }
    }

    fn folders(&self) -> Folders {
        let journal = self.journal.0.clone();
        Folders { journal, notary: self.other.0.join("proof"), own: self.other.0.join("own") }
    }

    fn local(&self) -> Local {
        Local::open(&self.other.0.join("archive")).unwrap()
    }

    /// Signs what is in the journal.
    fn sign(&self) {
        let salts = RingSalts::new(keyring(&self.journal));
        let signer = Arc::new(Signer::new(VAULT, &[9; 32]).unwrap());
        let folders = self.folders();
        make_folder(&folders.notary).unwrap();
        let mut notary = Notary::open(&folders.journal, &folders.notary, VAULT, signer, salts).unwrap();
        notary.follow(None).unwrap();
        notary.round("2026-03-01T12:00:00Z").unwrap();
    }

    fn follower(&self) -> Follower {
        Follower::open(&self.folders(), VAULT, Box::new(self.local()), &keyring(&self.journal)).unwrap()
    }

    /// Canonical bytes and long columns of a log's records, from the journal.
    fn written(&self, log: &str) -> Vec<Vec<u8>> {
        let mut reader = Reader::open(&self.journal.0).unwrap().with_keys(keyring(&self.journal));
        let (mut joiner, pieces, mut found) = (Joiner::new(&reader), reader.pieces(), Vec::new());
        while let Some(raw) = reader.next_record().unwrap() {
            let taken = joiner.take(&raw, |shown| {
                let row = Row::of(shown);
                if log_of(row.bytes_of(Column::Customer)) == log {
                    let mut bytes = Vec::new();
                    row.canonical(&mut bytes);
                    let whole = shown.load_whole(&pieces)?;
                    row.canonical_long((&whole.text, &whole.parameters), |piece| {
                        bytes.extend_from_slice(piece);
                    });
                    bytes.extend_from_slice(&whole.text);
                    found.push(bytes);
                }
                Ok::<(), ArchiveTrouble>(())
            });
            taken.unwrap();
        }
        found
    }

    /// The same, from the archive; each file is checked against its name and the notary's tree.
    fn archived(&self, log: &str) -> Vec<Vec<u8>> {
        let names: Vec<Name> = self.local().list(log).unwrap().into_iter().map(|(name, _)| name).collect();
        let pieces = covering(&names);
        assert_eq!(gaps(&pieces), []);
        let files = Files::of(&self.folders().notary, log);
        let keys: Arc<dyn Keys> = keyring(&self.journal);
        let mut found = Vec::new();
        for piece in pieces {
            let open = || self.local().open(piece.name).unwrap();
            let leaf = |index| {
                let mut hash = [Hash::default()];
                files.read(0, index, &mut hash).ok()?;
                hash[0].first_chunk().copied()
            };
            check(piece.name, open(), Arc::clone(&keys), leaf).unwrap();
            let read = File::open(open(), Arc::clone(&keys)).unwrap().each(|leaf, row, whole| {
                if leaf.index >= piece.from {
                    let mut bytes = Vec::new();
                    row.canonical(&mut bytes);
                    row.canonical_long((&whole.text, &whole.parameters), |piece| {
                        bytes.extend_from_slice(piece);
                    });
                    bytes.extend_from_slice(&whole.text);
                    found.push(bytes);
                }
                Ok::<(), FileError>(())
            });
            read.unwrap();
        }
        found
    }
}

fn durable(log: &mut SessionLog, statement: &Statement<'_>) {
    let ticket = log.statement(statement).unwrap();
    wait(|cx| log.poll_durable(ticket, cx)).unwrap();
}

/// One life of a process that records for two customers, once a text that lies in parts.
fn live(journal: &Folder) {
    let log = Journal::open(&journal.config(), "node").unwrap();
    let mut spa = log.session(&who(1));
    let mut barn = log.session(&Who { customer: "one_barn", ..who(2) });
    let long = vec![b'x'; 300 << 10];
    for number in 1..=6 {
        durable(&mut spa, &select(number));
        durable(&mut barn, &Statement { text: &long, ..select(number) });
    }
}

#[test]
fn all_that_was_signed_is_archived_once_whatever_ended_in_between() {
    let scene = Scene::new();
    live(&scene.journal);
    let mut follower = scene.follower();
    assert!(follower.follow().unwrap(), "nothing is signed yet");
    scene.sign();
    while !follower.follow().unwrap() {}
    // Ends before its round: nothing is in the archive.
    drop(follower);
    assert_eq!(scene.archived("one_spa").len(), 0);

    let mut follower = scene.follower();
    while !follower.follow().unwrap() {}
    follower.round().unwrap();
    live(&scene.journal);
    scene.sign();
    while !follower.follow().unwrap() {}
    // Ends between putting files and writing down that it did.
    follower.sealer.finish_round().unwrap();
    drop(follower);
    live(&scene.journal);
    scene.sign();
    let mut follower = scene.follower();
    while !follower.follow().unwrap() {}
    assert_eq!(follower.round().unwrap(), follower.position().0);
    for log in ["one_spa", "one_barn", "_"] {
        let written = scene.written(log);
        assert!(written.len() >= 6 && scene.archived(log) == written, "{log}: {}", written.len());
    }
    let gone =
        follower.logs().iter().map(|log| follower.merge(log, Day::of(u64::MAX)).unwrap()).sum::<usize>();
    assert_eq!(gone, 6);
    assert_eq!(scene.archived("one_barn"), scene.written("one_barn"));
}

#[test]
fn a_record_that_the_tree_does_not_have_is_not_archived() {
    let scene = Scene::new();
    live(&scene.journal);
    scene.sign();
    let row = scene.folders().notary.join("one_spa/row0");
    let mut hashes = std::fs::read(&row).unwrap();
    hashes[3 * 32] ^= 1;
    std::fs::write(&row, hashes).unwrap();
    let mut follower = scene.follower();
    let trouble = loop {
        match follower.follow() {
            Ok(is_all) => assert!(!is_all, "it was archived"),
            Err(trouble) => break trouble,
        }
    };
    assert!(trouble.to_string().contains("the notary's tree does not have it"), "{trouble}");
}
