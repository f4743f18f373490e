// `drive`: JSON lines in, JSON lines out, with the commands of harness/go/drive.go. Not here: open_hold's and others'
// codes (js-libp2p resets streams without), raw, and warnings (js-libp2p logs nothing unless DEBUG asks for it).
import { createServer } from 'node:net'
import { createInterface } from 'node:readline'
import { actions } from './actions.js'
import { serveTests } from './handlers.js'
import { addresses, createHost, version, watch } from './host.js'
import { connectionFields, publicKey } from './told.js'

const TIMEOUT = 60

// One host for each connection to the socket: its first line holds the command line, the others are as on stdin.
// Node.js and js-libp2p take half a second to start.
export async function many ({ socket }, parse) {
  const server = createServer(async connection => {
    connection.on('error', () => {})
    const lines = createInterface({ input: connection })[Symbol.asyncIterator]()
    const { value } = await lines.next()
    await serve(parse(JSON.parse(value)).values, lines, connection)
    connection.end()
  })
  server.listen(socket)
  const parent = process.ppid
  setInterval(() => process.ppid === parent || process.exit(1), 1000)
}

export async function drive (values) {
  await serve(values, createInterface({ input: process.stdin })[Symbol.asyncIterator](), process.stdout)
  process.exit(0)
}

async function serve (values, lines, output) {
  const say = line => output.write(JSON.stringify(line) + '\n')
  const ends = [['listen', ''], ['listen-ws', '/ws']].filter(([option]) => values[option])
  const listen = ends.map(([, end]) => `/ip4/${values.host}/tcp/0${end}`)
  const node = await createHost({ ...values, listen })
  const driver = new Driver(node, say)
  await serveTests(node, event => driver.add(event))
  say({
    ready: true,
    peer: node.peerId.toString(),
    addrs: addresses(node),
    key: publicKey(node.peerId.publicKey),
    protocols: node.getProtocols(),
    pid: process.pid,
    version
  })
  for await (const line of { [Symbol.asyncIterator]: () => lines }) {
    driver.answer(JSON.parse(line))
  }
  await node.stop()
}

// What happened since it was last asked for, each peer's identify answers, and the streams that are held open.
class Driver {
  events = []
  identified = new Map()
  held = []

  constructor (node, say) {
    this.node = node
    this.say = say
    watch(node, event => this.add(event))
    node.addEventListener('connection:open', ({ detail }) => this.add(connectionFields('connected', detail)))
    node.addEventListener('connection:close', ({ detail }) => this.add(connectionFields('disconnected', detail)))
    node.addEventListener('peer:identify', ({ detail }) => {
      const peer = detail.peerId.toString()
      this.identified.set(peer, [...this.identified.get(peer) ?? [], detail])
      this.add({ event: 'identified', peer })
    })
    node.addEventListener('peer:update', ({ detail }) => this.#updated(detail))
  }

  add (event) {
    this.events.push(event)
  }

  connections (peer) {
    return this.node.getConnections().filter(connection => connection.remotePeer.toString() === peer)
  }

  connection (peer) {
    const [first] = this.connections(peer)
    if (first === undefined) {
      throw new Error(`no connection to ${peer}`)
    }
    return first
  }

  async answer ({ id, cmd, ...options }) {
    try {
      const action = actions[cmd]
      if (action === undefined) {
        throw new Error(`unknown command ${cmd}`)
      }
      const signal = AbortSignal.timeout((options.timeout ?? TIMEOUT) * 1e3)
      this.say({ ...await action(this, { ...options, signal }), id, ok: true })
    } catch (error) {
      this.say({ id, ok: false, error: `${error.name}: ${error.message}` })
    }
  }

  #updated ({ peer, previous }) {
    const before = new Set(previous?.protocols)
    const now = new Set(peer.protocols)
    const added = [...now].filter(protocol => !before.has(protocol))
    const removed = [...before].filter(protocol => !now.has(protocol))
    if (added.length + removed.length > 0) {
      this.add({ event: 'protocols_updated', peer: peer.id.toString(), added, removed })
    } else if (previous != null) { // whose addresses are the new ones, too: the store adds to its list
      const addrs = peer.addresses.map(({ multiaddr }) => multiaddr.toString())
      this.add({ event: 'readdressed', peer: peer.id.toString(), addrs })
    }
  }
}
