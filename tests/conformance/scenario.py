"""What a scenario is, and the stage on which it is played: a node of the crate and a network of ours."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

from stronghold_p2p import (
    STRONGHOLD,
    Attempt,
    Connection,
    ConnectionClosed,
    DeadlineExceeded,
    Ended,
    Event,
    Network,
    Opened,
    P2PError,
    PeerId,
    Request,
    RequestFailed,
    RequestProtocol,
    Rule,
    Timeouts,
)
from tests.conformance.crate_peer import CrateError, brief
from tests.support.driven import Line

Seen = tuple[str, str, str]
Asker = Literal["ours", "crate"]
Handle = Callable[[Any], Awaitable[Any]]
Ask = Callable[[Attempt], Awaitable[bool | Rule]]
Query = Callable[[Attempt], Awaitable[Rule | None]]

STAYS, DROPPED = "stays", "dropped by the crate"
MIB = 1 << 20

SETTLED = 0.5
"""Seconds after the last step until it is looked at what is left of the connections."""


async def echo(message: Any) -> Any:
    """As the crate's peer answers (``Message::answer``)."""
    return "Pong" if message == "Ping" else message


@dataclass(frozen=True)
class Crate:
    """How its node is set up. ``peer_rule`` is for us, ``reactions`` are told in ``CratePeer``."""

    rule: str | None = "allow"
    peer_rule: str | None = None
    manual: bool = False
    nodelay: bool = True
    request_timeout: int = 10
    connection_timeout: int = 10
    reactions: Mapping[str, Line] = field(default_factory=dict)

    def options(self) -> list[str]:
        options = [] if self.rule is None else ["--rule", self.rule]
        options += ["--nodelay"] if self.nodelay else []
        options += ["--request-timeout", str(self.request_timeout)]
        return [*options, "--connection-timeout", str(self.connection_timeout)]


@dataclass(frozen=True)
class Ours:
    """How our network is set up. ``peer_rule`` is for the crate; ``ask`` and ``no_rule`` are the firewall's hooks."""

    rule: Rule | None = None
    peer_rule: Rule | None = None
    ask: Ask | None = None
    no_rule: Query | None = None
    handle: Handle = echo
    protocol: RequestProtocol[Any, Any] = STRONGHOLD
    timeouts: Timeouts = field(default_factory=Timeouts)


@dataclass
class OurSide:
    """Our network and what it saw."""

    network: Network
    setting: Ours
    saw: list[str] = field(default_factory=list)
    opened: list[Connection] = field(default_factory=list)
    ended: list[Ended] = field(default_factory=list)

    async def request(self, to: str, message: Any, timeout: float | None = None) -> str:
        """Ask, and what came of it in words."""
        limit = timeout or self.setting.timeouts.request
        try:
            return brief(await self.network.request(to, message, self.setting.protocol, timeout=limit))
        except P2PError as error:
            return outcome(error)

    def told(self) -> str:
        return ", ".join(self.saw) or "nothing"


def outcome(error: P2PError) -> str:
    """An error by its name, and what its data say."""
    more = "" if isinstance(error, ConnectionClosed) else getattr(error, "path", "") or getattr(error, "limit", "")
    more = error.phase if isinstance(error, DeadlineExceeded) else more
    return f"{type(error).__name__} ({more})" if more else type(error).__name__


def our_side(setting: Ours, peer: Any) -> OurSide:
    """A network, not yet open, that does as it was set up and notes what it sees; ``peer_rule`` is for ``peer``."""
    network = Network(listen=["/ip4/127.0.0.1/tcp/0"], timeouts=setting.timeouts)
    side = OurSide(network, setting)
    if setting.rule is not None:
        network.firewall.set(setting.rule)
    if setting.peer_rule is not None:
        network.firewall.set(setting.peer_rule, peer=peer)
    if (ask := setting.ask) is not None:

        @network.firewall.on_ask
        async def hook(attempt: Attempt) -> bool | Rule:
            side.saw.append(f"asked about {attempt.variant}")
            return await ask(attempt)

    if (query := setting.no_rule) is not None:

        @network.firewall.on_no_rule
        async def rule_hook(attempt: Attempt) -> Rule | None:
            side.saw.append("asked for a rule")
            return await query(attempt)

    @network.on_request(setting.protocol)
    async def answer(request: Request[Any]) -> Any:
        message = request.message
        side.saw.append(f"request {brief(message) if isinstance(message, str | dict) else type(message).__name__}")
        return await setting.handle(message)

    @network.on_event
    def happened(event: Event) -> None:
        match event:
            case Opened(connection):
                side.opened.append(connection)
            case Ended():
                side.ended.append(event)
            case RequestFailed(_, error):
                side.saw.append(f"RequestFailed ({type(error).__name__})")
            case _:
                pass

    return side


class CrateSide(Protocol):
    """A node of the crate (``CratePeer``), or what replays it."""

    peer: PeerId
    address: str
    events: list[Line]

    async def call(self, command: str, **arguments: Any) -> Any: ...
    async def until(self, event: str, count: int = 1, patience: float = ...) -> Line: ...
    def told(self) -> str: ...


@dataclass
class Stage:
    """The two of them. What either side sees is noted by whoever asks, and by whoever answers itself."""

    ours: OurSide
    crate: CrateSide
    asker: Asker
    answers: list[str] = field(default_factory=list)
    noted: tuple[str, str] | None = None  # what both saw, where a scenario says it itself

    async def ask(self, *messages: Any, timeout: float | None = None) -> None:
        """Requests from the side that asks, at once; what came of them is noted, in this order."""
        self.answers += await asyncio.gather(*(self._said(message, timeout) for message in messages))

    async def _said(self, message: Any, timeout: float | None) -> str:
        if self.asker == "crate":
            return await self.crate_asks(message)
        return await self.ours.request(self.crate.address, message, timeout)

    async def crate_asks(self, message: Any) -> str:
        try:
            return brief(await self.crate.call("request", peer=str(self.ours.network.peer_id), message=message))
        except CrateError as error:
            return str(error)

    def saw(self) -> Seen:
        """What the crate saw, what ours saw, and what became of the connection."""
        answers = ", ".join(self.answers)
        both = (self.crate.told(), answers) if self.asker == "ours" else (answers, self.ours.told())
        return *(self.noted or both), self.connection()

    def connection(self) -> str:
        """How many there were, and who ended those that are over."""
        made, over = len(self.ours.opened), self.ours.ended
        by_peer = {isinstance(event.error, ConnectionClosed) and event.error.remote for event in over}
        ends = sorted(DROPPED if remote else "ended by us" for remote in by_peer)
        if not over:
            return {0: "none was made", 1: STAYS}.get(made, f"{made} connections, which stay")
        who = " and ".join(ends)
        return who if made == len(over) == 1 else f"{made} connections, {len(over)} {who}"


Play = Callable[[Stage], Awaitable[None]]


def asks(*messages: Any) -> Play:
    """These requests, one after the other."""

    async def play(stage: Stage) -> None:
        for message in messages:
            await stage.ask(message)

    return play


PINGS = asks("Ping")


@dataclass(frozen=True)
class Scenario:
    """``crate_sees``, ``ours_sees`` and ``connection`` are what is expected, each one text or any of several.

    ``why`` names what explains it where the two sides differ or one of them misbehaves: a key of ``WHY`` in report.py.
    ``recorded``: its streams become a transcript, which tests replay without the crate.
    """

    asker: Asker
    name: str
    crate_sees: str | tuple[str, ...]
    ours_sees: str | tuple[str, ...]
    connection: str | tuple[str, ...] = STAYS
    why: str = ""
    play: Play = PINGS
    crate: Crate = field(default_factory=Crate)
    ours: Ours = field(default_factory=Ours)
    recorded: bool = False

    def expected(self) -> tuple[tuple[str, ...], ...]:
        wanted = (self.crate_sees, self.ours_sees, self.connection)
        return tuple((text,) if isinstance(text, str) else text for text in wanted)

    def met_by(self, seen: Seen) -> bool:
        return all(text in wanted for text, wanted in zip(seen, self.expected(), strict=True))


async def mebibytes(stage: Stage) -> None:
    """1 MiB of text, and 1 MiB of bytes, which are nearly four as JSON (D15)."""
    await stage.ask({"Text": "x" * MIB})
    await stage.ask({"Bytes": list(bytes(range(256))) * (MIB // 256)})


async def after_idle(stage: Stage) -> None:
    """Two requests; the crate drops the connection between them."""
    await stage.ask("Ping")
    await stage.crate.until("closed")
    await asyncio.sleep(0.2)
    await stage.ask("Ping")


async def three_at_once(stage: Stage) -> None:
    """Three requests while there is no connection; which is first is not of interest."""
    await stage.ask(*({"Text": str(number)} for number in range(3)))
    stage.crate.events.sort(key=lambda line: str(line.get("message", "")))
    stage.ours.saw.sort()
