//! What is there at this moment: the sessions, the backends, and what the pools have done since the start.
//!
//! What always holds: whoever works writes a few numbers of its own and never waits for whoever looks; what has ended is
//! kept as a sum per pool, so that there are as many entries as sessions, backends and pools.

use std::collections::{BTreeMap, HashMap};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::wall_clock;
use crate::config::PoolMode;
use crate::ids::{CustomerId, DatabaseName, LoginName, RoleName, SessionId};

/// Averages are taken over at least this time.
const PERIOD: Duration = Duration::from_secs(60);

/// A customer's role at one of its databases: what sessions and backends belong to.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Pool {
    /// The customer.
    pub customer: CustomerId,
    /// Its database, by its true name.
    pub database: DatabaseName,
    /// The role that is used there.
    pub role: RoleName,
}

/// A number that one writer adds to and anybody reads.
#[derive(Debug, Default)]
struct Count(AtomicU64);

impl Count {
    /// There is one writer, so nothing is lost between reading and writing.
    fn add(&self, more: u64) {
        self.0.store(self.get().wrapping_add(more), Ordering::Relaxed);
    }

    fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Declares sums, and the same as one session counts them.
macro_rules! totals {
    ($($(#[$doc:meta])* $name:ident,)*) => {
        /// Sums since the start; times in ns.
        #[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
        pub struct Totals {
            $($(#[$doc])* pub $name: u64,)*
        }

        impl Totals {
            /// Both together.
            #[must_use]
            pub fn plus(self, other: &Self) -> Self {
                self.zip(other, u64::saturating_add)
            }

            fn zip(self, other: &Self, with: impl Fn(u64, u64) -> u64) -> Self {
                Self { $($name: with(self.$name, other.$name),)* }
            }
        }

        #[derive(Debug, Default)]
        struct Counts {
            $($name: Count,)*
        }

        impl Counts {
            fn add(&self, more: &Totals) {
                $(if more.$name > 0 { self.$name.add(more.$name); })*
            }

            fn read(&self) -> Totals {
                Totals { $($name: self.$name.get(),)* }
            }
        }
    };
}

totals! {
    /// Backends taken.
    assignments,
    /// Transactions that have ended.
    transactions,
    /// Executions that have ended.
    queries,
    /// Bytes from clients.
    received,
    /// Bytes from servers.
    sent,
    /// In transactions.
    transaction_ns,
    /// In executions.
    query_ns,
    /// Waiting for backends.
    wait_ns,
    /// `Parse` messages of clients.
    client_parses,
    /// `Parse` messages sent to servers.
    server_parses,
    /// `Bind` messages.
    binds,
}

/// A session with a database.
#[derive(Debug)]
pub struct Session {
    /// Its number in the process.
    pub number: SessionId,
    /// Where it belongs.
    pub pool: Pool,
    /// Who.
    pub login: LoginName,
    /// From where.
    pub client: SocketAddr,
    /// Where it was accepted.
    pub local: Option<SocketAddr>,
    /// TLS version; absent: clear text.
    pub tls: Option<&'static str>,
    /// As it was at the login.
    pub application_name: String,
    /// Pooling.
    pub mode: PoolMode,
    /// Since when, after the board's begin.
    pub since: Duration,
    /// ns after the board's begin; 0: never.
    requested: AtomicU64,
    /// The same; 0: it does not wait.
    waits_since: AtomicU64,
    counts: Counts,
}

/// What a backend does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Doing {
    /// It lies idle.
    Idle,
    /// A session has it, or is about to.
    Active,
    /// It is scrubbed.
    Scrubbed,
}

/// A connection to a database server.
#[derive(Debug)]
pub struct Backend {
    /// Its number in the process.
    pub number: u64,
    /// Where it belongs.
    pub pool: Pool,
    /// Pooling.
    pub mode: PoolMode,
    /// The server.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// Where it is connected to.
    pub address: Option<SocketAddr>,
    /// Our end.
    pub local: Option<SocketAddr>,
    /// Over TLS.
    pub is_tls: bool,
    /// The server's process.
    pub process_id: i32,
    /// Since when, after the board's begin.
    pub since: Duration,
    doing: AtomicU8,
    /// The session that has it; 0: none.
    session: AtomicU64,
    changed: AtomicU64,
    begun: Instant,
}

/// All sessions and backends of a process.
#[derive(Debug)]
pub struct Board {
    begun: (Instant, Duration),
    sessions: Mutex<HashMap<SessionId, Arc<Session>>>,
    backends: Mutex<HashMap<u64, Arc<Backend>>>,
    next_backend: AtomicU64,
    ended: Mutex<BTreeMap<Pool, Totals>>,
    averages: Mutex<Averages>,
}

/// The last sample, and what it had grown by since the one before.
#[derive(Debug)]
struct Averages {
    at: Instant,
    sums: BTreeMap<Pool, Totals>,
    growth: BTreeMap<Pool, Totals>,
    period: Duration,
}

impl Default for Board {
    fn default() -> Self {
        let now = Instant::now();
        let (sums, growth) = (BTreeMap::new(), BTreeMap::new());
        Self {
            begun: (now, wall_clock()),
            sessions: Mutex::default(),
            backends: Mutex::default(),
            next_backend: AtomicU64::new(1),
            ended: Mutex::default(),
            averages: Mutex::new(Averages { at: now, sums, growth, period: PERIOD }),
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn ns(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

/// A session as it begins.
#[derive(Debug)]
pub struct Arrival {
    /// See [`Session`].
    pub number: SessionId,
    /// See [`Session`].
    pub pool: Pool,
    /// See [`Session`].
    pub login: LoginName,
    /// See [`Session`].
    pub client: SocketAddr,
    /// See [`Session`].
    pub local: Option<SocketAddr>,
    /// See [`Session`].
    pub tls: Option<&'static str>,
    /// See [`Session`].
    pub application_name: String,
    /// See [`Session`].
    pub mode: PoolMode,
}

/// A backend as it was dialled.
#[derive(Debug)]
pub struct Dialled {
    /// See [`Backend`].
    pub pool: Pool,
    /// See [`Backend`].
    pub mode: PoolMode,
    /// See [`Backend`].
    pub host: String,
    /// See [`Backend`].
    pub port: u16,
    /// See [`Backend`].
    pub address: Option<SocketAddr>,
    /// See [`Backend`].
    pub local: Option<SocketAddr>,
    /// See [`Backend`].
    pub is_tls: bool,
    /// See [`Backend`].
    pub process_id: i32,
}

impl Board {
    /// The wall clock at this time after the begin.
    #[must_use]
    pub fn wall(&self, after: Duration) -> Duration {
        self.begun.1.saturating_add(after)
    }

    /// How long it is since the begin.
    #[must_use]
    pub fn now(&self) -> Duration {
        self.begun.0.elapsed()
    }

    /// A session begins; it ends when the place is dropped.
    #[must_use]
    pub fn enter(self: &Arc<Self>, arrival: Arrival) -> Seen {
        let Arrival { number, pool, login, client, local, tls, application_name, mode } = arrival;
        let session = Arc::new(Session {
            number,
            pool,
            login,
            client,
            local,
            tls,
            application_name,
            mode,
            since: self.now(),
            requested: AtomicU64::new(0),
            waits_since: AtomicU64::new(0),
            counts: Counts::default(),
        });
        lock(&self.sessions).insert(number, Arc::clone(&session));
        Seen { board: Arc::clone(self), session }
    }

    /// A backend begins, for whoever dialled it; it ends when the place is dropped.
    #[must_use]
    pub fn dialled(self: &Arc<Self>, dialled: Dialled) -> Held {
        let Dialled { pool, mode, host, port, address, local, is_tls, process_id } = dialled;
        let number = self.next_backend.fetch_add(1, Ordering::Relaxed);
        let backend = Arc::new(Backend {
            number,
            pool,
            mode,
            host,
            port,
            address,
            local,
            is_tls,
            process_id,
            since: self.now(),
            doing: AtomicU8::new(1),
            session: AtomicU64::new(0),
            changed: AtomicU64::new(ns(self.now())),
            begun: self.begun.0,
        });
        lock(&self.backends).insert(number, Arc::clone(&backend));
        Held { board: Arc::clone(self), backend }
    }

    /// The sessions, by number.
    #[must_use]
    pub fn sessions(&self) -> Vec<Arc<Session>> {
        let mut all: Vec<_> = lock(&self.sessions).values().cloned().collect();
        all.sort_by_key(|session| session.number.0);
        all
    }

    /// The backends, by number.
    #[must_use]
    pub fn backends(&self) -> Vec<Arc<Backend>> {
        let mut all: Vec<_> = lock(&self.backends).values().cloned().collect();
        all.sort_by_key(|backend| backend.number);
        all
    }

    /// The sums of each pool since the start.
    #[must_use]
    pub fn totals(&self) -> BTreeMap<Pool, Totals> {
        // Held together, so that a session that ends is counted once.
        let sessions = lock(&self.sessions);
        let mut totals = lock(&self.ended).clone();
        for session in sessions.values() {
            let sum = totals.entry(session.pool.clone()).or_default();
            *sum = sum.plus(&session.counts.read());
        }
        totals
    }

    /// By how much each pool's sums have grown in a time of a minute or more that ended when somebody last asked behind it;
    /// before there is one, since the start.
    #[must_use]
    pub fn growth(&self) -> (BTreeMap<Pool, Totals>, Duration) {
        let now = self.totals();
        let mut averages = lock(&self.averages);
        let elapsed = averages.at.elapsed();
        if elapsed < PERIOD && !averages.growth.is_empty() {
            return (averages.growth.clone(), averages.period);
        }
        let growth: BTreeMap<Pool, Totals> = now
            .iter()
            .map(|(pool, sum)| {
                let before = averages.sums.get(pool).copied().unwrap_or_default();
                (pool.clone(), sum.zip(&before, u64::saturating_sub))
            })
            .collect();
        if elapsed >= PERIOD {
            *averages = Averages { at: Instant::now(), sums: now, growth: growth.clone(), period: elapsed };
        }
        (growth, elapsed.max(Duration::from_millis(1)))
    }
}

impl Session {
    /// When it last asked for something, after the board's begin.
    #[must_use]
    pub fn requested(&self) -> Option<Duration> {
        Some(Duration::from_nanos(self.requested.load(Ordering::Relaxed))).filter(|at| !at.is_zero())
    }

    /// Since when it waits for a backend, after the board's begin.
    #[must_use]
    pub fn waits_since(&self) -> Option<Duration> {
        Some(Duration::from_nanos(self.waits_since.load(Ordering::Relaxed))).filter(|at| !at.is_zero())
    }
}

impl Backend {
    /// What it does.
    #[must_use]
    pub fn doing(&self) -> Doing {
        match self.doing.load(Ordering::Relaxed) {
            0 => Doing::Idle,
            2 => Doing::Scrubbed,
            _ => Doing::Active,
        }
    }

    /// The session that has it.
    #[must_use]
    pub fn session(&self) -> Option<SessionId> {
        Some(SessionId(self.session.load(Ordering::Relaxed))).filter(|session| session.0 != 0)
    }

    /// When it began to do that, after the board's begin.
    #[must_use]
    pub fn changed(&self) -> Duration {
        Duration::from_nanos(self.changed.load(Ordering::Relaxed))
    }
}

/// A session's place on the board.
#[derive(Debug)]
pub struct Seen {
    board: Arc<Board>,
    session: Arc<Session>,
}

impl Seen {
    /// Adds to what it has done.
    pub fn count(&self, more: &Totals) {
        self.session.counts.add(more);
    }

    /// It asks for something.
    pub fn asks(&self, at: Instant) {
        let after = at.saturating_duration_since(self.board.begun.0);
        self.session.requested.store(ns(after), Ordering::Relaxed);
    }

    /// It waits for a backend from now on, or no longer.
    pub fn waits(&self, since: Option<Instant>) {
        let after = since.map_or(0, |since| ns(since.saturating_duration_since(self.board.begun.0)));
        self.session.waits_since.store(after, Ordering::Relaxed);
    }

    /// It has a backend.
    pub fn takes(&self, held: &Held) {
        held.backend.session.store(self.session.number.0, Ordering::Relaxed);
        held.backend.doing.store(1, Ordering::Relaxed);
        self.count(&Totals { assignments: 1, ..Totals::default() });
    }
}

impl Drop for Seen {
    fn drop(&mut self) {
        let mut sessions = lock(&self.board.sessions);
        let mut ended = lock(&self.board.ended);
        sessions.remove(&self.session.number);
        let sum = ended.entry(self.session.pool.clone()).or_default();
        *sum = sum.plus(&self.session.counts.read());
    }
}

/// A backend's place on the board.
#[derive(Debug)]
pub struct Held {
    board: Arc<Board>,
    backend: Arc<Backend>,
}

impl Held {
    /// It does something else from now on; only an active one has a session.
    pub fn does(&self, doing: Doing, at: Instant) {
        let code = match doing {
            Doing::Idle => 0,
            Doing::Active => 1,
            Doing::Scrubbed => 2,
        };
        let Backend { doing, session, changed, begun, .. } = &*self.backend;
        session.store(0, Ordering::Relaxed);
        changed.store(ns(at.saturating_duration_since(*begun)), Ordering::Relaxed);
        doing.store(code, Ordering::Relaxed);
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        lock(&self.board.backends).remove(&self.backend.number);
    }
}

#[cfg(test)]
mod tests;
