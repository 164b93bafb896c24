//! What happens at the server as a whole: the role, the database, who may connect to it.
//!
//! Always holds: a database takes no connections before PUBLIC has lost the right to connect; names tell nothing
//! about the customer, because every role of a server can list them. Refuses to know what is inside a database.

use crate::auth::scram::Verifier;
use crate::ids::CustomerId;

use super::Outcome;
use super::address::ServerAddress;
use super::client::{Login, Sql, quote_identifier, quote_literal};
use super::config_yaml::SCRAM_ITERATIONS;
use super::folder::Names;

/// Functions of the templates are written in standard SQL, which 14 was the first to know.
const VERSION_MIN: i32 = 140_000;
/// `invalid_password`
const INVALID_PASSWORD: &str = "28P01";

/// Logs in and sees that this login may make roles and databases.
pub(super) async fn connect(server: &ServerAddress) -> Result<Sql, String> {
    let login = Login {
        user: &server.user,
        password: server.password.as_ref().map(crate::ids::Secret::expose),
        database: &server.database,
    };
    let mut admin = Sql::connect(server, login)
        .await
        .map_err(|failure| format!("cannot log in at {server} as {}: {}", server.user, failure.text))?;
    if !admin.is("SELECT current_setting('server_version_num')::int4 >= $1", &[&VERSION_MIN]).await? {
        return Err(format!("the server at {server} is older than PostgreSQL 14"));
    }
    let may = "SELECT rolsuper OR (rolcreaterole AND rolcreatedb) FROM pg_roles WHERE rolname = current_user";
    if !admin.is(may, &[]).await? {
        return Err(format!("role \"{}\" needs CREATEROLE and CREATEDB", server.user));
    }
    Ok(admin)
}

/// Holds the customer's lock until the connection ends.
pub(super) async fn lock(admin: &mut Sql, id: &CustomerId) -> Result<(), String> {
    let sql = "SELECT pg_try_advisory_lock(hashtextextended('onevault customer ' || $1, 0))";
    if admin.is(sql, &[&id.as_str()]).await? {
        return Ok(());
    }
    Err(format!("another run for customer \"{id}\" is at work at the server; wait for it to end"))
}

/// The customer's role: it may log in and nothing else.
pub(super) async fn role(admin: &mut Sql, names: &Names) -> Result<Outcome, String> {
    let role = names.role.as_str();
    if admin.is("SELECT true FROM pg_roles WHERE rolname = $1", &[&role]).await? {
        return Ok(Outcome::Present(role.to_owned()));
    }
    let quoted = quote_identifier(role);
    let verifier = quote_literal(&verifier(names)?);
    admin
        .run(&format!(
            "CREATE ROLE {quoted} LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION NOBYPASSRLS PASSWORD {verifier}"
        ))
        .await?;
    Ok(Outcome::Made(role.to_owned()))
}

/// The customer's database. It takes no connections until [`rights`] has closed it to others.
pub(super) async fn database(admin: &mut Sql, names: &Names) -> Result<Outcome, String> {
    let (role, database) = (names.role.as_str(), names.database.as_str());
    let owner = admin
        .rows("SELECT pg_get_userbyid(datdba)::text FROM pg_database WHERE datname = $1", &[&database])
        .await?;
    if let Some(row) = owner.first() {
        let owner: String = row.try_get(0).map_err(|error| error.to_string())?;
        if owner == role {
            return Ok(Outcome::Present(database.to_owned()));
        }
        return Err(format!("database \"{database}\" belongs to role \"{owner}\", not to \"{role}\""));
    }
    borrow_role(admin, role).await?;
    let made = admin
        .run(&format!(
            "CREATE DATABASE {} OWNER {} TEMPLATE template0 ENCODING 'UTF8' ALLOW_CONNECTIONS false",
            quote_identifier(database),
            quote_identifier(role)
        ))
        .await;
    return_role(admin, role).await?;
    made?;
    Ok(Outcome::Made(database.to_owned()))
}

/// Takes the right to connect from PUBLIC: at the customer's database, and at those every server has.
pub(super) async fn rights(admin: &mut Sql, names: &Names) -> Result<(Outcome, Vec<String>), String> {
    let (role, database) = (names.role.as_str(), names.database.as_str());
    let ready = "SELECT datallowconn AND NOT has_database_privilege('public', oid, 'CONNECT')
                   AND NOT has_database_privilege('public', oid, 'TEMPORARY')
                 FROM pg_database WHERE datname = $1";
    let mut outcome = Outcome::Present("only the role and superusers may connect".into());
    if !admin.is(ready, &[&database]).await? {
        borrow_role(admin, role).await?;
        let quoted = quote_identifier(database);
        let closed = match admin.run(&format!("REVOKE ALL ON DATABASE {quoted} FROM PUBLIC")).await {
            Ok(()) => admin.run(&format!("ALTER DATABASE {quoted} ALLOW_CONNECTIONS true")).await,
            Err(failure) => Err(failure),
        };
        return_role(admin, role).await?;
        closed?;
        outcome = Outcome::Made("only the role and superusers may connect".into());
    }
    Ok((outcome, close_common_databases(admin).await?))
}

/// `postgres` and `template1` are open to every role of the server until somebody closes them.
async fn close_common_databases(admin: &mut Sql) -> Result<Vec<String>, String> {
    let open = "SELECT datname::text, pg_has_role(datdba, 'USAGE') FROM pg_database
                WHERE datname IN ('postgres', 'template1') AND has_database_privilege('public', oid, 'CONNECT')
                ORDER BY datname";
    let mut warnings = Vec::new();
    for row in admin.rows(open, &[]).await? {
        let name: String = row.try_get(0).map_err(|error| error.to_string())?;
        let owned: bool = row.try_get(1).map_err(|error| error.to_string())?;
        let sql = format!("REVOKE CONNECT ON DATABASE {} FROM PUBLIC", quote_identifier(&name));
        if owned {
            admin.run(&sql).await?;
            warnings.push(format!("every role of the server could connect to database \"{name}\"; now only those that were granted it can"));
        } else {
            warnings.push(format!(
                "every role of the server can connect to database \"{name}\"; its owner should run: {sql}"
            ));
        }
    }
    Ok(warnings)
}

/// Logs in as the role; a password the server does not know is set again from the file.
pub(super) async fn login(
    admin: &mut Sql,
    server: &ServerAddress,
    names: &Names,
) -> Result<(Sql, Outcome), String> {
    let login = Login {
        user: names.role.as_str(),
        password: Some(names.password.expose()),
        database: names.database.as_str(),
    };
    let refused = match Sql::connect(server, login).await {
        Ok(own) => return Ok((own, Outcome::Present("the password is right".into()))),
        Err(failure) => failure,
    };
    if refused.code.as_deref() != Some(INVALID_PASSWORD) {
        return Err(refused.text);
    }
    let role = quote_identifier(names.role.as_str());
    admin.run(&format!("ALTER ROLE {role} PASSWORD {}", quote_literal(&verifier(names)?))).await?;
    let own = Sql::connect(server, login).await?;
    Ok((own, Outcome::Made("the password was set again".into())))
}

fn verifier(names: &Names) -> Result<String, String> {
    Verifier::from_password(names.password.expose(), SCRAM_ITERATIONS)
        .map(|verifier| verifier.to_string())
        .map_err(|error| error.to_string())
}

/// A provisioning login that is no superuser must be a member of a role to give it a database.
async fn borrow_role(admin: &mut Sql, role: &str) -> Result<(), String> {
    let sql = format!("GRANT {} TO CURRENT_USER", quote_identifier(role));
    if is_superuser(admin).await? { Ok(()) } else { Ok(admin.run(&sql).await?) }
}

/// The end of [`borrow_role`].
async fn return_role(admin: &mut Sql, role: &str) -> Result<(), String> {
    let sql = format!("REVOKE {} FROM CURRENT_USER", quote_identifier(role));
    if is_superuser(admin).await? { Ok(()) } else { Ok(admin.run(&sql).await?) }
}

async fn is_superuser(admin: &mut Sql) -> Result<bool, String> {
    Ok(admin.is("SELECT rolsuper FROM pg_roles WHERE rolname = current_user", &[]).await?)
}
