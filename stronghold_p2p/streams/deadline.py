"""One absolute deadline over several steps, whose end says during which of them it came."""

import asyncio
from collections.abc import Mapping
from types import TracebackType
from typing import Any, Final, Self

from stronghold_p2p.errors import DeadlineExceeded

OWN: Final = "timeout="  # what the caller has given, who therefore needs no word on how to make it longer
_NOT_DONE: Final[Mapping[str, str]] = {  # by ``DeadlineExceeded.phase``, for those who read a message and no code
    "connecting": "no connection",
    "upgrade": "no handshake",
    "dial": "no connection",
    "queue": "no free place among the requests to this peer",
    "firewall": "no word from our own application, which the firewall asks",
    "negotiate": "no word from the peer on whether it lets us in",
    "send": "the peer did not take the request",
    "wait": "no answer",
    "read": "the request did not come to its end",
    "answer": "the handler gave no answer",
    "ping": "no answer to a ping",
    "identify": "the peer did not tell about itself",
    "push": "the peer did not take what we tell about ourselves",
    "perf": "the measurement did not end",
    "upload": "the upload did not end",
    "download": "the download did not end",
}


class Deadline:
    """``async with Deadline(10.0, "dial") as deadline``: after so many seconds the block ends in ``DeadlineExceeded``.

    Keep ``phase``, ``peer`` and ``sent`` up to date inside the block: the error carries them. None is no deadline.
    A deadline inside the block that comes first is not touched. ``setting`` is what makes it longer.
    """

    __slots__ = ("_scope", "_setting", "peer", "phase", "sent", "timeout")

    def __init__(self, timeout: float | None, phase: str, *, peer: Any = None, setting: str = OWN) -> None:
        self.timeout = timeout
        self.phase = phase
        self.peer = peer
        self.sent = False
        self._setting = setting
        self._scope = asyncio.timeout(timeout)

    @property
    def when(self) -> float:
        """The end in the event loop's seconds; infinite without a deadline. Known inside the block."""
        when = self._scope.when()
        return float("inf") if when is None else when

    async def __aenter__(self) -> Self:
        await self._scope.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            await self._scope.__aexit__(kind, error, trace)
        except TimeoutError:
            raise late(self.timeout or 0.0, self.phase, self.peer, sent=self.sent, setting=self._setting) from None


def late(
    timeout: float, phase: str, peer: Any, *, sent: bool, setting: str = OWN, why: object = ""
) -> DeadlineExceeded:
    """The error for ``timeout`` seconds that were over in ``phase``; ``why`` is the last that was heard, if known."""
    message = not_done(timeout, phase, why or ("" if setting in {"", OWN} else f"raise {setting}"))
    return DeadlineExceeded(message, timeout=timeout, phase=phase, peer=peer, sent=sent, setting=setting)


def not_done(timeout: float, phase: str, more: object = "") -> str:
    """What was not there in time, as "no answer within 3 s"; ``more`` is said behind it."""
    return f"{_NOT_DONE.get(phase, f'no end of {phase}')} within {timeout:g} s{f': {more}' if more else ''}"
