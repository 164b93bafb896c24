"""asyncpg: binary formats, prepared statements without end, a pool. Connects as the PG* variables say."""

import asyncio
import datetime as dt
import decimal
import os
import uuid

import asyncpg


async def expect(error, work):
    try:
        await work
    except error as caught:
        return caught
    raise AssertionError(f"{error} was expected")


async def types(conn):
    values = {
        "int8": -(2**62), "float4": 0.5, "numeric": decimal.Decimal("1.10"), "text": "☃", "bytea": b"\0\xff",
        "uuid": uuid.uuid4(), "date": dt.date(2000, 2, 29), "interval": dt.timedelta(hours=5),
        "timestamptz": dt.datetime(2030, 1, 1, tzinfo=dt.timezone.utc), "int4[]": [1, 2, None], "jsonb": '{"a": 1}',
    }
    for name, value in values.items():
        assert await conn.fetchval(f"SELECT $1::{name}", value) == value, name
    await conn.execute("CREATE TYPE mood AS ENUM ('calm', 'busy')")
    await conn.execute("CREATE TYPE pair AS (a int4, b mood)")
    assert await conn.fetchval("SELECT $1::mood", "busy") == "busy"
    assert tuple(await conn.fetchval("SELECT ROW(1, 'calm')::pair")) == (1, "calm")


async def prepared(conn):
    statement = await conn.prepare("SELECT $1::int4 * 2 AS twice")
    assert [attribute.name for attribute in statement.get_attributes()] == ["twice"]
    for i in range(50):
        assert await statement.fetchval(i) == i * 2
    for i in range(150):  # more than its cache holds, so old ones are closed
        assert await conn.fetchval(f"SELECT {i} + $1::int4", 1) == i + 1
    await conn.execute("CREATE TABLE shape (a int)")
    assert await conn.fetch("SELECT * FROM shape") == []
    await conn.execute("ALTER TABLE shape ADD b text")
    assert await conn.fetch("SELECT * FROM shape") == []


async def transactions(conn):
    await conn.execute("CREATE TABLE work (id int PRIMARY KEY, note text)")
    async with conn.transaction(isolation="serializable"):
        await conn.executemany("INSERT INTO work VALUES ($1, $2)", [(i, f"note {i}") for i in range(500)])
        failed = await expect(asyncpg.UniqueViolationError, savepoint(conn))
        assert failed.sqlstate == "23505"
        total = 0
        async for row in conn.cursor("SELECT id FROM work ORDER BY id", prefetch=7):
            total += row["id"]
        assert total == 499 * 500 // 2
    assert await conn.fetchval("SELECT count(*) FROM work") == 500


async def savepoint(conn):
    async with conn.transaction():
        await conn.execute("INSERT INTO work VALUES (1, 'twice')")


async def copying(conn):
    await conn.execute("CREATE TABLE bulk (id int8, body text)")
    tag = await conn.copy_records_to_table("bulk", records=((i, f"row {i}") for i in range(30000)))
    assert tag == "COPY 30000", tag
    chunks = []

    async def keep(data):
        chunks.append(data)

    await conn.copy_from_query("SELECT * FROM bulk WHERE id < $1", 10, output=keep, format="csv")
    assert b"".join(chunks).count(b"\n") == 10
    await expect(asyncpg.PostgresError, conn.copy_records_to_table("bulk", records=[(1, "a", "b")], columns=["id", "body", "c"]))


async def cancelling(conn):
    await expect(asyncio.TimeoutError, conn.fetch("SELECT pg_sleep(30)", timeout=0.3))
    assert await conn.fetchval("SELECT 1") == 1
    task = asyncio.create_task(conn.fetch("SELECT pg_sleep(30)"))
    await asyncio.sleep(0.2)
    task.cancel()
    await expect(asyncio.CancelledError, task)
    assert await conn.fetchval("SELECT 2") == 2


async def notifications(conn, connect):
    other, heard = await connect(), asyncio.Queue()
    await conn.add_listener("news", lambda _, pid, channel, payload: heard.put_nowait((pid, channel, payload)))
    await other.execute("NOTIFY news, 'hello'")
    got = await asyncio.wait_for(heard.get(), 10)
    assert got[1:] == ("news", "hello"), got
    if os.environ["ONEVAULT_TEST_POOL"] != "transaction":
        assert got[0] == other.get_server_pid() == await other.fetchval("SELECT pg_backend_pid()")
    await other.close()


async def pool(connect):
    async with asyncpg.create_pool(min_size=2, max_size=4) as connections:
        async def one(i):
            async with connections.acquire() as conn:
                await conn.execute("SET search_path = pg_catalog")
                return await conn.fetchval("SELECT $1::int4", i)

        assert await asyncio.gather(*(one(i) for i in range(100))) == list(range(100))
        async with connections.acquire() as conn:
            assert await conn.fetchval("SHOW search_path") != "pg_catalog"
    gone = await connect()
    gone.terminate()
    big = await connect()
    assert len(await big.fetchval("SELECT $1::bytea", b"z" * (16 << 20))) == 16 << 20
    await big.close()


async def main():
    async def connect():
        return await asyncpg.connect(server_settings={"application_name": "asyncpg round", "work_mem": "5MB"})

    conn = await connect()
    assert await conn.fetchval("SHOW work_mem") == "5MB"
    for part in (types, prepared, transactions, copying, cancelling):
        await part(conn)
    await notifications(conn, connect)
    await pool(connect)
    await conn.execute("DROP TABLE work, bulk, shape; DROP TYPE pair; DROP TYPE mood")
    await conn.close()
    failed = await expect(asyncpg.InvalidPasswordError, asyncpg.connect(password="wrong"))
    assert failed.sqlstate == "28P01"


asyncio.run(main())
print("ok")
