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
-- how later versions ask
-- gives: whole granted
SELECT pg_catalog.format('%I.%s', s.nspname, r.relname) AS whole, CASE WHEN pg_catalog.array_length(r.relacl, 1) = 0 THEN 'nobody' ELSE pg_catalog.array_to_string(r.relacl, E'\n') END AS granted FROM pg_catalog.pg_class r JOIN pg_catalog.pg_namespace s ON s.oid = r.relnamespace WHERE r.oid = 16400;
-- who may do what, as rows
SELECT coalesce(w.rolname, 'everybody') AS who, array_agg(g.kind) AS what FROM (SELECT (p).grantee AS whom, (p).privilege_type AS kind FROM (SELECT pg_catalog.aclexplode(s.nspacl) AS p FROM pg_catalog.pg_namespace s WHERE s.oid = 16384::oid) x) g LEFT JOIN pg_catalog.pg_roles w ON w.oid = g.whom GROUP BY w.rolname ORDER BY 1;
-- gives: entry
SELECT split_part(entry, '=', 1) AS entry FROM (SELECT pg_catalog.unnest(a.rolconfig) AS entry FROM pg_catalog.pg_roles a WHERE a.oid = 10::oid) c;
-- gives: place called schema_of_type is_twice
SELECT DISTINCT ON (k.attnum) k.attnum AS place, k.attname AS called, (SELECT s.nspname FROM pg_catalog.pg_namespace s WHERE s.oid = t.typnamespace) AS schema_of_type, (SELECT count(1) FROM pg_catalog.pg_type o WHERE o.typname = t.typname) > 1 AS is_twice FROM pg_catalog.pg_attribute k JOIN pg_catalog.pg_type t ON t.oid = k.atttypid WHERE k.attrelid = 16400::oid AND k.attnum > 0 ORDER BY k.attnum;
-- gives: number told
SELECT g.aggfnoid::oid AS number, x.description AS told FROM pg_catalog.pg_aggregate g LEFT JOIN pg_catalog.pg_proc f ON f.oid = g.aggfnoid LEFT JOIN pg_catalog.pg_description x ON x.objoid = g.aggfnoid::oid WHERE f.pronamespace = 16384::oid;
-- gives: where_new_ones_go
SELECT pg_catalog.current_setting('default_tablespace') AS where_new_ones_go;
-- gives: chart numbers
SELECT 'sessions' AS chart, pg_catalog.row_to_json(c) AS numbers FROM (SELECT (SELECT count(*) FROM pg_catalog.pg_stat_activity) AS "All", (SELECT sum(d.blks_hit) + sum(d.blks_read) FROM pg_catalog.pg_stat_database d) AS "Blocks") c UNION ALL SELECT 'rows' AS chart, row_to_json(c) AS numbers FROM (SELECT (SELECT sum(d.tup_returned) FROM pg_catalog.pg_stat_database d) AS "Rows") c;
-- gives: called is_twice
SELECT * FROM (SELECT t.typname AS called, (SELECT count(1) FROM pg_catalog.pg_type o WHERE o.typname = t.typname) > 1 AS is_twice FROM pg_catalog.pg_type t UNION SELECT 'serial', false) u ORDER BY 1;
-- gives: copy called
SELECT r.pid AS copy, u.subname AS called FROM pg_catalog.pg_stat_replication r LEFT JOIN pg_catalog.pg_stat_subscription u ON u.pid = r.pid;
-- gives: called does
SELECT o.oprname AS called, f.proname AS does FROM pg_catalog.pg_operator o JOIN pg_catalog.pg_proc f ON f.oid = o.oprcode WHERE o.oprname = '=' LIMIT 3;
-- what its pages of roles, of the database and of log files ask
-- gives: oid oid rolname rolsuper rolinherit rolcreaterole rolcreatedb rolcanlogin rolreplication rolconnlimit rolpassword rolvaliduntil rolbypassrls rolconfig told belongs_to labels has
SELECT a.oid, a.oid, a.rolname, a.rolsuper, a.rolinherit, a.rolcreaterole, a.rolcreatedb, a.rolcanlogin, a.rolreplication, a.rolconnlimit, a.rolpassword, a.rolvaliduntil, a.rolbypassrls, a.rolconfig, pg_catalog.shobj_description(a.oid, 'pg_authid') AS told, ARRAY(SELECT CASE WHEN m.admin_option THEN 'a' ELSE '-' END || g.rolname FROM (SELECT * FROM pg_catalog.pg_auth_members WHERE member = a.oid) m LEFT JOIN pg_catalog.pg_roles g ON g.oid = m.roleid ORDER BY g.rolname) AS belongs_to, (SELECT pg_catalog.array_agg(b.provider || ':' || b.label) FROM pg_catalog.pg_shseclabel b WHERE b.objoid = a.oid) AS labels, ARRAY(SELECT CASE WHEN h.admin_option THEN 'a' ELSE '-' END || h.called FROM (SELECT pg_roles.rolname AS called, pg_auth_members.admin_option AS admin_option FROM pg_catalog.pg_roles JOIN pg_catalog.pg_auth_members ON pg_roles.oid = pg_auth_members.member AND pg_auth_members.roleid = '10'::oid) h ORDER BY h.called) has FROM pg_catalog.pg_roles a WHERE a.oid = '10'::oid ORDER BY a.rolcanlogin, a.rolname;
-- gives: script
SELECT pg_catalog.array_to_string(array_agg(line), E'\n') AS script FROM (SELECT 'CREATE ROLE ' || pg_catalog.quote_ident(rolname) || CASE WHEN rolcanlogin THEN ' LOGIN' ELSE '' END || CASE WHEN rolconnlimit <> -1 THEN ' CONNECTION LIMIT ' || rolconnlimit ELSE '' END || CASE WHEN rolvaliduntil IS NOT NULL THEN ' VALID UNTIL ' || pg_catalog.quote_literal(rolvaliduntil::text) ELSE '' END || ';' AS line FROM pg_catalog.pg_roles a WHERE a.oid = '10'::OID UNION ALL (SELECT pg_catalog.array_to_string(array_agg(line), E'\n') AS line FROM (SELECT 'GRANT ' || pg_catalog.array_to_string(pg_catalog.array_agg(called ORDER BY called), ', ') || CASE WHEN may_grant OR is_heir THEN ' WITH' ELSE '' END AS line FROM (SELECT pg_catalog.quote_ident(g.rolname) AS called, m.admin_option AS may_grant, m.inherit_option AS is_heir FROM pg_catalog.pg_auth_members m LEFT JOIN pg_catalog.pg_roles g ON m.roleid = g.oid WHERE m.member = '10'::OID ORDER BY g.rolname) p GROUP BY may_grant, is_heir) q) UNION ALL (SELECT pg_catalog.array_to_string(array_agg(line), E'\n') AS line FROM (SELECT 'ALTER ROLE ' || pg_catalog.quote_ident(rolname) || ' SET ' || named AS line FROM (SELECT rolname, pg_catalog.split_part(rolconfig, '=', 1) AS named FROM (SELECT pg_catalog.unnest(rolconfig) AS rolconfig, rolname FROM pg_catalog.pg_roles WHERE oid = '10'::OID) r) s) t) UNION ALL (SELECT pg_catalog.array_to_string(array_agg(line), E'\n') AS line FROM (SELECT 'IN DATABASE ' || pg_catalog.quote_ident(datname) AS line FROM (SELECT d.datname, pg_catalog.unnest(c.setconfig) AS entry FROM (SELECT * FROM pg_catalog.pg_db_role_setting s WHERE s.setrole = '10'::OID AND s.setdatabase != 0) c LEFT JOIN pg_catalog.pg_database d ON d.oid = c.setdatabase) b) e) UNION ALL (SELECT 'COMMENT ' || pg_catalog.quote_literal(told) AS line FROM (SELECT pg_catalog.shobj_description('10'::OID, 'pg_authid') AS told) f WHERE told IS NOT NULL)) AS g;
-- gives: place granted who by_whom what
SELECT * FROM ((SELECT CASE (n.place) WHEN 'r' THEN 'tables' END AS place, 'less' AS granted, COALESCE(w.rolname, 'everybody') AS who, b.rolname AS by_whom, pg_catalog.array_agg(n.kind) AS what FROM (SELECT (x.entry).grantee AS grantee, (x.entry).grantor AS grantor, (x.entry).privilege_type AS kind, x.place FROM (SELECT y.place, pg_catalog.aclexplode(y.gone) AS entry FROM (SELECT z.place, array(SELECT unnest(z.first) EXCEPT SELECT unnest(z.now)) AS gone FROM (SELECT v.defaclobjtype AS place, v.defaclacl AS now, acldefault(v.defaclobjtype, v.defaclrole) AS first FROM pg_catalog.pg_default_acl v WHERE v.defaclnamespace = 0::OID) z) y WHERE NOT y.gone = '{}') x) n LEFT JOIN pg_catalog.pg_roles b ON n.grantor = b.oid LEFT JOIN pg_catalog.pg_roles w ON n.grantee = w.oid GROUP BY b.rolname, w.rolname, n.place ORDER BY n.place) UNION (SELECT 'x' AS place, 'more' AS granted, w.rolname AS who, w.rolname AS by_whom, pg_catalog.array_agg(v.defaclobjtype) AS what FROM pg_catalog.pg_default_acl v LEFT JOIN pg_catalog.pg_roles w ON v.defaclrole = w.oid GROUP BY w.rolname)) u ORDER BY u.granted DESC;
-- gives: setting
SELECT setting FROM pg_show_all_settings() WHERE name = 'log_destination';
-- gives: pg_stat_file
SELECT pg_stat_file(pg_current_logfile());
-- gives: pg_stat_file
SELECT pg_stat_file(pg_current_logfile('csvlog'));
