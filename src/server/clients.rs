//! How many clients there are: in all and from each address.
//!
//! Always holds: a [`Guard`] is counted exactly once and given back when it is dropped.

use std::collections::HashMap;
use std::fmt;
use std::net::IpAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::auth::throttle::network;
use crate::config::Limits;
use crate::telemetry;

/// Clients that are being told that there are too many, at one time; further ones are just closed.
const REFUSED_MAX: usize = 64;

/// The count.
#[derive(Debug)]
pub struct Clients {
    max: usize,
    per_address_max: usize,
    count: AtomicUsize,
    refused: AtomicUsize,
    by_address: Mutex<HashMap<IpAddr, usize>>,
}

/// Why a client is sent away.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refused {
    /// `limits.clients_max`
    TooMany,
    /// `limits.clients_per_address_max`
    TooManyFromAddress,
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::TooMany => "sorry, too many clients already",
            Self::TooManyFromAddress => "too many clients from this address already",
        })
    }
}

impl Refused {
    const fn label(self) -> &'static str {
        match self {
            Self::TooMany => "clients_max",
            Self::TooManyFromAddress => "clients_per_address_max",
        }
    }
}

/// Whether a client may come in.
#[derive(Debug)]
pub(super) enum Admission {
    Serve(Guard),
    /// To be told so.
    Refuse(Guard, Refused),
    /// Too many are being told already.
    Close,
}

/// One client's place in the count, given back when dropped.
#[derive(Debug)]
pub struct Guard {
    clients: Arc<Clients>,
    /// None: only being told that there is no place.
    address: Option<IpAddr>,
    /// Clients of the worker that serves it.
    worker: Option<Arc<AtomicUsize>>,
}

impl Clients {
    pub(super) fn new(limits: &Limits) -> Self {
        Self {
            max: limits.clients_max,
            per_address_max: limits.clients_per_address_max,
            count: AtomicUsize::new(0),
            refused: AtomicUsize::new(0),
            by_address: Mutex::default(),
        }
    }

    /// Clients being served.
    #[must_use]
    pub fn count(&self) -> usize {
        self.count.load(Ordering::Relaxed)
    }

    /// Brings the gauges up to date.
    pub(super) fn tell(&self) {
        let gauge = |count: usize| telemetry::gauge(u64::try_from(count).unwrap_or(u64::MAX));
        metrics::gauge!(telemetry::CLIENTS).set(gauge(self.count()));
        metrics::gauge!(telemetry::CLIENTS_MAX).set(gauge(self.max));
    }

    /// Decides about one client. Called by the accepting thread only.
    pub(super) fn admit(self: &Arc<Self>, ip: IpAddr) -> Admission {
        let address = network(ip);
        let refused = {
            let mut by_address = self.lock();
            let from_address = by_address.get(&address).copied().unwrap_or(0);
            if self.count() >= self.max {
                Some(Refused::TooMany)
            } else if from_address >= self.per_address_max {
                Some(Refused::TooManyFromAddress)
            } else {
                by_address.insert(address, from_address.saturating_add(1));
                None
            }
        };
        let Some(why) = refused else {
            self.count.fetch_add(1, Ordering::Relaxed);
            return Admission::Serve(Guard {
                clients: Arc::clone(self),
                address: Some(address),
                worker: None,
            });
        };
        metrics::counter!(telemetry::CONNECTIONS_REFUSED_TOTAL, "reason" => why.label()).increment(1);
        if self.refused.fetch_add(1, Ordering::Relaxed) >= REFUSED_MAX {
            self.refused.fetch_sub(1, Ordering::Relaxed);
            return Admission::Close;
        }
        Admission::Refuse(Guard { clients: Arc::clone(self), address: None, worker: None }, why)
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<IpAddr, usize>> {
        self.by_address.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Guard {
    /// Counts the client at its worker too.
    pub(super) fn at_worker(&mut self, load: Arc<AtomicUsize>) {
        load.fetch_add(1, Ordering::Relaxed);
        if let Some(before) = self.worker.replace(load) {
            before.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        if let Some(worker) = &self.worker {
            worker.fetch_sub(1, Ordering::Relaxed);
        }
        let Some(address) = self.address else {
            self.clients.refused.fetch_sub(1, Ordering::Relaxed);
            return;
        };
        let mut by_address = self.clients.lock();
        match by_address.get_mut(&address) {
            Some(count) if *count > 1 => *count = count.saturating_sub(1),
            Some(_) | None => {
                by_address.remove(&address);
            }
        }
        drop(by_address);
        self.clients.count.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn clients(clients_max: usize, clients_per_address_max: usize) -> Arc<Clients> {
        Arc::new(Clients::new(&Limits { clients_max, clients_per_address_max, ..Limits::default() }))
    }

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn places_are_given_back_and_nothing_is_left_behind() {
        let clients = clients(3, 2);
        let mut guards: Vec<Admission> =
            ["10.0.0.1", "10.0.0.1", "10.0.0.2"].map(|a| clients.admit(ip(a))).into();
        assert!(guards.iter().all(|admission| matches!(admission, Admission::Serve(_))), "{guards:?}");
        assert!(matches!(clients.admit(ip("10.0.0.3")), Admission::Refuse(_, Refused::TooMany)));
        guards.truncate(2);
        assert_eq!(clients.count(), 2);
        assert!(matches!(clients.admit(ip("10.0.0.1")), Admission::Refuse(_, Refused::TooManyFromAddress)));
        guards.clear();
        assert_eq!(
            (clients.count(), clients.lock().len(), clients.refused.load(Ordering::Relaxed)),
            (0, 0, 0)
        );
    }

    #[test]
    fn an_ipv6_host_cannot_hide_in_its_network() {
        let clients = clients(9, 1);
        let _first = clients.admit(ip("2001:db8:0:1::1"));
        assert!(matches!(clients.admit(ip("2001:db8:0:1:ffff::2")), Admission::Refuse(..)));
        assert!(matches!(clients.admit(ip("2001:db8:0:2::1")), Admission::Serve(_)));
        let _v4 = clients.admit(ip("192.0.2.1"));
        assert!(matches!(clients.admit(ip("::ffff:192.0.2.1")), Admission::Refuse(..)));
    }

    #[test]
    fn telling_too_many_that_they_are_too_many_has_a_limit() {
        let clients = clients(0, 9);
        let told: Vec<Admission> = (0..REFUSED_MAX).map(|_| clients.admit(ip("10.0.0.1"))).collect();
        assert!(told.iter().all(|admission| matches!(admission, Admission::Refuse(..))));
        assert!(matches!(clients.admit(ip("10.0.0.1")), Admission::Close));
        drop(told);
        assert!(matches!(clients.admit(ip("10.0.0.1")), Admission::Refuse(..)));
    }

    #[test]
    fn a_panic_gives_its_place_back() {
        let clients = clients(1, 1);
        let Admission::Serve(mut guard) = clients.admit(ip("10.0.0.1")) else { panic!() };
        let load = Arc::new(AtomicUsize::new(0));
        guard.at_worker(Arc::clone(&load));
        assert_eq!(load.load(Ordering::Relaxed), 1);
        let _ = std::thread::spawn(move || {
            let _guard = guard;
            panic!("on purpose");
        })
        .join();
        assert_eq!((clients.count(), load.load(Ordering::Relaxed)), (0, 0));
    }
}
