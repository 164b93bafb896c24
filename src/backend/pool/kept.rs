//! A backend with what it needs to lie idle and to change its session.

use std::io;
use std::pin::Pin;
use std::task::{Context, Waker};
use std::thread::ThreadId;
use std::time::{Duration, Instant};

use tokio::io::{AsyncWrite as _, Interest};
use tokio::net::TcpStream;

use crate::backend::Backend;
use crate::backend::memory::{Carried, Claim, Sequences};
use crate::backend::wire::{is_silent, socket_is_silent};
use crate::protocol::write;
use crate::stream::Stream;
use crate::telemetry::live::Held;

thread_local! {
    /// Asking the thread itself costs a reference count.
    static HERE: ThreadId = std::thread::current().id();
}

/// So long an idle backend is kept from a customer that has as many.
pub(super) const SPARED: Duration = Duration::from_millis(500);

/// A backend in a lease or on a shelf.
pub(super) struct Kept {
    pub(super) backend: Backend,
    /// Since when it lies idle.
    pub(super) idle_since: Instant,
    /// A `Terminate` can be sent: nothing is half written.
    pub(super) in_step: bool,
    /// Its place on the board.
    pub(super) held: Held,
}

impl Kept {
    pub(super) fn new(backend: Backend, held: Held) -> Box<Self> {
        Box::new(Self { idle_since: backend.dialled_at, backend, in_step: false, held })
    }

    /// Whether it was in use a moment ago.
    pub(super) fn is_warm(&self) -> bool {
        self.idle_since.elapsed() < SPARED
    }

    /// How well it fits a session on this thread: the session's sequences have their last values there, its socket need
    /// not move, its settings need not change.
    pub(super) fn score(&self, want: &Carried, own: Option<Claim>) -> u8 {
        let memory = &self.backend.memory;
        if own.is_some_and(|claim| memory.sequences == Sequences::Of(claim)) {
            return u8::MAX;
        }
        let is_here = HERE.with(|here| *here == self.backend.home);
        match (is_here, memory.settings == *want) {
            (true, true) => own.map_or(u8::MAX, |_| 3),
            (true, false) => 2,
            (false, true) => 1,
            (false, false) => 0,
        }
    }

    /// Readies an idle backend for its next session; false when it is dead or has said something unasked.
    pub(super) fn wake(&mut self) -> bool {
        self.in_step = false;
        if HERE.with(|here| *here == self.backend.home) {
            return self.seems_silent();
        }
        socket_is_silent(self.backend.stream.tcp()) && self.backend.come_home().is_ok()
    }

    /// What arrived up to the runtime's last look at its sockets is seen. The kernel itself is asked only when there
    /// is a reason, because in transaction pooling this is said before every transaction. What arrives later meets
    /// the session, as it may at any moment.
    fn seems_silent(&mut self) -> bool {
        let tcp = self.backend.stream.tcp();
        let looked = tcp.try_io(Interest::READABLE, || {
            let mut byte = [std::mem::MaybeUninit::uninit(); 1];
            socket2::SockRef::from(tcp).peek(&mut byte)
        });
        let is_quiet = matches!(looked, Err(error) if error.kind() == io::ErrorKind::WouldBlock);
        is_quiet && (!self.backend.stream.is_tls() || is_silent(&mut self.backend.stream))
    }
}

impl Drop for Kept {
    fn drop(&mut self) {
        if self.in_step {
            self.backend.terminate();
        }
    }
}

impl Backend {
    /// Moves the socket to this thread's runtime when it is registered at another's: a session must not depend on
    /// a thread it does not run on.
    fn come_home(&mut self) -> io::Result<()> {
        let tcp = match &mut self.stream {
            Stream::Plain(tcp) => tcp,
            Stream::Tls(tls) => tls.get_mut().0,
        };
        let again = std::net::TcpStream::from(std::os::fd::AsFd::as_fd(tcp).try_clone_to_owned()?);
        *tcp = TcpStream::from_std(again)?;
        self.home = HERE.with(|here| *here);
        Ok(())
    }

    /// Says good-bye if the socket takes it at once.
    fn terminate(&mut self) {
        let mut message = Vec::new();
        write::terminate(&mut message);
        let mut context = Context::from_waker(Waker::noop());
        let _ = Pin::new(&mut self.stream).poll_write(&mut context, &message);
        let _ = Pin::new(&mut self.stream).poll_flush(&mut context);
    }
}
