"""The program under test as a resolver of names.

    python -m tests.hostile.resolver --nameserver IP:PORT [settings]

It does what JSON lines on its standard input say. The settings are those of tests/hostile/settings.py.
"""

from __future__ import annotations

import argparse
import asyncio
from typing import Any

from stronghold_p2p import Dns
from stronghold_p2p.addressing.parse import parse
from stronghold_p2p.resolving.nameservers.resolver import Resolver
from tests.hostile import settings


class Names:
    """One resolver, and a method for each command."""

    def __init__(self, nameserver: str, timeout: float | None) -> None:
        self.resolver = Resolver(Dns(nameservers=[nameserver]), timeout=timeout)

    async def resolve(self, address: str, *, given: bool = False) -> dict[str, Any]:
        """What it leads to."""
        found = await self.resolver.resolve(parse(address), peer=None, given=given)
        return {"found": [str(one.address) for one in found]}

    def state(self) -> dict[str, Any]:
        return {"lookups": len(self.resolver._tasks)}


def nameserver(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--nameserver", required=True)


if __name__ == "__main__":
    options = settings.parsed("resolver", add=nameserver)
    settings.weaken(options)
    asyncio.run(settings.obey(Names(options.nameserver, options.timeouts.resolve)))
