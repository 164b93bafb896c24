//! What somebody should look at: begins the daily digests and the alerts.

use std::sync::Arc;
use std::time::Duration;

use super::super::acts::Ours;
use super::super::alert::{Rule, sender};
use super::super::digest::follower::Plan;
use super::super::digest::life::{self, Life, Sink};
use super::super::gate::now_ns;
use super::Log;
use crate::config::Config;
use crate::customers::Catalogues;

impl Log {
    /// Begins to send alerts, and to make daily digests of the customers in `catalogues` if the configuration says so.
    ///
    /// # Errors
    /// A sentence: a setting that cannot be used, or a thread or file that cannot be had.
    pub fn start_attention(&self, config: &Config, catalogues: Catalogues) -> Result<(), String> {
        let Some(open) = &self.0 else { return Ok(()) };
        let told = open.notary.get().map(|notary| notary.told());
        let alerts = sender::start(sender::Plan {
            audit: &config.audit,
            settings: &config.alerts,
            gate: Arc::clone(&open.gate),
            keyring: Arc::clone(&open.keyring),
            catalogues: Arc::clone(&catalogues),
            unsigned: Box::new(move || told.as_ref().and_then(|told| told.trouble())),
        })?;
        let told = Arc::clone(&alerts);
        if open.gate.alerts.set(alerts).is_err() {
            return Err("alerts were started twice".to_owned());
        }
        let audit = &config.audit;
        if !audit.digest.enabled {
            return Ok(());
        }
        let plan = Plan {
            journal: audit.directory.clone(),
            keyring: Arc::clone(&open.keyring),
            catalogues,
            rules: audit.digest.clone(),
        };
        let every = Duration::from_secs(audit.digest.interval_s);
        let sink: Sink = Box::new(move |customer, finding| told.found(customer, finding));
        let life =
            life::start(Arc::clone(&open.gate), plan, every, sink).map_err(|error| error.to_string())?;
        open.digest.set(life).map_err(|_| "digests were started twice".to_owned())
    }

    /// Raises an alert that no record shows; `what` is in words and says nothing secret. Syncs a file, so not for those who
    /// serve clients. Nothing happens before [`Log::start_attention`].
    pub fn raise(&self, rule: Rule, customer: &str, what: &str) {
        if let Some(alerts) = self.0.as_ref().and_then(|open| open.gate.alerts.get()) {
            alerts.raise(rule, customer, what, now_ns());
        }
    }

    /// Says who knows the backends of a customer at this moment, for commands that ask.
    pub fn tell_backends(&self, knows: impl Fn(&str) -> Vec<Ours> + Send + Sync + 'static) {
        if let Some(open) = &self.0 {
            open.gate.backends.set(Box::new(knows));
        }
    }

    /// The first segment of the journal that the digests still need; 0: not known yet. `u64::MAX`: none are made.
    #[must_use]
    pub fn first_undigested_segment(&self) -> u64 {
        let digest = self.0.as_ref().and_then(|open| open.digest.get());
        digest.map_or(u64::MAX, Life::needed_segment)
    }
}
