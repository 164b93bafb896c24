//! One client, from its first byte to its last.
//!
//! [`serve`] is the life of a connection; `lease` knows what is owed, `ledger` what is recorded, `relay` moves the
//! bytes. What always holds: before a client has proven its login there is no route, and without a route no
//! backend; whatever ends a session, its backend goes back scrubbed and in step or is closed.

mod admission;
mod arena;
mod book;
mod buffers;
mod census;
mod changes;
mod classify;
mod commons;
mod control;
#[cfg(feature = "console")]
mod counter;
mod edge;
mod effect;
pub mod error;
pub mod lease;
mod ledger;
mod life;
mod login;
mod mask;
mod names;
mod note;
mod op;
mod pins;
mod pooled;
mod relay;
mod rename;
mod sequences;
mod settings;
mod shape;
mod shown;
mod skipped;
mod statements;
mod tally;
mod unnamed;
mod watch;

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use std::collections::HashMap;

pub use classify::count_effects;
pub use control::{Control, Order};
pub use edge::Sessions;
pub use life::serve;

use crate::audit;
use crate::auth::throttle::Throttle;
use crate::backend::{Cancels, Pools};
use crate::config::Config;
#[cfg(feature = "console")]
use crate::console::Console;
use crate::customers::{Catalogue, Catalogues, Status};
use crate::ids::{CustomerId, SessionId};
use crate::routing::Operators;
use crate::tls::Greeter;

use census::Census;
use commons::Commons;

/// What all sessions of the process share.
#[derive(Debug)]
pub struct Shared {
    /// The configuration, as of the start.
    pub config: Arc<Config>,
    /// The customers, as of now.
    pub catalogues: Catalogues,
    /// Takes connections to their startup packet.
    pub greeter: Greeter,
    /// Backends.
    pub pools: Pools,
    /// Cancel keys.
    pub cancels: Cancels,
    /// The statement log.
    pub audit: audit::Log,
    /// Who looks after OneVault.
    pub operators: Operators,
    /// The database `onevault`; `None`: there is none.
    #[cfg(feature = "console")]
    pub console: Option<Console>,
    census: Census,
    throttle: Throttle,
    commons: Commons,
    sessions: Mutex<HashMap<SessionId, Entry>>,
    next_session: AtomicU64,
    draining: AtomicBool,
    /// Makes mock verifiers; random at each start.
    mock_key: [u8; 32],
}

/// A session in the register.
#[derive(Debug)]
struct Entry {
    /// An operator's session has none.
    customer: Option<CustomerId>,
    control: Arc<Control>,
}

/// What [`Shared`] is made of.
#[derive(Debug)]
pub struct Parts {
    /// The configuration, as of the start.
    pub config: Arc<Config>,
    /// The customers.
    pub catalogues: Catalogues,
    /// Takes connections to their startup packet.
    pub greeter: Greeter,
    /// Backends.
    pub pools: Pools,
    /// Cancel keys.
    pub cancels: Cancels,
    /// The statement log.
    pub audit: audit::Log,
    /// Who looks after OneVault.
    pub operators: Operators,
    /// The database `onevault`; `None`: there is none.
    #[cfg(feature = "console")]
    pub console: Option<Console>,
}

impl Shared {
    /// Puts the parts together.
    ///
    /// # Errors
    /// The system gives no random bytes.
    pub fn new(parts: Parts) -> Result<Self, aws_lc_rs::error::Unspecified> {
        let mut mock_key = [0; 32];
        aws_lc_rs::rand::fill(&mut mock_key)?;
        let Parts { config, catalogues, greeter, pools, cancels, audit, operators, .. } = parts;
        Ok(Self {
            config,
            catalogues,
            greeter,
            pools,
            cancels,
            audit,
            operators,
            #[cfg(feature = "console")]
            console: parts.console,
            census: Census::default(),
            throttle: Throttle::default(),
            commons: Commons::default(),
            sessions: Mutex::default(),
            next_session: AtomicU64::new(1),
            draining: AtomicBool::new(false),
            mock_key,
        })
    }

    /// Sessions that are logged in.
    #[must_use]
    pub fn sessions(&self) -> usize {
        self.sessions.lock().unwrap_or_else(PoisonError::into_inner).len()
    }

    /// Whether no new session may begin.
    #[must_use]
    pub fn is_draining(&self) -> bool {
        self.draining.load(Ordering::Acquire)
    }

    /// No new session begins, and each running one ends between two transactions (57P01).
    pub fn drain(&self) {
        self.draining.store(true, Ordering::Release);
        self.tell(Order::Drain, |_| true);
    }

    /// Every session ends at once (57P01).
    pub fn kill(&self) {
        self.draining.store(true, Ordering::Release);
        self.tell(Order::Kill, |_| true);
    }

    /// Ends the sessions of customers that `catalogue` no longer has or has suspended, between two transactions.
    pub fn end_removed(&self, catalogue: &Catalogue) {
        self.tell(Order::Drain, |id| {
            let Some(id) = id else { return false };
            catalogue.customer(id.as_str()).is_none_or(|customer| customer.status == Status::Suspended)
        });
    }

    fn tell(&self, order: Order, whom: impl Fn(Option<&CustomerId>) -> bool) {
        let sessions = self.sessions.lock().unwrap_or_else(PoisonError::into_inner);
        for entry in sessions.values().filter(|entry| whom(entry.customer.as_ref())) {
            entry.control.tell(order);
        }
    }

    fn next_session(&self) -> SessionId {
        SessionId(self.next_session.fetch_add(1, Ordering::Relaxed))
    }

    /// Enters a session into the register; it leaves when the guard is dropped.
    fn register(self: &Arc<Self>, id: SessionId, customer: Option<CustomerId>) -> Registered {
        let control = Arc::new(Control::default());
        let entry = Entry { customer, control: Arc::clone(&control) };
        self.sessions.lock().unwrap_or_else(PoisonError::into_inner).insert(id, entry);
        if self.is_draining() {
            control.tell(Order::Drain);
        }
        Registered { shared: Arc::clone(self), id, control }
    }
}

/// A session's place in the register.
struct Registered {
    shared: Arc<Shared>,
    id: SessionId,
    control: Arc<Control>,
}

impl Drop for Registered {
    fn drop(&mut self) {
        self.shared.sessions.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.id);
    }
}
