//! `onevault audit digest`: what a customer's log says of a day.
//!
//! Always holds: the read is in the customer's log, on disk, before anything is shown.

use std::io::{self, Write};
use std::process::ExitCode;
use std::time::Duration;

use chrono::NaiveDate;

use super::{Place, keyring};
use crate::audit::acts::{Act, record, whoever_runs_this};
use crate::audit::digest::store::{Store, StoreError};
use crate::audit::digest::{Digest, Line, LoginDay, Section, folder_of};
use crate::audit::keys::{KeyError, OWN};
use crate::cli::{Failure, serve};
use crate::ids::CustomerId;

/// How long to wait until the read is recorded.
const RECORD_TIME: Duration = Duration::from_secs(15);

/// Arguments of `onevault audit digest`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    place: Place,
    /// Whose; `_`: what belongs to no customer
    #[arg(long)]
    customer: String,
    /// Which day, such as 2026-11-22, on the customer's clocks; without it the last one that is over
    #[arg(long, value_name = "DAY", value_parser = parse_day)]
    day: Option<NaiveDate>,
    /// The days of which there is a digest, instead of one of them
    #[arg(long, conflicts_with_all = ["day", "json"])]
    list: bool,
    /// As JSON
    #[arg(long)]
    json: bool,
}

fn parse_day(text: &str) -> Result<NaiveDate, String> {
    text.parse().map_err(|_| "must look like 2026-11-22".to_owned())
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        if matches!(error, StoreError::Key(KeyError::Shredded(_))) {
            return Self::Message("this digest is unreadable: the customer's keys were shredded".to_owned());
        }
        Self::Message(format!("digest: {error}"))
    }
}

/// A log's name, which is also a folder's.
pub(super) fn check_customer(customer: &str) -> Result<(), Failure> {
    if customer != OWN {
        CustomerId::parse(customer).map_err(|error| Failure::Message(error.to_string()))?;
    }
    Ok(())
}

pub(super) fn run(args: &Args) -> Result<ExitCode, Failure> {
    let audit = args.place.audit()?;
    let customer = args.customer.as_str();
    check_customer(customer)?;
    let store = Store::new(folder_of(&audit.directory), keyring(&audit)?);
    let days = store.days(customer)?;
    let mut out = io::stdout().lock();
    if args.list {
        days.iter().try_for_each(|day| writeln!(out, "{day}"))?;
        return Ok(ExitCode::SUCCESS);
    }
    let day = args.day.map(|day| day.to_string()).or_else(|| days.last().cloned());
    let Some(day) = day else {
        return Err(Failure::Message(format!("{customer} has no digest of a day that is over yet")));
    };
    // A day that is counted on, because something came late, is ahead of its file.
    let open = store.open_days(customer)?.into_iter().find(|digest| digest.day == day);
    let digest = match open {
        Some(digest) => Some(digest),
        None => store.day(customer, &day)?,
    };
    let Some(digest) = digest else {
        return Err(Failure::Message(format!("{customer} has no digest of {day}")));
    };
    let act = Act {
        kind: "log_read".to_owned(),
        customer: if customer == OWN { String::new() } else { customer.to_owned() },
        by: whoever_runs_this(),
        detail: format!("daily digest of {day}"),
    };
    record(&audit, &serve::node(), &act, RECORD_TIME).map_err(|why| {
        Failure::Message(format!("nothing is shown, for the read cannot be recorded: {why}"))
    })?;
    if args.json {
        let json =
            serde_json::to_string_pretty(&digest).map_err(|error| Failure::Message(error.to_string()))?;
        writeln!(out, "{json}")?;
    } else {
        show(&mut out, &digest)?;
    }
    out.flush()?;
    Ok(ExitCode::SUCCESS)
}

fn show(out: &mut impl Write, digest: &Digest) -> io::Result<()> {
    let Digest { customer, day, time_zone, is_over, records, logins, .. } = digest;
    let so_far = if *is_over { "" } else { ", so far" };
    writeln!(out, "{customer} on {day} ({time_zone}){so_far}: {records} records")?;
    for (login, of_day) in logins {
        let LoginDay { sessions, statements, errors, rows_read, rows_changed, first, last, .. } = of_day;
        writeln!(
            out,
            "  {}: {sessions} sessions, {statements} statements ({errors} failed), {rows_read} rows read, \
             {rows_changed} changed; {first} to {last}",
            plain(login)
        )?;
    }
    for (name, section) in digest.sections() {
        show_section(out, name, section)?;
    }
    Ok(())
}

fn show_section(out: &mut impl Write, name: &str, section: &Section) -> io::Result<()> {
    writeln!(out, "{name}: {}", section.count)?;
    for line in &section.lines {
        let Line { login, address, what, count, rows, record, first, last } = line;
        let words = [login, address, what].map(|word| plain(word));
        let words: Vec<&str> = words.iter().map(String::as_str).filter(|word| !word.is_empty()).collect();
        let rows = if *rows > 0 { format!(", {rows} rows") } else { String::new() };
        let when = if count > &1 { format!("{first} to {last}") } else { first.clone() };
        writeln!(out, "  {} x {count}{rows}; {when}, record {record}", words.join(" "))?;
    }
    if section.unlisted > 0 {
        writeln!(out, "  and {} more that are not listed", section.unlisted)?;
    }
    Ok(())
}

/// On one line and without what a terminal would act upon.
fn plain(text: &str) -> String {
    text.chars()
        .map(|c| if c.is_control() || ('\u{200b}'..='\u{206f}').contains(&c) { '?' } else { c })
        .collect()
}
