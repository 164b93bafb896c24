//! What is large stays whole: values, statements, lists of parameters and of columns.

use crate::support::both::count;
use crate::support::messages::*;
use crate::support::pooled::{Pooled, say};
use crate::support::transcript::Frame;
use crate::support::wire::Wire;

/// The hash and length of everything heard: large answers are not kept to be printed.
fn digest(frames: &[Frame]) -> Vec<String> {
    use std::hash::{DefaultHasher, Hash, Hasher};
    let one = |frame: &Frame| {
        let mut hash = DefaultHasher::new();
        frame.body.hash(&mut hash);
        let error = if frame.is_error() { frame.line() } else { String::new() };
        format!("{} {} {:x}{error}", char::from(frame.tag), frame.body.len(), hash.finish())
    };
    frames.iter().map(one).collect()
}

fn same(pooled: &Pooled, messages: &[u8]) -> Vec<String> {
    let talk = |wire: &mut Wire| digest(&wire.talk(messages));
    let heard = pooled.both(|wire, _| {
        let first = talk(wire);
        // What is too large to be said again may be held instead.
        let _ = pooled.try_steal();
        let second = talk(wire);
        assert_eq!(first, second);
        first
    });
    pooled.steal();
    heard
}

#[test]
fn a_value_of_64_megabytes_arrives_whole() {
    let pooled = Pooled::new("value");
    let value = "x".repeat(64 << 20);
    let heard = same(
        &pooled,
        &all(&[
            parse("", "SELECT length($1), md5($1)"),
            bind("", "", &[Some(&value)]),
            execute("", 0),
            sync(),
        ]),
    );
    assert!(heard.iter().any(|line| line.starts_with("D ")), "{heard:#?}");
    same(&pooled, &query("SELECT repeat('y', 64 * 1024 * 1024)"));
}

#[test]
fn a_statement_of_32_megabytes_arrives_whole() {
    let pooled = Pooled::new("text");
    let text = format!("SELECT length('{}')", "z".repeat(32 << 20));
    same(&pooled, &query(&text));
    same(&pooled, &all(&[parse("", &text), bind("", "", &[]), execute("", 0), sync()]));
    // Named, it is too large to be said again: its backend is held, or it is said again all the same.
    let heard = pooled.both(|wire, _| {
        let mut heard = say(wire, &all(&[parse("s1", &text), sync()]));
        for _ in 0..2 {
            heard.extend(say(wire, &all(&[bind("", "s1", &[]), execute("", 0), sync()])));
        }
        heard.extend(say(wire, &all(&[close_statement("s1"), sync()])));
        heard
    });
    assert_eq!(count(&heard, "B DataRow 33554432"), 2);
    pooled.steal();
}

#[test]
fn sixty_thousand_parameters_and_1600_columns_arrive_whole() {
    let pooled = Pooled::new("wide");
    let number = 60_000;
    let list: Vec<String> = (1..=number).map(|at| format!("${at}::int4")).collect();
    let text = format!("SELECT sum(x) FROM unnest(ARRAY[{}]) AS x", list.join(","));
    let values: Vec<String> = (1..=number).map(|at| at.to_string()).collect();
    let values: Vec<Option<&str>> = values.iter().map(|value| Some(value.as_str())).collect();
    let heard = pooled.tried(&[
        all(&[parse("s1", &text), sync()]),
        all(&[bind("", "s1", &values), execute("", 0), sync()]),
        all(&[close_statement("s1"), sync()]),
    ]);
    assert!(heard.contains(&"B DataRow 1800030000".to_owned()));
    let columns: Vec<String> = (1..=1600).map(|at| format!("{at} AS column_with_a_long_name_{at}")).collect();
    let text = format!("SELECT {}", columns.join(", "));
    let heard = pooled.tried(&[
        all(&[parse("s2", &text), sync()]),
        all(&[describe_statement("s2"), sync()]),
        all(&[bind("", "s2", &[]), describe_portal(""), execute("", 0), sync()]),
        query(&text),
        // More than the server takes.
        query(&format!("{text}{}", ", 1".repeat(65))),
    ]);
    assert_eq!(count(&heard, "B RowDescription"), 3);
    assert_eq!(count(&heard, "B DataRow"), 2);
}
