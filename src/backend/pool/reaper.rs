//! Closes what lies idle too long.
//!
//! What always holds: while a backend lies idle there is a task that will look at it, on the runtime that was
//! named as its home; it looks only at kinds whose time has come, and ends when nothing is left. Workers have no part in it: a
//! thread that has a timer pending pays for it each time it waits for its sockets.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock, Weak};
use std::time::{Duration, Instant};

use tokio::runtime::Handle;

use super::Inner;

/// Whether the task runs, and where.
#[derive(Debug, Default)]
pub(super) struct Reaper {
    runs: AtomicBool,
    home: OnceLock<Handle>,
}

impl Reaper {
    /// The present runtime is its home from now on, unless it has one.
    pub(super) fn settle(&self) {
        if let Ok(here) = Handle::try_current() {
            let _ = self.home.set(here);
        }
    }

    /// Without a home, it is where somebody lays a backend down.
    fn home(&self) -> Option<Handle> {
        self.home.get().cloned().or_else(|| Handle::try_current().ok())
    }
}

/// The task's right to run; should its runtime end before it, the next one may begin.
struct Right(Weak<Inner>);

impl Drop for Right {
    fn drop(&mut self) {
        if let Some(inner) = self.0.upgrade() {
            inner.reaper.runs.store(false, Ordering::Release);
        }
    }
}

impl Inner {
    /// Sees to it that what was laid down will be looked at.
    #[expect(
        clippy::disallowed_methods,
        reason = "it serves all sessions, and ends by itself or with its runtime"
    )]
    pub(super) fn keep_reaping(self: &Arc<Self>) {
        if self.reaper.runs.load(Ordering::Relaxed) || self.reaper.runs.swap(true, Ordering::AcqRel) {
            return;
        }
        let right = Right(Arc::downgrade(self));
        if let Some(home) = self.reaper.home() {
            drop(home.spawn(reap(right)));
        }
    }
}

async fn reap(right: Right) {
    loop {
        let Some(inner) = right.0.upgrade() else { return };
        let idle_timeout = super::lock(&inner.register).idle_timeout;
        drop(inner);
        let pause = (idle_timeout / 2).clamp(Duration::from_millis(10), Duration::from_secs(10));
        tokio::time::sleep(pause).await;
        let Some(inner) = right.0.upgrade() else { return };
        if !inner.with(|register| register.reap(Instant::now())) {
            // Whatever was laid down since finds that nobody looks any more.
            drop(right);
            let is_left = !super::lock(&inner.register).is_nothing_due();
            if is_left {
                inner.keep_reaping();
            }
            return;
        }
    }
}
