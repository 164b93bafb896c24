// What both programs with pgx share.
package main

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/jackc/pgconn"
	"github.com/jackc/pgx/v4"
	"github.com/jackc/pgx/v4/pgxpool"
)

var all = context.Background()

func must(err error) {
	if err != nil {
		panic(err)
	}
}

func is(ok bool, what ...any) {
	if !ok {
		panic(fmt.Sprint(what...))
	}
}

func expect(code string, err error) {
	var told *pgconn.PgError
	is(errors.As(err, &told) && told.Code == code, "expected ", code, ", got ", err)
}

func connect(extra string) *pgx.Conn {
	c, err := pgx.Connect(all, extra)
	must(err)
	return c
}

// A statement that would not end is cancelled by a request of its own.
func cancelled(c *pgx.Conn, sql string) {
	asked := make(chan struct{})
	go func() {
		time.Sleep(300 * time.Millisecond)
		must(c.PgConn().CancelRequest(all))
		close(asked)
	}()
	_, err := c.Exec(all, sql)
	expect("57014", err)
	// A server signals twice, so what comes before it is done with the request may be cancelled, too.
	<-asked
}

// More workers than connections each get their own answers.
func pooled(config string, connections int32, workers, rounds int) {
	parsed, err := pgxpool.ParseConfig(config)
	must(err)
	parsed.MaxConns = connections
	pool, err := pgxpool.ConnectConfig(all, parsed)
	must(err)
	var group sync.WaitGroup
	for worker := 0; worker < workers; worker++ {
		group.Add(1)
		go func(worker int) {
			defer group.Done()
			for n := 0; n < rounds; n++ {
				var got int64
				must(pool.QueryRow(all, "SELECT $1::int8 + $2::int8", worker*1000, n).Scan(&got))
				is(got == int64(worker*1000+n), "another's answer")
			}
		}(worker)
	}
	group.Wait()
	pool.Close()
}
