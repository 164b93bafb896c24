"""An auditor's programs at the console: parameters of each type, cursors, copies, transactions, limits, and what tools look up.

Connects as PG* in the environment say. Expects five statements of one customer in the log, of which one has failed.
"""

import asyncio
import datetime
import decimal
import ipaddress
import os
import sys
import threading
import uuid

import asyncpg
import psycopg
import psycopg2
import psycopg2.extras
import sqlalchemy
from psycopg.types import TypeInfo

NOW = datetime.datetime.now(datetime.timezone.utc)
HOUR = datetime.timedelta(hours=1)
ENDLESS = "SELECT count(*) FROM generate_series(1, 100000) a, generate_series(1, 100000) b WHERE a.value * b.value % 7 = 3"
KINDS = "FROM audit.statements WHERE kind = 'query'"


def same(found, expected):
    assert found == expected, f"{found!r} is not {expected!r}"


def code_of(work):
    try:
        work()
    except (psycopg.Error, asyncpg.PostgresError) as error:
        return error.sqlstate
    except psycopg2.Error as error:
        return error.pgcode
    raise AssertionError("nothing was refused")


def psycopg_3_parameters():
    with psycopg.connect(autocommit=True) as connection:
        one = lambda text, *values, **more: connection.execute(text, values, **more).fetchone()
        count = lambda where, *values, **more: one(f"SELECT count(*) {KINDS} AND {where}", *values, **more)[0]
        for binary in (False, True):
            same(count("time BETWEEN %s AND %s", NOW - HOUR, NOW + HOUR, binary=binary), 5)
            same(count("time > now() - %s", HOUR, binary=binary), 5)
        same(count("time < %s", datetime.datetime(9999, 12, 31, tzinfo=datetime.timezone.utc)), 5)
        same(count("time >= %s", datetime.date(2020, 1, 1)), 5)
        same(one("SELECT sum(statements) FROM usage.daily WHERE day = %s", NOW.date())[0] >= 5, True)
        same(count("outcome = ANY(%s)", ["ok", "error"]), 5)
        same(count("outcome = ANY(%s)", ["error"]), 1)
        same(count("outcome = ANY(%s::text[])", ["error", "with \"quotes\", and {}"]), 1)
        same(count("outcome <> ALL(%s)", ["ok"]), 1)
        same(count("outcome = ANY(%s)", []), 0)
        same(count("rows = ANY(%s)", [1, 2]) > 0, True)
        same(count("time = ANY(%s)", [NOW]), 0)
        same(count("text ILIKE %s", "%DIVISION%") + count("text LIKE %s ESCAPE '/'", "%/%%"), 2)
        same(count("duration_ns < %s AND duration_ns < %s", decimal.Decimal("1E+12"), 1e12), 5)
        same(count("client_ip = %s", ipaddress.ip_address("127.0.0.1")), 5)
        same(count("sqlstate IS NOT DISTINCT FROM %s", None), 4)
        same(len(connection.execute(f"SELECT record {KINDS} ORDER BY record LIMIT %s OFFSET %s", (2, 1)).fetchall()), 2)
        same(one("SELECT %s, %s, %s, %s::bool, %s", 1, "a", NOW, True, None), (1, "a", NOW, True, None))
        number = uuid.uuid4()
        same(one("SELECT %s::text", number)[0], str(number))
        same(one("SELECT %s::bytea", b"\0\xff")[0], b"\0\xff")
        same(code_of(lambda: one("SELECT %s::int", "many")), "22P02")
        for _ in range(8):  # prepared by now
            same(count("outcome = %s", "error", prepare=True), 1)
        same(TypeInfo.fetch(connection, "timestamptz").oid, 1184)
        same(TypeInfo.fetch(connection, "mood"), None)


def psycopg_3_cursors_and_copies():
    with psycopg.connect() as connection:
        with connection.cursor(name="walk") as cursor:
            cursor.itersize = 2
            cursor.execute(f"SELECT record {KINDS} AND time > %s ORDER BY record", (NOW - HOUR,))
            same(len(list(cursor)), 5)
        with connection.cursor(name="kept", withhold=True) as cursor:
            cursor.execute(f"SELECT record {KINDS}")
            connection.commit()
            same(len(cursor.fetchmany(2)), 2)
            connection.rollback()
            same(len(cursor.fetchall()), 3)
        same(code_of(lambda: connection.execute("FETCH 1 FROM kept")), "34000")
        connection.rollback()
        connection.execute(f"DECLARE plain CURSOR FOR SELECT record {KINDS} ORDER BY record")
        same(connection.execute("MOVE 1 FROM plain").statusmessage, "MOVE 1")
        same(len(connection.execute("FETCH FORWARD 3 FROM plain").fetchall()), 3)
        same(code_of(lambda: connection.execute("FETCH PRIOR FROM plain")), "55000")
        connection.rollback()
        same(code_of(lambda: connection.execute("DECLARE back SCROLL CURSOR FOR SELECT 1")), "0A000")
        connection.rollback()
        rows = f"COPY (SELECT kind, time, rows, sqlstate {KINDS} ORDER BY record) TO STDOUT"
        with connection.cursor().copy(f"{rows} (FORMAT binary)") as copy:
            copy.set_types(["text", "timestamptz", "int8", "text"])
            same([row[3] for row in copy.rows()].count("22012"), 1)
        with connection.cursor().copy(f"{rows} (FORMAT csv, NULL '-', FORCE_QUOTE *, DELIMITER ';', ENCODING 'utf8')") as copy:
            lines = b"".join(copy).decode().splitlines()
        same((len(lines), lines[0].startswith('"query";"'), lines[0].endswith(';-')), (5, True, True))
        with connection.cursor().copy("COPY audit.logins (kind, customer) TO STDOUT") as copy:
            same({len(row) for row in copy.rows()}, {2})


def psycopg_3_transactions_and_limits():
    with psycopg.connect(options="-c statement_timeout=20000 -c application_name=rounds") as connection:
        same(connection.execute("SELECT current_setting('statement_timeout')").fetchone()[0], "20000")
        connection.rollback()
        connection.read_only, connection.deferrable = True, True
        connection.isolation_level = psycopg.IsolationLevel.SERIALIZABLE
        same(connection.execute("SHOW transaction_isolation").fetchone()[0], "serializable")
        with connection.transaction():
            same(code_of(lambda: connection.execute("SELECT nothing")), "42703")
            same(code_of(lambda: connection.execute("SELECT 1")), "25P02")
            raise psycopg.Rollback()
        same(connection.execute("SELECT 1").fetchone(), (1,))
        same(code_of(lambda: connection.execute("DELETE FROM audit.statements")), "25006")
        connection.rollback()
        connection.execute("SET LOCAL statement_timeout = '300ms'")
        same(code_of(lambda: connection.execute(ENDLESS)), "57014")
        connection.rollback()
        same(connection.execute("SHOW statement_timeout").fetchone()[0], "20000")
        threading.Timer(0.3, connection.cancel).start()
        same(code_of(lambda: connection.execute(ENDLESS)), "57014")
        connection.rollback()
        with connection.pipeline():
            first, second = connection.execute("SELECT 1"), connection.execute("SELECT %s::int", (2,))
        same((first.fetchone(), second.fetchone()), ((1,), (2,)))


def psycopg_2():
    connection = psycopg2.connect("")
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT count(*) {KINDS} AND time > %s AND outcome = ANY(%s)", (NOW - HOUR, ["error"]))
        same(cursor.fetchone()[0], 1)
    connection.rollback()
    connection.set_session(readonly=True, isolation_level="SERIALIZABLE", deferrable=True)
    with connection.cursor("walk") as cursor:
        cursor.itersize = 2
        cursor.execute(f"SELECT record {KINDS}")
        same(len(list(cursor)), 5)
    connection.close()


def sqlalchemy_looks_around(driver):
    engine = sqlalchemy.create_engine(f"postgresql+{driver}://")
    looks = sqlalchemy.inspect(engine)
    same({"audit", "live", "usage"} <= set(looks.get_schema_names()), True)
    same(looks.default_schema_name, "audit")
    same({"statements", "logins"} <= set(looks.get_table_names(schema="audit")), True)
    same(looks.get_table_names(schema="usage"), ["daily"])
    columns = {column["name"]: str(column["type"]) for column in looks.get_columns("statements", schema="audit")}
    same((columns["time"], columns["text"], columns["rows"]), ("TIMESTAMP", "TEXT", "BIGINT"))
    same(looks.get_pk_constraint("statements", schema="audit")["constrained_columns"], [])
    same(looks.get_indexes("statements", schema="audit"), [])
    same(looks.has_table("nothing", schema="audit"), False)
    everything = sqlalchemy.MetaData()
    everything.reflect(engine, schema="audit")
    table = everything.tables["audit.statements"]
    wanted = sqlalchemy.select(table.c.time, table.c.text)
    wanted = wanted.where(table.c.time > NOW - HOUR, table.c.outcome.in_(["error"]), table.c.kind == "query")
    with engine.connect() as connection:
        same(len(connection.execute(wanted).fetchall()), 1)
        streamed = connection.execution_options(stream_results=True, max_row_buffer=2)
        same(len(streamed.execute(sqlalchemy.text(f"SELECT record {KINDS}")).fetchall()), 5)
    engine.dispose()


async def asyncpg_round():
    connection = await asyncpg.connect()
    same(await connection.fetchval(f"SELECT count(*) {KINDS} AND outcome = ANY($1)", ["error"]), 1)
    same(await connection.fetchval(f"SELECT count(*) {KINDS} AND time > now() - $1::interval", HOUR), 5)
    same(await connection.fetchval(f"SELECT count(*) {KINDS} AND time > $1 AND rows >= $2", NOW - HOUR, 0), 5)
    same(await connection.fetchval("SELECT $1", "as text"), "as text")
    async with connection.transaction(readonly=True, isolation="serializable", deferrable=True):
        walk = connection.cursor(f"SELECT record {KINDS} AND login = $1 ORDER BY record LIMIT $2",
                                 os.environ["CUSTOMER"], 4, prefetch=2)
        same(len([row async for row in walk]), 4)
    try:
        await connection.fetch(ENDLESS, timeout=0.3)
        raise AssertionError("no limit")
    except asyncio.TimeoutError:
        same(await connection.fetchval("SELECT 1"), 1)
    await connection.reset()
    await connection.close()


if __name__ == "__main__":
    rounds = {
        "psycopg": [psycopg_3_parameters, psycopg_3_cursors_and_copies, psycopg_3_transactions_and_limits, psycopg_2],
        "sqlalchemy": [lambda: sqlalchemy_looks_around("psycopg2"), lambda: sqlalchemy_looks_around("psycopg")],
        "asyncpg": [lambda: asyncio.run(asyncpg_round())],
    }
    for each in rounds[sys.argv[1]]:
        each()
    print("ok")
