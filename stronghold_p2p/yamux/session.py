"""The session: all streams of one connection, as a function of bytes and time; and our end of each of them.

``Receiver`` parses what comes and calls the methods under "receiving"; ``data_to_send`` gives the frames that have
collected since the last call, to be sealed and written together, and ``flushed`` lets writers go on that waited for
it. Nothing here waits, and nothing here calls the application. What a peer must not do raises ``MuxerError`` with the
go-away code; what is found outside of parsing is kept as ``violation``, and whoever flushes ends the connection.

A write goes into the session's ``Outbox`` as far as three things reach: the peer's window (``credit``), what one turn
may collect, and the wire. Where credit ends, the peer's window update wakes the sink; where the connection is full, the
stream waits in line. What arrives, ``Receiver`` takes off ``window`` and hands to the sink; credit goes back to the
peer when the reader has consumed half of the window.

Three queues hold streams, each for another reason: ``_holding`` those with a short piece that waits for company until
the next flush; ``stalled`` those that have credit but found the connection full, in the order of their waiting;
``requeued`` those that were woken, found that others had been quicker, and keep their place in front.

Source: yamux/README.md of the libp2p specs; where go, rust and js differ, the comment says whom we follow.
"""

from collections.abc import Callable
from math import inf
from typing import Final

from stronghold_p2p.codes import GoAway, Reset
from stronghold_p2p.config import Limits
from stronghold_p2p.errors import LimitExceeded, MuxerError, StreamReset
from stronghold_p2p.seams import NOBODY, USED_UP, Pieces, Sink, StreamEnd
from stronghold_p2p.token_bucket import TokenBucket
from stronghold_p2p.yamux.header import (
    ACK,
    DATA,
    FIN,
    GO_AWAY,
    INITIAL_WINDOW,
    MAX_CREDIT,
    PING,
    RST,
    SYN,
    WINDOW_UPDATE,
    frame,
)
from stronghold_p2p.yamux.outbox import EARLY, JOIN_UP_TO, TURN_BYTES, WAKE_TOGETHER, Outbox, SessionUser
from stronghold_p2p.yamux.places import Places
from stronghold_p2p.yamux.state import RECEIVING, SENDING, Event, Receiving, Sending
from stronghold_p2p.yamux.window import DroppedBytes, ReceiveBudget, ReceiveWindow

LAST_STREAM_ID: Final = 0xFFFF_FFFF
WORN: Final = 1 << 20  # ids before the last one, half of which are ours: time for a fresh connection (hostile row 36)
ACK_BACKLOG: Final = 256  # streams of ours that the peer has not acknowledged (yamux/README.md, "ACK backlog")
CONTROL_QUEUE: Final = 1_024  # ACKs, pongs, resets and window updates to be written: 12 KiB; beyond, nothing is read
PONGS: Final = 32  # answers to pings that wait to be written (go's backlog); an honest peer has one ping out
RESET_RATE: Final = 200.0  # resets a second, of both sides: as against HTTP/2's "Rapid Reset" (CVE-2023-44487)
RESET_BURST: Final = 1_024  # at once: twice the 512 streams that a peer may have open, which may all end together

# A name of the module is looked up quicker than a member of an enum in its class (python -m timeit shows it).
_SENDS: Final = Sending.OPEN
_RECEIVES: Final = Receiving.OPEN
_RESET: Final = Event.RESET
_FIN: Final = Event.FIN
_DISCARD: Final = Event.DISCARD
_FINISH: Final = Event.FINISH
_FINISHED: Final = Receiving.FINISHED


class _Ended:
    """Takes the place of a muxer that has been let go: a stream may still be written to."""

    def accept(self, state: StreamEnd) -> Sink:
        return NOBODY

    def notify(self) -> None: ...

    def early(self) -> None: ...

    def worn(self) -> None: ...

    def refused(self, error: LimitExceeded) -> None: ...


ENDED: Final = _Ended()


class Session:
    """``client``: we dialed, so our ids are odd (yamux/README.md, "StreamID Field"). ``budget`` and ``places``
    come out of pools of all connections.
    """

    def __init__(
        self, user: SessionUser, *, client: bool, limits: Limits, budget: ReceiveBudget, places: Places
    ) -> None:
        self.limits = limits
        self.streams: dict[int, YamuxStream] = {}
        self.inbound = 0  # of those, how many the peer has opened
        self.unacknowledged = 0  # streams of ours whose SYN the peer has not acknowledged
        self.budget = budget
        self.places = places
        self.round_trip = 0.0  # seconds that the last answered ping took
        self.now = 0.0  # set by the muxer for each callback
        self.congested = False  # the wire wants no more for now
        self.closed = False  # a go-away was sent or came: nothing more is processed
        self.violation: MuxerError | None = None
        self.pongs = 0  # since the last flush
        self.ping_sent_at: float | None = None  # the ping that is not answered yet
        self._ping_value = -1
        self.outbox = Outbox(user)
        self._next_id = 1 if client else 2
        self._worn_at = LAST_STREAM_ID - WORN
        self._remote_parity = 0 if client else 1
        # Lists: an empty deque takes 700 bytes, and an idle connection has none of these.
        self._holding: list[YamuxStream] = []
        self.stalled: list[YamuxStream] = []
        self.requeued: list[YamuxStream] = []
        self._opening: list[Callable[[], None]] = []
        self._resets = TokenBucket(RESET_RATE, RESET_BURST)
        self._dropped = DroppedBytes(limits.receive_memory)
        self.incomplete_since: float | None = None  # when the frame began that is not complete yet

    def pinged(self, value: int) -> None:
        """Answer a ping, promptly and only then (rust and js close on an unexpected pong)."""
        self.pongs += 1
        self.outbox.add(PING, ACK, 0, value)

    def ponged(self, value: int) -> None:
        if self.ping_sent_at is not None and self._ping_value == value:
            self.round_trip = max(self.now - self.ping_sent_at, 1e-6)
            self.ping_sent_at = None

    def find(self, flags: int, stream_id: int) -> "YamuxStream | None":
        """The stream that a frame is about; a SYN makes it. None: gone, unknown or refused."""
        stream = self.streams.get(stream_id)
        if not flags & SYN:
            if stream is None and not stream_id:
                raise MuxerError("stream frame on stream 0", code=GoAway.PROTOCOL_ERROR)
            return stream
        if stream is not None or stream_id & 1 != self._remote_parity or not stream_id:
            raise MuxerError(f"SYN for stream {stream_id}", code=GoAway.PROTOCOL_ERROR)
        return self._incoming(stream_id)

    def _incoming(self, stream_id: int) -> "YamuxStream | None":
        if not self._dropped.fresh(stream_id):
            raise MuxerError(f"stream id {stream_id} was used before", code=GoAway.PROTOCOL_ERROR)
        if self.inbound >= self.places.maximum and (refusal := self.places.refusal(self.inbound)) is not None:
            self.outbox.add(WINDOW_UPDATE, RST, stream_id, Reset.RESOURCE_LIMIT)
            self._dropped.bury(stream_id, INITIAL_WINDOW)
            self.spend_reset()
            self.outbox.user.refused(refusal)
            return None
        window = ReceiveWindow(self.budget, self.limits.max_window)
        stream = self.streams[stream_id] = YamuxStream(self, stream_id, window, inbound=True)
        self.inbound += 1
        self.held(stream)
        sink = self.outbox.user.accept(stream)
        if stream.gone:
            return None
        stream.sink = sink
        return stream

    def acknowledged(self, stream: "YamuxStream") -> None:
        """The peer's ACK: another stream may be opened."""
        stream.acknowledged = True
        self.unacknowledged -= 1
        if self._opening:
            self._opening.pop(0)()

    def ended(self, stream: "YamuxStream", flags: int, code: int) -> None:
        if stream.gone:
            return
        sink = stream.sink
        if flags & RST:
            stream.end_both()
            if stream.inbound:
                self.spend_reset()
            sink.failed(StreamReset(f"the peer reset the stream with code {code:#x}", code=code))
        elif stream.receiving is not _FINISHED:
            stream.end_by_peer()
            sink.end()

    def drop(self, stream_id: int, length: int) -> None:
        """Frames for streams that are gone occur in races: go and rust drop them silently."""
        if not self._dropped.allow(stream_id, length):
            raise MuxerError("too many bytes for streams that do not exist", code=GoAway.PROTOCOL_ERROR)

    @property
    def opened(self) -> int:
        """How many streams of ours there have been: ids are handed out in their order."""
        return (self._next_id - 1) // 2

    def open(self) -> "YamuxStream":
        """A new stream of ours, whose SYN leaves with its first frame. ``LimitExceeded``: no ids, or no ACKs."""
        if self._next_id > self._worn_at:
            self._wear()
        if self.unacknowledged >= ACK_BACKLOG:
            told = f"{self.unacknowledged} streams wait for the peer's acknowledgement"
            raise _full(told, "ack_backlog", self.unacknowledged, ACK_BACKLOG)
        window = ReceiveWindow(self.budget, self.limits.max_window)
        stream = self.streams[self._next_id] = YamuxStream(self, self._next_id, window, inbound=False)
        self._next_id += 2
        self.unacknowledged += 1
        return stream

    def _wear(self) -> None:
        if self._next_id > LAST_STREAM_ID:
            raise _full("stream ids used up: connect again", USED_UP, LAST_STREAM_ID // 2, LAST_STREAM_ID // 2)
        self._worn_at = LAST_STREAM_ID
        self.outbox.user.worn()

    def when_openable(self, wake: Callable[[], None]) -> None:
        """Call ``wake`` once, when the ACK backlog has a place (in order of asking)."""
        self._opening.append(wake)

    def forget_opening(self, wake: Callable[[], None]) -> None:
        if wake in self._opening:
            self._opening.remove(wake)
        elif self._opening and self.unacknowledged < ACK_BACKLOG:
            self._opening.pop(0)()

    def held(self, stream: "YamuxStream") -> None:
        """``stream`` has something for the next flush: an ACK, or a short piece."""
        self._holding.append(stream)
        if not self.outbox.notified:
            self.outbox.wake()

    def wait_for_room(self, stream: "YamuxStream", *, again: bool) -> None:
        """``stream`` found the connection full and waits in line. ``again``: it was woken too late, keep its place."""
        (self.requeued if again else self.stalled).append(stream)

    def removed(self, stream: "YamuxStream") -> None:
        stream.sink = NOBODY  # or the stream and its owner would keep each other alive until the next collection
        self.streams.pop(stream.id, None)
        if stream.inbound:
            self.inbound -= 1
            if self.inbound <= self.places.spare:
                self.places.give_back(self.inbound)
        if not stream.acknowledged:
            self.acknowledged(stream)
        if stream.receiving is not _FINISHED:
            self._dropped.bury(stream.id, stream.window.credit)
        if (window := stream.window).buffered or window.size > INITIAL_WINDOW:
            window.close()

    def spend_reset(self) -> None:
        """Resets have a rate, ours and the peer's together; beyond it the connection ends at the next flush."""
        if not self._resets.take(self.now) and self.violation is None:
            self.violation = MuxerError("too many stream resets", code=GoAway.RATE_LIMITED)
            self.outbox.wake()

    def data_to_send(self) -> Pieces:
        """All frames since the last call, in order, as the pieces of one plaintext; ``outbox.taken``: their bytes."""
        if self._holding:
            for stream in self._holding:
                if stream.gone:
                    continue
                if stream.piece:
                    stream.release()
                elif stream.first == ACK:
                    stream.first = 0
                    self.outbox.add(WINDOW_UPDATE, ACK, stream.id, 0)
            self._holding.clear()
        self.pongs = 0
        return self.outbox.take()

    def flushed(self, *, congested: bool) -> None:
        """The frames are on their way; ``congested``: the wire wants no more for now."""
        self.congested = congested
        if self.requeued:
            self.stalled[:0] = self.requeued
            self.requeued.clear()
        if congested or not self.stalled:
            return
        going = self.stalled[:WAKE_TOGETHER]
        del self.stalled[:WAKE_TOGETHER]
        for stream in going:
            stream.waits = False
            if not stream.gone:
                stream.sink.ready()
        if self.stalled:
            self.outbox.wake()

    @property
    def overloaded(self) -> bool:
        """The peer does not take our answers: stop reading until it does (hostile rows 33 and 34)."""
        return self.outbox.control > CONTROL_QUEUE or self.pongs > PONGS

    def ping(self, now: float) -> None:
        """Send a ping unless one is out (rust and js close on an unexpected pong: one at a time)."""
        if self.ping_sent_at is None:
            self.ping_sent_at = now
            self._ping_value = (self._ping_value + 1) & MAX_CREDIT
            self.outbox.add(PING, SYN, 0, self._ping_value)

    def go_away(self, code: int) -> bytes:
        """The last frame of a session; nothing is processed or framed after it."""
        self.closed = True
        return frame(GO_AWAY, 0, 0, code)

    def fail(self, error: Exception) -> None:
        """The connection is over: every stream and every waiting opener learns the same cause.

        All of them do, also where one fails when it is told; the last fault is raised at the end.
        """
        self.closed = True
        fault: Exception | None = None
        for stream in list(self.streams.values()):
            try:
                if not stream.gone:  # a sink that was told may have reset others
                    stream.fail(error)
            except Exception as failed:
                fault = failed
        self.inbound = self.unacknowledged = 0
        self.places.give_back(0)
        for waiting in (self.streams, self.stalled, self.requeued, self._holding):
            waiting.clear()
        self.outbox.take()
        while self._opening:
            try:
                self._opening.pop(0)()
            except Exception as failed:
                fault = failed
        if fault is not None:
            raise fault

    def let_go(self) -> None:
        """Forget the muxer: it and the session would keep each other alive."""
        self.outbox.user = ENDED


class YamuxStream:
    """A ``StreamEnd``. ``credit`` is what we may still send, ``window`` what the peer may.

    ``first`` is the flag that leaves with our next frame (SYN or ACK; 0 once it has). ``piece`` is a short write that
    is held back to share a frame with the next one.
    """

    def __init__(self, owner: Session, stream_id: int, window: ReceiveWindow, *, inbound: bool) -> None:
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
            self.gone = True
            self._owner.removed(self)
        if out.frames >= EARLY:
            out.user.early()

    def consumed(self, count: int, clock: Callable[[], float]) -> None:
        if self.receiving is _RECEIVES and self.window.consumed(count):  # half of the window is free: give credit back
            owner, now = self._owner, clock()
            delta = self.window.announce(now, owner.round_trip)
            if delta:
                if not owner.round_trip:
                    owner.ping(now)
                flags, self.first = self.first, 0
                owner.outbox.add(WINDOW_UPDATE, flags, self.id, delta)
        elif self.receiving is _FINISHED and not self.gone:
            self.window.consumed(count)

    def discard(self) -> None:
        """What still comes is dropped, within the credit that the peer has."""
        if not self.gone:
            self.receiving = RECEIVING[self.receiving, _DISCARD]
            if self.window.buffered:
                self.window.dropped(self.window.buffered)

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
        self.receiving = RECEIVING[self.receiving, _FIN]
        if self.finished:
            self.gone = True
            self._owner.removed(self)

    def end_both(self) -> None:
        self.piece, self.first = b"", 0
        self._owner.removed(self)
        self._reset()

    def fail(self, error: Exception) -> None:
        """The connection has ended; the session forgets the stream itself."""
        self._reset()
        self.window.close()
        sink, self.sink = self.sink, NOBODY
        sink.failed(error)

    def _reset(self) -> None:
        self.gone = self.finished = True
        self.sending, self.receiving = SENDING[self.sending, _RESET], RECEIVING[self.receiving, _RESET]


def _full(message: str, limit: str, current: int, maximum: int) -> LimitExceeded:
    return LimitExceeded(message, limit=limit, current=current, maximum=maximum)
