#![no_main]
//! The views over a client's messages read any body, and nothing outside it.

use libfuzzer_sys::fuzz_target;
use onevault::protocol::frontend::*;

fn inside(part: &[u8], whole: &[u8]) -> bool {
    part.is_empty() || whole.as_ptr_range().contains(&part.as_ptr()) && part.len() <= whole.len()
}

fuzz_target!(|input: (u8, Vec<u8>)| {
    let (tag, body) = input;
    let (parse, bind) = (Parse::read(&body), Bind::read(&body));
    for part in [query(&body), parse.name, parse.text, parse.types, bind.portal, bind.statement, bind.list] {
        assert!(inside(part, &body));
    }
    let _ = (Target::read(&body), function_call(&body), types(&body), has_parameters(&body));
    // Whole names stay the same names when more of the message is there.
    if names_are_whole(tag, &body) {
        let more = [&body[..], b"more\0"].concat();
        assert!(names_are_whole(tag, &more));
        if tag == b'B' {
            let again = Bind::read(&more);
            assert_eq!((again.portal, again.statement), (bind.portal, bind.statement));
        }
    }
});
