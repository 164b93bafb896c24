//! tokio-postgres: the driver of many Rust programs, through OneVault as directly, and every statement counted.

use std::collections::HashMap;
use std::future::poll_fn;
use std::time::Duration;

use futures_util::{SinkExt, StreamExt, TryStreamExt, pin_mut};
use tokio::sync::mpsc::{Receiver, channel};
use tokio_postgres::error::SqlState;
use tokio_postgres::{AsyncMessage, Client, Config, IsolationLevel, NoTls, SimpleQueryMessage};

use crate::support::counting;
use crate::support::pooled::{is_transaction, patient, pooled, thief_login};
use crate::support::postgres::{Postgres, Tenant};
use crate::support::thief::{SCENE, Thief};
use crate::support::vault::{Customer, Options, Vault, through};

/// With transaction pooling: the session that listens keeps one.
const BACKENDS_MAX: u32 = 2;

/// What its connections begin with, in the driver's order: the thief begins alike, to have the same backends.
const BEGINS_WITH: [(&str, &str); 3] =
    [("client_encoding", "UTF8"), ("options", "-c work_mem=5MB"), ("application_name", "tokio round")];

async fn connect(config: &Config) -> (Client, Receiver<AsyncMessage>) {
    let (client, mut connection) = config.connect(NoTls).await.unwrap();
    let (heard, hear) = channel(64);
    tokio::task::spawn_local(async move {
        while let Some(Ok(message)) = poll_fn(|cx| connection.poll_message(cx)).await {
            let _ = heard.send(message).await;
        }
    });
    (client, hear)
}

async fn types_and_statements(client: &Client) {
    let row = client
        .query_one(
            "SELECT $1::int8, $2::text, $3::bytea, $4::bool, $5::float8, $6::int4[], NULL::text",
            &[&7_i64, &"ü☃", &&b"\0\xff"[..], &true, &0.5_f64, &vec![1_i32, 2]],
        )
        .await
        .unwrap();
    assert_eq!(
        (row.get::<_, i64>(0), row.get::<_, &str>(1), row.get::<_, &[u8]>(2)),
        (7, "ü☃", &b"\0\xff"[..])
    );
    assert_eq!((row.get::<_, Vec<i32>>(5), row.get::<_, Option<&str>>(6)), (vec![1, 2], None));
    let statement = client.prepare("SELECT $1::int4 * 2").await.unwrap();
    for number in 0..30_i32 {
        assert_eq!(client.query_one(&statement, &[&number]).await.unwrap().get::<_, i32>(0), number * 2);
    }
    // Sent without waiting for each other.
    let many = (0..50_i32).map(|number| {
        let statement = &statement;
        async move { client.query_one(statement, &[&number]).await.unwrap().get::<_, i32>(0) }
    });
    let answers = futures_util::future::join_all(many).await;
    assert!(answers.into_iter().eq((0..50).map(|number| number * 2)));
    let simple = client.simple_query("SELECT 1; SELECT 'two'").await.unwrap();
    assert_eq!(simple.iter().filter(|message| matches!(message, SimpleQueryMessage::Row(_))).count(), 2);
}

async fn transactions(client: &mut Client) {
    client.batch_execute("CREATE TABLE work (id int PRIMARY KEY, note text)").await.unwrap();
    let mut outer =
        client.build_transaction().isolation_level(IsolationLevel::Serializable).start().await.unwrap();
    outer.execute("INSERT INTO work VALUES (1, 'kept')", &[]).await.unwrap();
    let inner = outer.savepoint("middle").await.unwrap();
    let error = inner.execute("INSERT INTO work VALUES (1, 'twice')", &[]).await.unwrap_err();
    assert_eq!(error.code(), Some(&SqlState::UNIQUE_VIOLATION));
    inner.rollback().await.unwrap();
    let portal = outer.bind("SELECT generate_series(1, 10)", &[]).await.unwrap();
    assert_eq!(outer.query_portal(&portal, 4).await.unwrap().len(), 4);
    assert_eq!(outer.query_portal(&portal, 0).await.unwrap().len(), 6);
    outer.commit().await.unwrap();
    assert_eq!(client.query_one("SELECT count(*) FROM work", &[]).await.unwrap().get::<_, i64>(0), 1);
    let error = client.query("SELECT 1 / 0", &[]).await.unwrap_err();
    assert_eq!(error.code(), Some(&SqlState::DIVISION_BY_ZERO));
}

async fn copying(client: &Client) {
    client.batch_execute("CREATE TABLE bulk (id int, body text)").await.unwrap();
    let sink = client.copy_in("COPY bulk FROM STDIN").await.unwrap();
    pin_mut!(sink);
    for number in 0..20_000 {
        sink.send(bytes::Bytes::from(format!("{number}\trow\n"))).await.unwrap();
    }
    assert_eq!(sink.finish().await.unwrap(), 20_000);
    let out = client.copy_out("COPY bulk TO STDOUT").await.unwrap();
    assert_eq!(out.try_fold(0, async |rows, _| Ok(rows + 1)).await.unwrap(), 20_000);
    let rows = client.query_raw("SELECT body FROM bulk", Vec::<String>::new()).await.unwrap();
    assert_eq!(rows.count().await, 20_000);
}

async fn cancels_and_news(
    client: &Client,
    config: &Config,
    news: &mut Receiver<AsyncMessage>,
    has_its_own_pid: bool,
) {
    let token = client.cancel_token();
    let (slept, ()) = tokio::join!(client.query("SELECT pg_sleep(30)", &[]), async {
        tokio::time::sleep(Duration::from_millis(300)).await;
        token.cancel_query(NoTls).await.unwrap();
    });
    assert_eq!(slept.unwrap_err().code(), Some(&SqlState::QUERY_CANCELED));
    client.batch_execute("LISTEN news").await.unwrap();
    let (other, _hear) = connect(config).await;
    let pid: i32 = other.query_one("SELECT pg_backend_pid()", &[]).await.unwrap().get(0);
    other.batch_execute("NOTIFY news, 'hello'").await.unwrap();
    let told = loop {
        if let Some(AsyncMessage::Notification(told)) = news.recv().await {
            break told;
        }
    };
    assert_eq!((told.channel(), told.payload()), ("news", "hello"));
    if has_its_own_pid {
        assert_eq!(told.process_id(), pid);
    }
    let large = "x".repeat(10 << 20);
    assert_eq!(client.query_one("SELECT $1::text", &[&large]).await.unwrap().get::<_, String>(0), large);
}

fn round(tenant: &Tenant, port: u16, user: &str, has_its_own_pid: bool) {
    let mut config = Config::new();
    config.host("127.0.0.1").port(port).user(user).password(&tenant.password).dbname(&tenant.database);
    for (name, value) in BEGINS_WITH {
        match name {
            "options" => config.options(value),
            "application_name" => config.application_name(value),
            _ => &mut config,
        };
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    tokio::task::LocalSet::new().block_on(&runtime, async {
        let (mut client, mut news) = connect(&config).await;
        let shown: HashMap<String, String> = HashMap::from([("work_mem".into(), "5MB".into())]);
        for (name, value) in shown {
            assert_eq!(
                client.query_one(&format!("SHOW {name}"), &[]).await.unwrap().get::<_, String>(0),
                value
            );
        }
        types_and_statements(&client).await;
        transactions(&mut client).await;
        copying(&client).await;
        cancels_and_news(&client, &config, &mut news, has_its_own_pid).await;
        client.batch_execute("DROP TABLE work, bulk").await.unwrap();
    });
}

fn counted(version: u32) -> Tenant {
    let postgres = Postgres::shared(version);
    let tenant = postgres.tenant("tokio");
    tenant.direct().rows(SCENE);
    postgres.sql("postgres", &format!("ALTER ROLE {} SET log_statement = 'all'", tenant.role));
    tenant
}

#[test]
fn works_directly() {
    for version in [15, 18] {
        let tenant = counted(version);
        round(&tenant, tenant.postgres.port, &tenant.role, true);
    }
}

#[test]
fn works_through_onevault() {
    for version in [15, 18] {
        let tenant = counted(version);
        let customer = pooled(Customer::of(&tenant), &tenant.verifier(), BACKENDS_MAX);
        let mut vault = Vault::start(Options::new(&[customer]).with(patient()));
        let mut login = thief_login(&tenant);
        login.settings.extend(BEGINS_WITH.map(|(name, value)| (name.into(), value.into())));
        let loose = is_transaction().then(|| Thief::new(vault.port, login).loose());
        round(&tenant, vault.port, &through(&tenant).user, !is_transaction());
        if let Some(loose) = loose {
            counting::was_robbed(&format!("tokio-postgres on {version}"), &tenant, loose.catch());
        }
        vault.stop();
        let at_server = counting::at_server(tenant.postgres, &tenant.role, &tenant.database);
        counting::are_the_same(
            &format!("tokio-postgres on {version}"),
            &at_server,
            &counting::in_log(&vault),
        );
    }
}
