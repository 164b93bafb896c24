//! A session's place at its pool, so that a lease costs little.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use tokio::time::timeout_at;

use super::breaker::{Breaker, Trial};
use super::kept::{Kept, SPARED};
use super::lease::{Hold, Lease};
use super::register::{Kind, Seated, Shelf};
use super::{Inner, LeaseError};
use crate::backend::connect::{ConnectError, Destination, Extent};
use crate::backend::limits::{Blocked, Grant, HostId, Place, WaiterId};
use crate::backend::memory::{Carried, Claim};
use crate::backend::{Backend, ParameterMap, Settings};
use crate::config::PoolMode;
use crate::customers::Customer;
use crate::ids::LoginName;
use crate::protocol::sqlstate::SqlState;
use crate::telemetry::live::{self, Held};

/// How many backends may fail to be taken to a session's settings before it is told.
const CHANGES_MAX: usize = 4;

/// A lease to come.
pub(crate) type Coming = Pin<Box<dyn Future<Output = Result<Lease, LeaseError>> + Send>>;

/// Where a session's leases come from: one kind of backend, within the limits of its customer.
pub struct Seat {
    chair: Arc<Chair>,
    /// By which the session finds a backend that it had and that nobody has had since.
    own: Option<Claim>,
}

/// What a seat and its leases share.
pub(super) struct Chair {
    pub(super) inner: Arc<Inner>,
    pub(super) place: Place,
    pub(super) shelf: Arc<Shelf>,
    host: HostId,
    lane_breaker: Arc<Breaker>,
    host_breaker: Arc<Breaker>,
    wait_timeout: Option<Duration>,
}

impl Seat {
    pub(super) fn new(
        inner: &Arc<Inner>,
        customer: &Customer,
        login: Option<&LoginName>,
        to: &Destination,
        (settings, mode): (&Settings, PoolMode),
    ) -> Self {
        let config = inner.config.load();
        let fresh =
            mode == PoolMode::Session && customer.fresh_backends.unwrap_or(config.pool.fresh_backends);
        let kind = Kind {
            customer: customer.id.clone(),
            server: Arc::clone(&to.server),
            database: to.database.clone(),
            settings: settings.clone(),
            mode,
            fresh,
        };
        let seated = inner.with(|register| register.sit(customer, login, to, (kind, &config)));
        let Seated { place, host, shelf, lane_breaker, host_breaker } = seated;
        let (inner, wait_timeout) = (Arc::clone(inner), customer.wait_timeout);
        let chair = Arc::new(Chair { inner, place, shelf, host, lane_breaker, host_breaker, wait_timeout });
        Self { chair, own: None }
    }

    /// Looks for the backend with this claim before any other, from now on.
    pub const fn look_for(&mut self, own: Option<Claim>) {
        self.own = own;
    }

    /// A backend at once, if one is idle within all limits and nobody waits for it: rather one of this thread's, then
    /// one that has the settings that are wanted. Else one to come: in its turn, dialled if need be; dropping the
    /// future gives everything back.
    ///
    /// # Errors
    /// The backend to come.
    pub fn take(&mut self, want: &Carried) -> Result<Lease, Coming> {
        match self.idle(want) {
            Some(lease) if !lease.is_slow_to_change(want) => Ok(lease),
            taken => Err(Box::pin(lease(Arc::clone(&self.chair), taken, want.clone()))),
        }
    }

    fn idle(&mut self, want: &Carried) -> Option<Lease> {
        let Chair { inner, place, .. } = &*self.chair;
        let own = self.own;
        loop {
            let taken = inner.with(|register| register.turns.try_take(*place, |kept| kept.score(want, own)));
            let mut lease = Lease::new(taken?, Hold::new(Arc::clone(&self.chair)));
            if lease.wake() {
                return Some(lease);
            }
        }
    }

    /// As [`Seat::take`], in any case to come.
    pub fn lease(&mut self, want: &Carried) -> Coming {
        match self.take(want) {
            Ok(lease) => Box::pin(std::future::ready(Ok(lease))),
            Err(coming) => coming,
        }
    }

    /// The startup settings of its backends.
    #[must_use]
    pub fn settings(&self) -> &Settings {
        &self.chair.shelf.kind.settings
    }

    /// What a backend of this kind last reported, if any is known.
    #[must_use]
    pub fn parameters(&self) -> Option<ParameterMap> {
        self.chair.shelf.parameters()
    }
}

impl fmt::Debug for Seat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Seat").field("kind", &self.chair.shelf.kind).finish_non_exhaustive()
    }
}

impl Drop for Chair {
    fn drop(&mut self) {
        self.inner.with(|register| register.turns.stand_up(self.place.kind));
    }
}

/// A backend for these settings, if possible the one that is taken already.
async fn lease(chair: Arc<Chair>, mut taken: Option<Lease>, want: Carried) -> Result<Lease, LeaseError> {
    for _ in 0..CHANGES_MAX {
        let lease = match taken.take() {
            Some(lease) => lease,
            None => in_turn(&chair).await?,
        };
        if !lease.is_slow_to_change(&want) {
            return Ok(lease);
        }
        // One that fails is closed.
        match lease.bring(&want).await {
            Ok(lease) => return Ok(lease),
            Err(cause) => tracing::debug!(%cause, "backend closed instead of taken to other settings"),
        }
    }
    Err(LeaseError::Settings)
}

async fn in_turn(chair: &Arc<Chair>) -> Result<Lease, LeaseError> {
    let config = chair.inner.config.load_full();
    let deadline = Inner::deadline(chair.wait_timeout.unwrap_or_else(|| Inner::wait_limit(&config)));
    let mut standing = None;
    // When a server that took no more may be tried again.
    let mut uncap_at: Option<Instant> = None;
    loop {
        chair.refuse_if_down()?;
        let mut waiting = Waiting::new(chair, standing);
        standing = Some(waiting.standing());
        let mut granted = None;
        if let Some(until) = uncap_at.take().filter(|until| *until < deadline) {
            granted = timeout_at(until.into(), &mut waiting).await.ok();
            chair.inner.with(|register| register.uncap(Instant::now()));
        }
        while granted.is_none() {
            let until = deadline.min(Instant::now() + SPARED);
            granted = timeout_at(until.into(), &mut waiting).await.ok();
            if granted.is_none() {
                if until == deadline {
                    break;
                }
                chair.inner.with(|register| register.turns.again());
            }
        }
        let kept = match granted {
            Some(Grant::Ready(kept)) => Some(kept),
            Some(Grant::Room) => None,
            // Sent away; if the server has come back since, there is another try.
            Some(Grant::Nothing) => continue,
            None => return Err(LeaseError::Limit { name: waiting.limit() }),
        };
        let hold = Hold::new(Arc::clone(chair));
        if let Some(mut kept) = kept
            && kept.wake()
        {
            return Ok(Lease::new(kept, hold));
        }
        // There was none, or it died while it was idle; its place is ours.
        match chair.dialled(Duration::from_millis(config.pool.connect_timeout_ms)).await? {
            Dialled::Backend(kept) => return Ok(Lease::new(kept, hold)),
            Dialled::Full(until) => uncap_at = Some(until),
        }
    }
}

/// What became of a dial that did not fail.
enum Dialled {
    Backend(Box<Kept>),
    /// The server takes no more at the moment, but there are others of this lane to wait for.
    Full(Instant),
}

impl Chair {
    pub(super) fn scrub_timeout(&self) -> Duration {
        Duration::from_millis(self.inner.config.load().pool.scrub_timeout_ms)
    }

    /// Nobody waits for a server that is known to be down.
    fn refuse_if_down(&self) -> Result<(), LeaseError> {
        let now = Instant::now();
        let outage = self.host_breaker.outage(now).or_else(|| self.lane_breaker.outage(now));
        outage.map_or(Ok(()), |outage| Err(LeaseError::Connect(ConnectError::Down(outage))))
    }

    /// A new backend's place on the board.
    fn board(&self, backend: &Backend) -> Held {
        let Kind { customer, server, database, mode, .. } = &self.shelf.kind;
        let tcp = backend.stream.tcp();
        self.inner.board.dialled(live::Dialled {
            pool: live::Pool {
                customer: customer.clone(),
                database: database.clone(),
                role: server.role.clone(),
            },
            mode: *mode,
            host: server.host.clone(),
            port: server.port,
            address: tcp.peer_addr().ok(),
            local: tcp.local_addr().ok(),
            is_tls: backend.stream.is_tls(),
            process_id: backend.key.process_id,
        })
    }

    async fn dialled(&self, limit: Duration) -> Result<Dialled, LeaseError> {
        let now = Instant::now();
        let down = |outage| LeaseError::Connect(ConnectError::Down(outage));
        let host_trial = self.host_breaker.try_dial(now).map_err(down)?;
        let lane_trial = self.lane_breaker.try_dial(now).map_err(down)?;
        let Kind { server, database, settings, .. } = &self.shelf.kind;
        let to = Destination { server: Arc::clone(server), database: database.clone() };
        let answered = AtomicBool::new(false);
        match self.inner.dialler.connect(&to, settings, (limit, &answered)).await {
            Ok(mut backend) => {
                host_trial.succeeded();
                lane_trial.succeeded();
                self.shelf.learn(&mut backend.parameters);
                let held = self.board(&backend);
                Ok(Dialled::Backend(Kept::new(backend, held)))
            }
            Err(ConnectError::Refused { code: SqlState::TOO_MANY_CONNECTIONS, raw }) => {
                let now = Instant::now();
                if let Some(until) = self.inner.with(|register| register.cap(self.place.lane, now)) {
                    host_trial.succeeded();
                    return Ok(Dialled::Full(until));
                }
                let error = ConnectError::Refused { code: SqlState::TOO_MANY_CONNECTIONS, raw };
                self.note(&error, true, (host_trial, lane_trial));
                Err(LeaseError::Connect(error))
            }
            Err(error) => {
                self.note(&error, answered.load(Ordering::Relaxed), (host_trial, lane_trial));
                Err(LeaseError::Connect(error))
            }
        }
    }

    /// Draws the conclusion from a failed dial. Whoever waits for a server that is found to be down is sent away.
    fn note(&self, error: &ConnectError, answered: bool, (host_trial, lane_trial): (Trial, Trial)) {
        let now = Instant::now();
        let Kind { server, customer, .. } = &self.shelf.kind;
        match error.outage(answered) {
            Some((Extent::Host, outage)) => {
                let is_news = host_trial.failed(Arc::new(outage), now);
                if is_news {
                    tracing::warn!(host = %server.host, port = server.port, %error, "server is down");
                    self.inner.with(|register| register.turns.give_up_host(self.host));
                }
            }
            Some((Extent::Lane, outage)) => {
                host_trial.succeeded();
                if lane_trial.failed(Arc::new(outage), now) {
                    tracing::warn!(%customer, host = %server.host, %error, "server takes no more");
                    self.inner.with(|register| register.turns.give_up_lane(self.place.lane));
                }
            }
            // It answered: what it refused is this client's alone.
            None if answered => {
                host_trial.succeeded();
                lane_trial.succeeded();
            }
            None => {}
        }
    }
}

/// A session in the queue; dropped, it leaves, and a grant that was not taken goes to the next.
struct Waiting<'a> {
    chair: &'a Chair,
    number: WaiterId,
    is_over: bool,
}

impl<'a> Waiting<'a> {
    fn new(chair: &'a Chair, standing: Option<u64>) -> Self {
        let number = chair.inner.with(|register| register.turns.wait(chair.place, standing));
        Self { chair, number, is_over: false }
    }

    /// Where it stands, to stand there again.
    fn standing(&self) -> u64 {
        self.chair.inner.with(|register| register.turns.standing(self.number))
    }

    /// The limit that kept it waiting, in the words of the configuration.
    fn limit(&self) -> &'static str {
        match self.chair.inner.with(|register| register.turns.blocked_by(self.number)) {
            Blocked::Login => "the login's backends_max",
            Blocked::Lane => "the server's backends_max",
            Blocked::Customer => "the customer's limits.backends_max",
            Blocked::Host => "limits.server_backends_max",
            Blocked::Everyone => "limits.backends_max",
        }
    }
}

impl Future for Waiting<'_> {
    type Output = Grant<Box<Kept>>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let granted = self.chair.inner.with(|register| register.turns.poll(self.number, context.waker()));
        self.is_over = granted.is_some();
        granted.map_or(Poll::Pending, Poll::Ready)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        if !self.is_over {
            self.chair.inner.with(|register| register.turns.leave(self.number));
        }
    }
}
