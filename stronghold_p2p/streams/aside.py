"""Long work for a stream, beside the event loop: a message of many bytes is read in a thread (hostile row 130).

One thread works for a network, as more of them would only keep the interpreter from the loop; each peer has its turn,
so that one with many long messages delays its own. It is not one of asyncio's own pool: the application may have taken
all of these, also to wait for an answer that is read here.
"""

import asyncio
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from typing import Any, Final, TypeAlias, TypeVar

from stronghold_p2p.codes import Reset
from stronghold_p2p.errors import again
from stronghold_p2p.identity import PeerId
from stronghold_p2p.streams.live import Intake, LiveStream

LONG: Final = 65_536  # bytes of a message that is read beside the loop

T = TypeVar("T")
_Outcome: TypeAlias = tuple[Any, BaseException | None]
_Job: TypeAlias = tuple[asyncio.Future[_Outcome], Callable[[], _Outcome]]


class _Meanwhile(Intake):
    """What happens on the stream: its end is told to ``done``, and no more bytes may come.

    It may end after ``done`` as well, before who waits for that goes on: ``error`` is why it did.
    """

    __slots__ = ("_done", "_stream", "error")

    def __init__(self, stream: LiveStream, done: asyncio.Future[_Outcome]) -> None:
        self._stream = stream
        self._done = done
        self.error: Exception | None = None
        stream.intake = self

    def stop(self) -> None:
        if self._stream.intake is self:
            self._stream.intake = None

    def data(self, piece: bytes | memoryview) -> None:
        if len(piece):
            self._stream.reset(Reset.PROTOCOL_VIOLATION)

    def failed(self, error: Exception) -> None:
        self.error = again(error, self._stream.peer)
        if not self._done.done():
            self._done.set_result((None, None))


class Aside:
    """The work that waits, and the one that is done."""

    def __init__(self) -> None:
        self._waiting: dict[PeerId, deque[_Job]] = {}
        self._working = False
        self._thread: ThreadPoolExecutor | None = None  # few networks ever need one

    async def run(self, peer: PeerId, work: Callable[[], T], stream: LiveStream | None = None) -> T:
        """What ``work()`` returns or raises; or what ``stream`` fails with meanwhile, on which nothing more may come.

        Work that has not begun when nobody waits for it any more does not begin.
        """
        loop = asyncio.get_running_loop()
        done: asyncio.Future[_Outcome] = loop.create_future()
        job = (done, partial(_outcome, work))
        self._waiting.setdefault(peer, deque()).append(job)
        meanwhile = None if stream is None else _Meanwhile(stream, done)
        try:
            self._next(loop)
            result, error = await done
            if meanwhile is not None:
                error = meanwhile.error or error
        finally:
            if meanwhile is not None:
                meanwhile.stop()
            self._forget(peer, job)
        if error is not None:
            raise error
        return result  # type: ignore[no-any-return]

    def _forget(self, peer: PeerId, job: _Job) -> None:
        """What has not begun keeps nothing when nobody waits for it."""
        jobs = self._waiting.get(peer)
        if jobs is not None:
            with suppress(ValueError):
                jobs.remove(job)
            if not jobs:
                del self._waiting[peer]

    def _next(self, loop: asyncio.AbstractEventLoop) -> None:
        if self._working or not self._waiting:
            return
        peer = next(iter(self._waiting))
        jobs = self._waiting.pop(peer)
        done, work = jobs.popleft()
        if jobs:
            self._waiting[peer] = jobs  # behind the others
        self._thread = self._thread or ThreadPoolExecutor(1, "stronghold_p2p")
        loop.run_in_executor(self._thread, work).add_done_callback(partial(self._over, loop, done))
        self._working = True

    def _over(
        self, loop: asyncio.AbstractEventLoop, done: asyncio.Future[_Outcome], worked: asyncio.Future[_Outcome]
    ) -> None:
        self._working = False
        if not worked.cancelled() and not done.done():
            done.set_result(worked.result())
        if not loop.is_closed():
            self._next(loop)

    def close(self) -> None:
        """The thread ends with what it works at."""
        thread, self._thread = self._thread, None
        if thread is not None:
            thread.shutdown(wait=False)


def _outcome(work: Callable[[], Any]) -> _Outcome:
    """A future does not take every exception that a codec of the application may raise."""
    try:
        return work(), None
    except BaseException as error:
        return None, error
