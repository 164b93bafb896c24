//! A customer's database is made in steps that a failure cannot spoil, and nobody else may enter it.

use std::fs;
use std::future::Future;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::sync::OnceLock;

use onevault::auth::token;
use onevault::customers::{Catalogue, SslMode, files};
use onevault::ids::{CustomerId, DatabaseName, LoginName, Secret};
use onevault::provision::{
    Check, Created, Event, Failure, Finding, Outcome, Place, Plan, ServerAddress, Step, create, inspect,
    validate,
};

use crate::support::postgres::{ANY, Postgres};
use crate::support::wire::{Login, Wire};
use crate::support::{root, unique};

/// A server of our own: provisioning takes rights from PUBLIC that other tests may count on.
fn server() -> &'static Postgres {
    static SERVER: OnceLock<Postgres> = OnceLock::new();
    SERVER.get_or_init(|| Postgres::start(ANY))
}

/// A folder for configurations, removed at the end.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Self {
        let path = std::env::temp_dir().join(unique("onevault-provision"));
        fs::create_dir(&path).unwrap();
        Self(path)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn place(folder: &Folder, port: u16) -> Place {
    let pg = server();
    Place {
        server: ServerAddress {
            host: "localhost".into(),
            port,
            user: "postgres".into(),
            password: Some(Secret::new(pg.password.clone())),
            database: "postgres".into(),
            ssl_mode: SslMode::VerifyFull,
            ssl_root_cert: Some(pg.ca.clone()),
        },
        configurations_dir: folder.0.clone(),
        templates_dir: root().join("customers/templates"),
    }
}

fn plan(id: &str) -> Plan {
    Plan {
        id: CustomerId::parse(id).unwrap(),
        display_name: "A \"quoted\" name: {x} # 'y' \\".into(),
        industry: "spa".into(),
        compliance: vec!["hipaa".into()],
        region: "us-east-1".into(),
        database: DatabaseName::parse("books").unwrap(),
        login: LoginName::parse("app").unwrap(),
        environment: "test".into(),
    }
}

fn wait<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
}

fn make(place: &Place, plan: &Plan) -> (Result<Created, Failure>, Vec<Event>) {
    let mut events = Vec::new();
    let made = wait(create(place, plan, &Catalogue::default(), &mut |event| events.push(event)));
    (made, events)
}

fn wrong(checks: &[Check]) -> Vec<String> {
    checks
        .iter()
        .filter(|check| matches!(check.finding, Finding::False(_)))
        .map(ToString::to_string)
        .collect()
}

fn superuser(database: &str) -> Wire {
    let pg = server();
    let mut wire = Wire::plain(pg.port);
    wire.login(&Login::new("postgres", &pg.password, database)).unwrap();
    wire
}

#[test]
fn a_new_customer_passes_its_own_checks_and_its_names_tell_nothing() {
    let folder = Folder::new();
    let (made, events) = make(&place(&folder, server().port), &plan("quiet_name"));
    let created = made.unwrap();
    assert_eq!(wrong(&created.checks), [""; 0]);
    assert!(created.checks.iter().all(|check| check.finding == Finding::True), "{:?}", created.checks);
    assert!(events.iter().any(|event| matches!(event, Event::Done(Step::Schemas, Outcome::Made(_)))));

    let names = superuser("postgres").rows(
        "SELECT datname FROM pg_database UNION ALL SELECT rolname FROM pg_roles UNION ALL SELECT description FROM pg_shdescription",
    );
    assert!(!names.iter().flatten().flatten().any(|name| name.contains("quiet")), "{names:?}");

    let home = folder.0.join("quiet_name");
    for secret in ["config.yaml", "secrets/database_password"] {
        assert_eq!(fs::metadata(home.join(secret)).unwrap().permissions().mode() & 0o777, 0o600, "{secret}");
    }
    let text = fs::read_to_string(home.join("config.yaml")).unwrap();
    let credentials = created.credentials.unwrap();
    assert!(!text.contains(credentials.password.expose()) && !text.contains(credentials.token.expose()));
    assert!(!folder.0.join(".creating-quiet_name").exists());
}

/// What a step said it made or found.
fn said(events: &[Event], wanted: Step) -> &Outcome {
    let mut done = events.iter().filter_map(|event| match event {
        Event::Done(step, outcome) if *step == wanted => Some(outcome),
        Event::Begins(_) | Event::Done(..) | Event::Warning(_) => None,
    });
    done.next().unwrap()
}

#[test]
fn a_run_that_was_cut_short_is_finished_by_the_next() {
    let folder = Folder::new();
    let plan = plan("cut_short");
    let whole = place(&folder, server().port);
    let broken = Place { templates_dir: "/nonexistent".into(), ..whole.clone() };
    let (failed, first) = make(&broken, &plan);
    let failure = failed.unwrap_err();
    assert_eq!(failure.step, Step::Schemas, "{failure}");
    assert!(!folder.0.join("cut_short").exists(), "half a customer is in the catalogue");

    let (made, second) = make(&whole, &plan);
    assert_eq!(wrong(&made.unwrap().checks), [""; 0]);
    let Outcome::Made(names) = said(&first, Step::Names) else { panic!("{first:?}") };
    assert_eq!(said(&second, Step::Names), &Outcome::Present(names.clone()));
    for step in [Step::Role, Step::Database, Step::Rights, Step::Login] {
        assert!(matches!(said(&second, step), Outcome::Present(_)), "{step}: {second:?}");
    }
}

#[test]
fn a_role_whose_password_was_changed_gets_the_one_on_disk_again() {
    let folder = Folder::new();
    let plan = plan("other_password");
    let whole = place(&folder, server().port);
    let broken = Place { templates_dir: "/nonexistent".into(), ..whole.clone() };
    let (_, first) = make(&broken, &plan);
    let Outcome::Made(role) = said(&first, Step::Role) else { panic!("{first:?}") };
    superuser("postgres").rows(&format!("ALTER ROLE {role} PASSWORD 'other'"));
    let (made, second) = make(&whole, &plan);
    assert_eq!(wrong(&made.unwrap().checks), [""; 0]);
    assert!(matches!(said(&second, Step::Login), Outcome::Made(_)), "{second:?}");
}

#[test]
fn of_two_runs_for_one_customer_one_wins() {
    let folder = Folder::new();
    let (place, plan) = (place(&folder, server().port), plan("wanted_twice"));
    let (one, other) = wait(async {
        let (mut first, mut second) = (|_: Event| {}, |_: Event| {});
        let catalogue = Catalogue::default();
        tokio::join!(
            create(&place, &plan, &catalogue, &mut first),
            create(&place, &plan, &catalogue, &mut second)
        )
    });
    let (won, lost) = if one.is_ok() { (one, other) } else { (other, one) };
    assert_eq!(wrong(&won.unwrap().checks), [""; 0]);
    assert_eq!(lost.unwrap_err().step, Step::Lock);
}

#[test]
fn validate_finds_each_right_too_many() {
    let folder = Folder::new();
    let (place, plan) = (place(&folder, server().port), plan("too_many_rights"));
    let (made, events) = make(&place, &plan);
    made.unwrap();
    let Outcome::Made(role) = said(&events, Step::Role) else { panic!("{events:?}") };
    let target = ServerAddress {
        user: role.clone(),
        database: role.clone(),
        password: Some(Secret::new(
            fs::read_to_string(folder.0.join("too_many_rights/secrets/database_password")).unwrap(),
        )),
        ..place.server.clone()
    };
    let look = || wrong(&wait(inspect(&target, &place.templates_dir, (&plan.id, &plan.industry))));
    assert_eq!(look(), [""; 0]);
    for (give, take, word) in [
        ("ALTER ROLE {} SUPERUSER", "ALTER ROLE {} NOSUPERUSER", "SUPERUSER"),
        ("ALTER ROLE {} CREATEROLE", "ALTER ROLE {} NOCREATEROLE", "CREATEROLE"),
        ("GRANT pg_read_server_files TO {}", "REVOKE pg_read_server_files FROM {}", "pg_read_server_files"),
        ("GRANT CONNECT ON DATABASE {} TO PUBLIC", "REVOKE CONNECT ON DATABASE {} FROM PUBLIC", "PUBLIC"),
        (
            "GRANT CONNECT ON DATABASE postgres TO {}",
            "REVOKE CONNECT ON DATABASE postgres FROM {}",
            "postgres",
        ),
    ] {
        superuser("postgres").rows(&give.replace("{}", role));
        let found = look();
        superuser("postgres").rows(&take.replace("{}", role));
        assert!(found.iter().any(|check| check.contains(word)), "{give}: {found:?}");
    }
    superuser(role).rows("DROP TABLE auth.tenant_user_l, auth.user_s, auth.user_h CASCADE");
    assert!(look().iter().any(|check| check.contains("auth.user_h")), "{:?}", look());
}

#[test]
fn one_customers_role_cannot_enter_anothers_database() {
    let folder = Folder::new();
    let place = place(&folder, server().port);
    let mut names = Vec::new();
    for id in ["first_of_two", "second_of_two"] {
        let (made, events) = make(&place, &plan(id));
        made.unwrap();
        let Outcome::Made(role) = said(&events, Step::Role) else { panic!("{events:?}") };
        let password = fs::read_to_string(folder.0.join(id).join("secrets/database_password")).unwrap();
        names.push((role.clone(), password));
    }
    let (role, password) = &names[0];
    for database in [names[1].0.as_str(), "postgres", "template1"] {
        let refused = Wire::plain(server().port).login(&Login::new(role, password, database)).unwrap_err();
        assert!(refused.body.windows(5).any(|code| code == b"42501"), "{database}: {refused:?}");
    }
}

#[test]
fn a_login_that_is_no_superuser_is_enough() {
    let folder = Folder::new();
    let mut place = place(&folder, server().port);
    // Closes postgres and template1, which this login may not do.
    make(&place, &plan("made_before")).0.unwrap();
    superuser("postgres").rows("CREATE ROLE provisioner LOGIN CREATEDB CREATEROLE PASSWORD 'p'");
    superuser("postgres").rows("GRANT CONNECT ON DATABASE postgres TO provisioner");
    place.server.user = "provisioner".into();
    place.server.password = Some(Secret::new("p".into()));
    let (made, _) = make(&place, &plan("made_by_less"));
    assert_eq!(wrong(&made.unwrap().checks), [""; 0]);
    let members =
        superuser("postgres").rows("SELECT 1 FROM pg_auth_members WHERE member = 'provisioner'::regrole");
    assert!(members.is_empty(), "the provisioning login kept a customer's role");
}

#[test]
fn passwords_never_reach_the_servers_log() {
    let folder = Folder::new();
    superuser("postgres").rows("ALTER SYSTEM SET log_statement = 'all'");
    superuser("postgres").rows("SELECT pg_reload_conf()");
    let (made, _) = make(&place(&folder, server().port), &plan("logged"));
    let first_login = made.unwrap().credentials.unwrap();
    let role = fs::read_to_string(folder.0.join("logged/secrets/database_password")).unwrap();
    let log = fs::read_to_string(server().dir.join("log")).unwrap();
    assert!(log.contains("CREATE ROLE"), "the log shows statements");
    for secret in [role.as_str(), first_login.password.expose(), first_login.token.expose()] {
        assert!(!log.contains(secret));
    }
}

#[test]
fn what_create_wrote_is_read_as_a_customer_and_create_finds_it_complete() {
    let folder = Folder::new();
    let (place, plan) = (place(&folder, server().port), plan("read_back"));
    let (made, _) = make(&place, &plan);
    let credentials = made.unwrap().credentials.unwrap();

    let catalogue = files::load(&folder.0).unwrap();
    let customer = catalogue.customer("read_back").unwrap();
    assert_eq!(customer.display_name, plan.display_name);
    let stored = customer.logins["app"].verifier.clone().unwrap();
    assert!(stored.accepts(credentials.password.expose()));
    assert_eq!(customer.tokens[0].hash, token::hash(credentials.token.expose()));
    assert_eq!(wrong(&wait(validate(customer, &place.templates_dir))), [""; 0]);

    let mut events = Vec::new();
    let again = wait(create(&place, &plan, &catalogue, &mut |event| events.push(event))).unwrap();
    assert!(again.credentials.is_none());
    for step in [Step::Names, Step::Role, Step::Schemas, Step::Tenant, Step::Configuration] {
        assert!(matches!(said(&events, step), Outcome::Present(_)), "{step}: {events:?}");
    }
    let other = Plan { industry: "equestrian".into(), ..plan };
    let failure = wait(create(&place, &other, &catalogue, &mut |_| {})).unwrap_err();
    assert!(failure.cause.contains("industry \"spa\""), "{failure}");
}
