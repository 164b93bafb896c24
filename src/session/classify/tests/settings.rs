//! Settings: what is carried, what pins.

use super::leaves;

#[test]
fn settings_that_can_be_said_again_are_carried() {
    leaves(&[
        ("SET work_mem = '64MB'", "1: set work_mem to '64MB'"),
        ("set session Search_Path to a, \"B\" , 'c' -- x\n", "1: set search_path to a , \"B\" , 'c'"),
        ("SET TIME ZONE 'UTC'", "1: set timezone to 'UTC'"),
        ("SET TIME ZONE INTERVAL '1' HOUR TO MINUTE", "1: set timezone to INTERVAL '1' HOUR TO MINUTE"),
        ("SET TIME ZONE interval(3) '1'", "1: set timezone to interval ( 3 ) '1'"),
        ("SET SESSION TIME ZONE -8", "1: set timezone to - 8"),
        ("SET geqo_seed=-1.5", "1: set geqo_seed to - 1.5"),
        ("SET TIME ZONE DEFAULT", "1: reset timezone"),
        ("SET TIME ZONE LOCAL", "1: reset timezone"),
        ("SET NAMES 'utf8'", "1: set client_encoding to 'utf8'"),
        ("SET NAMES", "1: reset client_encoding"),
        ("SET SCHEMA 'app'", "1: set search_path to 'app'"),
        ("SET XML OPTION DOCUMENT", "1: set xmloption to DOCUMENT"),
        ("SET app.user = 'x;y'", "1: set app.user to 'x;y'"),
        ("SET \"App\".\"User\" TO $$a$$", "1: set app.user to $$a$$"),
        ("SET datestyle = ISO", "1: set datestyle to ISO"),
        ("SET DateStyle = 'ISO, MDY'", "1: set datestyle to 'ISO, MDY'"),
        (
            "SET enable_seqscan TO off; SET jit TO DEFAULT; RESET jit; RESET ALL",
            "4: set enable_seqscan to off, 1 reset jit, 2 reset jit, 3 resetall",
        ),
        (
            "SET SESSION CHARACTERISTICS AS TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY, NOT DEFERRABLE",
            "1: set default_transaction_isolation to 'repeatable read', set default_transaction_read_only to on, set default_transaction_deferrable to off",
        ),
        (
            "SET SESSION CHARACTERISTICS AS TRANSACTION READ WRITE ISOLATION LEVEL READ UNCOMMITTED",
            "1: set default_transaction_read_only to off, set default_transaction_isolation to 'read uncommitted'",
        ),
    ]);
}

#[test]
fn settings_of_the_transaction_leave_nothing() {
    leaves(&[
        ("SET LOCAL work_mem = '64MB'", "1: local work_mem"),
        ("SET LOCAL TIME ZONE 'UTC'", "1: local timezone"),
        ("SET LOCAL ROLE x", "1: local role"),
        ("SET LOCAL default_tablespace = x", "1: local default_tablespace"),
        ("SET TRANSACTION ISOLATION LEVEL SERIALIZABLE", "1:"),
        ("SET LOCAL TRANSACTION READ ONLY", "1:"),
        ("SET transaction_read_only = on", "1:"),
        ("SET CONSTRAINTS ALL DEFERRED", "1:"),
        ("SET LOCAL client_encoding = sjis", "1: local client_encoding, pin encoding"),
        ("SET LOCAL search_path = pg_temp", "1: pin temporary_object, local search_path"),
        ("SET LOCAL search_path = 'pg_temp'", "1: local search_path, pin temporary_object"),
    ]);
}

#[test]
fn settings_that_cannot_be_said_again_pin() {
    leaves(&[
        ("SET ROLE app", "1: pin role"),
        ("SET role TO 'app'", "1: pin role"),
        ("SET ROLE NONE", "1: pin role, mayunpin"),
        ("RESET ROLE", "1: pin role, mayunpin"),
        ("SET SESSION AUTHORIZATION app", "1: pin role"),
        ("SET SESSION SESSION AUTHORIZATION 'app'", "1: pin role"),
        ("SET SESSION AUTHORIZATION DEFAULT", "1: pin role, mayunpin"),
        ("RESET SESSION AUTHORIZATION", "1: pin role, mayunpin"),
        ("SET default_tablespace = x", "1: pin setting"),
        ("SET session_replication_role = replica", "1: pin setting"),
        ("SET unknown_one = 1", "1: pin setting"),
        ("SET standard_conforming_strings = off", "1: pin setting"),
        ("SET standard_conforming_strings TO ON", "1:"),
        ("SET client_encoding = 'SJIS'", "1: pin encoding"),
        ("SET NAMES 'GBK'", "1: pin encoding"),
        ("SET seed = 0.5", "1: pin seed"),
        ("SET temp_buffers = 100", "1: pin setting"),
        ("SET search_path = public, 'PG_Temp'", "1: unknown search_path"),
        ("SET search_path = U&'pg\\005ftemp'", "1: unknown search_path"),
        ("SET search_path = 'pg_'\n'temp'", "1: unknown search_path"),
        ("SET search_path = 'pg_te''mp'", "1: unknown search_path"),
        ("SET search_path = \"a b\", 'c''d', $$e$$", "1: set search_path to \"a b\" , 'c''d' , $$e$$"),
        ("SET work_mem FROM CURRENT", "1: pin setting"),
        ("SET work_mem = $1", "1: unknown work_mem"),
        ("UPDATE pg_settings SET setting = '1' WHERE name = 'work_mem'", "1: pin setting"),
        ("WITH x AS (UPDATE pg_catalog.pg_settings SET setting = '1') SELECT 1", "1: pin setting"),
        ("SELECT * FROM pg_settings", "1:"),
    ]);
}

#[test]
fn set_config_is_a_set_where_it_surely_runs_once() {
    leaves(&[
        ("SELECT pg_catalog.set_config('search_path', '', false);", "1: config search_path to ''"),
        (
            "SELECT set_config('App.x', 'a', false), set_config('jit', E'off', FALSE) AS y",
            "1: config app.x to 'a', config jit to E'off'",
        ),
        ("SELECT set_config('app.x', $1, true)", "1: local app.x"),
        ("SELECT set_config('app.x', f(harmless(1), 2), true)", "1: unsure, local app.x"),
        ("SELECT set_config($1, $2, true)", "1: local $1"),
        ("SELECT set_config($1, $2, false), set_config($3, $4, false)", "1: unknown $1, unknown $3"),
        ("SELECT set_config(lower($1), $2, false)", "1: pin setting"),
        ("SELECT set_config('app.x', NULL, false)", "1: unknown app.x"),
        ("SELECT set_config('app.x', $1, false)", "1: unknown app.x"),
        ("SELECT set_config('app.x', 'a', $1)", "1: unknown app.x"),
        ("SELECT set_config('app.x', 'a', false) FROM t", "1: unknown app.x"),
        ("SELECT a FROM t WHERE set_config('app.x', 'a', false) = 'a'", "1: unknown app.x"),
        ("SELECT CASE WHEN a THEN set_config('app.x', 'a', false) END", "1: unknown app.x"),
        ("SELECT (SELECT set_config('app.x', 'a', false))", "1: unknown app.x"),
        ("DECLARE c CURSOR FOR SELECT set_config('app.x', 'a', false)", "1: unknown app.x"),
        (
            "SELECT set_config('app.x', set_config('app.y', 'a', false), false)",
            "1: pin setting, unknown app.x",
        ),
        ("SELECT set_config('role', 'x', false), set_config('role', 'x', true)", "1: pin role, local role"),
        ("SELECT set_config('is_superuser', 'x', false)", "1: pin setting"),
        ("SELECT set_config('search_path', 'pg_temp,public', false)", "1: unknown search_path"),
        ("SELECT other.set_config('app.x', 'a', false)", "1: unsure"),
    ]);
}
