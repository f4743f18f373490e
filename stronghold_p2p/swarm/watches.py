"""Things of this host that change without notice: a swarm looks at them again and again, with one timer for each kind.

Looking again is what every system can do; notices of changes differ from one system to another.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Final, TypeAlias

from stronghold_p2p.events.events import Event, RulesLoaded
from stronghold_p2p.firewall.asking.firewall import Firewall, file_of
from stronghold_p2p.logs import OneLine

RULES_EVERY: Final = 1.0  # seconds; a look is one ``stat``
ADDRESSES_EVERY: Final = 5.0  # seconds; a look costs a fifth of a millisecond

Look: TypeAlias = Callable[[], Awaitable[object] | None]

log = logging.getLogger("stronghold_p2p.network")
rules_log = logging.getLogger("stronghold_p2p.network.rules")


class Watch:
    """Looks every ``seconds``, from ``start`` to ``stop``. A look that raises is logged, and the next one comes.

    A look may be something to wait for; while it lasts there is no other.
    """

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._timer: asyncio.TimerHandle | None = None
        self._looking: asyncio.Task[None] | None = None

    def start(self, look: Look) -> None:
        """Does nothing while it runs."""
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(self._seconds, self._tick, look)

    def stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._looking is not None:
            self._looking.cancel()

    def _tick(self, look: Look) -> None:
        self._timer = None
        self.start(look)  # before it looks, which may end the watch
        if self._looking is None or self._looking.done():
            self._looking = asyncio.get_running_loop().create_task(self._look(look))

    async def _look(self, look: Look) -> None:
        try:
            waiting = look()
            if waiting is not None:
                await waiting
        except Exception:  # a fault of ours, which must not end the watch
            log.exception("internal error while looking at what may have changed")


def watch_rules(watch: Watch, firewall: Firewall, emit: Callable[[Event], None]) -> None:
    """Follow the file that the rules come from, if there is one; ``emit`` is told of each change.

    Several swarms may share a firewall; each tells of what any of them has loaded.
    """
    file = file_of(firewall)
    if file is None or not file.watch:
        return
    told = file.loads

    async def look() -> None:
        nonlocal told
        await file.refresh(asyncio.get_running_loop().time())
        if file.loads != told:
            told = file.loads
            if file.error is None:
                rules_log.info("rules loaded from %s", file.path)
            else:
                rules_log.error("rules stay as they are: %s", OneLine(file.error))
            emit(RulesLoaded(file.path, file.error))

    watch.start(look)
