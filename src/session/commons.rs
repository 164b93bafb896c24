//! What the sessions of one customer's role at one database share in transaction pooling.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard};

use dashmap::DashMap;

use crate::backend::memory::Name;
use crate::backend::prepared::Interner;
use crate::backend::{ParameterMap, Reserved, Seat};
use crate::customers::Customer;
use crate::ids::{CustomerId, DatabaseName, RoleName, SessionId};
use crate::routing::Route;

use super::Shared;
use super::classify::Rules;
use super::pins::Shown;
use super::pooled::Made;

/// By customer, role and database; the same names at another server share no more than memory.
#[derive(Debug, Default)]
pub(crate) struct Commons(DashMap<(CustomerId, RoleName, DatabaseName), Common>);

#[derive(Debug, Clone, Default)]
struct Common {
    interner: Arc<Interner>,
    habits: Arc<Habits>,
}

/// What sessions were seen to do, learned once for all of them.
#[derive(Debug, Default)]
pub(crate) struct Habits {
    sequences_read: AtomicBool,
    functions_step: AtomicBool,
    /// Settings with a dot in their names. No view of the server's shows those.
    settings: RwLock<BTreeSet<Name>>,
}

/// So many of them are remembered.
const SETTINGS_MAX: usize = 64;

impl Habits {
    /// Somebody calls `lastval()` or `currval()`, or has made what will: from now on what steps a sequence keeps its backend.
    pub(crate) fn sequences_are_read(&self) {
        self.sequences_read.store(true, Ordering::Relaxed);
    }

    /// Whether somebody ever did.
    pub(crate) fn are_sequences_read(&self) -> bool {
        self.sequences_read.load(Ordering::Relaxed)
    }

    /// Somebody asked in vain behind a function that is not known: from now on a call of one keeps its backend.
    pub(crate) fn functions_step(&self) {
        self.functions_step.store(true, Ordering::Relaxed);
    }

    /// Whether somebody ever did.
    pub(crate) fn do_functions_step(&self) -> bool {
        self.functions_step.load(Ordering::Relaxed)
    }

    /// Somebody makes this setting: it will be asked for after whatever may have made it unseen.
    pub(crate) fn setting_is_made(&self, name: &Name) {
        if !name.contains(&b'.') || self.read().contains(name) {
            return;
        }
        let mut settings = self.settings.write().unwrap_or_else(PoisonError::into_inner);
        if settings.len() < SETTINGS_MAX {
            settings.insert(name.clone());
        }
    }

    /// Adds those that were ever made.
    pub(crate) fn settings(&self, names: &mut Vec<Name>) {
        names.extend(self.read().iter().cloned());
    }

    fn read(&self) -> RwLockReadGuard<'_, BTreeSet<Name>> {
        self.settings.read().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Shared {
    /// What a session in transaction pooling is made of.
    pub(crate) fn made(&self, route: &Route, id: SessionId, place: (Seat, &ParameterMap, Reserved)) -> Made {
        let (seat, parameters, reserved) = place;
        let customer = route.customer();
        let key = (customer.id.clone(), route.server().role.clone(), route.database().clone());
        let common = self.commons.0.entry(key).or_default().clone();
        Made {
            id,
            seat,
            reserved,
            rules: rules(customer, parameters),
            interner: common.interner,
            habits: common.habits,
            prepared_max: self.config.pool.prepared_statements_max,
            shown: Shown::of(customer.id.as_str()),
        }
    }
}

/// By what the texts of a customer's session are read at this server.
fn rules(customer: &Customer, parameters: &ParameterMap) -> Rules {
    let version = parameters.get(b"server_version").unwrap_or_default();
    let major = version.split(|byte| !byte.is_ascii_digit()).next().unwrap_or_default();
    Rules {
        standard_conforming_strings: parameters.get(b"standard_conforming_strings") != Some(b"off"),
        stateless_functions: Arc::new(customer.stateless_functions.iter().collect()),
        pin_functions: Arc::new(customer.pin_functions.iter().collect()),
        server_major: std::str::from_utf8(major)
            .ok()
            .and_then(|major| major.parse().ok())
            .unwrap_or_default(),
    }
}
