//! Notices what no read would tell: a client that left while it is not being read from.
//!
//! What always holds: nothing is allocated for a session whose peers keep up.

use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use tokio::time::{Instant, Sleep, sleep};

use crate::stream::Stream;

/// How often it is looked.
const TICK: Duration = Duration::from_secs(1);

/// How often it is looked after a server that should leave, before it is left.
const PATIENCE_TICKS: u32 = 5;

/// A slow clock that exists once it is needed.
#[derive(Debug, Default)]
pub(crate) struct Watch {
    timer: Option<Pin<Box<Sleep>>>,
    idle_ticks: u32,
}

impl Watch {
    /// Ready once a tick has passed.
    pub(crate) fn poll_tick(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let timer = self.timer.get_or_insert_with(|| Box::pin(sleep(TICK)));
        ready!(timer.as_mut().poll(cx));
        timer.as_mut().reset(Instant::now() + TICK);
        Poll::Ready(())
    }

    /// A tick has passed in which a server that owes nothing did not leave; true when that is enough.
    pub(crate) const fn is_enough(&mut self) -> bool {
        self.idle_ticks = self.idle_ticks.saturating_add(1);
        self.idle_ticks >= PATIENCE_TICKS
    }
}

/// Whether the peer has closed its end, although bytes of it may lie unread before that.
pub(crate) fn has_left(stream: &Stream) -> bool {
    let mut sockets = [PollFd::new(stream.tcp(), PollFlags::RDHUP)];
    let at_once = Timespec { tv_sec: 0, tv_nsec: 0 };
    let gone = PollFlags::RDHUP | PollFlags::HUP | PollFlags::ERR;
    poll(&mut sockets, Some(&at_once)).is_ok()
        && sockets.iter().any(|socket| socket.revents().intersects(gone))
}
