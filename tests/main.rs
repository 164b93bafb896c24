//! Everything that is tested from outside: one binary, a file per promise, a real PostgreSQL below.

#[cfg(test)]
#[expect(dead_code, reason = "a set of tools; not each is in use yet")]
mod support;

#[cfg(test)]
mod alerts;
#[cfg(test)]
mod archive;
#[cfg(test)]
mod archive_kills;
#[cfg(test)]
mod audit_keys;
#[cfg(test)]
mod audit_log;
#[cfg(test)]
mod cancel;
#[cfg(test)]
mod conformance;
#[cfg(test)]
#[cfg(feature = "console")]
mod console;
#[cfg(test)]
mod copy;
#[cfg(test)]
mod crash;
#[cfg(test)]
mod digest;
#[cfg(test)]
mod drain;
#[cfg(test)]
mod drivers;
#[cfg(test)]
mod evidence;
#[cfg(test)]
mod extended_query;
#[cfg(test)]
mod harness;
#[cfg(test)]
mod hazards;
#[cfg(test)]
mod isolation;
#[cfg(test)]
mod keeping;
#[cfg(test)]
mod limits;
#[cfg(test)]
mod login;
#[cfg(test)]
mod markers;
#[cfg(test)]
mod pooling_session;
#[cfg(test)]
mod pooling_transaction;
#[cfg(test)]
mod provision;
#[cfg(test)]
mod reconcile;
#[cfg(test)]
mod soak;
#[cfg(test)]
mod startup_parameters;
#[cfg(test)]
mod tampering;
#[cfg(test)]
mod tidy;
#[cfg(test)]
mod tls_startup;
#[cfg(test)]
mod tokens;
#[cfg(test)]
mod tokio_round;
#[cfg(test)]
mod witnessed;
