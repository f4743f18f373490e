"""Follows the rules file of a firewall, where it came from one: one timer for a network, and a ``stat`` each second."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Final

from stronghold_p2p.events.events import RulesLoaded

if TYPE_CHECKING:
    from stronghold_p2p.swarm.swarm import Swarm

LOOK: Final = 1.0  # seconds between two looks

log = logging.getLogger("stronghold_p2p.network.rules")


class RulesWatch:
    """Looks at the file from ``start`` to ``stop``. Several networks may share a firewall; each tells of changes."""

    def __init__(self, swarm: Swarm) -> None:
        self._swarm = swarm
        self._timer: asyncio.TimerHandle | None = None
        self._told = 0

    def start(self) -> None:
        file = self._swarm.firewall.file
        if file is not None and file.watch:
            self._told = file.loads
            self._timer = self._swarm.loop.call_later(LOOK, self._look)

    def stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()

    def _look(self) -> None:
        self._timer = self._swarm.loop.call_later(LOOK, self._look)
        try:
            self._follow()
        except Exception:  # a fault of ours: the rules stay as they are, and the next look comes
            log.exception("internal error while looking at the rules file")

    def _follow(self) -> None:
        firewall = self._swarm.firewall
        firewall.refresh(self._swarm.loop.time())
        file = firewall.file
        if file is None or file.loads == self._told:
            return
        self._told = file.loads
        if file.error is None:
            log.info("rules loaded from %s", file.path)
        else:
            log.error("rules stay as they are: %s", file.error)
        self._swarm.hub.emit(RulesLoaded(file.path, file.error))
