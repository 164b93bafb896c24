//! The same decisions by a model that looks at everybody each time.

use std::collections::BTreeMap;

use super::*;

const CUSTOMERS: usize = 4;
const HOSTS: usize = 2;

/// What happens to a world of four customers with two lanes and two logins each.
#[derive(Debug, Clone, Copy)]
enum Step {
    Wait {
        customer: usize,
        host: usize,
        login: usize,
    },
    Take {
        customer: usize,
        host: usize,
        login: usize,
    },
    /// One of those who hold a lease or wait, by a number that is cut to fit.
    Return(usize),
    Lose(usize),
    Leave(usize),
    ResizeEveryone(usize),
    /// Of a lane, its customer or its host.
    Resize {
        customer: usize,
        host: usize,
        which: usize,
        max: Option<usize>,
    },
    ResizeLogin {
        customer: usize,
        login: usize,
        max: Option<usize>,
    },
    GiveUp(usize),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let (customer, host, login) = (0..CUSTOMERS, 0..HOSTS, 0..2usize);
    let who = (customer, host, login);
    let some = prop_oneof![Just(None), (1..5usize).prop_map(Some)];
    let step = prop_oneof![
        12 => who.clone().prop_map(|(customer, host, login)| Step::Wait { customer, host, login }),
        3 => who.clone().prop_map(|(customer, host, login)| Step::Take { customer, host, login }),
        8 => any::<usize>().prop_map(Step::Return),
        3 => any::<usize>().prop_map(Step::Lose),
        2 => any::<usize>().prop_map(Step::Leave),
        1 => (0..9usize).prop_map(Step::ResizeEveryone),
        1 => (who.clone(), 0..3usize, some.clone())
            .prop_map(|((customer, host, _), which, max)| Step::Resize { customer, host, which, max }),
        1 => (who, some).prop_map(|((customer, _, login), max)| Step::ResizeLogin { customer, login, max }),
        1 => (0..HOSTS).prop_map(Step::GiveUp),
    ];
    prop::collection::vec(step, 1..120)
}

#[derive(Debug, Clone, Copy)]
struct Who {
    customer: usize,
    host: usize,
    login: usize,
}

#[derive(Debug)]
struct World {
    turns: Turns<u32>,
    hosts: Vec<HostId>,
    lanes: BTreeMap<(usize, usize), (LaneId, KindId)>,
    logins: BTreeMap<(usize, usize), LoginId>,
    leased: Vec<Who>,
    /// In the order they came.
    waiting: Vec<(WaiterId, Who)>,
    everyone_max: usize,
    lane_max: BTreeMap<(usize, usize), usize>,
    customer_max: Vec<usize>,
    host_max: Vec<usize>,
    login_max: BTreeMap<(usize, usize), usize>,
    next_backend: u32,
}

impl World {
    fn new() -> Self {
        let mut turns = Turns::new(5, |_| false);
        let hosts: Vec<_> = (0..HOSTS).map(|_| turns.add_host()).collect();
        let (mut lanes, mut logins) = (BTreeMap::new(), BTreeMap::new());
        for customer in 0..CUSTOMERS {
            let account = turns.add_customer();
            for (at, host) in hosts.iter().enumerate() {
                let lane = turns.add_lane(account, *host);
                turns.resize(lane, [None; 3]);
                let kind = turns.add_kind(lane);
                turns.sit(kind);
                lanes.insert((customer, at), (lane, kind));
            }
            for login in 0..2 {
                let account = turns.add_login();
                turns.resize_login(account, None);
                logins.insert((customer, login), account);
            }
        }
        Self {
            turns,
            hosts,
            lanes,
            logins,
            leased: Vec::new(),
            waiting: Vec::new(),
            everyone_max: 5,
            lane_max: BTreeMap::new(),
            customer_max: vec![UNLIMITED; CUSTOMERS],
            host_max: vec![UNLIMITED; HOSTS],
            login_max: BTreeMap::new(),
            next_backend: 0,
        }
    }

    fn place(&self, who: Who) -> Place {
        let (lane, kind) = self.lanes[&(who.customer, who.host)];
        Place { login: self.logins[&(who.customer, who.login)], lane, kind }
    }

    fn count(&self, fits: impl Fn(&Who) -> bool) -> usize {
        self.leased.iter().filter(|who| fits(who)).count()
    }

    /// Whether every limit has room for one more lease.
    fn has_room(&self, who: Who) -> bool {
        let max = |of: Option<&usize>| of.copied().unwrap_or(UNLIMITED);
        let Who { customer, host, login } = who;
        self.leased.len() < self.everyone_max
            && self.count(|other| other.host == host) < self.host_max[host]
            && self.count(|other| other.customer == customer) < self.customer_max[customer]
            && self.count(|other| (other.customer, other.host) == (customer, host))
                < max(self.lane_max.get(&(customer, host)))
            && self.count(|other| (other.customer, other.login) == (customer, login))
                < max(self.login_max.get(&(customer, login)))
    }

    fn run(&mut self, step: Step) {
        match step {
            Step::Wait { customer, host, login } => {
                let who = Who { customer, host, login };
                let waiter = self.turns.wait(self.place(who), None);
                self.waiting.push((waiter, who));
            }
            Step::Take { customer, host, login } => {
                let who = Who { customer, host, login };
                let may = self.has_room(who);
                if self.turns.try_take(self.place(who), |_| 0).is_some() {
                    assert!(may, "beyond a limit");
                    self.leased.push(who);
                }
            }
            Step::Return(at) if !self.leased.is_empty() => {
                let who = self.leased.remove(at % self.leased.len());
                self.next_backend += 1;
                self.turns.give_back(self.place(who), self.next_backend);
            }
            Step::Lose(at) if !self.leased.is_empty() => {
                let who = self.leased.remove(at % self.leased.len());
                self.turns.lost(self.place(who));
            }
            Step::Leave(at) if !self.waiting.is_empty() => {
                let (waiter, _) = self.waiting.remove(at % self.waiting.len());
                self.turns.leave(waiter);
            }
            Step::Return(_) | Step::Lose(_) | Step::Leave(_) => {}
            Step::ResizeEveryone(max) => {
                self.everyone_max = max;
                self.turns.resize_everyone(max);
            }
            Step::Resize { customer, host, which, max } => {
                let wish = max.unwrap_or(UNLIMITED);
                let lane = self.lanes[&(customer, host)].0;
                match which {
                    0 => {
                        self.lane_max.insert((customer, host), wish);
                        self.turns.resize_lane(lane, max);
                    }
                    1 => {
                        self.customer_max[customer] = wish;
                        let account = self.turns.lanes.at(lane).customer;
                        self.turns.resize_customer(account, max);
                    }
                    _ => {
                        self.host_max[host] = wish;
                        self.turns.resize_host(self.hosts[host], max);
                    }
                }
            }
            Step::ResizeLogin { customer, login, max } => {
                self.login_max.insert((customer, login), max.unwrap_or(UNLIMITED));
                self.turns.resize_login(self.logins[&(customer, login)], max);
            }
            Step::GiveUp(host) => self.turns.give_up_host(self.hosts[host]),
        }
    }

    /// Fetches the grants of this step, at most one at a time where customers compete, and checks each choice.
    fn fetch(&mut self, was_full: bool, host_was_full: [bool; HOSTS], is_choice: bool) {
        let granted: Vec<_> = self
            .waiting
            .iter()
            .copied()
            .filter(|(waiter, _)| self.turns.waiters.at(*waiter).grant.is_some())
            .collect();
        let choices = granted.len();
        for (waiter, who) in granted {
            let grant = self.turns.poll(waiter, Waker::noop()).unwrap();
            let at = self.waiting.iter().position(|(other, _)| *other == waiter).unwrap();
            if grant == Grant::Nothing {
                self.waiting.remove(at);
                continue;
            }
            assert!(self.has_room(who), "{who:?} is beyond a limit");
            if choices == 1 && is_choice {
                self.check_choice(at, was_full, host_was_full);
            }
            self.waiting.remove(at);
            self.leased.push(who);
        }
    }

    /// Nobody else who could have been served had a better claim.
    fn check_choice(&self, at: usize, was_full: bool, host_was_full: [bool; HOSTS]) {
        let (_, chosen) = self.waiting[at];
        let mine = |who: Who| self.count(|other| other.customer == who.customer);
        let here = |who: Who| self.count(|other| (other.customer, other.host) == (who.customer, who.host));
        for (other_at, (waiter, other)) in self.waiting.iter().enumerate() {
            let parked = self.turns.blocked_by(*waiter) == Blocked::Login;
            if other_at == at || parked || !self.has_room(*other) {
                continue;
            }
            if other.customer == chosen.customer {
                assert!(at < other_at, "{chosen:?} came after {other:?}");
            } else if was_full {
                assert!(mine(chosen) <= mine(*other), "{chosen:?} has more in all than {other:?}");
            } else if host_was_full[chosen.host] && other.host == chosen.host {
                assert!(here(chosen) <= here(*other), "{chosen:?} has more there than {other:?}");
            }
        }
    }

    fn check(&self) {
        let (leased, idle) = self.turns.figures();
        assert_eq!((leased, self.turns.waiting), (self.leased.len(), self.waiting.len()));
        for (_, who) in &self.waiting {
            // A login keeps room for those of its waiters that went on, so count them as if they were served.
            let login = self.turns.logins.at(self.place(*who).login);
            assert!(!self.has_room(*who) || !login.parked.is_empty(), "{who:?} waits for nothing");
        }
        if self.leased.len() <= self.everyone_max {
            assert!(leased + idle <= self.everyone_max, "{idle} idle beyond the limit of all");
        } else {
            assert_eq!(idle, 0);
        }
        for host in 0..HOSTS {
            let count = &self.turns.hosts.at(self.hosts[host]).count;
            assert_eq!(count.leased, self.count(|who| who.host == host));
        }
        let lying: usize = self.lanes.values().map(|(_, kind)| self.turns.kinds.at(*kind).idle.len()).sum();
        assert_eq!(idle, lying);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn every_choice_is_fair_and_no_permit_is_lost(steps in steps()) {
        let mut world = World::new();
        for step in steps {
            let was_full = world.leased.len() >= world.everyone_max;
            let host_was_full =
                std::array::from_fn(|host| world.count(|who| who.host == host) >= world.host_max[host]);
            let is_choice = matches!(step, Step::Return(_) | Step::Lose(_));
            world.run(step);
            world.fetch(was_full, host_was_full, is_choice);
            world.check();
        }
        while let Some(who) = world.leased.pop() {
            world.turns.lost(world.place(who));
            world.fetch(false, [false; HOSTS], false);
        }
        // What still waits has a limit of nought.
        for (waiter, _) in std::mem::take(&mut world.waiting) {
            world.turns.leave(waiter);
        }
        assert_eq!((world.turns.figures().0, world.turns.waiting, world.turns.waiters.len()), (0, 0, 0));
        assert!(world.turns.hosts_waiting.is_empty());
    }
}
