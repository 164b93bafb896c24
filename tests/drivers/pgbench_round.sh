#!/usr/bin/env bash
# pgbench in its three protocols. Connects as the PG* variables say.
set -euo pipefail
bin=${ONEVAULT_CLIENTS:-/usr/lib/postgresql/15/bin}
"$bin/pgbench" -i -s 1 -q 2>/dev/null
for mode in simple extended prepared; do
    for script in '' -S -N; do
        # A thread for each client: pgbench prepares while it waits for nothing else, so that two clients of one thread may need a backend
        # each where the first is inside a transaction and holds the one that is there.
        out=$("$bin/pgbench" -n -M "$mode" ${script:+"$script"} -c 4 -j 4 -t 50 2>&1) || { echo "$out" >&2; exit 1; }
        grep -q 'number of transactions actually processed: 200/200' <<<"$out" || { echo "$out" >&2; exit 1; }
    done
done
# A connection for each transaction
out=$("$bin/pgbench" -n -S -C -c 4 -t 20 2>&1) || { echo "$out" >&2; exit 1; }
"$bin/psql" -X -q -c 'DROP TABLE pgbench_accounts, pgbench_branches, pgbench_history, pgbench_tellers'
echo ok
