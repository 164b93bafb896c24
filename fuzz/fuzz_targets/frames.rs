#![no_main]
//! However a stream is cut, the same messages come out, and no byte is lost or doubled.

use libfuzzer_sys::fuzz_target;
use onevault::protocol::walk::{Step, Walker};

/// Types and sizes found, every byte of them, and what is left.
fn walk(stream: &[u8], pieces: usize, whole_bytes_max: usize) -> (Vec<(u8, Vec<u8>)>, Vec<u8>, bool) {
    let mut walker = Walker::new(1 << 16, whole_bytes_max);
    let (mut found, mut carry): (Vec<(u8, Vec<u8>)>, Vec<u8>) = (Vec::new(), Vec::new());
    for piece in stream.chunks(pieces) {
        carry.extend_from_slice(piece);
        let buf = std::mem::take(&mut carry);
        let mut rest = &buf[..];
        while !rest.is_empty() {
            let Ok((step, behind)) = walker.step(rest, |tag| matches!(tag, b'd' | b'D')) else {
                return (found, rest.to_vec(), false);
            };
            match step {
                Step::Whole(frame) => found.push((frame.tag, frame.raw.to_vec())),
                Step::Head { tag, part, total_bytes } => {
                    assert!(part.len() < total_bytes);
                    found.push((tag, part.to_vec()));
                }
                Step::Part { part, .. } => found.last_mut().unwrap().1.extend_from_slice(part),
                Step::Hold => break,
            }
            rest = behind;
        }
        carry = rest.to_vec();
    }
    (found, carry, true)
}

fuzz_target!(|input: (u8, u8, Vec<u8>)| {
    let (pieces, whole, stream) = input;
    let (found, rest, good) = walk(&stream, stream.len().max(1), 64);
    let (cut, cut_rest, cut_good) = walk(&stream, usize::from(pieces) + 1, usize::from(whole));
    assert_eq!((&found, good), (&cut, cut_good));
    if good {
        assert_eq!(rest, cut_rest);
    }
    let bytes: usize = found.iter().map(|(_, raw)| raw.len()).sum::<usize>();
    if good {
        assert_eq!(bytes + rest.len(), stream.len());
    }
});
