//! The one clock, the names of metrics, and the form of log lines.
//!
//! Always holds: never SQL text, a parameter or a secret (they belong to the audit log or nowhere); labels of
//! metrics come from the catalogue or from this file, never from a client, so their number is bounded.

pub mod live;

use std::fmt;
use std::io;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use metrics::{Counter, Unit, describe_counter, describe_gauge};
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};
use tracing_subscriber::EnvFilter;

use crate::config::{Log, LogFormat};

/// The wall clock: time since 1970. A clock before 1970 reads as 1970.
#[must_use]
#[expect(clippy::disallowed_methods, reason = "this is the one place that reads the wall clock")]
pub fn wall_clock() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}

/// Seconds since 1970.
#[must_use]
pub fn unix_seconds() -> i64 {
    i64::try_from(wall_clock().as_secs()).unwrap_or(i64::MAX)
}

/// Gauge: connected clients, those before their login included.
pub const CLIENTS: &str = "onevault_clients";
/// Gauge: the most clients allowed.
pub const CLIENTS_MAX: &str = "onevault_clients_max";
/// Counter: connections accepted.
pub const CONNECTIONS_TOTAL: &str = "onevault_connections_total";
/// Counter, `reason`: connections sent away before they could say anything.
pub const CONNECTIONS_REFUSED_TOTAL: &str = "onevault_connections_refused_total";
/// Gauge, `customer`, `state` (`idle`, `leased`): backends.
pub const BACKENDS: &str = "onevault_backends";
/// Gauge, `customer`, `reason`: sessions that keep their backend between two transactions.
pub const PINS: &str = "onevault_pins";
/// Counter, `customer`, `outcome`: statements.
pub const STATEMENTS_TOTAL: &str = "onevault_statements_total";
/// Counter, `outcome` (`ok`, `failed`, `refused`): logins.
pub const LOGINS_TOTAL: &str = "onevault_logins_total";
/// Counter: cancel requests that named a session.
pub const CANCELS_TOTAL: &str = "onevault_cancels_total";
/// Gauge: 1 while the audit log can be written, else 0.
pub const AUDIT_WRITABLE: &str = "onevault_audit_writable";
/// Counter: records on disk.
pub const AUDIT_RECORDS_TOTAL: &str = "onevault_audit_records_total";
/// Gauge, bytes: records accepted that are not on disk yet.
pub const AUDIT_WAITING_BYTES: &str = "onevault_audit_waiting_bytes";
/// Gauge, bytes: journal that is not in the archive yet.
pub const AUDIT_UNSEALED_BYTES: &str = "onevault_audit_unsealed_bytes";
/// Gauge, seconds: since the last time that everything before was in the archive.
pub const AUDIT_UNSEALED_SECONDS: &str = "onevault_audit_unsealed_seconds";
/// Gauge, seconds, `customer`: for how long its log should have been reviewed; 0: it is in time.
pub const AUDIT_REVIEW_OVERDUE_SECONDS: &str = "onevault_audit_review_overdue_seconds";
/// Counter: rounds in which a witness did not sign a checkpoint of the audit log.
pub const AUDIT_WITNESS_FAILURES_TOTAL: &str = "onevault_audit_witness_failures_total";
/// Counter: times that checkpoints could not be put into the second place.
pub const AUDIT_ANCHOR_FAILURES_TOTAL: &str = "onevault_audit_anchor_failures_total";
/// Counter: statements refused because the log could not be written.
pub const AUDIT_REFUSED_TOTAL: &str = "onevault_audit_refused_total";
/// Counter, `rule`, `customer`: alerts raised.
pub const AUDIT_ALERTS_TOTAL: &str = "onevault_audit_alerts_total";
/// Counter, `outcome` (`delivered`, `failed`, `dropped`): what became of alerts.
pub const AUDIT_ALERTS_SENT_TOTAL: &str = "onevault_audit_alerts_sent_total";
/// Gauge: alerts that wait to be sent.
pub const AUDIT_ALERTS_WAITING: &str = "onevault_audit_alerts_waiting";
/// Counter, `what` (`customers`, `certificates`), `outcome`: reloads.
pub const RELOADS_TOTAL: &str = "onevault_reloads_total";
/// Gauge, seconds since 1970: the earliest end of a certificate shown to clients.
pub const CERTIFICATE_EXPIRY: &str = "onevault_certificate_expiry_seconds";
/// Gauge, seconds since 1970: when this process started.
pub const START_TIME: &str = "onevault_start_time_seconds";

/// Starts counting; the handle renders the figures in Prometheus' text form.
///
/// # Errors
/// When it was started before.
pub fn start_metrics() -> Result<PrometheusHandle, String> {
    let recorder = PrometheusBuilder::new().build_recorder();
    let handle = recorder.handle();
    metrics::set_global_recorder(recorder).map_err(|error| error.to_string())?;
    describe_gauge!(CLIENTS, "Connected clients, those before their login included");
    describe_gauge!(CLIENTS_MAX, "The most clients allowed");
    describe_counter!(CONNECTIONS_TOTAL, "Connections accepted");
    describe_counter!(CONNECTIONS_REFUSED_TOTAL, "Connections sent away at once, by reason");
    describe_gauge!(BACKENDS, "Backends, by customer and state");
    describe_gauge!(
        PINS,
        "Sessions that keep their backend between two transactions, by customer and reason"
    );
    describe_counter!(STATEMENTS_TOTAL, "Statements, by customer and outcome");
    describe_counter!(LOGINS_TOTAL, "Logins, by outcome");
    describe_counter!(CANCELS_TOTAL, "Cancel requests that named a session");
    describe_gauge!(AUDIT_WRITABLE, "1 while the audit log can be written");
    describe_counter!(AUDIT_RECORDS_TOTAL, "Audit records on disk since the start");
    describe_gauge!(AUDIT_WAITING_BYTES, Unit::Bytes, "Audit records accepted that are not on disk yet");
    describe_gauge!(AUDIT_UNSEALED_BYTES, Unit::Bytes, "Audit journal that is not in the archive yet");
    describe_gauge!(AUDIT_UNSEALED_SECONDS, Unit::Seconds, "Since everything before was in the archive");
    describe_gauge!(
        AUDIT_REVIEW_OVERDUE_SECONDS,
        Unit::Seconds,
        "Since a customer's audit log should have been reviewed"
    );
    describe_counter!(AUDIT_WITNESS_FAILURES_TOTAL, "Rounds in which a witness did not sign a checkpoint");
    describe_counter!(AUDIT_ANCHOR_FAILURES_TOTAL, "Times that checkpoints could not be put elsewhere");
    describe_counter!(AUDIT_REFUSED_TOTAL, "Statements refused because the audit log could not be written");
    describe_counter!(AUDIT_ALERTS_TOTAL, "Alerts raised, by rule and customer");
    describe_counter!(AUDIT_ALERTS_SENT_TOTAL, "Alerts delivered, given up, or without room, by outcome");
    describe_gauge!(AUDIT_ALERTS_WAITING, "Alerts that wait to be sent");
    describe_counter!(RELOADS_TOTAL, "Reloads, by what was read again and outcome");
    describe_gauge!(CERTIFICATE_EXPIRY, Unit::Seconds, "The earliest end of a certificate shown to clients");
    describe_gauge!(START_TIME, Unit::Seconds, "When this process started");
    Ok(handle)
}

/// Counts the statements of one session in [`STATEMENTS_TOTAL`]: an atomic addition each, once an outcome was seen.
#[derive(Clone)]
pub struct Statements {
    customer: Arc<str>,
    /// Counters found so far; the usual outcome is the first.
    counters: Vec<(&'static str, Counter)>,
}

impl fmt::Debug for Statements {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Statements({})", self.customer)
    }
}

impl Statements {
    /// For a session of this customer.
    #[must_use]
    pub fn of(customer: &str) -> Self {
        Self { customer: customer.into(), counters: Vec::new() }
    }

    /// One more with this outcome, a word of the program's own.
    pub fn count(&mut self, outcome: &'static str) {
        if let Some((_, counter)) = self.counters.iter().find(|(known, _)| *known == outcome) {
            counter.increment(1);
            return;
        }
        let counter = metrics::counter!(
            STATEMENTS_TOTAL, "customer" => Arc::clone(&self.customer), "outcome" => outcome
        );
        counter.increment(1);
        self.counters.push((outcome, counter));
    }
}

/// A figure as gauges take it; above 2^53 to the nearest that a double can hold.
#[must_use]
pub fn gauge(figure: u64) -> f64 {
    let half = |bits: u64| f64::from(u32::try_from(bits & u64::from(u32::MAX)).unwrap_or(u32::MAX));
    half(figure >> 32).mul_add(4_294_967_296.0, half(figure))
}

/// Counts a login in [`LOGINS_TOTAL`]: `ok`, `failed` or `refused`.
pub fn login(outcome: &'static str) {
    metrics::counter!(LOGINS_TOTAL, "outcome" => outcome).increment(1);
}

/// Sends log lines to standard error as configured.
///
/// # Errors
/// A filter that cannot be read, or a second start.
pub fn start_log(log: &Log) -> Result<(), String> {
    let filter =
        EnvFilter::try_new(&log.level).map_err(|error| format!("log.level \"{}\": {error}", log.level))?;
    // A line that standard error does not take, because its disk is full, would else be complained of there: with a panic.
    let lines = tracing_subscriber::fmt().log_internal_errors(false).with_env_filter(filter);
    let lines = lines.with_writer(io::stderr).with_target(false);
    match log.format {
        LogFormat::Text => lines.with_ansi(io::IsTerminal::is_terminal(&io::stderr())).try_init(),
        LogFormat::Json => lines.json().flatten_event(true).with_current_span(false).try_init(),
    }
    .map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statements_are_counted_by_customer_and_outcome() {
        let recorder = PrometheusBuilder::new().build_recorder();
        let handle = recorder.handle();
        metrics::with_local_recorder(&recorder, || {
            let mut statements = Statements::of("one_spa");
            for outcome in ["ok", "error", "ok", "ok"] {
                statements.count(outcome);
            }
            Statements::of("one_barn").count("ok");
        });
        let text = handle.render();
        assert!(text.contains("onevault_statements_total{customer=\"one_spa\",outcome=\"ok\"} 3"), "{text}");
        assert!(text.contains("onevault_statements_total{customer=\"one_barn\",outcome=\"ok\"} 1"), "{text}");
    }

    #[test]
    fn a_figure_becomes_a_gauge() {
        assert_eq!((gauge(0), gauge(7), gauge(5_000_000_000)), (0.0, 7.0, 5e9));
    }

    #[test]
    fn a_bad_filter_is_refused() {
        let log = Log { level: "info,=".into(), format: LogFormat::Text };
        assert!(start_log(&log).unwrap_err().contains("log.level"));
    }
}
