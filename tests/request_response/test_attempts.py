"""A request as the firewall sees it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest

from stronghold_p2p.request_response.attempts import attempt_of
from stronghold_p2p.request_response.codecs.codec import BYTES, JSON
from stronghold_p2p.request_response.codecs.protocol import RequestProtocol
from tests.peers import connect, swarm


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
