// pgx at the console: both caches of statements, parameters, batches, COPY, cancels, a pool. Connects as the PG* variables say.
// Expects five statements of one customer in the log, of which one has failed.
package main

import (
	"bytes"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/jackc/pgx/v4"
)

const kinds = "FROM audit.statements WHERE kind = 'query'"
const endless = "SELECT count(*) FROM generate_series(1, 100000) a, generate_series(1, 100000) b WHERE a.value * b.value % 7 = 3"

func count(c *pgx.Conn, where string, args ...any) (n int64) {
	must(c.QueryRow(all, "SELECT count(*) "+kinds+" AND "+where, args...).Scan(&n))
	return
}

func parameters(c *pgx.Conn) {
	ago := time.Now().Add(-time.Hour)
	is(count(c, "time BETWEEN $1 AND $2", ago, time.Now().Add(time.Hour)) == 5, "between")
	is(count(c, "time > now() - $1::interval", time.Hour) == 5, "interval")
	is(count(c, "outcome = ANY($1)", []string{"ok", "error"}) == 5, "any")
	is(count(c, "outcome = ANY($1::text[])", []string{"error", `with "quotes", and {}`}) == 1, "quotes")
	is(count(c, "rows = ANY($1::int8[])", []int64{1, 2}) > 0, "numbers")
	is(count(c, "rows >= $1 AND duration_ns < $2", 0, int64(1e12)) == 5, "bounds")
	is(count(c, "sqlstate IS NOT DISTINCT FROM $1", nil) == 4, "null")
	var text, nothing *string
	var body []byte
	var flag bool
	must(c.QueryRow(all, "SELECT $1::text, $2::text, $3::bytea, $4::bool", "ü☃ ' \\", nil, []byte{0, 255}, true).Scan(&text, &nothing, &body, &flag))
	is(*text == "ü☃ ' \\" && nothing == nil && bytes.Equal(body, []byte{0, 255}) && flag, "types")
	var at time.Time
	var rows int64
	var tables []string
	must(c.QueryRow(all, "SELECT time, rows, tables "+kinds+" AND outcome = $1 ORDER BY record LIMIT $2", "ok", 1).Scan(&at, &rows, &tables))
	is(at.After(ago) && rows == 1 && len(tables) == 0, "a row: ", at, rows, tables)
	for round := 0; round < 3; round++ {
		for n := 0; n < 12; n++ {
			var got int64
			must(c.QueryRow(all, fmt.Sprintf("SELECT $1::int8 + %d", n), round).Scan(&got))
			is(got == int64(round+n), "another's answer")
		}
	}
}

func batches(c *pgx.Conn) {
	batch := &pgx.Batch{}
	for _, outcome := range []string{"ok", "error", "ok"} {
		batch.Queue("SELECT count(*) "+kinds+" AND outcome = $1", outcome)
	}
	results := c.SendBatch(all, batch)
	for _, expected := range []int64{4, 1, 4} {
		var n int64
		must(results.QueryRow().Scan(&n))
		is(n == expected, "a batch")
	}
	must(results.Close())
	var out bytes.Buffer
	_, err := c.PgConn().CopyTo(all, &out, "COPY (SELECT outcome, NULL "+kinds+") TO STDOUT")
	must(err)
	is(strings.Count(out.String(), "ok\t\\N\n") == 4, "copy: ", out.String())
}

func transactions(c *pgx.Conn) {
	tx, err := c.BeginTx(all, pgx.TxOptions{IsoLevel: pgx.Serializable, AccessMode: pgx.ReadOnly, DeferrableMode: pgx.Deferrable})
	must(err)
	inner, err := tx.Begin(all)
	must(err)
	_, err = inner.Exec(all, "SELECT nothing")
	expect("42703", err)
	must(inner.Rollback(all))
	var n int64
	must(tx.QueryRow(all, "SELECT count(*) "+kinds).Scan(&n))
	is(n == 5, "after a savepoint")
	must(tx.Commit(all))
	_, err = c.Exec(all, "DELETE FROM audit.statements WHERE record = $1", 1)
	expect("25006", err)
	_, err = c.Exec(all, "SELECT $1::timestamptz", "2026-13-01")
	is(err != nil, "no such month")
}

func limits(config string) {
	c := connect(config + " statement_timeout=300")
	_, err := c.Exec(all, endless)
	expect("57014", err)
	_, err = c.Exec(all, "SET statement_timeout = 0")
	must(err)
	cancelled(c, endless)
	is(count(c, "true") == 5, "goes on")
	must(c.Close(all))
	pooled(config, 3, 3, 3)
}

func main() {
	for _, config := range []string{"statement_cache_capacity=16", "statement_cache_mode=describe", "prefer_simple_protocol=true"} {
		c := connect(config)
		if config != "prefer_simple_protocol=true" {
			parameters(c)
		}
		is(count(c, "outcome = $1", "error") == 1, "one failed")
		batches(c)
		transactions(c)
		must(c.Close(all))
	}
	limits("statement_cache_capacity=16")
	fmt.Fprintln(os.Stdout, "ok")
}
