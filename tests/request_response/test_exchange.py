"""What requester and responder share."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Any

import pytest

from stronghold_p2p.errors import LimitExceeded, Malformed
from stronghold_p2p.identity.keys import Identity
from stronghold_p2p.request_response.codecs.codec import BYTES, JSON, frame
from stronghold_p2p.request_response.codecs.protocol import RequestProtocol
from stronghold_p2p.request_response.exchange import Places, attempt_of, receive
from tests.peers import connect, saying, swarm

ALICE, BOB = (Identity.from_seed(bytes([seed]) * 32).peer_id for seed in (1, 2))
RAW = "/raw/1"


async def received(maximum: int, *pieces: bytes) -> bytes | None:
    """What ``receive`` makes of a stream that brings ``pieces`` and ends."""

    async with swarm(1) as alice, swarm(2) as bob:
        bob.handle(RAW, saying(*pieces))
        async with await (await connect(alice, bob)).open_stream(RAW) as stream:
            return await receive(stream, maximum)


@pytest.mark.parametrize("size", [0, 1, 127, 128, 1_000, 300_000])
async def test_a_message_is_read_whole_and_in_pieces(size: int) -> None:
    body = bytes(range(256)) * (size // 256) + bytes(size % 256)
    data = frame(body)
    assert await received(size, data) == body
    step = max(size // 100, 1)
    assert await received(size, *(data[at : at + step] for at in range(0, len(data), step))) == body


async def test_an_end_instead_of_a_message() -> None:
    assert await received(10) is None


@pytest.mark.parametrize(
    ("data", "about"),
    [
        (frame(b"x" * 11), "message length"),
        (b"\xff" * 8 + b"\x7f", "message length"),
        (b"\x80" * 20, "message length"),
        (b"\x81\x00x", "message length"),
        (b"\x80", "ended inside"),
        (frame(b"x" * 10)[:-1], "ended inside"),
        (b"\x05", "ended inside"),
        (frame(b"x") + b"y", "behind"),
        (frame(b"x") + frame(b"y"), "behind"),
    ],
)
async def test_anything_else_is_malformed(data: bytes, about: str) -> None:
    with pytest.raises(Malformed, match=about):
        await received(10, data)


async def test_too_long_is_said_at_the_prefix() -> None:
    async with swarm(1) as alice, swarm(2) as bob:
        bob.handle(RAW, saying(frame(b"x" * 11)[:1], close=False))
        async with await (await connect(alice, bob)).open_stream(RAW) as stream, asyncio.timeout(5):
            with pytest.raises(Malformed):
                await receive(stream, 10)


def test_places_are_counted_per_peer() -> None:
    places = Places(2)
    first, second, third = places.enter(ALICE), places.enter(ALICE), places.enter(BOB)
    assert (places.taken, first, first is third) == (3, second, False)
    with pytest.raises(LimitExceeded, match=r"requests_per_peer 2/2 .*Limits") as caught:
        places.enter(ALICE)
    assert (caught.value.limit, caught.value.current, caught.value.maximum) == ("requests_per_peer", 2, 2)
    assert caught.value.peer == ALICE
    assert places.taken == 3
    places.leave(first)
    assert places.enter(ALICE) is first
    for place in (first, second, third):
        places.leave(place)
    assert places.taken == 0
    assert not places._places


def test_no_place_at_all() -> None:
    places = Places(0)
    with pytest.raises(LimitExceeded):
        places.enter(ALICE)
    assert not places._places


def test_there_may_be_any_number_of_places() -> None:
    places = Places(None)
    taken = [places.enter(ALICE) for _ in range(1_000)]
    assert places.taken == 1_000
    for place in taken:
        places.leave(place)
    assert not places._places


@dataclass(frozen=True)
class Say:
    text: str


@pytest.mark.parametrize(
    ("message", "variant"),
    [
        ("Ping", "Ping"),
        ({"Say": "hi"}, "Say"),
        ({"a": 1, "b": 2}, None),
        ([1], None),
        (5, None),
        (None, None),
        (b"raw", None),
        (Say("hi"), "Say"),
    ],
)
async def test_the_firewall_sees_the_variant(message: Any, variant: str | None) -> None:
    async with swarm(1) as alice, swarm(2) as bob:
        connection = await connect(alice, bob)
        protocol: RequestProtocol[Any, Any] = RequestProtocol("/one/1", "/other/1", request=JSON, response=BYTES)
        attempt = attempt_of(connection, protocol, message, direction="out", deadline=5.0)
        assert (attempt.peer, attempt.protocol, attempt.direction) == (bob.peer_id, "/one/1", "out")
        assert (attempt.variant, attempt.view, attempt.deadline) == (variant, message, 5.0)
        assert attempt.address == bob.addresses[0]


async def test_the_firewall_sees_what_the_protocol_shows() -> None:
    async with swarm(1) as alice, swarm(2) as bob:
        connection = await connect(alice, bob)
        protocol = RequestProtocol(
            "/one/1", request=BYTES, response=BYTES, view=lambda body: "Short" if len(body) < 9 else "Long"
        )
        for body, view in ((b"x", "Short"), (b"x" * 9, "Long")):
            attempt = attempt_of(connection, protocol, body, direction="in", deadline=5.0)
            assert (attempt.variant, attempt.view) == (view, view)
