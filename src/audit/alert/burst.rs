//! Many failed logins of one customer in a short time.

use std::collections::{HashMap, VecDeque};

/// The last failures of each customer; customers are those that are configured.
#[derive(Debug)]
pub(super) struct Bursts {
    many: usize,
    window_ns: u64,
    seen: HashMap<String, Seen>,
}

#[derive(Debug, Default)]
struct Seen {
    /// Times of the last ones, at most `many`.
    times: VecDeque<u64>,
    told_ns: Option<u64>,
}

impl Bursts {
    pub(super) fn new(many: usize, window_s: u64) -> Self {
        Self { many, window_ns: window_s.saturating_mul(1_000_000_000), seen: HashMap::new() }
    }

    /// One more failure; how many there were in the window, if that is to be told: once for a window.
    pub(super) fn one_more(&mut self, customer: &str, time_ns: u64) -> Option<u64> {
        if !self.seen.contains_key(customer) {
            self.seen.insert(customer.to_owned(), Seen::default());
        }
        let seen = self.seen.get_mut(customer)?;
        seen.times.push_back(time_ns);
        let since = time_ns.saturating_sub(self.window_ns);
        while seen.times.len() > self.many || seen.times.front().is_some_and(|time| *time < since) {
            seen.times.pop_front();
        }
        let is_told = seen.told_ns.is_some_and(|told| told >= since);
        if seen.times.len() < self.many || is_told {
            return None;
        }
        seen.told_ns = Some(time_ns);
        u64::try_from(seen.times.len()).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;

    #[test]
    fn a_burst_is_told_once_for_each_window_and_customer() {
        let mut bursts = Bursts::new(3, 10);
        let mut told = |customer: &str, second: u64| bursts.one_more(customer, second * SECOND).is_some();
        assert!(!told("a", 1) && !told("a", 2) && !told("b", 2) && told("a", 3));
        assert!((4..=13).all(|second| !told("a", second)));
        assert!(told("a", 14));
        // Slow ones are none.
        assert!((0..50).all(|number| !told("c", 20 + number * 6)));
    }
}
