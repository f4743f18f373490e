"""A stream of one connection as the wire of another: what a relayed circuit is.

Two rules keep both connections from hurting each other. What arrives is delivered at the end of the outer connection's
callback, never from inside it: the outer record is still being read from the workspace that both share, and tasks of
the application must not run while the outer muxer is at work. And it is delivered from memory of its own, so what the
inner user has not used yet stays in front of what follows.

The inner user decides how much may be in flight: credit is given back when it has used what came. What it writes beyond
the outer window is queued here, and ``congested`` tells it to stop.
"""

from collections import deque
from collections.abc import Callable
from math import inf

from multiaddr import Multiaddr

from stronghold_p2p.errors import ConnectionClosed
from stronghold_p2p.seams import NOBODY, StreamEnd, WireUser
from stronghold_p2p.streams.live import LiveStream
from stronghold_p2p.streams.waiter import Turn
from stronghold_p2p.transport.socket_wire import WRITE_HIGH, WRITE_LOW


class StreamWire:
    """Takes a negotiated ``stream`` over; nobody else may use it any more. ``clock`` is the loop's."""

    def __init__(self, stream: LiveStream, local: Multiaddr, remote: Multiaddr, clock: Callable[[], float]) -> None:
        self.local, self.remote = local, remote
        self.host: str | None = None
        self.user: WireUser = NOBODY
        self.congested = self.lost = False
        self._clock = clock
        self._paused = self._due = self._finishing = False
        self._error: Exception | None = None
        self._inbox = bytearray()
        self._queued: deque[bytes | memoryview] = deque()
        self.unsent = 0
        self._turn: Turn = stream.connection.turn
        self._end: StreamEnd
        # ``_over``: FIN or RST has come, or the outer connection has ended.
        self._end, unread, self._over = stream.release()
        self._end.sink = self
        self._inbox += unread
        if unread or self._over:
            self._deliver_soon()

    @property
    def partial(self) -> bool:
        return bool(self._inbox)

    @property
    def delivered(self) -> int:
        return -self.unsent

    def write(self, data: bytes | memoryview) -> None:
        if self.lost or self._finishing:
            return
        self._queued.append(bytes(data))  # the outer muxer reads it when it flushes; the memory may change before
        self.unsent += len(data)
        self._send()
        self.congested = self.congested or self.unsent > WRITE_HIGH

    def _send(self, *, again: bool = False) -> None:
        queued = self._queued
        while queued:
            piece = queued[0]
            taken = self._end.send(piece)
            self.unsent -= taken
            if taken < len(piece):
                queued[0] = memoryview(piece)[taken:]
                self._end.wait_turn(again=again and not taken)
                return
            queued.popleft()
        if self._finishing:
            self._end.finish()

    def pause(self) -> None:
        self._paused = True

    def resume(self) -> None:
        self._paused = False
        if self._inbox or self._over:
            self._deliver_soon()

    def finish(self) -> None:
        self._finishing = True
        if not self._queued:
            self._end.finish()

    def abort(self) -> None:
        if not self.lost:
            self._end.reset()
            self._lose(None)

    def data(self, piece: bytes | memoryview) -> None:
        self._inbox += piece
        self._deliver_soon()

    def end(self) -> None:
        self._over = True
        self._deliver_soon()

    def failed(self, error: Exception) -> None:
        self._over, self._error = True, error
        self._deliver_soon()

    def ready(self) -> None:
        self._send(again=True)
        if self.congested and self.unsent <= WRITE_LOW:
            self.congested = False
            self._turn.add(self._writable)

    def expired(self, now: float) -> None:
        """The user of the wire has deadlines of its own."""
        self._end.due = inf

    def _writable(self) -> None:
        if not self.lost:
            self.user.writable()

    def _deliver_soon(self) -> None:
        if not self._due:
            self._due = True
            self._turn.add(self._deliver)

    def _deliver(self) -> None:
        self._due = False
        while self._inbox and not self._paused and not self.lost:
            inbox, self._inbox = self._inbox, bytearray()
            user = self.user
            used = user.received(memoryview(inbox))
            self._inbox = inbox[used:] + self._inbox
            if used:
                self._end.consumed(used, self._clock)
            if self.user is user:  # else a change of phase: the rest is for the next one
                break
        # An orderly end comes behind all that came before it, also behind what a paused user has yet to read.
        if self._over and not self.lost and (self._error is not None or not self._paused):
            self._lose(self._error)

    def _lose(self, error: Exception | None) -> None:
        self.lost = True
        if error is None and self._inbox:
            error = ConnectionClosed("the peer closed in the middle of a record", remote=True)
        self._let_go()
        self._inbox, user = bytearray(), self.user
        self.user = NOBODY
        user.ended(error)

    def _let_go(self) -> None:
        if not self._end.gone:
            self._end.reset()
        self._queued.clear()
