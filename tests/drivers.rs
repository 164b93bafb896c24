//! Any driver, unchanged: each does a day's work directly and then through OneVault, and every statement is in the log.
//!
//! The programs are in `tests/drivers/`; `scripts/test-tools` brings what they need. The count of statements is PostgreSQL's
//! own (`log_statement`), taken from its log for the role and database that only this test uses.

use std::path::PathBuf;
use std::process::Command;

use crate::support::pooled::{is_transaction, mode, patient, pooled, thief_login};
use crate::support::postgres::{Postgres, Tenant};
use crate::support::thief::{SCENE, Thief};
use crate::support::vault::{Customer, Options, Vault, through};
use crate::support::{cache, counting, root};

/// With transaction pooling: enough for what the programs hold at one time, the thief included.
const BACKENDS_MAX: u32 = 2;

/// What a driver's main connection begins with, in its order: only who begins alike can have the same backend.
fn begins_with(driver: &str) -> &'static [(&'static str, &'static str)] {
    match driver {
        "asyncpg" => {
            &[("client_encoding", "'utf-8'"), ("application_name", "asyncpg round"), ("work_mem", "5MB")]
        }
        "node" => {
            &[("application_name", "node round"), ("options", "-c work_mem=5MB"), ("client_encoding", "UTF8")]
        }
        "jdbc" => &[
            ("client_encoding", "UTF8"),
            ("DateStyle", "ISO"),
            ("TimeZone", "Etc/UTC"),
            ("extra_float_digits", "2"),
        ],
        "psql" | "dump" => &[("application_name", "psql")],
        "pgbench" => &[("application_name", "pgbench")],
        _ => &[],
    }
}

/// Where a driver connects to.
struct Target {
    port: u16,
    user: String,
    ca: PathBuf,
    /// How it is pooled: a session of transaction pooling has no process id to compare with others'.
    pool: &'static str,
}

fn run(driver: &str, tenant: &Tenant, target: &Target) {
    let cache = cache();
    let drivers = root().join("tests/drivers");
    let mut command = match driver {
        "psycopg" | "asyncpg" => {
            let mut command = Command::new(cache.join("python/bin/python"));
            command.arg(drivers.join(format!("{driver}_round.py")));
            command
        }
        "node" => {
            let mut command = Command::new("node");
            command.arg("--no-deprecation").arg(drivers.join("node_round.js"));
            command.env("NODE_PATH", cache.join("node/node_modules"));
            command
        }
        "jdbc" => {
            let mut command = Command::new("java");
            let path = format!("{}:/usr/share/java/postgresql.jar", cache.join("java").display());
            command.args(["-XX:TieredStopAtLevel=1", "-Duser.timezone=Etc/UTC", "-cp", &path, "JdbcRound"]);
            command
        }
        "pgx" => Command::new(cache.join("go/pgx_round")),
        shell => Command::new(drivers.join(format!("{shell}_round.sh"))),
    };
    let output = command
        .env("ONEVAULT_TEST_CACHE", &cache)
        .env("ONEVAULT_PG_VERSION", tenant.postgres.version.to_string())
        .env("PGHOST", "localhost")
        .env("PGPORT", target.port.to_string())
        .env("PGUSER", &target.user)
        .env("PGPASSWORD", &tenant.password)
        .env("PGDATABASE", &tenant.database)
        .env("PGSSLMODE", "verify-full")
        .env("PGSSLROOTCERT", &target.ca)
        .env("ONEVAULT_TEST_POOL", target.pool)
        .output()
        .unwrap();
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(
        output.status.success() && out.ends_with("ok\n"),
        "{driver} on port {}:\n{out}\n{err}",
        target.port
    );
}

/// A tenant whose statements PostgreSQL counts.
fn counted(version: u32, word: &str) -> Tenant {
    let postgres = Postgres::shared(version);
    let tenant = postgres.tenant(word);
    tenant.direct().rows(SCENE);
    postgres.sql("postgres", &format!("ALTER ROLE {} SET log_statement = 'all'", tenant.role));
    // Two at the same moment would both make the parameter's row. Together they are one transaction.
    let lock = "SELECT pg_advisory_xact_lock(4711)";
    postgres.sql("postgres", &format!("{lock}; GRANT SET ON PARAMETER lc_messages TO {}", tenant.role));
    tenant
}

fn works_directly(version: u32, driver: &str) {
    let tenant = counted(version, &format!("direct_{driver}"));
    let (port, user, ca) = (tenant.postgres.port, tenant.role.clone(), tenant.postgres.ca.clone());
    let target = Target { port, user, ca, pool: "none" };
    run(driver, &tenant, &target);
    assert!(
        !counting::at_server(tenant.postgres, &tenant.role, &tenant.database).is_empty(),
        "nothing was counted"
    );
}

/// With transaction pooling there is a thief in the house, and few backends.
fn works_through_onevault(version: u32, driver: &str) {
    let tenant = counted(version, &format!("vault_{driver}"));
    let customer = pooled(Customer::of(&tenant), &tenant.verifier(), BACKENDS_MAX);
    let mut vault = Vault::start(Options::new(&[customer]).with(patient()));
    let mut login = thief_login(&tenant);
    let alike = begins_with(driver).iter().map(|(name, value)| ((*name).into(), (*value).into()));
    login.settings.extend(alike);
    let loose = is_transaction().then(|| Thief::new(vault.port, login).loose());
    run(
        driver,
        &tenant,
        &Target { port: vault.port, user: through(&tenant).user, ca: vault.ca(), pool: mode() },
    );
    if let Some(loose) = loose {
        counting::was_robbed(&format!("{driver} on {version}"), &tenant, loose.catch());
    }
    vault.stop();
    let at_server = counting::at_server(tenant.postgres, &tenant.role, &tenant.database);
    counting::are_the_same(&format!("{driver} on {version}"), &at_server, &counting::in_log(&vault));
}

macro_rules! drivers {
    ($($driver:ident on $($version:literal)+;)+) => {$(
        mod $driver {
            #[test]
            fn works_through_onevault() {
                $(super::works_through_onevault($version, stringify!($driver));)+
            }

            #[test]
            fn works_directly() {
                $(super::works_directly($version, stringify!($driver));)+
            }
        }
    )+};
}

drivers! {
    psycopg on 15 18;
    asyncpg on 15 18;
    node on 15 18;
    jdbc on 15 18;
    psql on 15 18;
    pgbench on 15 18;
    pipeline on 15 18;
    pgx on 15 18;
    dump on 15;
}
