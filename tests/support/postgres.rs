//! A real PostgreSQL: shared by a whole run, with databases and roles of its own for each test.
//!
//! `scripts/test` starts the servers and names them in `ONEVAULT_TEST_PG15` and `ONEVAULT_TEST_PG18`; without these the
//! first test of a process starts one (`scripts/cluster`), which ends when the process does, however it does.

use std::collections::HashMap;
use std::io::{BufRead, BufReader};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;

use super::wire::{Login, Wire};
use super::{root, unique};

/// The server that tests use when the version does not matter.
pub(crate) const ANY: u32 = 15;

/// A running server.
#[derive(Debug)]
pub(crate) struct Postgres {
    pub(crate) version: u32,
    pub(crate) port: u16,
    pub(crate) dir: PathBuf,
    /// Authority of the server's certificate, which is good for `localhost` and 127.0.0.1.
    pub(crate) ca: PathBuf,
    /// Of the superuser `postgres`.
    pub(crate) password: String,
    /// Its standard input keeps the server alive.
    _watch: Option<Child>,
}

impl Postgres {
    /// The server of this run.
    pub(crate) fn shared(version: u32) -> &'static Self {
        static V15: OnceLock<Postgres> = OnceLock::new();
        static V18: OnceLock<Postgres> = OnceLock::new();
        let cell = if version == 18 { &V18 } else { &V15 };
        cell.get_or_init(|| match std::env::var(format!("ONEVAULT_TEST_PG{version}")) {
            Ok(facts) => Self::from_facts(version, &facts, None),
            Err(_) => Self::start(version),
        })
    }

    /// A server for one test alone, which may stop it or read its whole log. Ends with its owner.
    pub(crate) fn start(version: u32) -> Self {
        Self::preloading(version, "")
    }

    /// The same, with `shared_preload_libraries`.
    pub(crate) fn preloading(version: u32, libraries: &str) -> Self {
        let mut watch = Command::new(root().join("scripts/cluster"))
            .arg(version.to_string())
            .env("ONEVAULT_TEST_PRELOAD", libraries)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .process_group(0)
            .spawn()
            .unwrap();
        let mut facts = String::new();
        BufReader::new(watch.stdout.take().unwrap()).read_line(&mut facts).unwrap();
        assert!(!facts.is_empty(), "PostgreSQL {version} did not start");
        Self::from_facts(version, &facts, Some(watch))
    }

    fn from_facts(version: u32, facts: &str, watch: Option<Child>) -> Self {
        let facts: HashMap<_, _> = facts.split_whitespace().filter_map(|fact| fact.split_once('=')).collect();
        Self {
            version,
            port: facts["port"].parse().unwrap(),
            dir: facts["dir"].into(),
            ca: facts["ca"].into(),
            password: facts["password"].to_owned(),
            _watch: watch,
        }
    }

    /// What the superuser must say to log in.
    pub(crate) fn superuser(&self, database: &str) -> Login {
        Login::new("postgres", &self.password, database)
    }

    /// Runs SQL as superuser, each statement in a transaction of its own, and answers the rows as text.
    pub(crate) fn sql(&self, database: &str, sql: &str) -> Vec<Vec<Option<String>>> {
        let mut wire = Wire::plain(self.port);
        wire.login(&self.superuser(database)).unwrap();
        wire.rows(sql)
    }

    /// The one value that a query answers.
    pub(crate) fn value(&self, database: &str, sql: &str) -> String {
        self.sql(database, sql).concat().pop().flatten().unwrap_or_default()
    }

    /// A database and the role that owns it, both new, closed to everybody else.
    pub(crate) fn tenant(&'static self, word: &str) -> Tenant {
        let name = unique(word);
        let password = format!("secret of {name}");
        self.sql("postgres", &format!("CREATE ROLE {name} LOGIN PASSWORD '{password}'"));
        self.sql("postgres", &format!("CREATE DATABASE {name} OWNER {name}"));
        self.sql("postgres", &format!("REVOKE ALL ON DATABASE {name} FROM PUBLIC"));
        self.sql(&name, &format!("ALTER SCHEMA public OWNER TO {name}"));
        Tenant { postgres: self, role: name.clone(), database: name, password }
    }

    /// What the server has logged so far, by line.
    pub(crate) fn log(&self) -> Vec<String> {
        let bytes = std::fs::read(self.dir.join("log")).unwrap();
        String::from_utf8_lossy(&bytes).lines().map(str::to_owned).collect()
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        if let Some(mut watch) = self._watch.take() {
            drop(watch.stdin.take());
            let _ = watch.wait();
        }
    }
}

/// A database and its owner; both go when the test ends.
#[derive(Debug)]
pub(crate) struct Tenant {
    pub(crate) postgres: &'static Postgres,
    pub(crate) database: String,
    pub(crate) role: String,
    pub(crate) password: String,
}

impl Tenant {
    pub(crate) fn login(&self) -> Login {
        Login::new(&self.role, &self.password, &self.database)
    }

    /// Connects directly, past OneVault.
    pub(crate) fn direct(&self) -> Wire {
        let mut wire = Wire::plain(self.postgres.port);
        wire.login(&self.login()).unwrap();
        wire
    }

    /// Runs SQL in this database as superuser.
    pub(crate) fn sql(&self, sql: &str) -> Vec<Vec<Option<String>>> {
        self.postgres.sql(&self.database, sql)
    }

    /// The role's verifier as PostgreSQL keeps it: what a login that uses the same password may be configured with.
    pub(crate) fn verifier(&self) -> String {
        let query = format!("SELECT rolpassword FROM pg_authid WHERE rolname = '{}'", self.role);
        self.postgres.value("postgres", &query)
    }
}

impl Drop for Tenant {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            self.postgres.sql("postgres", &format!("DROP DATABASE IF EXISTS {} WITH (FORCE)", self.database));
            let also_grants = format!("DROP OWNED BY {0}; DROP ROLE {0}", self.role);
            self.postgres.sql("postgres", &also_grants);
        }
    }
}
