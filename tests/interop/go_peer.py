"""The go-libp2p peer as the tests see it: a process that takes commands as JSON lines (harness/go/drive.go)."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from multiaddr import Multiaddr

from stronghold_p2p.addressing.parse import parse
from stronghold_p2p.identity import PeerId

Answer = dict[str, Any]

PATIENCE = 60.0
"""Seconds that a command may take, unless told; go gives up first, the driver a little later."""
MARGIN = 5.0
LINE = 1 << 22


class GoError(Exception):
    """go could not do it; ``code`` is the reset's, if it was one."""

    def __init__(self, answer: Answer) -> None:
        super().__init__(answer.get("error", "no reason given"))
        self.answer = answer
        self.code: int | None = answer.get("code")


class GoPeer:
    """One running process. ``ready`` is its first line: peer, addrs, key, protocols, version.

    ``exit_code`` is what the process has to end with.
    """

    def __init__(self, process: asyncio.subprocess.Process, ready: Answer) -> None:
        self.process = process
        self.ready = ready
        self.peer = PeerId(ready["peer"])
        self.addresses: list[Multiaddr] = [parse(text) for text in ready["addrs"]]
        self.stderr: list[str] = []
        self.exit_code = 0
        self._waiting: dict[int, asyncio.Future[Answer]] = {}
        self._events: list[Answer] = []
        self._last = 0
        self._tasks = [asyncio.create_task(self._read_answers()), asyncio.create_task(self._read_stderr())]

    @property
    def address(self) -> str:
        """Where it listens, with its peer id."""
        return f"{self.addresses[0]}/p2p/{self.peer}"

    async def call(self, command: str, *, timeout: float = PATIENCE, **arguments: object) -> Answer:
        """One command and its answer; ``GoError`` if go says that it failed."""
        assert self.process.stdin is not None
        self._last += 1
        number = self._last
        answer = self._waiting[number] = asyncio.get_running_loop().create_future()
        line = {"id": number, "cmd": command, "timeout": timeout, **arguments}
        try:
            self.process.stdin.write(json.dumps(line).encode() + b"\n")
            async with asyncio.timeout(timeout + MARGIN):
                result: Answer = await answer
        finally:
            del self._waiting[number]
        if not result["ok"]:
            raise GoError(result)
        return result

    async def until(self, name: str, *, timeout: float = 10.0, **expected: object) -> Answer:
        """The first event of that name whose fields are as expected; each event is given out once."""
        async with asyncio.timeout(timeout):
            while True:
                for event in self._events:
                    if event["event"] == name and all(event.get(key) == value for key, value in expected.items()):
                        self._events.remove(event)
                        return event
                await asyncio.sleep(0.01)
                self._events += (await self.call("events"))["events"]

    async def end(self) -> int:
        """Have the host shut down and the process end; its exit code."""
        assert self.process.stdin is not None
        self.process.stdin.close()
        async with asyncio.timeout(10.0):
            await asyncio.gather(*self._tasks)
            return await self.process.wait()

    async def kill(self) -> None:
        """Whatever state it is in, the process is gone afterwards."""
        if self.process.returncode is None:
            self.process.kill()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self.process.wait()

    async def _read_answers(self) -> None:
        assert self.process.stdout is not None
        async for line in self.process.stdout:
            answer = json.loads(line)
            waiting = self._waiting.get(answer["id"])
            if waiting is not None and not waiting.done():
                waiting.set_result(answer)
        for waiting in self._waiting.values():
            if not waiting.done():
                waiting.set_exception(ConnectionError(f"the go peer has ended: {self.stderr[-5:]}"))

    async def _read_stderr(self) -> None:
        assert self.process.stderr is not None
        async for line in self.process.stderr:
            self.stderr.append(line.decode(errors="replace").rstrip())


@asynccontextmanager
async def go_peer(program: Path, *options: str, may_say: Sequence[str] = ()) -> AsyncIterator[GoPeer]:
    """A go-libp2p host that listens on loopback.

    In the end it has to leave on its own with exit code 0, and to have said nothing on standard error (where its
    warnings and those about a failed identify go) but lines that match one of ``may_say``.
    """
    process = await asyncio.create_subprocess_exec(
        str(program),
        "drive",
        "--listen",
        *options,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        limit=LINE,
    )
    peer: GoPeer | None = None
    try:
        assert process.stdout is not None
        async with asyncio.timeout(30.0):
            peer = GoPeer(process, json.loads(await process.stdout.readline()))
        yield peer
        code = await peer.end()
        said = [line for line in peer.stderr if not any(re.search(known, line) for known in may_say)]
        assert (code, said) == (peer.exit_code, []), f"exit code {code}, and it said {said}"
    finally:
        if peer is not None:
            await peer.kill()
        elif process.returncode is None:
            process.kill()
            await process.communicate()
