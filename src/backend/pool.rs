//! Who gets which backend, and when.
//!
//! One bb8 pool for each kind of backend (customer, server, role, database, startup settings); it exists as long as
//! it has a backend. What always holds: a backend is leased to one session at a time and only to its own customer;
//! a lease that is dropped closes its backend; only [`Lease::hand_back`] returns one, after a scrub; a failure met
//! while dialling is told to the one who asked and to nobody else.
//!
//! bb8 keeps what is idle and closes what is old. It never dials: it would do so in a task of its own, where the error
//! of one client's settings has nobody to go to. So whoever holds a lease dials, and [`limits`](super::limits) is the
//! fair queue in front, because a newcomer can overtake in bb8.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::ops::{Deref, DerefMut};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use bb8::PooledConnection;
use dashmap::DashMap;
use tokio::time::timeout_at;

use super::connect::{ConnectError, Destination, Dialler};
use super::examine::{self, Findings};
use super::limits::{Permit, Scope};
use super::scrub::{self, ScrubError};
use super::{Backend, Settings};
use crate::config::{Config, PoolMode};
use crate::customers::{Customer, Server};
use crate::ids::{CustomerId, DatabaseName};
use crate::routing::Route;

mod seat;
mod shelf;

pub use seat::Seat;

use shelf::{Keeper, Kept, Shelf};

/// How often an idle backend of another kind is looked for while a slot is waited for.
const EVICTION_INTERVAL: Duration = Duration::from_millis(20);
/// The longest wait that can be configured: a day.
const WAIT_MS_MAX: u64 = 24 * 60 * 60 * 1000;

/// Why there is no lease.
#[derive(Debug)]
pub enum LeaseError {
    /// Waited for longer than `pool.wait_timeout_ms` (53300).
    Limit {
        /// The limit, in the words of the configuration.
        name: &'static str,
    },
    /// No backend could be made.
    Connect(ConnectError),
}

impl fmt::Display for LeaseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Limit { name } => write!(f, "too many connections: all backends within {name} are busy"),
            Self::Connect(error) => write!(f, "{error}"),
        }
    }
}

impl std::error::Error for LeaseError {}

/// What makes two backends the same kind. A changed server, password included, makes another kind.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Kind {
    customer: CustomerId,
    server: Arc<Server>,
    database: DatabaseName,
    settings: Settings,
    /// Backends that go from session to session as they are never mix with those that are scrubbed.
    mode: PoolMode,
    /// Never used twice: it is not mixed with those that are.
    fresh: bool,
}

impl Hash for Kind {
    fn hash<H: Hasher>(&self, state: &mut H) {
        (&self.customer, &self.database, &self.settings, self.fresh).hash(state);
        (&self.server.host, self.server.port, &self.server.role).hash(state);
    }
}

type PoolScope = Scope<Shelf>;
type Shelves = DashMap<Kind, Weak<Shelf>>;
/// A customer's server, with a limit of its own.
type ServerId = (CustomerId, Box<str>, u16);

/// All pools of the process, shared by its workers.
pub struct Pools(Arc<Inner>);

struct Inner {
    config: ArcSwap<Config>,
    dialler: Dialler,
    shelves: Arc<Shelves>,
    everyone: Arc<PoolScope>,
    customers: DashMap<CustomerId, Arc<PoolScope>>,
    servers: DashMap<ServerId, Arc<PoolScope>>,
    next_shelf: AtomicU64,
}

/// How many backends there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Figures {
    /// Held by sessions.
    pub leased: usize,
    /// Leased, idle, or being dialled.
    pub backends: usize,
}

impl fmt::Debug for Pools {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pools").field("figures", &self.figures()).finish_non_exhaustive()
    }
}

impl Pools {
    /// No backend yet.
    #[must_use]
    pub fn new(config: Arc<Config>) -> Self {
        let everyone = PoolScope::new("limits.backends_max", Some(config.limits.backends_max));
        Self(Arc::new(Inner {
            config: ArcSwap::new(config),
            dialler: Dialler::default(),
            shelves: Arc::default(),
            everyone,
            customers: DashMap::new(),
            servers: DashMap::new(),
            next_shelf: AtomicU64::new(0),
        }))
    }

    /// Takes a reloaded configuration: limits and waits at once, idle times for pools made from now on.
    pub fn reconfigure(&self, config: Arc<Config>) {
        self.0.everyone.resize(Some(config.limits.backends_max));
        self.0.config.store(config);
    }

    /// How many backends there are in the whole process.
    #[must_use]
    pub fn figures(&self) -> Figures {
        Figures { leased: self.0.everyone.leases.in_use(), backends: self.0.everyone.slots.in_use() }
    }

    /// How many backends a customer has.
    #[must_use]
    pub fn figures_of(&self, customer: &CustomerId) -> Option<Figures> {
        let scope = self.0.customers.get(customer).map(|scope| Arc::clone(&scope))?;
        Some(Figures { leased: scope.leases.in_use(), backends: scope.slots.in_use() })
    }

    /// How many kinds of backends there are.
    #[cfg(test)]
    pub(super) fn kinds(&self) -> usize {
        self.0.shelves.len()
    }

    /// A session's place at its pool: what its leases need is looked up once.
    #[must_use]
    pub fn seat(&self, route: &Route, settings: &Settings, mode: PoolMode) -> Seat {
        Seat::new(Arc::clone(&self.0), route, settings.clone(), mode)
    }

    /// Lends a backend of the route's database, dialled with these startup settings. First come, first served within
    /// each limit. Dropping the future gives everything back.
    ///
    /// # Errors
    /// [`LeaseError::Limit`] when the wait was too long, [`LeaseError::Connect`] when a backend could not be dialled.
    pub async fn lease(&self, route: &Route, settings: &Settings) -> Result<Lease, LeaseError> {
        // Boxed: a session lives long, and this is a short part of it.
        Box::pin(self.lease_at(route.customer(), Destination::of(route), settings)).await
    }

    pub(super) async fn lease_at(
        &self,
        customer: &Customer,
        to: Destination,
        settings: &Settings,
    ) -> Result<Lease, LeaseError> {
        self.0.lease_at(customer, to, settings, PoolMode::Session).await
    }
}

impl Inner {
    async fn lease_at(
        &self,
        customer: &Customer,
        to: Destination,
        settings: &Settings,
        mode: PoolMode,
    ) -> Result<Lease, LeaseError> {
        let config = self.config.load_full();
        let deadline = Instant::now() + Duration::from_millis(config.pool.wait_timeout_ms.min(WAIT_MS_MAX));
        let scopes = self.scopes(customer, &to);
        let permits = acquire_all(&scopes, deadline).await?;
        let fresh = customer.fresh_backends.unwrap_or(config.pool.fresh_backends);
        let Destination { server, database } = to.clone();
        let (customer, settings) = (customer.id.clone(), settings.clone());
        let kind = Kind { customer, server, database, settings, mode, fresh };
        let shelf = self.shelf(kind, &scopes, &config);
        let kept = loop {
            let Some(mut kept) = shelf.take() else {
                // Laid down and taken up again, so that bb8 counts it. Should another session take it first, there is
                // one more round.
                let dialled = self.dialled(&to, &shelf, (deadline, &config)).await?;
                shelf.put(dialled);
                continue;
            };
            // One that died or grew old while it was idle is closed here, and there is another round.
            if kept.wake(&config) {
                break kept;
            }
            if !kept.is_used() {
                let what = "a new session was closed or spoke unasked".to_owned();
                return Err(LeaseError::Connect(ConnectError::Protocol(what)));
            }
        };
        let scrub_timeout = Duration::from_millis(config.pool.scrub_timeout_ms);
        Ok(Lease { kept, shelf, scrub_timeout, permits })
    }

    async fn dialled(
        &self,
        to: &Destination,
        shelf: &Arc<Shelf>,
        (deadline, config): (Instant, &Config),
    ) -> Result<Kept, LeaseError> {
        let slots = claim_slots(shelf.scopes(), deadline).await?;
        let limit = Duration::from_millis(config.pool.connect_timeout_ms);
        let dial = self.dialler.connect(to, shelf.settings(), limit);
        let backend = dial.await.map_err(LeaseError::Connect)?;
        Ok(Kept::new(backend, slots, Arc::clone(shelf)))
    }

    /// The limits that hold for a customer at a server, narrowest first, as they are configured now.
    fn scopes(&self, customer: &Customer, to: &Destination) -> [Arc<PoolScope>; 3] {
        let customer_max = customer.limits.backends_max;
        let of_customer = self.customers.entry(customer.id.clone());
        let of_customer = Arc::clone(
            &of_customer
                .or_insert_with(|| PoolScope::new("the customer's limits.backends_max", customer_max)),
        );
        of_customer.resize(customer_max);
        let server_max = to.server.backends_max;
        let id = (customer.id.clone(), to.server.host.as_str().into(), to.server.port);
        let of_server = self.servers.entry(id);
        let of_server =
            Arc::clone(&of_server.or_insert_with(|| PoolScope::new("the server's backends_max", server_max)));
        of_server.resize(server_max);
        [of_server, of_customer, Arc::clone(&self.everyone)]
    }

    fn shelf(&self, kind: Kind, scopes: &[Arc<PoolScope>; 3], config: &Config) -> Arc<Shelf> {
        if let Some(shelf) = self.shelves.get(&kind).and_then(|shelf| shelf.upgrade()) {
            return shelf;
        }
        let id = self.next_shelf.fetch_add(1, Ordering::Relaxed);
        let made = Shelf::new(id, kind.clone(), scopes.clone(), (Arc::downgrade(&self.shelves), config));
        let mut place = self.shelves.entry(kind).or_insert_with(|| Arc::downgrade(&made));
        if let Some(other) = place.upgrade() {
            return other;
        }
        *place = Arc::downgrade(&made);
        drop(place);
        made
    }
}

/// One permit of each scope, narrowest first, so that nobody holds a wide one while waiting for a narrow one.
async fn acquire_all(scopes: &[Arc<PoolScope>; 3], deadline: Instant) -> Result<Vec<Permit>, LeaseError> {
    let mut permits = Vec::with_capacity(scopes.len());
    for scope in scopes {
        let permit = timeout_at(deadline.into(), scope.leases.acquire()).await;
        permits.push(permit.map_err(|_| LeaseError::Limit { name: scope.name })?);
    }
    Ok(permits)
}

/// A slot of each scope. Where none is free an idle backend of the same scope is closed; there is one, or there will
/// be, because whoever comes here holds a lease and uses no backend yet.
async fn claim_slots(scopes: &[Arc<PoolScope>; 3], deadline: Instant) -> Result<Vec<Permit>, LeaseError> {
    let mut slots = Vec::with_capacity(scopes.len());
    for scope in scopes {
        let slot = loop {
            if let Some(slot) = scope.slots.try_acquire() {
                break slot;
            }
            evict(scope);
            let look_again = deadline.min(Instant::now() + EVICTION_INTERVAL);
            if let Ok(slot) = timeout_at(look_again.into(), scope.slots.acquire()).await {
                break slot;
            }
            if deadline <= Instant::now() {
                return Err(LeaseError::Limit { name: scope.name });
            }
        };
        slots.push(slot);
    }
    Ok(slots)
}

/// Closes one idle backend within `scope`, if there is one: what is taken and dropped is closed.
fn evict(scope: &PoolScope) {
    drop(scope.idle_places().into_iter().find_map(|shelf| shelf.take()));
}

/// A backend while a session holds it. Dropping it closes the backend.
///
/// The fields are dropped in this order: the backend is idle or closed before the next in the queue is woken.
pub struct Lease {
    kept: PooledConnection<'static, Keeper>,
    shelf: Arc<Shelf>,
    scrub_timeout: Duration,
    permits: Vec<Permit>,
}

impl Lease {
    /// Scrubs the backend and returns it to its pool, or closes it where each session gets a new one. The caller
    /// vouches that it is in step: status `I`, nothing owed, nothing half sent or half read. Waits for cancel
    /// requests under way; the whole takes twice `pool.scrub_timeout_ms` at most. Dropping the future closes the backend.
    ///
    /// # Errors
    /// [`ScrubError`] says why the backend was closed instead; the session need not care.
    pub async fn hand_back(self) -> Result<(), ScrubError> {
        let Self { mut kept, shelf, scrub_timeout, permits } = self;
        if shelf.is_fresh() {
            kept.part();
            return Ok(());
        }
        let quiet = tokio::time::timeout(scrub_timeout, kept.backend.target.close()).await;
        if !quiet.unwrap_or(false) {
            return Err(ScrubError::Cancel);
        }
        Box::pin(scrub::scrub(&mut kept.backend, scrub_timeout)).await?;
        kept.backend.memory = super::memory::Memory::default();
        kept.rest();
        drop(kept);
        shelf.has_idle();
        drop(permits);
        Ok(())
    }

    /// Returns the backend as it is. The caller vouches that it is in step and that its
    /// [`memory`](Backend::memory) is true.
    ///
    /// # Errors
    /// Itself when a cancel request is under way: [`Lease::hand_back`] waits for its end.
    pub fn release(self) -> Result<(), Box<Self>> {
        if !self.kept.backend.target.try_close() {
            return Err(Box::new(self));
        }
        let Self { mut kept, shelf, permits, .. } = self;
        kept.rest();
        drop(kept);
        shelf.has_idle();
        drop(permits);
        Ok(())
    }

    /// Asks the server what the session left behind. The backend must be idle and in step; when this fails, its
    /// session keeps it.
    ///
    /// # Errors
    /// [`ScrubError`] when the answer is not what was asked for, or late.
    pub async fn examine(&mut self) -> Result<Findings, ScrubError> {
        let limit = self.scrub_timeout;
        Box::pin(examine::examine(&mut self.kept.backend, limit)).await
    }

    /// Closes the backend, whatever it is doing.
    pub fn discard(self) {
        drop(self);
    }
}

impl Deref for Lease {
    type Target = Backend;

    fn deref(&self) -> &Backend {
        &self.kept.backend
    }
}

impl DerefMut for Lease {
    fn deref_mut(&mut self) -> &mut Backend {
        &mut self.kept.backend
    }
}

impl fmt::Debug for Lease {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Lease").field(&self.kept.backend).finish()
    }
}
