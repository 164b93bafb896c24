//! Rows of a fixed clock, and what becomes of them.

use std::borrow::Cow;

use super::super::super::row::Value;
use super::super::{LISTED_MAX, LOGINS_MAX};
use super::*;
use crate::config::{Hours, Zone};

/// 2026-11-20 is a Friday; this is 07:00 in New York.
const MORNING: u64 = 1_795_176_000_000_000_000;
const HOUR: u64 = 3_600_000_000_000;

struct Desk {
    digest: Digest,
    known: Known,
    rules: config::Digest,
    findings: Vec<Finding>,
    record: u64,
}

impl Desk {
    fn new() -> Self {
        let rules = config::Digest {
            time_zone: Zone::try_from("America/New_York".to_owned()).unwrap(),
            business_hours: vec![Hours::try_from("mon-fri 08:00-18:00".to_owned()).unwrap()],
            bulk_rows_statement: 1_000,
            bulk_rows_day: 1_500,
            ..config::Digest::default()
        };
        let digest = Digest::new("one_spa", "2026-11-20", "America/New_York");
        Self { digest, known: Known::default(), rules, findings: Vec::new(), record: 0 }
    }

    fn take(
        &mut self,
        time: u64,
        numbers: &[(Column, u64)],
        texts: &[(Column, &str)],
        ddl: &[&str],
    ) -> &mut Self {
        self.record += 1;
        let mut row = Row::default();
        row.set(Column::Record, Value::Number(self.record));
        row.set(Column::Time, Value::Number(time));
        for (column, number) in numbers {
            row.set(*column, Value::Number(*number));
        }
        for (column, text) in texts {
            row.set(*column, Value::Bytes(Cow::Owned(text.as_bytes().to_vec())));
        }
        let ddl = ddl.iter().map(|&ddl| ddl.to_owned()).collect();
        let Self { digest, known, rules, findings, .. } = self;
        Counting { digest, known, rules, findings }.count(&row, ddl);
        self
    }

    fn session(&mut self, time: u64, login: &str, ip: &str) -> &mut Self {
        let class = [(Column::Class, "session"), (Column::Kind, "session_open")];
        self.take(time, &[], &[class[0], class[1], (Column::Login, login), (Column::ClientIp, ip)], &[])
    }

    fn statement(&mut self, time: u64, (tag, rows): (&str, u64), outcome: &str, ddl: &[&str]) -> &mut Self {
        let texts = [
            (Column::Class, "statement"),
            (Column::Kind, "query"),
            (Column::Login, "ann"),
            (Column::ClientIp, "10.0.0.1"),
            (Column::CommandTag, tag),
            (Column::Outcome, outcome),
        ];
        self.take(time, &[(Column::Rows, rows)], &texts, ddl)
    }

    fn event(&mut self, time: u64, kind: &str, login: &str, sqlstate: &str) -> &mut Self {
        let texts = [
            (Column::Class, "event"),
            (Column::Kind, kind),
            (Column::Login, login),
            (Column::ClientIp, "203.0.113.9"),
            (Column::Sqlstate, sqlstate),
            (Column::Message, "looked"),
        ];
        self.take(time, &[], &texts, &[])
    }

    fn found(&self, rule: Rule) -> usize {
        self.findings.iter().filter(|finding| finding.rule == rule).count()
    }
}

#[test]
fn an_address_is_new_to_a_login_once() {
    let mut desk = Desk::new();
    let noon = MORNING + 5 * HOUR;
    desk.session(noon, "ann", "10.0.0.1").session(noon, "ann", "10.0.0.1").session(noon, "bob", "10.0.0.1");
    desk.session(noon, "ann", "10.0.0.2");
    assert_eq!((desk.digest.new_addresses.count, desk.found(Rule::NewAddress)), (3, 3));
    // The next day knows them still.
    desk.digest = Digest::new("one_spa", "2026-11-21", "America/New_York");
    desk.session(noon, "ann", "10.0.0.2");
    assert!(desk.digest.new_addresses.count == 0 && desk.digest.logins["ann"].sessions == 1);
}

#[test]
fn use_outside_the_customers_business_hours_is_counted_and_found_once_a_day() {
    let mut desk = Desk::new();
    let ok = |desk: &mut Desk, time| {
        desk.statement(time, ("SELECT 1", 1), "ok", &[]);
        desk.digest.off_hours.count
    };
    assert_eq!(ok(&mut desk, MORNING + 59 * 60_000_000_000), 1);
    assert_eq!(ok(&mut desk, MORNING + HOUR), 1);
    assert_eq!(ok(&mut desk, MORNING + 11 * HOUR - 1), 1);
    assert_eq!(ok(&mut desk, MORNING + 11 * HOUR), 2);
    assert_eq!(ok(&mut desk, MORNING + 29 * HOUR), 3);
    assert_eq!((desk.found(Rule::OffHours), desk.digest.logins["ann"].off_hours), (1, 3));
    desk.rules.business_hours.clear();
    assert_eq!(ok(&mut desk, MORNING), 3);
}

#[test]
fn many_rows_are_found_at_once_and_over_the_day() {
    let mut desk = Desk::new();
    let noon = MORNING + 5 * HOUR;
    desk.statement(noon, ("SELECT 999", 999), "ok", &[]);
    assert_eq!(desk.digest.bulk_reads.count, 0);
    desk.statement(noon, ("SELECT 501", 501), "ok", &[]);
    assert_eq!((desk.digest.bulk_reads.count, desk.digest.bulk_reads.lines[0].rows), (1, 1_500));
    desk.statement(noon, ("SELECT 1000", 1_000), "ok", &[]).statement(noon, ("SELECT 5", 5), "ok", &[]);
    assert_eq!((desk.digest.bulk_reads.count, desk.found(Rule::BulkRead)), (2, 2));
    // What is written is not read.
    desk.statement(noon, ("UPDATE 5000", 5_000), "ok", &[]);
    let ann = &desk.digest.logins["ann"];
    assert_eq!((desk.digest.bulk_reads.count, ann.rows_read, ann.rows_changed), (2, 2_505, 5_000));
}

#[test]
fn refusals_failures_ddl_and_reads_of_the_log_are_told_apart() {
    let mut desk = Desk::new();
    let noon = MORNING + 5 * HOUR;
    desk.statement(noon, ("CREATE TABLE", 0), "ok", &["CREATE TABLE"]);
    desk.statement(noon, ("", 0), "error", &["DROP TABLE"]);
    desk.statement(noon, ("", 0), "refused", &["DROP TABLE"]).statement(
        noon,
        ("", 0),
        "skipped",
        &["DROP TABLE"],
    );
    for _ in 0..3 {
        desk.event(noon, "login_failed", "eve", "28P01");
    }
    desk.event(noon, "connection_refused", "", "53300").event(noon, "log_read", "aud", "");
    desk.event(noon, "admin_action", "", "").event(noon, "cancel", "", "");
    let whats = |section: &super::super::Section| -> Vec<String> {
        section.lines.iter().map(|line| format!("{}x{}", line.what, line.count)).collect()
    };
    let digest = &desk.digest;
    assert_eq!(whats(&digest.ddl), ["CREATE TABLEx1", "DROP TABLE (error)x1"]);
    assert_eq!(whats(&digest.failed_logins), ["28P01x3"]);
    assert_eq!(whats(&digest.refused), ["statement x1", "connection 53300x1"]);
    assert_eq!(
        (whats(&digest.log_reads), whats(&digest.administration)),
        (vec!["lookedx1".into()], vec!["lookedx1".into()])
    );
    let ann = &digest.logins["ann"];
    assert_eq!((ann.statements, ann.errors, digest.records), (2, 1, 11));
    assert_eq!((desk.found(Rule::FailedLogins), desk.found(Rule::Ddl)), (3, 2));
}

#[test]
fn a_flood_is_counted_and_memory_stays_bounded() {
    let mut desk = Desk::new();
    let long = "x".repeat(5_000);
    for number in 0..5_000 {
        desk.event(MORNING, "login_failed", &format!("{number}{long}"), "28P01");
        desk.session(MORNING, &format!("login {number}"), "10.0.0.1");
        desk.findings.clear();
    }
    let failed = &desk.digest.failed_logins;
    assert_eq!((failed.count, failed.lines.len()), (5_000, LISTED_MAX));
    assert_eq!(failed.unlisted, 5_000 - u64::try_from(LISTED_MAX).unwrap());
    assert_eq!(desk.digest.logins.len(), LOGINS_MAX + 1);
    let sessions: u64 = desk.digest.logins.values().map(|login| login.sessions).sum();
    assert_eq!(sessions, 5_000);
    assert!(serde_json::to_vec(&desk.digest).unwrap().len() < 1 << 20);
}
