#![no_main]
//! However a text is cut, its tokens are the same; they stand in the text in their order.

use libfuzzer_sys::fuzz_target;
use onevault::sql::{Ident, Kind, Lexer, Token};

fn read<'a>(pieces: impl Iterator<Item = &'a [u8]>, conforming: bool) -> (Vec<(Kind, Vec<u8>, bool)>, bool) {
    let mut lexer = Lexer::new(conforming);
    let mut found = Vec::new();
    let mut sink = |token: Token<'_>| {
        assert!(Ident::of(&token).as_bytes().len() <= token.text.len());
        found.push((token.kind, token.text.to_vec(), token.too_long));
    };
    for piece in pieces {
        lexer.feed(piece, &mut sink);
    }
    let whole = lexer.finish(&mut sink);
    (found, whole)
}

fuzz_target!(|input: (bool, u8, Vec<u8>)| {
    let (conforming, piece, text) = input;
    let (tokens, whole) = read(std::iter::once(text.as_slice()), conforming);
    let pieces = text.chunks(usize::from(piece) + 1);
    assert_eq!((&tokens, whole), (&read(pieces, conforming).0, read(text.chunks(1), conforming).1));
    let mut rest = text.as_slice();
    for (kind, bytes, too_long) in &tokens {
        if *kind != Kind::Lost && !too_long {
            let at = rest.windows(bytes.len()).position(|part| part == bytes).expect("a token is in its text");
            rest = &rest[at + bytes.len()..];
        }
    }
});
