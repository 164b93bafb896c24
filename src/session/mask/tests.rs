//! What is masked, how it looks, and that no way to cut a text shows a secret.

use proptest::prelude::*;

use super::*;
use crate::audit::values::Parameters;

const SECRET: &str = "s3cr3t";

fn mask(handling: Handling) -> Mask {
    Mask::new(handling, &[7; 32])
}

fn masked(handling: Handling, text: &str) -> String {
    String::from_utf8(mask(handling).text(text.as_bytes())).unwrap()
}

/// In pieces of these lengths, again and again.
fn in_pieces(handling: Handling, text: &[u8], lengths: &[usize]) -> Vec<u8> {
    let (mut mask, mut out) = (TextMask::new(&mask(handling)), Vec::new());
    let (mut rest, mut lengths) = (text, lengths.iter().cycle());
    while !rest.is_empty() {
        let (piece, behind) = rest.split_at(rest.len().min(*lengths.next().unwrap_or(&1)));
        mask.feed(piece, &mut out);
        rest = behind;
    }
    mask.finish(&mut out).unwrap_or(out)
}

#[test]
fn nothing_of_a_text_is_left_but_its_tokens() {
    let text = "SELECT a.b, f( 1, 'x' )::int /* s3cr3t */ FROM \"T\" -- s3cr3t\nWHERE c = $1 AND d IS NOT NULL OR true";
    let expected = "SELECT a.b, f(?, ?)::int FROM \"T\" WHERE c = $1 AND d IS NOT NULL OR true";
    assert_eq!(masked(Handling::None, text), expected);
    assert_eq!(masked(Handling::Full, text), text);
}

#[test]
fn equal_values_are_masked_alike_however_they_are_quoted() {
    let texts = ["'it''s'", "N'it''s'", "E'it''s'", "$$it's$$", "$t$it's$t$", "U&'it''s'"];
    let found: Vec<_> = texts.iter().map(|text| masked(Handling::Masked, text)).collect();
    assert!(found[0].starts_with("string:") && found[0].len() == 7 + 16, "{found:?}");
    assert!(found.iter().all(|other| *other == found[0]), "{found:?}");
    // And as a parameter, whose type stands in front.
    let list = [&[0, 0, 0, 0, 0, 1, 0, 0, 0, 4][..], b"it's"].concat();
    let masked_list = mask(Handling::Masked).list(&list);
    let parameter = Parameters::read(&masked_list).next().unwrap().text().unwrap().into_owned();
    assert_eq!(String::from_utf8(parameter).unwrap(), found[0].replace("string", "unknown"));
    // Under another key it is another one.
    let other = Mask::new(Handling::Masked, &[8; 32]).text(b"'it''s'");
    assert_ne!(other, found[0].as_bytes());
    assert_ne!(masked(Handling::Masked, "'x'"), found[0]);
}

#[test]
fn what_cannot_be_read_for_sure_is_masked_as_a_whole() {
    for text in [
        "SELECT 'a\\', s3cr3t, 'b'",
        "SELECT 's3cr3t",
        "SELECT s3cr3t', 'x'",
        "SELECT $x$ s3cr3t",
        "SELECT E'\\'s3cr3t",
        "SELECT \"s3cr3t",
        "SELECT s3cr3t /* ",
        "SELECT $ s3cr3t",
    ] {
        let found = masked(Handling::None, text);
        assert!(!found.contains(SECRET) && found == "?", "{text}: {found}");
        let found = masked(Handling::Masked, text);
        assert!(found.starts_with("text:") && found.len() == 5 + 16, "{text}: {found}");
    }
    // The first half of a character that ends with a backslash, in encodings that have such.
    assert_eq!(mask(Handling::None).text(b"SELECT E'\x81\\', s3cr3t, 'b'"), b"?");
    let long = format!("SELECT 's3cr3t{}', s3cr3t", "x".repeat(20_000));
    assert_eq!(masked(Handling::None, &long), "?");
}

#[test]
fn a_password_that_ddl_sets_is_recorded_for_nobody() {
    for (text, expected) in [
        ("ALTER ROLE a PASSWORD 's3cr3t' LOGIN", "ALTER ROLE a PASSWORD '***' LOGIN"),
        ("alter user a password\n  E's3\\'cr3t'; SELECT 1", "alter user a password\n  '***'; SELECT 1"),
        ("CREATE ROLE a PASSWORD /* x */ $$s3cr3t$$", "CREATE ROLE a PASSWORD /* x */ '***'"),
        ("ALTER ROLE a PASSWORD 's3cr3t", "ALTER ROLE a PASSWORD'***'"),
        ("SELECT password, 'kept' FROM t", "SELECT password, 'kept' FROM t"),
        ("SELECT 'PASSWORD ''kept'''", "SELECT 'PASSWORD ''kept'''"),
        ("ALTER ROLE a PASSWORD NULL", "ALTER ROLE a PASSWORD NULL"),
    ] {
        assert_eq!(masked(Handling::Full, text), expected);
    }
    let long = format!("ALTER ROLE a PASSWORD '{}' LOGIN", SECRET.repeat(40_000));
    for lengths in [&[7][..], &[70_000]] {
        let found = String::from_utf8(in_pieces(Handling::Full, long.as_bytes(), lengths)).unwrap();
        assert!(!found.contains(SECRET) && found.starts_with("ALTER ROLE a PASSWORD"), "{found}");
    }
    assert!(mask(Handling::Full).is_plain(b"SELECT 'word', passwor, w"));
}

/// Texts whose secrets all are in literals or comments.
fn literal() -> impl Strategy<Value = &'static str> {
    prop::sample::select(vec![
        "'s3cr3t'",
        "E's3cr3t\\''",
        "N's3cr3t'",
        "U&'s3cr3t'",
        "$$s3cr3t$$",
        "$a$ s3cr3t $$ $a$",
        "B'0'",
        "42",
        "'a''s3cr3t'",
        "'a'\n's3cr3t'",
        "/* s3cr3t /* */ */ 1",
        "-- s3cr3t\n1",
        "'s3cr3t\\\\'",
        "1e5",
    ])
}

proptest! {
    #[test]
    fn however_a_text_is_cut_it_is_masked_alike_and_shows_no_secret(
        literals in prop::collection::vec(literal(), 0..12),
        lengths in prop::collection::vec(1_usize..40, 1..20),
        masked in any::<bool>(),
    ) {
        let text = format!("SELECT f({}) FROM t WHERE a=b", literals.join(" , "));
        let handling = if masked { Handling::Masked } else { Handling::None };
        let whole = mask(handling).text(text.as_bytes());
        prop_assert_eq!(&in_pieces(handling, text.as_bytes(), &lengths), &whole);
        prop_assert!(!String::from_utf8_lossy(&whole).contains(SECRET));
        // As it came, where no password is set.
        prop_assert_eq!(in_pieces(Handling::Full, text.as_bytes(), &lengths), text.as_bytes());
    }

    #[test]
    fn passwords_are_found_however_a_text_is_cut(
        lengths in prop::collection::vec(1_usize..40, 1..20),
        literals in prop::collection::vec(literal(), 1..6),
    ) {
        let strings = literals.iter().filter(|text| text.contains('\'') && !text.starts_with('B'));
        let text: String = strings.map(|text| format!("ALTER ROLE a PASSWORD {text}; ")).collect();
        let whole = mask(Handling::Full).text(text.as_bytes());
        prop_assert_eq!(&in_pieces(Handling::Full, text.as_bytes(), &lengths), &whole);
        prop_assert!(!String::from_utf8_lossy(&whole).contains(SECRET));
    }

    #[test]
    fn any_list_is_masked_however_it_is_cut(
        values in prop::collection::vec(prop::option::of(prop::collection::vec(any::<u8>(), 0..60)), 0..6),
        long in prop::option::of(16_000_usize..20_000),
        oid in prop::sample::select(vec![0_u32, 23, 25, 1700]),
        binary in any::<bool>(),
        length in 1_usize..30_000,
        cut in any::<bool>(),
    ) {
        let mut values = values;
        values.extend(long.map(|length| Some(vec![b'x'; length])));
        let count = u16::try_from(values.len()).unwrap().to_be_bytes();
        let mut list = [&[0, 1][..], &oid.to_be_bytes(), &[0, 1, 0, u8::from(binary)], &count].concat();
        for value in &values {
            let length = value.as_ref().map_or(-1, |value| i32::try_from(value.len()).unwrap());
            list.extend(length.to_be_bytes());
            list.extend(value.iter().flatten());
        }
        // What `Bind` goes on with, or not even that.
        list.extend([0, 0]);
        if cut {
            list.truncate(list.len() / 2);
        }
        let whole = mask(Handling::Masked).list(&list);
        let (mut piecewise, mut out) = (ListMask::new(&mask(Handling::Masked)), Vec::new());
        list.chunks(length).for_each(|piece| piecewise.feed(piece, &mut out));
        prop_assert_eq!(&out, &whole);
        let nulls: Vec<_> = Parameters::read(&whole).map(|parameter| parameter.value.is_none()).collect();
        let before: Vec<_> = Parameters::read(&list).map(|parameter| parameter.value.is_none()).collect();
        prop_assert_eq!(nulls, before);
    }

    #[test]
    fn any_bytes_are_masked(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        for handling in [Handling::Full, Handling::Masked, Handling::None] {
            let _ = (mask(handling).text(&bytes), mask(handling).list(&bytes), mask(handling).message(&bytes));
        }
    }
}

#[cfg(feature = "console")]
#[test]
fn a_masked_statement_has_the_tables_and_the_fingerprint_of_the_full_one() {
    for text in [
        "SELECT name FROM business.patients WHERE id = 17 AND note LIKE '%x%' OR id IN (1, -2, 3) LIMIT 5",
        "INSERT INTO business.visits VALUES (1, 'it''s', E'\\t', B'101', $$x$$, 1.5e3), (2, NULL, '', X'ff', '', -1)",
        "UPDATE t SET a = a+1, b = doc->'key' WHERE c BETWEEN 1 AND 2 AND d = $1 AND e::text='x' AND f[1] > 2",
        "SELECT \"a\".\"string:0\", CASE WHEN x = 1 THEN 'a' ELSE 'b' END FROM \"a?\" WHERE t > now() - interval '1 day'",
        "DELETE FROM t WHERE doc ? 'key' AND at < date '2020-01-01'",
    ] {
        let full = crate::gist::of(text.as_bytes()).unwrap();
        assert!(full.is_some(), "{text}");
        let masked = masked(Handling::Masked, text);
        assert!(masked.contains(":") && !masked.contains("'"), "{masked}");
        assert_eq!(crate::gist::of(masked.as_bytes()).unwrap(), full, "{masked}");
    }
    for text in
        ["SELECT name FROM business.patients WHERE id = 17 AND note = 'x'", "INSERT INTO t VALUES (1, 'a')"]
    {
        let full = crate::gist::of(text.as_bytes()).unwrap();
        assert_eq!(crate::gist::of(masked(Handling::None, text).as_bytes()).unwrap(), full, "{text}");
    }
}
