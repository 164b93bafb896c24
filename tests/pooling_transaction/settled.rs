//! A statement runs under its own session's settings or not at all: whatever refuses them, cancels or times out meanwhile.
//!
//! Source: sql-set, runtime-config-client#GUC-STATEMENT-TIMEOUT

use std::thread::JoinHandle;
use std::time::Duration;

use serde_json::json;

use crate::support::eventually;
use crate::support::messages::*;
use crate::support::pooled::{Pooled, say};
use crate::support::transcript::lines;
use crate::support::wire::{Login, Wire};

const PERSON: &str = "SELECT current_setting('app.person')";

/// A cancel request that is on its way meanwhile; joined, it is over.
fn cancel_after(wait: Duration, port: u16, key: &(i32, Vec<u8>)) -> JoinHandle<()> {
    let key = key.clone();
    std::thread::spawn(move || {
        std::thread::sleep(wait);
        let mut wire = Wire::plain(port);
        wire.send(&cancel_request(key.0, &key.1));
        assert!(wire.bytes(1).is_empty());
    })
}

/// A language that is loaded meanwhile claims the first half of a setting's name: the server took the setting once and refuses it
/// now. Row-level security may hang on the others.
#[test]
fn nothing_runs_under_another_sessions_settings() {
    let insert = "INSERT INTO seen VALUES (current_setting('app.person', true))";
    let run = all(&[parse("", insert), bind("", "", &[]), execute("", 0), sync()]);
    for request in [query(insert), [run.clone(), run].concat(), all(&[query(insert), query(insert)])] {
        let pooled = Pooled::new("settled");
        let (mut mine, mut other) = (pooled.enter(), pooled.enter());
        other.rows("CREATE TABLE seen (person text)");
        other.rows("SET app.person = 'other'");
        mine.rows("SET app.person = 'mine'");
        mine.rows("SET plpgsql.unheard_of = 'x'");
        other.rows("DO 'BEGIN END'");
        assert_eq!(other.value(PERSON), "other");
        mine.send(&request);
        mine.within(Duration::from_millis(500));
        let persons = other.rows("SELECT person FROM seen WHERE person IS DISTINCT FROM 'mine'");
        assert!(persons.is_empty(), "{persons:?}");
        assert_eq!(other.value(PERSON), "other");
    }
}

/// It waits for the statement it was meant for.
#[test]
fn a_cancel_never_hits_what_brings_settings_up_to_date() {
    let pooled = Pooled::new("settled_cancel");
    let (mut mine, mut other) = (pooled.enter(), pooled.enter());
    mine.rows("SET app.person = 'mine'");
    other.rows("SET app.person = 'other'");
    let (port, key) = (pooled.house.vault.port, mine.key.clone());
    let mut cancelled = 0;
    for round in 0..60 {
        assert_eq!(other.value(PERSON), "other");
        let canceller = cancel_after(Duration::from_micros(round * 20), port, &key);
        let frames = mine.talk(&query(&format!("{PERSON}, pg_sleep(0.02)")));
        canceller.join().unwrap();
        match frames.iter().find(|frame| frame.is_error()) {
            Some(error) => {
                assert_eq!(error.field('C'), "57014", "{}", error.line());
                cancelled += 1;
            }
            None => assert_eq!(frames[1].values()[0].as_deref(), Some("mine")),
        }
    }
    assert!(cancelled > 10, "{cancelled} of 60 were cancelled");
}

/// A session that allows its statements next to no time hurts nobody but itself, and even for itself each is answered.
#[test]
fn a_statement_timeout_is_its_sessions_own() {
    let pooled = Pooled::new("settled_time");
    let hasty = |login: Login| login.with("options", "-c statement_timeout=1ms");
    let mut born_hasty = pooled.house.vault.enter(&hasty(pooled.house.login()));
    let (mut mine, mut other) = (pooled.enter(), pooled.enter());
    mine.rows("SET statement_timeout = '1ms'; SET app.person = 'mine'");
    other.rows("SET app.person = 'other'");
    born_hasty.talk(&query("SET app.person = 'hasty'"));
    for _ in 0..40 {
        assert_eq!(mine.sqlstate("SELECT pg_sleep(0.05)"), "57014");
        assert_eq!(other.value(&format!("{PERSON} FROM pg_sleep(0.003)")), "other");
        let frames = born_hasty.talk(&query(PERSON));
        let answer = frames.iter().find(|frame| frame.is_error());
        assert!(answer.is_none_or(|error| error.field('C') == "57014"), "{frames:?}");
    }
}

/// `transaction_timeout`, which there is since 17, ends a long transaction of the session that set it, busy or idle, as on
/// a connection of its own. Nobody else's is any shorter for it.
#[test]
fn a_transaction_timeout_is_its_sessions_own() {
    let pooled = Pooled::on(18, "settled_span");
    let mut other = pooled.enter();
    let long = "BEGIN; SELECT pg_sleep(0.7); COMMIT";
    for (hasty, limit) in
        [("SET transaction_timeout = '300ms'", None), ("SELECT 1", Some("-c transaction_timeout=300ms"))]
    {
        for busy in ["SELECT pg_sleep(5)", "SELECT 'idle'"] {
            let login = |login: Login| {
                limit.map_or_else(|| login.clone(), |limit| login.clone().with("options", limit))
            };
            let heard = pooled.both_as(&login, |wire, steal| {
                let mut heard = say(wire, &query(hasty));
                for step in ["SHOW transaction_timeout", "SELECT pg_sleep(0.1)"] {
                    steal();
                    heard.extend(say(wire, &query(step)));
                }
                steal();
                heard.extend(say(wire, &query("BEGIN")));
                wire.send(&query(busy));
                heard.extend(lines(&wire.rest()));
                heard
            });
            assert!(heard.last().is_some_and(|line| line.contains("C=25P04")), "{heard:#?}");
            assert_eq!(other.sqlstate(long), "");
            assert_eq!(other.value("SHOW transaction_timeout"), "0");
        }
    }
}

/// What the server is asked between two transactions is not cancelled in the statement's place, and nobody is held for it.
#[test]
fn a_cancel_that_comes_late_holds_nobody() {
    let pooled = Pooled::new("settled_late");
    let mut mine = pooled.enter();
    let (port, key) = (pooled.house.vault.port, mine.key.clone());
    mine.rows("CREATE FUNCTION unknown() RETURNS int LANGUAGE sql RETURN 1");
    for round in 0..60 {
        mine.send(&query("SELECT unknown()"));
        let canceller = cancel_after(Duration::from_micros(round * 30), port, &key);
        let frames = mine.until_ready();
        assert_eq!(frames.last().map(|frame| frame.tag), Some(b'Z'), "the session goes on");
        canceller.join().unwrap();
        assert!(!pooled.pins().iter().any(|pin| pin.contains("unexamined")), "{:?}", pooled.pins());
    }
    pooled.steal();
}

/// What the server is asked between two transactions may wait for a lock, as a statement of the session's own might: that
/// takes its time, and the session loses nothing.
#[test]
fn an_answer_that_is_long_in_coming_loses_nothing() {
    let pooled = Pooled::with("settled_slowly", json!({ "pool": { "scrub_timeout_ms": 200 } }));
    let mut mine = pooled.enter();
    mine.rows("CREATE TEMP TABLE kept AS SELECT 'mine' AS x");
    // What the server is asked behind that is answered before this is.
    mine.rows("SELECT 1");
    let tenant = &pooled.house.tenant;
    let mut other = Wire::plain(tenant.postgres.port);
    other.login(&tenant.postgres.superuser(&tenant.database)).unwrap();
    other.rows("BEGIN; LOCK pg_catalog.pg_depend IN ACCESS EXCLUSIVE MODE");
    mine.rows("SELECT pg_advisory_unlock_all()");
    std::thread::sleep(Duration::from_millis(700));
    other.rows("COMMIT");
    assert_eq!(mine.value("SELECT x FROM kept"), "mine");
}

/// And a client that leaves meanwhile leaves nobody waiting for it.
#[test]
fn who_leaves_while_an_answer_is_long_in_coming_is_gone() {
    let pooled = Pooled::new("settled_alone");
    let tenant = &pooled.house.tenant;
    let mut other = Wire::plain(tenant.postgres.port);
    other.login(&tenant.postgres.superuser(&tenant.database)).unwrap();
    let mut mine = pooled.enter();
    mine.rows("CREATE TEMP TABLE kept AS SELECT 'mine' AS x");
    // What the server is asked behind that is answered before this is.
    mine.rows("SELECT 1");
    other.rows("BEGIN; LOCK pg_catalog.pg_depend IN ACCESS EXCLUSIVE MODE");
    mine.rows("SELECT pg_advisory_unlock_all()");
    let clients = || pooled.house.vault.http("/metrics").lines().any(|line| line == "onevault_clients 0");
    assert!(!clients());
    drop(mine);
    eventually("the session is still there", clients);
    other.rows("COMMIT");
}

/// Whoever makes or drops a schema has every server process read its prepared statements anew. Where it reads one of ours, the
/// transaction has a snapshot, and the client's own `ISOLATION LEVEL` comes too late.
#[test]
fn a_transactions_isolation_can_be_said_first_thing() {
    let pooled = Pooled::new("settled_isolation");
    let (mut mine, mut other) = (pooled.enter(), pooled.enter());
    mine.rows("SET app.person = 'mine'; SET work_mem TO '1MB'; SET \"TimeZone\" TO 'UTC'");
    other.rows("SET app.person = 'other'; SET work_mem TO '2MB'; SET \"TimeZone\" TO 'CET'");
    let mut builders: Vec<Wire> = (0..2).map(|_| pooled.direct()).collect();
    for (number, builder) in builders.iter_mut().enumerate() {
        builder.rows("SET synchronous_commit TO off");
        builder.send(&query(&format!(
            "DO $$ DECLARE start timestamptz := clock_timestamp(); BEGIN
             WHILE clock_timestamp() < start + interval '4 s' LOOP
                 CREATE SCHEMA house_{number}; COMMIT; DROP SCHEMA house_{number}; COMMIT;
             END LOOP; END $$"
        )));
    }
    for _ in 0..100 {
        for wire in [&mut mine, &mut other] {
            let begin = "BEGIN ISOLATION LEVEL SERIALIZABLE";
            let extended = all(&[parse("", begin), bind("", "", &[]), execute("", 0), sync()]);
            for first in
                [query(begin), extended, query("BEGIN; SET TRANSACTION ISOLATION LEVEL SERIALIZABLE")]
            {
                let heard = say(wire, &first);
                assert!(!heard.iter().any(|line| line.contains("Error")), "{heard:#?}");
                assert_eq!(wire.value("SHOW transaction_isolation"), "serializable");
                wire.rows("COMMIT");
            }
        }
    }
    for builder in &mut builders {
        assert!(!builder.until_ready().iter().any(|frame| frame.is_error()));
    }
}
