//! Transactions and savepoints, by example.

use super::*;

fn set(journal: &mut Journal, name: &str, value: &str) {
    journal.completed(&Effect::Set(name.as_bytes().into(), Value::Tail(value.as_bytes().into())));
}

fn shown(journal: &Journal, name: &str) -> Option<String> {
    match journal.current().get(name.as_bytes()) {
        Some(Value::Tail(text)) => Some(String::from_utf8(text.to_vec()).unwrap()),
        Some(Value::Config(_)) | None => None,
    }
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
