// pgx: both caches of statements, batches, COPY, cancels, notifications, a pool. Connects as the PG* variables say.
package main

import (
	"context"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/jackc/pgx/v4"
)

func number(c *pgx.Conn, sql string, args ...any) (n int) {
	must(c.QueryRow(all, sql, args...).Scan(&n))
	return
}

func run(c *pgx.Conn, sql string, args ...any) {
	_, err := c.Exec(all, sql, args...)
	must(err)
}

func types(c *pgx.Conn) {
	var text, nothing *string
	var body []byte
	var list []int32
	must(c.QueryRow(all, "SELECT $1::text, $2::text, $3::bytea, $4::int4[]", "ü☃ ' \\", nil, make([]byte, 8<<20), []int32{1, 2}).Scan(&text, &nothing, &body, &list))
	is(*text == "ü☃ ' \\" && nothing == nil && len(body) == 8<<20 && len(list) == 2, "types")
}

// The same texts again and again, and more of them than a cache of 16 keeps.
func cached(c *pgx.Conn) {
	for round := 0; round < 3; round++ {
		for n := 0; n < 40; n++ {
			is(number(c, fmt.Sprintf("SELECT $1::int4 + %d", n), round) == round+n, "another's answer")
		}
	}
	run(c, "CREATE TABLE shape (a int); INSERT INTO shape VALUES (1)")
	is(number(c, "SELECT * FROM shape") == 1, "shape")
	run(c, "ALTER TABLE shape ALTER a TYPE bigint")
	rows, err := c.Query(all, "SELECT * FROM shape")
	if err == nil {
		rows.Close()
		err = rows.Err()
	}
	if err != nil { // a cached plan must not change result type; the driver forgets the statement
		expect("0A000", err)
	}
	is(number(c, "SELECT * FROM shape") == 1, "shape again")
	run(c, "DROP TABLE shape")
}

// A statement with a name of its own, which only the first kind of cache runs.
func named(c *pgx.Conn) {
	_, err := c.Prepare(all, "mine", "SELECT $1::int4 * 2")
	must(err)
	for n := 0; n < 10; n++ {
		is(number(c, "mine", n) == n*2, "a name of its own")
	}
	must(c.Deallocate(all, "mine"))
	_, err = c.Exec(all, "DEALLOCATE mine")
	expect("26000", err)
}

func transactions(c *pgx.Conn) {
	run(c, "CREATE TABLE work (id int PRIMARY KEY)")
	tx, err := c.BeginTx(all, pgx.TxOptions{IsoLevel: pgx.Serializable})
	must(err)
	_, err = tx.Exec(all, "INSERT INTO work VALUES ($1)", 1)
	must(err)
	inner, err := tx.Begin(all)
	must(err)
	_, err = inner.Exec(all, "INSERT INTO work VALUES ($1)", 1)
	expect("23505", err)
	must(inner.Rollback(all))
	must(tx.Commit(all))
	is(number(c, "SELECT count(*) FROM work") == 1, "one row")
	_, err = c.Exec(all, "SELEC")
	expect("42601", err)
	batch := &pgx.Batch{}
	for n := 10; n < 40; n++ {
		batch.Queue("INSERT INTO work VALUES ($1)", n)
	}
	batch.Queue("SELECT count(*) FROM work")
	results := c.SendBatch(all, batch)
	for n := 10; n < 40; n++ {
		_, err := results.Exec()
		must(err)
	}
	var count int
	must(results.QueryRow().Scan(&count))
	must(results.Close())
	is(count == 31, "a batch")
	batch = &pgx.Batch{}
	batch.Queue("INSERT INTO work VALUES ($1)", 100)
	batch.Queue("INSERT INTO work VALUES ($1)", 1)
	expect("23505", c.SendBatch(all, batch).Close())
	is(number(c, "SELECT count(*) FROM work") == 31, "a failed batch leaves nothing")
	rows := make([][]any, 20000)
	for n := range rows {
		rows[n] = []any{n + 1000}
	}
	copied, err := c.CopyFrom(all, pgx.Identifier{"work"}, []string{"id"}, pgx.CopyFromRows(rows))
	must(err)
	is(copied == 20000, "copy")
	_, err = c.CopyFrom(all, pgx.Identifier{"work"}, []string{"id"}, pgx.CopyFromRows(rows[:10]))
	expect("23505", err)
	run(c, "DROP TABLE work")
}

func settings(c *pgx.Conn) {
	run(c, "SET search_path = pg_catalog")
	run(c, "SELECT set_config('app.user', $1, false)", "me")
	var user, path string
	must(c.QueryRow(all, "SELECT current_setting('app.user'), current_setting('search_path')").Scan(&user, &path))
	is(user == "me" && path == "pg_catalog", "settings: ", user, path)
	run(c, "RESET ALL")
}

func news(c *pgx.Conn, config string) {
	run(c, "LISTEN news")
	other := connect(config)
	run(other, "SELECT pg_notify('news', $1)", "hello")
	must(other.Close(all))
	told, err := c.WaitForNotification(all)
	must(err)
	is(told.Channel == "news" && told.Payload == "hello", "news")
	run(c, "UNLISTEN news")
}

// The driver cancels by closing, and the server is told.
func cancelling(config string) {
	c := connect(config)
	short, stop := context.WithTimeout(all, 300*time.Millisecond)
	defer stop()
	_, err := c.Exec(short, "SELECT pg_sleep(30)")
	is(err != nil && c.IsClosed(), "not cancelled")
	c = connect(config)
	cancelled(c, "SELECT pg_sleep(30)")
	is(number(c, "SELECT 7") == 7, "goes on")
	must(c.Close(all))
}

func main() {
	configs := []string{"statement_cache_capacity=16", "statement_cache_mode=describe"}
	for _, config := range configs {
		c := connect(config)
		types(c)
		cached(c)
		if config == configs[0] {
			named(c)
		}
		transactions(c)
		settings(c)
		news(c, config)
		must(c.Close(all))
		cancelling(config)
		pooled(config, 4, 8, 25)
	}
	// What begins with several settings says them in any order.
	for n := 0; n < 8; n++ {
		c := connect("application_name='pgx round' work_mem=5MB TimeZone=Asia/Tokyo")
		var seen string
		must(c.QueryRow(all, "SELECT current_setting('work_mem') || current_setting('TimeZone')").Scan(&seen))
		is(seen == "5MBAsia/Tokyo", seen)
		must(c.Close(all))
	}
	_, err := pgx.Connect(all, "password=wrong")
	is(err != nil && strings.Contains(err.Error(), "28P01"), err)
	fmt.Fprintln(os.Stdout, "ok")
}
