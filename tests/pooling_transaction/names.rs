//! Prepared statements of the extended protocol belong to their session, by whatever name, on whatever backend.
//!
//! Source: protocol-flow#PROTOCOL-FLOW-EXT-QUERY, sql-deallocate, sql-discard

use serde_json::json;

use crate::support::both::{count, says};
use crate::support::messages::*;
use crate::support::pooled::{Pooled, is_transaction, say};

fn run(name: &str, values: &[Option<&str>]) -> Vec<u8> {
    all(&[bind("", name, values), execute("", 0)])
}

/// Runs a named statement in a batch of its own.
fn once(name: &str) -> Vec<u8> {
    all(&[run(name, &[]), sync()])
}

#[test]
fn a_statement_goes_with_its_session() {
    let pooled = Pooled::new("goes");
    pooled.stolen(&[
        all(&[parse("s1", "SELECT 'mine'"), sync()]),
        once("s1"),
        all(&[describe_statement("s1"), sync()]),
        all(&[parse_typed("s2", "SELECT $1, $2::text AS b", &[23]), describe_statement("s2"), sync()]),
        all(&[
            run("s2", &[Some("7"), None]),
            run("s1", &[]),
            describe_portal(""),
            run("s2", &[Some("8"), Some("x")]),
            sync(),
        ]),
        all(&[
            bind("p1", "s2", &[Some("9"), Some("y")]),
            describe_portal("p1"),
            execute("p1", 0),
            close_portal("p1"),
            sync(),
        ]),
        // Parsed, described, run and closed, each behind a theft.
        all(&[parse("_p1", "SELECT 1 AS one"), sync()]),
        all(&[describe_statement("_p1"), sync()]),
        once("_p1"),
        all(&[close_statement("_p1"), sync()]),
        once("_p1"),
        // Texts that say nothing, and BEGIN and COMMIT as drivers prepare them.
        all(&[parse("a", ""), parse("b", "BEGIN"), parse("c", "COMMIT"), sync()]),
        all(&[run("a", &[]), run("b", &[]), sync()]),
        all(&[run("s1", &[]), sync()]),
        all(&[run("c", &[]), sync()]),
        once("s1"),
    ]);
}

/// Two sessions and the thief give one name to three texts.
#[test]
fn one_name_is_three_statements() {
    let pooled = Pooled::new("three");
    let (mut one, mut two) = (pooled.enter(), pooled.enter());
    for name in ["s1", "S_1", ""] {
        says(&mut one, &[parse(name, "SELECT 'one'"), sync()], 1);
        says(&mut two, &[parse(name, "SELECT 'two'"), sync()], 1);
        for _ in 0..3 {
            for (wire, expected) in [(&mut one, "B DataRow one"), (&mut two, "B DataRow two")] {
                let heard = says(wire, &[once(name)], 1);
                assert!(heard.contains(&expected.to_owned()), "{name:?}: {heard:#?}");
                pooled.steal();
            }
        }
    }
}

/// One text with one name in many sessions is parsed once for all of them, and closed by each for itself.
#[test]
fn one_text_of_many_sessions_is_closed_by_each_for_itself() {
    let pooled = Pooled::new("one_text");
    let mut wires: Vec<_> = (0..5).map(|_| pooled.enter()).collect();
    for wire in &mut wires {
        says(wire, &[parse("s1", "SELECT 'shared'"), sync()], 1);
    }
    while let Some(mut wire) = wires.pop() {
        says(&mut wire, &[close_statement("s1"), sync()], 1);
        assert_eq!(count(&says(&mut wire, &[once("s1")], 1), "B ErrorResponse S=ERROR C=26000"), 1);
        for other in &mut wires {
            assert_eq!(count(&says(other, &[once("s1")], 1), "B DataRow shared"), 1);
        }
        pooled.steal();
    }
}

/// A name in use is refused in the server's words with the client's own name, and keeps its text; so are unknown names.
#[test]
fn errors_say_the_clients_own_names() {
    let pooled = Pooled::new("own_names");
    let heard = pooled.stolen(&[
        all(&[parse("s1", "SELECT 'first'"), sync()]),
        all(&[parse("s1", "SELECT 'second'"), run("s1", &[]), sync()]),
        once("s1"),
        all(&[parse("s1", "SELECT 'first'"), sync()]),
        all(&[run("s1", &[]), parse("s1", "SELECT 'third'"), run("s1", &[]), sync(), run("s1", &[]), sync()]),
        once("never there"),
        all(&[describe_statement("never there"), sync()]),
        all(&[close_statement("never there"), sync()]),
        all(&[bind("", "s1", &[Some("too many")]), sync()]),
        all(&[
            parse("s\"2", "SELECT $1::int"),
            bind("", "s\"2", &[Some("no number")]),
            execute("", 0),
            sync(),
        ]),
        query("EXECUTE nothing"),
        query("DEALLOCATE nothing"),
        once("s1"),
    ]);
    assert_eq!(
        count(&heard, "B ErrorResponse S=ERROR C=42P05 M=prepared statement \"s1\" already exists"),
        3,
        "{heard:#?}"
    );
    assert_eq!(
        count(&heard, "B ErrorResponse S=ERROR C=26000 M=prepared statement \"never there\" does not exist"),
        2
    );
    assert!(heard.iter().all(|line| !line.contains("_ov_")), "{heard:#?}");
}

/// A Parse that fails, alone or behind another failure, leaves no name behind; one that was there stays.
#[test]
fn a_failed_parse_is_forgotten() {
    let pooled = Pooled::new("forgotten");
    let heard = pooled.stolen(&[
        all(&[parse("s1", "SELEC"), sync()]),
        once("s1"),
        all(&[parse("s1", "SELECT nothing"), parse("s2", "SELECT 2"), sync()]),
        once("s1"),
        once("s2"),
        all(&[run("", &[]), parse("s3", "SELECT 3"), sync()]),
        once("s3"),
        all(&[parse("s3", "SELECT 'now'"), run("s3", &[]), parse("s3", "SELEC"), sync()]),
        once("s3"),
        // In an implicit transaction that is taken back: names are not.
        all(&[
            parse("s4", "SELECT 4"),
            parse("", "SELECT 1/0"),
            run("", &[]),
            parse("s5", "SELECT 5"),
            sync(),
        ]),
        once("s4"),
        once("s5"),
        // The unnamed one: a failed Parse leaves none.
        all(&[parse("", "SELECT 'unnamed'"), sync()]),
        once(""),
        all(&[parse("", "SELEC"), sync()]),
        once(""),
        // Several batches on their way at once.
        all(&[parse("s6", "SELEC"), sync(), parse("s6", "SELECT 6"), sync(), run("s6", &[]), sync()]),
        all(&[
            close_statement("s6"),
            parse("s6", "SELEC"),
            sync(),
            run("s6", &[]),
            sync(),
            parse("s6", "SELECT 66"),
            sync(),
        ]),
        once("s6"),
    ]);
    assert!(heard.contains(&"B DataRow 66".to_owned()), "{heard:#?}");
}

/// The unnamed statement outlives Sync and theft, is replaced by the next one, and goes with a simple query.
#[test]
fn the_unnamed_statement_outlives_a_theft() {
    let pooled = Pooled::new("unnamed");
    let heard = pooled.stolen(&[
        all(&[parse("", "SELECT 'first'"), sync()]),
        once(""),
        once(""),
        all(&[describe_statement(""), sync()]),
        all(&[parse_typed("", "SELECT $1", &[23]), sync()]),
        all(&[run("", &[Some("5")]), run("", &[Some("6")]), sync()]),
        all(&[close_statement(""), sync()]),
        once(""),
        all(&[parse("", "SELECT 'second'"), sync()]),
        query("SELECT 'simple'"),
        once(""),
        all(&[parse("", "SELECT 'third'"), sync()]),
        query(""),
        once(""),
        all(&[parse("", "SELECT 'fourth'"), run("", &[]), query("SELECT 'between'"), run("", &[]), sync()]),
    ]);
    assert_eq!(count(&heard, "B DataRow first"), 2, "{heard:#?}");
}

/// DEALLOCATE of a statement that could not be parsed any more ends it all the same, and no transaction with it.
#[test]
fn a_statement_whose_table_is_gone_can_be_deallocated() {
    let pooled = Pooled::new("gone");
    let heard = pooled.stolen(&[
        query("CREATE TABLE gone (a int)"),
        all(&[parse("s1", "SELECT * FROM gone"), parse("s2", "SELECT a FROM gone"), sync()]),
        query("DROP TABLE gone"),
        query("BEGIN"),
        query("DEALLOCATE s1"),
        query("SELECT 'goes on'"),
        query("COMMIT"),
        once("s1"),
        query("BEGIN"),
        query("SELECT 1/0"),
        query("DEALLOCATE s2"),
        all(&[parse("", "DEALLOCATE s2"), bind("", "", &[]), execute("", 0), sync()]),
        query("ROLLBACK"),
        all(&[parse("", "DEALLOCATE s2"), bind("", "", &[]), execute("", 0), sync()]),
        once("s2"),
        all(&[parse("s1", "SELECT 'new'"), parse("s2", "SELECT 'too'"), sync()]),
        once("s1"),
        once("s2"),
    ]);
    assert_eq!(count(&heard, "B CommandComplete DEALLOCATE"), 2, "{heard:#?}");
}

/// SQL may speak of one statement while the table of another is gone: nobody hears less than there is to hear.
#[test]
fn a_statement_whose_table_is_gone_hides_no_other() {
    let pooled = Pooled::new("hidden");
    let by_protocol = |sql: &str| all(&[parse("", sql), bind("", "", &[]), execute("", 0), sync()]);
    let made = [
        query("CREATE TABLE hidden (a int)"),
        all(&[
            parse("s1", "SELECT a FROM hidden"),
            parse("s2", "SELECT 'second'"),
            parse("s3", "SELECT 'third'"),
            sync(),
        ]),
        query("DROP TABLE hidden"),
    ];
    let ways: [fn(&str) -> Vec<u8>; 2] = [query, by_protocol];
    for ask in ways {
        let mut wire = pooled.enter();
        made.iter().for_each(|step| drop(say(&mut wire, step)));
        pooled.steal();
        let heard = say(&mut wire, &ask("EXECUTE s3"));
        // In a batch, what cannot be parsed again fails it once, and says so.
        if count(&heard, "B ErrorResponse") > 0 {
            assert_eq!(count(&heard, "B ErrorResponse S=ERROR C=42P01"), 1, "{heard:#?}");
        }
        for (name, said) in [("s2", "second"), ("s3", "third"), ("s2", "second")] {
            let heard = say(&mut wire, &ask(&format!("EXECUTE {name}")));
            assert_eq!(count(&heard, &format!("B DataRow {said}")), 1, "{heard:#?}");
            let heard = say(&mut wire, &once(name));
            assert_eq!(count(&heard, &format!("B DataRow {said}")), 1, "{heard:#?}");
        }
        assert_eq!(count(&say(&mut wire, &once("s1")), "B ErrorResponse"), 1);
    }
}

/// What EXECUTE returns is settled when it is parsed, described and bound: the statement it names is there by then, on whichever backend.
#[test]
fn an_execute_by_the_protocol_returns_what_it_names() {
    let pooled = Pooled::new("executes");
    let heard = pooled.tried(&[
        all(&[parse("s1", "SELECT 'named' AS x"), sync()]),
        all(&[
            parse("", "EXECUTE s1"),
            describe_statement(""),
            bind("", "", &[]),
            describe_portal(""),
            execute("", 0),
            sync(),
        ]),
        query("DISCARD PLANS"),
        all(&[bind("", "", &[]), execute("", 0), sync()]),
        all(&[parse("e", "EXECUTE s1"), sync()]),
        query("DISCARD PLANS"),
        all(&[describe_statement("e"), bind("", "e", &[]), execute("", 0), sync()]),
        all(&[
            parse("s2", "SELECT 'other'"),
            parse("", "EXECUTE s2"),
            bind("", "", &[]),
            execute("", 0),
            sync(),
        ]),
        query("DISCARD PLANS"),
        once("e"),
    ]);
    assert_eq!(count(&heard, "B DataRow named"), 3, "{heard:#?}");
    assert_eq!(count(&heard, "B DataRow other"), 1, "{heard:#?}");
}

/// DEALLOCATE and DISCARD take away what the protocol has named, and the thief's names stay.
#[test]
fn deallocate_takes_own_names_only() {
    let pooled = Pooled::new("deallocate");
    let mut other = pooled.enter();
    says(&mut other, &[parse("s1", "SELECT 'other'"), sync()], 1);
    pooled.stolen(&[
        all(&[parse("s1", "SELECT 1"), parse("S 1", "SELECT 2"), parse("S_1", "SELECT 3"), sync()]),
        query("DEALLOCATE s1"),
        once("s1"),
        query("DEALLOCATE PREPARE \"S 1\""),
        once("S 1"),
        query("DEALLOCATE S_1"),
        query("DEALLOCATE \"S_1\"; SELECT 'behind'"),
        once("S_1"),
        all(&[parse("s1", "SELECT 4"), parse("s2", "SELECT 5"), sync()]),
        query("BEGIN; DEALLOCATE s1; ROLLBACK"),
        once("s1"),
        all(&[parse("d", "DEALLOCATE ALL"), sync()]),
        all(&[run("d", &[]), sync()]),
        once("s2"),
        once("d"),
        all(&[parse("s1", "SELECT 6"), parse("s2", "SELECT 7"), sync()]),
        query("DEALLOCATE ALL"),
        once("s1"),
        all(&[parse("s1", "SELECT 8"), sync()]),
        query("DISCARD PLANS"),
        once("s1"),
        query("DISCARD ALL;"),
        once("s1"),
        all(&[parse("s1", "SELECT 9"), sync()]),
        once("s1"),
        query("SELECT 1; DISCARD ALL"),
        once("s1"),
    ]);
    let heard = says(&mut other, &[once("s1")], 1);
    assert!(heard.contains(&"B DataRow other".to_owned()), "{heard:#?}");
}

/// Names of the protocol and names of SQL are the same names.
#[test]
fn names_of_sql_and_of_the_protocol_are_the_same() {
    let pooled = Pooled::new("same_names");
    let listed = "SELECT name, statement, from_sql FROM pg_prepared_statements ORDER BY name";
    pooled.both(|wire, steal| {
        let mut heard = Vec::new();
        heard.extend(say(wire, &all(&[parse("s1", "SELECT 1"), sync()])));
        steal();
        for step in [
            query("EXECUTE s1"),
            query("PREPARE s1 AS SELECT 2"),
            query("PREPARE s2 AS SELECT 2"),
            once("s2"),
            all(&[parse("s2", "SELECT 3"), sync()]),
            query(listed),
            all(&[close_statement("s2"), sync()]),
            query("EXECUTE s2"),
            query("DEALLOCATE s1"),
            query(listed),
        ] {
            heard.extend(say(wire, &step));
        }
        heard
    });
    pooled.steal();
}

/// More statements than a backend keeps: each is there when it is wanted, alone and many in one pipeline.
#[test]
fn more_statements_than_are_kept_are_all_there() {
    let changes =
        if is_transaction() { json!({ "pool": { "prepared_statements_max": 5 } }) } else { json!({}) };
    let pooled = Pooled::with("evicted", changes);
    let names: Vec<String> = (0..40).map(|number| format!("n{number}")).collect();
    let mut steps = vec![];
    for (number, name) in names.iter().enumerate() {
        steps.push(all(&[parse(name, &format!("SELECT {number} + $1::int4")), sync()]));
    }
    for round in ["1", "2"] {
        for name in names.iter().rev().step_by(3) {
            steps.push(all(&[run(name, &[Some(round)]), sync()]));
        }
    }
    // All in one batch, and with a failure in its middle, behind which nothing of ours may be left owed.
    steps.push(all(&[names.iter().flat_map(|name| run(name, &[Some("3")])).collect(), sync()]));
    let failing = names
        .iter()
        .enumerate()
        .flat_map(|(number, name)| run(name, &[Some(if number == 17 { "no number" } else { "4" })]));
    steps.push(all(&[failing.collect(), sync(), run("n3", &[Some("5")]), sync()]));
    // A portal of one statement while others come and go.
    steps.push(query("BEGIN"));
    steps.push(all(&[
        parse("many", "SELECT generate_series(1, 9)"),
        bind("open", "many", &[]),
        execute("open", 2),
        flush(),
        sync(),
    ]));
    steps.push(all(&[
        names.iter().flat_map(|name| run(name, &[Some("6")])).collect(),
        execute("open", 2),
        sync(),
    ]));
    steps.push(all(&[close_statement("many"), execute("open", 0), sync()]));
    steps.push(query("COMMIT"));
    for name in &names {
        steps.push(all(&[run(name, &[Some("7")]), close_statement(name), run(name, &[Some("8")]), sync()]));
    }
    pooled.stolen(&steps);
}

/// A changed table is 0A000 for whoever knew it before, once; whoever comes new to the same text gets the new shape.
#[test]
fn a_changed_table_is_new_for_new_users() {
    let pooled = Pooled::new("reshaped");
    pooled.direct().rows("CREATE TABLE shape (a int); INSERT INTO shape VALUES (1)");
    let text = "SELECT * FROM shape";
    let (mut old, mut idle) = (pooled.enter(), pooled.enter());
    for wire in [&mut old, &mut idle] {
        says(wire, &[parse("s1", text), describe_statement("s1"), sync()], 1);
        says(wire, &[once("s1")], 1);
    }
    pooled.direct().rows("ALTER TABLE shape ADD b int DEFAULT 2");
    let mut new = pooled.enter();
    let heard = says(&mut new, &[parse("s9", text), describe_statement("s9"), run("s9", &[]), sync()], 1);
    assert!(heard.contains(&"B DataRow 1|2".to_owned()), "{heard:#?}");
    for wire in [&mut old, &mut idle] {
        pooled.steal();
        // It was told of one column: two would be read wrongly.
        assert_eq!(count(&says(wire, &[once("s1")], 1), "B ErrorResponse S=ERROR C=0A000"), 1);
        says(wire, &[close_statement("s1"), parse("s1", text), sync()], 1);
        pooled.steal();
        let heard = says(wire, &[once("s1")], 1);
        assert!(heard.contains(&"B DataRow 1|2".to_owned()), "{heard:#?}");
    }
    // The table is made anew: the text still means it.
    pooled
        .direct()
        .rows("DROP TABLE shape; CREATE TABLE shape (a int, b int); INSERT INTO shape VALUES (3, 4)");
    for wire in [&mut old, &mut idle, &mut new] {
        let name = if count(&says(wire, &[describe_statement("s9"), sync()], 1), "B RowDescription") == 1 {
            "s9"
        } else {
            "s1"
        };
        let heard = says(wire, &[once(name)], 1);
        assert!(heard.contains(&"B DataRow 3|4".to_owned()), "{heard:#?}");
        pooled.steal();
    }
}

/// A literal is read by the settings that held when its statement was parsed, whoever else parsed the same text by others.
#[test]
fn a_text_means_what_it_meant_when_it_was_parsed() {
    let pooled = Pooled::new("literals");
    pooled.direct().rows("CREATE SCHEMA one; CREATE SCHEMA two; CREATE TABLE one.t AS SELECT 'one' AS x; CREATE TABLE two.t AS SELECT 'two' AS x");
    let text = "SELECT extract(month FROM date '01/02/2003'), interval '1-2', timestamptz '2003-01-01 00:00' AT TIME ZONE 'UTC'";
    let dress = [
        "SET DateStyle = 'SQL, DMY'; SET IntervalStyle = iso_8601; SET TimeZone = 'Asia/Tokyo'; SET search_path = one",
        "SET DateStyle = 'SQL, MDY'; SET IntervalStyle = postgres; SET TimeZone = 'UTC'; SET search_path = two",
    ];
    let mut wires: Vec<_> = dress.iter().map(|dress| (dress, pooled.enter(), pooled.direct())).collect();
    for (dress, through, direct) in &mut wires {
        for wire in [through, direct] {
            wire.rows(dress);
            say(wire, &all(&[parse("s1", text), parse("s2", "SELECT x FROM t"), sync()]));
        }
    }
    for round in 0..4 {
        for (dress, through, direct) in &mut wires {
            let batch = all(&[run("s1", &[]), run("s2", &[]), sync()]);
            assert_eq!(say(through, &batch), say(direct, &batch), "{dress}, round {round}");
            pooled.steal();
            if round == 1 {
                // Parsed by one, run by another setting.
                for wire in [through, direct] {
                    wire.rows("SET DateStyle = 'ISO, YMD'; SET search_path = one, two");
                }
            }
        }
    }
}
