"""Noise, the choice of the muxer, and multistream-select on streams, between ours and go-libp2p."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from unittest.mock import patch

import pytest

from stronghold_p2p import multistream
from stronghold_p2p.addressing.parse import parse, split_peer
from stronghold_p2p.codes import Reset
from stronghold_p2p.errors import ConnectionClosed, PeerIdMismatch, UnsupportedProtocol
from stronghold_p2p.events.events import AcceptFailed, Opened
from stronghold_p2p.identity.keys.identity import Identity
from stronghold_p2p.identity.public_key import KeyType
from tests.interop.names import ECHO, HALF_CLOSE, RR
from tests.interop.our_peer import Pair, connected, echo, our_peer
from tests.interop.real_peer import RealError, real_peer
from tests.interop.ways import GO, ROLES, Role, newer
from tests.peers import until

REFUSED = r"protocols not supported|could not negotiate|does not support"
UNKNOWN = "/test/unknown/1"
LATE = "/test/late/1"


@pytest.fixture
def first_flights() -> Iterator[list[bytes]]:
    """What arrives first on each stream that a peer opens."""
    seen: list[bytes] = []
    match_first = multistream.match_first

    def note(data: bytes | memoryview) -> tuple[str, int] | None:
        seen.append(bytes(data))
        return match_first(data)

    with patch.object(multistream, "match_first", note):
        yield seen


async def test_they_do_not_serve_it(pair: Pair) -> None:
    # One name is proposed lazily, so the refusal comes with the first read ...
    stream = await pair.open(UNKNOWN)
    await stream.write(b"in vain")
    with pytest.raises(UnsupportedProtocol) as caught:
        await stream.read()
    assert caught.value.protocols == (UNKNOWN,)
    # ... several are proposed one after the other.
    with pytest.raises(UnsupportedProtocol) as caught:
        await pair.open(UNKNOWN, LATE)
    assert caught.value.protocols == (UNKNOWN, LATE)
    async with await pair.open(UNKNOWN, LATE, ECHO) as stream:
        assert stream.protocol == ECHO
        await stream.write(b"x")
        assert await stream.readexactly(1) == b"x"
    await pair.quiet()


async def test_we_do_not_serve_it(pair: Pair) -> None:
    with pytest.raises(RealError, match=REFUSED) as caught:
        await pair.ask("streams_sequential", protocol=UNKNOWN)
    assert UNKNOWN in str(caught.value)
    assert (await pair.ask("streams_sequential", n=10))["done"] == 10


async def test_we_serve_it_no_longer(pair: Pair) -> None:
    """go believes identify, proposes lazily, and is refused when it reads."""
    pair.ours.serve_no_longer(RR)
    with pytest.raises(RealError) as caught:
        await pair.ask("streams_sequential")
    assert caught.value.code == pair.real.heard(Reset.NEGOTIATION_FAILED)
    assert (await pair.ask("streams_sequential", protocol=ECHO))["done"] == 1


@GO
async def test_go_is_lazy_once_it_knows(pair: Pair, first_flights: list[bytes]) -> None:
    first_flights.clear()
    await pair.ask("streams_sequential", protocol=RR, size=100)
    (flight,) = first_flights
    proposal = multistream.propose(RR)
    assert flight.startswith(proposal)
    # A lazy opener that reads first sends its proposal with nothing behind it.
    first_flights.clear()
    answer = await pair.ask("half_close", remote_first=True, size=1000)
    assert (answer["received"], answer["sent"]) == (0, 1000)
    assert first_flights == [multistream.propose(HALF_CLOSE)]


@GO
async def test_go_asks_first_when_it_does_not_know(pair: Pair, first_flights: list[bytes]) -> None:
    pair.ours.serve(LATE, echo)  # identify does not tell
    first_flights.clear()
    assert (await pair.ask("streams_sequential", protocol=LATE))["done"] == 1
    assert len(first_flights) == 1
    assert len(first_flights[0]) <= len(multistream.propose(LATE))  # no data yet


@GO
async def test_ls_is_nothing_that_is_served(pair: Pair) -> None:
    """go-multistream has dropped ``ls`` and answers ``na``; so do we, and the negotiation goes on."""
    question = multistream.HEADER + multistream.message("ls") + multistream.message(ECHO) + b"payload"
    expected = multistream.HEADER + multistream.NA + multistream.message(ECHO) + b"payload"
    raw = await pair.ask("raw", send=question.hex(), want=len(expected))
    assert bytes.fromhex(raw["received"]) == expected

    stream = pair.connection._stream(pair.connection._muxer.open())
    await stream.write(question)
    assert await stream.readexactly(len(expected)) == expected
    stream.close()


async def talk(pair: Pair) -> None:
    """Both directions of the connection carry streams of both."""
    async with await pair.open(ECHO) as stream:
        await stream.write(b"from ours")
        assert await stream.readexactly(9) == b"from ours"
    assert (await pair.ask("streams_sequential"))["done"] == 1


@pytest.mark.parametrize("ours_early", [True, False], ids=["ours early", "ours without"])
@pytest.mark.parametrize("go_early", ["on", "empty", "absent"])
@pytest.mark.parametrize("role", ROLES)
async def test_muxer_inside_the_handshake_or_after_it(go: Path, role: Role, go_early: str, ours_early: bool) -> None:
    """libp2p/specs noise/README.md, "Libp2p Data in Handshake Messages": without it, multistream chooses."""
    async with connected(go, role, "--early-muxer", go_early, early_muxer=ours_early) as pair:
        early = ours_early and go_early == "on"
        (seen,) = (await pair.ask("connections"))["connections"]
        assert seen["security"] == "/noise"
        assert seen["muxer"] == "/yamux/1.0.0"
        assert seen["early_muxer"] is early
        assert seen["direction"] == {"ours dials": "Inbound", "theirs dials": "Outbound"}[role]
        assert pair.connection.direction == {"ours dials": "out", "theirs dials": "in"}[role]
        assert str(pair.connection.local_address) == newer(seen["remote_addr"])
        assert str(pair.connection.remote_address) == newer(seen["local_addr"])
        await talk(pair)


@pytest.mark.parametrize("kind", KeyType, ids=lambda kind: kind.name.lower())
@pytest.mark.parametrize("role", ROLES)
async def test_identity_keys(go: Path, role: Role, kind: KeyType) -> None:
    async with connected(go, role, "--key-type", kind.name.lower()) as pair:
        assert pair.connection.public_key.type is kind
        assert pair.connection.public_key.encode().hex() == pair.real.ready["key"]["protobuf"]
        assert pair.connection.peer == pair.real.peer
        assert pair.real.peer.matches(pair.connection.public_key)
        info = await pair.ours.identified(pair.real.peer)
        assert info.record is not None
        await talk(pair)


async def test_we_expect_somebody_else(go: Path) -> None:
    expected = Identity().peer_id
    async with our_peer() as ours, real_peer(go) as peer:
        address, _ = split_peer(parse(peer.address))
        with pytest.raises(PeerIdMismatch) as caught:
            await ours.swarm.dial(expected, [address])
        assert caught.value.expected == expected
        assert caught.value.actual == peer.peer
        assert ours.swarm.connections() == ()
        assert [event for event in ours.events if isinstance(event, Opened)] == []
        # Nothing is left that would be in the way of the right one.
        assert (await ours.swarm.dial(peer.peer, [address])).peer == peer.peer
        await peer.call("identify", peer=str(ours.peer))


async def test_they_expect_somebody_else(go: Path) -> None:
    expected = Identity().peer_id
    async with our_peer() as ours, real_peer(go) as peer:
        with pytest.raises(RealError, match="peer id mismatch") as caught:
            await peer.call("connect", addr=f"{ours.swarm.addresses[0]}/p2p/{expected}")
        assert str(ours.peer) in str(caught.value)
        await until(lambda: any(isinstance(event, AcceptFailed) for event in ours.events))
        (failed,) = [event for event in ours.events if isinstance(event, AcceptFailed)]
        assert isinstance(failed.error, ConnectionClosed)
        assert [event for event in ours.events if isinstance(event, Opened)] == []
        assert len((await peer.call("connect", addr=ours.address))["connections"]) == 1
