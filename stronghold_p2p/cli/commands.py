"""The short commands, each one call of a network: ``key``, ``request``, ``ping``, ``identify``."""

from __future__ import annotations

import argparse
import asyncio
from collections.abc import Callable

from stronghold_p2p.cli.output import DONE, compact, printable, tell, tell_json
from stronghold_p2p.errors import DialError
from stronghold_p2p.identity.keys import Identity
from stronghold_p2p.network import Network
from stronghold_p2p.request_response.codecs.codec import JSON
from stronghold_p2p.request_response.codecs.protocol import STRONGHOLD, RequestProtocol


async def key(options: argparse.Namespace) -> int:
    """Make a key file, or show the peer id of one."""
    created = not options.file.exists()
    identity = Identity.load(options.file, create=True)
    if options.json:
        tell_json({"peer": identity.peer_id, "file": options.file, "created": created})
    else:
        tell(f"{identity.peer_id} ({'new key' if created else 'key'} in {options.file})")
    return DONE


async def request(options: argparse.Namespace) -> int:
    """Ask a peer and print its answer."""
    protocol = (
        STRONGHOLD if options.protocol is None else RequestProtocol(options.protocol, request=JSON, response=JSON)
    )
    async with _network(options) as network:
        left = await _reach(network, options)
        answer = await network.request(options.addr, options.message, protocol, timeout=left())
    if options.json:
        tell_json({"answer": answer})
    else:
        tell(compact(answer))
    return DONE


async def ping(options: argparse.Namespace) -> int:
    """Measure round trips."""
    async with _network(options) as network:
        left = await _reach(network, options)
        times = [await network.ping(options.addr, timeout=left()) * 1e3 for _ in range(options.count)]
    if options.json:
        tell_json({"ms": [round(time, 3) for time in times]})
    else:
        tell(f"{' '.join(f'{time:.2f}' for time in times)} ms; {len(times)} of {options.count}")
    return DONE


async def identify(options: argparse.Namespace) -> int:
    """Show what a peer says about itself."""
    async with _network(options) as network:
        left = await _reach(network, options)
        info = await network.identify(options.addr, timeout=left())
    if options.json:
        told = {"peer": info.peer, "agent": info.agent, "version": info.version, "observed": info.observed}
        lists = {"protocols": info.protocols, "addresses": list(map(str, info.addresses))}
        tell_json({**told, **lists, "signed": info.record is not None})
        return DONE
    tell(f"{info.agent or 'no agent told'}; you are {info.observed or 'not told'}")
    for protocol in info.protocols:
        tell(f"serves {printable(protocol)}")
    for address in info.addresses:
        tell(f"listens on {address}{' (signed)' if info.record is not None else ''}")
    return DONE


def _network(options: argparse.Namespace) -> Network:
    return Network(identity=Identity.load(options.key) if options.key else None)


async def _reach(network: Network, options: argparse.Namespace) -> Callable[[], float]:
    """Connect; returns how many seconds of the deadline are left."""
    loop = asyncio.get_running_loop()
    end = loop.time() + options.timeout
    try:
        await network.connect(options.addr, timeout=options.timeout)
    except ConnectionError as error:
        raise DialError(str(error)) from error
    return lambda: max(end - loop.time(), 0.0)
