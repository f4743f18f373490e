"""Hostile rows 1 to 8, 10, 111 and 123: a listener and a dialer on TCP."""

from __future__ import annotations

import selectors
import signal
import socket
import time
from collections.abc import Iterable
from contextlib import ExitStack, suppress
from dataclasses import dataclass

import pytest

from harness.process import soon
from stronghold_p2p.codes import GoAway
from tests import netns
from tests.hostile.arena import KIB, MIB, Arena, Program, dialed
from tests.hostile.client import Host, Peer, half_way, third, upgrade_in, upgrade_out
from tests.hostile.codec import Identity, noise, prefixed, propose
from tests.hostile.names import ECHO, HOLD, MULTISTREAM, NOISE, PERF, YAMUX
from tests.hostile.secure import framed
from tests.hostile.test_identify import introduced
from tests.hostile.told import identify, ip4_tcp
from tests.hostile.wire import Cut, Ended, Late, Wire

STAGES = 5


def half_of(stage: int, wire: Wire) -> bytes:
    """Says half of nothing, of the header, of message 1, of message 3, or of the choice of a muxer; the rest of it."""
    if stage < 3:
        first = propose(NOISE) + framed(bytes(32))
        whole, said = ((b"", 0), (MULTISTREAM, 7), (first, len(first) - 14))[stage]
    else:
        handshake = half_way(wire)
        whole, said = third(handshake, (YAMUX,) if stage == 3 else ()), 60
        if stage == 4:
            wire.send(whole)
            whole, said = handshake.channel(wire).record(propose(YAMUX)), 22
    wire.send(whole[:said])
    return whole[said:]


@dataclass
class Slow:
    """A connection that is stuck in some stage; now and then it says one more byte of ``rest``."""

    wire: Wire
    since: float
    rest: bytes


def open_slowly(target: Program, count: int, sources: int) -> list[Slow]:
    """``count`` connections; those that were refused at once are left out."""
    slow: list[Slow] = []
    for number in range(count):
        wire, since = target.wire(source=f"127.1.0.{1 + number % sources}"), time.monotonic()
        with suppress(Ended, OSError):
            slow.append(Slow(wire, since, half_of(number // sources % STAGES, wire)))
            continue
        wire.close()
    return slow


def watch(slow: list[Slow], until: float, every: float) -> list[float]:
    """Say the next byte on each now and then; how long each one has lived."""
    lives: list[float] = []
    next_bytes = time.monotonic() + every
    with selectors.DefaultSelector() as selector, ExitStack() as wires:
        for one in slow:
            selector.register(wires.enter_context(one.wire), selectors.EVENT_READ, one)
        while (living := [key.data for key in selector.get_map().values()]) and time.monotonic() < until:
            for key, _ in selector.select(0.05):
                try:
                    key.data.wire.fill(0)
                    key.data.wire.buffer.clear()
                except Ended:
                    lives.append(time.monotonic() - key.data.since)
                    selector.unregister(key.fileobj)
            if time.monotonic() >= next_bytes:
                next_bytes += every
                for one in living:
                    with suppress(Ended):
                        one.rest = one.rest[one.wire.push(one.rest[:1]) :]
        return lives + [float("inf")] * len(living)


def test_row_1_slowloris(arena: Arena) -> None:
    """Slowloris at each stage, from 60 addresses"""
    count, sources = arena.pick(600, 5_000), 60
    deadline = arena.pick(2.0, 10.0)
    options = ("--count-loopback", "--timeout", f"upgrade={deadline}")
    with arena.serve(*options, memory=128 * 20 * KIB, probe_connects=True) as target:
        slow = open_slowly(target, count, sources)
        lives = watch(slow, time.monotonic() + deadline + arena.slack, deadline * 0.45)
        assert max(lives) < float("inf"), f"{lives.count(float('inf'))} of {len(lives)} live on"
        arena.took(max(lives), deadline + 1.0)
        assert max(lives) >= deadline * 0.8  # the negative control: it was the deadline that ended the last ones
        assert target.seen("AcceptFailed DeadlineExceeded") >= 100  # with 128 pending places
        assert arena.full or not target.seen("Opened")  # in full the probe opens some
        arena.note(f"{len(lives)} let in, the last closed after {max(lives):.1f} s")
    with arena.serve("--timeout", "upgrade=60", limits=False, probe=False) as target:
        count = arena.pick(400, 2_000)
        slow = open_slowly(target, count, sources)
        assert soon(lambda: target.descriptors() >= target.sockets + count)  # without limits they all stay
        each = target.growth() / count
        assert each <= 20 * KIB, f"{each / KIB:.1f} KiB for each"
        arena.note(f"{each / KIB:.1f} KiB each")
        for one in slow:
            one.wire.close()


def test_row_2_accept_flood(arena: Arena) -> None:
    """1,000 connects a second from one address"""
    with arena.serve("--count-loopback", memory=1 * MIB, probe_connects=True) as target:
        before, start, seconds, done, served = target.cpu(), time.monotonic(), arena.pick(3.0, 60.0), 0, 0
        while (passed := time.monotonic() - start) < seconds:
            if done > passed * 1_000:
                time.sleep(0.001)
                continue
            done += 1
            with suppress(OSError, Ended, Late):
                target.wire(source="127.2.0.1").crash()
        arena.note(f"{done / seconds:.0f}/s")
        arena.bound("share of a core", (target.cpu() - before) / seconds, 0.6)
        for _ in range(20):  # whoever has used up the rate is closed before a byte is read
            with target.wire(source="127.2.0.1") as wire, suppress(Ended, Late):
                wire.send(propose(NOISE))
                wire.exactly(len(MULTISTREAM), 1.0)
                served += 1
        allowed = 16 + 5 * (time.monotonic() - start) + 1
        assert served <= allowed - 16 - 5 * seconds
        assert soon(lambda: target.seen("AcceptFailed LimitExceeded accept_rate") >= done - allowed)
        with target.connect(source="127.2.0.2") as other:  # the negative control: another address
            other.request(b"x")


def crowd(target: Program, sources: Iterable[str], stack: ExitStack) -> list[Peer]:
    """One connection from each source, all with keys of their own, and all half-way before the first is ready."""
    peers: list[Peer] = []
    wires = [stack.enter_context(target.wire(source=source)) for source in sources]
    for wire, handshake in [(wire, half_way(wire)) for wire in wires]:
        wire.send(third(handshake))
        peers.append(Peer(handshake.channel(wire), client=True))
    return peers


def refused_at_once(target: Program, source: str) -> None:
    """Closed without a word, before any cryptography."""
    with target.wire(source=source) as wire:
        with suppress(Ended):
            wire.send(propose(NOISE))
        wire.until_closed(1.0)
        assert not wire.buffer


def test_row_3_many_connections_of_one_address(arena: Arena) -> None:
    """One address brings 100 connections with 100 keys"""
    source = "127.3.0.1"
    with arena.serve("--count-loopback", probe_connects=True) as target, ExitStack() as stack:
        others = 0 if not arena.full else 2  # the probe's, now and then
        peers = crowd(target, [source] * 16, stack)
        refused = [peer for peer in peers if not peer.alive(1.0)]
        assert len(refused) == 8
        for peer in refused:
            peer.ends(GoAway.RESOURCE_LIMIT)
            peer.wire.close()
        for _ in range(84):
            refused_at_once(target, source)
        kept = [peer for peer in peers if peer not in refused]
        assert all(peer.alive() for peer in kept)
        assert soon(lambda: target.state()["pending_in"] <= others)
        counts = target.state()
        assert 8 <= counts["inbound"] <= 8 + others
        assert 1 <= counts["places"] <= 1 + others
        assert target.seen("AcceptFailed LimitExceeded per_subnet") >= 8
        with target.connect(source="127.3.0.2") as other:
            other.request(b"another address is another matter")
        kept.pop().wire.close()
        time.sleep(2.0)  # the rate of connections: what the 84 have used up
        with target.connect(source=source) as again:
            again.request(b"one place is free")
    with arena.serve(probe=False) as target, ExitStack() as stack:  # exempt: an option
        some = [stack.enter_context(target.connect(source=source)) for _ in range(20)]
        assert all(peer.alive() for peer in some)


def test_row_3_many_connections_of_one_customer(arena: Arena) -> None:
    """The same from a /56 and a /48 of IPv6

    An IPv4 address that is written as IPv6 cannot come in here: the listener's sockets are of IPv6 only. That the
    gate counts it as IPv4 all the same is seen in tests/swarm/test_listener.py, with an address that is made up.
    """
    with ExitStack() as stack:
        try:
            namespace = stack.enter_context(netns.prefix("2001:db8::/32"))
        except netns.Unavailable as error:
            pytest.skip(str(error))
        target = stack.enter_context(arena.serve(host="::1", probe=False, namespace=namespace))
        peers = crowd(target, [f"2001:db8:3:{number:x}::{number + 1:x}" for number in range(16)], stack)
        assert len([peer for peer in peers if peer.alive(1.0)]) == 8  # 16 networks /64, one /56
        for peer in peers:
            if peer.wire.ending is not None:
                peer.ends(GoAway.RESOURCE_LIMIT)
                peer.wire.close()
        for site in range(1, 8):
            peers += crowd(target, [f"2001:db8:3:{site:x}{number:02x}::1" for number in range(8)], stack)
        assert len([peer for peer in peers if peer.wire.ending is None and peer.alive()]) == 64
        for number in range(20):
            refused_at_once(target, f"2001:db8:3:{number + 8:x}00::1")  # the /48 is full
        assert soon(lambda: target.state()["pending_in"] == 0)
        counts = target.state()
        assert (counts["inbound"], counts["places"], counts["peers"]) == (64, 9, 64)
        assert target.seen("AcceptFailed LimitExceeded per_subnet") == 8 + 20
        with target.connect(source="2001:db8:4::1") as other:
            other.request(b"another /48 is another matter")
        peers.pop().wire.close()
        assert soon(lambda: target.state()["inbound"] == 63)
        with target.connect(source="2001:db8:3:800::1") as again:
            again.request(b"one place is free")
        with netns.inside(namespace), socket.socket() as mapped, suppress(ConnectionRefusedError):
            mapped.connect(("127.0.0.1", target.address[1]))
            raise AssertionError("a socket of IPv6 has taken an address of IPv4")


CLOSING_SAYS = "closing took longer"
ASYNCIO_SAYS = r"socket\.accept\(\) out of system resource|socket: |Traceback|  |OSError: \[Errno 24\]"


def test_row_4_no_descriptors_left(arena: Arena) -> None:
    """RLIMIT_NOFILE 64: accept and dial hit EMFILE"""
    with arena.serve(probe=False, tolerated=ASYNCIO_SAYS) as target, target.connect() as inside:
        target.limit_files(64)
        crowd = [target.wire() for _ in range(90)]
        assert soon(lambda: target.descriptors() >= 64)
        time.sleep(0.3)
        before, start = target.cpu(), time.monotonic()
        said = len(target.errors().splitlines())
        while time.monotonic() - start < arena.pick(2.0, 10.0):
            inside.request(b"what exists goes on")
            time.sleep(0.1)
        seconds = time.monotonic() - start
        said = len(target.errors().splitlines()) - said
        assert said <= 20 * (seconds + 1), f"{said} lines on standard error in {seconds:.1f} s"
        arena.bound("share of a core while full", (target.cpu() - before) / seconds, 0.05)
        for wire in crowd:
            wire.close()
        start = time.monotonic()
        with target.connect() as peer:
            peer.request(b"it recovers by itself")
        arena.bound("recovery", time.monotonic() - start, 2.0)
    with arena.dialer() as dialer, Host() as host:
        for files in (64, 0, 64):
            dialer.limit_files(files or dialer.descriptors())
            dialer.tell(do="dial", addrs=[host.address])
            if files:
                with host.peer():
                    assert [dialer.read()["error"], dialer.ask(do="hang_up")["error"]] == ["", ""]
            else:
                answer = dialer.read()
                assert (answer["error"], "open files" in answer["text"]) == ("DialError", True), answer


def test_row_5_reset_before_accept(arena: Arena) -> None:
    """Connect, then RST before it is accepted"""
    count, batch = arena.pick(2_000, 10_000), 1_000
    with arena.serve(memory=1 * MIB, probe=False) as target:
        before = target.cpu()
        for _ in range(count // batch):
            target.signal(signal.SIGSTOP)
            for _ in range(batch):
                target.wire().crash()
            target.signal(signal.SIGCONT)
            with target.connect() as peer:
                peer.request(b"behind them all")
        assert soon(lambda: target.state()["pending_in"] == 0)
        arena.note(f"{target.seen('AcceptFailed ConnectionClosed')} told of")
        arena.bound("seconds of a core", target.cpu() - before, 2.0)


def test_row_6_silent_death(arena: Arena) -> None:
    """The peer is gone without a word: keep-alive, both roles"""
    every, answer = arena.pick(0.5, 30.0), arena.pick(1.5, 10.0)
    timeouts = ("--timeout", f"keepalive={every}", "--timeout", f"keepalive_answer={answer}")
    with arena.serve(*timeouts) as target, target.connect() as silent, target.connect() as talks:
        silent.answers_pings = False
        stream, kept = silent.open(ECHO, b"x"), talks.open(ECHO, b"x")  # a stream keeps it from being idle
        took = silent.lasts(every + answer + 3.0, lambda: talks.rest(0.05))
        assert len(silent.pings) == 1
        assert stream not in silent.resets
        arena.bound("s to the end", took, every + answer + 1.0)
        assert talks.alive()  # the negative control: it answered
        assert kept not in talks.resets
    quick = ("--timeout", "keepalive=0.3", "--timeout", "keepalive_answer=0.3")
    with arena.dialer(*quick) as dialer, Host() as host, dialed(dialer, host) as peer:
        peer.answers_pings = False
        dialer.tell(do="request", protocols=[ECHO], write="waiting")
        peer.ends(GoAway.NORMAL)
        asked = dialer.read()
        assert asked["error"] == "ConnectionClosed"
        arena.took(asked["seconds"], 1.6)
        assert dialer.seen("Ended ConnectionClosed") == 1


def whole_session(wire: Wire) -> None:
    """Everything that an honest dialer says, from the first byte to the answer."""
    peer = upgrade_out(wire, Identity(), early=False)
    peer.request(b"one request")


def idle_share(target: Program) -> float:
    """What it takes of a core while we do nothing."""
    before = target.cpu()
    time.sleep(0.5)
    return (target.cpu() - before) / 0.5


def test_row_7_fin_at_every_byte(arena: Arena) -> None:
    """FIN after every byte of a session, both roles"""
    with arena.serve(memory=1 * MIB) as target:
        before = idle_share(target)  # the probe is there, too
        with target.wire() as wire:
            whole_session(wire)
            total = wire.sent
        slowest = 0.0
        for size in range(0, total, arena.pick(7, 1)):
            with target.wire() as wire:
                wire.allowance = size
                with suppress(Cut):
                    whole_session(wire)
                    wire.finish()  # credit and pongs at the end come as they come
                slowest = max(slowest, wire.until_closed(2.0))
        arena.note(f"{total} bytes")
        arena.bound("slowest close", slowest, 0.1)
        arena.bound("share of a core more than before", idle_share(target) - before, 0.01)
    with arena.dialer() as dialer, Host() as host:  # who learns at which stage it was, and never more than that
        total, error, _ = cut_at(None, dialer, host)
        assert error == ""
        dialer.ask(do="hang_up")
        seen = set()
        for size in range(0, total, arena.pick(11, 1)):
            _, error, took = cut_at(size, dialer, host)
            seen.add(error)
            arena.took(took, 0.2)
        assert seen <= {"ConnectionClosed", "HandshakeError", "NegotiationError"}, seen


def cut_at(size: int | None, dialer: Program, host: Host) -> tuple[int, str, float]:
    """We answer a dial with so many bytes and a FIN: how many that were, its error, and how long that took."""
    dialer.tell(do="dial", addrs=[host.address], peer=host.identity.name)
    with host.accept() as wire:
        wire.allowance = size
        with suppress(Cut, Ended):
            upgrade_in(wire, host.identity, early=False)
        answer = dialer.read()
        return wire.sent, answer["error"], answer["seconds"]


def test_row_8_another_protocol(arena: Arena) -> None:
    """HTTP, TLS, SSH, zeros, noise"""
    hello = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + noise(508)
    known = (b"GET / HTTP/1.1\r\nHost: example.org\r\n\r\n", b"SSH-2.0-OpenSSH_9.6\r\n", hello)
    with arena.serve(memory=256 * KIB) as target:
        for opening in (*known, bytes(1 * MIB), b"\x7f" + noise(1_023)):
            with target.wire() as wire:
                with suppress(Ended):
                    wire.push(opening)
                arena.took(wire.until_closed(1.0), 0.1)
                assert not wire.buffer, f"an answer to {opening[:8]!r}: {bytes(wire.buffer[:40])!r}"
        before, count = target.cpu(), arena.pick(500, 5_000)
        for number in range(count):
            with target.wire() as wire, suppress(Ended):
                wire.push(known[number % 3])
                wire.until_closed(1.0)
        arena.bound("ms of a core for each", (target.cpu() - before) * 1e3 / count, 1.0)


def own_address() -> str | None:
    """An address of this machine that is not loopback; nothing is sent."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("198.51.100.1", 9))
        except OSError:
            return None
        host: str = probe.getsockname()[0]
        return None if host.startswith("127.") else host


def test_row_10_addresses_that_lead_inwards(arena: Arena) -> None:
    """A peer advertises loopback, wildcards, nonsense"""
    outside = own_address()
    if outside is None:
        arena.note("no address but loopback: only what loopback may say")
    with arena.dialer() as dialer, Host(outside or "127.0.0.1") as host, Host() as canary:
        mapped = bytes(10) + b"\xff\xff" + bytes([127, 0, 0, 1])
        nat64 = b"\x00\x64\xff\x9b" + bytes(8) + bytes([127, 0, 0, 1])
        told = [ip4_tcp("0.0.0.0", canary.port), ip4_tcp("127.0.0.1", 0), b"\x29" + bytes(16) + b"\x06\x00\x16"]
        if outside:
            told += [ip4_tcp("127.0.0.1", canary.port), b"\x29" + mapped + b"\x06" + canary.port.to_bytes(2, "big")]
            told += [b"\x29" + bytes(15) + b"\x01\x06" + canary.port.to_bytes(2, "big")]
        told += [ip4_tcp("169.254.169.254", 80), ip4_tcp("224.0.0.1", 22), b"\x29" + nat64 + b"\x06\x00\x16"]
        with introduced(dialer, host, prefixed(identify(host.identity, addresses=told))) as (_, info):
            assert info["known"]
        host.sock.close()
        answer = dialer.ask(do="dial", addrs=[], peer=host.identity.name)
        assert answer["error"] == "DialError"
        dialed = set(answer.get("attempts", {})) or {answer["text"]}
        inwards = ("127.", "0.0.0.0", "/::", "/tcp/0", "224.", "169.254.", "64:ff9b")
        assert not [text for text in dialed if any(inner in text for inner in inwards)], dialed
        arena.note(f"dialed: {', '.join(sorted(dialed))}")
        canary.nobody_comes(0.2)


def test_row_123_banned_addresses(arena: Arena) -> None:
    """Banned addresses connect, as fast as they can"""
    with arena.guard(memory=1 * MIB) as guard:
        guard.rules(("allow", {}))
        guard.ask(do="ban", whom="127.3.0.0/16")
        begun, before, count = guard.seen("Accepting"), guard.cpu(), arena.pick(100, 5_000)
        for number in range(count):
            with guard.wire(source=f"127.3.{number % 7}.{1 + number % 250}") as wire:
                with suppress(Ended):
                    wire.send(propose(NOISE))
                wire.until_closed(1.0)
                assert not wire.buffer
        arena.bound("ms of a core for each", (guard.cpu() - before) * 1e3 / count, 0.5)
        assert guard.seen("AcceptFailed ConnectionClosed") == count
        if not arena.full:  # the probe connects, too
            assert guard.seen("Accepting") == begun
        assert guard.state()["pending_in"] == 0
        with guard.connect(source="127.4.0.1") as peer:
            peer.request(b"somebody else")
        guard.ask(do="ban", whom="127.3.0.0/16", back=True)
        with guard.connect(source="127.3.0.1") as peer:
            peer.request(b"not any more")


def test_row_111_the_end_with_stalled_peers(arena: Arena) -> None:
    """The end, with peers who read nothing, and half-open ones"""
    crowd = arena.pick(30, 290)
    serving = arena.serve("--limit", "connections=400", probe=False, tolerated=CLOSING_SAYS)
    with ExitStack() as stack, serving as target:
        for _ in range(crowd):
            peer = stack.enter_context(target.connect(small=True))
            for protocol in (PERF, ECHO, HOLD):
                peer.open(protocol, (10 * MIB).to_bytes(8, "big") if protocol == PERF else b"x")
        slow = open_slowly(target, 100, 60)
        for one in slow:
            stack.callback(one.wire.close)
        assert soon(lambda: target.state()["inbound"] == crowd and target.state()["pending_in"] == 100)
        time.sleep(0.5)
        start = time.monotonic()
        target.stop()
        arena.bound("s to the end", time.monotonic() - start, 3.0 + 0.5)  # of the process
