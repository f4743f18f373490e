"""Hostile row 153: a name that is rejected and one that nobody serves; nothing tells which it was, nor does time.

Time is not measured here, but its cause: all that is called from the arrival of the bytes until the answer leaves.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

import pytest

from stronghold_p2p import multistream
from stronghold_p2p.firewall.rules import Rule
from stronghold_p2p.swarm.swarm import Swarm
from stronghold_p2p.transport.socket_wire import SocketWire
from tests.peers import echo, swarm, turns
from tests.swarm.raw import raw_in

REJECTED, ALIAS, UNKNOWN = "/rejected/1.0", "/rejected/2.0", "/nobodies/1.0"
NA = multistream.HEADER + multistream.NA


class Calls:
    """Which functions are called in each callback that receives, up to its first write; ``audits`` comes behind it."""

    def __init__(self) -> None:
        self.before: list[list[str]] = []
        self.sent = False

    def note(self, frame: FrameType, event: str, argument: Any) -> None:
        if self.sent or event not in {"call", "c_call"}:
            return
        name = frame.f_code.co_qualname if event == "call" else getattr(argument, "__qualname__", "")
        self.before[-1].append(name)
        self.sent = name == "SocketWire.write"

    @contextmanager
    def noted(self, patch: pytest.MonkeyPatch) -> Iterator[None]:
        updated = SocketWire.buffer_updated

        def watched(wire: SocketWire, size: int) -> None:
            self.before.append([])
            self.sent = False
            sys.setprofile(self.note)
            try:
                updated(wire, size)
            finally:
                sys.setprofile(None)

        with patch.context() as inner:
            inner.setattr(SocketWire, "buffer_updated", watched)
            yield


def serve(one: Swarm, rule: Rule | None) -> None:
    one.handle(REJECTED, echo)
    one.handle(ALIAS, echo, judges=True, rule_name=REJECTED)
    if rule is not None:
        one.firewall.set(rule)


async def called(one: Swarm, name: str, patch: pytest.MonkeyPatch) -> list[list[str]]:
    """What a fresh connection causes that proposes this name twice."""
    calls = Calls()
    async with raw_in(one) as (raw, _):
        for number in (1, 3):
            with calls.noted(patch):
                await raw.open(number, name)
                assert await raw.body(number, len(NA)) == NA
            await turns()
    assert all("SocketWire.write" in one for one in calls.before)
    return calls.before


@pytest.mark.parametrize("rule", [Rule.REJECT, Rule.only(["Ping"], then=Rule.REJECT), None])
@pytest.mark.parametrize("told", ["nobody", "the log", "a follower"])
async def test_the_same_is_called_before_the_answer_to_a_rejected_and_to_an_unknown_name_leaves(
    rule: Rule | None, told: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    heard: list[object] = []
    async with swarm(1, rule=None) as alice:
        serve(alice, rule)
        if told == "the log":
            caplog.set_level(logging.INFO, "stronghold_p2p.audit")
        leave = alice.hub.follow(heard.append) if told == "a follower" else None
        for name in (REJECTED, ALIAS, UNKNOWN):  # the caches of names are full
            await called(alice, name, monkeypatch)
        rejected, alias, unknown = [await called(alice, name, monkeypatch) for name in (REJECTED, ALIAS, UNKNOWN)]
        assert rejected == unknown
        assert alias == unknown
        assert len(rejected) == 2
        names = {name for one in rejected for name in one}
        assert not any(word in name for name in names for word in ("Audit.tell", "Logger.info", "Hub.emit"))
        if leave is not None:
            leave()
    assert (told == "the log") == any("verdict=reject" in line for line in caplog.messages)
    assert (told == "a follower") == any(REJECTED in repr(event) for event in heard)
