"""Tasks that begin in the callback that makes them, not in the loop's next turn.

A handler that begins a turn later costs another look at the selector for each request. From Python 3.12 on asyncio can
do it (``eager_start``). Before, a new task puts its first step last into the loop's queue; on asyncio's own loops it is
taken from there and run. Where that does not work, as on uvloop, the handler begins a turn later.
"""

from __future__ import annotations

import asyncio
import sys
from collections import deque
from collections.abc import Coroutine
from typing import Any, Final

EAGER: Final = sys.version_info >= (3, 12)


def begun(
    coroutine: Coroutine[Any, Any, None], loop: asyncio.AbstractEventLoop, name: str
) -> asyncio.Task[None] | None:
    """A task called ``name`` that has run as far as it could; None if none can begin here, and then none was made.

    To be called on a bare callback of the loop: one task cannot run inside another.
    """
    if loop.get_task_factory() is not None:
        return None
    if EAGER:
        return asyncio.Task(coroutine, loop=loop, name=name, eager_start=True)  # type: ignore[call-arg,unused-ignore]
    ready = getattr(loop, "_ready", None)
    if not isinstance(ready, deque):
        return None
    task = asyncio.Task(coroutine, loop=loop, name=name)
    # Another thread may have put something behind it since: then it begins in its turn.
    if ready and getattr(ready[-1]._callback, "__self__", None) is task:  # noqa: SLF001
        ready.pop()._run()  # noqa: SLF001
    return task
