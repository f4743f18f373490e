#!/bin/sh
# js-libp2p tells of each change of a peer by the event peer:update, with the peer as it is now and as it was, `previous`.
#
# Seen with @libp2p/peer-store 12.0.28 (Node 20): when addresses are added with `merge`, as mDNS does for each answer that
# it hears, `previous` already has the new addresses. `toPeerPB` takes the list of the existing peer and adds to it, and
# `previous` is that same peer. So who compares the two, to learn where a peer has moved, sees no change at all.
# What was expected: before /ip4/192.0.2.1/tcp/1, and now both.
#
# Seen on 1 December 2026. Fails if that changes, and if the packages cannot be installed.
set -eu

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
npm install --silent --no-audit --no-fund --ignore-scripts \
    @libp2p/peer-store@12.0.28 datastore-core@12.0.1 main-event@1.0.5 \
    @libp2p/crypto@5.1.23 @libp2p/logger@6.2.13 @libp2p/peer-id@6.0.15 @multiformats/multiaddr@13.0.3
cat > seen.mjs <<'JS'
import { generateKeyPair } from '@libp2p/crypto/keys'
import { defaultLogger } from '@libp2p/logger'
import { peerIdFromPrivateKey } from '@libp2p/peer-id'
import { persistentPeerStore } from '@libp2p/peer-store'
import { multiaddr } from '@multiformats/multiaddr'
import { MemoryDatastore } from 'datastore-core'
import { TypedEventEmitter } from 'main-event'

const fresh = async () => peerIdFromPrivateKey(await generateKeyPair('Ed25519'))
const places = one => one === undefined ? 'nothing' : one.addresses.map(known => String(known.multiaddr)).join(' ')
const parts = { peerId: await fresh(), datastore: new MemoryDatastore(), logger: defaultLogger() }
const events = new TypedEventEmitter()
const store = persistentPeerStore({ ...parts, events })
const peer = await fresh()

events.addEventListener('peer:update', ({ detail }) => {
  console.log(`before ${places(detail.previous)}, now ${places(detail.peer)}`)
})
for (const port of [1, 2]) {
  await store.merge(peer, { multiaddrs: [multiaddr(`/ip4/192.0.2.1/tcp/${port}`)] })
}
JS
seen=$(node seen.mjs)
echo "$seen"
test "$seen" = "before nothing, now /ip4/192.0.2.1/tcp/1
before /ip4/192.0.2.1/tcp/1 /ip4/192.0.2.1/tcp/2, now /ip4/192.0.2.1/tcp/1 /ip4/192.0.2.1/tcp/2"
