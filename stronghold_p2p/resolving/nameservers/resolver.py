"""Names become IP addresses: the resolver of one network.

First what needs nobody: addresses as text, ``localhost``, the hosts file, what was asked before. Then the nameservers,
for all that is open at the same time; the same question of several dials is asked once.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, replace
from importlib import import_module
from math import inf
from pathlib import Path
from typing import TYPE_CHECKING, Final

from multiaddr import Multiaddr

from stronghold_p2p.addressing.kinds import reach_of
from stronghold_p2p.errors import NameResolutionError
from stronghold_p2p.identity import PeerId
from stronghold_p2p.resolving.cache import Cache
from stronghold_p2p.resolving.dns import Dns, server_of
from stronghold_p2p.resolving.expansion import Expansion
from stronghold_p2p.resolving.nameservers.system import (
    CONFIGURATION,
    HOSTS,
    Configuration,
    HostsFile,
    state_of,
)
from stronghold_p2p.resolving.permitted import source_of
from stronghold_p2p.resolving.questions import Answer, Question, by_itself, full_names
from stronghold_p2p.resolving.resolved import Resolved, has_name

if TYPE_CHECKING:
    from stronghold_p2p.resolving.nameservers.asking import Nameservers

CLOSING: Final = "the network is closing"
READ_AGAIN: Final = 60.0  # seconds, of what has no file that tells its changes, as on Windows

# dnspython takes about 70 ms to import, and several times that with aioquic installed: between these steps the loop
# goes on.
_STEPS: Final = ("dns.name", "dns.message", "dns.query", "dns.asyncquery", "dns.resolver")


@dataclass(eq=False, slots=True)
class _Lookup:
    """A question that is under way, and how many resolutions wait for its answer."""

    task: asyncio.Task[Answer]
    waiting: int = 0


class Resolver:
    """Resolves addresses for one network, in its event loop. Nothing of it runs, or is loaded, before it is needed.

    dns: whom to ask. timeout: seconds for one address, from all its questions to all their answers; None: no end.
    hosts, configuration: the files of the system.
    """

    def __init__(
        self,
        dns: Dns | None = None,
        *,
        timeout: float | None = 10.0,
        hosts: Path = HOSTS,
        configuration: Path = CONFIGURATION,
    ) -> None:
        self._dns = dns or Dns()
        self._timeout = inf if timeout is None else timeout
        self._hosts, self._path = HostsFile(hosts), configuration
        self._state: object = ()
        self._read = 0.0
        self._configuration: Configuration | None = None
        self._nameservers: Nameservers | None = None
        self._cache = Cache()
        self._lookups: dict[Question, _Lookup] = {}
        self._tasks: set[asyncio.Task[Answer]] = set()
        self._closed = False

    async def resolve(
        self,
        address: Multiaddr,
        *,
        peer: PeerId | None,
        given: bool = False,
        found: Callable[[Resolved], None] | None = None,
    ) -> tuple[Resolved, ...]:
        """What ``address`` leads to, each once, in the order in which it was found; itself, if it begins with no name.

        peer: who is to be dialed; of a ``/dnsaddr`` only what ends in ``/p2p/`` and this peer counts. None: anybody.
        given: the application named this address, so it may lead into private networks and to this machine; what a
            peer told may not.
        found: called with each result as soon as that is known, while others are still looked up. It must not raise.

        ``NameResolutionError``: nothing was found within the timeout; what was found by then is returned.
        When the call is cancelled nothing of it is left, except look-ups for which others wait as well.
        """
        if not has_name(address):
            only = Resolved(address)
            if found is not None:
                found(only)
            return (only,)
        now = asyncio.get_running_loop().time
        until = now() + self._timeout
        expansion = Expansion(
            address, peer, source_of(reach_of(address), given=given), tuple(self._dns.private_domains)
        )
        waiting: dict[asyncio.Task[Answer], Question] = {}
        told = 0
        try:
            while True:
                self._ask(expansion, waiting)
                if found is not None:
                    for resolved in expansion.found[told:]:
                        found(resolved)
                told = len(expansion.found)
                if expansion.done or now() >= until:
                    break
                done, _ = await asyncio.wait(
                    waiting,
                    timeout=None if until == inf else until - now(),
                    return_when=asyncio.FIRST_COMPLETED,
                )
                for task in done:
                    self._answered(expansion, waiting.pop(task), task)
        finally:
            for question in waiting.values():
                self._leave(question)
        if not expansion.found:
            raise self._nothing(expansion, address, peer, list(waiting.values()))
        return tuple(expansion.found)

    async def close(self) -> None:
        """End every look-up; who waits for one gets ``NameResolutionError``."""
        self._closed = True
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _ask(self, expansion: Expansion, waiting: dict[asyncio.Task[Answer], Question]) -> None:
        """Answer what can be answered at once, and begin to look up the rest."""
        while expansion.questions:
            question = expansion.questions.pop(0)
            answer = self._at_once(question)
            if answer is not None:
                expansion.answer(question, answer)
            elif self._closed:
                expansion.fail(question, CLOSING)
            else:
                waiting[self._join(question)] = question

    def _at_once(self, question: Question) -> Answer | None:
        """The answer that nobody has to be asked for."""
        answer = by_itself(question)
        if answer is not None or (question.kind != "TXT" and (answer := self._in_hosts(question)) is not None):
            return answer
        self._look_at_configuration()
        if self._configuration is None:
            return None
        for name in full_names(question, self._configuration.search, self._configuration.ndots):
            answer = self._cache.get(name, question.kind, asyncio.get_running_loop().time())
            if answer is None or answer.records:
                return answer and replace(answer, lookups=1)
        return answer

    def _in_hosts(self, question: Question) -> Answer | None:
        """A name in the hosts file has no other addresses than those."""
        packed = self._hosts.addresses(question.name)
        size = 4 if question.kind == "A" else 16
        records = tuple(one for one in packed if len(one) == size)
        return Answer(records, missing="has an address of the other family in the hosts file") if packed else None

    def _look_at_configuration(self) -> None:
        """Another configuration is often another network, where names lead elsewhere. One that is not in this file is
        taken for another one after a minute.
        """
        if self._configuration is None or self._dns.nameservers:
            return
        state = state_of(self._path)
        if state != self._state or (state is None and asyncio.get_running_loop().time() >= self._read + READ_AGAIN):
            self._configuration = None
            self._cache.clear()

    async def _ready(self) -> "tuple[Configuration, Nameservers]":
        for module in _STEPS if self._nameservers is None else ():
            import_module(module)
            await asyncio.sleep(0)
        from stronghold_p2p.resolving.nameservers.asking import Nameservers  # noqa: PLC0415 - with dnspython
        from stronghold_p2p.resolving.nameservers.configuration import read_configuration  # noqa: PLC0415

        if self._configuration is None or self._nameservers is None:
            if self._dns.nameservers:
                self._configuration = Configuration(tuple(map(server_of, self._dns.nameservers)))
            else:
                self._state, self._read = state_of(self._path), asyncio.get_running_loop().time()
                self._configuration = read_configuration(self._path)
            self._nameservers = Nameservers(self._configuration.servers)
        return self._configuration, self._nameservers

    def _join(self, question: Question) -> asyncio.Task[Answer]:
        lookup = self._lookups.get(question)
        if lookup is None:
            lookup = self._lookups[question] = _Lookup(asyncio.create_task(self._look_up(question)))
            self._tasks.add(lookup.task)
            lookup.task.add_done_callback(lambda task: self._ended(question, task))
        lookup.waiting += 1
        return lookup.task

    def _leave(self, question: Question) -> None:
        lookup = self._lookups.get(question)
        if lookup is not None:
            lookup.waiting -= 1
            if not lookup.waiting:
                del self._lookups[question]
                lookup.task.cancel()

    def _ended(self, question: Question, task: asyncio.Task[Answer]) -> None:
        self._tasks.discard(task)
        lookup = self._lookups.get(question)
        if lookup is not None and lookup.task is task:
            del self._lookups[question]
        if not task.cancelled():
            task.exception()  # those who wait are told; nobody may be left

    async def _look_up(self, question: Question) -> Answer:
        """Ask the nameservers, for each name that ``question`` may stand for, until one has the record."""
        now = asyncio.get_running_loop().time
        until = now() + self._timeout
        configuration, servers = await self._ready()
        if not configuration.servers:
            advice = "give Network(dns=Dns(nameservers=[...]))"
            raise NameResolutionError(f"there is nobody to ask: {configuration.problem}; {advice}")
        lookups, best = 0, Answer()
        for name in full_names(question, configuration.search, configuration.ndots):
            answer = self._cache.get(name, question.kind, now())
            if answer is None:
                answer = await servers.ask(name, question.kind, until)
                lookups += answer.lookups
                if servers is self._nameservers:
                    self._cache.put(name, question.kind, answer, now())
            best = answer if answer.records or name == question.name else best
            if answer.records:
                break
        return replace(best, lookups=max(lookups, 1))

    def _answered(self, expansion: Expansion, question: Question, task: asyncio.Task[Answer]) -> None:
        if task.cancelled():
            expansion.fail(question, CLOSING)
        elif isinstance(error := task.exception(), NameResolutionError):
            expansion.fail(question, f"{question}: {error}")
        else:
            expansion.answer(question, task.result())

    def _nothing(
        self, expansion: Expansion, address: Multiaddr, peer: PeerId | None, open_: list[Question]
    ) -> NameResolutionError:
        asked = ", ".join(host for host, _ in self._configuration.servers) if self._configuration else "nobody yet"
        for question in open_:
            expansion.fail(question, f"{question}: no answer within {self._timeout:g} s from {asked}")
        query = str(expansion.failed[0]) if expansion.failed else ""
        told = f"{address} leads nowhere: {expansion.why_nothing()}"
        return NameResolutionError(told, query=query, address=address, peer=peer)
