//! `onevault audit review`: signs off that somebody has looked through a log, and shows where nobody has.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::process::ExitCode;

use super::asking::have_done;
use super::export::parse_log;
use super::hold::parse_reason;
use super::{Failure, Place, keyring, parse_time};
use crate::audit::acts::whoever_runs_this;
use crate::audit::keeping::register::Register;
use crate::audit::keeping::review::{Standing, standings};
use crate::audit::keeping::{Policy, Wish, policies};
use crate::audit::render::{bytes_in_line, rfc3339};
use crate::config::Retention;
use crate::customers::Catalogue;
use crate::customers::files::{References, load_with};

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    place: Place,
    /// Whose log; needed to sign off
    #[arg(long, value_parser = parse_log, required_unless_present_any = ["list", "status"])]
    customer: Option<String>,
    /// From this time on; by default from where the last review ended
    #[arg(long, value_name = "TIME", value_parser = parse_time)]
    since: Option<u64>,
    /// Up to this time: `2026-03-01`, `2026-03-01T12:00:00Z`, or `15m`, `2h`, `7d` ago
    #[arg(long, value_name = "TIME", value_parser = parse_time, required_unless_present_any = ["list", "status"])]
    until: Option<u64>,
    /// Who reviewed
    #[arg(long, value_parser = parse_reason, required_unless_present_any = ["list", "status"])]
    by: Option<String>,
    /// What there is to say
    #[arg(long, value_parser = parse_reason)]
    note: Option<String>,
    /// Show every review
    #[arg(long, conflicts_with_all = ["until", "by", "note", "status"])]
    list: bool,
    /// Show the last review of each customer, and which are overdue; the exit code is 1 if any is
    #[arg(long, conflicts_with_all = ["until", "by", "note"])]
    status: bool,
}

pub(super) fn run(args: &Args) -> Result<ExitCode, Failure> {
    if args.status {
        return status(args);
    }
    if args.list {
        return list(args);
    }
    let (Some(customer), Some(until_ns), Some(by)) = (&args.customer, args.until, &args.by) else {
        return Err(Failure::Message("--customer, --until and --by are needed".into()));
    };
    let wish = Wish::Review {
        customer: customer.clone(),
        since_ns: args.since,
        until_ns,
        by: by.clone(),
        user: whoever_runs_this(),
        note: args.note.clone().unwrap_or_default(),
    };
    let told = have_done(&args.place, &wish)?;
    writeln!(io::stdout(), "{told}")?;
    Ok(ExitCode::SUCCESS)
}

fn list(args: &Args) -> Result<ExitCode, Failure> {
    let audit = args.place.audit()?;
    let register = Register::read(&audit.directory, keyring(&audit)?.as_ref()).map_err(Failure::Message)?;
    let mut out = io::stdout().lock();
    let reviews = register.reviews().into_iter();
    for review in reviews.filter(|one| args.customer.as_ref().is_none_or(|only| *only == one.customer)) {
        let (since, until) = (rfc3339(review.since_ns), rfc3339(review.until_ns));
        let (by, note) = (bytes_in_line(review.by.as_bytes()), bytes_in_line(review.note.as_bytes()));
        let (signed, size) = (rfc3339(review.time_ns), review.size);
        let (customer, root) = (&review.customer, &review.root);
        writeln!(
            out,
            "{customer:<24} {since} {until} signed {signed} by {by}, {size} records, root {root}: {note}"
        )?;
    }
    Ok(ExitCode::SUCCESS)
}

fn status(args: &Args) -> Result<ExitCode, Failure> {
    let audit = args.place.audit()?;
    let policies = of_files(args)?;
    let standings = standings(&audit.directory, keyring(&audit)?.as_ref(), &policies);
    let standings = standings.map_err(Failure::Message)?;
    let mut out = io::stdout().lock();
    let mut is_overdue = false;
    let wanted = |log: &String| args.customer.as_ref().is_none_or(|only| only == log);
    for (log, standing) in standings.iter().filter(|(log, _)| wanted(log)) {
        is_overdue = is_overdue || !standing.overdue.is_zero();
        writeln!(out, "{log:<24} {}", told(standing))?;
    }
    Ok(if is_overdue { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

fn told(standing: &Standing) -> String {
    let word = if standing.is_reviewed { "reviewed up to" } else { "never reviewed, records since" };
    let until = rfc3339(standing.reviewed_ns);
    let day = 86_400.0;
    let every = standing
        .every
        .map_or_else(|| "no interval".to_owned(), |every| format!("every {} d", every.as_secs() / 86_400));
    let overdue = match standing.overdue.is_zero() {
        true => "not overdue".to_owned(),
        false => format!("OVERDUE for {:.1} d", standing.overdue.as_secs_f64() / day),
    };
    format!("{word} {until}; {every}; {overdue}")
}

/// What the customers' files ask for. Secrets are not looked at.
pub(super) fn of_files(args: &Args) -> Result<BTreeMap<String, Policy>, Failure> {
    of_place(&args.place)
}

/// What the customers' files ask for, of the configuration that a command was given.
pub(super) fn of_place(place: &Place) -> Result<BTreeMap<String, Policy>, Failure> {
    if !place.config.path.exists() {
        return Ok(policies(&Catalogue::default(), Retention::default()));
    }
    let config = place.config.load()?;
    let folder = &config.customers.configurations_dir;
    let catalogue = if folder.exists() {
        load_with(folder, References::Leave).map_err(|problems| Failure::Message(problems.to_string()))?
    } else {
        Catalogue::default()
    };
    Ok(policies(&catalogue, config.audit.retention))
}
