"""The process beside the measured one: it does to the server what it is told, and tells how that ended.

python -m benchmarks.scale.client ADDRESS
"""

from __future__ import annotations

import asyncio
import sys
from dataclasses import asdict

from benchmarks.scale.loads import Crowd, requests, visits
from harness.commands import Line, commands, say


class Client:
    """A method for each command."""

    def __init__(self, address: str) -> None:
        self._address = address
        self._crowd = Crowd()

    async def come(self, count: int, at_once: int) -> Line:
        return {"seconds": await self._crowd.come(self._address, count, at_once)}

    async def leave(self) -> Line:
        return {"seconds": await self._crowd.leave()}

    async def bulk(self, up: int, down: int) -> Line:
        return {"seconds": await self._crowd.bulk(up, down)}

    async def visit(self, total: int, at_once: int) -> Line:
        return asdict(await visits(self._address, total, at_once))

    async def ask(self, total: int, parallel: int, connections: int, share: float, cuts: int = 0) -> Line:
        return asdict(await requests(self._address, total, parallel, connections, share, cuts))


async def main(address: str) -> None:
    client = Client(address)
    try:
        async for command in commands({}):
            say(await getattr(client, command.pop("do"))(**command))
    finally:
        await client.leave()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
