#![no_main]
//! What a witness answers, and what lies in the notary's folder and in the second place: nobody signs by chance, a torn end is
//! cut once, a key follows another only where both say so.

use std::path::PathBuf;
use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use onevault::audit::fuzzing::notes;
use onevault::proof::checkpoint::Checkpoint;
use onevault::proof::cosignature::{Witness, cosigned};
use onevault::proof::note::Signer;
use onevault::proof::succession::{Succession, Terms, chain, line};

struct Good {
    folder: PathBuf,
    signers: [Signer; 2],
    witness: Witness,
    notes: Vec<String>,
}

static GOOD: LazyLock<Good> = LazyLock::new(|| {
    let folder = PathBuf::from(format!("/dev/shm/onevault-fuzz-answers-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let signers = [1, 2].map(|seed| Signer::new("vault", &[seed; 32]).unwrap());
    let checkpoint = |log: &str, size, extensions| Checkpoint {
        origin: format!("vault/{log}"),
        size,
        root: [7; 32],
        extensions,
    };
    let plain = |log: &str, size, by: usize| checkpoint(log, size, Vec::new()).sign(&signers[by]).unwrap();
    let over = checkpoint("_", 5, vec![line(signers[0].verifier(), signers[1].verifier())]);
    let over = signers[1].sign_too(&over.sign(&signers[0]).unwrap()).unwrap();
    let notes =
        vec![plain("_", 3, 0), over, plain("_", 6, 1), plain("one_spa", 2, 0), plain("one_spa", 2, 1)];
    let witness = Witness::new("witness.example", [5; 32]).unwrap();
    Good { folder, signers, witness, notes }
});

#[derive(Debug, arbitrary::Arbitrary)]
enum Part {
    Note(u8),
    Framed(u8),
    Bytes(Vec<u8>),
    /// A signature's line with a witness's name, and with its number if that is said.
    Line(bool, Vec<u8>),
}

fuzz_target!(|input: (Vec<Part>, Vec<(u16, u8)>)| {
    let (parts, changes) = input;
    let Good { folder, signers, witness, notes: good } = &*GOOD;
    let mut bytes = Vec::new();
    for part in parts {
        let note = |which: u8| good[usize::from(which) % good.len()].as_bytes();
        match part {
            Part::Note(which) => bytes.extend_from_slice(note(which)),
            Part::Framed(which) => {
                bytes.extend_from_slice(format!("note {}\n", note(which).len()).as_bytes());
                bytes.extend_from_slice(note(which));
            }
            Part::Bytes(more) => bytes.extend(more),
            Part::Line(is_known, signature) => {
                let encoded = witness.encoded();
                let id = u32::from_str_radix(encoded.split('+').nth(1).unwrap(), 16).unwrap();
                let id = if is_known { id.to_be_bytes() } else { [0; 4] };
                use base64::Engine;
                let text = base64::engine::general_purpose::STANDARD.encode([&id[..], &signature].concat());
                bytes.extend_from_slice(format!("\u{2014} witness.example {text}\n").as_bytes());
            }
        }
    }
    for (at, byte) in changes {
        let at = usize::from(at) % bytes.len().max(1);
        if let Some(place) = bytes.get_mut(at) {
            *place = byte;
        }
    }
    notes(folder, &bytes, signers[0].verifier()).unwrap();
    let Ok(text) = std::str::from_utf8(&bytes) else { return };
    assert!(
        cosigned(text, std::slice::from_ref(witness)).is_ok_and(|found| found.is_empty())
            || cosigned(text, std::slice::from_ref(witness)).is_err()
    );
    let found: Vec<Succession> = Succession::read(text).into_iter().flatten().collect();
    for succession in &found {
        assert_eq!((&succession.old, &succession.new), (signers[0].verifier(), signers[1].verifier()));
    }
    let known = chain(signers[1].verifier(), &found).unwrap();
    if let Ok(terms) = Terms::of(&known, [text])
        && let Ok(checkpoint) = terms.check(text)
    {
        assert!(good.iter().any(|note| note.starts_with(&checkpoint.to_string())), "signed by nobody");
    }
});
