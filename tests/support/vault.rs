//! A running OneVault: configuration, customers and journal in a folder of its own, stopped and checked at the end.

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

use super::TemporaryDir;
use super::postgres::{Postgres, Tenant};
use super::wire::{Login, Wire};

const START_TIME_MAX: Duration = Duration::from_secs(30);

/// The ways to pool. What must hold in both is tried in both.
pub(crate) const MODES: [&str; 2] = ["session", "transaction"];

/// A customer's `config.yaml`, to be changed before it is written.
#[derive(Debug, Clone)]
pub(crate) struct Customer {
    pub(crate) id: String,
    pub(crate) yaml: Value,
    /// By file name below the customer's folder.
    secrets: Vec<(String, String)>,
}

/// Sets what `changes` holds, level by level; everything else stays.
pub(crate) fn merge(value: &mut Value, changes: Value) {
    match (value, changes) {
        (Value::Object(into), Value::Object(changes)) => {
            for (key, change) in changes {
                merge(into.entry(key).or_insert(Value::Null), change);
            }
        }
        (value, changes) => *value = changes,
    }
}

impl Customer {
    /// The customer that owns `tenant`'s database; its one login is called like the role and has the role's password.
    pub(crate) fn of(tenant: &Tenant) -> Self {
        let server = Self::server(tenant.postgres.port, &tenant.role);
        Self::at(&tenant.role, &server, json!([{ "name": tenant.database }]))
            .login(&tenant.role, &tenant.verifier())
            .secret("password", &tenant.password)
    }

    /// A customer without logins.
    pub(crate) fn at(id: &str, server: &Value, databases: Value) -> Self {
        let mut yaml = json!({
            "identity": { "id": id, "display_name": format!("Customer {id}") },
            "industry": "spa",
            "region": "us-east-1",
            "server": server,
            "logins": {},
        });
        yaml["databases"] = databases;
        Self { id: id.to_owned(), yaml, secrets: Vec::new() }
    }

    /// How a server is written; its password is the customer's secret `password`.
    pub(crate) fn server(port: u16, role: &str) -> Value {
        json!({
            "host": "127.0.0.1",
            "port": port,
            "role": role,
            "password": "file:password",
            "ssl_mode": "disable",
        })
    }

    pub(crate) fn login(self, name: &str, verifier: &str) -> Self {
        self.with(json!({ "logins": { name: { "verifier": verifier } } }))
    }

    /// With this `pool.mode`.
    pub(crate) fn pooled(self, mode: &str) -> Self {
        self.with(json!({ "pool": { "mode": mode } }))
    }

    pub(crate) fn secret(mut self, name: &str, text: &str) -> Self {
        self.secrets.push((name.to_owned(), text.to_owned()));
        self
    }

    /// Changes or adds keys.
    pub(crate) fn with(mut self, changes: Value) -> Self {
        merge(&mut self.yaml, changes);
        self
    }
}

/// What a OneVault is started with.
#[derive(Debug, Default)]
pub(crate) struct Options {
    config: Value,
    customers: Vec<Customer>,
    environment: Vec<(String, String)>,
}

impl Options {
    pub(crate) fn new(customers: &[Customer]) -> Self {
        Self { config: json!({}), customers: customers.to_vec(), environment: Vec::new() }
    }

    /// With a variable of the environment.
    pub(crate) fn environment(mut self, name: &str, value: &str) -> Self {
        self.environment.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Changes keys of `config/onevault.yaml`.
    pub(crate) fn with(mut self, changes: Value) -> Self {
        merge(&mut self.config, changes);
        self
    }
}

/// A running OneVault.
pub(crate) struct Vault {
    pub(crate) dir: TemporaryDir,
    pub(crate) port: u16,
    pub(crate) http_port: u16,
    child: Option<Child>,
    starts: u32,
    environment: Vec<(String, String)>,
}

/// A port below those that the kernel hands out by itself, so that nobody takes it by chance in between.
fn free_port() -> u16 {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let start = std::process::id().wrapping_mul(31);
    loop {
        let offset = start.wrapping_add(NEXT.fetch_add(1, Ordering::Relaxed)) % 9_000;
        let port = 10_500 + u16::try_from(offset).unwrap();
        if TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok() {
            return port;
        }
    }
}

impl Vault {
    /// One customer for one tenant.
    pub(crate) fn of(tenant: &Tenant) -> Self {
        Self::start(Options::new(&[Customer::of(tenant)]))
    }

    /// Writes everything and waits until clients are let in.
    pub(crate) fn start(options: Options) -> Self {
        let dir = TemporaryDir::new("vault");
        let (port, http_port) = (free_port(), free_port());
        let path = |name: &str| dir.0.join(name).display().to_string();
        let mut config = json!({
            "listen": { "address": format!("127.0.0.1:{port}"), "plain_from_loopback": true, "workers": 2 },
            "tls": { "development_dir": path("certificates") },
            "customers": { "configurations_dir": path("customers"), "templates_dir": path("templates") },
            "audit": { "directory": path("audit"), "segment_bytes": 1 << 20 },
            "http": { "address": format!("127.0.0.1:{http_port}") },
            "limits": { "drain_timeout_ms": 10_000 },
        });
        merge(&mut config, options.config);
        fs::create_dir_all(dir.0.join("templates")).unwrap();
        fs::write(dir.0.join("onevault.yaml"), config.to_string()).unwrap();
        let environment = options.environment;
        let mut vault = Self { dir, port, http_port, child: None, starts: 0, environment };
        for customer in &options.customers {
            vault.write(customer);
        }
        vault.launch();
        vault
    }

    /// Changes keys of `onevault.yaml`, for the next start.
    pub(crate) fn change(&self, changes: Value) {
        let path = self.dir.0.join("onevault.yaml");
        let mut config: Value = serde_json::from_str(&fs::read_to_string(&path).unwrap()).unwrap();
        merge(&mut config, changes);
        fs::write(path, config.to_string()).unwrap();
    }

    /// Writes a customer's files; a running OneVault sees them by itself.
    pub(crate) fn write(&self, customer: &Customer) {
        let folder = self.dir.0.join("customers").join(&customer.id);
        fs::create_dir_all(&folder).unwrap();
        for (name, text) in &customer.secrets {
            let path = folder.join(name);
            fs::write(&path, text).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        }
        // Renamed into place: a half-written file would be a bad file.
        fs::write(folder.join(".config.new"), customer.yaml.to_string()).unwrap();
        fs::rename(folder.join(".config.new"), folder.join("config.yaml")).unwrap();
    }

    fn program(&self) -> Command {
        // `ONEVAULT_TEST_BINARY` may name an optimised build, for long runs.
        let other = std::env::var_os("ONEVAULT_TEST_BINARY");
        let mut command = Command::new(other.unwrap_or_else(|| env!("CARGO_BIN_EXE_onevault").into()));
        command.env("ONEVAULT_CONFIG", self.dir.0.join("onevault.yaml")).current_dir(&self.dir.0);
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        command
    }

    /// Starts the process again after [`kill`](Self::kill) or [`stop`](Self::stop).
    pub(crate) fn launch(&mut self) {
        self.starts += 1;
        let log = File::options().create(true).append(true).open(self.dir.0.join("stderr")).unwrap();
        let mut program = self.program();
        program.arg("serve").stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log);
        self.child = Some(program.spawn().unwrap());
        let begun = Instant::now();
        while !self.http("/health").starts_with("HTTP/1.1 200") {
            let ended = self.child.as_mut().and_then(|child| child.try_wait().unwrap());
            assert!(ended.is_none(), "OneVault ended: {}", self.stderr());
            assert!(begun.elapsed() < START_TIME_MAX, "OneVault does not become ready: {}", self.stderr());
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// What a GET answers, with its header; empty when nobody does.
    pub(crate) fn http(&self, path: &str) -> String {
        let mut answer = Vec::new();
        if let Ok(mut tcp) = TcpStream::connect((Ipv4Addr::LOCALHOST, self.http_port)) {
            tcp.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
            let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
            let _ = tcp.write_all(request.as_bytes()).and_then(|()| tcp.read_to_end(&mut answer));
        }
        String::from_utf8_lossy(&answer).into_owned()
    }

    pub(crate) fn stderr(&self) -> String {
        fs::read_to_string(self.dir.0.join("stderr")).unwrap_or_default()
    }

    /// The authority of the development certificate, good for `localhost`.
    pub(crate) fn ca(&self) -> PathBuf {
        self.dir.0.join("certificates/ca.pem")
    }

    /// Whether the process has a thread of this name.
    pub(crate) fn has_thread(&self, name: &str) -> bool {
        let tasks = fs::read_dir(format!("/proc/{}/task", self.pid())).unwrap();
        let mut names = tasks.flatten().map(|task| fs::read_to_string(task.path().join("comm")));
        names.any(|comm| comm.is_ok_and(|comm| comm.trim_end() == name))
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.as_ref().unwrap().id()
    }

    pub(crate) fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(i32::try_from(self.pid()).unwrap()).unwrap();
        kill_process(pid, signal).unwrap();
    }

    /// `kill -9`.
    pub(crate) fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// Whether the process has ended by itself, or was killed by somebody else.
    pub(crate) fn has_ended(&mut self) -> bool {
        self.child.as_mut().is_none_or(|child| child.try_wait().unwrap().is_some())
    }

    /// Waits for the end of the process.
    pub(crate) fn wait(&mut self) -> ExitStatus {
        self.child.take().unwrap().wait().unwrap()
    }

    /// Asks for a graceful end and checks that it is one.
    pub(crate) fn stop(&mut self) {
        self.signal(Signal::TERM);
        let status = self.wait();
        assert!(status.success(), "ended with {status}: {}", self.stderr());
    }

    /// Runs another command of the program with the same configuration.
    pub(crate) fn command(&self, arguments: &[&str]) -> Output {
        self.program().args(arguments).output().unwrap()
    }

    /// The records of the log, oldest first.
    pub(crate) fn audit(&self, filters: &[&str]) -> Vec<Value> {
        let output = self.command(&[&["audit", "show", "--json"], filters].concat());
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let text = String::from_utf8(output.stdout).unwrap();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    /// Shows each record of the log to `look`, one at a time: there may be millions.
    pub(crate) fn each_record(&self, filters: &[&str], mut look: impl FnMut(Value)) {
        let mut command = self.program();
        command.args(["audit", "show", "--json"]).args(filters).stdout(Stdio::piped());
        let mut child = command.spawn().unwrap();
        for line in BufReader::new(child.stdout.take().unwrap()).lines() {
            look(serde_json::from_str(&line.unwrap()).unwrap());
        }
        assert!(child.wait().unwrap().success());
    }

    /// The records that fit, of which there must be so many; buffered ones may take a moment.
    pub(crate) fn records(&self, filters: &[&str], expected: usize) -> Vec<Value> {
        let begun = Instant::now();
        let mut records = self.audit(filters);
        while records.len() < expected && begun.elapsed() < Duration::from_secs(5) {
            std::thread::sleep(Duration::from_millis(30));
            records = self.audit(filters);
        }
        assert_eq!(records.len(), expected, "{filters:?}: {records:#?}");
        records
    }

    /// Connects without TLS and logs in.
    pub(crate) fn enter(&self, login: &Login) -> Wire {
        let mut wire = Wire::plain(self.port);
        wire.login(login).unwrap_or_else(|error| panic!("{}: {}", error.line(), self.stderr()));
        wire
    }

    /// Connects over TLS and logs in.
    pub(crate) fn enter_tls(&self, login: &Login) -> Wire {
        let mut wire = Wire::tls(self.port, "localhost", &self.ca()).unwrap();
        wire.login(login).unwrap_or_else(|error| panic!("{}: {}", error.line(), self.stderr()));
        wire
    }
}

impl Drop for Vault {
    fn drop(&mut self) {
        if self.child.is_some() && !std::thread::panicking() {
            self.stop();
        }
        if std::thread::panicking() {
            eprintln!("--- what OneVault said\n{}", self.stderr());
        }
        self.kill();
    }
}

/// A PostgreSQL tenant and the OneVault in front of it.
pub(crate) struct House {
    // Dropped in this order: OneVault lets go of the database before it is dropped.
    pub(crate) vault: Vault,
    pub(crate) tenant: Tenant,
}

impl House {
    pub(crate) fn new(word: &str) -> Self {
        Self::with(word, |options| options)
    }

    pub(crate) fn with(word: &str, change: impl FnOnce(Options) -> Options) -> Self {
        let tenant = Postgres::shared(super::postgres::ANY).tenant(word);
        let vault = Vault::start(change(Options::new(&[Customer::of(&tenant)])));
        Self { vault, tenant }
    }

    /// With this `pool.mode`.
    pub(crate) fn pooled(word: &str, mode: &str) -> Self {
        Self::with(word, |options| options.with(json!({ "pool": { "mode": mode } })))
    }

    /// What a client says to get in: `login@customer`.
    pub(crate) fn login(&self) -> Login {
        through(&self.tenant)
    }

    /// A session through OneVault.
    pub(crate) fn enter(&self) -> Wire {
        self.vault.enter(&self.login())
    }

    /// A session past OneVault.
    pub(crate) fn direct(&self) -> Wire {
        self.tenant.direct()
    }
}

/// The tenant's login as a client of OneVault says it.
pub(crate) fn through(tenant: &Tenant) -> Login {
    let mut login = tenant.login();
    login.user = format!("{0}@{0}", tenant.role);
    login
}
