//! One direction of a relay: what was read and is not taken yet.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::AsyncWrite;

use crate::audit::Ticket;
use crate::protocol::walk::Walker;
use crate::stream::Stream;

use super::WHOLE_BYTES_MAX;
use crate::session::buffers;

/// One direction.
#[derive(Debug)]
pub(super) struct Half {
    pub(super) walker: Walker,
    /// Walked and not taken by the peer yet, from `written` on.
    pub(super) out: Vec<u8>,
    pub(super) written: usize,
    /// The beginning of a message whose rest has not come.
    pub(super) carry: Vec<u8>,
    /// `out` may go on once this is durable.
    pub(super) hold: Option<Ticket>,
    /// The peer has got whole messages only, so `out` that is held can be forgotten.
    pub(super) held_whole: bool,
    /// Bytes may lie in the peer's TLS layer.
    pub(super) unflushed: bool,
}

impl Half {
    pub(super) const fn new(limit_bytes: u32) -> Self {
        Self {
            walker: Walker::new(limit_bytes, WHOLE_BYTES_MAX),
            out: Vec::new(),
            written: 0,
            carry: Vec::new(),
            hold: None,
            held_whole: false,
            unflushed: false,
        }
    }

    /// Between two messages, with nothing kept.
    pub(super) const fn is_clear(&self) -> bool {
        self.walker.is_between() && self.out.is_empty() && self.carry.is_empty()
    }

    /// Passes on what is kept.
    pub(super) fn poll_drain(&mut self, cx: &mut Context<'_>, to: &mut Stream) -> Poll<io::Result<()>> {
        while let Some(rest) = self.out.get(self.written..).filter(|rest| !rest.is_empty()) {
            let bytes = ready!(Pin::new(&mut *to).poll_write(cx, rest))?;
            if bytes == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.written = self.written.saturating_add(bytes);
            self.unflushed = true;
        }
        if self.written > 0 {
            buffers::release(&mut self.out);
            self.written = 0;
        }
        if self.unflushed {
            ready!(Pin::new(to).poll_flush(cx))?;
            self.unflushed = false;
        }
        Poll::Ready(Ok(()))
    }

    /// Passes on `bytes` as far as the peer takes them and keeps the rest.
    pub(super) fn pass(&mut self, cx: &mut Context<'_>, to: &mut Stream, mut bytes: &[u8]) -> io::Result<()> {
        if self.hold.is_none() {
            while !bytes.is_empty() {
                match Pin::new(&mut *to).poll_write(cx, bytes) {
                    Poll::Ready(Ok(0)) => return Err(io::ErrorKind::WriteZero.into()),
                    Poll::Ready(Ok(count)) => bytes = bytes.get(count..).unwrap_or_default(),
                    Poll::Ready(Err(error)) => return Err(error),
                    Poll::Pending => break,
                }
                self.unflushed = true;
            }
        }
        if !bytes.is_empty() {
            buffers::keep(&mut self.out, bytes);
        } else if self.unflushed
            && let Poll::Ready(flushed) = Pin::new(to).poll_flush(cx)
        {
            flushed?;
            self.unflushed = false;
        }
        Ok(())
    }
}
