//! Slows down whoever guesses: the answer to a failed login waits longer with each failure from the same network.
//!
//! What always holds: nobody is ever locked out, so no stranger can lock a customer out; memory is bounded; a right
//! password never waits; the delay does not depend on what was guessed, so it does not tell which customers exist.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// The answer to a failed login never comes sooner after the exchange began.
const DELAY_MIN: Duration = Duration::from_millis(100);
/// Nor does it wait longer than this.
const DELAY_MAX: Duration = Duration::from_secs(3);
/// Failures that cost no more than the first.
const FREE_FAILURES: u32 = 10;
/// Failures are forgotten when none has come for so long.
const MEMORY: Duration = Duration::from_secs(60);
/// Networks remembered at most; beyond that newcomers share a place until others are forgotten.
const NETWORKS_MAX: usize = 65_536;

/// Failures of late, by network.
#[derive(Debug, Default)]
pub struct Throttle {
    failures: Mutex<Failures>,
}

#[derive(Debug, Default)]
struct Failures {
    by_network: HashMap<IpAddr, (u32, Instant)>,
    /// When the forgotten ones were last taken out.
    cleared: Option<Instant>,
}

impl Throttle {
    /// Notes a failed login and says how long after its beginning it may be answered.
    pub fn failed(&self, from: IpAddr, now: Instant) -> Duration {
        let mut failures = self.failures.lock().unwrap_or_else(PoisonError::into_inner);
        failures.forget(now);
        let has_room = failures.by_network.len() < NETWORKS_MAX;
        let network = if has_room { network(from) } else { Ipv6Addr::UNSPECIFIED.into() };
        let (count, last) = failures.by_network.entry(network).or_insert((0, now));
        if now.saturating_duration_since(*last) >= MEMORY {
            *count = 0;
        }
        *count = count.saturating_add(1);
        *last = now;
        DELAY_MIN.saturating_mul(count.saturating_sub(FREE_FAILURES).max(1)).min(DELAY_MAX)
    }
}

impl Failures {
    /// Takes out what is forgotten, once in a while.
    fn forget(&mut self, now: Instant) {
        if self.cleared.is_none_or(|cleared| now.saturating_duration_since(cleared) >= MEMORY) {
            self.cleared = Some(now);
            self.by_network.retain(|_, (_, last)| now.saturating_duration_since(*last) < MEMORY);
        }
    }
}

/// Whom an address belongs to: in IPv6 whoever has one has the 64 bits below.
#[must_use]
pub fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(v4) => v4.into(),
        IpAddr::V6(v6) => {
            let [a, b, c, d, ..] = v6.segments();
            Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0).into()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn guessing_gets_slower_for_the_guesser_alone() {
        let (throttle, now) = (Throttle::default(), Instant::now());
        let guesser: IpAddr = "2001:db8::1".parse().unwrap();
        let neighbour: IpAddr = "2001:db8::2".parse().unwrap();
        let other: IpAddr = "192.0.2.1".parse().unwrap();
        for _ in 0..FREE_FAILURES {
            assert_eq!(throttle.failed(guesser, now), DELAY_MIN);
        }
        throttle.failed(neighbour, now);
        assert_eq!(throttle.failed(guesser, now), DELAY_MIN * 2, "one network is one guesser");
        for _ in 0..100 {
            throttle.failed(guesser, now);
        }
        assert_eq!(throttle.failed(guesser, now), DELAY_MAX);
        assert_eq!(throttle.failed(other, now), DELAY_MIN, "nobody else waits");
        assert_eq!(throttle.failed(guesser, now + MEMORY), DELAY_MIN, "it is forgotten");
    }

    #[test]
    fn a_flood_of_addresses_takes_bounded_memory() {
        let (throttle, now) = (Throttle::default(), Instant::now());
        for number in 1..=u32::try_from(NETWORKS_MAX).unwrap() + 1000 {
            throttle.failed(IpAddr::V4(number.into()), now);
        }
        let remembered = throttle.failures.lock().unwrap().by_network.len();
        assert!(remembered <= NETWORKS_MAX + 1, "{remembered}");
        throttle.failed("192.0.2.1".parse().unwrap(), now + MEMORY);
        assert_eq!(throttle.failures.lock().unwrap().by_network.len(), 1);
    }
}
