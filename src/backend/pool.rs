//! Who gets which backend, and when.
//!
//! Idle backends lie on one shelf for each kind (customer, server, role, database, startup settings, pooling). What
//! always holds: a backend is leased to one session at a time and only to its own customer; a lease that is dropped
//! closes its backend; it is returned scrubbed ([`Lease::hand_back`]) or, in transaction pooling, as it is with a true
//! [`memory`](super::memory) of what it holds ([`Lease::release`]); a failure met while dialling is told to the one
//! who asked and, if the server is down, to those who would find the same.
//!
//! Whoever holds a lease dials, in its own time: a task that dials for others has nobody to tell that a client's
//! settings were refused. [`limits`](super::limits) is the fair queue in front, behind one lock with the shelves, so
//! that a lease and its end are one short critical section each.

use std::fmt;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;

use super::Settings;
use super::connect::{ConnectError, Destination, Dialler};
use super::limits::lock;
use crate::config::{Config, PoolMode};
use crate::customers::{Catalogue, Customer};
use crate::ids::{CustomerId, LoginName};
use crate::routing::Route;
use crate::telemetry::live::Board;

mod breaker;
mod kept;
mod lease;
mod reaper;
mod register;
mod seat;

pub use lease::Lease;
pub use seat::Seat;

use register::Register;

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
    /// No backend could be taken to the session's settings in the time that they allow for a statement (57014).
    Settings,
}

impl fmt::Display for LeaseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Limit { name } => write!(f, "too many connections: all backends within {name} are busy"),
            Self::Connect(error) => write!(f, "{error}"),
            Self::Settings => f.write_str("the session's settings could not be restored in time"),
        }
    }
}

impl std::error::Error for LeaseError {}

/// All pools of the process, shared by its workers.
pub struct Pools(Arc<Inner>);

struct Inner {
    config: ArcSwap<Config>,
    dialler: Dialler,
    register: Mutex<Register>,
    reaper: reaper::Reaper,
    board: Arc<Board>,
}

/// How many backends there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Figures {
    /// Held by sessions.
    pub leased: usize,
    /// Leased, idle, or being dialled.
    pub backends: usize,
}

impl Figures {
    const fn new((leased, idle): (usize, usize)) -> Self {
        Self { leased, backends: leased.saturating_add(idle) }
    }
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
        let register = Mutex::new(Register::new(&config));
        let (dialler, reaper) = (Dialler::default(), reaper::Reaper::default());
        let board = Arc::default();
        Self(Arc::new(Inner { config: ArcSwap::new(config), dialler, register, reaper, board }))
    }

    /// What these pools do by themselves is done on the present runtime from now on.
    pub fn settle(&self) {
        self.0.reaper.settle();
    }

    /// Takes a reloaded configuration: limits, waits and idle times, at once.
    pub fn reconfigure(&self, config: Arc<Config>) {
        self.0.with(|register| register.reconfigure(&config));
        self.0.config.store(config);
    }

    /// Takes reloaded customers: their limits hold at once, for those who wait too.
    pub fn relimit(&self, catalogue: &Catalogue) {
        self.0.with(|register| register.relimit(catalogue));
    }

    /// Where backends are seen, and sessions.
    #[must_use]
    pub fn board(&self) -> &Arc<Board> {
        &self.0.board
    }

    /// The configuration in force: of the start, or of the last [`Pools::reconfigure`].
    #[must_use]
    pub fn config(&self) -> Arc<Config> {
        self.0.config.load_full()
    }

    /// How many backends there are in the whole process.
    #[must_use]
    pub fn figures(&self) -> Figures {
        Figures::new(lock(&self.0.register).turns.figures())
    }

    /// How many backends a customer has.
    #[must_use]
    pub fn figures_of(&self, customer: &CustomerId) -> Option<Figures> {
        let register = lock(&self.0.register);
        Some(Figures::new(register.turns.figures_of(register.account_of(customer)?)))
    }

    /// How many kinds of backends there are.
    #[cfg(test)]
    pub(super) fn kinds(&self) -> usize {
        lock(&self.0.register).kinds()
    }

    /// A session's place at its pool: what its leases need is looked up once.
    #[must_use]
    pub fn seat(&self, route: &Route, settings: &Settings, mode: PoolMode) -> Seat {
        self.seat_at(route.customer(), Some(route.login()), &Destination::of(route), (settings, mode))
    }

    pub(super) fn seat_at(
        &self,
        customer: &Customer,
        login: Option<&LoginName>,
        to: &Destination,
        (settings, mode): (&Settings, PoolMode),
    ) -> Seat {
        Seat::new(&self.0, customer, login, to, (settings, mode))
    }

    /// Lends a backend of the route's database, dialled with these startup settings. First come, first served within
    /// each limit. Dropping the future gives everything back.
    ///
    /// # Errors
    /// [`LeaseError::Limit`] when the wait was too long, [`LeaseError::Connect`] when a backend could not be dialled.
    pub async fn lease(&self, route: &Route, settings: &Settings) -> Result<Lease, LeaseError> {
        self.seat(route, settings, PoolMode::Session).lease(&super::memory::Carried::default()).await
    }
}

impl Inner {
    /// Does something behind the lock; what that led to is done when the lock is free, so that whoever is woken or
    /// whatever is closed does not meet it.
    fn with<R>(&self, work: impl FnOnce(&mut Register) -> R) -> R {
        let mut register = lock(&self.register);
        let result = work(&mut register);
        let Some(aftermath) = register.turns.take_aftermath() else { return result };
        for kind in &aftermath.forgotten {
            register.forget(*kind);
        }
        drop(register);
        // A backend is closed before the session that takes its place is woken.
        drop(aftermath.closed);
        for waker in aftermath.wakers {
            waker.wake();
        }
        result
    }

    fn wait_limit(config: &Config) -> Duration {
        Duration::from_millis(config.pool.wait_timeout_ms.min(WAIT_MS_MAX))
    }

    fn deadline(wait: Duration) -> Instant {
        let now = Instant::now();
        now.checked_add(wait).unwrap_or(now)
    }
}
