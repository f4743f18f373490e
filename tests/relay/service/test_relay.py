"""A relay, a target that has a place there, and a source: over real connections, with clients that are made by hand."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import pytest

from stronghold_p2p.codes import Reset
from stronghold_p2p.connection.live import LiveConnection
from stronghold_p2p.encoding import protobuf
from stronghold_p2p.errors import ConfigError, StreamReset
from stronghold_p2p.firewall.rules import Rule
from stronghold_p2p.relay import messages, voucher
from stronghold_p2p.relay.messages import HOP, STOP, HopMessage, HopType, Limit, Peer, Status
from stronghold_p2p.relay.options import RelayLimits
from stronghold_p2p.relay.service.relay import RelayService
from stronghold_p2p.streams.live import LiveStream
from stronghold_p2p.swarm.swarm import Swarm
from tests.peers import connect, swarm, until


@dataclass
class Triple:
    """``to_target`` and ``to_source`` are the relay's connections, ``offers`` what the target was offered."""

    relay: Swarm
    service: RelayService
    target: Swarm
    source: Swarm
    from_target: LiveConnection
    from_source: LiveConnection
    offers: asyncio.Queue[LiveStream]
    answer: Status = Status.OK

    async def ask(self, connection: LiveConnection, body: bytes) -> tuple[HopMessage, LiveStream]:
        stream = await connection.open_stream(HOP)
        await stream.write_message(body)
        return messages.read_hop(await stream.read_message(messages.MAX_MESSAGE) or b""), stream

    async def status(self, connection: LiveConnection, body: bytes) -> Status:
        message, stream = await self.ask(connection, body)
        stream.close()
        return messages.status_of(message)

    async def reserve(self) -> HopMessage:
        message, stream = await self.ask(self.from_target, messages.reserve())
        stream.close()
        return message

    async def circuit(self) -> tuple[LiveStream, LiveStream, HopMessage]:
        """Both ends of one, and what the source was told."""
        message, near = await self.ask(self.from_source, messages.connect(self.target.peer_id))
        assert messages.status_of(message) is Status.OK
        return near, await self.offers.get(), message


@asynccontextmanager
async def three(limits: RelayLimits | None = None) -> AsyncIterator[Triple]:
    async with swarm(1) as relay, swarm(2) as target, swarm(3) as source:
        service = RelayService(relay, limits)
        offers: asyncio.Queue[LiveStream] = asyncio.Queue()
        ends = asyncio.Event()
        triple = Triple(
            *(relay, service, target, source),
            *(await connect(target, relay), await connect(source, relay)),
            offers,
        )

        async def stop(stream: LiveStream) -> None:
            offer = messages.read_stop(await stream.read_message(messages.MAX_MESSAGE) or b"")
            assert messages.peer_of(offer) == source.peer_id
            await stream.write_message(messages.stop_status(triple.answer))
            if triple.answer is Status.OK:
                offers.put_nowait(stream)
                await ends.wait()

        target.handle(STOP, stop)
        try:
            yield triple
        finally:
            ends.set()
            await service.close()


async def test_a_place_is_told_with_addresses_and_a_voucher() -> None:
    async with three() as at:
        told = await at.reserve()
        assert messages.status_of(told) is Status.OK
        assert told.reservation is not None
        assert told.reservation.expire is not None
        assert told.reservation.voucher is not None
        until = voucher.check(told.reservation.voucher, at.relay.peer_id, at.target.peer_id)
        assert until == told.reservation.expire
        assert told.limit == Limit(duration=120, data=131_072)
        (address,) = told.reservation.addrs
        assert address.endswith(bytes(at.relay.peer_id))
        assert at.service.snapshot()["reservations"] == 1
        await at.reserve()
        assert at.service.snapshot()["reservations_total"] == 1  # a renewal is no second one


async def test_bytes_flow_both_ways_and_ends_are_passed_on() -> None:
    async with three() as at:
        await at.reserve()
        near, far, told = await at.circuit()
        assert told.limit == Limit(duration=120, data=131_072)
        await near.write(b"from the source")
        assert await far.readexactly(15) == b"from the source"
        await far.write(b"from the target")
        far.finish()
        assert await near.read_to_end() == b"from the target"
        near.finish()
        assert await far.read() == b""
        await until(lambda: at.service.snapshot()["circuits"] == 0)
        assert at.service.snapshot()["circuit_bytes_total"] == 30


async def test_much_flows_through_an_unlimited_one() -> None:
    async with three() as at:
        at.relay.firewall.set(Rule.ALLOW, peer=at.target.peer_id, protocol=HOP)
        assert (await at.reserve()).limit is None
        near, far, told = await at.circuit()
        assert told.limit is None
        block = bytes(range(256)) * 256

        async def send(stream: LiveStream) -> None:
            for _ in range(64):
                await stream.write(block)
            stream.finish()

        async def receive(stream: LiveStream) -> int:
            size = 0
            while piece := await stream.read():
                assert piece == (block + block)[size % len(block) :][: len(piece)]
                size += len(piece)
            return size

        sizes = await asyncio.gather(send(near), send(far), receive(near), receive(far))
        assert list(sizes[2:]) == [64 * len(block)] * 2


async def test_the_data_limit_holds_to_the_byte_and_both_ends_are_told() -> None:
    async with three(RelayLimits(data=1_000)) as at:
        await at.reserve()
        near, far, _ = await at.circuit()
        await near.write(bytes(1_000))
        assert len(await far.readexactly(1_000)) == 1_000
        await near.write(b"x")
        for stream in (near, far):
            with pytest.raises(StreamReset) as caught:
                await stream.read()
            assert caught.value.code == Reset.RESOURCE_LIMIT


async def test_the_time_of_a_circuit_ends_for_both() -> None:
    async with three(RelayLimits(duration=1)) as at:
        await at.reserve()
        circuits = [await at.circuit(), await at.circuit()]
        for near, far, _ in circuits:
            for stream in (near, far):
                with pytest.raises(StreamReset):
                    await stream.read()
        assert at.service.snapshot()["circuits"] == 0
        assert at.service._of_peers.total == 0


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (messages.hop_status(Status.OK), Status.UNEXPECTED_MESSAGE),
        (b"\x08\x09", Status.MALFORMED_MESSAGE),
        (b"", Status.MALFORMED_MESSAGE),
        (protobuf.encode(HopMessage(type=HopType.CONNECT)), Status.MALFORMED_MESSAGE),
        (protobuf.encode(HopMessage(type=HopType.CONNECT, peer=Peer(id=b"?"))), Status.MALFORMED_MESSAGE),
    ],
)
async def test_what_is_no_request_is_answered(body: bytes, status: Status) -> None:
    async with three() as at:
        assert await at.status(at.from_source, body) is status
        assert await at.status(at.from_source, messages.connect(at.target.peer_id)) is Status.NO_RESERVATION


async def test_a_circuit_leads_to_somebody_else() -> None:
    async with three() as at:
        await at.reserve()
        for target, connection in ((at.target, at.from_target), (at.relay, at.from_source)):
            assert await at.status(connection, messages.connect(target.peer_id)) is Status.PERMISSION_DENIED


async def test_a_target_that_refuses_or_is_gone() -> None:
    async with three() as at:
        await at.reserve()
        at.answer = Status.PERMISSION_DENIED
        assert await at.status(at.from_source, messages.connect(at.target.peer_id)) is Status.CONNECTION_FAILED
        await at.from_target.close(0)
        await until(lambda: not at.service.snapshot()["reservations"])
        assert await at.status(at.from_source, messages.connect(at.target.peer_id)) is Status.NO_RESERVATION
        assert at.service._of_peers.total == 0


async def test_circuits_have_limits() -> None:
    async with three(RelayLimits(circuits_per_peer=2)) as at:
        await at.reserve()
        (near, _, _), _ = await at.circuit(), await at.circuit()
        connect_again = messages.connect(at.target.peer_id)
        assert await at.status(at.from_source, connect_again) is Status.RESOURCE_LIMIT_EXCEEDED
        near.reset(Reset.NONE)
        await until(lambda: at.service.snapshot()["circuits"] == 1)
        await at.circuit()
    async with three(RelayLimits(circuits=0)) as at:
        await at.reserve()
        assert await at.status(at.from_source, connect_again) is Status.RESOURCE_LIMIT_EXCEEDED


async def test_circuits_that_are_on_their_way_count() -> None:
    async with three(RelayLimits(circuits=1)) as at:
        await at.reserve()
        asked = await asyncio.gather(*(at.ask(at.from_source, messages.connect(at.target.peer_id)) for _ in range(5)))
        said = sorted(messages.status_of(message) for message, _ in asked)
        assert said == [Status.OK, *[Status.RESOURCE_LIMIT_EXCEEDED] * 4]


async def test_places_have_limits_and_protected_peers_one_always() -> None:
    async with three(RelayLimits(reservations=1)) as at:
        await at.reserve()
        assert await at.status(at.from_source, messages.reserve()) is Status.RESERVATION_REFUSED
        at.relay.protected.add(at.source.peer_id)
        assert await at.status(at.from_source, messages.reserve()) is Status.OK


async def test_the_firewall_says_who_may_reserve_who_may_come_and_who_may_be_reached() -> None:
    async with three() as at:
        rules, target, source = at.relay.firewall, at.target.peer_id, at.source.peer_id
        rules.set(Rule.only(["reserve"]), peer=source, protocol=HOP)
        assert messages.status_of(await at.reserve()) is Status.OK
        assert await at.status(at.from_source, messages.connect(target)) is Status.PERMISSION_DENIED
        rules.set(Rule.only(["connect"]), peer=source, protocol=HOP)
        assert await at.status(at.from_source, messages.reserve()) is Status.PERMISSION_DENIED
        near, far, told = await at.circuit()
        assert told.limit is not None  # a rule names the source, and does not allow ``unlimited``
        near.reset(0)
        far.reset(0)
        rules.set(Rule.REJECT, peer=target, protocol=STOP, direction="out")
        assert await at.status(at.from_source, messages.connect(target)) is Status.PERMISSION_DENIED


async def test_the_relay_that_closes_tells_both_ends() -> None:
    async with three() as at:
        await at.reserve()
        near, far, _ = await at.circuit()
        await at.service.close()
        for stream in (near, far):
            with pytest.raises(StreamReset) as caught:
                await stream.read()
            assert caught.value.code == Reset.SHUTDOWN


@pytest.mark.parametrize("wrong", [{"reservation": 59}, {"circuits": -1}, {"data": "much"}, {"duration": True}])
def test_limits_that_cannot_be(wrong: dict[str, object]) -> None:
    with pytest.raises(ConfigError):
        RelayLimits(**wrong)  # type: ignore[arg-type]
