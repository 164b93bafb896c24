//! Time limits of a running session: for a statement, for silence in a transaction, for silence outside of one.
//!
//! What always holds: a session without limits has no timer; a statement over its limit is cancelled at the server,
//! which takes it back and says so (57014); a silent session is told why it ends (25P03, 57P05); a session's own
//! `idle_session_timeout` is kept here while it holds no backend, and by the server while it holds one.

use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use tokio::time::{Sleep, sleep_until};

use crate::backend::{Stopping, stop};
use crate::customers::Timeouts;
use crate::session::lease::IDLE;

use super::{End, Relay, Stage};

/// What a session does, as far as time limits go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Doing {
    /// A statement that began then.
    Statement(Instant),
    /// Nothing, in a transaction.
    IdleInTransaction,
    /// Nothing.
    Idle,
    /// It waits for a backend, which has a limit of its own.
    Waiting,
}

/// The time limits of one session.
pub(super) struct Clock {
    timeouts: Timeouts,
    doing: Doing,
    since: Instant,
    timer: Option<Pin<Box<Sleep>>>,
    /// How long the session may be idle by its own wish, while it holds no backend that would see to it.
    own_idle: Option<Duration>,
    /// The statement that began then is being cancelled.
    stopping: Option<(Instant, Option<Stopping>)>,
}

impl Clock {
    pub(super) fn new(timeouts: Timeouts, own_idle: Option<Duration>) -> Self {
        Self { timeouts, doing: Doing::Idle, since: Instant::now(), timer: None, own_idle, stopping: None }
    }

    /// The session has a backend, which sees to what it wished.
    pub(super) const fn takes_hold(&mut self) {
        self.own_idle = None;
    }

    /// The session let go of its backend, and is idle from now on.
    pub(super) fn lets_go(&mut self, own_idle: Option<Duration>) {
        self.own_idle = own_idle;
        if self.has_limits() {
            (self.doing, self.since, self.timer) = (Doing::Idle, Instant::now(), None);
        }
    }

    fn limit(&self, doing: Doing) -> Option<Duration> {
        match doing {
            Doing::Statement(_) => self.timeouts.statement,
            Doing::IdleInTransaction => self.timeouts.idle_in_transaction,
            Doing::Idle => match (self.timeouts.idle_session, self.own_idle) {
                (Some(one), Some(other)) => Some(one.min(other)),
                (one, other) => one.or(other),
            },
            Doing::Waiting => None,
        }
    }

    const fn has_limits(&self) -> bool {
        let Timeouts { statement, idle_in_transaction, idle_session } = &self.timeouts;
        statement.is_some()
            || idle_in_transaction.is_some()
            || idle_session.is_some()
            || self.own_idle.is_some()
    }
}

impl Relay<'_> {
    fn doing(&self) -> Doing {
        if matches!(self.stage, Stage::Waiting(_)) {
            return Doing::Waiting;
        }
        let lease = self.ledger.lease();
        match lease.pending().next() {
            Some((_, oldest)) => Doing::Statement(oldest.started),
            None if lease.status() == IDLE => Doing::Idle,
            None => Doing::IdleInTransaction,
        }
    }

    /// Ready when a session has been silent for too long.
    pub(super) fn poll_clock(&mut self, cx: &mut Context<'_>) -> Poll<End> {
        if !self.clock.has_limits() {
            return Poll::Pending;
        }
        if let Some((_, Some(stopping))) = &mut self.clock.stopping
            && stopping.as_mut().poll(cx).is_ready()
        {
            self.clock.stopping = self.clock.stopping.take().map(|(begun, _)| (begun, None));
        }
        let doing = self.doing();
        if doing != self.clock.doing {
            self.clock.doing = doing;
            self.clock.since = if let Doing::Statement(begun) = doing { begun } else { Instant::now() };
            self.clock.timer = None;
        }
        let Some(limit) = self.clock.limit(doing) else { return Poll::Pending };
        if let Doing::Statement(begun) = doing
            && self.clock.stopping.as_ref().is_some_and(|(stopped, _)| *stopped == begun)
        {
            return Poll::Pending;
        }
        let deadline = self.clock.since + limit;
        let timer = self.clock.timer.get_or_insert_with(|| Box::pin(sleep_until(deadline.into())));
        ready!(timer.as_mut().poll(cx));
        self.clock.timer = None;
        match doing {
            Doing::IdleInTransaction => Poll::Ready(End::IdleInTransaction),
            Doing::Idle => Poll::Ready(End::IdleSession),
            Doing::Statement(begun) => {
                let mut stopping = self.lease.as_ref().map(|lease| stop(lease));
                if let Some(running) = &mut stopping
                    && running.as_mut().poll(cx).is_ready()
                {
                    stopping = None;
                }
                self.clock.stopping = Some((begun, stopping));
                Poll::Pending
            }
            Doing::Waiting => Poll::Pending,
        }
    }
}
