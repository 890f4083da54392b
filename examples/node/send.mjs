// Send an event from Node: node send.mjs [SOCKET]; no packages.
import { randomUUID } from 'node:crypto'
import { createConnection } from 'node:net'

const path = process.argv[2] ?? '/run/leanbase-relay/relay.sock'
const event = {
  event: 'order placed',
  distinct_id: 'user-1',
  uuid: randomUUID(), // made here, and may be sent again: it counts once
  timestamp: new Date().toISOString(),
  properties: { total: 12.5 },
}

const relay = createConnection(path, () => relay.end(JSON.stringify(event) + '\n'))
relay.setTimeout(1000, () => relay.destroy(new Error('no answer in time')))
relay.on('data', (reply) => process.stdout.write(reply)) // {"stored":1,"refused":0}
relay.on('error', (error) => {
  console.error(`${path}: ${error.message}`)
  process.exitCode = 1
})
