// What each command of `drive` does; it is given the driver and the command's fields, and returns the answer's.
import { randomBytes } from 'node:crypto'
import { peerIdFromString } from '@libp2p/peer-id'
import { multiaddr } from '@multiformats/multiaddr'
import { ECHO, PERF, REQUEST, Reader, readAll, write, writeZeros } from '../../../benchmarks/js/streams.js'
import { HALF_CLOSE, RESET, SINK, SOURCE, drain, echo, serveOne, u64 } from './handlers.js'
import { LIFTED } from './host.js'
import { connectionFields, publicKey } from './told.js'

const OPEN = { ...LIFTED, runOnLimitedConnection: true }

function open (driver, { peer, protocol, signal }, standard) {
  return driver.connection(peer).newStream(protocol ?? standard, { ...OPEN, signal })
}

async function connect (driver, { addr, signal }) {
  const connection = await driver.node.dial(multiaddr(addr), { signal })
  return connections(driver, { peer: connection.remotePeer.toString() })
}

function connections (driver, { peer }) {
  return { connections: driver.connections(peer).map(each => connectionFields('connection', each)) }
}

async function identify (driver, { peer, after = 0, signal }) {
  const answers = () => driver.identified.get(peer) ?? []
  while (answers().length <= after) {
    signal.throwIfAborted()
    await new Promise(resolve => setTimeout(resolve, 10))
  }
  const last = answers().at(-1)
  const known = await driver.node.peerStore.get(last.peerId)
  return {
    count: answers().length,
    key: publicKey(last.peerId.publicKey),
    listen_addrs: last.listenAddrs.map(String),
    protocols: last.protocols,
    observed_addr: last.observedAddr?.toString() ?? null,
    protocol_version: last.protocolVersion,
    agent_version: last.agentVersion,
    signed_record: last.signedPeerRecord === undefined
      ? null
      : { peer: last.signedPeerRecord.peerId?.toString() ?? last.peerId.toString(), seq: Number(last.signedPeerRecord.seq), addrs: last.signedPeerRecord.addresses.map(String) },
    known_addrs: known.addresses.map(({ multiaddr }) => multiaddr.toString())
  }
}

async function protocols (driver, { peer }) {
  return { protocols: (await driver.node.peerStore.get(peerIdFromString(peer))).protocols }
}

async function addProtocol (driver, { protocol }) {
  await serveOne(driver.node, protocol, echo, event => driver.add(event))
}

async function removeProtocol (driver, { protocol }) {
  await driver.node.unhandle(protocol)
}

async function ping (driver, { peer, n = 1, signal }) {
  const times = []
  for (let i = 0; i < n; i++) {
    times.push(await driver.node.services.ping.ping(peerIdFromString(peer), { signal }) * 1e3)
  }
  return { rtt_us: times }
}

async function perf (driver, { up = 0, down = 0, ...command }) {
  const stream = await open(driver, command, PERF)
  const seen = { bytes: 0 }
  const over = drain(stream, seen)
  const begin = performance.now()
  await write(stream, u64(down))
  await writeZeros(stream, up, 65536)
  await stream.close()
  await over
  if (seen.bytes !== down) {
    throw new Error(`asked for ${down} bytes, got ${seen.bytes}`)
  }
  return { seconds: (performance.now() - begin) / 1e3 }
}

async function request (driver, command, halfSent = async () => {}) {
  const payload = randomBytes(command.size ?? 64)
  const stream = await open(driver, command, REQUEST)
  const answer = readAll(stream)
  await write(stream, payload.subarray(0, payload.length >> 1))
  await halfSent()
  await write(stream, payload.subarray(payload.length >> 1))
  await stream.close()
  if (!payload.equals(await answer)) {
    throw new Error(`wrong answer for ${payload.length} bytes`)
  }
}

async function streamsSequential (driver, command) {
  const n = command.n ?? 1
  for (let i = 0; i < n; i++) {
    await request(driver, command)
  }
  return { done: n }
}

// Every stream is open with its first half sent before any of them goes on.
async function streamsConcurrent (driver, command) {
  let waiting = command.n
  const { promise, resolve } = Promise.withResolvers()
  const halfSent = () => {
    if (--waiting === 0) {
      resolve()
    }
    return promise
  }
  return counted(await Promise.allSettled(Array.from({ length: command.n }, () => request(driver, command, halfSent))))
}

function counted (results) {
  const failures = results.flatMap(({ reason }, index) => reason === undefined ? [] : [{ index, error: String(reason) }])
  return { done: results.length - failures.length, failed: failures.length, failures }
}

async function sendByte ({ stream, reader }, { no_echo: noEcho, signal }) {
  stream.send(Buffer.from([0x5a]))
  if (!noEcho) {
    const late = new Promise((resolve, reject) => signal.addEventListener('abort', () => reject(signal.reason)))
    await Promise.race([reader.read(1), late])
  }
}

async function openHold (driver, { n = 1, ...command }) {
  const results = []
  for (let i = 0; i < n; i++) {
    results.push(await attempt(async () => {
      const stream = await open(driver, command, ECHO)
      const held = { stream, reader: new Reader(stream) }
      await sendByte(held, command)
      driver.held.push(held)
    }))
  }
  return counted(results)
}

async function checkHeld (driver, command) {
  const results = []
  for (const held of driver.held) {
    results.push(await attempt(() => sendByte(held, command)))
  }
  return counted(results)
}

async function attempt (action) {
  return (await Promise.allSettled([action()]))[0]
}

async function release (driver, { n }) {
  const released = driver.held.splice(0, n || driver.held.length)
  await Promise.all(released.map(({ stream }) => stream.close()))
  return { done: released.length }
}

async function halfClose (driver, { remote_first: remoteFirst, size = 64, ...command }) {
  if (!remoteFirst) {
    return streamsSequential(driver, { ...command, size })
  }
  const stream = await open(driver, command, HALF_CLOSE)
  const seen = { bytes: 0 }
  await drain(stream, seen)
  await writeZeros(stream, size, 65536)
  await stream.close()
  return { received: seen.bytes, sent: size }
}

async function reset (driver, command) {
  const stream = await open(driver, command, ECHO)
  await sendByte({ stream, reader: new Reader(stream) }, command)
  stream.abort(new Error('as the test wants it'))
}

async function expectReset (driver, command) {
  const stream = await open(driver, command, RESET)
  const seen = { bytes: 0 }
  stream.send(Buffer.from([0x5a]))
  try {
    await drain(stream, seen)
  } catch (error) {
    return { received: seen.bytes, remote: stream.status === 'reset' }
  }
  throw new Error('the stream ended without a reset')
}

async function source (driver, { bytes, ...command }) {
  const stream = await open(driver, command, SOURCE)
  const seen = { bytes: 0 }
  const over = drain(stream, seen)
  await write(stream, u64(bytes))
  await over
  await stream.close()
  return { received: seen.bytes }
}

async function sink (driver, { bytes, ...command }) {
  const stream = await open(driver, command, SINK)
  const answer = readAll(stream)
  await writeZeros(stream, bytes, 65536)
  await stream.close()
  return { counted: Number((await answer).readBigUInt64BE()) }
}

async function bulkWithSmall (driver, { peer, bytes, down = 0, others, signal }) {
  let over = false
  const small = async () => {
    const stream = await open(driver, { peer, signal }, ECHO)
    const reader = new Reader(stream)
    const times = []
    while (!over) {
      const begin = performance.now()
      stream.send(randomBytes(64))
      await reader.read(64)
      times.push(performance.now() - begin)
      await new Promise(resolve => setTimeout(resolve, 1))
    }
    await stream.close()
    return times
  }
  const answered = Promise.all(Array.from({ length: others }, small))
  const { seconds } = await perf(driver, { peer, up: bytes, down, signal }).finally(() => { over = true })
  const times = await answered
  const all = times.flat().sort((a, b) => a - b)
  return {
    seconds,
    mb_per_s: (bytes + down) / 1e6 / seconds,
    failures: [],
    answers: all.length,
    least_answers: Math.min(...times.map(each => each.length)),
    median_ms: all[all.length >> 1],
    worst_ms: all.at(-1)
  }
}

async function events (driver) {
  return { events: driver.events.splice(0) }
}

async function close (driver, { peer }) {
  await Promise.all(driver.connections(peer).map(connection => connection.close()))
}

// Ends the connections without a word.
async function abort (driver, { peer }) {
  driver.connections(peer).forEach(connection => connection.abort(new Error('as the test wants it')))
}

async function closeHost (driver) {
  await driver.node.stop()
}

export const actions = {
  connect,
  connections,
  identify,
  protocols,
  add_protocol: addProtocol,
  remove_protocol: removeProtocol,
  ping,
  perf,
  streams_sequential: streamsSequential,
  streams_concurrent: streamsConcurrent,
  open_hold: openHold,
  check_held: checkHeld,
  release,
  half_close: halfClose,
  reset,
  expect_reset: expectReset,
  source,
  sink,
  bulk_with_small: bulkWithSmall,
  events,
  close,
  abort,
  close_host: closeHost
}
