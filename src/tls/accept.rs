//! The first packets of a connection: is it TLS, whose certificate is shown, and what does the client want?
//!
//! Always holds: a packet is read exactly, never a byte more, so nothing sent in clear text can lie in a
//! buffer when the handshake starts; at most one `SSLRequest` and one `GSSENCRequest` are answered; one
//! deadline covers everything. A client that may still be answered is told what is wrong.
//! Refuses to know customers and logins.
//!
//! Source: protocol-flow#PROTOCOL-FLOW-SSL, protocol-flow#PROTOCOL-FLOW-START-UP

use std::fmt;
use std::io;
use std::mem::MaybeUninit;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustls::ProtocolVersion;
use rustls::server::Acceptor;
use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{timeout, timeout_at};
use tokio_rustls::{LazyConfigAcceptor, TlsStream};

use super::certificates::{Certificates, Chosen};
use crate::ids::BackendKey;
use crate::protocol::report::Report;
use crate::protocol::sqlstate::SqlState;
use crate::protocol::startup::{self, Request, Startup, StartupError};
use crate::protocol::write;
use crate::stream::Stream;

/// The protocol's name in ALPN.
pub(super) const ALPN: &[u8] = b"postgresql";

/// First byte of a TLS handshake record; as a startup packet's length it would mean 352 MiB.
const TLS_HANDSHAKE: u8 = 0x16;
/// TLS alert: fatal, `no_application_protocol` (RFC 7301 section 3.3).
const NO_APPLICATION_PROTOCOL: [u8; 7] = [0x15, 3, 3, 0, 2, 2, 120];
/// TLS alert: fatal, `handshake_failure`.
const HANDSHAKE_FAILURE: [u8; 7] = [0x15, 3, 3, 0, 2, 2, 40];
/// How long a client that is sent away may take to read why.
const FAREWELL: Duration = Duration::from_secs(1);
/// Bytes of a client that is sent away that are read and forgotten, so that no reset overtakes the message.
const FAREWELL_BYTES_MAX: usize = 64 << 10;

/// Takes new connections as far as their startup packet.
#[derive(Debug)]
pub struct Greeter {
    certificates: Arc<Certificates>,
    plain_from_loopback: bool,
}

/// A connection whose first packet was read.
#[derive(Debug)]
pub struct Greeted {
    /// What comes next is the client's answer to what it is told.
    pub stream: Stream,
    /// What the client wants.
    pub request: First,
    /// The host name it asked for in TLS, lower case.
    pub sni: Option<String>,
    /// `tls-server-end-point` of the certificate it was shown.
    pub end_point: Option<Vec<u8>>,
    /// `TLSv1.2` or `TLSv1.3`; none without TLS.
    pub tls_version: Option<&'static str>,
}

/// What a client may want first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum First {
    /// A session.
    Startup(Startup),
    /// The end of another session's statement. It is never answered.
    Cancel(BackendKey),
}

/// Why there is no first packet. The client was told already, where it could be.
#[derive(Debug)]
pub enum GreetError {
    /// The client left.
    Closed,
    /// The deadline came first.
    Timeout,
    /// The client broke a rule and was sent this.
    Violation(Report),
    /// The handshake failed; TLS has told the client.
    Tls(String),
}

impl fmt::Display for GreetError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Closed => f.write_str("connection closed by client"),
            Self::Timeout => f.write_str("timeout before the startup packet"),
            Self::Violation(report) => report.fmt(f),
            Self::Tls(cause) => write!(f, "TLS handshake failed: {cause}"),
        }
    }
}

impl std::error::Error for GreetError {}

impl From<io::Error> for GreetError {
    fn from(_: io::Error) -> Self {
        Self::Closed
    }
}

impl From<StartupError> for GreetError {
    fn from(error: StartupError) -> Self {
        match error {
            StartupError::Version(version) => Self::Violation(Report::fatal(
                SqlState::FEATURE_NOT_SUPPORTED,
                format!(
                    "unsupported frontend protocol {}.{}: server supports 3.0 to 3.2",
                    version.major(),
                    version.minor()
                ),
            )),
            StartupError::Layout(message) => violation(message),
        }
    }
}

fn violation(message: &'static str) -> GreetError {
    GreetError::Violation(Report::fatal(SqlState::PROTOCOL_VIOLATION, message))
}

/// How the clear-text part of a greeting ended.
enum Clear {
    First(First),
    /// The next bytes are a TLS handshake; `direct` when nothing came before it.
    Tls {
        direct: bool,
    },
}

/// A finished handshake.
struct Encrypted {
    stream: Stream,
    sni: Option<String>,
    chosen: Arc<Chosen>,
    version: &'static str,
}

impl Greeter {
    /// `plain_from_loopback` lets clients from a loopback address do without TLS.
    #[must_use]
    pub const fn new(certificates: Arc<Certificates>, plain_from_loopback: bool) -> Self {
        Self { certificates, plain_from_loopback }
    }

    /// The certificates it shows.
    #[must_use]
    pub const fn certificates(&self) -> &Arc<Certificates> {
        &self.certificates
    }

    /// Reads as far as the first packet that wants something, through TLS where the client asks for it.
    ///
    /// # Errors
    /// [`GreetError`]; 08P01, 0A000 and 28000 were sent to the client already.
    pub async fn greet(
        &self,
        mut tcp: TcpStream,
        peer: SocketAddr,
        deadline: Instant,
    ) -> Result<Greeted, GreetError> {
        let clear =
            timeout_at(deadline.into(), self.clear(&mut tcp, peer)).await.unwrap_or(Err(GreetError::Timeout));
        let direct = match clear {
            Ok(Clear::First(request)) => return Ok(Greeted::plain(tcp, request)),
            Ok(Clear::Tls { direct }) => direct,
            Err(error) => return Err(sent_away(&mut tcp, error, deadline).await),
        };
        let handshake = timeout_at(deadline.into(), self.handshake(tcp, direct)).await;
        let mut encrypted = handshake.unwrap_or(Err(GreetError::Timeout))?;
        let first = timeout_at(deadline.into(), first_inside(&mut encrypted.stream)).await;
        match first.unwrap_or(Err(GreetError::Timeout)) {
            Ok(request) => Ok(Greeted::encrypted(encrypted, request)),
            Err(error) => Err(sent_away(&mut encrypted.stream, error, deadline).await),
        }
    }

    /// Everything before TLS, or all of it where the client does without.
    async fn clear(&self, tcp: &mut TcpStream, peer: SocketAddr) -> Result<Clear, GreetError> {
        let mut byte = [0];
        if tcp.peek(&mut byte).await? == 0 {
            return Err(GreetError::Closed);
        }
        if byte == [TLS_HANDSHAKE] {
            return Ok(Clear::Tls { direct: true });
        }
        let (mut ssl_asked, mut gss_asked) = (false, false);
        loop {
            match read_request(tcp).await? {
                Request::Ssl if ssl_asked => return Err(violation("SSLRequest was sent twice")),
                Request::Ssl => {
                    ssl_asked = true;
                    nothing_behind(tcp, "received unencrypted data after SSL request")?;
                    if self.certificates.any() {
                        tcp.write_all(b"S").await?;
                        return Ok(Clear::Tls { direct: false });
                    }
                    tcp.write_all(b"N").await?;
                }
                Request::GssEnc if gss_asked => return Err(violation("GSSENCRequest was sent twice")),
                Request::GssEnc => {
                    gss_asked = true;
                    nothing_behind(tcp, "received unencrypted data after GSSAPI encryption request")?;
                    tcp.write_all(b"N").await?;
                }
                Request::Cancel(key) => return Ok(Clear::First(First::Cancel(key))),
                Request::Startup(startup) => {
                    if self.plain_from_loopback && peer.ip().to_canonical().is_loopback() {
                        return Ok(Clear::First(First::Startup(startup)));
                    }
                    return Err(GreetError::Violation(
                        Report::fatal(SqlState::INVALID_AUTHORIZATION, "connection requires TLS")
                            .hint("Connect with sslmode=require or stronger."),
                    ));
                }
            }
        }
    }

    /// The handshake, with the certificate chosen by the host name in the client's hello.
    async fn handshake(&self, tcp: TcpStream, direct: bool) -> Result<Encrypted, GreetError> {
        let hello = LazyConfigAcceptor::new(Acceptor::default(), tcp);
        let mut hello = hello.await.map_err(|error| GreetError::Tls(error.to_string()))?;
        let sni = hello.client_hello().server_name().map(str::to_ascii_lowercase);
        let alpn_given = hello.client_hello().alpn().is_some();
        if direct && !alpn_given {
            hello.io.write_all(&NO_APPLICATION_PROTOCOL).await?;
            return Err(GreetError::Tls("direct TLS without ALPN".into()));
        }
        let Some(chosen) = self.certificates.choose(sni.as_deref()) else {
            hello.io.write_all(&HANDSHAKE_FAILURE).await?;
            return Err(GreetError::Tls("no certificate is configured".into()));
        };
        // A protocol in ALPN that is not ours is refused by rustls: the configuration names the only one.
        let stream = hello.into_stream(Arc::clone(&chosen.config)).await;
        let stream = stream.map_err(|error| GreetError::Tls(error.to_string()))?;
        let old = stream.get_ref().1.protocol_version() == Some(ProtocolVersion::TLSv1_2);
        let version = if old { "TLSv1.2" } else { "TLSv1.3" };
        let stream = Stream::Tls(Box::new(TlsStream::Server(stream)));
        Ok(Encrypted { stream, sni, chosen, version })
    }
}

impl Greeted {
    fn plain(tcp: TcpStream, request: First) -> Self {
        Self { stream: Stream::Plain(tcp), request, sni: None, end_point: None, tls_version: None }
    }

    fn encrypted(encrypted: Encrypted, request: First) -> Self {
        let Encrypted { stream, sni, chosen, version } = encrypted;
        Self { stream, request, sni, end_point: chosen.end_point.clone(), tls_version: Some(version) }
    }
}

/// Sends a client its last message and closes in an orderly way: what the client had sent already is read and
/// forgotten, or a reset could overtake the message. Takes a second at most, and never longer than `deadline`.
pub async fn farewell<S>(stream: &mut S, report: &Report, deadline: Instant)
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let mut out = Vec::new();
    write::error_response(&mut out, report);
    let leave = async {
        stream.write_all(&out).await?;
        stream.flush().await?;
        stream.shutdown().await?;
        let (mut forgotten, mut left) = ([0; 1024], FAREWELL_BYTES_MAX);
        while left > 0 {
            match stream.read(&mut forgotten).await? {
                0 => break,
                bytes => left = left.saturating_sub(bytes),
            }
        }
        io::Result::Ok(())
    };
    // Whatever happens here, the connection ends.
    let _ = timeout(FAREWELL.min(deadline.saturating_duration_since(Instant::now())), leave).await;
}

/// Tells the client about its violation and gives the error back.
async fn sent_away<S>(stream: &mut S, error: GreetError, deadline: Instant) -> GreetError
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    if let GreetError::Violation(report) = &error {
        farewell(stream, report, deadline).await;
    }
    error
}

/// The first packet inside TLS; encryption cannot be asked for again.
async fn first_inside(stream: &mut Stream) -> Result<First, GreetError> {
    match read_request(stream).await? {
        Request::Ssl => Err(violation("SSLRequest was sent inside TLS")),
        Request::GssEnc => Err(violation("GSSENCRequest was sent inside TLS")),
        Request::Cancel(key) => Ok(First::Cancel(key)),
        Request::Startup(startup) => Ok(First::Startup(startup)),
    }
}

/// Reads one packet and not a byte more; its length is checked before anything is allocated for it.
async fn read_request<S: AsyncRead + Unpin>(stream: &mut S) -> Result<Request, GreetError> {
    let mut length = [0; 4];
    stream.read_exact(&mut length).await?;
    let mut packet = vec![0; startup::packet_bytes(length)?];
    if let Some((head, body)) = packet.split_first_chunk_mut::<4>() {
        *head = length;
        stream.read_exact(body).await?;
    }
    Ok(startup::parse(&packet)?)
}

/// Fails when the client sent on before it was answered: what it sent was not protected, and would be taken
/// for protected once TLS is up.
fn nothing_behind(tcp: &TcpStream, message: &'static str) -> Result<(), GreetError> {
    match SockRef::from(tcp).peek(&mut [MaybeUninit::uninit()]) {
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(()),
        Ok(0) | Err(_) => Err(GreetError::Closed),
        Ok(_) => Err(GreetError::Violation(Report::fatal(SqlState::PROTOCOL_VIOLATION, message).detail(
            "What is sent before the TLS handshake is not protected; somebody between may have put it there.",
        ))),
    }
}
