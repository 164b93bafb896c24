//! `onevault check`: reads the configuration and every customer, says `ok` or everything that is wrong.

use std::io::{self, Write};
use std::process::ExitCode;

use super::{ConfigFile, Failure, finish};
use crate::config;
use crate::customers::files::{self, References};
use crate::routing::Operators;

/// Arguments of `onevault check`.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    config: ConfigFile,
    /// Do not follow references to secrets: for a machine that does not have them
    #[arg(long)]
    without_secrets: bool,
}

/// Prints `ok: 3 customers` or every problem, one a line.
#[must_use]
pub fn run(args: &Args) -> ExitCode {
    finish(check(args))
}

fn check(args: &Args) -> Result<ExitCode, Failure> {
    let config =
        config::load(&args.config.path).map_err(|problems| Failure::Message(problems.to_string()))?;
    Operators::read(&config.operators).map_err(Failure::Message)?;
    let references = if args.without_secrets { References::Leave } else { References::Follow };
    let mut out = io::stdout().lock();
    match files::load_with(&config.customers.configurations_dir, references) {
        Ok(catalogue) => {
            let count = catalogue.customers.len();
            writeln!(out, "ok: {count} {}", if count == 1 { "customer" } else { "customers" })?;
            Ok(ExitCode::SUCCESS)
        }
        Err(problems) => {
            writeln!(out, "{problems}")?;
            Ok(ExitCode::FAILURE)
        }
    }
}
