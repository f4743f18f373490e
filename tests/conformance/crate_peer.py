"""A node of the Rust crate as a process that takes JSON lines (``harness/crate/src/talk.rs``)."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from stronghold_p2p import PeerId

Line = dict[str, Any]

PATIENCE = 60.0
LINE = 1 << 25  # a mebibyte as JSON numbers is four

QUIET = {"established", "closed"}
"""Events about connections; the others are about requests."""


class CrateError(Exception):
    """The crate's own word for what went wrong: ``ConnectionClosed``, ``Timeout``, ``UnsupportedProtocols``..."""


class CratePeer:
    """One node. ``reactions``: by the name of an event, the command that answers it at once; others wait."""

    def __init__(self, process: asyncio.subprocess.Process, ready: Line) -> None:
        self.peer = PeerId(ready["peer"])
        self.address = f"{ready['addr']}/p2p/{self.peer}"
        self.version: str = ready["version"]
        self.reactions: Mapping[str, Line] = {}
        self.events: list[Line] = []
        self._process = process
        self._waiting: dict[int, asyncio.Future[Line]] = {}
        self._last = 0
        self._news = asyncio.Event()
        self._reading = asyncio.create_task(self._read())

    async def call(self, command: str, **arguments: Any) -> Any:
        """One command and what came of it; ``CrateError`` if the crate says that it failed."""
        number = self._send({"cmd": command, **arguments})
        answer = self._waiting[number] = asyncio.get_running_loop().create_future()
        async with asyncio.timeout(PATIENCE):
            line = await answer
        if not line["ok"]:
            raise CrateError(line["error"])
        return line["value"]

    async def until(self, event: str, count: int = 1, patience: float = PATIENCE) -> Line:
        """The ``count``-th event of this name."""
        async with asyncio.timeout(patience):
            while len(found := [line for line in self.events if line["event"] == event]) < count:
                self._news.clear()
                await self._news.wait()
        return found[count - 1]

    def told(self) -> str:
        """What it was asked, was sent and has refused so far, in words."""
        lines = [_in_words(line) for line in self.events if line["event"] not in QUIET]
        return ", ".join(lines) or "nothing"

    async def end(self) -> None:
        """Standard input ends, and so does the process; whatever happens, it is gone afterwards."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        try:
            async with asyncio.timeout(10.0):
                code = await self._process.wait()
            assert code == 0, f"the crate's peer has ended with {code}"
        finally:
            if self._process.returncode is None:
                self._process.kill()
                await self._process.wait()
            await asyncio.gather(self._reading, return_exceptions=True)

    def _send(self, command: Line) -> int:
        assert self._process.stdin is not None
        self._last += 1
        self._process.stdin.write(json.dumps({"id": self._last, **command}).encode() + b"\n")
        return self._last

    async def _read(self) -> None:
        assert self._process.stdout is not None
        async for text in self._process.stdout:
            line = json.loads(text)
            if "event" in line:
                self._happened(line)
            elif (waiting := self._waiting.pop(line["id"], None)) is not None and not waiting.done():
                waiting.set_result(line)
        for waiting in self._waiting.values():
            if not waiting.done():
                waiting.set_exception(ConnectionError("the crate's peer has ended"))

    def _happened(self, line: Line) -> None:
        self.events.append(line)
        self._news.set()
        if (reaction := self.reactions.get(line["event"])) is not None:
            self._send({**reaction, "number": line["number"]})


def brief(message: Any) -> str:
    """A message as JSON, or, where that is long, its kind and its length."""
    text = json.dumps(message, ensure_ascii=False)
    if len(text) <= 60:
        return text
    (variant, value), *_ = message.items()
    return f"{variant} of {len(value):,}"


def _in_words(line: Line) -> str:
    match line["event"]:
        case "rule_query":
            return "asked for a rule"
        case "approval":
            return f"asked about {line['variant']}"
        case "request":
            return f"request {brief(line['message'])}"
        case _:
            return str(line["failure"])


@asynccontextmanager
async def crate_peer(program: Path, *options: str) -> AsyncIterator[CratePeer]:
    """A node that listens on loopback."""
    process = await asyncio.create_subprocess_exec(
        str(program), "drive", *options, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, limit=LINE
    )
    assert process.stdout is not None
    peer: CratePeer | None = None
    try:
        async with asyncio.timeout(30.0):
            peer = CratePeer(process, json.loads(await process.stdout.readline()))
        yield peer
    finally:
        if peer is not None:
            await peer.end()
        elif process.returncode is None:
            process.kill()
            await process.wait()
