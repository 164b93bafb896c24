//! Interning and the least recently used, against simple models.

use super::*;

#[test]
fn equal_statements_are_one_and_others_are_not() {
    let interner = Interner::default();
    let plain = Carried::default();
    let one = interner.intern(b"SELECT 1", b"\0\0", &plain);
    let same = interner.intern(b"SELECT 1", b"\0\0", &plain);
    assert!(Arc::ptr_eq(&one, &same) && interner.len() == 1);
}
