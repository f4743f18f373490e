"""The go-libp2p peer as the tests see it (harness/go/drive.go)."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from pathlib import Path

from multiaddr import Multiaddr

from stronghold_p2p.addressing.parse import parse
from tests.support.driven import PATIENCE, Driven, Line, driven


class GoError(Exception):
    """go could not do it; ``code`` is the reset's, if it was one."""

    def __init__(self, answer: Line) -> None:
        super().__init__(answer.get("error", "no reason given"))
        self.code: int | None = answer.get("code")


class GoPeer(Driven):
    """``ready`` tells peer, addrs, key, protocols, version."""

    def __init__(self, process: asyncio.subprocess.Process, ready: Line) -> None:
        super().__init__(process, ready)
        self.addresses: list[Multiaddr] = [parse(text) for text in ready["addrs"]]
        self.address = f"{self.addresses[0]}/p2p/{self.peer}"
        self._events: list[Line] = []

    async def call(self, command: str, *, timeout: float = PATIENCE, **arguments: object) -> Line:
        """One command and its answer; ``GoError`` if go says that it failed."""
        answer = await self.answer_to({"cmd": command, "timeout": timeout, **arguments}, timeout)
        if not answer["ok"]:
            raise GoError(answer)
        return answer

    async def until(self, name: str, *, timeout: float = 10.0, **expected: object) -> Line:
        """The first event of that name whose fields are as expected; each event is given out once."""
        async with asyncio.timeout(timeout):
            while True:
                for event in self._events:
                    if event["event"] == name and all(event.get(key) == value for key, value in expected.items()):
                        self._events.remove(event)
                        return event
                await asyncio.sleep(0.01)
                self._events += (await self.call("events"))["events"]


def go_peer(program: Path, *options: str, may_say: Sequence[str] = ()) -> AbstractAsyncContextManager[GoPeer]:
    """A go-libp2p host that listens on loopback; warnings and a failed identify would be told on its standard error."""
    return driven(GoPeer, program, "--listen", *options, may_say=may_say)
