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
use crate::audit::join::{BadBody, Joiner, Shown, Whole};
use crate::audit::keys::Keyring;
use crate::audit::reader::{End, Pieces, ReadError, Reader};
use crate::audit::render::{human, json, summary};
use crate::audit::row::Row;
use crate::audit::values::Parameters;
use crate::audit::{EventKind, Kind, Outcome};
use crate::config;
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
    /// List the keys, or wrap them anew
    Keys(keys::Args),
    /// Write records of one customer to a file, as Parquet, CSV or OCSF; that is recorded
    Export(Box<export::Export>),
    /// Keep records whatever their age, end that, or show what is kept so
    Hold(hold::Args),
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

impl From<BadBody> for Failure {
    fn from(BadBody(place, what): BadBody) -> Self {
        Self::Message(format!("audit log: record {}: {what}", place.record))
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
        Command::Keys(args) => keys::run(args),
        Command::Export(args) => export::export(args),
        Command::Hold(args) => hold::run(args),
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
    fn take(&mut self, pieces: &Pieces, shown: &Shown<'_>) -> Result<(), Failure> {
        let Some(whole) = self.args.wanted(pieces, shown)? else { return Ok(()) };
        self.matches = self.matches.saturating_add(1);
        if self.args.count {
            return Ok(());
        }
        let line = {
            let row = Row::of(shown);
            if self.args.json { json(&row, &whole) } else { human(&row, &whole) }
        };
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
    let reader = Reader::open_since(&audit.directory, args.since.unwrap_or(0))?;
    let mut reader = reader.with_keys(keyring(&audit)?);
    let mut joiner = Joiner::new(&reader);
    let (out, last) = (io::stdout().lock(), VecDeque::new());
    let mut output = Output { args, out, last, holds_back: true, matches: 0 };
    let mut progress =
        (args.count || args.limit().is_some()).then(|| Progress::start("reading the audit log"));
    loop {
        let read = read_on(&mut reader, &mut joiner, &mut output);
        if args.follow {
            read?;
            drop(progress.take());
            output.release()?;
            std::thread::sleep(FOLLOW_EVERY);
            continue;
        }
        // What was read is shown also when something behind it is damaged.
        let end = read.and_then(|()| Ok(reader.end()?));
        if matches!(end, Ok(End::More)) {
            continue;
        }
        joiner.finish(|shown| output.take(&reader.pieces(), shown))?;
        drop(progress);
        output.release()?;
        if args.count {
            writeln!(output.out, "{}", output.matches)?;
        }
        if joiner.unreadable() > 0 {
            let count = joiner.unreadable();
            writeln!(io::stderr(), "onevault: {count} records are unreadable: their keys were shredded")?;
        }
        if let End::Torn(bytes) = end? {
            writeln!(
                io::stderr(),
                "onevault: the log ends with {bytes} bytes of a write that was not completed"
            )?;
        }
        return Ok(ExitCode::SUCCESS);
    }
}

fn read_on(reader: &mut Reader, joiner: &mut Joiner, output: &mut Output<'_>) -> Result<(), Failure> {
    let pieces = reader.pieces();
    while let Some(raw) = reader.next_record()? {
        joiner.take(&raw, |shown| output.take(&pieces, shown))?;
    }
    Ok(())
}

impl Show {
    fn limit(&self) -> Option<usize> {
        self.limit.or_else(|| (self.follow && self.since.is_none()).then_some(10))
    }

    /// What may be long of it, if all filters let the record pass.
    fn wanted<'a>(&self, pieces: &Pieces, shown: &Shown<'a>) -> Result<Option<Whole<'a>>, BadBody> {
        let summary = summary(&shown.entry);
        let is = |wanted: &Option<String>, found: &[u8]| {
            wanted.as_ref().is_none_or(|wanted| wanted.as_bytes() == found)
        };
        let kind = self.kind.as_deref().or(self.count.then_some("statement"));
        let passes = is(&self.customer, summary.customer)
            && is(&self.login, summary.login)
            && self.since.is_none_or(|since| summary.time_ns >= since)
            && self.until.is_none_or(|until| summary.time_ns < until)
            && self.outcome.is_none_or(|outcome| outcome == summary.outcome)
            && kind.is_none_or(|kind| kind == summary.kind || kind == summary.class);
        if !passes {
            return Ok(None);
        }
        if self.count && self.grep.is_none() {
            return Ok(Some(Whole::default()));
        }
        let whole = shown.load(pieces)?;
        let found = self.grep.as_ref().is_none_or(|part| {
            let part = part.as_bytes();
            let mut values = Parameters::read(&whole.parameters).filter_map(|parameter| parameter.text());
            holds(&whole.text, part) || holds(summary.words, part) || values.any(|value| holds(&value, part))
        });
        Ok(found.then_some(whole))
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
