#![no_main]
//! A record's body, whatever is in it, is read without a panic.

use libfuzzer_sys::fuzz_target;
use onevault::audit::entry::decode;
use onevault::audit::render::summary;

fuzz_target!(|body: &[u8]| {
    if let Ok(entry) = decode(body) {
        let summary = summary(&entry);
        assert!(!summary.class.is_empty());
    }
});
