"""``stronghold-p2p listen``: answers requests, and asks at the terminal whom to let in."""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any, Final

from stronghold_p2p.cli_output import DONE, compact, printable, tell, tell_json
from stronghold_p2p.firewall.rules import Attempt, Rule
from stronghold_p2p.identity import Identity
from stronghold_p2p.network import Network
from stronghold_p2p.request_response.messages import Request
from stronghold_p2p.swarm.events import AcceptFailed, Event

DEFAULT: Final = "/ip4/0.0.0.0/tcp/4001"
ANSWERS: Final[dict[str, bool | Rule]] = {"y": True, "a": Rule.ALLOW, "n": False, "v": Rule.REJECT}
SHOWN: Final = 200  # characters of a request


class Terminal:
    """Asks one question at a time on standard error, and reads the answers from standard input."""

    def __init__(self) -> None:
        self._one_at_a_time = asyncio.Lock()
        self._lines: asyncio.Queue[str] = asyncio.Queue()
        self._rest = b""
        self.ended = False

    @contextmanager
    def reading(self) -> Iterator[Terminal]:
        """Listen to standard input, if it is something that can be listened to."""
        loop = asyncio.get_running_loop()
        try:
            loop.add_reader(sys.stdin.fileno(), self._read)
        except (OSError, ValueError, NotImplementedError):  # a file, nothing at all, or Windows
            self.ended = True
        try:
            yield self
        finally:
            if not self.ended:
                loop.remove_reader(sys.stdin.fileno())

    def _read(self) -> None:
        data = os.read(sys.stdin.fileno(), 4_096)
        if not data:
            self.ended = True
            asyncio.get_running_loop().remove_reader(sys.stdin.fileno())
            self._lines.put_nowait("")
            return
        *lines, self._rest = (self._rest + data).split(b"\n")
        for line in lines:
            self._lines.put_nowait(line.decode(errors="replace").strip().lower())

    async def ask(self, attempt: Attempt) -> bool | Rule:
        """The answer of whoever sits there; no answer is a no."""
        async with self._one_at_a_time:
            if self.ended:
                self._say(f"{_question(attempt)}: nobody to ask, refused\n")
                return False
            while not self._lines.empty():
                self._lines.get_nowait()
            left = max(attempt.deadline - asyncio.get_running_loop().time(), 0.0)
            self._say(f"{_question(attempt)}: [y]es [a]lways [n]o ne[v]er ({left:.0f} s) ")
            try:
                return await self._answer()
            except asyncio.CancelledError:
                self._say("too late, refused\n")
                raise

    async def _answer(self) -> bool | Rule:
        while (line := await self._lines.get())[:1] not in ANSWERS:
            if self.ended:
                return False
            self._say("y, a, n or v: ")
        return ANSWERS[line[0]]

    def _say(self, text: str) -> None:
        print(text, end="", file=sys.stderr, flush=True)


def _question(attempt: Attempt) -> str:
    return f"{attempt.peer} ({attempt.address}) asks {_short(attempt.view)}"


def _short(message: Any) -> str:
    text = compact(message)
    return text if len(text) <= SHOWN else f"{text[:SHOWN]}\N{HORIZONTAL ELLIPSIS}"


async def listen(options: argparse.Namespace) -> int:
    """Answer requests; ask at the terminal whom to let in."""
    network = Network(
        identity=Identity.load(options.key, create=True) if options.key else None, listen=options.addrs or [DEFAULT]
    )
    network.firewall.set(Rule.ASK)
    for peer in options.allow:
        network.firewall.set(Rule.ALLOW, peer=peer)
    terminal = Terminal()
    network.firewall.on_ask(terminal.ask)

    @network.on_request
    def answer(request: Request[Any]) -> Any:
        if options.json:
            tell_json({"peer": request.peer, "request": request.message})
        else:
            tell(f"answered {request.peer}: {_short(request.message)}")
        return request.message if options.reply is None else options.reply

    @network.on_event
    def show(event: Event) -> None:
        if isinstance(event, AcceptFailed) and options.verbose:
            print(f"turned away {event.remote}: {printable(str(event.error))}", file=sys.stderr, flush=True)

    with terminal.reading():
        async with network:
            for address in network.addresses:
                if options.json:
                    tell_json({"listening": address})
                else:
                    tell(f"listening on {address}")
            with suppress(asyncio.CancelledError):
                await network.serve_forever()
    return DONE
