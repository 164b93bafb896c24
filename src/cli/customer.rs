//! `onevault customer create|validate|list`: customers and their databases.
//!
//! Always holds: a first password and a first token go to standard output, once, and nowhere else. What is
//! missing of a customer is made by running `create` again. Refuses to know how a database is made.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::path::Path;
use std::process::ExitCode;

use serde_json::{Value, json};

use crate::auth::token;
use crate::config::Config;
use crate::customers::{Catalogue, Customer, Status, files, follow_reference};
use crate::ids::{CustomerId, DatabaseName, LoginName};
use crate::provision::{self, Check, Created, Event, Finding, Outcome, Place, Plan, ServerAddress};

use super::{ConfigFile, Failure, Progress, finish};

/// Arguments of `onevault customer`.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Make a customer's role, database, schemas, configuration, first login and first token
    ///
    /// Each step looks first and makes only what is missing: after a failure, run the same command again.
    Create(Box<Create>),
    /// Look at a customer's databases and say what is not as it should be
    Validate(Validate),
    /// Show all customers
    List(List),
}

#[derive(Debug, clap::Args)]
struct Create {
    /// The new customer's id: a-z, 0-9 and _, at most 48 bytes, the first a letter
    #[arg(value_parser = parse_id)]
    id: CustomerId,
    /// For example spa, equestrian, financial; templates of that name are applied after the base
    #[arg(long, value_parser = parse_word)]
    industry: String,
    /// Frameworks, separated by commas or given several times
    #[arg(long, value_delimiter = ',', value_parser = ["hipaa", "pci", "sox", "gdpr"])]
    compliance: Vec<String>,
    /// Where the data lives, for example us-east-1
    #[arg(long, value_parser = parse_region)]
    region: String,
    /// The name people read [default: made from the id]
    #[arg(long)]
    name: Option<String>,
    /// What clients call the database [default: the id]
    #[arg(long)]
    database: Option<String>,
    /// The first login
    #[arg(long, default_value = "app", value_parser = parse_login)]
    login: LoginName,
    /// The middle part of the first token's name: 2 to 8 letters a-z
    #[arg(long, default_value = "prod", value_parser = parse_environment)]
    environment: String,
    /// The server instead of provision.server: "host=.. port=.. user=.. sslmode=.. sslrootcert=.."
    #[arg(long, value_name = "CONNINFO")]
    server: Option<String>,
    /// Its password instead of provision.password: env:NAME or file:PATH
    #[arg(long, value_name = "REFERENCE")]
    server_password: Option<String>,
    /// Answer with one JSON object
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    config: ConfigFile,
}

#[derive(Debug, clap::Args)]
struct Validate {
    /// The customer
    #[arg(value_parser = parse_id)]
    id: CustomerId,
    /// Answer with one JSON object
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    config: ConfigFile,
}

#[derive(Debug, clap::Args)]
struct List {
    /// Answer with one JSON object a line
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    config: ConfigFile,
}

/// Runs the command; 1 also when a customer is not as it should be.
#[must_use]
pub fn run(args: &Args) -> ExitCode {
    finish(match &args.command {
        Command::Create(args) => create(args),
        Command::Validate(args) => validate(args),
        Command::List(args) => list(args),
    })
}

fn create(args: &Create) -> Result<ExitCode, Failure> {
    let config = args.config.load()?;
    let catalogue = catalogue(&config)?;
    let place = place(args, &config)?;
    let plan = plan(args)?;
    let mut teller = Teller { progress: None };
    let mut tell = |event| teller.tell(event);
    let made = block_on(provision::create(&place, &plan, &catalogue, &mut tell))?;
    drop(teller);
    let created = made.map_err(|failure| {
        let kept = if failure.step.changes_something() {
            "what the steps before made is kept: run the same command again to finish"
        } else {
            "nothing was changed"
        };
        Failure::Message(format!("customer \"{}\" is not ready: {failure}\n{kept}", args.id))
    })?;
    let mut out = io::stdout().lock();
    if args.json {
        writeln!(out, "{}", created_as_json(&plan, &created))?;
    } else {
        write_created(&mut out, &plan, &created)?;
    }
    out.flush()?;
    Ok(verdict(&created.checks))
}

fn validate(args: &Validate) -> Result<ExitCode, Failure> {
    let config = args.config.load()?;
    let catalogue = catalogue(&config)?;
    let customer = catalogue.customer(args.id.as_str()).ok_or_else(|| {
        Failure::Message(format!(
            "no customer \"{}\" in {}",
            args.id,
            config.customers.configurations_dir.display()
        ))
    })?;
    let progress = Progress::start(&format!("looking at {}", args.id));
    let checks = block_on(provision::validate(customer, &config.customers.templates_dir))?;
    drop(progress);
    let mut out = io::stdout().lock();
    if args.json {
        writeln!(out, "{}", json!({ "customer": args.id.as_str(), "checks": checks_as_json(&checks) }))?;
    } else {
        write_checks(&mut out, &checks)?;
    }
    out.flush()?;
    Ok(verdict(&checks))
}

fn list(args: &List) -> Result<ExitCode, Failure> {
    let config = args.config.load()?;
    let catalogue = catalogue(&config)?;
    let customers: BTreeMap<_, _> = catalogue.customers.iter().collect();
    let mut out = io::stdout().lock();
    if !args.json {
        writeln!(
            out,
            "{:<24} {:<10} {:<14} {:<14} {:<14} databases",
            "customer", "status", "industry", "region", "compliance"
        )?;
    }
    for customer in customers.values() {
        if args.json {
            writeln!(out, "{}", customer_as_json(customer))?;
        } else {
            writeln!(
                out,
                "{:<24} {:<10} {:<14} {:<14} {:<14} {}",
                customer.id.as_str(),
                status(customer),
                customer.industry,
                customer.region,
                customer.compliance.join(","),
                database_names(customer).join(", ")
            )?;
        }
    }
    out.flush()?;
    Ok(ExitCode::SUCCESS)
}

/// Our own SQL needs one thread and no workers.
fn block_on<T>(future: impl Future<Output = T>) -> Result<T, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| format!("cannot start: {error}"))?;
    Ok(runtime.block_on(future))
}

fn catalogue(config: &Config) -> Result<Catalogue, Failure> {
    let folder = &config.customers.configurations_dir;
    if !folder.exists() {
        return Ok(Catalogue::default());
    }
    files::load(folder).map_err(|problems| Failure::Message(problems.to_string()))
}

fn place(args: &Create, config: &Config) -> Result<Place, Failure> {
    let said = args.server.as_deref().unwrap_or(&config.provision.server);
    if said.is_empty() {
        return Err(Failure::Message(format!(
            "provision.server is not set in {}; set it, or give --server \"host=.. port=.. user=.. sslmode=..\"",
            args.config.path.display()
        )));
    }
    let reference = args.server_password.as_deref().or(config.provision.password.as_deref());
    let password = reference.map(|one| follow_reference(one, Path::new(""))).transpose();
    let password = password.map_err(|why| format!("provision.password: {why}"))?;
    let server = ServerAddress::parse(said, password).map_err(|why| format!("provision.server: {why}"))?;
    Ok(Place {
        server,
        configurations_dir: config.customers.configurations_dir.clone(),
        templates_dir: config.customers.templates_dir.clone(),
    })
}

fn plan(args: &Create) -> Result<Plan, Failure> {
    let mut compliance = args.compliance.clone();
    compliance.sort();
    compliance.dedup();
    let display_name = args.name.clone().unwrap_or_else(|| title(args.id.as_str()));
    if display_name.chars().any(char::is_control) || !(1..=200).contains(&display_name.len()) {
        return Err(Failure::Message("a name has 1 to 200 bytes and no control characters".into()));
    }
    let database = args.database.clone().unwrap_or_else(|| args.id.as_str().to_owned());
    if database.contains('*') || database == "onevault" {
        return Err(Failure::Message(
            "a database is not called \"onevault\" and has no * in its name".into(),
        ));
    }
    let database = DatabaseName::parse(&database).map_err(|error| error.to_string())?;
    Ok(Plan {
        id: args.id.clone(),
        display_name,
        industry: args.industry.clone(),
        compliance,
        region: args.region.clone(),
        database,
        login: args.login.clone(),
        environment: args.environment.clone(),
    })
}

/// `luxury_spa` reads `Luxury Spa`.
fn title(id: &str) -> String {
    let words = id.split('_').filter(|word| !word.is_empty()).map(|word| {
        let mut letters = word.chars();
        let first = letters.next().map(|letter| letter.to_ascii_uppercase());
        first.into_iter().chain(letters).collect::<String>()
    });
    words.collect::<Vec<_>>().join(" ")
}

/// Tells the steps on standard error, each on one line.
struct Teller {
    progress: Option<Progress>,
}

impl Teller {
    fn tell(&mut self, event: Event) {
        // Standard error may be closed; the work goes on.
        let _ = match event {
            Event::Begins(step) => {
                self.progress = Some(Progress::start(&step.to_string()));
                Ok(())
            }
            Event::Done(step, outcome) => {
                self.progress = None;
                let (word, what) = match outcome {
                    Outcome::Made(what) => ("done", what),
                    Outcome::Present(what) => ("there", what),
                };
                writeln!(io::stderr(), "  {:<24} {word:<6} {what}", step.to_string())
            }
            Event::Warning(text) => writeln!(io::stderr(), "  warning: {text}"),
        };
    }
}

fn write_created(out: &mut impl Write, plan: &Plan, created: &Created) -> io::Result<()> {
    writeln!(out)?;
    write_checks(out, &created.checks)?;
    writeln!(out)?;
    let Some(credentials) = &created.credentials else {
        writeln!(out, "Customer {} was there already; its logins and tokens are as they were.", plan.id)?;
        return writeln!(
            out,
            "Another token: onevault token create --customer {} --login {}",
            plan.id, plan.login
        );
    };
    writeln!(out, "Customer {} is ready. These two are shown now and kept nowhere:", plan.id)?;
    writeln!(out)?;
    writeln!(out, "  login     {}@{}", plan.login, plan.id)?;
    writeln!(out, "  password  {}", credentials.password.expose())?;
    writeln!(out, "  token     {}", credentials.token.expose())?;
    writeln!(out)?;
    writeln!(
        out,
        "Connect: psql \"host=<proxy> dbname={} user={}@{} sslmode=verify-full\"",
        plan.database, plan.login, plan.id
    )?;
    writeln!(out, "With the token: the same with user=token and the token as the password")
}

fn write_checks(out: &mut impl Write, checks: &[Check]) -> io::Result<()> {
    for check in checks {
        let word = match check.finding {
            Finding::True => "ok",
            Finding::Odd(_) => "note",
            Finding::False(_) => "WRONG",
        };
        writeln!(out, "  {word:<6} {check}")?;
    }
    Ok(())
}

fn verdict(checks: &[Check]) -> ExitCode {
    let wrong = checks.iter().any(|check| matches!(check.finding, Finding::False(_)));
    if wrong { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

fn checks_as_json(checks: &[Check]) -> Vec<Value> {
    let one = |check: &Check| match &check.finding {
        Finding::True => json!({ "what": check.what, "finding": "ok" }),
        Finding::Odd(why) => json!({ "what": check.what, "finding": "note", "why": why }),
        Finding::False(why) => json!({ "what": check.what, "finding": "wrong", "why": why }),
    };
    checks.iter().map(one).collect()
}

fn created_as_json(plan: &Plan, created: &Created) -> Value {
    json!({
        "customer": plan.id.as_str(),
        "database": plan.database.as_str(),
        "login": plan.login.as_str(),
        "password": created.credentials.as_ref().map(|one| one.password.expose()),
        "token": created.credentials.as_ref().map(|one| one.token.expose()),
        "checks": checks_as_json(&created.checks),
    })
}

fn customer_as_json(customer: &Customer) -> Value {
    json!({
        "customer": customer.id.as_str(),
        "display_name": customer.display_name,
        "status": status(customer),
        "industry": customer.industry,
        "region": customer.region,
        "compliance": customer.compliance,
        "databases": database_names(customer),
        "logins": customer.logins.len(),
        "tokens": customer.tokens.len(),
    })
}

fn status(customer: &Customer) -> &'static str {
    match customer.status {
        Status::Active => "active",
        Status::Suspended => "suspended",
    }
}

fn database_names(customer: &Customer) -> Vec<String> {
    customer.databases.iter().map(|rule| rule.name.clone()).collect()
}

fn parse_id(text: &str) -> Result<CustomerId, String> {
    CustomerId::parse(text).map_err(|error| error.to_string())
}

fn parse_login(text: &str) -> Result<LoginName, String> {
    if text.contains('@') || text == "token" {
        return Err("a login's name has no @ and is not \"token\"".into());
    }
    LoginName::parse(text).map_err(|error| error.to_string())
}

/// Names a folder or a framework: what a customer's id may be.
fn parse_word(text: &str) -> Result<String, String> {
    CustomerId::parse(text).map(|_| text.to_owned()).map_err(|error| error.rule.to_owned())
}

fn parse_environment(text: &str) -> Result<String, String> {
    let good = token::is_prefix(&format!("ovt_{text}_aaaaaaaa")).then(|| text.to_owned());
    good.ok_or_else(|| "it must have 2 to 8 letters a-z".into())
}

fn parse_region(text: &str) -> Result<String, String> {
    let fits = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    if text.is_empty() || text.len() > 48 || !text.bytes().all(fits) {
        return Err("1 to 48 bytes of a-z, 0-9 and -".into());
    }
    Ok(text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_name_cannot_lead_out_of_the_templates() {
        for bad in ["..", "a/b", "", "A", "-x"] {
            assert!(parse_word(bad).is_err(), "{bad}");
        }
        assert!(parse_word("spa").is_ok());
    }

    #[test]
    fn a_name_for_people_is_made_from_the_id() {
        assert_eq!(title("luxury_spa__chain"), "Luxury Spa Chain");
    }

    #[test]
    fn a_login_cannot_name_another_customer_or_be_the_word_for_tokens() {
        assert!(parse_login("app@other").is_err());
        assert!(parse_login("token").is_err());
        assert!(parse_login("app").is_ok());
    }
}
