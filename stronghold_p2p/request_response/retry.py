"""Asking again, for who has opted in: only what the peer cannot have acted on, and only what time may cure."""

import asyncio
import math
from collections.abc import Callable, Coroutine
from typing import Any, Final, TypeVar

from stronghold_p2p.backoff import backoff
from stronghold_p2p.errors import DeadlineExceeded, P2PError
from stronghold_p2p.streams.deadline import late

FIRST, LONGEST = 0.1, 2.0  # seconds between two tries, at most
LAST: Final = 0.5  # seconds before the end in which the last try begins, a tenth of all at most

T = TypeVar("T")


async def insist(ask: Callable[[float | None], Coroutine[Any, Any, T]], timeout: float | None) -> T:
    """``ask(seconds that are left)``, again after each ``temporary`` error, within ``timeout`` seconds in all.

    The last try begins just before the end, wherever the tries before it have led to. The error is that of the last
    try. If the time is over in it, that says less than the error before: it is that one if nobody was reached again,
    else ``DeadlineExceeded`` with that one as cause.
    """
    loop = asyncio.get_running_loop()
    due, last = math.inf, math.inf
    if timeout is not None:
        due = loop.time() + timeout
        last = due - min(LAST, timeout / 10)
    before: P2PError | None = None
    for delay in backoff(FIRST, LONGEST):
        try:
            return await ask(None if timeout is None else due - loop.time())
        except P2PError as error:
            now = loop.time()
            if before is not None and isinstance(error, DeadlineExceeded) and now >= due:
                if error.phase == "dial":
                    raise before from before.__cause__
                raise late(timeout or 0.0, error.phase, error.peer, sent=error.sent) from before
            if error.sent or not error.temporary or now >= last:
                raise
            before = error
        await asyncio.sleep(min(delay, last - now))
    raise AssertionError  # there is no last delay
