//! Tasks that wait for the log, and how they are woken.
//!
//! A waiter is listed once, however often it polls. Waking a task of another thread costs a call to the kernel, and many
//! sessions of one worker wait for the same sync: where the worker attends to its shard ([`Waiters::poll_attend`]), the
//! writer wakes that one task, and the task wakes the sessions of its thread. It also asks the writer to hurry when all
//! sessions that were ready have said what they have, not at the first of them.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Waker};

use super::gate::lock;

/// A task that may wait: one waker, registered at most once per list.
#[derive(Debug, Default)]
pub(super) struct Waiter {
    waker: Mutex<Option<Waker>>,
    queued: AtomicBool,
}

impl Waiter {
    pub(super) fn wake(&self) {
        self.queued.store(false, Ordering::Release);
        let waker = lock(&self.waker).take();
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// Keeps the task's waker; `true` when the waiter is not in its list yet.
    pub(super) fn keep(&self, cx: &Context<'_>) -> bool {
        {
            let mut kept = lock(&self.waker);
            if !kept.as_ref().is_some_and(|kept| kept.will_wake(cx.waker())) {
                *kept = Some(cx.waker().clone());
            }
        }
        !self.queued.swap(true, Ordering::AcqRel)
    }
}

/// Those that wait for records of one shard.
#[derive(Debug, Default)]
pub(super) struct Waiters {
    /// Records of the shard on disk.
    durable: AtomicU64,
    list: Mutex<Vec<(u64, Arc<Waiter>)>>,
    /// The task that wakes them on their own thread, while there is one.
    attendant: Waiter,
    attended: AtomicBool,
    /// Somebody was listed since the attendant last looked.
    in_hurry: AtomicBool,
}

impl Waiters {
    pub(super) fn durable(&self) -> u64 {
        self.durable.load(Ordering::Acquire)
    }

    /// Lists a waiter for `position`; `true`: the caller must hurry the writer, for nobody else does.
    pub(super) fn list(&self, position: u64, waiter: &Arc<Waiter>, cx: &Context<'_>) -> bool {
        if waiter.keep(cx) {
            lock(&self.list).push((position, Arc::clone(waiter)));
        }
        // Listed first: an attendant that leaves after this look wakes the waiter.
        if !self.attended.load(Ordering::SeqCst) {
            return true;
        }
        if !self.in_hurry.swap(true, Ordering::SeqCst) {
            self.attendant.wake();
        }
        false
    }

    /// Records up to `position` are on disk.
    pub(super) fn publish(&self, position: u64) {
        self.durable.store(position, Ordering::SeqCst);
        if self.attended.load(Ordering::SeqCst) {
            self.attendant.wake();
        } else {
            self.wake_ready();
        }
    }

    fn wake_ready(&self) {
        let position = self.durable();
        lock(&self.list).retain(|(wanted, waiter)| {
            let waits = *wanted > position;
            if !waits {
                waiter.wake();
            }
            waits
        });
    }

    /// Everyone, whatever they wait for.
    pub(super) fn wake_all(&self) {
        for (_, waiter) in lock(&self.list).drain(..) {
            waiter.wake();
        }
    }

    /// The attendant's look: wakes who is ready; `true`: the writer must hurry. One task may attend at a time; `false` from
    /// [`Waiters::begin_attending`] says that there is one.
    pub(super) fn poll_attend(&self, cx: &Context<'_>) -> bool {
        self.attendant.keep(cx);
        self.wake_ready();
        self.in_hurry.swap(false, Ordering::SeqCst)
    }

    pub(super) fn begin_attending(&self) -> bool {
        !self.attended.swap(true, Ordering::SeqCst)
    }

    /// From now on each is woken by the writer again; those that were left to the attendant are woken to look themselves.
    pub(super) fn end_attending(&self) {
        self.attended.store(false, Ordering::SeqCst);
        self.wake_all();
    }
}
