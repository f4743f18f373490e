"""Which event loop a call comes from. What belongs to one loop may be told something from any thread."""

import asyncio
import logging
from collections.abc import Callable
from contextlib import suppress
from typing import Final, TypeVarTuple

from stronghold_p2p.errors import UsageError

Ts = TypeVarTuple("Ts")

ANOTHER: Final = "the network belongs to another event loop"

log = logging.getLogger("stronghold_p2p.network")


def running() -> asyncio.AbstractEventLoop | None:
    """The event loop that runs in this thread, if one does."""
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None


def check_home(loop: asyncio.AbstractEventLoop, what: str = ANOTHER) -> None:
    """``UsageError``: this is not the ``loop`` that runs here."""
    if running() is not loop:
        raise UsageError(what)


def at_home(function: Callable[[*Ts], object], loop: asyncio.AbstractEventLoop | None = None) -> Callable[[*Ts], None]:
    """``function``, called at once where ``loop`` (None: the one that runs now) runs; from elsewhere ``loop`` calls it.

    Then it comes in the next turn, in the order of the calls; a loop that does not run at the moment calls it when it
    runs again, and one that is closed does not. What ``function`` raises then is logged: nobody waits for it.
    """
    home = asyncio.get_running_loop() if loop is None else loop

    def handed_over(*given: *Ts) -> None:
        try:
            function(*given)
        except Exception:  # a fault of ours, and none of the loop
            log.exception("internal error in what another thread has begun")

    def call(*given: *Ts) -> None:
        if running() is home:
            function(*given)
        else:
            with suppress(RuntimeError):  # it is closed
                home.call_soon_threadsafe(handed_over, *given)

    return call
