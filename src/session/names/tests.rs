//! Names, by example and against a simple model.

use super::*;
use crate::backend::memory::Carried;
use crate::backend::prepared::Interner;

fn named(text: &str) -> Named {
    let prepared = Interner::default().intern(text.as_bytes(), b"\0\0", &Carried::default());
    Named { prepared, generation: 0, effects: None }
}

fn text<'a>(names: &'a Names, name: &str) -> Option<&'a [u8]> {
    names.get(name.as_bytes()).map(|named| named.prepared.text())
}

#[test]
fn a_parse_that_fails_leaves_the_former_statement() {
    let mut names = Names::default();
    names.sent(b"s", named("A"));
    names.sent(b"s", named("B"));
    assert_eq!(text(&names, "s"), Some(&b"B"[..]));
    names.parsed(b"s");
    names.failed(b"s");
    assert_eq!(text(&names, "s"), Some(&b"A"[..]));
    names.closed(b"s");
    assert_eq!((text(&names, "s"), names.bytes()), (None, 0));
}
