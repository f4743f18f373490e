"""A circuit at the relay: every byte once and in order, no more in flight than is allowed, one end."""

from __future__ import annotations

from collections.abc import Callable
from math import inf

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stronghold_p2p.codes import Reset
from stronghold_p2p.relay.allowance import UNLIMITED, Allowance
from stronghold_p2p.relay.circuit import Circuit, End, Half
from stronghold_p2p.seams import NOBODY, Sink


class Outer:
    """A stream of a connection of which the test is the muxer and the peer: takes ``room`` bytes."""

    def __init__(self) -> None:
        self.id = 1
        self.sink: Sink = NOBODY
        self.due = inf
        self.gone = self.finished = False
        self.room: float = inf
        self.sent = b""
        self.told = self.waits = 0
        self.code: int | None = None

    def send(self, data: bytes | memoryview) -> int:
        taken = int(min(len(data), self.room))
        self.room -= taken
        self.sent += data[:taken]
        return taken

    def send_now(self, data: bytes) -> None:
        raise AssertionError("a relay says nothing of its own")

    def wait_turn(self, *, again: bool) -> None:
        self.waits += 1

    def consumed(self, count: int, clock: Callable[[], float]) -> None:
        self.told += count

    def finish(self) -> None:
        assert not self.finished
        self.finished = True

    def discard(self) -> None: ...

    def reset(self, code: int = 0) -> None:
        assert not self.gone
        self.gone, self.code = True, code


class Relayed:
    """One circuit, and the two outer streams."""

    def __init__(
        self,
        allowance: Allowance = UNLIMITED,
        unread: tuple[bytes, bytes] = (b"", b""),
        over: tuple[bool, bool] = (False, False),
    ) -> None:
        self.ends: list[End] = []
        self.turn: list[Callable[[], None]] = []
        self.circuit = Circuit(allowance, 100.0, lambda _, why: self.ends.append(why))
        self.source, self.target = Outer(), Outer()
        halves = [Half(self.circuit, one, self.turn.append, lambda: 100.0) for one in (self.source, self.target)]
        self.circuit.join(halves[0], halves[1], unread, over)
        self.settle()

    def settle(self) -> None:
        while self.turn:
            self.turn.pop(0)()


def test_bytes_leave_on_the_other_stream_and_the_sender_hears_of_it() -> None:
    relayed = Relayed()
    relayed.source.sink.data(b"hello ")
    assert relayed.target.sent == b""  # not before the turn is over
    relayed.source.sink.data(b"there")
    relayed.settle()
    relayed.target.sink.data(b"and back")
    relayed.settle()
    assert (relayed.target.sent, relayed.source.sent) == (b"hello there", b"and back")
    assert (relayed.source.told, relayed.target.told) == (11, 8)
    assert relayed.circuit.carried == (11, 8)


def test_a_slow_reader_slows_the_writer_down() -> None:
    relayed = Relayed()
    relayed.target.room = 4
    relayed.source.sink.data(b"0123456789")
    relayed.settle()
    assert (relayed.target.sent, relayed.source.told, relayed.target.waits) == (b"0123", 4, 1)
    relayed.target.room = 3
    relayed.target.sink.ready()
    assert (relayed.target.sent, relayed.source.told, relayed.target.waits) == (b"0123456", 7, 2)
    relayed.target.room = inf
    relayed.target.sink.ready()
    assert (relayed.target.sent, relayed.source.told) == (b"0123456789", 10)


def test_each_direction_ends_for_itself() -> None:
    relayed = Relayed()
    relayed.target.room = 2
    relayed.source.sink.data(b"last")
    relayed.source.sink.end()
    relayed.settle()
    assert not relayed.target.finished  # two bytes are still here
    relayed.target.room = inf
    relayed.target.sink.ready()
    assert (relayed.target.sent, relayed.target.finished, relayed.source.finished) == (b"last", True, False)
    relayed.target.sink.data(b"answer")
    relayed.target.sink.end()
    relayed.settle()
    assert (relayed.source.sent, relayed.source.finished, relayed.ends) == (b"answer", True, [End.FINISHED])


def test_what_came_before_the_circuit_comes_first() -> None:
    relayed = Relayed(unread=(b"eager", b""), over=(True, False))
    assert (relayed.target.sent, relayed.target.finished, relayed.ends) == (b"eager", True, [])


@pytest.mark.parametrize("at_source", [True, False])
def test_a_reset_of_one_is_a_reset_of_both(at_source: bool) -> None:
    relayed = Relayed()
    one, other = (relayed.source, relayed.target) if at_source else (relayed.target, relayed.source)
    one.gone = True
    one.sink.failed(ConnectionResetError())
    assert (other.gone, other.code, relayed.ends) == (True, 0, [End.BROKEN])
    assert other.sink is NOBODY


def test_the_allowance_counts_each_direction_to_the_byte() -> None:
    relayed = Relayed(Allowance(data=10))
    relayed.source.sink.data(b"0123456789")
    relayed.target.sink.data(b"abcdefghi")
    relayed.settle()
    assert relayed.ends == []
    relayed.target.sink.data(b"jk")
    relayed.settle()
    assert (relayed.target.sent, relayed.source.sent) == (b"0123456789", b"abcdefghij")
    assert relayed.ends == [End.DATA]
    assert (relayed.source.code, relayed.target.code) == (Reset.RESOURCE_LIMIT, Reset.RESOURCE_LIMIT)


def test_the_end_of_its_time_is_told_to_both() -> None:
    relayed = Relayed(Allowance(duration=120.0))
    assert relayed.circuit.expires == 220.0
    relayed.source.sink.data(b"unsent")
    relayed.circuit.end(End.DURATION)
    relayed.circuit.end(End.CLOSED)
    relayed.settle()
    assert (relayed.source.gone, relayed.target.gone, relayed.ends, relayed.target.sent) == (
        *(True, True, [End.DURATION]),
        b"",
    )


Steps = st.lists(st.tuples(st.booleans(), st.sampled_from(["data", "room", "end", "turn"]), st.integers(1, 40)))


@given(Steps, st.integers(0, 300))
def test_every_byte_once_and_in_order(steps: list[tuple[bool, str, int]], most: int) -> None:
    relayed = Relayed(Allowance(data=most) if most else UNLIMITED)
    ends = {True: relayed.source, False: relayed.target}
    came, over = {True: b"", False: b""}, set()
    for outer in ends.values():
        outer.room = 20
    for side, what, size in steps:
        if relayed.ends:
            break
        if what == "data" and side not in over:
            piece = bytes((len(came[side]) + at) % 251 for at in range(size))
            came[side] += piece
            ends[side].sink.data(piece)
        elif what == "end" and side not in over:
            over.add(side)
            ends[side].sink.end()
        elif what == "room":
            ends[side].room += size
            ends[side].sink.ready()
        elif what == "turn":
            relayed.settle()
        for one in (True, False):
            assert came[one].startswith(ends[not one].sent)
            assert ends[one].told == len(ends[not one].sent) <= (most or inf)
    if not relayed.ends:
        for outer in ends.values():
            outer.room = inf
            outer.sink.ready()
        relayed.settle()
    if not relayed.ends or relayed.ends == [End.FINISHED]:
        assert all(came[one] == ends[not one].sent for one in (True, False))
        assert all(ends[not one].finished == (one in over) for one in (True, False))
    else:
        assert relayed.ends == [End.DATA]
        assert max(map(len, came.values())) > most


def test_short_pieces_are_put_together() -> None:
    """Hostile row 141 at a relay: a window of single bytes would be an object for each."""
    relayed = Relayed()
    relayed.target.room = 0
    for _ in range(100_000):
        relayed.source.sink.data(b"x")
    relayed.settle()
    (half,) = [one for one in relayed.circuit._halves or () if one.stream is relayed.source]
    assert len(half._queued) <= 100_000 / 256
    relayed.target.room = inf
    relayed.target.sink.ready()
    assert relayed.target.sent == b"x" * 100_000
