"""Hostile rows 9 and 10, in a namespace that no packet leaves: whom the package dials is seen on the wire."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import pytest

from harness.process import Patience, soon
from tests import netns
from tests.hostile.arena import Arena, Program
from tests.hostile.client import Host
from tests.hostile.codec import prefixed
from tests.hostile.test_identify import introduced
from tests.hostile.told import identify, ip4_tcp, ip6_tcp, named_tcp
from tests.nowhere import Nowhere, nowhere

PEER = "8.8.8.8"
HOLES = [f"/ip4/8.8.4.{number}/tcp/4001" for number in range(1, 16)]
WITHIN = 5.0


@contextmanager
def dialing(
    arena: Arena, *own: str, hosts: str = "", options: tuple[str, ...] = ()
) -> Iterator[tuple[Nowhere, Program, Host]]:
    """A dialer there, and somebody at the first of the namespace's ``own`` addresses."""
    with ExitStack() as stack:
        try:
            there = stack.enter_context(nowhere(*own, hosts=hosts))
        except netns.Unavailable as error:
            pytest.skip(str(error))
        dialer = stack.enter_context(arena.dialer("--listen", own[-1], *options, namespace=there.namespace))
        with netns.inside(there.namespace):
            host = stack.enter_context(Host(own[0]))
        yield there, dialer, host


def test_row_9_black_holes(arena: Arena) -> None:
    """Fifteen addresses that never answer, then the good one"""
    with dialing(arena, PEER, "8.8.8.9") as (there, dialer, host):
        before = dialer.descriptors()
        began = time.monotonic()
        dialer.tell(do="dial", addrs=[*HOLES, host.address], peer=host.identity.name)
        host.sock.settimeout(Patience.of(WITHIN + arena.slack))
        with host.peer():
            answer = dialer.read()
            took = time.monotonic() - began
            assert (answer["error"], answer["remote"]) == ("", host.address)
            arena.bound("seconds", took, WITHIN)
            assert {address for address, _ in there.called()} == {PEER, *(hole.split("/")[2] for hole in HOLES)}
            assert soon(lambda: dialer.descriptors() == before + 1)  # the connection's
            assert dialer.state()["pending_out"] == 0


def test_row_10_no_packet_leads_inwards(arena: Arena) -> None:
    """The same by addresses and names, as the wire tells

    A peer in the Internet tells them, beside two that it may mean. One of those the firewall keeps us from, which it
    says again of where a name leads.
    """
    private = ("10.1.2.3", "172.16.3.4", "192.168.5.6", "100.64.7.8", "169.254.169.254", "127.0.0.1", "224.0.0.1")
    hosts = "\n".join(f"{ip} inward{number}.example" for number, ip in enumerate(private))
    hosts += "\n9.9.9.9 public.example\n9.9.10.9 banned.example\n8.8.8.9 us.example\n"
    with dialing(arena, PEER, "8.8.8.9", hosts=hosts, options=("--timeout", "connect=1")) as (there, dialer, host):
        ours = dialer.address[1]
        told = [ip4_tcp(ip, 22) for ip in (*private, "0.0.0.0")]
        told += [ip4_tcp("9.9.9.8", 0), ip4_tcp("8.8.8.9", ours)]
        told += [ip6_tcp(ip, 22) for ip in ("::1", "::", "::ffff:127.0.0.1", "64:ff9b::7f00:1", "fe80::1", "fd00::1")]
        told += [named_tcp(f"inward{number}.example", 22) for number in range(len(private))][:4]
        told += [named_tcp("us.example", ours), named_tcp("banned.example", 4_001), named_tcp("public.example", 4_001)]
        told += [ip4_tcp("9.9.9.1", 4_001), ip4_tcp("9.9.10.1", 4_001)]
        dialer.ask(do="ban", whom="9.9.10.0/24")
        with introduced(dialer, host, prefixed(identify(host.identity, addresses=told))) as (_, info):
            assert info["known"]
        host.sock.close()
        there.called()
        answer = dialer.ask(do="dial", addrs=[], peer=host.identity.name)
        called = there.called()
        assert answer["error"] == "DialError"
        assert called == {("9.9.9.9", 4_001), ("9.9.9.1", 4_001), (PEER, host.port)}, answer["attempts"]
        arena.note(f"{len(told)} told, {len(answer['attempts'])} with a cause, {len(called)} dialed")
