#![no_main]
//! A journal in which bytes were changed: read to the change and no further, and verification says so.

use std::path::PathBuf;
use std::sync::{Arc, LazyLock};

use libfuzzer_sys::fuzz_target;
use onevault::audit::entry::decode;
use onevault::audit::keys::Keyring;
use onevault::audit::reader::Reader;
use onevault::audit::verify::verify;
use onevault::audit::{Event, EventKind, Log};
use onevault::config;

/// A folder of this process, and a good journal's file name, bytes and number of records.
static GOOD: LazyLock<(PathBuf, std::ffi::OsString, Vec<u8>, u64, Arc<Keyring>)> = LazyLock::new(|| {
    let folder = std::env::temp_dir().join(format!("onevault-fuzz-{}", std::process::id()));
    let audit =
        config::Audit { directory: folder.clone(), segment_bytes: 1 << 20, ..config::Audit::default() };
    let log = Log::open(&audit, "fuzz").unwrap();
    for _ in 0..20 {
        log.event(&Event { detail: b"something happened", ..Event::new(EventKind::AdminAction) }).unwrap();
    }
    log.close();
    drop(log);
    let mut names: Vec<_> =
        std::fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    names.retain(|name| name.to_string_lossy().ends_with(".journal"));
    names.sort();
    let name = names.remove(0);
    let bytes = std::fs::read(folder.join(&name)).unwrap();
    let mut reader = Reader::open(&folder).unwrap();
    let mut records = 0;
    while reader.next_record().unwrap().is_some() {
        records += 1;
    }
    let keyring = Arc::new(Keyring::of_log(&audit).unwrap());
    (folder, name, bytes, records, keyring)
});

fuzz_target!(|changes: Vec<(u16, u8)>| {
    let (folder, name, good, records, keyring) = &*GOOD;
    let mut bytes = good.clone();
    // As far as something is written, and a little behind it.
    let end = good.iter().rposition(|byte| *byte != 0).unwrap();
    for (at, byte) in &changes {
        let at = usize::from(*at) % (end + 64);
        bytes[at] = *byte;
    }
    std::fs::write(folder.join(name), &bytes).unwrap();
    let mut read = 0;
    if let Ok(reader) = Reader::open(folder) {
        let mut reader = reader.with_keys(Arc::clone(keyring));
        while let Ok(Some(record)) = reader.next_record() {
            let _ = record.plain().map(decode);
            read += 1;
        }
    }
    assert!(read <= *records, "records came from nowhere");
    if verify(folder, Some(Arc::clone(keyring)), |_| {}).is_ok() && read == *records {
        assert!(bytes[..=end] == good[..=end], "a change was not found");
    }
});
