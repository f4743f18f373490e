"""The responder: reads one request, asks the firewall, then the application, and answers.

A refusal is the end of the stream without a byte, whatever refused: a rule, the application when it was asked, or
the handler (``reference/stronghold-parity.md`` 2.5). A request that cannot be read is reset, and so is one whose
handler fails or is late; each costs its own stream only.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
import math
from collections.abc import Awaitable, Callable
from functools import partial
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar

from stronghold_p2p.errors import ConnectionClosed, LimitExceeded, Malformed, P2PError, Rejected
from stronghold_p2p.firewall.rules import Rule
from stronghold_p2p.request_response.codec import decode, encode, frame
from stronghold_p2p.request_response.exchange import Places, attempt_of, receive
from stronghold_p2p.request_response.messages import Request
from stronghold_p2p.swarm.events import RequestFailed
from stronghold_p2p.yamux import Reset

if TYPE_CHECKING:
    from stronghold_p2p.request_response.protocol import RequestProtocol
    from stronghold_p2p.swarm.swarm import Swarm
    from stronghold_p2p.yamux import Stream

Rq = TypeVar("Rq")
Rs = TypeVar("Rs")
Handler: TypeAlias = Callable[[Request[Rq]], Awaitable[Rs] | Rs]

log = logging.getLogger("stronghold_p2p.request")


class Server:
    """Answers the requests that reach one swarm."""

    def __init__(self, swarm: Swarm) -> None:
        self._swarm = swarm
        self._ids = itertools.count(1)
        self.places = Places(swarm.limits.requests_per_peer)

    def serve(self, protocol: RequestProtocol[Rq, Rs], handler: Handler[Rq, Rs]) -> None:
        """Let ``handler`` answer what the firewall lets through.

        It returns the answer, or an awaitable of it; ``Rejected`` refuses, any other exception resets the stream. It
        is cancelled after ``Timeouts.request`` seconds and when the requester has gone.
        """
        for name in protocol.ids:
            answer = partial(self._serve, protocol, handler)
            self._swarm.handle(name, answer, judges=True, rule_name=protocol.ids[0])

    async def _serve(self, protocol: RequestProtocol[Rq, Rs], handler: Handler[Rq, Rs], stream: Stream) -> None:
        try:
            place = self.places.enter(stream.peer)
        except LimitExceeded:
            stream.reset(Reset.RESOURCE_LIMIT)
            return
        try:
            await self._answer(protocol, handler, stream)
        except Malformed as error:
            log.debug("a request of %s for %s cannot be read: %s", stream.peer, stream.protocol, error)
            stream.reset(Reset.PROTOCOL_VIOLATION)
        finally:
            self.places.leave(place)

    async def _answer(self, protocol: RequestProtocol[Rq, Rs], handler: Handler[Rq, Rs], stream: Stream) -> None:
        swarm, connection = self._swarm, stream.connection
        due = math.inf
        if swarm.timeouts.request is not None:
            due = swarm.loop.time() + swarm.timeouts.request
            stream.expire(due)
        body = await receive(stream, protocol.max_request)
        if body is None:
            return
        message = decode(protocol.request, body)
        # A view is looked at even where the rules do not care: one that fails lets nobody in.
        judged = protocol.view is not None or not swarm.passes(connection, protocol.ids[0], "in")
        if judged and not await self._allowed(protocol, message, stream, due):
            return
        request = Request(
            id=next(self._ids),
            peer=stream.peer,
            message=message,
            protocol=stream.protocol,
            connection=connection,
            deadline=due,
        )
        answering = False
        try:
            outcome: Any = handler(request)
            if hasattr(outcome, "__await__"):
                outcome = await _while_wanted(outcome, stream)
            answering = True
            if connection.passing["in"].get(protocol.ids[0]) or self._still_passes(protocol, request):
                await stream.write(frame(self._encoded(protocol, outcome)))
        except Rejected:
            return
        except (Exception, asyncio.CancelledError) as error:
            swarm.emit(RequestFailed(request, _reason(error)))
            if answering or not isinstance(error, (P2PError, TimeoutError)):
                raise
            # Raised by what the handler did with other peers: no wire code of that belongs on this stream.
            raise RuntimeError(f"the handler of {stream.protocol} failed: {error}") from error

    async def _allowed(self, protocol: RequestProtocol[Rq, Rs], message: Rq, stream: Stream, due: float) -> bool:
        approval = self._swarm.approval
        attempt = attempt_of(stream.connection, protocol, message, direction="in", deadline=due)
        allowed = approval.verdict(attempt)
        if allowed is None:
            allowed = bool(await _while_wanted(approval.judge(attempt), stream))
        return allowed

    def _still_passes(self, protocol: RequestProtocol[Rq, Rs], request: Request[Rq]) -> bool:
        """The rules may have changed since: a peer that was shut out is told nothing."""
        attempt = attempt_of(request.connection, protocol, request.message, direction="in", deadline=request.deadline)
        return self._swarm.firewall.decide(attempt) in {Rule.ALLOW, Rule.ASK}

    def _encoded(self, protocol: RequestProtocol[Rq, Rs], answer: Rs) -> bytes:
        try:
            body = encode(protocol.response, answer)
        except Malformed as error:
            raise RuntimeError(f"the answer of the handler of {protocol.ids[0]} has no form: {error}") from error
        if len(body) > protocol.max_response:
            raise RuntimeError(f"an answer of {len(body)} bytes, {protocol.max_response} allowed")
        return body


def _reason(error: BaseException) -> Exception:
    """Why a request failed: behind a cancellation stands what became of its stream."""
    if isinstance(error, Exception):
        return error
    cause = error.__cause__
    return cause if isinstance(cause, Exception) else ConnectionClosed("the network is closing")


async def _while_wanted(outcome: Awaitable[Any], stream: Stream) -> Any:
    """Await the application, and cancel it when the requester resets the stream or breaks the protocol."""
    task = asyncio.current_task()
    assert task is not None
    stream.intake = watch = _Watch(stream, task)
    try:
        return await outcome
    except asyncio.CancelledError as error:
        raise error from watch.error
    finally:
        watch.done = True
        if stream.intake is watch:
            stream.intake = None


class _Watch:
    """Takes what arrives while the application works: an end is all that may come."""

    __slots__ = ("_stream", "_task", "done", "error")

    def __init__(self, stream: Stream, task: asyncio.Task[Any]) -> None:
        self._stream = stream
        self._task = task
        self.done = False
        self.error: Exception | None = None

    def data(self, piece: bytes | memoryview) -> None:
        if len(piece):
            self._stream.reset(Reset.PROTOCOL_VIOLATION)

    def end(self) -> None:
        """The requester may close its side before it has the answer."""

    def failed(self, error: Exception) -> None:
        # The application may itself have ended the connection, from inside its handler.
        if not self.done and asyncio.current_task() is not self._task:
            self.error = error
            self._task.cancel(str(error))
