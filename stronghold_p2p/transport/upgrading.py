"""Runs an upgrade over a link: callbacks and one timer, no task.

A connection that has not been accepted yet costs its link, its exchange and a timer handle.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

from stronghold_p2p.errors import ConnectionClosed, DeadlineExceeded, HandshakeError, P2PError
from stronghold_p2p.exchange import Exchange, ExchangeRunner
from stronghold_p2p.transport.link import Link
from stronghold_p2p.transport.upgrader import Upgraded

Done = Callable[[Upgraded], None]
Failed = Callable[[Exception], None]

MAX_EARLY: Final = 4_096  # bytes that a dialer sends before it hears of us: two lines and Noise's first message are 62
CLOSE_GRACE: Final = 1.0  # seconds for the peer to close after we did: RST would destroy what it has not read yet


class Upgrading:
    """One upgrade in progress.

    ``timeout`` seconds from now is one absolute deadline: a byte now and then does not move it. ``done`` takes
    the link over, and what was left over follows; or it raises a ``P2PError``, because the connection is not
    wanted: then what it wrote still leaves. Unless ``done`` has returned or ``cancel`` was called, ``failed``
    is called once, and the link is on its way out.
    """

    __slots__ = (
        "_done",
        "_early",
        "_failed",
        "_link",
        "_loop",
        "_over",
        "_refusal",
        "_runner",
        "_take_back",
        "_timeout",
        "_timer",
    )

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
        self._runner: ExchangeRunner[Upgraded] = ExchangeRunner(exchange)
        self._timeout = timeout
        self._done = done
        self._failed = failed
        self._loop = loop
        self._over = False
        self._refusal: P2PError | None = None
        self._take_back: Callable[[], None] | None = None
        self._early = b""
        self._timer = None if timeout is None else loop.call_later(timeout, self._expired)
        link.receiver = self._receive
        link.on_failed = self._fail
        link.on_lost = self._lost

    def start(self) -> None:
        """Send what the dialer sends first."""
        self._link.write(self._runner.start())

    def start_later(self, hold: Callable[[Callable[[], None]], Callable[[], None]]) -> None:
        """Read nothing until what ``hold`` is given is called, then ``start``; ``hold`` returns what takes that back.

        The deadline is the same.
        """
        self._link.receiver = self._keep
        self._link.pause_reading()
        self._take_back = hold(self._go_on)

    def _keep(self, view: memoryview) -> int:
        """What comes all the same: uvloop begins to read after ``connection_made``, whatever was said in it."""
        self._link.pause_reading()
        if len(self._early) + len(view) > MAX_EARLY:
            raise HandshakeError(f"more than {MAX_EARLY} bytes before our answer", phase="multistream")
        self._early += view
        return len(view)

    def _go_on(self) -> None:
        self._take_back = None
        self._link.receiver = self._receive
        try:
            self.start()
            if self._early:
                self._receive(memoryview(self._early))
            self._link.resume_reading()
        except Exception as error:  # a fault of ours: whoever hears of this upgrade does, the loop does not
            self._fail(error)

    def cancel(self) -> None:
        """Give up without a word to anybody; the link is aborted. Does nothing once it is over."""
        if not self._over:
            self._end()
            self._link.abort()

    def _receive(self, view: memoryview) -> int:
        runner = self._runner
        out = runner.feed(view)
        if out:
            self._link.write(out)
        if runner.done:
            self._finish(runner.result, runner.leftover)
        return len(view)

    def _finish(self, upgraded: Upgraded, leftover: bytes) -> None:
        self._stop_timer()
        try:
            self._done(upgraded)
        except P2PError as error:
            self._turn_away(error)
            return
        except Exception as error:
            self._fail(error)
            raise
        self._end()
        if leftover:
            self._link.feed(leftover)

    def _turn_away(self, error: P2PError) -> None:
        """Close as a connection does: half, then wait for the peer, whatever it still says."""
        self._refusal = error
        self._link.receiver = len
        self._link.finish()
        self._timer = self._loop.call_later(CLOSE_GRACE, self._link.abort)

    def _end(self) -> None:
        self._over = True
        self._stop_timer()
        if self._take_back is not None:
            self._take_back()
        self._runner.close()

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _fail(self, error: Exception) -> None:
        if self._over:
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
        if self._refusal is not None:
            self._fail(self._refusal)
            return
        cause = ConnectionClosed("the peer closed the connection during the upgrade", remote=True)
        cause.__cause__ = error
        self._fail(cause)

    def _expired(self) -> None:
        self._timer = None
        limit = self._timeout or 0.0
        self._fail(DeadlineExceeded(f"{limit:g} s in the upgrade", timeout=limit, phase="upgrade"))
