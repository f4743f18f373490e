"""A peer of another implementation: a process that takes commands as JSON lines, and answers each by its number."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, TypeVar

from stronghold_p2p.identity import PeerId

Line = dict[str, Any]

PATIENCE = 60.0
"""Seconds that a command may take, unless told; the peer gives up first, the driver a little later."""
MARGIN = 5.0
LINE = 1 << 25  # a mebibyte as JSON numbers is four


class Driven:
    """One running process. ``ready`` is its first line; ``exit_code`` is what the process has to end with."""

    peer: PeerId
    """Its peer id, if it is one."""

    def __init__(self, process: asyncio.subprocess.Process, ready: Line) -> None:
        self.process = process
        self.ready = ready
        if "peer" in ready:
            self.peer = PeerId(ready["peer"])
        self.stderr: list[str] = []
        self.exit_code = 0
        self._waiting: dict[int, asyncio.Future[Line]] = {}
        self._last = 0
        self._tasks = [asyncio.create_task(self._read_answers()), asyncio.create_task(self._read_stderr())]

    async def answer_to(self, command: Line, timeout: float = PATIENCE) -> Line:
        """One command and the line that answers it, whatever it says."""
        number = self.send(command)
        answer = self._waiting[number] = asyncio.get_running_loop().create_future()
        try:
            async with asyncio.timeout(timeout + MARGIN):
                line: Line = await answer
                return line
        finally:
            del self._waiting[number]

    def send(self, command: Line) -> int:
        """Write one command, whose number is returned."""
        assert self.process.stdin is not None
        self._last += 1
        self.process.stdin.write(json.dumps({"id": self._last, **command}).encode() + b"\n")
        return self._last

    def happened(self, line: Line) -> None:
        """Called for each line that answers no command."""

    async def end(self) -> int:
        """Standard input ends, and with it the process; its exit code."""
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
        async for text in self.process.stdout:
            line = json.loads(text)
            if "event" in line:
                self.happened(line)
            elif (waiting := self._waiting.get(line["id"])) is not None and not waiting.done():
                waiting.set_result(line)
        for waiting in self._waiting.values():
            if not waiting.done():
                waiting.set_exception(ConnectionError(f"the peer has ended: {self.stderr[-5:]}"))

    async def _read_stderr(self) -> None:
        assert self.process.stderr is not None
        async for line in self.process.stderr:
            self.stderr.append(line.decode(errors="replace").rstrip())


D = TypeVar("D", bound=Driven)


@asynccontextmanager
async def driven(kind: type[D], program: Path, *arguments: str, may_say: Sequence[str] = ()) -> AsyncIterator[D]:
    """The program as it runs ``drive``.

    In the end it has to leave on its own with its exit code, and to have said nothing on standard error but lines that
    match one of ``may_say``.
    """
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(
        str(program), "drive", *arguments, stdin=pipe, stdout=pipe, stderr=pipe, limit=LINE
    )
    peer: D | None = None
    try:
        assert process.stdout is not None
        async with asyncio.timeout(30.0):
            peer = kind(process, json.loads(await process.stdout.readline()))
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
