//! From a file as it is written to a [`Customer`]: what values mean for each other, and what references lead to.

use std::collections::{BTreeMap, HashSet};
use std::path::Path;
use std::sync::Arc;

use aws_lc_rs::digest::{Context, SHA256};

use super::files::References;
use super::keeping::{self, Keeping};
use super::schema::{self, File};
use super::{
    Customer, DatabaseRule, DigestRules, JwtIssuer, Limits, Login, RESERVED_DATABASE, Server, SslMode, Token,
};
use crate::auth::jwt;
use crate::config::{AuditMode, FRESH_IS_SESSION, Fault, Node, PoolMode};
use crate::ids::{LoginName, Secret};
use crate::routing::TOKEN_USER;

/// Where a customer's text was found and how it is read.
pub(super) struct Source<'a> {
    /// The folder's name.
    pub(super) name: &'a str,
    /// Where relative paths start.
    pub(super) folder: &'a Path,
    pub(super) text: &'a str,
    pub(super) tree: &'a Node,
    pub(super) references: References,
}

/// Builds a customer.
///
/// # Errors
/// Everything that is wrong with it.
pub(super) fn customer(source: &Source<'_>, file: File) -> Result<Customer, Vec<Fault>> {
    let mut builder = Builder { source, faults: Vec::new(), digest: Context::new(&SHA256) };
    let name = source.name;
    builder.absorb(name.as_bytes());
    builder.absorb(source.text.as_bytes());
    let id = file.identity.id.0;
    if id.as_str() != name {
        builder.fault(&["identity", "id"], format!("`id` is \"{id}\", but the folder is \"{name}\""));
    }
    let domains = builder.domains(file.domains);
    let databases = builder.databases(file.server, file.servers, file.databases);
    let logins: BTreeMap<LoginName, schema::Login> =
        file.logins.into_iter().map(|(name, login)| (name.0, login)).collect();
    builder.check_logins(&logins);
    let tokens = builder.tokens(file.tokens, &logins);
    let jwt = file.jwt.and_then(|jwt| builder.jwt(jwt));
    let customer = Customer {
        id,
        display_name: file.identity.display_name,
        industry: file.industry.0.0,
        status: file.status,
        region: file.region.0.0,
        domains,
        databases,
        logins: logins.into_iter().map(|(name, login)| (name, Login::from(login))).collect(),
        tokens,
        jwt,
        compliance: file.compliance.iter().map(|framework| framework.as_str().to_owned()).collect(),
        limits: Limits {
            clients_max: file.limits.clients_max.map(|count| count.0.0),
            backends_max: file.limits.backends_max.map(|count| count.0.0),
            statement_timeout: file.limits.statement_timeout_ms.map(|time| time.0.0),
            idle_in_transaction_timeout: file.limits.idle_in_transaction_timeout_ms.map(|time| time.0.0),
            idle_session_timeout: file.limits.idle_session_timeout_ms.map(|time| time.0.0),
        },
        pool_mode: file.pool.mode,
        fresh_backends: file.pool.fresh_backends,
        wait_timeout: file.pool.wait_timeout_ms.map(|time| time.0.0),
        stateless_functions: file.pool.stateless_functions.into_iter().map(|name| name.0.0).collect(),
        pin_functions: file.pool.pin_functions.into_iter().map(|name| name.0.0).collect(),
        audit_mode: file.audit.mode,
        audit_parameters: file.audit.parameters,
        audit_keeping: Keeping {
            statement: file.audit.retention.statement,
            session: file.audit.retention.session,
            event: file.audit.retention.event,
            review_interval: file.audit.review_interval,
        },
        digest: digest(file.audit.digest),
        audit_copy_data: file.audit.copy_data,
        features: file.features.into_iter().collect(),
        branding: file.branding.into_iter().collect(),
        fingerprint: builder.fingerprint(),
    };
    builder.check_audit(&customer);
    builder.check_pool(&customer);
    if builder.faults.is_empty() { Ok(customer) } else { Err(builder.faults) }
}

fn digest(own: schema::Digest) -> DigestRules {
    let rows = |count: schema::Text<schema::Count>| u64::try_from(count.0.0).unwrap_or(u64::MAX);
    DigestRules {
        time_zone: own.time_zone,
        business_hours: own.business_hours,
        bulk_rows_statement: own.bulk_rows_statement.map(rows),
        bulk_rows_day: own.bulk_rows_day.map(rows),
    }
}

impl From<schema::Login> for Login {
    fn from(login: schema::Login) -> Self {
        Self {
            verifier: login.verifier.map(|verifier| verifier.0),
            valid_until: login.valid_until.map(|time| time.0.0),
            disabled: login.disabled,
            auditor: login.auditor,
            clients_max: login.clients_max.map(|count| count.0.0),
            backends_max: login.backends_max.map(|count| count.0.0),
            pool_mode: login.pool.mode,
        }
    }
}

struct Builder<'a> {
    source: &'a Source<'a>,
    faults: Vec<Fault>,
    /// Of everything the customer is made of.
    digest: Context,
}

impl Builder<'_> {
    fn fault(&mut self, path: &[&str], text: impl Into<String>) {
        self.faults.push(Fault::new(self.source.tree.place(path), text));
    }

    /// Each part with its length, so that parts cannot run into each other.
    fn absorb(&mut self, part: &[u8]) {
        self.digest.update(&u64::try_from(part.len()).unwrap_or(u64::MAX).to_be_bytes());
        self.digest.update(part);
    }

    fn fingerprint(&self) -> [u8; 32] {
        let digest = self.digest.clone().finish();
        digest.as_ref().try_into().unwrap_or_default()
    }

    fn domains(&mut self, entries: Vec<schema::Text<schema::Domain>>) -> Vec<String> {
        let mut domains: Vec<String> = Vec::with_capacity(entries.len());
        for (at, schema::Text(schema::Domain(domain))) in entries.into_iter().enumerate() {
            if domains.contains(&domain) {
                self.fault(&["domains", &at.to_string()], format!("domain {domain} appears twice"));
            }
            domains.push(domain);
        }
        domains
    }

    fn databases(
        &mut self,
        only: Option<schema::Server>,
        named: BTreeMap<String, schema::Server>,
        entries: Vec<schema::Database>,
    ) -> Vec<DatabaseRule> {
        if entries.is_empty() {
            self.fault(&["databases"], "a customer needs at least one database");
        }
        let default = only.and_then(|server| self.server(&["server"], server)).map(Arc::new);
        let mut servers = BTreeMap::new();
        for (name, server) in named {
            let server = self.server(&["servers", &name], server);
            servers.insert(name, server.map(Arc::new));
        }
        let has_default = self.source.tree.key_place("server").is_some();
        let mut rules: Vec<DatabaseRule> = Vec::with_capacity(entries.len());
        for (at, entry) in entries.into_iter().enumerate() {
            let at = at.to_string();
            let server = match &entry.server {
                None if has_default => default.clone(),
                None if servers.len() == 1 => servers.values().next().cloned().flatten(),
                None => {
                    self.fault(&["databases", &at], "no `server` is named, and there is not exactly one");
                    None
                }
                Some(name) => match servers.get(name) {
                    Some(server) => server.clone(),
                    None => {
                        let text = format!("server `{name}` is not among `servers`");
                        self.fault(&["databases", &at, "server"], text);
                        None
                    }
                },
            };
            let Some(rule) = self.rule(&at, entry, server) else { continue };
            if rules.iter().any(|other| other.name == rule.name) {
                self.fault(&["databases", &at], format!("database \"{}\" appears twice", rule.name));
            }
            rules.push(rule);
        }
        rules
    }

    fn rule(
        &mut self,
        at: &str,
        entry: schema::Database,
        server: Option<Arc<Server>>,
    ) -> Option<DatabaseRule> {
        let stars = |text: &str| text.matches('*').count();
        let server_name = entry.server_name.map(|name| name.0.as_str().to_owned());
        let name = match (entry.name, entry.pattern) {
            (Some(name), None) => {
                let name = name.0.as_str().to_owned();
                if stars(&name) > 0 {
                    self.fault(&["databases", at, "name"], "a name with `*` is a `pattern`");
                }
                if server_name.as_deref().is_some_and(|name| stars(name) > 0) {
                    self.fault(&["databases", at, "server_name"], "`*` needs a `pattern` to stand for");
                }
                name
            }
            (None, Some(pattern)) => {
                let pattern = pattern.0.as_str().to_owned();
                if stars(&pattern) != 1 || server_name.as_deref().is_some_and(|name| stars(name) > 1) {
                    self.fault(&["databases", at], "a pattern has one `*`, its `server_name` at most one");
                }
                pattern
            }
            (Some(_), Some(_)) | (None, None) => {
                self.fault(&["databases", at], "a database has either a `name` or a `pattern`");
                return None;
            }
        };
        if name == RESERVED_DATABASE {
            self.fault(&["databases", at], format!("the name \"{RESERVED_DATABASE}\" is reserved"));
        }
        Some(DatabaseRule { name, server_name, server: server? })
    }

    fn server(&mut self, path: &[&str], entry: schema::Server) -> Option<Server> {
        let below = |key| path.iter().copied().chain([key]).collect::<Vec<&str>>();
        let password = match self.source.references {
            References::Follow => entry.password.0.follow(self.source.folder),
            References::Leave => Ok(Secret::new(String::new())),
        };
        let password =
            password.map_err(|error| self.fault(&below("password"), format!("`password`: {error}")));
        let root_cert = entry.ssl_root_cert.map(|path| self.source.folder.join(path));
        if let Some(path) = &root_cert {
            match crate::config::read_text(path) {
                Ok(text) => self.absorb(text.as_bytes()),
                Err(problem) => self.fault(&below("ssl_root_cert"), problem.to_string()),
            }
        }
        let ssl_mode = entry.ssl_mode.unwrap_or(match &root_cert {
            Some(_) => SslMode::VerifyFull,
            None => SslMode::Require,
        });
        if matches!(ssl_mode, SslMode::VerifyCa | SslMode::VerifyFull) && root_cert.is_none() {
            self.fault(&below("ssl_mode"), "verify-ca and verify-full need an `ssl_root_cert`");
        }
        if entry.port == 0 {
            self.fault(&below("port"), "`port` must be from 1 to 65535");
        }
        let password = password.ok()?;
        self.absorb(password.expose().as_bytes());
        Some(Server {
            host: entry.host.0.0,
            port: entry.port,
            role: entry.role.0,
            password,
            ssl_mode,
            ssl_root_cert: root_cert,
            allow_weak_login: entry.allow_weak_login,
            backends_max: entry.backends_max.map(|count| count.0.0),
        })
    }

    fn check_logins(&mut self, logins: &BTreeMap<LoginName, schema::Login>) {
        if logins.contains_key(TOKEN_USER) {
            let text = format!("the login \"{TOKEN_USER}\" is reserved for tokens");
            self.fault(&["logins", TOKEN_USER], text);
        }
    }

    fn tokens(
        &mut self,
        entries: Vec<schema::Token>,
        logins: &BTreeMap<LoginName, schema::Login>,
    ) -> Vec<Token> {
        let mut seen = HashSet::new();
        let mut tokens = Vec::with_capacity(entries.len());
        for (at, entry) in entries.into_iter().enumerate() {
            let at = at.to_string();
            let (prefix, login) = (entry.prefix.0.0, entry.login.0);
            if !seen.insert(prefix.clone()) {
                self.fault(&["tokens", &at, "prefix"], format!("token {prefix} appears twice"));
            }
            if !logins.contains_key(&login) {
                self.fault(&["tokens", &at, "login"], format!("login \"{login}\" is not among `logins`"));
            }
            tokens.push(Token {
                prefix,
                hash: entry.hash.0.0,
                login,
                expires_at: entry.expires_at.map(|time| time.0.0),
                revoked_at: entry.revoked_at.map(|time| time.0.0),
            });
        }
        tokens
    }

    fn jwt(&mut self, entry: schema::Jwt) -> Option<JwtIssuer> {
        let path = self.source.folder.join(&entry.jwks_file);
        let jwks = crate::config::read_text(&path).map_err(|problem| problem.to_string());
        let keys = jwks.and_then(|jwks| {
            self.absorb(jwks.as_bytes());
            jwt::Keys::parse(jwks.as_bytes(), &entry.algorithms)
        });
        let keys = keys.map_err(|error| self.fault(&["jwt", "jwks_file"], format!("`jwt`: {error}")));
        Some(JwtIssuer {
            issuer: entry.issuer.0.0,
            audience: entry.audience.0.0,
            keys: keys.ok()?,
            customer_claim: entry.customer_claim.0.0,
            login_claim: entry.login_claim.0.0,
        })
    }

    /// What one line of `pool` says must leave room for the others.
    fn check_pool(&mut self, customer: &Customer) {
        if (customer.pool_mode, customer.fresh_backends) == (Some(PoolMode::Transaction), Some(true)) {
            self.fault(&["pool", "mode"], FRESH_IS_SESSION);
        }
        for (at, name) in customer.pin_functions.iter().enumerate() {
            if customer.stateless_functions.contains(name) {
                let text = format!("`{name}` is among `stateless_functions` too");
                self.fault(&["pool", "pin_functions", &at.to_string()], text);
            }
        }
    }

    /// A framework's clause is stronger than the file.
    fn check_audit(&mut self, customer: &Customer) {
        if let (Some(mode), Some(clause)) = (customer.audit_mode, customer.write_ahead_clause())
            && mode != AuditMode::WriteAhead
        {
            self.fault(&["audit", "mode"], format!("`mode` must be write_ahead: {clause} demands it"));
        }
        let Keeping { statement, session, event, review_interval } = customer.audit_keeping;
        if let Some((least, clause)) = keeping::least_age(&customer.compliance) {
            for (class, age) in [("statement", statement), ("session", session), ("event", event)] {
                if age.is_some_and(|age| age < least) {
                    let text = format!("`{class}` must be at least {least}: {clause} demands it");
                    self.fault(&["audit", "retention", class], text);
                }
            }
        }
        if let Some((longest, clause)) = keeping::longest_interval(&customer.compliance)
            && review_interval.is_some_and(|interval| interval > longest)
        {
            let text = format!("`review_interval` must be at most {longest}: {clause} demands it");
            self.fault(&["audit", "review_interval"], text);
        }
    }
}
