//! The catalogue: who our customers are and what is theirs.
//!
//! A [`Catalogue`] never changes once it is built; a reload builds another and swaps it whole
//! ([`Catalogues`]). Files hold references to secrets, never secrets; what a reference leads to is in memory
//! only and never shown. This room refuses to know who is connecting.

mod build;
pub mod edit;
pub mod files;
pub mod keeping;
pub mod reload;
mod schema;
mod secret;

use std::collections::{BTreeSet, HashMap};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;

pub use secret::follow as follow_reference;

use crate::auth::jwt;
use crate::auth::scram::Verifier;
use crate::config::{self, AuditMode, CopyData, Parameters, PoolMode};
use crate::ids::{CustomerId, DatabaseName, LoginName, RoleName, Secret};

/// All customers as of one moment.
#[derive(Debug, Default)]
pub struct Catalogue {
    /// By id.
    pub customers: HashMap<CustomerId, Arc<Customer>>,
    /// Custom domains (lower case) to the customer that owns them.
    pub domains: HashMap<String, CustomerId>,
    /// Names of databases without `*` to their only owner; `None` where several customers use the name.
    exact_databases: HashMap<String, Option<CustomerId>>,
    /// Public prefixes of API tokens to their owner.
    tokens: HashMap<String, CustomerId>,
    /// Issuers of JWTs to the claims that name a customer there.
    issuers: HashMap<String, BTreeSet<String>>,
}

/// The catalogue in force: read without a lock, swapped whole.
pub type Catalogues = Arc<ArcSwap<Catalogue>>;

/// One customer, as its `config.yaml` describes it.
#[derive(Debug)]
pub struct Customer {
    /// Identity.
    pub id: CustomerId,
    /// The name people read.
    pub display_name: String,
    /// `spa`, `equestrian`, `financial`, ...
    pub industry: String,
    /// Only an active customer's logins are accepted.
    pub status: Status,
    /// Where the data lives, for example `us-east-1`.
    pub region: String,
    /// Host names (lower case) that lead to this customer.
    pub domains: Vec<String>,
    /// The databases this customer owns, in the order of the file.
    pub databases: Vec<DatabaseRule>,
    /// The logins that may connect.
    pub logins: HashMap<LoginName, Login>,
    /// API tokens (hashes only).
    pub tokens: Vec<Token>,
    /// Who may issue JWTs for this customer.
    pub jwt: Option<JwtIssuer>,
    /// Frameworks by name: `hipaa`, `pci`, `sox`, `gdpr`.
    pub compliance: Vec<String>,
    /// This customer's limits.
    pub limits: Limits,
    /// When a backend is given back; absent: as the configuration says.
    pub pool_mode: Option<PoolMode>,
    /// Dials a new backend for every session; absent: as the configuration says.
    pub fresh_backends: Option<bool>,
    /// How long its clients wait for a backend; absent: as the configuration says.
    pub wait_timeout: Option<Duration>,
    /// Functions that leave nothing behind in a session, as they are written here: `name` or `schema.name`.
    pub stateless_functions: Vec<String>,
    /// Functions after which a session keeps its backend.
    pub pin_functions: Vec<String>,
    /// How durable this customer's records are; absent: as the configuration says.
    pub audit_mode: Option<AuditMode>,
    /// What of its values is recorded, where it says so itself.
    pub audit_parameters: Option<Parameters>,
    /// What of its days somebody should look at, where it says so itself.
    pub digest: DigestRules,
    /// How long its records are kept and how often they are reviewed, where it says so itself.
    pub audit_keeping: keeping::Keeping,
    /// Whether what a `COPY` moves is recorded; absent: as for all.
    pub audit_copy_data: Option<CopyData>,
    /// Switches of the platform, passed on as they are.
    pub features: HashMap<String, bool>,
    /// How the platform's pages look for this customer.
    pub branding: HashMap<String, String>,
    /// SHA-256 of everything this was made of; equal means nothing has changed.
    pub fingerprint: [u8; 32],
}

/// A customer's own rules for its daily digest; absent: as the configuration says.
#[derive(Debug, Clone, Default)]
pub struct DigestRules {
    /// On whose clocks days begin and business hours are.
    pub time_zone: Option<config::Zone>,
    /// When use is expected.
    pub business_hours: Option<Vec<config::Hours>>,
    /// Rows of one statement that are a bulk read.
    pub bulk_rows_statement: Option<u64>,
    /// Rows of a login's day that are one.
    pub bulk_rows_day: Option<u64>,
}

/// Whether a customer's logins are accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// Accepted.
    Active,
    /// Refused as if unknown; kept for later.
    Suspended,
}

/// What client names lead to which database of which server.
#[derive(Debug, Clone)]
pub struct DatabaseRule {
    /// What the client says: a name, or a pattern with `*` (`app_*`, `*`).
    pub name: String,
    /// What the server calls it; `*` stands for what the pattern's `*` matched. Absent: the same name.
    pub server_name: Option<String>,
    /// Where it is and how to log in there.
    pub server: Arc<Server>,
}

/// A PostgreSQL server and the role used there. Equal ones may share backends.
#[derive(Debug, PartialEq, Eq)]
pub struct Server {
    /// Host name or address, or the folder of a Unix socket is not supported: TCP only.
    pub host: String,
    /// TCP port.
    pub port: u16,
    /// The role OneVault logs in as; the customer's own, never a superuser.
    pub role: RoleName,
    /// The role's password.
    pub password: Secret,
    /// TLS towards the server.
    pub ssl_mode: SslMode,
    /// Authorities (PEM) for `verify-ca` and `verify-full`.
    pub ssl_root_cert: Option<PathBuf>,
    /// Login methods beyond SCRAM that this server may ask for.
    pub allow_weak_login: bool,
    /// Backends OneVault may hold at this server for this customer.
    pub backends_max: Option<usize>,
}

/// TLS towards a database server, as libpq's `sslmode`.
///
/// Source: libpq-ssl#LIBPQ-SSL-PROTECTION
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SslMode {
    /// No TLS.
    Disable,
    /// TLS, any certificate.
    Require,
    /// TLS, a certificate from a known authority.
    VerifyCa,
    /// TLS, a known authority and the right host name.
    VerifyFull,
}

/// A login of one customer.
#[derive(Debug, Clone)]
pub struct Login {
    /// `SCRAM-SHA-256$<iterations>:<salt>$<StoredKey>:<ServerKey>`; absent: tokens and JWTs only.
    pub verifier: Option<Verifier>,
    /// Refused after this time (seconds since 1970).
    pub valid_until: Option<i64>,
    /// Refused as if unknown.
    pub disabled: bool,
    /// Reads the customer's audit log through the console, and reaches none of its databases.
    pub auditor: bool,
    /// Clients at one time; absent: the customer's limit only.
    pub clients_max: Option<usize>,
    /// Backends that its clients hold at one time; absent: the customer's limit only.
    pub backends_max: Option<usize>,
    /// When a backend is given back; absent: as the customer says.
    pub pool_mode: Option<PoolMode>,
}

/// An API token's public part.
#[derive(Debug, Clone)]
pub struct Token {
    /// `ovt_<environment>_<8 letters>`: names the token, proves nothing.
    pub prefix: String,
    /// SHA-256 of the whole token, 32 bytes.
    pub hash: [u8; 32],
    /// The login it stands for.
    pub login: LoginName,
    /// Refused after this time (seconds since 1970).
    pub expires_at: Option<i64>,
    /// Refused from this time on (seconds since 1970).
    pub revoked_at: Option<i64>,
}

/// Who may issue JWTs, and what they must say.
#[derive(Debug, Clone)]
pub struct JwtIssuer {
    /// `iss`, exactly.
    pub issuer: String,
    /// `aud` must hold this.
    pub audience: String,
    /// The issuer's public keys, and the algorithms accepted with each.
    pub keys: jwt::Keys,
    /// The claim that names the customer; it must name this one.
    pub customer_claim: String,
    /// The claim that names the login.
    pub login_claim: String,
}

/// One customer's limits; absent: the global limit only.
#[derive(Debug, Clone, Default)]
pub struct Limits {
    /// Clients at one time.
    pub clients_max: Option<usize>,
    /// Backends at one time.
    pub backends_max: Option<usize>,
    /// The longest statement; zero: no limit.
    pub statement_timeout: Option<Duration>,
    /// How long a transaction may be left open and silent; zero: for ever.
    pub idle_in_transaction_timeout: Option<Duration>,
    /// How long a client may be silent outside a transaction; zero: for ever.
    pub idle_session_timeout: Option<Duration>,
}

/// What a client may not call a database of its own: the console has this name.
pub const RESERVED_DATABASE: &str = "onevault";

/// Frameworks that demand the intent on disk before the statement runs, and the clause that says so.
const WRITE_AHEAD_CLAUSES: [(&str, &str); 3] =
    [("hipaa", "HIPAA 164.312(b)"), ("pci", "PCI DSS 10.2"), ("sox", "SOX 404")];

impl Catalogue {
    /// Puts customers together. What two of them claim goes to the one that comes first; the loader refuses that before.
    #[must_use]
    pub fn new(customers: impl IntoIterator<Item = Arc<Customer>>) -> Self {
        let mut catalogue = Self::default();
        for customer in customers {
            let id = &customer.id;
            for domain in &customer.domains {
                catalogue.domains.entry(domain.clone()).or_insert_with(|| id.clone());
            }
            for rule in customer.databases.iter().filter(|rule| !rule.is_pattern()) {
                let owner = catalogue.exact_databases.entry(rule.name.clone());
                owner.and_modify(|owner| *owner = None).or_insert_with(|| Some(id.clone()));
            }
            for token in &customer.tokens {
                catalogue.tokens.entry(token.prefix.clone()).or_insert_with(|| id.clone());
            }
            if let Some(jwt) = &customer.jwt {
                let claims = catalogue.issuers.entry(jwt.issuer.clone()).or_default();
                claims.insert(jwt.customer_claim.clone());
            }
            catalogue.customers.insert(id.clone(), customer);
        }
        catalogue
    }

    /// The customer of this name.
    #[must_use]
    pub fn customer(&self, id: &str) -> Option<&Arc<Customer>> {
        self.customers.get(id)
    }

    /// The only customer that owns a database of exactly this name; patterns do not count.
    #[must_use]
    pub fn owner_of_database(&self, client_name: &str) -> Option<&Arc<Customer>> {
        self.customers.get(self.exact_databases.get(client_name)?.as_ref()?)
    }

    /// The API token with this public prefix, and its owner.
    #[must_use]
    pub fn token(&self, prefix: &str) -> Option<(&Arc<Customer>, &Token)> {
        let customer = self.customers.get(self.tokens.get(prefix)?)?;
        Some((customer, customer.tokens.iter().find(|token| token.prefix == prefix)?))
    }

    /// The claims in which this issuer may name a customer.
    pub fn customer_claims(&self, issuer: &str) -> impl Iterator<Item = &str> {
        self.issuers.get(issuer).into_iter().flatten().map(String::as_str)
    }
}

impl Customer {
    /// Finds the database a client asks for: the first rule that fits decides. [`RESERVED_DATABASE`] is nobody's.
    #[must_use]
    pub fn database(&self, client_name: &str) -> Option<(Arc<Server>, DatabaseName)> {
        if client_name == RESERVED_DATABASE {
            return None;
        }
        self.databases.iter().find_map(|rule| {
            let server_name = rule.matches(client_name)?;
            Some((Arc::clone(&rule.server), DatabaseName::parse(&server_name).ok()?))
        })
    }

    /// The database of a client that names none: the first one that is not a pattern.
    #[must_use]
    pub fn default_database(&self) -> Option<&str> {
        self.databases.iter().find(|rule| !rule.is_pattern()).map(|rule| rule.name.as_str())
    }

    /// How durable this customer's records are: what it says itself, else what its frameworks demand, else `default`.
    #[must_use]
    pub fn audit_mode(&self, default: AuditMode) -> AuditMode {
        let demanded = self.write_ahead_clause().map(|_| AuditMode::WriteAhead);
        self.audit_mode.or(demanded).unwrap_or(default)
    }

    /// What of values is recorded: what it says itself, else `default`.
    #[must_use]
    pub fn audit_parameters(&self, default: Parameters) -> Parameters {
        self.audit_parameters.unwrap_or(default)
    }

    /// The rules of its daily digest: what it says itself, else `default`.
    #[must_use]
    pub fn digest(&self, default: &config::Digest) -> config::Digest {
        let own = &self.digest;
        config::Digest {
            time_zone: own.time_zone.unwrap_or(default.time_zone),
            business_hours: own.business_hours.clone().unwrap_or_else(|| default.business_hours.clone()),
            bulk_rows_statement: own.bulk_rows_statement.unwrap_or(default.bulk_rows_statement),
            bulk_rows_day: own.bulk_rows_day.unwrap_or(default.bulk_rows_day),
            ..default.clone()
        }
    }

    /// The clause that demands [`AuditMode::WriteAhead`] of this customer.
    #[must_use]
    pub fn write_ahead_clause(&self) -> Option<&'static str> {
        let demands = |framework: &str| self.compliance.iter().any(|name| name == framework);
        WRITE_AHEAD_CLAUSES.iter().find(|(framework, _)| demands(framework)).map(|(_, clause)| *clause)
    }
}

/// Times after which a session is interfered with; `None`: never.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Timeouts {
    /// A statement is cancelled.
    pub statement: Option<Duration>,
    /// A session that is silent in a transaction ends.
    pub idle_in_transaction: Option<Duration>,
    /// A session that is silent outside of one ends.
    pub idle_session: Option<Duration>,
}

impl Customer {
    /// When a login's backend is given back: what the login says, else the customer, else the configuration. On each
    /// level `fresh_backends: true` says `session`.
    #[must_use]
    pub fn pool_mode(&self, login: &LoginName, default: &config::Pool) -> PoolMode {
        if let Some(mode) = self.logins.get(login).and_then(|login| login.pool_mode) {
            return mode;
        }
        if self.fresh_backends == Some(true) {
            return PoolMode::Session;
        }
        let of_all = if default.fresh_backends { PoolMode::Session } else { default.mode };
        self.pool_mode.unwrap_or(of_all)
    }

    /// This customer's timeouts, else those of the configuration.
    #[must_use]
    pub fn timeouts(&self, default: &config::Limits) -> Timeouts {
        let limits = &self.limits;
        let effective = |own: Option<Duration>, default_ms| {
            Some(own.unwrap_or(Duration::from_millis(default_ms))).filter(|time| !time.is_zero())
        };
        Timeouts {
            statement: effective(limits.statement_timeout, default.statement_timeout_ms),
            idle_in_transaction: effective(
                limits.idle_in_transaction_timeout,
                default.idle_in_transaction_timeout_ms,
            ),
            idle_session: effective(limits.idle_session_timeout, default.idle_session_timeout_ms),
        }
    }
}

impl DatabaseRule {
    /// Whether the name holds a `*`.
    #[must_use]
    pub fn is_pattern(&self) -> bool {
        self.name.contains('*')
    }

    /// The server's name for `client_name`, when this rule covers it. Exact bytes; at most one `*` on each side.
    #[must_use]
    pub fn matches(&self, client_name: &str) -> Option<String> {
        let Some((before, after)) = self.name.split_once('*') else {
            return (self.name == client_name)
                .then(|| self.server_name.clone().unwrap_or_else(|| client_name.to_owned()));
        };
        let matched = client_name.strip_prefix(before)?.strip_suffix(after)?;
        Some(match &self.server_name {
            Some(server_name) => server_name.replacen('*', matched, 1),
            None => client_name.to_owned(),
        })
    }
}
