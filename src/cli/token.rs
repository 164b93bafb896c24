//! `onevault token`: API tokens made, listed and revoked in the customers' files.
//!
//! A token is shown once, on standard output; only its hash and its public prefix are kept. A running OneVault sees
//! the change of the file by itself.

use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use super::{ConfigFile, Failure, finish};
use crate::auth::token;
use crate::customers::edit::{self, rfc3339};
use crate::customers::files::{self, References};
use crate::customers::{Catalogue, Customer, Token};
use crate::ids::LoginName;
use crate::telemetry::unix_seconds;

/// Arguments of `onevault token`.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Make a token, print it once and keep its hash in the customer's config.yaml
    Create(Create),
    /// List tokens by their public prefixes
    List {
        #[command(flatten)]
        config: ConfigFile,
        /// This customer's only
        #[arg(long)]
        customer: Option<String>,
    },
    /// Revoke a token from now on
    Revoke {
        #[command(flatten)]
        config: ConfigFile,
        /// `ovt_<environment>_<8 letters>`, as `token list` shows it
        prefix: String,
    },
}

#[derive(Debug, clap::Args)]
struct Create {
    #[command(flatten)]
    config: ConfigFile,
    /// The customer's id
    #[arg(long)]
    customer: String,
    /// The login the token stands for
    #[arg(long)]
    login: String,
    /// 2 to 8 letters a-z that the token shows
    #[arg(long, default_value = "prod")]
    environment: String,
    /// How long it is good: a number and `m`, `h`, `d` or `w`; without this, until it is revoked
    #[arg(long, value_parser = seconds)]
    expires: Option<i64>,
}

/// Runs the command.
#[must_use]
pub fn run(args: &Args) -> ExitCode {
    finish(match &args.command {
        Command::Create(args) => create(args),
        Command::List { config, customer } => list(config, customer.as_deref()),
        Command::Revoke { config, prefix } => revoke(config, prefix),
    })
}

fn create(args: &Create) -> Result<ExitCode, Failure> {
    let (dir, catalogue) = read(&args.config)?;
    let customer = find(&catalogue, &args.customer)?;
    let login = LoginName::parse(&args.login).map_err(|error| error.to_string())?;
    if !customer.logins.contains_key(&login) {
        return Err(Failure::Message(format!("customer {} has no login \"{login}\"", customer.id)));
    }
    let fresh = token::create(&args.environment).map_err(str::to_owned)?;
    let expires_at = args.expires.map(|seconds| unix_seconds().saturating_add(seconds));
    let entry = Token { prefix: fresh.prefix, hash: fresh.hash, login, expires_at, revoked_at: None };
    edit::add_token(&dir.join(customer.id.as_str()), &entry)?;
    let mut out = io::stdout().lock();
    writeln!(out, "{}", fresh.text.expose())?;
    let until = expires_at.and_then(rfc3339).map_or("it is revoked".to_owned(), |time| time);
    let _ = writeln!(
        io::stderr(),
        "token {} of {} is good until {until}; this is the only time it is shown whole",
        entry.prefix,
        customer.id
    );
    Ok(ExitCode::SUCCESS)
}

fn list(config: &ConfigFile, only: Option<&str>) -> Result<ExitCode, Failure> {
    let (_, catalogue) = read(config)?;
    let mut customers: Vec<&Arc<Customer>> = match only {
        Some(id) => vec![find(&catalogue, id)?],
        None => catalogue.customers.values().collect(),
    };
    customers.sort_by(|a, b| a.id.cmp(&b.id));
    let mut out = io::stdout().lock();
    writeln!(out, "{:<26} {:<20} {:<20} {:<8} expires", "prefix", "customer", "login", "state")?;
    let now = unix_seconds();
    for customer in customers {
        for token in &customer.tokens {
            let expires = token.expires_at.and_then(rfc3339).unwrap_or_else(|| "never".into());
            let (id, login) = (customer.id.as_str(), token.login.as_str());
            writeln!(out, "{:<26} {id:<20} {login:<20} {:<8} {expires}", token.prefix, state(token, now))?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn state(token: &Token, now: i64) -> &'static str {
    if token.revoked_at.is_some_and(|time| time <= now) {
        "revoked"
    } else if token.expires_at.is_some_and(|time| time <= now) {
        "expired"
    } else {
        "good"
    }
}

fn revoke(config: &ConfigFile, prefix: &str) -> Result<ExitCode, Failure> {
    let (dir, catalogue) = read(config)?;
    // A whole token may have been pasted; its secret part is not repeated.
    let prefix = token::prefix(prefix).unwrap_or(prefix);
    if !token::is_prefix(prefix) {
        return Err(Failure::Message("a prefix reads ovt_<environment>_<8 letters>".into()));
    }
    let Some((customer, token)) = catalogue.token(prefix) else {
        return Err(Failure::Message(format!("no customer has a token {prefix}")));
    };
    if state(token, unix_seconds()) != "revoked" {
        edit::revoke_token(&dir.join(customer.id.as_str()), prefix, unix_seconds())?;
    }
    writeln!(io::stdout(), "token {prefix} of {} is revoked", customer.id)?;
    Ok(ExitCode::SUCCESS)
}

/// Customers without their secrets, and where they are.
fn read(config: &ConfigFile) -> Result<(PathBuf, Catalogue), Failure> {
    let dir = config.load()?.customers.configurations_dir;
    let catalogue = files::load_with(&dir, References::Leave).map_err(|problems| problems.to_string())?;
    Ok((dir, catalogue))
}

fn find<'a>(catalogue: &'a Catalogue, id: &str) -> Result<&'a Arc<Customer>, Failure> {
    catalogue.customer(id).ok_or_else(|| Failure::Message(format!("there is no customer \"{id}\"")))
}

/// `90d` and the like, in seconds; at most ten years.
fn seconds(text: &str) -> Result<i64, String> {
    let units = [('m', 60), ('h', 3600), ('d', 86_400), ('w', 604_800)];
    let found = units.into_iter().find_map(|(unit, seconds)| Some((text.strip_suffix(unit)?, seconds)));
    let number = found.and_then(|(number, seconds)| number.parse::<i64>().ok()?.checked_mul(seconds));
    let number = number.filter(|seconds| (1..=3650 * 86_400).contains(seconds));
    number.ok_or_else(|| "a number and m, h, d or w, at most ten years".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_a_unit_and_an_end() {
        assert_eq!((seconds("90d"), seconds("5m"), seconds("1w")), (Ok(7_776_000), Ok(300), Ok(604_800)));
        for bad in ["", "90", "d", "-1d", "0d", "3651d", "1y", "9223372036854775807w", "1 d"] {
            assert!(seconds(bad).is_err(), "{bad}");
        }
    }
}
