// The protocols of the peer contract, and those that only the tests use (harness/go/handlers.go tells what each does).
import { ECHO, PERF, REQUEST, readToEnd, serveEcho, servePerf, serveRequest, write, writeZeros } from '../../../benchmarks/js/streams.js'
import { LIFTED } from './host.js'

export const SINK = '/test/sink/1'
export const SOURCE = '/test/source/1'
export const RESET = '/test/reset/1'
export const HALF_CLOSE = '/test/halfclose/1'
export const HOLD = '/test/hold/1'
export const SLOW = '/test/slow/1'

const SLOW_CHUNK = 16384
const SLOW_PAUSE = 5
// As go's program, it serves circuits that have limits, too.
const SERVED = { ...LIFTED, runOnLimitedConnection: true }

export async function serveContract (node) {
  await node.handle(PERF, servePerf, SERVED)
  await node.handle(REQUEST, serveRequest, SERVED)
  await node.handle(ECHO, serveEcho, SERVED)
}

const TESTED = { [ECHO]: echo, [SINK]: sink, [SOURCE]: source, [RESET]: reset, [HALF_CLOSE]: halfClose, [HOLD]: drain, [SLOW]: slow }

// `done` learns how each stream ended: the bytes read, and the error if it was none of the remote's end.
export async function serveTests (node, done) {
  await node.handle(PERF, servePerf, SERVED)
  await node.handle(REQUEST, serveRequest, SERVED)
  for (const [protocol, handler] of Object.entries(TESTED)) {
    await serveOne(node, protocol, handler, done)
  }
}

export async function serveOne (node, protocol, handler, done) {
  await node.handle(protocol, async (stream, connection) => {
    const seen = { bytes: 0 }
    const ended = { event: 'stream', protocol, peer: connection.remotePeer.toString() }
    try {
      await handler(stream, seen)
    } catch (error) {
      stream.abort(error)
      done({ ...ended, bytes: seen.bytes, error: String(error) })
      return
    }
    done({ ...ended, bytes: seen.bytes })
    await stream.close().catch(error => stream.abort(error))
  }, SERVED)
}

// Until the remote's end. A reset is told as an end, too; only the stream's status at that moment tells them apart.
export async function drain (stream, seen, onData = () => {}) {
  let ended = stream.readableEnded ? stream.status : 'open'
  stream.addEventListener('end', () => { ended = stream.status })
  await readToEnd(stream, data => {
    seen.bytes += data.byteLength
    onData(data)
  })
  if (ended === 'reset' || ended === 'aborted') {
    throw new Error(`stream ${ended}`)
  }
}

export async function echo (stream, seen) {
  await drain(stream, seen, data => stream.send(data))
}

async function sink (stream, seen) {
  await drain(stream, seen)
  await write(stream, u64(seen.bytes))
}

async function slow (stream, seen) {
  await drain(stream, seen, data => {
    stream.pause()
    setTimeout(() => stream.resume(), SLOW_PAUSE * data.byteLength / SLOW_CHUNK)
  })
  await write(stream, u64(seen.bytes))
}

async function source (stream, seen) {
  const wanted = await new Promise((resolve, reject) => {
    let head = Buffer.alloc(0)
    stream.addEventListener('message', ({ data }) => {
      seen.bytes += data.byteLength
      head = Buffer.concat([head, data.subarray()])
      if (head.length >= 8) {
        resolve(Number(head.readBigUInt64BE()))
      }
    })
    stream.addEventListener('close', ({ error }) => reject(error ?? new Error('too short')))
  })
  await writeZeros(stream, wanted, 65536)
}

async function reset (stream, seen) {
  await new Promise(resolve => stream.addEventListener('message', resolve, { once: true }))
  seen.bytes = 1
  stream.abort(new Error('as the test wants it'))
}

async function halfClose (stream, seen) {
  await stream.close()
  await drain(stream, seen)
}

export function u64 (number) {
  const bytes = Buffer.alloc(8)
  bytes.writeBigUInt64BE(BigInt(number))
  return bytes
}
