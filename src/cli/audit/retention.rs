//! `onevault audit retention`: what is kept for how long, and what may go now.

use std::io::{self, Write};
use std::process::ExitCode;

use super::asking::have_done;
use super::review::of_place;
use super::{Failure, Place, keyring};
use crate::audit::keeping::Wish;
use crate::audit::keeping::retention::standings;
use crate::telemetry::wall_clock;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Let go what is older than it is kept, now; the running process does so by itself every six hours
    Run {
        #[command(flatten)]
        place: Place,
    },
    /// Show of each log in the archive how long it is kept, and how many files may go or are held
    Show {
        #[command(flatten)]
        place: Place,
    },
}

pub(super) fn run(args: &Args) -> Result<ExitCode, Failure> {
    match &args.command {
        Command::Run { place } => {
            let told = have_done(place, &Wish::Retention {})?;
            writeln!(io::stdout(), "{told}")?;
            Ok(ExitCode::SUCCESS)
        }
        Command::Show { place } => show(place),
    }
}

fn show(place: &Place) -> Result<ExitCode, Failure> {
    let audit = place.audit()?;
    let now_ns = u64::try_from(wall_clock().as_nanos()).unwrap_or(u64::MAX);
    let standings = standings(&audit, keyring(&audit)?.as_ref(), &of_place(place)?, now_ns);
    let mut out = io::stdout().lock();
    for (log, standing) in standings.map_err(Failure::Message)? {
        let age = standing.retention.map_or_else(
            || "kept forever (no such customer)".to_owned(),
            |ages| format!("statement {}, session {}, event {}", ages.statement, ages.session, ages.event),
        );
        let (over, thin, held) = (standing.over.len(), standing.thin.len(), standing.held.len());
        writeln!(
            out,
            "{log:<24} {age}: {over} files may go, {thin} in part, {held} are held, {} are kept",
            standing.kept
        )?;
        for (name, hold) in standing.held {
            writeln!(out, "    {name} by hold {}", hold.number)?;
        }
    }
    out.flush()?;
    Ok(ExitCode::SUCCESS)
}
