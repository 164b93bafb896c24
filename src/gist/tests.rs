//! What a text is about, and that no text harms the parser.

use super::*;

fn tables(text: &str) -> Vec<String> {
    let gist = of(text.as_bytes()).unwrap();
    gist.unwrap_or_else(|| panic!("not parsed: {text}")).tables.clone().unwrap()
}

fn fingerprint(text: &str) -> String {
    of(text.as_bytes()).unwrap().unwrap_or_else(|| panic!("not parsed: {text}")).fingerprint.clone()
}

#[test]
fn every_relation_that_a_statement_names_is_found() {
    let named = [
        ("SELECT 1", ""),
        ("", ""),
        ("BEGIN; SET LOCAL work_mem = '1MB'; COMMIT", ""),
        ("select * from business.patients p, Visits v join b.c using (id)", "b.c business.patients visits"),
        ("TABLE business.patients", "business.patients"),
        ("INSERT INTO a.log SELECT * FROM b.source ON CONFLICT DO NOTHING", "a.log b.source"),
        ("UPDATE t SET x = (SELECT max(y) FROM s.u) FROM w WHERE t.id = w.id", "s.u t w"),
        ("DELETE FROM t USING u WHERE EXISTS (SELECT FROM v)", "t u v"),
        ("SELECT (SELECT 1 FROM a), ARRAY(SELECT 1 FROM b) FROM c, LATERAL (SELECT * FROM d) x", "a b c d"),
        ("SELECT 1 FROM a UNION (SELECT 1 FROM b EXCEPT SELECT 1 FROM a)", "a b"),
        ("SELECT * FROM a ORDER BY (SELECT 1 FROM b) LIMIT (SELECT 1 FROM c)", "a b c"),
        ("SELECT * FROM a WHERE x = ANY (SELECT 1 FROM b) FOR UPDATE OF a", "a b"),
        ("SELECT * INTO made FROM a TABLESAMPLE system (5)", "a made"),
        (
            "MERGE INTO a USING business.patients p ON a.id = p.id WHEN MATCHED THEN DELETE",
            "a business.patients",
        ),
        (
            "WITH m AS (MERGE INTO a USING b ON true WHEN MATCHED THEN DO NOTHING RETURNING 1) SELECT * FROM m",
            "a b",
        ),
        ("DECLARE c CURSOR WITH HOLD FOR SELECT * FROM business.patients", "business.patients"),
        ("PREPARE p AS SELECT * FROM business.patients", "business.patients"),
        ("EXPLAIN (ANALYZE) DELETE FROM a", "a"),
        ("COPY business.patients TO STDOUT", "business.patients"),
        ("COPY (SELECT * FROM a JOIN b USING (id)) TO STDOUT", "a b"),
        ("CREATE TABLE a (LIKE b)", "a b"),
        ("CREATE TABLE a (b int REFERENCES business.patients (id))", "a business.patients"),
        ("CREATE VIEW v AS SELECT * FROM a", "a v"),
        ("CREATE MATERIALIZED VIEW v AS WITH x AS (SELECT * FROM a) SELECT * FROM x", "a v"),
        ("CREATE INDEX i ON business.patients (name)", "business.patients"),
        ("CREATE POLICY p ON business.patients", "business.patients"),
        ("ALTER TABLE business.patients ADD COLUMN c int", "business.patients"),
        ("ALTER TABLE business.patients RENAME COLUMN b TO c", "business.patients"),
        ("DROP TABLE a, s.b", "a s.b"),
        ("DROP VIEW s.v", "s.v"),
        ("DROP FUNCTION s.f(int)", ""),
        ("TRUNCATE a, b.c", "a b.c"),
        ("LOCK TABLE business.patients IN SHARE MODE", "business.patients"),
        ("GRANT SELECT ON business.patients TO somebody", "business.patients"),
        ("VACUUM business.patients", "business.patients"),
        ("BEGIN; DECLARE c CURSOR FOR TABLE a; FETCH 1 FROM c; COMMIT", "a"),
        (
            r#"SELECT * FROM "Odd"."a.b", "with""quote", "plain", "user""#,
            r#""Odd"."a.b" "with""quote" plain user"#,
        ),
    ];
    for (text, expected) in named {
        assert_eq!(tables(text), expected.split_whitespace().collect::<Vec<_>>(), "{text}");
    }
}

#[test]
fn a_name_of_a_with_hides_a_relation_only_where_it_is_given() {
    let named = [
        ("WITH x AS (SELECT * FROM a) SELECT * FROM x, s.x", "a s.x"),
        ("WITH patients AS (SELECT * FROM patients) SELECT * FROM patients", "patients"),
        ("WITH RECURSIVE r AS (SELECT 1 UNION SELECT * FROM r JOIN a USING (id)) SELECT * FROM r", "a"),
        (
            "SELECT * FROM patients WHERE EXISTS (WITH patients AS (SELECT 1) SELECT * FROM patients)",
            "patients",
        ),
        ("WITH x AS (WITH y AS (SELECT * FROM a) SELECT * FROM y) SELECT * FROM x, y", "a y"),
        ("WITH x AS (SELECT * FROM a), y AS (SELECT * FROM x) SELECT * FROM y", "a"),
        ("WITH x AS (SELECT 1) INSERT INTO x SELECT * FROM x", "x"),
    ];
    for (text, expected) in named {
        assert_eq!(tables(text), expected.split_whitespace().collect::<Vec<_>>(), "{text}");
    }
}

#[test]
fn equal_statements_share_a_fingerprint_and_others_do_not() {
    let one = "SELECT name FROM business.patients WHERE id = 17 AND note = 'x'";
    let same = [
        "select name\n from business.patients where id = 99 and note = 'other' -- said",
        "SELECT name FROM business.patients WHERE id = $1 AND note = $2",
        "SELECT name FROM business.patients AS p WHERE id = 17 AND note = E'\\t'",
    ];
    for text in same {
        assert_eq!(fingerprint(text), fingerprint(one), "{text}");
    }
    let other = [
        "SELECT name FROM public.patients WHERE id = 17 AND note = 'x'",
        "SELECT name FROM business.doctors WHERE id = 17 AND note = 'x'",
        "SELECT id FROM business.patients WHERE id = 17 AND note = 'x'",
        "SELECT name FROM business.patients WHERE id = 17 OR note = 'x'",
    ];
    for text in other {
        assert_ne!(fingerprint(text), fingerprint(one), "{text}");
    }
}

/// Whoever changes these has changed the columns of the archive: its names must change with them, see `audit::arrow::derived`.
#[test]
fn fingerprints_are_those_of_the_files_that_there_are() {
    assert_eq!(fingerprint("SELECT 1"), "50fde20626009aba");
    assert_eq!(fingerprint("SELECT * FROM business.patients WHERE id = 1"), "5c42e0943012c6f6");
    assert_eq!(fingerprint("BEGIN"), "b16b431979fc3e05");
}

#[test]
fn what_is_not_sql_or_too_long_is_not_known() {
    let long = format!("SELECT {}", "1".repeat(TEXT_BYTES_MAX));
    for text in ["SELEKT 1", "SELECT 'open", "SELECT * FROM", "\0", "SELECT 1\0", long.as_str()] {
        assert_eq!(of(text.as_bytes()), Ok(None));
    }
    for row in ["/*", "+", "@/**/", "*"] {
        let tedious = format!("SELECT {} 1", row.repeat(2000));
        assert_eq!(of(tedious.as_bytes()), Ok(None), "{row}");
    }
    let text = b"SELECT '\xe9' /* \xff */ FROM business.patients";
    assert_eq!(of(text).unwrap().unwrap().tables, Some(vec!["business.patients".to_owned()]));
}
