"""Hostile rows 66 to 72: requests and their answers, and the events that tell of them."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from harness.process import soon
from stronghold_p2p.codes import Reset
from stronghold_p2p.encoding.varint import encode as varint
from tests.hostile.arena import KIB, MIB, Arena, Program, dialed
from tests.hostile.client import Host, Peer
from tests.hostile.codec import prefixed, propose
from tests.hostile.frames import FIN, RST, data, update
from tests.hostile.names import ASK

CAP = 10 << 20
OTHERS = 99


def answered(peer: Peer, stream: int, within: float = 5.0) -> Any:
    """The answer on the stream."""
    assert peer.over(stream, within), f"no answer on {stream}"
    assert stream not in peer.resets, f"stream {stream} was reset with {peer.resets[stream]:#x}"
    body = peer.body(stream)
    assert body.startswith(propose(ASK))
    told = body[len(propose(ASK)) + 1 :]
    return json.loads(told) if told else None


def hold(peer: Peer, target: Program, numbers: range) -> list[int]:
    """Requests that wait until somebody says what their answer is."""
    before = target.state()["delivered"]
    streams = [peer.ask(ASK, {"Hold": number}, fin=False) for number in numbers]
    assert soon(lambda: target.state()["delivered"] == before + len(numbers))
    return streams


def released(peer: Peer, held: Iterable[tuple[int, int]]) -> None:
    """Each of these is answered, twice; its requester is told the first answer."""
    for number, stream in held:
        assert answered(peer, peer.ask(ASK, {"Answer": number}, fin=False)) == ["answered", "InvalidStateError"]
        assert answered(peer, stream) == 0


def answer(peer: Peer, stream: int, body: bytes, flags: int = FIN) -> None:
    peer.send(data(stream, propose(ASK) + body, flags))


@contextmanager
def asking(dialer: Program, host: Host, **command: Any) -> Iterator[tuple[Peer, dict[str, Any]]]:
    """The package asks us; what became of it stands in the dictionary when this is over."""
    with dialed(dialer, host) as peer:
        outcome: dict[str, Any] = {}
        dialer.tell(do="ask", **command)
        yield peer, outcome
        outcome |= dialer.read()
        assert outcome["taken"] == 0
        assert peer.alive()  # whatever a stream was, its connection stays


BROKEN = (  # the last one is cut, the others are whole
    *map(prefixed, (b"nonsense", b"", b'{"a":1,"a":2}', b"[" * 1_000 + b"]" * 1_000, b"9" * 5_000)),
    *map(prefixed, (b'"\\ud800"', b"NaN", b'"\xff"')),
    *(prefixed(b"1") * 2, b"\x81\x00" + b"1", varint((1 << 20) + 1), prefixed(b"12345")[:-1]),
)


def test_row_66_malformed_beside_others(arena: Arena) -> None:
    """A malformed body while 99 others are in flight"""
    with arena.serve(memory=256 * KIB) as target, target.connect() as peer:
        streams = hold(peer, target, range(OTHERS))
        for body in BROKEN:
            broken = peer.open(ASK, body, fin=body == BROKEN[-1])
            assert peer.over(broken), body[:20]
            assert peer.resets.get(broken) == Reset.PROTOCOL_VIOLATION, body[:20]
        released(peer, enumerate(streams))
        state = target.state()
        assert (state["delivered"], state["answered"], state["failed"]) == (2 * OTHERS, 2 * OTHERS, 0)
    with arena.dialer() as dialer, Host() as host:
        for body in BROKEN[: arena.pick(3, len(BROKEN))]:
            with asking(dialer, host, message="Ping", count=OTHERS + 1) as (peer, outcome):
                first, *others = peer.asked(ASK, OTHERS + 1)
                answer(peer, first, body)
                for stream in others:
                    answer(peer, stream, prefixed(b'"Pong"'))
            assert outcome["outcomes"] == {"Malformed": 1, "'Pong'": OTHERS}


def dribble(peer: Peer, stream: int, body: bytes, every: float) -> float:
    """One byte after the other until the stream is reset; seconds."""
    start = time.monotonic()
    for byte in body:
        if peer.pump(lambda: stream in peer.resets, every):
            break
        peer.send(data(stream, bytes([byte])))
    assert peer.pump(lambda: stream in peer.resets, 1.0), f"not reset after {time.monotonic() - start:.1f} s"
    return time.monotonic() - start


def test_row_67_dribbled(arena: Arena) -> None:
    """A request, and an answer, of one byte a second"""
    deadline, every = arena.pick(1.0, 10.0), arena.pick(0.1, 1.0)
    body = prefixed(b" " * 100)[:30]
    with arena.serve("--timeout", f"request={deadline}", memory=64 * KIB) as target, target.connect() as peer:
        stream = peer.open(ASK)
        took = dribble(peer, stream, body, every)
        assert took >= deadline * 0.9
        arena.took(took, deadline + 0.5)
        assert peer.alive()
        assert answered(peer, peer.ask(ASK, "Ping", fin=False)) == "Ping"
        assert target.state()["delivered"] == 1
    with arena.dialer() as dialer, Host() as host:
        with asking(dialer, host, message="Ping", timeout=deadline) as (peer, outcome):
            (stream,) = peer.asked(ASK)
            answer(peer, stream, b"", 0)
            dribble(peer, stream, body, every)
        assert outcome["outcomes"] == {"DeadlineExceeded": 1}
        assert outcome["seconds"] >= deadline * 0.9
        arena.took(outcome["seconds"], deadline + 0.5)


def too_long(peer: Peer, stream: int) -> None:
    answer(peer, stream, varint(CAP + 1), 0)
    peer.rest(0.2)  # without its body: refused at the length


def reset_half_way(peer: Peer, stream: int) -> None:
    answer(peer, stream, varint(100) + b"half", 0)
    peer.rest(0.05)
    peer.send(update(stream, 7, RST))


def in_two_frames(peer: Peer, stream: int) -> None:
    answer(peer, stream, prefixed(b'"Pong"'), 0)
    assert peer.pump(lambda: stream in peer.finished)  # the first one was taken
    peer.send(data(stream, prefixed(b'"Pong"'), FIN))


def all_at_once(body: bytes) -> Callable[[Peer, int], None]:
    return lambda peer, stream: answer(peer, stream, body)


PONG = prefixed(b'"Pong"')
ANSWERS: dict[str, tuple[Callable[[Peer, int], None], str]] = {
    "too long": (too_long, "Malformed"),
    "bytes behind it": (all_at_once(PONG + b"x"), "Malformed"),
    "two of them": (all_at_once(PONG * 2), "Malformed"),
    "another one later": (in_two_frames, "'Pong'"),
    "an end without a body": (all_at_once(b""), "Rejected"),
    "half a length": (all_at_once(b"\x80"), "Malformed"),
    "half a body": (all_at_once(varint(100) + b"half"), "Malformed"),
    "reset half-way": (reset_half_way, "StreamReset"),
    "right": (all_at_once(PONG), "'Pong'"),
}


def test_row_68_answers_that_are_none(arena: Arena) -> None:
    """Answers too long, twice, cut, reset, too early"""
    with arena.dialer() as dialer, Host() as host:
        dialer.forget_peak()
        before = dialer.memory()
        for name, (say, expected) in ANSWERS.items():
            with asking(dialer, host, message="Ping") as (peer, outcome):
                (stream,) = peer.asked(ASK)
                say(peer, stream)
            assert outcome["outcomes"] == {expected: 1}, name
        assert dialer.peak() - before <= 2 * MIB + 64 * KIB  # 2 MiB move by themselves
        for whole in (True, False):  # before the request was taken: half of it is more than the window
            with asking(dialer, host, message="x", times=600_000) as (peer, outcome):
                peer.generous = False
                (stream,) = peer.asked(ASK)
                answer(peer, stream, prefixed(b'"Pong"')[: None if whole else 4], 0)
                peer.rest(0.05)
                peer.send(data(stream, b"" if whole else prefixed(b'"Pong"')[4:], FIN))
                assert peer.over(stream)
                assert stream in peer.resets  # or half of the request could be taken for the whole
            assert outcome["outcomes"] == {"'Pong'": 1}
        if arena.full:
            before = dialer.memory()
            with asking(dialer, host, message="Ping", timeout=30) as (peer, outcome):  # as many bytes as may be
                (stream,) = peer.asked(ASK)
                answer(peer, stream, b"", 0)
                peer.write(stream, prefixed(b" " * (CAP - 6) + b'"Pong"'))
                peer.finish(stream)
            assert outcome["outcomes"] == {"'Pong'": 1}
            arena.note(f"{(dialer.peak() - before) / MIB:.1f} MiB for an answer of 10 MiB")


def surplus(arena: Arena, target: Program, places: int) -> None:
    """One request more than there are places for, and again when one is free."""
    before = target.state()["failed"]
    with target.connect() as peer:
        streams = hold(peer, target, range(places))
        for _ in range(5):
            start = time.monotonic()
            peer.reset_with(peer.ask(ASK, "Ping", fin=False), Reset.RESOURCE_LIMIT)
            arena.took(time.monotonic() - start, 0.5)
        peer.finish(streams[0], RST)
        assert soon(lambda: target.state()["failed"] == before + 1)
        assert answered(peer, peer.ask(ASK, "Ping", fin=False)) == "Ping"  # a place is free again at once
        released(peer, enumerate(streams[1:], 1))


def test_row_69_more_requests_than_places(arena: Arena) -> None:
    """The 101st request; 1,024 workers against 16 places"""
    workers = arena.pick(100, 1_024)
    if arena.full:
        with arena.serve(memory=256 * KIB) as target:
            surplus(arena, target, 100)
    with (
        arena.serve("--limit", "requests_per_peer=16", memory=4 * MIB) as target,
        arena.dialer("--limit", "requests_per_peer=None") as dialer,
    ):
        surplus(arena, target, 16)
        before = target.state()
        dialer.ask(do="dial", addrs=[target.ready["addr"]])
        dialer.tell(do="ask", message={"Sleep": 0.02}, count=workers, timeout=None, insist=True)
        ended = dialer.read(60)
        assert ended["outcomes"] == {"0.02": workers}
        assert ended["refused"] > 0
        after = target.state()
        assert after["failed"] == before["failed"]
        assert after["delivered"] - before["delivered"] == after["answered"] - before["answered"] == workers
        arena.note(f"{ended['refused']} refusals, {ended['seconds']:.1f} s")


def test_row_70_the_connection_ends(arena: Arena) -> None:
    """The connection ends at any step of 100 requests"""
    steps = range(0, 2 * OTHERS, arena.pick(28, 1))
    with arena.serve(memory=1 * MIB) as target:
        expected, inbound = 0, target.state()["inbound"]
        for round_, at in enumerate(steps):
            with target.connect() as peer:
                for step in range(at):
                    number = round_ * OTHERS + step % OTHERS
                    peer.ask(ASK, {"Hold": number} if step < OTHERS else {"Answer": number}, fin=False)
                    if step == OTHERS - 1:
                        assert peer.alive()
                expected += at
                if round_ % 2 and at:
                    assert peer.alive()
                (peer.wire.crash if round_ % 3 == 2 else peer.wire.close)()
        assert soon(lambda: target.state()["inbound"] == inbound)

        def told() -> bool:
            state = target.state()
            # One whose handler had answered fails as well, if its connection ended before the answer had left.
            ended = state["failed"] <= state["delivered"] <= state["answered"] + state["failed"]
            return bool(ended and not state["requests_in"])

        assert soon(told), f"a request without an end: {target.state()}"
        state = target.state()
        assert state["fresh"] == state["delivered"] <= expected
        assert state["delivered"] >= expected / 2
        assert min(state["failed"], state["answered"]) > 0
        arena.note(f"{state['delivered']} delivered, {state['failed']} told to have failed")


def test_row_72_answers_after_the_end(arena: Arena) -> None:
    """Answers twice, late, after the requester, from a thread"""
    deadline = arena.pick(1.0, 10.0)
    never = ["InvalidStateError"] * 2
    with arena.serve("--timeout", f"request={deadline}", memory=256 * KIB) as target, target.connect() as peer:
        released(peer, enumerate(hold(peer, target, range(1))))
        (stream,) = hold(peer, target, range(1, 2))
        peer.finish(stream, RST)  # its requester has given up
        assert answered(peer, peer.ask(ASK, {"Answer": 1}, fin=False)) == never
        with target.connect() as other:
            hold(other, target, range(2, 3))
        assert soon(lambda: target.state()["failed"] == 2, 5.0)
        assert answered(peer, peer.ask(ASK, {"Answer": 2}, fin=False)) == never
        (stream,) = hold(peer, target, range(3, 4))
        peer.reset_with(stream, 0, deadline + 2)
        assert answered(peer, peer.ask(ASK, {"Answer": 3}, fin=False)) == never
        (stream,) = hold(peer, target, range(4, 5))
        assert answered(peer, peer.ask(ASK, {"Answer": 4, "thread": True}, fin=False)) is True
        assert answered(peer, stream) == "from a thread"
        state = target.state()
        assert (state["delivered"], state["answered"], state["failed"]) == (10, 7, 3)
        assert peer.alive()


REQUESTS = "/stronghold-p2p/1.0.0"
BUFFER = 256
BEHIND = r"a reader of events\(\) is \d+ behind: "  # what the log has to say about it


def served(peer: Peer, count: int) -> None:
    """So many requests, not more at once than a peer may have, each with its answer."""
    for begin in range(0, count, 50):
        streams = {peer.ask(REQUESTS, f"number {number}") for number in range(begin, min(begin + 50, count))}
        assert peer.pump(lambda streams=streams: streams <= peer.finished, 5.0)  # type: ignore[misc]


def test_row_71_events_that_nobody_takes(arena: Arena) -> None:
    """The application stops taking events"""
    with (
        arena.guard(memory=4 * MIB, tolerated=BEHIND) as program,
        program.connect() as attacker,
        program.connect() as honest,
    ):
        program.rules(("allow", {}))
        program.ask(do="keep", overflow="wait")
        streams = [attacker.ask(REQUESTS, f"number {number}") for number in range(500)]
        attacker.rest(0.5)  # the honest probe has its share, too: after 1.6 s it would wait for the reader
        through = sum(stream in attacker.finished for stream in streams)
        assert 0 < through <= BUFFER // 8 + 1  # back-pressure to that peer ...
        assert not attacker.resets
        assert program.state()["held"] == len(streams) - through
        assert program.state()["waiting"] <= BUFFER
        for number in range(10):  # ... and no other
            assert honest.over(honest.ask(REQUESTS, f"honest {number}"), 3.0), "an unaffected peer was not answered"
        assert program.ask(do="out_to_a_friend")["answer"] == "mine"  # nor the application's own
        with program.connect() as late:
            assert late.over(late.ask(REQUESTS, "hello"), 3.0)
        read = program.ask(do="read", seconds=arena.pick(1.0, 3.0))
        attacker.rest(0.2)
        assert set(streams) <= attacker.finished
        assert read["seen"].get("Dropped", 0) == 0
        assert read["seen"]["Judged"] >= len(streams) + 11
        assert program.state()["most"] <= BUFFER
        for overflow in ("drop_oldest", "drop_newest"):  # nobody waits; what is lost is counted, and told
            program.ask(do="forget")
            program.ask(do="keep", overflow=overflow)
            served(attacker, arena.pick(500, 20_000))
            assert program.state()["waiting"] <= BUFFER + 1
            read = program.ask(do="read", seconds=0.3)
            assert read["seen"]["Dropped"] > 0
            assert sum(read["seen"].values()) == read["emitted"]
    arena.note(f"{through} of {len(streams)} requests before its reader had to go on")
