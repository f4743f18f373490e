"""Busy polling: to look at a socket again instead of going back to the event loop. Only with ``Timeouts.busy_poll``.

Two programs on one machine that answer each other's short messages wait for each other a few dozen microseconds,
which is less than the loop takes to go to sleep and to come back. So the wire that has just answered looks for what
comes next a little longer: busy polling, as Linux knows it for network devices (socket(7), SO_BUSY_POLL).

It costs processor time where it finds nothing. It is tried now and then, goes on while it finds something, and is
tried less and less often where it does not: a peer behind a real network is never that quick. While two wires of a loop
are at work there is none, as one would wait while there is something to do for the other.
"""

import asyncio
import os
from collections.abc import Callable
from time import monotonic
from typing import Any, Final
from weakref import WeakKeyDictionary

from stronghold_p2p.transport.socket_wire import SocketWire

SHORT: Final = 4_096  # bytes that came and went together; transfers keep both ends busy anyway
SLICE: Final = 1e-3  # seconds after which the loop has its turn, whatever still comes
FIRST: Final = 8  # answers until it is tried (again)
MOST: Final = 1_024


class SpinPolicy:
    """Whether looking is worth it; one for all wires of an event loop, as only one of them may look."""

    __slots__ = ("__weakref__", "_left", "_patience", "user")

    def __init__(self) -> None:
        self._left = self._patience = FIRST
        self.user: object = None  # for whom bytes came last

    def change(self, user: object) -> None:
        """Bytes came for another ``user``."""
        self.user = user
        self._left = self._patience

    def forget(self, user: object) -> None:
        """``user`` is gone."""
        if user is self.user:
            self.user = None

    def due(self) -> bool:
        """It has answered: is it time to look for what comes next?"""
        self._left -= 1
        return self._left < 0

    def looked(self, *, found: bool) -> None:
        """It was worth it; or it was not: wait for more answers, and the next time for twice as many."""
        self._left = 0 if found else self._patience
        self._patience = FIRST if found else min(2 * self._patience, MOST)


_policies: WeakKeyDictionary[asyncio.AbstractEventLoop, SpinPolicy] = WeakKeyDictionary()


class PollingWire(SocketWire):
    """Looks up to ``patience`` seconds for more after a short answer to a short message."""

    def __init__(self, inbox: memoryview, on_made: Callable[[Any], None], patience: float) -> None:
        super().__init__(inbox, on_made)
        self._policy = _policies.setdefault(self._loop, SpinPolicy())
        self._patience = patience
        self._broken: OSError | None = None
        self._paused = False
        self._looking = False  # or receiving: what is written then is looked after at the end
        self._soon = False
        self._written = 0  # since the last bytes came, straight to the socket

    def buffer_updated(self, nbytes: int) -> None:
        if self._policy.user is not self:  # while others receive, too, each has its turn
            self._policy.change(self)
        size, self._written = len(self._tail) + nbytes, 0
        self._looking = True
        try:
            self._deliver(self._inbox[:size])
        finally:
            self._looking = False
        if nbytes < SHORT:
            self._look()

    def connection_lost(self, exc: Exception | None) -> None:
        self._policy.forget(self)
        super().connection_lost(exc or self._broken)

    def pause(self) -> None:
        self._paused = True
        super().pause()

    def resume(self) -> None:
        self._paused = False
        super().resume()

    def write(self, data: bytes | memoryview) -> None:
        super().write(data)
        self._written += SHORT if self._behind or self._descriptor < 0 else len(data)
        if not self._looking and not self._soon and self._written < SHORT:
            self._soon = True
            self._loop.call_soon(self._look)

    @property
    def _may_look(self) -> bool:
        return self._descriptor >= 0 and not (self._paused or self.congested)

    def _look(self) -> None:
        """Look for the answer to something short that was written from a bare callback of the loop."""
        self._soon = False
        if self._looking or not 0 < self._written < SHORT:
            return
        if self._policy.user is self and self._may_look and self._policy.due():
            self._looking = True
            try:
                self._look_for_more()
            finally:
                self._looking = False

    def _look_for_more(self) -> None:
        begun = now = monotonic()
        found = True
        while found and now < begun + SLICE:
            size = self._read(now + self._patience)
            found = size > 0
            if found:
                self._written = 0
                self._deliver(self._inbox[: len(self._tail) + size])
                if not self._may_look or size >= SHORT or not 0 < self._written < SHORT:
                    break
                now = monotonic()
        self._policy.looked(found=found)

    def _read(self, due: float) -> int:
        """Read past the transport, as ``write`` writes. 0: nothing until ``due``, or an end, which the loop finds."""
        descriptor, buffers = self._descriptor, (self.get_buffer(-1),)
        while True:
            try:
                return os.readv(descriptor, buffers)
            except BlockingIOError:
                if monotonic() >= due:
                    return 0
            except OSError as error:  # the system tells it only once; to the loop it is an end
                self._broken = error
                return 0
