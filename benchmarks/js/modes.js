// The client's modes: each takes a way to create hosts, the server's address, and the options (0 = the mode's default).
import { randomBytes } from 'node:crypto'
import { ECHO, LIFTED, PERF, REQUEST, Reader, readAll, readToEnd, write, writeZeros } from './streams.js'

const WARM_UP = 16 << 20
const WARM_UP_REQUESTS = 50

export async function connect (createHost, addr, { n }) {
  const opened = await connectTimes(createHost, addr, n || 20, false)
  const echoed = await connectTimes(createHost, addr, n || 20, true)
  return {
    median_ms: quantile(opened, 0.5), min_ms: opened[0], p90_ms: quantile(opened, 0.9),
    fb_median_ms: quantile(echoed, 0.5), fb_min_ms: echoed[0], fb_p90_ms: quantile(echoed, 0.9)
  }
}

async function connectTimes (createHost, addr, n, firstByte) {
  const times = []
  for (let i = 0; i < n; i++) {
    const host = await createHost()
    const begin = performance.now()
    const connection = await host.dial(addr)
    const stream = await connection.newStream(ECHO, LIFTED)
    if (firstByte) {
      await pingPong(stream, new Reader(stream), Buffer.from([0x5a]))
    }
    times.push(performance.now() - begin)
    await host.stop()
  }
  return times.sort((a, b) => a - b)
}

export async function upload (createHost, addr, { bytes, size }) {
  const total = bytes || 268435456
  const connection = await (await createHost()).dial(addr)
  await perf(connection, WARM_UP, 0, size || 65536)
  const { end } = await perf(connection, total, 0, size || 65536)
  return throughput(total, end)
}

export async function download (createHost, addr, { bytes, size }) {
  const total = bytes || 268435456
  const connection = await (await createHost()).dial(addr)
  await perf(connection, 0, WARM_UP, size || 65536)
  const { end, closed } = await perf(connection, 0, total, size || 65536)
  return throughput(total, end - closed)
}

// Milliseconds from the first byte to the close of our side, and to the remote's end.
async function perf (connection, up, down, size) {
  const stream = await connection.newStream(PERF, LIFTED)
  let received = 0
  const over = readToEnd(stream, data => { received += data.byteLength })
  const head = Buffer.alloc(8)
  head.writeBigUInt64BE(BigInt(down))
  const begin = performance.now()
  await write(stream, head)
  await writeZeros(stream, up, size)
  await stream.close()
  const closed = performance.now() - begin
  await over
  const end = performance.now() - begin
  if (received !== down) {
    throw new Error(`asked for ${down} bytes, got ${received}`)
  }
  return { closed, end }
}

function throughput (bytes, millis) {
  return { bytes, seconds: millis / 1e3, mb_per_s: bytes / 1e3 / millis }
}

export async function rtt (createHost, addr, { n, size }) {
  const connection = await (await createHost()).dial(addr)
  const stream = await connection.newStream(ECHO, LIFTED)
  const reader = new Reader(stream)
  const payload = randomBytes(size || 32)
  for (let i = 0; i < WARM_UP_REQUESTS; i++) {
    await pingPong(stream, reader, payload)
  }
  const times = []
  for (let i = 0; i < (n || 2000); i++) {
    const begin = performance.now()
    await pingPong(stream, reader, payload)
    times.push((performance.now() - begin) * 1e3)
  }
  times.sort((a, b) => a - b)
  return { median_us: quantile(times, 0.5), p99_us: quantile(times, 0.99) }
}

export async function seq (createHost, addr, { n, size }) {
  const connection = await (await createHost()).dial(addr)
  const { times, seconds } = await requests(connection, n || 2000, 1, size || 64)
  return { req_per_s: times.length / seconds, median_ms: quantile(times, 0.5), p99_ms: quantile(times, 0.99) }
}

export async function conc (createHost, addr, { n, c, size }) {
  const connection = await (await createHost()).dial(addr)
  const { times, seconds } = await requests(connection, n || 5000, c || 32, size || 64)
  return { req_per_s: times.length / seconds, p99_ms: quantile(times, 0.99), failed: 0 }
}

async function requests (connection, n, atATime, size) {
  const payload = randomBytes(size)
  const times = []
  let next = 0
  const worker = async () => {
    while (next++ < n) {
      const begin = performance.now()
      await request(connection, payload)
      times.push(performance.now() - begin)
    }
  }
  for (let i = 0; i < WARM_UP_REQUESTS; i++) {
    await request(connection, payload)
  }
  const begin = performance.now()
  await Promise.all(Array.from({ length: atATime }, worker))
  const seconds = (performance.now() - begin) / 1e3
  times.sort((a, b) => a - b)
  return { times, seconds }
}

async function request (connection, payload) {
  const stream = await connection.newStream(REQUEST, LIFTED)
  const answer = readAll(stream)
  await write(stream, payload)
  await stream.close()
  if (!payload.equals(await answer)) {
    throw new Error('wrong answer')
  }
}

async function pingPong (stream, reader, payload) {
  stream.send(payload)
  if (!payload.equals(await reader.read(payload.length))) {
    throw new Error('wrong echo')
  }
}

function quantile (sorted, q) {
  return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * q))]
}
