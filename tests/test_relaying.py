"""Networks and relays: a relay behind its firewall, what is told of circuits, and the errors at their limits."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import pytest

from stronghold_p2p import (
    BYTES,
    HOP,
    Attempt,
    CircuitClosed,
    CircuitLimit,
    CircuitOpened,
    ConfigError,
    ListenError,
    Network,
    RelayLimits,
    RelayRefused,
    Request,
    RequestProtocol,
    ReservationLost,
    ReservationMade,
    ReservationRefused,
    Rule,
    Stream,
    Timeouts,
)
from stronghold_p2p.relaying import use_relays
from stronghold_p2p.sync import Network as SyncNetwork
from tests.peers import LOOPBACK, swarm, until

SAY = RequestProtocol("/say/1", request=BYTES, response=BYTES)


@dataclass
class Three:
    relay: Network
    bob: Network
    alice: Network
    at: str

    def told(self, network: Network) -> list[Any]:
        return self.events[network]

    def __post_init__(self) -> None:
        self.events: dict[Network, list[Any]] = {one: [] for one in (self.relay, self.bob, self.alice)}
        for one, events in self.events.items():
            one.on_event(events.append)


def relay_of(limits: RelayLimits | None = None, *, open_to_all: bool = True, **options: Any) -> Network:
    relay = Network(listen=[LOOPBACK], relay=limits or RelayLimits(), name="relay", **options)
    if open_to_all:
        relay.firewall.set(Rule.ALLOW, protocol=HOP)
    return relay


@asynccontextmanager
async def three(limits: RelayLimits | None = None) -> AsyncIterator[Three]:
    """Bob listens at a relay only, and answers what alice asks."""
    async with relay_of(limits) as relay, Network(name="bob") as bob, Network(name="alice") as alice:
        at = Three(relay, bob, alice, f"{relay.addresses[0]}/p2p-circuit/p2p/{bob.peer_id}")
        bob.firewall.set(Rule.ALLOW, protocol=SAY.ids[0])
        bob.firewall.set(Rule.ALLOW, protocol="/raw/1")

        @bob.on_request(SAY)
        def answer(request: Request[bytes]) -> bytes:
            return request.message * 2

        @bob.on_stream("/raw/1")
        async def echo(stream: Stream) -> None:
            while piece := await stream.read():
                await stream.write(piece)

        await bob.listen(f"{relay.addresses[0]}/p2p-circuit")
        yield at


async def test_a_request_through_a_relay_and_what_is_told_of_it() -> None:
    async with three() as at:
        assert [str(one) for one in at.bob.addresses] == [at.at]
        assert await at.alice.request(at.at, b"ab", SAY) == b"abab"
        (there,), (here,) = at.alice.connections(at.bob.peer_id), at.bob.connections(at.alice.peer_id)
        for connection in (there, here):
            assert connection.limited is not None
            assert 0 < connection.limited.data < 131_072
            assert 0 < connection.limited.seconds <= 120
        (outer,) = at.alice.connections(at.relay.peer_id)
        assert outer.limited is None
        stats = at.relay.stats()
        assert (stats["reservations"], stats["circuits"], stats["circuits_total"]) == (1, 1, 1)
        assert stats["circuit_bytes_total"] > 300
        assert at.bob.stats()["relays_reserved"] == 1
        await at.alice.disconnect(at.bob.peer_id)
        await until(lambda: not at.relay.stats()["circuits"])
        told = at.told(at.relay)
        assert [one.peer for one in told if isinstance(one, ReservationMade)] == [at.bob.peer_id]
        (opened,) = [one for one in told if isinstance(one, CircuitOpened)]
        assert (opened.source, opened.target) == (at.alice.peer_id, at.bob.peer_id)
        (closed,) = [one for one in told if isinstance(one, CircuitClosed)]
        assert (closed.source, closed.target) == (opened.source, opened.target)
        assert closed.sent + closed.received == at.relay.stats()["circuit_bytes_total"]


async def test_the_call_that_strikes_the_limit_says_so() -> None:
    async with three(RelayLimits(data=20_000)) as at:
        for _ in range(2):  # each time with a new circuit
            async with asyncio.timeout(1):
                with pytest.raises(CircuitLimit) as caught:
                    await at.alice.request(at.at, bytes(30_000), SAY)
        assert (caught.value.limit, caught.value.maximum) == ("data", 20_000)
        assert await at.alice.request(at.at, b"ab", SAY) == b"abab"
        async with asyncio.timeout(1):
            with pytest.raises(CircuitLimit):  # it is the answer that is too much
                await at.alice.request(at.at, bytes(15_000), SAY)


async def test_a_read_and_a_write_at_the_limit_say_so() -> None:
    async with three(RelayLimits(data=20_000)) as at, asyncio.timeout(2):
        stream = await at.alice.open_stream(at.at, "/raw/1")
        reading = asyncio.ensure_future(stream.read_to_end())
        with pytest.raises(CircuitLimit):
            while True:
                await stream.write(bytes(1_000))
        with pytest.raises(CircuitLimit):
            await reading


async def test_the_end_of_a_circuits_time_says_so() -> None:
    async with three(RelayLimits(duration=1)) as at, asyncio.timeout(2):
        stream = await at.alice.open_stream(at.at, "/raw/1", wait=True)
        with pytest.raises(CircuitLimit) as caught:
            await stream.read()
        assert caught.value.limit == "duration"


async def test_a_relay_is_nobodys_unless_its_firewall_says_so() -> None:
    """D26: no relay by default; and one only for those whom its rules name."""
    async with Network(listen=[LOOPBACK]) as none, Network() as bob:
        none.firewall.set(Rule.ALLOW)
        with pytest.raises(ListenError) as refused:
            await bob.listen(f"{none.addresses[0]}/p2p-circuit")
        assert isinstance(refused.value.__cause__, RelayRefused)
        assert refused.value.__cause__.status == 0
    async with relay_of(open_to_all=False) as relay, Network() as bob, Network() as carol:
        for other in (bob, carol):
            with pytest.raises(ListenError):
                await other.listen(f"{relay.addresses[0]}/p2p-circuit")
        relay.firewall.set(Rule.ALLOW, peer=bob.peer_id, protocol=HOP)
        await relay.disconnect(bob.peer_id)
        await bob.listen(f"{relay.addresses[0]}/p2p-circuit")
        with pytest.raises(ListenError):
            await carol.listen(f"{relay.addresses[0]}/p2p-circuit")


async def test_what_rules_do_not_allow_any_more_ends() -> None:
    async with three() as at:
        connection = await at.alice.connect(at.at)
        at.relay.firewall.set(Rule.ALLOW, protocol="/another/1")
        assert not connection.closed
        at.relay.firewall.set(Rule.only(["reserve"]), protocol=HOP)
        await until(lambda: connection.closed)
        await until(lambda: not at.relay.stats()["circuits"])
        assert at.relay.stats()["reservations"] == 1
        at.relay.firewall.remove(protocol=HOP)
        assert at.relay.stats()["reservations"] == 0


async def test_the_firewall_of_the_target_sees_that_it_is_a_relay() -> None:
    async with three() as at:
        seen: list[Attempt] = []

        def direct(attempt: Attempt) -> bool:
            seen.append(attempt)
            return not attempt.relayed

        at.bob.firewall.set(Rule.when(direct), protocol="/raw/1")
        stream = await at.alice.open_stream(at.at, "/raw/1")
        with pytest.raises(Exception, match="raw"):
            await stream.read()
        assert seen[0].relayed


async def test_refusals_and_losses_are_told_on_both_sides() -> None:
    async with three(RelayLimits(reservations=1)) as at:
        with pytest.raises(ListenError, match="all its places are taken"):
            await at.alice.listen(f"{at.relay.addresses[0]}/p2p-circuit")
        (refused,) = [one for one in at.told(at.relay) if isinstance(one, ReservationRefused)]
        assert (refused.relay, refused.peer) == (at.relay.peer_id, at.alice.peer_id)
        await at.relay.disconnect(at.bob.peer_id)
        await until(lambda: any(isinstance(one, ReservationLost) for one in at.told(at.bob)))
        await until(lambda: at.bob.stats()["relays_reserved"])
        assert [type(one) for one in at.told(at.relay) if isinstance(one, ReservationMade | ReservationLost)] == [
            ReservationMade,
            ReservationLost,
            ReservationMade,
        ]


async def test_a_place_outlives_the_idle_time_of_both_ends() -> None:
    """D11: relayed listening ended after 20 s without a word, as the relay did not know of the listener."""
    idle = Timeouts(idle=0.2)
    async with relay_of(timeouts=idle) as relay, Network(timeouts=idle) as bob, Network() as alice:
        await bob.listen(f"{relay.addresses[0]}/p2p-circuit")
        await alice.connect(relay.addresses[0])
        (connection,) = bob.connections(relay.peer_id)
        await until(lambda: not relay.connections(alice.peer_id))  # an idle connection that nobody needs
        assert not connection.closed
        await alice.connect(f"{relay.addresses[0]}/p2p-circuit/p2p/{bob.peer_id}")


async def test_a_swarm_with_relays() -> None:
    async with swarm(1) as one:
        use_relays(one, None)
        assert one.snapshot()["relays_used"] == 0
        assert "reservations" not in one.snapshot()


async def test_we_are_no_relay_of_ours() -> None:
    async with relay_of() as relay:
        with pytest.raises(ConfigError):
            await relay.listen(f"{relay.addresses[0]}/p2p-circuit")
    with pytest.raises(ConfigError):
        Network(relay=True)  # type: ignore[arg-type]


def test_without_an_event_loop() -> None:
    with SyncNetwork(listen=[LOOPBACK], relay=RelayLimits()) as relay, SyncNetwork() as bob, SyncNetwork() as alice:
        relay.firewall.set(Rule.ALLOW, protocol=HOP)
        bob.listen(f"{relay.addresses[0]}/p2p-circuit")
        connection = alice.connect(bob.addresses[0])
        assert connection.limited is not None
        assert alice.ping(bob.peer_id) < 5
