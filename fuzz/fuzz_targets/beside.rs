#![no_main]
//! Small files of a log's folder, whatever is in them, are read or refused; a byte that was changed is found.

use std::path::PathBuf;
use std::sync::{Arc, LazyLock};

use libfuzzer_sys::fuzz_target;
use onevault::audit::digest::{folder_of as digests_of, store::Store};
use onevault::audit::evidence::{Evidence, check_files, key_beside};
use onevault::audit::history::History;
use onevault::audit::keeping::register::Register;
use onevault::audit::keys::Keyring;
use onevault::audit::{Event, EventKind, Log};
use onevault::config;

/// A log's settings, and its small files with their bytes.
static GOOD: LazyLock<(config::Audit, Vec<(PathBuf, Vec<u8>)>)> = LazyLock::new(|| {
    let folder = std::env::temp_dir().join(format!("onevault-fuzz-beside-{}", std::process::id()));
    let archive = config::Archive { interval_s: 1, ..config::Archive::default() };
    let audit = config::Audit {
        directory: folder.clone(),
        segment_bytes: 1 << 20,
        checkpoint_interval_ms: 100,
        archive,
        ..config::Audit::default()
    };
    let log = Log::open(&audit, "fuzz").unwrap();
    for _ in 0..3 {
        let event = Event { customer: "one_spa", detail: b"something", ..Event::new(EventKind::AdminAction) };
        log.event(&event).unwrap();
        std::thread::sleep(std::time::Duration::from_millis(700));
    }
    log.close();
    drop(log);
    let mut files = Vec::new();
    let mut open = vec![folder];
    while let Some(next) = open.pop() {
        for entry in std::fs::read_dir(next).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            if path.is_dir() {
                open.push(path);
            } else if !name.ends_with(".journal") && !name.ends_with(".prepared") && !name.ends_with(".lock")
            {
                let bytes = std::fs::read(&path).unwrap();
                files.push((path, bytes));
            }
        }
    }
    files.sort();
    // What nobody has written yet.
    for name in
        ["journal.begin", "keeping/register", "keeping/expired/one_spa", "digest/one_spa/2026-03-01.digest"]
    {
        let path = audit.directory.join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        files.push((path, Vec::new()));
    }
    (audit, files)
});

fuzz_target!(|input: (u8, bool, Vec<u8>, Vec<(u16, u8)>)| {
    let (which, is_other, mut bytes, changes) = input;
    let (audit, files) = &*GOOD;
    let (path, good) = &files[usize::from(which) % files.len()];
    if !is_other && !good.is_empty() {
        bytes.clone_from(good);
        for (at, byte) in changes {
            bytes[usize::from(at) % good.len()] = byte;
        }
    }
    std::fs::write(path, &bytes).unwrap();
    let is_same = bytes == *good && !good.is_empty();
    let _ = Keyring::list(&audit.directory.join("keys"));
    if let Ok(keyring) = Keyring::of_log(audit) {
        let keyring = Arc::new(keyring);
        let _ = Register::read(&audit.directory, &keyring);
        let _ = Register::of_log(&audit.directory, &keyring, "one_spa");
        let _ = Store::new(digests_of(&audit.directory), Arc::clone(&keyring)).day("one_spa", "2026-03-01");
        let _ = History::open(audit, Arc::clone(&keyring));
        let _ = check_files(&audit.directory, &keyring);
        if let Ok(Some(key)) = key_beside(&audit.directory) {
            let verified = Evidence::of(audit, keyring, key).verify(None, &[], |_| {});
            assert!(
                is_other || is_same || good.is_empty() || verified.is_err(),
                "{}: not found",
                path.display()
            );
        }
    }
    if good.is_empty() {
        let _ = std::fs::remove_file(path);
    } else {
        std::fs::write(path, good).unwrap();
    }
});
