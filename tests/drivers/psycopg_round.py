"""psycopg 3: a day's work of a Python program. Connects as the PG* variables say; ends with a failed assertion or `ok`."""

import asyncio
import datetime as dt
import decimal
import os
import threading
import time
import uuid

import psycopg
from psycopg import errors, sql
from psycopg.types.json import Jsonb
from psycopg.types.range import Range


def expect(error, work):
    try:
        work()
    except error as caught:
        return caught
    raise AssertionError(f"{error} was expected")


def types(conn):
    values = {
        "int8": 2**62, "float8": 0.1, "numeric": decimal.Decimal("12345678901234567890.123456789"),
        "text": "ünï☃ 'quoted' \\ \n", "bytea": bytes(range(256)), "bool": True, "uuid": uuid.uuid4(),
        "date": dt.date(1999, 12, 31), "timestamptz": dt.datetime(2024, 2, 29, 12, 0, 1, 5, tzinfo=dt.timezone.utc),
        "interval": dt.timedelta(days=3, seconds=5), "int4[]": [1, None, 3], "text[]": ["a", 'b"', "c,d"],
        "int4range": Range(1, 5),
    }
    for binary in (False, True):
        with conn.cursor(binary=binary) as cur:
            for name, value in values.items():
                got = cur.execute(f"SELECT %s::{name}, NULL::{name}", [value]).fetchone()
                assert got == (value, None), (name, binary, got)
            assert cur.execute("SELECT %s::jsonb", [Jsonb({"a": [1, {"b": None}]})]).fetchone() == ({"a": [1, {"b": None}]},)


def prepared(conn):
    for i in range(30):
        assert conn.execute("SELECT %s::int4 + 1", [i], prepare=True).fetchone() == (i + 1,)
    names = conn.execute("SELECT count(*) FROM pg_prepared_statements").fetchone()[0]
    assert names >= 1, names
    conn.execute("DEALLOCATE ALL")
    assert conn.execute("SELECT 1").fetchone() == (1,)


def transactions(conn):
    conn.execute("CREATE TABLE work (id int PRIMARY KEY, note text)")
    with conn.transaction():
        conn.execute("INSERT INTO work VALUES (1, 'kept')")
        try:
            with conn.transaction():
                conn.execute("INSERT INTO work VALUES (2, 'gone')")
                raise psycopg.Rollback()
        except psycopg.Rollback:
            pass
        failed = expect(errors.UniqueViolation, lambda: insert_twice(conn))
        assert failed.sqlstate == "23505" and failed.diag.constraint_name == "work_pkey", failed
    assert conn.execute("SELECT id FROM work ORDER BY id").fetchall() == [(1,)]


def insert_twice(conn):
    with conn.transaction():
        conn.execute("INSERT INTO work VALUES (3, 'x'), (3, 'y')")


def mistakes(conn):
    assert expect(errors.SyntaxError, lambda: conn.execute("SELEC 1")).sqlstate == "42601"
    assert expect(errors.DivisionByZero, lambda: conn.execute("SELECT 1 / %s", [0])).sqlstate == "22012"
    told = expect(errors.UndefinedTable, lambda: conn.execute("SELECT * FROM nowhere"))
    assert told.diag.statement_position == "15" and told.diag.message_primary == 'relation "nowhere" does not exist'
    notices = []
    conn.add_notice_handler(lambda diag: notices.append((diag.severity, diag.message_primary)))
    conn.execute("DO $$ BEGIN RAISE NOTICE 'one'; RAISE WARNING 'two'; END $$")
    assert notices == [("NOTICE", "one"), ("WARNING", "two")], notices


def copying(conn):
    conn.execute("CREATE TABLE bulk (id int8, body text)")
    with conn.cursor() as cur:
        with cur.copy("COPY bulk FROM STDIN") as copy:
            for i in range(20000):
                copy.write_row((i, f"row {i}\t☃" if i % 7 else None))
        assert cur.rowcount == 20000
        with cur.copy("COPY bulk FROM STDIN (FORMAT BINARY)") as copy:
            copy.set_types(["int8", "text"])
            for i in range(20000, 21000):
                copy.write_row((i, "binary"))
        with cur.copy("COPY (SELECT id, body FROM bulk ORDER BY id) TO STDOUT") as copy:
            rows = list(copy.rows())
        assert len(rows) == 21000 and rows[1] == ("1", "row 1\t☃") and rows[0] == ("0", None)
        failed = expect(errors.BadCopyFileFormat, lambda: bad_copy(cur))
        assert failed.sqlstate == "22P04", failed.sqlstate
        expect(ZeroDivisionError, lambda: broken_copy(cur))
        assert cur.execute("SELECT count(*) FROM bulk").fetchone() == (21000,)


def bad_copy(cur):
    with cur.copy("COPY bulk FROM STDIN") as copy:
        copy.write(b"1\ttwo\tthree\n" * 5000)


def broken_copy(cur):
    with cur.copy("COPY bulk FROM STDIN") as copy:
        copy.write_row((1, "x"))
        raise ZeroDivisionError


def cancelling(conn):
    begun = time.monotonic()
    threading.Timer(0.3, conn.cancel).start()
    assert expect(errors.QueryCanceled, lambda: conn.execute("SELECT pg_sleep(30)")).sqlstate == "57014"
    assert time.monotonic() - begun < 10
    conn.execute("SET statement_timeout = 100")
    expect(errors.QueryCanceled, lambda: conn.execute("SELECT pg_sleep(30)"))
    conn.execute("RESET statement_timeout")
    assert conn.execute("SELECT 1").fetchone() == (1,)


def notifications(conn):
    with psycopg.connect(autocommit=True) as other:
        conn.execute("LISTEN news")
        other.execute("SELECT pg_notify('news', 'häppy')")
        told = next(conn.notifies(timeout=10))
        assert (told.channel, told.payload) == ("news", "häppy")
        if os.environ["ONEVAULT_TEST_POOL"] != "transaction":
            assert told.pid == other.info.backend_pid == other.execute("SELECT pg_backend_pid()").fetchone()[0]
        conn.execute("UNLISTEN *")


def large(conn):
    body = "x" * (20 << 20)
    got = conn.execute("SELECT %s::text, length(%s::text)", [body, body]).fetchone()
    assert got[1] == len(body) and got[0] == body
    assert len(conn.execute("SELECT repeat('y', 30000000)").fetchone()[0]) == 30000000


def pipelines(conn):
    with conn.pipeline() as pipe:
        cursors = [conn.execute("SELECT %s::int4 * 2", [i]) for i in range(200)]
        pipe.sync()
        assert [cur.fetchone()[0] for cur in cursors] == [i * 2 for i in range(200)]
    expect(errors.DivisionByZero, lambda: failing_pipeline(conn))
    assert conn.execute("SELECT 1").fetchone() == (1,)


def failing_pipeline(conn):
    with conn.pipeline():
        conn.execute("SELECT 1")
        conn.execute("SELECT 1 / 0")
        conn.execute("SELECT 2")


def cursors(conn):
    with conn.transaction(), conn.cursor(name="portal") as cur:
        cur.itersize = 100
        cur.execute("SELECT generate_series(1, 1000)")
        assert sum(row[0] for row in cur) == 500500
    with conn.cursor(name="held", withhold=True) as cur:
        cur.execute("SELECT generate_series(1, 10)")
        assert len(cur.fetchmany(3)) == 3


def settings():
    options = "-c search_path=pg_catalog -c work_mem=5MB"
    with psycopg.connect(options=options, application_name="round & co", client_encoding="latin1") as conn:
        assert conn.execute("SHOW search_path").fetchone() == ("pg_catalog",)
        assert conn.execute("SHOW work_mem").fetchone() == ("5MB",)
        assert conn.info.parameter_status("application_name") == "round & co"
        assert conn.execute("SELECT 'ü'").fetchone() == ("ü",)
    with psycopg.connect() as conn:
        assert conn.execute("SHOW work_mem").fetchone() != ("5MB",)
    failed = expect(psycopg.OperationalError, lambda: psycopg.connect(options="-c no_such_setting=1"))
    assert "no_such_setting" in str(failed), failed


async def asynchronous():
    conns = [await psycopg.AsyncConnection.connect(autocommit=True) for _ in range(5)]
    rows = await asyncio.gather(*(work(conn, i) for i, conn in enumerate(conns)))
    assert rows == [i * 10 for i in range(5)]
    for conn in conns:
        await conn.close()


async def work(conn, i):
    for _ in range(10):
        cur = await conn.execute("SELECT %s::int4 * 10 FROM pg_sleep(0.01)", [i])
        got = (await cur.fetchone())[0]
    return got


with psycopg.connect(autocommit=True) as conn:
    for part in (types, prepared, transactions, mistakes, copying, cancelling, notifications, large, pipelines, cursors):
        part(conn)
    conn.execute(sql.SQL("DROP TABLE {}, bulk").format(sql.Identifier("work")))
settings()
asyncio.run(asynchronous())
print("ok")
