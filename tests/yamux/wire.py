"""One session whose other side the test plays frame by frame."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from stronghold_p2p.config import Limits
from stronghold_p2p.errors import LimitExceeded
from stronghold_p2p.seams import Buffer, StreamEnd
from stronghold_p2p.yamux.header import (
    ACK,
    DATA,
    FIN,
    GO_AWAY,
    HEADER,
    HEADER_SIZE,
    INITIAL_WINDOW,
    PING,
    RST,
    SYN,
    WINDOW_UPDATE,
)
from stronghold_p2p.yamux.places import Places, StreamPool
from stronghold_p2p.yamux.receiver import Receiver
from stronghold_p2p.yamux.session import Session, YamuxStream
from stronghold_p2p.yamux.state import Receiving, Sending
from stronghold_p2p.yamux.window import ReceiveBudget, ReceivePool

Bounds = Callable[..., None]  # the fixture ``bounds``


class Frame(NamedTuple):
    """A frame as the tests speak of it."""

    kind: int
    flags: int
    stream: int
    length: int
    body: bytes = b""


def data(stream: int, body: bytes = b"", flags: int = 0) -> bytes:
    """A Data frame."""
    return HEADER.pack(0, DATA, flags, stream, len(body)) + body


def update(stream: int, delta: int = 0, flags: int = 0) -> bytes:
    """A Window Update frame."""
    return HEADER.pack(0, WINDOW_UPDATE, flags, stream, delta)


def syn(stream: int, delta: int = 0) -> bytes:
    """How go-yamux opens a stream."""
    return update(stream, delta, SYN)


def ping(value: int, flags: int = SYN) -> bytes:
    """A Ping frame: SYN asks, ACK answers."""
    return HEADER.pack(0, PING, flags, 0, value)


def go_away(code: int) -> bytes:
    """A Go Away frame."""
    return HEADER.pack(0, GO_AWAY, 0, 0, code)


def parse(sent: bytes) -> list[Frame]:
    """What was sent, frame by frame; half a frame is a failure."""
    found: list[Frame] = []
    at = 0
    while at < len(sent):
        version, kind, flags, stream, length = HEADER.unpack_from(sent, at)
        at += HEADER_SIZE
        body = sent[at : at + length] if kind == DATA else b""
        assert version == 0
        assert kind != DATA or len(body) == length
        at += len(body)
        found.append(Frame(kind, flags, stream, length, body))
    return found


class Sink:
    """Takes note of all that the session tells. ``on`` is called with the name of each event (re-entrancy)."""

    def __init__(self, on: Callable[[str], None] = lambda _: None) -> None:
        self.pieces: list[bytes | memoryview] = []
        self.events: list[str] = []
        self.error: Exception | None = None
        self.readies = 0
        self.on = on

    @property
    def body(self) -> bytes:
        return b"".join(self.pieces)

    def data(self, piece: bytes | memoryview) -> None:
        assert len(piece)
        self.pieces.append(piece)
        self.on("data")

    def end(self) -> None:
        self.events.append("end")
        self.on("end")

    def failed(self, error: Exception) -> None:
        self.events.append("failed")
        self.error = error
        self.on("failed")

    def ready(self) -> None:
        self.readies += 1
        self.on("ready")

    def expired(self, now: float = 0.0) -> None:
        self.events.append("expired")


def alone(limit: int, pool: ReceivePool | None = None) -> ReceiveBudget:
    """The budget of a connection that has no other beside it, unless they share ``pool``."""
    return ReceiveBudget(limit, pool or ReceivePool(None), lambda: False)


def all_places(limit: int | None) -> Places:
    """Those of a connection that has no other beside it."""
    return Places(limit, StreamPool(None), lambda: False)


class Side:
    """A session with everything that it told. The test is the peer, or another ``Side`` is."""

    def __init__(
        self,
        *,
        client: bool = False,
        limits: Limits | None = None,
        budget: ReceiveBudget | None = None,
        places: Places | None = None,
    ) -> None:
        self.notified = 0
        self.now = 1_000.0
        self.accepted: list[YamuxStream] = []
        self.sinks: dict[int, Sink] = {}
        self.accepting: Callable[[YamuxStream], None] = lambda _: None
        self.early_notices = 0
        limits = limits or Limits()
        self.session = Session(
            self,
            client=client,
            limits=limits,
            budget=budget or alone(limits.receive_memory),
            places=places or all_places(limits.streams_in),
        )
        self.parser = Receiver(self.session, self.clock)
        self.look = 0.0

    def notify(self) -> None:
        self.notified += 1

    def early(self) -> None:
        """As much as may leave early; the tests look at it when they ``take``."""
        self.early_notices += 1

    def refused(self, error: LimitExceeded) -> None: ...

    def worn(self) -> None:
        """Few ids are left."""

    def accept(self, stream: StreamEnd) -> Sink:
        assert isinstance(stream, YamuxStream)
        self.accepted.append(stream)
        sink = self.sinks[stream.id] = Sink()
        self.accepting(stream)
        return sink

    def hear(self, *frames: Buffer) -> Side:
        """All of it arrives in one piece."""
        self.session.now = self.now
        self.parser.receive(b"".join(frames) if len(frames) != 1 else frames[0])
        return self

    def turns(self, piece: Buffer, look: float) -> int:
        """In how many turns ``piece`` is processed, if ``look`` seconds pass before each look at the clock."""
        turns, self.look = 1, look
        self.session.now = self.parser.since = self.now
        while self.parser.receive_in_turn(piece):
            self.session.now = self.parser.since = self.now
            piece = b""
            turns += 1
        self.look = 0.0
        return turns

    def take(self, *, congested: bool = False) -> bytes:
        """One flush: what has to be sent is written; the next writers are woken."""
        out = b"".join(self.session.data_to_send())
        self.session.flushed(congested=congested)
        return out

    def frames(self) -> list[Frame]:
        """One flush, frame by frame."""
        return parse(self.take())

    def open(self) -> YamuxStream:
        """A stream of ours with its sink; nothing is sent yet."""
        state = self.session.open()
        state.sink = self.sinks[state.id] = Sink()
        return state

    def opened(self) -> YamuxStream:
        """A stream of ours that the peer has heard of and acknowledged."""
        state = self.open()
        assert state.send(b"?") == 1
        self.take()
        self.hear(update(state.id, 1, ACK))
        return state

    def given(self, stream: int) -> YamuxStream:
        """A stream of the peer that we have accepted and acknowledged."""
        self.hear(syn(stream))
        self.take()
        return self.session.streams[stream]

    def sink(self, state: YamuxStream) -> Sink:
        return self.sinks[state.id]

    def read(self, state: YamuxStream, count: int) -> None:
        """The application takes ``count`` bytes."""
        state.consumed(count, self.clock)

    def clock(self) -> float:
        self.now += self.look
        return self.now

    def check(self) -> None:
        """What must hold between any two calls: each count is that of the objects, and no budget is exceeded."""
        session, budget = self.session, self.session.budget
        windows = [stream.window for stream in session.streams.values()]
        assert session.inbound == sum(stream.inbound for stream in session.streams.values())
        assert session.unacknowledged == sum(not stream.acknowledged for stream in session.streams.values())
        assert budget.buffered == sum(window.buffered for window in windows)
        assert budget.grown == sum(window.size - INITIAL_WINDOW for window in windows)
        assert 0 <= budget.buffered <= budget.maximum
        assert 0 <= budget.grown <= budget.limit
        for stream_id, stream in session.streams.items():
            assert stream.id == stream_id
            assert not stream.gone
            assert stream.finished == (stream.sending is not Sending.OPEN)
            assert (stream.sending, stream.receiving) != (Sending.FINISHED, Receiving.FINISHED)
            assert stream.credit >= 0
            window = stream.window
            assert window.credit >= 0
            assert window.buffered >= 0
            assert window.credit + window.buffered <= window.size
            assert INITIAL_WINDOW <= window.size <= session.limits.max_window

    def empty(self) -> None:
        """Nothing is left of any stream."""
        self.check()
        session = self.session
        assert not session.streams
        assert (session.inbound, session.unacknowledged) == (0, 0)
        assert (session.budget.buffered, session.budget.grown) == (0, 0)


def inbound(limits: Limits | None = None) -> tuple[Side, YamuxStream]:
    """A listener's side with stream 1, which the peer has opened."""
    side = Side(limits=limits)
    return side, side.given(1)


def outbound(limits: Limits | None = None) -> tuple[Side, YamuxStream]:
    """A dialer's side with stream 1, which the peer has acknowledged."""
    side = Side(client=True, limits=limits)
    return side, side.opened()


__all__ = [
    "ACK",
    "FIN",
    "RST",
    "SYN",
    "Bounds",
    "Frame",
    "Side",
    "Sink",
    "data",
    "go_away",
    "inbound",
    "outbound",
    "parse",
    "ping",
    "syn",
    "update",
]
