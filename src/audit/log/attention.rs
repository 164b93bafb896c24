//! What somebody should look at: begins the daily digests.

use std::sync::Arc;
use std::time::Duration;

use super::super::digest::follower::Plan;
use super::super::digest::life::{self, Life};
use super::super::open_error::OpenError;
use super::Log;
use crate::config;
use crate::customers::Catalogues;

impl Log {
    /// Begins to make daily digests of the customers in `catalogues`, if the configuration says so.
    ///
    /// # Errors
    /// [`OpenError`] when a thread cannot be started.
    pub fn start_digests(&self, config: &config::Audit, catalogues: Catalogues) -> Result<(), OpenError> {
        let Some(open) = self.0.as_ref().filter(|_| config.digest.enabled) else { return Ok(()) };
        let plan = Plan {
            journal: config.directory.clone(),
            keyring: Arc::clone(&open.keyring),
            catalogues,
            rules: config.digest.clone(),
        };
        let every = Duration::from_secs(config.digest.interval_s);
        let started = life::start(Arc::clone(&open.gate), plan, every, Box::new(|_, _| {}));
        let life = started.map_err(|error| OpenError::Io(config.directory.clone(), error))?;
        if open.digest.set(life).is_err() {
            tracing::error!("the audit log's digests were started twice");
        }
        Ok(())
    }

    /// The first segment of the journal that the digests still need; 0: not known yet. `u64::MAX`: none are made.
    #[must_use]
    pub fn first_undigested_segment(&self) -> u64 {
        let digest = self.0.as_ref().and_then(|open| open.digest.get());
        digest.map_or(u64::MAX, Life::needed_segment)
    }
}
