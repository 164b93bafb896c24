//! `config/onevault.yaml`, typed: how long, how many, how big.
//!
//! Every limit has a default and its unit in its name. Unknown keys are refused with file, line and column, and so
//! are values out of range. Paths are relative to the folder in which the process was started.
//! This room knows nothing of customers; theirs is [`crate::customers`].

mod attention;
mod hours;
mod key_source;
mod load;
mod modes;
mod outside;
mod problem;
mod retention;
mod typed;
mod yaml;

use std::net::SocketAddr;
use std::path::PathBuf;

use serde::Deserialize;

pub use attention::{Alerts, Digest};
pub use hours::{Hours, Local, Zone};
pub use key_source::KeySource;
pub(crate) use load::{DAY_MS, FRESH_IS_SESSION};
pub use load::{is_host_name, load};
pub use modes::{AuditMode, CopyData, Parameters};
pub use outside::{Anchor, Witness};
pub use problem::{Fault, Place, Problem, Problems};
pub use retention::{Age, Retention};
#[cfg(test)]
pub(crate) use typed::absent_keys;
pub use typed::read as read_typed;
pub use yaml::{Node, parse as parse_yaml, read as read_text};

/// The whole of `config/onevault.yaml`.
#[derive(Debug, Clone, Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Where clients connect.
    pub listen: Listen,
    /// Certificates shown to clients.
    pub tls: Tls,
    /// Where customers are described.
    pub customers: Customers,
    /// Limits that protect everyone from anyone.
    pub limits: Limits,
    /// How backends are kept.
    pub pool: Pool,
    /// Where the statement log goes.
    pub audit: Audit,
    /// What somebody hears of at once, and where.
    pub alerts: Alerts,
    /// The SQL console over the audit log.
    pub console: Console,
    /// Who looks after OneVault itself and may use the console for all customers.
    pub operators: Vec<Operator>,
    /// Health and metrics.
    pub http: Http,
    /// The PostgreSQL servers on which `onevault customer create` makes databases.
    pub provision: Provision,
    /// What OneVault says of itself.
    pub log: Log,
}

/// Where clients connect.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Listen {
    /// Address and port for Postgres clients.
    pub address: SocketAddr,
    /// Worker threads, each with a runtime of its own; 0 means one per core.
    pub workers: usize,
    /// `<customer>.<base_domain>` names a customer in SNI; empty: only customers' own domains do.
    pub base_domain: String,
    /// Lets clients from a loopback address connect without TLS.
    pub plain_from_loopback: bool,
}

impl Default for Listen {
    fn default() -> Self {
        Self {
            address: SocketAddr::from(([127, 0, 0, 1], 6432)),
            workers: 0,
            base_domain: String::new(),
            plain_from_loopback: false,
        }
    }
}

/// Certificates shown to clients.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Tls {
    /// Certificate chains and keys (PEM); the first is shown when no name fits. Re-read when a file changes.
    pub certificates: Vec<Certificate>,
    /// `1.2` or `1.3`.
    pub min_version: TlsVersion,
    /// Makes a development certificate and authority in this folder when `certificates` is empty.
    pub development_dir: Option<PathBuf>,
}

impl Default for Tls {
    fn default() -> Self {
        Self { certificates: Vec::new(), min_version: TlsVersion::V1_2, development_dir: None }
    }
}

/// One certificate chain and its private key, both PEM files.
#[derive(Debug, Clone, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
pub struct Certificate {
    /// The chain, leaf first.
    pub chain: PathBuf,
    /// The private key; readable by its owner only.
    pub key: PathBuf,
}

/// The oldest TLS version a client may speak.
#[derive(Debug, Clone, Copy, Deserialize, PartialEq, Eq)]
pub enum TlsVersion {
    /// TLS 1.2
    #[serde(rename = "1.2")]
    V1_2,
    /// TLS 1.3
    #[serde(rename = "1.3")]
    V1_3,
}

/// Where customers are described.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Customers {
    /// Holds `<id>/config.yaml` for each customer; watched.
    pub configurations_dir: PathBuf,
    /// Holds the SQL templates for new databases.
    pub templates_dir: PathBuf,
}

impl Default for Customers {
    fn default() -> Self {
        Self {
            configurations_dir: "customers/configurations".into(),
            templates_dir: "customers/templates".into(),
        }
    }
}

/// Limits that protect everyone from anyone.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Limits {
    /// Client connections of the whole process; one more is refused with 53300.
    pub clients_max: usize,
    /// Client connections from one address.
    pub clients_per_address_max: usize,
    /// Backends of the whole process.
    pub backends_max: usize,
    /// Backends at one server (host and port), over all customers; absent: no limit but the others.
    pub server_backends_max: Option<usize>,
    /// Servers that have another limit.
    pub servers: Vec<ServerLimit>,
    /// From accept to the end of the login.
    pub login_timeout_ms: u64,
    /// The largest message a logged-in client may send, in bytes (at most 1 GiB - 1).
    pub message_bytes_max: u32,
    /// How long a draining process waits for open transactions.
    pub drain_timeout_ms: u64,
    /// `CancelRequest`s being carried out at one time.
    pub cancels_in_flight_max: usize,
    /// The longest statement; longer ones are cancelled (57014). 0: no limit but the database's own.
    pub statement_timeout_ms: u64,
    /// How long a client may leave a transaction open and say nothing (25P03). 0: for ever.
    pub idle_in_transaction_timeout_ms: u64,
    /// How long a client may say nothing outside a transaction (57P05). 0: for ever.
    pub idle_session_timeout_ms: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            clients_max: 10_000,
            clients_per_address_max: 10_000,
            backends_max: 1_000,
            server_backends_max: None,
            servers: Vec::new(),
            login_timeout_ms: 15_000,
            message_bytes_max: (1 << 30) - 1,
            drain_timeout_ms: 30_000,
            cancels_in_flight_max: 64,
            statement_timeout_ms: 0,
            idle_in_transaction_timeout_ms: 0,
            idle_session_timeout_ms: 0,
        }
    }
}

/// The limit of one server, over all customers.
#[derive(Debug, Clone, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
pub struct ServerLimit {
    /// Its host, as customers write it.
    pub host: String,
    /// Its port.
    #[serde(default = "postgres_port")]
    pub port: u16,
    /// Backends at this server.
    pub backends_max: usize,
}

const fn postgres_port() -> u16 {
    5432
}

impl Config {
    /// The limit on backends at a server, over all customers.
    #[must_use]
    pub fn server_backends_max(&self, host: &str, port: u16) -> Option<usize> {
        let own = self.limits.servers.iter().find(|server| server.host == host && server.port == port);
        own.map(|server| server.backends_max).or(self.limits.server_backends_max)
    }
}

/// How backends are kept.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Pool {
    /// `transaction`: a backend belongs to its client for a transaction; `session`: from login to end.
    pub mode: PoolMode,
    /// Dials a new backend for every session instead of reusing scrubbed ones; this is session pooling.
    pub fresh_backends: bool,
    /// Prepared statements that one backend keeps for its sessions in transaction pooling.
    pub prepared_statements_max: usize,
    /// Dialling and logging in at the server.
    pub connect_timeout_ms: u64,
    /// Waiting for a backend; after that 53300 names the limit.
    pub wait_timeout_ms: u64,
    /// An unused backend is closed after this time.
    pub idle_timeout_ms: u64,
    /// A backend older than this is not used again.
    pub lifetime_ms: u64,
    /// Scrubbing a backend before it is used again; slower ones are closed.
    pub scrub_timeout_ms: u64,
}

impl Default for Pool {
    fn default() -> Self {
        Self {
            mode: PoolMode::Transaction,
            fresh_backends: false,
            prepared_statements_max: 200,
            connect_timeout_ms: 5_000,
            wait_timeout_ms: 15_000,
            idle_timeout_ms: 60_000,
            lifetime_ms: 3_600_000,
            scrub_timeout_ms: 5_000,
        }
    }
}

/// When a backend is given back.
#[derive(Debug, Clone, Copy, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub enum PoolMode {
    /// At the end of the session.
    Session,
    /// At the end of each transaction, unless something is left behind that only this backend has.
    Transaction,
}

/// Where the statement log goes.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Audit {
    /// Off only for measurements: nothing is recorded.
    pub enabled: bool,
    /// Holds the journal's segments.
    pub directory: PathBuf,
    /// What holds for customers that say nothing else.
    pub mode: AuditMode,
    /// What of values reaches the log of customers that say nothing else.
    pub parameters: Parameters,
    /// What of a `COPY`'s data reaches the log; a customer may have another one.
    pub copy_data: CopyData,
    /// A write or sync that takes longer makes statements fail with 58030.
    pub stall_timeout_ms: u64,
    /// How often `buffered` records are written and synced at the latest.
    pub flush_interval_ms: u64,
    /// Size of a segment file; it is filled with zeros ahead of use.
    pub segment_bytes: u64,
    /// Records waiting for the writer, in bytes; beyond that statements wait.
    pub buffer_bytes: usize,
    /// Names this vault in signed checkpoints, as the first part of each log's name.
    pub origin: String,
    /// From one signed checkpoint of each log to the next.
    pub checkpoint_interval_ms: u64,
    /// Wraps the keys that encrypt records; nothing said: a file beside `directory`.
    pub platform_key: KeySource,
    /// The platform key before, until `onevault audit keys rotate` has wrapped all keys anew.
    pub platform_key_previous: KeySource,
    /// Where records are kept for years.
    pub archive: Archive,
    /// For how long, of customers that say nothing else.
    pub retention: Retention,
    /// What of each day somebody should look at.
    pub digest: Digest,
    /// Who signs checkpoints besides, and how many must have for `verify` to pass.
    pub witnesses: Vec<Witness>,
    /// See `witnesses`.
    pub witnesses_required: usize,
    /// Where copies of checkpoints are put.
    pub anchor: Anchor,
}

impl Default for Audit {
    fn default() -> Self {
        Self {
            enabled: true,
            directory: "var/audit".into(),
            mode: AuditMode::Buffered,
            parameters: Parameters::Full,
            copy_data: CopyData::Digest,
            stall_timeout_ms: 5_000,
            flush_interval_ms: 20,
            segment_bytes: 64 << 20,
            buffer_bytes: 16 << 20,
            archive: Archive::default(),
            retention: Retention::default(),
            digest: Digest::default(),
            witnesses: Vec::new(),
            witnesses_required: 0,
            anchor: Anchor::default(),
            origin: "onevault".into(),
            checkpoint_interval_ms: 10_000,
            platform_key: KeySource::default(),
            platform_key_previous: KeySource::default(),
        }
    }
}

/// Where records are kept for years.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Archive {
    /// Seals the journal into files in the background.
    pub enabled: bool,
    /// `s3://bucket/prefix`, `gs://`, `az://` or `file://`; absent: the folder `archive` in the log's.
    pub url: Option<String>,
    /// Another address of the store than the usual one, such as `http://127.0.0.1:9000`.
    pub endpoint: Option<String>,
    /// The store's region; absent: as the environment says.
    pub region: Option<String>,
    /// How often the journal is sealed into files, at the latest.
    pub interval_s: u64,
    /// Journal that is not sealed, in bytes; beyond that it is sealed at once.
    pub journal_bytes_max: u64,
    /// The journal's segments stay at least so long after their last record, in hours, though the archive has them.
    pub journal_keep_h: u64,
}

impl Default for Archive {
    fn default() -> Self {
        Self {
            enabled: true,
            url: None,
            endpoint: None,
            region: None,
            interval_s: 3_600,
            journal_bytes_max: 128 << 20,
            journal_keep_h: 24,
        }
    }
}

/// Limits of the SQL console: what an auditor may cost.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Console {
    /// Off: there is no database `onevault`.
    pub enabled: bool,
    /// Sessions at one time; one more is refused with 53300.
    pub sessions_max: usize,
    /// Queries that run at one time, each on a thread of its own; further ones are refused with 53300.
    pub queries_max: usize,
    /// The longest query; longer ones are cancelled (57014).
    pub statement_timeout_ms: u64,
    /// What one session's query may keep in memory to sort, group or join (53200); nothing is spilled.
    pub memory_bytes: usize,
    /// Rows that one query may return (54000).
    pub rows_max: u64,
}

impl Default for Console {
    fn default() -> Self {
        Self {
            enabled: true,
            sessions_max: 32,
            queries_max: 8,
            statement_timeout_ms: 300_000,
            memory_bytes: 256 << 20,
            rows_max: 1_000_000,
        }
    }
}

/// An operator's login.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Operator {
    /// The name it proves; no customer is named with it.
    pub login: String,
    /// `SCRAM-SHA-256$..`, as `onevault login hash` makes it.
    pub verifier: String,
    /// Refused from this time on, such as `2027-01-31T00:00:00Z`; absent: never.
    #[serde(default)]
    pub valid_until: Option<String>,
}

/// Health and metrics.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Http {
    /// Address of `/health` and `/metrics`; absent: not served.
    pub address: Option<SocketAddr>,
}

impl Default for Http {
    fn default() -> Self {
        Self { address: Some(SocketAddr::from(([127, 0, 0, 1], 9640))) }
    }
}

/// The PostgreSQL servers on which databases are made.
#[derive(Debug, Clone, Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
pub struct Provision {
    /// `host=.. port=.. user=.. sslmode=..` of a login that may create roles and databases.
    pub server: String,
    /// Its password: `env:NAME` or `file:PATH`.
    pub password: Option<String>,
}

/// What OneVault says of itself on standard error.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Log {
    /// `error`, `warn`, `info`, `debug` or a filter in `tracing` form.
    pub level: String,
    /// `text` or `json`.
    pub format: LogFormat,
}

impl Default for Log {
    fn default() -> Self {
        Self { level: "info".into(), format: LogFormat::Text }
    }
}

/// The shape of a log line.
#[derive(Debug, Clone, Copy, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}
