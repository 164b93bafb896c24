//! Values in the binary format are shown as a real server prints them.

use std::borrow::Cow;

use onevault::audit::values::print;

use crate::support::messages::*;
use crate::support::postgres::{ANY, Postgres};
use crate::support::wire::Wire;

/// Expressions of each type that is read.
const SAMPLES: &[(&str, &[&str])] = &[
    ("bool", &["true", "false"]),
    ("int2", &["-32768", "32767"]),
    ("int4", &["-2147483648", "0"]),
    ("int8", &["-9223372036854775808", "9223372036854775807"]),
    ("oid", &["0", "4294967295"]),
    ("xid", &["4294967295"]),
    (
        "float4",
        &[
            "1",
            "-0",
            "0.1",
            "1e-5",
            "0.0001",
            "123456",
            "1e6",
            "1234567",
            "3.4e38",
            "1e-45",
            "3.3775912e+07",
            "1.9629112e+06",
            "9.9617904e+07",
            "33554434",
            "8388609.5",
            "NaN",
            "-Infinity",
        ],
    ),
    (
        "float8",
        &[
            "1",
            "-0",
            "0.1",
            "1e-5",
            "0.0001234",
            "123456789012345",
            "1e15",
            "1234567890123456",
            "1.7e308",
            "5e-324",
            "9007199254740993",
            "9007199254740996",
            "18014398509481988",
            "36028797018963972",
            "NaN",
            "Infinity",
        ],
    ),
    (
        "numeric",
        &[
            "0",
            "0.00",
            "-1",
            "10000",
            "123456789.987654321",
            "0.0001",
            "0.00001000",
            "1e20",
            "-1e-20",
            "NaN",
            "99999999",
            "1.10",
        ],
    ),
    ("text", &["", "a b", "ä€"]),
    ("varchar", &["x"]),
    ("bpchar", &["x  "]),
    ("name", &["n"]),
    ("json", &["{\"a\": [1, null]}"]),
    ("jsonb", &["{\"a\":   [1, null]}"]),
    ("bytea", &["", "\\x00ff"]),
    ("uuid", &["01234567-89ab-cdef-0123-456789abcdef"]),
    (
        "date",
        &[
            "2000-01-01",
            "1999-12-31",
            "2000-02-29",
            "1900-03-01",
            "0001-01-01",
            "0001-12-31 BC",
            "4713-01-01 BC",
            "5874897-12-31",
            "infinity",
            "-infinity",
        ],
    ),
    ("time", &["00:00", "24:00:00", "12:34:56.7", "23:59:59.999999"]),
    ("timetz", &["12:00+02", "12:00:00.5-03:30", "12:00+05:30:15"]),
    (
        "timestamp",
        &[
            "2000-01-01",
            "1999-12-31 23:59:59.5",
            "4713-01-01 00:00:00 BC",
            "294276-12-31 23:59:59.999999",
            "infinity",
        ],
    ),
    ("timestamptz", &["2024-02-29 12:00:00.123456+02", "0044-03-15 12:00:00+00 BC", "-infinity"]),
    (
        "interval",
        &[
            "0",
            "1 year 2 mons 3 days 04:05:06.789",
            "-1 year",
            "-1 mon 1 day",
            "-1 day 01:00",
            "-00:00:00.5",
            "1 day -01:00",
            "1000 hours",
            "1 mon",
            "2 years -3 mons",
        ],
    ),
    (
        "inet",
        &[
            "127.0.0.1",
            "10.0.0.0/8",
            "::1",
            "::ffff:1.2.3.4",
            "::1.2.3.4",
            "2001:db8::/32",
            "1:0:0:2:0:0:0:3",
            "0::5",
        ],
    ),
    ("cidr", &["10.0.0.0/8", "127.0.0.1/32", "2001:db8::/32"]),
    ("macaddr", &["08:00:2b:01:02:03"]),
    ("macaddr8", &["08:00:2b:01:02:03:04:05"]),
    ("varbit", &["", "1", "101100111000"]),
    ("bit(3)", &["101"]),
    ("int4[]", &["{}", "{1,NULL,3}", "{{1,2},{3,4}}", "[0:1]={5,6}", "[-1:0][2:3]={{1,2},{3,4}}"]),
    ("text[]", &["{a,\"b c\",\"\",\"NULL\",\"q\\\"u\\\\\",\"x,y\",\"{}\"}", "{null}"]),
    ("timestamptz[]", &["{2024-01-01 00:00:00+00}"]),
    ("jsonb[]", &["{\"{\\\"a\\\": 1}\"}"]),
    ("numeric[]", &["{1.50,NaN}"]),
    ("uuid[]", &["{01234567-89ab-cdef-0123-456789abcdef}"]),
    ("interval[]", &["{\"1 day\"}"]),
];

/// The one value that a statement answers in a format, and its type's oid.
fn value(wire: &mut Wire, sql: &str, format: u8) -> (u32, Vec<u8>) {
    let bind = message(b'B', &[0, 0, 0, 0, 0, 0, 0, 1, 0, format]);
    let said = [parse("", sql), bind, describe_portal(""), execute("", 0), sync()];
    let frames = wire.talk(&said.concat());
    let shape = frames.iter().find(|frame| frame.tag == b'T').unwrap_or_else(|| panic!("{sql}: {frames:?}"));
    let name = shape.body[2..].iter().position(|byte| *byte == 0).unwrap() + 3;
    let oid = u32::from_be_bytes(shape.body[name + 6..name + 10].try_into().unwrap());
    let row = frames.iter().find(|frame| frame.tag == b'D').unwrap_or_else(|| panic!("{sql}: {frames:?}"));
    (oid, row.body[6..].to_vec())
}

fn compare(wire: &mut Wire, sql: &str) {
    let (_, text) = value(wire, sql, 0);
    let (oid, binary) = value(wire, sql, 1);
    let [text, printed] = [Cow::Borrowed(&text[..]), print(oid, &binary)];
    let [text, printed] = [text, printed].map(|text| String::from_utf8_lossy(&text).into_owned());
    assert_eq!(printed, text, "{sql} (oid {oid})");
}

#[test]
fn binary_values_read_as_the_server_prints_them() {
    let tenant = Postgres::shared(ANY).tenant("printed");
    let mut wire = tenant.direct();
    wire.rows("SET TimeZone = 'UTC'; SET DateStyle = 'ISO'; SET IntervalStyle = 'postgres'");
    for (type_name, samples) in SAMPLES {
        for sample in *samples {
            compare(&mut wire, &format!("SELECT '{sample}'::{type_name}"));
        }
    }
    // And what chance makes of them.
    let random = [
        "(random() * 1e{}) :: float8",
        "(random() / 1e{}) :: float8",
        "(random() * 1e{}) :: float4",
        "(random() / 1e{}) :: float4",
        "(random() * 1e{}) :: numeric",
        "round((random() / 1e{})::numeric, 25)",
        "timestamp '2000-01-01' + random() * 1e{} * interval '-1 s'",
        "date '2000-01-01' + (random() * least(1e{}, 1e6))::int",
        "make_interval(months => (random() * least(1e{}, 1e8) - 3)::int, secs => random() * 1e5 - 5e4)",
    ];
    for exponent in 0..11 {
        for expression in random {
            // A volatile value must be the same twice.
            let seeded = expression.replace("{}", &exponent.to_string());
            let fixed = wire.value(&format!("SELECT ({seeded})::text"));
            let type_name = wire.value(&format!("SELECT pg_typeof({seeded})::text"));
            compare(&mut wire, &format!("SELECT '{fixed}'::{type_name}"));
        }
    }
}
