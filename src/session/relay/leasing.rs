//! When a session in transaction pooling gets a backend, and when it lets go of it.
//!
//! What always holds: a lease begins with the first byte of a request and ends when nothing is owed, no transaction is
//! open and nothing is left behind; a slow client's unread bytes are no reason to keep it.

use std::pin::Pin;
use std::task::{Context, Poll, Waker, ready};

use crate::audit::Decision;
use crate::backend::{Findings, Lease, LeaseError, ScrubError, stop};
use crate::protocol::report::Report;
use crate::session::note::Injected;
use crate::session::pooled::Rest;
use crate::session::shape::Shaper;
use crate::session::{buffers, error};

use super::Relay;
use super::refusing::Refusal;

/// A backend to come.
type Coming = Pin<Box<dyn Future<Output = Result<Lease, LeaseError>> + Send>>;
/// A backend that is asked what was left behind.
type Asking = Pin<Box<dyn Future<Output = (Lease, Result<Findings, ScrubError>)> + Send>>;
/// A backend on its way back.
pub(crate) type Scrubbing = Pin<Box<dyn Future<Output = ()> + Send>>;

/// What the session waits for before it reads on.
pub(super) enum Stage {
    /// Nothing.
    Ready,
    /// Its turn.
    Waiting(Coming),
    /// An answer to a question of ours.
    Asking(Asking),
}

/// How far a backend is taken to its session's settings.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Settling {
    /// It is asked to take them. A cancel waits.
    Settings,
    /// Whether it took them is not known yet. The server skips what follows if not, but only up to a `Sync`.
    Guarded,
    /// It has them.
    Done,
}

impl Relay<'_> {
    /// Ready when the client may be read from.
    pub(super) fn poll_stage(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        match &mut self.stage {
            Stage::Ready => return Poll::Ready(()),
            Stage::Waiting(coming) => {
                let cancelled = self.pooled.as_ref().is_some_and(|pooled| {
                    pooled.made.reserved.queue(cx.waker());
                    pooled.made.reserved.take_cancelled()
                });
                if cancelled {
                    self.unqueue();
                    self.refuse(error::canceled_while_waiting(), Decision::CancelledWaiting);
                } else {
                    match ready!(coming.as_mut().poll(cx)) {
                        Ok(lease) => self.begin(lease),
                        Err(cause) => {
                            self.unqueue();
                            self.refuse(error::no_lease(&cause), error::no_lease_by(&cause));
                        }
                    }
                }
            }
            Stage::Asking(asking) => {
                let (lease, findings) = ready!(asking.as_mut().poll(cx));
                self.turn = self.turn.saturating_add(1);
                self.asked(lease, findings);
            }
        }
        let was_asking = matches!(self.stage, Stage::Asking(_));
        self.stage = Stage::Ready;
        if was_asking {
            self.rest();
        }
        Poll::Ready(())
    }

    /// The server has answered. What it said besides is the client's.
    fn asked(&mut self, lease: Lease, findings: Result<Findings, ScrubError>) {
        let Some(pooled) = &mut self.pooled else { return };
        let aside = match findings {
            Ok(mut findings) => {
                let aside = std::mem::take(&mut findings.aside);
                pooled.examined(Some(findings), lease.parameters.get(b"client_encoding"));
                aside
            }
            Err(ScrubError::Refused { aside }) => {
                pooled.examined(None, None);
                aside
            }
            Err(cause) => {
                tracing::warn!(%cause, "a backend was lost while it was asked what a session left behind");
                self.is_lost = true;
                return;
            }
        };
        pooled.made.reserved.bind(&lease);
        self.lease = Some(lease);
        if !aside.is_empty() {
            buffers::keep(&mut self.down.out, &aside);
        }
    }

    /// A backend at once, or a place in the queue.
    pub(super) fn take_lease(&mut self) -> bool {
        let Some(pooled) = &mut self.pooled else { return false };
        let want = pooled.journal.current();
        pooled.made.seat.look_for(pooled.last_values.claim());
        match pooled.made.seat.take(want) {
            Ok(lease) => {
                self.begin(lease);
                true
            }
            Err(coming) => {
                self.stage = Stage::Waiting(coming);
                false
            }
        }
    }

    fn begin(&mut self, mut lease: Lease) {
        let Some(pooled) = &mut self.pooled else { return };
        let mut first = Vec::new();
        let memory = &mut lease.memory;
        Shaper { pooled, memory, ledger: self.ledger, out: &mut first }.begin();
        self.settling = if first.is_empty() { Settling::Done } else { Settling::Settings };
        if first.is_empty() {
            pooled.made.reserved.bind(&lease);
        } else {
            // A cancel is meant for the client's own statement: it waits for that.
            pooled.made.reserved.queue(Waker::noop());
        }
        self.ledger.tally().takes(lease.held());
        self.lease = Some(lease);
        self.clock.takes_hold();
        self.turn = self.turn.saturating_add(1);
        if first.is_empty() {
            let mut told = Vec::new();
            self.tell_parameters(&mut told);
            // They go to the client ahead of the first answer.
            if !told.is_empty() {
                buffers::keep(&mut self.down.out, &told);
            }
        } else {
            self.first = Some(first);
        }
    }

    /// Something was answered while settings are brought up to date.
    pub(super) fn settle_on(&mut self) {
        let (Some(pooled), Some(lease)) = (&mut self.pooled, &self.lease) else { return };
        let ours = || self.ledger.lease().pending().map_while(|(_, op)| op.note.injected());
        if self.settling == Settling::Settings
            && !ours().any(|injected| matches!(injected, Injected::Settings))
        {
            // What a cancel may hit from now on is the client's.
            pooled.made.reserved.bind(lease);
            if pooled.made.reserved.take_cancelled() {
                self.stopping = Some(stop(lease));
            }
            self.settling = Settling::Guarded;
        }
        if self.settling != Settling::Settings && !ours().any(|injected| matches!(injected, Injected::Guard))
        {
            self.settling = Settling::Done;
        }
    }

    /// It waits no longer.
    fn unqueue(&self) {
        if let Some(pooled) = &self.pooled {
            pooled.made.reserved.unbind();
        }
    }

    fn refuse(&mut self, report: Report, decision: Decision) {
        self.refusal = Some(Box::new(Refusal::new(report, decision)));
    }

    /// Lets go of the backend, if nothing holds it.
    pub(super) fn rest(&mut self) {
        let Some(pooled) = &mut self.pooled else { return };
        let clear = self.up.walker.is_between() && self.up.out.is_empty() && self.first.is_none();
        if !clear || !self.down.walker.is_between() || !self.down.carry.is_empty() {
            return;
        }
        if self.is_leaving || !self.ledger.lease().is_in_step() {
            return;
        }
        // Not with an earlier `ReadyForQuery`: there may be portals of a batch behind it.
        if !pooled.portals.is_empty() {
            pooled.portals.clear();
        }
        let rest = pooled.rest();
        if rest != Rest::Examine {
            pooled.made.shown.show(pooled.pins);
        }
        if rest == Rest::Keep {
            return;
        }
        let Some(mut lease) = self.lease.take() else { return };
        let idle_limit = pooled.idle_limit();
        if rest != Rest::Examine {
            self.clock.lets_go(idle_limit);
        }
        match rest {
            Rest::Keep => {}
            Rest::Examine => {
                // Nothing of the client's is there to be cancelled.
                pooled.made.reserved.unbind();
                let own = pooled.own_settings();
                self.stage = Stage::Asking(Box::pin(async move {
                    let findings = lease.examine(&own).await;
                    (lease, findings)
                }));
            }
            Rest::Release => {
                lease.memory.settings = pooled.settings().clone();
                pooled.made.reserved.unbind();
                if idle_limit.is_some() {
                    self.send_back(async move { lease.release_patient().await });
                } else if let Err(lease) = lease.release() {
                    self.send_back(async move { lease.hand_back().await });
                }
            }
            Rest::Scrub => {
                pooled.made.reserved.unbind();
                pooled.parted();
                self.send_back(async move { lease.hand_back().await });
            }
        }
    }

    /// A backend goes on its way back, behind one that is still on it.
    fn send_back(&mut self, back: impl Future<Output = Result<(), ScrubError>> + Send + 'static) {
        let before = self.scrubbing.take();
        self.scrubbing = Some(Box::pin(async move {
            if let Some(before) = before {
                before.await;
            }
            if let Err(cause) = back.await {
                tracing::debug!(%cause, "backend closed instead of handed back");
            }
        }));
    }

    /// A backend on its way back goes on its way, and so does a cancel that waited.
    pub(super) fn poll_scrubbing(&mut self, cx: &mut Context<'_>) {
        if self.stopping.as_mut().is_some_and(|stopping| stopping.as_mut().poll(cx).is_ready()) {
            self.stopping = None;
        }
        if let Some(scrubbing) = &mut self.scrubbing
            && scrubbing.as_mut().poll(cx).is_ready()
        {
            self.scrubbing = None;
        }
    }
}
