//! `onevault login hash`: from a password to the verifier that stands in a customer's `config.yaml`.
//!
//! The password is read from standard input, on a terminal unseen; never from the arguments, which others can see.

use std::io::{self, BufRead, IsTerminal, Read, Write};
use std::process::ExitCode;

use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcsetattr};

use super::{Failure, finish};
use crate::auth::scram::{ITERATIONS_DEFAULT, ITERATIONS_MAX, Verifier};
use crate::ids::Secret;

/// The longest password, in bytes.
const PASSWORD_BYTES_MAX: u64 = 4096;

/// Arguments of `onevault login`.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Read a password from standard input and print its SCRAM-SHA-256 verifier
    Hash {
        /// Rounds of PBKDF2. All logins should have the same, or strangers can tell them from mock ones
        #[arg(long, default_value_t = ITERATIONS_DEFAULT,
              value_parser = clap::value_parser!(u32).range(i64::from(ITERATIONS_DEFAULT)..=i64::from(ITERATIONS_MAX)))]
        iterations: u32,
    },
}

/// Runs the command.
#[must_use]
pub fn run(args: &Args) -> ExitCode {
    finish(match &args.command {
        Command::Hash { iterations } => hash(*iterations),
    })
}

fn hash(iterations: u32) -> Result<ExitCode, Failure> {
    let password = if io::stdin().is_terminal() { ask()? } else { line(&mut io::stdin().lock())? };
    if password.expose().is_empty() {
        return Err(Failure::Message("the password is empty".into()));
    }
    let verifier = Verifier::from_password(password.expose(), iterations);
    let verifier = verifier.map_err(|error| Failure::Message(error.to_string()))?;
    writeln!(io::stdout(), "{verifier}")?;
    Ok(ExitCode::SUCCESS)
}

/// Asks twice on the terminal.
fn ask() -> Result<Secret, Failure> {
    let unseen =
        Unseen::start().map_err(|error| Failure::Message(format!("could not hide input: {error}")))?;
    let answer = |prompt: &str| {
        let _ = write!(io::stderr(), "{prompt}: ").and_then(|()| io::stderr().flush());
        let answer = line(&mut io::stdin().lock());
        let _ = writeln!(io::stderr());
        answer
    };
    let (first, second) = (answer("Password")?, answer("Again")?);
    drop(unseen);
    if first == second { Ok(first) } else { Err(Failure::Message("the two passwords differ".into())) }
}

/// The first line without its end.
fn line(input: &mut impl BufRead) -> Result<Secret, Failure> {
    let mut text = String::new();
    let read = input.take(PASSWORD_BYTES_MAX).read_line(&mut text);
    let text = Secret::new(text);
    read.map_err(|error| Failure::Message(format!("could not read the password: {error}")))?;
    let password = text.expose().strip_suffix('\n').unwrap_or(text.expose());
    Ok(Secret::new(password.strip_suffix('\r').unwrap_or(password).to_owned()))
}

/// A terminal that does not show what is typed, until dropped.
struct Unseen(Termios);

impl Unseen {
    fn start() -> rustix::io::Result<Self> {
        let before = tcgetattr(io::stdin())?;
        let mut unseen = before.clone();
        unseen.local_modes.remove(LocalModes::ECHO);
        tcsetattr(io::stdin(), OptionalActions::Flush, &unseen)?;
        Ok(Self(before))
    }
}

impl Drop for Unseen {
    fn drop(&mut self) {
        let _ = tcsetattr(io::stdin(), OptionalActions::Flush, &self.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_is_one_line() {
        for (input, password) in
            [("secret\nmore", "secret"), ("secret\r\n", "secret"), ("se cret", "se cret")]
        {
            assert_eq!(line(&mut input.as_bytes()).unwrap().expose(), password);
        }
    }
}
