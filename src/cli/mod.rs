//! One file per command: arguments in, an exit code out.
//!
//! Always holds: a command's answer goes to standard output, everything said about its work to standard
//! error; 0 means it did what was asked, 1 that it did not, 2 that the arguments are wrong. A reader that
//! stops reading (`onevault status | head`) ends a command quietly. Refuses to know how anything is done.

pub mod audit;
pub mod check;
pub mod customer;
pub mod login;
pub mod serve;
pub mod status;
pub mod token;

use std::fmt;
use std::io::{self, IsTerminal, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use clap::{Parser, Subcommand};

use crate::config::Config;
#[cfg(feature = "console")]
use crate::gist;

/// `onevault`, its commands and what is said about them by `--help`.
#[derive(Debug, Parser)]
#[command(name = "onevault", version, about, disable_help_subcommand = true, arg_required_else_help = true)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

/// Each command is a file of this room: `Args` and `run(&args) -> ExitCode`.
#[derive(Debug, Subcommand)]
enum Command {
    /// Make, check and show customers
    Customer(customer::Args),
    /// Serve clients
    Serve(serve::Args),
    /// Show and verify the audit log
    Audit(audit::Args),
    /// Check the configuration and every customer's
    Check(check::Args),
    /// Make what a login needs
    Login(login::Args),
    /// Make, list and revoke API tokens
    Token(token::Args),
    /// Ask a running OneVault how it is
    Status(status::Args),
    /// Read statements for another process of this program
    #[cfg(feature = "console")]
    #[command(name = gist::COMMAND, hide = true)]
    ReadTexts,
}

/// Runs the command named by the process's arguments.
#[must_use]
pub fn main() -> ExitCode {
    #[cfg(feature = "console")]
    gist::isolate();
    match Arguments::parse().command {
        #[cfg(feature = "console")]
        Command::ReadTexts => gist::serve(),
        Command::Customer(args) => customer::run(&args),
        Command::Serve(args) => serve::run(&args),
        Command::Audit(args) => audit::run(&args),
        Command::Check(args) => check::run(&args),
        Command::Login(args) => login::run(&args),
        Command::Token(args) => token::run(&args),
        Command::Status(args) => status::run(&args),
    }
}

/// Where the configuration is; flattened into the arguments of the commands that need it.
#[derive(Debug, Clone, clap::Args)]
pub struct ConfigFile {
    /// The configuration file
    #[arg(
        short = 'c',
        long = "config",
        env = "ONEVAULT_CONFIG",
        default_value = "config/onevault.yaml",
        value_name = "FILE"
    )]
    pub path: PathBuf,
}

impl ConfigFile {
    /// Reads the configuration.
    ///
    /// # Errors
    /// [`Failure::Message`] with file, line and column.
    pub fn load(&self) -> Result<Config, Failure> {
        Config::read(&self.path).map_err(Failure::Message)
    }
}

/// Why a command did not do what was asked.
#[derive(Debug)]
pub enum Failure {
    /// To be told, in PostgreSQL's error style.
    Message(String),
    /// Nobody reads the output any more.
    ReaderGone,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Message(text) => f.write_str(text),
            Self::ReaderGone => f.write_str("nobody reads the output"),
        }
    }
}

impl From<io::Error> for Failure {
    /// For errors of writing to standard output; others should be given words first.
    fn from(error: io::Error) -> Self {
        if error.kind() == io::ErrorKind::BrokenPipe {
            Self::ReaderGone
        } else {
            Self::Message(error.to_string())
        }
    }
}

impl From<String> for Failure {
    fn from(text: String) -> Self {
        Self::Message(text)
    }
}

/// Turns a command's result into the process's exit code and tells a failure on standard error.
#[must_use]
pub fn finish(result: Result<ExitCode, Failure>) -> ExitCode {
    match result {
        Ok(code) => code,
        Err(Failure::ReaderGone) => ExitCode::SUCCESS,
        Err(Failure::Message(text)) => {
            // Standard error may be closed as well; then there is nobody to tell.
            let _ = writeln!(io::stderr(), "onevault: {text}");
            ExitCode::FAILURE
        }
    }
}

/// Says on standard error that something is still going on once it takes longer than a second;
/// ends when dropped. On a terminal the line is rewritten each second, elsewhere it is written once.
#[derive(Debug)]
pub struct Progress {
    done: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Progress {
    /// Starts waiting; `doing` reads like `making the database`.
    #[must_use]
    pub fn start(doing: &str) -> Self {
        let (done, finished) = channel::<()>();
        let doing = doing.to_owned();
        let since = Instant::now();
        let terminal = io::stderr().is_terminal();
        let thread = std::thread::Builder::new().name("progress".into()).spawn(move || {
            let mut told = false;
            while finished.recv_timeout(Duration::from_secs(1)) == Err(RecvTimeoutError::Timeout) {
                let seconds = since.elapsed().as_secs();
                let _ = if terminal {
                    write!(io::stderr(), "\r{doing} ... {seconds} s")
                } else if told {
                    Ok(())
                } else {
                    writeln!(io::stderr(), "{doing} ...")
                };
                told = true;
            }
            if told && terminal {
                let _ = writeln!(io::stderr());
            }
        });
        Self { done: Some(done), thread: thread.ok() }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        drop(self.done.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_arguments_are_consistent() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn a_reader_that_left_is_no_failure() {
        let broken = io::Error::from(io::ErrorKind::BrokenPipe);
        assert_eq!(finish(Err(Failure::from(broken))), ExitCode::SUCCESS);
        assert_eq!(finish(Err(Failure::Message("no".into()))), ExitCode::FAILURE);
    }

    #[test]
    fn progress_ends_with_what_it_watches() {
        let since = Instant::now();
        drop(Progress::start("testing"));
        assert!(since.elapsed() < Duration::from_millis(900));
    }
}
