"""Circuits with go and js: as source, relay and target, in every mix with ours."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from pathlib import Path

import pytest

from stronghold_p2p import CircuitLimit, Network, PeerId, RelayLimits, RelayRefused, Rule, Stream, StreamReset
from tests.interop.names import RR
from tests.interop.real_peer import RealError, RealPeer, real_peer
from tests.peers import LOOPBACK, until

TIMES = int(os.environ.get("RELAY_REQUESTS", "5"))  # ``make relay-peers`` asks 200 times
SIZES = (64, 65_536)
GO = ("oog", "ogo", "goo", "ogg", "gog", "ggo", "ooo")  # source, relay and target: ours or go
JS = ("ooj", "joo", "joj")
JS_RELAYS = ("ojo", "ojj", "jjo")  # which carry 128 KiB, and no more: both directions together
UNLIMITED = RelayLimits(data=None, duration=None)
# Over a relay we tell nobody from where we see it come; and a circuit may end before identify has.
MAY_SAY = (
    r"error parsing received observed addr.*p2p-circuit.*empty multiaddr",
    r"level=(DEBUG|INFO|WARN) .*net/identify",
)


@asynccontextmanager
async def ours(relay: RelayLimits | None = None) -> AsyncIterator[Network]:
    """Answers requests of the peer contract, and lets everybody in."""
    network = Network(relay=relay, listen=[] if relay is None else [LOOPBACK])
    network.firewall.set(Rule.ALLOW)

    @network.on_stream(RR)
    async def answer(stream: Stream) -> None:
        await stream.write(await stream.read_to_end(1 << 20))

    async with network:
        yield network


class Ends:
    """One of the two ends, and what tests ask of it."""

    def __init__(self, peer: Network | RealPeer) -> None:
        self.of = peer
        self.id = str(peer.peer_id) if isinstance(peer, Network) else str(peer.peer)

    async def listen(self, relay: str) -> None:
        if isinstance(self.of, Network):
            await self.of.listen(f"{relay}/p2p-circuit")
        else:
            await self.of.call("reserve", addr=relay)

    async def ask(self, at: str, target: str, times: int, size: int) -> None:
        if isinstance(self.of, RealPeer):
            await self.of.call("connect", addr=at)
            answer = await self.of.call("streams_sequential", peer=target, n=times, size=size, protocol=RR)
            assert answer["done"] == times
            return
        connection = await self.of.connect(at)
        assert connection.peer == PeerId(target)
        await self._ready(connection.peer)
        for _ in range(times):
            body = os.urandom(size)
            async with self.of.open_stream(PeerId(target), RR) as stream:
                await stream.write(body)
                await stream.close_write()
                assert await stream.read_to_end(1 << 20) == body

    async def _ready(self, peer: PeerId) -> None:
        """js resets what comes on a circuit in its first moments."""
        assert isinstance(self.of, Network)
        for _ in range(20):
            with suppress(StreamReset):
                await self.of.ping(peer)
                return
            await asyncio.sleep(0.05)


Programs = Callable[[str], Path]
NAMES = {"g": "go", "j": "js"}


async def end(stack: AsyncExitStack, kind: str, programs: Programs, via: str = "") -> Ends:
    """``via``: js says at its start where it is to be reached; all others do it then."""
    if kind == "o":
        made = Ends(await stack.enter_async_context(ours()))
    else:
        options = {"g": ["--circuits"], "j": ["--via", via] if via else []}[kind]
        peer = real_peer(programs(NAMES[kind]), *options, may_say=MAY_SAY, over="tcp")
        made = Ends(await stack.enter_async_context(peer))
    if via and kind != "j":
        await made.listen(via)
    return made


def options_of(kind: str, limits: RelayLimits) -> list[str]:
    if kind == "j":
        return ["--relay"]
    options = ["--relay", "--relay-unlimited"] if limits.data is None else ["--relay", "--relay-data", str(limits.data)]
    return options if limits.duration is None else [*options, "--relay-duration", f"{limits.duration}s"]


@asynccontextmanager
async def three(
    programs: Programs, mix: str, limits: RelayLimits
) -> AsyncIterator[tuple[Ends, str, Ends, Network | RealPeer]]:
    """Source, where the target is reached through the relay, target, and the relay."""
    async with AsyncExitStack() as stack:
        relay: Network | RealPeer
        if mix[1] == "o":
            relay = network = await stack.enter_async_context(ours(limits))
            address = str(network.addresses[0])
        else:
            peer = real_peer(programs(NAMES[mix[1]]), *options_of(mix[1], limits), may_say=MAY_SAY, over="tcp")
            relay = real = await stack.enter_async_context(peer)
            address = real.address
        source, target = await end(stack, mix[0], programs), await end(stack, mix[2], programs, address)
        yield source, f"{address}/p2p-circuit/p2p/{target.id}", target, relay


@pytest.mark.parametrize("mix", GO + JS)
async def test_requests_through_a_relay(programs: Programs, mix: str) -> None:
    async with three(programs, mix, UNLIMITED) as (source, at, target, relay):
        for size in SIZES:
            await source.ask(at, target.id, TIMES, size)
        if isinstance(relay, Network):
            assert relay.stats()["circuit_bytes_total"] > 2 * TIMES * sum(SIZES)


@pytest.mark.parametrize("mix", JS_RELAYS)
async def test_requests_through_a_relay_of_js(programs: Programs, mix: str) -> None:
    async with three(programs, mix, UNLIMITED) as (source, at, target, _):
        await source.ask(at, target.id, TIMES, 64)


@pytest.mark.parametrize("mix", ["oog", "ogo", "ogg"])
async def test_our_source_at_the_limit(programs: Programs, mix: str) -> None:
    """go's relay tells the source nothing, and its write would wait for ever: ours fails at once."""
    async with three(programs, mix, RelayLimits(data=20_000)) as (source, at, _, _):
        assert isinstance(source.of, Network)
        async with asyncio.timeout(5):
            connection = await source.of.connect(at)
            stream = await source.of.open_stream(connection.peer, RR)
            async with asyncio.timeout(1):
                with pytest.raises(CircuitLimit) as caught:
                    await stream.write(bytes(30_000))
                    await stream.read()
        assert (caught.value.limit, caught.value.maximum) == ("data", 20_000)


@pytest.mark.parametrize("mix", ["goo", "ggo"])
async def test_our_target_at_the_limit(programs: Programs, mix: str) -> None:
    """It is the source, go, which sends too much: ours reads the end that the relay makes, and knows why."""
    async with three(programs, mix, RelayLimits(data=20_000)) as (source, at, target, _):
        assert isinstance(source.of, RealPeer)
        assert isinstance(target.of, Network)
        errors: list[Exception | None] = []
        target.of.on_event(lambda event: errors.append(getattr(event, "error", None)))
        await source.of.call("connect", addr=at)
        with pytest.raises(RealError):
            await source.of.call("streams_sequential", peer=target.id, n=1, size=30_000, protocol=RR, timeout=3.0)
            raise RealError({"error": "it told of a failure"})
        await until(lambda: any(isinstance(error, CircuitLimit) for error in errors))


@pytest.mark.parametrize("mix", ["oog", "ogo"])
async def test_the_time_of_a_circuit(programs: Programs, mix: str) -> None:
    async with three(programs, mix, RelayLimits(duration=1)) as (source, at, _, _):
        assert isinstance(source.of, Network)
        loop = asyncio.get_running_loop()
        connection = await source.of.connect(at)
        began = loop.time()
        await until(lambda: connection.closed, 3)
        assert 0.8 < loop.time() - began < 1.5
        assert isinstance(connection.error, CircuitLimit)
        assert connection.error.limit == "duration"


async def test_a_go_relay_that_has_no_place_for_whom_we_want(programs: Programs) -> None:
    async with real_peer(programs("go"), "--relay", over="tcp") as relay, ours() as source:
        with pytest.raises(RelayRefused) as caught:
            await source.connect(f"{relay.address}/p2p-circuit/p2p/{Network().peer_id}")
        assert caught.value.status == 204
