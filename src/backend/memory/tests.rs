//! Settings as a list, and as SQL.

use super::*;

fn tail(text: &str) -> Value {
    Value::Tail(text.as_bytes().into())
}

fn config(text: &str) -> Value {
    Value::Config(text.as_bytes().into())
}

fn carried(pairs: &[(&str, Value)]) -> Carried {
    pairs.iter().fold(Carried::default(), |all, (name, value)| all.with(name.as_bytes(), value.clone()))
}

fn sql(to: &Carried, from: &Carried) -> String {
    let mut sql = Vec::new();
    to.catch_up(from, &mut sql);
    String::from_utf8(sql).unwrap()
}

#[test]
fn a_setting_is_found_in_whatever_case_it_was_written() {
    let one = carried(&[("work_mem", tail("'1MB'")), ("TimeZone", tail("utc")), ("app.User", tail("1"))]);
    assert_eq!(one.get(b"TIMEZONE"), Some(&tail("utc")));
    assert_eq!(one.with(b"timezone", tail("utc")), one);
    let other = carried(&[("app.user", tail("1")), ("timezone", tail("utc")), ("work_mem", tail("'1MB'"))]);
    assert_eq!(one, other);
    assert_eq!(one.get(b"time"), None);
    let none = one.without(b"Work_Mem").without(b"x").without(b"timezone").without(b"APP.user");
    assert!(none.is_empty() && none == Carried::default());
}

#[test]
fn catching_up_says_what_differs_and_nothing_else() {
    let from = carried(&[("a.b", tail("1")), ("work_mem", tail("'1MB'")), ("search_path", tail("x"))]);
    let to = carried(&[
        ("search_path", config("'x'")),
        ("timezone", tail("interval '1' HOUR TO MINUTE")),
        ("work_mem", tail("'1MB'")),
        ("o'n\"e.two", config("E'\\'q'")),
        ("weird\"name", tail("'v'")),
    ]);
    assert_eq!(
        sql(&to, &from),
        "/* onevault */ RESET \"a\".\"b\"; SELECT pg_catalog.set_config('o''n\"e.two', E'\\'q', false); \
         SELECT pg_catalog.set_config('search_path', 'x', false); SET TIME ZONE interval '1' HOUR TO MINUTE; \
         SET \"weird\"\"name\" TO 'v'"
    );
    assert_eq!(sql(&to, &to.clone()), "");
    assert_eq!(
        sql(&from, &from.with(b"work_mem", tail("'2MB'"))),
        "/* onevault */ SET \"work_mem\" TO '1MB'"
    );
}

#[test]
fn a_name_with_a_backslash_is_the_same_name_whatever_literals_mean() {
    let to = carried(&[("a\\b", config("'1'"))]);
    let expected = "/* onevault */ SELECT pg_catalog.set_config(E'a\\\\b', '1', false)";
    assert_eq!(sql(&to, &Carried::default()), expected);
}

#[test]
fn what_cannot_be_said_again_with_certainty_is_known() {
    let plain = carried(&[("work_mem", tail("'1MB'")), ("datestyle", tail("SQL, European"))]);
    assert!(plain.is_certain() && Carried::default().is_certain());
    assert!(!plain.with(b"datestyle", tail("E'\\x49SO'")).is_certain());
    assert!(!plain.with(b"datestyle", tail("E'\\x49SO'")).with(b"datestyle", tail("dmy")).is_certain());
    assert!(plain.with(b"datestyle", tail("E'\\x49SO'")).with(b"datestyle", tail("dmy, sql")).is_certain());
    let accent = plain.with(b"a.b", tail("'\u{e9}'"));
    assert!(accent.is_certain() && !accent.with(b"client_encoding", tail("'LATIN1'")).is_certain());
    assert!(!plain.with(b"a.b", Value::Tail(vec![b'1'; CARRIED_BYTES_MAX].into())).is_certain());
}
