// What an app does with the SDK: `node use.mjs URL KEY OPTIONS`. It prints errors, and
// "done" at the end.
import { PostHog } from 'posthog-node'

const [url, key, options] = process.argv.slice(2)
const client = new PostHog(key, {
  host: url,
  flushAt: 20,
  flushInterval: 100,
  fetchRetryCount: 5,
  fetchRetryDelay: 200,
  ...JSON.parse(options),
})
client.on('error', (error) => console.log(`error: ${error}`))

client.capture({
  distinctId: 'user-1',
  event: 'order placed',
  properties: {
    amount: 12.5,
    text: 'a "quoted" \\ line\nwith é, ☃, 😀',
    none: null,
    nested: { a: [1, { b: {} }] },
    $current_url: 'https://example.org/a?b=c',
  },
  groups: { company: 'acme' },
})
client.capture({ distinctId: 'user-1', event: '$pageview', properties: { $current_url: 'https://x.org' } })
client.capture({
  distinctId: 'user-2',
  event: 'elsewhere',
  timestamp: new Date('2026-03-01T08:30:00.500Z'),
  uuid: '5b6f2e2e-8d9b-4b0e-9f4c-6a3c6b7d8e9f',
})
client.identify({ distinctId: 'user-1', properties: { $set: { email: 'a@example.org' }, $set_once: { first: 1 } } })
client.alias({ distinctId: 'user-1', alias: 'anonymous-9' })
client.groupIdentify({ groupType: 'company', groupKey: 'acme', properties: { seats: 12 } })
client.captureException(new Error('something went wrong'), 'user-1')
for (let number = 0; number < 100; number += 1) {
  client.capture({ distinctId: `user-${number}`, event: 'again', properties: { n: number } })
}
await client.shutdown(20000)
console.log('done')
