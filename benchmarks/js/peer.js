// js-libp2p with the command line of the peer contract, for the benchmarks.
import './compat.js'
import { parseArgs } from 'node:util'
import { readFileSync } from 'node:fs'
import { createLibp2p } from 'libp2p'
import { tcp } from '@libp2p/tcp'
import { webSockets } from '@libp2p/websockets'
import { noise } from '@libp2p/noise'
import { yamux } from '@libp2p/yamux'
import { identify } from '@libp2p/identify'
import { ping } from '@libp2p/ping'
import { multiaddr } from '@multiformats/multiaddr'
import { connect, upload, download, rtt, seq, conc } from './modes.js'
import { PERF, REQUEST, ECHO, serveEcho, servePerf, serveRequest } from './streams.js'

const MODES = { connect, upload, download, rtt, seq, conc }
const UNLIMITED = 1_000_000

async function createHost (listen = []) {
  return createLibp2p({
    addresses: { listen },
    transports: [tcp(), webSockets()],
    connectionEncrypters: [noise()],
    streamMuxers: [yamux({ maxInboundStreams: UNLIMITED, maxOutboundStreams: UNLIMITED })],
    services: { identify: identify(), ping: ping() },
    connectionManager: {
      maxConnections: UNLIMITED,
      inboundConnectionThreshold: UNLIMITED,
      maxIncomingPendingConnections: UNLIMITED
    }
  })
}

function version () {
  const file = new URL('./node_modules/libp2p/package.json', import.meta.url)
  return `js-libp2p ${JSON.parse(readFileSync(file)).version}`
}

async function serve ({ port, over }) {
  const host = await createHost([`/ip4/127.0.0.1/tcp/${port}${over === '' ? '' : `/${over}`}`])
  const lifted = { maxInboundStreams: UNLIMITED, maxOutboundStreams: UNLIMITED }
  await host.handle(PERF, servePerf, lifted)
  await host.handle(REQUEST, serveRequest, lifted)
  await host.handle(ECHO, serveEcho, lifted)
  const addr = host.getMultiaddrs()[0].toString()
  console.log(JSON.stringify({ peer: host.peerId.toString(), addr, pid: process.pid, version: version() }))
  process.on('SIGTERM', () => process.exit(0))
}

async function client (values) {
  const measure = MODES[values.mode]
  if (measure === undefined) {
    throw new Error(`unknown mode ${values.mode}`)
  }
  const options = Object.fromEntries(['n', 'c', 'bytes', 'size'].map(name => [name, Number(values[name] ?? 0)]))
  const result = await measure(createHost, multiaddr(values.addr), options)
  console.log(JSON.stringify({ ...result, mode: values.mode, version: version() }))
  process.exit(0)
}

async function main () {
  const text = { type: 'string' }
  const { values, positionals } = parseArgs({
    allowPositionals: true,
    options: { port: { type: 'string', default: '0' }, over: { type: 'string', default: '' }, addr: text, mode: text, n: text, c: text, bytes: text, size: text }
  })
  const command = { serve, client }[positionals[0]]
  if (command === undefined) {
    throw new Error('usage: peer.js serve|client [options]')
  }
  await command(values)
}

main().catch(error => {
  console.error('peer:', error)
  process.exit(1)
})
