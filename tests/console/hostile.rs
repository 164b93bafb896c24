//! What an auditor may try: no text widens what is seen, reads a file, or changes anything.

use super::House;
use crate::support::messages;
use crate::support::transcript::lines;

/// Texts that would show another customer's records, were the filter in the text.
const WIDE: [&str; 12] = [
    "SELECT text FROM statements",
    "SELECT text FROM onevault.audit.statements WHERE customer <> '' OR 1 = 1",
    "SELECT text FROM statements UNION ALL SELECT message FROM audit.events UNION ALL SELECT customer FROM audit.logins",
    "WITH statements AS (SELECT * FROM audit.statements) SELECT text FROM statements",
    "WITH audit AS (SELECT 1) SELECT text FROM audit.statements",
    "SELECT (SELECT string_agg(text, ' ') FROM audit.statements)",
    "SELECT a.text FROM statements a LEFT JOIN statements b ON a.customer <> b.customer",
    "SELECT text FROM statements WHERE customer IN (SELECT customer FROM logins) OR customer IS NOT NULL",
    "SELECT text FROM statements WHERE NOT (customer = 'x' AND customer = 'y')",
    "SELECT DISTINCT customer FROM (SELECT customer FROM events UNION SELECT customer FROM sessions) x",
    "EXPLAIN ANALYZE SELECT text FROM statements",
    "COPY statements TO STDOUT",
];

/// Texts that change something or reach for what is no table, with what they are answered.
const REFUSED: [(&str, &str); 36] = [
    ("INSERT INTO statements VALUES (1)", "25006"),
    ("WITH x AS (INSERT INTO statements VALUES (1) RETURNING 1) SELECT * FROM x", "25006"),
    ("UPDATE statements SET kind = 'x'", "25006"),
    ("DELETE FROM statements", "25006"),
    ("TRUNCATE statements", "25006"),
    ("SELECT 1 INTO somewhere", "25006"),
    ("CREATE TABLE t AS SELECT 1", "25006"),
    ("CREATE VIEW v AS SELECT 1", "25006"),
    ("CREATE OR REPLACE VIEW statements AS SELECT 1", "25006"),
    ("CREATE SCHEMA s", "25006"),
    ("DROP TABLE statements", "25006"),
    ("ALTER TABLE statements RENAME TO x", "25006"),
    ("GRANT ALL ON statements TO public", "25006"),
    ("COPY (SELECT 1) TO '/tmp/onevault-hostile.csv'", "25006"),
    ("COPY (SELECT 1) TO PROGRAM 'id'", "25006"),
    ("COPY statements FROM '/etc/passwd'", "25006"),
    ("COPY statements FROM STDIN", "25006"),
    ("EXPLAIN INSERT INTO statements SELECT * FROM statements", "25006"),
    ("EXPLAIN ANALYZE CREATE TABLE t AS SELECT 1", "25006"),
    ("PREPARE p AS SELECT 1", "25006"),
    ("CALL something()", "25006"),
    ("SET datafusion.catalog.information_schema = false", "42501"),
    ("SET datafusion.execution.batch_size = 1", "42501"),
    ("SET is_superuser = on", "42501"),
    ("SET ROLE postgres", "42501"),
    ("SET SESSION AUTHORIZATION postgres", "42501"),
    ("SET transaction_read_only = off", "25006"),
    ("SET nothing.known = 1", "42704"),
    ("SELECT * FROM '/etc/passwd'", "42P01"),
    ("SELECT * FROM csv.'/etc/passwd'", "42P01"),
    ("SELECT * FROM live.secrets", "42P01"),
    ("SELECT * FROM read_csv('/etc/passwd')", "42883"),
    ("SELECT pg_read_file('/etc/passwd')", "42883"),
    ("SELECT pg_stat_file('/etc/passwd')", "42501"),
    ("SELECT pg_read_file(pg_current_logfile())", "42883"),
    ("SELECT * FROM pg_catalog.pg_authid", "42501"),
];

#[test]
fn no_text_shows_an_auditor_another_customers_records() {
    let house = House::new();
    let mut audrey = house.audrey();
    for text in WIDE {
        let shown = lines(&audrey.talk(&messages::query(text))).join("\n").replace(text, "");
        assert!(!shown.contains("B ErrorResponse"), "{text}: {shown}");
        assert!(!shown.contains("barn") && !shown.contains(&house.two.role), "{text}: {shown}");
    }
    // Every table there is, whoever made it.
    let tables = "SELECT table_schema || '.' || table_name FROM information_schema.tables \
                  WHERE table_schema IN ('audit', 'live', 'usage')";
    let tables: Vec<String> = audrey.rows(tables).into_iter().flatten().flatten().collect();
    assert!(tables.len() >= 11, "{tables:?}");
    for table in tables {
        let shown = lines(&audrey.talk(&messages::query(&format!("SELECT * FROM {table}")))).join("\n");
        assert!(!shown.contains("B ErrorResponse"), "{table}: {shown}");
        assert!(!shown.contains(&house.two.role), "{table}: {shown}");
    }
    let parameter = "SELECT text FROM statements WHERE customer = $1";
    assert!(audrey.rows(&parameter.replace("$1", &format!("'{}'", house.two.role))).is_empty());
    let frames = audrey.talk(&messages::extended(parameter, &[Some(&house.two.role)]));
    assert!(!lines(&frames).join("\n").contains("barn"));
}

#[test]
fn what_is_not_a_read_is_refused_with_its_code_and_the_session_goes_on() {
    let house = House::new();
    let mut audrey = house.audrey();
    for (text, code) in REFUSED {
        assert_eq!(audrey.sqlstate(text), code, "{text}");
        let frames = audrey.talk(&messages::extended(text, &[]));
        assert!(lines(&frames).join("\n").contains(code), "{text}: {:?}", lines(&frames));
    }
    assert!(!std::path::Path::new("/tmp/onevault-hostile.csv").exists());
    assert_eq!(audrey.value("SELECT 1"), "1");
}

#[test]
fn malformed_messages_end_nobodys_session_but_their_senders() {
    let house = House::new();
    let mut other = house.audrey();
    let bodies: [&[u8]; 7] = [
        b"",
        b"\0",
        b"\0\0",
        b"\0\0\0\x05",
        b"\0\0\xff\xff",
        b"\0\0\0\0\0\x01\0\0\0\xff",
        b"\0\0\0\0\0\0\x7f\xff",
    ];
    for tag in *b"PBEDCQ" {
        for body in bodies {
            let mut audrey = house.audrey();
            let mut bytes = vec![tag];
            bytes.extend(u32::try_from(body.len() + 4).unwrap().to_be_bytes());
            bytes.extend(body);
            bytes.extend(messages::sync());
            let _ = audrey.try_send(&bytes);
            drop(audrey);
            assert_eq!(other.value("SELECT 1"), "1");
        }
    }
    assert!(!house.vault.stderr().contains("panicked"), "{}", house.vault.stderr());
}

#[test]
fn parameters_of_another_number_than_was_asked_for_are_refused() {
    let house = House::new();
    let mut audrey = house.audrey();
    for values in [&[][..], &[Some("a"), Some("b")]] {
        let parts = [
            messages::parse("", "SELECT $1::text"),
            messages::bind("", "", values),
            messages::execute("", 0),
        ];
        let told = lines(&audrey.talk(&[parts.concat(), messages::sync()].concat())).join("\n");
        assert!(told.contains("08P01"), "{told}");
    }
    assert_eq!(audrey.value("SELECT 1"), "1");
}
