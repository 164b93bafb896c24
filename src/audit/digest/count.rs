//! What a record adds to its day.

use super::super::alert::Rule;
use super::super::render::rfc3339;
use super::super::row::{Column, Row};
use super::known::Known;
use super::{Digest, Line, LoginDay, word};
use crate::config;

/// Something a record shows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// Of which kind.
    pub rule: Rule,
    /// Where and how often, as in the digest.
    pub line: Line,
    /// When, in ns since 1970.
    pub time_ns: u64,
}

/// One record and what it is counted with.
pub(super) struct Counting<'a> {
    pub(super) digest: &'a mut Digest,
    pub(super) known: &'a mut Known,
    pub(super) rules: &'a config::Digest,
    pub(super) findings: &'a mut Vec<Finding>,
}

/// When a record is of: the end of an execution, else its time.
pub(super) fn time_of(row: &Row<'_>) -> u64 {
    row.number_of(Column::Time).saturating_add(row.number_of(Column::DurationNs))
}

impl Counting<'_> {
    /// Counts a record; `ddl` is what its statements do to objects.
    pub(super) fn count(&mut self, row: &Row<'_>, ddl: Vec<String>) {
        self.digest.records = self.digest.records.saturating_add(1);
        match row.bytes_of(Column::Class) {
            b"statement" => self.statement(row, ddl),
            b"session" => self.session(row),
            b"event" => self.event(row),
            _ => self.log(row),
        }
    }

    fn statement(&mut self, row: &Row<'_>, ddl: Vec<String>) {
        let (kind, outcome) = (row.bytes_of(Column::Kind), row.bytes_of(Column::Outcome));
        if kind == b"log_read" {
            let line = line(row, "SQL");
            self.digest.log_reads.add(Line { rows: row.number_of(Column::Rows), ..line });
            return;
        }
        let sqlstate = row.bytes_of(Column::Sqlstate);
        if outcome == b"refused" || sqlstate == b"42501" {
            self.digest.refused.add(line(row, &format!("statement {}", word(sqlstate))));
        }
        if outcome == b"skipped" || outcome == b"refused" {
            return;
        }
        let rows = row.number_of(Column::Rows);
        let is_read = reads(kind, row.bytes_of(Column::CommandTag));
        let login = self.seen(row);
        login.statements = login.statements.saturating_add(1);
        login.errors = login.errors.saturating_add(u64::from(outcome == b"error"));
        let of_the_day = login.rows_read;
        let counter = if is_read { &mut login.rows_read } else { &mut login.rows_changed };
        *counter = counter.saturating_add(rows);
        if is_read {
            self.bulk(row, of_the_day);
        }
        if ["parse", "bind", "describe", "sync"].iter().all(|name| name.as_bytes() != kind) {
            for what in ddl {
                let is_good = outcome == b"ok";
                let what = if is_good { what } else { format!("{what} ({})", word(outcome)) };
                let line = line(row, &what);
                self.digest.ddl.add(line.clone());
                self.find(Rule::Ddl, row, line);
            }
        }
        self.off_hours(row);
    }

    /// `before`: rows that the login had read on that day.
    fn bulk(&mut self, row: &Row<'_>, before: u64) {
        let rows = row.number_of(Column::Rows);
        let after = before.saturating_add(rows);
        let at_once = rows >= self.rules.bulk_rows_statement;
        let over_the_day = (before..after).contains(&self.rules.bulk_rows_day.saturating_sub(1));
        for (is_bulk, what, rows) in [(at_once, "at once", rows), (over_the_day, "over the day", after)] {
            if is_bulk {
                let line = Line { rows, ..line(row, what) };
                self.digest.bulk_reads.add(line.clone());
                self.find(Rule::BulkRead, row, line);
            }
        }
    }

    fn session(&mut self, row: &Row<'_>) {
        if row.bytes_of(Column::Kind) != b"session_open" {
            return;
        }
        let login = self.seen(row);
        login.sessions = login.sessions.saturating_add(1);
        let (login, address) = (row.bytes_of(Column::Login), row.bytes_of(Column::ClientIp));
        let at = row.number_of(Column::Record);
        if self.known.see(login, address, at) {
            let line = line(row, "");
            self.digest.new_addresses.add(line.clone());
            self.find(Rule::NewAddress, row, line);
        }
        self.off_hours(row);
    }

    fn event(&mut self, row: &Row<'_>) {
        let kind = row.bytes_of(Column::Kind);
        let sqlstate = word(row.bytes_of(Column::Sqlstate));
        let found = |what: &str| line(row, what);
        match kind {
            b"login_failed" => {
                let line = found(&sqlstate);
                self.digest.failed_logins.add(line.clone());
                self.find(Rule::FailedLogins, row, line);
            }
            b"connection_refused" => {
                self.digest.refused.add(found(&format!("connection {sqlstate}")));
            }
            b"log_read" | b"log_export" => {
                self.digest.log_reads.add(found(&word(row.bytes_of(Column::Message))));
            }
            b"cancel" => {}
            _ => {
                self.digest.administration.add(found(&word(row.bytes_of(Column::Message))));
            }
        }
    }

    fn log(&mut self, row: &Row<'_>) {
        match row.bytes_of(Column::Kind) {
            b"log_gap" => {
                let line = line(row, "gap: the log could not be written");
                self.digest.log.add(line.clone());
                self.find(Rule::LogGap, row, line);
            }
            b"log_start" => {
                let end = row.bytes_of(Column::PreviousEnd);
                if end != b"clean" && end != b"new" {
                    self.digest.log.add(line(row, &format!("start; before: {}", word(end))));
                }
            }
            _ => {}
        }
    }

    fn off_hours(&mut self, row: &Row<'_>) {
        let hours = &self.rules.business_hours;
        let at = self.rules.time_zone.local(time_of(row));
        if hours.is_empty() || hours.iter().any(|hours| hours.hold(at)) {
            return;
        }
        let login = self.seen(row);
        let is_first = login.off_hours == 0;
        login.off_hours = login.off_hours.saturating_add(1);
        let line = line(row, "");
        self.digest.off_hours.add(line.clone());
        if is_first {
            self.find(Rule::OffHours, row, line);
        }
    }

    /// The login's day, with this as its last time.
    fn seen(&mut self, row: &Row<'_>) -> &mut LoginDay {
        let login = self.digest.login(&word(row.bytes_of(Column::Login)));
        let time = rfc3339(time_of(row));
        if login.first.is_empty() {
            login.first.clone_from(&time);
        }
        login.last = time;
        login
    }

    fn find(&mut self, rule: Rule, row: &Row<'_>, line: Line) {
        self.findings.push(Finding { rule, line, time_ns: time_of(row) });
    }
}

/// Whether the rows of an execution were read, not changed.
fn reads(kind: &[u8], tag: &[u8]) -> bool {
    kind == b"copy_out" || ["SELECT", "FETCH"].iter().any(|word| tag.starts_with(word.as_bytes()))
}

fn line(row: &Row<'_>, what: &str) -> Line {
    let time = rfc3339(time_of(row));
    Line {
        login: word(row.bytes_of(Column::Login)),
        address: word(row.bytes_of(Column::ClientIp)),
        what: what.to_owned(),
        count: 1,
        rows: 0,
        record: row.number_of(Column::Record),
        first: time.clone(),
        last: time,
    }
}

#[cfg(test)]
mod tests;
