"""Runs an upgrade over a link: callbacks and one timer, no task.

A connection that has not been accepted yet costs its link, its exchange and a timer handle.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from stronghold_p2p.errors import ConnectionClosed, DeadlineExceeded, HandshakeError, P2PError
from stronghold_p2p.exchange import Exchange, ExchangeRunner
from stronghold_p2p.transport.link import Link
from stronghold_p2p.transport.upgrader import Upgraded

Done = Callable[[Upgraded], None]
Failed = Callable[[Exception], None]


class Upgrading:
    """One upgrade in progress. Exactly one of ``done`` and ``failed`` is called, unless ``cancel`` is.

    ``timeout`` seconds from now is one absolute deadline: a byte now and then does not move it. ``done`` takes
    the link over, and then gets what was left over; after ``failed`` the link is closed.
    """

    __slots__ = ("_done", "_failed", "_link", "_loop", "_runner", "_timeout", "_timer")

    def __init__(
        self,
        link: Link,
        exchange: Exchange[Upgraded],
        *,
        timeout: float | None,
        done: Done,
        failed: Failed,
        loop: asyncio.AbstractEventLoop,
    ) -> None:
        self._link = link
        self._runner: ExchangeRunner[Upgraded] | None = ExchangeRunner(exchange)
        self._timeout = timeout
        self._done = done
        self._failed = failed
        self._loop = loop
        self._timer = None if timeout is None else loop.call_later(timeout, self._expired)
        link.receiver = self._receive
        link.on_failed = self._fail
        link.on_lost = self._lost

    def start(self) -> None:
        """Send what the dialer sends first."""
        assert self._runner is not None
        self._link.write(self._runner.start())

    def _receive(self, view: memoryview) -> int:
        runner = self._runner
        if runner is None:
            return len(view)
        out = runner.feed(view)
        if out:
            self._link.write(out)
        if runner.done:
            self._end()
            self._done(runner.result)
            if runner.leftover:
                self._link.feed(runner.leftover)
        return len(view)

    def cancel(self) -> None:
        """Give up without a word to anybody; the link is aborted."""
        self._end()
        self._link.abort()

    def _end(self) -> None:
        runner, self._runner = self._runner, None
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if runner is not None:
            runner.close()

    def _fail(self, error: Exception) -> None:
        if self._runner is None:
            return
        self._end()
        # No error message exists in any handshake: the peer sees the connection close.
        self._link.abort()
        if not isinstance(error, P2PError):
            internal = HandshakeError(f"internal error during the upgrade: {error!r}", phase="internal")
            internal.__cause__ = error
            error = internal
        self._failed(error)

    def _lost(self, error: Exception | None) -> None:
        cause = ConnectionClosed("the peer closed the connection during the upgrade", remote=True)
        cause.__cause__ = error
        self._fail(cause)

    def _expired(self) -> None:
        self._timer = None
        limit = self._timeout or 0.0
        self._fail(DeadlineExceeded(f"{limit:g} s in the upgrade", timeout=limit, phase="upgrade"))
