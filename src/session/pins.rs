//! Why a session keeps its backend past the end of a transaction.

use std::sync::Arc;

use crate::telemetry;

/// A reason, in the words of `status`, metrics and the session's record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reason {
    /// A temporary table, view, sequence or function.
    TemporaryObject,
    /// A cursor `WITH HOLD`.
    HeldCursor,
    /// A session-level advisory lock.
    AdvisoryLock,
    /// `LISTEN`.
    Listen,
    /// `PREPARE` by SQL.
    SqlPrepare,
    /// `SET ROLE`, `SET SESSION AUTHORIZATION`.
    Role,
    /// `LOAD`.
    Load,
    /// `setseed()`.
    Seed,
    /// `lastval()`, `currval()`.
    Sequence,
    /// A setting that cannot be said again with certainty.
    Setting,
    /// A client encoding in which a byte of ASCII may be part of another character.
    Encoding,
    /// A prepared statement too large to be kept.
    LargeStatement,
    /// A function that the configuration names in `pool.pin_functions`.
    Function,
    /// The server could not say what was left behind; it is asked again after the next transaction.
    Unexamined,
}

impl Reason {
    /// Every reason.
    pub(crate) const ALL: [Self; 14] = [
        Self::TemporaryObject,
        Self::HeldCursor,
        Self::AdvisoryLock,
        Self::Listen,
        Self::SqlPrepare,
        Self::Role,
        Self::Load,
        Self::Seed,
        Self::Sequence,
        Self::Setting,
        Self::Encoding,
        Self::LargeStatement,
        Self::Function,
        Self::Unexamined,
    ];

    /// The word for it.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::TemporaryObject => "temporary_object",
            Self::HeldCursor => "held_cursor",
            Self::AdvisoryLock => "advisory_lock",
            Self::Listen => "listen",
            Self::SqlPrepare => "sql_prepare",
            Self::Role => "role",
            Self::Load => "load",
            Self::Seed => "seed",
            Self::Sequence => "sequence",
            Self::Setting => "setting",
            Self::Encoding => "encoding",
            Self::LargeStatement => "large_statement",
            Self::Function => "function",
            Self::Unexamined => "unexamined",
        }
    }

    /// Whether what made it is undone when its transaction is rolled back: a statement that failed has made none.
    pub(crate) const fn is_undone(self) -> bool {
        match self {
            Self::TemporaryObject
            | Self::HeldCursor
            | Self::Listen
            | Self::Role
            | Self::Setting
            | Self::Encoding => true,
            Self::AdvisoryLock
            | Self::SqlPrepare
            | Self::Load
            | Self::Seed
            | Self::Sequence
            | Self::LargeStatement
            | Self::Function
            | Self::Unexamined => false,
        }
    }

    const fn bit(self) -> u16 {
        match self {
            Self::TemporaryObject => 1,
            Self::HeldCursor => 1 << 1,
            Self::AdvisoryLock => 1 << 2,
            Self::Listen => 1 << 3,
            Self::SqlPrepare => 1 << 4,
            Self::Role => 1 << 5,
            Self::Load => 1 << 6,
            Self::Seed => 1 << 7,
            Self::Sequence => 1 << 8,
            Self::Setting => 1 << 9,
            Self::Encoding => 1 << 10,
            Self::LargeStatement => 1 << 11,
            Self::Function => 1 << 12,
            Self::Unexamined => 1 << 13,
        }
    }
}

/// The reasons in force.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Pins(u16);

impl Pins {
    /// Whether there is none.
    pub(crate) const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Whether this one is in force.
    pub(crate) const fn has(self, reason: Reason) -> bool {
        self.0 & reason.bit() != 0
    }

    /// Puts one in force.
    pub(crate) const fn add(&mut self, reason: Reason) {
        self.0 |= reason.bit();
    }

    /// Ends one.
    pub(crate) const fn remove(&mut self, reason: Reason) {
        self.0 &= !reason.bit();
    }

    /// Those in force, in a stable order.
    pub(crate) fn iter(self) -> impl Iterator<Item = Reason> {
        Reason::ALL.into_iter().filter(move |reason| self.has(*reason))
    }
}

/// The reasons of one session, as the metrics have them.
#[derive(Debug)]
pub(crate) struct Shown {
    customer: Arc<str>,
    now: Pins,
    ever: Pins,
}

impl Shown {
    pub(crate) fn of(customer: &str) -> Self {
        Self { customer: customer.into(), now: Pins::default(), ever: Pins::default() }
    }

    /// These hold the backend from now on.
    pub(crate) fn show(&mut self, pins: Pins) {
        if pins == self.now {
            return;
        }
        for reason in Reason::ALL.into_iter().filter(|reason| pins.has(*reason) != self.now.has(*reason)) {
            let gauge = metrics::gauge!(
                telemetry::PINS, "customer" => Arc::clone(&self.customer), "reason" => reason.as_str()
            );
            if pins.has(reason) {
                gauge.increment(1);
                self.ever.add(reason);
            } else {
                gauge.decrement(1);
            }
        }
        self.now = pins;
    }

    /// Every reason there was, for the session's record.
    pub(crate) fn ever(&self) -> String {
        self.ever.iter().map(Reason::as_str).collect::<Vec<_>>().join(", ")
    }
}

impl Drop for Shown {
    fn drop(&mut self) {
        self.show(Pins::default());
    }
}
