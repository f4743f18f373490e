"""``stronghold-p2p discover``: who is on the LAN, as peers appear and leave."""

import argparse
import asyncio
from contextlib import suppress
from typing import Any, Final

from multiaddr import Multiaddr

from stronghold_p2p.cli.keys import identity_of
from stronghold_p2p.cli.output import DONE, note, show, tell_json
from stronghold_p2p.events.events import Event, PeerDiscovered, PeerLost
from stronghold_p2p.identity import PeerId
from stronghold_p2p.network import Network

ANYWHERE: Final = "/ip4/0.0.0.0/tcp/0"  # a port that is free: nobody is let in, but whoever looks for us has to see us


async def discover(options: argparse.Namespace) -> int:
    """Show the peers on the LAN as they appear and leave."""
    network = Network(
        identity=identity_of(options.key, options, create=True) if options.key else None,
        listen=[] if options.hidden else options.addrs or [ANYWHERE],
        mdns=True,
    )
    known: set[PeerId] = set()
    with suppress(TimeoutError, asyncio.CancelledError):
        async with asyncio.timeout(options.timeout), network:
            if options.json:
                tell_json({"event": "looking", "peer": network.peer_id, "addresses": _texts(network.addresses)})
            else:
                note(f"looking for peers on the LAN, as {network.peer_id}; Ctrl-C ends it")
            async for event in network.events():
                _tell(event, known, options)
    return DONE


def _tell(event: Event, known: set[PeerId], options: argparse.Namespace) -> None:
    match event:
        case PeerDiscovered(peer, addresses):
            word = "changed" if peer in known else "found"
            known.add(peer)
            _line(options, word, peer, addresses)
        case PeerLost(peer):
            known.discard(peer)
            _line(options, "lost", peer)
        case _:
            pass


def _line(options: argparse.Namespace, word: str, peer: PeerId, addresses: tuple[Multiaddr, ...] = ()) -> None:
    places = _texts(addresses)
    value: dict[str, Any] = {"event": word, "peer": peer}
    show(options, value if word == "lost" else {**value, "addresses": places}, " ".join((word, str(peer), *places)))


def _texts(addresses: tuple[Multiaddr, ...]) -> list[str]:
    return [str(address) for address in addresses]
