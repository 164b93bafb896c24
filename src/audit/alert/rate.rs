//! How many alerts of one kind a customer gives rise to in an hour.
//!
//! What always holds: memory is one entry for each customer that is configured and each rule; what was held back is counted, and
//! told with the next one.

use std::collections::HashMap;

use super::Rule;

/// ns.
const HOUR_NS: u64 = 3_600_000_000_000;

/// Of each customer and rule what the hour has had.
#[derive(Debug)]
pub(super) struct Rates {
    most: u64,
    seen: HashMap<(String, Rule), Hour>,
}

#[derive(Debug, Default)]
struct Hour {
    since_ns: u64,
    sent: u64,
    held_back: u64,
}

impl Rates {
    pub(super) fn new(most: u64) -> Self {
        Self { most, seen: HashMap::new() }
    }

    /// One more; how many were held back before it. `None`: this one is, too.
    pub(super) fn one_more(&mut self, customer: &str, rule: Rule, now_ns: u64) -> Option<u64> {
        let hour = self.seen.entry((customer.to_owned(), rule)).or_default();
        if now_ns.saturating_sub(hour.since_ns) >= HOUR_NS {
            (hour.since_ns, hour.sent) = (now_ns, 0);
        }
        if hour.sent >= self.most {
            hour.held_back = hour.held_back.saturating_add(1);
            return None;
        }
        hour.sent = hour.sent.saturating_add(1);
        Some(std::mem::take(&mut hour.held_back))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_too_much_in_an_hour_is_told_with_the_next() {
        let mut rates = Rates::new(2);
        let mut one = |customer: &str, rule, minute: u64| {
            rates.one_more(customer, rule, HOUR_NS * 500_000 + minute * (HOUR_NS / 60))
        };
        assert_eq!([one("a", Rule::Ddl, 0), one("a", Rule::Ddl, 1)], [Some(0), Some(0)]);
        assert_eq!([one("a", Rule::Ddl, 2), one("a", Rule::Ddl, 59)], [None, None]);
        assert_eq!([one("b", Rule::Ddl, 2), one("a", Rule::LogGap, 2)], [Some(0), Some(0)]);
        assert_eq!(
            [one("a", Rule::Ddl, 60), one("a", Rule::Ddl, 61), one("a", Rule::Ddl, 62)],
            [Some(2), Some(0), None]
        );
    }
}
