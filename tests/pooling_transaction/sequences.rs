//! `lastval()` and `currval()` answer with what the session itself did, never with another one's values, and never forget.
//!
//! Source: functions-sequence

use crate::support::both::count;
use crate::support::messages::*;
use crate::support::pooled::{Pooled, is_transaction, say};

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
            heard.extend(say(wire, &query(text)));
        }
        heard
    });
    assert_eq!(count(&heard, "B ErrorResponse"), 0, "{heard:#?}");
}

/// Message by message in one transaction, on a backend where somebody else has just stepped sequences: the very first time.
#[test]
fn values_of_a_transaction_are_right_the_first_time() {
    let said = |sql: &str| all(&[parse("", sql), bind("", "", &[]), execute("", 0)]);
    for number in 0..3 {
        let pooled = Pooled::new(&format!("firstly_{number}"));
        pooled.direct().rows(SCENE);
        let mut wire = pooled.enter();
        pooled.steal_and_leave();
        let batches: &[Vec<u8>] = match number {
            0 => &[
                query("BEGIN"),
                query("INSERT INTO t (x) VALUES (1)"),
                query("SELECT lastval(), currval('t_id_seq')"),
            ],
            1 => &[
                all(&[said("BEGIN"), sync()]),
                all(&[said("INSERT INTO t (x) VALUES (1)"), sync()]),
                all(&[said("SELECT lastval(), currval('t_id_seq')"), sync()]),
            ],
            // A batch that a simple query ends: one transaction, which nothing of ours may part.
            _ => &[
                query("BEGIN"),
                all(&[said("SELECT 1"), query("INSERT INTO t (x) VALUES (1)")]),
                query("SELECT lastval(), currval('t_id_seq')"),
            ],
        };
        let heard: Vec<_> = batches.iter().flat_map(|batch| say(&mut wire, batch)).collect();
        assert!(heard.contains(&"B DataRow 1|1".to_owned()), "{heard:#?}");
        // Another session's is not among them.
        assert_eq!(wire.sqlstate("SELECT currval('thief.stolen')"), "55000");
        wire.rows("ROLLBACK");
    }
}

/// What discards the values of others comes before no statement that must be the first of its transaction.
#[test]
fn a_transaction_is_set_before_its_first_query() {
    let pooled = Pooled::new("first_of_all");
    pooled.direct().rows(SCENE);
    pooled.steal();
    let heard = pooled.stolen_sql(&[
        "BEGIN",
        "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ; INSERT INTO t (x) VALUES (1)",
        "SHOW transaction_isolation",
        "COMMIT",
        "SET TRANSACTION ISOLATION LEVEL SERIALIZABLE; INSERT INTO t (x) VALUES (2)",
        "BEGIN; SET TRANSACTION ISOLATION LEVEL SERIALIZABLE; INSERT INTO t (x) VALUES (3); COMMIT",
    ]);
    assert_eq!(count(&heard, "B ErrorResponse"), 0, "{heard:#?}");
}

/// Nobody was there in between: what a session left in one transaction is there in the next, the very first time.
#[test]
fn values_stay_on_a_backend_that_nobody_took() {
    let pooled = Pooled::of("lonely", 4, serde_json::json!({}));
    pooled.direct().rows(SCENE);
    let (mut wire, mut other) = (pooled.enter(), pooled.enter());
    // A backend more, which has been used last when the session comes back.
    wire.rows("BEGIN");
    other.rows("SELECT 1");
    wire.rows("INSERT INTO t (x) VALUES (1); COMMIT");
    assert_eq!(wire.value("SELECT lastval()"), "1");
    assert_eq!(wire.value("SELECT currval('t_id_seq')"), "1");
}

/// The first question of a customer's sessions may come too late: then it is answered as on a connection where nothing has
/// stepped, and never with another one's value. From then on what a session steps stays with it.
#[test]
fn a_value_that_is_lost_is_an_error_and_the_last_to_be_lost() {
    let pooled = Pooled::new("lost");
    pooled.direct().rows(SCENE);
    let mut wire = pooled.enter();
    let first = wire.value("SELECT nextval('s')");
    pooled.steal_and_leave();
    if is_transaction() {
        assert_eq!(wire.sqlstate("SELECT currval('s')"), "55000");
        assert_eq!(wire.sqlstate("SELECT lastval()"), "55000");
    } else {
        assert_eq!(wire.value("SELECT currval('s')"), first);
    }
    // It was told nothing and holds nothing.
    pooled.steal_and_leave();
    let second = wire.value("SELECT nextval('s')");
    pooled.assert_held("sequence");
    assert_eq!(wire.value("SELECT currval('s')"), second);
    wire.rows("DISCARD SEQUENCES");
    pooled.steal_and_leave();
    assert_eq!(wire.sqlstate("SELECT lastval()"), "55000");
    // Another session of the same customer is held from its first step.
    let mut other = pooled.enter();
    let third = other.value("SELECT nextval('s')");
    pooled.assert_held("sequence");
    assert_eq!(other.value("SELECT lastval()"), third);
}

/// Steps that no text shows, by a trigger or behind a view, are as much one's own as those that are seen.
#[test]
fn unseen_steps_are_kept_apart() {
    for (word, step) in [("trigger", "UPDATE watched SET x = 2"), ("view", "TABLE stepping")] {
        let pooled = Pooled::new(word);
        pooled.direct().rows(SCENE);
        pooled.direct().rows(
            "CREATE TABLE watched AS SELECT 1 AS x;
             CREATE FUNCTION steps() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN PERFORM nextval('s2'); RETURN new; END$$;
             CREATE TRIGGER steps BEFORE UPDATE ON watched FOR EACH ROW EXECUTE FUNCTION steps();
             CREATE VIEW stepping AS SELECT nextval('s2') AS x",
        );
        let (mut one, mut two) = (pooled.enter(), pooled.enter());
        let own = one.value("SELECT nextval('s')");
        two.rows(step);
        for (text, expected) in [("SELECT lastval()", Some(own)), ("SELECT currval('s2')", None)] {
            let heard = one.talk(&query(text));
            let found =
                heard.iter().find(|frame| frame.tag == b'D').and_then(|frame| frame.values().remove(0));
            let expected = expected.filter(|_| !is_transaction());
            assert_eq!(found, expected, "{text} after {step}");
        }
    }
}

/// A session's older values on a backend that it comes back to are no answer either.
#[test]
fn stale_values_of_ones_own_are_no_answer() {
    let pooled = Pooled::of("stale", 2, serde_json::json!({ "pool": { "wait_timeout_ms": 15_000 } }));
    pooled.direct().rows(SCENE);
    let (mut one, mut other) = (pooled.enter(), pooled.enter());
    one.rows("SELECT nextval('s')");
    let first = one.value("SELECT pg_backend_pid()");
    // The other takes the first backend, so that the one goes to the second.
    other.rows("BEGIN");
    let taken = other.value("SELECT pg_backend_pid()");
    let newest = one.value("SELECT nextval('s')");
    other.rows("COMMIT");
    let last = one.talk(&query("SELECT currval('s')"));
    let answered: Vec<_> = last
        .iter()
        .filter(|frame| frame.tag == b'D')
        .map(crate::support::transcript::Frame::values)
        .collect();
    assert!(answered.is_empty() || answered[0] == [Some(newest)], "{answered:?}, on {first} and {taken}");
}

/// A sequence that gives a backend several values at a time still counts upwards for each session.
#[test]
fn cached_values_never_go_back() {
    let pooled = Pooled::of("cached", 2, serde_json::json!({ "pool": { "wait_timeout_ms": 15_000 } }));
    pooled.direct().rows("CREATE SEQUENCE many CACHE 20");
    let mut wires = [pooled.enter(), pooled.enter(), pooled.enter()];
    let mut last = [0_u64; 3];
    for round in 0..30 {
        for (number, wire) in wires.iter_mut().enumerate() {
            // Who comes next has the other backend.
            if (round + number) % 2 == 0 {
                wire.rows("BEGIN");
            }
            let value: u64 = wire.value("SELECT nextval('many')").parse().unwrap();
            assert!(value > last[number], "{value} after {} in round {round}", last[number]);
            last[number] = value;
        }
        wires.iter_mut().for_each(|wire| drop(wire.rows("COMMIT")));
    }
}

/// Transactions apart, with a theft between, where it is known that this customer asks.
#[test]
fn values_are_not_lost_between_transactions() {
    let pooled = Pooled::new("apart");
    assert_eq!(pooled.enter().sqlstate("SELECT lastval()"), "55000");
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
        let heard = pooled.both(|wire, _| {
            wire.rows("DROP TABLE IF EXISTS t; DROP SEQUENCE IF EXISTS s, s2");
            wire.rows(SCENE);
            let mut heard = Vec::new();
            for step in &steps {
                heard.extend(say(wire, step));
                // What it stepped itself would hold the backend for the thief.
                let _ = pooled.try_steal_and_leave();
            }
            heard
        });
        assert_eq!(count(&heard, "B ErrorResponse"), 0, "round {round}: {heard:#?}");
    }
}

/// What asks for a last value without a word of it in the statement, how it is made, and how it asks.
const HIDDEN: [(&str, &str, &str); 4] = [
    (
        "default",
        "CREATE TABLE asking (x int, y bigint DEFAULT currval('s'))",
        "INSERT INTO asking (x) VALUES (1) RETURNING y",
    ),
    ("view", "CREATE VIEW asking AS SELECT currval('s')", "TABLE asking"),
    (
        "function",
        "CREATE FUNCTION asking() RETURNS bigint LANGUAGE plpgsql AS $$BEGIN RETURN lastval(); END$$",
        "SELECT asking()",
    ),
    (
        "trigger",
        "CREATE TABLE asking AS SELECT 0::bigint AS x;
         CREATE FUNCTION asks() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN new.x := currval(''s''); RETURN new; END';
         CREATE TRIGGER asks BEFORE UPDATE ON asking FOR EACH ROW EXECUTE FUNCTION asks()",
        "UPDATE asking SET x = 1 RETURNING x",
    ),
];

/// It was made by another session of the same customer: what asks is known by the text that made it.
#[test]
fn what_is_made_to_ask_later_loses_no_value() {
    for (word, make, ask) in HIDDEN {
        let pooled = Pooled::new(&format!("made_{word}"));
        pooled.direct().rows(SCENE);
        pooled.enter().rows(make);
        pooled.steal_and_leave();
        let mut wire = pooled.enter();
        for text in ["SELECT nextval('s')", "SELECT setval('s', 41); SELECT nextval('s')"] {
            let stepped = wire.talk(&query(text));
            let last = stepped.iter().rfind(|frame| frame.tag == b'D').map(|frame| frame.values()[0].clone());
            pooled.assert_held("sequence");
            assert_eq!(Some(Some(wire.value(ask))), last, "{word}");
        }
    }
}

/// It was made where nobody has seen it: the first value may be lost, with an error, and no other.
#[test]
fn what_was_made_elsewhere_to_ask_loses_one_value() {
    for (word, make, ask) in HIDDEN {
        let pooled = Pooled::new(&format!("elsewhere_{word}"));
        pooled.direct().rows(SCENE);
        pooled.direct().rows(make);
        let mut wire = pooled.enter();
        let first = wire.value("SELECT nextval('s')");
        pooled.steal_and_leave();
        if is_transaction() {
            assert_eq!(wire.sqlstate(ask), "55000", "{word}");
        } else {
            assert_eq!(wire.value(ask), first, "{word}");
        }
        for mut wire in [wire, pooled.enter()] {
            let value = wire.value("SELECT nextval('s')");
            pooled.assert_held("sequence");
            assert_eq!(wire.value(ask), value, "{word}");
        }
    }
}

/// A function that is not known steps: the first value that is asked for may be lost, with an error, and no other.
#[test]
fn what_a_function_steps_is_lost_once() {
    let pooled = Pooled::new("called");
    pooled.direct().rows(SCENE);
    pooled.direct().rows(
        "CREATE FUNCTION steps() RETURNS bigint LANGUAGE plpgsql AS $$BEGIN RETURN nextval('s'); END$$",
    );
    let mut wire = pooled.enter();
    let first = wire.value("SELECT steps()");
    pooled.steal_and_leave();
    if is_transaction() {
        assert_eq!(wire.sqlstate("SELECT currval('s')"), "55000");
    } else {
        assert_eq!(wire.value("SELECT currval('s')"), first);
    }
    for mut wire in [wire, pooled.enter()] {
        let value = wire.value("SELECT steps()");
        pooled.assert_held("sequence");
        assert_eq!(wire.value("SELECT currval('s')"), value);
        wire.rows("DISCARD SEQUENCES");
        pooled.steal_and_leave();
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
