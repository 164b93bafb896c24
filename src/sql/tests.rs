//! Texts and their tokens; and that no cut changes them.

use proptest::prelude::*;

use super::lexer::KEPT_BYTES_MAX;
use super::{Ident, Kind, Lexer, Token};

/// A token that outlives its text.
type Owned = (Kind, Vec<u8>, bool);

/// The tokens of a text that comes in these pieces, and whether it ended outside of quotes.
fn read<'a>(pieces: impl IntoIterator<Item = &'a [u8]>, conforming: bool) -> (Vec<Owned>, bool) {
    let mut lexer = Lexer::new(conforming);
    let (mut found, mut places) = (Vec::new(), Vec::new());
    let mut sink = |token: Token<'_>| {
        found.push((token.kind, token.text.to_vec(), token.too_long));
        places.push((token.at, token.bytes));
    };
    let mut text = Vec::new();
    for piece in pieces {
        lexer.feed(piece, &mut sink);
        text.extend_from_slice(piece);
    }
    let whole = lexer.finish(&mut sink);
    for ((at, bytes), (_, kept, too_long)) in places.into_iter().zip(&found) {
        assert!(text[at..at + bytes].starts_with(kept) && (kept.len() < bytes) == *too_long, "{at} {bytes}");
    }
    (found, whole)
}

/// The tokens' texts, a bar between two; `!` behind them if the text ended inside a quote or comment.
fn texts(text: &str) -> String {
    let (tokens, whole) = read([text.as_bytes()], true);
    let texts: Vec<_> =
        tokens.iter().map(|(_, text, _)| String::from_utf8_lossy(text).into_owned()).collect();
    texts.join("|") + if whole { "" } else { "!" }
}

fn kinds(text: &str) -> Vec<Kind> {
    read([text.as_bytes()], true).0.into_iter().map(|(kind, ..)| kind).collect()
}

#[test]
fn a_statement_is_words_and_symbols() {
    assert_eq!(
        texts("SELECT a.b,c[1] FROM \"t\" WHERE x=$1;"),
        "SELECT|a|.|b|,|c|[|1|]|FROM|\"t\"|WHERE|x|=|$1|;"
    );
    assert_eq!(texts("a$1 été _x"), "a$1|été|_x");
    assert_eq!(
        kinds("a \"b\" U&\"c\" $1 ;"),
        [Kind::Word, Kind::Quoted, Kind::QuotedUnicode, Kind::Parameter, Kind::Symbol(b';'),]
    );
}

#[test]
fn a_quote_ends_where_the_server_ends_it() {
    assert_eq!(texts(r"'it''s' 'a\' b"), r"'it''s'|'a\'|b");
    assert_eq!(
        texts(r"E'a\'b' e'\\' N'x' B'01' x'ff' U&'\0041'"),
        r"E'a\'b'|e'\\'|N'x'|B'01'|x'ff'|U&'\0041'"
    );
    assert_eq!(texts("\"a\"\"b\" c"), "\"a\"\"b\"|c");
    assert_eq!(texts("xe'a' \"\"\"\""), "xe|'a'|\"\"\"\"");
    let (off, _) = read([&br"'a\'b' N'\''"[..]], false);
    assert_eq!(off.iter().map(|token| token.0).collect::<Vec<_>>(), [Kind::Escaped, Kind::Escaped]);
    for open in ["'a", "E'a\\'", "\"a", "$$a$", "$t$ $tt$ $", "/* /* */", "U&'", "b'0", "'a'\n'"] {
        assert!(!read([open.as_bytes()], true).1, "{open}");
    }
}

#[test]
fn a_string_goes_on_behind_a_newline() {
    assert_eq!(texts("'a'\n'b' c"), "'a'\n'b'|c");
    assert_eq!(texts("'a' 'b'"), "'a'|'b'");
    assert_eq!(texts("'a' -- x\n 'b'"), "'a' -- x\n 'b'");
    assert_eq!(texts("'a'\n/* x */'b'"), "'a'|'b'");
    assert_eq!(texts("E'a'\n'\\'' d"), "E'a'\n'\\''|d");
    assert_eq!(texts("'a'->'b' -'c'-"), "'a'|->|'b'|-|'c'|-");
    assert_eq!(texts("'a'--"), "'a'");
}

#[test]
fn dollar_quotes_end_with_their_own_tag() {
    assert_eq!(texts("$$a;b$$ $t$ $$ $x$ $t $tt$ $t$ z"), "$$a;b$$|$t$ $$ $x$ $t $tt$ $t$|z");
    assert_eq!(texts("$t$$t$ $t$ab$t$t$"), "$t$$t$|$t$ab$t$|t$");
    assert_eq!(texts("a$t$b$t$ $1$2"), "a$t$b$t$|$1|$2");
    assert_eq!(texts("$_é1$x$_é1$"), "$_é1$x$_é1$");
    assert_eq!(kinds("$ $a b"), [Kind::Junk, Kind::Junk, Kind::Word]);
}

#[test]
fn comments_nest_and_end_operators() {
    assert_eq!(texts("a/* b /* c */ */d -- e\nf"), "a|d|f");
    assert_eq!(texts("a*/*b*/c +--d\n- e"), "a|*|c|+|-|e");
    assert_eq!(texts("/**/a/*/*/ */**/b/***/c"), "a|b|c");
    assert_eq!(texts("a--b\rc"), "a|c");
}

#[test]
fn operators_give_up_signs_at_their_end() {
    assert_eq!(texts("a=-1 <=+ @- +- -> ->> <@ => :: := :a"), "a|=|-|1|<=|+|@-|+|-|->|->>|<@|=>|::|:=|:|a");
    assert_eq!(texts("1..2 a..b .5 . ."), "1|..|2|a|..|b|.5|.|.");
}

#[test]
fn numbers_end_where_a_word_begins() {
    assert_eq!(
        texts("1e5 1.5e-3 1.e2 1e 1e+ 1ex 1e+x 0xff 0xor 0or 1or 1_000"),
        "1e5|1.5e-3|1.e2|1|e|1|e|+|1|ex|1|e|+|x|0xff|0|xor|0|or|1|or|1_000"
    );
    assert_eq!(texts("0b1 0o7 0b 0xE 5.else"), "0b1|0o7|0|b|0xE|5.|else");
}

#[test]
fn an_identifier_is_compared_as_the_server_does() {
    let value = |text: &str| {
        let mut found = Vec::new();
        let mut lexer = Lexer::new(true);
        let mut sink = |token: Token<'_>| found.push(Ident::of(&token));
        lexer.feed(text.as_bytes(), &mut sink);
        assert!(lexer.finish(&mut sink));
        String::from_utf8(found[0].as_bytes().to_vec()).unwrap()
    };
    assert_eq!(value("Foo"), "foo");
    assert_eq!(value("\"Fo\"\"o\""), "Fo\"o");
    assert_eq!(value(&"a".repeat(70)), "a".repeat(63));
    assert_eq!(value(&format!("\"{}é\"", "a".repeat(62))), "a".repeat(62));
    assert_eq!(value(&format!("{}é", "a".repeat(61))), format!("{}é", "a".repeat(61)));
}

#[test]
fn what_is_too_long_is_cut_and_said_to_be() {
    let long = format!("'{}' b", "a".repeat(KEPT_BYTES_MAX));
    let (tokens, _) = read([long.as_bytes()], true);
    assert_eq!((tokens[0].1.len(), tokens[0].2), (KEPT_BYTES_MAX, true));
    assert_eq!(tokens, read(long.as_bytes().chunks(1000), true).0);
    let tag = format!("${0}$ ; ${0}$ ;", "t".repeat(2000));
    let (tokens, _) = read([tag.as_bytes()], true);
    assert_eq!(tokens, [(Kind::Lost, Vec::new(), false)]);
    assert_eq!(tokens, read(tag.as_bytes().chunks(7), true).0);
}

#[test]
fn any_short_text_is_the_same_in_single_bytes() {
    for text in [
        "'a' - 1",
        "'a'\n--x\n'b'--",
        "1e+5 1e+x 1e-",
        "u&'x' u&\"y\" u& z",
        "0x1 0xz 0b2 1..2",
        "$a$b$a$ $a $1 $",
    ] {
        assert_eq!(read([text.as_bytes()], true), read(text.as_bytes().chunks(1), true), "{text}");
    }
}

/// Bytes among which every rule of the scanner finds work.
const PARTS: [&str; 43] = [
    "'", "''", "\"", "\\", "$", "$a$", "$1", "-", "--", "/", "/*", "*/", "*", "\n", " ", "e", "E'", "u&",
    "U&\"", "n'", "b'", "x", "0", "1", "0x", ".", "..", "+", "=", "<", "@", ":", "::", ";", "(", ")", "[",
    "a", "_", "\u{e9}", "\0", "{", "0o",
];

fn tricky() -> impl Strategy<Value = Vec<u8>> {
    let one = proptest::sample::select(&PARTS[..]).prop_map(|part: &str| part.as_bytes().to_vec());
    proptest::collection::vec(prop_oneof![8 => one, 1 => proptest::collection::vec(any::<u8>(), 1..3)], 0..24)
        .prop_map(|parts| parts.concat())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4000))]
    #[test]
    fn however_a_text_is_cut_its_tokens_are_the_same(
        text in tricky(), cuts in proptest::collection::vec(1_usize..9, 1..40), conforming: bool,
    ) {
        let whole = read([text.as_slice()], conforming);
        let mut rest = text.as_slice();
        let mut pieces = Vec::new();
        for cut in cuts.iter().cycle() {
            if rest.is_empty() {
                break;
            }
            let (piece, behind) = rest.split_at((*cut).min(rest.len()));
            pieces.push(piece);
            rest = behind;
        }
        prop_assert_eq!(&whole, &read(pieces, conforming));
        prop_assert_eq!(&whole, &read(text.chunks(1), conforming));
    }
}
