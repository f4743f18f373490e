"""One absolute deadline over several steps, whose end says during which of them it came."""

import asyncio
from types import TracebackType
from typing import Any, Self

from stronghold_p2p.errors import DeadlineExceeded


class Deadline:
    """``async with Deadline(10.0, "dial") as deadline``: after so many seconds the block ends in ``DeadlineExceeded``.

    Keep ``phase``, ``peer`` and ``sent`` up to date inside the block: the error carries them. None is no deadline.
    A deadline inside the block that comes first is not touched. ``setting`` is what makes it longer.
    """

    __slots__ = ("_scope", "_setting", "peer", "phase", "sent", "timeout")

    def __init__(self, timeout: float | None, phase: str, *, peer: Any = None, setting: str = "timeout=") -> None:
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


def late(timeout: float, phase: str, peer: Any, *, sent: bool, setting: str = "timeout=") -> DeadlineExceeded:
    """The error for ``timeout`` seconds that were over in ``phase``."""
    message = f"{timeout:g} s were over in {phase}: raise {setting}"
    return DeadlineExceeded(message, timeout=timeout, phase=phase, peer=peer, sent=sent)
