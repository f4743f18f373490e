"""Frames out of plaintext: the parser of a session, and the hottest loop behind the cipher.

A record may hold many frames, and a frame may span records. ``receive`` unpacks headers in place and dispatches by
type. The usual frame is data for a stream that somebody reads, with its whole body in this record and no FIN or RST:
``_whole_body`` takes it off the stream's window and hands the sink one copy of it, which is the reader's.

Everything else goes the slow way. ``_start_body`` judges a body by its header, before any of it is there, and remembers
whose it is; ``_body`` passes on each piece as it arrives, and ends the stream behind the last one if the frame says so.
Bytes for nobody (a stream that is gone, or was closed) are counted and dropped. Headers that are cut are kept.

Peers may send frames that mean nothing, and a few are no fault. ``_nothing_useful`` counts those in a row.

Frames of the least size cost most: an inbox holds 20,000 of them, and many connections may have one full. So all that
come in one turn of the loop have ``TURN_SECONDS`` together, from ``since`` on. ``receive_in_turn`` takes what fits
into that, and a few frames in any case; ``behind`` says that there is more, for the next turn (hostile row 42).
"""

from collections.abc import Callable
from struct import Struct
from typing import Final

from stronghold_p2p.codes import GoAway, Reset, farewell
from stronghold_p2p.errors import ConnectionClosed, MuxerError
from stronghold_p2p.seams import Buffer
from stronghold_p2p.yamux.header import (
    ACK,
    DATA,
    FIN,
    GO_AWAY,
    HEADER_SIZE,
    MAX_CREDIT,
    RST,
    SYN,
    WINDOW_UPDATE,
)
from stronghold_p2p.yamux.session import Session, YamuxStream
from stronghold_p2p.yamux.state import Receiving

EMPTY_FRAMES: Final = 1_000  # in a row that carry nothing: they cost us work and the peer no credit (as in HTTP/2)
TURN_SECONDS: Final = 0.005  # of one turn for what comes
LOOK_BYTES: Final = 64 * HEADER_SIZE  # between two looks at the clock, and fewer than 64 frames
LOOK_PIECES: Final = 32  # as well
_NEVER: Final = 1 << 62

_ENDS: Final = FIN | RST
# Version and type in one: both are 0 in nearly every frame.
_unpack: Final = Struct(">HHII").unpack_from
_OPEN = Receiving.OPEN
_FINISHED = Receiving.FINISHED
_DISCARDING = Receiving.DISCARDING


class Receiver:
    """Parses for one ``session``; ``clock`` is that of ``since``."""

    __slots__ = (
        "_body_flags",
        "_body_left",
        "_body_stream",
        "_clock",
        "_empty",
        "_look",
        "_partial",
        "_pieces",
        "_session",
        "behind",
        "since",
    )

    def __init__(self, session: Session, clock: Callable[[], float]) -> None:
        self._session = session
        self._clock = clock
        self.behind = False
        self.since = 0.0
        self._look = _NEVER  # how far a piece is read before a look at the clock
        self._pieces = 0
        self._partial = b""
        self._body_left = 0
        self._body_stream: YamuxStream | None = None
        self._body_flags = 0
        self._empty = 0

    def receive_in_turn(self, data: Buffer) -> bool:
        """``receive``, but no more than this turn may take.

        True: that was enough. What is left (``behind``) is for the next turn, which begins with an empty piece.
        """
        self.behind, self._look = False, LOOK_BYTES
        try:
            self.receive(data)
        finally:
            self._look = _NEVER
        self._pieces += 1  # empty ones, and those of a few bytes, are work, too
        return self.behind or (self._pieces % LOOK_PIECES == 0 and self._is_over())

    def receive(self, data: Buffer) -> None:
        """Process plaintext, which may change afterwards: what is kept of it is copied.

        Raises ``MuxerError``, or ``ConnectionClosed`` on the peer's go-away.
        """
        session = self._session
        if self._partial:
            data = self._partial + bytes(data)
            self._partial = b""
        pos, end = 0, len(data)
        streams = session.streams
        if self._body_left:
            pos = min(self._body_left, end)
            self._body(data[:pos])
        begun, look = pos, self._look
        while end - pos >= HEADER_SIZE and not session.closed:
            if pos >= look:
                if self._is_over():
                    break
                look = pos + LOOK_BYTES
            kind, flags, stream_id, length = _unpack(data, pos)
            pos += HEADER_SIZE
            if kind != DATA:
                self._on_control(kind, flags, stream_id, length)
                continue
            stop = pos + length
            stream = streams.get(stream_id)
            if stream is None or flags & SYN:
                stream = session.find(flags, stream_id)
            if stream is not None and length and stop <= end and not flags & _ENDS:  # the usual frame
                self._whole_body(stream, flags, data[pos:stop], length)
                pos = stop
            elif stream is not None and flags == FIN and not length and stream.receiving is not _FINISHED:
                sink = stream.sink
                stream.end_by_peer()  # the usual end
                sink.end()
            else:
                self._on_data(stream, flags, stream_id, length)
                pos = self._begin_body(data, pos)
        if pos < end or self._body_left or session.incomplete_since is not None:
            self._unfinished(data[pos:], another=pos > begun or (begun > 0 and not self._body_left))
        if session.violation is not None:
            raise session.violation

    def _begin_body(self, data: Buffer, pos: int) -> int:
        """Take what there is of the body at ``pos``, if it has to be; returns where that ends."""
        if self._body_left:
            begun, pos = pos, min(pos + self._body_left, len(data))
            self._body(data[begun:pos])
        return pos

    def _is_over(self) -> bool:
        """Whether this turn has taken enough: then others have theirs."""
        self.behind = self._clock() - self.since >= TURN_SECONDS
        return self.behind

    def _unfinished(self, rest: Buffer, *, another: bool) -> None:
        """Keep what is left of a header. ``another``: another frame, or the body of that header, is incomplete now."""
        session = self._session
        if not session.closed:
            self._partial = bytes(rest)
        if not self._partial and not self._body_left:
            session.incomplete_since = None
        elif another or session.incomplete_since is None:
            session.incomplete_since = session.now

    def _whole_body(self, stream: YamuxStream, flags: int, piece: Buffer, size: int) -> None:
        session = self._session
        if flags & ACK and not stream.acknowledged:
            session.acknowledged(stream)
        budget = session.budget
        if stream.receiving is not _OPEN or budget.buffered + size > budget.maximum:
            self._start_body(stream, flags, size)
            self._body(piece)
            return
        window = stream.window
        if size > window.credit:
            raise _overrun(stream, size)
        window.credit -= size  # ``window.received``
        window.buffered += size
        budget.buffered += size
        self._empty = 0
        stream.sink.data(bytes(piece))

    def _on_data(self, stream: YamuxStream | None, flags: int, stream_id: int, length: int) -> None:
        if stream is None:
            if length:
                self._session.drop(stream_id, length)
                self._body_left, self._body_stream, self._body_flags = length, None, 0
            return
        useful = flags & (SYN | RST) or (flags & FIN and stream.receiving is not _FINISHED)
        if flags & ACK and not stream.acknowledged:
            self._session.acknowledged(stream)
            useful = True
        if length:
            self._start_body(stream, flags, length)
        elif flags & _ENDS:
            self._session.ended(stream, flags, 0)
        if not length and not useful:
            self._nothing_useful()

    def _start_body(self, stream: YamuxStream, flags: int, length: int) -> None:
        self._empty = 0
        self._body_left, self._body_flags = length, flags
        if stream.receiving is _FINISHED:
            # A breach, but go and rust drop it silently; the bytes count as dropped.
            self._session.drop(stream.id, length)
            self._body_stream = None
            if flags & RST:
                self._session.ended(stream, flags, 0)
            return
        if not stream.window.received(length):
            raise _overrun(stream, length)
        self._body_stream = stream
        if stream.receiving is _DISCARDING:
            stream.window.dropped(length)
        elif self._session.budget.buffered > self._session.budget.maximum:
            refusal = self._session.budget.refusal()
            if refusal is not None:
                sink = stream.sink
                stream.reset(Reset.RESOURCE_LIMIT)
                sink.failed(refusal)
                self._session.outbox.user.refused(refusal)

    def _body(self, piece: Buffer) -> None:
        self._body_left -= len(piece)
        stream = self._body_stream
        if stream is None:
            return
        if stream.receiving is _OPEN and piece:
            stream.sink.data(bytes(piece))
        if not self._body_left:
            self._body_stream = None
            # The body comes before the FIN that shares its frame: js peers lose it the other way round.
            if self._body_flags & _ENDS:
                self._session.ended(stream, self._body_flags, 0)

    def _on_control(self, kind: int, flags: int, stream_id: int, length: int) -> None:
        if kind == WINDOW_UPDATE:
            self._on_window_update(flags, stream_id, length)
        elif kind > 0xFF:
            raise MuxerError(f"yamux version {kind >> 8}", code=GoAway.PROTOCOL_ERROR)
        elif kind > GO_AWAY or stream_id:
            raise MuxerError(f"frame type {kind} on stream {stream_id}", code=GoAway.PROTOCOL_ERROR)
        elif kind == GO_AWAY:
            raise ConnectionClosed(farewell(length), code=length, remote=True)
        elif flags & SYN:
            self._session.pinged(length)
        elif flags & ACK:
            self._session.ponged(length)

    def _on_window_update(self, flags: int, stream_id: int, length: int) -> None:
        stream = self._session.streams.get(stream_id)
        if stream is None or flags & SYN:
            stream = self._session.find(flags, stream_id)
            if stream is None:
                return
        useful = flags & SYN or (flags & FIN and stream.receiving is not _FINISHED)
        if flags & ACK and not stream.acknowledged:
            self._session.acknowledged(stream)
            useful = True
        if flags & RST:  # the Length of a RST is an error code, never credit (go-libp2p core/network/mux.go)
            self._session.ended(stream, flags, length)
            return
        if length:
            self._empty = 0
            had = stream.credit
            stream.credit = min(had + length, MAX_CREDIT)
            if not had:
                stream.sink.ready()
        elif not useful:
            self._nothing_useful()
        if flags & FIN:
            self._session.ended(stream, flags, 0)

    def _nothing_useful(self) -> None:
        self._empty += 1
        if self._empty > EMPTY_FRAMES:
            raise MuxerError("too many frames that carry nothing", code=GoAway.PROTOCOL_ERROR)


def _overrun(stream: YamuxStream, length: int) -> MuxerError:
    return MuxerError(f"stream {stream.id}: a body of {length} bytes exceeds the window", code=GoAway.PROTOCOL_ERROR)
