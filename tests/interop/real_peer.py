"""A peer of another implementation as the tests see it; harness/go/drive.go lists its commands."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from pathlib import Path

from multiaddr import Multiaddr

from stronghold_p2p.addressing.parse import parse
from tests.interop.ways import OVER, Over
from tests.support.certificates import certified
from tests.support.driven import PATIENCE, Driven, Line, driven


class RealError(Exception):
    """The peer could not do it; ``code`` is the reset's, if it was one and the implementation tells."""

    def __init__(self, answer: Line) -> None:
        super().__init__(answer.get("error", "no reason given"))
        self.code: int | None = answer.get("code")


class RealPeer(Driven):
    """``ready`` tells peer, addrs, key, version; go and js tell protocols, too.

    ``codes``: it tells and hears with which code a stream is reset. ``pings``: it pings from the beginning, and keeps
    the stream for it. ``hears_resets``: to rust-libp2p a reset is an end like any other.
    """

    def __init__(self, process: asyncio.subprocess.Process, ready: Line) -> None:
        super().__init__(process, ready)
        self.addresses: list[Multiaddr] = [parse(text) for text in ready["addrs"]]
        self.name = ready["version"].split()[0]
        self.codes = self.name == "go-libp2p"
        self.pings = self.name in {"rust-libp2p", "litep2p"}
        self.hears_resets = self.name != "rust-libp2p"
        self.address = f"{self.addresses[0]}/p2p/{self.peer}"
        self._events: list[Line] = []

    async def call(self, command: str, *, timeout: float = PATIENCE, **arguments: object) -> Line:
        """One command and its answer; ``RealError`` if the peer says that it failed."""
        answer = await self.answer_to({"cmd": command, "timeout": timeout, **arguments}, timeout)
        if not answer["ok"]:
            raise RealError(answer)
        return answer

    async def warnings(self) -> list[str]:
        """What it has logged; only go's program collects that."""
        return (await self.call("warnings"))["warnings"] if self.codes else []

    def sent(self, code: int) -> int:
        """What we hear of a reset with that code: only go-libp2p sends them."""
        return code if self.codes else 0

    def heard(self, code: int) -> int | None:
        """What it tells of a reset of ours with that code."""
        return code if self.codes else None

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


def real_peer(
    program: Path, *options: str, may_say: Sequence[str] = (), over: Over = OVER
) -> AbstractAsyncContextManager[RealPeer]:
    """A host that listens on loopback; what it complains of would be told on its standard error."""
    listen = ["--listen" if over == "tcp" else f"--listen-{over}"]
    if over == "wss":
        tls = certified()
        listen += ["--tls-cert", str(tls.certificate), "--tls-key", str(tls.key), "--ca", str(tls.ca)]
    if over != "tcp":  # at its end go's listener of WebSocket closes its socket twice, now and then (0.52.0)
        may_say = [*may_say, "error when shutting down listener .*use of closed network connection"]
    return driven(RealPeer, program, *listen, *options, may_say=may_say)
