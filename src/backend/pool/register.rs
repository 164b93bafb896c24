//! What the process knows by name: customers, servers, logins, kinds of backends, each with its account.
//!
//! What always holds: a kind is known while a session sits at it or a backend of it lies idle, and then vanishes;
//! the others stay, for they come from the configuration and are as few.

use std::collections::{BTreeSet, HashMap};
use std::hash::{Hash, Hasher};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use super::breaker::Breaker;
use super::kept::Kept;
use crate::backend::connect::Destination;
use crate::backend::limits::{self, HostId, KindId, LaneId, LoginId, Place, Turns, lock};
use crate::backend::{ParameterMap, Settings};
use crate::config::{Config, PoolMode};
use crate::customers::{Catalogue, Customer, Server};
use crate::ids::{CustomerId, DatabaseName, LoginName};

/// How long a server that took no more is believed to be full.
const CAP: Duration = Duration::from_secs(1);

/// What makes two backends the same kind. A changed server, password included, makes another kind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Kind {
    pub(super) customer: CustomerId,
    pub(super) server: Arc<Server>,
    pub(super) database: DatabaseName,
    pub(super) settings: Settings,
    /// Backends that go from session to session as they are never mix with those that are scrubbed.
    pub(super) mode: PoolMode,
    /// Never used twice: it is not mixed with those that are.
    pub(super) fresh: bool,
}

impl Hash for Kind {
    fn hash<H: Hasher>(&self, state: &mut H) {
        (&self.customer, &self.database, &self.settings, self.fresh).hash(state);
        (&self.server.host, self.server.port, &self.server.role).hash(state);
    }
}

/// One kind, as its sessions see it.
#[derive(Debug)]
pub(super) struct Shelf {
    pub(super) kind: Kind,
    /// What the last backend reported; equal ones share its memory.
    parameters: Mutex<ParameterMap>,
    /// It will be looked at for backends that lie idle too long.
    is_due: AtomicBool,
}

impl Shelf {
    /// What the last backend reported, if there was one.
    pub(super) fn parameters(&self) -> Option<ParameterMap> {
        let parameters = lock(&self.parameters);
        (*parameters != ParameterMap::default()).then(|| parameters.clone())
    }

    /// Remembers what a new backend reports.
    pub(super) fn learn(&self, reported: &mut ParameterMap) {
        let mut last = lock(&self.parameters);
        reported.share(&last);
        *last = reported.clone();
    }
}

/// A customer's server, or a server, with its account.
type Known<Id> = (Id, Arc<Breaker>);

/// What a session is told when it sits down.
pub(super) struct Seated {
    pub(super) place: Place,
    pub(super) host: HostId,
    pub(super) shelf: Arc<Shelf>,
    pub(super) lane_breaker: Arc<Breaker>,
    pub(super) host_breaker: Arc<Breaker>,
}

/// All accounts with their names; behind one lock, which nobody holds for long.
pub(super) struct Register {
    pub(super) turns: Turns<Box<Kept>>,
    customers: HashMap<CustomerId, limits::CustomerId>,
    hosts: HashMap<(Box<str>, u16), Known<HostId>>,
    lanes: HashMap<(limits::CustomerId, HostId), Known<LaneId>>,
    logins: HashMap<(limits::CustomerId, LoginName), LoginId>,
    /// For leases without a login.
    nobody: LoginId,
    kinds: HashMap<Kind, (KindId, Arc<Shelf>)>,
    shelves: HashMap<KindId, Arc<Shelf>>,
    due: BTreeSet<(Instant, KindId)>,
    /// Lanes whose server took no more, until when.
    capped: BTreeSet<(Instant, LaneId)>,
    pub(super) idle_timeout: Duration,
    pub(super) lifetime: Duration,
}

impl Register {
    pub(super) fn new(config: &Config) -> Self {
        let mut turns: Turns<Box<Kept>> = Turns::new(config.limits.backends_max, |kept| kept.is_warm());
        let nobody = turns.add_login();
        turns.resize_login(nobody, None);
        Self {
            turns,
            customers: HashMap::new(),
            hosts: HashMap::new(),
            lanes: HashMap::new(),
            logins: HashMap::new(),
            nobody,
            kinds: HashMap::new(),
            shelves: HashMap::new(),
            due: BTreeSet::new(),
            capped: BTreeSet::new(),
            idle_timeout: Duration::from_millis(config.pool.idle_timeout_ms.max(1)),
            lifetime: Duration::from_millis(config.pool.lifetime_ms),
        }
    }

    /// Takes a reloaded configuration.
    pub(super) fn reconfigure(&mut self, config: &Config) {
        self.turns.resize_everyone(config.limits.backends_max);
        self.idle_timeout = Duration::from_millis(config.pool.idle_timeout_ms.max(1));
        self.lifetime = Duration::from_millis(config.pool.lifetime_ms);
        for ((host, port), (id, _)) in &self.hosts {
            self.turns.resize_host(*id, config.server_backends_max(host, *port));
        }
    }

    /// Takes reloaded customers: the limits of those that are known here. Whoever is gone keeps its last ones.
    pub(super) fn relimit(&mut self, catalogue: &Catalogue) {
        let mut known = HashMap::new();
        for (id, account) in &self.customers {
            if let Some(customer) = catalogue.customers.get(id) {
                self.turns.resize_customer(*account, customer.limits.backends_max);
                known.insert(*account, customer);
            }
        }
        for ((account, name), login) in &self.logins {
            if let Some(entry) = known.get(account).and_then(|customer| customer.logins.get(name)) {
                self.turns.resize_login(*login, entry.backends_max);
            }
        }
        let addresses: HashMap<HostId, _> =
            self.hosts.iter().map(|(address, (id, _))| (*id, address)).collect();
        for ((account, host), (lane, _)) in &self.lanes {
            let (Some(customer), Some((host, port))) = (known.get(account), addresses.get(host)) else {
                continue;
            };
            let is_here = |server: &&Arc<Server>| *server.host == **host && server.port == *port;
            if let Some(server) = customer.databases.iter().map(|rule| &rule.server).find(is_here) {
                self.turns.resize_lane(*lane, server.backends_max);
            }
        }
    }

    pub(super) fn account_of(&self, customer: &CustomerId) -> Option<limits::CustomerId> {
        self.customers.get(customer).copied()
    }

    #[cfg(test)]
    pub(super) fn kinds(&self) -> usize {
        self.kinds.len()
    }

    /// Looks everything up, and sets the limits as they are configured now.
    pub(super) fn sit(
        &mut self,
        customer: &Customer,
        login: Option<&LoginName>,
        to: &Destination,
        (kind, config): (Kind, &Config),
    ) -> Seated {
        let of_customer =
            *self.customers.entry(customer.id.clone()).or_insert_with(|| self.turns.add_customer());
        let address = (to.server.host.as_str().into(), to.server.port);
        let (host, host_breaker) =
            self.hosts.entry(address).or_insert_with(|| (self.turns.add_host(), Arc::default())).clone();
        let lane = self.lanes.entry((of_customer, host));
        let (lane, lane_breaker) =
            lane.or_insert_with(|| (self.turns.add_lane(of_customer, host), Arc::default())).clone();
        let host_max = config.server_backends_max(&to.server.host, to.server.port);
        self.turns.resize_lane(lane, to.server.backends_max);
        self.turns.resize_customer(of_customer, customer.limits.backends_max);
        self.turns.resize_host(host, host_max);
        let login = login.map_or(self.nobody, |login| {
            let max = customer.logins.get(login).and_then(|login| login.backends_max);
            let key = (of_customer, login.clone());
            let login = *self.logins.entry(key).or_insert_with(|| self.turns.add_login());
            self.turns.resize_login(login, max);
            login
        });
        let (kind, shelf) = self.shelf(kind, lane);
        self.turns.sit(kind);
        Seated { place: Place { login, lane, kind }, host, shelf, lane_breaker, host_breaker }
    }

    fn shelf(&mut self, kind: Kind, lane: LaneId) -> (KindId, Arc<Shelf>) {
        if let Some((id, shelf)) = self.kinds.get(&kind) {
            return (*id, Arc::clone(shelf));
        }
        let id = self.turns.add_kind(lane);
        let (parameters, is_due) = (Mutex::default(), AtomicBool::new(false));
        let shelf = Arc::new(Shelf { kind: kind.clone(), parameters, is_due });
        self.kinds.insert(kind, (id, Arc::clone(&shelf)));
        self.shelves.insert(id, Arc::clone(&shelf));
        (id, shelf)
    }

    pub(super) fn forget(&mut self, kind: KindId) {
        if let Some(shelf) = self.shelves.remove(&kind) {
            self.kinds.remove(&shelf.kind);
        }
    }

    /// A lane's server took no more: its sessions wait for the backends it has, if it has any but the one that could
    /// not be dialled. Tells when more may be tried.
    pub(super) fn cap(&mut self, lane: LaneId, now: Instant) -> Option<Instant> {
        if !self.turns.cap_lane(lane) {
            return None;
        }
        let until = now.checked_add(CAP).unwrap_or(now);
        self.capped.insert((until, lane));
        Some(until)
    }

    /// Ends the caps that have lasted long enough.
    pub(super) fn uncap(&mut self, now: Instant) {
        while let Some((until, lane)) = self.capped.first().copied().filter(|(until, _)| *until <= now) {
            self.capped.remove(&(until, lane));
            self.turns.uncap_lane(lane);
        }
    }

    /// Lays a backend down.
    pub(super) fn lay_down(&mut self, place: Place, shelf: &Shelf, kept: Box<Kept>) {
        if !shelf.is_due.swap(true, Ordering::Relaxed) {
            let due = kept.idle_since.checked_add(self.idle_timeout).unwrap_or(kept.idle_since);
            self.due.insert((due, place.kind));
        }
        self.uncap(kept.idle_since);
        self.turns.give_back(place, kept);
    }

    /// Whether nothing lies idle.
    pub(super) fn is_nothing_due(&self) -> bool {
        self.due.is_empty()
    }

    /// Closes what has been idle too long by `now`; tells whether there is anything left to look at later.
    pub(super) fn reap(&mut self, now: Instant) -> bool {
        let (idle, lifetime) = (self.idle_timeout, self.lifetime);
        while let Some((due, kind)) = self.due.first().copied().filter(|(due, _)| *due <= now) {
            self.due.remove(&(due, kind));
            let is_over = |kept: &Kept| {
                now.saturating_duration_since(kept.idle_since) >= idle
                    || now.saturating_duration_since(kept.backend.dialled_at) >= lifetime
            };
            let next = self
                .turns
                .reap(kind, |kept| is_over(kept))
                .and_then(|kept| kept.idle_since.checked_add(idle));
            match (next, self.shelves.get(&kind)) {
                (Some(next), Some(_)) => drop(self.due.insert((next, kind))),
                (None, Some(shelf)) => shelf.is_due.store(false, Ordering::Relaxed),
                (_, None) => {}
            }
        }
        !self.due.is_empty()
    }
}
