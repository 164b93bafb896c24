//! Parameters reach the record of each execution, as they were sent.

use serde_json::{Value, json};

use super::{everywhere, said};
use crate::support::both::says;
use crate::support::messages::*;

const FIELDS: [&str; 5] =
    ["ov.kind", "db.query.text", "db.query.parameter.0", "db.query.parameter.1", "ov.parameter_types"];

/// A `Bind` with one binary parameter.
fn bind_binary(portal: &str, statement: &str, value: &[u8]) -> Vec<u8> {
    let head = [cstr(portal), cstr(statement), vec![0, 1, 0, 1, 0, 1]].concat();
    message(b'B', &[&head[..], &length(value.len()), value, &[0, 0]].concat())
}

fn statements(house: &crate::support::vault::House, expected: usize) -> Vec<Value> {
    house.vault.records(&["--kind", "statement"], expected)
}

#[test]
fn each_execution_is_recorded_with_what_was_bound() {
    everywhere("bound", |house, what| {
        let mut wire = house.enter();
        let two = "SELECT $1::text, $2::text";
        says(&mut wire, &[parse("", two), bind("", "", &[None, Some("")]), execute("", 0), sync()], 1);
        // Typed by the client, binary, under a name; bound again under another value.
        let batch =
            [parse_typed("s", "SELECT $1", &[23]), bind_binary("", "s", &[0, 0, 1, 0]), execute("", 0)];
        says(&mut wire, &[batch.to_vec(), vec![sync()]].concat(), 1);
        says(&mut wire, &[bind_binary("", "s", &[0xff; 4]), execute("", 0), sync()], 1);
        // Typed by the server.
        says(&mut wire, &[parse("d", "SELECT $1 = now()"), describe_statement("d"), sync()], 1);
        says(&mut wire, &[bind_binary("", "d", &[0; 8]), execute("", 0), sync()], 1);
        says(&mut wire, &[function_call(1257, &["four"])], 1);
        says(&mut wire, &[query("SELECT 'none'")], 1);
        let records: Vec<_> = statements(house, 6).iter().map(|record| said(record, &FIELDS)).collect();
        let of = |text: &str, first: Value, types: &str| {
            json!({ "ov.kind": "execute", "db.query.text": text, "db.query.parameter.0": first,
                "ov.parameter_types": types })
        };
        assert_eq!(
            records[0],
            json!({ "ov.kind": "execute", "db.query.text": two,
            "db.query.parameter.0": null, "db.query.parameter.1": "",
            "ov.parameter_types": "unknown,unknown" }),
            "{what}"
        );
        assert_eq!(records[1], of("SELECT $1", json!("256"), "int4"), "{what}");
        assert_eq!(records[2], of("SELECT $1", json!("-1"), "int4"), "{what}");
        assert_eq!(
            records[3],
            of("SELECT $1 = now()", json!("2000-01-01 00:00:00+00"), "timestamptz"),
            "{what}"
        );
        assert_eq!(
            records[4],
            json!({ "ov.kind": "function_call",
            "db.query.text": "function call of oid 1257", "db.query.parameter.0": "four",
            "ov.parameter_types": "unknown" }),
            "{what}"
        );
        assert_eq!(records[5], json!({ "ov.kind": "query", "db.query.text": "SELECT 'none'" }), "{what}");
    });
}

/// However often it is executed, and however long after its `Bind` was answered.
#[test]
fn a_portal_keeps_its_parameters() {
    everywhere("portal", |house, what| {
        let mut wire = house.enter();
        let series = "SELECT * FROM generate_series(1, $1::int)";
        wire.rows("BEGIN");
        // Two portals at once, the later one used first, and nothing under way in between.
        let begin = [parse("s", series), bind("a", "s", &[Some("5")]), bind("b", "s", &[Some("3")]), sync()];
        says(&mut wire, &begin, 1);
        says(&mut wire, &[execute("b", 0), sync()], 1);
        says(&mut wire, &[execute("a", 2), sync()], 1);
        says(&mut wire, &[execute("a", 2), sync()], 1);
        wire.rows("COMMIT");
        // Where each piece is an intent of its own, each has its record.
        let pieces = if what.contains("write_ahead") { 3 } else { 2 };
        let records = house.vault.records(&["--kind", "execute"], pieces);
        let found: Vec<_> = records
            .iter()
            .map(|record| {
                let text = |field: &str| record[field].as_str().unwrap().to_owned();
                let rows = record["db.response.returned_rows"].as_u64().unwrap();
                format!("{} {} {rows}", text("ov.portal"), text("db.query.parameter.0"))
            })
            .collect();
        if what.contains("write_ahead") {
            assert_eq!(found, ["b 3 3", "a 5 2", "a 5 2"], "{what}");
        } else {
            assert_eq!(found, ["b 3 3", "a 5 4"], "{what}");
        }
    });
}

/// In parts ahead of its record where it is too long for it; by reference when it runs again.
#[test]
fn a_long_parameter_is_whole_in_each_record() {
    everywhere("long", |house, what| {
        let mut wire = house.enter();
        let values: Vec<String> = [20_000, 66_000, 300_000].map(|length| "x".repeat(length)).to_vec();
        wire.rows("BEGIN");
        for value in &values {
            let batch = [parse("", "SELECT length($1::text)"), bind("p", "", &[Some(value.as_str())])];
            let heard = says(&mut wire, &[batch.to_vec(), vec![execute("p", 0), sync()]].concat(), 1);
            assert!(heard.contains(&format!("B DataRow {}", value.len())), "{heard:?}");
            // Run again, long after; there is nothing left to fetch.
            says(&mut wire, &[execute("p", 0), close_portal("p"), sync()], 1);
        }
        let sent = function_call(1257, &[&"y".repeat(100_000)]);
        says(&mut wire, &[sent], 1);
        wire.rows("COMMIT");
        let records = house.vault.records(&["--kind", "execute"], 6);
        for (number, record) in records.iter().enumerate() {
            let found = record["db.query.parameter.0"].as_str().unwrap();
            assert!(found == values[number / 2], "{what}: {number}: {} bytes", found.len());
        }
        let call = house.vault.records(&["--kind", "function_call"], 1).remove(0);
        assert_eq!(call["db.query.parameter.0"].as_str().unwrap().len(), 100_000, "{what}");
    });
}
