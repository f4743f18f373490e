"""mDNS on a bridge of network namespaces: ``stronghold-p2p discover`` and peers of go, js and rust see each other.

Namespaces need Linux, root and iproute2; without them these tests are skipped, and say so.
"""

from __future__ import annotations

import asyncio
import json
import signal
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from tests import netns
from tests.interop import build
from tests.interop.real_peer import RealPeer
from tests.interop.ways import Way, ways
from tests.support.driven import driven

SOON = 3.0
QUERY_EVERY = 2.0  # seconds, of rust, whose own figure is five minutes
EACH = pytest.mark.parametrize("way", ways(roles=["ours dials"]), ids=lambda way: way.name)

pytestmark = pytest.mark.speed


class Lan(netns.Lan):
    """With three hosts from the start."""

    def __init__(self, lan: netns.Lan) -> None:
        self.__dict__.update(lan.__dict__)
        self.a, self.b, self.c = (self.host() for _ in range(3))


@pytest.fixture
def lan() -> Iterator[Lan]:
    try:
        with netns.lan() as made:
            yield Lan(made)
    except netns.Unavailable as reason:
        pytest.skip(str(reason))


def port_of(addresses: list[str]) -> str:
    return addresses[0].split("/")[4]


class Seen:
    """What ``discover --json`` says; the first line is about itself."""

    def __init__(self, process: asyncio.subprocess.Process, about: dict[str, Any], *, reads: bool) -> None:
        self.process, self.reads = process, reads
        self.peer: str = about["peer"]
        self.port = port_of(about["addresses"])
        self.lines: list[dict[str, Any]] = []
        self._reader = asyncio.create_task(self._read())

    async def _read(self) -> None:
        assert self.process.stdout is not None
        async for line in self.process.stdout:
            self.lines.append(json.loads(line))

    async def until(self, word: str, peer: object, *, within: float = SOON) -> list[str]:
        """Whether it says that of ``peer`` in time; and where it is."""
        async with asyncio.timeout(within):
            while True:
                for line in self.lines:
                    if (line["event"], line["peer"]) == (word, str(peer)):
                        self.lines.remove(line)
                        return list(line.get("addresses", ()))
                await asyncio.sleep(0.01)

    async def end(self) -> None:
        """The end of standard input; discover reads none."""
        assert self.process.stdin is not None
        self.process.stdin.close()
        if self.process.returncode is None and not self.reads:
            self.process.send_signal(signal.SIGTERM)
        async with asyncio.timeout(10.0):
            await self.process.wait()
        await self._reader


@asynccontextmanager
async def discovering(host: str, *options: str, module: str = "stronghold_p2p") -> AsyncIterator[Seen]:
    """``stronghold-p2p discover`` in a namespace, which is looking already."""
    command = netns.run_in(host, sys.executable, "-m", module, "discover", "--json", *options)
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(*command, stdin=pipe, stdout=pipe, stderr=pipe)
    assert process.stdout is not None
    assert process.stderr is not None
    seen: Seen | None = None
    try:
        async with asyncio.timeout(30.0):
            seen = Seen(process, json.loads(await process.stdout.readline()), reads=module != "stronghold_p2p")
        yield seen
        await seen.end()
        assert (process.returncode, await process.stderr.read()) == (0, b"")
    finally:
        if process.returncode is None:
            process.kill()
        if seen is not None:
            await seen.end()


@asynccontextmanager
async def peer_on(host: str, name: str, program: Path) -> AsyncIterator[RealPeer]:
    """A real peer in a namespace, which discovers and is discovered."""
    options = ["--mdns", "--host", "0.0.0.0", *(["--query-every", str(QUERY_EVERY)] if name == "rust" else [])]
    async with AsyncExitStack() as stack:
        with netns.inside(host):  # what is started from here stays there
            peer = await stack.enter_async_context(driven(RealPeer, program, "--listen", *options))
        yield peer


@EACH
async def test_a_real_peer_and_discover(way: Way, lan: Lan) -> None:
    """Each sees the other within three seconds, whoever comes first; both see where a peer of ours has moved; go's
    goodbye and ours are heard. The others say none: tests/mdns/test_core.py, in virtual time.
    """
    program = build.PEERS[way.name]()
    if program is None:
        pytest.skip(f"no toolchain for {way.name}")
    async with (
        discovering(lan.a) as ours,
        peer_on(lan.b, way.name, program) as theirs,
        discovering(lan.c, module="tests.interop.moving_peer") as moving,
    ):
        addresses = await ours.until("found", theirs.peer)
        assert any(address.startswith("/ip4/10.7.0.2/tcp/") for address in addresses)
        assert not any("/127.0.0.1/" in address for address in addresses)  # go and js announce it
        await sees(theirs, way.name, moving)
        await ours.until("found", moving.peer)
        assert moving.process.stdin is not None
        moving.process.stdin.write(b"move\n")
        before, moving.port = moving.port, port_of(await moving.until("listening", moving.peer))
        # js tells of a peer once, and then its store of addresses that are new.
        await sees(theirs, way.name, moving, "readdressed" if way.name == "js" else "discovered")
        places: list[str] = []
        while not any(f"/tcp/{moving.port}" in place for place in places) or f"/tcp/{before}" in str(places):
            places = await ours.until("changed", moving.peer)
        async with discovering(lan.host()) as late:
            await late.until("found", theirs.peer)
            await sees(theirs, way.name, late)
            await ours.until("found", late.peer)
        await ours.until("lost", late.peer)
        if way.name == "go":
            await theirs.call("close_mdns")
            await ours.until("lost", theirs.peer)


async def sees(theirs: RealPeer, name: str, ours: Seen, event: str = "discovered") -> None:
    """rust sees it when its next query is answered, and so within its interval, if not before."""
    async with asyncio.timeout(QUERY_EVERY if name == "rust" else SOON):
        while True:
            found = await theirs.until(event, peer=ours.peer)
            if any(f"/tcp/{ours.port}" in address for address in found["addrs"]):
                return


async def test_over_ipv6_alone(lan: Lan) -> None:
    one, other = lan.host("fd07::1/64"), lan.host("fd07::2/64")
    async with discovering(one, "/ip6/::/tcp/0") as ours, discovering(other, "/ip6/::/tcp/0") as others:
        assert await ours.until("found", others.peer) == [f"/ip6/fd07::2/tcp/{others.port}"]
        assert await others.until("found", ours.peer) == [f"/ip6/fd07::1/tcp/{ours.port}"]


async def test_each_network_is_told_the_addresses_there_and_interfaces_come_and_go(lan: Lan) -> None:
    """Another interface is there within ten seconds: interfaces and addresses are looked at every five."""
    with netns.lan() as another:
        far = another.host()
        async with (
            discovering(lan.a) as ours,
            discovering(far) as theirs,
            discovering(lan.b, module="tests.interop.moving_peer") as moving,
        ):
            assert await ours.until("found", moving.peer) == [f"/ip4/10.7.0.2/tcp/{moving.port}"]
            another.plug(lan.b, "eth1", "10.7.0.77/24")
            assert await theirs.until("found", moving.peer, within=10.0) == [f"/ip4/10.7.0.77/tcp/{moving.port}"]
            lan.unplug(lan.b, "eth0")
            lan.plug(lan.b, "eth0", "10.7.0.88/24")
            places: list[str] = []
            async with asyncio.timeout(10.0):
                while f"/ip4/10.7.0.88/tcp/{moving.port}" not in places:
                    places = await ours.until("changed", moving.peer, within=10.0)
            assert not any("10.7.0.77" in place for place in places)
