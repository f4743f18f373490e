"""A transport that brings its own security and its own streams, as QUIC does: nothing of Noise and Yamux is in it.

Peers in one loop hand each other the pieces of their streams as Python objects. Credit is the receiver's: a stream has
a window, and the sender may send more once the reader has consumed.
"""

from __future__ import annotations

import asyncio
import math
import os
from collections import deque
from collections.abc import Callable, Collection
from functools import partial
from typing import Any

from multiaddr import Multiaddr

from stronghold_p2p.addressing.kinds import tcp_address
from stronghold_p2p.codes import GoAway, farewell
from stronghold_p2p.errors import ConnectionClosed, DialError, PeerIdMismatch, StreamReset
from stronghold_p2p.identity import PeerId, PublicKey
from stronghold_p2p.identity.keys.identity import Identity
from stronghold_p2p.seams import NOBODY, Arrivals, MuxerUser, Sink, StreamEnd, Upgraded
from stronghold_p2p.streams.waiter import Turn
from tests.support.memory import MemoryListener, dialed_port, listening, place

WINDOW = 256 << 10


class NativeEnd:
    """One end of one stream."""

    def __init__(self, muxer: NativeMuxer, stream_id: int) -> None:
        self.sink: Sink = NOBODY
        self.due = math.inf
        self.id = stream_id
        self.gone = self.finished = False
        self.ended = False  # the peer's direction
        self.discarding = False
        self.credit = WINDOW
        self._muxer = muxer

    def send(self, data: bytes | memoryview) -> int:
        size = min(len(data), self.credit)
        if size:
            self.credit -= size
            self._muxer.tell("data", self.id, bytes(data[:size]))
        return size

    def send_now(self, data: bytes) -> None:
        if not self.gone and not self.finished:
            self.credit -= len(data)
            self._muxer.tell("data", self.id, data)

    def wait_turn(self, *, again: bool) -> None:
        """Credit is all that a writer waits for."""

    def consumed(self, count: int, clock: Callable[[], float]) -> None:
        if not self.gone and not self.discarding:
            self._muxer.tell("credit", self.id, count)

    def finish(self) -> None:
        if not self.finished and not self.gone:
            self.finished = True
            self._muxer.tell("fin", self.id, None)
            if self.ended:
                self.remove()

    def discard(self) -> None:
        self.discarding = True

    def reset(self, code: int = 0) -> None:
        if not self.gone:
            self._muxer.tell("reset", self.id, code)
            self.remove()

    def remove(self) -> None:
        self.gone = True
        self.sink = NOBODY
        self._muxer.removed(self)


class NativeMuxer:
    """One end of one connection; ``other`` is the other one."""

    def __init__(self, proven: tuple[PeerId, PublicKey], ends: tuple[Multiaddr, Multiaddr], *, dialer: bool) -> None:
        self.peer, self.public_key = proven
        self.local, self.remote = ends
        self.other: NativeMuxer
        self.round_trip = 1e-4
        self._loop = asyncio.get_running_loop()
        self.turn = Turn(self._loop)
        self.heard = self._loop.time()
        self._user: MuxerUser | None = None
        self._ends: dict[int, NativeEnd] = {}
        self._next_id = 1 if dialer else 2
        self._waiting: deque[tuple[str, int, Any]] = deque()
        self._known = 0  # the highest id that the peer has used
        self._due = self.closed = False

    # ------------------------------------------------------------------ Upgraded

    def start(self, user: MuxerUser) -> NativeMuxer:
        if self.closed:
            raise ConnectionClosed("the peer closed the connection during the upgrade", remote=True)
        self._user = user
        return self

    def refuse(self, code: int, error: Exception) -> None:
        self.tell("bye", 0, code)
        self.closed = True

    def begin(self) -> None:
        self._work_soon()

    # ------------------------------------------------------------------ between both

    def tell(self, what: str, stream: int, value: Any) -> None:
        """Hand something to the other end, in the loop's next turn."""
        if not self.closed:
            self.other._waiting.append((what, stream, value))
            self.other._work_soon()

    def _work_soon(self) -> None:
        if not self._due and self._waiting and self._user is not None:
            self._due = True
            self._loop.call_soon(self._work)

    def _work(self) -> None:
        self._due = False
        self.heard = self._loop.time()
        self.turn.waiting = []
        waiting, self._waiting = self._waiting, deque()
        while waiting and not self.closed:
            self._heard(*waiting.popleft())
        self.turn.resume()
        self.turn.starting = False

    def _heard(self, what: str, stream: int, value: Any) -> None:
        if what == "bye":
            lost = value is None
            told = "the peer closed the connection without a goodbye" if lost else farewell(value)
            self._end(ConnectionClosed(told, code=value, remote=True))
            return
        end = self._ends.get(stream)
        if end is None:
            if what != "data" or stream % 2 == self._next_id % 2 or value is None:
                return
            end = self._accepted(stream)
            if end is None:
                return
        if what == "data" and not end.discarding:
            end.sink.data(value)
        elif what == "credit":
            end.credit += value
            end.sink.ready()
        elif what == "fin":
            end.ended, sink = True, end.sink
            if end.finished:
                end.remove()
            sink.end()
        elif what == "reset":
            sink = end.sink
            end.remove()
            sink.failed(StreamReset(f"the peer reset the stream with code {value:#x}", code=value))

    def _accepted(self, stream: int) -> NativeEnd | None:
        assert self._user is not None
        if stream <= self._known:
            return None
        self._known = stream
        end = self._ends[stream] = NativeEnd(self, stream)
        sink = self._user.accepted(end)
        if end.gone:
            return None
        end.sink = sink
        return end

    def removed(self, end: NativeEnd) -> None:
        self._ends.pop(end.id, None)

    # ------------------------------------------------------------------ Muxer

    @property
    def streams(self) -> Collection[StreamEnd]:
        return self._ends.values()

    @property
    def opened(self) -> int:
        return (self._next_id - 1) // 2

    def open(self) -> StreamEnd:
        end = self._ends[self._next_id] = NativeEnd(self, self._next_id)
        self._next_id += 2
        return end

    def when_openable(self, wake: Callable[[], None]) -> None:
        """It always is."""

    forget_opening = when_openable

    def due(self) -> float:
        return math.inf

    def tick(self, now: float) -> None:
        """Both ends are in one process: nobody goes without a word."""

    def probe(self, now: float) -> None:
        """As above."""

    def close(self, code: int, error: Exception) -> None:
        if not self.closed:
            self.tell("bye", 0, code)
            self._end(error)

    def abort(self, error: Exception) -> None:
        if not self.closed:
            self.tell("bye", 0, None)
            self._end(error)

    def _end(self, error: Exception) -> None:
        self.closed = True
        for end in list(self._ends.values()):
            end.gone = True
            sink, end.sink = end.sink, NOBODY
            sink.failed(error)
        self._ends.clear()
        user, self._user = self._user, None
        if user is not None:
            user.ended(error)
            self._loop.call_soon(user.gone)


class NativeTransport:
    """In the place of TCP. Each end proves its identity by a signature over the other's challenge."""

    def __init__(self, identity: Identity) -> None:
        self.identity = identity
        self._pending: set[NativeMuxer] = set()

    def handles(self, address: Multiaddr) -> bool:
        return tcp_address(address) is not None

    def proven(self, challenge: bytes) -> tuple[PeerId, PublicKey]:
        """Who we are, as somebody sees it who has made us sign ``challenge``."""
        key = self.identity.public_key
        assert key.verify(challenge, self.identity.sign(challenge))
        return PeerId.from_public_key(key), key

    async def dial(self, address: Multiaddr, expected: PeerId | None, *, name: str = "") -> Upgraded:
        port = dialed_port(address)
        await asyncio.sleep(0)
        listener = listening().get(port)
        if listener is None:
            raise DialError(f"{address}: Connection refused")
        server: NativeTransport = listener.transport
        peer, key = server.proven(os.urandom(32))
        if expected not in (None, peer):
            raise PeerIdMismatch(expected=expected, actual=peer)
        source = place("127.0.0.1", 1 + os.getpid() % 60_000)
        ours = NativeMuxer((peer, key), (source, address), dialer=True)
        theirs = NativeMuxer(self.proven(os.urandom(32)), (address, source), dialer=False)
        ours.other, theirs.other = theirs, ours
        if not listener.accept(theirs):
            raise ConnectionClosed("the peer closed the connection during the upgrade", remote=True)
        return ours

    async def listen(self, address: Multiaddr, arrivals: Arrivals) -> MemoryListener:
        listener = MemoryListener(address)
        listener.transport = self  # type: ignore[attr-defined]
        listener.accept = lambda muxer: self._accept(muxer, arrivals)  # type: ignore[attr-defined]
        return listener

    def _accept(self, muxer: NativeMuxer, arrivals: Arrivals) -> bool:
        arrival = arrivals.admit("127.0.0.1", muxer.local)
        if arrival is None:
            return False
        arrival.give_up = lambda: muxer.abort(ConnectionClosed("given up"))

        def go() -> None:
            if muxer.closed:
                return
            arrival.proven(muxer)
            if muxer.closed:
                arrival.failed(ConnectionClosed("refused", code=GoAway.GATED))

        arrival.begin(partial(_soon, go))
        return True

    def close(self) -> None:
        """Nothing is under way for longer than a turn."""


def _soon(go: Callable[[], None]) -> None:
    asyncio.get_running_loop().call_soon(go)
