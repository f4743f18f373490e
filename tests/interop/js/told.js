// How connections and keys are told in JSON.
export function connectionFields (event, connection) {
  return {
    event,
    peer: connection.remotePeer.toString(),
    remote_addr: connection.remoteAddr.toString(),
    direction: connection.direction,
    streams: connection.streams.length,
    security: connection.encryption,
    muxer: connection.multiplexer,
    limited: connection.limits !== undefined
  }
}

export function publicKey (key) {
  const protobuf = Buffer.concat([Buffer.from([8, TYPES.indexOf(key.type), 18]), length(key.raw), key.raw])
  return { type: key.type, protobuf: protobuf.toString('hex') }
}

const TYPES = ['RSA', 'Ed25519', 'secp256k1', 'ECDSA']

function length ({ length }) {
  return Buffer.from(length < 128 ? [length] : [length & 127 | 128, length >> 7])
}
