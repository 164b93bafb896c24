//! Accepts, counts, drains, reloads; owns every task and thread.
//!
//! The control thread accepts and hands sockets to worker threads, each with a runtime of its own; a session
//! stays on its worker. Always holds: accepting never waits for a client; what is counted is given back on
//! every path, panics included; after a shutdown was asked no new client is taken, and the process ends
//! within the limits of the configuration. Refuses to know the protocol and what a session does: that is the
//! [`Edge`]'s.

mod clients;
mod drain;
mod listener;
pub mod process;
mod reload;
mod workers;

use std::convert::Infallible;
use std::future::Future;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::SyncSender;
use std::time::{Duration, Instant};

use metrics_exporter_prometheus::PrometheusHandle;
use serde_json::Value;
use tokio::net::TcpStream;

use crate::config::Config;
use crate::{http, telemetry};

pub use clients::{Clients, Guard, Refused};
pub use drain::{Ended, Stage};

/// What becomes of the clients: implemented once for sessions, and by tests.
pub trait Edge: Send + Sync + 'static {
    /// Serves one client to its end; `guard` is its place in the count.
    fn serve(
        self: Arc<Self>,
        tcp: TcpStream,
        peer: SocketAddr,
        guard: Guard,
    ) -> impl Future<Output = ()> + Send;

    /// Sends one client away that is over a limit; bounded in time by itself.
    fn refuse(
        self: Arc<Self>,
        tcp: TcpStream,
        peer: SocketAddr,
        why: Refused,
    ) -> impl Future<Output = ()> + Send;

    /// Runs on each worker's thread beside its clients, until the worker ends.
    fn attend(self: Arc<Self>) -> impl Future<Output = ()> + Send {
        std::future::ready(())
    }

    /// Tells all sessions what is expected of them from now on.
    fn drain(&self, stage: Stage);

    /// Reads `what` again; says what is in force now.
    ///
    /// # Errors
    /// A sentence; what was in force stays in force.
    fn reload(&self, what: What) -> Result<String, String>;

    /// Whether statements can be recorded, and the audit log's health in its own words.
    fn audit(&self) -> (bool, Value);

    /// Called once on the control thread's runtime, before the first client.
    fn begin(&self) {}

    /// Brings the gauges of what is below up to date; called when somebody asks for figures.
    fn tell(&self) {}
}

/// What can be read again without a restart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum What {
    /// The configuration file: pools take theirs at once, everything else at the next start.
    Configuration,
    /// The customers' files.
    Customers,
    /// Chains and keys.
    Certificates,
}

impl What {
    /// As in logs and metrics.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Configuration => "configuration",
            Self::Customers => "customers",
            Self::Certificates => "certificates",
        }
    }
}

/// What [`run`] needs beside the edge.
#[derive(Debug)]
pub struct Plan {
    /// The whole configuration.
    pub config: Config,
    /// Files and folders whose changes lead to a reload.
    pub watched: Vec<(What, Vec<PathBuf>)>,
    /// Renders the figures.
    pub metrics: PrometheusHandle,
    /// Is told once where clients are accepted, and where health and metrics are.
    pub ready: Option<SyncSender<(SocketAddr, Option<SocketAddr>)>>,
}

/// Serves clients until the process is asked to end; the calling thread is the control thread.
///
/// # Errors
/// A sentence when an address cannot be bound or a thread cannot be started.
pub fn run<E: Edge>(edge: &Arc<E>, plan: Plan) -> Result<Ended, String> {
    run_asked_by(edge, plan, drain::Signals::listen)
}

/// [`run`], with signals or what a test puts in their place.
fn run_asked_by<E: Edge, A: drain::Asks>(
    edge: &Arc<E>,
    plan: Plan,
    asks: impl FnOnce() -> Result<A, String>,
) -> Result<Ended, String> {
    let runtime = workers::runtime()?;
    let workers = workers::Workers::start(edge, plan.config.listen.workers)?;
    let ended = runtime.block_on(async {
        let mut asks = asks()?;
        control(edge, plan, &workers, &mut asks).await
    });
    workers.stop();
    ended
}

/// Accept and answer until asked to end; then drain.
async fn control<E: Edge, A: drain::Asks>(
    edge: &Arc<E>,
    plan: Plan,
    workers: &workers::Workers,
    asks: &mut A,
) -> Result<Ended, String> {
    let Plan { config, watched, metrics, ready } = plan;
    edge.begin();
    let clients = Arc::new(Clients::new(&config.limits));
    let listener = listener::Listener::bind(config.listen.address)?;
    let http = http_listener(config.http.address).await?;
    let (address, http_address) = (listener.address(), http.as_ref().and_then(|http| http.local_addr().ok()));
    let mut changes = reload::Changes::watch(watched);
    let draining = Arc::new(AtomicBool::new(false));
    let mut http = std::pin::pin!(answer_http(http, health(edge, &clients, &draining), metrics));

    let version = env!("CARGO_PKG_VERSION");
    tracing::info!(%address, http = ?http_address, workers = workers.count(), version, "READY");
    if let Some(ready) = ready {
        // Nobody has to wait for it.
        let _ = ready.try_send((address, http_address));
    }
    tokio::select! {
        never = listener.accept_all(&clients, workers) => match never {},
        never = &mut http => match never {},
        () = reload::keep(edge, asks, &mut changes) => {}
    }
    drop(listener);
    draining.store(true, Ordering::Relaxed);
    let timeout = Duration::from_millis(config.limits.drain_timeout_ms);
    tokio::select! {
        ended = drain::drain(edge.as_ref(), &clients, asks, timeout) => Ok(ended),
        never = &mut http => match never {},
    }
}

async fn http_listener(address: Option<SocketAddr>) -> Result<Option<tokio::net::TcpListener>, String> {
    let Some(address) = address else { return Ok(None) };
    let listener = tokio::net::TcpListener::bind(address).await;
    listener.map(Some).map_err(|error| format!("could not bind http.address {address}: {error}"))
}

/// Never ends: without a listener there is nothing to do but wait.
async fn answer_http(
    listener: Option<tokio::net::TcpListener>,
    health: http::Source,
    metrics: PrometheusHandle,
) -> Infallible {
    if let Some(listener) = listener
        && let Err(error) = http::serve(listener, health, metrics).await
    {
        tracing::error!(%error, "health and metrics are no longer served");
    }
    std::future::pending().await
}

/// What `/health` asks; it brings the gauges up to date on the way.
fn health<E: Edge>(edge: &Arc<E>, clients: &Arc<Clients>, draining: &Arc<AtomicBool>) -> http::Source {
    let since = Instant::now();
    let start = telemetry::wall_clock().as_secs_f64();
    metrics::gauge!(telemetry::START_TIME).set(start);
    let (edge, clients, draining) = (Arc::clone(edge), Arc::clone(clients), Arc::clone(draining));
    Arc::new(move || {
        clients.tell();
        edge.tell();
        let (audit_writable, audit) = edge.audit();
        metrics::gauge!(telemetry::AUDIT_WRITABLE).set(if audit_writable { 1.0 } else { 0.0 });
        http::Health {
            draining: draining.load(Ordering::Relaxed),
            audit_writable,
            uptime_s: since.elapsed().as_secs(),
            clients: clients.count(),
            audit,
        }
    })
}

#[cfg(test)]
mod tests;
