"""What leaves with the next write: the frames of one turn of the loop, in order.

Frames collect here as the pieces of one plaintext, which a flush takes, seals and writes at once. The first frame after
a flush has the muxer notified, which flushes behind everything else that is due in this turn. Bodies of one stream that
follow each other share a frame, up to ``MAX_BODY``, so that writes of any size travel in full records.
"""

from typing import Final, Protocol, TypeAlias

from stronghold_p2p.errors import LimitExceeded
from stronghold_p2p.seams import Buffer, Sink, StreamEnd
from stronghold_p2p.yamux.header import DATA, HEADER, HEADER_SIZE, MAX_BODY

# When frames leave, and who goes on then. ``python -m benchmarks.flushing`` shows what each constant is worth; those of
# sealing stand in noise/records.py.

# What one turn may collect before writers wait: four records, so that plaintext and ciphertext together stay within a
# core's second-level cache.
TURN_BYTES: Final = 4 * (MAX_BODY + HEADER_SIZE)
EARLY: Final = 24  # frames, twelve answers' worth, that are sent before the turn is over: the peer works while we do
JOIN_UP_TO: Final = 4_096  # so short a write is joined with a piece that is held back: cheaper than a frame
WAKE_TOGETHER: Final = 16  # writers woken after a flush; the next flush wakes the next ones
APART: Final = 64  # control frames that are pieces of their own; more are joined: an inbox of pings has 20,000

_pack = HEADER.pack

Frames: TypeAlias = list[Buffer]  # as pieces of one plaintext


class SessionUser(Protocol):
    """The muxer, which sees to it that frames leave."""

    def accept(self, stream: StreamEnd) -> Sink:
        """The peer opens ``stream``; it may be reset at once."""

    def notify(self) -> None:
        """There is something to send after there was nothing."""

    def early(self) -> None:
        """So many frames have collected that the peer should not wait for the end of the turn."""

    def worn(self) -> None:
        """Few ids are left for streams of ours. Told once, while one is being opened."""

    def refused(self, error: LimitExceeded) -> None:
        """A limit has cost the peer a stream."""


class Outbox:
    """Collects frames until ``take``; notifies ``user`` once after there was nothing."""

    def __init__(self, user: SessionUser) -> None:
        self.user = user
        self.size = 0
        self.control = 0  # frames that the peer made us send
        self.frames = 0
        self.taken = 0  # bytes of the last ``take``
        # Somebody has been, or flushes when it is through with what it does: it sets this at its beginning.
        self.notified = False
        self._frames: Frames = []
        self._stream = 0  # whose frame is the last one and may still grow
        self._header_at = 0
        self._flags = 0
        self._open_size = 0

    def wake(self) -> None:
        """Notify the user, unless it has been since the last ``take``."""
        if not self.notified:
            self.notified = True
            self.user.notify()

    def data(self, stream_id: int, flags: int, body: bytes | memoryview) -> None:
        """Add a body, to the last frame where it fits."""
        size = len(body)
        if size > MAX_BODY or self._stream == stream_id:
            self._join(stream_id, flags, body)
            return
        frames = self._frames
        self._stream = stream_id
        self._header_at = len(frames)
        self._flags = flags
        self._open_size = size
        frames.append(_pack(0, DATA, flags, stream_id, size))
        frames.append(body)
        self.size += HEADER_SIZE + size
        self.frames += 1
        if not self.notified:
            self.notified = True
            self.user.notify()

    def _join(self, stream_id: int, flags: int, body: bytes | memoryview) -> None:
        rest = memoryview(body)
        if self._stream == stream_id and not flags and (room := MAX_BODY - self._open_size):
            piece, rest = rest[:room], rest[room:]
            self._open_size += len(piece)
            self._frames[self._header_at] = _pack(0, DATA, self._flags, stream_id, self._open_size)
            self._frames.append(piece if rest else body)
            self.size += len(piece)
        while rest:
            self._stream = 0  # a frame of its own
            self.data(stream_id, flags, rest[:MAX_BODY])
            rest, flags = rest[MAX_BODY:], 0

    def add(self, kind: int, flags: int, stream_id: int, length: int) -> None:
        """Add a frame without a body."""
        header, frames = _pack(0, kind, flags, stream_id, length), self._frames
        if self.control < APART:
            frames.append(header)
        elif frames and not self._stream and isinstance(last := frames[-1], bytearray):
            last += header
        else:
            frames.append(bytearray(header))
        self._stream = 0
        self.size += HEADER_SIZE
        self.control += 1
        self.frames += 1
        if not self.notified:
            self.notified = True
            self.user.notify()

    def take(self, *, early: bool = False) -> Frames:
        """Everything collected, as the pieces of one plaintext; ``early``: whoever was notified still comes."""
        self.notified = self.notified and early
        frames, self._frames = self._frames, []
        self.taken = self.size
        self.size = self.control = self.frames = self._stream = 0
        return frames
