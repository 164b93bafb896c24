//! The only place that dials.
//!
//! What always holds: nobody dials a database without a [`Route`]; everything from the name's resolution to the
//! first `ReadyForQuery` happens within one time limit; a server's answer to `SSLRequest` is exactly one byte.
//! A dial that is dropped half-way leaves nothing behind.
//!
//! Source: protocol-flow#PROTOCOL-FLOW-START-UP, protocol-flow#PROTOCOL-FLOW-SSL

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::cancel::Target;
use super::tls::{self, ClientTls, Configurations, TlsSettingsError};
use super::wire::{WireError, socket_is_silent};
use super::{Backend, Settings, login};
use crate::auth::scram::{Binding, ScramError};
use crate::customers::Server;
use crate::ids::DatabaseName;
use crate::protocol::report::Report;
use crate::protocol::sqlstate::SqlState;
use crate::protocol::write;
use crate::routing::Route;
use crate::stream::Stream;

/// Why there is no backend.
#[derive(Debug)]
pub enum ConnectError {
    /// Not ready in time.
    Timeout,
    /// The server cannot be reached, or the connection broke.
    Network(io::Error),
    /// TLS is demanded and the server has none.
    NoTls,
    /// The TLS handshake failed; the certificate may not be the right one.
    Tls(io::Error),
    /// TLS cannot be tried as configured.
    TlsSettings(TlsSettingsError),
    /// The server does not keep to the protocol.
    Protocol(String),
    /// The login exchange failed on our side: the server is not who it should be, or asks for too much.
    Scram(ScramError),
    /// The server asks for a login method that gives the password away, or for none at all.
    WeakLogin(&'static str),
    /// The server refused OneVault's own role; the client is not to blame and is not told why.
    LoginRefused {
        /// The server's code.
        code: SqlState,
        /// The server's message, for the log.
        message: String,
    },
    /// The server refused what the client asked for (database, startup setting) or is full.
    Refused {
        /// The server's code.
        code: SqlState,
        /// The server's whole `ErrorResponse`.
        raw: Box<[u8]>,
    },
    /// The server was found to be down a moment ago, and was not tried again.
    Down(Arc<Outage>),
}

/// How a server was found to be down.
#[derive(Debug)]
pub struct Outage {
    /// In our words, for the log.
    pub words: String,
    /// In the server's: its whole `ErrorResponse`, if it said anything.
    pub raw: Option<Box<[u8]>>,
}

/// Whom an outage concerns.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Extent {
    /// Everybody at that server.
    Host,
    /// One customer: its role or its database may be what is full or stuck.
    Lane,
}

/// What the client is told about a [`ConnectError`].
#[derive(Debug)]
pub enum Answer<'a> {
    /// The server's own message, byte for byte.
    AsSent(&'a [u8]),
    /// Words of ours.
    Report(Report),
}

impl ConnectError {
    /// What the client is told. The cause itself belongs to the log.
    #[must_use]
    pub fn answer(&self) -> Answer<'_> {
        match self {
            Self::Refused { raw, .. } => Answer::AsSent(raw),
            Self::Down(outage) => match &outage.raw {
                Some(raw) => Answer::AsSent(raw),
                None => Answer::Report(unreachable()),
            },
            Self::Timeout | Self::Network(_) => Answer::Report(unreachable()),
            Self::NoTls | Self::Tls(_) | Self::TlsSettings(_) => Answer::Report(Report::fatal(
                SqlState::CONNECTION_FAILURE,
                "secure connection to the database failed",
            )),
            Self::Protocol(_) | Self::Scram(_) | Self::WeakLogin(_) | Self::LoginRefused { .. } => {
                Answer::Report(Report::fatal(SqlState::CONNECTION_FAILURE, "database login failed"))
            }
        }
    }
}

fn unreachable() -> Report {
    Report::fatal(SqlState::CANNOT_CONNECT_NOW, "database is not reachable")
}

impl ConnectError {
    /// The outage that this failure shows, and whom it concerns. `answered`: the server had said something. What a
    /// client's settings can bring about is no outage.
    pub(super) fn outage(&self, answered: bool) -> Option<(Extent, Outage)> {
        let (extent, raw) = match self {
            Self::Timeout | Self::Network(_) if answered => (Extent::Lane, None),
            Self::Timeout | Self::Network(_) => (Extent::Host, None),
            Self::Refused { code: SqlState::CANNOT_CONNECT_NOW, raw } => (Extent::Host, Some(raw.clone())),
            Self::Refused { code: SqlState::TOO_MANY_CONNECTIONS, raw } => (Extent::Lane, Some(raw.clone())),
            Self::Refused { .. } | Self::Down(_) | Self::LoginRefused { .. } | Self::WeakLogin(_) => {
                return None;
            }
            Self::NoTls | Self::Tls(_) | Self::TlsSettings(_) | Self::Protocol(_) | Self::Scram(_) => {
                return None;
            }
        };
        Some((extent, Outage { words: self.to_string(), raw }))
    }
}

impl fmt::Display for ConnectError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Timeout => f.write_str("database server did not answer in time"),
            Self::Network(error) => write!(f, "database server is not reachable: {error}"),
            Self::NoTls => f.write_str("database server does not support TLS, but it is required"),
            Self::Tls(error) => write!(f, "TLS handshake with the database server failed: {error}"),
            Self::TlsSettings(error) => write!(f, "{error}"),
            Self::Protocol(what) => write!(f, "database server violated the protocol: {what}"),
            Self::Scram(error) => write!(f, "login at the database server failed: {error}"),
            Self::WeakLogin(what) => write!(f, "database server asks for {what}, which is not allowed"),
            Self::LoginRefused { code, message } => {
                write!(f, "database server refused the role: {message} ({code})")
            }
            Self::Refused { code, .. } => write!(f, "database server refused the connection ({code})"),
            Self::Down(outage) => write!(f, "not tried again yet: {}", outage.words),
        }
    }
}

impl std::error::Error for ConnectError {}

impl From<WireError> for ConnectError {
    fn from(error: WireError) -> Self {
        match error {
            WireError::Io(error) => Self::Network(error),
            WireError::Closed => Self::Network(io::ErrorKind::UnexpectedEof.into()),
            WireError::Frame(_) | WireError::TooMuch => Self::Protocol(error.to_string()),
        }
    }
}

impl From<ScramError> for ConnectError {
    fn from(error: ScramError) -> Self {
        Self::Scram(error)
    }
}

/// Where a route leads; made from a [`Route`] only.
#[derive(Debug, Clone)]
pub(super) struct Destination {
    pub(super) server: Arc<Server>,
    pub(super) database: DatabaseName,
}

impl Destination {
    pub(super) fn of(route: &Route) -> Self {
        Self { server: Arc::clone(route.server()), database: route.database().clone() }
    }
}

/// What dials share: TLS configurations and SCRAM keys, so that a new backend costs neither a file nor PBKDF2.
#[derive(Debug, Default)]
pub(super) struct Dialler {
    tls: Configurations,
    keys: login::KeyCache,
}

impl Dialler {
    /// Dials, logs in, and waits until the server is ready, all within `limit`. Tells `answered` when the server has
    /// said something.
    pub(super) async fn connect(
        &self,
        to: &Destination,
        settings: &Settings,
        (limit, answered): (Duration, &AtomicBool),
    ) -> Result<Backend, ConnectError> {
        let dial = Box::pin(self.dial(to, settings, answered));
        tokio::time::timeout(limit, dial).await.unwrap_or(Err(ConnectError::Timeout))
    }

    /// Roles whose keys are cached.
    #[cfg(test)]
    pub(super) fn keys_kept(&self) -> usize {
        self.keys.len()
    }

    async fn dial(
        &self,
        to: &Destination,
        settings: &Settings,
        answered: &AtomicBool,
    ) -> Result<Backend, ConnectError> {
        let tls = self.tls.of(&to.server).map_err(ConnectError::TlsSettings)?;
        let tcp = reach(&to.server).await?;
        let peer = tcp.peer_addr().map_err(ConnectError::Network)?;
        let (mut stream, binding) = secured(tcp, tls.as_ref()).await?;
        answered.store(stream.is_tls(), Ordering::Relaxed);
        let proofs = login::Proofs { keys: &self.keys, binding: &binding, answered };
        let ready = login::login(&mut stream, to, settings, proofs).await?;
        Ok(Backend {
            stream,
            target: Arc::new(Target::new(peer, tls, ready.key.clone())),
            key: ready.key,
            login: super::who(&ready.parameters).into(),
            parameters: ready.parameters,
            notices: ready.notices,
            dialled_at: Instant::now(),
            memory: super::memory::Memory::default(),
            settings: settings.clone(),
            home: std::thread::current().id(),
        })
    }
}

/// Opens a second connection to a server that was reached before, for a cancel request.
pub(super) async fn again(peer: SocketAddr, tls: Option<&ClientTls>) -> Result<Stream, ConnectError> {
    let tcp = tcp_connect(peer).await.map_err(ConnectError::Network)?;
    Ok(secured(tcp, tls).await?.0)
}

/// Tries the host's addresses one after the other.
async fn reach(server: &Server) -> Result<TcpStream, ConnectError> {
    let addresses = tokio::net::lookup_host((server.host.as_str(), server.port)).await;
    let mut last = io::Error::from(io::ErrorKind::AddrNotAvailable);
    for address in addresses.map_err(ConnectError::Network)? {
        match tcp_connect(address).await {
            Ok(tcp) => return Ok(tcp),
            Err(error) => last = error,
        }
    }
    Err(ConnectError::Network(last))
}

#[expect(clippy::disallowed_methods, reason = "this is the one place that dials; its callers limit the time")]
async fn tcp_connect(address: SocketAddr) -> io::Result<TcpStream> {
    let tcp = TcpStream::connect(address).await?;
    tcp.set_nodelay(true)?;
    let keepalive = socket2::TcpKeepalive::new()
        .with_time(Duration::from_secs(60))
        .with_interval(Duration::from_secs(10))
        .with_retries(6);
    socket2::SockRef::from(&tcp).set_tcp_keepalive(&keepalive)?;
    Ok(tcp)
}

/// Asks for TLS when it is demanded. The answer is one byte; whatever follows it before our hello was put there by
/// someone who cannot read what we encrypt.
async fn secured(mut tcp: TcpStream, tls: Option<&ClientTls>) -> Result<(Stream, Binding), ConnectError> {
    let Some(tls) = tls else { return Ok((Stream::Plain(tcp), Binding::None)) };
    let mut request = Vec::new();
    write::ssl_request(&mut request);
    tcp.write_all(&request).await.map_err(ConnectError::Network)?;
    match tcp.read_u8().await.map_err(ConnectError::Network)? {
        b'S' => {}
        b'N' => return Err(ConnectError::NoTls),
        b'E' => return Err(ConnectError::Protocol("SSLRequest was answered with an error".to_owned())),
        _ => return Err(ConnectError::Protocol("SSLRequest was answered with an unknown byte".to_owned())),
    }
    if !socket_is_silent(&tcp) {
        return Err(ConnectError::Protocol("bytes behind the answer to SSLRequest".to_owned()));
    }
    tls::handshake(tls, tcp).await.map_err(ConnectError::Tls)
}
