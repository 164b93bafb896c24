//! Which database may this client reach? Asked of this room only.
//!
//! Every hint of the customer is collected ([`Hints`]); all that are present must agree, or the client is nobody
//! ([`candidate`]). Nobody walks the same path as somebody: a SCRAM exchange with a verifier that no password
//! fits. Only [`route`] makes a [`Route`], and it needs a [`Proof`]; without one no backend can be had.
//! This room refuses to know sockets, pools and the network's addresses.

mod operators;
mod options;
mod refusal;

use std::fmt;
use std::sync::Arc;

pub use operators::{Operators, operator};
pub(crate) use options::value_of;
pub use options::{CustomerOption, take_customer_option};
pub use refusal::{Reason, Refusal};

use crate::auth::scram::Verifier;
use crate::auth::{Credential, Method, Proof};
use crate::customers::{Catalogue, Customer, Login, RESERVED_DATABASE, Server, Status};
use crate::ids::{CustomerId, DatabaseName, LoginName};
use crate::protocol::startup::Startup;

/// The parameter that names the customer, in `options` or as a startup parameter of its own.
pub const CUSTOMER_PARAMETER: &str = "onevault.customer";

/// The user whose password is an API token or a JWT.
pub const TOKEN_USER: &str = "token";

/// What a client has said about who it is and where it wants to go. Proves nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hints {
    user: String,
    login: String,
    /// Each name of a customer that was given: behind `@`, in `options`, as a parameter.
    customers: Vec<String>,
    /// The host of the TLS hello, lower case: a hint if it is somebody's own domain.
    host: Option<String>,
    /// The customer named by a host below the base domain.
    label: Option<String>,
    database: Option<String>,
    settings: Vec<(String, String)>,
    is_tls: bool,
}

/// How the client reached us, beside its startup packet.
#[derive(Debug, Clone, Copy, Default)]
pub struct Arrival<'a> {
    /// Whether the connection is under TLS.
    pub is_tls: bool,
    /// The host name of the TLS hello.
    pub sni: Option<&'a str>,
    /// `listen.base_domain`; empty: none.
    pub base_domain: &'a str,
}

impl Hints {
    /// Collects what the startup packet and the TLS hello say.
    ///
    /// # Errors
    /// [`Refusal::NoUser`] when no user is named.
    pub fn collect(startup: &Startup, arrival: Arrival<'_>) -> Result<Self, Refusal> {
        let user = startup.get("user").filter(|user| !user.is_empty()).ok_or(Refusal::NoUser)?;
        let (login, at) = split_user(user);
        let mut customers: Vec<String> = at.into_iter().map(str::to_owned).collect();
        let mut settings = Vec::new();
        for (name, value) in &startup.parameters {
            match name.as_str() {
                "user" | "database" => {}
                "options" => {
                    let taken = take_customer_option(value);
                    customers.extend(taken.customers);
                    if !taken.rest.is_empty() {
                        settings.push((name.clone(), taken.rest));
                    }
                }
                _ if name.eq_ignore_ascii_case(CUSTOMER_PARAMETER) => customers.push(value.clone()),
                _ if name.starts_with("_pq_.") => {}
                _ => settings.push((name.clone(), value.clone())),
            }
        }
        let host = arrival.sni.map(|sni| sni.trim_end_matches('.').to_ascii_lowercase());
        let label = host.as_deref().and_then(|host| below(host, arrival.base_domain));
        let label = label.map(|label| label.replace('-', "_"));
        let database = startup.get("database").filter(|name| !name.is_empty()).map(str::to_owned);
        let (user, login, is_tls) = (user.to_owned(), login.to_owned(), arrival.is_tls);
        Ok(Self { user, login, customers, host, label, database, settings, is_tls })
    }

    /// The user as the client sent it.
    #[must_use]
    pub fn user(&self) -> &str {
        &self.user
    }

    /// The database as the client sent it; `None` when it named none.
    #[must_use]
    pub fn database(&self) -> Option<&str> {
        self.database.as_deref()
    }

    /// The startup parameters that are the server's business, in the order they came: without user, database, what names
    /// the customer, and protocol options.
    #[must_use]
    pub fn settings(&self) -> &[(String, String)] {
        &self.settings
    }

    /// Each customer a strong hint names: all but the database.
    fn named<'a>(&'a self, catalogue: &'a Catalogue) -> impl Iterator<Item = &'a str> {
        let owner = self.host.as_deref().and_then(|host| catalogue.domains.get(host));
        let by_host = owner.map(CustomerId::as_str).or(self.label.as_deref());
        self.customers.iter().map(String::as_str).chain(by_host)
    }

    /// The customer all hints name, or why there is none.
    fn scope(&self, catalogue: &Catalogue) -> Scope {
        let mut named = self.named(catalogue);
        let Some(first) = named.next() else {
            let owner = self.database.as_deref().and_then(|name| catalogue.owner_of_database(name));
            return owner.map_or(Scope::Unnamed, |owner| Scope::Customer(Arc::clone(owner)));
        };
        if named.any(|other| other != first) {
            return Scope::Nobody(Reason::HintsDisagree);
        }
        match catalogue.customer(first) {
            Some(customer) => Scope::Customer(Arc::clone(customer)),
            None => Scope::Nobody(Reason::UnknownCustomer),
        }
    }
}

/// The label in front of `base_domain`.
fn below<'a>(host: &'a str, base_domain: &str) -> Option<&'a str> {
    let base_domain = base_domain.trim_matches('.').to_ascii_lowercase();
    host.strip_suffix(&base_domain).filter(|_| !base_domain.is_empty())?.strip_suffix('.')
}

/// `login@customer`: split at the last `@`, if what follows can be a customer's name at all.
fn split_user(user: &str) -> (&str, Option<&str>) {
    match user.rsplit_once('@') {
        Some((login, customer)) if CustomerId::parse(customer).is_ok() => (login, Some(customer)),
        Some(_) | None => (user, None),
    }
}

/// Where the hints lead.
#[derive(Debug, Clone)]
enum Scope {
    /// All name this one.
    Customer(Arc<Customer>),
    /// None was given; a token may still say it.
    Unnamed,
    /// No customer's: an operator of OneVault.
    Operators,
    /// Nowhere.
    Nobody(Reason),
}

/// Who the client may be. Somebody or nobody: the caller treats both alike and cannot tell by time.
#[derive(Clone)]
pub struct Candidate {
    user: Box<str>,
    /// For a mock: what its salt is made of.
    mock_name: String,
    scope: Scope,
    method: Method,
    is_tls: bool,
    entry: Result<Entry, Reason>,
}

/// A login that may be used.
#[derive(Clone)]
struct Entry {
    login: LoginName,
    verifier: Verifier,
    valid_until: Option<i64>,
}

/// Who the hints lead to; `now` is in seconds since 1970. Never fails: nobody is a candidate too.
#[must_use]
pub fn candidate(catalogue: &Catalogue, hints: &Hints, now: i64) -> Candidate {
    let scope = hints.scope(catalogue);
    let named = match &scope {
        Scope::Customer(customer) => customer.id.as_str(),
        Scope::Unnamed | Scope::Operators | Scope::Nobody(_) => {
            hints.named(catalogue).next().unwrap_or_default()
        }
    };
    let entry = match &scope {
        Scope::Customer(customer) => Entry::find(customer, &hints.login, now),
        Scope::Unnamed | Scope::Operators => Err(Reason::NoCustomerNamed),
        Scope::Nobody(reason) => Err(*reason),
    };
    Candidate {
        user: hints.user.as_str().into(),
        mock_name: format!("{}@{named}", hints.login),
        method: if hints.login == TOKEN_USER { Method::Password } else { Method::Scram },
        is_tls: hints.is_tls,
        scope,
        entry,
    }
}

impl Entry {
    fn find(customer: &Customer, login: &str, now: i64) -> Result<Self, Reason> {
        let login = LoginName::parse(login).map_err(|_| Reason::UnknownLogin)?;
        let entry = customer.usable_login(&login, now)?;
        let verifier = entry.verifier.clone().ok_or(Reason::NoVerifier)?;
        Ok(Self { login, verifier, valid_until: entry.valid_until })
    }
}

impl Customer {
    /// The login of this name, if it may be used at `now` (seconds since 1970).
    ///
    /// # Errors
    /// The [`Reason`] why it may not, for the record only.
    pub fn usable_login(&self, login: &LoginName, now: i64) -> Result<&Login, Reason> {
        if self.status == Status::Suspended {
            return Err(Reason::CustomerSuspended);
        }
        let entry = self.logins.get(login).ok_or(Reason::UnknownLogin)?;
        if entry.disabled {
            return Err(Reason::LoginDisabled);
        }
        if entry.valid_until.is_some_and(|until| until <= now) {
            return Err(Reason::LoginExpired);
        }
        Ok(entry)
    }
}

/// Customer, login and expiry of a candidate that is somebody.
pub(crate) type Known<'a> = (Option<&'a Arc<Customer>>, &'a LoginName, Option<i64>);

impl Candidate {
    /// The user as the client sent it.
    #[must_use]
    pub fn user(&self) -> &str {
        &self.user
    }

    /// The customer the hints name, for records and limits; not proven, and never to be told to the client.
    #[must_use]
    pub fn customer(&self) -> Option<&Arc<Customer>> {
        match &self.scope {
            Scope::Customer(customer) => Some(customer),
            Scope::Unnamed | Scope::Operators | Scope::Nobody(_) => None,
        }
    }

    /// What the client has to show.
    ///
    /// # Errors
    /// [`Refusal::TokenWithoutTls`] for user `token` without TLS: its password must not be asked for.
    pub fn method(&self) -> Result<Method, Refusal> {
        if self.method == Method::Password && !self.is_tls {
            return Err(Refusal::TokenWithoutTls);
        }
        Ok(self.method)
    }

    /// The verifier for the SCRAM exchange: the login's, or for nobody one that no password fits. `mock_key` is secret
    /// and stays the same while the process runs, so that asking twice gives the same salt.
    #[must_use]
    pub fn verifier(&self, mock_key: &[u8]) -> Verifier {
        let mock = Verifier::mock(&self.mock_name, mock_key); // made in both cases: one way, one time
        self.entry.as_ref().map_or(mock, |entry| entry.verifier.clone())
    }

    /// The login's customer (an operator has none), name and expiry; or why the client is nobody.
    pub(crate) fn known(&self) -> Result<Known<'_>, Reason> {
        let entry = self.entry.as_ref().map_err(|reason| *reason)?;
        let customer = match &self.scope {
            Scope::Customer(customer) => Some(customer),
            Scope::Operators => None,
            Scope::Unnamed | Scope::Nobody(_) => return Err(Reason::UnknownCustomer),
        };
        Ok((customer, &entry.login, entry.valid_until))
    }

    /// Whether the hints leave room for this customer.
    pub(crate) fn allows(&self, customer: &Customer) -> Result<(), Reason> {
        match &self.scope {
            Scope::Customer(hinted) if hinted.id == customer.id => Ok(()),
            Scope::Customer(_) | Scope::Operators => Err(Reason::HintsDisagree),
            Scope::Unnamed => Ok(()),
            Scope::Nobody(reason) => Err(*reason),
        }
    }

    /// The one answer for whoever did not prove a login.
    #[must_use]
    pub fn refuse(&self, reason: Reason) -> Refusal {
        Refusal::Password { user: self.user.to_string(), reason }
    }
}

/// Shows no verifier.
impl fmt::Debug for Candidate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let customer = self.customer().map(|customer| customer.id.as_str());
        write!(f, "Candidate({:?}, {customer:?}, {:?})", self.user, self.entry.as_ref().err())
    }
}

/// The customer whose login was proven.
fn owner<'a>(
    catalogue: &'a Catalogue,
    candidate: &Candidate,
    proof: &Proof,
) -> Result<&'a Arc<Customer>, Refusal> {
    let customer = proof.customer().and_then(|id| catalogue.customer(id.as_str()));
    let customer = customer.ok_or_else(|| candidate.refuse(Reason::UnknownCustomer))?;
    candidate.allows(customer).map_err(|reason| candidate.refuse(reason))?;
    Ok(customer)
}

/// The right to read the audit log: a customer's, or all of it. Made by [`reading`] only.
#[derive(Debug, Clone)]
pub struct Reading {
    customer: Option<Arc<Customer>>,
    proof: Proof,
}

/// What a proven client may read: an operator everything, an auditor the customer's records.
///
/// # Errors
/// [`Refusal::Permission`] for a login that is no auditor's, [`Refusal::Password`] when proof and candidate do not belong
/// together.
pub fn reading(catalogue: &Catalogue, candidate: &Candidate, proof: Proof) -> Result<Reading, Refusal> {
    if proof.customer().is_none() && matches!(candidate.scope, Scope::Operators) {
        return Ok(Reading { customer: None, proof });
    }
    let customer = owner(catalogue, candidate, &proof)?;
    if !customer.logins.get(proof.login()).is_some_and(|login| login.auditor) {
        return Err(Refusal::Permission { name: RESERVED_DATABASE.to_owned() });
    }
    Ok(Reading { customer: Some(Arc::clone(customer)), proof })
}

impl Reading {
    /// Whose records; `None`: everybody's.
    #[must_use]
    pub const fn customer(&self) -> Option<&Arc<Customer>> {
        self.customer.as_ref()
    }

    /// The proof.
    #[must_use]
    pub const fn proof(&self) -> &Proof {
        &self.proof
    }
}

/// The right to reach one database of one customer. Made by [`route`] only.
#[derive(Debug, Clone)]
pub struct Route {
    customer: Arc<Customer>,
    proof: Proof,
    client_database: String,
    database: DatabaseName,
    server: Arc<Server>,
}

/// The route of a proven client. A client that named no database gets the one with the name of its login, as in
/// PostgreSQL; if the customer has none of that name, the customer's first.
///
/// # Errors
/// [`Refusal::Database`] when the customer does not own the database, [`Refusal::Password`] when proof and
/// candidate do not belong together.
pub fn route(
    catalogue: &Catalogue,
    candidate: &Candidate,
    proof: Proof,
    database: Option<&str>,
) -> Result<Route, Refusal> {
    let customer = owner(catalogue, candidate, &proof)?;
    let login = proof.login().as_str();
    let client_database = match database.filter(|name| !name.is_empty()) {
        Some(name) => name,
        None if customer.database(login).is_some() => login,
        None => customer.default_database().unwrap_or(login),
    };
    let unknown = || Refusal::Database { name: client_database.to_owned() };
    if customer.logins.get(proof.login()).is_some_and(|login| login.auditor) {
        return Err(Refusal::Permission { name: client_database.to_owned() });
    }
    let (server, database) = customer.database(client_database).ok_or_else(unknown)?;
    let client_database = client_database.to_owned();
    Ok(Route { customer: Arc::clone(customer), proof, client_database, database, server })
}

impl Route {
    /// The customer that owns the database.
    #[must_use]
    pub const fn customer(&self) -> &Arc<Customer> {
        &self.customer
    }

    /// The login that was proven.
    #[must_use]
    pub const fn login(&self) -> &LoginName {
        self.proof.login()
    }

    /// How the login was proven.
    #[must_use]
    pub const fn credential(&self) -> Credential {
        self.proof.credential()
    }

    /// The proof itself.
    #[must_use]
    pub const fn proof(&self) -> &Proof {
        &self.proof
    }

    /// The database as the client calls it.
    #[must_use]
    pub fn client_database(&self) -> &str {
        &self.client_database
    }

    /// The database as the server calls it.
    #[must_use]
    pub const fn database(&self) -> &DatabaseName {
        &self.database
    }

    /// Where the database is and how to log in there.
    #[must_use]
    pub const fn server(&self) -> &Arc<Server> {
        &self.server
    }
}

#[cfg(test)]
pub(crate) mod tests;
