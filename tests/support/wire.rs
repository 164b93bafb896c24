//! A client of the bare protocol: it says what it is told to say, in any order, and keeps what it hears.

use std::collections::BTreeMap;
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpStream};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};

use super::messages;
use super::scram::{Client, sha256};
use super::transcript::Frame;

/// No answer takes longer, or the test fails.
const PATIENCE: Duration = Duration::from_secs(20);

pub(crate) const PROTOCOL_3_0: u32 = 196_608;
pub(crate) const PROTOCOL_3_2: u32 = 196_610;

enum Socket {
    Plain(TcpStream),
    Tls(Box<StreamOwned<ClientConnection, TcpStream>>),
}

/// What a client says to be let in.
#[derive(Debug, Clone)]
pub(crate) struct Login {
    pub(crate) user: String,
    pub(crate) password: String,
    pub(crate) database: String,
    /// Further startup parameters.
    pub(crate) settings: Vec<(String, String)>,
    pub(crate) version: u32,
    pub(crate) binding: Binding,
}

/// What a client says about channel binding.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Binding {
    /// `n`: it cannot.
    Never,
    /// As libpq's `prefer`: used when offered, else `y`.
    Prefer,
    /// `y` (the server did not offer it) whatever the server offered.
    Denied,
    /// Bound to a certificate that this server does not have.
    Wrong,
}

impl Login {
    pub(crate) fn new(user: &str, password: &str, database: &str) -> Self {
        Self {
            user: user.to_owned(),
            password: password.to_owned(),
            database: database.to_owned(),
            settings: Vec::new(),
            version: PROTOCOL_3_0,
            binding: Binding::Prefer,
        }
    }

    pub(crate) fn with(mut self, name: &str, value: &str) -> Self {
        self.settings.push((name.to_owned(), value.to_owned()));
        self
    }

    /// The startup message.
    pub(crate) fn startup(&self) -> Vec<u8> {
        let mut parameters = vec![("user", self.user.as_str()), ("database", self.database.as_str())];
        parameters.extend(self.settings.iter().map(|(name, value)| (name.as_str(), value.as_str())));
        messages::startup(self.version, &parameters)
    }
}

/// One connection.
pub(crate) struct Wire {
    socket: Socket,
    unread: Vec<u8>,
    /// As the server reported it last.
    pub(crate) parameters: BTreeMap<String, String>,
    /// Process id and secret of `BackendKeyData`.
    pub(crate) key: (i32, Vec<u8>),
    /// All that was heard between the login and its `ReadyForQuery`.
    pub(crate) greeting: Vec<Frame>,
}

fn dial(port: u16) -> TcpStream {
    try_dial(port).unwrap()
}

fn try_dial(port: u16) -> io::Result<TcpStream> {
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let tcp = TcpStream::connect_timeout(&address, PATIENCE)?;
    tcp.set_nodelay(true)?;
    tcp.set_read_timeout(Some(PATIENCE))?;
    tcp.set_write_timeout(Some(PATIENCE))?;
    Ok(tcp)
}

impl Wire {
    fn over(socket: Socket) -> Self {
        Self {
            socket,
            unread: Vec::new(),
            parameters: BTreeMap::new(),
            key: (0, Vec::new()),
            greeting: Vec::new(),
        }
    }

    /// Connects and says nothing.
    pub(crate) fn plain(port: u16) -> Self {
        Self::over(Socket::Plain(dial(port)))
    }

    /// The same where the listener may be closing.
    pub(crate) fn try_plain(port: u16) -> io::Result<Self> {
        Ok(Self::over(Socket::Plain(try_dial(port)?)))
    }

    /// Asks for TLS, then shakes hands with the server whose certificate is good for `host` by the authority in `ca`.
    pub(crate) fn tls(port: u16, host: &str, ca: &Path) -> io::Result<Self> {
        let mut tcp = dial(port);
        tcp.write_all(&messages::ssl_request())?;
        let mut answer = [0];
        tcp.read_exact(&mut answer)?;
        assert_eq!(answer, *b"S", "the server does not speak TLS");
        Self::handshake(tcp, host, ca, &[])
    }

    /// Begins with the handshake (PostgreSQL 17's `sslnegotiation=direct`).
    pub(crate) fn direct_tls(port: u16, host: &str, ca: &Path, alpn: &[&str]) -> io::Result<Self> {
        Self::handshake(dial(port), host, ca, alpn)
    }

    fn handshake(mut tcp: TcpStream, host: &str, ca: &Path, alpn: &[&str]) -> io::Result<Self> {
        let mut roots = RootCertStore::empty();
        for certificate in CertificateDer::pem_file_iter(ca).unwrap() {
            roots.add(certificate.unwrap()).unwrap();
        }
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let versions =
            ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
        let mut config = versions.with_root_certificates(roots).with_no_client_auth();
        config.alpn_protocols = alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
        let name = ServerName::try_from(host.to_owned()).unwrap();
        let mut connection = ClientConnection::new(Arc::new(config), name).unwrap();
        while connection.is_handshaking() {
            connection.complete_io(&mut tcp)?;
        }
        Ok(Self::over(Socket::Tls(Box::new(StreamOwned::new(connection, tcp)))))
    }

    pub(crate) fn send(&mut self, bytes: &[u8]) {
        self.try_send(bytes).unwrap();
    }

    pub(crate) fn try_send(&mut self, bytes: &[u8]) -> io::Result<()> {
        match &mut self.socket {
            Socket::Plain(tcp) => tcp.write_all(bytes),
            Socket::Tls(tls) => tls.write_all(bytes).and_then(|()| tls.flush()),
        }
    }

    /// The socket below, for what only sockets can do.
    pub(crate) fn tcp(&self) -> &TcpStream {
        match &self.socket {
            Socket::Plain(tcp) => tcp,
            Socket::Tls(tls) => &tls.sock,
        }
    }

    /// Leaves without a word: the peer sees the end of the stream.
    pub(crate) fn vanish(&mut self) {
        let _ = self.tcp().shutdown(Shutdown::Both);
    }

    /// Some bytes more; 0 at the end of the stream, however it ended.
    fn fill(&mut self) -> io::Result<usize> {
        let mut chunk = [0; 16 * 1024];
        let read = match &mut self.socket {
            Socket::Plain(tcp) => tcp.read(&mut chunk),
            Socket::Tls(tls) => tls.read(&mut chunk),
        };
        let bytes = match read {
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => {
                return Err(error);
            }
            other => other.unwrap_or(0),
        };
        self.unread.extend_from_slice(&chunk[..bytes]);
        Ok(bytes)
    }

    /// Exactly these many bytes without regard to messages; fewer at the end of the stream.
    pub(crate) fn bytes(&mut self, wanted: usize) -> Vec<u8> {
        while self.unread.len() < wanted && self.fill().expect("an answer in time") > 0 {}
        self.unread.drain(..wanted.min(self.unread.len())).collect()
    }

    /// The next message; nothing at the end of the stream.
    pub(crate) fn frame(&mut self) -> Option<Frame> {
        self.frame_in_time().expect("an answer in time")
    }

    fn frame_in_time(&mut self) -> io::Result<Option<Frame>> {
        loop {
            if let Some((&[tag, a, b, c, d], _)) = self.unread.split_first_chunk::<5>() {
                let total = usize::try_from(u32::from_be_bytes([a, b, c, d])).unwrap() + 1;
                if self.unread.len() >= total {
                    let raw: Vec<u8> = self.unread.drain(..total).collect();
                    return Ok(Some(Frame { tag, body: raw[5..].to_vec() }));
                }
            }
            if self.fill()? == 0 {
                return Ok(None);
            }
        }
    }

    /// Messages up to and with the one that fits, or up to the end of the stream.
    pub(crate) fn until(&mut self, last: impl Fn(&Frame) -> bool) -> Vec<Frame> {
        let mut frames = Vec::new();
        while let Some(frame) = self.frame() {
            if frame.tag == b'S' {
                let (name, value) = frame.pair();
                self.parameters.insert(name, value);
            }
            frames.push(frame);
            if last(&frames[frames.len() - 1]) {
                break;
            }
        }
        frames
    }

    /// Messages up to and with `ReadyForQuery`.
    pub(crate) fn until_ready(&mut self) -> Vec<Frame> {
        self.until(|frame| frame.tag == b'Z')
    }

    /// Everything up to the end of the stream.
    pub(crate) fn rest(&mut self) -> Vec<Frame> {
        self.until(|_| false)
    }

    /// Whatever arrives before `wait` has passed without a byte.
    pub(crate) fn within(&mut self, wait: Duration) -> Vec<Frame> {
        self.tcp().set_read_timeout(Some(wait)).unwrap();
        let mut frames = Vec::new();
        while let Ok(Some(frame)) = self.frame_in_time() {
            frames.push(frame);
        }
        self.tcp().set_read_timeout(Some(PATIENCE)).unwrap();
        frames
    }

    /// Says something and listens to the next `ReadyForQuery`.
    pub(crate) fn talk(&mut self, bytes: &[u8]) -> Vec<Frame> {
        self.send(bytes);
        self.until_ready()
    }

    /// Runs SQL that must not fail, and answers its rows.
    pub(crate) fn rows(&mut self, sql: &str) -> Vec<Vec<Option<String>>> {
        let frames = self.talk(&messages::query(sql));
        if let Some(error) = frames.iter().find(|frame| frame.is_error()) {
            panic!("{sql}: {}", error.line());
        }
        assert_eq!(frames.last().map(|frame| frame.tag), Some(b'Z'), "the connection ended during {sql}");
        frames.iter().filter(|frame| frame.tag == b'D').map(Frame::values).collect()
    }

    /// The one value that SQL answers.
    pub(crate) fn value(&mut self, sql: &str) -> String {
        self.rows(sql).concat().pop().flatten().unwrap_or_default()
    }

    /// The SQLSTATE that SQL fails with; empty when it does not.
    pub(crate) fn sqlstate(&mut self, sql: &str) -> String {
        let frames = self.talk(&messages::query(sql));
        frames.iter().find(|frame| frame.is_error()).map(|frame| frame.field('C')).unwrap_or_default()
    }

    /// Logs in. The error is the server's, or a made-up one without a SQLSTATE when the connection just ended.
    pub(crate) fn login(&mut self, login: &Login) -> Result<(), Frame> {
        self.say(&login.startup());
        self.authenticate(login)?;
        let frames = self.until(|frame| frame.tag == b'Z' || frame.is_error());
        for frame in &frames {
            if frame.tag == b'K' {
                self.key = (i32::try_from(frame.number()).unwrap(), frame.body[4..].to_vec());
            }
        }
        let last =
            frames.last().cloned().ok_or_else(|| Frame { tag: b'E', body: b"Mend of stream\0".to_vec() })?;
        self.greeting = frames;
        if last.is_error() { Err(last) } else { Ok(()) }
    }

    /// Whether the server still listens shows in its answer.
    fn say(&mut self, bytes: &[u8]) {
        let _ = self.try_send(bytes);
    }

    fn authenticate(&mut self, login: &Login) -> Result<(), Frame> {
        let mut scram: Option<Client> = None;
        loop {
            let frame =
                self.frame().ok_or_else(|| Frame { tag: b'E', body: b"Mend of stream\0".to_vec() })?;
            let kind = if frame.tag == b'R' { frame.number() } else { -1 };
            let said = String::from_utf8_lossy(frame.body.get(4..).unwrap_or_default()).into_owned();
            match (kind, &mut scram) {
                (0, _) => return Ok(()),
                (3, _) => self.say(&messages::message(b'p', &messages::cstr(&login.password))),
                (10, _) => scram = Some(self.begin_scram(login, &said)),
                (11, Some(client)) => {
                    let last = client.last(&said);
                    self.say(&messages::message(b'p', last.as_bytes()));
                }
                (12, Some(client)) => assert!(client.server_is_proven(&said), "the server is not proven"),
                _ if frame.is_error() => return Err(frame),
                _ if frame.tag == b'v' => {}
                _ => panic!("unexpected during the login: {}", frame.line()),
            }
        }
    }

    fn begin_scram(&mut self, login: &Login, offered: &str) -> Client {
        let plus = offered.split('\0').any(|name| name == "SCRAM-SHA-256-PLUS");
        let hash = self.certificate().map(|certificate| sha256(&certificate));
        let (mechanism, gs2, bound) = match (login.binding, &hash) {
            (Binding::Prefer, Some(hash)) if plus => {
                ("SCRAM-SHA-256-PLUS", "p=tls-server-end-point,,", hash.clone())
            }
            (Binding::Wrong, _) => ("SCRAM-SHA-256-PLUS", "p=tls-server-end-point,,", vec![7; 32]),
            (Binding::Denied, _) | (Binding::Prefer, Some(_)) => ("SCRAM-SHA-256", "y,,", Vec::new()),
            (Binding::Never | Binding::Prefer, _) => ("SCRAM-SHA-256", "n,,", Vec::new()),
        };
        let client = Client::new(&login.password, gs2, &bound);
        let first = client.first();
        let body =
            [&messages::cstr(mechanism), &messages::length(first.len())[..], first.as_bytes()].concat();
        self.say(&messages::message(b'p', &body));
        client
    }

    /// The certificate that the server showed.
    pub(crate) fn certificate(&self) -> Option<Vec<u8>> {
        match &self.socket {
            Socket::Plain(_) => None,
            Socket::Tls(tls) => tls.conn.peer_certificates()?.first().map(|certificate| certificate.to_vec()),
        }
    }
}
