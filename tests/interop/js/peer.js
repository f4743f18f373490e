// js-libp2p as a peer of the interoperability tests, with the command line of harness/go:
//
//   peer.js serve [--port P] [--ws PORT] [options]   one JSON line when it listens, one for each event, until SIGTERM
//   peer.js drive [--listen] [--listen-ws] [options] driven by JSON lines (drive.js)
//   peer.js many --socket PATH                       a host for each connection to PATH, driven in the same way
//
// Options: --host H (127.0.0.1), --mdns, --relay (serves circuits), --via RELAY (reserves a place there), --key-type K.
import '../../../benchmarks/js/compat.js'
import { parseArgs } from 'node:util'
import { drive, many } from './drive.js'
import { addresses, createHost, version, watch } from './host.js'
import { serveContract } from './handlers.js'

const text = { type: 'string' }
const flag = { type: 'boolean', default: false }

async function serve (values) {
  const { host, port, ws } = values
  const listen = [`/ip4/${host}/tcp/${port}`]
  if (ws !== undefined) {
    listen.push(`/ip4/${host}/tcp/${ws}/ws`)
  }
  const node = await createHost({ ...values, listen })
  await serveContract(node)
  watch(node, event => console.log(JSON.stringify(event)))
  const addrs = addresses(node)
  const peer = node.peerId.toString()
  console.log(JSON.stringify({ peer, addr: `${addrs[0]}/p2p/${peer}`, addrs, pid: process.pid, version }))
  process.on('SIGTERM', () => node.stop().then(() => process.exit(0)))
}

const parse = args => parseArgs({
  args,
  allowPositionals: true,
  options: {
    host: { type: 'string', default: '127.0.0.1' },
    port: { type: 'string', default: '0' },
    ws: text,
    listen: flag,
    'listen-ws': flag,
    mdns: flag,
    relay: flag,
    via: text,
    'key-type': { type: 'string', default: 'ed25519' },
    socket: text
  }
})

async function main () {
  const { values, positionals } = parse(process.argv.slice(2))
  const command = { serve, drive, many }[positionals[0]]
  if (command === undefined) {
    throw new Error('usage: peer.js serve|drive|many [options]')
  }
  await command(values, parse)
}

main().catch(error => {
  console.error('peer:', error)
  process.exit(1)
})
