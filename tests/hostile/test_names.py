"""Hostile row 11: names, answered by a DNS server that does as the row says (harness/dns, which needs go)."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any, Final

import pytest

from harness import build
from tests.hostile.arena import MIB, Arena, Program

LOOKUPS: Final = 32
POINTER_TO_ITSELF: Final = (
    b"\x00\x01\x00\x01\x00\x00\x00\x3c\x00\x04\x08\x08\x08\x08"  # behind the name: A, IN, 60, 4 bytes
)

INWARDS: Final = (
    *("127.0.0.1", "127.8.8.8", "10.0.0.1", "172.16.0.1", "192.168.1.1", "100.64.0.1", "169.254.169.254", "0.0.0.0"),
    *("224.0.0.1", "255.255.255.255", "192.0.2.1", "198.51.100.1", "203.0.113.1", "240.0.0.1", "198.18.0.1"),
    *("::", "::1", "fe80::1", "fd00::1", "ff02::1", "2001:db8::1"),
    *("::ffff:127.0.0.1", "::ffff:10.0.0.1", "64:ff9b::7f00:1", "64:ff9b::a00:1", "64:ff9b:1::1", "2002:7f00:1::"),
)


class Server:
    """The DNS server; JSON lines in, JSON lines out."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process
        self.at = f"127.0.0.1:{self._read()['port']}"

    def zone(self, records: Iterable[str]) -> None:
        self.do(cmd="zone", text="\n".join(records) + "\n")

    def do(self, **command: object) -> dict[str, Any]:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps({"id": 1, **command}) + "\n")
        answer = self._read()
        assert answer["ok"], answer
        return answer

    def counted(self) -> tuple[int, int]:
        """Look-ups since the last time, whether they went over TCP as well or not, and the bytes of the answers."""
        answer = self.do(cmd="queries")
        return len({(one["name"], one["type"]) for one in answer["queries"]}), answer["sent"]

    def _read(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line: dict[str, Any] = json.loads(self._process.stdout.readline())
        return line


@contextmanager
def serving() -> Iterator[Server]:
    program = build.dns_server()
    if program is None:
        pytest.skip("go toolchain missing")
    pipe = subprocess.PIPE
    with subprocess.Popen([program], stdin=pipe, stdout=pipe, text=True, bufsize=1) as process:
        try:
            yield Server(process)
        finally:
            process.kill()


@contextmanager
def resolving(arena: Arena, seconds: float) -> Iterator[tuple[Server, Program]]:
    """The server, and ours, which has resolved a name already."""
    with serving() as server:
        options = ("--nameserver", server.at, "--timeout", f"resolve={seconds}")
        with arena.start("resolver", *options) as program:
            server.zone(["good.example. 0 A 8.8.8.8"])
            assert program.ask(do="resolve", address="/dns/good.example/tcp/1")["found"] == ["/ip4/8.8.8.8/tcp/1"]
            server.counted()
            yield server, program
            assert program.ask(do="state")["lookups"] == 0
            server.do(cmd="mode", mode="answer")
            server.zone(["good.example. 0 A 8.8.8.8"])
            assert program.ask(do="resolve", address="/dns4/good.example/tcp/1")["found"] == ["/ip4/8.8.8.8/tcp/1"]


def without_end() -> dict[str, list[str]]:
    """Records by what they are."""
    text = '_dnsaddr.{}.example. 0 TXT "dnsaddr={}"'.format
    filler = '_dnsaddr.{}.example. 0 TXT "' + "x" * 240 + '"'
    return {
        "loop": [
            text("loop", "/dnsaddr/loop.example"),
            text("loop", "/dnsaddr/hole.example"),
            text("hole", "/dnsaddr/loop.example"),
        ],
        "deep": [
            *(text("deep" if at == 0 else f"d{at}", f"/dnsaddr/d{at + 1}.example") for at in range(4)),
            text("d4", "/ip4/8.8.8.8/tcp/1"),
        ],
        "wide": [
            *(text("wide", f"/dnsaddr/w{at}.example") for at in range(100)),
            *(text(f"w{at}", f"/dns/w{at}x{other}.example/tcp/1") for at in range(100) for other in range(100)),
        ],
        "long": [f'_dnsaddr.long.example. 0 TXT "{"x" * 250}{at}"' for at in range(235)],
        "much": [
            *(text("much", f"/dnsaddr/m{at}.example") for at in range(16)),
            *(filler.format(f"m{at}")[:-4] + f'{number:03}"' for at in range(32) for number in range(230)),
            *(text(f"m{at}", f"/dnsaddr/m{at + 16}.example") for at in range(16)),
        ],
    }


def test_row_11_names_without_end(arena: Arena) -> None:
    """dnsaddr in circles, 5 deep, 100 by 100 wide; 64 KiB of text, many times; names that point to themselves"""
    seconds = arena.pick(3.0, 10.0)
    with resolving(arena, seconds) as (server, program):
        base = program.memory()
        for kind, records in without_end().items():
            server.zone(records)
            answer = program.ask(do="resolve", address=f"/dnsaddr/{kind}.example")
            lookups, sent = server.counted()
            assert answer["error"] == "NameResolutionError", (kind, answer)
            assert lookups <= LOOKUPS, (kind, lookups)
            assert sent <= MIB, (kind, sent)
            arena.note(f"{kind}: {lookups} look-ups, {sent >> 10} KiB")
        server.zone([])
        name = b"\x01c\x07example\x00"
        at = 12 + len(name) + 4
        server.do(cmd="raw", name="c.example.", hex=(bytes((0xC0, at)) + POINTER_TO_ITSELF).hex())
        answer = program.ask(do="resolve", address="/dns4/c.example/tcp/1")
        assert answer["error"] == "NameResolutionError", answer
        arena.took(answer["seconds"], seconds + arena.slack)
        arena.grown(program.memory() - base, 4 * MIB)


def test_row_11_names_that_lead_inwards(arena: Arena) -> None:
    """names of peers that lead to private and special addresses, at once, or from the second look-up on"""
    with resolving(arena, 10.0) as (server, program):
        records = []
        for at, ip in enumerate(INWARDS):
            kind, form = ("AAAA", "ip6") if ":" in ip else ("A", "ip4")
            records += [f"n{at}.example. {kind} {ip}", f'_dnsaddr.t{at}.example. TXT "dnsaddr=/{form}/{ip}/tcp/1"']
        server.zone(["turns.example. 0 A 8.8.8.8", *records])
        for at, ip in enumerate(INWARDS):
            for address in (f"/dns/n{at}.example/tcp/1", f"/dnsaddr/t{at}.example"):
                answer = program.ask(do="resolve", address=address)
                assert answer["error"] == "NameResolutionError", (ip, answer)
        assert program.ask(do="resolve", address="/dns4/turns.example/tcp/1")["found"] == ["/ip4/8.8.8.8/tcp/1"]
        server.zone(["turns.example. 0 A 127.0.0.1"])
        answer = program.ask(do="resolve", address="/dns4/turns.example/tcp/1")
        assert answer["error"] == "NameResolutionError", answer
        assert "127.0.0.1, which is this machine" in answer["text"]


def test_row_11_nameservers_that_say_nothing(arena: Arena) -> None:
    """a nameserver that never answers"""
    seconds = arena.pick(1.0, 10.0)
    with resolving(arena, seconds) as (server, program):
        server.do(cmd="mode", mode="silent")
        answer = program.ask(do="resolve", address="/dnsaddr/silent.example")
        assert answer["error"] == "NameResolutionError", answer
        assert seconds - 0.1 <= answer["seconds"] <= seconds + 1.0 * arena.slack
