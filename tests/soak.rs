//! Many clients of three customers while backends are killed, clients vanish and the configuration is reloaded:
//! no row crosses, no statement is missing from the log or stands there twice, memory does not grow.
//!
//! A usual run is short; `ONEVAULT_SOAK_SECONDS` and `ONEVAULT_SOAK_CLIENTS` ask for more.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::json;

use crate::support::messages;
use crate::support::postgres::{ANY, Postgres, Tenant};
use crate::support::transcript::Frame;
use crate::support::vault::{Customer, Options, Vault, through};
use crate::support::wire::Wire;

fn asked(name: &str, otherwise: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(otherwise)
}

/// What one client knows of its statements: answered ones must be in the log, others may be.
#[derive(Default)]
struct Said {
    answered: Vec<String>,
    unanswered: Vec<String>,
}

struct Client<'a> {
    vault: &'a Vault,
    tenant: &'a Tenant,
    number: u64,
    next: u64,
    said: Said,
}

impl Client<'_> {
    /// Says one statement with a marker of its own; nothing when the connection ended.
    fn say(&mut self, wire: &mut Wire, sql: &str, extended: bool) -> Option<Vec<Frame>> {
        self.next += 1;
        let text = format!("{sql} /* {}-{} */", self.number, self.next);
        let bytes = if extended { messages::extended(&text, &[]) } else { messages::query(&text) };
        let frames = if wire.try_send(&bytes).is_ok() { wire.until_ready() } else { Vec::new() };
        // A FATAL error may have crossed the statement: then the statement was never read.
        let whole = frames.last().is_some_and(|frame| frame.tag == b'Z');
        if whole {
            self.said.answered.push(text);
        } else {
            self.said.unanswered.push(text);
        }
        whole.then_some(frames)
    }

    /// Everything this client sees is its customer's.
    fn check(&self, frames: &[Frame]) {
        for row in frames.iter().filter(|frame| frame.tag == b'D') {
            let owner = row.values()[0].clone().unwrap_or_default();
            assert_eq!(owner, self.tenant.database, "a row of another customer");
        }
    }

    /// One session: some work, then one of several ends. Nothing when the connection ended early.
    fn session(&mut self) -> Option<()> {
        let mut wire = if self.number.is_multiple_of(3) {
            Wire::tls(self.vault.port, "localhost", &self.vault.ca()).ok()?
        } else {
            Wire::plain(self.vault.port)
        };
        wire.login(&through(self.tenant)).ok()?;
        for step in 0..8 {
            let extended = (self.next + step).is_multiple_of(2);
            let frames = self.say(&mut wire, "SELECT owner, n FROM mine ORDER BY n LIMIT 50", extended)?;
            self.check(&frames);
            self.say(&mut wire, "CREATE TEMP TABLE IF NOT EXISTS leftover AS SELECT 1", false)?;
            self.say(&mut wire, "SELECT 1/0", extended)?;
        }
        self.say(&mut wire, "BEGIN", false)?;
        self.say(&mut wire, "UPDATE mine SET n = n WHERE n = 1", true)?;
        let frames = self.say(&mut wire, "SELECT current_database(), repeat('x', 100000)", true)?;
        self.check(&frames);
        match self.next % 4 {
            0 => wire.vanish(),
            1 => wire.send(&messages::terminate()),
            _ => {
                self.say(&mut wire, "ROLLBACK", false)?;
                wire.send(&messages::terminate());
            }
        }
        Some(())
    }
}

/// Resident memory of a process, in KiB.
fn resident_kib(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

/// Kills backends and reloads the configuration until told to stop; gives the memory after a quarter of the time.
fn disturb(vault: &Vault, tenants: &[Tenant], lasting: Duration) -> u64 {
    let (begun, mut early, mut round) = (Instant::now(), None, 0_usize);
    while begun.elapsed() < lasting {
        let tenant = &tenants[round % tenants.len()];
        tenant.sql(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database()
             AND pid <> pg_backend_pid() ORDER BY random() LIMIT 1",
        );
        if round.is_multiple_of(5) {
            vault.signal(Signal::HUP);
        }
        if round.is_multiple_of(7) {
            vault.write(
                &Customer::of(tenant).with(json!({ "features": { "round": round.is_multiple_of(2) } })),
            );
        }
        if begun.elapsed() > lasting / 4 {
            early.get_or_insert_with(|| resident_kib(vault.pid()));
        }
        round += 1;
        std::thread::sleep(Duration::from_millis(50));
    }
    early.unwrap_or_else(|| resident_kib(vault.pid()))
}

#[test]
fn under_kills_and_reloads_no_row_crosses_and_no_statement_is_missing() {
    let lasting = Duration::from_secs(asked("ONEVAULT_SOAK_SECONDS", 8));
    let clients = asked("ONEVAULT_SOAK_CLIENTS", 24);
    let tenants: Vec<Tenant> = (0..3).map(|_| Postgres::shared(ANY).tenant("soak")).collect();
    for tenant in &tenants {
        tenant.direct().rows(
            "CREATE TABLE mine AS SELECT current_database()::text AS owner, n FROM generate_series(1, 500) n",
        );
    }
    let customers: Vec<Customer> = tenants.iter().map(Customer::of).collect();
    let mut vault =
        Vault::start(Options::new(&customers).with(json!({ "audit": { "segment_bytes": 16 << 20 } })));
    let (stop, sessions) = (AtomicBool::new(false), AtomicU64::new(0));
    let (said, early_kib) = std::thread::scope(|scope| {
        let running: Vec<_> = (0..clients)
            .map(|number| {
                let (vault, stop, sessions) = (&vault, &stop, &sessions);
                let tenant = &tenants[usize::try_from(number).unwrap() % tenants.len()];
                scope.spawn(move || {
                    let mut client = Client { vault, tenant, number, next: 0, said: Said::default() };
                    while !stop.load(Ordering::Relaxed) {
                        client.session();
                        sessions.fetch_add(1, Ordering::Relaxed);
                    }
                    client.said
                })
            })
            .collect();
        let early_kib = disturb(&vault, &tenants, lasting);
        stop.store(true, Ordering::Relaxed);
        let said: Vec<Said> = running.into_iter().map(|client| client.join().unwrap()).collect();
        (said, early_kib)
    });
    let late_kib = resident_kib(vault.pid());
    vault.stop();
    let sessions = sessions.into_inner();
    check_log(&vault, &said);
    let answered: usize = said.iter().map(|said| said.answered.len()).sum();
    eprintln!(
        "{sessions} sessions, {answered} statements, {early_kib} KiB after a quarter, {late_kib} KiB at the end"
    );
    assert!(answered > 200, "only {answered} statements were answered");
    assert!(late_kib < early_kib + early_kib / 4 + 8192, "memory grew from {early_kib} to {late_kib} KiB");
}

/// Each answered statement stands in the log once, each unanswered one at most once, and nothing else does.
fn check_log(vault: &Vault, said: &[Said]) {
    assert!(vault.command(&["audit", "verify"]).status.success());
    let mut logged: HashMap<String, usize> = HashMap::new();
    for record in vault.audit(&["--kind", "statement"]) {
        // A failed `Parse` or `Bind` has a record beside that of the execution it kept from running.
        let executed = !["parse", "bind"].contains(&record["ov.kind"].as_str().unwrap());
        if let (Some(text), true) = (record["db.query.text"].as_str(), executed) {
            *logged.entry(text.to_owned()).or_default() += 1;
        }
    }
    for text in said.iter().flat_map(|said| &said.answered) {
        assert_eq!(logged.remove(text), Some(1), "{text}");
    }
    for text in said.iter().flat_map(|said| &said.unanswered) {
        assert!(logged.remove(text).unwrap_or(0) <= 1, "{text}");
    }
    assert!(logged.is_empty(), "nobody said {logged:?}");
}
