//! A session's transaction: nothing is ever written, so it holds settings, savepoints and cursors.
//!
//! What always holds: what `SET` did in a transaction that is rolled back is undone, and what `SET LOCAL` did at its end; savepoints
//! are bounded.

use super::fault::Fault;
use super::settings::Settings;
use crate::protocol::sqlstate::SqlState;

/// Savepoints that a transaction may have at one time.
const SAVEPOINTS_MAX: usize = 256;

/// The transaction of a session, or that there is none.
#[derive(Debug)]
pub(super) struct Transaction {
    status: u8,
    before: Option<Settings>,
    savepoints: Vec<(String, Settings)>,
}

impl Transaction {
    pub(super) const fn none() -> Self {
        Self { status: b'I', before: None, savepoints: Vec::new() }
    }

    /// `I`: none; `T`: under way; `E`: failed.
    pub(super) const fn status(&self) -> u8 {
        self.status
    }

    /// What its status is after an error.
    pub(super) const fn status_failed(&self) -> u8 {
        if self.status == b'T' { b'E' } else { self.status }
    }

    pub(super) const fn fail(&mut self) {
        self.status = self.status_failed();
    }

    /// 25P02 where it has failed.
    pub(super) fn check(&self) -> Result<(), Fault> {
        if self.status == b'E' {
            let text = "current transaction is aborted, commands ignored until end of transaction block";
            return Err(Fault::new(SqlState::IN_FAILED_TRANSACTION, text));
        }
        Ok(())
    }

    /// 25P01 where there is none.
    pub(super) fn needed(&self, what: &str) -> Result<(), Fault> {
        if self.status == b'I' {
            let text = format!("{what} can only be used in transaction blocks");
            return Err(Fault::new(SqlState::NO_ACTIVE_TRANSACTION, text));
        }
        Ok(())
    }

    /// Begins one; inside of one it goes on.
    pub(super) fn begin(&mut self, settings: &Settings) {
        if self.status == b'I' {
            self.before = Some(settings.clone());
            self.status = b'T';
        }
    }

    /// Ends it, and answers whether its effects stay.
    pub(super) fn end(&mut self, settings: &mut Settings, commits: bool) -> bool {
        let stays = commits && self.status != b'E';
        match self.before.take() {
            Some(before) if !stays => *settings = before,
            Some(_) | None => settings.end_local(),
        }
        self.savepoints.clear();
        self.status = b'I';
        stays
    }

    pub(super) fn savepoint(&mut self, name: String, settings: &Settings) -> Result<(), Fault> {
        self.needed("SAVEPOINT")?;
        if self.savepoints.len() >= SAVEPOINTS_MAX {
            let text = format!("more than {SAVEPOINTS_MAX} savepoints");
            return Err(Fault::new(SqlState::PROGRAM_LIMIT_EXCEEDED, text));
        }
        self.savepoints.push((name, settings.clone()));
        Ok(())
    }

    pub(super) fn release(&mut self, name: &str) -> Result<(), Fault> {
        self.needed("RELEASE SAVEPOINT")?;
        let at = self.find(name)?;
        self.savepoints.truncate(at);
        Ok(())
    }

    /// Back to a savepoint, which stays; what failed since is forgotten.
    pub(super) fn back_to(&mut self, name: &str, settings: &mut Settings) -> Result<(), Fault> {
        self.needed("ROLLBACK TO SAVEPOINT")?;
        let at = self.find(name)?;
        self.savepoints.truncate(at.saturating_add(1));
        if let Some((_, then)) = self.savepoints.last() {
            *settings = then.clone();
        }
        self.status = b'T';
        Ok(())
    }

    fn find(&self, name: &str) -> Result<usize, Fault> {
        self.savepoints.iter().rposition(|(known, _)| known == name).ok_or_else(|| {
            Fault::new(SqlState::INVALID_SAVEPOINT, format!("savepoint \"{name}\" does not exist"))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn timeout(settings: &Settings) -> Option<u128> {
        settings.statement_timeout().map(|time| time.as_millis())
    }

    #[test]
    fn what_is_set_in_a_transaction_goes_with_it_and_what_is_local_at_its_end() {
        let mut settings = Settings::new("audrey", &[], false);
        let mut transaction = Transaction::none();
        settings.put("statement_timeout", "1000", false);
        transaction.begin(&settings);
        settings.put("statement_timeout", "2000", false);
        transaction.savepoint("a".to_owned(), &settings).unwrap();
        settings.put("statement_timeout", "3000", true);
        transaction.fail();
        assert_eq!(transaction.check().unwrap_err().code.0, *b"25P02");
        transaction.back_to("a", &mut settings).unwrap();
        assert_eq!((transaction.status(), timeout(&settings)), (b'T', Some(2_000)));
        settings.put("statement_timeout", "4000", true);
        assert!(transaction.end(&mut settings, true));
        assert_eq!(timeout(&settings), Some(2_000));
        transaction.begin(&settings);
        settings.put("statement_timeout", "5000", false);
        assert!(!transaction.end(&mut settings, false));
        assert_eq!(timeout(&settings), Some(2_000));
    }

    #[test]
    fn savepoints_are_known_by_their_last_name_and_belong_to_a_transaction() {
        let mut settings = Settings::new("audrey", &[], false);
        let mut transaction = Transaction::none();
        let code = |done: Result<(), Fault>| done.unwrap_err().code.0;
        assert_eq!(code(transaction.savepoint("a".to_owned(), &settings)), *b"25P01");
        transaction.begin(&settings);
        for name in ["a", "b", "a"] {
            transaction.savepoint(name.to_owned(), &settings).unwrap();
        }
        transaction.release("a").unwrap();
        transaction.release("a").unwrap();
        assert_eq!(code(transaction.release("b")), *b"3B001");
        assert_eq!(code(transaction.back_to("a", &mut settings)), *b"3B001");
        for number in 0..SAVEPOINTS_MAX {
            transaction.savepoint(number.to_string(), &settings).unwrap();
        }
        assert_eq!(code(transaction.savepoint("more".to_owned(), &settings)), *b"54000");
    }
}
