//! The tables of schema `live`: sessions, backends and pools at this moment, with PgBouncer's columns.
//!
//! What always holds: whose rows a table shows is part of the table; what is there is looked at when a query begins to run.

mod columns;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use arrow::array::{ArrayRef, Decimal128Array, Int32Array, RecordBatch, StringArray};
use arrow::datatypes::SchemaRef;
use async_trait::async_trait;
use datafusion::catalog::{MemTable, Session, TableProvider};
use datafusion::error::Result;
use datafusion::logical_expr::{Expr, TableType};
use datafusion::physical_plan::ExecutionPlan;

use columns::Kind;
pub(super) use columns::What;

use crate::config::{Config, PoolMode};
use crate::ids::{CustomerId, SessionId};
use crate::telemetry::live::{Backend, Board, Doing, Pool, Session as Client, Totals};

/// A value; PgBouncer's letters for types are `s`, `i` and `N`.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Value {
    Null,
    Text(String),
    Number(u64),
}

/// The customer and the columns.
type Row = (String, Vec<Value>);

fn text(value: &(impl ToString + ?Sized)) -> Value {
    Value::Text(value.to_string())
}

fn number(value: usize) -> Value {
    Value::Number(u64::try_from(value).unwrap_or(u64::MAX))
}

/// Seconds, and the µs behind them.
fn parts(time: Duration) -> [Value; 2] {
    [Value::Number(time.as_secs()), Value::Number(time.subsec_micros().into())]
}

const fn mode(mode: PoolMode) -> &'static str {
    match mode {
        PoolMode::Session => "session",
        PoolMode::Transaction => "transaction",
    }
}

/// As PgBouncer writes a time.
fn stamp(board: &Board, after: Duration) -> Value {
    let format = time::macros::format_description!("[year]-[month]-[day] [hour]:[minute]:[second] UTC");
    let seconds = i64::try_from(board.wall(after).as_secs()).unwrap_or(i64::MAX);
    let at = time::OffsetDateTime::from_unix_timestamp(seconds).ok();
    at.and_then(|at| at.format(format).ok()).map_or(Value::Null, Value::Text)
}

/// What one pool has at this moment.
#[derive(Debug, Default)]
struct Pooled {
    clients: usize,
    waiting: usize,
    active: usize,
    idle: usize,
    scrubbed: usize,
    waits: Duration,
    mode: Option<PoolMode>,
    server: Option<(String, u16)>,
}

fn pooled(board: &Board) -> BTreeMap<Pool, Pooled> {
    let now = board.now();
    let mut pools: BTreeMap<Pool, Pooled> =
        board.totals().into_keys().map(|pool| (pool, Pooled::default())).collect();
    for backend in board.backends() {
        let pool = pools.entry(backend.pool.clone()).or_default();
        let count = match backend.doing() {
            Doing::Active => &mut pool.active,
            Doing::Idle => &mut pool.idle,
            Doing::Scrubbed => &mut pool.scrubbed,
        };
        *count = count.saturating_add(1);
        pool.mode = Some(backend.mode);
        pool.server = Some((backend.host.clone(), backend.port));
    }
    for client in board.sessions() {
        let pool = pools.entry(client.pool.clone()).or_default();
        pool.mode = Some(client.mode);
        let count = match client.waits_since() {
            Some(since) => {
                pool.waits = pool.waits.max(now.saturating_sub(since));
                &mut pool.waiting
            }
            None => &mut pool.clients,
        };
        *count = count.saturating_add(1);
    }
    pools
}

fn pools(board: &Board) -> Vec<Row> {
    let row = |(pool, now): (Pool, Pooled)| {
        let none = || Value::Number(0);
        let [seconds, micros] = parts(now.waits);
        let values = vec![
            text(&pool.database),
            text(&pool.role),
            number(now.clients),
            number(now.waiting),
            none(),
            none(),
            number(now.active),
            none(),
            none(),
            number(now.idle),
            none(),
            number(now.scrubbed),
            none(),
            seconds,
            micros,
            now.mode.map_or(Value::Null, |now| text(mode(now))),
            Value::Null,
        ];
        (pool.customer.to_string(), values)
    };
    pooled(board).into_iter().map(row).collect()
}

/// What a client and a server have in common.
struct Socket<'a> {
    kind: &'static str,
    user: &'a str,
    pool: &'a Pool,
    state: &'static str,
    address: Option<std::net::SocketAddr>,
    local: Option<std::net::SocketAddr>,
    since: Duration,
    requested: Option<Duration>,
    waits: Duration,
    name: String,
    link: Option<String>,
    process_id: i32,
    tls: &'a str,
    application_name: &'a str,
    number: u64,
}

fn socket(board: &Board, socket: &Socket<'_>) -> Row {
    let ends = |address: Option<std::net::SocketAddr>| match address {
        Some(address) => [text(&address.ip()), Value::Number(address.port().into())],
        None => [Value::Null, Value::Null],
    };
    let ([address, port], [local, local_port]) = (ends(socket.address), ends(socket.local));
    let [seconds, micros] = parts(socket.waits);
    let values = vec![
        text(socket.kind),
        text(socket.user),
        text(&socket.pool.database),
        text("none"),
        text(socket.state),
        address,
        port,
        local,
        local_port,
        stamp(board, socket.since),
        stamp(board, socket.requested.unwrap_or(socket.since)),
        seconds,
        micros,
        Value::Number(0),
        text(&socket.name),
        text(socket.link.as_deref().unwrap_or_default()),
        Value::Number(u64::from(socket.process_id.unsigned_abs())),
        text(socket.tls),
        text(socket.application_name),
        Value::Null,
        Value::Number(socket.number & u64::from(i32::MAX.unsigned_abs())),
    ];
    (socket.pool.customer.to_string(), values)
}

fn clients(board: &Board) -> Vec<Row> {
    let backends = board.backends();
    let with: HashMap<SessionId, &Arc<Backend>> =
        backends.iter().filter_map(|backend| Some((backend.session()?, backend))).collect();
    let now = board.now();
    let row = |client: &Arc<Client>| {
        let link = with.get(&client.number);
        let waits = client.waits_since();
        let state = match (waits, link) {
            (Some(_), _) => "waiting",
            (None, Some(_)) => "active",
            (None, None) => "idle",
        };
        socket(
            board,
            &Socket {
                kind: "C",
                user: client.login.as_str(),
                pool: &client.pool,
                state,
                address: Some(client.client),
                local: client.local,
                since: client.since,
                requested: client.requested(),
                waits: waits.map_or(Duration::ZERO, |since| now.saturating_sub(since)),
                name: format!("c{}", client.number),
                link: link.map(|backend| format!("s{}", backend.number)),
                process_id: 0,
                tls: client.tls.unwrap_or_default(),
                application_name: &client.application_name,
                number: client.number.0,
            },
        )
    };
    board.sessions().iter().map(row).collect()
}

fn servers(board: &Board) -> Vec<Row> {
    let sessions = board.sessions();
    let by_number: HashMap<SessionId, &Arc<Client>> =
        sessions.iter().map(|client| (client.number, client)).collect();
    let row = |backend: &Arc<Backend>| {
        let session = backend.session();
        let client = session.and_then(|session| by_number.get(&session));
        let state = match backend.doing() {
            Doing::Active => "active",
            Doing::Idle => "idle",
            Doing::Scrubbed => "tested",
        };
        socket(
            board,
            &Socket {
                kind: "S",
                user: backend.pool.role.as_str(),
                pool: &backend.pool,
                state,
                address: backend.address,
                local: backend.local,
                since: backend.since,
                requested: client.and_then(|client| client.requested()).or(Some(backend.changed())),
                waits: Duration::ZERO,
                name: format!("s{}", backend.number),
                link: session.map(|session| format!("c{session}")),
                process_id: backend.process_id,
                tls: if backend.is_tls { "TLS" } else { "" },
                application_name: client.map_or("", |client| &client.application_name),
                number: backend.number,
            },
        )
    };
    board.backends().iter().map(row).collect()
}

/// PgBouncer knows no roles here: the sums of a customer's database.
fn by_database(pools: BTreeMap<Pool, Totals>) -> BTreeMap<(String, String), Totals> {
    let mut databases: BTreeMap<(String, String), Totals> = BTreeMap::new();
    for (pool, totals) in pools {
        let sum = databases.entry((pool.customer.to_string(), pool.database.to_string())).or_default();
        *sum = sum.plus(&totals);
    }
    databases
}

fn stats(board: &Board) -> Vec<Row> {
    let (growth, period) = board.growth();
    let growth = by_database(growth);
    let ms = u64::try_from(period.as_millis()).unwrap_or(u64::MAX).max(1);
    let us = |ns: u64| Value::Number(ns.checked_div(1_000).unwrap_or_default());
    let row = |(key, sum): ((String, String), Totals)| {
        let grown = growth.get(&key).copied().unwrap_or_default();
        let rate =
            |grown: u64| Value::Number(grown.saturating_mul(1_000).checked_div(ms).unwrap_or_default());
        let each = |ns: u64, count: u64| us(ns.checked_div(count).unwrap_or_default());
        let (customer, database) = key;
        let values = vec![
            Value::Text(database),
            Value::Number(sum.assignments),
            Value::Number(sum.transactions),
            Value::Number(sum.queries),
            Value::Number(sum.received),
            Value::Number(sum.sent),
            us(sum.transaction_ns),
            us(sum.query_ns),
            us(sum.wait_ns),
            Value::Number(sum.client_parses),
            Value::Number(sum.server_parses),
            Value::Number(sum.binds),
            rate(grown.assignments),
            rate(grown.transactions),
            rate(grown.queries),
            rate(grown.received),
            rate(grown.sent),
            each(grown.transaction_ns, grown.transactions),
            each(grown.query_ns, grown.queries),
            rate(grown.wait_ns.checked_div(1_000).unwrap_or_default()),
            rate(grown.client_parses),
            rate(grown.server_parses),
            rate(grown.binds),
        ];
        (customer, values)
    };
    by_database(board.totals()).into_iter().map(row).collect()
}

fn databases(board: &Board) -> Vec<Row> {
    let row = |(pool, now): (Pool, Pooled)| {
        let backends = now.active.saturating_add(now.idle).saturating_add(now.scrubbed);
        let none = || Value::Number(0);
        let (host, port) = now.server.map_or((Value::Null, Value::Null), |(host, port)| {
            (Value::Text(host), Value::Number(port.into()))
        });
        let values = vec![
            text(&pool.database),
            host,
            port,
            text(&pool.database),
            text(&pool.role),
            none(),
            none(),
            none(),
            none(),
            now.mode.map_or(Value::Null, |now| text(mode(now))),
            Value::Null,
            none(),
            number(backends),
            none(),
            number(now.clients.saturating_add(now.waiting)),
            none(),
            none(),
        ];
        (pool.customer.to_string(), values)
    };
    pooled(board).into_iter().map(row).collect()
}

fn lists(board: &Board, only: Option<&CustomerId>) -> Vec<Row> {
    let is_seen = |pool: &Pool| only.is_none_or(|only| pool.customer == *only);
    let pools: Vec<Pool> = board.totals().into_keys().filter(is_seen).collect();
    let clients: Vec<_> = board.sessions().into_iter().filter(|client| is_seen(&client.pool)).collect();
    let servers: Vec<_> = board.backends().into_iter().filter(|server| is_seen(&server.pool)).collect();
    let databases: BTreeSet<_> = pools.iter().map(|pool| (&pool.customer, &pool.database)).collect();
    let users: BTreeSet<_> = clients.iter().map(|client| (&client.pool.customer, &client.login)).collect();
    let counts = [
        ("databases", databases.len()),
        ("users", users.len()),
        ("peers", 0),
        ("pools", pools.len()),
        ("peer_pools", 0),
        ("free_clients", 0),
        ("used_clients", clients.len()),
        ("login_clients", 0),
        ("free_servers", 0),
        ("used_servers", servers.len()),
        ("dns_names", 0),
        ("dns_zones", 0),
        ("dns_queries", 0),
        ("dns_pending", 0),
    ];
    let customer = only.map(ToString::to_string).unwrap_or_default();
    counts.into_iter().map(|(list, items)| (customer.clone(), vec![text(list), number(items)])).collect()
}

/// Limits of the configuration, by PgBouncer's names: value and default.
#[derive(Debug)]
pub(super) struct Told(Vec<(&'static str, String, String)>);

impl Told {
    pub(super) fn new(config: &Config) -> Self {
        let of = |config: &Config| {
            let (limits, pool) = (&config.limits, &config.pool);
            let seconds = |ms: u64| ms.div_ceil(1_000).to_string();
            [
                ("max_client_conn", limits.clients_max.to_string()),
                ("max_db_connections", limits.server_backends_max.unwrap_or(0).to_string()),
                ("pool_mode", mode(pool.mode).to_owned()),
                ("max_prepared_statements", pool.prepared_statements_max.to_string()),
                ("client_login_timeout", seconds(limits.login_timeout_ms)),
                ("client_idle_timeout", seconds(limits.idle_session_timeout_ms)),
                ("idle_transaction_timeout", seconds(limits.idle_in_transaction_timeout_ms)),
                ("query_timeout", seconds(limits.statement_timeout_ms)),
                ("query_wait_timeout", seconds(pool.wait_timeout_ms)),
                ("server_connect_timeout", seconds(pool.connect_timeout_ms)),
                ("server_idle_timeout", seconds(pool.idle_timeout_ms)),
                ("server_lifetime", seconds(pool.lifetime_ms)),
            ]
        };
        let defaults = of(&Config::default());
        let all = of(config).into_iter().zip(defaults);
        Self(all.map(|((key, value), (_, default))| (key, value, default)).collect())
    }

    /// Of no customer, so that operators see them only.
    fn rows(&self) -> Vec<Row> {
        let row = |(key, value, default): &(&'static str, String, String)| {
            (String::new(), vec![text(key), text(value), text(default), text("no")])
        };
        self.0.iter().map(row).collect()
    }
}

/// A table of schema `live`.
#[derive(Debug)]
pub(super) struct LiveTable {
    what: What,
    board: Arc<Board>,
    told: Arc<Told>,
    only: Option<CustomerId>,
    schema: SchemaRef,
}

impl LiveTable {
    pub(super) fn new(
        what: What,
        (board, told): (&Arc<Board>, &Arc<Told>),
        only: Option<CustomerId>,
    ) -> Self {
        let (board, told) = (Arc::clone(board), Arc::clone(told));
        Self { what, board, told, only, schema: what.schema() }
    }

    fn rows(&self) -> Vec<Row> {
        let mut rows = match self.what {
            What::Pools => pools(&self.board),
            What::Clients => clients(&self.board),
            What::Servers => servers(&self.board),
            What::Stats => stats(&self.board),
            What::Databases => databases(&self.board),
            // Counted of what may be seen.
            What::Lists => return lists(&self.board, self.only.as_ref()),
            What::Config => self.told.rows(),
        };
        rows.retain(|(customer, _)| self.only.as_ref().is_none_or(|only| only.as_str() == customer));
        rows
    }

    fn batch(&self) -> Result<RecordBatch> {
        let rows = self.rows();
        let customers: ArrayRef = Arc::new(StringArray::from_iter_values(rows.iter().map(|(name, _)| name)));
        let mut arrays = vec![customers];
        for (at, (_, kind)) in self.what.columns().iter().enumerate() {
            let cells = || rows.iter().map(move |(_, values)| values.get(at).unwrap_or(&Value::Null));
            let number = |value: &Value| if let Value::Number(number) = value { Some(*number) } else { None };
            arrays.push(match kind {
                Kind::Text => {
                    let texts = cells().map(|value| match value {
                        Value::Text(text) => Some(text.as_str()),
                        Value::Null | Value::Number(_) => None,
                    });
                    Arc::new(texts.collect::<StringArray>())
                }
                Kind::Int4 => {
                    let small = |value| number(value).map(|n| i32::try_from(n).unwrap_or(i32::MAX));
                    Arc::new(cells().map(small).collect::<Int32Array>())
                }
                Kind::Numeric => {
                    let all: Decimal128Array = cells().map(|value| number(value).map(i128::from)).collect();
                    Arc::new(all.with_precision_and_scale(38, 0)?)
                }
            });
        }
        Ok(RecordBatch::try_new(Arc::clone(&self.schema), arrays)?)
    }
}

#[async_trait]
impl TableProvider for LiveTable {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    async fn scan(
        &self,
        state: &dyn Session,
        projection: Option<&Vec<usize>>,
        _filters: &[Expr],
        limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let table = MemTable::try_new(Arc::clone(&self.schema), vec![vec![self.batch()?]])?;
        table.scan(state, projection, &[], limit).await
    }
}
