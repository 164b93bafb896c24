//! Lists and values, good and bad.

use proptest::prelude::*;

use super::*;

const INT4S: u32 = 1007;

fn texts(list: &[u8]) -> Vec<Option<String>> {
    let text =
        |parameter: Parameter<'_>| parameter.text().map(|text| String::from_utf8_lossy(&text).into_owned());
    Parameters::read(list).map(text).collect()
}

#[test]
fn a_list_keeps_null_apart_from_empty_and_binary_from_text() {
    // Two types are known; formats are said one by one; the last value breaks off.
    let list = [
        &[0, 2][..],
        &23_u32.to_be_bytes(),
        &25_u32.to_be_bytes(),
        &[0, 4, 0, 1, 0, 0, 0, 1, 0, 0],
        &[0, 5, 0, 0, 0, 4, 0, 0, 1, 0],
        &[0, 0, 0, 0],
        &[0, 0, 0, 2, 7, 8],
        &[0xff, 0xff, 0xff, 0xff],
        &[0, 0, 0, 9, 1],
    ]
    .concat();
    let [int, empty, hex] = ["256", "", "\\x0708"].map(|text| Some(text.to_owned()));
    assert_eq!(texts(&list), [int, empty, hex, None]);
    assert_eq!(Parameters::read(&list).announced(), 5);
    let names: Vec<_> = Parameters::read(&list).map(|parameter| parameter.type_name()).collect();
    assert_eq!(names, ["int4", "text", "unknown", "unknown"]);
}

#[test]
fn one_format_stands_for_all() {
    let list = [&[0, 2][..], &21_u32.to_be_bytes(), &21_u32.to_be_bytes(), &[0, 1, 0, 1, 0, 2]].concat();
    let list = [&list[..], &[0, 0, 0, 2, 0, 1], &[0, 0, 0, 2, 0xff, 0xff]].concat();
    assert_eq!(texts(&list), [Some("1".to_owned()), Some("-1".to_owned())]);
    assert_eq!(texts(b""), []);
}

#[test]
fn what_is_no_value_of_its_type_is_shown_as_it_came() {
    for (oid, value) in [
        (INT4, &b"abc"[..]),
        (NUMERIC, b"\0\x01\0\0\0\0\0\0\xff\xff"),
        (UUID, b"short"),
        (TIME, &[0xff; 8]),
        (INET, b"\x02\x21\0\x04abcd"),
        (JSONB, b"\x02{}"),
        (BOOL, b""),
        (INT4S, b"\0\0\0\x01\0\0\0\0\0\0\0\x17\x7f\xff\xff\xff\0\0\0\x01"),
        // Of another element than its own.
        (INT4S, b"\0\0\0\0\0\0\0\0\0\0\0\x19"),
        (999_999, b"x"),
    ] {
        assert_eq!(print(oid, value), hex(value), "{oid}");
    }
}

proptest! {
    #[test]
    fn any_bytes_are_shown(value in prop::collection::vec(any::<u8>(), 0..80), other in any::<u32>()) {
        for (oid, _) in NAMES.iter().chain(ARRAYS).chain(&[(other, "")]) {
            let _ = print(*oid, &value);
        }
        for parameter in Parameters::read(&value) {
            let _ = (parameter.text(), parameter.type_name());
        }
    }

    #[test]
    fn arrays_that_claim_much_cost_little(
        lengths in prop::collection::vec(prop::sample::select(vec![0_i32, 1, 2, 3, i32::MAX]), 0..7),
        value in prop::collection::vec(0_u8..3, 0..60),
    ) {
        let mut array = i32::try_from(lengths.len()).unwrap().to_be_bytes().to_vec();
        array.extend([0, 0, 0, 0]);
        array.extend(INT4.to_be_bytes());
        lengths.iter().for_each(|length| array.extend([length.to_be_bytes(), [0, 0, 0, 1]].concat()));
        array.extend(&value);
        prop_assert!(print(INT4S, &array).len() < 4096);
    }
}
