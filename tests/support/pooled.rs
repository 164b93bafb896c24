//! A house whose customer has one backend for everybody, and a thief who takes it whenever it is free.
//!
//! `ONEVAULT_TEST_POOL` says which pooling is tried: `session` or `transaction`. What must be the same as on a direct
//! connection must be so in both; what only transaction pooling can show (who holds a backend, and why) is asked there only.

use std::sync::Mutex;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::messages::query;
use super::postgres::{ANY, Postgres, Tenant};
use super::thief::{Loose, SCENE, Thief};
use super::transcript::lines;
use super::vault::{Customer, House, Options, Vault, merge, through};
use super::wire::{Login, Wire};

/// How long a client waits for a backend here before it is told 53300.
const WAIT_TIMEOUT_MS: u64 = 700;
/// How long the backend may take to become free: an examination and a scrub on a busy machine.
const PATIENCE: Duration = Duration::from_secs(15);
/// The login of the thief, with the same password as the victim's.
const THIEF: &str = "thief";

/// Whether transaction pooling is tried.
pub(crate) fn is_transaction() -> bool {
    match std::env::var("ONEVAULT_TEST_POOL").as_deref() {
        Ok("transaction") => true,
        Ok("session") | Err(_) => false,
        Ok(other) => panic!("ONEVAULT_TEST_POOL is session or transaction, not {other}"),
    }
}

/// The word for `pool.mode`.
pub(crate) fn mode() -> &'static str {
    if is_transaction() { "transaction" } else { "session" }
}

/// A configuration with which nobody is told 53300, however busy the machine.
pub(crate) fn patient() -> Value {
    json!({ "pool": { "wait_timeout_ms": 120_000 } })
}

/// A tenant, OneVault in front of it, and a thief.
pub(crate) struct Pooled {
    // Dropped in this order.
    thief: Mutex<Thief>,
    pub(crate) house: House,
}

/// Makes a customer a pooled one, with so many backends in transaction pooling and room for everybody in session pooling.
pub(crate) fn pooled(customer: Customer, verifier: &str, backends_max: u32) -> Customer {
    let backends_max = if is_transaction() { backends_max } else { 200 };
    customer
        .login(THIEF, verifier)
        .with(json!({ "pool": { "mode": mode() }, "limits": { "backends_max": backends_max } }))
}

impl Pooled {
    pub(crate) fn new(word: &str) -> Self {
        Self::with(word, json!({}))
    }

    /// With changes of `onevault.yaml`.
    pub(crate) fn with(word: &str, changes: Value) -> Self {
        Self::of(word, 1, changes)
    }

    /// With changes of the customer's own configuration.
    pub(crate) fn for_customer(word: &str, changes: Value) -> Self {
        Self::build(ANY, (word, 1), json!({}), changes)
    }

    /// On this version of PostgreSQL.
    pub(crate) fn on(version: u32, word: &str) -> Self {
        Self::build(version, (word, 1), json!({}), json!({}))
    }

    /// With so many backends.
    pub(crate) fn of(word: &str, backends_max: u32, changes: Value) -> Self {
        Self::build(ANY, (word, backends_max), changes, json!({}))
    }

    fn build(version: u32, (word, backends_max): (&str, u32), changes: Value, own: Value) -> Self {
        let tenant = Postgres::shared(version).tenant(word);
        tenant.direct().rows(SCENE);
        let customer = pooled(Customer::of(&tenant), &tenant.verifier(), backends_max).with(own);
        let mut config = json!({ "pool": { "wait_timeout_ms": WAIT_TIMEOUT_MS } });
        merge(&mut config, changes);
        let vault = Vault::start(Options::new(&[customer]).with(config));
        let house = House { vault, tenant };
        let thief = Mutex::new(Thief::new(house.vault.port, thief_login(&house.tenant)));
        Self { thief, house }
    }

    /// A session through OneVault.
    pub(crate) fn enter(&self) -> Wire {
        self.house.enter()
    }

    /// A session past OneVault.
    pub(crate) fn direct(&self) -> Wire {
        self.house.direct()
    }

    /// The thief has the backend once, whatever that takes: the victim's next transaction comes behind it.
    pub(crate) fn steal(&self) -> String {
        let begun = Instant::now();
        loop {
            if let Some(pid) = self.thief.lock().unwrap().steal_once() {
                return pid;
            }
            assert!(
                begun.elapsed() < PATIENCE,
                "the backend is not given on; held for {:?}\n{}",
                self.pins(),
                self.house.vault.stderr()
            );
        }
    }

    /// The thief has the backend once if it can get it.
    pub(crate) fn try_steal(&self) -> Option<String> {
        self.thief.lock().unwrap().steal_once()
    }

    /// The thief has the backend once and then ends its session, so that it holds none for reasons of its own.
    pub(crate) fn steal_and_leave(&self) {
        self.steal();
        self.thief.lock().unwrap().leave();
    }

    /// The thief has the backend once if it can get it, and then ends its session.
    pub(crate) fn try_steal_and_leave(&self) -> Option<String> {
        let mut thief = self.thief.lock().unwrap();
        let pid = thief.steal_once();
        thief.leave();
        pid
    }

    /// The thief is turned away, because the victim holds the backend for this reason. Says nothing in session pooling.
    pub(crate) fn assert_held(&self, reason: &str) {
        if !is_transaction() {
            return;
        }
        let stolen = self.thief.lock().unwrap().steal_once();
        assert!(stolen.is_none(), "the backend was given on in spite of {reason}");
        let pins = self.pins();
        assert!(pins.iter().any(|pin| pin == reason), "held for {pins:?}, not for {reason}");
    }

    /// A thief at work from now on, beside the one of [`steal`](Self::steal).
    pub(crate) fn loose(&self) -> Loose {
        Thief::new(self.house.vault.port, thief_login(&self.house.tenant)).loose()
    }

    /// The reasons for which backends are held now, as the metrics say.
    pub(crate) fn pins(&self) -> Vec<String> {
        pins(&self.house.vault)
    }

    /// Has `talk` on both connections and compares what was heard. `steal` is called where the backend may be given on.
    pub(crate) fn both(&self, talk: impl Fn(&mut Wire, &dyn Fn()) -> Vec<String>) -> Vec<String> {
        self.both_as(&|login| login, talk)
    }

    /// The same with a login of its own kind.
    pub(crate) fn both_as(
        &self,
        change: &dyn Fn(Login) -> Login,
        talk: impl Fn(&mut Wire, &dyn Fn()) -> Vec<String>,
    ) -> Vec<String> {
        let mut wire = Wire::plain(self.house.tenant.postgres.port);
        wire.login(&change(self.house.tenant.login())).unwrap();
        let direct = talk(&mut wire, &|| ());
        drop(wire);
        let mut wire = self.house.vault.enter(&change(self.house.login()));
        let through = talk(&mut wire, &|| drop(self.steal()));
        assert_eq!(through, direct, "through OneVault (left) and directly (right)");
        direct
    }

    /// Says each step in one piece, directly and through OneVault; between two of them, the thief has the backend.
    pub(crate) fn stolen(&self, steps: &[Vec<u8>]) -> Vec<String> {
        self.stolen_as(&|login| login, steps)
    }

    /// The same where a step may have a reason to hold the backend: thefts are tried and not demanded.
    pub(crate) fn tried(&self, steps: &[Vec<u8>]) -> Vec<String> {
        self.both(|wire, _| {
            let mut heard = Vec::new();
            for step in steps {
                heard.extend(say(wire, step));
                let _ = self.try_steal();
            }
            heard
        })
    }

    /// The same with a login of its own kind.
    pub(crate) fn stolen_as(&self, change: &dyn Fn(Login) -> Login, steps: &[Vec<u8>]) -> Vec<String> {
        self.both_as(change, |wire, steal| {
            let mut heard = Vec::new();
            for step in steps {
                heard.extend(say(wire, step));
                // Inside a transaction the backend is nobody else's.
                if heard.last().is_some_and(|line| line == "B ReadyForQuery I") {
                    steal();
                }
            }
            heard
        })
    }

    /// The same for texts, each a simple query.
    pub(crate) fn stolen_sql(&self, texts: &[&str]) -> Vec<String> {
        self.stolen(&texts.iter().map(|text| query(text)).collect::<Vec<_>>())
    }
}

/// What the thief says to get in.
pub(crate) fn thief_login(tenant: &Tenant) -> Login {
    let mut login = through(tenant);
    login.user = format!("{THIEF}@{}", tenant.role);
    login
}

/// The reasons for which backends are held now.
pub(crate) fn pins(vault: &Vault) -> Vec<String> {
    let metrics = vault.http("/metrics");
    let held = metrics.lines().filter(|line| line.starts_with("onevault_pins{") && !line.ends_with(" 0"));
    held.filter_map(|line| line.split("reason=\"").nth(1)?.split('"').next().map(str::to_owned)).collect()
}

/// Says messages and hears as many `ReadyForQuery`s as they ask for: one for each `Query`, `Sync` and `FunctionCall`.
pub(crate) fn say(wire: &mut Wire, messages: &[u8]) -> Vec<String> {
    wire.send(messages);
    (0..asks(messages)).flat_map(|_| lines(&wire.until_ready())).collect()
}

fn asks(messages: &[u8]) -> usize {
    let (mut rest, mut count) = (messages, 0);
    while let Some((&[tag, a, b, c, d], _)) = rest.split_first_chunk::<5>() {
        count += usize::from(b"QSF".contains(&tag));
        let total = usize::try_from(u32::from_be_bytes([a, b, c, d])).unwrap() + 1;
        rest = &rest[total..];
    }
    count
}
