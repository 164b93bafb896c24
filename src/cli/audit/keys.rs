//! `onevault audit keys` and `onevault audit shred`: what is done to the keys of the audit log.
//!
//! A shred is carried out by the process that writes the log; where none runs, this command is that process for as long as it
//! takes. A request that was made is carried out whatever becomes of this command.

use std::io::{self, Write};
use std::process::ExitCode;
use std::time::Duration;

use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::Place;
use super::asking::wait;
use crate::audit::acts::whoever_runs_this;
use crate::audit::keys::file::State;
use crate::audit::keys::requests::{Request, ask};
use crate::audit::keys::{KeyError, Keyring, Listed, folder_of};
use crate::audit::render::hex;
use crate::cli::{Failure, Progress};
use crate::config;
use crate::ids::CustomerId;

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
    out.flush()?;
    Ok(if bad == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
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
    let answer = wait(&audit, &asked, Duration::from_secs(args.wait));
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
