"""The short commands: ``key``, ``request``, ``ping``, ``identify``, ``perf``."""

import argparse
import asyncio
import sys
from collections.abc import Callable
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any, Final

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from multiaddr import Multiaddr

from stronghold_p2p.cli.failures import UnreachedError, report
from stronghold_p2p.cli.keys import STANDARD_INPUT, identity_of
from stronghold_p2p.cli.output import DONE, compact, printable, prompt, show, tell, tell_json
from stronghold_p2p.config import Timeouts
from stronghold_p2p.errors import ConfigError, P2PError
from stronghold_p2p.identity.keys.identity import Identity
from stronghold_p2p.network import Network
from stronghold_p2p.protocols.perf import PERF, measure
from stronghold_p2p.request_response.codecs.codec import JSON
from stronghold_p2p.request_response.codecs.protocol import STRONGHOLD, RequestProtocol
from stronghold_p2p.streams.deadline import Deadline
from stronghold_p2p.transport.certificates import WebTLS

EVERY: Final = 0.2  # seconds between two updates of the line
EACH: Final = 20  # pings of which every one is shown


async def key(options: argparse.Namespace) -> int:
    """Make a key file, or show the peer id of one."""
    if options.public:
        identity = _identity(options.file, options)
        public = Ed25519PublicKey.from_public_bytes(identity.public_key.data)
        pem = public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()
        return show(options, {"peer": identity.peer_id, "file": options.file, "public": pem}, pem.rstrip("\n"))
    created = options.file != STANDARD_INPUT and not options.file.exists()
    identity = identity_of(options.file, options, create=True)
    value = {"peer": identity.peer_id, "file": options.file, "created": created}
    return show(options, value, f"{identity.peer_id} ({'new key' if created else 'key'} in {options.file})")


async def request(options: argparse.Namespace) -> int:
    """Ask a peer and print its answer."""
    protocol = (
        STRONGHOLD if options.protocol is None else RequestProtocol(options.protocol, request=JSON, response=JSON)
    )
    async with _network(options) as network:
        if len(options.addrs) == 1:
            answer = await _ask(network, options.addrs[0], protocol, options)
            return show(options, {"answer": answer}, compact(answer))
        asked = [_ask_one_of_many(network, addr, protocol, options) for addr in options.addrs]
        codes = await asyncio.gather(*asked)
    return next(filter(None, codes), DONE)


async def _ask(
    network: Network, addr: Multiaddr, protocol: RequestProtocol[Any, Any], options: argparse.Namespace
) -> Any:
    left = await _reach(network, addr, options)
    return await network.request(addr, options.message, protocol, timeout=left())


async def _ask_one_of_many(
    network: Network, addr: Multiaddr, protocol: RequestProtocol[Any, Any], options: argparse.Namespace
) -> int:
    try:
        answer = await _ask(network, addr, protocol, options)
    except (P2PError, UnreachedError) as error:
        if not options.json:
            tell(f"{addr} no answer")
        return report(error, as_json=options.json, timeout=options.timeout, addr=addr)
    return show(options, {"addr": addr, "answer": answer}, f"{addr} {compact(answer)}")


async def ping(options: argparse.Namespace) -> int:
    """Measure round trips."""
    times: list[float] = []
    try:
        async with _network(options) as network:
            await _reach(network, options.addr, options)
            many = Progress("ping", options.count, quiet=options.json or options.count <= EACH)
            while len(times) < options.count:
                times.append(await network.ping(options.addr, timeout=options.timeout) * 1e3)
                many.at(len(times))
                if options.count <= EACH and not options.json:
                    tell(f"{times[-1]:.2f} ", end="")
    finally:  # whatever ends it, also Ctrl-C: what was measured is told
        prompt("")
        if times:
            _tell_times(times, options)
    return DONE


def _tell_times(times: list[float], options: argparse.Namespace) -> None:
    whole = {"min": min(times), "median": median(times), "max": max(times)}
    if options.json:
        rounded = {name: round(value, 3) for name, value in whole.items()}
        tell_json({"ms": [round(time, 3) for time in times], **rounded, "of": options.count})
    elif options.count <= EACH:
        tell(f"ms; {len(times)} of {options.count}")
    else:
        shown = ", ".join(f"{name} {value:.2f}" for name, value in whole.items())
        tell(f"{shown} ms; {len(times)} of {options.count}")


async def identify(options: argparse.Namespace) -> int:
    """Show what a peer says about itself."""
    async with _network(options) as network:
        left = await _reach(network, options.addr, options)
        info = await network.identify(options.addr, timeout=left())
    value = {"peer": info.peer, "agent": info.agent, "version": info.version, "observed": info.observed}
    value |= {"protocols": info.protocols, "addresses": list(map(str, info.addresses))}
    signed = " (signed)" if info.record is not None else ""
    return show(
        options,
        {**value, "signed": info.record is not None},
        f"{info.agent or 'no agent told'}; you are {info.observed or 'not told'}",
        f"its peer id is {info.peer}",
        *(f"serves {printable(protocol)}" for protocol in info.protocols),
        *(f"listens on {address}{signed}" for address in info.addresses),
    )


async def perf(options: argparse.Namespace) -> int:
    """Measure how fast bytes go to a peer that serves perf (listen --perf), and back.

    One stream is for both, so whoever is asked is asked once; what that takes is over before the first byte goes.
    """
    async with Deadline(options.timeout, "perf") as deadline, _network(options) as network:
        deadline.phase = "dial"
        left = await _reach(network, options.addr, options)
        deadline.phase = "negotiate"
        async with network.open_stream(options.addr, PERF, timeout=left(), wait=True) as stream:
            there, back = (Progress(word, options.bytes, quiet=options.json) for word in ("upload", "download"))

            def comes(count: int) -> None:
                if deadline.phase == "upload":  # all has arrived when the first byte comes back
                    there.end()
                    back.start()
                    deadline.phase = "download"
                back.at(count)

            deadline.phase = "upload"
            there.start()
            try:
                await measure(stream, upload=options.bytes, download=options.bytes, progress=there.at, back=comes)
            finally:
                prompt("")
            back.end()
    value = {"bytes": options.bytes, "upload_mb_s": round(there.rate, 1), "download_mb_s": round(back.rate, 1)}
    line = f"upload {there.rate:.1f} MB/s, download {back.rate:.1f} MB/s; {options.bytes} bytes each"
    return show(options, value, line)


class Progress:
    """One line on standard error that is rewritten as it goes on; nothing where that is no terminal."""

    def __init__(self, word: str, total: int, *, quiet: bool) -> None:
        self._word = word
        self._total = total
        self._show = sys.stderr is not None and sys.stderr.isatty() and not quiet
        self.rate = 0.0  # MB/s of the whole
        self.start()

    def start(self) -> None:
        self._start = perf_counter()
        self._shown = self._start - EVERY

    def at(self, count: int) -> None:
        now = perf_counter()
        if self._show and now - self._shown >= EVERY:
            self._shown = now
            done = f"{self._word} {100 * count // max(self._total, 1)} %"
            rate = f"{count / (now - self._start) / 1e6:.0f} MB/s" if self._word != "ping" else f"{count} sent"
            prompt(f"{done}, {rate} ")

    def end(self) -> None:
        """Clear the line."""
        if self._show:
            prompt("")
        self.rate = self._total / max(perf_counter() - self._start, 1e-9) / 1e6


def _network(options: argparse.Namespace) -> Network:
    """Ours, in which nothing is over before ``--timeout`` is."""
    limit = options.timeout
    timeouts = Timeouts(dial=limit, connect=limit, upgrade=limit, negotiate=limit, identify=limit, request=limit)
    identity = _identity(options.key, options) if options.key else None
    return Network(identity=identity, timeouts=timeouts, tls=WebTLS(ca=options.ca))


def _identity(file: Path, options: argparse.Namespace) -> Identity:
    """That of a key file, which has to be there."""
    if file != STANDARD_INPUT and not file.exists():
        raise ConfigError(f"{file} does not exist: stronghold-p2p key {file} makes one", where=str(file))
    return identity_of(file, options)


async def _reach(network: Network, addr: Multiaddr, options: argparse.Namespace) -> Callable[[], float]:
    """Connect; returns how many seconds of the deadline are left."""
    loop = asyncio.get_running_loop()
    end = loop.time() + options.timeout
    try:
        await network.connect(addr, timeout=options.timeout)
    except ConnectionError as error:
        raise UnreachedError from error
    return lambda: max(end - loop.time(), 0.001)
