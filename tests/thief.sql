-- A thief of backends, for psql: everything a session can leave behind, in quick transactions. See tests/support/thief.rs.
SET TimeZone = 'Pacific/Kiritimati'; SET search_path = thief; SET DateStyle = 'German'; SET application_name = 'thief';
SET bytea_output = escape; SET IntervalStyle = iso_8601; SET extra_float_digits = -15; SET work_mem = '64kB';
SET enable_seqscan = off; SET enable_hashjoin = off; SET statement_timeout = '77s'; SET custom.key = 'stolen';
SET default_transaction_isolation = serializable; SET client_min_messages = error; SET lc_numeric = 'C'; SET lc_messages = 'C';
SELECT 'stolen';
BEGIN; SET LOCAL search_path = pg_catalog; SET LOCAL work_mem = '128kB'; ROLLBACK;
BEGIN; SET row_security = off; SAVEPOINT a; SET plan_cache_mode = force_generic_plan; ROLLBACK TO a; COMMIT;
PREPARE s1 AS SELECT 'stolen'; EXECUTE s1; DEALLOCATE s1;
SELECT pg_advisory_lock(4242); SELECT pg_advisory_unlock(4242);
LISTEN theft; NOTIFY theft; UNLISTEN theft;
DECLARE c CURSOR WITH HOLD FOR SELECT 'stolen'; CLOSE c;
CREATE TEMP TABLE theft AS SELECT 'stolen'::text AS x; DROP TABLE pg_temp.theft;
SELECT 1/0;
RESET work_mem; RESET row_security;
DISCARD ALL;
