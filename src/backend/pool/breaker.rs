//! A server that is down answers at once, through us, instead of after a timeout for everybody.
//!
//! What always holds: only what a server itself does opens a breaker (it cannot be reached, it does not answer, it
//! says that it is not ready or full), never one client's settings; while it is open one dial at a time tries again,
//! after a delay that doubles from 100 ms to 5 s; the first success closes it.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use crate::backend::connect::Outage;
use crate::backend::limits::lock;

const DELAY_MIN: Duration = Duration::from_millis(100);
const DELAY_MAX: Duration = Duration::from_secs(5);

/// Of a server, or of one customer's part of it.
#[derive(Debug, Default)]
pub(super) struct Breaker(Mutex<Option<Open>>);

#[derive(Debug)]
struct Open {
    outage: Arc<Outage>,
    delay: Duration,
    try_again_at: Instant,
    is_tried: bool,
}

/// The right to dial. Dropped without an outcome it changes nothing.
#[derive(Debug)]
pub(super) struct Trial {
    breaker: Arc<Breaker>,
    is_probe: bool,
}

impl Breaker {
    /// Whether a dial may be tried at `now`.
    pub(super) fn try_dial(self: &Arc<Self>, now: Instant) -> Result<Trial, Arc<Outage>> {
        let mut state = lock(&self.0);
        let is_probe = match &mut *state {
            None => false,
            Some(open) if open.is_tried || now < open.try_again_at => return Err(Arc::clone(&open.outage)),
            Some(open) => {
                open.is_tried = true;
                true
            }
        };
        Ok(Trial { breaker: Arc::clone(self), is_probe })
    }

    /// Why a dial would be refused at `now`.
    pub(super) fn outage(&self, now: Instant) -> Option<Arc<Outage>> {
        let state = lock(&self.0);
        let open = state.as_ref().filter(|open| open.is_tried || now < open.try_again_at)?;
        Some(Arc::clone(&open.outage))
    }
}

impl Trial {
    /// The server answered as it should.
    pub(super) fn succeeded(self) {
        lock(&self.breaker.0).take();
    }

    /// The server is down; true when this is news.
    pub(super) fn failed(mut self, outage: Arc<Outage>, now: Instant) -> bool {
        let mut state = lock(&self.breaker.0);
        // Dials that were under way when it opened say nothing new about the delay.
        let delay = match &*state {
            None => DELAY_MIN,
            Some(open) if self.is_probe => open.delay.saturating_mul(2).min(DELAY_MAX),
            Some(open) => open.delay,
        };
        let is_news = state.is_none();
        if is_news || self.is_probe {
            let try_again_at = now.checked_add(delay).unwrap_or(now);
            *state = Some(Open { outage, delay, try_again_at, is_tried: false });
        }
        self.is_probe = false;
        is_news
    }
}

impl Drop for Trial {
    fn drop(&mut self) {
        if self.is_probe
            && let Some(open) = &mut *lock(&self.breaker.0)
        {
            open.is_tried = false;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outage() -> Arc<Outage> {
        Arc::new(Outage { words: "down".into(), raw: None })
    }

    #[test]
    fn one_dial_at_a_time_tries_again_after_twice_the_delay() {
        let breaker = Arc::new(Breaker::default());
        let mut now = Instant::now();
        let (first, beside) = (breaker.try_dial(now).unwrap(), breaker.try_dial(now).unwrap());
        assert!(first.failed(outage(), now), "news");
        assert!(!beside.failed(outage(), now), "no news, and no reason to wait longer");
        for delay_ms in [100, 200, 400, 800, 1_600, 3_200, 5_000, 5_000] {
            assert!(breaker.try_dial(now).is_err() && breaker.outage(now).is_some());
            now += Duration::from_millis(delay_ms - 1);
            assert!(breaker.try_dial(now).is_err(), "{delay_ms} ms are not over");
            now += Duration::from_millis(1);
            assert!(breaker.outage(now).is_none());
            let given_up = breaker.try_dial(now).unwrap();
            assert!(breaker.try_dial(now).is_err() && breaker.outage(now).is_some(), "one at a time");
            drop(given_up);
            assert!(!breaker.try_dial(now).unwrap().failed(outage(), now));
        }
        now += Duration::from_secs(5);
        breaker.try_dial(now).unwrap().succeeded();
        let (one, two) = (breaker.try_dial(now).unwrap(), breaker.try_dial(now).unwrap());
        assert!(
            one.failed(outage(), now) && breaker.try_dial(now + DELAY_MIN).is_ok(),
            "the delay begins anew"
        );
        drop(two);
    }
}
