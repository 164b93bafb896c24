//! Who is next.
//!
//! What always holds: a session waits in its lane's queue, or, while its login's limit is reached, is parked with its
//! login; a lane is ranked at its host while it has a queue and room and its customer has room; a host is ranked
//! while it has room and a ranked lane. So whoever could be served stands first in `hosts_waiting`.

use std::task::Waker;

use super::{
    Blocked, CustomerId, Grant, HostId, LOOKED_AT_MAX, LaneId, LoginId, Place, Turns, UNLIMITED, Waiter,
    WaiterId,
};

impl<T> Turns<T> {
    pub(super) fn number(&mut self) -> u64 {
        self.next_number = self.next_number.saturating_add(1);
        self.next_number
    }

    /// Stands in the queue, at its end or where it stood before; [`Turns::poll`] may have a grant at once.
    pub(in crate::backend) fn wait(&mut self, place: Place, before: Option<u64>) -> WaiterId {
        let number = before.unwrap_or_else(|| self.number());
        let waiter = self.waiters.insert(Waiter { place, number, ..Waiter::default() });
        self.waiting = self.waiting.saturating_add(1);
        if self.logins.at(place.login).has_room() {
            self.enqueue(waiter);
            self.rank_lanes_of(place.lane);
            self.serve(false);
        } else {
            self.logins.at_mut(place.login).parked.insert(number, waiter);
        }
        waiter
    }

    /// Where a session stands.
    pub(in crate::backend) fn standing(&self, waiter: WaiterId) -> u64 {
        self.waiters.at(waiter).number
    }

    /// The grant, after which the number stands for nobody; or `waker` is woken when there is one.
    pub(in crate::backend) fn poll(&mut self, waiter: WaiterId, waker: &Waker) -> Option<Grant<T>> {
        let entry = self.waiters.at_mut(waiter);
        if entry.grant.is_some() {
            return self.waiters.remove(waiter).grant;
        }
        match &mut entry.waker {
            Some(known) => known.clone_from(waker),
            none => *none = Some(waker.clone()),
        }
        None
    }

    /// Leaves the queue; a grant that nobody fetched goes to the next.
    pub(in crate::backend) fn leave(&mut self, waiter: WaiterId) {
        let Waiter { place, number, grant, .. } = self.waiters.remove(waiter);
        match grant {
            Some(Grant::Ready(backend)) => self.give_back(place, backend),
            Some(Grant::Room) => self.lost(place),
            Some(Grant::Nothing) => {}
            None => {
                self.waiting = self.waiting.saturating_sub(1);
                if self.logins.at_mut(place.login).parked.remove(&number).is_none() {
                    self.unqueue(place, number);
                    self.rank_lanes_of(place.lane);
                    self.unpark(place.login);
                    self.serve(false);
                }
            }
        }
    }

    /// What keeps this session waiting.
    pub(in crate::backend) fn blocked_by(&self, waiter: WaiterId) -> Blocked {
        let Waiter { place, number, .. } = self.waiters.at(waiter);
        if self.logins.at(place.login).parked.contains_key(number) {
            return Blocked::Login;
        }
        let lane = self.lanes.at(place.lane);
        if !lane.count.has_room() {
            Blocked::Lane
        } else if !self.customers.at(lane.customer).count.has_room() {
            Blocked::Customer
        } else if !self.hosts.at(lane.host).count.has_room() {
            Blocked::Host
        } else {
            Blocked::Everyone
        }
    }

    /// Sends away all who wait for a lane; they have a [`Grant::Nothing`].
    pub(in crate::backend) fn give_up_lane(&mut self, lane: LaneId) {
        let queue = std::mem::take(&mut self.lanes.at_mut(lane).queue);
        for waiter in queue.into_values() {
            self.waiting = self.waiting.saturating_sub(1);
            let entry = self.waiters.at_mut(waiter);
            entry.grant = Some(Grant::Nothing);
            self.aftermath.wakers.extend(entry.waker.take());
            let (login, customer) = (entry.place.login, self.lanes.at(lane).customer);
            let login = self.logins.at_mut(login);
            login.queued = login.queued.saturating_sub(1);
            let customer = self.customers.at_mut(customer);
            customer.waiting = customer.waiting.saturating_sub(1);
            let login = self.waiters.at(waiter).place.login;
            self.unpark(login);
        }
        self.rank_lanes_of(lane);
        self.serve(false);
    }

    /// Sends away all who wait for a host.
    pub(in crate::backend) fn give_up_host(&mut self, host: HostId) {
        for lane in self.hosts.at(host).lanes.clone() {
            if !self.lanes.at(lane).queue.is_empty() {
                self.give_up_lane(lane);
            }
        }
    }

    pub(in crate::backend) fn resize_login(&mut self, login: LoginId, max: Option<usize>) {
        let max = max.unwrap_or(UNLIMITED).min(UNLIMITED);
        if std::mem::replace(&mut self.logins.at_mut(login).max, max) != max {
            self.unpark(login);
            self.serve(true);
        }
    }

    pub(in crate::backend) fn resize_lane(&mut self, lane: LaneId, max: Option<usize>) {
        let max = max.unwrap_or(UNLIMITED).min(UNLIMITED);
        let entry = self.lanes.at_mut(lane);
        if std::mem::replace(&mut entry.wish, max) != max {
            entry.count.max = max;
            self.trim(lane);
            self.rank_lanes_of(lane);
            self.serve(true);
        }
    }

    /// A lane's server took no more than it has: its sessions wait for those, but for the one that is being dialled and
    /// still counts. False when there are no others to wait for.
    pub(in crate::backend) fn cap_lane(&mut self, lane: LaneId) -> bool {
        let entry = self.lanes.at_mut(lane);
        let others = entry.count.backends().saturating_sub(1);
        if others > 0 {
            entry.count.max = others.min(entry.count.max);
            self.rank_lanes_of(lane);
        }
        others > 0
    }

    pub(in crate::backend) fn uncap_lane(&mut self, lane: LaneId) {
        let entry = self.lanes.at_mut(lane);
        entry.count.max = entry.wish;
        self.rank_lanes_of(lane);
        self.serve(true);
    }

    pub(in crate::backend) fn resize_customer(&mut self, customer: CustomerId, max: Option<usize>) {
        let max = max.unwrap_or(UNLIMITED).min(UNLIMITED);
        let entry = self.customers.at_mut(customer);
        if std::mem::replace(&mut entry.count.max, max) != max {
            if let Some(lane) = entry.lanes.first().copied() {
                self.trim(lane);
                self.rank_lanes_of(lane);
            }
            self.serve(true);
        }
    }

    pub(in crate::backend) fn resize_host(&mut self, host: HostId, max: Option<usize>) {
        let max = max.unwrap_or(UNLIMITED).min(UNLIMITED);
        let entry = self.hosts.at_mut(host);
        if std::mem::replace(&mut entry.count.max, max) != max {
            if let Some(lane) = entry.lanes.first().copied() {
                self.trim(lane);
            }
            self.rank_host(host);
            self.serve(true);
        }
    }

    pub(in crate::backend) fn resize_everyone(&mut self, max: usize) {
        self.everyone.max = max.min(UNLIMITED);
        while self.everyone.backends() > self.everyone.max && self.evict_somewhere() {}
        self.serve(true);
    }

    /// A lease of this place has ended: whoever waited for that is served.
    pub(super) fn served(&mut self, place: Place, was_full: bool) {
        if self.waiting > 0 {
            self.unpark(place.login);
            self.rank_lanes_of(place.lane);
            self.serve(was_full);
        }
    }

    fn enqueue(&mut self, waiter: WaiterId) {
        let Waiter { place, number, .. } = *self.waiters.at(waiter);
        let lane = self.lanes.at_mut(place.lane);
        lane.queue.insert(number, waiter);
        let customer = self.customers.at_mut(lane.customer);
        customer.waiting = customer.waiting.saturating_add(1);
        let login = self.logins.at_mut(place.login);
        login.queued = login.queued.saturating_add(1);
    }

    fn unqueue(&mut self, place: Place, number: u64) {
        let lane = self.lanes.at_mut(place.lane);
        lane.queue.remove(&number);
        let customer = self.customers.at_mut(lane.customer);
        customer.waiting = customer.waiting.saturating_sub(1);
        let login = self.logins.at_mut(place.login);
        login.queued = login.queued.saturating_sub(1);
    }

    /// Those who came first among a login's parked ones go to their lanes, as many as it has room for.
    fn unpark(&mut self, login: LoginId) {
        while self.logins.at(login).has_room() {
            let Some((_, waiter)) = self.logins.at_mut(login).parked.pop_first() else { return };
            self.enqueue(waiter);
            self.rank_lanes_of(self.waiters.at(waiter).place.lane);
        }
    }

    /// Ranks the lanes of a lane's customer anew, and their hosts: few, for a customer has few servers.
    pub(super) fn rank_lanes_of(&mut self, lane: LaneId) {
        let (customer, host) = (self.lanes.at(lane).customer, self.lanes.at(lane).host);
        let lanes = self.customers.at(customer).lanes.len();
        for at in 0..lanes {
            if let Some(lane) = self.customers.at(customer).lanes.get(at).copied() {
                self.rank(lane);
            }
        }
        self.rank_host(host);
    }

    fn rank(&mut self, lane: LaneId) {
        let entry = self.lanes.at(lane);
        let of_customer = &self.customers.at(entry.customer).count;
        let may_run = entry.count.has_room() && of_customer.has_room();
        let first = entry.queue.first_key_value().map(|(number, _)| *number).filter(|_| may_run);
        let ranks = first.map(|number| ((entry.count.leased, number), (of_customer.leased, number)));
        let (before, host) = (entry.ranks, entry.host);
        if before == ranks {
            return;
        }
        self.lanes.at_mut(lane).ranks = ranks;
        let entry = self.hosts.at_mut(host);
        if let Some((own, customers)) = before {
            entry.by_lane.remove(&(own, lane));
            entry.by_customer.remove(&(customers, lane));
        }
        if let Some((own, customers)) = ranks {
            entry.by_lane.insert((own, lane));
            entry.by_customer.insert((customers, lane));
        }
        self.rank_host(host);
    }

    fn rank_host(&mut self, host: HostId) {
        let entry = self.hosts.at_mut(host);
        let first = entry.by_customer.first().map(|(rank, _)| *rank);
        let rank = first.filter(|_| entry.count.has_room());
        let before = std::mem::replace(&mut entry.rank, rank);
        if before != rank {
            before.map(|rank| self.hosts_waiting.remove(&(rank, host)));
            rank.map(|rank| self.hosts_waiting.insert((rank, host)));
        }
    }

    /// What was spared a moment ago may not be any more.
    pub(in crate::backend) fn again(&mut self) {
        self.serve(true);
    }

    /// Serves all that can be served. Where the process was the shortage, the customer that has the fewest in all is
    /// next; else the one that has the fewest at the host.
    fn serve(&mut self, process_was_short: bool) {
        while self.everyone.has_room() {
            let Some(lane) = self.next_lane(process_was_short) else { return };
            self.grant(lane);
        }
    }

    /// The first in the order that need not wait for a backend that is spared.
    fn next_lane(&self, process_was_short: bool) -> Option<LaneId> {
        let next = self.hosts_waiting.iter().take(LOOKED_AT_MAX).find_map(|(_, host)| {
            let host = self.hosts.at(*host);
            let ranked = if process_was_short { &host.by_customer } else { &host.by_lane };
            let mut lanes = ranked.iter().take(LOOKED_AT_MAX).map(|(_, lane)| *lane);
            lanes.find(|lane| !self.must_spare(*lane))
        });
        next.map(|lane| self.earliest_of_customer(lane))
    }

    /// Whose turn it is may have come earlier at another host, which the same lease kept full: a customer's own are served
    /// in the order they came.
    fn earliest_of_customer(&self, lane: LaneId) -> LaneId {
        let number = |lane: LaneId| {
            let entry = self.lanes.at(lane);
            let ((_, number), _) = entry.ranks.filter(|_| self.hosts.at(entry.host).rank.is_some())?;
            Some(number).filter(|_| !self.must_spare(lane))
        };
        let lanes = self.customers.at(self.lanes.at(lane).customer).lanes.iter().copied();
        let first = lanes.filter_map(|lane| Some((number(lane)?, lane))).min_by_key(|(number, _)| *number);
        first.map_or(lane, |(_, lane)| lane)
    }

    /// A backend, or room for one, to the first in a lane's queue.
    fn grant(&mut self, lane: LaneId) {
        let Some((number, waiter)) = self.lanes.at(lane).queue.first_key_value() else { return };
        let (number, waiter) = (*number, *waiter);
        let place = self.waiters.at(waiter).place;
        self.unqueue(place, number);
        let login = self.logins.at_mut(place.login);
        if login.leased >= login.max {
            // The login's limit was lowered since.
            login.parked.insert(number, waiter);
            return self.rank_lanes_of(lane);
        }
        self.waiting = self.waiting.saturating_sub(1);
        let grant = match self.kinds.at_mut(place.kind).idle.pop_back() {
            Some(backend) => {
                self.shelve(lane, usize::saturating_sub);
                Grant::Ready(backend)
            }
            None => {
                self.make_room(lane);
                Grant::Room
            }
        };
        self.lease(place);
        self.rate(lane);
        let entry = self.waiters.at_mut(waiter);
        entry.grant = Some(grant);
        self.aftermath.wakers.extend(entry.waker.take());
        self.rank_lanes_of(lane);
    }
}
