#![no_main]
//! What comes from outside to be checked, whatever it is, is read or refused; what was read is written as it came.

use libfuzzer_sys::fuzz_target;
use onevault::proof::bundle::Bundle;
use onevault::proof::checkpoint::Checkpoint;
use onevault::proof::cosignature::{Witness, cosigned};
use onevault::proof::note::{self, Verifier};
use onevault::proof::record::{fields, leaf};

const LOG: &str = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW";

fuzz_target!(|bytes: &[u8]| {
    let known = [Verifier::parse(LOG).unwrap()];
    // Bytes of a record need not be text.
    if fields(bytes).is_ok() {
        let _ = leaf(("vault/one_spa", 3), &[5; 32], bytes);
    } else {
        assert!(leaf(("vault/one_spa", 3), &[5; 32], bytes).is_err());
    }
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    assert!(note::open(text, &known).is_err(), "nobody has this key");
    if let Ok(checkpoint) = Checkpoint::parse(text) {
        assert_eq!(checkpoint.to_string(), text);
    }
    if let Ok(bundle) = Bundle::parse(text) {
        assert_eq!(Bundle::parse(&bundle.encode()).as_ref(), Ok(&bundle));
        assert!(bundle.check(&known).is_err());
    }
    if let Ok(witness) = Witness::parse(text) {
        assert_eq!(Witness::parse(&witness.encoded()), Ok(witness));
    }
    if let Ok(key) = Verifier::parse(text) {
        assert_eq!(Verifier::parse(&key.encoded()), Ok(key));
    }
    let _ = cosigned(text, &[]);
});
