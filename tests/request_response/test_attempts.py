"""A request as the firewall sees it. Which variant each message has is told in tests of its codec."""

from __future__ import annotations

from typing import Any

import pytest

from stronghold_p2p.request_response.attempts import attempt_of
from stronghold_p2p.request_response.codecs.codec import BYTES, JSON
from stronghold_p2p.request_response.codecs.protocol import RequestProtocol
from tests.peers import swarms


def size(body: bytes) -> str:
    return "Short" if len(body) < 9 else "Long"


PLAIN: Any = RequestProtocol("/one/1", "/other/1", request=JSON, response=BYTES)
VIEWED: Any = RequestProtocol("/one/1", request=BYTES, response=BYTES, view=size)


@pytest.mark.parametrize(
    ("protocol", "message", "variant", "view"),
    [
        (PLAIN, {"Say": "hi"}, "Say", {"Say": "hi"}),
        (PLAIN, [1], None, [1]),
        (VIEWED, b"x", "Short", "Short"),
        (VIEWED, b"x" * 9, "Long", "Long"),
    ],
)
async def test_t13_the_firewall_sees_the_variant_and_what_the_protocol_shows(
    protocol: Any, message: Any, variant: str | None, view: Any
) -> None:
    async with swarms() as (_, bob, connection):
        attempt = attempt_of(connection, protocol, message, direction="out", deadline=5.0)
        assert (attempt.peer, attempt.protocol, attempt.direction) == (bob.peer_id, "/one/1", "out")
        assert (attempt.variant, attempt.view, attempt.deadline) == (variant, view, 5.0)
        assert attempt.address == bob.addresses[0]
