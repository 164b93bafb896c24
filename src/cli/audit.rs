//! `onevault audit show` and `onevault audit verify`: reads the audit log's folder, also while OneVault runs; and what is done
//! to its [`keys`].
//!
//! Always holds: reading changes nothing, and what is shown has passed checksum and chain. Reading needs the right to read the
//! folder, which is its owner's, and the platform key; this command cannot record that it read. Refuses to know the journal's
//! bytes.

mod asking;
mod digest;
mod export;
mod hold;
mod keys;
mod proofs;
mod reconcile;
mod retention;
mod review;

use std::collections::VecDeque;
use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use time::format_description::well_known::Rfc3339;
use time::macros::format_description;
use time::{Date, OffsetDateTime, PrimitiveDateTime};

use super::{ConfigFile, Failure, Progress, finish};
use crate::audit::history::{Found, History, HistoryError, OWN_LOG, Span, Tail, Wanted};
use crate::audit::join::Whole;
use crate::audit::keys::Keyring;
use crate::audit::reader::{End, ReadError};
use crate::audit::render::{human, json};
use crate::audit::row::Column;
use crate::audit::values::Parameters;
use crate::audit::{EventKind, Kind, Outcome};
use crate::config;
use crate::ids::CustomerId;
use crate::telemetry::wall_clock;

/// How often `--follow` looks for more.
const FOLLOW_EVERY: Duration = Duration::from_millis(200);
/// Kinds that are neither statements nor events.
const OTHER_KINDS: &[&str] = &[
    "statement",
    "session",
    "event",
    "log",
    "session_open",
    "session_close",
    "log_start",
    "log_stop",
    "log_gap",
];

/// Arguments of `onevault audit`.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Show statements, sessions and events, oldest first
    Show(Box<Show>),
    /// Read everything again and check that nothing was changed
    Verify(proofs::Verify),
    /// Write a proof of one record, for somebody who has nothing but the public key
    Prove(proofs::Prove),
    /// Check a proof; reads neither the configuration nor the log
    CheckProof(proofs::CheckProof),
    /// Show the newest signed checkpoint of a customer's log, to be kept elsewhere
    Checkpoint(proofs::ShowCheckpoint),
    /// Show what a customer's log says of a day: logins, new addresses, failures, bulk reads, DDL, off-hours use
    Digest(digest::Args),
    /// Compare the log with what the customer's server itself has counted, and name sessions that went around OneVault
    Reconcile(reconcile::Args),
    /// List the keys, or wrap them anew
    Keys(keys::Args),
    /// Write records of one customer to a file, as Parquet, CSV or OCSF; that is recorded
    Export(Box<export::Export>),
    /// Keep records whatever their age, end that, or show what is kept so
    Hold(hold::Args),
    /// Let go what is older than it is kept, or show what that is
    Retention(retention::Args),
    /// Sign off that somebody has looked through a log, or show where nobody has
    Review(review::Args),
    /// Destroy a customer's keys: its records up to now become unreadable, the log stays whole
    Shred(keys::Shred),
}

/// Where the log is.
#[derive(Debug, clap::Args)]
struct Place {
    #[command(flatten)]
    config: ConfigFile,
    /// The log's folder, instead of the configuration's audit.directory
    #[arg(long, value_name = "DIR")]
    directory: Option<PathBuf>,
}

impl Place {
    /// The log's settings; without a configuration file those of a log of that folder.
    fn audit(&self) -> Result<config::Audit, Failure> {
        let Some(folder) = &self.directory else { return Ok(self.config.load()?.audit) };
        let is_there = self.config.path.exists();
        let audit = if is_there { self.config.load()?.audit } else { config::Audit::default() };
        Ok(config::Audit { directory: folder.clone(), ..audit })
    }
}

#[derive(Debug, clap::Args)]
struct Show {
    #[command(flatten)]
    place: Place,
    /// Only this customer's
    #[arg(long)]
    customer: Option<String>,
    /// Only this login's
    #[arg(long)]
    login: Option<String>,
    /// From this time on: `2026-03-01`, `2026-03-01T12:00:00Z`, or `15m`, `2h`, `7d` ago
    #[arg(long, value_name = "TIME", value_parser = parse_time)]
    since: Option<u64>,
    /// Before this time
    #[arg(long, value_name = "TIME", value_parser = parse_time)]
    until: Option<u64>,
    /// Only where the statement's text or the message holds this
    #[arg(long, value_name = "TEXT")]
    grep: Option<String>,
    /// Only this kind, such as query, execute, login_failed, or statement, session, event, log
    #[arg(long, value_parser = parse_kind)]
    kind: Option<String>,
    /// Only what ended like this: ok, error, refused, skipped, cancelled, unknown
    #[arg(long, value_parser = parse_outcome)]
    outcome: Option<Outcome>,
    /// Go on showing what comes, until interrupted; begins with the last 10, unless --since or --limit says otherwise
    #[arg(short, long, conflicts_with = "count")]
    follow: bool,
    /// One JSON object a line
    #[arg(long)]
    json: bool,
    /// Only the last N that match
    #[arg(short = 'n', long, value_name = "N")]
    limit: Option<usize>,
    /// Print only how many match; statements, if no other kind is named
    #[arg(long, conflicts_with_all = ["json", "limit"])]
    count: bool,
}

impl From<ReadError> for Failure {
    fn from(error: ReadError) -> Self {
        Self::Message(format!("audit log: {error}"))
    }
}

impl From<HistoryError> for Failure {
    fn from(error: HistoryError) -> Self {
        Self::Message(format!("audit log: {error}"))
    }
}

/// Shows or verifies the log. 0: done and in order; 1: not.
#[must_use]
pub fn run(args: &Args) -> ExitCode {
    finish(match &args.command {
        Command::Show(args) => show(args),
        Command::Verify(args) => proofs::check(args),
        Command::Prove(args) => proofs::prove(args),
        Command::CheckProof(args) => proofs::check_proof(args),
        Command::Checkpoint(args) => proofs::checkpoint(args),
        Command::Digest(args) => digest::run(args),
        Command::Reconcile(args) => reconcile::run(args),
        Command::Keys(args) => keys::run(args),
        Command::Export(args) => export::export(args),
        Command::Hold(args) => hold::run(args),
        Command::Retention(args) => retention::run(args),
        Command::Review(args) => review::run(args),
        Command::Shred(args) => keys::shred(args),
    })
}

/// What is still to be printed or counted.
struct Output<'a> {
    args: &'a Show,
    out: io::StdoutLock<'static>,
    last: VecDeque<String>,
    holds_back: bool,
    matches: u64,
}

impl Output<'_> {
    /// Archive and journal. Where only the last ones are asked for, the archive is read only if the journal has too few.
    fn read(&mut self, history: &History, wanted: &Wanted, tail: &mut Tail) -> Result<u64, Failure> {
        let Some(limit) = self.args.limit() else {
            let shredded = history.each_archived(wanted, |found| self.take(found))?;
            tail.read_on(|found| self.take(found))?;
            return Ok(shredded);
        };
        tail.read_on(|found| self.take(found))?;
        if self.last.len() >= limit {
            return Ok(0);
        }
        let newest = std::mem::take(&mut self.last);
        let shredded = history.each_archived(wanted, |found| self.take(found))?;
        self.last.extend(newest);
        while self.last.len() > limit {
            self.last.pop_front();
        }
        Ok(shredded)
    }

    /// What came in the meantime; what lies behind the last record.
    fn read_to_end(&mut self, tail: &mut Tail) -> Result<End, Failure> {
        loop {
            match tail.end()? {
                End::More => tail.read_on(|found| self.take(found))?,
                end @ (End::Clean | End::Torn(_)) => return Ok(end),
            }
        }
    }

    fn take(&mut self, found: &Found<'_>) -> Result<(), Failure> {
        let Some(whole) = self.args.wanted(found)? else { return Ok(()) };
        self.matches = self.matches.saturating_add(1);
        if self.args.count {
            return Ok(());
        }
        let line = if self.args.json { json(found.row, &whole) } else { human(found.row, &whole) };
        match self.args.limit().filter(|_| self.holds_back) {
            None => writeln!(self.out, "{line}")?,
            Some(limit) => {
                self.last.push_back(line);
                while self.last.len() > limit {
                    self.last.pop_front();
                }
            }
        }
        Ok(())
    }

    fn release(&mut self) -> Result<(), Failure> {
        self.holds_back = false;
        for line in self.last.drain(..) {
            writeln!(self.out, "{line}")?;
        }
        Ok(self.out.flush()?)
    }
}

/// The keys of a log, for reading.
fn keyring(audit: &config::Audit) -> Result<Arc<Keyring>, Failure> {
    let keyring = Keyring::of_log(audit).map_err(|error| Failure::Message(format!("audit log: {error}")))?;
    Ok(Arc::new(keyring))
}

fn show(args: &Show) -> Result<ExitCode, Failure> {
    let audit = args.place.audit()?;
    let history = History::open(&audit, keyring(&audit)?)?;
    let wanted = args.records();
    let (out, last) = (io::stdout().lock(), VecDeque::new());
    let mut output = Output { args, out, last, holds_back: true, matches: 0 };
    let progress = (args.count || args.limit().is_some()).then(|| Progress::start("reading the audit log"));
    let mut tail = history.tail(&wanted)?;
    let read = output.read(&history, &wanted, &mut tail);
    if args.follow {
        read?;
        drop(progress);
        loop {
            output.release()?;
            std::thread::sleep(FOLLOW_EVERY);
            tail.read_on(|found| output.take(found))?;
        }
    }
    // What was read is shown also when something behind it is damaged.
    let end = read.and_then(|shredded| Ok((shredded, output.read_to_end(&mut tail)?)));
    tail.finish(|found| output.take(found))?;
    drop(progress);
    output.release()?;
    if args.count {
        writeln!(output.out, "{}", output.matches)?;
    }
    let archived = end.as_ref().map_or(0, |(shredded, _)| *shredded);
    let count = archived.saturating_add(tail.shredded());
    if count > 0 {
        writeln!(io::stderr(), "onevault: {count} records are unreadable: their keys were shredded")?;
    }
    if let (_, End::Torn(bytes)) = end? {
        writeln!(
            io::stderr(),
            "onevault: the log ends with {bytes} bytes of a write that was not completed"
        )?;
    }
    Ok(ExitCode::SUCCESS)
}

impl Show {
    fn limit(&self) -> Option<usize> {
        self.limit.or_else(|| (self.follow && self.since.is_none()).then_some(10))
    }

    /// Where the records are that may be meant.
    fn records(&self) -> Wanted {
        let log = self.customer.as_ref().map(|customer| {
            let is_log = CustomerId::parse(customer).is_ok();
            if is_log { customer.clone() } else { OWN_LOG.to_owned() }
        });
        let (since_ns, until_ns) = (self.since.unwrap_or(0), self.until.unwrap_or(u64::MAX));
        let span = Span { since_ns, until_ns, ..Span::ALL };
        Wanted { log, span, with_open: true, with_index: false }
    }

    /// What may be long of it, if all filters let the record pass.
    fn wanted<'a>(&self, found: &Found<'a>) -> Result<Option<Whole<'a>>, HistoryError> {
        let row = found.row;
        let is = |wanted: Option<&str>, column| {
            wanted.is_none_or(|wanted| wanted.as_bytes() == row.bytes_of(column))
        };
        let kind = self.kind.as_deref().or(self.count.then_some("statement"));
        let passes = is(self.customer.as_deref(), Column::Customer)
            && is(self.login.as_deref(), Column::Login)
            && is(self.outcome.map(Outcome::name), Column::Outcome)
            && (is(kind, Column::Kind) || is(kind, Column::Class));
        if !passes {
            return Ok(None);
        }
        if self.count && self.grep.is_none() {
            return Ok(Some(Whole::default()));
        }
        let whole = found.whole()?;
        let holds_it = self.grep.as_ref().is_none_or(|part| {
            let part = part.as_bytes();
            let mut values = Parameters::read(&whole.parameters).filter_map(|parameter| parameter.text());
            holds(&whole.text, part)
                || holds(row.bytes_of(Column::Message), part)
                || holds(row.bytes_of(Column::PreviousEnd), part)
                || values.any(|value| holds(&value, part))
        });
        Ok(holds_it.then_some(whole))
    }
}

/// Whether `part` occurs in `text`.
fn holds(text: &[u8], part: &[u8]) -> bool {
    part.is_empty() || text.windows(part.len()).any(|window| window == part)
}

fn parse_kind(text: &str) -> Result<String, String> {
    let names = || {
        let statements = Kind::ALL.iter().map(|kind| kind.name());
        statements.chain(EventKind::ALL.iter().map(|kind| kind.name())).chain(OTHER_KINDS.iter().copied())
    };
    if names().any(|name| name == text) {
        return Ok(text.to_owned());
    }
    Err(format!("must be one of {}", names().collect::<Vec<_>>().join(", ")))
}

fn parse_outcome(text: &str) -> Result<Outcome, String> {
    Outcome::ALL
        .iter()
        .copied()
        .find(|outcome| outcome.name() == text)
        .ok_or_else(|| "must be ok, error, refused, skipped, cancelled or unknown".to_owned())
}

/// A time in UTC, in ns since 1970.
fn parse_time(text: &str) -> Result<u64, String> {
    let ago = text.char_indices().next_back().and_then(|(at, unit)| {
        let seconds = match unit {
            's' => 1,
            'm' => 60,
            'h' => 3_600,
            'd' => 86_400,
            _ => return None,
        };
        let count: u64 = text.get(..at)?.parse().ok()?;
        let ago = Duration::from_secs(count.checked_mul(seconds)?);
        u64::try_from(wall_clock().saturating_sub(ago).as_nanos()).ok()
    });
    if let Some(time_ns) = ago {
        return Ok(time_ns);
    }
    let plain = text.replace(' ', "T");
    let to_minutes = format_description!("[year]-[month]-[day]T[hour]:[minute]");
    let to_seconds = format_description!("[year]-[month]-[day]T[hour]:[minute]:[second]");
    let date = format_description!("[year]-[month]-[day]");
    let time = OffsetDateTime::parse(&plain, &Rfc3339)
        .or_else(|_| PrimitiveDateTime::parse(&plain, to_seconds).map(PrimitiveDateTime::assume_utc))
        .or_else(|_| PrimitiveDateTime::parse(&plain, to_minutes).map(PrimitiveDateTime::assume_utc))
        .or_else(|_| Date::parse(&plain, date).map(|date| date.midnight().assume_utc()))
        .map_err(|_| "must look like 2026-03-01, 2026-03-01T12:00:00Z, 15m, 2h or 7d".to_owned())?;
    u64::try_from(time.unix_timestamp_nanos()).map_err(|_| "must be after 1970".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_as_people_write_them() {
        let day = 1_772_323_200_000_000_000;
        for (text, expected) in [
            ("2026-03-01", day),
            ("2026-03-01 00:01", day + 60_000_000_000),
            ("2026-03-01T00:00:01", day + 1_000_000_000),
            ("2026-03-01T01:00:00.5+01:00", day + 500_000_000),
        ] {
            assert_eq!(parse_time(text), Ok(expected), "{text}");
        }
        let hour_ago = parse_time("1h").unwrap();
        let now = u64::try_from(wall_clock().as_nanos()).unwrap();
        assert!((3_599_000_000_000..3_700_000_000_000).contains(&(now - hour_ago)));
        for bad in ["", "x", "1w", "2026-13-01", "-1h", "1969-01-01"] {
            assert!(parse_time(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_part_is_found_wherever_it_lies() {
        assert!(
            holds(b"select 1", b"lect") && holds(b"x", b"") && !holds(b"", b"x") && !holds(b"ab", b"abc")
        );
    }
}
