"""The DNS server of the tests as they see it (harness/dns/main.go): a real one, on miekg/dns."""

from __future__ import annotations

import asyncio
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from pathlib import Path

from stronghold_p2p.resolving.dns import Dns
from tests.support.driven import Driven, Line, driven

SOA = "example. 300 SOA ns.example. admin.example. 1 3600 600 86400 300\n"


@dataclass(frozen=True)
class Asked:
    """One query as the server saw it. ``edns``: the size that it offers, 0 without EDNS."""

    name: str
    type: str
    net: str
    edns: int
    id: int
    port: str


class DnsServer(Driven):
    """``at`` is what ``Dns(nameservers=[...])`` takes."""

    def __init__(self, process: asyncio.subprocess.Process, ready: Line) -> None:
        super().__init__(process, ready)
        self.port: int = ready["port"]
        self.at = f"127.0.0.1:{self.port}"
        self.dns = Dns(nameservers=[self.at])

    async def zone(self, *lines: str) -> None:
        """Serve these records, and the SOA of ``example.``; everything else is as in the beginning."""
        await self._do(cmd="zone", text=SOA + "\n".join(lines) + "\n")

    async def raw(self, name: str, data: bytes) -> None:
        """``data`` follows the question in each answer about ``name``."""
        await self._do(cmd="raw", name=name, hex=data.hex())

    async def mode(self, mode: str, kind: str = "") -> None:
        """``answer``, ``silent``, ``servfail``, ``refused`` or ``old``: for questions of one type, or for all."""
        await self._do(cmd="mode", mode=mode, type=kind)

    async def delay(self, seconds: float, kind: str = "") -> None:
        await self._do(cmd="delay", seconds=seconds, type=kind)

    async def asked(self) -> list[Asked]:
        """What it was asked since the last time."""
        return [Asked(**query) for query in (await self._do(cmd="queries"))["queries"]]

    async def _do(self, **command: object) -> Line:
        answer = await self.answer_to(command)
        assert answer["ok"], answer
        return answer


def dns_server(program: Path, *options: str) -> AbstractAsyncContextManager[DnsServer]:
    """The server on loopback, which knows no name yet."""
    return driven(DnsServer, program, *options)
