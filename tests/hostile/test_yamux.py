"""Hostile rows 26 to 41, 44 and 45: Yamux."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from itertools import repeat

from harness.process import soon
from stronghold_p2p.codes import GoAway, Reset
from tests.hostile.arena import KIB, MIB, Arena, Program, dialed
from tests.hostile.client import Host, Peer
from tests.hostile.codec import Identity, propose
from tests.hostile.frames import ACK, DATA, FIN, GO_AWAY, PINGS, RST, SYN, UPDATE, WINDOW, data, frame, ping, update
from tests.hostile.names import ECHO, HOLD, PERF, RR
from tests.hostile.wire import Ended


def each_ends(target: Program, *openings: bytes) -> None:
    """A connection of its own for each; stream 1 is open and waits."""
    for frames in openings:
        with target.connect() as peer:
            peer.open(ECHO)
            assert peer.alive()
            with suppress(Ended):
                peer.send(frames)
            peer.ends(GoAway.PROTOCOL_ERROR, 2.0)


def test_row_26_frames_that_are_none(arena: Arena) -> None:
    """Versions, types, streams and flags that are none"""
    with arena.serve() as target:
        each_ends(
            target,
            *(frame(DATA, 0, 1, 0, version=1), frame(UPDATE, SYN, 3, 0, version=255)),
            *(frame(4, 0, 0, 0), frame(255, SYN, 1, 0), frame(PINGS, SYN, 1, 7), frame(GO_AWAY, 0, 1, 0)),
            *(data(0, b"x"), data(0, b"", SYN), update(0, 1), data(2, b"x", SYN), data(1, b"x", SYN)),
        )
        with target.connect() as peer:  # unknown flags are ignored
            stream = peer.open(ECHO, b"x")
            peer.send(data(stream, b"y", 0xFF00), frame(UPDATE, 0x8000, stream, 5), frame(PINGS, SYN | 0x4000, 0, 9))
            assert peer.says(stream, b"xy")
            assert peer.pump(lambda: 9 in peer.pongs)


def test_row_27_lengths_refused_at_the_header(arena: Arena) -> None:
    """A length beyond the window, header only"""
    with arena.serve(memory=64 * KIB) as target:
        for length in (0xFFFFFFFF, 16 * MIB + 1, WINDOW + 1):
            each_ends(target, frame(DATA, 0, 1, length), frame(DATA, SYN, 3, length))
        with target.connect() as peer:  # the negative control: a whole window is in order
            peer.send(update(1, 0, SYN), frame(DATA, 0, 1, WINDOW), ping(77))
            peer.rest(0.3)
            assert not peer.pongs  # it is a body now
            peer.send(bytes(WINDOW))
            peer.reset_with(1, Reset.NEGOTIATION_FAILED)


def exhausted(peer: Peer, protocol: str, body: bytes) -> int:
    """A stream whose window is used up to the last byte, as far as the other side has told."""
    stream = peer.open(protocol)
    peer.write(stream, body)
    while not settled(peer, stream) or peer.credit[stream]:
        peer.write(stream, bytes(peer.credit[stream]))
    return stream


def settled(peer: Peer, stream: int) -> bool:
    """No credit has come for a while: all that was sent has been looked at, and all that will be read has been."""
    assert peer.alive()
    before = peer.credit[stream]
    peer.rest(0.3)
    return peer.credit[stream] == before


def test_row_28_one_byte_too_many(arena: Arena) -> None:
    """The window overrun by one byte, at any time"""
    with arena.serve() as target:
        first, left = propose(HOLD), WINDOW - len(propose(HOLD)) - 3 * 65_536
        begun = data(3, first, SYN) + data(3, bytes(65_536)) * 3
        ends = (data(3, bytes(left + 1)), data(3, bytes(left)) + data(3, b"x"))
        each_ends(target, data(3, bytes(WINDOW + 1), SYN), *(begun + end for end in ends))
        with target.connect() as peer:  # the negative control
            peer.open(HOLD)
            peer.send(*[data(1, bytes(65_536))] * 3, data(1, bytes(left)))
            assert peer.alive()
        with target.connect() as peer:  # after it was consumed in part: an echo that cannot write any more
            peer.generous = False
            exhausted(peer, ECHO, bytes(700_000))
            assert peer.alive()
            peer.send(data(1, b"x"))
            peer.ends(GoAway.PROTOCOL_ERROR)
        with target.connect() as peer:  # after a resize
            stream = peer.open(RR)
            while peer.credit[stream] <= WINDOW or not settled(peer, stream):
                peer.write(stream, bytes(200_000) if peer.credit[stream] <= WINDOW else b"")
            peer.send(data(stream, bytes(peer.credit[stream] + 1)))
            peer.ends(GoAway.PROTOCOL_ERROR)


def test_row_30_credit_is_no_body(arena: Arena) -> None:
    """WINDOW_UPDATE with SYN, FIN, RST and any delta"""
    with arena.serve() as target, target.connect() as peer:
        stream = 1
        for flags in (SYN, SYN | FIN, SYN | RST, SYN | FIN | RST):
            for delta in (0xFFFFFFFF, 0, 5):
                peer.send(update(stream, delta, flags), ping(stream))
                assert peer.pump(lambda stream=stream: stream in peer.pongs)  # type: ignore[misc]
                stream += 2
        peer.next_id = stream
        stream = peer.open(ECHO, b"x")
        for _ in range(3):
            peer.send(update(stream, 0xFFFFFFFF))  # credit cannot overflow
        assert peer.says(stream, b"x")
        peer.request(bytes(300_000))


def test_row_31_a_body_that_does_not_come(arena: Arena) -> None:
    """65,536 bytes announced, a few follow"""
    deadline = arena.pick(2.0, 30.0)
    options = ("--constant", f"muxing.yamux_muxer.INCOMPLETE={deadline}")
    with arena.serve(*options, memory=256 * KIB) as target, target.connect() as peer, target.connect() as drips:
        peer.generous = drips.generous = False  # a frame of ours would be part of the body
        stream, dripping = peer.open(ECHO), drips.open(ECHO)
        peer.send(frame(DATA, 0, stream, 65_536) + b"ten bytes.")
        drips.send(frame(DATA, 0, dripping, 65_536))
        assert peer.says(stream, b"ten bytes.")  # delivered as it comes

        def drip() -> None:
            with suppress(Ended):
                drips.send(b".")
            peer.rest(0.01)

        took = drips.lasts(deadline + 3.0, drip)
        peer.rest(1.0)
        assert drips.go_away == peer.go_away == GoAway.PROTOCOL_ERROR
        assert took >= deadline * 0.9
        arena.bound("s to the end", took, deadline + 2)


def test_row_32_frames_for_streams_that_are_gone(arena: Arena) -> None:
    """DATA and FIN for streams reset, gone, never opened"""
    with arena.serve(memory=1 * MIB) as target:
        with target.connect() as peer:
            streams = [peer.open(RR) for _ in range(50)]
            peer.send(*(update(stream, 0, RST) for stream in streams))
            peer.send(*(data(stream, bytes(1_000), FIN) for stream in streams))
            peer.send(data(99_999, bytes(1_000)), data(99_999, b"", FIN), update(77_777, 5), update(77_777, 0, RST))
            assert peer.alive()
            peer.request(b"all of this occurs in races")
        with target.connect() as peer:
            block, sent = data(99_999, bytes(65_000)) * 10, 0
            with suppress(Ended):
                while sent < 60 * MIB and peer.go_away is None:
                    peer.send(block)
                    sent += 650_000
                    peer.pump(lambda: peer.go_away is not None, 0.01)
                    if sent == 650_000 * 40:
                        assert peer.alive()
            peer.ends(GoAway.PROTOCOL_ERROR)
            assert 31 * MIB <= sent <= 36 * MIB
            arena.note(f"{sent / MIB:.0f} MiB dropped")


def drown(target: Program, peer: Peer, blocks: Iterator[bytes], within: float) -> tuple[int, float]:
    """Send one block after the other and never read, until the other side has closed: bytes sent, and seconds."""
    start, sent, record, sockets = time.monotonic(), 0, b"", target.descriptors()
    while time.monotonic() - start < within and target.descriptors() >= sockets:
        record = record or peer.channel.records(next(blocks))
        with suppress(Ended):
            done = peer.wire.push(record, 0.02)
            record = record[done:]
            sent += done
        time.sleep(0.002)
    assert target.descriptors() < sockets, f"not closed after {within:g} s"
    return sent, time.monotonic() - start


def test_row_33_pings_and_nobody_reads(arena: Arena) -> None:
    """10 million pings, answers never read"""
    stall = arena.pick(1.5, 10.0)
    block = b"".join(ping(number) for number in range(5_400))
    stalls = arena.serve("--timeout", f"write_stall={stall}", memory=256 * KIB)
    with stalls as target, target.connect(small=True) as peer:
        sent, took = drown(target, peer, repeat(block), stall + arena.slack)
        assert took >= stall * 0.9
        assert target.seen("Ended ConnectionClosed") - target.seen("Ended MuxerError") >= 1
        arena.bound("s to the end", took, stall + 2)
        arena.note(f"{sent / 12:.0f} pings sent")
    with arena.serve(memory=1 * MIB) as target, target.connect() as peer:  # the negative control: somebody reads
        for _ in range(arena.pick(40, 1_860)):
            peer.send(block)
            peer.rest(0.0)
            peer.pongs.clear()
        assert peer.alive()


def openings(peer: Peer) -> Iterator[bytes]:
    """Streams without end, 100 at a time, each with something to be echoed."""
    while True:
        first, peer.next_id = peer.next_id, peer.next_id + 200
        yield b"".join(data(stream, propose(ECHO) + bytes(600), SYN) for stream in range(first, first + 200, 2))


def test_row_34_answers_that_are_owed(arena: Arena) -> None:
    """We owe RST, ACK and credit to one who never reads"""
    stall = arena.pick(1.5, 10.0)
    with arena.serve("--timeout", f"write_stall={stall}", memory=256 * KIB) as target:
        sockets = target.descriptors()
        with target.connect() as peer:  # one who reads: 512 streams are part of the base
            peer.send(*(next(openings(peer)) for _ in range(6)))
            peer.rest(0.5)
        target.settle(sockets)
        with target.connect(small=True) as peer:  # 512 acknowledgements, then resets
            sent, took = drown(target, peer, openings(peer), stall + arena.slack)
            assert target.seen("Ended MuxerError") == 1
            arena.bound("s to the end", took, stall + 3)
        with target.connect(small=True) as peer:  # credit: it is owed for every half window
            peer.open(RR)
            small = data(1, bytes(1)) * 2_000 + ping(1) * 2_000
            sent, took = drown(target, peer, repeat(small), stall + 2 * arena.slack)
            assert took >= stall * 0.9
            assert target.seen("Ended MuxerError") == 1
            arena.bound("s to the end", took, stall + 6)  # its sockets have to be full first
            arena.note(f"{sent} bytes taken")


def test_row_35_acknowledgements(arena: Arena) -> None:
    """The peer never ACKs, ACKs twice, ACKs nothing"""
    with arena.dialer("--timeout", "negotiate=60") as dialer, Host() as host, dialed(dialer, host) as peer:
        got = dialer.ask(do="opens", protocol="/x/1", count=258, timeout=arena.pick(3.0, 1.0))
        in_use = 256 - got["ok"]
        assert 0 <= in_use <= 1  # identify's
        assert got["TimeoutError"] == 258 - got["ok"]
        assert peer.pump(lambda: len(peer.opened) >= 256)
        peer.send(update(0xFFFFFFF1, 0, ACK), update(7, 0, ACK))  # strays, or early
        for _ in range(2):
            peer.send(*(update(stream, 0, ACK) for stream in peer.opened))
        assert peer.alive()
        got = dialer.ask(do="opens", protocol="/x/1", count=200, timeout=arena.pick(20.0, 2.0))
        assert got["ok"] == 200
        peer.rest(0.3)
        peer.send(*(update(stream, 0, RST) for stream in peer.opened))
        dialer.ask(do="forget")
        rounds = arena.pick(4, 40)
        for _ in range(rounds):  # RST before ACK: every place comes back
            peer.opened.clear()
            dialer.tell(do="opens", protocol="/x/1", count=250, timeout=arena.pick(20.0, 3.0))
            assert peer.pump(lambda: len(peer.opened) >= 250)
            peer.send(*(update(stream, 0, RST) for stream in peer.opened))
            assert dialer.read()["ok"] >= 249
            dialer.ask(do="forget")
        arena.note(f"{rounds * 250} resets before ACK")


def test_row_37_streams_beyond_the_limit(arena: Arena) -> None:
    """513 streams whose handlers hang"""
    with arena.serve(memory=512 * 8 * KIB) as target, target.connect() as peer:
        streams = [peer.open(ECHO, b"x") for _ in range(512)]
        assert peer.pump(lambda: len(peer.bodies) >= 512 and peer.alive())
        assert not set(streams) & set(peer.resets)
        for stream in [peer.open(ECHO, b"x") for _ in range(5)]:
            peer.reset_with(stream, Reset.RESOURCE_LIMIT)
        peer.finish(streams.pop())
        assert peer.pump(lambda: bool(peer.finished))
        again = peer.open(ECHO, b"again")  # one has ended: the next succeeds
        assert peer.says(again, b"again")
        peer.reset_with(peer.open(ECHO), Reset.RESOURCE_LIMIT)
        arena.note(f"{target.growth() / 512 / KIB:.1f} KiB each")


UNREAD, PIECE = 200_000, 50_000


def open_all(peer: Peer, number: int) -> list[int]:
    """Streams that nobody is going to read."""
    streams = [peer.open(HOLD) for _ in range(number)]
    assert peer.alive()
    return streams


def leave_unread(peers: dict[Peer, list[int]]) -> int:
    """All that nobody is going to read, on each stream piece by piece; how many have kept it, all others are reset."""
    for _ in range(UNREAD // PIECE):
        for peer, streams in peers.items():
            with suppress(Ended):
                for stream in streams:
                    if stream not in peer.resets:
                        peer.send(data(stream, bytes(PIECE)))
            assert peer.alive(30.0)
    ends = [peer.resets.get(stream) for peer, streams in peers.items() for stream in streams]
    assert {*ends} <= {Reset.RESOURCE_LIMIT, None}
    return ends.count(None)


def test_row_38_unread_bodies(arena: Arena) -> None:
    """512 streams, each with 200 KiB that nobody reads"""
    budget = 32 * MIB
    with arena.serve(memory=int(budget * 1.3), probe=True) as target:
        with target.connect() as other, target.connect() as peer:
            count = leave_unread({peer: open_all(peer, 500)})
            assert budget * 0.9 <= count * UNREAD <= budget * 1.02 + 500 * PIECE * 0.5
            other.request(b"the others")
            arena.note(f"{count} of 500 streams kept, {target.growth() / MIB:.0f} MiB")
        assert soon(lambda: target.descriptors() <= target.sockets)


def test_row_38_unread_bodies_of_all(arena: Arena) -> None:
    """The same on 290 connections; one peer is protected"""
    total, crowd, number = arena.pick(16 * MIB, 256 * MIB), arena.pick(8, 290), arena.pick(32, 512)
    pinned = Identity()
    patient = ("--timeout", "keepalive=600", "--timeout", "idle=600")  # we speak with one after the other
    options = (
        "--limit",
        f"receive_memory_total={total}",
        "--limit",
        "connections=400",
        "--protect",
        pinned.name,
        *patient,
    )
    with arena.serve(*options, memory=int(total * 1.3)) as target, ExitStack() as stack:
        friend, other = (stack.enter_context(target.connect(who)) for who in (pinned, Identity()))
        peers = [stack.enter_context(target.connect()) for _ in range(crowd)]
        before = target.descriptors()
        each = {peer: open_all(peer, number) for peer in peers}
        own = open_all(friend, arena.pick(10, 100))
        target.settle(before)  # what so many streams take: hostile row 37
        count = leave_unread(each)
        assert leave_unread({friend: own}) == len(own)  # from the quarter that is theirs
        assert total * 0.6 <= count * UNREAD <= total * 0.75 + crowd * WINDOW
        friend.request(bytes(300_000))
        other.request(bytes(200_000))  # the first 256 KiB are everybody's own
        taken = target.state()["receive_memory"]
        assert total * 0.75 <= taken <= total
        peers.pop(0).wire.close()
        assert soon(lambda: target.state()["receive_memory"] < taken)  # and what has gone makes room
        arena.note(f"{count} of {crowd * number} streams kept, {target.growth() / MIB:.0f} MiB")
        for peer in peers:
            peer.wire.close()
            time.sleep(0.02)  # 512 handlers end with each


def opened_and_reset(streams: range, opening: bytes) -> Iterator[bytes]:
    return (data(stream, opening, SYN) + update(stream, 0, RST) for stream in streams)


def test_row_39_rapid_reset(arena: Arena) -> None:
    """SYN and RST at line rate"""
    with arena.serve(memory=1 * MIB) as target:
        for opening in (b"", propose(RR) + b"x"):
            with target.connect() as peer:
                peer.rest(0.1)
                before, start = target.cpu(), time.monotonic()
                with suppress(Ended):
                    for first in range(1, 28_001, 1_400):
                        peer.send(*opened_and_reset(range(first, first + 1_400, 2), opening))
                peer.ends(GoAway.RATE_LIMITED)
                arena.bound("s to the end", time.monotonic() - start, 1.0)
                arena.bound("s of a core", target.cpu() - before, 0.5)
        with target.connect() as peer:  # the negative control: 1,000 are within the burst
            peer.send(*opened_and_reset(range(1, 2_001, 2), b""))
            assert peer.alive()


def test_row_40_made_you_reset(arena: Arena) -> None:
    """Each stream makes us reset it"""
    with arena.serve(memory=1 * MIB) as target:
        for way in (b"\x80\x80\x01", b"\xff" * 20, propose("/none/1") + b"\0\0"):
            with target.connect() as peer:
                start = time.monotonic()
                with suppress(Ended):
                    for first in range(1, 20_001, 100):
                        peer.send(*(data(stream, way, SYN) for stream in range(first, first + 100, 2)))
                peer.ends(GoAway.RATE_LIMITED)
                arena.bound("s to the end", time.monotonic() - start, 1.0)


def write_until_full(peer: Peer, streams: list[int], left: dict[int, int]) -> int:
    """Write on all streams in turn and never read, until nothing goes any more; how much went."""
    total, before, pending = 0, -1, b""
    while total != before or pending:
        before = total
        for stream in streams:
            size = min(16_000, left[stream], peer.credit[stream])
            if size and not pending:
                pending = peer.channel.records(data(stream, bytes(size)))
                left[stream] -= size
                peer.credit[stream] -= size
                total += size
            pending = pending[peer.wire.push(pending, 0.2) :]
            if pending:
                peer.rest(0.0)  # a record must not be left in pieces: read until it has gone
    return total


def test_row_41_both_write_before_they_read(arena: Arena) -> None:
    """Both ends write on 64 streams before they read"""
    each = arena.pick(500_000, 1_600_000)
    with arena.serve(memory=64 * WINDOW + 4 * MIB) as target, target.connect(small=True) as peer:
        peer.generous = False
        streams = [peer.open(ECHO) for _ in range(64)]
        left = dict.fromkeys(streams, each)
        wrote = write_until_full(peer, streams, left)
        arena.note(f"{wrote / MIB:.0f} MiB written before the first byte was read")
        time.sleep(0.5)
        peer.generous = True
        peer.send(*(update(stream, len(peer.body(stream))) for stream in streams))
        for stream in streams:
            peer.write(stream, bytes(left[stream]))
            peer.finish(stream)
        assert peer.pump(lambda: peer.finished >= set(streams), 30.0)
        assert {len(peer.body(stream)) for stream in streams} == {each + len(propose(ECHO))}
    with arena.serve(probe=False) as target, target.connect() as peer:
        never = exhausted(peer, HOLD, bytes(200_000))  # one stream that is not read; the 63 others finish
        for _ in range(63):
            peer.request(bytes(100_000))
        assert never not in peer.resets


def test_row_44_stalled_reader(arena: Arena) -> None:
    """A reader whose TCP window is 0, 10 MiB answers wait"""
    stall, count = arena.pick(1.5, 10.0), arena.pick(100, 500)
    options = ("--timeout", f"write_stall={stall}")
    with arena.serve(*options, memory=1 * MIB + count * 8 * KIB) as target, target.connect(small=True) as peer:
        start = time.monotonic()
        for _ in range(count):
            peer.open(PERF, (10 * MIB).to_bytes(8, "big"), fin=True)
        assert soon(lambda: target.descriptors() <= target.sockets, stall + 3)
        arena.bound("s to the end", time.monotonic() - start, stall + 2.0)
    with arena.serve(*options, probe=False) as target, target.connect() as peer:  # yamux's window 0 is no stall
        peer.generous = False
        stream = peer.open(PERF, (1 * MIB).to_bytes(8, "big"), fin=True)
        assert peer.pump(lambda: len(peer.body(stream)) >= WINDOW)
        time.sleep(stall + 0.5)
        assert peer.alive()
        peer.send(update(stream, MIB))
        assert peer.pump(lambda: stream in peer.finished)


def test_row_45_keep_alive(arena: Arena) -> None:
    """Keep-alive answered wrongly; a go-away that cannot leave"""
    every, answer = arena.pick(0.5, 30.0), arena.pick(0.5, 10.0)
    timeouts = ("--timeout", f"keepalive={every}", "--timeout", f"keepalive_answer={answer}")
    with arena.serve(*timeouts) as target, target.connect() as peer:
        peer.answers_pings = False
        peer.open(ECHO, b"x")
        asked: list[int] = []

        def wrongly() -> None:
            while peer.pings:
                asked.append(peer.pings.pop())
                with suppress(Ended):
                    peer.send(ping(asked[-1] + 1, ACK), ping(0xFFFFFFFF, ACK))

        took = peer.lasts(every + 2 * answer + 3.0, wrongly)
        assert len(asked) == 1  # one ping at a time
        arena.bound("s to the end", took, every + answer + 1.0)
    with arena.serve(probe=False) as target, target.connect(small=True) as peer:
        for _ in range(20):
            peer.open(PERF, (10 * MIB).to_bytes(8, "big"), fin=True)
        time.sleep(0.3)  # its socket is full now
        start = time.monotonic()
        peer.send(frame(9, 0, 0, 0))
        assert soon(lambda: target.descriptors() <= target.sockets, 3.0)
        arena.bound("s to close without a reader", time.monotonic() - start, 1.5)
