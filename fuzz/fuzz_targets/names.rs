#![no_main]
//! Names of the archive's files, whatever they are, are read as they would be written, or not at all.

use libfuzzer_sys::fuzz_target;
use onevault::audit::archive::name::{Name, covering, gaps, needless};

fuzz_target!(|text: String| {
    let names: Vec<Name> = text.split('\n').filter_map(|line| Name::parse(line)).collect();
    for (name, line) in names.iter().zip(text.split('\n').filter(|line| Name::parse(line).is_some())) {
        assert_eq!(name.to_string(), line);
    }
    let pieces = covering(&names);
    for pair in pieces.windows(2) {
        assert!(pair[0].name.last < pair[1].from, "a record would be read twice");
    }
    let _ = (gaps(&pieces), needless(&names));
});
