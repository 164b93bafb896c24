//! Makes a customer's database, and checks that it is what it should be.
//!
//! [`create`] walks a fixed list of steps ([`Step`]). Each looks first and acts only where something is missing,
//! so the same command finishes what a failure left half done. What must survive a failure (the opaque names, the
//! role's password) is on disk before the server hears of it; the customer's folder appears under its own name in
//! one rename, when everything in it is ready. Of two runs for one customer one wins: an advisory lock at the
//! server is held from the second step to the last.
//!
//! Refuses to know: clients, the proxy, other customers. A superuser never runs SQL in a customer's database:
//! its schemas are made by the customer's own role. Passwords reach a server as SCRAM verifiers only.
//!
//! Source: sql-createrole, sql-createdatabase, ddl-priv, functions-admin#FUNCTIONS-ADVISORY-LOCKS

mod address;
mod client;
mod config_yaml;
mod folder;
pub mod observe;
mod schemas;
mod server;
mod validate;

use std::fmt;
use std::path::PathBuf;

pub use address::ServerAddress;
pub use folder::Credentials;
pub use validate::{Check, Finding, inspect, validate};

use crate::customers::Catalogue;
use crate::ids::{CustomerId, DatabaseName, LoginName};

/// What the new customer shall be.
#[derive(Debug, Clone)]
pub struct Plan {
    /// Its id.
    pub id: CustomerId,
    /// The name people read.
    pub display_name: String,
    /// Names the templates used beside `base`, where a folder of that name exists.
    pub industry: String,
    /// Frameworks: `hipaa`, `pci`, `sox`, `gdpr`.
    pub compliance: Vec<String>,
    /// Where the data lives, for example `us-east-1`.
    pub region: String,
    /// What clients call the database.
    pub database: DatabaseName,
    /// The first login.
    pub login: LoginName,
    /// The middle part of the first token's name, for example `prod` or `test`.
    pub environment: String,
}

/// Where the new customer shall be.
#[derive(Debug, Clone)]
pub struct Place {
    /// The server, and the login that may create roles and databases there.
    pub server: ServerAddress,
    /// Holds `<id>/config.yaml` for each customer.
    pub configurations_dir: PathBuf,
    /// Holds `base/*.sql` and a folder for each industry.
    pub templates_dir: PathBuf,
}

/// The steps of [`create`], in their order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Log in at the server and see that the login may do what follows.
    Connect,
    /// Keep other runs for the same customer away.
    Lock,
    /// Choose the role's and the database's name and the role's password, and keep them on disk.
    Names,
    /// The customer's role.
    Role,
    /// The customer's database, owned by the role.
    Database,
    /// Nobody else may connect to it; the role may connect to nothing else.
    Rights,
    /// Log in as the role.
    Login,
    /// The schemas from the templates.
    Schemas,
    /// The customer and its first login as rows of the hubs.
    Tenant,
    /// `config.yaml` with the first login and the first token.
    Configuration,
    /// Look at the result from outside.
    Validate,
}

impl Step {
    /// Whether this step or one before it may have changed a server or a file.
    #[must_use]
    pub const fn changes_something(self) -> bool {
        match self {
            Self::Connect | Self::Lock | Self::Names => false,
            Self::Role
            | Self::Database
            | Self::Rights
            | Self::Login
            | Self::Schemas
            | Self::Tenant
            | Self::Configuration
            | Self::Validate => true,
        }
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Connect => "connect to the server",
            Self::Lock => "lock the customer",
            Self::Names => "choose names",
            Self::Role => "make the role",
            Self::Database => "make the database",
            Self::Rights => "set who may connect",
            Self::Login => "log in as the role",
            Self::Schemas => "make the schemas",
            Self::Tenant => "enter the customer",
            Self::Configuration => "write config.yaml",
            Self::Validate => "validate",
        })
    }
}

/// What a step came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// It was missing and is made.
    Made(String),
    /// It was there.
    Present(String),
}

/// Told while [`create`] works.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// A step begins.
    Begins(Step),
    /// A step is done.
    Done(Step, Outcome),
    /// Something to know that is no failure.
    Warning(String),
}

/// Why [`create`] stopped.
#[derive(Debug)]
pub struct Failure {
    /// The step that did not succeed; those before it did.
    pub step: Step,
    /// The cause, in PostgreSQL's error style.
    pub cause: String,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "step \"{}\" failed: {}", self.step, self.cause)
    }
}

impl std::error::Error for Failure {}

/// A customer that is ready.
#[derive(Debug)]
pub struct Created {
    /// The password of the first login and the first token; absent when the customer was there already.
    /// They are kept nowhere: only a verifier and a hash are.
    pub credentials: Option<Credentials>,
    /// What [`validate`] found.
    pub checks: Vec<Check>,
}

/// Makes what is missing of a customer. `catalogue` is what the configurations folder holds now.
///
/// # Errors
/// [`Failure`] names the step; what the steps before it made stays, and the next run goes on from there.
pub async fn create(
    place: &Place,
    plan: &Plan,
    catalogue: &Catalogue,
    tell: &mut (dyn FnMut(Event) + Send),
) -> Result<Created, Failure> {
    let existing = catalogue.customer(plan.id.as_str());
    let mut run = Run { tell, step: Step::Connect };

    run.begin(Step::Connect);
    let mut admin = run.check(server::connect(&place.server).await)?;
    run.done(Outcome::Present(format!("{} as {}", place.server, place.server.user)));

    run.begin(Step::Lock);
    run.check(server::lock(&mut admin, &plan.id).await)?;
    run.done(Outcome::Made("for this run".into()));

    run.begin(Step::Names);
    let (names, outcome) = run.check(folder::names(place, plan, existing.map(AsRef::as_ref)))?;
    run.done(outcome);

    run.begin(Step::Role);
    let outcome = run.check(server::role(&mut admin, &names).await)?;
    run.done(outcome);

    run.begin(Step::Database);
    let outcome = run.check(server::database(&mut admin, &names).await)?;
    run.done(outcome);

    run.begin(Step::Rights);
    let (outcome, warnings) = run.check(server::rights(&mut admin, &names).await)?;
    warnings.into_iter().for_each(|warning| (run.tell)(Event::Warning(warning)));
    run.done(outcome);

    run.begin(Step::Login);
    let (mut own, outcome) = run.check(server::login(&mut admin, &place.server, &names).await)?;
    run.done(outcome);

    run.begin(Step::Schemas);
    let outcome = run.check(schemas::apply(&mut own, &place.templates_dir, &plan.industry).await)?;
    run.done(outcome);

    run.begin(Step::Tenant);
    let outcome = run.check(schemas::enter_tenant(&mut own, plan).await)?;
    run.done(outcome);
    drop(own);

    finish(run, place, plan, (&names, existing.is_some())).await
}

/// The last two steps: the folder gets its name, and the result is looked at from outside.
async fn finish(
    mut run: Run<'_>,
    place: &Place,
    plan: &Plan,
    (names, exists): (&folder::Names, bool),
) -> Result<Created, Failure> {
    run.begin(Step::Configuration);
    let credentials = if exists { None } else { Some(run.check(folder::publish(place, plan, names))?) };
    let path = place.configurations_dir.join(plan.id.as_str()).join("config.yaml").display().to_string();
    run.done(if exists { Outcome::Present(path) } else { Outcome::Made(path) });

    run.begin(Step::Validate);
    let about = (&plan.id, plan.industry.as_str());
    let checks = inspect(&names.at(&place.server), &place.templates_dir, about).await;
    run.done(Outcome::Made(format!("{} checks", checks.len())));
    Ok(Created { credentials, checks })
}

/// Keeps track of the step in hand.
struct Run<'a> {
    tell: &'a mut (dyn FnMut(Event) + Send),
    step: Step,
}

impl Run<'_> {
    fn begin(&mut self, step: Step) {
        self.step = step;
        (self.tell)(Event::Begins(step));
    }

    fn done(&mut self, outcome: Outcome) {
        (self.tell)(Event::Done(self.step, outcome));
    }

    fn check<T>(&self, result: Result<T, String>) -> Result<T, Failure> {
        result.map_err(|cause| Failure { step: self.step, cause })
    }
}
