//! How many backends there may be, and who is next: fair queues that can be resized while people wait.
//!
//! A [`Scope`] (one customer, one of its servers, the process) counts two things. *Leases*: sessions that hold a
//! backend, first come, first served. *Slots*: backends that exist, leased or idle. Whoever has a lease finds a slot,
//! because a backend without a lease is idle and can be closed. What always holds: a permit is returned when it is
//! dropped, on whatever path. This room knows no socket.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Stands for "no limit".
pub const UNLIMITED: usize = 1 << 24;

/// A limit with a fair queue in front of it.
#[derive(Debug)]
pub struct Limit {
    free: Arc<Semaphore>,
    size: Mutex<Size>,
}

#[derive(Debug)]
struct Size {
    max: usize,
    /// Permits that must vanish when they come back, because the limit shrank while they were out.
    owed: usize,
}

/// One of a limit's permits; dropping it gives it back.
#[derive(Debug)]
pub struct Permit {
    permit: Option<OwnedSemaphorePermit>,
    limit: Arc<Limit>,
}

impl Limit {
    /// A limit of `max`, all free.
    #[must_use]
    pub fn new(max: usize) -> Arc<Self> {
        let max = max.min(UNLIMITED);
        Arc::new(Self { free: Arc::new(Semaphore::new(max)), size: Mutex::new(Size { max, owed: 0 }) })
    }

    /// Changes the limit. Permits beyond a smaller one stay with their holders and are not handed out again.
    pub fn resize(&self, max: usize) {
        let max = max.min(UNLIMITED);
        let mut size = lock(&self.size);
        if max > size.max {
            let more = max.saturating_sub(size.max);
            let paid = more.min(size.owed);
            size.owed = size.owed.saturating_sub(paid);
            self.free.add_permits(more.saturating_sub(paid));
        } else {
            let fewer = size.max.saturating_sub(max);
            let gone = self.free.forget_permits(fewer);
            size.owed = size.owed.saturating_add(fewer.saturating_sub(gone));
        }
        size.max = max;
    }

    /// Waits for a permit, first come, first served. Dropping the future leaves the queue.
    pub async fn acquire(self: &Arc<Self>) -> Permit {
        // The semaphore is never closed; were it, the caller would go on without a permit to give back.
        let permit = Arc::clone(&self.free).acquire_owned().await.ok();
        Permit { permit, limit: Arc::clone(self) }
    }

    /// Takes a permit when one is free and nobody waits.
    #[must_use]
    pub fn try_acquire(self: &Arc<Self>) -> Option<Permit> {
        let permit = Arc::clone(&self.free).try_acquire_owned().ok()?;
        Some(Permit { permit: Some(permit), limit: Arc::clone(self) })
    }

    /// Permits that are out.
    #[must_use]
    pub fn in_use(&self) -> usize {
        let size = lock(&self.size);
        size.max.saturating_add(size.owed).saturating_sub(self.free.available_permits())
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        let mut size = lock(&self.limit.size);
        if let (Some(permit), true) = (self.permit.take(), size.owed > 0) {
            size.owed = size.owed.saturating_sub(1);
            permit.forget();
        }
    }
}

/// Locks; a panic elsewhere leaves the few numbers kept here usable.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What one limit covers.
#[derive(Debug)]
pub(super) struct Scope<Idle> {
    /// Named in the error when the wait was too long.
    pub(super) name: &'static str,
    pub(super) leases: Arc<Limit>,
    pub(super) slots: Arc<Limit>,
    /// Where idle backends are, oldest pool first.
    idle: Mutex<BTreeMap<u64, Weak<Idle>>>,
}

impl<Idle> Scope<Idle> {
    pub(super) fn new(name: &'static str, max: Option<usize>) -> Arc<Self> {
        let max = max.unwrap_or(UNLIMITED);
        Arc::new(Self { name, leases: Limit::new(max), slots: Limit::new(max), idle: Mutex::default() })
    }

    pub(super) fn resize(&self, max: Option<usize>) {
        let max = max.unwrap_or(UNLIMITED);
        if lock(&self.leases.size).max != max.min(UNLIMITED) {
            self.leases.resize(max);
            self.slots.resize(max);
        }
    }

    pub(super) fn add_idle(&self, id: u64, place: Weak<Idle>) {
        lock(&self.idle).insert(id, place);
    }

    pub(super) fn remove_idle(&self, id: u64) {
        lock(&self.idle).remove(&id);
    }

    /// Some places that may have an idle backend. They are returned rather than visited, because dropping the last
    /// owner of a place comes back here for the lock.
    pub(super) fn idle_places(&self) -> Vec<Arc<Idle>> {
        lock(&self.idle).values().filter_map(Weak::upgrade).take(16).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shrunken_limit_swallows_what_comes_back() {
        let limit = Limit::new(3);
        let mut held: Vec<_> = (0..3).map(|_| limit.try_acquire().unwrap()).collect();
        limit.resize(1);
        assert_eq!(limit.in_use(), 3);
        drop(held.pop());
        assert!(limit.try_acquire().is_none(), "two are still out, one is allowed");
        drop(held.pop());
        assert!(limit.try_acquire().is_none());
        drop(held.pop());
        assert_eq!(limit.in_use(), 0);
        let one = limit.try_acquire().unwrap();
        assert!(limit.try_acquire().is_none());
        limit.resize(2);
        assert!(limit.try_acquire().is_some());
        drop(one);
        assert_eq!(limit.in_use(), 0);
    }

    #[test]
    fn growing_back_pays_the_debt_first() {
        let limit = Limit::new(2);
        let held = (limit.try_acquire().unwrap(), limit.try_acquire().unwrap());
        limit.resize(0);
        limit.resize(2);
        assert!(limit.try_acquire().is_none());
        drop(held);
        assert!(limit.try_acquire().is_some());
        assert_eq!(limit.in_use(), 0);
    }

    #[tokio::test]
    async fn who_came_first_is_served_first_and_who_left_is_forgotten() {
        let limit = Limit::new(1);
        let held = limit.acquire().await;
        let (first, left, second) = (limit.acquire(), limit.acquire(), limit.acquire());
        tokio::pin!(first, second);
        let mut left = Box::pin(left);
        assert!(futures_poll(&mut first).is_none() && futures_poll(&mut left).is_none());
        assert!(futures_poll(&mut second).is_none());
        drop(left);
        drop(held);
        assert!(limit.try_acquire().is_none(), "a newcomer does not overtake");
        assert!(futures_poll(&mut second).is_none());
        let permit = futures_poll(&mut first).unwrap();
        drop(permit);
        assert!(futures_poll(&mut second).is_some());
    }

    fn futures_poll<F: Future + Unpin>(future: &mut F) -> Option<F::Output> {
        let mut context = std::task::Context::from_waker(std::task::Waker::noop());
        match std::pin::Pin::new(future).poll(&mut context) {
            std::task::Poll::Ready(output) => Some(output),
            std::task::Poll::Pending => None,
        }
    }
}
