//! The listening socket: accepts, counts, hands over.
//!
//! Always holds: nothing a client does or leaves undone keeps the next one from being accepted; an error of
//! `accept` is never the end. Refuses to read a single byte.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use socket2::{Domain, Protocol, SockRef, Socket, TcpKeepalive, Type};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::sleep;

use super::clients::{Admission, Clients};
use super::workers::{Job, Workers};
use crate::telemetry;

/// Connections the kernel keeps ready for `accept`.
const BACKLOG: i32 = 4096;
/// When `accept` fails for want of something (descriptors, memory): a wait until the next try.
const BACKOFF: Duration = Duration::from_millis(100);
/// How often that is said.
const COMPLAINT_INTERVAL: Duration = Duration::from_secs(10);
/// A silent peer is asked after this time whether it is still there, ...
const KEEPALIVE_AFTER: Duration = Duration::from_secs(60);
/// ... then this often, ...
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(10);
/// ... and is gone after this many silent answers.
const KEEPALIVE_RETRIES: u32 = 6;

/// Where clients connect.
#[derive(Debug)]
pub(super) struct Listener {
    tcp: TcpListener,
    address: SocketAddr,
}

impl Listener {
    /// Binds and listens; an IPv6 wildcard takes IPv4 clients too.
    pub(super) fn bind(address: SocketAddr) -> Result<Self, String> {
        let listen = || {
            let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
            socket.set_reuse_address(true)?;
            if address.is_ipv6() && address.ip().is_unspecified() {
                socket.set_only_v6(false)?;
            }
            socket.set_nonblocking(true)?;
            socket.bind(&address.into())?;
            socket.listen(BACKLOG)?;
            let tcp = TcpListener::from_std(socket.into())?;
            let address = tcp.local_addr()?;
            io::Result::Ok(Self { tcp, address })
        };
        listen().map_err(|error| format!("could not bind listen.address {address}: {error}"))
    }

    pub(super) const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Accepts for ever.
    pub(super) async fn accept_all(&self, clients: &Arc<Clients>, workers: &Workers) -> Infallible {
        let accepted = metrics::counter!(telemetry::CONNECTIONS_TOTAL);
        let mut complained = None::<Instant>;
        loop {
            match self.tcp.accept().await {
                Ok((tcp, peer)) => {
                    accepted.increment(1);
                    if let Some(job) = admit(clients, tcp, peer) {
                        workers.hand_over(job).await;
                    }
                }
                Err(error) if is_of_one_connection(&error) => {}
                Err(error) => {
                    if complained.is_none_or(|last| last.elapsed() > COMPLAINT_INTERVAL) {
                        tracing::error!(%error, clients = clients.count(), "could not accept connections");
                        complained = Some(Instant::now());
                    }
                    sleep(BACKOFF).await;
                }
            }
        }
    }
}

/// Decides about one connection and makes it ready for its worker.
fn admit(clients: &Arc<Clients>, tcp: TcpStream, peer: SocketAddr) -> Option<Job> {
    let (guard, refused) = match clients.admit(peer.ip()) {
        Admission::Serve(guard) => (guard, None),
        Admission::Refuse(guard, why) => (guard, Some(why)),
        Admission::Close => return None,
    };
    // A connection whose options cannot be set is gone already; its worker will find out.
    let _ = tcp.set_nodelay(true);
    let keepalive = TcpKeepalive::new()
        .with_time(KEEPALIVE_AFTER)
        .with_interval(KEEPALIVE_INTERVAL)
        .with_retries(KEEPALIVE_RETRIES);
    let _ = SockRef::from(&tcp).set_tcp_keepalive(&keepalive);
    let tcp = tcp.into_std().ok()?;
    Some(Job { tcp, peer, guard, refused })
}

/// Errors that belong to a connection which ended before it was accepted.
fn is_of_one_connection(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset | io::ErrorKind::ConnectionRefused
    )
}
