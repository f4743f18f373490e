// The contract's protocols over js-libp2p's event streams. 'message', 'end' and 'drain' are used instead of
// `for await` and onDrain(), which miss an end or a drain that has already happened.
export const PERF = '/perf/1.0.0'
export const REQUEST = '/bench/rr/1'
export const ECHO = '/bench/echo/1'

export const LIFTED = { maxOutboundStreams: 1_000_000 }

const zeros = new Uint8Array(1 << 20)

// Calls onData for each piece until the remote has ended its side.
export function readToEnd (stream, onData) {
  return new Promise((resolve, reject) => {
    stream.addEventListener('message', event => onData(event.data))
    stream.addEventListener('end', () => resolve())
    stream.addEventListener('close', event => {
      if (event.error == null) {
        resolve()
      } else {
        reject(event.error)
      }
    })
    if (stream.readableEnded) {
      resolve()
    }
  })
}

export async function readAll (stream) {
  const pieces = []
  await readToEnd(stream, data => pieces.push(data.subarray()))
  return Buffer.concat(pieces)
}

// Sends, and waits where the stream wants it.
export async function write (stream, data) {
  if (!stream.send(data)) {
    await drained(stream)
  }
}

function drained (stream) {
  return new Promise((resolve, reject) => {
    const done = () => { stream.removeEventListener('close', failed); resolve() }
    const failed = event => {
      stream.removeEventListener('drain', done)
      reject(event.error ?? new Error('the stream was closed while it was full'))
    }
    stream.addEventListener('drain', done, { once: true })
    stream.addEventListener('close', failed, { once: true })
  })
}

export async function writeZeros (stream, total, size) {
  for (let left = total; left > 0; left -= size) {
    await write(stream, zeros.subarray(0, Math.min(size, left)))
  }
}

// Resolves with the next `wanted` bytes each time it is called; leftovers wait for the next call.
export class Reader {
  #data = Buffer.alloc(0)
  #waiter = null
  #error = null

  constructor (stream) {
    stream.addEventListener('message', event => this.#push(event.data.subarray()))
    const over = event => {
      this.#error = event.error ?? new Error('the stream ended')
      this.#waiter?.reject(this.#error)
    }
    stream.addEventListener('end', over)
    stream.addEventListener('close', over)
  }

  read (wanted) {
    if (this.#data.length >= wanted) {
      return Promise.resolve(this.#take(wanted))
    }
    if (this.#error !== null) {
      return Promise.reject(this.#error)
    }
    return new Promise((resolve, reject) => { this.#waiter = { wanted, resolve, reject } })
  }

  #take (wanted) {
    const taken = this.#data.subarray(0, wanted)
    this.#data = this.#data.subarray(wanted)
    return taken
  }

  #push (piece) {
    this.#data = this.#data.length === 0 ? piece : Buffer.concat([this.#data, piece])
    if (this.#waiter !== null && this.#data.length >= this.#waiter.wanted) {
      const { wanted, resolve } = this.#waiter
      this.#waiter = null
      resolve(this.#take(wanted))
    }
  }
}

export async function servePerf (stream) {
  let head = Buffer.alloc(0)
  await readToEnd(stream, data => {
    if (head.length < 8) {
      head = Buffer.concat([head, data.subarray(0, Math.min(8 - head.length, data.byteLength))])
    }
  })
  if (head.length < 8) {
    stream.abort(new Error('short perf request'))
    return
  }
  await writeZeros(stream, Number(head.readBigUInt64BE()), 65536)
  await stream.close()
}

export async function serveRequest (stream) {
  await write(stream, await readAll(stream))
  await stream.close()
}

export async function serveEcho (stream) {
  await readToEnd(stream, data => stream.send(data))
  await stream.close()
}
