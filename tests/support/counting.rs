//! Every statement, no more and no fewer: PostgreSQL's own count (`log_statement = all`) against the statement log's.

use std::collections::{HashMap, HashSet};

use super::postgres::{Postgres, Tenant};
use super::thief::is_a_thiefs;
use super::vault::Vault;

/// What OneVault itself says to a backend before somebody else gets it.
const SCRUB: &str = "DISCARD ALL";
/// What stands in everything else that OneVault says.
const OURS: &str = "/* onevault */";

/// What the server says where OneVault lets it refuse a statement that shows something else than it did: the client hears 0A000 for it.
const CHANGED: &str = "prepared statement \"_ov_0\" does not exist";

/// Statements that reached the server of this role in this database: those it logged before running them, and those that failed before.
pub(crate) fn at_server(postgres: &Postgres, role: &str, database: &str) -> Vec<String> {
    by_backend(postgres, role, database).into_iter().map(|(_, text)| text).collect()
}

/// A thief had the very backends that others' statements ran on, or it proves nothing.
pub(crate) fn was_robbed(what: &str, tenant: &Tenant, thefts: usize) {
    let all = by_backend(tenant.postgres, &tenant.role, &tenant.database);
    let (thiefs, victims): (Vec<_>, Vec<_>) = all.into_iter().partition(|(_, text)| is_a_thiefs(text));
    let stolen: HashSet<String> = thiefs.into_iter().map(|(pid, _)| pid).collect();
    let robbed = victims.iter().filter(|(pid, _)| stolen.contains(pid)).count();
    eprintln!("{what}: {thefts} thefts, {robbed} of {} statements on stolen backends", victims.len());
    assert!(robbed > 0, "{what}: the thief had other backends");
}

/// The same, with the process that each ran in.
fn by_backend(postgres: &Postgres, role: &str, database: &str) -> Vec<(String, String)> {
    let from = format!("] {role}@{database}/");
    let mut running: HashMap<String, String> = HashMap::new();
    let mut failed: HashMap<String, String> = HashMap::new();
    let mut found = Vec::new();
    for line in whole_entries(postgres.log()).iter().filter(|line| line.contains(&from)) {
        let pid = line.split(']').next().unwrap_or_default().to_owned();
        let said = line.split_once(": ").map_or("", |(_, said)| said);
        if let Some(logged) = said.strip_prefix("LOG:  ") {
            let is_statement = ["statement: ", "execute ", "fastpath function call: "];
            if let Some(kind) = is_statement.iter().find(|kind| logged.starts_with(*kind)) {
                let text = match *kind {
                    "execute " => logged.split_once(": ").map_or("", |(_, text)| text),
                    kind => logged.strip_prefix(kind).unwrap_or_default(),
                };
                // The next piece of a portal belongs to an execution that was counted when it began.
                if !logged.starts_with("execute fetch from ") {
                    found.push((pid.clone(), first_line(text)));
                }
                running.insert(pid, text.to_owned());
            }
        } else if let Some(error) = said.strip_prefix("ERROR:  ") {
            if error == CHANGED {
                found.push((pid, "a statement that is not what it was".to_owned()));
                continue;
            }
            failed.insert(pid, error.to_owned());
        } else if let Some(text) = said.strip_prefix("STATEMENT:  ") {
            // An error of a statement that was not logged: it could not even be parsed or bound.
            if failed.remove(&pid).is_some() && running.remove(&pid).is_none_or(|logged| logged != text) {
                found.push((pid, first_line(text)));
            }
        }
    }
    found.retain(|(_, text)| text != SCRUB && !text.contains(OURS));
    found
}

/// The first lines of the statements that reached the server, as the log has them.
pub(crate) fn in_log(vault: &Vault) -> Vec<String> {
    let records = vault.audit(&["--kind", "statement"]);
    let reached = records.iter().filter(|record| record["ov.outcome"] != "skipped");
    reached.map(|record| first_line(record["db.query.text"].as_str().unwrap_or_default())).collect()
}

/// Lines of the server's log with those that continue them.
fn whole_entries(lines: Vec<String>) -> Vec<String> {
    lines.into_iter().fold(Vec::new(), |mut entries: Vec<String>, line| {
        match (line.strip_prefix('\t'), entries.last_mut()) {
            (Some(more), Some(entry)) => *entry = format!("{entry}\n{more}"),
            (Some(_), None) | (None, _) => entries.push(line),
        }
        entries
    })
}

fn first_line(text: &str) -> String {
    text.trim_start().lines().next().unwrap_or_default().trim_end().to_owned()
}

/// What one list has more often than the other.
fn more_often(left: &[String], right: &[String]) -> Vec<String> {
    let mut counts: HashMap<&str, i64> = HashMap::new();
    left.iter().for_each(|text| *counts.entry(text).or_default() += 1);
    right.iter().for_each(|text| *counts.entry(text).or_default() -= 1);
    let more = counts.into_iter().filter(|(_, count)| *count > 0);
    more.map(|(text, count)| format!("{count} x {}", text.chars().take(200).collect::<String>())).collect()
}

/// Compares both; what differs is told by text.
pub(crate) fn are_the_same(what: &str, at_server: &[String], in_log: &[String]) {
    assert!(
        in_log.len() == at_server.len(),
        "{what}: {} statements reached the server, {} are in the log\nserver only: {:#?}\nlog only: {:#?}",
        at_server.len(),
        in_log.len(),
        more_often(at_server, in_log),
        more_often(in_log, at_server),
    );
}
