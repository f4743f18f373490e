// One js-libp2p host with TCP, WebSocket, Noise and Yamux; nothing limits connections, streams or rates.
import { readFileSync } from 'node:fs'
import { circuitRelayServer, circuitRelayTransport } from '@libp2p/circuit-relay-v2'
import { generateKeyPair } from '@libp2p/crypto/keys'
import { identify, identifyPush } from '@libp2p/identify'
import { mdns } from '@libp2p/mdns'
import { noise } from '@libp2p/noise'
import { ping } from '@libp2p/ping'
import { tcp } from '@libp2p/tcp'
import { webSockets } from '@libp2p/websockets'
import { yamux } from '@libp2p/yamux'
import { multiaddr } from '@multiformats/multiaddr'
import { createLibp2p } from 'libp2p'

const UNLIMITED = 1_000_000

export const LIFTED = { maxInboundStreams: UNLIMITED, maxOutboundStreams: UNLIMITED }

const release = JSON.parse(readFileSync(new URL('../../package.json', import.meta.resolve('libp2p')), 'utf8')).version
export const version = `js-libp2p ${release}`

const KEYS = { ed25519: 'Ed25519', secp256k1: 'secp256k1', ecdsa: 'ECDSA', rsa: 'RSA' }

export async function createHost (options) {
  const node = await createLibp2p({
    privateKey: await generateKeyPair(KEYS[options['key-type']]),
    addresses: { listen: options.listen },
    nodeInfo: { name: 'js-libp2p', version: release, userAgent: `js-libp2p/${release}` },
    transports: [tcp(), webSockets(), circuitRelayTransport()],
    connectionEncrypters: [noise()],
    streamMuxers: [yamux({ ...LIFTED, streamOptions: {} })],
    services: services(options),
    peerDiscovery: options.mdns ? [mdns()] : [],
    connectionMonitor: { enabled: false },
    connectionManager: {
      maxConnections: UNLIMITED,
      inboundConnectionThreshold: UNLIMITED,
      maxIncomingPendingConnections: UNLIMITED
    }
  })
  if (options.via !== undefined) {
    await reserve(node, options.via)
  }
  return node
}

function services (options) {
  const chosen = { identify: identify(), identifyPush: identifyPush({ debounce: 50 }), ping: ping() }
  if (options.relay) {
    chosen.relay = circuitRelayServer({ reservations: { maxReservations: UNLIMITED } })
  }
  return chosen
}

async function reserve (node, relay) {
  const { transportManager } = node.components
  await transportManager.listen([multiaddr(`${relay}/p2p-circuit`)])
}

// Where it listens, without its peer id.
export function addresses (node) {
  return node.getMultiaddrs().map(address => address.toString().replace(/\/p2p\/[^/]+$/, ''))
}

// What a host tells without being asked. js-libp2p reports no peer that has gone.
export function watch (node, tell) {
  node.addEventListener('peer:discovery', ({ detail }) => {
    tell({ event: 'discovered', peer: detail.id.toString(), addrs: detail.multiaddrs.map(String) })
  })
}
