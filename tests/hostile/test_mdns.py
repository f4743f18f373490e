"""Hostile rows 101, 102 and 104: what anybody on the LAN can say by mDNS. The LAN is the loopback interface.

That interfaces go and come is played on a bridge of namespaces, in tests/interop/test_mdns.py.
"""

from __future__ import annotations

import socket
import struct
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import partial

from harness.process import soon
from tests.hostile.arena import KIB, MIB, Arena, Program
from tests.hostile.client import Host, upgrade_in
from tests.hostile.codec import Identity, noise
from tests.hostile.wire import Ended
from tests.mdns.packets import IN, PTR, TXT, name, packet, record, strings
from tests.mdns.test_messages import BAD

SERVICE = "_p2p._udp.local."
GROUP, PORT = "224.0.0.251", 5_353
QUERY = packet(0, question=(SERVICE, PTR, IN))
LOOPBACK = socket.inet_aton("127.0.0.1")
IP_TRANSPARENT = 19  # linux/in.h


def speaking(source: str, *, far: bool = False) -> socket.socket:
    """Sends to the group on the loopback interface, from any port of this address; ``far``: one that is not ours."""
    made = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    if far:
        made.setsockopt(socket.IPPROTO_IP, IP_TRANSPARENT, 1)
    made.bind((source, 0))
    here = struct.pack("=4s4si", bytes(4), socket.inet_aton(source), socket.if_nametoindex("lo"))
    made.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, here)
    return made


class Lan:
    """The attacker and the honest, each by its source; and what the program under test says there."""

    def __init__(self, target: Program) -> None:
        self.target = target
        self._sockets: dict[str, socket.socket] = {}
        self._ear = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._ear.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._ear.bind((GROUP, PORT))
        self._ear.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, socket.inet_aton(GROUP) + LOOPBACK)
        self._ear.setblocking(False)

    def say(self, data: bytes, source: str = "127.3.0.1") -> None:
        if source not in self._sockets:
            self._sockets[source] = speaking(source)
        self._sockets[source].sendto(data, (GROUP, PORT))

    def answers_while(self, seconds: float, do: Callable[[], object] = lambda: None) -> list[bytes]:
        """What the target announces in this time, in which ``do`` is done again and again."""
        heard: list[bytes] = []
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            do()
            time.sleep(0.02)
            with suppress(BlockingIOError):
                while data := self._ear.recv(65_536):
                    if self.target.peer.encode() in data and data[2] & 0x80:
                        heard.append(data)
        return heard

    def close(self) -> None:
        for one in (self._ear, *self._sockets.values()):
            one.close()


@contextmanager
def lan(target: Program) -> Iterator[Lan]:
    made = Lan(target)
    try:
        yield made
    finally:
        made.close()


def announced(*peers: tuple[str, Sequence[str]], label: str = "x", ttl: int = 120, of: int = IN) -> bytes:
    """One packet in which each of these peers is at its places."""
    records: list[bytes] = []
    for number, (peer, places) in enumerate(peers):
        owner = f"{label}{number}.{SERVICE}"
        texts = strings(*(f"dnsaddr={place}/p2p/{peer}" for place in places))
        records += [record(SERVICE, PTR, name(owner), ttl), record(owner, TXT, texts, ttl, of)]
    return packet(0x8400, answers=records)


def goodbye(label: str) -> bytes:
    return packet(0x8400, answers=[record(SERVICE, PTR, name(f"{label}0.{SERVICE}"), 0)])


def place(port: int) -> str:
    return f"/ip4/127.0.0.1/tcp/{port}"


def where(target: Program, peer: str) -> list[str]:
    found: list[str] = target.ask(do="heard", peer=peer)["where"]
    return found


def discovered(target: Program) -> int:
    count: int = target.state()["peers_discovered_total"]
    return count


def test_row_101_packets_that_are_none(arena: Arena) -> None:
    """mDNS packets that are none, and 20,000 a second"""
    with arena.serve("--mdns", memory=4 * MIB, probe_connects=True) as target, lan(target) as attacker:
        before = target.state()["mdns_dropped_total"]
        bad = [*BAD.values(), b"", noise(9_000)]
        for number, data in enumerate(bad):
            attacker.say(data, f"127.3.1.{number}")
        assert soon(lambda: target.state()["mdns_dropped_total"] >= before + len(bad))
        identities = [Identity() for _ in range(200)]
        start, spent, sent, had = time.monotonic(), target.cpu(), 0, discovered(target)
        flood = [announced((one.name, [place(1)]), label=f"n{number}x") for number, one in enumerate(identities)]
        seconds = arena.pick(1.0, 10.0)
        while (passed := time.monotonic() - start) < seconds:
            if sent > passed * arena.pick(5_000, 20_000):
                time.sleep(0.001)
                continue
            attacker.say(flood[sent % len(flood)], "127.3.0.2")
            sent += 1
        found = discovered(target) - had
        assert found <= 60 + 20 * (seconds + 1) + 10, found  # others on this machine are found, too
        arena.note(f"{sent / seconds:.0f} packets a second, {found} peers")
        arena.bound("ms a packet", (target.cpu() - spent) / sent * 1e3, 1.0)
        honest = Identity()
        attacker.say(announced((honest.name, [place(7)])), "127.3.0.9")
        assert soon(lambda: where(target, honest.name) == [place(7)])


def test_row_102_what_the_lan_may_say(arena: Arena) -> None:
    """TTLs, names, cache-flush and goodbyes of others, TC"""
    with arena.serve("--mdns", memory=4 * MIB) as target, lan(target) as attacker:
        victim = Identity()
        attacker.say(announced((victim.name, [place(7)]), label="victim"), "127.3.0.9")
        assert soon(lambda: where(target, victim.name) == [place(7)])
        for number, ttl in enumerate((0, 1, 1 << 31, (1 << 32) - 1)):
            attacker.say(announced((Identity().name, [place(9)]), label=f"ttl{number}x", ttl=ttl))
        attacker.say(announced((victim.name, [place(8)]), label="victim", of=IN | 0x8000))  # "flush what you have"
        attacker.say(announced((victim.name, [place(port) for port in range(100, 200)]), label="more"), "127.3.0.3")
        attacker.say(announced((victim.name, [place(7)]), label="same", ttl=1), "127.3.0.2")
        attacker.say(goodbye("same"), "127.3.0.2")
        attacker.say(goodbye("victim"), "127.3.0.2")
        for number in range(arena.pick(300, 3_000)):
            attacker.say(bytes((0, 0, 2)) + QUERY[3:], f"127.3.2.{number % 200}")  # TC: more is to come
        for number in range(arena.pick(160, 1_250)):
            many = [(Identity().name, [place(port) for port in range(1, 4)]) for _ in range(8)]
            attacker.say(announced(*many, label=f"m{number}x"), f"127.3.3.{number % 100}")
            if arena.full:
                time.sleep(0.003)
        assert soon(lambda: target.ask(do="heard")["peers"] >= 200)
        time.sleep(1.2)
        state = target.ask(do="heard", peer=victim.name)
        arena.note(f"{state['peers']} peers")
        assert state["peers"] <= 256, state["peers"]
        assert state["most"] <= 16
        assert 120 < state["longest"] <= 600
        assert place(7) in state["where"]
        after = Identity()

        def seen() -> bool:  # said again and again: the first one may be one packet too many
            attacker.say(announced((after.name, [place(6)]), label="after"), "127.3.0.8")
            return where(target, after.name) == [place(6)]

        assert soon(seen)


def test_row_104_spoofed(arena: Arena) -> None:
    """Others' names, other sources, reflected packets, floods of queries"""
    with arena.serve("--mdns", memory=256 * KIB) as target, lan(target) as attacker, Host() as host, Host() as liar:
        good, bad = (one.address.partition("/p2p/")[0] for one in (host, liar))
        attacker.say(announced((host.identity.name, [bad])))
        assert soon(lambda: where(target, host.identity.name) == [bad])
        target.tell(do="dial", addrs=[], peer=host.identity.name)
        with liar.accept() as wire, suppress(Ended):
            upgrade_in(wire, liar.identity)
        assert target.read()["error"] == "PeerIdMismatch"
        target.tell(do="dial", addrs=[good], peer=host.identity.name)
        with host.peer() as peer:
            assert target.read()["error"] == ""
            peer.rest(0.1)
        with suppress(PermissionError), speaking("192.0.2.99", far=True) as far:  # where we may say so
            far.sendto(announced((Identity().name, [place(9)]), label="far"), (GROUP, PORT))
            far.sendto(QUERY, (GROUP, PORT))
            arena.note("off-link")
            assert soon(lambda: target.state()["mdns_dropped_total"] >= 2)
        (own, *_) = attacker.answers_while(1.5, partial(attacker.say, QUERY, "127.3.4.1"))
        attacker.say(own)  # reflected
        # In short no more than leaves room for the packets of other tests, which run on the same interface.
        sources = [f"127.3.5.{number}" for number in range(arena.pick(8, 40))]
        seconds = arena.pick(3.0, 10.0)

        def ask() -> None:
            for source in sources:
                attacker.say(QUERY, source)

        heard = attacker.answers_while(seconds, ask)
        answers = len(heard)
        arena.note(f"{answers / seconds:.2f} answers a second")
        assert 1 <= answers <= seconds + 1, answers
        assert max(map(len, heard)) <= 1_472
        assert {data[:2] for data in heard} == {bytes(2)}  # the id, of every packet
        assert where(target, target.peer) == []
