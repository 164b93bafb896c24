#!/usr/bin/env bash
# PostgreSQL's own test program of libpq's pipeline mode. Connects as the PG* variables say.
set -euo pipefail
program=$ONEVAULT_TEST_CACHE/regress/libpq_pipeline$ONEVAULT_PG_VERSION
for name in $("$program" tests); do
    # A hundred thousand failing statements, and more: once is enough.
    [ "$name $ONEVAULT_PG_VERSION" != "uniqviol 18" ] || continue
    out=$("$program" "$name" '' 2>&1) || { echo "$name: $out" >&2; exit 1; }
done
echo ok
