"""The responder: reads one request, asks the firewall, then the application, and answers.

A refusal is the end of the stream without a byte, whatever refused: a rule, the application when it was asked, or
the handler (``reference/stronghold-parity.md`` 2.5). A request that cannot be read is reset, and so is one whose
handler fails or is late; each costs its own stream only.
"""

from __future__ import annotations

import asyncio
import inspect
import itertools
import logging
from collections.abc import Awaitable, Callable
from functools import partial
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar

from stronghold_p2p.errors import LimitExceeded, Malformed, P2PError, Rejected
from stronghold_p2p.firewall.rules import Rule
from stronghold_p2p.request_response.codec import decode, encode, frame
from stronghold_p2p.request_response.exchange import Places, attempt_of, receive
from stronghold_p2p.request_response.messages import Request
from stronghold_p2p.swarm.deadline import Deadline
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
            with self.places.take(stream.peer):
                await self._answer(protocol, handler, stream)
        except LimitExceeded as error:
            if error.limit != "requests_per_peer":
                raise
            stream.reset(Reset.RESOURCE_LIMIT)
        except Malformed as error:
            log.debug("a request of %s for %s cannot be read: %s", stream.peer, stream.protocol, error)
            stream.reset(Reset.PROTOCOL_VIOLATION)

    async def _answer(self, protocol: RequestProtocol[Rq, Rs], handler: Handler[Rq, Rs], stream: Stream) -> None:
        async with Deadline(self._swarm.timeouts.request, "the request", peer=stream.peer) as deadline:
            body = await receive(stream, protocol.max_request)
            if body is None:
                return
            message = decode(protocol.request, body)
            attempt = attempt_of(stream.connection, protocol, message, direction="in", deadline=deadline.when)
            allowed = self._swarm.approval.verdict(attempt)
            if allowed is None:
                deadline.phase = "the approval"
                allowed = await _while_wanted(self._swarm.approval.judge(attempt), stream)
            if not allowed:
                return
            deadline.phase = "the answer"
            request = Request(
                id=next(self._ids),
                peer=stream.peer,
                message=message,
                protocol=stream.protocol,
                connection=stream.connection,
                deadline=deadline.when,
            )
            answer = await self._handled(handler, request, stream)
            # The rules may have changed since: a peer that was shut out is told nothing.
            if answer is not None and self._swarm.firewall.decide(attempt) in {Rule.ALLOW, Rule.ASK}:
                await stream.write(frame(self._encoded(protocol, answer[0])))

    async def _handled(self, handler: Handler[Rq, Rs], request: Request[Rq], stream: Stream) -> tuple[Rs] | None:
        """The handler's answer; None if it refused."""
        try:
            outcome: Any = handler(request)
            if inspect.isawaitable(outcome):
                outcome = await _while_wanted(outcome, stream)
        except Rejected:
            return None
        except (P2PError, TimeoutError) as error:
            # Raised by what the handler did with other peers: no wire code of that belongs on this stream.
            raise RuntimeError(f"the handler of {stream.protocol} failed: {error}") from error
        return (outcome,)

    def _encoded(self, protocol: RequestProtocol[Rq, Rs], answer: Rs) -> bytes:
        try:
            body = encode(protocol.response, answer)
        except Malformed as error:
            raise RuntimeError(f"the answer of the handler of {protocol.ids[0]} has no form: {error}") from error
        if len(body) > protocol.max_response:
            raise RuntimeError(f"an answer of {len(body)} bytes, {protocol.max_response} allowed")
        return body


async def _while_wanted(outcome: Awaitable[Any], stream: Stream) -> Any:
    """Await the application, and cancel it when the requester resets the stream or breaks the protocol."""
    task = asyncio.current_task()
    assert task is not None
    stream.intake = watch = _Watch(stream, task)
    try:
        return await outcome
    finally:
        watch.done = True
        if stream.intake is watch:
            stream.intake = None


class _Watch:
    """Takes what arrives while the application works: an end is all that may come."""

    __slots__ = ("_stream", "_task", "done")

    def __init__(self, stream: Stream, task: asyncio.Task[Any]) -> None:
        self._stream = stream
        self._task = task
        self.done = False

    def data(self, piece: bytes | memoryview) -> None:
        if len(piece):
            self._stream.reset(Reset.PROTOCOL_VIOLATION)

    def end(self) -> None:
        """The requester may close its side before it has the answer."""

    def failed(self, error: Exception) -> None:
        if not self.done:
            self._task.cancel(str(error))
