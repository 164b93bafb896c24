//! What keeps segments of the journal from going, and for how long.

use super::super::super::disk::segments;
use super::super::super::evidence::folder_of as notary_of;
use super::super::super::tests::{Folder, keyring, select, wait, who};
use super::super::super::{Log, Statement};
use super::super::place::Local;
use super::*;
use crate::audit::digest;

/// A journal of several segments whose records are all in the archive, and the first segment that it still needs.
fn archived(folder: &Folder) -> u64 {
    let config = config::Audit { buffer_bytes: 16 << 20, stall_timeout_ms: 60_000, ..folder.config() };
    let log = Log::open(&config, "node").unwrap();
    let mut session = log.session(&who(1));
    let long = vec![b'x'; 700_000];
    for number in 1..=4 {
        let text_bytes = u64::try_from(long.len()).unwrap();
        let ticket = session.statement(&Statement { text: &long, text_bytes, ..select(number) }).unwrap();
        wait(|cx| session.poll_durable(ticket, cx)).unwrap();
    }
    session.closed("end").unwrap();
    drop(session);
    log.close();
    let place = Local::open(&config.directory.join("archive")).unwrap();
    let mut follower =
        Follower::open(&folders(folder), &config.origin, Box::new(place), &keyring(folder)).unwrap();
    while !follower.follow().unwrap() {}
    follower.round().unwrap()
}

fn folders(folder: &Folder) -> Folders {
    Folders { journal: folder.0.clone(), notary: notary_of(&folder.0), own: own_folder(&folder.0) }
}

fn archivist(folder: &Folder) -> Archivist {
    let archive = config::Archive { journal_keep_h: 24, ..config::Archive::default() };
    let digest = config::Digest { enabled: true, ..config::Digest::default() };
    Archivist {
        audit: config::Audit { archive, digest, ..folder.config() },
        folders: folders(folder),
        keyring: keyring(folder),
        told: Arc::default(),
        sealed: Instant::now(),
        sealed_at: (0, 0),
        merged: Day::default(),
        to_merge: Vec::new(),
    }
}

#[test]
fn what_no_digest_has_read_is_kept_for_72_hours_more_and_goes_then() {
    let folder = Folder::new();
    let needed = archived(&folder);
    let (all, now) = (segments(&folder.0).unwrap(), now_ns());
    assert!(needed > 2 && all.first() == Some(&1), "{needed} of {all:?}");
    // Digests that have begun and have read nothing.
    std::fs::create_dir_all(digest::folder_of(&folder.0)).unwrap();
    let archivist = archivist(&folder);
    let held = || lock(&archivist.told.held).clone();
    archivist.trim(needed, now + 23 * HOUR_NS).unwrap();
    assert_eq!((segments(&folder.0).unwrap(), held()), (all.clone(), None), "kept for all");
    for hours in [25, 24 + 71] {
        archivist.trim(needed, now + hours * HOUR_NS).unwrap();
        assert_eq!(segments(&folder.0).unwrap(), all, "after {hours} hours");
        assert!(held().is_some_and(|held| held.contains("72 hours")), "{:?}", held());
    }
    archivist.trim(needed, now + (24 + 73) * HOUR_NS).unwrap();
    assert_eq!((segments(&folder.0).unwrap().first(), held()), (Some(&needed), None));
}

#[test]
fn what_the_digests_have_read_goes_at_its_time() {
    let folder = Folder::new();
    let needed = archived(&folder);
    let archivist = archivist(&folder);
    // None were ever made, so none have to read.
    archivist.trim(needed, now_ns() + 25 * HOUR_NS).unwrap();
    assert_eq!(segments(&folder.0).unwrap().first(), Some(&needed));
}
