"""mDNS on a bridge of network namespaces: ``stronghold-p2p discover`` and peers of go, js and rust see each other.

Namespaces need Linux, root and iproute2; without them these tests are skipped, and say so.
"""

from __future__ import annotations

import asyncio
import json
import signal
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from stronghold_p2p import PeerId
from tests import netns
from tests.interop.real_peer import RealPeer, real_peer
from tests.interop.ways import WHOLE

SOON = 3.0
ADDRESS = "/ip4/10.7.0."
QUERY_EVERY = 2.0  # seconds, of rust, whose own figure is five minutes


@pytest.fixture
def lan() -> Iterator[netns.Lan]:
    try:
        with netns.lan() as made:
            yield made
    except netns.Unavailable as reason:
        pytest.skip(str(reason))


class Seen:
    """What ``discover --json`` says."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process
        self.lines: list[dict[str, Any]] = []
        self._reader = asyncio.create_task(self._read())

    async def _read(self) -> None:
        assert self.process.stdout is not None
        async for line in self.process.stdout:
            self.lines.append(json.loads(line))

    async def until(self, word: str, peer: PeerId, *, within: float = SOON) -> dict[str, Any]:
        """That of ``peer``; how long it took is not measured where it came before."""
        async with asyncio.timeout(within):
            while True:
                for line in self.lines:
                    if (line["event"], line["peer"]) == (word, str(peer)):
                        self.lines.remove(line)
                        return line
                await asyncio.sleep(0.01)

    async def end(self) -> None:
        if self.process.returncode is None:
            self.process.send_signal(signal.SIGTERM)
        await self.process.wait()
        await self._reader


@asynccontextmanager
async def discovering(host: str, *options: str) -> AsyncIterator[Seen]:
    """``stronghold-p2p discover`` in a namespace."""
    command = netns.run_in(host, sys.executable, "-m", "stronghold_p2p", "discover", "--json", *options)
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(*command, stdin=asyncio.subprocess.DEVNULL, stdout=pipe, stderr=pipe)
    seen = Seen(process)
    try:
        yield seen
        await seen.end()
        assert process.stderr is not None
        assert await process.stderr.read() == b""
    finally:
        if process.returncode is None:
            process.kill()
        await seen.end()


@asynccontextmanager
async def peer_on(host: str, name: str, program: Path) -> AsyncIterator[RealPeer]:
    """A real peer in a namespace, which discovers and is discovered."""
    options = ["--mdns", "--host", "0.0.0.0", *(["--query-every", str(QUERY_EVERY)] if name == "rust" else [])]
    async with AsyncExitStack() as stack:
        with netns.inside(host):  # what is started from here stays there
            peer = await stack.enter_async_context(real_peer(program, *options))
        yield peer


@pytest.mark.parametrize("name", WHOLE)
async def test_a_peer_and_discover_see_each_other(name: str, programs: Callable[[str], Path], lan: netns.Lan) -> None:
    one, other = lan.host(), lan.host()
    program = programs(name)
    async with discovering(one) as first, peer_on(other, name, program) as theirs:
        begun = time.monotonic()
        found = await first.until("found", theirs.peer)
        assert any(address.startswith(f"{ADDRESS}2/tcp/") for address in found["addresses"])
        assert not any("/127.0.0.1/" in address for address in found["addresses"])  # go and js announce it
        print(f"{name} seen after {time.monotonic() - begun:.2f} s")
        async with discovering(lan.host()) as late:  # a peer that has been there for long
            begun = time.monotonic()
            await late.until("found", theirs.peer, within=SOON + 1.0)  # a second for Python to start
            print(f"{name} seen by a late one after {time.monotonic() - begun:.2f} s")
