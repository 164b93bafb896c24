//! Room where a limit is reached by backends that lie idle: whose is closed.

use std::cmp::Reverse;

use super::{CustomerId, HostId, KindId, LOOKED_AT_MAX, LaneId, Place, Turns};

impl<T> Turns<T> {
    /// Notes where an idle backend is. Notes are not taken back before somebody looks for one in vain, so that in the
    /// usual case a lease and its end change none.
    pub(super) fn list(&mut self, place: Place) {
        let Place { lane, kind, .. } = place;
        if self.kinds.at(kind).listed.is_none() {
            let number = self.number();
            self.kinds.at_mut(kind).listed = Some(number);
            self.lanes.at_mut(lane).idle_kinds.insert((number, kind));
        }
        let (customer, is_noted) = (self.lanes.at(lane).customer, self.lanes.at(lane).greed.is_some());
        if !is_noted || self.customers.at(customer).greed.is_none() {
            self.note(lane);
            self.note_customer(customer);
        }
    }

    /// Where a lane and its customer stand among the greedy, after a backend was made or has ended.
    pub(super) fn rate(&mut self, lane: LaneId) {
        if self.lanes.at(lane).greed.is_some() {
            self.note(lane);
        }
        let customer = self.lanes.at(lane).customer;
        if self.customers.at(customer).greed.is_some() {
            self.note_customer(customer);
        }
    }

    fn note(&mut self, lane: LaneId) {
        let entry = self.lanes.at_mut(lane);
        let greed = (entry.count.idle > 0).then(|| entry.count.backends());
        let before = std::mem::replace(&mut entry.greed, greed);
        if before != greed {
            let host = self.hosts.at_mut(entry.host);
            before.map(|backends| host.greedy.remove(&(Reverse(backends), lane)));
            greed.map(|backends| host.greedy.insert((Reverse(backends), lane)));
        }
    }

    fn note_customer(&mut self, customer: CustomerId) {
        let entry = self.customers.at_mut(customer);
        let greed = (entry.count.idle > 0).then(|| entry.count.backends());
        let before = std::mem::replace(&mut entry.greed, greed);
        if before != greed {
            before.map(|backends| self.greedy.remove(&(Reverse(backends), customer)));
            greed.map(|backends| self.greedy.insert((Reverse(backends), customer)));
        }
    }

    /// Makes room for one more backend in a lane whose limits all have room for one more lease: what is beyond that
    /// lies idle.
    pub(super) fn make_room(&mut self, lane: LaneId) {
        self.evict_until(lane, |backends, max| backends < max);
    }

    /// Closes idle backends beyond limits that were lowered.
    pub(super) fn trim(&mut self, lane: LaneId) {
        self.evict_until(lane, |backends, max| backends <= max);
    }

    /// Whether room for this lane could be made at its host only by closing a backend that is spared: it was in use a
    /// moment ago, and its lane has at most one more than this one, which has some.
    pub(super) fn must_spare(&self, lane: LaneId) -> bool {
        let entry = self.lanes.at(lane);
        let host = self.hosts.at(entry.host);
        if host.count.backends() < host.count.max || entry.count.idle > 0 || entry.count.backends() == 0 {
            return false;
        }
        let idle = |lane: LaneId| {
            let mut kinds = self.lanes.at(lane).idle_kinds.iter();
            kinds.find_map(|(_, kind)| self.kinds.at(*kind).idle.front())
        };
        let mut greedy = host.greedy.iter().take(LOOKED_AT_MAX);
        let victim = greedy.find_map(|(_, lane)| Some((*lane, idle(*lane)?)));
        victim.is_some_and(|(victim, backend)| {
            let most = entry.count.backends().saturating_add(1);
            self.lanes.at(victim).count.backends() <= most && (self.is_warm)(backend)
        })
    }

    fn evict_until(&mut self, lane: LaneId, fits: impl Fn(usize, usize) -> bool) {
        let (customer, host) = (self.lanes.at(lane).customer, self.lanes.at(lane).host);
        let over = |count: &super::Count| !fits(count.backends(), count.max);
        while over(&self.lanes.at(lane).count) && self.evict_in_lane(lane) {}
        while over(&self.customers.at(customer).count) && self.evict_in_customer(customer) {}
        while over(&self.hosts.at(host).count) && self.evict_in_host(host) {}
        while over(&self.everyone) && self.evict_somewhere() {}
    }

    /// The one that has been idle longest, of the kind that was noted first.
    fn evict_in_lane(&mut self, lane: LaneId) -> bool {
        while let Some((_, kind)) = self.lanes.at_mut(lane).idle_kinds.pop_first() {
            self.kinds.at_mut(kind).listed = None;
            let Some(backend) = self.kinds.at_mut(kind).idle.pop_front() else { continue };
            self.aftermath.closed.push(backend);
            self.shelve(lane, usize::saturating_sub);
            if !self.kinds.at(kind).idle.is_empty() {
                self.list_again(lane, kind);
            }
            self.rate(lane);
            self.forget(kind);
            return true;
        }
        false
    }

    fn list_again(&mut self, lane: LaneId, kind: KindId) {
        let number = self.number();
        self.kinds.at_mut(kind).listed = Some(number);
        self.lanes.at_mut(lane).idle_kinds.insert((number, kind));
    }

    fn evict_in_customer(&mut self, customer: CustomerId) -> bool {
        let lanes = &self.customers.at(customer).lanes;
        let most = lanes.iter().copied().max_by_key(|lane| self.lanes.at(*lane).count.idle);
        most.is_some_and(|lane| self.evict_in_lane(lane))
    }

    fn evict_in_host(&mut self, host: HostId) -> bool {
        while let Some((_, lane)) = self.hosts.at(host).greedy.first().copied() {
            if self.evict_in_lane(lane) {
                return true;
            }
            self.note(lane);
        }
        false
    }

    pub(super) fn evict_somewhere(&mut self) -> bool {
        while let Some((_, customer)) = self.greedy.first().copied() {
            if self.evict_in_customer(customer) {
                return true;
            }
            self.note_customer(customer);
        }
        false
    }
}
