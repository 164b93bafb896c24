//! Health and metrics over HTTP, for operators and their machines.
//!
//! Always holds: 200 from `/health` means that new sessions are taken and the audit log can be written; a
//! connection ends after [`CONNECTION_LIFE`], whatever it does, and at most [`CONNECTIONS_MAX`] are open.
//! Refuses to know where its figures come from: they are asked for when somebody asks.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use metrics_exporter_prometheus::PrometheusHandle;
use serde_json::{Value, json};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Sleep, sleep};

/// How long one HTTP connection lasts at most.
pub const CONNECTION_LIFE: Duration = Duration::from_secs(30);
/// HTTP connections at one time; further ones wait.
pub const CONNECTIONS_MAX: usize = 64;

/// How OneVault is, at the moment of asking.
#[derive(Debug, Clone, PartialEq)]
pub struct Health {
    /// No new sessions; the process ends.
    pub draining: bool,
    /// Statements can be recorded.
    pub audit_writable: bool,
    /// Seconds since the start.
    pub uptime_s: u64,
    /// Connected clients.
    pub clients: usize,
    /// The audit log in its own words.
    pub audit: Value,
}

impl Health {
    /// One word, and whether it is a good one.
    #[must_use]
    pub const fn status(&self) -> (&'static str, bool) {
        match (self.draining, self.audit_writable) {
            (true, _) => ("draining", false),
            (false, false) => ("audit log cannot be written", false),
            (false, true) => ("ok", true),
        }
    }
}

/// Asked at each request; also the moment to bring gauges up to date.
pub type Source = Arc<dyn Fn() -> Health + Send + Sync>;

#[derive(Clone)]
struct Figures {
    health: Source,
    metrics: PrometheusHandle,
}

/// Answers on `listener` until dropped.
///
/// # Errors
/// None in practice: accepting is tried again for ever.
pub async fn serve(listener: TcpListener, health: Source, metrics: PrometheusHandle) -> io::Result<()> {
    let router = Router::new()
        .route("/health", get(show_health))
        .route("/metrics", get(show_metrics))
        .with_state(Figures { health, metrics });
    let listener = Bounded { listener, permits: Arc::new(Semaphore::new(CONNECTIONS_MAX)) };
    axum::serve(listener, router).await
}

async fn show_health(State(figures): State<Figures>) -> Response {
    let health = (figures.health)();
    let (status, good) = health.status();
    let code = if good { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    let body = json!({
        "status": status,
        "version": env!("CARGO_PKG_VERSION"),
        "uptime_s": health.uptime_s,
        "clients": health.clients,
        "audit": health.audit,
    });
    (code, axum::Json(body)).into_response()
}

async fn show_metrics(State(figures): State<Figures>) -> Response {
    (figures.health)();
    figures.metrics.run_upkeep();
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], figures.metrics.render())
        .into_response()
}

/// A listener that keeps the number and the life of its connections in bounds.
struct Bounded {
    listener: TcpListener,
    permits: Arc<Semaphore>,
}

impl axum::serve::Listener for Bounded {
    type Io = Limited;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Limited, SocketAddr) {
        // The semaphore is never closed; without a permit the connection would only be one too many.
        let permit = Arc::clone(&self.permits).acquire_owned().await.ok();
        let (tcp, peer) = axum::serve::Listener::accept(&mut self.listener).await;
        (Limited { tcp, end: Box::pin(sleep(CONNECTION_LIFE)), _permit: permit }, peer)
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }
}

/// A connection that ends at a set time.
struct Limited {
    tcp: TcpStream,
    end: Pin<Box<Sleep>>,
    _permit: Option<OwnedSemaphorePermit>,
}

impl Limited {
    /// The socket, while there is time.
    fn socket(&mut self, cx: &mut Context<'_>) -> Result<Pin<&mut TcpStream>, io::Error> {
        if self.end.as_mut().poll(cx).is_ready() {
            return Err(io::ErrorKind::TimedOut.into());
        }
        Ok(Pin::new(&mut self.tcp))
    }
}

impl AsyncRead for Limited {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut().socket(cx) {
            Ok(tcp) => tcp.poll_read(cx, buf),
            Err(error) => Poll::Ready(Err(error)),
        }
    }
}

impl AsyncWrite for Limited {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut().socket(cx) {
            Ok(tcp) => tcp.poll_write(cx, buf),
            Err(error) => Poll::Ready(Err(error)),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().tcp).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().tcp).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use metrics_exporter_prometheus::PrometheusBuilder;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    async fn ask(address: SocketAddr, path: &str) -> String {
        #[expect(clippy::disallowed_methods, reason = "the test is the client")]
        let mut tcp = TcpStream::connect(address).await.unwrap();
        let request = format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
        tcp.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        tcp.read_to_string(&mut answer).await.unwrap();
        answer
    }

    #[tokio::test]
    async fn health_is_good_only_while_sessions_are_taken_and_recorded() {
        let listener = TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], 0))).await.unwrap();
        let address = listener.local_addr().unwrap();
        let state = Arc::new(std::sync::Mutex::new((false, true)));
        let seen = Arc::clone(&state);
        let source: Source = Arc::new(move || {
            let (draining, audit_writable) = *seen.lock().unwrap();
            Health { draining, audit_writable, uptime_s: 7, clients: 3, audit: json!({"records": 9}) }
        });
        let metrics = PrometheusBuilder::new().build_recorder().handle();
        let asking = async {
            let good = ask(address, "/health").await;
            assert!(good.starts_with("HTTP/1.1 200 "), "{good}");
            let body: Value = serde_json::from_str(good.split_once("\r\n\r\n").unwrap().1).unwrap();
            assert_eq!(body["status"], "ok");
            assert_eq!((&body["clients"], &body["audit"]["records"]), (&json!(3), &json!(9)));
            for bad in [(true, true), (false, false)] {
                *state.lock().unwrap() = bad;
                assert!(ask(address, "/health").await.starts_with("HTTP/1.1 503 "), "{bad:?}");
            }
            assert!(ask(address, "/metrics").await.starts_with("HTTP/1.1 200 "));
            assert!(ask(address, "/elsewhere").await.starts_with("HTTP/1.1 404 "));
        };
        tokio::select! {
            served = serve(listener, source, metrics) => panic!("{served:?}"),
            () = asking => {}
        }
    }
}
