//! `lastval()` and `currval()` answer with what the session itself did, never with another one's values, and never forget.
//!
//! Source: functions-sequence

use crate::support::both::count;
use crate::support::messages::*;
use crate::support::pooled::Pooled;

/// The thief steps sequences of its own and of the same session state with every theft.
const SCENE: &str = "CREATE SEQUENCE s; CREATE SEQUENCE s2; CREATE TABLE t (id serial, g int GENERATED ALWAYS AS IDENTITY, x int)";

#[test]
fn a_new_session_knows_no_last_value() {
    let pooled = Pooled::new("unknown");
    pooled.direct().rows(SCENE);
    for text in ["SELECT lastval()", "SELECT currval('s')", "SELECT currval('thief.stolen')"] {
        pooled.steal_and_leave();
        assert_eq!(pooled.enter().sqlstate(text), "55000", "{text}");
    }
    pooled.steal_and_leave();
    let mut wire = pooled.enter();
    wire.rows("SELECT 1");
    pooled.steal_and_leave();
    assert_eq!(wire.sqlstate("SELECT currval('thief.stolen')"), "55000");
    assert_eq!(wire.sqlstate("SELECT lastval()"), "55000");
}

/// The usual way: in one transaction, or in one statement.
#[test]
fn values_within_a_transaction_are_right() {
    let pooled = Pooled::new("within");
    let heard = pooled.both(|wire, _| {
        wire.rows("DROP TABLE IF EXISTS t; DROP SEQUENCE IF EXISTS s, s2");
        wire.rows(SCENE);
        let mut heard = Vec::new();
        for text in [
            "BEGIN; SELECT nextval('s'); SELECT currval('s'), lastval(); COMMIT",
            "INSERT INTO t (x) VALUES (1); SELECT lastval()",
            "BEGIN; INSERT INTO t (x) VALUES (2), (3); SELECT currval('t_id_seq'), lastval(); ROLLBACK",
            "SELECT setval('s2', 50); SELECT currval('s2')",
        ] {
            heard.extend(crate::support::pooled::say(wire, &query(text)));
        }
        heard
    });
    assert_eq!(count(&heard, "B ErrorResponse"), 0, "{heard:#?}");
}

/// Transactions apart, with a theft between: the very first time that a session of this customer asks, and ever after.
#[test]
fn values_are_not_lost_between_transactions() {
    let pooled = Pooled::new("apart");
    let steps: Vec<Vec<u8>> = [
        "SELECT nextval('s')",
        "SELECT currval('s')",
        "SELECT lastval()",
        "INSERT INTO t (x) VALUES (1)",
        "SELECT lastval(), currval('t_id_seq'), currval('s')",
        "SELECT setval('s', 77)",
        "SELECT currval('s'), lastval()",
        "SELECT nextval('s2')",
        "SELECT currval('s'), currval('s2'), lastval()",
        "INSERT INTO t (x) SELECT generate_series(1, 3)",
        "BEGIN; SELECT nextval('s'); ROLLBACK",
        "SELECT currval('s'), currval('t_id_seq'), lastval()",
    ]
    .map(query)
    .into();
    for round in 0..3 {
        // A session that has asked may hold its backend, so that thefts are tried and not demanded.
        let heard = pooled.both(|wire, _| {
            wire.rows("DROP TABLE IF EXISTS t; DROP SEQUENCE IF EXISTS s, s2");
            wire.rows(SCENE);
            let mut heard = Vec::new();
            for step in &steps {
                heard.extend(crate::support::pooled::say(wire, step));
                let _ = pooled.try_steal();
            }
            heard
        });
        assert_eq!(count(&heard, "B ErrorResponse"), 0, "round {round}: {heard:#?}");
    }
}

/// Two sessions of one customer, each with its own last values, on backends that go round.
#[test]
fn two_sessions_never_mix_their_values() {
    let pooled = Pooled::of("mixed", 3, serde_json::json!({ "pool": { "wait_timeout_ms": 15_000 } }));
    pooled.direct().rows("CREATE SEQUENCE s1; CREATE SEQUENCE s2 START 1000001");
    // One asks before anybody does anything: from then on it is known that this customer asks.
    assert_eq!(pooled.enter().sqlstate("SELECT lastval()"), "55000");
    let (mut one, mut two) = (pooled.enter(), pooled.enter());
    let loose = pooled.loose();
    for round in 0..20 {
        let first = one.value("SELECT nextval('s1')");
        let second = two.value("SELECT nextval('s2')");
        assert_eq!(two.value("SELECT lastval()"), second, "round {round}");
        assert_eq!(one.value("SELECT lastval()"), first, "round {round}");
        assert_eq!(one.value("SELECT currval('s1')"), first, "round {round}");
        assert_eq!(one.sqlstate("SELECT currval('s2')"), "55000");
    }
    loose.catch();
}
