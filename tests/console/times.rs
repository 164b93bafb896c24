//! Times in quotes mean what they mean to PostgreSQL, wherever they stand, and reading stops at them.

use super::House;
use crate::support::messages;
use crate::support::transcript::lines;

/// Texts of times, of which each type takes what PostgreSQL takes.
const TEXTS: &[&str] = &[
    "2026-10-15 09:00",
    "2026-10-15T09:00",
    "2026-10-15t09",
    "2026-10-15 09:00:07",
    "2026-10-15 09:00:07.25",
    "2026-10-15",
    " 2026-10-15  9:05 ",
    "2026-1-5",
    "20261015",
    "20261015T0900",
    "20261015T090007.5",
    "20261015 090007",
    "2026/10/15 09:00",
    "2026.10.15",
    "15 Oct 2026 09:00",
    "October 15, 2026",
    "2026-Oct-15",
    "15-Oct-2026 9:00 PM",
    "Thu Oct 15 09:00:07 2026",
    "2026-10-15 12:30 am",
    "2026-10-15 09:00Z",
    "2026-10-15 09:00 z",
    "2026-10-15 09:00+00",
    "2026-10-15 09:00+02",
    "2026-10-15T09:00:00+02:00",
    "2026-10-15 09:00 -0530",
    "2026-10-15 09:00:00+05:30:10",
    "2026-10-15 09:00 UTC",
    "2026-10-15 09:00 gmt",
    "2026-10-15 09:00 Europe/Berlin",
    "2026-12-15 09:00 America/New_York",
    "2026-10-25 02:30 Europe/Berlin",
    "2026-03-29 02:30 Europe/Berlin",
    "2026-10-15+02",
    "2026-10-15 24:00",
    "2026-10-15 09:00:60",
    "epoch",
    "EPOCH",
    "1969-12-31 23:59:59",
    "2024-02-29",
    // Weekdays, months and the orders in which programs write them.
    "2026-10-15 Thu",
    "Thu Oct 15 2026",
    "Thursday, October 15, 2026 9:00 AM",
    "Thurs 15 Sept 2026",
    "Thu, 15 Oct 2026 09:00:07 +0200",
    "Thu Oct 15 09:00:07 UTC 2026",
    "Thu Oct 15 09:00:07 CEST 2026",
    "Thu Oct 15 09:00:07 +0200 2026",
    "Thu Oct 15 09:00:07 -0500 2026",
    "Thu Oct 15 09:00:07 Europe/Berlin 2026",
    "15 October 2026, 9:00 pm",
    "15 Oct 2026 at 9:00 pm",
    "15/Oct/2026:09:00:07 +0200",
    "15.Oct.2026",
    "15-OCT-26",
    "15 Oct 69",
    "15 Oct 70",
    "15 Mar 44 BC",
    "Oct-15-2026",
    "15Oct2026",
    "2026 Oct 15",
    "2026 10 15",
    "09:00 15 Oct 2026",
    "09:00 20261015",
    "261015",
    "261015T0900",
    "today 09:00",
    // Clocks and signs.
    "2026-10-15 09:",
    "2026-10-15 09:5",
    "2026-10-15 09:05.5",
    "2026-10-15 09:00:",
    "2026-10-15 09:00:07.",
    "2026-10-15 23:59:60.5",
    "2026-10-15 00:30 pm",
    "2026-10-15 pm",
    "2026-10-15\t09:00",
    "2026-10-15_09:00:07",
    "2026-10-15:09:00",
    "2026-10-15-09:00",
    "[2026-10-15 09:00:07]",
    "\"2026-10-15T09:00:07Z\"",
    "2026-10-15T090007+0200",
    "20261015T090007-0500",
    // Zones.
    "2026-10-15 09:00 + 02",
    "2026-10-15 09:00+2",
    "2026-10-15 09:00+530",
    "2026-10-15 09:00+02:",
    "2026-10-15 09:00 europe/berlin",
    "2026-10-15 09:00 Japan",
    "2026-10-15 09:00 CET",
    "2026-10-15 09:00 BST",
    "2026-10-15 09:00 WEST",
    "2026-10-15 09:00 EEST",
    "2026-10-15 09:00 MESZ",
    "2026-10-15 09:00 EST",
    "2026-10-15 09:00 cdt",
    "2026-10-15 09:00 MST",
    "2026-10-15 09:00 PDT",
    "2026-10-15 09:00 AKST",
    "2026-10-15 09:00 HST",
    "2026-10-15 09:00 JST",
    "2026-10-15 09:00 NZDT",
    // No times, or none that there are.
    "",
    "no time",
    "2026",
    "2026-13-01",
    "2026-02-29",
    "2026-10-15 25:00",
    "2026-10-15 09:61",
    "2026-10-15 13:00 PM",
    "2026-10-15 09:00 09:00",
    "2026-10-15 2026-10-15",
    "2026-10-15 09:00+99",
    "2026-10-15 09:00 Nowhere/Town",
    "2026-10-15 now",
    "09:00",
    "2026-10-",
    "2026-10-15 +",
    "2026-10-15 09:00 Z Z",
    "Thu 15-Oct-2026",
    "Thu 2026-10-15",
    "09:00 2026-10-15",
    "Thu Thu Oct 15 2026",
    "2026-10-15 Thu Fri",
    "2026-10-15 09:00:07:08",
    "2026-10-15 09:00+053010",
    "2026-10-15 9 PM",
    "2026-10-15 9pm",
    "2026-10-15 09-05",
    "2026-10-15T09:00:07,123",
    "2026-10-15T09:00:07.123Z[UTC]",
    "15. Oct 2026",
    "Oct. 15, 2026",
    "Oct 15th 2026",
    "20261015090007",
    "202610150900",
    "1792054800",
    "now 09:00",
    "2026-10",
    "2026-W42-4",
    "2026-10-15 .5",
    "\u{e9}2026-10-15",
    "2026-10-15 09:00 Uhr",
];

#[test]
fn times_in_quotes_are_what_they_are_to_postgresql() {
    let house = House::new();
    let (mut audrey, mut postgres) = (house.audrey(), house.one.direct());
    postgres.rows("SET timezone = 'UTC'");
    let mut failed = Vec::new();
    for kind in ["timestamptz", "timestamp", "date"] {
        for text in TEXTS {
            let cast = format!("SELECT '{text}'::{kind}");
            let code = postgres.sqlstate(&cast);
            let found = audrey.sqlstate(&cast);
            if code != found {
                failed.push(format!("{cast}: {found}, not {code}"));
            } else if code.is_empty() {
                let value = postgres.value(&cast);
                let same = format!("{cast} = '{value}'::{kind}");
                if audrey.value(&same) != "t" {
                    failed.push(format!("{cast}: {}, not {value}", audrey.value(&cast)));
                }
            }
        }
    }
    assert!(failed.is_empty(), "{} failed\n{}", failed.len(), failed.join("\n"));
}

#[test]
fn a_time_that_nobody_knows_the_meaning_of_is_refused_though_postgresql_takes_it() {
    let house = House::new();
    let (mut audrey, mut postgres) = (house.audrey(), house.one.direct());
    for text in
        ["10/11/2026", "10-11-2026 09:00", "10.11.26", "2026-10-15 09:00 UTC+2", "2026-10-15 09:00 IST"]
    {
        let cast = format!("SELECT '{text}'::timestamptz");
        assert_eq!(postgres.sqlstate(&cast), "", "{text}");
        assert!(audrey.sqlstate(&cast).starts_with("220"), "{text}");
    }
}

#[test]
fn times_in_quotes_are_read_wherever_they_stand() {
    let house = House::new();
    let mut audrey = house.audrey();
    let count = |what: &str| format!("SELECT count(*) > 0 FROM audit.statements WHERE {what}");
    for (what, is) in [
        ("time >= '2001-02-03 09:00'", "t"),
        ("'2001-02-03T09:00' <= time", "t"),
        ("time BETWEEN 'yesterday' AND 'tomorrow 23:59'", "t"),
        ("time NOT BETWEEN '2001-02-03 09:00' AND '2001-02-03 09:05+02'", "t"),
        ("time IN ('2001-02-03 09:00', 'epoch')", "f"),
        ("time NOT IN ('2001-02-03 09:00', 'epoch')", "t"),
        ("time > timestamptz '2001-02-03 09:00 UTC'", "t"),
        ("time > timestamp '2001-02-03 09:00'", "t"),
        ("time > date '2001-02-03 09:00'", "t"),
        ("time > CAST('2001-02-03 09:00' AS timestamptz)", "t"),
        ("time > '2001-02-03 09:00'::text::timestamptz", "t"),
        ("time > '2001-02-03 09:00'::timestamp with time zone + interval '1 day'", "t"),
        ("date_trunc('day', time) >= 'today'::timestamptz - interval '1 day'", "t"),
        ("time < 'infinity' AND time > '-infinity'", "t"),
        ("time > 'infinity'", "f"),
        ("time <= 'now'", "t"),
        ("time > 'now'", "f"),
        ("time < '9999-12-31 00:00' AND time > '0044-03-15 BC'", "t"),
        ("time > CASE WHEN login = 'x' THEN '2001-02-03 09:00' ELSE time - interval '1 s' END", "t"),
        ("record IN (SELECT record FROM statements WHERE time > '2001-02-03 09:00')", "t"),
    ] {
        assert_eq!(audrey.rows(&count(what)), [[Some(is.to_owned())]], "{what}");
    }
    let days = "SELECT count(*) > 0 FROM usage.daily WHERE day";
    assert_eq!(audrey.value(&format!("{days} >= 'yesterday' AND day < '9999-01-01'")), "t");
    assert_eq!(audrey.value(&format!("{days} < '2001-02-03 09:00'")), "f");
    assert_eq!(audrey.sqlstate(&count("time >= 'no time'")), "22007");
    assert_eq!(audrey.sqlstate(&count("time >= '2026-13-01'")), "22008");
    // Of a column there is no literal; what it holds is read row by row.
    assert_eq!(audrey.sqlstate("SELECT text::timestamptz FROM statements LIMIT 0"), "");
}

#[test]
fn times_are_sent_as_texts_for_parameters() {
    const TEXT: u32 = 25;
    const VARCHAR: u32 = 1043;
    const DATE: u32 = 1082;
    const TIMESTAMPTZ: u32 = 1184;
    let house = House::new();
    let mut audrey = house.audrey();
    let sql = "SELECT count(*) > 0 FROM statements WHERE time >= $1";
    let mut ask = |oid: &[u32], sql: &str, value: &str| {
        let parse = messages::parse_typed("", sql, oid);
        let rest = [messages::bind("", "", &[Some(value)]), messages::execute("", 0), messages::sync()];
        let told = lines(&audrey.talk(&messages::all(&[vec![parse], rest.to_vec()].concat())));
        told.into_iter().find(|line| line.contains("DataRow") || line.contains("ErrorResponse")).unwrap()
    };
    for oid in [&[][..], &[TEXT], &[VARCHAR], &[DATE], &[TIMESTAMPTZ]] {
        for value in ["2001-02-03 09:00", "2001-02-03T09:00+02", "2001-02-03", "epoch", "yesterday"] {
            assert_eq!(ask(oid, sql, value), "B DataRow t", "{oid:?} {value}");
        }
        assert!(ask(oid, sql, "no time").contains("22007"), "{oid:?} {}", ask(oid, sql, "no time"));
    }
    for cast in ["$1::timestamptz", "CAST($1 AS timestamp)", "$1::date"] {
        let sql = format!("SELECT count(*) > 0 FROM statements WHERE time >= {cast}");
        assert_eq!(ask(&[], &sql, "2001-02-03 09:00"), "B DataRow t", "{cast}");
        assert!(ask(&[], &sql, "2001-02-31").contains("22008"), "{cast}");
    }
}

#[test]
fn reading_begins_and_ends_at_times_in_quotes() {
    let house = House::new();
    let mut audrey = house.audrey();
    let plan = |audrey: &mut crate::support::wire::Wire, what: &str| {
        let rows = audrey.rows(&format!("EXPLAIN SELECT text FROM audit.statements WHERE {what}"));
        rows.into_iter().flatten().flatten().collect::<Vec<_>>().join("\n")
    };
    let since = "time >= TimestampNanosecond(1792054800000000000";
    let until = "time <= TimestampNanosecond(1792058400000000000";
    for what in [
        "time BETWEEN '2026-10-15 09:00' AND '2026-10-15 10:00'",
        "time >= '2026-10-15T11:00+02' AND time <= timestamptz '2026-10-15 10:00 UTC'",
        "time >= timestamp '2026-10-15 09:00' AND time <= '2026-10-15 10:00'::timestamp",
    ] {
        let told = plan(&mut audrey, what);
        let filters = told.split("partial_filters=").nth(1).unwrap_or_else(|| panic!("{told}"));
        assert!(filters.contains(since) && filters.contains(until), "{what}: {told}");
    }
}
