//! The back end against servers that lie, servers that are slow, and a real one.

mod cancel;
pub(crate) mod cluster;
mod cost;
mod examine;
mod liar;
mod login;
mod pool;
mod postgres;
mod seat;
mod tls;

use std::sync::Arc;
use std::time::Duration;

use super::connect::{ConnectError, Destination, Dialler};
use super::memory::Carried;
use super::pool::{Lease, LeaseError, Pools};
use super::{Backend, Settings};
use crate::config::{Config, PoolMode};
use crate::customers::{Customer, Limits, Server, SslMode, Status};
use crate::ids::{CustomerId, DatabaseName, RoleName, Secret};

const PASSWORD: &str = "the role's password";

fn server(port: u16, ssl_mode: SslMode) -> Server {
    Server {
        host: "127.0.0.1".into(),
        port,
        role: RoleName::parse("owner").unwrap(),
        password: Secret::new(PASSWORD.into()),
        ssl_mode,
        ssl_root_cert: None,
        allow_weak_login: false,
        backends_max: None,
    }
}

fn destination(server: Server, database: &str) -> Destination {
    Destination { server: Arc::new(server), database: DatabaseName::parse(database).unwrap() }
}

fn customer(id: &str, backends_max: Option<usize>) -> Customer {
    Customer {
        id: CustomerId::parse(id).unwrap(),
        display_name: String::new(),
        industry: String::new(),
        status: Status::Active,
        region: String::new(),
        domains: Vec::new(),
        databases: Vec::new(),
        logins: Default::default(),
        tokens: Vec::new(),
        jwt: None,
        compliance: Vec::new(),
        audit_keeping: crate::customers::keeping::Keeping::default(),
        limits: Limits { backends_max, ..Limits::default() },
        wait_timeout: None,
        stateless_functions: Vec::new(),
        pin_functions: Vec::new(),
        pool_mode: None,
        fresh_backends: None,
        audit_mode: None,
        audit_parameters: None,
        digest: crate::customers::DigestRules::default(),
        audit_copy_data: None,
        features: Default::default(),
        branding: Default::default(),
        fingerprint: [0; 32],
    }
}

fn config(change: impl FnOnce(&mut Config)) -> Arc<Config> {
    let mut config = Config::default();
    config.pool.wait_timeout_ms = 3_000;
    config.pool.connect_timeout_ms = 3_000;
    config.pool.scrub_timeout_ms = 1_000;
    change(&mut config);
    Arc::new(config)
}

fn settings(pairs: &[(&str, &str)]) -> Settings {
    Settings::new(pairs.iter().copied())
}

/// Dials once, as a lease does.
async fn dial(to: &Destination, settings: &Settings) -> Result<Backend, ConnectError> {
    Dialler::default().connect(to, settings, (Duration::from_secs(2), &Default::default())).await
}

impl Pools {
    /// Leases without a route, for there is nobody to prove here.
    async fn lend(&self, customer: &Customer, to: &Destination) -> Result<Lease, LeaseError> {
        self.lease_at(customer, to.clone(), &Settings::default()).await
    }

    async fn lease_at(
        &self,
        customer: &Customer,
        to: Destination,
        settings: &Settings,
    ) -> Result<Lease, LeaseError> {
        let mut seat = self.seat_at(customer, None, &to, (settings, PoolMode::Session));
        seat.lease(&Carried::default()).await
    }
}
