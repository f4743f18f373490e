"""Two sessions, a wire that cuts and delays as it likes, and applications that do anything in any order."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from stronghold_p2p.config import Limits
from stronghold_p2p.errors import ConnectionClosed, LimitExceeded, StreamReset
from stronghold_p2p.yamux import receiver, session
from stronghold_p2p.yamux.header import INITIAL_WINDOW, SYN
from stronghold_p2p.yamux.session import YamuxStream
from stronghold_p2p.yamux.state import Receiving, Sending
from tests.yamux.wire import Side, Sink

# Small enough to be reached within fifty steps; resets are the business of test_hostile.py.
LIMITS = Limits(streams_in=3, receive_memory=700_000, max_window=1 << 20)
PATTERN = bytes(range(251)) * 8_000


@pytest.fixture(autouse=True)
def reached_soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(session, "ACK_BACKLOG", 3)
    monkeypatch.setattr(session, "RESET_BURST", 100_000)
    monkeypatch.setattr(receiver, "EMPTY_FRAMES", 100)


def content(stream: int, client: bool, start: int, stop: int) -> bytes:
    """What an application writes: each stream and direction has bytes of its own."""
    shift = stream * 7 + client
    return PATTERN[shift + start : shift + stop]


class End(Sink):
    """An application at one end of a stream: what it wants to write, and all that it has heard."""

    def __init__(self, user: User, state: YamuxStream) -> None:
        super().__init__(self.react)
        self.user = user
        self.state = state
        self.wanted = 0
        self.sent = 0
        self.unread = 0
        self.heard = 0
        self.finishing = False
        self.finished = False
        self.discarded = False
        self.resetted = False
        self.told = False

    def data(self, piece: bytes | memoryview) -> None:
        assert not self.discarded
        assert not self.resetted
        assert not self.events
        stop = self.heard + len(piece)
        assert bytes(piece) == content(self.state.id, not self.user.client, self.heard, stop)
        self.heard = stop
        self.unread += len(piece)

    def react(self, event: str) -> None:
        assert not self.resetted or self.user.over
        if event == "ready":
            self.told = True
            self.write()
        else:
            assert event in {"end", "failed"}
            assert self.events.count(event) == 1
            assert self.events[-1] == event
        if event == "failed":
            assert isinstance(self.error, StreamReset | LimitExceeded | ConnectionClosed)
            self.wanted = self.sent
            self.unread = 0

    @property
    def over(self) -> bool:
        return self.resetted or "failed" in self.events

    def write(self) -> None:
        """As ``Stream.write`` does it."""
        if self.over or self.finished:
            return
        while self.sent < self.wanted:
            taken = self.state.send(
                content(self.state.id, self.user.client, self.sent, min(self.wanted, self.sent + 100_000))
            )
            self.sent += taken
            if not taken:
                if self.state.credit:
                    self.state.wait_turn(again=self.told)
                return
            self.told = False
        if self.finishing:
            self.finished = True
            self.state.finish()

    def read(self, count: int) -> None:
        count = min(count, self.unread)
        if count:
            self.unread -= count
            self.user.side.read(self.state, count)


class User:
    """One side and its applications. ``wire`` holds what it has written and the other side has not yet read."""

    def __init__(self, *, client: bool) -> None:
        self.client = client
        self.side = Side(client=client, limits=LIMITS)
        self.side.accept = self._accept  # type: ignore[method-assign]
        self.side.notify = self._notify  # type: ignore[method-assign]
        self.ends: list[End] = []
        self.wire = bytearray()
        self.due = False
        self.waiting_to_open = 0
        self.over = False

    def _notify(self) -> None:
        assert not self.due
        self.due = True

    def _accept(self, stream: Any) -> Sink:
        end = End(self, stream)
        self.ends.append(end)
        return end

    def open(self) -> None:
        """Open now, or as soon as the ACK backlog lets us: from inside whatever frees a place."""
        if self.over:
            return
        try:
            state = self.side.session.open()
        except LimitExceeded:
            self.waiting_to_open += 1
            self.side.session.when_openable(self._openable)
            return
        end = End(self, state)
        state.sink = end
        self.ends.append(end)

    def _openable(self) -> None:
        self.waiting_to_open -= 1
        self.open()

    def flush(self, *, congested: bool = False) -> None:
        self.due = False
        self.wire += b"".join(self.side.session.data_to_send())
        self.side.session.flushed(congested=congested)

    def alive(self) -> list[End]:
        return [end for end in self.ends if not end.state.gone]


class Joined(RuleBasedStateMachine):
    """The rules draw everything; the invariants are those of ``Side.check``."""

    def __init__(self) -> None:
        super().__init__()
        self.users = [User(client=True), User(client=False)]

    sides = st.integers(0, 1)
    picks = st.integers(0, 100)

    def pick(self, side: int, pick: int) -> End | None:
        alive = self.users[side].alive()
        return alive[pick % len(alive)] if alive else None

    @initialize(side=sides)
    def begin(self, side: int) -> None:
        self.users[side].open()

    @rule(side=sides)
    def open(self, side: int) -> None:
        if self.users[side].waiting_to_open < 3:
            self.users[side].open()

    @rule(side=sides, pick=picks, size=st.sampled_from([1, 100, 40_000, INITIAL_WINDOW, 700_000]))
    def write(self, side: int, pick: int, size: int) -> None:
        end = self.pick(side, pick)
        if end is not None and not end.finishing and end.wanted < 1_200_000:
            end.wanted += size
            end.write()

    @rule(side=sides, pick=picks, size=st.sampled_from([1, 500]))
    def write_now(self, side: int, pick: int, size: int) -> None:
        end = self.pick(side, pick)
        if end is not None and not end.finishing and end.sent == end.wanted and end.state.credit > 10_000:
            body = content(end.state.id, end.user.client, end.sent, end.sent + size)
            end.state.send_now(body)
            end.sent += size
            end.wanted += size

    @rule(side=sides, pick=picks, count=st.sampled_from([1, 1_000, 200_000, 1 << 30]))
    def read(self, side: int, pick: int, count: int) -> None:
        end = self.pick(side, pick)
        if end is not None:
            end.read(count)

    @rule(side=sides, pick=picks, how=st.sampled_from(["finish", "finish", "reset", "discard"]), code=st.integers(0, 9))
    def leave(self, side: int, pick: int, how: str, code: int) -> None:
        end = self.pick(side, pick)
        if end is None:
            return
        if how == "finish":
            end.finishing = True
            end.write()
            return
        end.unread = 0
        if how == "reset":
            end.resetted = True
            end.state.reset(code)
        else:
            end.discarded = True
            end.state.discard()

    @rule(side=sides, seconds=st.sampled_from([0.001, 0.1, 10.0]))
    def ping(self, side: int, seconds: float) -> None:
        self.users[side].side.session.ping(self.users[side].side.now)
        for user in self.users:
            user.side.now += seconds

    @rule(side=sides, congested=st.booleans())
    def flush(self, side: int, congested: bool) -> None:
        user = self.users[side]
        if user.due or user.side.session.congested:
            user.flush(congested=congested)

    @rule(
        sizes=st.lists(st.sampled_from([1, 5, 12, 13, 100, 9_000, 65_519, 1 << 30]), min_size=1, max_size=5), side=sides
    )
    @precondition(lambda self: any(user.wire for user in self.users))
    def deliver(self, sizes: list[int], side: int) -> None:
        for size in sizes:
            self.move(side, size)

    @rule(size=st.sampled_from([100, 30_000, 1 << 30]))
    def turn(self, size: int) -> None:
        for side, user in enumerate(self.users):
            if user.due:
                user.flush()
            self.move(side, size)

    def move(self, side: int, size: int) -> None:
        wire = self.users[side].wire
        piece = bytes(wire[:size])
        del wire[:size]
        if piece:
            self.users[1 - side].side.hear(piece)

    @invariant()
    def counters_are_objects_and_windows_are_kept(self) -> None:
        for user in self.users:
            user.side.check()
            session = user.side.session
            assert session.inbound <= 3
            assert session.unacknowledged <= 3
            assert session.violation is None
            assert {end.state.id for end in user.alive()} == set(session.streams)
            if user.waiting_to_open:
                assert session.unacknowledged == 3
            unread = sum(end.unread for end in user.alive())
            arriving = user.side.parser._body_stream
            if arriving is not None and arriving.receiving is Receiving.OPEN:
                unread += user.side.parser._body_left
            assert session.budget.buffered == unread

    @invariant()
    def every_byte_arrives_once_in_order_or_the_stream_was_reset(self) -> None:
        for user, other in (self.users, self.users[::-1]):
            writers = {end.state.id: end for end in other.ends}
            for end in user.ends:
                writer = writers.get(end.state.id)
                assert end.heard <= (writer.sent if writer else 0)
                if "end" in end.events and not end.discarded:
                    assert writer is not None
                    assert writer.finished
                    assert end.heard == writer.sent

    def settle(self) -> None:
        """Readers read, sockets take everything, the wire brings everything, until nothing more happens."""
        busy = True
        while busy:
            busy = False
            for side, user in enumerate(self.users):
                for end in list(user.ends):
                    busy |= end.unread > 0
                    end.read(1 << 30)
                if user.due or user.side.session.congested:
                    busy = True
                    user.flush()
                busy |= bool(user.wire)
                self.move(side, 1 << 30)

    def teardown(self) -> None:
        self.settle()
        self.agree()
        self.nobody_waits_for_ever()
        for user in self.users:
            for end in user.alive():
                end.finishing = True
                end.write()
        self.settle()
        for user in self.users:
            for end in user.alive():  # the other side discards and gives no more credit
                end.state.reset()
                end.resetted = True
        self.settle()
        self.agree()
        for user in self.users:
            for end in user.alive():  # opened from inside the settling
                end.state.reset()
            assert not user.waiting_to_open
        self.settle()
        for user in self.users:
            user.side.empty()
            assert user.side.session.incomplete_since is None
            user.over = True
            user.side.session.fail(ConnectionClosed("over"))
            user.side.empty()
            assert user.side.session.data_to_send() == []

    def agree(self) -> None:
        """With nothing under way both sides know the same streams, and the same windows."""
        one, other = (user.side.session for user in self.users)
        silent = {stream.id for session in (one, other) for stream in session.streams.values() if stream.first == SYN}
        assert set(one.streams) - silent == set(other.streams) - silent
        for here, there in ((one, other), (other, one)):
            assert here.unacknowledged == sum(stream.first == SYN for stream in here.streams.values())
            for stream_id in set(here.streams) - silent:
                state, peer = here.streams[stream_id], there.streams[stream_id]
                assert (state.sending is Sending.FINISHED) == (peer.receiving is Receiving.FINISHED)
                assert state.credit == peer.window.credit or peer.receiving is Receiving.FINISHED

    def nobody_waits_for_ever(self) -> None:
        """Whoever could write has written: no wake-up was lost."""
        for user, other in (self.users, self.users[::-1]):
            readers = {end.state.id: end for end in other.ends}
            for end in user.alive():
                reader = readers.get(end.state.id)
                if reader is None or not reader.discarded:
                    assert end.sent == end.wanted


@pytest.mark.long(5)
@pytest.mark.speed
def test_two_sessions_in_any_order() -> None:
    """100 runs of 50 steps; more with the profile ``nightly``."""
    quiet = [HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much]
    run_state_machine_as_test(Joined, settings=settings(deadline=None, suppress_health_check=quiet))
