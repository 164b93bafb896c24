#![no_main]
//! Small files whose checksum anybody can make: read as they would be written, or refused.

use std::path::PathBuf;
use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use onevault::audit::fuzzing::{begin, key_file, position, segment_head, state};
use onevault::audit::keeping::register::Mark;
use onevault::audit::mailbox;

static FOLDER: LazyLock<PathBuf> = LazyLock::new(|| {
    let folder = PathBuf::from(format!("/dev/shm/onevault-fuzz-small-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    folder
});

fuzz_target!(|input: (u8, &[u8])| {
    let (which, bytes) = input;
    let text = String::from_utf8_lossy(bytes);
    match which % 6 {
        0 => {
            let lines = format!("onevault notary 1\n{text}\n");
            assert!(!state(&FOLDER, &lines).is_err_and(|why| why.contains(" was read as ")), "{lines:?}");
        }
        1 => _ = begin(&FOLDER, bytes),
        2 => {
            let fields = [b"OVAKEY01", bytes].concat();
            if let Ok(written) = key_file(&fields) {
                // Of a tombstone only the beginning of a long reason would be written.
                assert!(written.get(..written.len() - 4) == Some(&fields) || fields.get(8) == Some(&3));
            }
        }
        3 => _ = position(&FOLDER, &text),
        4 => {
            let mut fields = [0; 192];
            fields.iter_mut().zip(b"OVAUDIT1".iter().chain(bytes)).for_each(|(to, from)| *to = *from);
            if let Some(written) = segment_head(&fields) {
                assert_eq!(written[..188], fields[..188]);
            }
        }
        _ => {
            let _ = mailbox::ask(&FOLDER.join("requests"), &text).map(mailbox::Asked::withdraw);
            if let Some(mark) = Mark::of_record(bytes) {
                assert!(mark.register == "register" || mark.register.starts_with("expired/"), "{mark}");
                assert_eq!(Mark::of_record(mark.to_string().as_bytes()), Some(mark));
            }
        }
    }
});
