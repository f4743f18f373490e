"""The responder: reads one request, asks the firewall, then the application, and answers.

A refusal is the end of the stream without a byte, whatever refused: a rule, the application when it was asked, or
the handler (parity 3). Only where a protocol of ours carries it, the application's own reason comes before that end. A
request that cannot be read is reset, and so is one whose handler fails or is late; each costs its own stream only.

What a request takes is counted from its first byte to its answer, and for as long as an event that shows it waits for
its reader (hostile row 131). One that is whole in its first piece, and shorter than 128 bytes, is not: of those no more
come than ``requests_per_peer``.
"""

import asyncio
import logging
import math
from collections.abc import Awaitable, Callable
from functools import partial
from operator import contains
from typing import Any, Generic, NamedTuple, NoReturn, TypeAlias, TypeVar

from stronghold_p2p.codes import Reset
from stronghold_p2p.connection.live import Connection
from stronghold_p2p.errors import (
    ConnectionClosed,
    DeadlineExceeded,
    LimitExceeded,
    Malformed,
    P2PError,
    Rejected,
    UsageError,
    again,
)
from stronghold_p2p.events.events import RequestFailed, RequestUnread
from stronghold_p2p.firewall.asking.audit import auditing
from stronghold_p2p.firewall.asking.questions import Refusal
from stronghold_p2p.firewall.decisions import know_ids
from stronghold_p2p.firewall.rules import Rule
from stronghold_p2p.identity import PeerId
from stronghold_p2p.interceptors import name_of
from stronghold_p2p.logs import Faults, OneLine
from stronghold_p2p.per_peer import Hold, Memory, PerPeer
from stronghold_p2p.request_response import attempts
from stronghold_p2p.request_response.codecs.codec import BYTES, decode, frame, weight
from stronghold_p2p.request_response.codecs.protocol import RequestProtocol
from stronghold_p2p.request_response.codecs.records import refusal
from stronghold_p2p.request_response.framing import CHUNK, receive, reserve, whole, write
from stronghold_p2p.streams.aside import LONG
from stronghold_p2p.streams.deadline import late
from stronghold_p2p.streams.live import Intake, LiveStream
from stronghold_p2p.swarm.host import Host

Rq = TypeVar("Rq")
Rs = TypeVar("Rs")

log = logging.getLogger("stronghold_p2p.request")


class Request(NamedTuple, Generic[Rq]):  # a tuple, because each request makes one
    """One request that the firewall let through.

    ``id`` counts this network's inbound requests and is never used twice; ``peer`` is the authenticated one;
    ``deadline`` is when an answer is of no more use, in the event loop's seconds.
    """

    id: int
    peer: PeerId
    message: Rq
    protocol: str
    connection: Connection
    deadline: float


Handler: TypeAlias = Callable[[Request[Rq]], Awaitable[Rs] | Rs]


class Watch(Intake):
    """What a requester does while the application works on its request: it may leave, and must not send any more.

    From its beginning to ``stop`` it takes what arrives on the stream: an end is fine, bytes behind the request reset
    the stream. It cancels the handler if the stream fails; ``error`` is why.
    """

    __slots__ = ("_stream", "error")

    def __init__(self, stream: LiveStream) -> None:
        self._stream = stream
        self.error: Exception | None = None
        stream.intake = self

    def stop(self) -> None:
        if self._stream.intake is self:
            self._stream.intake = None

    def data(self, piece: bytes | memoryview) -> None:
        if len(piece):
            self._stream.reset(Reset.PROTOCOL_VIOLATION)

    def failed(self, error: Exception) -> None:
        self.error = error
        self._stream.connection.handlers.cancel_one(self._stream, str(error))


class WatchBefore(Watch):
    """The same while the application is asked whether there will be any work."""

    __slots__ = ()

    begun = False


class Server:
    """Answers the requests that reach one swarm."""

    def __init__(self, swarm: Host) -> None:
        self.swarm = swarm
        self.begun = 0  # requests that have reached a handler
        self.places: PerPeer[bytes] = PerPeer(swarm.limits.requests_per_peer)  # by multihash, whose hash costs no call
        self.memory: Memory[bytes] = Memory(swarm.limits.request_memory, swarm.limits.request_memory_per_peer)
        self.memory.relieve = swarm.hub.relieve
        self.reasons = Faults(log)  # of handlers that refuse

    def serve(self, protocol: RequestProtocol[Rq, Rs], handler: Handler[Rq, Rs]) -> "Responder[Rq, Rs]":
        """Let ``handler`` answer what the firewall lets through.

        It returns the answer, or an awaitable of it; ``Rejected`` refuses, any other exception resets the stream. It
        is cancelled after ``Timeouts.request`` seconds and when the requester has gone.
        """
        responder = Responder(self, protocol, handler)
        self.answer_with(responder, protocol)
        return responder

    def answer_with(self, responder: "Responder[Any, Any]", protocol: RequestProtocol[Any, Any]) -> None:
        """Let ``responder`` serve the streams of ``protocol``."""
        know_ids(self.swarm.firewall, protocol.ids)
        for name in protocol.ids:
            self.swarm.handle(name, responder.serve, judges=True, rule_name=protocol.ids[0])


class Responder(Generic[Rq, Rs]):
    """Answers the requests of one ``protocol`` with one ``handler``, which may be exchanged."""

    def __init__(self, server: Server, protocol: RequestProtocol[Rq, Rs], handler: Handler[Rq, Rs]) -> None:
        self._server = server
        self._swarm = server.swarm
        self._protocol = protocol
        self.handler = handler

    async def serve(self, stream: LiveStream) -> None:
        """Answer the one request of ``stream``."""
        swarm, protocol, connection = self._swarm, self._protocol, stream.connection
        peer = connection.peer
        if not self._server.places.take(peer.multihash):
            stream.reset(Reset.RESOURCE_LIMIT)
            error = attempts.too_many(self._server.places, peer)
            swarm.refusals.tell(peer, error)
            swarm.hub.failed(RequestUnread(connection.face, stream.protocol, error))
            return
        held: Hold[bytes] | None = None
        try:
            due = math.inf
            if swarm.timeouts.request is not None:
                due = connection.heard + swarm.timeouts.request
                stream.expire(due)
            piece = stream.read_now(CHUNK)
            body = whole(piece, protocol.max_request)
            if body:
                message = decode(protocol.request, body, "request", peer)
            else:
                held = Hold(self._server.memory, peer.multihash, partial(contains, swarm.protected, peer))
                read = await self._receive(stream, piece, held)
                if read is None:
                    return
                (message,) = read
                del piece, read  # nobody has to keep them while the handler works
            # A view is looked at even where the rules do not care: one that fails lets nobody in.
            if protocol.view is not None or not swarm.gatekeeper.passes(connection, protocol.ids[0], "in", message):
                size = weight(protocol.request, body) if held is None else held.size
                if not (allowed := await self._allowed(message, stream, due, size, held)):
                    swarm.hub.counts["requests_in_rejected"] += 1
                    if isinstance(allowed, Refusal):
                        await self._tell_why(stream, allowed.error)
                    return
            self._server.begun = number = self._server.begun + 1
            request = Request(number, peer, message, stream.protocol, connection.face, due)
            await self._answer(request, stream, held)
        except Malformed as error:  # the handler has raised none: what it raises comes as something else
            log.debug("a request of %s for %s cannot be read: %s", peer, stream.protocol, OneLine(error))
            stream.reset(Reset.PROTOCOL_VIOLATION)
            self._unread(stream, error)
        finally:
            self._server.places.give_back(peer.multihash)
            if held is not None:
                held.let_go()

    async def _receive(self, stream: LiveStream, piece: bytes, held: Hold[bytes]) -> tuple[Rq] | None:
        """The message, when it is longer or does not come in one piece; None: there is none."""
        try:
            body = await receive(stream, self._protocol.max_request, piece, held)
            if body is None:
                return None
            codec, peer = self._protocol.request, stream.connection.peer
            if len(body) <= LONG or codec is BYTES:
                reserve(held, weight(codec, body), peer)
                return (decode(codec, body, "request", peer),)
            return (await self._decoded(stream, body, held),)
        except Malformed:
            raise
        except LimitExceeded as error:
            stream.reset(Reset.RESOURCE_LIMIT)
            self._swarm.refusals.tell(stream.peer, error)
            self._unread(stream, error)
            return None
        except P2PError as error:
            self._unread(stream, self._late("read", stream.peer) if isinstance(error, DeadlineExceeded) else error)
            raise

    async def _decoded(self, stream: LiveStream, body: bytes, held: Hold[bytes]) -> Rq:
        """Read beside the loop; ``held`` are its bytes and what it becomes meanwhile, then what it has become."""
        codec, peer = self._protocol.request, stream.peer
        weigh, read = partial(weight, codec, body), partial(decode, codec, body, "request", peer)
        size = await self._swarm.aside.run(peer, weigh, stream)
        reserve(held, len(body) + size, peer)
        message = await self._swarm.aside.run(peer, read, stream)
        held.resize(size)
        return message

    def _unread(self, stream: LiveStream, error: P2PError) -> None:
        """Tell of it, in an error that may wait for a reader: its frames and causes would keep what was being read."""
        told = again(error, stream.peer)
        told.__cause__ = None
        self._swarm.hub.failed(RequestUnread(stream.connection.face, stream.protocol, told))

    async def _allowed(
        self, message: Rq, stream: LiveStream, due: float, size: int, held: Hold[bytes] | None
    ) -> bool | Refusal:
        approval, backlog, live = self._swarm.approval, self._swarm.hub.backlog, stream.connection
        attempt = attempts.attempt_of(live, self._protocol, message, direction="in", deadline=due, held=held)
        wait = backlog.crowded(attempt.peer)  # it had its turn before the request came, which is later than that
        allowed: bool | Refusal | None = None if wait else approval.verdict(attempt)
        if allowed is None:
            watch = WatchBefore(stream)
            try:
                if wait:
                    await backlog.turn(attempt.peer)
                    allowed = approval.verdict(attempt)
                if allowed is None:
                    allowed = await approval.ask(attempt, size)
            finally:
                watch.stop()
        return allowed

    async def _answer(self, request: Request[Rq], stream: LiveStream, held: Hold[bytes] | None) -> None:
        answering, watch, version = False, None, self._swarm.firewall.version
        try:
            outcome: Any = self.handler(request)
            if hasattr(outcome, "__await__"):
                watch = Watch(stream)
                try:
                    outcome = await outcome
                finally:
                    watch.stop()
            answering = True
            if version == self._swarm.firewall.version or self._still_allowed(request, held):
                await stream.write(self._framed(outcome))
        except Rejected as error:
            await self._refuse(error, request, stream, held, version)
        except (Exception, asyncio.CancelledError) as error:
            self._fail(error, watch, request, held, answering=answering)

    async def _refuse(
        self, error: Rejected, request: Request[Rq], stream: LiveStream, held: Hold[bytes] | None, version: int
    ) -> None:
        """The handler refuses: its reason is for our log, and for the requester if the rules still let it ask."""
        self._swarm.hub.counts["requests_in_refused"] += 1
        if str(error):  # the audit log tells the rest
            why = partial(" {}: {}".format, request.peer, OneLine(error))
            self._server.reasons.tell("handler of %s refuses", stream.protocol, more=why, level=logging.INFO)
        self._audit_refusal(request, held)
        if version == self._swarm.firewall.version or self._still_allowed(request, held):
            await self._tell_why(stream, error)

    async def _tell_why(self, stream: LiveStream, error: Rejected) -> None:
        if body := self._refusal(error):
            await stream.write(frame(body))

    def _refusal(self, error: Rejected) -> bytes:
        return refusal(error, self._protocol.max_response) if self._protocol.reasons else b""

    def _fail(
        self,
        error: BaseException,
        watch: Watch | None,
        request: Request[Rq],
        held: Hold[bytes] | None,
        *,
        answering: bool,
    ) -> NoReturn:
        """Tell of a handler's failure, whose ``error`` is being handled, and raise what its stream ends with."""
        cause = error if isinstance(error, Exception) else self._interruption(watch, request)
        if answering and isinstance(cause, P2PError):
            cause = again(cause, request.peer)  # the frames of the write would keep the answer
        self._swarm.hub.failed(RequestFailed(request, cause, held))
        elsewhere = isinstance(error, (P2PError, TimeoutError)) or isinstance(cause, UsageError)
        if answering or not elsewhere:
            raise error
        # Raised by what the handler did with others: no wire code of that belongs on this stream.
        raise RuntimeError(f"the handler of {request.protocol} failed: {cause}") from error

    def _framed(self, answer: Rs, part: str = "response") -> bytes:
        protocol = self._protocol
        try:
            return write(protocol.response, answer, protocol.max_response, part, None)
        except (Malformed, LimitExceeded) as error:
            whose = f"the answer of {name_of(self.handler)}, the handler of {protocol.ids[0]},"
            raise RuntimeError(f"{whose} cannot be sent: {error}") from None

    def _still_allowed(self, request: Request[Rq], held: Hold[bytes] | None) -> bool:
        """The rules may have changed since: a peer that was shut out is told nothing."""
        live, message, due = request.connection, request.message, request.deadline
        attempt = attempts.attempt_of(live, self._protocol, message, direction="in", deadline=due, held=held)
        kept = self._swarm.firewall.decide(attempt) in {Rule.ALLOW, Rule.ASK}
        if not kept:
            self._swarm.approval.take_back(attempt)
            told = f"{request.peer} may not ask this any more: the rules have changed, and it was not told the answer"
            shut_out = Rejected(told, peer=request.peer, local=True, reason="")
            self._swarm.hub.failed(RequestFailed(request, shut_out, held))
        return kept

    def _audit_refusal(self, request: Request[Rq], held: Hold[bytes] | None) -> None:
        """The audit log has told that it was let in: the handler's no is a decision, too."""
        if auditing(logging.INFO):
            live, message, due = request.connection, request.message, request.deadline
            attempt = attempts.attempt_of(live, self._protocol, message, direction="in", deadline=due, held=held)
            self._swarm.approval.refused_by_handler(attempt)

    def _interruption(self, watch: Watch | None, request: Request[Any]) -> P2PError:
        """Why a handler was cancelled; its own future may have been, which is not ours to tell anybody but itself."""
        task, peer, connection = asyncio.current_task(), request.peer, request.connection
        if task is not None and not task.cancelling():
            return UsageError("its answer was dropped: what it awaited was cancelled", peer=peer)
        cause = connection.error if watch is None or watch.error is None else watch.error
        if isinstance(cause, DeadlineExceeded):
            return self._late("answer", peer)
        return cause if isinstance(cause, P2PError) else ConnectionClosed("the network is closing", peer=peer)

    def _late(self, phase: str, peer: Any) -> DeadlineExceeded:
        return late(self._swarm.timeouts.request or 0.0, phase, peer, sent=False, setting="Timeouts.request")
