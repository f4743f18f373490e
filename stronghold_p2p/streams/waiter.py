"""What a task waits on while a stream has nothing for it, and when it goes on.

An ``asyncio.Future`` wakes its task one turn of the event loop later: another look at the selector, another
system call, for each message. Here the callback that had the news (bytes came, the socket has room) resumes the
tasks itself, once it is through with its own work. So a message that arrives, the task that answers it and the
write of the answer share one turn of the loop. What is resumed runs on the loop's bare callback, never inside
another task, and never while the session is processing.
"""

import asyncio
from collections.abc import Callable, Generator
from contextvars import Context
from typing import Any


class Turn:
    """One callback of a connection. Tasks that are woken between its beginning and ``resume`` go on at its end.

    At any other time, as when one task closes what another reads, the loop wakes them in its next turn.
    """

    __slots__ = ("loop", "starting", "waiting")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        # A task was given to the loop, which starts it in its next turn: what it sends leaves with that turn's flush.
        self.starting = False
        # Setting it to an empty list begins a callback.
        self.waiting: list[Callable[[], object]] | None = None

    def add(self, go_on: Callable[[], object]) -> None:
        """``go_on`` is due at the end of this callback; or, outside of one, in the loop's next turn."""
        if self.waiting is None:
            self.loop.call_soon(go_on)
        else:
            self.waiting.append(go_on)

    def resume(self) -> None:
        """The callback is through: all go on, in order; in the loop's next turn if this is inside a task after all."""
        waiting, self.waiting = self.waiting, None
        if not waiting:
            return
        bare = asyncio.current_task(self.loop) is None  # one task cannot run inside another
        if bare and len(waiting) == 1:
            waiting[0]()
            return
        going = iter(waiting)
        try:
            if bare:
                for go_on in going:
                    go_on()
        finally:  # if a task has ended with KeyboardInterrupt or SystemExit, the others are not to be lost
            for go_on in going:
                self.loop.call_soon(go_on)


class Waiter:
    """Awaited once by one task; ``set`` lets it go on. As much of ``asyncio.Future`` as ``asyncio.Task`` needs."""

    # ``asyncio.Task`` looks at the first one and at ``_loop``.
    __slots__ = ("_asyncio_future_blocking", "_callback", "_context", "_done", "_loop", "_message", "_turn", "_wanted")

    def __init__(self, loop: asyncio.AbstractEventLoop, turn: Turn) -> None:
        self._asyncio_future_blocking = False
        self._loop = loop
        self._turn = turn
        self._done = False
        self._wanted = True
        self._message: object = None
        self._callback: Callable[[Waiter], object] | None = None
        self._context: Context | None = None

    def __await__(self) -> Generator["Waiter", None, None]:
        if not self._done:
            self._asyncio_future_blocking = True
            yield self
        if not self._wanted:
            self.result()

    def set(self) -> None:
        """The task may go on. Does nothing the second time."""
        if not self._done:
            self._done = True
            if self._callback is not None:
                waiting = self._turn.waiting
                if waiting is None:
                    self._loop.call_soon(self._go_on)
                else:
                    waiting.append(self._go_on)

    def _go_on(self) -> None:
        callback, context = self._callback, self._context
        if callback is not None and context is not None:
            context.run(callback, self)

    def add_done_callback(self, callback: Callable[["Waiter"], object], *, context: Context) -> None:
        self._callback, self._context = callback, context
        if self._done:
            self._turn.add(self._go_on)

    def cancel(self, msg: object = None) -> bool:
        """The task is cancelled while it waits; False: it was woken already."""
        if self._done:
            return False
        self._wanted = False
        self._message = msg
        self.set()
        return True

    def done(self) -> bool:
        return self._done

    def result(self) -> Any:
        if not self._wanted:
            raise asyncio.CancelledError() if self._message is None else asyncio.CancelledError(self._message)
