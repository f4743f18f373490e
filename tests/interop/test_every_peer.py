"""What every implementation does with ours: it connects, identify tells who it is, and what is sent comes back."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.interop.names import ECHO
from tests.interop.our_peer import AGENT, connected
from tests.interop.ways import EVERY, Way, ways

SIZE = 300_000
"""More than a window of Yamux."""


@pytest.mark.parametrize("way", [*ways(EVERY, over="tcp"), *ways(EVERY, over="ws")], ids=str)
async def test_connect_identify_and_echo(programs: Callable[[str], Path], way: Way) -> None:
    async with connected(programs(way.name), way.role, over=way.over) as pair:
        info = await pair.ours.identified(pair.real.peer)
        assert info.peer == pair.real.peer == pair.connection.peer
        assert ECHO in info.protocols
        assert info.agent
        seen = await pair.ask("identify")
        assert seen["agent_version"] == AGENT
        assert ECHO in seen["protocols"]
        assert seen["listen_addrs"] == [str(address) for address in pair.ours.swarm.addresses]

        for size in (1, SIZE):
            message = bytes(range(256)) * (size // 256 + 1)
            async with await pair.open(ECHO) as stream:
                await stream.write(message[:size])
                stream.finish()
                assert await stream.read_to_end(SIZE) == message[:size]
            assert (await pair.ask("streams_sequential", protocol=ECHO, n=3, size=size))["done"] == 3
        await pair.quiet()
