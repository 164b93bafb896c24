//! How many clients each customer and login has, held against their limits.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use crate::customers::Customer;
use crate::ids::{CustomerId, LoginName};
use crate::routing::Route;

type Counts = Arc<Mutex<HashMap<(CustomerId, Option<LoginName>), usize>>>;

/// The count of clients.
#[derive(Debug, Default)]
pub(crate) struct Census {
    counts: Counts,
}

/// One counted client; no longer counted when dropped.
#[derive(Debug)]
pub(crate) struct Counted {
    counts: Counts,
    customer: CustomerId,
    login: LoginName,
}

impl Census {
    /// Counts a client in.
    ///
    /// # Errors
    /// The name of the limit that is reached.
    pub(crate) fn enter(&self, route: &Route) -> Result<Counted, &'static str> {
        self.enter_login(route.customer(), route.login())
    }

    /// Counts a client of this login in, wherever it goes.
    ///
    /// # Errors
    /// The name of the limit that is reached.
    pub(crate) fn enter_login(
        &self,
        customer: &Customer,
        login: &LoginName,
    ) -> Result<Counted, &'static str> {
        let login_max = customer.logins.get(login).and_then(|login| login.clients_max);
        let (id, login) = (customer.id.clone(), login.clone());
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        let of_customer = counts.get(&(id.clone(), None)).copied().unwrap_or_default();
        let of_login = counts.get(&(id.clone(), Some(login.clone()))).copied().unwrap_or_default();
        if login_max.is_some_and(|max| of_login >= max) {
            return Err("logins.clients_max");
        }
        if customer.limits.clients_max.is_some_and(|max| of_customer >= max) {
            return Err("limits.clients_max of the customer");
        }
        counts.insert((id.clone(), None), of_customer.saturating_add(1));
        counts.insert((id.clone(), Some(login.clone())), of_login.saturating_add(1));
        Ok(Counted { counts: Arc::clone(&self.counts), customer: id, login })
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        for login in [None, Some(self.login.clone())] {
            let key = (self.customer.clone(), login);
            let left = counts.get(&key).copied().unwrap_or_default().saturating_sub(1);
            if left == 0 {
                counts.remove(&key);
            } else {
                counts.insert(key, left);
            }
        }
    }
}
