//! The process itself: no core dumps, as many descriptors as it may have.

use rustix::process::{DumpableBehavior, Resource, Rlimit, getrlimit, set_dumpable_behavior, setrlimit};

use crate::config::Config;

/// Descriptors beside those of clients and backends: files, listeners, runtimes.
const DESCRIPTORS_BESIDE: u64 = 256;

/// Keeps secrets out of core dumps and other users' debuggers, and raises the limit on descriptors to what
/// the system allows. What cannot be done is said in the log and is not the end.
pub fn prepare(config: &Config) {
    let none = Rlimit { current: Some(0), maximum: Some(0) };
    if let Err(error) = setrlimit(Resource::Core, none) {
        tracing::warn!(%error, "could not turn core dumps off");
    }
    if let Err(error) = set_dumpable_behavior(DumpableBehavior::NotDumpable) {
        tracing::warn!(%error, "could not shut debuggers out");
    }
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit { current: limit.maximum, maximum: limit.maximum };
    if let Err(error) = setrlimit(Resource::Nofile, raised) {
        tracing::warn!(%error, "could not raise the limit on open files");
    }
    let wanted = config.limits.clients_max.saturating_add(config.limits.backends_max);
    let wanted = u64::try_from(wanted).unwrap_or(u64::MAX).saturating_add(DESCRIPTORS_BESIDE);
    if let Some(allowed) = getrlimit(Resource::Nofile).current.filter(|allowed| *allowed < wanted) {
        tracing::warn!(
            allowed,
            wanted,
            "fewer open files are allowed than limits.clients_max and limits.backends_max need"
        );
    }
}
