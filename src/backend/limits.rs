//! How many backends there may be, and who is next. This room knows no socket and no clock.
//!
//! A backend counts at four accounts: its *lane* (one customer at one server), its customer, its *host* (the server,
//! shared by customers) and the process; while it is leased, at its session's login too. What always holds: leased and
//! idle together never exceed a limit, but for a limit that was lowered under those who lease; whoever could be served
//! is never left waiting, but for what is spared; where there is room nobody is overtaken; nothing here walks all customers.
//!
//! Who is next: within a customer, who came first. Where customers compete for a host or for the process, the
//! customer that has the fewest backends in use there (max-min fair shares). Where a limit is reached by backends that
//! lie idle, one of the customer with the most is closed to make room; but one that was in use a moment ago is *spared*
//! while its lane has hardly more than the one that wants room, or two that compete would dial for each transaction.
//! Whoever waits for that asks [`again`](Turns::again).

mod evict;
mod fair;
mod slab;
#[cfg(test)]
mod tests;

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::Waker;

use slab::Slab;

/// Stands for "no limit".
pub const UNLIMITED: usize = 1 << 24;

/// Idle backends that are compared for the one that fits best.
const LOOKED_AT_MAX: usize = 8;

/// Locks; a panic elsewhere leaves the few numbers kept here usable.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Numbers of accounts. Each is looked up once, when a session sits down.
pub(super) type LoginId = usize;
pub(super) type LaneId = usize;
pub(super) type CustomerId = usize;
pub(super) type HostId = usize;
pub(super) type KindId = usize;
pub(super) type WaiterId = usize;

/// Where a session stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Place {
    pub(super) login: LoginId,
    pub(super) lane: LaneId,
    pub(super) kind: KindId,
}

/// The limit that a session waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Blocked {
    Login,
    Lane,
    Customer,
    Host,
    Everyone,
}

/// What a session gets when it is its turn.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Grant<T> {
    /// One that was idle.
    Ready(T),
    /// Room for one more: it counts already.
    Room,
    /// Nothing: its host or lane was given up.
    Nothing,
}

#[derive(Debug, Default)]
struct Count {
    max: usize,
    leased: usize,
    idle: usize,
}

impl Count {
    const fn has_room(&self) -> bool {
        self.leased < self.max
    }

    const fn backends(&self) -> usize {
        self.leased.saturating_add(self.idle)
    }
}

#[derive(Debug, Default)]
struct Login {
    max: usize,
    leased: usize,
    /// Its waiters that stand in a lane's queue; the others are parked.
    queued: usize,
    parked: BTreeMap<u64, WaiterId>,
}

impl Login {
    const fn has_room(&self) -> bool {
        self.leased.saturating_add(self.queued) < self.max
    }
}

/// The place of a lane among those that compete: how many it has in use, then who came first.
type Rank = (usize, u64);

#[derive(Debug, Default)]
struct Lane {
    customer: CustomerId,
    host: HostId,
    count: Count,
    /// Its limit as configured; it has a lower one while its server takes no more.
    wish: usize,
    queue: BTreeMap<u64, WaiterId>,
    /// Its ranks at its host, by its own use and by its customer's, while only host or process keep it waiting.
    ranks: Option<(Rank, Rank)>,
    /// Kinds that may have an idle backend, the one listed first in front.
    idle_kinds: BTreeSet<(u64, KindId)>,
    /// Its key among the greedy of its host.
    greed: Option<usize>,
}

#[derive(Debug, Default)]
struct Customer {
    count: Count,
    lanes: Vec<LaneId>,
    /// Its waiters in all lanes' queues.
    waiting: usize,
    greed: Option<usize>,
}

#[derive(Debug, Default)]
struct Host {
    count: Count,
    lanes: Vec<LaneId>,
    /// Lanes that only this host or the process keeps waiting, by their own use.
    by_lane: BTreeSet<(Rank, LaneId)>,
    /// The same lanes, by their customers' use.
    by_customer: BTreeSet<(Rank, LaneId)>,
    /// Its rank among the hosts that have room, while somebody waits for it.
    rank: Option<Rank>,
    /// Lanes that may have an idle backend, by how many backends they have.
    greedy: BTreeSet<(Reverse<usize>, LaneId)>,
}

#[derive(Debug)]
struct Kind<T> {
    lane: LaneId,
    seats: usize,
    /// The one used last is at the back.
    idle: VecDeque<T>,
    /// Its number among those of its lane that may have an idle backend.
    listed: Option<u64>,
}

impl<T> Default for Kind<T> {
    fn default() -> Self {
        Self { lane: 0, seats: 0, idle: VecDeque::new(), listed: None }
    }
}

#[derive(Debug)]
struct Waiter<T> {
    place: Place,
    number: u64,
    waker: Option<Waker>,
    grant: Option<Grant<T>>,
}

impl<T> Default for Waiter<T> {
    fn default() -> Self {
        Self { place: Place::default(), number: 0, waker: None, grant: None }
    }
}

/// What has to be done once the lock is free, in this order.
#[derive(Debug)]
pub(super) struct Aftermath<T> {
    /// Backends to close.
    pub(super) closed: Vec<T>,
    /// Sessions to wake.
    pub(super) wakers: Vec<Waker>,
    /// Kinds that are no more.
    pub(super) forgotten: Vec<KindId>,
}

impl<T> Default for Aftermath<T> {
    fn default() -> Self {
        Self { closed: Vec::new(), wakers: Vec::new(), forgotten: Vec::new() }
    }
}

impl<T> Aftermath<T> {
    pub(super) const fn is_empty(&self) -> bool {
        self.closed.is_empty() && self.wakers.is_empty() && self.forgotten.is_empty()
    }
}

/// All accounts, all idle backends, all who wait.
#[derive(Debug)]
pub(super) struct Turns<T> {
    logins: Slab<Login>,
    lanes: Slab<Lane>,
    customers: Slab<Customer>,
    hosts: Slab<Host>,
    kinds: Slab<Kind<T>>,
    waiters: Slab<Waiter<T>>,
    everyone: Count,
    /// Hosts with room that somebody waits for: only the process keeps them.
    hosts_waiting: BTreeSet<(Rank, HostId)>,
    /// Customers that may have an idle backend, by how many backends they have.
    greedy: BTreeSet<(Reverse<usize>, CustomerId)>,
    /// All who have no grant yet.
    waiting: usize,
    next_number: u64,
    aftermath: Aftermath<T>,
    /// Whether an idle backend was in use a moment ago.
    is_warm: fn(&T) -> bool,
}

impl<T> Turns<T> {
    /// `is_warm` tells whether an idle backend was in use a moment ago.
    pub(super) fn new(max: usize, is_warm: fn(&T) -> bool) -> Self {
        Self {
            is_warm,
            logins: Slab::default(),
            lanes: Slab::default(),
            customers: Slab::default(),
            hosts: Slab::default(),
            kinds: Slab::default(),
            waiters: Slab::default(),
            everyone: Count { max: max.min(UNLIMITED), ..Count::default() },
            hosts_waiting: BTreeSet::new(),
            greedy: BTreeSet::new(),
            waiting: 0,
            next_number: 0,
            aftermath: Aftermath::default(),
        }
    }

    pub(super) fn add_customer(&mut self) -> CustomerId {
        self.customers.insert(Customer::default())
    }

    pub(super) fn add_host(&mut self) -> HostId {
        self.hosts.insert(Host::default())
    }

    pub(super) fn add_login(&mut self) -> LoginId {
        self.logins.insert(Login::default())
    }

    pub(super) fn add_lane(&mut self, customer: CustomerId, host: HostId) -> LaneId {
        let lane = self.lanes.insert(Lane { customer, host, ..Lane::default() });
        self.customers.at_mut(customer).lanes.push(lane);
        self.hosts.at_mut(host).lanes.push(lane);
        lane
    }

    /// A kind, which is forgotten when it has neither a seat nor an idle backend.
    pub(super) fn add_kind(&mut self, lane: LaneId) -> KindId {
        self.kinds.insert(Kind { lane, ..Kind::default() })
    }

    pub(super) fn sit(&mut self, kind: KindId) {
        let kind = self.kinds.at_mut(kind);
        kind.seats = kind.seats.saturating_add(1);
    }

    pub(super) fn stand_up(&mut self, kind: KindId) {
        let entry = self.kinds.at_mut(kind);
        entry.seats = entry.seats.saturating_sub(1);
        self.forget(kind);
    }

    /// Leased and idle of the process.
    pub(super) const fn figures(&self) -> (usize, usize) {
        (self.everyone.leased, self.everyone.idle)
    }

    pub(super) fn figures_of(&self, customer: CustomerId) -> (usize, usize) {
        let count = &self.customers.at(customer).count;
        (count.leased, count.idle)
    }

    /// Whether anything is to be done once the lock is free.
    pub(super) fn take_aftermath(&mut self) -> Option<Aftermath<T>> {
        (!self.aftermath.is_empty()).then(|| std::mem::take(&mut self.aftermath))
    }

    /// An idle backend at once: the one that `score`s highest, the one used last among equals.
    pub(super) fn try_take(&mut self, place: Place, score: impl Fn(&T) -> u8) -> Option<T> {
        let idle = &self.kinds.at(place.kind).idle;
        if idle.is_empty() || self.blocked(place).is_some() {
            return None;
        }
        let last = idle.len().saturating_sub(1);
        let mut best = (last, 0);
        for (at, one) in idle.iter().enumerate().rev().take(LOOKED_AT_MAX) {
            let points = score(one);
            if points > best.1 {
                best = (at, points);
            }
            if points == u8::MAX {
                break;
            }
        }
        let taken = self.kinds.at_mut(place.kind).idle.remove(best.0)?;
        self.lease(place);
        self.shelve(place.lane, usize::saturating_sub);
        if self.waiting > 0 {
            // Its customer may wait elsewhere, and has one more in use now.
            self.rank_lanes_of(place.lane);
        }
        Some(taken)
    }

    /// Returns a backend to those that lie idle, and serves whoever waited for that.
    pub(super) fn give_back(&mut self, place: Place, backend: T) {
        let was_full = !self.everyone.has_room();
        self.unlease(place);
        self.shelve(place.lane, usize::saturating_add);
        self.kinds.at_mut(place.kind).idle.push_back(backend);
        self.list(place);
        self.trim(place.lane);
        self.served(place, was_full);
    }

    /// A leased backend is no more, or was never made.
    pub(super) fn lost(&mut self, place: Place) {
        let was_full = !self.everyone.has_room();
        self.unlease(place);
        self.rate(place.lane);
        self.served(place, was_full);
    }

    /// Closes the idle backends of a kind that are `over`; tells the oldest that stays.
    pub(super) fn reap(&mut self, kind: KindId, over: impl Fn(&T) -> bool) -> Option<&T> {
        let entry = self.kinds.at_mut(kind);
        let lane = entry.lane;
        for _ in 0..entry.idle.len() {
            let Some(one) = self.kinds.at_mut(kind).idle.pop_front() else { break };
            if over(&one) {
                self.shelve(lane, usize::saturating_sub);
                self.aftermath.closed.push(one);
            } else {
                self.kinds.at_mut(kind).idle.push_back(one);
            }
        }
        self.rate(lane);
        self.forget(kind);
        self.kinds.at(kind).idle.front()
    }

    /// The narrowest limit without room for one more.
    fn blocked(&self, place: Place) -> Option<Blocked> {
        let lane = self.lanes.at(place.lane);
        if !self.logins.at(place.login).has_room() {
            Some(Blocked::Login)
        } else if !lane.count.has_room() {
            Some(Blocked::Lane)
        } else if !self.customers.at(lane.customer).count.has_room() {
            Some(Blocked::Customer)
        } else if !self.hosts.at(lane.host).count.has_room() {
            Some(Blocked::Host)
        } else {
            (!self.everyone.has_room()).then_some(Blocked::Everyone)
        }
    }

    /// The four accounts at which a backend of this lane counts.
    fn counts(&mut self, lane: LaneId) -> [&mut Count; 4] {
        let lane = self.lanes.at_mut(lane);
        let customer = self.customers.at_mut(lane.customer);
        let host = self.hosts.at_mut(lane.host);
        [&mut lane.count, &mut customer.count, &mut host.count, &mut self.everyone]
    }

    fn lease(&mut self, place: Place) {
        for count in self.counts(place.lane) {
            count.leased = count.leased.saturating_add(1);
        }
        let login = self.logins.at_mut(place.login);
        login.leased = login.leased.saturating_add(1);
    }

    fn unlease(&mut self, place: Place) {
        for count in self.counts(place.lane) {
            count.leased = count.leased.saturating_sub(1);
        }
        let login = self.logins.at_mut(place.login);
        login.leased = login.leased.saturating_sub(1);
    }

    /// One more or one fewer lies idle.
    fn shelve(&mut self, lane: LaneId, change: impl Fn(usize, usize) -> usize) {
        for count in self.counts(lane) {
            count.idle = change(count.idle, 1);
        }
    }

    fn forget(&mut self, kind: KindId) {
        let entry = self.kinds.at(kind);
        if entry.seats == 0 && entry.idle.is_empty() {
            let Kind { lane, listed, .. } = self.kinds.remove(kind);
            if let Some(number) = listed {
                self.lanes.at_mut(lane).idle_kinds.remove(&(number, kind));
            }
            self.aftermath.forgotten.push(kind);
        }
    }
}
