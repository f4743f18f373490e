"""A WebSocket as a wire around a wire: over a socket for ``/ws``, over TLS for ``/wss``.

It is the user of the wire below it, and a wire to its own user, which first is the upgrade and then the muxer. It
delivers within the callback of the wire below: what it hands on lies there, or in memory of its own, and nobody else
reads it. All that came in one callback is handed on at once; what the user writes at once leaves as one message.

The handshake (``websocket_opening.py``) comes first. What the user writes before its end waits, so the first message of
libp2p leaves as soon as the answer is there: one round trip more than over TCP. The deadline is the upgrade's own.

A close frame ends a connection as FIN ends one over TCP. We answer it, close our direction, and give the other side
``CLOSE_GRACE`` seconds to close its own, so that the last words arrive: a socket that is closed with unread bytes is
reset. The user is told at the end of that.
"""

import asyncio
import os
from collections.abc import Mapping
from enum import Enum
from typing import Final
from weakref import WeakKeyDictionary

from stronghold_p2p.errors import ConnectionClosed, HandshakeError
from stronghold_p2p.logs import OneLine
from stronghold_p2p.seams import NOBODY, Buffer, Wire, WireUser
from stronghold_p2p.transport.websocket_opening import MAX_HEAD, PHASE, Opening
from stronghold_p2p.transport.wire_faults import internal
from stronghold_p2p.websocket.closing import NORMAL, ORDINARY, Close
from stronghold_p2p.websocket.frames import FrameReader, FrameWriter, Opcode
from stronghold_p2p.websocket.space import Space

try:
    from websockets.speedups import apply_mask
except ImportError:  # there is no such wheel for this machine: 90 times slower, and still half a GB/s
    from websockets.utils import apply_mask

_spaces: WeakKeyDictionary[asyncio.AbstractEventLoop, Space] = WeakKeyDictionary()

CLOSE_GRACE: Final = 1.0  # seconds for the other side to close


class Phase(Enum):
    """Where a WebSocket is (RFC 6455, 4 and 7.1)."""

    OPENING = "the handshake"
    OPEN = "open"
    CLOSING = "we have closed, and still read"
    OVER = "nothing that comes is of interest any more"
    LOST = "the wire below is gone"


class Event(Enum):
    """What happens to a WebSocket."""

    OPENED = "the handshake is done"
    FINISH = "the user closes its direction"
    LAST = "the other side has closed, or is not to be talked to"
    LOSE = "the wire below is gone"


PHASES: Final[Mapping[tuple[Phase, Event], Phase]] = {
    (Phase.OPENING, Event.OPENED): Phase.OPEN,
    (Phase.OPENING, Event.FINISH): Phase.OVER,
    (Phase.OPENING, Event.LAST): Phase.OVER,
    (Phase.OPEN, Event.FINISH): Phase.CLOSING,
    (Phase.OPEN, Event.LAST): Phase.OVER,
    (Phase.CLOSING, Event.FINISH): Phase.CLOSING,
    (Phase.CLOSING, Event.LAST): Phase.OVER,
    (Phase.OVER, Event.FINISH): Phase.OVER,
    **{(phase, Event.LOSE): Phase.LOST for phase in Phase if phase is not Phase.LOST},
}


class WebSocketWire:
    """Takes ``wire`` over, and begins with its side of the handshake. Who makes it sets ``local`` and ``remote``."""

    def __init__(self, wire: Wire, opening: Opening) -> None:
        self.local, self.remote, self.host = wire.local, wire.remote, wire.host
        self.congested = self.lost = False
        self.user: WireUser = NOBODY
        self._wire = wire
        self._opening: Opening | None = opening
        self._loop = asyncio.get_running_loop()
        self._space = _spaces.get(self._loop) or _spaces.setdefault(self._loop, Space())
        self._reader = FrameReader(apply_mask, masked=not opening.client)
        self._writer = FrameWriter(apply_mask, os.urandom if opening.client else None, self._space.sent)
        self._phase = Phase.OPENING
        self._early = bytearray()  # written before the end of the handshake
        self._tail = b""
        self._paused = self._resting = False
        self._timer: asyncio.TimerHandle | None = None
        self._error: Exception | None = None
        wire.user = self
        self._say(opening)

    # ------------------------------------------------------------------------------------ of the wire below

    def received(self, view: memoryview) -> int:
        try:
            return self._take(view)
        except Exception as error:  # a fault of ours ends this connection only
            self._fault(error)
            return len(view)

    def _take(self, view: memoryview) -> int:
        phase, opening = self._phase, self._opening
        if phase is Phase.OVER or phase is Phase.LOST:
            return len(view)
        if self._paused or self._resting:  # uvloop begins to read after ``connection_made``, whatever was said in it
            self._wire.pause()
            if opening is not None and len(view) > MAX_HEAD:
                self._end(HandshakeError(f"more than {MAX_HEAD} bytes before it is their turn", phase=PHASE))
                return len(view)
            return 0
        if opening is None:
            return self._read(view)
        used = opening.feed(view)
        self._say(opening)
        if opening.error is not None:
            self._end(opening.error)
            return len(view)
        if opening.done:
            self._opened()
            if used < len(view) and not self._paused:
                used += self._read(view[used:])
        return used

    def writable(self) -> None:
        self.congested = False
        self.user.writable()

    def ended(self, error: Exception | None) -> None:
        self._phase = PHASES[self._phase, Event.LOSE]
        self.lost = True
        self._opening = None
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        user, self.user = self.user, NOBODY
        user.ended(self._why(error))

    # ------------------------------------------------------------------------------------ of a wire

    @property
    def partial(self) -> bool:
        return bool(self._tail)

    @property
    def unsent(self) -> int:
        return self._wire.unsent + len(self._early)

    @property
    def delivered(self) -> int:
        return self._wire.delivered

    def write(self, data: bytes | memoryview) -> None:
        if self._phase is Phase.OPEN:
            self._send(data)
            self.congested = self._wire.congested
        elif self._phase is Phase.OPENING:
            self._early += data

    def pause(self) -> None:
        self._paused = True
        self._wire.pause()

    def resume(self) -> None:
        self._paused = False
        if not self._resting:
            self._wire.resume()
        if self._tail or self._reader.close is not None:
            self._loop.call_soon(self._deliver_kept)

    def finish(self) -> None:
        if self.lost:
            return
        if self._phase is Phase.OPEN:
            self._send(Close(NORMAL).payload(), Opcode.CLOSE)
        self._phase = PHASES[self._phase, Event.FINISH]
        self._wire.finish()

    def abort(self) -> None:
        if self._phase not in {Phase.OVER, Phase.LOST}:
            self._phase = PHASES[self._phase, Event.LAST]
        self._wire.abort()

    # ------------------------------------------------------------------------------------ in between

    def _say(self, opening: Opening) -> None:
        out, opening.out = opening.out, b""
        if out:
            self._wire.write(out)

    def _opened(self) -> None:
        self._phase = PHASES[self._phase, Event.OPENED]
        self._opening = None
        early, self._early = self._early, bytearray()
        if early:
            self.write(memoryview(early))

    def _send(self, data: Buffer, opcode: Opcode = Opcode.BINARY) -> None:
        self._wire.write(self._writer.frame(data, opcode))

    def _read(self, view: memoryview) -> int:
        reader, space = self._reader, self._space
        space.begin(self._tail)
        used = reader.receive(view, space.take, self._loop.time())
        self._deliver(space.taken())
        if reader.ping is not None:
            ping, reader.ping = reader.ping, None
            if self._phase is Phase.OPEN:
                self._send(ping, Opcode.PONG)
        if reader.fault is not None:
            self._end(ConnectionClosed(f"the peer speaks no WebSocket: {reader.fault.reason}"), reader.fault)
        elif reader.close is not None:
            self._closed()
        elif reader.more and used < len(view):
            self._rest()
        return used

    def _deliver(self, view: memoryview) -> None:
        if len(view) == len(self._tail):  # there is nothing new
            return
        self._tail = b""
        user = self.user
        used = user.received(view)
        while used < len(view) and self.user is not user:  # a change of phase: the rest is for the next one
            view, user = view[used:], self.user
            used = user.received(view)
        if used < len(view):
            self._tail = bytes(view[used:])

    def _deliver_kept(self) -> None:
        if self._paused or self._phase is Phase.OVER or self._phase is Phase.LOST:
            return
        kept, self._tail = self._tail, b""
        try:
            self._deliver(memoryview(kept))
            if self._reader.close is not None:
                self._closed()
        except Exception as error:  # a bare callback of the loop: no receive is above it
            self._fault(error)

    def _rest(self) -> None:
        """Many small frames came at once: the others of this loop have their turn before the next ones."""
        self._resting = True
        self._wire.pause()
        self._loop.call_soon(self._go_on)

    def _go_on(self) -> None:
        self._resting = False
        if not self._paused and not self.lost:
            self._wire.resume()

    def _closed(self) -> None:
        """The peer has closed: once the user has taken what came before, that is the end."""
        if self._paused or self._phase is Phase.OVER or self._phase is Phase.LOST:
            return
        close = self._reader.close
        assert close is not None
        error = None
        if close.code not in ORDINARY:
            error = ConnectionClosed(f"the peer closed the WebSocket: {OneLine(close)}", remote=True)
        self._end(error, close)

    def _end(self, error: Exception | None, close: Close | None = None) -> None:
        """Say ``close`` and read no more; the user is told when the other side has closed, or was long enough about
        it.
        """
        if self._phase is Phase.OVER or self._phase is Phase.LOST:
            return
        if close is not None and self._phase is Phase.OPEN:
            self._send(close.payload(), Opcode.CLOSE)
        self._phase = PHASES[self._phase, Event.LAST]
        self._error = error
        self._wire.finish()
        self._wire.resume()
        self._timer = self._loop.call_later(CLOSE_GRACE, self._wire.abort)

    def _fault(self, error: Exception) -> None:
        self._error = internal(error, "a WebSocket", opened=self._opening is None)
        self.abort()

    def _why(self, error: Exception | None) -> Exception | None:
        """What the user is told. Behind a close, how the wire below ends means nothing."""
        if self._error is not None:
            return self._error
        if self._tail or self._reader.inside:
            return error or ConnectionClosed("the peer closed in the middle of a record", remote=True)
        return None if self._reader.close is not None else error
