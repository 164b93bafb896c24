//! Texts and what they leave.

mod calls;
mod oracle;
mod settings;
mod statements;

use std::sync::Arc;

use super::{Classifier, Rules, classify};
use crate::backend::memory::Value;
use crate::session::effect::{Effect, Effects};

fn rules() -> Rules {
    Rules {
        standard_conforming_strings: true,
        stateless_functions: Arc::new(["harmless", "app.pure"].into_iter().collect()),
        pin_functions: Arc::new(["keep_me", "app.login"].into_iter().collect()),
        server_major: 15,
    }
}

fn bytes(text: &[u8]) -> String {
    String::from_utf8_lossy(text).into_owned()
}

fn word(effect: &Effect) -> String {
    match effect {
        Effect::Set(name, Value::Tail(value)) => format!("set {} to {}", bytes(name), bytes(value)),
        Effect::Set(name, Value::Config(value)) => format!("config {} to {}", bytes(name), bytes(value)),
        Effect::Reset(name) => format!("reset {}", bytes(name)),
        Effect::SetLocal(name) => format!("local {}", bytes(name)),
        Effect::SetUnknown(name) => format!("unknown {}", bytes(name)),
        Effect::SetBound { number, local } => {
            format!("{} ${number}", if *local { "local" } else { "unknown" })
        }
        Effect::Savepoint(name) => format!("savepoint {}", bytes(name)),
        Effect::Release(name) => format!("release {}", bytes(name)),
        Effect::RollbackTo(name) => format!("rollback to {}", bytes(name)),
        Effect::Deallocate(name) => format!("deallocate {}", bytes(name)),
        Effect::Pin(reason) => format!("pin {}", reason.name()),
        Effect::Begin
        | Effect::Commit
        | Effect::Rollback
        | Effect::Chain
        | Effect::ResetAll
        | Effect::DeallocateAll
        | Effect::DiscardAll
        | Effect::DiscardSequences
        | Effect::SqlPrepare
        | Effect::MayUnpin
        | Effect::SequenceRead
        | Effect::SequenceReadLater
        | Effect::SequenceStep
        | Effect::Unsure => format!("{effect:?}").to_lowercase(),
    }
}

/// `statements: effects`, with a number in front of those of later statements.
fn shown(effects: &Effects) -> String {
    let list = effects.list.iter().map(|(number, effect)| match number {
        0 => word(effect),
        _ => format!("{number} {}", word(effect)),
    });
    format!("{}: {}", effects.statements, list.collect::<Vec<_>>().join(", ")).trim_end().to_owned()
}

/// What a text leaves; that it leaves the same byte by byte.
fn left(text: &str) -> String {
    let rules = rules();
    let effects = classify(text.as_bytes(), &rules);
    let mut classifier = Classifier::new(&rules);
    text.as_bytes().chunks(1).for_each(|byte| classifier.feed(byte));
    assert_eq!(effects, classifier.finish(), "{text}");
    shown(&effects)
}

#[track_caller]
fn leaves(cases: &[(&str, &str)]) {
    let wrong: Vec<_> = cases
        .iter()
        .map(|(text, expected)| (*text, left(text), (*expected).to_owned()))
        .filter(|(_, found, expected)| found != expected)
        .collect();
    assert!(wrong.is_empty(), "{wrong:#?}");
}

proptest::proptest! {
    #[test]
    fn any_bytes_have_an_answer_that_no_cut_changes(
        parts in proptest::collection::vec(proptest::sample::select(&PARTS[..]), 0..30), piece in 1_usize..7,
    ) {
        let text = parts.concat();
        let rules = rules();
        let mut classifier = Classifier::new(&rules);
        text.as_bytes().chunks(piece).for_each(|piece| classifier.feed(piece));
        proptest::prop_assert_eq!(classify(text.as_bytes(), &rules), classifier.finish());
    }
}

const PARTS: [&str; 44] = [
    "select ",
    "set ",
    "local ",
    "session ",
    "x ",
    "= ",
    "to ",
    "'a' ",
    "set_config",
    "(",
    ")",
    ",",
    ";",
    "true",
    "create ",
    "temp ",
    "table ",
    "begin ",
    "atomic ",
    "end ",
    "case ",
    "commit ",
    "and chain ",
    "rollback ",
    "explain ",
    "analyze ",
    "with ",
    "as ",
    "insert ",
    "into ",
    "values ",
    "copy ",
    "from ",
    "pg_temp.",
    "f",
    "\"q\" ",
    "$$ ; $$ ",
    "-- x\n",
    "/* ",
    "*/ ",
    "role ",
    "1 ",
    "::",
    "prepare ",
];
