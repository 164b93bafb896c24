// node-postgres: queries, named statements, cursors, COPY streams, notifications. Connects as the PG* variables say.
'use strict'
const assert = require('node:assert')
const fs = require('node:fs')
const { pipeline } = require('node:stream/promises')
const { Readable } = require('node:stream')
const { Client, Pool, Query } = require('pg')
const Cursor = require('pg-cursor')
const { from: copyFrom, to: copyTo } = require('pg-copy-streams')

const ssl = process.env.PGSSLROOTCERT
  ? { ca: fs.readFileSync(process.env.PGSSLROOTCERT, 'utf8'), servername: process.env.ONEVAULT_SERVER_NAME || 'localhost' }
  : false
delete process.env.PGSSLMODE // the driver would override `ssl` with its own reading of it
delete process.env.PGSSLROOTCERT

async function connect(options) {
  const client = new Client({ ssl, ...options })
  await client.connect()
  return client
}

const expect = async (code, work) => assert.rejects(work, (error) => (assert.strictEqual(error.code, code, error.message), true))
const one = async (client, text, values) => Object.values((await client.query(text, values)).rows[0])[0]

async function types(client) {
  assert.strictEqual(await one(client, 'SELECT $1::int4 + 1', [41]), 42)
  assert.strictEqual(await one(client, 'SELECT $1::text', ["ü☃ ' \\"]), "ü☃ ' \\")
  assert.strictEqual(await one(client, 'SELECT $1::int8', ['9007199254740993']), '9007199254740993')
  assert.deepStrictEqual(await one(client, 'SELECT $1::jsonb', [{ a: [1, null] }]), { a: [1, null] })
  assert.deepStrictEqual(await one(client, 'SELECT $1::int4[]', [[1, 2, 3]]), [1, 2, 3])
  assert.strictEqual(await one(client, 'SELECT $1::text', [null]), null)
  const body = Buffer.alloc(8 << 20, 7)
  assert.ok(body.equals(await one(client, 'SELECT $1::bytea', [body])))
  const several = await client.query("SELECT 1 AS a; SELECT 'b' AS b; CREATE TEMP TABLE t (x int)")
  assert.deepStrictEqual(several.map((result) => result.command), ['SELECT', 'SELECT', 'CREATE'])
}

async function named(client) {
  for (let i = 0; i < 50; i++) {
    const { rows } = await client.query({ name: 'twice', text: 'SELECT $1::int4 * 2 AS n', values: [i] })
    assert.strictEqual(rows[0].n, i * 2)
  }
  const results = await Promise.all(Array.from({ length: 50 }, (_, i) => one(client, 'SELECT $1::int4', [i])))
  assert.deepStrictEqual(results, Array.from({ length: 50 }, (_, i) => i))
}

async function transactions(client) {
  await client.query('CREATE TABLE work (id int PRIMARY KEY)')
  await client.query('BEGIN')
  await client.query('INSERT INTO work VALUES (1)')
  await expect('23505', client.query('INSERT INTO work VALUES (1)'))
  await expect('25P02', client.query('SELECT 1'))
  await client.query('ROLLBACK')
  assert.strictEqual(await one(client, 'SELECT count(*)::int FROM work'), 0)
  await expect('42601', client.query('SELEC'))
  await expect('22012', client.query('SELECT 1 / $1::int', [0]))
  const cursor = client.query(new Cursor('SELECT generate_series(1, 1000) AS n'))
  let sum = 0
  for (;;) {
    const rows = await cursor.read(90)
    if (rows.length === 0) break
    sum += rows.reduce((total, row) => total + row.n, 0)
  }
  await cursor.close()
  assert.strictEqual(sum, 500500)
}

async function copying(client) {
  await client.query('CREATE TABLE bulk (id int, body text)')
  const lines = Array.from({ length: 20000 }, (_, i) => `${i}\trow ${i}\n`)
  await pipeline(Readable.from(lines), client.query(copyFrom('COPY bulk FROM STDIN')))
  let bytes = 0
  const out = client.query(copyTo('COPY bulk TO STDOUT'))
  for await (const chunk of out) bytes += chunk.length
  assert.strictEqual(bytes, lines.join('').length)
  await assert.rejects(pipeline(Readable.from(['no number\tx\n']), client.query(copyFrom('COPY bulk FROM STDIN'))))
  assert.strictEqual(await one(client, 'SELECT count(*)::int FROM bulk'), 20000)
}

async function notifications(client) {
  const other = await connect()
  const heard = new Promise((resolve) => client.once('notification', resolve))
  await client.query('LISTEN news')
  await other.query("NOTIFY news, 'hello'")
  const told = await heard
  assert.deepStrictEqual([told.channel, told.payload], ['news', 'hello'])
  if (process.env.ONEVAULT_TEST_POOL !== 'transaction') {
    assert.strictEqual(told.processId, other.processID)
    assert.strictEqual(await one(other, 'SELECT pg_backend_pid()'), other.processID)
  }
  await other.end()
}

async function cancelling(client) {
  await client.query("SET statement_timeout = '100ms'")
  await expect('57014', client.query('SELECT pg_sleep(30)'))
  await client.query('RESET statement_timeout')
  const query = new Query('SELECT pg_sleep(30)')
  const cancelled = new Promise((resolve) => query.once('error', (error) => resolve(error.code)))
  client.query(query)
  await new Promise((resolve) => setTimeout(resolve, 200))
  const canceller = new Client({ ssl: false }) // the driver sends the key in clear text, and nothing else
  canceller.cancel(client, query)
  assert.strictEqual(await cancelled, '57014')
  if (process.env.ONEVAULT_TEST_POOL === 'transaction') return // process ids are not its own
  const sleeping = expect('57014', client.query('SELECT pg_sleep(30)'))
  const other = await connect()
  await new Promise((resolve) => setTimeout(resolve, 200))
  assert.strictEqual(await one(other, 'SELECT pg_cancel_backend($1)', [client.processID]), true)
  await sleeping
  await other.end()
}

async function pool() {
  const connections = new Pool({ ssl, max: 4 })
  const numbers = await Promise.all(
    Array.from({ length: 100 }, (_, i) => connections.query('SELECT $1::int4 AS n', [i]).then((result) => result.rows[0].n)))
  assert.deepStrictEqual(numbers, Array.from({ length: 100 }, (_, i) => i))
  await connections.end()
}

async function main() {
  const client = await connect({ application_name: 'node round', options: '-c work_mem=5MB' })
  assert.strictEqual(await one(client, 'SHOW work_mem'), '5MB')
  for (const part of [types, named, transactions, copying, notifications, cancelling]) await part(client)
  await client.query('DROP TABLE work, bulk')
  await client.end()
  await pool()
  await expect('28P01', connect({ password: 'wrong' }))
}

main().then(() => console.log('ok'), (error) => { console.error(error); process.exit(1) })
