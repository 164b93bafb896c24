//! A session's place at its pool, so that a lease costs little.

use std::pin::Pin;
use std::sync::Arc;

use super::{Inner, Kind, Lease, LeaseError};
use crate::backend::connect::Destination;
use crate::backend::memory::Carried;
use crate::backend::{ParameterMap, Settings};
use crate::config::PoolMode;
use crate::customers::Customer;
use crate::routing::Route;

/// A lease to come.
type Coming = Pin<Box<dyn Future<Output = Result<Lease, LeaseError>> + Send>>;

/// Where a session's leases come from: one kind of backend, within the limits of its customer.
pub struct Seat {
    inner: Arc<Inner>,
    customer: Arc<Customer>,
    to: Destination,
    settings: Settings,
    mode: PoolMode,
}

impl Seat {
    pub(super) fn new(inner: Arc<Inner>, route: &Route, settings: Settings, mode: PoolMode) -> Self {
        let (customer, to) = (Arc::clone(route.customer()), Destination::of(route));
        Self { inner, customer, to, settings, mode }
    }

    /// A backend at once, if one is idle within all limits and nobody waits for it.
    pub fn try_lease(&mut self, _want: &Carried) -> Option<Lease> {
        None
    }

    /// Waits for its turn, dials if need be. Dropping the future gives everything back.
    pub fn lease(&mut self, _want: &Carried) -> Coming {
        let (inner, customer) = (Arc::clone(&self.inner), Arc::clone(&self.customer));
        let (to, settings, mode) = (self.to.clone(), self.settings.clone(), self.mode);
        Box::pin(async move { inner.lease_at(&customer, to, &settings, mode).await })
    }

    /// What a backend of this kind last reported, if any is known.
    #[must_use]
    pub fn parameters(&self) -> Option<ParameterMap> {
        let fresh = self.customer.fresh_backends.unwrap_or(self.inner.config.load().pool.fresh_backends);
        let kind = Kind {
            customer: self.customer.id.clone(),
            server: Arc::clone(&self.to.server),
            database: self.to.database.clone(),
            settings: self.settings.clone(),
            mode: self.mode,
            fresh,
        };
        let shelf = self.inner.shelves.get(&kind)?.upgrade()?;
        shelf.parameters()
    }
}

impl std::fmt::Debug for Seat {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Seat").field("database", &self.to.database).finish_non_exhaustive()
    }
}
