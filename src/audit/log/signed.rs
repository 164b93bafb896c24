//! What proves the log: begins the notary, and what follows what it signs.

use std::sync::Arc;
use std::time::Duration;

use super::super::archive::life as archive;
use super::super::attend::Hook;
use super::super::notary::salts::RingSalts;
use super::super::open_error::OpenError;
use super::super::{abroad, evidence, notary, signers};
use super::Log;
use crate::config;
use crate::proof::note::Verifier;

impl Log {
    /// Begins to sign, to show what was signed to others, and to archive it.
    pub(super) fn start_notary(&self, config: &config::Audit) -> Result<(), OpenError> {
        let Some(open) = &self.0 else { return Ok(()) };
        Verifier::new(&config.origin, [0; 32]).map_err(|_| OpenError::Setting("origin names no vault"))?;
        let plan = notary::Plan {
            journal: config.directory.clone(),
            folder: evidence::folder_of(&config.directory),
            vault: config.origin.clone(),
            every: Duration::from_millis(config.checkpoint_interval_ms),
            signer: signers::find(&open.keyring, &config.origin, &config.directory),
            salts: RingSalts::new(Arc::clone(&open.keyring)),
        };
        let started = notary::start(Arc::clone(&open.gate), plan);
        let life = started.map_err(|error| OpenError::Io(config.directory.clone(), error))?;
        let told = life.told();
        if open.gate.signing.set(Arc::clone(&told)).is_err() {
            tracing::error!("who signs the audit log was set twice");
        }
        let abroad = abroad::start(config, evidence::folder_of(&config.directory))
            .map_err(|error| OpenError::Io(config.directory.clone(), error))?;
        if abroad.is_some_and(|abroad| open.abroad.set(abroad).is_err()) {
            tracing::error!("what is kept of the audit log elsewhere was started twice");
        }
        let mut archived: Hook = Box::new(|_, _| Ok(true));
        if config.archive.enabled {
            let notary = evidence::folder_of(&config.directory);
            let started = archive::start(config, notary, Arc::clone(&open.keyring));
            let started = started.map_err(|error| OpenError::Io(config.directory.clone(), error))?;
            let gate = Arc::clone(&open.gate);
            archived = Box::new(started.before_shred(move || gate.durable_position()));
            if open.archive.set(started).is_err() {
                tracing::error!("the audit log's archive was started twice");
            }
        }
        // The archive first: the notary takes nothing more once it has agreed.
        open.gate.before_shred.set(Box::new(move |customer, keys| {
            if !archived(customer, keys)? {
                told.hurry();
                return Ok(false);
            }
            told.may_go(customer, keys)
        }));
        if open.notary.set(life).is_err() {
            tracing::error!("the audit log's notary was started twice");
        }
        Ok(())
    }
}
