//! The cancel key of a session that holds a backend only now and then.
//!
//! What always holds: a request reaches the backend that the session holds at that moment, under the number of that
//! lease, or wakes the session while it waits for one; between two leases it does nothing. The process id is ours
//! and tells nothing of any server's.

use std::sync::{Arc, Mutex};
use std::task::Waker;

use aws_lc_rs::rand;

use super::{Cancels, Entry, Place, Registry, Target};
use crate::backend::Backend;
use crate::backend::limits::lock;
use crate::ids::{BackendKey, SessionId};

/// How often a process id is drawn before we give up; half a million sessions make a hit one in four thousand.
const DRAWS_MAX: usize = 64;

/// Where a session's cancel requests go at the moment.
#[derive(Debug, Default)]
pub(super) struct Binding(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    held: Option<(Arc<Target>, u64)>,
    waiting: Option<Waker>,
    cancelled: bool,
}

impl Binding {
    /// The backend that is held, with the lease's number; or a session that waits is woken. `Err` tells whether it was.
    pub(super) fn aim(&self) -> Result<(Arc<Target>, u64), bool> {
        let mut state = lock(&self.0);
        if let Some((target, lease)) = &state.held {
            return Ok((Arc::clone(target), *lease));
        }
        let Some(waker) = state.waiting.clone() else { return Err(false) };
        state.cancelled = true;
        drop(state);
        waker.wake();
        Err(true)
    }
}

/// A key in force, with a process id of ours; dropping it makes the key unknown.
#[derive(Debug)]
pub struct Reserved {
    key: BackendKey,
    binding: Arc<Binding>,
    registry: Arc<Registry>,
}

impl Cancels {
    /// Makes a key for a session that holds no backend yet, with a secret of `secret_bytes` (4 in protocol 3.0, 32 in
    /// 3.2). `None` when the operating system gives no randomness.
    #[must_use]
    pub fn reserve(&self, session: SessionId, secret_bytes: usize) -> Option<Reserved> {
        let mut secret = vec![0; secret_bytes];
        rand::fill(&mut secret).ok()?;
        let secret: Box<[u8]> = secret.into();
        for _ in 0..DRAWS_MAX {
            let mut bytes = [0; 4];
            rand::fill(&mut bytes).ok()?;
            // As a server's: positive.
            let process_id = i32::from_be_bytes(bytes) & i32::MAX;
            if process_id == 0 {
                continue;
            }
            let mut entries = self.0.keys.entry(process_id).or_default();
            if !entries.is_empty() {
                continue;
            }
            let binding = Arc::new(Binding::default());
            let place = Place::Moving(Arc::clone(&binding));
            entries.push(Entry { secret: secret.clone(), session, place });
            drop(entries);
            let key = BackendKey { process_id, secret };
            return Some(Reserved { key, binding, registry: Arc::clone(&self.0) });
        }
        None
    }
}

impl Reserved {
    /// What the client is given.
    #[must_use]
    pub const fn key(&self) -> &BackendKey {
        &self.key
    }

    /// The session holds this backend from now on. A cancel that came while it waited is still to be taken.
    pub fn bind(&self, backend: &Backend) {
        let lease = backend.target.open();
        let mut state = lock(&self.binding.0);
        state.held = Some((Arc::clone(&backend.target), lease));
        state.waiting = None;
    }

    /// The session holds no backend and waits for none: what comes now is nobody's.
    pub fn unbind(&self) {
        let mut state = lock(&self.binding.0);
        state.held = None;
        state.waiting = None;
    }

    /// The session waits for a backend: a cancel request is noted and wakes it. To be called at each poll of the wait.
    pub fn queue(&self, waker: &Waker) {
        let mut state = lock(&self.binding.0);
        match &mut state.waiting {
            Some(known) if known.will_wake(waker) => {}
            Some(known) => known.clone_from(waker),
            None => {
                state.waiting = Some(waker.clone());
                state.cancelled = false;
            }
        }
    }

    /// Whether a cancel request came during the wait. To be asked when woken, and once more when the wait is over.
    #[must_use]
    pub fn take_cancelled(&self) -> bool {
        std::mem::take(&mut lock(&self.binding.0).cancelled)
    }
}

impl Drop for Reserved {
    fn drop(&mut self) {
        self.registry.forget(&self.key);
    }
}
