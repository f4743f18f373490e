"""The session: all streams of one connection, as a function of bytes and time.

``receive`` takes plaintext in any pieces and tells the streams' sinks; ``data_to_send`` gives the frames
that have collected since the last call, to be sealed and written together. Nothing here waits, and
nothing here calls the application. A broken invariant raises ``MuxerError`` with the go-away code.

Source: yamux/README.md of the libp2p specs; where go, rust and js differ, the comment says whom we follow.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Final

from stronghold_p2p.codes import GoAway, Reset
from stronghold_p2p.config import Limits
from stronghold_p2p.errors import LimitExceeded, MuxerError, StreamReset
from stronghold_p2p.token_bucket import TokenBucket
from stronghold_p2p.yamux.budget import DroppedBytes
from stronghold_p2p.yamux.header import (
    ACK,
    DATA,
    FIN,
    GO_AWAY,
    HEADER,
    INITIAL_WINDOW,
    MAX_CREDIT,
    PING,
    RST,
    SYN,
    WINDOW_UPDATE,
)
from stronghold_p2p.yamux.outbox import TURN_BYTES, Frames, Outbox
from stronghold_p2p.yamux.receiver import Receiver
from stronghold_p2p.yamux.state import NOBODY, Sink, StreamState
from stronghold_p2p.yamux.window import ReceiveBudget, ReceiveWindow

# Writers woken together after a flush; the next flush wakes the next ones, in the order of their waiting.
WAKE_TOGETHER: Final = 16
JOIN_UP_TO: Final = 4_096  # so short a write is joined with a piece that waits for it: cheaper than a frame
LAST_STREAM_ID: Final = 0xFFFF_FFFF
# Frames, twelve answers' worth, that are sent before the turn of the loop is over: the peer works while we do.
EARLY: Final = 24


class Session:
    """``client``: we dialed, so our ids are odd (yamux/README.md, "StreamID Field"). ``budget``: out of a pool.

    ``accept`` is called with each stream that the peer opens and returns its sink; it may reset the stream
    at once. ``notify`` is called once whenever there is something to send after there was nothing, and ``early``
    when so many frames have collected that the peer should not wait for the end of the turn.
    """

    def __init__(
        self,
        *,
        client: bool,
        limits: Limits,
        accept: Callable[[StreamState], Sink],
        notify: Callable[[], None],
        early: Callable[[], None] | None = None,
        budget: ReceiveBudget | None = None,
    ) -> None:
        self.limits = limits
        self.streams: dict[int, StreamState] = {}
        self.inbound = self.unacknowledged = self.taken = 0
        self.budget = budget or ReceiveBudget(limits.receive_memory)
        self.round_trip = 0.0
        self.now = 0.0
        self.congested = False
        self.closed = False
        self.violation: MuxerError | None = None  # found outside ``receive``: whoever flushes ends the connection
        self.pongs = self._ping_value = 0
        self._accept = accept
        self._early = early or self.wake
        self._out = Outbox(notify)
        # From now to the next ``data_to_send`` the caller sees to it; False: nobody did before.
        self.hold = self._out.hold
        self._next_id = 1 if client else 2
        self._remote_parity = 0 if client else 1
        self._owed: list[StreamState] = []
        self.stalled: deque[StreamState] = deque()  # wait for room on the connection
        self.passed_over: list[StreamState] = []
        self._opening: deque[Callable[[], None]] = deque()
        self._ping: tuple[int, float] | None = None
        self._resets = TokenBucket(limits.reset_rate, limits.reset_burst)  # HTTP/2's "rapid reset", and its mirror
        self._dropped = DroppedBytes(limits.receive_memory)
        self.incomplete_since: float | None = None  # when the frame began that is not complete yet
        # ``receive`` at the time that ``now`` tells. It leads back here: whoever ends the session deletes it.
        self.deliver = Receiver(self).receive

    # ------------------------------------------------------------------ receiving

    def receive(self, data: bytes | bytearray | memoryview, now: float) -> None:
        """Process plaintext. Raises ``MuxerError``, or ``ConnectionClosed`` on the peer's go-away."""
        self.now = now
        self.deliver(data)

    def pinged(self, value: int) -> None:
        """Answer a ping, promptly and only then (rust and js close on an unexpected pong)."""
        self.pongs += 1
        self._out.add(PING, ACK, 0, value)

    def ponged(self, value: int) -> None:
        """A pong: of our ping, or of none."""
        if self._ping is not None and self._ping[0] == value:
            self.round_trip = max(self.now - self._ping[1], 1e-6)
            self._ping = None

    def find(self, flags: int, stream_id: int) -> StreamState | None:
        """The stream that a frame is about; a SYN makes it. None: gone, unknown or refused."""
        stream = self.streams.get(stream_id)
        if not flags & SYN:
            if stream is None and not stream_id:
                raise MuxerError("stream frame on stream 0", code=GoAway.PROTOCOL_ERROR)
            return stream
        if stream is not None or stream_id & 1 != self._remote_parity or not stream_id:
            raise MuxerError(f"SYN for stream {stream_id}", code=GoAway.PROTOCOL_ERROR)
        return self._incoming(stream_id)

    def _incoming(self, stream_id: int) -> StreamState | None:
        if not self._dropped.fresh(stream_id):
            raise MuxerError(f"stream id {stream_id} was used before", code=GoAway.PROTOCOL_ERROR)
        maximum = self.limits.streams_in
        if maximum is not None and self.inbound >= maximum:
            self._out.add(WINDOW_UPDATE, RST, stream_id, Reset.RESOURCE_LIMIT)
            self._dropped.bury(stream_id, INITIAL_WINDOW)
            self._spend_reset()
            return None
        stream = StreamState(stream_id, ReceiveWindow(self.budget, self.limits.max_window), inbound=True)
        self.streams[stream_id] = stream
        self.inbound += 1
        self._owed.append(stream)
        self.wake()
        sink = self._accept(stream)
        if stream.gone:
            return None
        stream.sink = sink
        return stream

    def acknowledged(self, stream: StreamState) -> None:
        """The peer's ACK: another stream may be opened."""
        stream.acknowledged = True
        self.unacknowledged -= 1
        if self._opening:
            self._opening.popleft()()

    def ended(self, stream: StreamState, flags: int, code: int) -> None:
        """The peer ended its direction (FIN), or both (RST, with its code)."""
        if stream.gone:
            return
        sink = stream.sink
        if flags & RST:
            self._remove(stream)
            if stream.inbound:
                self._spend_reset()
            sink.failed(StreamReset(f"the peer reset the stream with code {code:#x}", code=code))
        elif not stream.fin_received:
            stream.fin_received = True
            if stream.fin_sent:
                self._remove(stream)
            sink.end()

    def drop(self, stream_id: int, length: int) -> None:
        """Frames for streams that are gone occur in races: go and rust drop them silently."""
        if not self._dropped.allow(stream_id, length):
            raise MuxerError("too many bytes for streams that do not exist", code=GoAway.PROTOCOL_ERROR)

    def _spend_reset(self) -> None:
        if not self._resets.take(self.now) and self.violation is None:
            self.violation = MuxerError("too many stream resets", code=GoAway.RATE_LIMITED)
            self.wake()

    # ------------------------------------------------------------------ streams

    def open(self) -> StreamState:
        """A new stream of ours; the caller sets its ``sink``. Its SYN leaves with its first frame.

        Raises ``LimitExceeded`` when the ids are used up or 256 streams wait for the peer's ACK
        (yamux/README.md, "ACK backlog"); ``when_openable`` tells when it is worth another try.
        """
        if self._next_id > LAST_STREAM_ID:
            raise _full("stream ids used up: connect again", "stream ids", LAST_STREAM_ID // 2, LAST_STREAM_ID // 2)
        if (waiting := self.unacknowledged) >= (most := self.limits.ack_backlog):
            raise _full(f"{waiting} streams wait for the peer's acknowledgement", "ack_backlog", waiting, most)
        stream = StreamState(self._next_id, ReceiveWindow(self.budget, self.limits.max_window), inbound=False)
        self._next_id += 2
        self.streams[stream.id] = stream
        self.unacknowledged += 1
        return stream

    def when_openable(self, wake: Callable[[], None]) -> None:
        """Call ``wake`` once, when a place in the ACK backlog is free (in order of asking)."""
        self._opening.append(wake)

    def forget_opening(self, wake: Callable[[], None]) -> None:
        """The caller of ``when_openable`` has given up."""
        if wake in self._opening:
            self._opening.remove(wake)
        elif self._opening and self.unacknowledged < self.limits.ack_backlog:
            self._opening.popleft()()

    def send(self, stream: StreamState, data: bytes | memoryview) -> int:
        """Frame as much of ``data`` as window and buffer take; returns how much.

        ``data`` must not change until the next ``data_to_send``. Less than all: wait for ``Sink.ready``.
        """
        out = self._out
        room = TURN_BYTES - out.size
        if room <= 0 or self.congested:
            return 0
        size = len(data)
        if held := stream.held:
            if size > JOIN_UP_TO or size + len(held) > stream.credit:
                self._release(stream)
            else:
                self._release(stream, data)
                if out.frames >= EARLY:
                    self._early()
                return size
        credit = stream.credit
        if size > credit or size > room:
            size = min(credit, room)
            data = memoryview(data)[:size]
        if size:
            stream.credit = credit - size
            flags, stream.first = stream.first, 0
            out.data(stream.id, flags, data)
            if out.frames >= EARLY:
                self._early()
        return size

    def send_now(self, stream: StreamState, data: bytes) -> None:
        """Send a short piece even when the connection is full; it counts as a control frame.

        It leaves in one frame with what is written next in this turn of the loop, or else by itself.
        """
        self._out.control += 1
        if stream.held:
            stream.held += data
            return
        stream.held = data
        self._owed.append(stream)
        self.wake()

    def _release(self, stream: StreamState, more: bytes | memoryview = b"") -> None:
        held, stream.held = stream.held + more, b""
        stream.credit -= len(held)
        flags, stream.first = stream.first, 0
        self._out.data(stream.id, flags, held)

    def wait_turn(self, stream: StreamState, *, again: bool = False) -> None:
        """The stream has credit, but the connection is full: tell its sink after a flush, first come first served.

        ``again``: it was told, and found that others had been quicker; it keeps its place.
        """
        if not stream.stalled:
            stream.stalled = True
            (self.passed_over if again else self.stalled).append(stream)

    def finish(self, stream: StreamState) -> None:
        """Close our direction: FIN, as a frame of data of its own (the reason is in ``header.py``)."""
        if stream.fin_sent or stream.gone:
            return
        if stream.held:
            self._release(stream)
        stream.fin_sent = True
        flags, stream.first = FIN | stream.first, 0
        self._out.add(DATA, flags, stream.id, 0)
        if stream.fin_received:
            self._remove(stream)
        if self._out.frames >= EARLY:
            self._early()

    def discard(self, stream: StreamState) -> None:
        """Nobody will read any more: what still comes is dropped, within the credit that the peer has."""
        stream.discarding = True
        stream.window.dropped(stream.window.buffered)

    def reset(self, stream: StreamState, code: int = 0) -> None:
        """End both directions at once; the code travels as go-libp2p's does. The caller tells the sink."""
        if stream.gone:
            return
        if stream.first != SYN:  # the peer has heard of it
            self._out.add(WINDOW_UPDATE, RST, stream.id, code)
        stream.first = 0
        stream.held = b""
        self._remove(stream)
        if stream.inbound and code:
            self._spend_reset()

    def consumed(self, stream: StreamState, count: int, clock: Callable[[], float]) -> None:
        """The reader took ``count`` bytes."""
        if not (stream.gone or stream.discarding) and stream.window.consumed(count):
            self.refill(stream, clock)

    def refill(self, stream: StreamState, clock: Callable[[], float]) -> None:
        """Half of the stream's window is free: give credit back."""
        if stream.fin_received:
            return
        now = clock()
        delta = stream.window.announce(now, self.round_trip)
        if delta:
            if not self.round_trip and self._ping is None:
                self.ping(now)
            flags, stream.first = stream.first, 0
            self._out.add(WINDOW_UPDATE, flags, stream.id, delta)

    def _remove(self, stream: StreamState) -> None:
        stream.gone = True
        stream.sink = NOBODY  # or the stream and its owner would keep each other alive until the next collection
        self.streams.pop(stream.id, None)
        if stream.inbound:
            self.inbound -= 1
        if not stream.acknowledged:
            self.acknowledged(stream)
        if not stream.fin_received:
            self._dropped.bury(stream.id, stream.window.credit)
        stream.window.close()

    # ------------------------------------------------------------------ sending

    def wake(self) -> None:
        """Have ``notify`` called, unless it has been since the last ``data_to_send``."""
        self._out.wake()

    def early_data(self) -> Frames:
        """What has collected so far, but for what is held back to share a frame with what is written next."""
        self.taken = self._out.size
        return self._out.take_early()

    def data_to_send(self) -> Frames:
        """All frames since the last call, in order, as the pieces of one plaintext; ``taken``: their bytes."""
        if self._owed:
            for stream in self._owed:
                if stream.held and not stream.gone:
                    self._release(stream)
                elif stream.first == ACK and not stream.gone:
                    stream.first = 0
                    self._out.add(WINDOW_UPDATE, ACK, stream.id, 0)
            self._owed.clear()
        self.pongs = 0
        self.taken = self._out.size
        return self._out.take()

    def flushed(self, *, congested: bool) -> None:
        """The frames are on their way; ``congested``: the socket wants no more for now."""
        self.congested = congested
        if self.passed_over:
            self.stalled.extendleft(reversed(self.passed_over))
            self.passed_over.clear()
        if congested or not self.stalled:
            return
        for _ in range(min(WAKE_TOGETHER, len(self.stalled))):
            stream = self.stalled.popleft()
            stream.stalled = False
            if not stream.gone:
                stream.sink.ready()
        if self.stalled:
            self.wake()

    @property
    def overloaded(self) -> bool:
        """The peer does not take our answers: stop reading until it does (reliability 4.3, rows 33 and 34)."""
        return self._out.control > self.limits.control_queue or self.pongs > self.limits.pongs

    def ping(self, now: float) -> None:
        """Send a ping unless one is out (rust and js close on an unexpected pong: one at a time)."""
        if self._ping is None:
            self._ping = (self._ping_value, now)
            self._out.add(PING, SYN, 0, self._ping_value)
            self._ping_value = (self._ping_value + 1) & MAX_CREDIT

    @property
    def ping_sent_at(self) -> float | None:  # of the unanswered one
        return None if self._ping is None else self._ping[1]

    def go_away(self, code: int) -> bytes:
        """The last frame of a session; nothing is processed or framed after it."""
        self.closed = True
        return HEADER.pack(0, GO_AWAY, 0, 0, code)

    def fail(self, error: Exception) -> None:
        """The connection is over: every stream and every waiting opener learns the same cause."""
        self.closed = True
        for stream in list(self.streams.values()):
            stream.gone = True
            stream.window.close()
            sink, stream.sink = stream.sink, NOBODY
            sink.failed(error)
        self.inbound = self.unacknowledged = 0
        for waiting in (self.streams, self.stalled, self.passed_over, self._owed, self._out):
            waiting.clear()
        while self._opening:
            self._opening.popleft()()


def _full(message: str, limit: str, current: int, maximum: int) -> LimitExceeded:
    return LimitExceeded(message, limit=limit, current=current, maximum=maximum)
