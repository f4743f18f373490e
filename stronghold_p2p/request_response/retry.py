"""Asking again, for who has opted in: only what the peer cannot have acted on, and only what time may cure."""

import asyncio
import math
from collections.abc import Callable, Coroutine
from typing import Any, Final, TypeVar

from stronghold_p2p.backoff import backoff
from stronghold_p2p.codes import GoAway
from stronghold_p2p.errors import (
    ConnectionClosed,
    DeadlineExceeded,
    DialError,
    HandshakeError,
    LimitExceeded,
    NegotiationError,
    P2PError,
    PeerIdMismatch,
    StreamReset,
)
from stronghold_p2p.streams.deadline import late

FIRST, LONGEST = 0.1, 2.0  # seconds between two tries, at most
CURABLE: Final = (ConnectionClosed, DeadlineExceeded, DialError, HandshakeError, LimitExceeded, StreamReset)

T = TypeVar("T")


async def insist(ask: Callable[[float | None], Coroutine[Any, Any, T]], timeout: float | None) -> T:
    """``ask(seconds that are left)``, again after each error that ``may_pass``, within ``timeout`` seconds in all.

    The error is that of the last try; if the time is over in it, ``DeadlineExceeded`` with the error before as cause.
    """
    loop = asyncio.get_running_loop()
    due = math.inf if timeout is None else loop.time() + timeout
    before: P2PError | None = None
    for delay in backoff(FIRST, LONGEST):
        try:
            return await ask(None if timeout is None else due - loop.time())
        except P2PError as error:
            now = loop.time()
            if before is not None and isinstance(error, DeadlineExceeded) and now >= due:
                raise late(timeout or 0.0, error.phase, error.peer, sent=error.sent) from before
            if error.sent or not may_pass(error) or now + delay >= due:
                raise
            before = error
        await asyncio.sleep(delay)
    raise AssertionError  # there is no last delay


def may_pass(error: Exception) -> bool:
    """Whether what has failed so may work a little later."""
    match error:
        case PeerIdMismatch() | NegotiationError():
            return False
        case ConnectionClosed(code=GoAway.GATED):  # a firewall, ours or theirs, does not want us
            return False
        case LimitExceeded(limit="max_request"):
            return False
        case DialError(attempts=attempts) if attempts:
            return any(may_pass(one) for one in attempts.values())
    if isinstance(error, P2PError):
        return isinstance(error, CURABLE)
    return isinstance(error, OSError)  # the system's reason, for one address of a dial
