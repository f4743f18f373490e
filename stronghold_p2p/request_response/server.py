"""The responder: reads one request, asks the firewall, then the application, and answers.

A refusal is the end of the stream without a byte, whatever refused: a rule, the application when it was asked, or
the handler (parity 3). A request that cannot be read is reset, and so is one whose
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

from stronghold_p2p.codes import Reset
from stronghold_p2p.errors import (
    ConnectionClosed,
    DeadlineExceeded,
    LimitExceeded,
    Malformed,
    P2PError,
    Rejected,
    UsageError,
)
from stronghold_p2p.events.events import RequestFailed, RequestUnread
from stronghold_p2p.firewall.rules import Rule
from stronghold_p2p.request_response.codecs.codec import (
    SHORT,
    frame,
    malformed,
    weight,
)
from stronghold_p2p.request_response.exchange import CHUNK, Places, attempt_of, receive, short
from stronghold_p2p.request_response.messages import Request
from stronghold_p2p.streams.deadline import late

if TYPE_CHECKING:
    from stronghold_p2p.request_response.codecs.protocol import RequestProtocol
    from stronghold_p2p.streams.live import LiveStream
    from stronghold_p2p.swarm.host import Host

Rq = TypeVar("Rq")
Rs = TypeVar("Rs")
Handler: TypeAlias = Callable[[Request[Rq]], Awaitable[Rs] | Rs]

log = logging.getLogger("stronghold_p2p.request")


class Server:
    """Answers the requests that reach one swarm."""

    def __init__(self, swarm: Host) -> None:
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

    async def _serve(self, protocol: RequestProtocol[Rq, Rs], handler: Handler[Rq, Rs], stream: LiveStream) -> None:
        swarm, connection = self._swarm, stream.connection
        try:
            place = self.places.enter(connection.peer)
        except LimitExceeded as error:
            stream.reset(Reset.RESOURCE_LIMIT)
            swarm.hub.emit(RequestUnread(connection.face, stream.protocol, error))
            return
        try:
            due = math.inf
            if swarm.timeouts.request is not None:
                due = connection.heard + swarm.timeouts.request
                stream.expire(due)
            piece = stream.read_now(CHUNK)
            body = short(piece, protocol.max_request) or await self._receive(protocol, stream, piece)
            if body is None:
                return
            try:
                message = protocol.request.decode(body)
            except ValueError as error:
                raise malformed(error, "request", connection.peer) from error
            # A view is looked at even where the rules do not care: one that fails lets nobody in.
            judged = protocol.view is not None or not swarm.gatekeeper.passes(
                connection, protocol.ids[0], "in", message
            )
            if judged:
                size = weight(body)
                del body, piece  # nobody has to keep them while the application is asked
                if not await self._allowed(protocol, message, stream, due, size):
                    return
            request = Request(next(self._ids), connection.peer, message, stream.protocol, connection.face, due)
            await self._answer(protocol, handler, request, stream)
        except Malformed as error:  # the handler has raised none: what it raises comes as something else
            log.debug("a request of %s for %s cannot be read: %s", connection.peer, stream.protocol, error)
            stream.reset(Reset.PROTOCOL_VIOLATION)
            swarm.hub.emit(RequestUnread(connection.face, stream.protocol, error))
        finally:
            self.places.leave(place)

    async def _receive(self, protocol: RequestProtocol[Any, Any], stream: LiveStream, piece: bytes) -> bytes | None:
        """The body, when it does not come in one piece."""
        try:
            return await receive(stream, protocol.max_request, piece)
        except Malformed:
            raise
        except P2PError as error:
            cause: Exception = error
            if isinstance(error, DeadlineExceeded):
                limit = self._swarm.timeouts.request or 0.0
                cause = late(limit, "read", stream.peer, sent=False, setting="Timeouts.request")
            self._swarm.hub.emit(RequestUnread(stream.connection.face, stream.protocol, cause))
            raise

    async def _answer(
        self, protocol: RequestProtocol[Rq, Rs], handler: Handler[Rq, Rs], request: Request[Rq], stream: LiveStream
    ) -> None:
        answering, watch, version = False, None, self._swarm.firewall.version
        try:
            outcome: Any = handler(request)
            if hasattr(outcome, "__await__"):
                watch = _Watch(stream)
                try:
                    outcome = await outcome
                finally:
                    if stream.intake is watch:
                        stream.intake = None
            answering = True
            if version == self._swarm.firewall.version or self._still_passes(protocol, request):
                await stream.write(_framed(protocol, outcome))
            else:
                self._swarm.hub.emit(RequestFailed(request, _withheld(request)))
        except Rejected:
            return
        except (Exception, asyncio.CancelledError) as error:
            cause = error if isinstance(error, Exception) else self._interruption(watch, request)
            self._swarm.hub.emit(RequestFailed(request, cause))
            elsewhere = isinstance(error, (P2PError, TimeoutError)) or isinstance(cause, UsageError)
            if answering or not elsewhere:
                raise
            # Raised by what the handler did with others: no wire code of that belongs on this stream.
            raise RuntimeError(f"the handler of {stream.protocol} failed: {cause}") from error

    def _interruption(self, watch: _Watch | None, request: Request[Any]) -> P2PError:
        """Why a handler was cancelled; its own future may have been, which is not ours to tell anybody but itself."""
        task, peer, connection = asyncio.current_task(), request.peer, request.connection
        if task is not None and not task.cancelling():
            return UsageError("its answer was dropped: what it awaited was cancelled", peer=peer)
        cause = connection.error if watch is None or watch.error is None else watch.error
        if isinstance(cause, DeadlineExceeded):
            return late(self._swarm.timeouts.request or 0.0, "answer", peer, sent=False, setting="Timeouts.request")
        return cause if isinstance(cause, P2PError) else ConnectionClosed("the network is closing", peer=peer)

    async def _allowed(
        self, protocol: RequestProtocol[Rq, Rs], message: Rq, stream: LiveStream, due: float, size: int
    ) -> bool:
        gatekeeper, backlog = self._swarm.gatekeeper, self._swarm.hub.backlog
        attempt = attempt_of(stream.connection, protocol, message, direction="in", deadline=due)
        wait = backlog.crowded(attempt.peer)  # its turn has been, but the request came later than that
        allowed = None if wait else gatekeeper.verdict(attempt)
        if allowed is None:
            watch = _Watch(stream)
            try:
                if wait:
                    await backlog.turn(attempt.peer)
                    allowed = gatekeeper.verdict(attempt)
                if allowed is None:
                    allowed = await gatekeeper.ask(attempt, size)
            finally:
                if stream.intake is watch:
                    stream.intake = None
        return allowed

    def _still_passes(self, protocol: RequestProtocol[Rq, Rs], request: Request[Rq]) -> bool:
        """The rules may have changed since: a peer that was shut out is told nothing."""
        attempt = attempt_of(request.connection, protocol, request.message, direction="in", deadline=request.deadline)
        kept = self._swarm.gatekeeper.decide(attempt) in {Rule.ALLOW, Rule.ASK}
        if not kept:
            self._swarm.gatekeeper.take_back(attempt)
        return kept


def _withheld(request: Request[Any]) -> Rejected:
    told = f"{request.peer} may not ask this any more: the rules have changed, and it was not told the answer"
    return Rejected(told, peer=request.peer, local=True)


def _framed(protocol: RequestProtocol[Rq, Rs], answer: Rs) -> bytes:
    try:
        body = protocol.response.encode(answer)
    except ValueError as error:
        reason = malformed(error, "response")
        raise RuntimeError(f"the answer of the handler of {protocol.ids[0]} has no form: {reason}") from error
    size = len(body)
    if size > protocol.max_response:
        raise RuntimeError(f"an answer of {size} bytes, {protocol.max_response} allowed")
    return SHORT[size] + body if size < len(SHORT) else frame(body)


class _Watch:
    """While the application works: cancels it when the requester resets the stream or breaks the protocol.

    It takes what arrives, and an end is all that may come.
    """

    __slots__ = ("_stream", "due", "error")

    def __init__(self, stream: LiveStream) -> None:
        self._stream = stream
        self.due = math.inf
        self.error: Exception | None = None
        stream.intake = self

    def data(self, piece: bytes | memoryview) -> None:
        if len(piece):
            self._stream.reset(Reset.PROTOCOL_VIOLATION)

    def end(self) -> None:
        """The requester may close its side before it has the answer."""

    def failed(self, error: Exception) -> None:
        self.error = error
        self._stream.connection.cancel_handler(self._stream, str(error))

    def expired(self) -> None:
        """The stream has a deadline of its own."""
