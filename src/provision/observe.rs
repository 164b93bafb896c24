//! What a customer's own server says of the sessions in a database and of the statements it has counted there.
//!
//! Always holds: nothing is changed; needs no right beyond the role's own, and says where that shows less than all.
//!
//! Source: monitoring-stats#MONITORING-PG-STAT-ACTIVITY-VIEW, pgstatstatements

use super::address::ServerAddress;
use super::client::{Login, Sql, quote_identifier};
use crate::customers::Server;

/// Statements that are read; more than `pg_stat_statements.max` is by default.
const STATEMENTS_MAX: i64 = 100_000;
/// Bytes of a statement's text that are read, as characters.
const TEXT_CHARS_MAX: i32 = 100_000;

/// A session at the server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Present {
    /// The server's process.
    pub pid: i32,
    /// Its role.
    pub role: String,
    /// Where from; absent: not shown to this role.
    pub address: Option<String>,
    /// Its port there.
    pub port: Option<i32>,
    /// As the client says; absent: not shown.
    pub application: Option<String>,
    /// Since when; absent: not shown.
    pub since: Option<String>,
}

/// What the server has counted of a statement.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Counted {
    /// Its text, with values taken out; as the first one of its kind was written.
    pub text: String,
    /// How often it came to an end without an error.
    pub calls: u64,
}

/// What `pg_stat_statements` says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Statements {
    /// Of this role.
    pub own: Vec<Counted>,
    /// Calls of other roles, whose texts are not shown.
    pub others_calls: u64,
    /// When the counters began; a change is a reset.
    pub since: String,
    /// How often entries were thrown out for want of room.
    pub thrown_out: i64,
}

/// A look at a database.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Observed {
    /// Sessions of clients, but for the one that looked.
    pub present: Vec<Present>,
    /// Absent: the extension is not in this database, or not loaded.
    pub statements: Option<Statements>,
}

/// Looks at a database with the customer's role.
///
/// # Errors
/// A sentence.
pub async fn observe(server: &Server, database: &str) -> Result<Observed, String> {
    let mut sql = connect(server, database).await?;
    let present = present(&mut sql).await?;
    let statements = statements(&mut sql).await?;
    Ok(Observed { present, statements })
}

/// The sessions alone.
///
/// # Errors
/// A sentence.
pub async fn sessions(server: &Server, database: &str) -> Result<Vec<Present>, String> {
    present(&mut connect(server, database).await?).await
}

async fn connect(server: &Server, database: &str) -> Result<Sql, String> {
    let user = server.role.as_str();
    let address = ServerAddress {
        host: server.host.clone(),
        port: server.port,
        user: user.to_owned(),
        password: Some(server.password.clone()),
        database: database.to_owned(),
        ssl_mode: server.ssl_mode,
        ssl_root_cert: server.ssl_root_cert.clone(),
    };
    let login = Login { user, password: Some(server.password.expose()), database };
    Ok(Sql::connect(&address, login).await?)
}

async fn present(sql: &mut Sql) -> Result<Vec<Present>, String> {
    let rows = sql
        .rows(
            "SELECT /* onevault */ pid, usename::text, host(client_addr), client_port, application_name, backend_start::text
             FROM pg_stat_activity
             WHERE datname = current_database() AND pid <> pg_backend_pid() AND usesysid IS NOT NULL
               AND coalesce(backend_type, 'client backend') = 'client backend'
             ORDER BY pid",
            &[],
        )
        .await?;
    let mut found = Vec::with_capacity(rows.len());
    for row in rows {
        let wrong = |error: tokio_postgres::Error| error.to_string();
        found.push(Present {
            pid: row.try_get(0).map_err(wrong)?,
            role: row.try_get::<_, Option<String>>(1).map_err(wrong)?.unwrap_or_default(),
            address: row.try_get(2).map_err(wrong)?,
            port: row.try_get(3).map_err(wrong)?,
            application: row.try_get(4).map_err(wrong)?,
            since: row.try_get(5).map_err(wrong)?,
        });
    }
    Ok(found)
}

async fn statements(sql: &mut Sql) -> Result<Option<Statements>, String> {
    let wrong = |error: tokio_postgres::Error| error.to_string();
    let found = sql
        .rows(
            "SELECT /* onevault */ n.nspname::text FROM pg_extension AS e JOIN pg_namespace AS n ON n.oid = e.extnamespace
             WHERE e.extname = 'pg_stat_statements'",
            &[],
        )
        .await?;
    let Some(row) = found.first() else { return Ok(None) };
    let schema = quote_identifier(&row.try_get::<_, String>(0).map_err(wrong)?);
    let has_toplevel = sql
        .is(
            "SELECT /* onevault */ EXISTS (SELECT FROM pg_attribute WHERE attrelid = to_regclass($1) AND attname = 'toplevel')",
            &[&format!("{schema}.pg_stat_statements")],
        )
        .await?;
    let top = if has_toplevel { "AND toplevel" } else { "" };
    let from = format!(
        "FROM {schema}.pg_stat_statements WHERE dbid = (SELECT oid FROM pg_database WHERE datname = current_database()) {top}"
    );
    let own = format!(
        "SELECT /* onevault */ left(min(query), {TEXT_CHARS_MAX}), sum(calls)::bigint {from}
         AND userid = (SELECT oid FROM pg_roles WHERE rolname = current_user) GROUP BY queryid LIMIT {STATEMENTS_MAX}"
    );
    // Installed and not loaded: the view is there and cannot be read.
    let own = match sql.rows(&own, &[]).await {
        Ok(rows) => rows,
        Err(failure) if failure.code.as_deref() == Some("55000") => return Ok(None),
        Err(failure) => return Err(failure.into()),
    };
    let mut statements = Statements::default();
    let wide = |calls: i64| u64::try_from(calls).unwrap_or(0);
    for row in own {
        let text: Option<String> = row.try_get(0).map_err(wrong)?;
        let calls = wide(row.try_get(1).map_err(wrong)?);
        statements.own.push(Counted { text: text.unwrap_or_default(), calls });
    }
    let others = format!(
        "SELECT /* onevault */ coalesce(sum(calls), 0)::bigint {from}
         AND userid <> (SELECT oid FROM pg_roles WHERE rolname = current_user)"
    );
    if let Some(row) = sql.rows(&others, &[]).await?.first() {
        statements.others_calls = wide(row.try_get(0).map_err(wrong)?);
    }
    if has_toplevel {
        let info =
            format!("SELECT /* onevault */ stats_reset::text, dealloc FROM {schema}.pg_stat_statements_info");
        if let Some(row) = sql.rows(&info, &[]).await?.first() {
            statements.since = row.try_get::<_, Option<String>>(0).map_err(wrong)?.unwrap_or_default();
            statements.thrown_out = row.try_get(1).map_err(wrong)?;
        }
    }
    Ok(Some(statements))
}
