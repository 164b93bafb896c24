// node-postgres at the console: parameters, named statements, cursors, COPY, transactions, limits. Connects as the PG* variables say.
// Expects five statements of one customer in the log, of which one has failed.
'use strict'
const assert = require('node:assert')
const { Client, Pool, Query } = require('pg')
const Cursor = require('pg-cursor')
const { to: copyTo } = require('pg-copy-streams')

const KINDS = "FROM audit.statements WHERE kind = 'query'"
const ENDLESS = 'SELECT count(*) FROM generate_series(1, 100000) a, generate_series(1, 100000) b WHERE a.value * b.value % 7 = 3'

async function connect(options) {
  const client = new Client({ ssl: false, ...options })
  await client.connect()
  return client
}

const expect = async (code, work) => assert.rejects(work, (error) => (assert.strictEqual(error.code, code, error.message), true))
const one = async (client, text, values) => Object.values((await client.query(text, values)).rows[0])[0]

async function parameters(client) {
  const count = (where, ...values) => one(client, `SELECT count(*)::int ${KINDS} AND ${where}`, values)
  const ago = new Date(Date.now() - 3600e3)
  assert.strictEqual(await count('time BETWEEN $1 AND $2', ago, new Date(Date.now() + 3600e3)), 5)
  assert.strictEqual(await count('time > $1', '2001-02-03 09:00'), 5)
  assert.strictEqual(await count('time > $1', 'yesterday'), 5)
  assert.strictEqual(await count('time > now() - $1::interval', '1 hour'), 5)
  assert.strictEqual(await count('outcome = ANY($1)', ['ok', 'error']), 5)
  assert.strictEqual(await count('outcome = ANY($1::text[])', ['error', 'with "quotes", and {}']), 1)
  assert.strictEqual(await count('rows >= $1 AND duration_ns < $2', 0, 1e12), 5)
  assert.strictEqual(await count('sqlstate IS NOT DISTINCT FROM $1', null), 4)
  assert.strictEqual(await one(client, 'SELECT $1::text', ["ü☃ ' \\"]), "ü☃ ' \\")
  assert.strictEqual(await one(client, 'SELECT $1::int8', ['9007199254740993']), '9007199254740993')
  assert.strictEqual(await one(client, 'SELECT $1::bool', [true]), true)
  assert.ok(Buffer.from([0, 255]).equals(await one(client, 'SELECT $1::bytea', [Buffer.from([0, 255])])))
  const row = (await client.query(`SELECT time, rows, text, tables ${KINDS} ORDER BY record LIMIT $1`, [1])).rows[0]
  assert.ok(row.time instanceof Date && row.time > ago && row.rows === '1' && Array.isArray(row.tables), JSON.stringify(row))
  for (let i = 0; i < 20; i++) {
    const { rows } = await client.query({ name: 'by outcome', text: `SELECT count(*)::int AS n ${KINDS} AND outcome = $1`, values: ['error'] })
    assert.strictEqual(rows[0].n, 1)
  }
  const several = await client.query("SET application_name = 'node'; SELECT 1 AS a; SHOW application_name")
  assert.deepStrictEqual(several.slice(0, 2).map((result) => result.command), ['SET', 'SELECT'])
  assert.strictEqual(several[2].rows[0].application_name, 'node')
  const { rows } = await client.query({ text: 'SELECT login, text FROM audit.statements LIMIT 1', rowMode: 'array' })
  assert.strictEqual(rows[0].length, 2)
}

async function parts(client) {
  const cursor = client.query(new Cursor(`SELECT record ${KINDS} AND time > $1 ORDER BY record`, [new Date(Date.now() - 3600e3)]))
  assert.deepStrictEqual([(await cursor.read(2)).length, (await cursor.read(2)).length, (await cursor.read(9)).length], [2, 2, 1])
  await cursor.close()
  let lines = ''
  for await (const chunk of client.query(copyTo(`COPY (SELECT outcome, NULL ${KINDS} ORDER BY record) TO STDOUT`))) lines += chunk
  assert.strictEqual(lines.split('\n').filter((line) => line === 'ok\t\\N').length, 4)
}

async function transactions(client) {
  await client.query('BEGIN ISOLATION LEVEL SERIALIZABLE READ ONLY')
  await expect('42703', client.query('SELECT nothing'))
  await expect('25P02', client.query('SELECT 1'))
  await client.query('ROLLBACK')
  await expect('25006', client.query('DELETE FROM audit.statements WHERE record = $1', [1]))
  await expect('22007', client.query(`SELECT count(*) ${KINDS} AND time > $1`, ['no time']))
  await expect('42601', client.query('SELEC'))
  assert.strictEqual(await one(client, 'SELECT 1::int'), 1)
}

async function limits() {
  const client = await connect({ statement_timeout: 300 })
  await expect('57014', client.query(ENDLESS))
  await client.query('SET statement_timeout = 0')
  const query = new Query(ENDLESS)
  const cancelled = new Promise((resolve) => query.once('error', (error) => resolve(error.code)))
  client.query(query)
  await new Promise((resolve) => setTimeout(resolve, 300))
  new Client({ ssl: false }).cancel(client, query)
  assert.strictEqual(await cancelled, '57014')
  assert.strictEqual(await one(client, 'SELECT 1::int'), 1)
  await client.end()
  const pool = new Pool({ ssl: false, max: 3 })
  const numbers = await Promise.all(Array.from({ length: 9 }, (_, i) => pool.query('SELECT $1::int AS n', [i]).then((result) => result.rows[0].n)))
  assert.deepStrictEqual(numbers, Array.from({ length: 9 }, (_, i) => i))
  await pool.end()
}

async function main() {
  const client = await connect({ application_name: 'node console' })
  for (const part of [parameters, parts, transactions]) await part(client)
  await client.end()
  await limits()
}

main().then(() => console.log('ok'), (error) => { console.error(error); process.exit(1) })
