"""The crate's side of a transcript, played by hand: no Rust, no crate."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections import defaultdict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

from multiaddr import Multiaddr

from stronghold_p2p.addressing.parse import split_peer
from stronghold_p2p.encoding import varint
from stronghold_p2p.exchange import ExchangeRunner
from stronghold_p2p.yamux.header import ACK, DATA, FIN, PING, RST, SYN, frame
from tests.conformance.crate_peer import CrateError
from tests.conformance.recorder import FIN_STEP, RST_STEP
from tests.conformance.transcripts import Taped, Transcript
from tests.support.driven import Line
from tests.swarm.raw import SEED, Raw, Server, bare_to, shake
from tests.transport.ends import identity, upgrade
from tests.virtual import eventually

ECHO = "\x16/stronghold-p2p/1.0.0\n"
PATIENCE = 60.0
"""Seconds, of virtual time."""


soon = partial(eventually, patience=PATIENCE, step=0.01)


class Replay:
    """Says what the crate said, as soon as it has heard what the crate had heard, and compares every byte of ours."""

    def __init__(self, transcript: Transcript) -> None:
        self.peer = identity(SEED).peer_id
        self.events: list[Line] = []
        self.address = ""
        self._transcript = transcript
        self._answers: list[asyncio.Future[str]] = []
        self._answered = 0
        self._following: asyncio.Task[None] | None = None

    @asynccontextmanager
    async def playing(self, ours: Multiaddr) -> AsyncIterator[None]:
        """Connects, or is connected to, as often as the crate was."""
        with contextlib.closing(Server()) as server, contextlib.ExitStack() as sockets:
            self.address = f"{server.address}/p2p/{self.peer}"
            async with asyncio.timeout(PATIENCE), asyncio.TaskGroup() as group:
                self._following = group.create_task(self._follow_all(server, split_peer(ours)[0], sockets))
                yield

    async def finished(self) -> None:
        """Everything has been said and heard."""
        assert self._following is not None
        await self._following

    async def call(self, command: str, **_arguments: Any) -> Any:
        """``request``: the next stream that the crate opened, and what we answered. Other commands are in the tape."""
        if command != "request":
            return None
        answer: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self._answers.append(answer)
        return _decoded((await answer).encode("latin-1"))

    async def until(self, event: str, count: int = 1, patience: float = PATIENCE) -> Line:
        """The crate has accepted so many requests of ours, or dropped so many connections."""
        await soon(lambda: sum(line["event"] == event for line in self.events) >= count)
        return [line for line in self.events if line["event"] == event][count - 1]

    def told(self) -> str:
        return ""

    async def _follow_all(self, server: Server, ours: Multiaddr, sockets: contextlib.ExitStack) -> None:
        for taped in self._transcript.connections:
            if self._transcript.asker == "ours":
                raw = await shake(await server.accept(), upgrade(SEED, early_muxer=False).inbound())
            else:
                await soon(lambda: len(self._answers) > self._answered)
                raw = await shake(await bare_to(ours), upgrade(SEED, early_muxer=False).outbound(None))
            sockets.callback(raw.close)
            await self._follow(raw, taped)

    async def _follow(self, raw: Raw, taped: Taped) -> None:
        one = _Conversation(raw, own=1 if self._transcript.asker == "crate" else 0)
        left: dict[int, int] = defaultdict(int)
        for number, *_ in taped.steps:
            left[number] += 1
        pending: dict[int, asyncio.Future[str]] = {}
        async with one.hearing():
            for number, side, text, quiet in taped.steps:
                if side == "ours":
                    await one.hear(number, text)
                else:
                    await asyncio.sleep(quiet)
                    if one.opens(number):
                        await soon(lambda: len(self._answers) > self._answered)
                        pending[number], self._answered = self._answers[self._answered], self._answered + 1
                    await one.say(number, text)
                    self._happened("request", text == ECHO and not one.is_own(number))
                left[number] -= 1
                if not left[number] and number in pending:
                    pending.pop(number).set_result(one.heard[number])
            more = {number: text for number, text in one.unread.items() if text}
            assert not more, f"ours did not say this to the crate: {more}"
            if taped.ended:
                raw.close()
        for answer in pending.values():
            answer.set_result("")
        self._happened("closed", taped.ended)

    def _happened(self, event: str, really: bool) -> None:
        if really:
            self.events.append({"event": event, "number": len(self.events)})


class _Conversation:
    """What is said and heard on the streams of one connection; those that the crate opens have the parity ``own``.

    Streams have the numbers of the tape. Ours may open its own in another order: they are known by what they propose.
    """

    def __init__(self, raw: Raw, own: int) -> None:
        self.heard: dict[int, str] = defaultdict(str)
        self._raw = raw
        self._own = own
        self._begun: set[int] = set()
        self._actual: dict[int, int] = {}
        self.unread: dict[int, str] = defaultdict(str)

    def is_own(self, number: int) -> bool:
        return number % 2 == self._own

    def opens(self, number: int) -> bool:
        """Whether the crate's next word on this stream is the first of all."""
        return self.is_own(number) and number not in self._begun

    async def say(self, number: int, text: str) -> None:
        """One step, in frames as rust-yamux makes them: FIN and RST in empty ones of data."""
        flags = 0 if number in self._begun else SYN if self.is_own(number) else ACK
        self._begun.add(number)
        ends = {FIN_STEP: FIN, RST_STEP: RST}
        body = b"" if text in ends else text.encode("latin-1")
        await self._raw.data(self._number(number), body, flags | ends.get(text, 0))

    async def hear(self, number: int, text: str) -> None:
        """The next that ours says on this stream has to be this."""
        if not self.is_own(number) and number not in self._actual:
            await self._find(number, text)
        actual = self._number(number)
        await soon(lambda: len(self.unread[actual]) >= len(text))
        said, self.unread[actual] = self.unread[actual][: len(text)], self.unread[actual][len(text) :]
        assert said == text, f"stream {number}: ours said {said!r}, to the crate {text!r}"
        self.heard[number] += "" if text in {FIN_STEP, RST_STEP} else text

    async def _find(self, number: int, text: str) -> None:
        """The stream of ours that begins with this proposal, the first of them."""
        proposal = "".join(text.splitlines(keepends=True)[:2])

        def found() -> bool:
            free = self.unread.keys() - set(self._actual.values())
            fit = [actual for actual in sorted(free) if self.unread[actual].startswith(proposal)]
            if fit:
                self._actual[number] = fit[0]
            return bool(fit)

        await soon(found)

    def _number(self, number: int) -> int:
        return self._actual.get(number, number)

    @asynccontextmanager
    async def hearing(self) -> AsyncIterator[None]:
        reading = asyncio.create_task(self._read())
        try:
            yield
        finally:
            reading.cancel()
            await asyncio.gather(reading, return_exceptions=True)

    async def _read(self) -> None:
        while (got := await self._raw.read()) is not None:
            if got.kind == PING and got.flags & SYN:
                await self._raw.send(frame(PING, ACK, 0, got.length))
            if not got.stream:
                continue
            text = got.body.decode("latin-1") if got.kind == DATA else ""
            text += FIN_STEP if got.flags & FIN else ""
            self.unread[got.stream] += text + (RST_STEP if got.flags & RST else "")


def _decoded(said: bytes) -> Any:
    """The JSON that ours answered on a stream; ``CrateError`` where it is none."""
    _, echoed, body = said.partition(ECHO.encode())
    if not echoed or not body:
        raise CrateError("no answer")
    length = ExchangeRunner(varint.read(maximum=len(body)))
    length.start()
    length.feed(body)
    return json.loads(length.leftover)
