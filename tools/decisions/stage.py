"""Two networks on which the decisions of the firewall are played: bob has the rules, alice asks him."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any, Final

from stronghold_p2p import (
    JSON,
    Accepting,
    Attempt,
    Dialing,
    Ended,
    Event,
    Firewall,
    Judged,
    Network,
    Opened,
    P2PError,
    Request,
    RequestFailed,
    RequestProtocol,
    Rule,
    Stream,
    Timeouts,
)

ASKING: Final = RequestProtocol("/asking/1.0.0", request=JSON, response=JSON)
RAW: Final = "/raw/1.0.0"
PATIENCE: Final = 10.0

Answer = Any  # what a hook returns, or the exception that it raises
Question = asyncio.Future[Answer]


class Stage:
    """What is asked of the application waits in ``asked`` and ``introduced`` until it is answered."""

    def __init__(self, timeouts: Timeouts | None = None) -> None:
        times = timeouts or Timeouts()
        self.bob = Network(listen=["/ip4/127.0.0.1/tcp/0"], timeouts=times)
        self.alice = Network(timeouts=Timeouts(request=PATIENCE))
        self.asked: asyncio.Queue[Question] = asyncio.Queue()
        self.introduced: asyncio.Queue[Question] = asyncio.Queue()
        self.handled = 0
        self.hold: asyncio.Event | None = None  # the handler waits for it
        self.working = asyncio.Event()
        self.events: list[str] = []
        self.bob.on_event(self._note)
        self.bob.on_request(ASKING)(self._answer)
        self.bob.on_stream(RAW)(self._greet)

    @property
    def firewall(self) -> Firewall:
        return self.bob.firewall

    def with_on_ask(self) -> None:
        @self.firewall.on_ask
        async def approve(attempt: Attempt) -> bool | Rule:
            return await _answered(self.asked)  # type: ignore[no-any-return]

    def with_on_no_rule(self) -> None:
        @self.firewall.on_no_rule
        async def introduce(attempt: Attempt) -> Rule | None:
            return await _answered(self.introduced)  # type: ignore[no-any-return]

    async def connect(self) -> str:
        return await _told(self.alice.connect(self.bob.addresses[0]), lambda connection: "connected")

    async def request(self) -> str:
        call = self.alice.request(self.bob.peer_id, "Ping", ASKING, timeout=PATIENCE)
        return await _told(call, lambda answer: "the answer")

    def asking(self) -> asyncio.Task[str]:
        return asyncio.create_task(self.request())

    async def stream(self) -> str:
        async def read() -> bytes:
            async with self.alice.open_stream(self.bob.peer_id, RAW) as stream:
                return await stream.read()

        return await _told(read(), lambda greeting: "the stream")

    async def seen(self) -> str:
        """The events so far, without those of connections; refusals are told when their answers have left."""
        await asyncio.sleep(0.002)
        return ", ".join(self.events) or "-"

    def kept(self) -> str:
        """The rules that hold, and for whom."""
        return ", ".join(f"{rule} for {_scope(dict(scope))}" for scope, rule in self.firewall.rules()) or "none"

    def forget(self) -> None:
        """What has been seen so far."""
        self.handled = 0
        self.events.clear()

    async def _answer(self, request: Request[Any]) -> Any:
        self.handled += 1
        self.working.set()
        if self.hold is not None:
            await self.hold.wait()
        return "Pong"

    async def _greet(self, stream: Stream) -> None:
        self.handled += 1
        await stream.write(b"hello")

    def _note(self, event: Event) -> None:
        match event:
            case Judged(_, rule):
                self.events.append(f"`Judged({rule})`")
            case RequestFailed(_, error):
                self.events.append(f"`RequestFailed({type(error).__name__})`")
            case Accepting() | Dialing() | Opened() | Ended():
                pass
            case _:
                self.events.append(f"`{type(event).__name__}`")


async def _answered(questions: asyncio.Queue[Question]) -> Answer:
    question: Question = asyncio.get_running_loop().create_future()
    questions.put_nowait(question)
    answer = await question
    if isinstance(answer, Exception):
        raise answer
    return answer


async def _told(call: Any, word: Callable[[Any], str]) -> str:
    try:
        return word(await call)
    except P2PError as error:
        return f"`{type(error).__name__}`"


def _scope(scope: dict[str, object]) -> str:
    named = [name for name in ("peer", "protocol", "subnet") if name in scope]
    return " and ".join(named) or "everybody"


@asynccontextmanager
async def stage(timeouts: Timeouts | None = None, *, connected: bool = True) -> AsyncIterator[Stage]:
    """Open, and quiet about the faults that are played."""
    loggers = [logging.getLogger(f"stronghold_p2p.{name}") for name in ("request", "connection")]
    before = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.CRITICAL)
    one = Stage(timeouts)
    try:
        async with one.bob, one.alice:
            one.events.clear()
            if connected:
                await one.connect()
            yield one
    finally:
        for logger, level in zip(loggers, before, strict=True):
            logger.setLevel(level)
