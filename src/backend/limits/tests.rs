//! Turns, step by step and against a simple model.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::Wake;

use proptest::prelude::*;

use super::*;

impl<T> Turns<T> {
    /// The limits of a lane, its customer and its host.
    fn resize(&mut self, lane: LaneId, [of_lane, of_customer, of_host]: [Option<usize>; 3]) {
        let (customer, host) = (self.lanes.at(lane).customer, self.lanes.at(lane).host);
        self.resize_lane(lane, of_lane);
        self.resize_customer(customer, of_customer);
        self.resize_host(host, of_host);
    }
}

/// One customer at one host, with one login and one kind.
struct Stand {
    customer: CustomerId,
    place: Place,
}

fn stand(turns: &mut Turns<u32>, host: HostId, max: Option<usize>) -> Stand {
    let customer = turns.add_customer();
    let place = place(turns, customer, host, [None, max, None]);
    Stand { customer, place }
}

fn place(turns: &mut Turns<u32>, customer: CustomerId, host: HostId, max: [Option<usize>; 3]) -> Place {
    let (lane, login) = (turns.add_lane(customer, host), turns.add_login());
    turns.resize(lane, max);
    turns.resize_login(login, None);
    let kind = turns.add_kind(lane);
    turns.sit(kind);
    Place { login, lane, kind }
}

fn poll(turns: &mut Turns<u32>, waiter: WaiterId) -> Option<Grant<u32>> {
    turns.poll(waiter, Waker::noop())
}

fn granted(turns: &mut Turns<u32>, waiters: &[WaiterId]) -> Vec<usize> {
    let mut found = Vec::new();
    for (at, waiter) in waiters.iter().enumerate() {
        if turns.waiters.at(*waiter).grant.is_some() {
            found.push(at);
        }
    }
    found
}

#[test]
fn within_a_customer_who_came_first_is_served_first() {
    let mut turns = Turns::new(1, |_| false);
    let host = turns.add_host();
    let one = stand(&mut turns, host, None);
    let first = turns.wait(one.place, None);
    assert_eq!(poll(&mut turns, first), Some(Grant::Room));
    let waiters: Vec<_> = (0..4).map(|_| turns.wait(one.place, None)).collect();
    turns.leave(waiters[1]);
    turns.give_back(one.place, 7);
    assert_eq!(granted(&mut turns, &waiters), [0]);
    assert!(turns.try_take(one.place, |_| 0).is_none(), "a newcomer does not overtake");
    assert_eq!(poll(&mut turns, waiters[0]), Some(Grant::Ready(7)));
    turns.lost(one.place);
    assert_eq!(poll(&mut turns, waiters[2]), Some(Grant::Room), "who left is forgotten");
    turns.lost(one.place);
    // A grant that nobody fetched goes to the next, and then to nobody.
    turns.leave(waiters[3]);
    assert_eq!((turns.figures(), turns.waiting, turns.waiters.len()), ((0, 0), 0, 0));
}

#[test]
fn within_a_customer_who_came_first_is_served_first_also_at_another_host() {
    let mut turns = Turns::new(100, |_| false);
    let (far, near) = (turns.add_host(), turns.add_host());
    let (one, other) = (turns.add_customer(), turns.add_customer());
    let at_far = place(&mut turns, one, far, [None; 3]);
    let at_near = place(&mut turns, one, near, [None, Some(2), Some(2)]);
    let others = place(&mut turns, other, near, [None, None, Some(2)]);
    for held in [at_far, at_near, others] {
        let waiter = turns.wait(held, None);
        assert_eq!(poll(&mut turns, waiter), Some(Grant::Room));
    }
    // Full are the customer and the near host; the one lease that comes back makes room at both.
    let waiters = [others, at_far, at_near].map(|place| turns.wait(place, None));
    turns.lost(at_near);
    assert_eq!(granted(&mut turns, &waiters), [0, 1]);
}

#[test]
fn a_free_slot_goes_to_the_customer_with_the_fewest() {
    let mut turns = Turns::new(4, |_| false);
    let host = turns.add_host();
    let (greedy, modest) = (stand(&mut turns, host, None), stand(&mut turns, host, None));
    let held: Vec<_> = (0..4).map(|_| turns.wait(greedy.place, None)).collect();
    held.iter().for_each(|waiter| assert_eq!(poll(&mut turns, *waiter), Some(Grant::Room)));
    let flood: Vec<_> = (0..1000).map(|_| turns.wait(greedy.place, None)).collect();
    let late: Vec<_> = (0..3).map(|_| turns.wait(modest.place, None)).collect();
    turns.give_back(greedy.place, 1);
    turns.give_back(greedy.place, 2);
    assert_eq!(granted(&mut turns, &late), [0, 1], "two and two is fair");
    assert!(granted(&mut turns, &flood).is_empty());
    assert_eq!(turns.aftermath.closed, [1, 2], "what lay idle of the greedy one made room");
    turns.give_back(greedy.place, 3);
    assert_eq!((granted(&mut turns, &late), granted(&mut turns, &flood)), (vec![0, 1], vec![0]));
}

#[test]
fn a_shared_server_is_shared_by_what_is_used_there() {
    let mut turns = Turns::new(100, |_| false);
    let (shared, own) = (turns.add_host(), turns.add_host());
    let (busy, other) = (turns.add_customer(), turns.add_customer());
    let elsewhere = place(&mut turns, busy, own, [None; 3]);
    for _ in 0..50 {
        turns.wait(elsewhere, None);
    }
    let max = [None, None, Some(2)];
    let here = place(&mut turns, busy, shared, max);
    let there = place(&mut turns, other, shared, max);
    for _ in 0..2 {
        turns.wait(there, None);
    }
    let more = turns.wait(there, None);
    let wanted = turns.wait(here, None);
    turns.lost(there);
    assert_eq!((granted(&mut turns, &[more]).len(), granted(&mut turns, &[wanted]).len()), (0, 1));
}

#[test]
fn where_the_process_is_short_all_that_a_customer_uses_counts() {
    let mut turns = Turns::new(4, |_| false);
    let (shared, own) = (turns.add_host(), turns.add_host());
    let (busy, other) = (turns.add_customer(), turns.add_customer());
    let elsewhere = place(&mut turns, busy, own, [None; 3]);
    let here = place(&mut turns, busy, shared, [None; 3]);
    let there = place(&mut turns, other, shared, [None; 3]);
    for _ in 0..3 {
        turns.wait(elsewhere, None);
    }
    turns.wait(there, None);
    let wanted = turns.wait(here, None);
    let more = turns.wait(there, None);
    turns.lost(elsewhere);
    assert_eq!((granted(&mut turns, &[more]).len(), granted(&mut turns, &[wanted]).len()), (1, 0));
}

#[test]
fn a_server_that_is_full_keeps_nobody_from_another() {
    let mut turns = Turns::new(100, |_| false);
    let (full, free) = (turns.add_host(), turns.add_host());
    let customer = turns.add_customer();
    let at_full = place(&mut turns, customer, full, [None, Some(3), Some(1)]);
    let at_free = place(&mut turns, customer, free, [None, Some(3), None]);
    let waiters: Vec<_> = (0..5).map(|_| turns.wait(at_full, None)).collect();
    assert_eq!(granted(&mut turns, &waiters), [0]);
    assert_eq!(turns.blocked_by(waiters[1]), Blocked::Host);
    let others: Vec<_> = (0..3).map(|_| turns.wait(at_free, None)).collect();
    assert_eq!(granted(&mut turns, &others), [0, 1]);
    assert_eq!(turns.blocked_by(others[2]), Blocked::Customer);
}

#[test]
fn a_login_that_is_full_keeps_no_other_login_waiting() {
    let mut turns = Turns::new(100, |_| false);
    let host = turns.add_host();
    let one = stand(&mut turns, host, None);
    turns.resize_login(one.place.login, Some(1));
    let other = Place { login: turns.add_login(), ..one.place };
    turns.resize_login(other.login, None);
    let waiters: Vec<_> = (0..3).map(|_| turns.wait(one.place, None)).collect();
    assert_eq!((granted(&mut turns, &waiters), turns.blocked_by(waiters[1])), (vec![0], Blocked::Login));
    let theirs = turns.wait(other, None);
    assert_eq!(poll(&mut turns, theirs), Some(Grant::Room));
    turns.give_back(one.place, 1);
    assert_eq!(granted(&mut turns, &waiters), [0, 1]);
    turns.resize_login(one.place.login, None);
    assert_eq!(granted(&mut turns, &waiters), [0, 1, 2]);
}

#[test]
fn whoever_leaves_lets_the_next_of_its_login_go_on() {
    let mut turns = Turns::new(1, |_| false);
    let host = turns.add_host();
    let (one, two) = (stand(&mut turns, host, None), stand(&mut turns, host, None));
    turns.resize_login(one.place.login, Some(1));
    turns.wait(two.place, None);
    let (first, parked) = (turns.wait(one.place, None), turns.wait(one.place, None));
    turns.leave(first);
    turns.lost(two.place);
    assert_eq!(granted(&mut turns, &[parked]), [0]);
    // A backend that was granted and not fetched is not lost either.
    turns.give_back(one.place, 7);
    let (fetched, unfetched) = (poll(&mut turns, parked), turns.wait(one.place, None));
    assert_eq!(fetched, Some(Grant::Room));
    turns.leave(unfetched);
    assert_eq!((turns.try_take(one.place, |_| 0), turns.figures()), (Some(7), (1, 0)));
}

#[test]
fn the_idle_ones_of_the_greediest_are_closed_first() {
    let mut turns = Turns::new(6, |_| false);
    let host = turns.add_host();
    let (few, many, new) =
        (stand(&mut turns, host, None), stand(&mut turns, host, None), stand(&mut turns, host, None));
    for (stand, backends) in [(&few, 10..12), (&many, 20..24)] {
        let held: Vec<_> = backends.clone().map(|_| turns.wait(stand.place, None)).collect();
        held.iter().for_each(|waiter| assert!(poll(&mut turns, *waiter).is_some()));
        backends.for_each(|backend| turns.give_back(stand.place, backend));
    }
    for _ in 0..3 {
        let waiter = turns.wait(new.place, None);
        assert_eq!(poll(&mut turns, waiter), Some(Grant::Room));
    }
    assert_eq!(
        turns.aftermath.closed,
        [20, 21, 10],
        "the oldest of the greediest, then of whoever it is then"
    );
    assert_eq!((turns.figures_of(few.customer), turns.figures_of(many.customer)), ((0, 1), (0, 2)));
}

#[test]
fn a_lowered_limit_closes_what_is_idle_and_swallows_what_comes_back() {
    let mut turns = Turns::new(4, |_| false);
    let host = turns.add_host();
    let one = stand(&mut turns, host, None);
    let held: Vec<_> = (0..4).map(|_| turns.wait(one.place, None)).collect();
    held.iter().for_each(|waiter| assert!(poll(&mut turns, *waiter).is_some()));
    turns.give_back(one.place, 1);
    turns.resize_everyone(1);
    assert_eq!((turns.figures(), turns.aftermath.closed.clone()), ((3, 0), vec![1]));
    turns.give_back(one.place, 2);
    turns.lost(one.place);
    assert_eq!((turns.figures(), turns.aftermath.closed.clone()), ((1, 0), vec![1, 2]));
    assert!(turns.try_take(one.place, |_| 0).is_none());
    turns.give_back(one.place, 3);
    assert_eq!(turns.try_take(one.place, |_| 0), Some(3));
}

#[test]
fn the_best_of_the_idle_ones_is_taken_and_else_the_last() {
    let mut turns = Turns::new(9, |_| false);
    let host = turns.add_host();
    let one = stand(&mut turns, host, None);
    let held: Vec<_> = (0..5).map(|_| turns.wait(one.place, None)).collect();
    held.iter().for_each(|waiter| assert!(poll(&mut turns, *waiter).is_some()));
    (1..6).for_each(|backend| turns.give_back(one.place, backend));
    assert_eq!(turns.try_take(one.place, |_| 0), Some(5));
    assert_eq!(turns.try_take(one.place, |backend| if *backend == 2 { 1 } else { 0 }), Some(2));
    assert_eq!(turns.try_take(one.place, |_| 0), Some(4));
}

/// Counts how often it is woken.
#[derive(Default)]
struct Bell(AtomicUsize);

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

#[test]
fn whoever_is_granted_or_sent_away_is_woken_once() {
    let mut turns = Turns::new(1, |_| false);
    let host = turns.add_host();
    let one = stand(&mut turns, host, None);
    turns.wait(one.place, None);
    let (first, second) = (turns.wait(one.place, None), turns.wait(one.place, None));
    let bells = [Arc::new(Bell::default()), Arc::new(Bell::default())];
    for (waiter, bell) in [first, second].into_iter().zip(&bells) {
        assert!(turns.poll(waiter, &Waker::from(Arc::clone(bell))).is_none());
    }
    turns.lost(one.place);
    turns.give_up_host(host);
    turns.take_aftermath().unwrap().wakers.into_iter().for_each(Waker::wake);
    assert_eq!(bells.each_ref().map(|bell| bell.0.load(Ordering::Relaxed)), [1, 1]);
    assert_eq!(poll(&mut turns, second), Some(Grant::Nothing));
    assert_eq!(poll(&mut turns, first), Some(Grant::Room));
    assert_eq!((turns.waiting, turns.figures()), (0, (1, 0)));
}

#[test]
#[ignore = "prints figures"]
fn what_an_end_costs_that_serves_one_of_ten_thousand() {
    let mut turns = Turns::new(100, |_| false);
    let host = turns.add_host();
    let stands: Vec<_> = (0..10_000).map(|_| stand(&mut turns, host, Some(50))).collect();
    let mut waiting: VecDeque<_> =
        stands.iter().map(|stand| (turns.wait(stand.place, None), stand)).collect();
    let started = std::time::Instant::now();
    for _ in 0..100_000 {
        let (waiter, stand) = waiting.pop_front().unwrap();
        assert!(poll(&mut turns, waiter).is_some(), "all have none in use, so who came first is next");
        turns.give_back(stand.place, 1);
        turns.aftermath.closed.clear();
        waiting.push_back((turns.wait(stand.place, None), stand));
    }
    println!("{:?} for an end and a wait", started.elapsed() / 100_000);
}

mod model;

/// Two that compete for a host come to equal shares and stay there, instead of taking each other's for each lease.
#[test]
fn a_backend_in_use_a_moment_ago_is_spared() {
    for is_warm in [true, false] {
        let mut turns = Turns::new(100, if is_warm { |_| true } else { |_| false });
        let host = turns.add_host();
        let [many, few] = [(); 2].map(|()| {
            let customer = turns.add_customer();
            place(&mut turns, customer, host, [None, None, Some(4)])
        });
        let crowd: Vec<_> = (0..5).map(|_| turns.wait(many, None)).collect();
        assert_eq!(granted(&mut turns, &crowd).len(), 4);
        // One that has nothing gets something, as soon as there is room.
        let first = turns.wait(few, None);
        for waiter in crowd.iter().take(4) {
            assert_eq!(poll(&mut turns, *waiter), Some(Grant::Room));
        }
        turns.give_back(many, 1);
        assert_eq!(poll(&mut turns, first), Some(Grant::Room));
        assert_eq!(turns.take_aftermath().unwrap().closed, [1]);
        // It lies idle for a moment, and those who have more wait for their own.
        turns.give_back(few, 2);
        assert_eq!(poll(&mut turns, crowd[4]).is_none(), is_warm);
        turns.is_warm = |_| false;
        turns.again();
        if is_warm {
            assert_eq!(poll(&mut turns, crowd[4]), Some(Grant::Room));
        }
    }
}
