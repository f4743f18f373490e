"""The addresses of this host, watched while a swarm listens on all of them: one timer, and a look every few seconds."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from stronghold_p2p.swarm.listeners import LiveListener
    from stronghold_p2p.swarm.swarm import Swarm

LOOK: Final = 5.0  # seconds; a look costs a fifth of a millisecond

log = logging.getLogger("stronghold_p2p.network")


class AddressWatch:
    """Looks for the listeners on ``0.0.0.0`` or ``::`` of one swarm, from the first of them to ``stop``.

    Reading the addresses again is what every system can do; notices of changes differ from one to another.
    """

    def __init__(self, swarm: Swarm) -> None:
        self._swarm = swarm
        self._timer: asyncio.TimerHandle | None = None
        self._watched: list[LiveListener] = []

    def add(self, listener: LiveListener) -> None:
        self._watched.append(listener)
        if self._timer is None:
            self._timer = self._swarm.loop.call_later(LOOK, self._look)

    def stop(self) -> None:
        self._watched.clear()
        if self._timer is not None:
            self._timer.cancel()

    def _look(self) -> None:
        self._timer = None
        self._watched = [listener for listener in self._watched if listener in self._swarm.listeners.all]
        if not self._watched:
            return
        self._timer = self._swarm.loop.call_later(LOOK, self._look)
        for listener in self._watched:
            try:
                listener.look()
            except OSError as error:  # the system does not tell: what was known stays
                log.debug("the addresses of this host: %s", error)
            except Exception:  # a fault of ours: the same, and the next look comes
                log.exception("internal error while looking at the addresses of this host")
