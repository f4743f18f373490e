"""Things of this host that change without notice: a swarm looks at them again and again, with one timer for each kind.

Looking again is what every system can do; notices of changes differ from one system to another.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Container
from typing import Final, TypeAlias

from stronghold_p2p.events.events import Event, RulesLoaded
from stronghold_p2p.firewall.asking.firewall import Firewall, file_of
from stronghold_p2p.swarm.listeners import LiveListener

Look: TypeAlias = Callable[[], bool]

RULES_EVERY: Final = 1.0  # seconds; a look is one ``stat``
ADDRESSES_EVERY: Final = 5.0  # seconds; a look costs a fifth of a millisecond

log = logging.getLogger("stronghold_p2p.network")
rules_log = logging.getLogger("stronghold_p2p.network.rules")


class Watch:
    """Calls each ``look`` that was added every ``seconds``, as long as it returns True, until ``stop``.

    One that raises is logged, and is called again. There is no timer while there is nothing to look at.
    """

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._looks: dict[object, Look] = {}
        self._timer: asyncio.TimerHandle | None = None

    def add(self, look: Look) -> None:
        self._looks[object()] = look
        self._arm()

    def stop(self) -> None:
        self._looks.clear()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _arm(self) -> None:
        """Look again later; a look may have ended the watch, or have added to it."""
        if self._looks and self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(self._seconds, self._tick)

    def _tick(self) -> None:
        self._timer = None
        for token, look in tuple(self._looks.items()):
            try:
                again = look()
            except Exception:  # a fault of ours, which must not end the watch
                log.exception("internal error while looking at what may have changed")
                again = True
            if not again:
                self._looks.pop(token, None)
        self._arm()


def watch_rules(watch: Watch, firewall: Firewall, emit: Callable[[Event], None]) -> None:
    """Follow the file that the rules come from, if there is one; ``emit`` is told of each change.

    Several swarms may share a firewall; each tells of what any of them has loaded.
    """
    file = file_of(firewall)
    if file is None or not file.watch:
        return
    told = file.loads

    def look() -> bool:
        nonlocal told
        file.refresh(asyncio.get_running_loop().time())
        if file.loads != told:
            told = file.loads
            if file.error is None:
                rules_log.info("rules loaded from %s", file.path)
            else:
                rules_log.error("rules stay as they are: %s", file.error)
            emit(RulesLoaded(file.path, file.error))
        return True

    watch.add(look)


def watch_addresses(watch: Watch, listener: LiveListener, open_ones: Container[LiveListener]) -> None:
    """Let ``listener``, which accepts on all addresses of this host, follow these while it is one of ``open_ones``."""

    def look() -> bool:
        if listener not in open_ones:
            return False
        try:
            listener.look()
        except OSError as error:  # the system does not tell: the addresses that were known stay
            log.debug("the addresses of this host: %s", error)
        return True

    watch.add(look)
