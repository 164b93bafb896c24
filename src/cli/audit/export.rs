//! `onevault audit export`: records of one log in a file for others.
//!
//! What always holds: the file gets its name when the log has a record of the export on disk, with the file's hash; if
//! anything fails before, there is no file. Memory does not grow with what is exported.

use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use aws_lc_rs::digest::{Context, SHA256};

use super::{Failure, Place, Progress, keyring, parse_kind, parse_time};
use crate::audit::EventKind;
use crate::audit::acts::{self, Act, whoever_runs_this};
use crate::audit::export::{Exporter, Format, NotWritten};
use crate::audit::history::{History, HistoryError, OWN_LOG, Span, Wanted};
use crate::audit::render::{hex, rfc3339};
use crate::audit::row::{Column, Row};
use crate::cli::serve;
use crate::config;
use crate::ids::CustomerId;

/// The record of an export is on disk by then, or there is no export.
const RECORD_TIME: Duration = Duration::from_secs(30);

#[derive(Debug, clap::Args)]
pub(super) struct Export {
    #[command(flatten)]
    place: Place,
    /// Whose records; `_`: the vault's own
    #[arg(long, value_parser = parse_log)]
    customer: String,
    /// From this time on: `2026-03-01`, `2026-03-01T12:00:00Z`, or `15m`, `2h`, `7d` ago
    #[arg(long, value_name = "TIME", value_parser = parse_time)]
    since: Option<u64>,
    /// Before this time
    #[arg(long, value_name = "TIME", value_parser = parse_time)]
    until: Option<u64>,
    /// Only these kinds, such as query, execute, login_failed, or statement, session, event, log; may be given several times
    #[arg(long, value_parser = parse_kind)]
    kind: Vec<String>,
    /// parquet, csv, or ocsf (JSON lines)
    #[arg(long, value_parser = parse_format)]
    format: Format,
    /// The file, which must not be there yet
    #[arg(short, long, value_name = "FILE")]
    output: PathBuf,
}

fn parse_format(text: &str) -> Result<Format, String> {
    let format = Format::ALL.into_iter().find(|format| format.name() == text);
    format.ok_or_else(|| "must be parquet, csv or ocsf".to_owned())
}

/// A log's name.
pub(super) fn parse_log(text: &str) -> Result<String, String> {
    if text != OWN_LOG {
        CustomerId::parse(text).map_err(|error| error.to_string())?;
    }
    Ok(text.to_owned())
}

impl From<NotWritten> for Failure {
    fn from(error: NotWritten) -> Self {
        Self::Message(error.to_string())
    }
}

/// A file whose bytes are hashed on their way.
struct Hashing {
    file: BufWriter<File>,
    hash: Context,
    bytes: u64,
}

impl Write for Hashing {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.file.write(bytes)?;
        self.hash.update(bytes.get(..written).unwrap_or(bytes));
        self.bytes = self.bytes.saturating_add(u64::try_from(written).unwrap_or(u64::MAX));
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

/// A file that is gone unless it is kept.
struct Unfinished<'a>(&'a Path);

impl Drop for Unfinished<'_> {
    fn drop(&mut self) {
        // Where it has its name already there is nothing to take away.
        let _ = fs::remove_file(self.0);
    }
}

pub(super) fn export(args: &Export) -> Result<ExitCode, Failure> {
    let audit = args.place.audit()?;
    let output = &args.output;
    let of_file = |error: io::Error| Failure::Message(format!("{}: {error}", output.display()));
    if output.try_exists().map_err(of_file)? {
        return Err(Failure::Message(format!("{}: it is there already", output.display())));
    }
    let mut name = output.file_name().unwrap_or_default().to_owned();
    name.push(".unfinished");
    let path = output.with_file_name(name);
    let file = File::options().write(true).create(true).truncate(true).mode(0o600).open(&path);
    let (file, unfinished) = (file.map_err(of_file)?, Unfinished(&path));
    let hashing = Hashing { file: BufWriter::new(file), hash: Context::new(&SHA256), bytes: 0 };
    let mut exporter = Exporter::begin(args.format, hashing)?;
    let unreadable = read(args, &audit, &mut exporter)?;
    let (records, done) = exporter.finish()?;
    let (hash, bytes) = (hex(done.hash.finish().as_ref()), done.bytes);
    let file = done.file.into_inner().map_err(|error| of_file(error.into_error()))?;
    file.sync_all().map_err(of_file)?;
    let detail = args.told(records, bytes, &hash);
    let act = Act {
        kind: EventKind::LogExport.name().to_owned(),
        customer: if args.customer == OWN_LOG { String::new() } else { args.customer.clone() },
        by: whoever_runs_this(),
        detail: detail.clone(),
    };
    acts::record(&audit, &serve::node(), &act, RECORD_TIME).map_err(Failure::Message)?;
    fs::rename(&path, output).map_err(of_file)?;
    let folder = output.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(folder).and_then(|folder| folder.sync_all()).map_err(of_file)?;
    drop(unfinished);
    if unreadable > 0 {
        writeln!(
            io::stderr(),
            "onevault: {unreadable} records of the log are unreadable: their keys were shredded"
        )?;
    }
    writeln!(io::stdout(), "{detail}")?;
    Ok(ExitCode::SUCCESS)
}

impl Export {
    /// What the log is told of it.
    fn told(&self, records: u64, bytes: u64, hash: &str) -> String {
        let path = std::path::absolute(&self.output).unwrap_or_else(|_| self.output.clone());
        let since = self.since.map_or_else(|| "the beginning".to_owned(), rfc3339);
        let until = self.until.map_or_else(|| "the end".to_owned(), rfc3339);
        let kinds = if self.kind.is_empty() { "all kinds".to_owned() } else { self.kind.join(", ") };
        format!(
            "{records} records ({kinds}) from {since} to {until} as {} in {}, {bytes} bytes, sha256 {hash}",
            self.format.name(),
            path.display()
        )
    }

    fn wants(&self, row: &Row<'_>) -> bool {
        let is = |column: Column, kind: &String| row.bytes_of(column) == kind.as_bytes();
        self.kind.is_empty() || self.kind.iter().any(|kind| is(Column::Kind, kind) || is(Column::Class, kind))
    }
}

/// Hands on what is wanted. Answers how many records could not be read any more.
fn read(args: &Export, audit: &config::Audit, exporter: &mut Exporter<Hashing>) -> Result<u64, Failure> {
    let _progress = Progress::start("reading the audit log");
    let history = History::open(audit, keyring(audit)?).map_err(Stop::from)?;
    let (since_ns, until_ns) = (args.since.unwrap_or(0), args.until.unwrap_or(u64::MAX));
    let span = Span { since_ns, until_ns, ..Span::ALL };
    let wanted = Wanted { span, with_open: true, with_index: false, ..Wanted::of(&args.customer) };
    let ended = history.each::<Stop>(&wanted, |found| {
        if args.wants(found.row) {
            exporter.take(found.row, &found.whole()?)?;
        }
        Ok(())
    })?;
    Ok(ended.shredded)
}

/// Why reading ends early.
struct Stop(Failure);

impl From<HistoryError> for Stop {
    fn from(error: HistoryError) -> Self {
        Self(Failure::Message(format!("audit log: {error}")))
    }
}

impl From<NotWritten> for Stop {
    fn from(error: NotWritten) -> Self {
        Self(error.into())
    }
}

impl From<Stop> for Failure {
    fn from(Stop(failure): Stop) -> Self {
        failure
    }
}
