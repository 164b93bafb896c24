//! COPY through OneVault: both ways, both protocols, failing in every place, and the session in step afterwards.
//!
//! Source: protocol-flow#PROTOCOL-COPY

use crate::support::both::{both, count, same, says};
use crate::support::messages::*;
use crate::support::transcript::lines;
use crate::support::vault::House;

const TABLE: &str = "DROP TABLE IF EXISTS t; CREATE TABLE t (x int)";
const IN: &str = "COPY t FROM STDIN";

/// Rows go in and come out, by simple and by extended query.
#[test]
fn rows_go_in_and_out() {
    let house = House::new("copy");
    let rows = [copy_data(b"1\n2\n"), copy_data(b"3"), copy_data(b"\n"), copy_done()];
    let heard = both(&house, |wire| {
        wire.rows(TABLE);
        let mut heard = says(wire, &[vec![query(IN)], rows.to_vec()].concat(), 1);
        let batch = [parse("", IN), bind("", "", &[]), execute("", 0)];
        heard.extend(says(wire, &[batch.to_vec(), rows.to_vec(), vec![sync()]].concat(), 1));
        let batch =
            [parse("", "COPY t TO STDOUT"), bind("", "", &[]), describe_portal(""), execute("", 0), sync()];
        heard.extend(says(wire, &batch, 1));
        heard.extend(says(wire, &[query("COPY t TO STDOUT; SELECT 'both'")], 1));
        heard
    });
    assert_eq!(count(&heard, "B CopyData"), 12, "{heard:#?}");
}

/// A bad row ends the copy; what the client sends before it hears of it is eaten, and the session stays in step.
#[test]
fn late_data_of_a_failed_copy_is_eaten() {
    let house = House::new("late");
    for statement in [query(IN), all(&[parse("", IN), bind("", "", &[]), execute("", 0)])] {
        let is_extended = statement[0] == b'P';
        let heard = both(&house, |wire| {
            wire.rows(TABLE);
            wire.send(&statement);
            let mut heard = lines(&wire.until(|frame| frame.tag == b'G'));
            wire.send(&copy_data(b"no number\n"));
            // Not in a hurry: the server has failed before the rest comes.
            heard.extend(lines(&wire.until(|frame| frame.is_error() || frame.tag == b'Z')));
            wire.send(&all(&[copy_data(b"1\n"), copy_data(b"2\n"), copy_done()]));
            if is_extended {
                wire.send(&sync());
            }
            heard.extend(lines(&wire.until_ready()));
            heard.extend(says(wire, &[query("SELECT count(*) FROM t")], 1));
            heard
        });
        assert_eq!(count(&heard, "B ErrorResponse S=ERROR C=22P02"), 1, "{heard:#?}");
        assert_eq!(count(&heard, "B ReadyForQuery"), 2, "{heard:#?}");
        assert!(heard.contains(&"B DataRow 0".to_owned()));
    }
}

/// The same with everything in one write.
#[test]
fn a_failed_copy_sent_in_one_piece_is_answered_as_directly() {
    let house = House::new("piece");
    both(&house, |wire| {
        wire.rows(TABLE);
        let data = [copy_data(b"no number\n"), copy_data(b"1\n"), copy_done()];
        let mut heard = says(wire, &[vec![query(IN)], data.to_vec(), vec![query("SELECT 1")]].concat(), 2);
        heard.extend(says(wire, &[query(IN), copy_data(b"1\n"), copy_fail("enough"), query("SELECT 2")], 2));
        heard
    });
}

/// Sync and Flush between Execute and the data are ignored by the server: exactly one `ReadyForQuery`.
#[test]
fn sync_before_the_data_is_ignored() {
    let house = House::new("early");
    let heard = both(&house, |wire| {
        wire.rows(TABLE);
        let batch = [parse("", IN), bind("", "", &[]), execute("", 0), sync(), flush()];
        wire.send(&batch.concat());
        let mut heard = lines(&wire.until(|frame| frame.tag == b'G'));
        heard.extend(says(wire, &[copy_data(b"7\n"), copy_done(), sync()], 1));
        heard.extend(lines(&wire.within(std::time::Duration::from_millis(300))));
        heard.extend(says(wire, &[query("SELECT x FROM t")], 1));
        heard
    });
    assert_eq!(count(&heard, "B ReadyForQuery"), 2, "{heard:#?}");
}

/// Copy messages outside a copy are ignored.
#[test]
fn stray_copy_messages_are_ignored() {
    let house = House::new("stray");
    same(
        &house,
        &[copy_data(b"1\n"), copy_done(), copy_fail("x"), query("SELECT 1"), copy_done(), sync()],
        2,
    );
}

/// A query in the middle of a copy ends the connection, with the server's own words.
#[test]
fn a_query_in_the_middle_of_a_copy_fails_it() {
    let house = House::new("middle");
    let heard = both(&house, |wire| {
        wire.rows(TABLE);
        wire.send(&query(IN));
        let mut heard = lines(&wire.until(|frame| frame.tag == b'G'));
        wire.send(&all(&[copy_data(b"1\n"), query("SELECT 'inside'")]));
        heard.extend(lines(&wire.rest()));
        heard
    });
    assert_eq!(count(&heard, "B ErrorResponse S=FATAL C=08P01"), 1, "{heard:#?}");
}

/// Large rows and many of them arrive whole in both directions.
#[test]
fn large_copies_arrive_whole() {
    let house = House::new("large");
    let mut wire = house.enter();
    wire.rows("CREATE TABLE large (x text)");
    let line = format!("{}\n", "x".repeat(3_000_000));
    wire.send(&query("COPY large FROM STDIN"));
    wire.until(|frame| frame.tag == b'G');
    for piece in line.repeat(5).as_bytes().chunks(100_000) {
        wire.send(&copy_data(piece));
    }
    wire.talk(&copy_done());
    let frames = wire.talk(&query("COPY large TO STDOUT"));
    let bytes: usize = frames.iter().filter(|frame| frame.tag == b'd').map(|frame| frame.body.len()).sum();
    assert_eq!(bytes, 15_000_005);
    assert_eq!(wire.value("SELECT sum(length(x)) FROM large"), "15000000");
}
