//! The thread of the digests: follows, makes rounds, says how it is.
//!
//! What always holds: whatever its trouble is, nobody waits for it; it begins again from where the last round ended, later and
//! later up to [`RETRY_MAX`]. At the end of the process it takes what is left, for at most [`CLOSE_LIMIT`]; what is left then is
//! taken at the next start.

use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::super::gate::{Gate, lock, now_ns};
use super::Finding;
use super::follower::{DigestTrouble, Follower, Plan};

/// How often it looks for more.
const FOLLOW_EVERY: Duration = Duration::from_millis(500);
/// After a trouble it waits so long, then twice as long, and so on.
const RETRY_FIRST: Duration = Duration::from_secs(1);
/// It never waits longer.
const RETRY_MAX: Duration = Duration::from_secs(300);
/// The end of the process waits so long for what is left.
const CLOSE_LIMIT: Duration = Duration::from_secs(5);

/// Is told what was found, by customer.
pub(in crate::audit) type Sink = Box<dyn Fn(&str, &Finding) + Send>;

/// The thread, from outside.
pub(in crate::audit) struct Life {
    told: Arc<Told>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl fmt::Debug for Life {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Life").field(&self.told).finish()
    }
}

#[derive(Debug, Default)]
struct Told {
    closing: AtomicBool,
    trouble: Mutex<Option<String>>,
    /// The first segment of the journal that it still needs.
    needed: AtomicU64,
}

impl Life {
    /// Why no digests are made, if something keeps them.
    pub(in crate::audit) fn trouble(&self) -> Option<String> {
        lock(&self.told.trouble).clone()
    }

    /// The first segment of the journal that is still needed; 0: not known yet, so all are.
    pub(in crate::audit) fn needed_segment(&self) -> u64 {
        self.told.needed.load(Ordering::SeqCst)
    }

    /// Takes what is left and ends the thread. The writer has ended before.
    pub(in crate::audit) fn close(&self) {
        let Some(thread) = lock(&self.thread).take() else { return };
        self.told.closing.store(true, Ordering::SeqCst);
        thread.thread().unpark();
        if thread.join().is_err() {
            tracing::error!("the thread of the audit log's digests panicked");
        }
    }
}

/// Begins the thread; a round is made every so often.
pub(in crate::audit) fn start(
    gate: Arc<Gate>,
    plan: Plan,
    every: Duration,
    sink: Sink,
) -> std::io::Result<Life> {
    let told = Arc::new(Told::default());
    let living = Living { gate, plan, every, sink, told: Arc::clone(&told), round: Instant::now() };
    let thread = std::thread::Builder::new().name("audit-digest".into()).spawn(move || living.live())?;
    Ok(Life { told, thread: Mutex::new(Some(thread)) })
}

struct Living {
    gate: Arc<Gate>,
    plan: Plan,
    every: Duration,
    sink: Sink,
    told: Arc<Told>,
    /// When the last one was made.
    round: Instant,
}

impl Living {
    fn live(mut self) {
        let (mut follower, mut retry, mut closing_since) = (None, RETRY_FIRST, None);
        loop {
            let closing = self.told.closing.load(Ordering::SeqCst);
            let overdue = closing && closing_since.get_or_insert_with(Instant::now).elapsed() >= CLOSE_LIMIT;
            let pause = match self.step(&mut follower, closing) {
                Ok(true) if closing => return,
                Ok(took_all) => {
                    retry = RETRY_FIRST;
                    tell(&self.told, None);
                    if took_all { FOLLOW_EVERY } else { Duration::ZERO }
                }
                Err(trouble) => {
                    follower = None;
                    tell(&self.told, Some(&trouble));
                    if closing {
                        return;
                    }
                    retry = retry.saturating_mul(2).min(RETRY_MAX);
                    retry
                }
            };
            if overdue {
                return;
            }
            if !pause.is_zero() {
                std::thread::park_timeout(pause);
            }
        }
    }

    /// Takes some records; whether those were all.
    fn step(&mut self, follower: &mut Option<Follower>, closing: bool) -> Result<bool, DigestTrouble> {
        let opened = match follower.take() {
            Some(follower) => follower,
            None => Follower::open(&self.plan)?,
        };
        let followed = follower.insert(opened);
        // Asked before it is looked how far the journal is: what ended before this moment is in it.
        let now = now_ns();
        let took_all = followed.follow(Some(self.gate.durable_position()))?;
        for (customer, finding) in followed.findings() {
            (self.sink)(&customer, &finding);
        }
        if self.round.elapsed() >= self.every || (closing && took_all) {
            self.told.needed.store(followed.round(now, took_all)?, Ordering::SeqCst);
            self.round = Instant::now();
        }
        Ok(took_all)
    }
}

/// Says a trouble once, and its end.
fn tell(told: &Told, trouble: Option<&DigestTrouble>) {
    let text = trouble.map(ToString::to_string);
    let mut known = lock(&told.trouble);
    if *known == text {
        return;
    }
    match &text {
        Some(trouble) => tracing::error!(trouble, "no daily digests of the audit log are made"),
        None => tracing::warn!("daily digests of the audit log are made again"),
    }
    *known = text;
}
