"""One dial in progress: the addresses that it has yet to try, those under way, and why the others failed."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

from multiaddr import Multiaddr

from stronghold_p2p.addressing.parse import IP_TCP
from stronghold_p2p.addressing.parts import canonical
from stronghold_p2p.addressing.ranking import Rank, first_of
from stronghold_p2p.book.store import Past
from stronghold_p2p.connection.live import LiveConnection
from stronghold_p2p.errors import DeadlineExceeded, DialError, LimitExceeded, P2PError
from stronghold_p2p.identity import PeerId

CANDIDATES: Final = 64  # addresses of one dial, and names besides: as many as a book has of one peer
TOLD_NAMES: Final = 8  # of one dial, as each may cost 32 look-ups: those that the caller has not given

Key: TypeAlias = "PeerId | tuple[Multiaddr, ...] | tuple[PeerId]"
"""What a dial is known by: its peer, in a tuple if it leads through no relay; its addresses, where no peer is named."""


@dataclass(eq=False, slots=True)
class Candidate:
    """An address to try, or a name to look up.

    ``origin`` is what the caller or the book has, and ``shown`` what errors call it: where a name leads is another one.
    ``address`` is that without ``/p2p/``, and ``name`` the one that led there. ``given``: the caller has named it for
    this dial; ``trusted``: or before, and no peer has told it. ``tried``: its transport was asked. ``refused``: why the
    rules, since they have changed, keep us from it.
    """

    origin: Multiaddr
    shown: Multiaddr
    address: Multiaddr
    peer: PeerId | None
    given: bool
    trusted: bool = False
    name: str = ""
    rank: Rank | None = None
    tried: bool = False
    refused: Exception | None = None

    @property
    def looked_up(self) -> bool:
        """A name has led there."""
        return self.shown is not self.origin


class Dial:
    """``waiting`` and ``names``: what has not begun; who joins later may bring more."""

    task: asyncio.Task[LiveConnection]
    waiters = 0
    unwanted = False  # the last who waited has left without it
    returned = False  # somebody has the connection
    winner: LiveConnection | None = None
    found: LiveConnection | None = None  # one that is open leads to where a name does
    past: Past | None = None
    soonest = 0.0  # when the next one may begin
    _begun: Rank | None = None  # of the last one
    _told_names = 0
    _waiter: asyncio.Future[None] | None = None

    def __init__(self, key: Key, peer: PeerId | None, outcome: asyncio.Future[LiveConnection]) -> None:
        self.key = key
        self.peer = peer
        self.outcome = outcome
        self.waiting: list[Candidate] = []
        self.names: list[Candidate] = []
        self.running: dict[asyncio.Task[LiveConnection], Candidate] = {}
        self.lookups: dict[asyncio.Task[None], Candidate] = {}
        self.failed: list[Candidate] = []
        self.failures: dict[Multiaddr, Exception] = {}
        self._known: set[tuple[bytes, PeerId | None, str]] = set()
        self._ended: list[asyncio.Task[Any]] = []

    def add(self, candidate: Candidate, *, lookup: bool = False) -> None:
        """Each is tried once. Over plain TCP it makes no difference by which name it was found."""
        place, name = canonical(candidate.address), candidate.name
        key = place, candidate.peer, "" if name and IP_TCP.fullmatch(place) else name
        if key in self._known or len(self._known) >= CANDIDATES:
            return
        self._known.add(key)
        if lookup and not candidate.trusted:
            self._told_names += 1
            if self._told_names > TOLD_NAMES:
                told = f"{candidate.shown}: passed over, of the names that peers tell {TOLD_NAMES} are looked up"
                self.failures[candidate.shown] = DialError(told)
                return
        (self.names if lookup else self.waiting).append(candidate)
        self.wake()

    def take(self, ranks: Sequence[Rank]) -> Candidate:
        """The next to begin; ``ranks`` are those of ``waiting``."""
        at = first_of(ranks, self._begun)
        self._begun = ranks[at]
        return self.waiting.pop(at)

    def fail(self, candidate: Candidate, error: BaseException) -> None:
        """Keep why, and let the next one begin at once."""
        if not isinstance(error, Exception):
            raise error
        self.soonest = 0.0
        self.failed.append(candidate)
        self.failures[candidate.shown] = error

    def ended(self, task: asyncio.Task[Any]) -> None:
        """An attempt or a look-up is over, and waits in ``news``."""
        self._ended.append(task)
        self.wake()

    def wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    async def news(self, until: float | None) -> list[asyncio.Task[Any]]:
        """What has ended; nothing: it is ``until`` (None: never), or there is more to try."""
        if not self._ended:
            loop = asyncio.get_running_loop()
            self._waiter = loop.create_future()
            timer = None if until is None else loop.call_at(until, self.wake)
            try:
                await self._waiter
            finally:
                self._waiter = None
                if timer is not None:
                    timer.cancel()
        ended, self._ended = self._ended, []
        return ended

    def opened(self) -> tuple[LiveConnection, Candidate] | None:
        """The connection that one of the addresses has led to, and which, if any has."""
        for task, candidate in self.running.items():
            if task.done() and not task.cancelled() and task.exception() is None:
                return task.result(), candidate
        return None

    def explain(self) -> Exception:
        """Why no address worked: a single one's own error, or all of them together."""
        errors = list(self.failures.values())
        if not errors:
            who = "the peer" if self.peer is None else self.peer
            return DialError(f"no address of {who} is known: give one, or book.add(...) it", peer=self.peer)
        if len(errors) > 1 and not all(isinstance(error, LimitExceeded) for error in errors):
            told = f"no address worked: {_reasons(self.failures)}"
            return DialError(told, peer=self.peer, attempts=self.failures)
        error = errors[0]
        if isinstance(error, DialError):
            error.attempts = error.attempts or {next(iter(self.failures)): error.__cause__ or error}  # type: ignore[dict-item]
        if isinstance(error, P2PError):
            error.peer = self.peer if error.peer is None else error.peer
        return error

    def explain_late(self, late: DeadlineExceeded) -> None:
        """The cause of a dial that ran out of time is what became of each address until then."""
        under_way = [*self.running.values(), *self.lookups.values()]
        still = ", ".join(str(candidate.shown) for candidate in under_way)
        reasons = filter(None, (_reasons(self.failures), still and f"without an answer until then: {still}"))
        late.__cause__ = DialError("; ".join(reasons), peer=self.peer, attempts=dict(self.failures))


def _reasons(failures: dict[Multiaddr, Exception]) -> str:
    told = ((str(address), str(error)) for address, error in failures.items())
    return "; ".join(text if text.startswith(address) else f"{address}: {text}" for address, text in told)
