"""What of the program under test guards a door: rules, hooks, questions, and a reader of events, as it is told."""

from __future__ import annotations

import argparse
import asyncio
import logging
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Final

from stronghold_p2p import (
    JSON,
    AddressBook,
    Attempt,
    Dropped,
    Event,
    Events,
    Firewall,
    Limits,
    Network,
    PeerId,
    Request,
    RequestProtocol,
    Rule,
    Scope,
    WebTLS,
)
from stronghold_p2p.events.hub import Overflow
from stronghold_p2p.firewall.decisions import OPEN_PROTOCOLS
from stronghold_p2p.firewall.entries import Judgement
from tests.hostile.hooks import PREDICATES, hook
from tests.hostile.names import GUARDED, RR

Result = dict[str, Any]
BEAT: Final = 0.01


class Counted:
    """JSON, and how often something was read."""

    def __init__(self) -> None:
        self.read = 0

    def encode(self, value: Any, /) -> bytes:
        return JSON.encode(value)

    def decode(self, body: bytes, /) -> Any:
        self.read += 1
        return JSON.decode(body)


class Errors(logging.Handler):
    """Counts what is logged: errors, bytes, and messages that are not one line of what can be printed."""

    def __init__(self) -> None:
        super().__init__()
        self.count = self.written = self.raw = 0

    def emit(self, record: logging.LogRecord) -> None:
        self.count += record.levelno >= logging.ERROR
        self.written += len(self.format(record).encode()) + 1
        self.raw += not record.getMessage().isprintable()


def rule_of(told: Any) -> Rule:
    """A rule as it stands in a file."""
    if isinstance(told, str):
        return Rule(told)  # type: ignore[arg-type]
    then, otherwise = rule_of(told.get("then", "allow")), rule_of(told.get("otherwise", "reject"))
    if "only" in told:
        return Rule.only(told["only"], then=then, otherwise=otherwise)
    return Rule.when(PREDICATES[told["when"]], name=told["when"], then=then, otherwise=otherwise)


def firewall_of(options: argparse.Namespace) -> Firewall:
    """Open to everybody, ``--closed``, or with the rules of a file."""
    if options.rules is not None:
        return Firewall.load(options.rules, predicates=PREDICATES)
    if options.closed:  # the honest user beside a row is no matter of its rules
        return Firewall(open_protocols=OPEN_PROTOCOLS | {RR})
    firewall = Firewall()
    firewall.set(Rule.ALLOW)
    return firewall


class Guard:
    """One network, and a method for each command that has to do with rules."""

    def __init__(self, options: argparse.Namespace, limits: Limits) -> None:
        self.firewall = firewall_of(options)
        book = None if options.book is None else AddressBook.load(options.book)
        tls = WebTLS(certificate=options.tls)
        given = {"firewall": self.firewall, "timeouts": options.timeouts, "limits": limits, "book": book, "tls": tls}
        self.network = Network(**given, mdns=options.mdns)
        self.codec = Counted()
        self.protocol: RequestProtocol[Any, Any] = RequestProtocol(GUARDED, request=self.codec, response=JSON)
        self.errors = Errors()
        self.questions: list[tuple[Attempt, asyncio.Future[Any]]] = []
        self.shown: set[int] = set()
        self.handled: list[Any] = []
        self.same = True
        self.holding = asyncio.Event()
        self.holding.set()
        self.stall = self.busy = 0.0
        self.kept: Events | None = None
        self.emitted = self.most = 0
        self.network.on_request(self.protocol)(self._answer)
        self.network.on_request(lambda request: request.message)
        for number in range(options.protocols):
            self.network.on_request(RequestProtocol(f"/many/{number}", request=JSON, response=JSON))(self._answer)
        self.judged = 0
        self._match = self.firewall.match
        self.firewall.match = self._counted  # type: ignore[method-assign]

    # ------------------------------------------------------------------ what the application does

    def _counted(self, attempt: Attempt) -> Judgement:
        self.judged += 1
        return self._match(attempt)

    async def _answer(self, request: Request[Any]) -> Any:
        if isinstance(request.message, dict) and "Fail" in request.message:
            raise RuntimeError(f"of no use: {request.message}")
        self.same = self.same and (not self.shown or id(request.message) in self.shown)
        self.handled.append("many" if isinstance(request.message, list) else request.message)
        await self.holding.wait()
        return "done"

    async def _ask(self, attempt: Attempt) -> Any:
        self.shown.add(id(attempt.view))
        future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self.questions.append((attempt, future))
        return await future

    async def _shrug(self, attempt: Attempt) -> Any:
        future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        future.cancel()
        self.questions.append((attempt, future))

    def _count(self, _: Event) -> None:
        if self.kept is not None:
            self.emitted += 1
            self.most = max(self.most, len(self.kept._waiting))

    async def watch(self) -> None:
        """Counts what is logged as an error, and notes how long the loop stood still, and what one callback took."""
        logging.getLogger("stronghold_p2p").addHandler(self.errors)
        self.network.on_event(self._count)
        setattr(asyncio.Handle, "_run", self._timed(asyncio.Handle._run))  # noqa: B010
        loop = asyncio.get_running_loop()
        while True:
            before = loop.time()
            await asyncio.sleep(BEAT)
            self.stall = max(self.stall, loop.time() - before - BEAT)

    def _timed(self, run: Callable[[asyncio.Handle], object]) -> Callable[[asyncio.Handle], None]:
        def timed(handle: asyncio.Handle) -> None:
            begun = time.thread_time()
            run(handle)
            self.busy = max(self.busy, time.thread_time() - begun)

        return timed

    # ------------------------------------------------------------------ commands

    async def rules(self, *, entries: list[Any], clear: bool = True) -> None:
        """Each entry is a rule (None: it is removed) and its scope."""
        for scope, _ in self.firewall.rules() if clear else ():
            self.firewall.remove(**scope)
        for told, selectors in entries:
            where: Scope = {**selectors}  # type: ignore[typeddict-item]
            if "peer" in selectors:
                where["peer"] = PeerId(selectors["peer"])
            if told is None:
                self.firewall.remove(**where)
            else:
                self.firewall.set(rule_of(told), **where)

    async def log(self, *, level: str) -> None:
        """What is written from now on."""
        logging.getLogger("stronghold_p2p").setLevel(level)
        self.errors.written = self.errors.raw = 0

    async def save(self, *, path: str) -> Result:
        """All rules into a file; how many can be read again."""
        self.firewall.save(path)
        return {"read": len(Firewall.load(path).rules())}

    async def keep(self, *, overflow: Overflow, buffer: int = 256) -> None:
        """From now on events are kept, and not read."""
        self.emitted = self.most = 0
        self.kept = self.network.events(buffer=buffer, overflow=overflow)

    async def read(self, *, seconds: float) -> Result:
        """Read what waits, and what comes in this time; then nobody reads events any more."""
        assert self.kept is not None
        seen: Counter[str] = Counter()
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                async for event in self.kept:
                    seen[type(event).__name__] += event.count if isinstance(event, Dropped) else 1
        return {"seen": seen, "emitted": self.emitted}

    async def out_to_a_friend(self) -> Result:
        """A request of the application itself, to a peer of its own."""
        async with Network(listen=["/ip4/127.0.0.1/tcp/0"]) as friend:
            friend.firewall.set(Rule.ALLOW)
            friend.on_request(lambda request: request.message)
            return {"answer": await self.network.request(friend.addresses[0], "mine", timeout=5)}

    async def hooks(self, *, ask: str = "hold", no_rule: str | None = None) -> None:
        own = {"hold": self._ask, "silent": self._shrug}
        self.firewall.on_ask(own.get(ask) or hook(ask, self.network))
        if no_rule is not None:
            self.firewall.on_no_rule(own.get(no_rule) or hook(no_rule, self.network))

    async def answer(self, *, question: int, yes: Any) -> Result:
        """Settle a question; ``stale``: nobody waits for the answer any more."""
        future = self.questions[question][1]
        stale = future.done()
        if not stale:
            future.set_result(yes)
        return {"stale": stale}

    async def hold(self, *, on: bool) -> None:
        """Whether handlers keep their answers."""
        (self.holding.clear if on else self.holding.set)()

    async def ban(self, *, whom: str, back: bool = False) -> None:
        peer = whom if "/" in whom else PeerId(whom)
        (self.firewall.unban if back else self.firewall.ban)(peer)

    async def out(self, *, peer: str) -> Result:
        """A request of ours to this peer, which is connected."""
        return {"got": await self.network.request(PeerId(peer), "Ping", self.protocol, timeout=5)}

    def guarded(self) -> Result:
        """What it has seen, and what waits in it."""
        stall, busy = self.stall, self.busy
        self.stall = self.busy = 0.0
        return {
            "emitted": self.emitted,
            "most": self.most,
            "waiting": 0 if self.kept is None else len(self.kept._waiting),
            "questions": len(self.questions),
            "open": sum(not future.done() for _, future in self.questions),
            "read": self.codec.read,
            "handled": self.handled,
            "same": self.same,
            "errors": self.errors.count,
            "written": self.errors.written,
            "raw": self.errors.raw,
            "judged": self.judged,
            "rules": len(self.firewall.rules()),
            "learned": len(self.firewall.learned),
            "stall": stall,
            "busy": busy,
        }

    async def forget(self) -> None:
        """What has been seen so far; and events are not kept any more."""
        if self.kept is not None:
            self.kept.close()
        self.kept = None
        self.questions.clear()
        self.shown.clear()
        self.handled.clear()
        self.codec.read, self.errors.count, self.same = 0, 0, True
