// What both programs with pgx share.
package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/jackc/pgconn"
	"github.com/jackc/pgx/v4"
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
