//! Cancel requests: from a key of ours to the one backend that its session holds.
//!
//! What always holds: a key is drawn at random and compared in constant time; an unknown one causes no work at any
//! server; a cancel reaches its server only while the session it was meant for still holds the backend, and the
//! backend goes to nobody else until the server has closed the cancel's connection.
//! This room knows nothing of statements: a cancel that comes late stops the session's next one, as it does directly.
//!
//! Source: protocol-flow#PROTOCOL-FLOW-CANCELING-REQUESTS

use std::collections::HashMap;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use aws_lc_rs::{constant_time, rand};
use dashmap::DashMap;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::sync::{Semaphore, SemaphorePermit};

use super::Backend;
use super::connect::{self, ConnectError};
use super::limits::lock;
use super::tls::ClientTls;
use crate::ids::{BackendKey, SessionId};
use crate::protocol::write;

mod reserved;

use reserved::Binding;
pub use reserved::Reserved;

/// From dialling to the server's close.
const CANCEL_TIMEOUT: Duration = Duration::from_secs(5);
/// Requests for one backend that are under way or wait for their turn; more are the same wish said again.
const REQUESTS_PER_BACKEND_MAX: usize = 2;

/// What became of a cancel request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CancelOutcome {
    /// No session has this key: nothing was done.
    Unknown,
    /// The server took the request for this session's backend and closed the connection; or the session, which was
    /// waiting for one, was told.
    Delivered(SessionId),
    /// The same request waits already, or the session no longer holds the backend, or too many are under way.
    Dropped(SessionId),
    /// The server could not be reached or did not answer in time.
    Failed(SessionId),
}

/// Where a backend's cancel requests go, and whether they may. One for each backend, for its whole life.
#[derive(Debug)]
pub(super) struct Target {
    peer: SocketAddr,
    tls: Option<ClientTls>,
    key: BackendKey,
    lease: Mutex<LeaseState>,
    /// One request at a time; who ends a lease waits here too.
    turn: Semaphore,
    asked: AtomicUsize,
    /// A request was given up while the server may still act on it: the backend must not be used again.
    uncertain: AtomicBool,
}

#[derive(Debug, Default)]
struct LeaseState {
    number: u64,
    open: bool,
}

impl Target {
    pub(super) fn new(peer: SocketAddr, tls: Option<ClientTls>, key: BackendKey) -> Self {
        Self {
            peer,
            tls,
            key,
            lease: Mutex::default(),
            turn: Semaphore::new(1),
            asked: AtomicUsize::new(0),
            uncertain: AtomicBool::new(false),
        }
    }

    /// A lease begins: requests that carry its number are let through.
    fn open(&self) -> u64 {
        let mut lease = lock(&self.lease);
        lease.number = lease.number.saturating_add(1);
        lease.open = true;
        lease.number
    }

    fn is_open(&self, number: u64) -> bool {
        let lease = lock(&self.lease);
        lease.open && lease.number == number
    }

    /// A lease ends: nothing more is let through, and what is under way is waited for. False when a request's end
    /// is not known, and then the backend must be closed.
    pub(super) async fn close(&self) -> bool {
        lock(&self.lease).open = false;
        let turn = self.turn.acquire().await;
        turn.is_ok() && !self.uncertain.load(Ordering::Acquire)
    }

    /// A lease ends at once; false when a request is under way, or its end is not known.
    pub(super) fn try_close(&self) -> bool {
        lock(&self.lease).open = false;
        // Whoever asks counts itself before it looks at the lease, so it is seen here or finds the lease closed.
        self.asked.load(Ordering::Acquire) == 0 && !self.uncertain.load(Ordering::Acquire)
    }

    /// Sends a request if lease `number` is still open when its turn comes.
    async fn request(&self, number: Option<u64>) -> Result<bool, ConnectError> {
        let Some(_asked) = Asked::more(&self.asked) else { return Ok(false) };
        let Ok(_turn) = self.turn.acquire().await else { return Ok(false) };
        if number.is_some_and(|number| !self.is_open(number)) {
            return Ok(false);
        }
        // Until the server has closed, a dropped future leaves the backend marked.
        let was_uncertain = self.uncertain.swap(true, Ordering::AcqRel);
        let sent = tokio::time::timeout(CANCEL_TIMEOUT, self.deliver()).await;
        match sent.unwrap_or(Err(ConnectError::Timeout)) {
            Ok(()) => {
                self.uncertain.store(was_uncertain, Ordering::Release);
                Ok(true)
            }
            Err(error) => Err(error),
        }
    }

    async fn deliver(&self) -> Result<(), ConnectError> {
        let mut stream = Box::pin(connect::again(self.peer, self.tls.as_ref())).await?;
        let mut request = Vec::new();
        write::cancel_request(&mut request, &self.key);
        stream.write_all(&request).await.map_err(ConnectError::Network)?;
        stream.flush().await.map_err(ConnectError::Network)?;
        // The server says nothing and closes once the signal is on its way; how it closes does not matter.
        let mut byte = [0; 1];
        let _closed = stream.read(&mut byte).await;
        Ok(())
    }
}

/// Counts a request for as long as it lives.
struct Asked<'a>(&'a AtomicUsize);

impl<'a> Asked<'a> {
    fn more(count: &'a AtomicUsize) -> Option<Self> {
        if count.fetch_add(1, Ordering::AcqRel) < REQUESTS_PER_BACKEND_MAX {
            return Some(Self(count));
        }
        count.fetch_sub(1, Ordering::AcqRel);
        None
    }
}

impl Drop for Asked<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

/// All keys that clients hold. Cloning shares them.
#[derive(Clone, Debug)]
pub struct Cancels(Arc<Registry>);

#[derive(Debug)]
struct Registry {
    /// By process id; servers number their processes independently, so a number may occur more than once.
    keys: DashMap<i32, Vec<Entry>>,
    in_flight: Semaphore,
    /// Requests under way to each server: one that does not answer must not use up what all share.
    by_server: Mutex<HashMap<SocketAddr, usize>>,
    by_server_max: usize,
}

/// A request under way to a server.
struct InFlight<'a> {
    registry: &'a Registry,
    peer: SocketAddr,
    _permit: SemaphorePermit<'a>,
}

impl Registry {
    fn forget(&self, key: &BackendKey) {
        if let Some(mut entries) = self.keys.get_mut(&key.process_id) {
            entries.retain(|entry| entry.secret != key.secret);
        }
        self.keys.remove_if(&key.process_id, |_, entries| entries.is_empty());
    }

    /// `None` when too many are under way, in all or to this server.
    fn in_flight(&self, peer: SocketAddr) -> Option<InFlight<'_>> {
        let permit = self.in_flight.try_acquire().ok()?;
        let mut by_server = lock(&self.by_server);
        let count = by_server.get(&peer).copied().unwrap_or_default();
        if count >= self.by_server_max {
            return None;
        }
        by_server.insert(peer, count.saturating_add(1));
        Some(InFlight { registry: self, peer, _permit: permit })
    }
}

impl Drop for InFlight<'_> {
    fn drop(&mut self) {
        let mut by_server = lock(&self.registry.by_server);
        match by_server.get_mut(&self.peer) {
            Some(count) if *count > 1 => *count = count.saturating_sub(1),
            Some(_) | None => drop(by_server.remove(&self.peer)),
        }
    }
}

#[derive(Clone, Debug)]
struct Entry {
    secret: Box<[u8]>,
    session: SessionId,
    place: Place,
}

/// Where a key's requests go.
#[derive(Clone, Debug)]
enum Place {
    /// The session holds one backend for good.
    Fixed(Arc<Target>, u64),
    /// It holds one now and then.
    Moving(Arc<Binding>),
}

/// A key in force; dropping it makes the key unknown.
#[derive(Debug)]
pub struct Registration {
    key: BackendKey,
    registry: Arc<Registry>,
}

impl Registration {
    /// What the client is given: the backend's true process id and a secret of ours.
    #[must_use]
    pub const fn key(&self) -> &BackendKey {
        &self.key
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        self.registry.forget(&self.key);
    }
}

impl Cancels {
    /// No keys yet; at most `in_flight_max` requests are carried out at one time, a quarter of them (but one at least)
    /// to one server; others are dropped.
    #[must_use]
    pub fn new(in_flight_max: usize) -> Self {
        let in_flight = Semaphore::new(in_flight_max.min(super::limits::UNLIMITED));
        let by_server_max = in_flight_max.div_ceil(4);
        Self(Arc::new(Registry {
            keys: DashMap::new(),
            in_flight,
            by_server: Mutex::default(),
            by_server_max,
        }))
    }

    /// Makes a key for the session that holds `backend`, with a secret of `secret_bytes` (4 in protocol 3.0, 32 in
    /// 3.2). `None` when the operating system gives no randomness.
    #[must_use]
    pub fn register(
        &self,
        session: SessionId,
        backend: &Backend,
        secret_bytes: usize,
    ) -> Option<Registration> {
        let process_id = backend.key.process_id;
        let lease = backend.target.open();
        let mut entries = self.0.keys.entry(process_id).or_default();
        let mut secret = vec![0; secret_bytes];
        loop {
            rand::fill(&mut secret).ok()?;
            if entries.iter().all(|entry| *entry.secret != *secret) {
                break;
            }
        }
        let secret: Box<[u8]> = secret.into();
        let place = Place::Fixed(Arc::clone(&backend.target), lease);
        entries.push(Entry { secret: secret.clone(), session, place });
        let key = BackendKey { process_id, secret };
        Some(Registration { key, registry: Arc::clone(&self.0) })
    }

    /// Keys in force.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.keys.iter().map(|entries| entries.len()).sum()
    }

    /// Whether no key is in force.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.keys.is_empty()
    }

    /// The session a presented key belongs to, without doing anything.
    #[must_use]
    pub fn session_of(&self, presented: &BackendKey) -> Option<SessionId> {
        self.find(presented).map(|entry| entry.session)
    }

    /// Carries out a cancel request; returns when the server has closed its connection, after 5 s at the latest.
    pub async fn cancel(&self, presented: &BackendKey) -> CancelOutcome {
        let Some(entry) = self.find(presented) else { return CancelOutcome::Unknown };
        let (target, lease) = match entry.place {
            Place::Fixed(target, lease) => (target, lease),
            Place::Moving(binding) => match binding.aim() {
                Ok(aimed) => aimed,
                Err(true) => return CancelOutcome::Delivered(entry.session),
                Err(false) => return CancelOutcome::Dropped(entry.session),
            },
        };
        let Some(_in_flight) = self.0.in_flight(target.peer) else {
            return CancelOutcome::Dropped(entry.session);
        };
        match target.request(Some(lease)).await {
            Ok(true) => CancelOutcome::Delivered(entry.session),
            Ok(false) => CancelOutcome::Dropped(entry.session),
            Err(error) => {
                tracing::warn!(session = entry.session.0, %error, "cancel request failed");
                CancelOutcome::Failed(entry.session)
            }
        }
    }

    /// Compares with every key of the process id, so that time tells nothing but how many there are.
    fn find(&self, presented: &BackendKey) -> Option<Entry> {
        let entries = self.0.keys.get(&presented.process_id)?;
        let mut found = None;
        for entry in entries.iter() {
            if constant_time::verify_slices_are_equal(&entry.secret, &presented.secret).is_ok() {
                found = Some(entry.clone());
            }
        }
        found
    }
}

/// A cancel request under way.
pub type Stopping = Pin<Box<dyn Future<Output = ()> + Send>>;

/// Stops the statement that the backend runs for its present lease, because it took too long. Takes 5 s at most; until
/// it is over the backend goes to nobody else.
#[must_use]
pub fn stop(backend: &Backend) -> Stopping {
    let target = Arc::clone(&backend.target);
    let number = lock(&target.lease).number;
    Box::pin(async move {
        if let Err(error) = target.request(Some(number)).await {
            tracing::warn!(%error, "a statement over its time limit was not cancelled");
        }
    })
}

/// Stops what the backend is doing because its client has left; the caller closes the backend afterwards. Takes 5 s
/// at most.
pub async fn cancel_running(backend: &Backend) {
    if let Err(error) = backend.target.request(None).await {
        tracing::warn!(process_id = backend.key.process_id, %error, "a query whose client left was not cancelled");
    }
}
