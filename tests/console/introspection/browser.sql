-- who and where one is
SET extra_float_digits = 2; SELECT set_config('application_name', 'browser', false); SET client_encoding = 'UTF8';
-- gives: current_user session_user current_schema
SELECT current_user, session_user, current_schema();
-- gives: search_path
SHOW search_path;
-- gives: may_create running
SELECT CASE WHEN u.usesuper THEN true ELSE u.usecreatedb END AS may_create, NOT pg_catalog.pg_is_in_recovery() AS running FROM pg_catalog.pg_user u WHERE u.usename = current_user;
-- gives: words
SELECT string_agg(k.word, ' ') AS words FROM pg_catalog.pg_get_keywords() k WHERE k.word <> ALL ('{select,from}'::text[]);
-- the tree
-- gives: number called encoded can_create told
SELECT b.oid AS number, b.datname AS called, pg_catalog.pg_encoding_to_char(b.encoding) AS encoded, pg_catalog.has_database_privilege(b.oid, 'CREATE') AS can_create, s.description AS told FROM pg_catalog.pg_database b LEFT JOIN pg_catalog.pg_shdescription s ON s.objoid = b.oid AND s.classoid = 'pg_database'::regclass WHERE b.datallowconn ORDER BY 2;
-- gives: number called may_look told
SELECT s.oid AS number, s.nspname AS called, pg_catalog.has_schema_privilege(s.oid, 'USAGE') AS may_look, x.description AS told FROM pg_catalog.pg_namespace s LEFT JOIN pg_catalog.pg_description x ON x.objoid = s.oid AND x.classoid = 'pg_namespace'::regclass WHERE s.nspname NOT LIKE E'pg\\_%' ORDER BY s.nspname;
-- gives: number called triggers has_heirs told
SELECT r.oid AS number, r.relname AS called, (SELECT count(*) FROM pg_catalog.pg_trigger g WHERE g.tgrelid = r.oid) AS triggers, (SELECT count(1) FROM pg_catalog.pg_inherits h WHERE h.inhparent = r.oid LIMIT 1) AS has_heirs, x.description AS told FROM pg_catalog.pg_class r LEFT JOIN pg_catalog.pg_description x ON x.objoid = r.oid AND x.objsubid = 0 WHERE r.relkind IN ('r', 'p', 'f') AND r.relnamespace = 16384 ORDER BY r.relname;
-- gives: called place shown_as required starts_as told
SELECT k.attname AS called, k.attnum AS place, pg_catalog.format_type(k.atttypid, k.atttypmod) AS shown_as, k.attnotnull AS required, pg_catalog.pg_get_expr(v.adbin, v.adrelid) AS starts_as, x.description AS told FROM pg_catalog.pg_attribute k LEFT JOIN pg_catalog.pg_attrdef v ON v.adrelid = k.attrelid AND v.adnum = k.attnum LEFT JOIN pg_catalog.pg_description x ON x.objoid = k.attrelid AND x.objsubid = k.attnum WHERE k.attrelid = 16400 AND k.attnum > 0 AND NOT k.attisdropped ORDER BY k.attnum;
SELECT k.*, r.relname, r.relnamespace FROM pg_catalog.pg_index k JOIN pg_catalog.pg_class r ON r.oid = k.indexrelid WHERE k.indrelid = 16400 ORDER BY r.relname;
SELECT DISTINCT ON (t.typname) t.oid, t.*, format_type(nullif(t.typbasetype, 0), t.typtypmod) AS made_of FROM pg_catalog.pg_type t LEFT JOIN pg_catalog.pg_class r ON r.oid = t.typrelid WHERE r.relkind IS NULL OR r.relkind = 'c' ORDER BY t.typname;
-- gives: role_number members
SELECT a.oid AS role_number, ARRAY(SELECT m.member FROM pg_catalog.pg_auth_members m) AS members FROM pg_catalog.pg_roles a WHERE a.rolname = current_user;
-- gives: process login began
SELECT w.pid AS process, w.usename AS login, pg_catalog.to_char(w.backend_start, 'YYYY-MM-DD') AS began FROM pg_catalog.pg_stat_activity w ORDER BY 1;
