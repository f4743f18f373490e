"""Dialing a peer: its addresses in parallel, staggered, and one dial for all who wait for it.

The next address starts 250 ms after the one before it, or at once when one has failed; the first that ends in the
expected peer wins, and the others are cancelled. Their order is that of ``addressing/ranking.py``. Names are looked up
beside that, all at the same time, and where they lead joins the others; an address that needs no name waits for none.

Several turns of the loop lie between a connection that is there and the caller who gets it. In each of them the caller
may be cancelled, or run out of time; then the connection is closed, unless somebody else has it. So it is either
returned or closed; and where it was told to be ``Opened``, its end is ``Ended``, and the dial is not told to have
failed as well (hostile row 107).
"""

import asyncio
import logging
from collections.abc import Iterable, Sequence
from functools import partial
from typing import Final

from multiaddr import Multiaddr

from stronghold_p2p.addressing.components import DNSADDR, IP4, NAMES
from stronghold_p2p.addressing.kinds import relays_of
from stronghold_p2p.addressing.parse import P2P_CODE, split_peer, walk
from stronghold_p2p.addressing.ranking import Rank, in_one_network, rank
from stronghold_p2p.addressing.undialed import RELAYED, UNKNOWN, why_not
from stronghold_p2p.book.addresses import store_of
from stronghold_p2p.book.store import NO_PAST, Past
from stronghold_p2p.connection.live import LiveConnection
from stronghold_p2p.errors import ConnectionClosed, DeadlineExceeded, DialError, LimitExceeded
from stronghold_p2p.events.events import DialFailed, Dialing
from stronghold_p2p.identity import PeerId
from stronghold_p2p.logs import each
from stronghold_p2p.resolving.resolved import Resolved
from stronghold_p2p.streams.deadline import Deadline
from stronghold_p2p.swarm.dial import Candidate, Dial, Key
from stronghold_p2p.swarm.failures import Failures
from stronghold_p2p.swarm.host import Host
from stronghold_p2p.transport.routes import source_towards

IN_FLIGHT: Final = 16  # attempts of one dial at the same time (rust, js): 250 ms apart, the last one starts after 4 s
STAGGER: Final = 0.25  # seconds; the "Connection Attempt Delay" that RFC 8305, 5, recommends

# Seconds from the first attempt until names are looked up beside it: who has answered by then needed none of them. The
# second attempt has not begun by then, so nothing comes later for it.
HEAD_START: Final = 0.05

# Seconds that the IPv4 addresses of a name wait for its IPv6 ones: the "Resolution Delay" of RFC 8305, 3.
RESOLUTION_DELAY: Final = 0.05

# The order of what is known besides an address' form. What has failed lately comes behind all others.
_GIVEN, _LAST, _NAMED_RELAY, _ANY, _FAILED = range(5)

_SOME_IP: Final = IP4.prefixed(bytes((192, 0, 2, 1)))
_NAME_CODES: Final = frozenset(protocol.code for protocol in NAMES)

log = logging.getLogger("stronghold_p2p.network")


class Dialer:
    """Dials for one swarm. ``Timeouts.dial`` is for all addresses of a peer together."""

    def __init__(self, host: Host) -> None:
        self._host = host
        self._closing = False
        self._shared: dict[Key, Dial] = {}
        self._all: set[Dial] = set()
        self._failures = Failures()

    async def dial(
        self,
        peer: PeerId | None,
        addresses: Sequence[Multiaddr],
        known: Iterable[Multiaddr] = (),
        *,
        directly: bool = False,
    ) -> LiveConnection:
        """Connect to ``peer`` (None: to whoever proves an identity at the address).

        ``addresses`` are those that the caller gives, and come before the ``known`` ones. All callers for one peer, or
        for the same addresses, share one dial; it is cancelled when the last of them is. ``directly``: none of them
        leads through a relay, so they share none with those who wait for one.
        """
        key: Key = tuple(addresses) if peer is None else (peer,) if directly else peer
        dial = self._shared.get(key) or self._start(key, peer)
        dial.waiters += 1
        try:
            for address in addresses:
                self._add(dial, address, given=True)
            for address in known:
                self._add(dial, address, given=False)
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

    def can_dial(self, address: Multiaddr) -> bool:
        """Judged by its form. A ``/dnsaddr`` may lead anywhere, another name to IP addresses with the same behind."""
        if self._host.transport_for(address) is not None:
            return True
        example = _example(address)
        return example is address or (example is not None and self._host.transport_for(example) is not None)

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
            for task, candidate in (*dial.running.items(), *dial.lookups.items()):
                if peer not in (None, candidate.peer):
                    continue
                try:
                    self._check(candidate)
                except Exception as error:  # kept from it; or a fault of ours, which must not let it pass either
                    if task.cancel():
                        candidate.refused = error

    async def close(self) -> None:
        """Cancel every dial; who waits for one gets ``ConnectionClosed``."""
        self._closing = True
        tasks = [dial.task for dial in self._all]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _start(self, key: Key, peer: PeerId | None) -> Dial:
        loop = asyncio.get_running_loop()
        dial = self._shared[key] = Dial(key, peer, loop.create_future())
        dial.task = loop.create_task(self._run(dial))
        self._all.add(dial)
        dial.task.add_done_callback(lambda task: self._ended(dial, task))
        return dial

    def _forget(self, dial: Dial) -> None:
        if self._shared.get(dial.key) is dial:
            del self._shared[dial.key]

    def _close_unwanted(self, dial: Dial) -> None:
        """Nobody waits for the dial any more: close what it has opened, unless it is in use by then."""
        if dial.unwanted and dial.winner is not None and not dial.winner.in_use:
            dial.winner.shut(error=ConnectionClosed("who dialed did not wait for it any more"))

    def _ended(self, dial: Dial, task: asyncio.Task[LiveConnection]) -> None:
        """A callback of the loop: whatever goes wrong in it, who waits for the dial gets its outcome."""
        self._all.discard(dial)
        self._forget(dial)
        steps = (partial(self._close_unwanted, dial), partial(self._settle, dial, task))
        each(steps, log, "internal error at the end of a dial")

    def _settle(self, dial: Dial, task: asyncio.Task[LiveConnection]) -> None:
        given_up = None
        if task.cancelled() and not dial.waiters and not self._closing:
            told = "nobody waited for it any more"
            given_up = DialError(told, peer=dial.peer, attempts=dict(dial.failures))
        closing = ConnectionClosed("the network is closing", peer=dial.peer)
        error = closing if task.cancelled() else task.exception()
        if not dial.outcome.done():  # or the peer has come by itself
            if error is None:
                dial.outcome.set_result(task.result())
            else:
                dial.outcome.set_exception(error)
                dial.outcome.exception()  # callers that still wait raise it; without any it counts as seen
        if isinstance(error, Exception) and (given_up or not task.cancelled()) and dial.opened() is None:
            self._host.hub.failed(DialFailed(dial.peer, given_up or error))

    async def _run(self, dial: Dial) -> LiveConnection:
        try:
            try:
                async with Deadline(self._host.timeouts.dial, "dial", peer=dial.peer, setting="Timeouts.dial"):
                    dial.winner = await self._race(dial)
            except DeadlineExceeded as late:
                opened = dial.opened()  # in the turn in which the time was over
                if opened is None:
                    dial.explain_late(late)
                    raise
                dial.winner = opened[0]
                self._learn(dial, *opened)
            return dial.winner
        finally:
            for lookup in dial.lookups:
                lookup.cancel()
            for task in dial.running:
                if task.cancel() or task.cancelled() or task.exception() is not None:
                    continue
                other = task.result()  # two came in at once, or one while everybody left
                if other is not dial.winner and not (dial.winner is None and other.in_use):
                    other.shut()
            await asyncio.gather(*dial.running, *dial.lookups, return_exceptions=True)

    async def _race(self, dial: Dial) -> LiveConnection:
        loop = asyncio.get_running_loop()
        began = loop.time()
        while dial.waiting or dial.running or dial.names or dial.lookups:
            now, until = loop.time(), None
            if dial.waiting and len(dial.running) < IN_FLIGHT:
                if dial.soonest <= now:
                    self._begin(dial, now)
                    dial.soonest = now + STAGGER
                until = dial.soonest if dial.waiting else None
            if dial.names:
                if dial.failures or not dial.running or began + HEAD_START <= now:
                    self._look_up_names(dial)
                else:
                    until = began + HEAD_START if until is None else min(until, began + HEAD_START)
            for task in await dial.news(until):
                if task in dial.lookups:
                    self._looked_up(dial, task)
                elif (connection := self._tried(dial, task)) is not None:
                    return connection
            if dial.found is not None:
                return dial.found
        raise dial.explain()

    def _tried(self, dial: Dial, task: asyncio.Task[LiveConnection]) -> LiveConnection | None:
        """The connection to which an attempt has led, or None, and why is kept."""
        candidate = dial.running[task]
        error = candidate.refused if task.cancelled() else task.exception()
        if error is None:
            self._learn(dial, task.result(), candidate)
            return task.result()
        del dial.running[task]
        dial.fail(candidate, error)
        if candidate.tried and error is not candidate.refused and not isinstance(error, LimitExceeded):
            self._failures.add(candidate.peer, bytes(candidate.address), self._host.loop.time())
        return None

    def _looked_up(self, dial: Dial, task: asyncio.Task[None]) -> None:
        candidate = dial.lookups.pop(task)
        error = candidate.refused if task.cancelled() else task.exception()
        if error is not None:
            dial.fail(candidate, error)

    def _begin(self, dial: Dial, now: float) -> None:
        if len(dial.waiting) == 1:
            candidate = dial.waiting.pop()
        else:
            candidate = dial.take([one.rank or self._rank(dial, one, now) for one in dial.waiting])
        task = asyncio.get_running_loop().create_task(self._try(candidate))
        dial.running[task] = candidate
        task.add_done_callback(dial.ended)

    async def _try(self, candidate: Candidate) -> LiveConnection:
        """Ends with nothing left unless it succeeds."""
        self._check(candidate)
        address = candidate.address
        transport = self._host.transport_for(address)
        if transport is None:
            raise _undialed(address, address)
        token = self._host.gate.dial()
        try:
            self._host.hub.emit(Dialing(candidate.peer, address))
            candidate.tried = True
            upgraded = await transport.dial(address, candidate.peer, name=candidate.name)
            return self._host.establish(upgraded, token, "out")
        except BaseException:
            token.release()
            raise

    def _look_up_names(self, dial: Dial) -> None:
        while dial.names and len(dial.lookups) < IN_FLIGHT:
            candidate = dial.names.pop(0)
            task = asyncio.get_running_loop().create_task(self._look_up(dial, candidate))
            dial.lookups[task] = candidate
            task.add_done_callback(dial.ended)

    async def _look_up(self, dial: Dial, candidate: Candidate) -> None:
        """Where the name leads joins the others as it comes, IPv4 a little later than IPv6."""
        self._check(candidate)
        if not self.can_dial(candidate.address):
            raise _undialed(candidate.address, _example(candidate.address))
        held: list[Resolved] = []
        timer: asyncio.TimerHandle | None = None

        def found(resolved: Resolved) -> None:
            nonlocal timer
            held.append(resolved)
            if bytes(resolved.address)[0] != IP4.code:
                self._join_held(dial, candidate, held)
            elif timer is None:
                loop = asyncio.get_running_loop()
                timer = loop.call_later(RESOLUTION_DELAY, self._join_held, dial, candidate, held)

        try:
            resolve = self._host.resolver.resolve
            await resolve(candidate.address, peer=candidate.peer, given=candidate.trusted, found=found)
        finally:
            if timer is not None:
                timer.cancel()
        self._join_held(dial, candidate, held)

    def _join_held(self, dial: Dial, looked_up: Candidate, held: list[Resolved]) -> None:
        """The event loop calls this, too: a fault of ours costs the name, and nobody else."""
        try:
            while held:
                self._join(dial, looked_up, held.pop(0))
        except Exception as error:
            dial.fail(looked_up, error)
            dial.wake()

    def _join(self, dial: Dial, looked_up: Candidate, resolved: Resolved) -> None:
        """An address to which a name leads. It may be our own, or one where somebody has answered already."""
        address, named = split_peer(resolved.address)
        peer = looked_up.peer or named
        given, trusted = looked_up.given, looked_up.trusted
        candidate = Candidate(looked_up.origin, resolved.address, address, peer, given, trusted, resolved.name)
        if relays_of(address) and self._host.transport_for(address) is None:
            dial.failures[resolved.address] = _skipped(resolved.address)
        elif address in self._host.own:
            dial.failures[resolved.address] = DialError(f"{resolved.address} is our own address", temporary=False)
        elif dial.peer is None and (there := self._host.dialed_at((address,), peer)) is not None and not there.used_up:
            there.wanted = True
            there.dialed_as |= {looked_up.origin}
            dial.found = there
            dial.wake()
        else:
            dial.add(candidate)

    def _add(self, dial: Dial, address: Multiaddr, *, given: bool) -> None:
        """One through a relay takes no place while there is no transport for it, which is its cause then."""
        data = bytes(address)
        place, named = split_peer(address) if P2P_CODE in data else (address, None)
        looked_up = data[0] not in _NAME_CODES or self._host.transport_for(place) is not None  # by somebody else
        if not bytes(place):
            dial.failures[address] = DialError(f"{address} names a peer and no place", temporary=False)
        elif relays_of(address) and not self.can_dial(place):
            dial.failures[address] = _skipped(address)
        else:
            peer = named if dial.peer is None else dial.peer
            trusted = given or (not looked_up and data in self._past(dial).given)
            dial.add(Candidate(address, address, place, peer, given, trusted), lookup=not looked_up)

    def _rank(self, dial: Dial, candidate: Candidate, now: float) -> Rank:
        past = self._past(dial)
        preference = _ANY
        if self._failures.waits(candidate.peer, bytes(candidate.address), now):
            preference = _FAILED
        elif candidate.given:
            preference = _GIVEN
        elif bytes(candidate.origin) == past.last:
            preference = _LAST
        elif past.relays_first and relays_of(candidate.address):
            preference = _NAMED_RELAY
        candidate.rank = rank(candidate.address, _near, preference)
        return candidate.rank

    def _past(self, dial: Dial) -> Past:
        if dial.past is None:
            dial.past = NO_PAST if dial.peer is None else store_of(self._host.book).past(dial.peer)
        return dial.past

    def _check(self, candidate: Candidate) -> None:
        """``DialError`` if the firewall keeps us from there. Asked of a name, and again of each address behind it."""
        if not self._host.gatekeeper.may_connect(candidate.peer, "out", candidate.address):
            what = f"our own firewall keeps us from {candidate.peer or 'whoever is'} at {candidate.address}"
            raise DialError(f"{what}: see firewall.banned and firewall.rules()", peer=candidate.peer, temporary=False)

    def _learn(self, dial: Dial, connection: LiveConnection, winner: Candidate) -> None:
        """A name is kept as it is, as it may lead elsewhere the next time."""
        book, place = store_of(self._host.book), winner.origin if winner.looked_up else winner.address
        book.worked(connection.peer, place, given=winner.given and winner.looked_up)
        if winner.looked_up:
            connection.dialed_as |= {winner.origin}
        self._failures.forget(winner.peer, bytes(winner.address))
        if dial.peer is not None:
            for failed in dial.failed:
                if failed.origin != winner.origin:
                    book.failed(connection.peer, failed.origin)


def _example(address: Multiaddr) -> Multiaddr | None:
    """An address of the kind to which a name leads; a ``/dnsaddr`` itself, as that may be any; None: it is no name."""
    first, *behind = walk(bytes(address))
    if first.protocol is DNSADDR:
        return address
    return Multiaddr(_SOME_IP + bytes(address)[behind[0].start :]) if first.protocol in NAMES and behind else None


def _near(packed: bytes) -> bool:
    """Whether a private address is in a network of ours: so it is if ours on the way there is."""
    ours = source_towards(packed)
    return ours is not None and in_one_network(ours, packed)


def _undialed(address: Multiaddr, example: Multiaddr | None) -> DialError:
    return DialError(f"{address} cannot be dialed: {(example and why_not(example)) or UNKNOWN}", temporary=False)


def _skipped(address: Multiaddr) -> DialError:
    return DialError(f"{address}: skipped, {RELAYED}", temporary=False)
