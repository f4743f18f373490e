"""An event loop in a thread of its own, for callers that have none and wait for what it does."""

import asyncio
import concurrent.futures
import logging
import os
import threading
from collections.abc import Coroutine
from typing import Any, Final, TypeVar

from stronghold_p2p.errors import ConnectionClosed, UsageError
from stronghold_p2p.loops import running

T = TypeVar("T")

HELD_UP: Final = (
    "a call of stronghold_p2p.sync holds up the event loop of this thread: take the Network of stronghold_p2p "
    "there, or asyncio.to_thread; in a notebook it does no harm"
)

log = logging.getLogger("stronghold_p2p.network")


class LoopThread:
    """It runs from the beginning until ``stop``. The thread does not keep the interpreter from its end."""

    loop: asyncio.AbstractEventLoop

    def __init__(self, name: str) -> None:
        self._process = os.getpid()
        self._told = False  # that a call has held up an event loop
        self._begun = threading.Event()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()
        self._begun.wait()

    def call(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """What ``coroutine`` comes to, in the loop. Ctrl-C while it waits cancels it.

        ``UsageError``: called in the loop's own thread, in another process, or after the end.
        """
        try:
            self.check()
        except UsageError:
            coroutine.close()
            raise
        if not self._told and running() is not None:
            self._told = True
            log.warning(HELD_UP)
        future = asyncio.run_coroutine_threadsafe(coroutine, self.loop)
        try:
            return future.result()
        except concurrent.futures.CancelledError:
            raise ConnectionClosed("the network has closed while this call waited") from None
        finally:
            future.cancel()  # does nothing if it is done

    def stop(self) -> None:
        """End the loop with everything that runs in it, and wait for the thread."""
        if self._process == os.getpid() and self._thread.is_alive():
            self.loop.call_soon_threadsafe(self._stopping.set)
            self._thread.join()

    @property
    def running(self) -> bool:
        return self._thread.is_alive()

    def check(self) -> None:
        """``UsageError`` where ``call`` would be one."""
        if self._process != os.getpid():
            raise UsageError("the network was opened in another process: open it after the fork")
        if threading.current_thread() is self._thread:
            raise UsageError("this is the network's own thread, which cannot wait for itself: call from another one")
        if not self._thread.is_alive():
            raise UsageError("the network is closed: make a new one")

    def _run(self) -> None:
        asyncio.run(self._until_stopped())

    async def _until_stopped(self) -> None:
        self.loop, self._stopping = asyncio.get_running_loop(), asyncio.Event()
        self._begun.set()
        await self._stopping.wait()
