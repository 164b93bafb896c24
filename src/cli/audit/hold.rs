//! `onevault audit hold`: records that must not go, whatever their age and whoever wants their keys gone.

use std::io::{self, Write};
use std::process::ExitCode;

use super::asking::have_done;
use super::export::parse_log;
use super::{Failure, Place, keyring, parse_time};
use crate::audit::acts::whoever_runs_this;
use crate::audit::keeping::Wish;
use crate::audit::keeping::register::{Hold, Register};
use crate::audit::render::{bytes_in_line, rfc3339};

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Keep records, whatever their age, until the hold is released
    Set(Set),
    /// End a hold
    Release(Release),
    /// Show every hold, also those that ended
    List {
        #[command(flatten)]
        place: Place,
        /// Only those on this log
        #[arg(long, value_parser = parse_log)]
        customer: Option<String>,
    },
}

#[derive(Debug, clap::Args)]
struct Set {
    #[command(flatten)]
    place: Place,
    /// Whose records; `_`: the vault's own
    #[arg(long, value_parser = parse_log)]
    customer: String,
    /// Why; it is recorded
    #[arg(long, value_parser = parse_reason)]
    reason: String,
    /// Records from this time on, by default from the first
    #[arg(long, value_name = "TIME", value_parser = parse_time)]
    since: Option<u64>,
    /// Records before this time, by default all that ever come
    #[arg(long, value_name = "TIME", value_parser = parse_time)]
    until: Option<u64>,
}

#[derive(Debug, clap::Args)]
struct Release {
    #[command(flatten)]
    place: Place,
    /// Whose records
    #[arg(long, value_parser = parse_log)]
    customer: String,
    /// The hold's number, as `hold list` shows it
    #[arg(long)]
    number: u64,
    /// Why; it is recorded
    #[arg(long, value_parser = parse_reason)]
    reason: String,
}

/// Words that say something, of bounded length.
pub(super) fn parse_reason(text: &str) -> Result<String, String> {
    let text = text.trim();
    if text.is_empty() || text.len() > 2_000 || text.chars().any(char::is_control) {
        return Err("must have 1 to 2000 bytes and no control characters".to_owned());
    }
    Ok(text.to_owned())
}

pub(super) fn run(args: &Args) -> Result<ExitCode, Failure> {
    let (place, wish) = match &args.command {
        Command::List { place, customer } => return list(place, customer.as_deref()),
        Command::Set(set) => (
            &set.place,
            Wish::Hold {
                customer: set.customer.clone(),
                since_ns: set.since.unwrap_or(0),
                until_ns: set.until.unwrap_or(u64::MAX),
                reason: set.reason.clone(),
                by: whoever_runs_this(),
            },
        ),
        Command::Release(release) => (
            &release.place,
            Wish::Release {
                customer: release.customer.clone(),
                number: release.number,
                reason: release.reason.clone(),
                by: whoever_runs_this(),
            },
        ),
    };
    let told = have_done(place, &wish)?;
    writeln!(io::stdout(), "{told}")?;
    Ok(ExitCode::SUCCESS)
}

fn list(place: &Place, customer: Option<&str>) -> Result<ExitCode, Failure> {
    let audit = place.audit()?;
    let register = Register::read(&audit.directory, keyring(&audit)?.as_ref());
    let register = register.map_err(|why| {
        Failure::Message(format!("{why}\neverything is held as long as holds cannot be read"))
    })?;
    let mut out = io::stdout().lock();
    let wanted = |hold: &Hold| customer.is_none_or(|customer| hold.customer == customer);
    for hold in register.holds().into_iter().filter(wanted) {
        writeln!(out, "{}", line(&hold))?;
    }
    Ok(ExitCode::SUCCESS)
}

fn line(hold: &Hold) -> String {
    let since = if hold.since_ns == 0 { "-".to_owned() } else { rfc3339(hold.since_ns) };
    let until = if hold.until_ns == u64::MAX { "-".to_owned() } else { rfc3339(hold.until_ns) };
    let plain = |text: &str| bytes_in_line(text.as_bytes());
    let state = match &hold.released {
        None => "in force".to_owned(),
        Some((time_ns, reason, by)) => {
            format!("released {} by {}: {}", rfc3339(*time_ns), plain(by), plain(reason))
        }
    };
    let (number, customer, set) = (hold.number, &hold.customer, rfc3339(hold.time_ns));
    let (by, reason) = (plain(&hold.by), plain(&hold.reason));
    format!("{number:<4} {customer:<24} {since:<27} {until:<27} set {set} by {by}: {reason}; {state}")
}
