//! Looks at a customer's database from outside, with the customer's own role, and says what is not as it should be.
//!
//! Always holds: nothing is changed. Needs no right beyond the role's own, so that it can be run at any time.
//!
//! Source: view-pg-roles, catalog-pg-database, functions-info#FUNCTIONS-INFO-ACCESS

use std::fmt;
use std::path::Path;

use crate::customers::Customer;
use crate::ids::{CustomerId, Secret};

use super::address::{ServerAddress, ssl_mode_word};
use super::client::{Login, Sql};
use super::schemas;

/// What was looked at, and what was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Check {
    /// A sentence that should be true.
    pub what: String,
    /// Whether it is.
    pub finding: Finding,
}

/// Whether a [`Check`]'s sentence is true.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Finding {
    /// It is.
    True,
    /// It is not, or it could not be looked at, and nothing breaks by it.
    Odd(String),
    /// It is not.
    False(String),
}

impl fmt::Display for Check {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.finding {
            Finding::True => f.write_str(&self.what),
            Finding::Odd(why) | Finding::False(why) => write!(f, "{}: {why}", self.what),
        }
    }
}

/// A sentence about the role or the database, and the SQL that names what contradicts it (rows of one text).
const RULES: [(&str, &str); 6] = [
    (
        "the role may log in and nothing else",
        "SELECT word FROM pg_roles, LATERAL (VALUES
             (rolsuper, 'SUPERUSER'), (rolcreaterole, 'CREATEROLE'), (rolcreatedb, 'CREATEDB'),
             (rolreplication, 'REPLICATION'), (rolbypassrls, 'BYPASSRLS'), (NOT rolcanlogin, 'NOLOGIN')) AS has (it, word)
         WHERE rolname = current_user AND has.it",
    ),
    (
        "the role is a member of no other role",
        "SELECT pg_get_userbyid(roleid)::text FROM pg_auth_members
         WHERE member = (SELECT oid FROM pg_roles WHERE rolname = current_user)",
    ),
    (
        "the role owns the database",
        "SELECT pg_get_userbyid(datdba)::text FROM pg_database
         WHERE datname = current_database() AND pg_get_userbyid(datdba) <> current_user",
    ),
    (
        "PUBLIC may not connect to the database",
        "SELECT datname::text FROM pg_database
         WHERE datname = current_database() AND has_database_privilege('public', oid, 'CONNECT')",
    ),
    (
        "the schemas auth, business, audit, util and ref are there",
        "SELECT name FROM unnest(ARRAY['auth', 'business', 'audit', 'util', 'ref']) AS wanted (name)
         WHERE to_regnamespace(name) IS NULL",
    ),
    (
        "the hubs auth.tenant_h and auth.user_h are there",
        "SELECT name FROM unnest(ARRAY['auth.tenant_h', 'auth.user_h', 'util.template_r']) AS wanted (name)
         WHERE to_regclass(name) IS NULL",
    ),
];

/// Checks every database that `customer` names; those it has by pattern cannot be listed and are left out.
pub async fn validate(customer: &Customer, templates_dir: &Path) -> Vec<Check> {
    let mut checks = Vec::new();
    for rule in &customer.databases {
        let Some(database) = rule.matches(&rule.name).filter(|_| !rule.name.contains('*')) else {
            let why = "a pattern names no database that could be looked at".to_owned();
            checks.push(Check { what: format!("databases \"{}\"", rule.name), finding: Finding::Odd(why) });
            continue;
        };
        let server = ServerAddress {
            host: rule.server.host.clone(),
            port: rule.server.port,
            user: rule.server.role.as_str().to_owned(),
            password: Some(rule.server.password.clone()),
            database,
            ssl_mode: rule.server.ssl_mode,
            ssl_root_cert: rule.server.ssl_root_cert.clone(),
        };
        checks.extend(inspect(&server, templates_dir, (&customer.id, &customer.industry)).await);
    }
    checks
}

/// Checks one database with the role that `server` names. `about`: the customer, and its industry, which decides
/// the templates it should have.
pub async fn inspect(server: &ServerAddress, templates_dir: &Path, about: (&CustomerId, &str)) -> Vec<Check> {
    let (id, industry) = about;
    let login = Login {
        user: &server.user,
        password: server.password.as_ref().map(Secret::expose),
        database: &server.database,
    };
    let logs_in = format!(
        "role {} logs in at {server}, database {}, sslmode {}",
        server.user,
        server.database,
        ssl_mode_word(server.ssl_mode)
    );
    let mut sql = match Sql::connect(server, login).await {
        Ok(sql) => sql,
        Err(failure) => return vec![Check { what: logs_in, finding: Finding::False(failure.text) }],
    };
    let mut checks = vec![Check { what: logs_in, finding: Finding::True }];
    for (what, contradicts) in RULES {
        checks.push(Check { what: what.to_owned(), finding: ask(&mut sql, contradicts).await });
    }
    let elsewhere = "SELECT datname::text FROM pg_database WHERE datallowconn AND pg_get_userbyid(datdba) <> current_user AND has_database_privilege(oid, 'CONNECT') ORDER BY datname";
    let finding = ask(&mut sql, elsewhere).await;
    checks.push(Check { what: "the role may connect to no other database".into(), finding });
    if checks.iter().all(|check| check.finding == Finding::True) {
        checks.push(tenant(&mut sql, id).await);
        checks.push(up_to_date(&mut sql, templates_dir, industry).await);
    }
    checks
}

/// True when `contradicts` answers no row; otherwise its rows say why not.
async fn ask(sql: &mut Sql, contradicts: &str) -> Finding {
    match sql.rows(contradicts, &[]).await {
        Err(failure) => Finding::False(failure.text),
        Ok(rows) if rows.is_empty() => Finding::True,
        Ok(rows) => {
            let found: Vec<String> = rows.iter().filter_map(|row| row.try_get(0).ok()).collect();
            Finding::False(found.join(", "))
        }
    }
}

async fn tenant(sql: &mut Sql, id: &CustomerId) -> Check {
    let asked = "SELECT tenant_hk = util.hash_binary($1::text) FROM auth.tenant_h WHERE tenant_bk = $1";
    let finding = match sql.is(asked, &[&id.as_str()]).await {
        Ok(true) => Finding::True,
        Ok(false) => Finding::False("no such row, or another hash".into()),
        Err(failure) => Finding::False(failure.text),
    };
    Check { what: format!("the customer is the tenant \"{id}\" of auth.tenant_h"), finding }
}

/// Older templates are odd, not wrong: `customer create` brings them up to date.
async fn up_to_date(sql: &mut Sql, templates_dir: &Path, industry: &str) -> Check {
    let mut stale = Vec::new();
    let finding = match schemas::templates(templates_dir, industry) {
        Err(why) => Finding::Odd(why),
        Ok(templates) => {
            for template in &templates {
                if !schemas::is_applied(sql, template).await.unwrap_or(false) {
                    stale.push(template.name.clone());
                }
            }
            if stale.is_empty() {
                Finding::True
            } else {
                Finding::Odd(format!("older: {}", stale.join(", ")))
            }
        }
    };
    Check { what: "the templates are applied as they are on disk".into(), finding }
}
