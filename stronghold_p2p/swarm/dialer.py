"""Dialing a peer: its addresses in parallel, staggered, and one dial for all who wait for it.

The next address starts 250 ms after the one before it, or at once when that one has failed; the first that
ends in the expected peer wins, and the others are cancelled.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Final

from multiaddr import Multiaddr

from stronghold_p2p.errors import DeadlineExceeded, DialError, P2PError
from stronghold_p2p.transport import tcp
from stronghold_p2p.transport.link import Link
from stronghold_p2p.transport.upgrading import Upgrading

if TYPE_CHECKING:
    from stronghold_p2p.firewall.gate import Token
    from stronghold_p2p.identity import PeerId
    from stronghold_p2p.swarm.connection import Connection
    from stronghold_p2p.swarm.swarm import Swarm
    from stronghold_p2p.transport.upgrader import Upgraded

STAGGER: Final = 0.25  # reliability 2.7, DIAL


class _Shared:
    """A dial in progress and how many wait for it."""

    __slots__ = ("task", "waiters")

    def __init__(self, task: asyncio.Task[Connection]) -> None:
        self.task = task
        self.waiters = 0


class Dialer:
    """Dials for one swarm."""

    def __init__(self, swarm: Swarm) -> None:
        self._swarm = swarm
        self._shared: dict[PeerId, _Shared] = {}

    async def dial(self, peer: PeerId | None, addresses: Sequence[Multiaddr]) -> Connection:
        """Connect to ``peer`` (None: to whoever proves an identity at the address).

        All callers for one peer share one dial; it is cancelled when the last of them is.
        """
        if peer is None:
            return await self._attempt_all(None, addresses)
        shared = self._shared.get(peer)
        if shared is None:
            task = self._swarm.loop.create_task(self._attempt_all(peer, addresses))
            shared = self._shared[peer] = _Shared(task)
            task.add_done_callback(lambda task: self._forget(peer, task))
        shared.waiters += 1
        try:
            return await asyncio.shield(shared.task)
        finally:
            shared.waiters -= 1
            if not shared.waiters and not shared.task.done():
                self._shared.pop(peer, None)
                shared.task.cancel()

    def _forget(self, peer: PeerId, task: asyncio.Task[Connection]) -> None:
        shared = self._shared.get(peer)
        if shared is not None and shared.task is task:
            del self._shared[peer]
        if not task.cancelled():
            task.exception()  # whoever still waits raises it; if all have gone it is nobody's

    async def close(self) -> None:
        """Cancel every dial."""
        tasks = [shared.task for shared in self._shared.values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _attempt_all(self, peer: PeerId | None, addresses: Sequence[Multiaddr]) -> Connection:
        limits, timeouts = self._swarm.limits, self._swarm.timeouts
        todo = list(dict.fromkeys(addresses))[: limits.dial_addresses]
        failures: dict[Multiaddr, Exception] = {}
        running: dict[asyncio.Task[Connection], Multiaddr] = {}
        try:
            async with asyncio.timeout(timeouts.dial):
                return await self._race(peer, todo, running, failures)
        except TimeoutError:
            limit = timeouts.dial or 0.0
            raise DeadlineExceeded(f"{limit:g} s in the dial", timeout=limit, phase="dial", peer=peer) from None
        finally:
            for task in running:
                task.cancel()
            await asyncio.gather(*running, return_exceptions=True)

    async def _race(
        self,
        peer: PeerId | None,
        todo: list[Multiaddr],
        running: dict[asyncio.Task[Connection], Multiaddr],
        failures: dict[Multiaddr, Exception],
    ) -> Connection:
        while todo or running:
            if todo:
                address = todo.pop(0)
                running[self._swarm.loop.create_task(self._attempt(peer, address))] = address
            pause = STAGGER if todo else None
            done, _ = await asyncio.wait(running, timeout=pause, return_when=asyncio.FIRST_COMPLETED)
            won = [task for task in done if task.exception() is None]
            for task in done - set(won):
                failed = running.pop(task)
                failures[failed] = _as_exception(task)
            if won:
                self._learn(peer, running.pop(won[0]), failures)
                return won[0].result()
        raise self._no_address(peer, failures)

    def _learn(self, peer: PeerId | None, address: Multiaddr, failures: dict[Multiaddr, Exception]) -> None:
        if peer is not None:
            self._swarm.book.worked(peer, address)
            for failed in failures:
                self._swarm.book.failed(peer, failed)

    def _no_address(self, peer: PeerId | None, failures: dict[Multiaddr, Exception]) -> Exception:
        if not failures:
            return DialError(f"no address of {peer} is known: add one", peer=peer)
        if len(failures) == 1:
            error = next(iter(failures.values()))
            if not isinstance(error, DialError):
                return error
        reasons = "; ".join(f"{address}: {error}" for address, error in failures.items())
        return DialError(f"no address worked: {reasons}", peer=peer, attempts=dict(failures))

    async def _attempt(self, peer: PeerId | None, address: Multiaddr) -> Connection:
        token = self._swarm.gate.dial()
        try:
            return await self._upgrade(peer, address, await self._connect(address), token)
        except BaseException:
            token.release()
            raise

    async def _upgrade(self, peer: PeerId | None, address: Multiaddr, link: Link, token: Token) -> Connection:
        swarm = self._swarm
        outcome: asyncio.Future[Connection] = swarm.loop.create_future()
        upgrading = Upgrading(
            link,
            swarm.upgrade.outbound(peer),
            timeout=swarm.timeouts.upgrade,
            done=_settle(outcome, lambda upgraded: swarm.established(link, upgraded, token, "out", address)),
            failed=lambda error: None if outcome.done() else outcome.set_exception(error),
            loop=swarm.loop,
        )
        try:
            upgrading.start()
            return await outcome
        except asyncio.CancelledError:
            if outcome.done() and not outcome.cancelled() and outcome.exception() is None:
                outcome.result().abort()
            else:
                upgrading.cancel()
            raise

    async def _connect(self, address: Multiaddr) -> Link:
        limit = self._swarm.timeouts.connect
        try:
            async with asyncio.timeout(limit):
                return await tcp.connect(address, _made)
        except TimeoutError:
            raise DeadlineExceeded(
                f"{address} did not answer within {limit or 0:g} s", timeout=limit or 0.0, phase="connect"
            ) from None


def _made(link: Link) -> None:
    """Nothing to do before the upgrade: the dialer admitted the attempt already."""


def _settle(
    outcome: asyncio.Future[Connection], establish: Callable[[Upgraded], Connection]
) -> Callable[[Upgraded], None]:
    def done(upgraded: Upgraded) -> None:
        try:
            connection = establish(upgraded)
        except P2PError as error:
            if not outcome.done():
                outcome.set_exception(error)
            return
        if outcome.done():
            connection.abort()
        else:
            outcome.set_result(connection)

    return done


def _as_exception(task: asyncio.Task[Connection]) -> Exception:
    error = task.exception()
    if isinstance(error, Exception):
        return error
    raise error if error is not None else RuntimeError("the attempt did not fail")
