"""A node of the Rust crate (``harness/crate/src/talk.rs``)."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any

from tests.support.driven import PATIENCE, Driven, Line, driven

QUIET = {"established", "closed"}
"""Events about connections; the others are about requests."""


class CrateError(Exception):
    """The crate's own word for what went wrong: ``ConnectionClosed``, ``Timeout``, ``UnsupportedProtocols``..."""


class CratePeer(Driven):
    """One node. ``reactions``: by the name of an event, the command that answers it at once; others wait."""

    def __init__(self, process: asyncio.subprocess.Process, ready: Line) -> None:
        super().__init__(process, ready)
        self.address = f"{ready['addr']}/p2p/{self.peer}"
        self.reactions: Mapping[str, Line] = {}
        self.events: list[Line] = []
        self._news = asyncio.Event()

    async def call(self, command: str, **arguments: Any) -> Any:
        """One command and what came of it; ``CrateError`` if the crate says that it failed."""
        line = await self.answer_to({"cmd": command, **arguments})
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

    def happened(self, line: Line) -> None:
        self.events.append(line)
        self._news.set()
        if (reaction := self.reactions.get(line["event"])) is not None:
            self.send({**reaction, "number": line["number"]})


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


def crate_peer(program: Path, *options: str) -> AbstractAsyncContextManager[CratePeer]:
    """A node that listens on loopback, and may say what it likes on its standard error."""
    return driven(CratePeer, program, *options, may_say=[""])
