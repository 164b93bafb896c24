//! `onevault audit keys` and `onevault audit shred`: what is done to the keys of the audit log.
//!
//! A shred is carried out by the process that writes the log; where none runs, this command is that process for as long as it
//! takes. A request that was made is carried out whatever becomes of this command.

use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::Place;
use super::asking::{have_done, wait};
use crate::audit::EventKind;
use crate::audit::acts::{Act, record, whoever_runs_this};
use crate::audit::archive::file::Keys as _;
use crate::audit::evidence::{Signing, signing};
use crate::audit::keeping::Wish;
use crate::audit::keys::file::{Purpose, State};
use crate::audit::keys::requests::{Request, ask};
use crate::audit::keys::{KeyError, Keyring, Listed, folder_of};
use crate::audit::render::hex;
use crate::cli::{Failure, Progress, serve};
use crate::config;
use crate::ids::CustomerId;

/// The record of an export is waited for so long.
const RECORD_LIMIT: Duration = Duration::from_secs(15);

/// Arguments of `onevault audit keys`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Show every key: number, customer, month, state, and which platform key wraps it
    List {
        #[command(flatten)]
        place: Place,
    },
    /// Write a customer's keys of archive files of a month, for an auditor's own tools; it is recorded in the customer's log
    Export {
        #[command(flatten)]
        place: Place,
        /// Whose files
        #[arg(long)]
        customer: String,
        /// The month, such as 2026-11
        #[arg(long, value_name = "YYYY-MM", value_parser = parse_month)]
        month: u32,
        /// The file (0600), which must not be there yet; by default standard output
        #[arg(short, long, value_name = "FILE")]
        output: Option<PathBuf>,
    },
    /// Sign with a new key from now on; the one before is destroyed, its public key stays known
    RotateSigner {
        #[command(flatten)]
        place: Place,
        /// Why; it is kept in the log
        #[arg(long)]
        reason: String,
    },
    /// Wrap every key under audit.platform_key; the one before is audit.platform_key_previous
    Rotate {
        #[command(flatten)]
        place: Place,
    },
}

/// Arguments of `onevault audit shred`.
#[derive(Debug, clap::Args)]
pub(super) struct Shred {
    #[command(flatten)]
    place: Place,
    /// Whose records
    #[arg(long)]
    customer: String,
    /// Why; it is kept with what is left of the keys, and in the log
    #[arg(long)]
    reason: String,
    /// How long to wait for the running process, in seconds; what was asked for happens all the same
    #[arg(long, default_value_t = 60, value_name = "SECONDS")]
    wait: u64,
}

impl From<KeyError> for Failure {
    fn from(error: KeyError) -> Self {
        Self::Message(format!("audit log: {error}"))
    }
}

pub(super) fn run(args: &Args) -> Result<ExitCode, Failure> {
    match &args.command {
        Command::List { place } => list(&place.audit()?),
        Command::Export { place, customer, month, output } => {
            export(&place.audit()?, (customer, *month), output.as_deref())
        }
        Command::RotateSigner { place, reason } => rotate_signer(place, reason),
        Command::Rotate { place } => rotate(&place.audit()?),
    }
}

fn list(audit: &config::Audit) -> Result<ExitCode, Failure> {
    let mut out = io::stdout().lock();
    let mut bad = 0_u64;
    // Whose keys there are is to be seen without the platform key.
    for key in Keyring::list(&folder_of(&audit.directory))? {
        match key {
            Ok(listed) => writeln!(out, "{}", line(&listed))?,
            Err(error) => {
                bad = bad.saturating_add(1);
                writeln!(out, "{error}")?;
            }
        }
    }
    for Signing { key, from, until } in signing(&audit.directory)? {
        let from = from.unwrap_or_else(|| "the beginning".to_owned());
        let until = until.map(|until| format!(" until {until}")).unwrap_or_default();
        writeln!(out, "{} signs checkpoints from {from}{until}", key.encoded())?;
    }
    out.flush()?;
    Ok(if bad == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// A month as keys have it, such as 202611.
fn parse_month(text: &str) -> Result<u32, String> {
    let wrong = || "must look like 2026-11".to_owned();
    let (year, month) = text.split_once('-').ok_or_else(wrong)?;
    let is_month = year.len() == 4 && month.len() == 2;
    let (year, month): (u32, u32) = match (year.parse(), month.parse()) {
        (Ok(year), Ok(month)) if is_month && (1..=12).contains(&month) => (year, month),
        _ => return Err(wrong()),
    };
    Ok(year.saturating_mul(100).saturating_add(month))
}

/// One line for each key: its number, as files name it, and the key in base64. First it is recorded.
fn export(
    audit: &config::Audit,
    (customer, month): (&str, u32),
    output: Option<&Path>,
) -> Result<ExitCode, Failure> {
    CustomerId::parse(customer).map_err(|error| Failure::Message(error.to_string()))?;
    let keyring = Keyring::of_log(audit)?;
    let mut keys = Vec::new();
    for listed in Keyring::list(&folder_of(&audit.directory))?.into_iter().flatten() {
        let label = listed.label;
        let is_meant =
            label.purpose == Purpose::Records && label.customer == customer && label.month == month;
        if is_meant && !matches!(listed.state, State::Shredded(_)) {
            keys.push((label.number, keyring.file_key(label.number)?));
        }
    }
    if keys.is_empty() {
        return Err(Failure::Message(format!("{customer} has no keys of that month that can be given away")));
    }
    let open = |path: &Path| {
        let file = File::options().write(true).create_new(true).mode(0o600).open(path);
        file.map_err(|error| Failure::Message(format!("{}: {error}", path.display())))
    };
    let mut out: Box<dyn Write> = match output {
        Some(path) => Box::new(open(path)?),
        None => Box::new(io::stdout().lock()),
    };
    let numbers: Vec<String> = keys.iter().map(|(number, _)| number.to_string()).collect();
    let act = Act {
        kind: EventKind::LogExport.name().to_owned(),
        customer: customer.to_owned(),
        by: whoever_runs_this(),
        detail: format!("keys of archive files given away: {}, month {month}", numbers.join(", ")),
    };
    record(audit, &serve::node(), &act, RECORD_LIMIT).map_err(|what| {
        // Nothing is given away that is not recorded.
        let _ = output.map(fs::remove_file);
        Failure::Message(what)
    })?;
    for (number, key) in keys {
        writeln!(out, "{number} {}", STANDARD.encode(key.as_slice()))?;
    }
    out.flush()?;
    Ok(ExitCode::SUCCESS)
}

fn line(listed: &Listed) -> String {
    let Listed { label, state, platform } = listed;
    let month = if label.month == 0 { "-".to_owned() } else { label.month.to_string() };
    let (number, customer, purpose) = (label.number, &label.customer, label.purpose.name());
    let tail = match (state, platform) {
        (State::Shredded(stone), _) => {
            format!("at {} by {}: {}", shown_time(stone.time_ns), plain(&stone.by), plain(&stone.why))
        }
        (_, Some(platform)) => {
            format!("made {} under platform key {}", shown_time(label.created_ns), hex(platform))
        }
        (_, None) => String::new(),
    };
    format!("{number:<6} {customer:<24} {month:<7} {purpose:<8} {:<9} {tail}", state.name())
}

/// On one line and without control characters.
fn plain(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

fn shown_time(time_ns: u64) -> String {
    let time = OffsetDateTime::from_unix_timestamp(i64::try_from(time_ns / 1_000_000_000).unwrap_or(0));
    time.ok().and_then(|time| time.format(&Rfc3339).ok()).unwrap_or_default()
}

fn rotate_signer(place: &Place, reason: &str) -> Result<ExitCode, Failure> {
    if reason.trim().is_empty() {
        return Err(Failure::Message("--reason must say something".into()));
    }
    let wish = Wish::RotateSigner { reason: reason.to_owned(), by: whoever_runs_this() };
    writeln!(io::stdout().lock(), "{}", have_done(place, &wish)?)?;
    Ok(ExitCode::SUCCESS)
}

fn rotate(audit: &config::Audit) -> Result<ExitCode, Failure> {
    let rotated = Keyring::of_log(audit)?.rotate()?;
    let mut out = io::stdout().lock();
    writeln!(
        out,
        "{} keys were wrapped anew, {} were already, {} are shredded",
        rotated.rewrapped, rotated.were_current, rotated.shredded
    )?;
    if rotated.rewrapped > 0 {
        writeln!(
            out,
            "a running OneVault that was started with the old platform key only must be restarted"
        )?;
    }
    out.flush()?;
    Ok(ExitCode::SUCCESS)
}

pub(super) fn shred(args: &Shred) -> Result<ExitCode, Failure> {
    let audit = args.place.audit()?;
    CustomerId::parse(&args.customer).map_err(|error| Failure::Message(error.to_string()))?;
    if args.reason.trim().is_empty() {
        return Err(Failure::Message("--reason must say something".into()));
    }
    let keyring = folder_of(&audit.directory);
    if Keyring::list(&keyring)?.is_empty() {
        return Err(Failure::Message(format!("{}: no keys there", keyring.display())));
    }
    let request =
        Request { customer: args.customer.clone(), reason: args.reason.clone(), by: whoever_runs_this() };
    let asked = ask(&keyring, &request)
        .map_err(|error| Failure::Message(format!("{}: {error}", keyring.display())))?;
    let progress = Progress::start("shredding keys");
    let answer = wait(&audit, &asked, Duration::from_secs(args.wait), None);
    drop(progress);
    let mut out = io::stdout().lock();
    match answer? {
        Some(Ok(text)) => writeln!(out, "{text}")?,
        Some(Err(text)) => return Err(Failure::Message(text)),
        None => {
            let text = "not done yet; the process that writes the log goes on with it, also after a restart";
            return Err(Failure::Message(text.into()));
        }
    }
    out.flush()?;
    Ok(ExitCode::SUCCESS)
}
