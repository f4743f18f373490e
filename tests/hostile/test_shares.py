"""Hostile rows 36, 42, 107 and 140 to 142: what one peer, or one turn of the loop, may take, and who gives way."""

from __future__ import annotations

import signal
import time
from contextlib import ExitStack, suppress
from typing import Final

from harness.process import soon
from stronghold_p2p.codes import GoAway
from tests.hostile.arena import KIB, MIB, Arena, Program, dialed
from tests.hostile.client import Host, Peer
from tests.hostile.codec import Identity
from tests.hostile.frames import ACK, RST, SYN, data, ping, update
from tests.hostile.names import HOLD
from tests.hostile.wire import Ended


def test_row_36_stream_ids_that_run_out(arena: Arena) -> None:
    """Ids for our own streams run out: a fresh connection in time"""
    ids = arena.pick(200, 2_000)
    few = ("--constant", f"yamux.session.LAST_STREAM_ID={2 * ids}", "--constant", "yamux.session.WORN=100")
    opens = {"do": "opens", "protocol": "/x/1", "timeout": 5.0}
    with arena.dialer(*few) as dialer, Host() as host, dialed(dialer, host) as peer:
        while len(peer.opened) < ids - 60:
            count = min(100, ids - 60 - len(peer.opened))
            expected = len(peer.opened) + count
            assert dialer.ask(**opens, count=count)["ok"] == count
            assert peer.pump(lambda expected=expected: len(peer.opened) >= expected)  # type: ignore[misc]
            peer.send(*(update(stream, 0, ACK) for stream in peer.opened[expected - count :]))
        dialer.tell(**opens, count=20)  # and half of the last hundred has begun
        with host.peer() as fresh:
            assert dialer.read()["ok"] == 20
            assert fresh.alive()  # it is established there
            assert soon(lambda: dialer.state()["connections"] == 2)
            assert dialer.ask(**opens, count=20)["ok"] == 20
            assert len(fresh.asked("/x/1", 20)) == 20
            peer.rest(0.2)
            assert peer.go_away is None  # there are streams on it
            dialer.ask(do="forget")
            peer.send(*(update(stream, 0, RST) for stream in peer.opened))
            peer.ends(GoAway.SUPPLANTED)
            assert fresh.alive()
    with arena.dialer(*few) as dialer, Host() as host, dialed(dialer, host) as peer:
        host.sock.close()  # there will be no fresh one
        for _ in range(ids // 100 + 1):
            got = dialer.ask(**opens, count=100)
            peer.rest(0.1)
            peer.send(*(update(stream, 0, ACK) for stream in peer.opened))
            peer.opened.clear()
        assert got["LimitExceeded"] >= 90
        assert peer.alive()


def flood(rests: dict[Peer, bytes]) -> None:
    """Send these, and read what comes meanwhile."""
    while rests:
        for peer, rest in list(rests.items()):
            rests[peer] = rest[peer.wire.push(rest) :]
            peer.rest(0.0)
            peer.pongs.clear()
            if not rests[peer]:
                del rests[peer]


def test_row_42_frames_of_the_least_size(arena: Arena) -> None:
    """Much more than 256 KiB of 12-byte frames at once, on many connections"""
    crowd = arena.pick(4, 40)
    with arena.guard(memory=crowd * 384 * KIB + 2 * MIB) as guard, ExitStack() as stack:
        peers = [stack.enter_context(guard.connect()) for _ in range(crowd)]
        block = b"".join(map(ping, range(80_000)))
        guard.state()
        for peer in peers:
            peer.request(bytes(1 * MIB))  # what the system keeps for a socket grows with what comes
        for _ in range(2):
            guard.signal(signal.SIGSTOP)  # so that all of it is there at once
            rests = {peer: peer.channel.records(block) for peer in peers}
            rests = {peer: rest[peer.wire.push(rest) :] for peer, rest in rests.items()}
            guard.signal(signal.SIGCONT)
            flood(rests)
        assert all(peer.alive(30.0) for peer in peers)
        found = guard.state()
        # Of a core: it does not matter what else the machine does.
        assert found["busy"] <= 0.02, f"{found['busy'] * 1e3:.0f} ms in one callback"
        arena.note(f"{found['busy'] * 1e3:.1f} ms in one callback")
        arena.bound("s that the loop stood still", found["stall"], 0.25)


# How a dial ends, and how often it is told to be opened, to have ended, and to have failed; and what is left of it.
ALLOWED: Final = {"returned 1 0 0 0", "timed out 1 1 0 0", "timed out 0 0 1 0"}


def test_row_107_time_outs_in_the_turn_of_success(arena: Arena) -> None:
    """10,000 dials whose time-out fires in the turn in which they succeed"""
    with arena.dialer() as dialer:
        ended: dict[str, int] = {}
        for _ in range(arena.pick(1, 50)):
            for how, count in dialer.ask(do="races", count=200)["ended"].items():
                ended[how] = ended.get(how, 0) + count
        assert {*ended} <= ALLOWED, ended
        assert ended["timed out 1 1 0 0"] > 0  # it was a race
        assert ended["returned 1 0 0 0"] > 0
        arena.note(", ".join(f"{how}: {count}" for how, count in sorted(ended.items())))


def say_nothing(target: Program, peers: list[Peer], every: float, within: float) -> float:
    """A stream on each so often, until all have ended; the share of a core that this takes, without the probe's."""
    start, before = time.monotonic(), target.cpu()
    time.sleep(within / 10)
    idle = (target.cpu() - before) / (time.monotonic() - start)
    start, before = time.monotonic(), target.cpu()
    due = start
    while time.monotonic() - start < within:
        for peer in peers:
            if peer.wire.ending is None:
                with suppress(Ended):
                    peer.send(update(peer.next_id, 0, SYN))
                peer.next_id += 2
                peer.rest(0.0)
        due += every
        time.sleep(max(0.0, due - time.monotonic()))
    return (target.cpu() - before) / (time.monotonic() - start) - idle


def test_row_140_streams_that_say_nothing(arena: Arena) -> None:
    """A stream every 20 ms that says nothing, on 8 connections and on 40"""
    negotiate, every = arena.pick(0.8, 10.0), arena.pick(0.01, 0.02)
    within = arena.pick(2.5, 15.0)
    with arena.serve("--timeout", f"negotiate={negotiate}", memory=arena.pick(4, 32) * MIB) as target:
        for crowd in (8, 40) if arena.full else (2,):
            with target.connect() as few, ExitStack() as stack:
                few.send(*(update(stream, 0, SYN) for stream in range(1, 201, 2)))
                peers = [stack.enter_context(target.connect()) for _ in range(crowd)]
                share = say_nothing(target, peers, every, within)
                for peer in peers:
                    peer.ends(GoAway.RATE_LIMITED)
                assert few.alive()  # the negative control: a hundred are no fault
                assert sum(stream & 1 for stream in few.resets) == 100
                arena.bound(f"share of a core by {crowd}", share, 0.05)


def test_row_141_pieces_while_the_application_is_asked(arena: Arena) -> None:
    """Raw streams that are asked about, fed frames of two bytes"""
    count, each = 16, arena.pick(32_000, 250_000)
    with arena.guard("--timeout", "ask=60", memory=count * each + 256 * KIB) as guard:
        guard.rules(("ask", {}))
        guard.ask(do="hooks", ask="hold")
        with guard.connect() as peer:
            streams = [peer.open(HOLD) for _ in range(count)]
            assert soon(lambda: guard.state()["asks"] == count)
            for stream in streams:
                for _ in range(each // 8_000):
                    peer.send(data(stream, b"xy") * 4_000)
            assert peer.alive(30.0)
            assert not peer.resets
            arena.note(f"{count * each / MIB:.1f} MiB sent, {guard.growth() / MIB:.1f} MiB taken")
        assert soon(lambda: guard.state()["asks"] == 0)


def test_row_142_strangers_take_all_places(arena: Arena) -> None:
    """As many strangers as there may be connections"""
    most, idle = arena.pick(16, 300), arena.pick(3.0, 10.0)
    friend, share = Identity(), most - most // 4
    options = ("--limit", f"connections={most}", "--constant", f"swarm.swarm.GIVES_WAY_AFTER={idle}")
    protect = ("--protect", friend.name, "--timeout", f"identify={idle / 2}")  # until then they have a stream of ours
    with arena.serve(*options, *protect, probe=False) as target, ExitStack() as stack:
        busy = stack.enter_context(target.connect())
        held = busy.open(HOLD, b"x")
        peers = [stack.enter_context(target.connect()) for _ in range(share - 1)]
        assert peers[-1].alive()
        with target.connect() as late:  # all of them have just come
            late.ends(GoAway.RESOURCE_LIMIT)
        with Host() as host:
            target.tell(do="dial", addrs=[host.address])
            with host.peer():
                assert target.read()["error"] == ""
                with target.connect(friend) as protected:
                    protected.request(b"a quarter is not theirs")
                    time.sleep(idle + 0.6)
                    with target.connect() as newcomer:
                        newcomer.request(b"somebody idle has given way")
                    gone = [peer for peer in peers if not peer.alive()]
                    assert [peer.go_away for peer in gone] == [GoAway.GARBAGE_COLLECTED]
                    assert busy.alive()  # it is not idle
                    assert held not in busy.resets
                    protected.request(b"and not this one")
