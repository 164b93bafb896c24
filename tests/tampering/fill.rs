//! A log as years leave it: several customers, days, kinds of records, decisions and keys, one of them destroyed.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::task::{Context, Poll, Waker};

use onevault::audit::{Event, EventKind, Log, Statement, Who};
use onevault::config;
use onevault::proof::cosignature::Witness as Key;
use serde_json::json;

use crate::support::messages;
use crate::support::postgres::{ANY, Postgres, Tenant};
use crate::support::vault::{Customer, Options, Vault, through};
use crate::support::witness::Witness;
use crate::support::{TemporaryDir, eventually};

const DAY_NS: u64 = 86_400_000_000_000;

/// A vault that was stopped, and what its folder was some time before.
pub(super) struct Filled {
    pub(super) vault: Vault,
    /// The folder as it was before the last run of the process.
    pub(super) before: PathBuf,
    /// Of the first, all kinds of records are there; of the second all is expired but the last; the third was shredded.
    pub(super) customers: [String; 3],
    /// Who stands for each log.
    pub(super) witness: Key,
    // Dropped behind the vault.
    _tenants: [Tenant; 3],
    _secrets: TemporaryDir,
}

pub(super) fn said(output: &Output) -> String {
    String::from_utf8_lossy(&[output.stdout.as_slice(), &output.stderr].concat()).into_owned()
}

/// What a command that must succeed says.
fn well(vault: &Vault, arguments: &[&str]) -> String {
    let output = vault.command(arguments);
    assert!(output.status.success(), "{arguments:?}: {}", said(&output));
    said(&output)
}

pub(super) fn copy(from: &Path, to: &Path) {
    let copied = Command::new("cp").arg("-a").arg(from).arg(to).status().unwrap();
    assert!(copied.success());
}

/// Every file below a folder, by its path in it, in order.
pub(super) fn files(folder: &Path) -> Vec<String> {
    let mut found = Vec::new();
    let mut open = vec![folder.to_owned()];
    while let Some(next) = open.pop() {
        for entry in fs::read_dir(&next).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                open.push(path);
            } else {
                found.push(path.strip_prefix(folder).unwrap().to_str().unwrap().to_owned());
            }
        }
    }
    found.sort();
    found
}

/// What the folder's log is set to, as far as reading it is concerned.
pub(super) fn audit(vault: &Vault) -> config::Audit {
    let archive = config::Archive { interval_s: 1, journal_keep_h: 0, ..config::Archive::default() };
    let directory = vault.dir.0.join("audit");
    config::Audit {
        directory,
        archive,
        segment_bytes: 1 << 20,
        buffer_bytes: 16 << 20,
        checkpoint_interval_ms: 100,
        ..config::Audit::default()
    }
}

/// Records of former days, with texts so long that segments fill up.
fn former_days(audit: &config::Audit, customers: &[String; 3]) {
    let log = Log::open(audit, "node").unwrap();
    let today = u64::try_from(std::time::UNIX_EPOCH.elapsed().unwrap().as_nanos()).unwrap();
    let long = "SELECT ".repeat(90_000).into_bytes();
    for (customer, days) in [(0, [2, 1]), (1, [500, 499]), (2, [2, 1])] {
        let customer: &str = &customers[customer];
        let mut session = log.session(&Who {
            session: 1,
            customer,
            login: "anna",
            role: customer,
            database: customer,
            credential: "scram",
            client_address: "192.0.2.7:5123".parse().unwrap(),
            tls: Some("TLSv1.3"),
            application_name: b"psql",
            backend_pid: 4711,
        });
        for (number, back) in days.into_iter().flat_map(|day| [day; 3]).enumerate() {
            let text: &[u8] = if number % 3 == 1 { &long } else { b"SELECT 1" };
            let statement = Statement {
                sequence: u64::try_from(number).unwrap(),
                text,
                text_bytes: u64::try_from(text.len()).unwrap(),
                started_ns: today - back * DAY_NS,
                duration_ns: 1_000,
                commands: 1,
                tag: b"SELECT 1",
                transaction_status: b'I',
                ..Statement::default()
            };
            durable(&mut session, &statement);
        }
    }
    log.event(&Event { detail: b"a reason", login: b"eve", ..Event::new(EventKind::LoginFailed) }).unwrap();
    log.close();
}

fn durable(session: &mut onevault::audit::SessionLog, statement: &Statement<'_>) {
    let ticket = session.statement(statement).unwrap();
    let begun = std::time::Instant::now();
    while session.poll_durable(ticket, &mut Context::from_waker(Waker::noop())) != Poll::Ready(Ok(())) {
        assert!(begun.elapsed().as_secs() < 20, "a record is not on disk");
        std::thread::sleep(std::time::Duration::from_millis(1));
    }
}

fn start(tenants: &[Tenant; 3], witness: &Witness, secret: &Path) -> Vault {
    let mut customers: Vec<Customer> = tenants.iter().map(Customer::of).collect();
    let year = json!({ "statement": "1y", "session": "1y", "event": "1y" });
    customers[1] = customers[1].clone().with(json!({ "audit": { "retention": year } }));
    fs::write(secret, "a shared secret").unwrap();
    fs::set_permissions(secret, fs::Permissions::from_mode(0o600)).unwrap();
    let options = Options::new(&customers).with(json!({
        "audit": {
            "checkpoint_interval_ms": 100,
            "copy_data": "content",
            "archive": { "interval_s": 1, "journal_keep_h": 0 },
            "digest": { "interval_s": 1 },
        },
        // Nobody listens there, so alerts wait.
        "alerts": { "url": "http://127.0.0.1:1/hook", "secret": format!("file:{}", secret.display()), "failed_logins": 2 },
    }));
    let options = options.with(json!({ "audit": witness.config() }));
    Vault::start(options)
}

/// A session in which much happens.
fn work(vault: &Vault, tenant: &Tenant) {
    let mut wire = vault.enter(&through(tenant));
    wire.rows("CREATE TABLE IF NOT EXISTS t (x text)");
    wire.talk(&messages::extended("SELECT $1::text", &[Some("a parameter")]));
    wire.talk(&messages::query("SELECT no_such_column"));
    wire.talk(&messages::all(&[
        messages::query("COPY t FROM STDIN"),
        messages::copy_data(b"first\nsecond\n"),
        messages::copy_done(),
    ]));
    wire.rows("COPY t TO STDOUT");
    wire.value(&format!("SELECT length('{}')", "y".repeat(100_000)));
}

fn archived(vault: &Vault) {
    let state = vault.dir.0.join("audit/archive.state/state");
    let number = |text: &str| -> u64 {
        let line = text.lines().find_map(|line| line.strip_prefix("record "));
        line.and_then(|text| text.parse().ok()).unwrap_or(0)
    };
    let before = fs::read_to_string(&state).map_or(0, |text| number(&text));
    eventually("the journal is archived", || {
        fs::read_to_string(&state).is_ok_and(|text| number(&text) > before)
    });
}

/// Waits until the witness stands for all of each log.
fn witnessed(vault: &Vault, customers: &[String; 3]) {
    let size = |log: &str, name: &str| -> Option<u64> {
        let text = fs::read_to_string(vault.dir.0.join("audit/proof").join(log).join(name)).ok()?;
        let at = if name == "cosigned" { text.find("note ") } else { text.rfind("note ") };
        text.get(at?..)?.lines().nth(2)?.parse().ok()
    };
    for log in customers.iter().map(String::as_str).chain(["_"]) {
        let is_all = || size(log, "cosigned").is_some() && size(log, "cosigned") == size(log, "history");
        eventually("a witness stands for it", is_all);
    }
}

pub(super) fn filled() -> Filled {
    // Of its own, because what it counts is compared with the log.
    let postgres: &'static Postgres = Box::leak(Box::new(Postgres::preloading(ANY, "pg_stat_statements")));
    let tenants = ["first", "second", "third"].map(|word| postgres.tenant(word));
    tenants[0].sql("CREATE EXTENSION pg_stat_statements");
    let witness = Witness::start();
    let secrets = TemporaryDir::new("hook-secret");
    let mut vault = start(&tenants, &witness, &secrets.0.join("secret"));
    let key = || fs::read_to_string(vault.dir.0.join("audit/proof/checkpoints.pub")).unwrap_or_default();
    eventually("it is known who signs", || key().ends_with('\n'));
    witness.trust(&key());
    let customers = [0, 1, 2].map(|at: usize| tenants[at].role.clone());
    for tenant in &tenants {
        work(&vault, tenant);
    }
    witnessed(&vault, &customers);
    vault.stop();
    former_days(&audit(&vault), &customers);
    vault.launch();
    archived(&vault);
    let [first, second, third] = [0, 1, 2].map(|at: usize| customers[at].as_str());
    well(&vault, &["audit", "hold", "set", "--customer", first, "--reason", "case 4711"]);
    let gone = vault.dir.0.join("audit/keeping/expired").join(second);
    eventually("old records go when they are archived", || {
        well(&vault, &["audit", "retention", "run"]);
        gone.exists()
    });
    well(&vault, &["audit", "shred", "--customer", third, "--reason", "contract ended"]);
    for _ in 0..3 {
        let mut stranger = crate::support::wire::Wire::plain(vault.port);
        let mut login = through(&tenants[0]);
        "wrong".clone_into(&mut login.password);
        assert!(stranger.login(&login).is_err());
    }
    well(&vault, &["audit", "reconcile", "--json", "--customer", first]);
    let alerts = vault.dir.0.join("audit/alerts").join(first);
    eventually("an alert waits", || fs::read_dir(&alerts).is_ok_and(|entries| entries.count() > 0));
    vault.stop();
    let (now, before) = (vault.dir.0.join("audit"), vault.dir.0.join("before"));
    copy(&now, &before);

    vault.launch();
    for tenant in &tenants {
        work(&vault, tenant);
    }
    let begin = |folder: &Path| fs::read(folder.join("journal.begin")).ok();
    eventually("the journal begins later than before", || {
        vault.enter(&through(&tenants[0])).value(&format!("SELECT length('{}')", "z".repeat(500_000)));
        begin(&now) != begin(&before)
    });
    archived(&vault);
    witnessed(&vault, &customers);
    well(&vault, &["audit", "hold", "release", "--customer", first, "--number", "1", "--reason", "closed"]);
    vault.stop();
    // The last run of the process has a batch that was torn, and is cut by the next.
    work_and_be_torn(&mut vault, &tenants[0]);
    let witness = Key::parse(&witness.key()).unwrap();
    Filled { vault, before, customers, witness, _tenants: tenants, _secrets: secrets }
}

fn work_and_be_torn(vault: &mut Vault, tenant: &Tenant) {
    vault.launch();
    vault.enter(&through(tenant)).value("SELECT 'the end'");
    vault.kill();
    let folder = vault.dir.0.join("audit");
    let last = files(&folder).into_iter().filter(|name| name.ends_with(".journal")).max().unwrap();
    let mut bytes = fs::read(folder.join(&last)).unwrap();
    let end = bytes.iter().rposition(|byte| *byte != 0).unwrap() + 20;
    bytes[end..end + 40].fill(0x5a);
    fs::write(folder.join(last), bytes).unwrap();
    vault.launch();
    vault.enter(&through(tenant)).value("SELECT 'a new beginning'");
    archived(vault);
    vault.stop();
}
