//! Where idle backends of one kind lie: a bb8 pool that keeps them and closes the old ones.
//!
//! What always holds: a shelf exists while a lease or an idle backend refers to it, and then vanishes by itself, so
//! that nothing ever walks all of them; what is taken off it is not reusable until it has been scrubbed again.

use std::io;
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex, Weak};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bb8::{ManageConnection, PooledConnection, QueueStrategy};
use tokio::io::AsyncWrite as _;
use tokio::net::TcpStream;

use super::{Kind, PoolScope, Shelves};
use crate::backend::limits::{Permit, lock};
use crate::backend::wire::socket_is_silent;
use crate::backend::{Backend, ParameterMap, Settings};
use crate::config::Config;
use crate::protocol::write;
use crate::stream::Stream;

/// One kind's idle backends.
pub(super) struct Shelf {
    id: u64,
    kind: Kind,
    scopes: [Arc<PoolScope>; 3],
    shelves: Weak<Shelves>,
    pool: bb8::Pool<Keeper>,
    /// What the last backend reported; equal ones share its memory.
    parameters: Mutex<ParameterMap>,
}

impl Shelf {
    pub(super) fn new(
        id: u64,
        kind: Kind,
        scopes: [Arc<PoolScope>; 3],
        (shelves, config): (Weak<Shelves>, &Config),
    ) -> Arc<Self> {
        let idle = Duration::from_millis(config.pool.idle_timeout_ms.max(1));
        let lifetime = Duration::from_millis(config.pool.lifetime_ms.max(1));
        let builder = bb8::Pool::builder()
            .max_size(1 << 20)
            .test_on_check_out(false)
            .retry_connection(false)
            .queue_strategy(QueueStrategy::Lifo)
            .reaper_rate((idle / 2).clamp(Duration::from_millis(10), Duration::from_secs(10)));
        let builder = if kind.fresh {
            builder.idle_timeout(None).max_lifetime(None)
        } else {
            builder.idle_timeout(Some(idle)).max_lifetime(Some(lifetime))
        };
        let pool = builder.build_unchecked(Keeper);
        Arc::new(Self { id, kind, scopes, shelves, pool, parameters: Mutex::default() })
    }

    pub(super) const fn scopes(&self) -> &[Arc<PoolScope>; 3] {
        &self.scopes
    }

    pub(super) const fn settings(&self) -> &Settings {
        &self.kind.settings
    }

    /// What the last backend reported, if there was one.
    pub(super) fn parameters(&self) -> Option<ParameterMap> {
        let parameters = lock(&self.parameters);
        (*parameters != ParameterMap::default()).then(|| parameters.clone())
    }

    pub(super) const fn is_fresh(&self) -> bool {
        self.kind.fresh
    }

    /// Lays down a backend that was just dialled.
    pub(super) fn put(&self, mut kept: Kept) {
        let mut last = lock(&self.parameters);
        kept.backend.parameters.share(&last);
        *last = kept.backend.parameters.clone();
        drop(last);
        // Past a million backends of one kind it is simply closed.
        drop(self.pool.add(kept));
    }

    /// The backend laid down last, if there is one; never waits.
    pub(super) fn take(self: &Arc<Self>) -> Option<PooledConnection<'static, Keeper>> {
        let mut taken = None;
        if self.idle_count() > 0 {
            let mut context = Context::from_waker(Waker::noop());
            if let Poll::Ready(Ok(kept)) = pin!(self.pool.get_owned()).poll(&mut context) {
                taken = Some(kept);
            }
        }
        if let Some(kept) = &mut taken {
            kept.reusable = false;
        }
        if self.idle_count() == 0 {
            self.scopes.iter().for_each(|scope| scope.remove_idle(self.id));
            // One may have been laid down in between.
            self.has_idle();
        }
        taken
    }

    /// Tells those who wait for a slot where an idle backend is.
    pub(super) fn has_idle(self: &Arc<Self>) {
        if self.idle_count() > 0 {
            self.scopes.iter().for_each(|scope| scope.add_idle(self.id, Arc::downgrade(self)));
        }
    }

    fn idle_count(&self) -> u32 {
        self.pool.state().idle_connections
    }
}

impl Drop for Shelf {
    fn drop(&mut self) {
        self.scopes.iter().for_each(|scope| scope.remove_idle(self.id));
        if let Some(shelves) = self.shelves.upgrade() {
            shelves.remove_if(&self.kind, |_, shelf| shelf.strong_count() == 0);
        }
    }
}

/// A backend with what it owes to the limits.
pub(super) struct Kept {
    pub(super) backend: Backend,
    /// May be leased again: scrubbed, or never used.
    reusable: bool,
    /// A `Terminate` can be sent: nothing is half written.
    in_step: bool,
    used: bool,
    _slots: Vec<Permit>,
    /// Keeps the shelf alive while something lies on it.
    _shelf: Arc<Shelf>,
}

impl Kept {
    pub(super) const fn new(backend: Backend, slots: Vec<Permit>, shelf: Arc<Shelf>) -> Self {
        Self { backend, reusable: true, in_step: true, used: false, _slots: slots, _shelf: shelf }
    }

    /// Readies an idle backend for its next session; false when it is dead, too old, or has said something unasked.
    pub(super) fn wake(&mut self, config: &Config) -> bool {
        let lifetime = Duration::from_millis(config.pool.lifetime_ms);
        if self.used && self.backend.dialled_at.elapsed() >= lifetime {
            return false;
        }
        self.in_step = false;
        socket_is_silent(self.backend.stream.tcp()) && self.backend.come_home().is_ok()
    }

    /// Whether a session has had it.
    pub(super) const fn is_used(&self) -> bool {
        self.used
    }

    /// It is as good as new.
    pub(super) const fn rest(&mut self) {
        self.reusable = true;
        self.in_step = true;
        self.used = true;
    }

    /// It ends in good order.
    pub(super) const fn part(&mut self) {
        self.reusable = false;
        self.in_step = true;
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
        let here = std::thread::current().id();
        if self.home != here {
            let tcp = match &mut self.stream {
                Stream::Plain(tcp) => tcp,
                Stream::Tls(tls) => tls.get_mut().0,
            };
            let again = std::net::TcpStream::from(std::os::fd::AsFd::as_fd(tcp).try_clone_to_owned()?);
            *tcp = TcpStream::from_std(again)?;
            self.home = here;
        }
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

/// bb8's view of a backend: keep it when it is reusable.
#[derive(Debug)]
pub(super) struct Keeper;

/// bb8 is never asked to dial; should a race make it try, it is told no, and nobody waits for it.
#[derive(Debug)]
pub(super) struct NeverDials;

impl ManageConnection for Keeper {
    type Connection = Kept;
    type Error = NeverDials;

    async fn connect(&self) -> Result<Kept, NeverDials> {
        Err(NeverDials)
    }

    async fn is_valid(&self, _: &mut Kept) -> Result<(), NeverDials> {
        Ok(())
    }

    fn has_broken(&self, kept: &mut Kept) -> bool {
        !kept.reusable
    }
}
