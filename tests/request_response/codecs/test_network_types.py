"""Typed messages from one network to another: what the handler, the firewall and the caller see of them."""

from __future__ import annotations

from enum import Enum
from typing import Any

import pytest

import stronghold_p2p as p2p
from stronghold_p2p import JSON, Attempt, Malformed, RequestProtocol, Rule, messages
from tests.peers import connected, mirror, network
from tests.request_response.codecs.kinds import Pair, Ping, Say


class Mood(Enum):
    GOOD = 1


Message = Ping | Say | Pair
ECHO = RequestProtocol("/echo/1.0.0", request=messages(Message), response=messages(Message))


@pytest.mark.parametrize("direction", ["in", "out"])
async def test_t13_the_firewall_sees_the_object_and_the_name_of_its_class(direction: Any) -> None:
    """Or what the view of the protocol leaves of it (T13)."""
    bob, alice = network(), p2p.Network()
    asked = bob if direction == "in" else alice
    asked.firewall.set(Rule.ASK, direction=direction)
    seen: list[tuple[Any, str | None]] = []

    @asked.firewall.on_ask
    async def approve(attempt: Attempt) -> bool:
        seen.append((attempt.view, attempt.variant))
        return True

    moods = RequestProtocol("/mood/1", request=messages(Mood), response=messages(None))
    viewed = RequestProtocol("/viewed/1", request=messages(Message), response=JSON, view=lambda message: str(message))
    bob.on_request(ECHO)(mirror)
    bob.on_request(moods)(lambda request: None)
    bob.on_request(viewed)(lambda request: 1)
    async with connected(bob, alice):
        for message in (Ping(), Say("hi"), Pair(1, "x")):
            answer = await alice.request(bob.peer_id, message, ECHO)
            assert (answer, type(answer)) == (message, type(message))
        await alice.request(bob.peer_id, Mood.GOOD, moods)
        await alice.request(bob.peer_id, Say("hi"), viewed)
    assert seen == [
        (Ping(), "Ping"),
        (Say("hi"), "Say"),
        (Pair(1, "x"), "Pair"),
        (Mood.GOOD, "GOOD"),
        ("Say(text='hi')", "Say"),
    ]


async def test_faults_are_told_with_their_place() -> None:
    bob = network()
    bob.on_request(RequestProtocol("/echo/1.0.0", request=JSON, response=JSON))(lambda request: {"Say": {"text": 5}})
    async with connected(bob) as alice:
        with pytest.raises(Malformed) as caught:
            await alice.request(bob.peer_id, Ping(), ECHO)
        assert (str(caught.value), caught.value.path) == ("response.Say.text: not str", "response.Say.text")
        assert (caught.value.peer, caught.value.sent) == (bob.peer_id, True)
        wrong: Any = Say(5)  # type: ignore[arg-type]
        with pytest.raises(Malformed) as caught:
            await alice.request(bob.peer_id, wrong, ECHO)
        assert (str(caught.value), caught.value.path) == ("request.Say.text: not str", "request.Say.text")
        assert not caught.value.sent
