#!/usr/bin/env bash
# pg_dump piped into pg_restore, and what came out is what went in. Connects as the PG* variables say.
set -euo pipefail
bin=${ONEVAULT_CLIENTS:-/usr/lib/postgresql/15/bin}
dir=$(mktemp -d); trap 'rm -rf "$dir"' EXIT
run() { "$bin/psql" -X -q -v ON_ERROR_STOP=1 "$@"; }
run <<'SQL'
CREATE SCHEMA shop;
CREATE TYPE shop.state AS ENUM ('new', 'paid');
CREATE TABLE shop.orders (id serial PRIMARY KEY, state shop.state, body jsonb, raw bytea);
INSERT INTO shop.orders (state, body, raw) SELECT 'paid', jsonb_build_object('n', n, 't', E'tab\tnew\nline'), decode(md5(n::text), 'hex')
    FROM generate_series(1, 5000) n;
CREATE VIEW shop.paid AS SELECT id FROM shop.orders WHERE state = 'paid';
CREATE FUNCTION shop.twice(n int) RETURNS int LANGUAGE sql AS 'SELECT n * 2';
SELECT lo_from_bytea(0, 'a large object') \gset
SQL
sum() { run -At -c "SELECT md5(string_agg(o::text, '|' ORDER BY id)) FROM shop.orders o" -c 'SELECT shop.twice(21), count(*) FROM shop.paid'; }
before=$(sum)
"$bin/pg_dump" -Fc -b > "$dir/dump"
"$bin/pg_dump" --inserts --schema=shop > "$dir/text.sql"
run -c 'DROP SCHEMA shop CASCADE' 2>/dev/null
run -c 'CREATE SCHEMA shop' # which is not part of --schema
"$bin/pg_restore" --no-owner --schema=shop -d "$PGDATABASE" < "$dir/dump"
[ "$(sum)" = "$before" ]
"$bin/pg_restore" --no-owner --clean --if-exists --schema=shop -d "$PGDATABASE" < "$dir/dump"
[ "$(sum)" = "$before" ]
run -c 'DROP SCHEMA shop CASCADE' 2>/dev/null
sed -i '/^\\\(un\)\?restrict/d' "$dir/text.sql"
run -1 -f "$dir/text.sql" >/dev/null
[ "$(sum)" = "$before" ]
run -c 'DROP SCHEMA shop CASCADE' 2>/dev/null
echo ok
