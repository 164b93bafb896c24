#![no_main]
//! Parameters, whatever is in them, are shown without a panic.

use libfuzzer_sys::fuzz_target;
use onevault::audit::values::{Parameters, print};

fuzz_target!(|input: (u32, Vec<u8>)| {
    let (oid, bytes) = input;
    let _ = print(oid, &bytes);
    for parameter in Parameters::read(&bytes) {
        let _ = (parameter.text(), parameter.type_name());
    }
});
