//! Why a session keeps its backend past the end of a transaction, in the words of records, metrics and `status`.
//!
//! What always holds: a reason's number and name are part of the format of records and never change; new ones come behind,
//! 16 at most.

use super::record::named;

/// A reason.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pin {
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

named!(Pin {
    TemporaryObject = 0 "temporary_object",
    HeldCursor = 1 "held_cursor",
    AdvisoryLock = 2 "advisory_lock",
    Listen = 3 "listen",
    SqlPrepare = 4 "sql_prepare",
    Role = 5 "role",
    Load = 6 "load",
    Seed = 7 "seed",
    Sequence = 8 "sequence",
    Setting = 9 "setting",
    Encoding = 10 "encoding",
    LargeStatement = 11 "large_statement",
    Function = 12 "function",
    Unexamined = 13 "unexamined",
});

impl Pin {
    const fn bit(self) -> u16 {
        1 << self.code()
    }
}

/// The reasons in force.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Pins(u16);

impl Pins {
    /// Whether there is none.
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Whether this one is in force.
    #[must_use]
    pub const fn has(self, pin: Pin) -> bool {
        self.0 & pin.bit() != 0
    }

    /// Puts one in force.
    pub const fn add(&mut self, pin: Pin) {
        self.0 |= pin.bit();
    }

    /// Ends one.
    pub const fn remove(&mut self, pin: Pin) {
        self.0 &= !pin.bit();
    }

    /// Those in force, in the order of their numbers.
    pub fn iter(self) -> impl Iterator<Item = Pin> {
        Pin::ALL.iter().copied().filter(move |pin| self.has(*pin))
    }

    /// As records have them: a bit for each, by its number.
    #[must_use]
    pub const fn bits(self) -> u16 {
        self.0
    }

    /// Those of a record; `None` where there is one that is not known.
    #[must_use]
    pub fn of_bits(bits: u16) -> Option<Self> {
        let known = Pin::ALL.iter().fold(0, |known, pin| known | pin.bit());
        (bits & !known == 0).then_some(Self(bits))
    }

    /// Their names, with commas between; empty: none.
    #[must_use]
    pub fn names(self) -> String {
        self.iter().map(Pin::name).collect::<Vec<_>>().join(",")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is on disk is read with these for years.
    #[test]
    fn numbers_and_names_of_reasons_stay() {
        for (number, pin) in Pin::ALL.iter().enumerate() {
            assert_eq!(usize::from(pin.code()), number);
            assert_eq!(Pins::of_bits(1 << number).map(Pins::names).as_deref(), Some(pin.name()));
        }
        let Some(all) = Pins::of_bits((1 << 14) - 1) else { panic!("a reason is gone") };
        assert_eq!(
            all.names(),
            "temporary_object,held_cursor,advisory_lock,listen,sql_prepare,role,load,seed,sequence,setting,\
             encoding,large_statement,function,unexamined"
        );
        assert_eq!(Pins::of_bits(1 << 15), None);
    }
}
