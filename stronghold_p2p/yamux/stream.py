"""Our end of one Yamux stream: two half-streams, two windows, and the sink that is told about it.

A write goes into the session's ``Outbox`` as far as three things reach: the peer's window (``credit``), what one turn
may collect, and the wire. Where credit ends, the peer's window update wakes the sink; where the connection is full, the
stream waits in line. A short answer is held back as ``piece``, to share a frame with what is written next.

What arrives is parsed by ``Receiver``, which takes it off ``window`` and hands it to the sink; credit goes back to the
peer when the reader has consumed half of the window.
"""

from __future__ import annotations

from collections.abc import Callable
from math import inf
from typing import Final, Protocol

from stronghold_p2p.seams import NOBODY, Sink
from stronghold_p2p.yamux.header import ACK, DATA, FIN, INITIAL_WINDOW, RST, SYN, WINDOW_UPDATE
from stronghold_p2p.yamux.outbox import EARLY, JOIN_UP_TO, TURN_BYTES, Outbox
from stronghold_p2p.yamux.state import RECEIVING, SENDING, Event, Receiving, Sending
from stronghold_p2p.yamux.window import ReceiveWindow

# A name of the module is looked up quicker than a member of an enum in its class (python -m timeit shows it).
_SENDS: Final = Sending.OPEN
_RECEIVES: Final = Receiving.OPEN
_RESET: Final = Event.RESET
_FIN: Final = Event.FIN
_DISCARD: Final = Event.DISCARD
_FINISH: Final = Event.FINISH
_FINISHED: Final = Receiving.FINISHED


class Owner(Protocol):
    """What a stream needs of its session."""

    congested: bool
    round_trip: float
    outbox: Outbox

    def removed(self, stream: YamuxStream) -> None:
        """Both halves of ``stream`` are over."""

    def held(self, stream: YamuxStream) -> None:
        """``stream`` holds a short piece back until the next flush."""

    def wait_for_room(self, stream: YamuxStream, *, again: bool) -> None:
        """``stream`` has credit, but the connection is full."""

    def spend_reset(self) -> None:
        """One more stream was reset."""

    def ping(self, now: float) -> None:
        """Find out how long a round trip takes: receive windows grow by it."""


class YamuxStream:
    """A ``StreamEnd``. ``credit`` is what we may still send, ``window`` what the peer may.

    ``first`` is the flag that leaves with our next frame (SYN or ACK; 0 once it has). ``piece`` is a short write that
    is held back to share a frame with the next one.
    """

    def __init__(self, owner: Owner, stream_id: int, window: ReceiveWindow, *, inbound: bool) -> None:
        self._owner = owner
        self.sink: Sink = NOBODY
        self.id = stream_id
        self.window = window
        self.inbound = inbound
        self.credit = INITIAL_WINDOW
        self.first = ACK if inbound else SYN
        self.acknowledged = inbound
        self.sending = _SENDS
        self.receiving = _RECEIVES
        self.gone = self.finished = False
        self.waits = False  # for room on the connection
        self.piece = b""
        self.due = inf

    # ------------------------------------------------------------------ sending

    def send(self, data: bytes | memoryview) -> int:
        owner = self._owner
        out = owner.outbox
        room = TURN_BYTES - out.size
        if room <= 0 or owner.congested:
            return 0
        size = len(data)
        if piece := self.piece:
            if size > JOIN_UP_TO or size + len(piece) > self.credit:
                self.release()
            else:
                self.piece, self.credit = b"", self.credit - size - len(piece)
                flags, self.first = self.first, 0
                out.data(self.id, flags, piece + data)
                if out.frames >= EARLY:
                    out.user.early()
                return size
        credit = self.credit
        if size > credit or size > room:
            size = min(credit, room)
            data = memoryview(data)[:size]
        if size:
            self.credit = credit - size
            flags, self.first = self.first, 0
            out.data(self.id, flags, data)
            if out.frames >= EARLY:
                out.user.early()
        return size

    def send_now(self, data: bytes) -> None:
        """It counts as a control frame: a peer can make us send it."""
        if self.finished:
            return
        owner = self._owner
        owner.outbox.control += 1
        if self.piece:
            self.piece += data
            return
        self.piece = data
        if self.first != ACK:  # for its ACK, it is held back already
            owner.held(self)

    def release(self) -> None:
        """Frame the piece that was held back."""
        piece, self.piece = self.piece, b""
        self.credit -= len(piece)
        flags, self.first = self.first, 0
        self._owner.outbox.data(self.id, flags, piece)

    def wait_turn(self, *, again: bool) -> None:
        """Without credit, the peer's window update wakes the sink; it is not in line for room on the connection."""
        if self.credit and not self.waits:
            self.waits = True
            self._owner.wait_for_room(self, again=again)

    def finish(self) -> None:
        """FIN is a frame of data of its own (``header.py`` says why)."""
        if self.finished:
            return
        if self.piece:
            self.release()
        self.sending = SENDING[self.sending, _FINISH]
        self.finished = True
        flags, self.first = FIN | self.first, 0
        out = self._owner.outbox
        out.add(DATA, flags, self.id, 0)
        if self.receiving is _FINISHED:
            self._remove()
        if out.frames >= EARLY:
            out.user.early()

    # ------------------------------------------------------------------ receiving

    def consumed(self, count: int, clock: Callable[[], float]) -> None:
        if self.receiving is _RECEIVES and self.window.consumed(count):
            self._refill(clock)
        elif self.receiving is _FINISHED and not self.gone:
            self.window.consumed(count)

    def _refill(self, clock: Callable[[], float]) -> None:
        """Half of the window is free: give credit back."""
        owner = self._owner
        now = clock()
        delta = self.window.announce(now, owner.round_trip)
        if delta:
            if not owner.round_trip:
                owner.ping(now)
            flags, self.first = self.first, 0
            owner.outbox.add(WINDOW_UPDATE, flags, self.id, delta)

    def discard(self) -> None:
        """What still comes is dropped, within the credit that the peer has."""
        if not self.gone:
            self.receiving = RECEIVING[self.receiving, _DISCARD]
            if self.window.buffered:
                self.window.dropped(self.window.buffered)

    # ------------------------------------------------------------------ the end

    def reset(self, code: int = 0) -> None:
        """The code travels as go-libp2p's does (core/network/mux.go)."""
        if self.gone:
            return
        owner = self._owner
        if self.first != SYN:  # the peer has heard of it
            owner.outbox.add(WINDOW_UPDATE, RST, self.id, code)
        self.end_both()
        if self.inbound and code:
            owner.spend_reset()

    def end_by_peer(self) -> None:
        """The peer's FIN has come."""
        self.receiving = RECEIVING[self.receiving, _FIN]
        if self.finished:
            self._remove()

    def end_both(self) -> None:
        """RST, ours or the peer's."""
        self.piece, self.first = b"", 0
        self._owner.removed(self)
        self._reset()
        self.window.close()

    def fail(self, error: Exception) -> None:
        """The connection has ended; the session forgets the stream itself."""
        self._reset()
        self.window.close()
        sink, self.sink = self.sink, NOBODY
        sink.failed(error)

    def _reset(self) -> None:
        self.gone = self.finished = True
        self.sending, self.receiving = SENDING[self.sending, _RESET], RECEIVING[self.receiving, _RESET]

    def _remove(self) -> None:
        """FIN was sent and has come."""
        self.gone = True
        self._owner.removed(self)
        if (window := self.window).buffered or window.size > INITIAL_WINDOW:
            window.close()
