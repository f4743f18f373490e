"""Dialing a peer: its addresses in parallel, staggered, and one dial for all who wait for it.

The next address starts 250 ms after the one before it, or at once when that one has failed; the first that
ends in the expected peer wins, and the others are cancelled.

Several turns of the loop lie between a connection that is there and the caller who gets it. In each of them the caller
may be cancelled, or run out of time; then the connection is closed, unless somebody else has it. So it is either
returned or closed; and where it was told to be ``Opened``, its end is ``Ended``, and the dial is not told to have
failed as well (hostile row 107).
"""

import asyncio
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final, TypeAlias

from multiaddr import Multiaddr

from stronghold_p2p.addressing.kinds import relays_of
from stronghold_p2p.addressing.parse import split_peer
from stronghold_p2p.addressing.undialed import RELAYED, UNKNOWN, why_not
from stronghold_p2p.book.addresses import store_of
from stronghold_p2p.connection.live import LiveConnection
from stronghold_p2p.errors import ConnectionClosed, DeadlineExceeded, DialError, LimitExceeded, P2PError
from stronghold_p2p.events.events import DialFailed, Dialing
from stronghold_p2p.identity import PeerId
from stronghold_p2p.streams.deadline import Deadline
from stronghold_p2p.swarm.host import Host

ADDRESSES: Final = 16  # of one peer that a dial tries (rust, js): 250 ms apart, the last one starts after 4 s
STAGGER: Final = 0.25  # seconds; the "Connection Attempt Delay" that RFC 8305, 5, recommends

# What a dial is known by: its peer; or its addresses, where no peer is named.
_Key: TypeAlias = "PeerId | tuple[Multiaddr, ...]"


@dataclass(eq=False, slots=True)
class _Attempt:
    """One address of a dial. ``refused``: why the rules, since they have changed, keep us from there."""

    given: Multiaddr
    address: Multiaddr
    peer: PeerId | None
    refused: DialError | None = None


class _Dial:
    """A dial in progress. ``todo``: addresses that have not been tried; who joins later may bring more."""

    task: asyncio.Task[LiveConnection]

    def __init__(self, key: _Key, peer: PeerId | None, outcome: asyncio.Future[LiveConnection]) -> None:
        self.key = key
        self.peer = peer
        self.outcome = outcome
        self.waiters = 0
        self.unwanted = False  # the last who waited has left without it
        self.returned = False  # somebody has the connection
        self.winner: LiveConnection | None = None
        self.todo: list[Multiaddr] = []
        self.running: dict[asyncio.Task[LiveConnection], _Attempt] = {}
        self.failures: dict[Multiaddr, Exception] = {}
        self._known: set[Multiaddr] = set()

    def add(self, addresses: Iterable[Multiaddr]) -> None:
        """Those through relays take no place: there is no transport for them yet, which is their cause."""
        for address in addresses:
            if relays_of(address):
                self.failures[address] = DialError(f"{address}: skipped, {RELAYED}")
            elif address not in self._known and len(self._known) < ADDRESSES:
                self._known.add(address)
                self.todo.append(address)

    def opened(self) -> LiveConnection | None:
        """The connection that one of the addresses has led to, if any has."""
        for task in self.running:
            if task.done() and not task.cancelled() and task.exception() is None:
                return task.result()
        return None

    def explain(self) -> Exception:
        """Why no address worked: a single one's own error, or all of them together."""
        errors = list(self.failures.values())
        if not errors:
            who = "the peer" if self.peer is None else self.peer
            return DialError(f"no address of {who} is known: give one, or book.add(...) it", peer=self.peer)
        if len(errors) > 1 and not all(isinstance(error, LimitExceeded) for error in errors):
            reasons = "; ".join(f"{address}: {error}" for address, error in self.failures.items())
            return DialError(f"no address worked: {reasons}", peer=self.peer, attempts=self.failures)
        error = errors[0]
        if isinstance(error, DialError):
            error.attempts = error.attempts or {next(iter(self.failures)): error.__cause__ or error}  # type: ignore[dict-item]
        if isinstance(error, P2PError):
            error.peer = self.peer if error.peer is None else error.peer
        return error


class Dialer:
    """Dials for one swarm. ``Timeouts.dial`` is for all addresses of a peer together."""

    def __init__(self, host: Host) -> None:
        self._host = host
        self._closing = False
        self._shared: dict[_Key, _Dial] = {}
        self._all: set[_Dial] = set()

    async def dial(self, peer: PeerId | None, addresses: Sequence[Multiaddr]) -> LiveConnection:
        """Connect to ``peer`` (None: to whoever proves an identity at the address).

        All callers for one peer, or for the same addresses, share one dial; it is cancelled when the last of them is.
        """
        key = tuple(addresses) if peer is None else peer
        dial = self._shared.get(key) or self._start(key, peer)
        dial.add(addresses)
        dial.waiters += 1
        try:
            connection = await asyncio.shield(dial.outcome)
            dial.returned = True
            return connection
        finally:
            dial.waiters -= 1
            if not dial.waiters and not dial.returned:
                dial.unwanted = True
                self._forget(dial)
                if not dial.task.cancel():
                    self._close_unwanted(dial)

    def arrived(self, connection: LiveConnection) -> None:
        """The peer that we dial has connected to us: the callers that wait for the dial take that connection.

        The dial goes on. The peer may wait for it, as we did, and if both gave theirs up there would be none.
        """
        dial = self._shared.get(connection.peer)
        if dial is not None and connection.direction == "in":
            self._forget(dial)
            dial.returned = True
            dial.outcome.set_result(connection)

    def recheck(self, peer: PeerId | None) -> None:
        """Rules have changed for ``peer`` (None: for everybody): give up what we may not dial any more."""
        for dial in self._all:
            for task, attempt in dial.running.items():
                if peer not in (None, attempt.peer):
                    continue
                try:
                    self._check(attempt)
                except DialError as error:
                    if task.cancel():
                        attempt.refused = error

    async def close(self) -> None:
        """Cancel every dial; who waits for one gets ``ConnectionClosed``."""
        self._closing = True
        tasks = [dial.task for dial in self._all]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _start(self, key: _Key, peer: PeerId | None) -> _Dial:
        loop = asyncio.get_running_loop()
        dial = self._shared[key] = _Dial(key, peer, loop.create_future())
        dial.task = loop.create_task(self._run(dial))
        self._all.add(dial)
        dial.task.add_done_callback(lambda task: self._ended(dial, task))
        return dial

    def _forget(self, dial: _Dial) -> None:
        if self._shared.get(dial.key) is dial:
            del self._shared[dial.key]

    def _close_unwanted(self, dial: _Dial) -> None:
        """Nobody waits for the dial any more: close what it has opened, unless it is in use by then."""
        if dial.unwanted and dial.winner is not None and not dial.winner.in_use:
            dial.winner.shut(error=ConnectionClosed("who dialed did not wait for it any more"))

    def _ended(self, dial: _Dial, task: asyncio.Task[LiveConnection]) -> None:
        self._all.discard(dial)
        self._forget(dial)
        self._close_unwanted(dial)
        given_up = None
        if task.cancelled() and not dial.waiters and not self._closing:
            told = "nobody waited for it any more"
            given_up = DialError(told, peer=dial.peer, attempts=dict(dial.failures))
        closing = ConnectionClosed("the network is closing", peer=dial.peer)
        error = closing if task.cancelled() else task.exception()
        if isinstance(error, Exception) and (given_up or not task.cancelled()) and dial.opened() is None:
            self._host.hub.emit(DialFailed(dial.peer, given_up or error))
        if dial.outcome.done():  # the peer has come by itself
            return
        if error is None:
            dial.outcome.set_result(task.result())
        else:
            dial.outcome.set_exception(error)
            dial.outcome.exception()  # callers that still wait raise it; without any it counts as seen

    async def _run(self, dial: _Dial) -> LiveConnection:
        try:
            try:
                async with Deadline(self._host.timeouts.dial, "dial", peer=dial.peer, setting="Timeouts.dial"):
                    dial.winner = await self._race(dial)
            except DeadlineExceeded:
                dial.winner = dial.opened()  # in the turn in which the time was over
                if dial.winner is None:
                    raise
                self._learn(dial, dial.winner.peer, dial.winner.remote_address)
            return dial.winner
        finally:
            for task in dial.running:
                if task.cancel() or task.cancelled() or task.exception() is not None:
                    continue
                other = task.result()  # two came in at once, or one while everybody left
                if other is not dial.winner and not (dial.winner is None and other.in_use):
                    other.shut()
            await asyncio.gather(*dial.running, return_exceptions=True)

    async def _race(self, dial: _Dial) -> LiveConnection:
        running = dial.running
        while dial.todo or running:
            if dial.todo:
                given = dial.todo.pop(0)
                # An address that names its peer has to keep its word, also when the caller takes anybody.
                address, named = split_peer(given)
                attempt = _Attempt(given, address, named if dial.peer is None else dial.peer)
                running[asyncio.get_running_loop().create_task(self._try(attempt))] = attempt
            done, _ = await asyncio.wait(running, timeout=STAGGER, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                error = running[task].refused if task.cancelled() else task.exception()
                if error is None:
                    self._learn(dial, task.result().peer, running[task].address)
                    return task.result()
                if not isinstance(error, Exception):
                    raise error
                dial.failures[running.pop(task).given] = error
        raise dial.explain()

    async def _try(self, attempt: _Attempt) -> LiveConnection:
        """Ends with nothing left unless it succeeds."""
        self._check(attempt)
        transport = self._host.transport_for(attempt.address)
        if transport is None:
            raise DialError(f"{attempt.address} cannot be dialed: {why_not(attempt.address) or UNKNOWN}")
        token = self._host.gate.dial()
        try:
            self._host.hub.emit(Dialing(attempt.peer, attempt.address))
            return self._host.establish(await transport.dial(attempt.address, attempt.peer), token, "out")
        except BaseException:
            token.release()
            raise

    def _check(self, attempt: _Attempt) -> None:
        """``DialError`` if the firewall keeps us from there."""
        if not self._host.gatekeeper.may_connect(attempt.peer, "out", attempt.address):
            what = f"our own firewall keeps us from {attempt.peer or 'whoever is'} at {attempt.address}"
            raise DialError(f"{what}: see firewall.banned and firewall.rules()", peer=attempt.peer)

    def _learn(self, dial: _Dial, peer: PeerId, address: Multiaddr) -> None:
        book = store_of(self._host.book)
        book.worked(peer, address)
        if dial.peer is not None:
            for failed in dial.failures:
                if not relays_of(failed):  # those were not tried
                    book.failed(peer, failed)
