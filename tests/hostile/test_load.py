"""Hostile rows 130 to 133: what requests cost everybody else, and rules that a request slips past."""

from __future__ import annotations

import json
import time
from contextlib import ExitStack

from stronghold_p2p.codes import Reset
from tests.hostile.arena import KIB, MIB, Arena, Program
from tests.hostile.client import Peer
from tests.hostile.codec import Identity, prefixed
from tests.hostile.frames import WINDOW, data
from tests.hostile.names import GUARDED
from tests.hostile.test_firewall import FULL, ask_about_all, asked, asked_about, outcome, refused_at_once, until

NO_POOL = ("--limit", "request_memory=None", "--limit", "request_memory_per_peer=None")
REFUSED = f"reset {Reset.RESOURCE_LIMIT:#x}"


def many(item: bytes, size: int) -> bytes:
    """A body of so many bytes: each of these costs more than its length."""
    return b"[" + b",".join([item] * (size // (len(item) + 1))) + b"]"


def begun(peer: Peer, body: bytes, count: int) -> list[int]:
    """So many requests, of each of which the last byte is missing."""
    streams = [peer.open(GUARDED) for _ in range(count)]
    for stream in streams:
        peer.write(stream, prefixed(body)[:-1], size=WINDOW)
    assert peer.alive()
    return streams


def ended_together(arena: Arena, guard: Program, peers: list[Peer], body: bytes, count: int) -> None:
    """The last bytes of them all come at once: an honest request behind them is answered before all have been read."""
    streams = [begun(peer, body, count) for peer in peers]
    guard.ask(do="forget")
    guard.state()
    with guard.connect(source=guard.honest[0]) as honest:
        honest.request(b"before")
        for peer, mine in zip(peers, streams, strict=True):
            peer.send(*(data(stream, body[-1:]) for stream in mine))
        time.sleep(0.02)
        start = time.monotonic()
        honest.request(b"after", 10.0)
        arena.bound("wait in s", time.monotonic() - start, 0.25)
        found = guard.state()
        assert found["read"] < count * len(peers), "everybody waited for all of them"
        arena.bound("stall in s", found["stall"], 0.1)
    for peer, mine in zip(peers, streams, strict=True):
        assert [outcome(peer, stream, 30.0) for stream in mine] == ["answer"] * count


def test_row_130_long_bodies_that_end_together(arena: Arena) -> None:
    """Bodies of 1 MiB whose last bytes come together"""
    with arena.guard(*NO_POOL, "--timeout", "request=60") as guard, ExitStack() as stack:  # however slow the machine
        guard.rules(("allow", {}))
        peers = [stack.enter_context(guard.connect()) for _ in range(arena.pick(1, 4))]
        ended_together(arena, guard, peers, many(b"0.5", MIB - 8), arena.pick(8, 25))


def test_row_130_short_bodies_that_end_together(arena: Arena) -> None:
    """Bodies of 60 KiB whose last bytes come in one record"""
    with arena.guard(*NO_POOL, "--timeout", "request=60") as guard, ExitStack() as stack:
        guard.rules(("allow", {}))
        peers = [stack.enter_context(guard.connect()) for _ in range(arena.pick(1, 40))]
        ended_together(arena, guard, peers, many(b"{}", 60 * KIB), arena.pick(100, 25))


def test_row_131_memory_of_requests(arena: Arena) -> None:
    """Bodies that do not end, and requests whose handler is slow, of many peers"""
    total, share = arena.pick(8, 256) * MIB, arena.pick(2, 64) * MIB
    limits = ("--limit", f"request_memory={total}", "--limit", f"request_memory_per_peer={share}")
    body = json.dumps(["x" * (900 * KIB)]).encode()
    with arena.guard(*limits, "--timeout", "request=60", memory=total + 32 * MIB) as guard, ExitStack() as stack:
        guard.rules(("allow", {}))
        guard.ask(do="hold", on=True)
        peers = [stack.enter_context(guard.connect()) for _ in range(arena.pick(6, 8))]
        begun_by = [(peer, begun(peer, body, arena.pick(4, 100))) for peer in peers]
        taken = guard.state()["request_memory"]
        assert share <= taken <= total * 3 // 4, f"{taken} of {total}"
        left = [(peer, stream) for peer, streams in begun_by for stream in streams if stream not in peer.resets]
        assert {code for peer, _ in begun_by for code in peer.resets.values()} == {Reset.RESOURCE_LIMIT}
        assert len(left) == taken // (2 * len(body))
        for peer, stream in left[:-1]:
            peer.send(data(stream, body[-1:]))
        until(guard, lambda now: len(now["handled"]) == len(left) - 1)
        assert guard.state()["request_memory"] > taken * 0.4  # until they are answered
        with guard.connect() as honest:
            short = honest.ask(GUARDED, "Ping")  # needs none
            until(guard, lambda now: len(now["handled"]) == len(left))
            guard.ask(do="hold", on=False)
            assert outcome(honest, short) == "answer"
        assert [outcome(peer, stream) for peer, stream in left[:-1]] == ["answer"] * (len(left) - 1)
        left[-1][0].send(data(left[-1][1], body[-1:]))
        assert outcome(*left[-1]) == "answer"
        until(guard, lambda now: now["request_memory"] == 0)


def test_row_131_events_that_show_requests(arena: Arena) -> None:
    """Large requests that the events of a slow reader still show"""
    share, size = arena.pick(2, 64) * MIB, arena.pick(450, 900) * KIB
    fit = share // size - 1  # while one is read it counts twice
    with arena.guard("--limit", f"request_memory_per_peer={share}", memory=share + 32 * MIB) as guard:
        guard.rules(("allow", {}))
        guard.ask(do="keep", overflow="wait", buffer=4_096)  # so that nobody has to wait for its reader
        with guard.connect() as peer:
            for number in range(fit + 2):
                stream = peer.open(GUARDED)
                peer.write(stream, prefixed(json.dumps(["x" * (size - KIB)]).encode()), size=WINDOW)
                assert outcome(peer, stream) == ("answer" if number < fit else REFUSED), f"{number} of {fit}"
            assert asked(peer) == "answer"
            assert guard.state()["request_memory"] > share // 2
            guard.ask(do="read", seconds=0.3)
            until(guard, lambda now: now["request_memory"] == 0)


def test_row_132_questions_of_strangers(arena: Arena) -> None:
    """Strangers take all questions that there are; a peer that a rule names asks"""
    asks, friend = arena.pick(32, 256), Identity()
    common = asks - asks // 4
    options = ("--limit", f"asks={asks}", "--timeout", "ask=60", "--timeout", "request=60")
    with arena.guard(*options, memory=16 * MIB, tolerated=FULL) as guard, ExitStack() as stack:
        guard.rules(("ask", {}), ("ask", {"peer": friend.name}))
        guard.ask(do="hooks", ask="hold")
        for number in range(asks // 16):
            peer = stack.enter_context(guard.connect())
            room = max(0, min(16, common - 16 * number))
            refused_at_once(peer, [peer.ask(GUARDED, "Ping") for _ in range(16)], 16 - room)
        asked_about(guard, common)
        with guard.connect(friend) as peer:
            stream = peer.ask(GUARDED, "Ping")
            asked_about(guard, common + 1)
            guard.ask(do="answer", question=common, yes=True)
            assert outcome(peer, stream) == "answer"


def test_row_132_brackets_in_a_text(arena: Arena) -> None:
    """A text of brackets waits to be approved, and keeps nobody else from it"""
    text = "[{,:" * 200_000
    with arena.guard("--timeout", "ask=60", "--timeout", "request=60", memory=16 * MIB) as guard:
        ask_about_all(guard)
        with guard.connect() as peer, guard.connect() as other:
            for _ in range(3):
                stream = peer.open(GUARDED)
                peer.write(stream, prefixed(json.dumps({"Ping": text}).encode()), size=WINDOW)
            other.ask(GUARDED, {"Ping": [{}] * 20_000})
            asked_about(guard, 4)
            assert guard.state()["ask_memory"] < 8 * MIB


REQUESTS = ("/stronghold-p2p/1.0.0", "/p2p/1.0.0")


def test_row_133_any_id_of_a_protocol(arena: Arena) -> None:
    """A rule names the second id of a protocol, a request the first"""
    with arena.guard() as guard, guard.connect() as peer:
        guard.rules(("allow", {}), ("reject", {"protocol": REQUESTS[1]}))
        for name in REQUESTS:
            stream = peer.ask(name, "Ping")
            assert outcome(peer, stream) == "na", name
        guard.rules(("reject", {}), ("allow", {"protocol": REQUESTS[1]}))
        for name in REQUESTS:
            stream = peer.ask(name, "Ping", fin=False)
            assert peer.over(stream)
            assert peer.body(stream).endswith(prefixed(b'"Ping"')), name


def test_row_133_requests_without_a_name(arena: Arena) -> None:
    """A list of what is denied, and requests that have no variant"""
    with arena.guard() as guard, guard.connect() as peer:
        for otherwise in ("allow", {"only": ["Clear"], "then": "reject", "otherwise": "allow"}):
            guard.rules(({"only": ["Delete"], "then": "reject", "otherwise": otherwise}, {}))
            for message in ([1], 5, True, {"Delete": 1, "Ping": 2}, [{"Delete": 1}], {}):
                assert asked(peer, message) == "refused", message
            assert asked(peer, {"Delete": 1}) == "refused"
            assert asked(peer) == "answer"
        assert guard.state()["handled"] == ["Ping"] * 2
