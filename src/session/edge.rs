//! The door between the server, which owns tasks and threads, and the sessions.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio::time::Instant;

use crate::audit::{Decision, Event, EventKind, Outcome, State};
use crate::config::Config;
use crate::customers::reload::Reloader;
use crate::protocol::report::Report;
use crate::protocol::sqlstate::SqlState;
use crate::server::{Edge, Guard, Refused, Stage, What};
use crate::telemetry;
use crate::tls::First;

use super::Shared;

/// How long a client that is over a limit may take as far as its startup packet.
const REFUSAL: Duration = Duration::from_secs(2);

/// Sessions as the server sees them.
#[derive(Debug)]
pub struct Sessions {
    /// What all sessions share.
    pub shared: Arc<Shared>,
    /// Reads the customers again.
    pub customers: Arc<Reloader>,
    /// The configuration file.
    pub config_path: PathBuf,
}

impl Edge for Sessions {
    async fn serve(self: Arc<Self>, tcp: TcpStream, peer: SocketAddr, guard: Guard) {
        super::serve(Arc::clone(&self.shared), tcp, peer).await;
        drop(guard);
    }

    async fn refuse(self: Arc<Self>, tcp: TcpStream, peer: SocketAddr, why: Refused) {
        let shared = &self.shared;
        let words = why.to_string();
        let report = Report::fatal(SqlState::TOO_MANY_CONNECTIONS, words.clone());
        let deadline = Instant::now() + REFUSAL;
        let event = Event {
            outcome: Outcome::Refused,
            client_address: Some(peer),
            sqlstate: Some(SqlState::TOO_MANY_CONNECTIONS.0),
            detail: words.as_bytes(),
            decision: Some(Decision::ClientLimit),
            ..Event::new(EventKind::ConnectionRefused)
        };
        if let Err(unavailable) = shared.audit.event(&event) {
            tracing::error!(%unavailable, "a refused connection could not be recorded");
        }
        let Ok(mut greeted) = shared.greeter.greet(tcp, peer, deadline.into_std()).await else { return };
        match greeted.request {
            First::Startup(_) => super::life::farewell(&mut greeted.stream, &report).await,
            // Who is over the limit may still cancel what is running.
            First::Cancel(key) => super::life::cancel(shared, peer, &key).await,
        }
    }

    async fn attend(self: Arc<Self>) {
        self.shared.audit.attend_here().await;
    }

    fn drain(&self, stage: Stage) {
        match stage {
            Stage::Serving => {}
            Stage::AfterTransaction => self.shared.drain(),
            Stage::Now => self.shared.kill(),
        }
    }

    fn reload(&self, what: What) -> Result<String, String> {
        let said = match what {
            What::Configuration => Config::read(&self.config_path).map(|config| {
                self.shared.pools.reconfigure(Arc::new(config));
                "pool and the limits on backends are in force; other values are taken at the next start"
                    .to_owned()
            }),
            What::Customers => self.reload_customers(),
            What::Certificates => {
                let certificates = self.shared.greeter.certificates();
                certificates.reload().map(|()| format!("{} certificates", certificates.files().len()))
            }
        };
        let (outcome, detail) = match &said {
            Ok(detail) => (Outcome::Ok, format!("{}: {detail}", what.as_str())),
            Err(detail) => (Outcome::Error, format!("{}: {detail}", what.as_str())),
        };
        let event = Event { outcome, detail: detail.as_bytes(), ..Event::new(EventKind::ConfigReload) };
        if let Err(unavailable) = self.shared.audit.event(&event) {
            tracing::error!(%unavailable, "a reload could not be recorded");
        }
        said
    }

    fn audit(&self) -> (bool, Value) {
        let health = self.shared.audit.health();
        let (writable, state, reason) = match health.state {
            State::Ok => (true, "ok", None),
            State::Disabled => (true, "disabled", None),
            State::Failing { reason, .. } => (false, "failing", Some(reason)),
            State::Closed => (false, "closed", None),
        };
        let told = json!({
            "state": state,
            "reason": reason,
            "records": health.records,
            "waiting_bytes": health.waiting_bytes,
            "refused": health.refused,
            "unsigned": health.unsigned,
            "unarchived": health.unarchived,
            "undigested": health.undigested,
            "unwitnessed": health.unwitnessed,
            "unanchored": health.unanchored,
            "alerts": { "waiting": health.alerts.waiting, "trouble": health.alerts.trouble },
        });
        (writable, told)
    }

    fn begin(&self) {
        self.shared.pools.settle();
    }

    fn tell(&self) {
        let audit = self.shared.audit.health();
        metrics::counter!(telemetry::AUDIT_RECORDS_TOTAL).absolute(audit.records);
        metrics::counter!(telemetry::AUDIT_REFUSED_TOTAL).absolute(audit.refused);
        let alerts = u64::try_from(audit.alerts.waiting).unwrap_or(u64::MAX);
        metrics::gauge!(telemetry::AUDIT_ALERTS_WAITING).set(telemetry::gauge(alerts));
        metrics::gauge!(telemetry::AUDIT_WAITING_BYTES).set(telemetry::gauge(audit.waiting_bytes));
        let certificates = self.shared.greeter.certificates();
        if let Some(expiry) = certificates.first_expiry().and_then(|expiry| u64::try_from(expiry).ok()) {
            metrics::gauge!(telemetry::CERTIFICATE_EXPIRY).set(telemetry::gauge(expiry));
        }
        // Only customers that have had a backend are known to the pools.
        for id in self.shared.catalogues.load().customers.keys() {
            let Some(figures) = self.shared.pools.figures_of(id) else { continue };
            let idle = figures.backends.saturating_sub(figures.leased);
            for (state, count) in [("leased", figures.leased), ("idle", idle)] {
                metrics::gauge!(telemetry::BACKENDS, "customer" => id.to_string(), "state" => state)
                    .set(telemetry::gauge(u64::try_from(count).unwrap_or(u64::MAX)));
            }
        }
    }
}

impl Sessions {
    fn reload_customers(&self) -> Result<String, String> {
        let outcome = self.customers.reload();
        let catalogue = self.shared.catalogues.load();
        self.shared.pools.relimit(&catalogue);
        self.shared.end_removed(&catalogue);
        if outcome.problems.is_empty() {
            Ok(format!("{} customers", outcome.customers))
        } else {
            Err(format!(
                "{} problems, {} customers keep their last good version",
                outcome.problems.len(),
                outcome.kept.len()
            ))
        }
    }
}
