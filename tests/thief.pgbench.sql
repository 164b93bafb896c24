-- A thief of backends, for pgbench: statements with the names that it gives them, run over and over between others' transactions.
SET search_path = thief;
SET DateStyle = 'SQL, DMY';
SELECT current_setting('search_path') || current_setting('DateStyle') AS seen;
SELECT 'stolen' WHERE :client_id = 0;
BEGIN;
SELECT count(*) FROM pg_catalog.pg_class WHERE oid < 100;
COMMIT;
RESET ALL;
\sleep 40 ms
