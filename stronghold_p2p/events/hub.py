"""Events on their way: to callbacks at once, and to readers of ``events()`` through a bounded buffer."""

import asyncio
import logging
import weakref
from collections import deque
from collections.abc import Callable
from typing import Any, Final, Literal, Self, TypeAlias, get_args

from stronghold_p2p.errors import ConfigError, UsageError
from stronghold_p2p.events.backlog import Backlog, Crowd, held_of, source_of
from stronghold_p2p.events.counts import Counts
from stronghold_p2p.events.events import Accepting, Dialing, Dropped, Event, Judged
from stronghold_p2p.firewall.asking.audit import Audit
from stronghold_p2p.firewall.rules import Attempt, Rule
from stronghold_p2p.logs import Faults
from stronghold_p2p.loops import at_home, check_home

Callback: TypeAlias = Callable[[Event], None]
Overflow: TypeAlias = Literal["drop_oldest", "drop_newest", "wait"]
OVERFLOWS: Final = get_args(Overflow)
Lose: TypeAlias = Callable[[bytes | None, Callable[[], bool]], bool]
FOLLOWED: Final = (Judged, Accepting, Dialing)  # nothing of ours wants to know

_LOG: Final = object()  # the follower that is the log

log = logging.getLogger("stronghold_p2p.network")


class Hub:
    """Passes each event on at once, to listeners (parts of ours, by ``on_event``) and to followers (the application's).

    The kinds in ``FOLLOWED`` go to followers only; without any, the audit makes no ``Judged``.

    ``backlog`` is what waits for slow readers. ``loop`` is that of the network, once it is open.
    """

    loop: asyncio.AbstractEventLoop | None = None

    def __init__(self, audit: Audit) -> None:
        self._audit = audit
        self.backlog = Backlog()
        self.counts = Counts()
        self._faults = Faults(log, audit.net)
        self._listeners: list[Callback] = []
        self._followers: dict[object, tuple[Callback, Callable[[], None] | None]] = {}
        self._losing: dict[object, Lose] = {}

    def on_event(self, callback: Callback) -> None:
        """Call ``callback`` with every event but those in ``FOLLOWED``; it must not block."""
        self._listeners.append(callback)

    def follow(
        self,
        callback: Callback,
        ended: Callable[[], None] | None = None,
        crowd: Crowd | None = None,
        lose: Lose | None = None,
    ) -> Callable[[], None]:
        """Call ``callback`` with every event, and ``ended`` when there will be no more. The result ends that.

        ``crowd`` counts the events of a reader for which peers wait; ``lose`` has another one lose some, as ``relieve``
        says. Any thread may call this, and end it.
        """
        token = object()
        self._audit.readers[:] = [self._judged]
        self._followers[token] = (callback, ended)
        if crowd is not None:
            self.backlog.readers.append(crowd)
        if lose is not None:
            self._losing[token] = lose

        def unfollow() -> None:
            left = self._followers.pop(token, None)
            self._losing.pop(token, None)
            if crowd is not None:
                self.backlog.leave(crowd)  # those who waited for this reader begin
            if left is not None and not self._followers.keys() - {_LOG}:
                self._audit.readers.clear()

        return lambda: self.at_home(unfollow)

    def at_home(self, function: Callable[[], None]) -> None:
        """Call ``function`` in the loop of the network; before it is open, here."""
        if self.loop is None:
            function()
        else:
            at_home(function, self.loop)()

    def failed(self, event: Event) -> None:
        """``emit`` what has failed or is over, and count it."""
        self.counts.tell(event)
        self.emit(event)

    def log_to(self, callback: Callback) -> None:
        """Call ``callback`` with every event but ``Judged``, which the audit writes itself."""
        self._followers[_LOG] = (callback, None)

    def emit(self, event: Event) -> None:
        listeners = [] if isinstance(event, FOLLOWED) else self._listeners
        for callback in (*listeners, *[callback for callback, _ in list(self._followers.values())]):
            try:
                callback(event)
            except Exception as error:  # the application's own; nothing of ours may depend on it
                self._faults.tell("an event callback failed", error=error)

    def relieve(self, peer: bytes | None, fits: Callable[[], bool]) -> bool:
        """As ``Memory.relieve``: no request is refused for events that their reader lets be lost."""
        return any(lose(peer, fits) for lose in list(self._losing.values()))

    def end(self) -> None:
        for _, ended in list(self._followers.values()):
            if ended is not None:
                ended()

    def _judged(self, attempt: Attempt, rule: Rule) -> None:
        self.emit(Judged(attempt, rule))


class Events:
    """``async for event in events``: what happens from now on, in order, until the network has closed.

    At most ``buffer`` events wait. Beyond that the oldest or the newest are lost, and a ``Dropped(count)`` stands
    in their place; and so are those that show requests, where there is no memory for others. With ``"wait"`` new
    connections and handlers wait before it comes to that (see ``backlog``).
    ``async with`` or ``close`` ends it before; so does forgetting it. One task reads.
    """

    def __init__(self, hub: Hub, buffer: int, overflow: Overflow) -> None:
        number: object = buffer
        if not isinstance(number, int) or buffer < 1:
            raise ConfigError(f"a buffer of {buffer!r} events: at least 1", where="buffer")
        if overflow not in OVERFLOWS:
            raise ConfigError(f"overflow {overflow!r}: take one of {', '.join(OVERFLOWS)}", where="overflow")
        self._hub = hub
        self._waiting: deque[Event] = deque()
        self._buffer = buffer
        self._oldest = overflow == "drop_oldest"
        self._lost = 0  # of the oldest
        self._backlog = hub.backlog
        self._crowd = Crowd(buffer) if overflow == "wait" else None
        self._ended = False
        self._reader: asyncio.Future[None] | None = None
        lose = _weakly(self._lose) if self._crowd is None else None
        unfollow = hub.follow(_weakly(self._put), _weakly(self.close), self._crowd, lose)
        # An iterator that is not read any more must not collect what happens for ever.
        self._unfollow: Callable[[], object] = weakref.finalize(self, unfollow)
        weakref.finalize(self, _let_go_of_all, self._waiting)

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Event:
        if self._hub.loop is not None:
            check_home(self._hub.loop)
        if self._reader is not None:
            raise UsageError("another task is reading these events: each takes its own events()")
        while not self._waiting and not self._lost:
            if self._ended:
                raise StopAsyncIteration
            self._reader = asyncio.get_running_loop().create_future()
            try:
                await self._reader
            finally:
                self._reader = None
        return self._next()

    def _next(self) -> Event:
        if self._lost:
            lost, self._lost = self._lost, 0
            return Dropped(lost)
        event = self._waiting.popleft()
        _let_go(event)
        if self._crowd is not None:
            self._crowd.give_back(source_of(event))
            self._backlog.relieve()
        return event

    def _put(self, event: Event) -> None:
        """Keep ``event`` for the reader, or count it as lost."""
        waiting = self._waiting
        if len(waiting) < self._buffer if self._crowd is None else self._crowd.takes(event):
            self._append(event)
        elif self._oldest:
            _let_go(waiting.popleft())
            self._append(event)
            self._lost += 1
        elif isinstance(last := waiting[-1], Dropped):
            waiting[-1] = Dropped(last.count + 1)
        else:
            self._append(Dropped(1))
        self._wake()

    def _append(self, event: Event) -> None:
        self._waiting.append(event)
        if (held := held_of(event)) is not None:
            held.keep()
        if self._crowd is not None:
            self._crowd.take(source_of(event))

    def _lose(self, peer: bytes | None, fits: Callable[[], bool]) -> bool:
        waiting = [*enumerate(self._waiting)]
        for place, event in waiting if self._oldest else reversed(waiting):
            held = held_of(event)
            if held is not None and peer in (None, held.peer):
                self._waiting[place] = Dropped(1)
                held.let_go()
                if fits():
                    return True
        return False

    def close(self) -> None:
        """Take no more events; what waits can still be read. Any thread may call this."""
        self._hub.at_home(self._close)

    def _close(self) -> None:
        self._unfollow()
        self._ended = True
        self._wake()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        self.close()

    def _wake(self) -> None:
        if self._reader is not None and not self._reader.done():
            self._reader.set_result(None)


def _let_go(event: Event) -> None:
    """It waits no longer."""
    if (held := held_of(event)) is not None:
        held.let_go()


def _let_go_of_all(waiting: deque[Event]) -> None:
    while waiting:
        _let_go(waiting.popleft())


def _weakly(method: Callable[..., Any]) -> Callable[..., Any]:
    """Calls a bound method as long as somebody else holds its object."""
    held = weakref.WeakMethod(method)

    def call(*given: object) -> Any:
        return None if (alive := held()) is None else alive(*given)

    return call


def left_of(events: Events) -> Event | None:
    """What is still to be read when the network has closed, and its event loop as well; None: nothing."""
    return events._next() if events._waiting or events._lost else None  # noqa: SLF001 - no part of the public face
