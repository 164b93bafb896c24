//! Transactions and savepoints: by example, and against a real server.

use proptest::prelude::*;

use super::*;
use crate::backend::Backend;
use crate::backend::tests::cluster::{Cluster, Reply, ask, exchange};
use crate::protocol::write;

fn tail(value: &str) -> Value {
    Value::Tail(value.as_bytes().into())
}

fn set(journal: &mut Journal, name: &str, value: &str) {
    journal.completed(&Effect::Set(name.as_bytes().into(), tail(value)));
}

fn shown(journal: &Journal, name: &str) -> Option<String> {
    journal.current().get(name.as_bytes()).map(|value| match value {
        Value::Tail(text) | Value::Config(text) => {
            String::from_utf8_lossy(text).trim_matches('\'').to_owned()
        }
    })
}

#[test]
fn a_failed_batch_keeps_what_a_commit_inside_it_kept() {
    let mut journal = Journal::default();
    set(&mut journal, "a", "1");
    journal.completed(&Effect::Commit);
    set(&mut journal, "a", "2");
    journal.failed();
    journal.ready(b'I');
    assert_eq!(shown(&journal, "a").as_deref(), Some("1"));
}

#[test]
fn what_was_set_before_begin_in_the_same_text_is_rolled_back_with_it() {
    let mut journal = Journal::default();
    set(&mut journal, "a", "1");
    journal.completed(&Effect::Begin);
    journal.ready(b'T');
    journal.completed(&Effect::Rollback);
    journal.ready(b'I');
    assert_eq!(shown(&journal, "a"), None);
}

#[test]
fn a_commit_that_fails_keeps_nothing_of_any_savepoint() {
    let mut journal = Journal::default();
    journal.completed(&Effect::Begin);
    set(&mut journal, "a", "1");
    journal.completed(&Effect::Savepoint(b"s"[..].into()));
    set(&mut journal, "a", "2");
    journal.failed();
    journal.ready(b'I');
    assert!(journal.current().is_empty() && journal.is_certain());
}

#[test]
fn the_truth_ends_doubt() {
    let mut journal = Journal::default();
    set(&mut journal, "client_encoding", "'LATIN1'");
    set(&mut journal, "app.name", "'\u{e9}'");
    assert!(!journal.is_certain());
    journal.ready(b'I');
    assert!(!journal.is_certain());
    let truth = Carried::default().with(b"work_mem", tail("'1MB'"));
    journal.adopt(truth.clone());
    assert!(journal.is_certain() && *journal.current() == truth);
    journal.failed();
    journal.ready(b'I');
    assert!(*journal.current() == truth);
}

#[test]
fn a_client_cannot_fill_the_memory_with_settings_or_savepoints() {
    let mut settings = Journal::default();
    for number in 0..10_000 {
        set(&mut settings, &format!("a.b{number}"), "1");
    }
    assert!(settings.current().bytes() <= 16 * 1024 && !settings.is_certain());

    let mut savepoints = Journal::default();
    for number in 0..20_000 {
        set(&mut savepoints, "a.b", &format!("{number:01000}"));
        savepoints.completed(&Effect::Savepoint(b"s"[..].into()));
    }
    assert!((100..300).contains(&savepoints.savepoints.len()) && !savepoints.is_certain());
    savepoints.completed(&Effect::Rollback);
    assert_eq!((savepoints.savepoints.len(), savepoints.savepoints_bytes), (0, 0));

    let mut honest = Journal::default();
    for number in 0..20_000 {
        set(&mut honest, "a.b", &number.to_string());
        honest.completed(&Effect::Savepoint(b"s"[..].into()));
        honest.completed(&Effect::Release(b"s"[..].into()));
    }
    assert!(honest.is_certain());
}

/// Settings that the programs speak of, and their defaults.
const NAMES: [(&str, &str); 4] = [("work_mem", "4MB"), ("extra_float_digits", "1"), ("a.x", ""), ("a.y", "")];
const VALUES: [[&str; 3]; 4] = [["1MB", "2MB", "3MB"], ["0", "2", "3"], ["p", "q", "r"], ["p", "q", ""]];
const SAVEPOINTS: [&str; 2] = ["s", "t"];

#[derive(Debug, Clone, Copy)]
enum Op {
    Begin,
    Commit,
    Rollback,
    CommitChain,
    RollbackChain,
    Savepoint(usize),
    Release(usize),
    RollbackTo(usize),
    Set(usize, usize),
    Config(usize, usize),
    SetLocal(usize, usize),
    ConfigLocal(usize, usize),
    Reset(usize),
    ResetAll,
    DiscardAll,
    Error,
    /// A row that the `COMMIT` will refuse.
    BadRow,
}

impl Op {
    fn sql(self) -> String {
        let (name, value) = (|at: usize| NAMES[at].0, |at: usize, value: usize| VALUES[at][value]);
        match self {
            Self::Begin => "BEGIN".into(),
            Self::Commit => "COMMIT".into(),
            Self::Rollback => "ROLLBACK".into(),
            Self::CommitChain => "COMMIT AND CHAIN".into(),
            Self::RollbackChain => "ROLLBACK AND CHAIN".into(),
            Self::Savepoint(at) => format!("SAVEPOINT {}", SAVEPOINTS[at]),
            Self::Release(at) => format!("RELEASE {}", SAVEPOINTS[at]),
            Self::RollbackTo(at) => format!("ROLLBACK TO {}", SAVEPOINTS[at]),
            Self::Set(at, to) => format!("SET {} TO '{}'", name(at), value(at, to)),
            Self::Config(at, to) => format!("SELECT set_config('{}', '{}', false)", name(at), value(at, to)),
            Self::SetLocal(at, to) => format!("SET LOCAL {} TO '{}'", name(at), value(at, to)),
            Self::ConfigLocal(at, to) => {
                format!("SELECT set_config('{}', '{}', true)", name(at), value(at, to))
            }
            Self::Reset(at) => format!("RESET {}", name(at)),
            Self::ResetAll => "RESET ALL".into(),
            Self::DiscardAll => "DISCARD ALL".into(),
            Self::Error => "SELECT 1/0".into(),
            Self::BadRow => "INSERT INTO journal_child VALUES (1)".into(),
        }
    }

    /// What it does, if the server answered it with this tag.
    fn effects(self, tag: &str) -> Vec<Effect> {
        let name = |at: usize| Name::from(NAMES[at].0.as_bytes());
        let savepoint = |at: usize| Name::from(SAVEPOINTS[at].as_bytes());
        let value = |at: usize, to: usize| format!("'{}'", VALUES[at][to]).into_bytes().into();
        let end = if tag == "ROLLBACK" { Effect::Rollback } else { Effect::Commit };
        match self {
            Self::Begin => vec![Effect::Begin],
            Self::Commit => vec![end],
            Self::Rollback => vec![Effect::Rollback],
            Self::CommitChain => vec![end, Effect::Chain],
            Self::RollbackChain => vec![Effect::Rollback, Effect::Chain],
            Self::Savepoint(at) => vec![Effect::Savepoint(savepoint(at))],
            Self::Release(at) => vec![Effect::Release(savepoint(at))],
            Self::RollbackTo(at) => vec![Effect::RollbackTo(savepoint(at))],
            Self::Set(at, to) => vec![Effect::Set(name(at), Value::Tail(value(at, to)))],
            Self::Config(at, to) => vec![Effect::Set(name(at), Value::Config(value(at, to)))],
            Self::SetLocal(at, _) | Self::ConfigLocal(at, _) => vec![Effect::SetLocal(name(at))],
            Self::Reset(at) => vec![Effect::Reset(name(at))],
            Self::ResetAll => vec![Effect::ResetAll],
            Self::DiscardAll => vec![Effect::DiscardAll],
            Self::Error | Self::BadRow => Vec::new(),
        }
    }
}

fn op() -> impl Strategy<Value = Op> {
    let (setting, value, savepoint) = (0..NAMES.len(), 0..3_usize, 0..SAVEPOINTS.len());
    prop_oneof![
        8 => Just(Op::Begin),
        2 => Just(Op::Commit),
        2 => Just(Op::Rollback),
        1 => Just(Op::CommitChain),
        1 => Just(Op::RollbackChain),
        10 => savepoint.clone().prop_map(Op::Savepoint),
        4 => savepoint.clone().prop_map(Op::Release),
        10 => savepoint.prop_map(Op::RollbackTo),
        20 => (setting.clone(), value.clone()).prop_map(|(at, to)| Op::Set(at, to)),
        4 => (setting.clone(), value.clone()).prop_map(|(at, to)| Op::Config(at, to)),
        1 => (setting.clone(), value.clone()).prop_map(|(at, to)| Op::SetLocal(at, to)),
        1 => (setting.clone(), value).prop_map(|(at, to)| Op::ConfigLocal(at, to)),
        3 => setting.prop_map(Op::Reset),
        1 => Just(Op::ResetAll),
        1 => Just(Op::DiscardAll),
        2 => Just(Op::Error),
        1 => Just(Op::BadRow),
    ]
}

/// One exchange: its statements, and whether they go as one `Query` or as a pipeline up to one `Sync`.
fn step() -> impl Strategy<Value = (Vec<Op>, bool)> {
    (
        prop_oneof![3 => prop::collection::vec(op(), 1..2), 2 => prop::collection::vec(op(), 2..6)],
        any::<bool>(),
    )
}

fn messages(ops: &[Op], is_pipeline: bool) -> Vec<u8> {
    let mut out = Vec::new();
    if !is_pipeline {
        write::query(&mut out, &ops.iter().map(|op| op.sql()).collect::<Vec<_>>().join("; "));
        return out;
    }
    for op in ops {
        let bodies = [
            (b'P', [b"\0", op.sql().as_bytes(), b"\0\0\0"].concat()),
            (b'B', vec![0; 8]),
            (b'E', vec![0; 5]),
        ];
        for (tag, body) in bodies {
            out.push(tag);
            out.extend(u32::try_from(body.len() + 4).unwrap().to_be_bytes());
            out.extend(body);
        }
    }
    out.extend(b"S\0\0\0\x04");
    out
}

/// Tells the journal what the server answered.
fn tell(journal: &mut Journal, ops: &[Op], reply: &Reply) {
    for (op, tag) in ops.iter().zip(&reply.completed) {
        op.effects(tag).iter().for_each(|effect| journal.completed(effect));
    }
    if reply.error.is_some() {
        journal.failed();
    }
    journal.ready(reply.status);
}

/// Runs a program, and compares what the server has in force with what the journal says after each step. Gives how
/// often they could be compared.
async fn run(server: &mut Backend, program: &[(Vec<Op>, bool)]) -> usize {
    ask(server, "ROLLBACK").await.unwrap();
    ask(server, "DISCARD ALL").await.unwrap();
    let mut journal = Journal::default();
    let mut compared = 0;
    for (number, (ops, is_pipeline)) in program.iter().enumerate() {
        let reply = exchange(server, &messages(ops, *is_pipeline)).await.unwrap();
        tell(&mut journal, ops, &reply);
        assert!(journal.is_certain() && !(reply.status == b'I' && journal.is_local()));
        if reply.status == b'E' || journal.is_local() {
            continue;
        }
        compared += 1;
        for (name, default) in NAMES {
            let sql = format!("SELECT coalesce(current_setting('{name}', true), '')");
            let truth = ask(server, &sql).await.unwrap().concat();
            let said = shown(&journal, name).unwrap_or_else(|| default.to_owned());
            assert_eq!(said, truth, "{name} after step {number} of {program:?}: {reply:?}");
        }
    }
    compared
}

#[test]
fn whatever_a_session_runs_the_journal_knows_what_is_in_force() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let server = runtime.block_on(Cluster::shared().session("postgres", &[]));
    let server = std::cell::RefCell::new(server);
    let tables = "CREATE TABLE IF NOT EXISTS journal_parent (id int PRIMARY KEY); CREATE TABLE IF NOT EXISTS \
        journal_child (id int REFERENCES journal_parent DEFERRABLE INITIALLY DEFERRED)";
    runtime.block_on(ask(&mut server.borrow_mut(), tables)).unwrap();
    let compared = std::cell::Cell::new(0);
    let cases = std::env::var("PROPTEST_CASES").ok().and_then(|cases| cases.parse().ok()).unwrap_or(100);
    proptest!(ProptestConfig { failure_persistence: None, cases, ..ProptestConfig::default() },
        |(program in prop::collection::vec(step(), 1..60))| {
            let more = runtime.block_on(run(&mut server.borrow_mut(), &program));
            compared.set(compared.get() + more);
        }
    );
    assert!(compared.get() > 500, "{}", compared.get());
}
