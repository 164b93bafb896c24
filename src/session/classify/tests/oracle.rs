//! The other opinion: PostgreSQL's own parser on the statements of PostgreSQL's own regression suite.
//!
//! `tests/drivers/sql_oracle.py` reads the suite with libpg_query and derives what each statement leaves from its parse tree. What it
//! finds we find; what we find beyond it is counted and has a bound. Both come from `scripts/test-tools python regress`.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use serde::Deserialize;

use super::super::calls::kept_state;
use super::super::names::is_stateless;
use super::super::{Classifier, Rules, classify};
use super::word;
use crate::backend::memory::Value;
use crate::session::effect::{About, Effect, Effects, Suspicion};
use crate::session::pins::Reason;

/// Statements that the suite of PostgreSQL 15 has; fewer means that it was not read.
const STATEMENTS_MIN: usize = 40_000;
/// Statements of which we say something needless: `GROUP BY a, ROLLUP (b)` looks like a call, and the like.
const NEEDLESS_MAX: usize = 20;

#[derive(Deserialize)]
struct Text {
    file: String,
    text: String,
    statements: Vec<Statement>,
}

#[derive(Deserialize)]
struct Statement {
    kind: String,
    left: Vec<String>,
}

/// The parser and its suite speak as PostgreSQL 18 does.
fn rules() -> Rules {
    Rules { server_major: 18, ..Rules::default() }
}

fn oracle() -> Command {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    let cache = cache(&root);
    let mut command = Command::new(cache.join("python/bin/python"));
    command.arg(root.join("tests/drivers/sql_oracle.py"));
    command
}

fn cache(root: &std::path::Path) -> PathBuf {
    std::env::var_os("ONEVAULT_TEST_CACHE").map_or_else(|| root.join("target/test-cache"), PathBuf::from)
}

fn suite() -> Vec<Text> {
    let folder = cache(&PathBuf::from(env!("CARGO_MANIFEST_DIR"))).join("regress/regress/sql");
    let entries = std::fs::read_dir(&folder).expect("scripts/test-tools regress brings the suite");
    let mut files: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
    files.retain(|path| path.extension().is_some_and(|ending| ending == "sql"));
    files.sort();
    let output =
        oracle().arg("read").args(files).output().expect("scripts/test-tools python brings the parser");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    output.stdout.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()).map(parsed).collect()
}

fn parsed(line: &[u8]) -> Text {
    serde_json::from_slice(line).unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(line)))
}

/// Whether what the parse tree says is among what we say, in as strong words or stronger.
fn is_told(expected: &str, found: &[&Effect]) -> bool {
    let has = |wanted: &dyn Fn(&Effect) -> bool| found.iter().any(|effect| wanted(effect));
    let says = |words: &str| has(&|effect| word(effect) == words);
    let pins = || has(&|effect| matches!(effect, Effect::Pin(_)));
    let is_config =
        || has(&|effect| matches!(effect, Effect::Set(..) | Effect::SetUnknown(_) | Effect::SetBound { .. }));
    let (kind, name) = expected.split_once(' ').unwrap_or((expected, ""));
    match kind {
        "set" => {
            let is_set = has(
                &|effect| matches!(effect, Effect::Set(set, _) | Effect::SetUnknown(set) if **set == *name.as_bytes()),
            );
            // Nothing: what ends with the transaction, and what was so already.
            is_set || pins() || name.starts_with("transaction_") || name == "standard_conforming_strings"
        }
        "local" => says(expected) || name.starts_with("transaction_"),
        "reset" => says(expected) || says("pin role") || name.starts_with("transaction_") || says("resetall"),
        "config" if name.starts_with("local") => says(name) || says("pin setting") || is_config(),
        "config" => pins() || is_config(),
        "call" => is_call_told(name, found),
        "syntax" => true,
        _ => says(expected),
    }
}

fn is_call_told(path: &str, found: &[&Effect]) -> bool {
    let (schema, name) = path.rsplit_once('.').map_or((None, path), |(schema, name)| (Some(schema), name));
    let built_in = schema.is_none_or(|schema| schema == "pg_catalog");
    if let Some(effect) = kept_state(name.as_bytes()).filter(|_| built_in) {
        return found.contains(&&effect);
    }
    let syntax = matches!(name, "bernoulli" | "system" | "xmlexists" | "system_user");
    (built_in && (is_stateless(name.as_bytes(), 18) || syntax)) || found.contains(&&Effect::Unsure)
}

/// Whether something in the parse tree is a reason for what we say.
fn has_reason(effect: &Effect, expected: &[String]) -> bool {
    let told = |words: &[&str]| expected.iter().any(|left| words.iter().any(|word| left.starts_with(word)));
    match effect.about() {
        _ if matches!(effect, Effect::Set(..)) => told(&["set", "config"]),
        About::Suspicion(Suspicion::Unsure) => {
            told(&["unsure"])
                || expected
                    .iter()
                    .any(|left| left.strip_prefix("call ").is_some_and(|path| !is_call_told(path, &[])))
        }
        About::Suspicion(Suspicion::Pin(Reason::TemporaryObject)) => {
            told(&["pin temporary_object", "set search_path", "local search_path", "config"])
        }
        About::Suspicion(Suspicion::Pin(
            Reason::Setting | Reason::Role | Reason::Encoding | Reason::Seed,
        )) => told(&[
            "set",
            "local",
            "config",
            "reset",
            "pin setting",
            "call setseed",
            "call pg_catalog.setseed",
        ]),
        // It costs a backend and nothing else.
        About::Suspicion(Suspicion::SequenceReadLater) => true,
        // Every `DROP`, and `RESET ROLE`.
        About::Pins => true,
        About::Suspicion(Suspicion::SequenceStep | Suspicion::SequenceRead | Suspicion::Pin(_)) => {
            told(&[&word(effect), "call"])
        }
        About::Suspicion(Suspicion::SqlPrepare)
        | About::Journal
        | About::Unknown(_)
        | About::Statements(_)
        | About::Everything
        | About::Sequences => told(&[&word(effect)]) || told(&["config"]),
    }
}

fn in_pieces(text: &[u8], rules: &Rules) -> Effects {
    let mut classifier = Classifier::new(rules);
    text.chunks(7).for_each(|piece| classifier.feed(piece));
    classifier.finish()
}

#[derive(Default)]
struct Verdict {
    statements: usize,
    missed: Vec<String>,
    /// By what was told and the kind of the statement: how often without a reason, and one of them.
    needless: BTreeMap<String, Vec<String>>,
    /// What is said again, as it was and as it would be.
    again: Vec<(String, String)>,
}

impl Verdict {
    fn judge(&mut self, text: &Text, effects: &Effects) {
        let short: String = text.text.chars().take(300).collect();
        let place = format!("{}: {short}", text.file);
        if usize::try_from(effects.statements).unwrap() != text.statements.len() {
            self.missed.push(format!(
                "{} statements, not {}: {place}",
                effects.statements,
                text.statements.len()
            ));
            return;
        }
        for (number, statement) in (0_u32..).zip(&text.statements) {
            self.statements += 1;
            let found: Vec<_> = effects.of(number).collect();
            for expected in statement.left.iter().filter(|expected| !is_told(expected, &found)) {
                self.missed.push(format!("{expected} not in {found:?}: {place}"));
            }
            for effect in found.iter().filter(|effect| !has_reason(effect, &statement.left)) {
                let entry = self.needless.entry(format!("{} {}", statement.kind, word(effect)));
                entry.or_default().push(place.clone());
            }
            if let [Effect::Set(name, Value::Tail(tail))] = found[..]
                && statement.kind == "VariableSetStmt"
                && !text.text.to_ascii_lowercase().contains("characteristics")
                && text.statements.len() == 1
                // Its two forms differ in the case of a word.
                && **name != *b"xmloption"
            {
                self.again.push((text.text.clone(), said_again(name, tail)));
            }
        }
    }
}

/// As `backend::memory` says it.
fn said_again(name: &[u8], tail: &[u8]) -> String {
    let (name, tail) = (String::from_utf8_lossy(name), String::from_utf8_lossy(tail));
    match &*name {
        "timezone" if tail.to_ascii_lowercase().starts_with("interval") => format!("SET TIME ZONE {tail}"),
        _ => format!("SET \"{}\" TO {tail}", name.replace('.', "\".\"")),
    }
}

#[test]
fn nothing_is_missed_that_postgresqls_own_parser_sees() {
    let (rules, mut verdict) = (rules(), Verdict::default());
    let mut files: BTreeMap<String, (String, usize)> = BTreeMap::new();
    for text in suite() {
        let effects = classify(text.text.as_bytes(), &rules);
        assert_eq!(effects, in_pieces(text.text.as_bytes(), &rules), "{}", text.text);
        verdict.judge(&text, &effects);
        let (whole, statements) = files.entry(text.file.clone()).or_default();
        whole.push_str(&text.text);
        whole.push_str("\n;\n");
        *statements += text.statements.len();
    }
    for (file, (whole, statements)) in files {
        let counted = classify(whole.as_bytes(), &rules).statements;
        assert_eq!(usize::try_from(counted).unwrap(), statements, "{file} as one text");
    }
    let needless: usize = verdict.needless.values().map(Vec::len).sum();
    eprintln!(
        "{} statements, {needless} with something needless: {:#?}",
        verdict.statements, verdict.needless
    );
    assert!(verdict.missed.is_empty(), "{} missed: {:#?}", verdict.missed.len(), verdict.missed);
    assert!(verdict.statements >= STATEMENTS_MIN && needless <= NEEDLESS_MAX);
    is_the_same(&verdict.again);
}

/// The same suite, with every function it calls among those that pin: each call is seen, wherever it stands.
#[test]
fn no_call_is_missed_that_postgresqls_own_parser_sees() {
    let suite = suite();
    let calls = |statement: &Statement| -> Vec<String> {
        statement.left.iter().filter_map(|left| left.strip_prefix("call ")).map(str::to_owned).collect()
    };
    let names = suite.iter().flat_map(|text| &text.statements).flat_map(calls);
    let rules = Rules { pin_functions: std::sync::Arc::new(names.collect()), ..rules() };
    let (mut seen, mut missed) = (0, Vec::new());
    for text in &suite {
        let effects = classify(text.text.as_bytes(), &rules);
        let lower = text.text.to_lowercase();
        for (number, statement) in (0_u32..).zip(&text.statements) {
            // `LIKE .. ESCAPE` and the like are calls of functions that the text does not name.
            let is_named = |path: &String| lower.contains(path.rsplit('.').next().unwrap());
            if calls(statement).iter().any(is_named) {
                seen += 1;
                if !effects.of(number).any(|effect| *effect == Effect::Pin(Reason::Function)) {
                    missed.push(format!("{}: {}", text.file, text.text));
                }
            }
        }
    }
    eprintln!("{seen} statements with calls");
    assert!(seen > 7000 && missed.is_empty(), "{} missed of {seen}: {missed:#?}", missed.len());
}

/// What a session carries means the same when it is said again.
fn is_the_same(pairs: &[(String, String)]) {
    let mut child = oracle().arg("same").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let lines: Vec<String> = pairs.iter().map(|pair| serde_json::to_string(pair).unwrap()).collect();
    let writer = std::thread::spawn(move || stdin.write_all(lines.join("\n").as_bytes()));
    let output = child.wait_with_output().unwrap();
    writer.join().unwrap().unwrap();
    assert!(output.status.success() && pairs.len() > 500, "{}", pairs.len());
    assert_eq!(String::from_utf8_lossy(&output.stdout), "");
}
