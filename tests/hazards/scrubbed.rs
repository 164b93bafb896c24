//! A backend that one client had shows nothing of it to the next one.
//!
//! Source: sql-discard

use std::time::{Duration, Instant};

use serde_json::json;

use crate::support::messages::*;
use crate::support::postgres::{ANY, Postgres};
use crate::support::unique;
use crate::support::vault::{Customer, House, MODES, Options, Vault, through};
use crate::support::wire::Wire;

/// A house whose customer has one backend, so that the next client gets the former one's.
fn narrow(word: &str, mode: &str) -> House {
    let tenant = Postgres::shared(ANY).tenant(word);
    let customer = Customer::of(&tenant).pooled(mode).with(json!({ "limits": { "backends_max": 1 } }));
    let vault = Vault::start(Options::new(&[customer]));
    House { vault, tenant }
}

/// Everything a session can see of itself that its predecessor could have left.
const TRACES: &str = "
    SELECT 'user', current_user || '/' || session_user
    UNION ALL SELECT 'setting', name || '=' || setting FROM pg_settings WHERE source = 'session'
    UNION ALL SELECT 'custom', current_setting('trace.of_former', true) WHERE current_setting('trace.of_former', true) <> ''
    UNION ALL SELECT 'prepared', name FROM pg_prepared_statements
    UNION ALL SELECT 'cursor', name FROM pg_cursors
    UNION ALL SELECT 'listening', channel FROM pg_listening_channels() AS channel
    UNION ALL SELECT 'lock', locktype FROM pg_locks WHERE pid = pg_backend_pid() AND locktype = 'advisory'
    UNION ALL SELECT 'temporary', relname::text FROM pg_class WHERE relnamespace = pg_my_temp_schema()
    UNION ALL SELECT 'path', current_schemas(false)::text
    UNION ALL SELECT 'isolation', current_setting('transaction_isolation')
    UNION ALL SELECT 'clock', current_setting('TimeZone') || current_setting('DateStyle') || current_setting('client_encoding')";

fn leave_traces(wire: &mut Wire, role: &str) {
    for sql in [
        "CREATE TEMPORARY TABLE hidden (x int); INSERT INTO hidden VALUES (1)",
        "CREATE TEMPORARY SEQUENCE counted; SELECT nextval('counted')",
        "SELECT nextval('real')",
        "PREPARE by_sql AS SELECT 'former'",
        "DECLARE held CURSOR WITH HOLD FOR SELECT 'former'",
        "SELECT pg_advisory_lock(42), pg_advisory_lock_shared(43)",
        "LISTEN former",
        "SET trace.of_former = 'secret of the former client'",
        "SELECT set_config('search_path', 'pg_catalog', false)",
        "SET statement_timeout = '12s'; SET TIME ZONE 'Asia/Tokyo'; SET client_encoding = 'LATIN1'",
        "SET SESSION CHARACTERISTICS AS TRANSACTION ISOLATION LEVEL SERIALIZABLE",
        &format!("SET ROLE {role}"),
    ] {
        wire.rows(sql);
    }
    wire.talk(&all(&[parse("by_protocol", "SELECT 'former'"), parse("", "SELECT 'unnamed former'"), sync()]));
}

#[test]
fn the_next_client_of_a_backend_sees_nothing_of_the_former_one() {
    for mode in MODES {
        nothing_is_seen(&narrow("former", mode));
    }
}

fn nothing_is_seen(house: &House) {
    let role = unique("former_role");
    house.tenant.sql(&format!("CREATE ROLE {role}; GRANT {role} TO {}", house.tenant.role));
    house.direct().rows("CREATE SEQUENCE real");
    let clean = house.direct().rows(TRACES);
    let mut pids = Vec::new();
    for goodbye in 0..4 {
        let mut wire = house.enter();
        assert_eq!(wire.rows(TRACES), clean, "session {goodbye}");
        assert_eq!(wire.sqlstate("SELECT lastval()"), "55000");
        assert_eq!(wire.sqlstate("SELECT currval('real')"), "55000");
        assert_eq!(wire.sqlstate("SELECT * FROM hidden"), "42P01");
        for name in ["by_protocol", ""] {
            let frames = wire.talk(&all(&[bind("", name, &[]), execute("", 0), sync()]));
            assert_eq!(
                frames[0].field('C'),
                "26000",
                "a statement of the former client: {}",
                frames[0].line()
            );
        }
        pids.push(wire.value("SELECT pg_backend_pid()"));
        leave_traces(&mut wire, &role);
        match goodbye {
            0 => wire.send(&terminate()),
            1 => wire.vanish(),
            // A statement that failed is no reason to keep anything.
            2 => assert_eq!(wire.sqlstate("SELECT 1/0"), "22012"),
            _ => {}
        }
        drop(wire);
    }
    pids.dedup();
    assert_eq!(pids.len(), 1, "the backend was given on: {pids:?}");
    house.tenant.sql(&format!("DROP ROLE {role}"));
}

/// The scrub is done before the client sees the end: whoever waits for the end finds the locks free.
#[test]
fn what_a_client_held_is_free_when_its_connection_is_closed() {
    for mode in MODES {
        let house = narrow("held", mode);
        for round in 0..5 {
            let mut wire = house.enter();
            wire.rows("SELECT pg_advisory_lock(7); CREATE TEMPORARY TABLE x (a int)");
            wire.send(&terminate());
            assert!(wire.rest().is_empty());
            let mut other = house.direct();
            assert_eq!(other.value("SELECT pg_try_advisory_lock(7)"), "t", "{mode}, round {round}");
        }
    }
}

/// A startup setting is its client's default: it comes back with RESET and goes with its client.
#[test]
fn startup_settings_are_never_seen_by_others() {
    for mode in MODES {
        defaults_are_kept_apart(&narrow("defaults", mode));
    }
}

fn defaults_are_kept_apart(house: &House) {
    let login = house
        .login()
        .with("options", "-c statement_timeout=77s -c search_path=pg_catalog")
        .with("DateStyle", "German");
    let mut wire = house.vault.enter(&login);
    wire.rows("SET statement_timeout = 0; SET DateStyle = 'ISO'; RESET ALL");
    let seen = "SELECT current_setting('statement_timeout') || current_setting('search_path') || current_setting('DateStyle')";
    assert_eq!(wire.value(seen), "77spg_catalogGerman, DMY");
    wire.rows("DISCARD ALL");
    assert_eq!(wire.value(seen), "77spg_catalogGerman, DMY");
    drop(wire);
    assert_eq!(house.enter().value(seen), house.direct().value(seen));
    assert_eq!(house.vault.enter(&login).value(seen), "77spg_catalogGerman, DMY");
}

/// A message for the former client is never delivered to the next one.
#[test]
fn a_notification_goes_to_its_listener_only() {
    for mode in MODES {
        listener_is_told(mode);
    }
}

fn listener_is_told(mode: &str) {
    let house = narrow("notified", mode);
    let mut wire = house.enter();
    wire.rows("LISTEN news");
    let pid = wire.value("SELECT pg_backend_pid()");
    let true_pid: i64 = pid.parse().unwrap();
    if mode == "session" {
        assert_eq!(i64::from(wire.key.0), true_pid, "the pid is the true one");
    }
    let mut sender = house.direct();
    let sender_pid: i64 = sender.value("SELECT pg_backend_pid()").parse().unwrap();
    sender.rows("NOTIFY news, 'for the listener'");
    let heard = wire.until(|frame| frame.tag == b'A');
    assert_eq!(heard.last().unwrap().line(), "B NotificationResponse news for the listener");
    assert_eq!(heard.last().unwrap().number(), sender_pid, "sent by the sender's true pid");
    // Its own come with the transaction's end, and say its own pid.
    let own = wire.talk(&query("NOTIFY news, 'own'"));
    let own = own.iter().find(|frame| frame.tag == b'A').expect("its own notification");
    assert_eq!(own.number(), true_pid);
    wire.send(&terminate());
    sender.rows("NOTIFY news, 'too late'");
    let mut next = house.enter();
    sender.rows("NOTIFY news, 'for nobody'");
    assert!(next.within(Duration::from_millis(150)).is_empty());
    assert_eq!(next.value("SELECT pg_backend_pid()"), pid);
}

/// A backend that was killed while it lay in the pool is replaced without anybody seeing it.
#[test]
fn a_backend_that_died_idle_is_replaced_unseen() {
    for mode in MODES {
        let house = narrow("idle", mode);
        for _ in 0..3 {
            dies_idle(&house);
        }
    }
}

fn dies_idle(house: &House) {
    let pid = {
        let mut wire = house.enter();
        let pid = wire.value("SELECT pg_backend_pid()");
        wire.send(&terminate());
        wire.rest();
        pid
    };
    house.tenant.sql(&format!("SELECT pg_terminate_backend({pid})"));
    let begun = Instant::now();
    while house.tenant.sql(&format!("SELECT 1 FROM pg_stat_activity WHERE pid = {pid}")).len() == 1 {
        assert!(begun.elapsed() < Duration::from_secs(5));
    }
    let mut wire = house.enter();
    assert_ne!(wire.value("SELECT pg_backend_pid()"), pid);
}

/// Two customers on one server: whatever the other's database is called by, it is not reached.
#[test]
fn no_client_reaches_a_database_of_another_customer() {
    let server = Postgres::shared(ANY);
    let (one, two) = (server.tenant("wall_one"), server.tenant("wall_two"));
    two.direct().rows("CREATE TABLE secrets (x text); INSERT INTO secrets VALUES ('of two')");
    let vault = Vault::start(Options::new(&[Customer::of(&one), Customer::of(&two)]));
    let mut names = vec![
        two.database.clone(),
        two.database.to_uppercase(),
        "postgres".to_owned(),
        "template1".to_owned(),
    ];
    names.push(format!("{} ", one.database));
    names.push(format!("{}\u{200b}", one.database));
    names.push(format!("{}/../{}", one.database, two.database));
    names.push(format!("postgresql://{}:x@127.0.0.1:{}/{}", two.role, server.port, two.database));
    names.push(format!("dbname={} host=127.0.0.1", two.database));
    for name in names {
        let mut login = through(&one);
        login.database.clone_from(&name);
        let error = Wire::plain(vault.port).login(&login).expect_err(&name);
        assert!(["28P01", "3D000"].contains(&error.field('C').as_str()), "{name}: {}", error.line());
    }
    // Hints that disagree: another customer's name in options, in the parameter, in the user.
    for (name, value) in [
        ("options", format!("-c onevault.customer={}", two.role)),
        ("options", format!("--onevault.customer={}", two.role)),
        ("onevault.customer", two.role.clone()),
        ("OneVault.Customer", two.role.clone()),
    ] {
        let error =
            Wire::plain(vault.port).login(&through(&one).with(name, &value)).expect_err("they disagree");
        assert_eq!(error.field('C'), "28P01", "{}", error.line());
    }
    let mut inside = vault.enter(&through(&one));
    assert_eq!(inside.value("SELECT current_database()"), one.database);
    assert_eq!(inside.value("SELECT rolsuper FROM pg_roles WHERE rolname = session_user"), "f");
    for sql in [
        "COPY (SELECT 1) TO PROGRAM 'true'",
        "ALTER SYSTEM SET work_mem = '1MB'",
        "SELECT pg_read_file('PG_VERSION')",
    ] {
        assert_eq!(inside.sqlstate(sql), "42501", "{sql}");
    }
    assert_eq!(inside.sqlstate(&format!("SET SESSION AUTHORIZATION {}", two.role)), "42501");
    assert_eq!(inside.sqlstate(&format!("SET ROLE {}", two.role)), "42501");
    drop((inside, vault));
}

/// The host of the TLS hello names a customer as well as the user does: both must name the same one.
#[test]
fn a_host_name_and_a_user_that_disagree_reach_nobody() {
    let server = Postgres::shared(ANY);
    let (one, two) = (server.tenant("host_one"), server.tenant("host_two"));
    let owner = Customer::of(&two).with(json!({ "domains": ["localhost"] }));
    let vault = Vault::start(Options::new(&[Customer::of(&one), owner]));
    let enter = |login| {
        let mut wire = Wire::tls(vault.port, "localhost", &vault.ca()).unwrap();
        wire.login(&login).map(|()| wire.value("SELECT current_database()"))
    };
    assert_eq!(enter(two.login()).unwrap(), two.database, "the host names the customer");
    assert_eq!(enter(through(&two)).unwrap(), two.database, "both name it");
    assert_eq!(enter(through(&one)).unwrap_err().field('C'), "28P01", "they disagree");
    assert_eq!(
        vault.enter(&through(&one)).value("SELECT current_database()"),
        one.database,
        "no host, no quarrel"
    );
    drop(vault);
}
