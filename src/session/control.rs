//! How a running session is told something from outside its own sockets.

use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Mutex, PoisonError};
use std::task::Waker;

/// What a session is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Order {
    /// Nothing.
    GoOn,
    /// End between two transactions.
    Drain,
    /// End now.
    Kill,
}

/// One session's ear. Asking costs one atomic read.
#[derive(Debug, Default)]
pub struct Control {
    order: AtomicU8,
    waker: Mutex<Option<Waker>>,
}

impl Control {
    /// Tells the session; a stronger order stands.
    pub fn tell(&self, order: Order) {
        let code = match order {
            Order::GoOn => 0,
            Order::Drain => 1,
            Order::Kill => 2,
        };
        self.order.fetch_max(code, Ordering::AcqRel);
        // It stays: a drain may be followed by a stronger order, and the session listens once.
        if let Some(waker) = &*self.waker.lock().unwrap_or_else(PoisonError::into_inner) {
            waker.wake_by_ref();
        }
    }

    /// The order in force.
    #[must_use]
    pub fn order(&self) -> Order {
        match self.order.load(Ordering::Acquire) {
            0 => Order::GoOn,
            1 => Order::Drain,
            _ => Order::Kill,
        }
    }

    /// From now on an order wakes this task. To be called in the task that asks for [`Self::order`].
    pub(crate) fn listen(&self, waker: &Waker) {
        *self.waker.lock().unwrap_or_else(PoisonError::into_inner) = Some(waker.clone());
    }
}
