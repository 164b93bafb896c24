//! What a session left behind, asked of a real server.

use super::cluster::{Cluster, ask};
use super::liar::Liar;
use super::*;
use crate::backend::wire::Conversation;
use crate::backend::{Findings, ScrubError};

/// The oldest and the newest that are tried.
const VERSIONS: [&str; 2] = ["15", "18"];

/// What makes a finding, the finding, and what ends it.
type Case = (&'static str, fn(&mut Findings), &'static str);

const CASES: [Case; 11] = [
    ("SELECT 1", |_| {}, "SELECT 1"),
    ("CREATE TEMP TABLE t (a int)", |found| found.temporary_object = true, "DROP TABLE t"),
    (
        "CREATE FUNCTION pg_temp.f() RETURNS int LANGUAGE sql AS 'SELECT 1'",
        |found| found.temporary_object = true,
        "DROP FUNCTION pg_temp.f()",
    ),
    ("DECLARE c CURSOR WITH HOLD FOR SELECT 1", |found| found.held_cursor = true, "CLOSE c"),
    ("SELECT pg_advisory_lock(1, 2)", |found| found.advisory_lock = true, "SELECT pg_advisory_unlock(1, 2)"),
    (
        "SELECT pg_advisory_lock_shared(3)",
        |found| found.advisory_lock = true,
        "SELECT pg_advisory_unlock_all()",
    ),
    ("LISTEN news", |found| found.listen = true, "UNLISTEN news"),
    ("PREPARE p AS SELECT 1", |found| found.sql_prepare = true, "DEALLOCATE p"),
    ("SET ROLE small", |found| found.role = true, "RESET ROLE"),
    (
        "SET application_name = 'a,b=c'",
        |found| found.settings.insert(0, (b"application_name"[..].into(), b"a,b=c"[..].into())),
        "RESET application_name",
    ),
    ("BEGIN; SET TRANSACTION READ ONLY; SET LOCAL work_mem = '8MB'; COMMIT", |_| {}, "SELECT 1"),
];

/// A role without rights, and a schema whose names lie.
const SETUP: &str = "CREATE SCHEMA evil; GRANT USAGE ON SCHEMA evil TO small; \
    CREATE FUNCTION evil.no(oid, oid) RETURNS bool LANGUAGE sql AS 'SELECT false'; \
    CREATE OPERATOR evil.= (FUNCTION = evil.no, LEFTARG = oid, RIGHTARG = oid); \
    CREATE FUNCTION evil.pg_my_temp_schema() RETURNS oid LANGUAGE sql AS 'SELECT 0::oid'; \
    CREATE VIEW evil.pg_cursors AS SELECT true AS is_holdable";

async fn house(cluster: &Cluster) -> (Backend, Pools, Lease) {
    let to = destination(cluster.server(SslMode::Disable), "postgres");
    let mut owner = dial(&to, &Settings::default()).await.unwrap();
    let role =
        format!("CREATE ROLE small LOGIN PASSWORD '{}'", cluster.server(SslMode::Disable).password.expose());
    ask(&mut owner, &role).await.unwrap();
    ask(&mut owner, SETUP).await.unwrap();
    let server = Server { role: RoleName::parse("small").unwrap(), ..cluster.server(SslMode::Disable) };
    let pools = Pools::new(config(|_| {}));
    let lease = pools.lend(&customer("one", None), &destination(server, "postgres")).await.unwrap();
    (owner, pools, lease)
}

#[tokio::test]
async fn each_reason_is_found_while_it_lasts() {
    for version in VERSIONS {
        each_reason_is_found_on(version).await;
    }
}

async fn each_reason_is_found_on(version: &str) {
    let cluster = Cluster::of(version);
    let (_owner, _pools, mut lease) = house(&cluster).await;
    ask(&mut lease, "SET search_path = evil, pg_catalog").await.unwrap();
    for (make, change, end) in CASES {
        for (sql, change) in [(make, change), (end, |_| {})] {
            ask(&mut lease, sql).await.unwrap();
            let mut expected = Findings::default();
            expected.settings.push((b"search_path"[..].into(), b"evil, pg_catalog"[..].into()));
            change(&mut expected);
            let mut seen = lease.examine(&[]).await.unwrap();
            seen.settings.sort();
            assert_eq!(seen, expected, "after {sql} on {version}");
        }
    }
}

/// Settings with a dot are in no view; who knows their names is told their values, in whatever encoding, quoting and case.
#[tokio::test]
async fn settings_of_ones_own_are_found_by_their_names() {
    for version in VERSIONS {
        let cluster = Cluster::of(version);
        let (_owner, _pools, mut lease) = house(&cluster).await;
        let sql = "SET client_encoding = latin1; SET app.who = 'it''s, \\ = me'; SELECT set_config('App.Empty', '', false); \
            BEGIN; SET LOCAL app.local = 'gone'; COMMIT";
        ask(&mut lease, sql).await.unwrap();
        let names = ["app.who", "app.empty", "app.local", "app.never", "not a name.at 'all"];
        let own = lease.examine(&names.map(|name| name.as_bytes().into())).await.unwrap().own;
        let own: Vec<_> =
            own.iter().map(|(name, value)| [name, value].map(|text| String::from_utf8_lossy(text))).collect();
        assert_eq!(own, [["app.who", "it's, \\ = me"], ["app.empty", ""], ["app.local", ""]], "on {version}");
    }
}

/// `SET SESSION AUTHORIZATION` is found; a role that every login gets is not, but its absence is.
#[tokio::test]
async fn users_and_roles_are_those_of_a_login_or_found() {
    for version in VERSIONS {
        users_and_roles_are_found_on(version).await;
    }
}

async fn users_and_roles_are_found_on(version: &str) {
    let cluster = Cluster::of(version);
    let (mut owner, _pools, _) = house(&cluster).await;
    let settings = "CREATE ROLE other; GRANT other TO small; ALTER ROLE small SET role = 'postgres'; \
        ALTER ROLE small IN DATABASE postgres SET role = 'other'";
    ask(&mut owner, settings).await.unwrap();
    let server = Server { role: RoleName::parse("small").unwrap(), ..cluster.server(SslMode::Disable) };
    let mut small = dial(&destination(server, "postgres"), &Settings::default()).await.unwrap();
    let by_owner = [
        ("SET SESSION AUTHORIZATION small", true),
        ("RESET SESSION AUTHORIZATION", false),
        ("SET ROLE small", true),
        ("RESET ROLE", false),
    ];
    let by_small = [("SELECT 1", false), ("SET ROLE NONE", true), ("RESET ROLE", false)];
    for (backend, steps) in [(&mut owner, &by_owner[..]), (&mut small, &by_small[..])] {
        for (sql, expected) in steps {
            ask(backend, sql).await.unwrap();
            let found = crate::backend::examine::examine(backend, &[]).await.unwrap();
            assert_eq!(found.role, *expected, "after {sql} on {version}");
        }
    }
}

/// What the client holds outlives the question, what came meanwhile is kept, and a refusal leaves the backend in step.
#[tokio::test]
async fn a_session_does_not_notice_that_it_is_examined() {
    for version in VERSIONS {
        nothing_is_noticed_on(version).await;
    }
}

async fn nothing_is_noticed_on(version: &str) {
    let cluster = Cluster::of(version);
    let (mut owner, _pools, mut lease) = house(&cluster).await;
    // Parse of the unnamed statement, Sync; later Bind, Execute, Sync.
    assert_eq!(talk(&mut lease, b"P\0\0\0\x13\0SELECT 4711\0\0\0S\0\0\0\x04").await, b"1Z");
    lease.examine(&[]).await.unwrap();
    let execute = b"B\0\0\0\x0c\0\0\0\0\0\0\0\0E\0\0\0\x09\0\0\0\0\0S\0\0\0\x04";
    assert_eq!(talk(&mut lease, execute).await, b"2DCZ");
    ask(&mut lease, "LISTEN news").await.unwrap();
    ask(&mut owner, "NOTIFY news, 'for the session'").await.unwrap();
    tokio::time::sleep(Duration::from_millis(50)).await;
    let aside = lease.examine(&[]).await.unwrap().aside;
    assert!(aside.starts_with(b"A") && aside.ends_with(b"for the session\0"), "{aside:?}");
    ask(&mut owner, "REVOKE SELECT ON pg_catalog.pg_cursors FROM PUBLIC").await.unwrap();
    let refused = lease.examine(&[]).await.unwrap_err();
    assert!(matches!(refused, ScrubError::Refused { .. }), "{refused}");
    assert_eq!(ask(&mut lease, "SELECT 1").await.unwrap(), ["1"]);
    let names = "SELECT count(*) FROM pg_prepared_statements WHERE name <> ''";
    assert_eq!(ask(&mut lease, names).await.unwrap(), ["0"], "nothing of ours is left");
}

/// What the server says unasked right behind its answer is the session's, even where a part of it comes later.
#[tokio::test]
async fn nothing_is_lost_that_comes_right_behind_the_answer() {
    const NEWS: &[u8] = b"A\0\0\0\x11\0\0\0\x07news\0one\0";
    let liar = Liar::new(|talk| {
        talk.login()?;
        for _ in 0..2 {
            while talk.message()?.0 != b'S' {}
        }
        let row = [&[0, 8][..], &b"\0\0\0\x01f".repeat(6), &[0xff; 8]].concat();
        let answer = [b"1\0\0\0\x042\0\0\0\x04D\0\0\0\x2c", &row[..], b"C\0\0\0\x0dSELECT 1\0"].concat();
        let ready = b"Z\0\0\0\x05I";
        talk.send(&[&answer[..], ready, b"3\0\0\0\x04", ready, NEWS, &NEWS[..9]].concat())?;
        std::thread::sleep(Duration::from_millis(50));
        talk.send(&NEWS[9..])
    });
    let pools = Pools::new(config(|_| {}));
    let to = destination(server(liar.port, SslMode::Disable), "postgres");
    let mut lease = pools.lend(&customer("one", None), &to).await.unwrap();
    let found = lease.examine(&[]).await.unwrap();
    assert_eq!(found, Findings { aside: NEWS.repeat(2), ..Findings::default() });
}

/// Sends messages and gives the types of those that answer, up to `ReadyForQuery`.
async fn talk(backend: &mut Backend, messages: &[u8]) -> Vec<u8> {
    let mut conversation = Conversation::new(&mut backend.stream, 1 << 16);
    conversation.send(messages).await.unwrap();
    let mut seen = Vec::new();
    while seen.last() != Some(&b'Z') {
        seen.push(conversation.next().await.unwrap().tag);
    }
    seen
}
