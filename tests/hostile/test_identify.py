"""Hostile rows 57 to 65 and 120 to 122: identify, ping, signed records, protobuf and length prefixes."""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any, Final

from harness.process import soon
from stronghold_p2p.codes import GoAway, Reset
from stronghold_p2p.encoding.varint import encode as varint
from tests.hostile.arena import KIB, MIB, Arena, Program, accepted, dialed
from tests.hostile.client import Host, Peer
from tests.hostile.codec import Identity, blob, integer, noise, prefixed, propose
from tests.hostile.frames import FIN, update
from tests.hostile.names import IDENTIFY, PING, PUSH
from tests.hostile.told import envelope, identify, ip4_tcp, peer_record

PART = 8_192
PARTS = 10
AT_ONCE = ("--constant", "protocols.identify.PUSH_EVERY=0")
"""Pushes are read as they come: for rows that are about what is in them."""


def answer(peer: Peer, stream: int, body: bytes, *, fin: bool = True) -> None:
    """Agree, and say ``body``."""
    peer.write(stream, propose(IDENTIFY) + body)
    if fin:
        peer.finish(stream)


@contextmanager
def introduced(dialer: Program, host: Host, body: bytes) -> Iterator[tuple[Peer, dict[str, Any]]]:
    """The package has dialed us and been told ``body``: what it has made of it."""
    with dialed(dialer, host) as peer:
        stream = accepted(peer, IDENTIFY)
        answer(peer, stream, body)
        assert peer.over(stream)
        time.sleep(0.05)
        yield peer, dialer.ask(do="info")


def records(own: Identity) -> dict[str, bytes]:
    """Signed records that are not this peer's word."""
    other, address = Identity(), ip4_tcp("127.0.0.1", 4_444)
    mine = peer_record(own.peer, 1 << 40, [address])
    theirs = peer_record(other.peer, 1, [address])
    sealed = envelope(own, mine)
    return {
        "of another peer": envelope(other, theirs),
        "another's record under our key": envelope(own, theirs),
        "ours, signed by another": envelope(own, mine, signer=other),
        "another domain": envelope(own, mine, domain=b"libp2p-routing-state"),
        "another payload type": envelope(own, mine, kind=b"\x03\x02"),
        "cut": sealed[:-1],
        "a bit flipped": sealed[:-9] + bytes([sealed[-9] ^ 1]) + sealed[-8:],
        "nonsense": noise(200),
        "empty": b"",
        "7 KiB": envelope(own, peer_record(own.peer, 2, [noise(100)] * 70)),
    }


def test_row_57_signed_records(arena: Arena) -> None:
    """Signed records of others, old, forged, too long"""
    listed = ip4_tcp("127.0.0.1", 5_555)
    with arena.dialer(*AT_ONCE) as dialer, Host() as host:
        own = host.identity
        for name, record in records(own).items():
            told = identify(own, addresses=[listed], protocols=["/a/1"], agent=b"kept", record=record)
            with introduced(dialer, host, prefixed(told)) as (_, info):
                assert (info["agent"], info["protocols"]) == ("kept", 1), name
                assert set(info["book"]) <= {own.name}, name  # nothing under any other peer
                if name != "7 KiB":
                    assert info["record"] is False, name
                    assert info["addresses"] == ["/ip4/127.0.0.1/tcp/5555"], name
        newer, older = ip4_tcp("127.0.0.1", 1_002), ip4_tcp("127.0.0.1", 1_001)
        many = [ip4_tcp("127.0.0.1", 10_000 + number) for number in range(300)]
        tagged = ip4_tcp("127.0.0.1", 1_003) + b"\xa5\x03" + prefixed(Identity().peer)
        with introduced(dialer, host, told_with(own, 5, [newer, tagged])) as (peer, info):
            assert info["record"] is True  # the negative control
            assert info["addresses"] == ["/ip4/127.0.0.1/tcp/1002"]
            for seq in (4, 5):
                assert peer.over(peer.push(told_with(own, seq, [older])))
                assert soon(lambda: dialer.ask(do="info")["addresses"] == ["/ip4/127.0.0.1/tcp/1002"])
            assert peer.over(peer.push(told_with(own, 6, many)))
            assert dialer.ask(do="info")["addresses"] == ["/ip4/127.0.0.1/tcp/1002"]  # 300 addresses: no record
            assert peer.over(peer.push(told_with(own, 6, many[:120])))
            assert soon(lambda: len(dialer.ask(do="info")["addresses"]) == 64)
            assert dialer.ask(do="info")["book"].keys() == {own.name}
    with arena.serve(*AT_ONCE, memory=1 * MIB) as target, target.connect() as peer:
        start, done = time.monotonic(), 0
        while time.monotonic() - start < arena.pick(2.0, 30.0):
            other = Identity()
            record = envelope(other, peer_record(other.peer, done, [noise(60)] * 8))
            assert peer.over(peer.push(prefixed(identify(None, addresses=[noise(40)], record=record))))
            done += 1
        arena.note(f"{done} strangers' records")


def told_with(own: Identity, seq: int, addresses: list[bytes]) -> bytes:
    return prefixed(identify(own, record=envelope(own, peer_record(own.peer, seq, addresses))))


def test_row_58_parts_without_end(arena: Arena) -> None:
    """11 parts, no end, a byte a second, another's key"""
    deadline = arena.pick(1.5, 5.0)
    with arena.serve("--timeout", f"identify={deadline}", *AT_ONCE, memory=256 * KIB) as target:
        with target.connect() as peer:  # the key of somebody else
            answer(peer, peer.asked(IDENTIFY)[0], prefixed(identify(Identity())))
            peer.ends(GoAway.PROTOCOL_VIOLATION)
        with target.connect() as peer:
            peer.push(prefixed(identify(Identity())))
            peer.ends(GoAway.PROTOCOL_VIOLATION)
        start = time.monotonic()
        with target.connect() as dribbles, target.connect() as silent:
            slow, mute = dribbles.asked(IDENTIFY)[0], silent.asked(IDENTIFY)[0]
            answer(dribbles, slow, prefixed(bytes(8_000))[:2], fin=False)
            answer(silent, mute, prefixed(identify(None)), fin=False)
            while slow not in dribbles.resets and time.monotonic() - start < deadline + arena.slack:
                dribbles.write(slow, b"\x0a")
                dribbles.rest(0.3)
                silent.rest(0.05)
            took = time.monotonic() - start
            assert slow in dribbles.resets
            assert silent.pump(lambda: mute in silent.resets, 1.0)
            assert took >= deadline * 0.8
            arena.took(took, deadline + 1.5)
            assert dribbles.alive()
            assert silent.alive()
            arena.note(f"given up after {took:.1f} s")
        names, places = [b"/%d" % one for one in range(300)], [ip4_tcp("127.0.0.1", 1 + one) for one in range(500)]
        heavy = prefixed(identify(None, protocols=names, addresses=places))  # as many as one part holds
        with target.connect() as peer:
            before, count = target.cpu(), arena.pick(5, 40)
            for _ in range(count):
                assert peer.over(peer.push(heavy * 8, fin=True))
            arena.bound("ms of a core for 64 KiB", (target.cpu() - before) * 1e3 / count, 50)
            endless = peer.push(heavy * 12, fin=False)  # it stops at ten parts, or 64 KiB
            assert peer.over(endless)
            assert endless not in peer.resets  # it was not the deadline
            assert peer.alive()
    with arena.dialer() as dialer, Host() as host:
        parts = b"".join(prefixed(identify(None, protocols=[f"/{number}"])) for number in range(11))
        with introduced(dialer, host, parts) as (_, info):
            assert info["protocols"] == PARTS


def test_row_59_ping(arena: Arena) -> None:
    """Ping: too many streams, wrong sizes, wrong echo, a flood"""
    with arena.serve(memory=512 * KIB) as target:
        with target.connect() as peer:
            streams = [peer.open(PING, bytes(32)) for _ in range(3)]
            peer.reset_with(streams[2], Reset.RESOURCE_LIMIT)
            head = len(propose(PING))
            assert peer.pump(lambda: all(len(peer.body(stream)) == head + 32 for stream in streams[:2]))
            peer.write(streams[0], bytes(31))
            peer.rest(0.2)
            assert len(peer.body(streams[0])) == head + 32  # not before the 32nd
            peer.write(streams[0], bytes(34))
            assert peer.pump(lambda: len(peer.body(streams[0])) == head + 96)
            peer.write(streams[0], bytes(1))
            peer.finish(streams[0])
            assert peer.over(streams[0])
            again = peer.open(PING, bytes(32))
            assert peer.pump(lambda: len(peer.body(again)) == head + 32)  # one has ended
            start, before, done = time.monotonic(), target.cpu(), 0
            while (passed := time.monotonic() - start) < arena.pick(1.0, 10.0):  # as many as the stream takes
                peer.bodies[streams[1]].clear()
                peer.write(streams[1], bytes(32_000))
                done += 1_000
            assert peer.alive(10.0)
            arena.note(f"{done / passed:.0f} pings/s, {(target.cpu() - before) * 1e6 / done:.0f} us each")
            if arena.full:
                start = time.monotonic()
                assert peer.over(again, 33.0)
                assert time.monotonic() - start >= 10
        with target.connect() as peer:  # the rate is that of who reads
            peer.generous = False
            stream, sent = peer.open(PING), 0
            while sent < 1_000_000 and peer.pump(lambda stream=stream: peer.credit[stream] > 0, 0.5):  # type: ignore[misc]
                piece = min(peer.credit[stream], 60_000)
                peer.write(stream, bytes(piece))
                sent += piece
            assert sent < 1_000_000
            assert peer.alive()
    with arena.dialer() as dialer, Host() as host, dialed(dialer, host) as peer:
        for wrong in (True, False):
            dialer.tell(do="ping")
            stream = accepted(peer, PING)
            assert peer.pump(lambda stream=stream: len(peer.body(stream)) == len(propose(PING)) + 32)  # type: ignore[misc]
            peer.write(stream, propose(PING) + (noise(32) if wrong else peer.body(stream)[-32:]))
            assert dialer.read()["error"] == ("Malformed" if wrong else "")


def test_row_60_protocol_names(arena: Arena) -> None:
    """1,025 names and more; long, broken, repeated"""
    ten = [prefixed(identify(None, protocols=[f"/{part}/{name}" for name in range(700)])) for part in range(PARTS)]
    plain = [[f"/n/{part * 103 + name}" for name in range(103)] for part in range(PARTS)]
    names = [prefixed(identify(None, protocols=part)) for part in plain]
    strange: list[str | bytes] = ["/ok/1", "/ok/1", b"/" + b"a" * 256, b"/\xff\xfe", b"", "/ok/2", b"/" + b"b" * 255]
    with arena.dialer(*AT_ONCE) as dialer, Host() as host:
        with introduced(dialer, host, b"".join(names)) as (peer, info):
            assert info["protocols"] == 1_024  # of 1,030
            assert peer.over(peer.push(prefixed(identify(None, protocols=["/only/1"]))))
            assert soon(lambda: dialer.ask(do="info")["protocols"] == 1)  # replaced, not added
        with introduced(dialer, host, prefixed(identify(host.identity, protocols=strange))) as (_, info):
            assert info["protocols"] == 3
        assert max(map(len, ten)) <= PART + 3
        with introduced(dialer, host, b"".join(ten)) as (_, info):
            assert info["protocols"] <= 1_024
    peers = arena.pick(4, 30)
    with arena.serve(*AT_ONCE, memory=peers * 512 * KIB) as target:
        connected = [target.connect() for _ in range(peers)]
        for peer in connected:
            answer(peer, peer.asked(IDENTIFY)[0], b"".join(ten))
            for _ in range(3):
                assert peer.over(peer.push(b"".join(names)))
        arena.note(f"{target.growth() / peers / KIB:.0f} KiB a peer")
        for peer in connected:
            assert peer.alive()
            peer.wire.close()


def test_row_61_addresses_that_are_none(arena: Arena) -> None:
    """Multiaddrs empty, cut, unknown, 10,000 of them"""
    good = [ip4_tcp("127.0.0.1", 1_000 + number) for number in range(70)]
    bad = [
        *(b"", b"\x04", b"\x04\x7f\x00", good[0][:-1], b"\xff\xff\xff\x7f"),
        *(b"\x04\x7f\x00\x00\x01\x06", good[0] + b"\x99"),
        b"\x36\xff\xff\xff\xff\x0f",  # a dns4 name of 4 GiB
        *(b"\xa5\x03\x00", b"\x80" * 20, noise(500), bytes(7_000)),
    ]
    with arena.dialer() as dialer, Host() as host:
        mixed = [each for pair in zip(bad[:10], good[:10], strict=True) for each in pair]
        with introduced(dialer, host, prefixed(identify(None, addresses=[*bad[10:11], *mixed]))) as (_, info):
            assert len(info["addresses"]) == 10
        told = prefixed(identify(None, addresses=[b"\x04"] * 900 + good))
        with introduced(dialer, host, told) as (_, info):
            assert len(info["addresses"]) == 64
        with introduced(dialer, host, prefixed(identify(None, addresses=bad))) as (_, info):
            assert info["addresses"] == []
    with arena.serve(*AT_ONCE, memory=256 * KIB) as target, target.connect() as peer:
        parts = b"".join(prefixed(identify(None, addresses=[noise(5) for _ in range(1_000)])) for _ in range(PARTS))
        before, count = target.cpu(), arena.pick(3, 20)
        for _ in range(count):
            assert peer.over(peer.push(parts))
        arena.bound("ms of a core for 10,000", (target.cpu() - before) * 1e3 / count, 100)
        peer.send(update(peer.push(prefixed(blob(2, bytes(MIB)))[:200_000], fin=False), 0, FIN))
        assert peer.alive()


def test_row_62_pushes(arena: Arena) -> None:
    """1,000 pushes a second, half ones, ones that hang"""
    deadline = arena.pick(3.0, 5.0)
    with Host() as canary, arena.serve("--timeout", f"identify={deadline}", memory=512 * KIB) as target:
        told = prefixed(identify(None, addresses=[ip4_tcp("127.0.0.1", canary.port)], protocols=["/a/1", PUSH]))
        with target.connect() as peer:
            hanging = peer.push(told[:20], fin=False)  # before it has been told who we are
            assert peer.alive()
            peer.rest(1.2)  # one could be read in each second, but this one is still there
            for stream in [peer.push(told) for _ in range(20)]:
                peer.reset_with(stream, Reset.RATE_LIMITED)
            assert hanging not in peer.resets
            assert peer.over(hanging, deadline + 2.0)  # half a push ends at the deadline
            for body in (told, told[:20], prefixed(identify(None)) + prefixed(b"")):
                read = peer.push(body)
                assert peer.over(read)
                assert peer.resets.get(read) != Reset.RATE_LIMITED
                peer.rest(1.1)
            leaves = peer.push(told[:10], fin=False)
            assert leaves not in peer.resets
        canary.nobody_comes(0.3)  # a push is not answered with a dial


SKIPPED = identify(None, protocols=["/a/1"])
PROTOBUFS = {  # and whether they have to be refused; what is merely unknown is skipped
    True: (
        *(b"\x0b" * 4_000, b"\x0c", b"\x0e\x01", b"\x0f"),  # groups, and wire types that are none
        b"\x02\x00",  # field 0
        *(b"\x48" + b"\xff" * 10 + b"\x01", b"\x48" + b"\xff" * 9 + b"\x7f"),  # 11 bytes; beyond 64 bits
        *(b"\x0a\xff\x7f", b"\x0a" + b"\x80" * 9 + b"\x01"),  # lengths past the end, and of 2**63
        *(b"\x80", b"\x49\x00"),  # cut in a key, and in a fixed64
    ),
    False: (
        b"\x28\x05",  # a scalar of another type
        *(integer(99, 5) * 2_700 + SKIPPED, b"\x52" + prefixed(b"\x52" * 8_000)),  # unknown, and nested 2,700 deep
        *(blob(5, b"a") * 1_000 + SKIPPED, blob(6, b"\xff\xfe") + SKIPPED),  # duplicated; bad UTF-8
    ),
}


def test_row_64_protobuf(arena: Arena) -> None:
    """Protobuf: groups, overflows, depth, unknown fields"""
    refused, worst = [], 0.0
    with arena.serve(*AT_ONCE, memory=256 * KIB) as target, target.connect() as peer:
        for bad, body in ((bad, body) for bad, bodies in PROTOBUFS.items() for body in bodies):
            assert len(body) <= PART
            before = target.cpu()
            for _ in range(8):
                stream = peer.push(prefixed(body))
                assert peer.over(stream), body[:20]
                if bad:
                    assert stream in peer.resets, body[:20]
                elif stream in peer.resets:
                    refused.append(repr(body[:20]))
            worst = max(worst, (target.cpu() - before) * 1e3)
        # One message has at most 4,096 fields, so 64 KiB in one cost some milliseconds; these are eight.
        arena.bound("ms of a core for 8 messages, 64 KiB", worst, 50)
        assert peer.alive()
        assert peer.over(peer.push(prefixed(identify(None))))
    arena.note(f"refused although it could be skipped: {', '.join(sorted(set(refused))) or 'nothing'}")


def test_row_65_length_prefixes(arena: Arena) -> None:
    """Length prefixes 2**63, cap + 1, over-long; no body"""
    over_long = (b"\x81\x00", b"\x85" + b"\x80" * 8 + b"\x00", b"\xff" * 200)
    prefixes = (b"\x80" * 9 + b"\x01", b"\x80" * 9 + b"\x02", varint(PART + 1), *over_long)
    with arena.serve("--timeout", "identify=10", memory=64 * KIB) as target:
        for prefix, pushed in itertools.product(prefixes, (True, False)):
            with target.connect() as peer:
                start = time.monotonic()
                if pushed:
                    stream = peer.push(prefix, fin=False)
                else:
                    answer(peer, stream := peer.asked(IDENTIFY)[0], prefix, fin=False)
                assert peer.over(stream, 1.0), prefix
                assert stream in peer.resets, prefix
                assert time.monotonic() - start <= 8.0, f"{prefix!r}: the body was waited for"
                assert peer.alive()
    deadline = arena.pick(1.5, 5.0)
    with arena.serve("--timeout", f"identify={deadline}", memory=64 * KIB) as target, target.connect() as peer:
        start = time.monotonic()
        stream = peer.push(varint(PART), fin=False)  # a length that may be: its body has a deadline
        assert peer.over(stream, deadline + 2.0)
        assert stream in peer.resets
        assert time.monotonic() - start >= deadline * 0.8


BEST_OF: Final = 3


def costly(own: Identity, at: int) -> dict[str, bytes]:
    """Messages of some kilobytes that cost as much as they can; ``at``, below 65,536, makes each a new one."""
    many = [bytes([4, 9, at >> 8, at & 255, number, 6, 16, 1]) for number in range(128)]
    name = b"\x36" + prefixed(b"%d.example.org" % at) + b"\x06\x10\x01"
    mine, others = (b"\xa5\x03" + prefixed(peer) for peer in (own.peer, Identity().peer))
    record = peer_record(own.peer, at + 1, many)
    told: dict[str, dict[str, Any]] = {
        "an address": {"addresses": many[:1] * 500},
        "a name": {"addresses": [name] * 190},
        "128 addresses": {"addresses": [*many, noise(3_400)]},
        "95 with our name": {"addresses": [one + mine for one in many[:95]]},
        "95 with another's": {"addresses": [one + others for one in many[:95]]},
        "128 of QUIC": {"addresses": [one[:5] + b"\x91\x02\x10\x01\xcd\x03" for one in many]},
        "128 names": {"addresses": [b"\x36" + prefixed(b"%d.example.org" % one) for one in range(128)]},
        "128 kinds": {"addresses": [b"\xc0\x03" * (one % 32 + 1) + b"\xdd\x03" * (one // 32) for one in range(128)]},
        "220 protocols": {"protocols": [b"/" + noise(8).hex().encode() for _ in range(220)]},
        "1,000 of nothing": {"addresses": [b""] * 500, "protocols": [b""] * 500},
        "a record": {"record": envelope(own, record)},
        "another's record": {"record": envelope(Identity(), record)},
    }
    return {name: prefixed(identify(None, **one)) for name, one in told.items()}


def test_row_120_addresses_that_cost(arena: Arena) -> None:
    """One address 500 times, 128 of each kind, 40 connections"""
    good, few = [ip4_tcp("127.0.0.1", 1_000 + number) for number in range(2)], ["/ip4/127.0.0.1/tcp/1000"]
    bad = [b"\x04" + bytes([number]) for number in range(127)]
    nobody_dials = [good[0][:5] + b"\x91\x02\x10\x01", b"\x36" + prefixed(b"example.org") + b"\x91\x02\x10\x01"]
    with arena.dialer() as dialer, Host() as host:
        for listed in (good[:1] * 700 + bad + good[1:], nobody_dials + good[:1]):
            with introduced(dialer, host, prefixed(identify(None, addresses=listed))) as (_, info):
                assert info["addresses"] == few
    with arena.guard(*(() if arena.full else AT_ONCE), memory=4 * MIB) as guard, ExitStack() as stack:
        guard.rules(("reject", {}))
        owners = [Identity() for _ in range(arena.pick(3, 40))]
        peers = [(own, stack.enter_context(guard.connect(own))) for own in owners]
        guard.state()  # forgets what it was before
        worst = 0.0
        for number, (own, peer) in enumerate(peers):
            messages = list(costly(own, number).values())
            answer(peer, peer.asked(IDENTIFY)[0], messages[number % len(messages)])
            assert peer.alive()
            worst = max(worst, guard.state()["stall"])
        arena.bound("ms that an answer holds the loop", worst * 1e3, 20)
        before = guard.cpu()
        time.sleep(arena.pick(0.1, 2.0))
        idle = (guard.cpu() - before) / 2.0  # with the probe
        for at, name in enumerate(costly(owners[0], 0)):
            share = 1.0
            for again in range(BEST_OF):  # what else runs on this machine only adds to it
                share = min(share, push_all(arena, guard, peers, name, 1_000 * at + 300 * again + 1_000) - idle)
                if share * 100 <= 5:
                    break
            arena.bound(f"% of a core, {name}", share * 100, 5)


def push_all(arena: Arena, guard: Program, peers: list[tuple[Identity, Peer]], name: str, at: int) -> float:
    """All push such messages, as often as they are read, at most 200 kB/s: the share of a core that this takes."""
    bodies = [
        [costly(own, at + turn * 100 + number)[name] for number, (own, _) in enumerate(peers)] for turn in range(3)
    ]
    before, start, taken, turns = guard.cpu(), time.monotonic(), 0, arena.pick(1, 3)
    for turn in range(turns):
        for number, (_, peer) in enumerate(peers):
            if arena.full:
                time.sleep(max(0.0, start + turn * 1.05 + number / len(peers) - time.monotonic()))
            stream = peer.push(bodies[turn][number])
            assert peer.over(stream)
            taken += stream not in peer.resets
    assert taken >= 0.8 * turns * len(peers)  # one that was late has the next one too early
    if arena.full:
        time.sleep(max(0.0, start + 3 * 1.05 - time.monotonic()))
    return (guard.cpu() - before) / (time.monotonic() - start)


def test_row_121_pushes_that_cost(arena: Arena) -> None:
    """One push of a connection in a second, whatever it tries"""
    with arena.guard(memory=1 * MIB) as guard:
        guard.rules(("reject", {}))
        own = Identity()
        with guard.connect(own) as peer, guard.connect() as other:
            assert peer.alive()
            before, start, taken, tried = guard.cpu(), time.monotonic(), 0, 0
            while (passed := time.monotonic() - start) < arena.pick(2.5, 10.0):
                stream = peer.push(costly(own, tried)["128 addresses"])
                assert peer.over(stream)
                tried += 1
                if stream not in peer.resets:
                    taken += 1
                    early = peer.push(prefixed(identify(None)))
                    peer.reset_with(early, Reset.RATE_LIMITED)
                time.sleep(max(0.0, start + tried / 100 - time.monotonic()))
            assert passed - 1.5 <= taken <= passed + 1
            arena.bound("% of a core", (guard.cpu() - before) / passed * 100, 25)
            arena.note(f"{taken} of {tried} pushes were read")
            first = other.push(prefixed(identify(None)))  # somebody else has his own
            assert other.over(first)
            assert first not in other.resets


def test_row_122_identify_asked_without_end(arena: Arena) -> None:
    """A peer asks who we are 1,000 times, over all its connections"""
    own = Identity()
    with arena.serve(memory=256 * KIB) as target:
        with target.connect(own) as one, target.connect(own) as two:
            before, start = one.wire.sent + two.wire.sent, time.monotonic()
            for number in range(arena.pick(60, 1_000)):
                peer = (one, two)[number % 2]
                stream = peer.open(IDENTIFY)
                if number < 2 + 10:  # the first of a connection is free
                    assert peer.over(stream)
                    assert len(peer.body(stream)) > 100
                else:
                    peer.reset_with(stream, Reset.RATE_LIMITED)
                time.sleep(max(0.0, start + number / 300 - time.monotonic()))
                if time.monotonic() - start > 5.0:  # six seconds later there is one more
                    break
            told = sum(map(len, (*one.bodies.values(), *two.bodies.values())))
            arena.bound("bytes out per byte in", told / (one.wire.sent + two.wire.sent - before), 8)
        with target.connect(own) as later, target.connect() as other:
            if time.monotonic() - start < 5.5:
                assert later.over(later.open(IDENTIFY))
                later.reset_with(later.open(IDENTIFY), Reset.RATE_LIMITED)
            stream = other.open(IDENTIFY)
            assert other.over(stream)
            assert stream not in other.resets
