"""Which event loop a call comes from. What belongs to one loop may be told something from any thread."""

import asyncio
import logging
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Final, NoReturn, TypeVarTuple

from stronghold_p2p.errors import UsageError

Ts = TypeVarTuple("Ts")

ANOTHER: Final = "the network belongs to another event loop"

log = logging.getLogger("stronghold_p2p.network")


class AsyncOnly:
    """The base of what ``async with`` opens: ``with`` says so. Type checkers do not see this: they know."""

    if not TYPE_CHECKING:

        def __enter__(self) -> NoReturn:
            raise UsageError("take async with; without an event loop, the Network of stronghold_p2p.sync")

        def __exit__(self, *_: object) -> None:
            """There was no beginning."""


class SyncOnly:
    """The base of what ``with`` opens: ``async with`` says so. It is hidden in the same way."""

    if not TYPE_CHECKING:

        async def __aenter__(self) -> NoReturn:
            raise UsageError("take with; in an event loop, the Network of stronghold_p2p itself")

        async def __aexit__(self, *_: object) -> None:
            """There was no beginning."""


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
