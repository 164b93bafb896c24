//! Calls: what is one, and what it leaves.

use super::{leaves, left};

#[test]
fn functions_are_known_by_their_names() {
    leaves(&[
        ("SELECT lower(a), pg_catalog.upper(b), \"count\"(*) FROM t", "1:"),
        ("SELECT f(1)", "1: unsure"),
        ("SELECT a FROM f (1)", "1: unsure"),
        ("SELECT a FROM t WHERE b = any(app.g(1))", "1: unsure"),
        ("SELECT app.lower(a)", "1: unsure"),
        ("SELECT \"Lower\"(a)", "1: unsure"),
        ("SELECT f/* x */ -- y\n (1)", "1: unsure"),
        ("SELECT harmless(1), x.harmless(1), app.pure(1)", "1:"),
        ("SELECT pure(1)", "1: unsure"),
        ("SELECT keep_me(1)", "1: pin function"),
        ("SELECT login(1)", "1: pin function"),
        ("SELECT other.login(1)", "1: unsure"),
        ("SELECT nextval('s'), setval('s', 1)", "1: sequencestep"),
        ("SELECT lastval(), CURRVAL('s')", "1: sequenceread"),
        ("SELECT setseed(0.5)", "1: pin seed"),
        (
            "SELECT pg_advisory_lock(1); SELECT pg_try_advisory_lock_shared(1, 2)",
            "2: pin advisory_lock, 1 pin advisory_lock",
        ),
        ("SELECT pg_advisory_xact_lock(1), pg_try_advisory_xact_lock(1)", "1:"),
        ("SELECT pg_advisory_unlock(1)", "1: mayunpin"),
        ("SELECT query_to_xml('select f()', true, true, '')", "1: unsure"),
        ("SELECT uuidv7()", "1: unsure"),
        ("SELECT U&\"x\" FROM t", "1: unsure"),
    ]);
}

#[test]
fn what_will_ask_for_last_values_later_is_known_by_its_text() {
    let later = "1: sequencereadlater";
    leaves(&[
        ("CREATE TABLE t (a int, b int DEFAULT -1 * currval('s'))", later),
        ("CREATE TABLE t (b int CHECK (b > pg_catalog.\"lastval\"()))", later),
        ("CREATE VIEW v AS SELECT Currval ('s')", later),
        ("CREATE RULE r AS ON INSERT TO t DO ALSO INSERT INTO u VALUES (lastval())", later),
        (
            "CREATE TRIGGER g BEFORE UPDATE ON t FOR EACH ROW WHEN (new.a = lastval()) EXECUTE FUNCTION f()",
            later,
        ),
        ("CREATE FUNCTION f() RETURNS int LANGUAGE sql AS 'SELECT currval(''s'')'", later),
        ("CREATE FUNCTION f() RETURNS int LANGUAGE sql AS $f$ SELECT LASTVAL\n() $f$", later),
        ("CREATE FUNCTION f() RETURNS int LANGUAGE sql AS E'SELECT\\ncurrval(\\'s\\')'", later),
        ("CREATE FUNCTION f() RETURNS int BEGIN ATOMIC SELECT 1; SELECT lastval(); END", later),
        (
            "CREATE PROCEDURE f() LANGUAGE plpgsql AS $$BEGIN EXECUTE 'SELECT \"currval\"(''s'')'; END$$",
            later,
        ),
        ("DO $$BEGIN PERFORM currval('s'); END$$", "1: unsure, sequencereadlater"),
        ("PREPARE p AS SELECT lastval()", "1: sequencereadlater, sqlprepare"),
        ("ALTER TABLE t ALTER a SET DEFAULT currval('s')", "1: sequenceread"),
        // Not built in, not called, or only said.
        ("CREATE VIEW v AS SELECT app.currval('s'), currval FROM t", "1:"),
        ("CREATE FUNCTION f() RETURNS int LANGUAGE sql AS 'SELECT lastval FROM t'", "1:"),
        ("INSERT INTO t VALUES ('lastval()')", "1: sequencestep"),
        ("SELECT 'currval()'", "1:"),
    ]);
}

#[test]
fn a_newer_server_has_more_functions() {
    let rules = super::Rules { server_major: 18, ..super::rules() };
    assert!(super::classify(b"SELECT uuidv7(), json_value(a, '$')", &rules).is_empty());
}

#[test]
fn what_looks_like_a_call_and_is_none() {
    let texts = [
        "SELECT a::varchar(10), b::geometry(point, 4326), CAST(c AS vector(3)), d::numeric(5,2)[] FROM t",
        "SELECT * FROM t a (x, y) JOIN (SELECT 1) b (z) ON (true) LEFT JOIN LATERAL (SELECT 1) AS c (d) USING (e)",
        "WITH RECURSIVE a (x) AS (SELECT 1), b (y) AS MATERIALIZED (SELECT 2) SELECT * FROM a, b",
        "SELECT count(*) FILTER (WHERE a) OVER (PARTITION BY (b) ORDER BY (c)) FROM t GROUP BY (d), GROUPING SETS ((e), (f))",
        "SELECT a FROM t WHERE b IN (1) AND c NOT IN (2) AND EXISTS (SELECT 1) AND d = ANY (ARRAY[1]) AND e LIKE ('x')",
        "SELECT coalesce(a, 1), nullif(b, 2), greatest(c), extract(year FROM d), substring(e FROM 1), trim(f), xmlelement(name g)",
        "SELECT percentile_cont(0.5) WITHIN GROUP (ORDER BY a), position('a' IN b), overlay(a placing b from 1), row(1, 2) FROM t",
        "SELECT * FROM generate_series(1, 2) g(i), unnest(a) WITH ORDINALITY AS u(x, n)",
        "SELECT a FROM t GROUP BY ROLLUP (a)",
        "UPDATE t SET (a, b) = (1, 2) WHERE c BETWEEN (1) AND (2)",
        "DELETE FROM t USING (SELECT 1) x WHERE NOT (a) OR (b)",
        "SELECT CASE WHEN (a) THEN (b) ELSE (c) END FROM t LIMIT (1) OFFSET (2)",
        "SELECT a FROM t UNION ALL (SELECT 1) EXCEPT (SELECT 2) FETCH FIRST (1) ROWS ONLY",
        "SELECT timestamp(3) '2020-01-01', interval second(3) '1', a::character varying(10), b::bit varying(3) FROM t",
        "SELECT a AT TIME ZONE ('UTC') FROM t TABLESAMPLE bernoulli (10) REPEATABLE (1)",
        "CREATE TABLE t (a varchar(10) DEFAULT f(1), b geometry(point), CHECK (g(a)), UNIQUE (a), EXCLUDE USING gist (b WITH &&))",
        "CREATE VIEW v (a) AS SELECT f(1)",
        "CREATE FUNCTION f(a int DEFAULT g(1)) RETURNS int LANGUAGE sql RETURN h(1)",
        "CREATE TRIGGER t BEFORE INSERT ON t FOR EACH ROW WHEN (f(1)) EXECUTE FUNCTION g()",
        "CREATE POLICY p ON t USING (f(a))",
        "CREATE INDEX i ON t USING gin (a gin_trgm_ops(siglen=3), lower(b)) INCLUDE (c) WITH (fastupdate=off)",
        "ALTER TABLE t ADD CONSTRAINT c FOREIGN KEY (a) REFERENCES u (b), ADD g geometry(point), ADD PRIMARY KEY (a), ALTER b TYPE vector(3)",
        "ALTER FUNCTION f(int) OWNER TO x",
        "COPY (SELECT 1) TO STDOUT WITH (FORMAT csv, FORCE_QUOTE (a))",
        "COPY t (a, b) TO STDOUT (FORMAT binary)",
        "GRANT SELECT (a) ON t TO x",
    ];
    for text in texts {
        assert_eq!(left(text), "1:", "{text}");
    }
    leaves(&[
        ("INSERT INTO t (a) VALUES (1) ON CONFLICT (a) DO UPDATE SET (b, c) = (1, 2)", "1: sequencestep"),
        ("INSERT INTO app.t AS x (a, b) SELECT 1, 2", "1: sequencestep"),
        ("MERGE INTO t USING s ON (a) WHEN NOT MATCHED THEN INSERT (a) VALUES (1)", "1: sequencestep"),
        ("COPY t FROM STDIN WITH (FORMAT csv, FORCE_NULL (a))", "1: sequencestep"),
    ]);
}

#[test]
fn calls_are_seen_wherever_they_run() {
    let texts = [
        "CREATE TABLE t AS SELECT f(1)",
        "CREATE TABLE t (a) AS VALUES (f(1))",
        "CREATE MATERIALIZED VIEW v AS SELECT f(1)",
        "CREATE TABLE p PARTITION OF t FOR VALUES FROM (f(1)) TO (2)",
        "CREATE INDEX ON t (f(a))",
        "CREATE UNIQUE INDEX CONCURRENTLY i ON t (a) WHERE f(a)",
        "ALTER TABLE t ADD COLUMN a int DEFAULT f(1)",
        "ALTER TABLE t ALTER a TYPE int USING f(a)",
        "ALTER DOMAIN d ADD CHECK (f(value))",
        "COPY (SELECT f(1)) TO STDOUT",
        "SELECT DISTINCT ON (a) f(b) FROM t",
        "SELECT a OPERATOR(pg_catalog.+) f(b) FROM t",
        "SELECT OPERATOR(public.-) f(b)",
        "SELECT a FROM t ORDER BY f(a)",
        "SELECT a FROM t ORDER BY cube(a)",
        "SELECT a FROM t JOIN f(1) ON true",
        "SELECT 1 WHERE a = 0or f(1)",
        "SELECT 'a'||f(1)",
        "SELECT x => f(1)",
        "SELECT a AT TIME ZONE f(1)",
        "SELECT (f(1)).*, ARRAY[f(2)], -f(3)",
        "SELECT a FROM ROWS FROM (f(1), g(2))",
        "SELECT a FROM t WITH ORDINALITY, f(1)",
        "SELECT ALL f(1)",
        "VALUES (f(1))",
        "(((SELECT f(1))))",
        "WITH a (x) AS (SELECT f(1)) SELECT 1",
        "WITH a AS (SELECT 1) SELECT f(1)",
        "WITH a AS (SELECT 1) UPDATE t SET b = f(1)",
        "SELECT join(1)",
        "DELETE FROM t RETURNING f(a)",
        "SELECT sum(a) OVER (ORDER BY f(b)) FROM t",
    ];
    for text in texts {
        assert_eq!(left(text), "1: unsure", "{text}");
    }
    leaves(&[("COPY t FROM STDIN WHERE f(a)", "1: sequencestep, unsure")]);
}
