//! What the log says of how it is: to those that want to write, and to operators.

use std::fmt;

use super::alert::AlertHealth;

/// Why the log did not take or did not keep a record. Tell the client 58030.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unavailable {
    /// A write failed: the disk is full, read-only or broken.
    Failing,
    /// A write hangs.
    Stalled,
    /// The buffer is full beyond its limit.
    Full,
    /// The log was closed.
    Closed,
}

impl Unavailable {
    /// What the client is told: `io_error`.
    pub const SQLSTATE: &'static str = "58030";
}

impl fmt::Display for Unavailable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Failing => "audit log cannot be written",
            Self::Stalled => "audit log is not written in time",
            Self::Full => "audit log has too many records waiting",
            Self::Closed => "audit log is closed",
        })
    }
}

impl std::error::Error for Unavailable {}

/// Whether the log works.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum State {
    /// Turned off in the configuration.
    Disabled,
    /// Records reach the disk.
    Ok,
    /// Records do not reach the disk; statements are refused with 58030.
    Failing {
        /// Since when, ns since 1970.
        since_ns: u64,
        /// Why, for the operator.
        reason: String,
    },
    /// Closed in order.
    Closed,
}

/// The log's state of health, for `/health`, metrics and `status`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Health {
    /// Whether the log works.
    pub state: State,
    /// Bytes accepted that are not on disk yet.
    pub waiting_bytes: u64,
    /// Records on disk since the start.
    pub records: u64,
    /// Wall clock of the last successful sync, ns since 1970; 0: none yet.
    pub durable_ns: u64,
    /// Number of the segment that is written.
    pub segment: u64,
    /// Where in it, in bytes.
    pub offset_bytes: u64,
    /// Calls answered with [`Unavailable`] since the start.
    pub refused: u64,
    /// Logs of single customers that cannot be written for want of a key; [`State`] is about all of them.
    pub logs_failing: u64,
    /// Why no checkpoints are signed; nothing: they are.
    pub unsigned: Option<String>,
    /// Why nothing goes into the archive; the journal is kept until it does.
    pub unarchived: Option<String>,
    /// Why no daily digests are made, or what they have not read though it is time.
    pub undigested: Option<String>,
    /// Why a witness has not signed the newest checkpoints.
    pub unwitnessed: Option<String>,
    /// Why no copies of checkpoints are put into the second place.
    pub unanchored: Option<String>,
    /// How the sending of alerts goes.
    pub alerts: AlertHealth,
}
