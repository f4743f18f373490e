"""What a task waits on while a stream has nothing for it, and when it goes on.

An ``asyncio.Future`` wakes its task one turn of the event loop later: another look at the selector, another
system call, for each message. Here the callback that had the news (bytes came, the socket has room) resumes the
tasks itself, once it is through with its own work. So a message that arrives, the task that answers it and the
write of the answer share one turn of the loop. What is resumed runs on the loop's bare callback, never inside
another task, and never while the session is processing.

However much wakes together, nobody else waits for all of it: after ``SLICE`` seconds the rest goes on in later turns.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Generator
from contextvars import Context
from time import perf_counter
from typing import Any, Final
from weakref import WeakMethod

SLICE: Final = 0.005  # seconds for what wakes together, then the loop looks at its sockets (hostile row 130)
FEW: Final = 2  # a handler that starts, and what tells of it: this does not wait for what others have left over


class Slices:
    """What was woken together and had no time yet, of all connections of a network.

    They share one slice in each turn of the loop, and each connection is given one step after the other. What arrives
    in much is shared alike: ``arriving`` tells since when it is taken in this turn of the loop.
    """

    __slots__ = ("_arriving", "_due", "waiting")

    def __init__(self) -> None:
        self.waiting: deque[Turn] = deque()
        self._due = False
        self._arriving: float | None = None

    def arriving(self, loop: asyncio.AbstractEventLoop) -> float:
        """When the first connection began to take what had come, in the seconds of ``loop``."""
        if self._arriving is None:
            self._arriving = loop.time()
            loop.call_soon(self._arrived)
        return self._arriving

    def _arrived(self) -> None:
        self._arriving = None

    def add(self, turn: "Turn") -> None:
        self.waiting.append(turn)
        self._run_soon(turn.loop)

    def _run_soon(self, loop: asyncio.AbstractEventLoop) -> None:
        if not self._due:
            self._due = True
            loop.call_soon(self._run, loop)

    def _run(self, loop: asyncio.AbstractEventLoop) -> None:
        self._due = False
        waiting, end = self.waiting, perf_counter() + SLICE
        try:
            while waiting:
                turn = waiting.popleft()
                go_on = turn.rest.popleft()
                if turn.rest:
                    waiting.append(turn)
                try:
                    go_on()
                except Exception as error:  # a fault of ours: its connection pays for it
                    turn.fault(error)
                if perf_counter() >= end:
                    break
        finally:  # if a task has ended with KeyboardInterrupt or SystemExit, the others are not to be lost
            if waiting:
                self._run_soon(loop)


class Turn:
    """One callback of a connection. Tasks that are woken between its beginning and ``resume`` go on at its end.

    At any other time, as when one task closes what another reads, the loop wakes them in its next turn. ``slices`` are
    those of the network; ``failed`` is a method, not kept alive, that is told of a fault in what goes on later.
    """

    __slots__ = ("_failed", "_slices", "loop", "rest", "starting", "waiting")

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        slices: Slices | None = None,
        failed: Callable[[Exception], None] | None = None,
    ) -> None:
        self.loop = loop
        self._slices = slices or Slices()
        self._failed = None if failed is None else WeakMethod(failed)
        self.rest: deque[Callable[[], object]] = deque()  # what had no time yet
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
        """The callback is through: all go on, in order, as far as a slice reaches; the others in the loop's next turns.

        None goes on now if this is inside a task after all, or if there are many while others wait for their slices.
        """
        waiting, self.waiting = self.waiting, None
        if not waiting:
            return
        bare = asyncio.current_task(self.loop) is None  # one task cannot run inside another
        if bare and len(waiting) == 1:
            waiting[0]()
            return
        going = iter(waiting)
        try:
            if bare and (len(waiting) <= FEW or not self._slices.waiting):
                end = perf_counter() + SLICE
                for go_on in going:
                    go_on()
                    if perf_counter() >= end:
                        break
        finally:  # if a task has ended with KeyboardInterrupt or SystemExit, the others are not to be lost
            known = bool(self.rest)
            self.rest.extend(going)
            if self.rest and not known:
                self._slices.add(self)

    def fault(self, error: Exception) -> None:
        failed = None if self._failed is None else self._failed()
        if failed is None:
            raise error
        failed(error)


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
