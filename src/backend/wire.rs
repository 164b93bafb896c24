//! Messages one at a time, while OneVault itself talks to a server: logins and scrubs.
//!
//! What always holds: the whole conversation has a budget in bytes, a message at most 64 KiB where nothing else is said; a
//! server cannot make us keep more. Time is limited by whoever waits.

use std::fmt;
use std::io;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::protocol::frame::{self, FrameError, LOGIN_BYTES_MAX, Split};
use crate::stream::Stream;

/// One conversation. When it ends, [`Conversation::is_empty`] tells whether the server said more than was asked.
pub(super) struct Conversation<'a> {
    stream: &'a mut Stream,
    buffer: Vec<u8>,
    budget_bytes: usize,
    message_bytes_max: u32,
}

/// One message as it came.
pub(super) struct Message {
    pub(super) tag: u8,
    pub(super) raw: Vec<u8>,
}

impl Message {
    /// What follows the header.
    pub(super) fn body(&self) -> &[u8] {
        self.raw.get(frame::HEADER_BYTES..).unwrap_or_default()
    }
}

/// Why a conversation ended early.
#[derive(Debug)]
pub(super) enum WireError {
    Io(io::Error),
    Closed,
    Frame(FrameError),
    TooMuch,
}

impl fmt::Display for WireError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io(error) => write!(f, "{error}"),
            Self::Closed => f.write_str("server closed the connection"),
            Self::Frame(error) => write!(f, "{error}"),
            Self::TooMuch => f.write_str("server sent more than is allowed here"),
        }
    }
}

impl From<io::Error> for WireError {
    fn from(error: io::Error) -> Self {
        if error.kind() == io::ErrorKind::UnexpectedEof { Self::Closed } else { Self::Io(error) }
    }
}

impl<'a> Conversation<'a> {
    /// Starts a conversation in which the server may say at most `budget_bytes`.
    pub(super) const fn new(stream: &'a mut Stream, budget_bytes: usize) -> Self {
        Self { stream, buffer: Vec::new(), budget_bytes, message_bytes_max: LOGIN_BYTES_MAX }
    }

    /// The same, where one message may be so large.
    pub(super) fn with_messages_of(self, message_bytes_max: u32) -> Self {
        Self { message_bytes_max, ..self }
    }

    pub(super) async fn send(&mut self, bytes: &[u8]) -> Result<(), WireError> {
        self.stream.write_all(bytes).await?;
        Ok(self.stream.flush().await?)
    }

    /// The next message.
    pub(super) async fn next(&mut self) -> Result<Message, WireError> {
        loop {
            if let Split::Whole(found, rest) =
                frame::split(&self.buffer, self.message_bytes_max).map_err(WireError::Frame)?
            {
                let (message, rest_bytes) = (Message { tag: found.tag, raw: found.raw.to_vec() }, rest.len());
                let taken = self.buffer.len().saturating_sub(rest_bytes);
                self.buffer.drain(..taken);
                return Ok(message);
            }
            self.buffer.reserve(1024);
            let count = self.stream.read_buf(&mut self.buffer).await?;
            if count == 0 {
                return Err(WireError::Closed);
            }
            self.budget_bytes = self.budget_bytes.checked_sub(count).ok_or(WireError::TooMuch)?;
        }
    }

    /// Whether more than the last message has been read: its bytes are nobody else's to read any more.
    pub(super) const fn has_more(&self) -> bool {
        !self.buffer.is_empty()
    }

    /// Whether the server has said nothing beyond the last message, as far as its bytes are here.
    pub(super) fn is_empty(&mut self) -> bool {
        self.buffer.is_empty() && is_silent(self.stream)
    }
}

/// Whether nothing can be read at this moment, neither from the socket nor out of the TLS layer; no waiting.
pub(super) fn is_silent(stream: &mut Stream) -> bool {
    if !socket_is_silent(stream.tcp()) {
        return false;
    }
    if !stream.is_tls() {
        return true;
    }
    let mut byte = [0; 1];
    let mut buffer = tokio::io::ReadBuf::new(&mut byte);
    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    tokio::io::AsyncRead::poll_read(std::pin::Pin::new(stream), &mut context, &mut buffer).is_pending()
}

/// Whether the kernel holds nothing for us: no byte, no end, no error. It asks the kernel itself, because the
/// runtime's readiness may be older than what has arrived.
pub(super) fn socket_is_silent(tcp: &TcpStream) -> bool {
    let mut byte = [std::mem::MaybeUninit::uninit(); 1];
    let peeked = socket2::SockRef::from(tcp).peek(&mut byte);
    matches!(peeked, Err(error) if error.kind() == io::ErrorKind::WouldBlock)
}
