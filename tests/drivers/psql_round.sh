#!/usr/bin/env bash
# psql as people use it: \copy, \watch, Ctrl-C, LISTEN, errors. Connects as the PG* variables say.
set -euo pipefail
dir=$(mktemp -d); trap 'rm -rf "$dir"' EXIT
run() { psql -X -q -v ON_ERROR_STOP=1 "$@"; }
is() { [ "$1" = "$2" ] || { printf 'expected: %s\nfound:    %s\n' "$2" "$1" >&2; exit 1; }; }
has() { grep -qF -- "$2" <<<"$1" || { printf 'expected to find: %s\nin: %s\n' "$2" "$1" >&2; exit 1; }; }

is "$(run -At -c 'SELECT 1' -c "SELECT 'two'")" $'1\ntwo'
is "$(run -At -c "SELECT 1; SELECT 'two'")" $'1\ntwo' # both in one message

# \copy, both ways, and what follows a failed one
seq 1 50000 | sed 's/$/\trow/' > "$dir/in"
run -c 'CREATE TABLE bulk (id int, body text)' -c "\\copy bulk FROM '$dir/in'" -c "\\copy bulk TO '$dir/out'"
cmp "$dir/in" "$dir/out"
out=$(printf '%s\n' 'COPY bulk FROM STDIN;' 'no number	x' '\.' 'SELECT count(*) FROM bulk;' | psql -X -At 2>&1)
has "$out" 'invalid input syntax for type integer'
has "$out" '50000'

# \watch ends with psql
out=$(timeout -s INT 3 psql -X -At -c 'SELECT 41 + 1 \watch 0.5' 2>&1 || true)
out=$(printf 'SELECT 41 + 1 \\watch 0.3\n' | timeout -s INT 2 psql -X -At 2>&1 || true)
[ "$(grep -c '^42$' <<<"$out")" -ge 2 ] || { echo "watch: $out" >&2; exit 1; }

# Ctrl-C cancels the statement
# (a job in the background would ignore SIGINT, hence the trap)
setsid bash -c 'trap - INT; exec psql -X -At -c "SELECT 1" -c "\\echo begun" -c "SELECT pg_sleep(30)"' > "$dir/sleep.out" 2>&1 &
pid=$!
for _ in $(seq 100); do grep -q begun "$dir/sleep.out" && break; sleep 0.1; done
sleep 0.5
kill -INT "$pid"
for _ in $(seq 100); do kill -0 "$pid" 2>/dev/null || break; sleep 0.1; done
wait "$pid" || true
has "$(cat "$dir/sleep.out")" 'canceling statement due to user request'

# LISTEN and NOTIFY in one session and between two
out=$(printf "LISTEN news;\nNOTIFY news, 'own';\n" | psql -X -At 2>&1)
has "$out" 'Asynchronous notification "news" with payload "own" received from server process with PID'
mkfifo "$dir/pipe"
psql -X -At < "$dir/pipe" > "$dir/heard" 2>&1 &
listener=$!
exec 7> "$dir/pipe"
echo 'LISTEN news;' >&7; echo "SELECT 'ready';" >&7
for _ in $(seq 100); do grep -q ready "$dir/heard" && break; sleep 0.1; done
sender=$(run -At -c "SELECT pg_backend_pid()" -c "NOTIFY news, 'other'" | head -1)
echo 'SELECT 1;' >&7; exec 7>&-
wait "$listener"
[ "$ONEVAULT_TEST_POOL" != transaction ] || sender= # whichever backend it had
has "$(cat "$dir/heard")" "with payload \"other\" received from server process with PID $sender"

# Errors with their position, transactions, variables, large results
out=$(psql -X -At -v VERBOSITY=verbose -c 'SELECT nothing FROM nowhere' 2>&1 || true)
has "$out" 'ERROR:  42P01: relation "nowhere" does not exist'
has "$out" 'LINE 1: SELECT nothing FROM nowhere'
is "$(printf 'BEGIN;\nSELECT 1/0;\nSELECT 2;\nROLLBACK;\nSELECT 3;\n' | psql -X -At 2>/dev/null)" $'BEGIN\nROLLBACK\n3'
is "$(run -At -c "SELECT repeat('x', 30000000)" | wc -c)" 30000001
is "$(run -At -c 'SELECT generate_series(1, 300000)' | tail -1)" 300000
is "$(run -At -v FETCH_COUNT=1000 -c 'SELECT generate_series(1, 20000)' | wc -l)" 20000
is "$(PGOPTIONS='-c work_mem=5MB' run -At -c 'SHOW work_mem')" 5MB
is "$(PGAPPNAME='psql round' run -At -c 'SHOW application_name')" 'psql round'
out=$(PGPASSWORD=wrong psql -X -c 'SELECT 1' 2>&1 || true)
has "$out" 'password authentication failed'
run -c 'DROP TABLE bulk'
echo ok
