"""Who serves the streams that the peer of a connection opens.

A stream has no task before its protocol is agreed on. The negotiation runs in the receive callback, and asks here
whether the peer may open it (``admits``), and whether one more stream may keep it waiting (``park``). Then the handler
starts at the end of that callback, in a task of its own. Where the application has to be asked first, the task begins
with the question.

A fault in a handler ends its stream only. When the connection ends its handlers are cancelled, at once or after a
grace; rules that have changed reset the streams which they do not allow any more.
"""

import asyncio
import logging
import math
from collections.abc import Awaitable, Callable, Coroutine, Sized
from functools import partial
from inspect import CORO_CREATED, getcoroutinestate
from typing import Any, Final, Protocol, TypeAlias

from stronghold_p2p import multistream
from stronghold_p2p.codes import GoAway, Reset
from stronghold_p2p.connection.eager import begun
from stronghold_p2p.errors import (
    ConnectionClosed,
    DeadlineExceeded,
    DecodeError,
    HandshakeError,
    LimitExceeded,
    MuxerError,
    Rejected,
    StreamEnded,
    StreamReset,
)
from stronghold_p2p.firewall.decisions import OPEN_PROTOCOLS
from stronghold_p2p.identity import PeerId
from stronghold_p2p.logs import Faults, OneLine, each
from stronghold_p2p.streams.live import LiveStream
from stronghold_p2p.streams.negotiation import HeldUntilAnswered
from stronghold_p2p.token_bucket import TokenBucket

NEGOTIATING: Final = 128  # inbound streams of one connection that are still in multistream-select (rust-libp2p)

# Streams of one connection on which the peer says nothing for ``SILENT_AFTER`` seconds: so many a second for long, and
# at once. Nobody has a use for them, and each is work for us (hostile row 140).
SILENT_RATE: Final = 2.0
SILENT_BURST: Final = 128

# Errors that a peer can cause in any handler: they are no fault of the application, and are not logged as such.
PEERS_DOING: Final = (ConnectionClosed, DeadlineExceeded, DecodeError, HandshakeError, StreamEnded, StreamReset)

log = logging.getLogger("stronghold_p2p.connection")

Handler: TypeAlias = Callable[[LiveStream], Awaitable[None]]


class Gatekeeping(Protocol):
    """The firewall, as far as streams meet it."""

    def admits(self, connection: Any, protocol: str, /) -> bool | None:
        """Whether its peer may open a stream for ``protocol``; None: the application has to be asked first."""


class Waiting(Protocol):
    """The backlog of slow readers of events."""

    @property
    def readers(self) -> Sized:
        """Those who have asked that peers wait for them."""

    async def turn(self, source: PeerId, /) -> None:
        """Return when what the peer brings may begin."""


class Owner(Protocol):
    """The swarm that a connection belongs to. ``connection`` is always the one that asks."""

    faults: Faults
    """Tells which handlers have failed."""
    peer_protocols: dict[PeerId, frozenset[str]]
    """What each peer has said to serve."""
    protected: set[PeerId]
    """Peers whose connections are kept although nothing happens on them."""

    @property
    def gatekeeper(self) -> Gatekeeping: ...

    @property
    def backlog(self) -> Waiting: ...

    async def ask(self, connection: Any, protocol: str) -> bool:
        """Ask the application."""

    def handler(self, protocol: str) -> Handler | None:
        """Who serves ``protocol``."""

    def worn(self, connection: Any) -> None:
        """Soon it takes no more streams of ours: have a fresh one in its place, and drain it then."""

    def refused(self, connection: Any, error: LimitExceeded) -> None:
        """A limit has cost its peer a stream."""

    def ended(self, connection: Any, error: Exception) -> None:
        """It is over; its wire may take a moment longer."""

    def gone(self, connection: Any) -> None:
        """Its wire is gone, too."""

    def leave_behind(self, task: asyncio.Task[None]) -> None:
        """A handler runs although its connection is over."""


class Handlers:
    """The ``Accepter`` of one connection; ``tasks`` are the handlers that run, by their streams."""

    def __init__(self, owner: Owner, maximum: int | None, loop: asyncio.AbstractEventLoop) -> None:
        self._owner = owner
        self._maximum = math.inf if maximum is None else maximum
        self._loop = loop
        self._parked = 0  # negotiations that wait for more
        self._silent: TokenBucket | None = None  # few peers ever need one
        self._due: set[LiveStream] = set()  # their handlers start at the end of this callback
        self.tasks: dict[LiveStream, asyncio.Task[None]] = {}
        self._waiting: set[LiveStream] = set()  # those of ``tasks`` that slow readers of events keep from beginning
        self._late: asyncio.TimerHandle | None = None  # cancels what still runs after the peer has left

    def park(self, stream: LiveStream) -> bool:
        if self._parked >= NEGOTIATING:
            stream.reset(Reset.RESOURCE_LIMIT)
            told = f"{NEGOTIATING} of its streams have not named their protocol yet"
            self._owner.refused(stream.connection, LimitExceeded(told, limit="negotiating", maximum=NEGOTIATING))
            return False
        self._parked += 1
        return True

    def unpark(self) -> None:
        self._parked -= 1

    def silent(self, stream: LiveStream) -> None:
        self._silent = self._silent or TokenBucket(SILENT_RATE, SILENT_BURST)
        if not self._silent.take(self._loop.time()):
            error = MuxerError("too many streams that say nothing", code=GoAway.RATE_LIMITED)
            stream.connection.shut(GoAway.RATE_LIMITED, error)

    def admits(self, stream: LiveStream, protocol: str) -> bool | None:
        return self._owner.gatekeeper.admits(stream.connection, protocol)

    def start(self, stream: LiveStream) -> None:
        # Streams that were reset may leave their handlers running.
        if len(self.tasks) + len(self._due) >= self._maximum:
            self._too_many(stream)
            return
        self._due.add(stream)
        stream.connection.turn.add(partial(self._start, stream))

    def _start(self, stream: LiveStream) -> None:
        if stream not in self._due:  # it was reset meanwhile
            return
        self._due.remove(stream)
        handling = self._handle(stream)
        task = begun(handling, self._loop, stream.protocol)
        if task is None:
            stream.connection.turn.starting = True
            task = self._loop.create_task(handling, name=stream.protocol)
        if self._late is not None:  # the peer has left, but what it sent before is heard
            task.add_done_callback(self._done)
        if not task.done():
            self.tasks[stream] = task
            if stream.connection.closed:
                self._owner.leave_behind(task)

    def ask_first(self, stream: LiveStream, protocol: str, answer: bytes, leftover: bytes) -> None:
        if len(self.tasks) + len(self._due) >= self._maximum:
            self._too_many(stream)
            return
        stream.intake = held = HeldUntilAnswered(leftover)
        held.asking = task = self._loop.create_task(self._ask(stream, protocol, answer, held))
        self.tasks[stream] = task
        task.add_done_callback(lambda _: self.tasks.pop(stream, None))

    @property
    def at_work(self) -> set[asyncio.Task[None]]:
        """Handlers of the application that run, or are about to; not the one that asks."""
        current = asyncio.current_task(self._loop)
        running = {task for stream, task in self.tasks.items() if stream.protocol not in OPEN_PROTOCOLS}
        return running - {current} if current is not None else running

    @property
    def busy(self) -> bool:
        """Whether some are ``at_work``, or begin as soon as this turn is through."""
        return bool(self._due or self.at_work)

    def refuse(self) -> None:
        """Start no more handlers, as the network closes; what has not begun is told that nothing was done about it."""
        self._maximum = 0
        for stream, task in list(self.tasks.items()):
            if stream in self._waiting:
                stream.reset(Reset.RESOURCE_LIMIT)
                task.cancel()
            elif stream.intake is not None and not stream.intake.begun:
                stream.reset(Reset.RESOURCE_LIMIT)  # which cancels who waits for the answer

    def _too_many(self, stream: LiveStream) -> None:
        stream.reset(Reset.RESOURCE_LIMIT)
        running = len(self.tasks) + len(self._due)
        told = f"streams_in {running}/{self._maximum} handlers of its connection are at work: raise it in Limits"
        error = LimitExceeded(told, limit="streams_in", current=running, maximum=int(self._maximum))
        self._owner.refused(stream.connection, error)

    def recheck(self, kept: Callable[[str], bool]) -> None:
        """Rules have changed: reset the streams that the peer has opened for protocols which are not ``kept``."""
        for stream in [*self.tasks, *self._due]:  # what is asked about is judged anew by itself
            if stream.intake is None and not kept(stream.protocol):
                stream.reset(Reset.GATED)
                self._due.discard(stream)
                if stream in self._waiting:  # it has not begun, and is not to
                    self.tasks[stream].cancel()
                elif _is_fresh(self.tasks.get(stream)):
                    self.tasks.pop(stream).cancel()

    def left(self, stream: LiveStream, error: Exception) -> None:
        """The peer has reset a stream, and what it had said is there to be read. Its handler may begin a moment later,
        and then finds out.
        """
        if stream in self._due or _is_fresh(self.tasks.get(stream)):
            self._loop.call_soon(self.left, stream, error)
        elif stream in self.tasks and stream.intake is not None:
            intake, stream.intake = stream.intake, None
            intake.failed(error)

    def cancel_one(self, stream: LiveStream, reason: str) -> None:
        """Nobody waits for what the handler of this stream would answer."""
        task = self.tasks.get(stream)
        if task is not None and task is not asyncio.current_task(self._loop):  # it may itself have ended the connection
            task.cancel(reason)

    def cancel(self, delay: float = 0.0) -> None:
        """The connection is over; those that run ``delay`` seconds later are cancelled."""
        current = asyncio.current_task(self._loop)  # a handler may close its own connection
        running = [task for task in self.tasks.values() if task is not current]
        if not delay:
            due, self._due = self._due, set()
            steps: list[Callable[[], object]] = [task.cancel for task in running]
            steps += [partial(stream.reset, Reset.SHUTDOWN) for stream in due]
            each(steps, log, "internal error while the handlers of a connection were ended")
        elif running or self._due:
            self._late = self._loop.call_later(delay, self.cancel)
            for task in running:
                task.add_done_callback(self._done)

    def _done(self, _: asyncio.Task[None]) -> None:
        if self._late is not None and not self._due and all(task.done() for task in self.tasks.values()):
            self._late.cancel()
            self._late = None

    async def _ask(self, stream: LiveStream, protocol: str, answer: bytes, held: HeldUntilAnswered) -> None:
        try:
            await self._ask_and_handle(stream, protocol, answer, held)
        except Exception:  # a fault of ours: only the stream pays for it
            log.exception("internal error before the handler of %s", protocol)
            stream.reset()

    async def _ask_and_handle(self, stream: LiveStream, protocol: str, answer: bytes, held: HeldUntilAnswered) -> None:
        stream.protocol = protocol
        await self._owner.backlog.turn(stream.peer)
        if not await self._owner.ask(stream.connection, protocol):
            stream.send_now(answer[: -len(multistream.message(protocol))] + multistream.NA)
            stream.intake = None
            stream.close()
        elif stream.intake is held:
            stream.send_now(answer)
            stream.negotiated(protocol)
            for piece in held.pieces:
                if piece:
                    stream.data(piece)
            await self._handle(stream)

    async def _wait_for_readers(self, stream: LiveStream) -> None:
        self._waiting.add(stream)
        try:
            await self._owner.backlog.turn(stream.peer)
        finally:
            self._waiting.discard(stream)

    async def _handle(self, stream: LiveStream) -> None:
        try:
            if self._owner.backlog.readers and stream.protocol not in OPEN_PROTOCOLS:
                await self._wait_for_readers(stream)
            handler = self._owner.handler(stream.protocol)
            if handler is None:  # removed since the negotiation (hostile row 25)
                stream.reset(Reset.NEGOTIATION_FAILED)
                return
            await handler(stream)
            stream.close()
        except asyncio.CancelledError:
            stream.reset(Reset.SHUTDOWN)
            raise
        except Rejected as error:
            if error.peer is not None:  # raised by what the handler did with others
                self._owner.faults.tell("handler of %s failed", stream.protocol, error)
            stream.reset(Reset.NONE if error.peer is not None else Reset.GATED)
        except PEERS_DOING as error:
            log.debug("handler of %s for %s: %s", stream.protocol, stream.peer, OneLine(error))
            stream.reset(Reset.PROTOCOL_VIOLATION if isinstance(error, DecodeError) else Reset.NONE)
        except Exception as error:  # the application's own: only its stream pays for it
            self._owner.faults.tell("handler of %s failed", stream.protocol, error, more=f" for {stream.peer}")
            stream.reset()
        finally:
            self.tasks.pop(stream, None)


def _is_fresh(task: asyncio.Task[None] | None) -> bool:
    """Whether the task has not begun: before Python 3.12, where none can begin at once, or with a factory of tasks."""
    made = None if task is None else task.get_coro()
    return isinstance(made, Coroutine) and getcoroutinestate(made) == CORO_CREATED
