//! A backend while a session holds it.

use std::fmt;
use std::ops::{Deref, DerefMut};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::kept::Kept;
use super::seat::Chair;
use crate::backend::Backend;
use crate::backend::examine::{self, Findings};
use crate::backend::memory::{Carried, Memory, Name};
use crate::backend::scrub::{self, ScrubError};
use crate::config::PoolMode;
use crate::telemetry::live::{Doing, Held};

/// A backend while a session holds it. Dropping it closes the backend.
///
/// The fields are dropped in this order: the backend is closed before the next in the queue is woken.
pub struct Lease {
    kept: Box<Kept>,
    hold: Hold,
}

/// What a lease counts as, from the grant on: dropped, its backend is no more.
pub(super) struct Hold {
    chair: Arc<Chair>,
    is_over: bool,
}

impl Hold {
    pub(super) const fn new(chair: Arc<Chair>) -> Self {
        Self { chair, is_over: false }
    }

    /// The backend lies idle from now on.
    fn lay_down(mut self, mut kept: Box<Kept>) {
        self.is_over = true;
        let Chair { inner, place, shelf, .. } = &*self.chair;
        kept.idle_since = Instant::now();
        kept.in_step = true;
        kept.held.does(Doing::Idle, kept.idle_since);
        let is_reaped = inner.with(|register| {
            let is_old =
                kept.idle_since.saturating_duration_since(kept.backend.dialled_at) >= register.lifetime;
            if is_old || shelf.kind.fresh {
                register.turns.lost(*place);
                return Err(kept);
            }
            register.lay_down(*place, shelf, kept);
            Ok(())
        });
        match is_reaped {
            Ok(()) => inner.keep_reaping(),
            Err(kept) => drop(kept),
        }
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        if !self.is_over {
            self.chair.inner.with(|register| register.turns.lost(self.chair.place));
        }
    }
}

impl Lease {
    pub(super) const fn new(kept: Box<Kept>, hold: Hold) -> Self {
        Self { kept, hold }
    }

    /// Readies an idle backend for its next session; false when it must be closed.
    pub(super) fn wake(&mut self) -> bool {
        self.kept.wake()
    }

    /// Scrubs the backend and returns it to its pool, or closes it where each session gets a new one, or where its
    /// startup settings end it when it is idle. The caller
    /// vouches that it is in step: status `I`, nothing owed, nothing half sent or half read. Waits for cancel
    /// requests under way; the whole takes twice `pool.scrub_timeout_ms` at most. Dropping the future closes the backend.
    ///
    /// # Errors
    /// [`ScrubError`] says why the backend was closed instead; the session need not care.
    pub async fn hand_back(self) -> Result<(), ScrubError> {
        let Self { mut kept, hold } = self;
        let kind = &hold.chair.shelf.kind;
        // As it was dialled, the server would end it while it lies idle, or just when somebody gets it.
        let is_short_lived =
            kind.mode == PoolMode::Transaction && kind.settings.idle_limit() != Ok(Duration::ZERO);
        if kind.fresh || is_short_lived {
            kept.in_step = true;
            return Ok(());
        }
        kept.held.does(Doing::Scrubbed, Instant::now());
        let limit = hold.chair.scrub_timeout();
        let quiet = tokio::time::timeout(limit, kept.backend.target.close()).await;
        if !quiet.unwrap_or(false) {
            return Err(ScrubError::Cancel);
        }
        Box::pin(scrub::scrub(&mut kept.backend, limit)).await?;
        kept.backend.memory = Memory::default();
        hold.lay_down(kept);
        Ok(())
    }

    /// Returns the backend as it is. The caller vouches that it is in step and that its
    /// [`memory`](Backend::memory) is true.
    ///
    /// # Errors
    /// Itself when a cancel request is under way: [`Lease::hand_back`] waits for its end.
    pub fn release(self) -> Result<(), Box<Self>> {
        if !self.kept.backend.target.try_close() {
            return Err(Box::new(self));
        }
        let Self { kept, hold } = self;
        hold.lay_down(kept);
        Ok(())
    }

    /// Returns the backend as it is, but without an `idle_session_timeout`, which would end it while it lies idle: that
    /// is its session's, and the session keeps the time by itself. Otherwise as [`Lease::hand_back`].
    ///
    /// # Errors
    /// [`ScrubError`] says why the backend was closed instead; the session need not care.
    pub async fn release_patient(self) -> Result<(), ScrubError> {
        let Self { mut kept, hold } = self;
        let limit = hold.chair.scrub_timeout();
        let quiet = tokio::time::timeout(limit, kept.backend.target.close()).await;
        if !quiet.unwrap_or(false) {
            return Err(ScrubError::Cancel);
        }
        Box::pin(scrub::lull(&mut kept.backend, limit)).await?;
        let memory = &mut kept.backend.memory;
        memory.settings = memory.settings.patient();
        memory.unnamed = None;
        hold.lay_down(kept);
        Ok(())
    }

    /// Whether the backend's settings must be changed before anything of the session's is sent: behind a change that fails,
    /// and under a limit for statements it may, nothing of the session's must run.
    pub(super) fn is_slow_to_change(&self, want: &Carried) -> bool {
        let Backend { memory, settings, .. } = &self.kept.backend;
        memory.settings != *want && (memory.settings.is_timed() || want.is_timed() || settings.are_timed())
    }

    /// Takes the backend to these settings and waits for the answer. When this fails or is dropped, the backend is closed.
    pub(super) async fn bring(mut self, want: &Carried) -> Result<Self, ScrubError> {
        let limit = self.hold.chair.scrub_timeout();
        Box::pin(scrub::bring(&mut self.kept.backend, want, limit)).await?;
        Ok(self)
    }

    /// Asks the server what the session left behind, and for the values of `own` settings, those with a dot. The backend
    /// must be idle and in step. When this fails, the
    /// session keeps its backend if the server merely refused; else it must be closed, as when the future is dropped.
    ///
    /// # Errors
    /// [`ScrubError::Refused`] when the server refused; the others when its answer is not what was asked for.
    pub async fn examine(&mut self, own: &[Name]) -> Result<Findings, ScrubError> {
        let limit: Duration = self.hold.chair.scrub_timeout();
        // A cancel that is under way would hit the question. What becomes of one that does not end is the session's.
        let _is_quiet = tokio::time::timeout(limit, self.kept.backend.target.close()).await;
        Box::pin(examine::examine(&mut self.kept.backend, own)).await
    }

    /// Its place on the board.
    #[must_use]
    pub const fn held(&self) -> &Held {
        &self.kept.held
    }

    /// Closes the backend, whatever it is doing.
    pub fn discard(self) {
        drop(self);
    }
}

impl Deref for Lease {
    type Target = Backend;

    fn deref(&self) -> &Backend {
        &self.kept.backend
    }
}

impl DerefMut for Lease {
    fn deref_mut(&mut self) -> &mut Backend {
        &mut self.kept.backend
    }
}

impl fmt::Debug for Lease {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Lease").field(&self.kept.backend).finish()
    }
}
