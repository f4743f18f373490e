"""The requester: one message out, one back, on a stream of its own (parity 1).

The write side stays open until the answer has come: the first library of this name takes an early end for a
requester that has gone. One deadline covers everything, and every call has exactly one outcome.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

from stronghold_p2p.codes import Reset
from stronghold_p2p.errors import (
    ConnectionClosed,
    DeadlineExceeded,
    LimitExceeded,
    Malformed,
    P2PError,
    Rejected,
    StreamReset,
    UnsupportedProtocol,
)
from stronghold_p2p.request_response.codecs.codec import decode, frame, malformed
from stronghold_p2p.request_response.exchange import (
    CHUNK,
    Place,
    Places,
    attempt_of,
    kept_back,
    receive,
    short,
)
from stronghold_p2p.streams.deadline import Deadline, late
from stronghold_p2p.streams.negotiation import explain_reset, unsupported

if TYPE_CHECKING:
    from multiaddr import Multiaddr

    from stronghold_p2p.connection.live import LiveConnection
    from stronghold_p2p.identity import PeerId
    from stronghold_p2p.request_response.codecs.protocol import RequestProtocol
    from stronghold_p2p.streams.live import LiveStream
    from stronghold_p2p.swarm.host import Host

Rq = TypeVar("Rq")
Rs = TypeVar("Rs")


class Client:
    """Sends the requests of one swarm."""

    def __init__(self, swarm: Host) -> None:
        self._swarm = swarm
        self.places = Places(swarm.limits.requests_per_peer)

    async def request(
        self,
        peer: PeerId | None,
        addresses: Sequence[Multiaddr],
        message: Rq,
        protocol: RequestProtocol[Rq, Rs],
        *,
        timeout: float | None,
    ) -> Rs:
        """Ask ``peer`` (None: whoever is at ``addresses``) and return the answer.

        ``timeout`` seconds for dial, negotiation, firewall and answer together. Each call ends in its answer or in
        one of: ``DeadlineExceeded`` (``phase`` tells where), ``DialError`` or another error of the dial,
        ``ConnectionClosed``, ``UnsupportedProtocol``, ``Rejected``, ``LimitExceeded``, ``Malformed``,
        ``StreamReset``. ``error.sent`` tells whether the peer may have acted. Cancelled, it resets its stream.
        """
        now = self._swarm.loop.time()
        try:
            body = protocol.request.encode(message)
        except ValueError as error:
            raise malformed(error, "request", peer) from error
        if len(body) > protocol.max_request:
            raise _too_long(len(body), protocol.max_request, peer)
        opened = self._open_now(peer, protocol, message, now)
        stream, place = opened or await self._open(peer, addresses, message, protocol, timeout)
        try:
            return await self._converse(stream, frame(body), protocol, timeout, now)
        finally:
            self.places.leave(place)

    async def _converse(
        self, stream: LiveStream, framed: bytes, protocol: RequestProtocol[Rq, Rs], timeout: float | None, began: float
    ) -> Rs:
        due = math.inf if timeout is None else began + timeout
        reply, phase, whole = None, "send", True
        try:
            while phase != "wait":
                tried = stream.protocol
                if timeout is not None:
                    stream.expire(due)
                try:
                    if len(framed) <= CHUNK:
                        await stream.write(framed)
                        phase = "wait"
                        piece = await stream.read(CHUNK)
                    else:
                        reading, whole = await self._send_much(stream, framed)
                        phase = "wait"
                        piece = await reading
                    reply = short(piece, protocol.max_response)
                    if not reply:
                        reply = await receive(stream, protocol.max_response, piece)
                except UnsupportedProtocol:  # said before the protocol was agreed on: nobody has seen the request
                    phase = "negotiate"
                    stream = await self._elsewhere(stream, tried, protocol, due)
                except StreamReset as error:
                    stream, phase = await self._asked_again(error, tried, stream, protocol, due), "negotiate"
            if reply is None:
                raise Rejected(f"{stream.peer} refused the request: ask its owner")
            answer = decode(protocol.response, reply, "response")
        except P2PError as error:
            self._failed(error, stream, protocol, phase=phase, timeout=timeout, due=due)
        except BaseException:
            stream.reset()
            raise
        if whole:
            stream.close()
        else:
            stream.reset()
        return answer

    async def _send_much(self, stream: LiveStream, framed: bytes) -> tuple[asyncio.Task[bytes], bool]:
        """Send ``framed``, or what leaves before the answer begins; who reads that, and whether all has been sent.

        A peer may answer what it has not read to the end, and need not read on then (hostile row 68).
        """
        writing = self._swarm.loop.create_task(stream.write(framed))
        reading = self._swarm.loop.create_task(stream.read(CHUNK))
        for task in (writing, reading):
            task.add_done_callback(_looked_at)
        try:
            await asyncio.wait({writing, reading}, return_when=asyncio.FIRST_COMPLETED)
            answered = reading.done() and reading.exception() is None
            # A peer that has answered may reset what it does not read: its answer counts, and not that.
            whole = writing.done() and not (answered and writing.exception() is not None)
            if whole:
                await writing
        except BaseException:
            reading.cancel()
            raise
        finally:
            writing.cancel()
        return reading, whole

    def _open_now(
        self, peer: PeerId | None, protocol: RequestProtocol[Rq, Rs], message: Rq, now: float
    ) -> tuple[LiveStream, Place] | None:
        """A stream and a place, if nothing has to be waited for; else None."""
        connection = None if peer is None else self._swarm.connected(peer)
        if connection is None or protocol.view is not None:
            return None
        if not self._swarm.gatekeeper.passes(connection, protocol.ids[0], "out", message):
            return None
        place = self.places.enter(connection.peer)
        stream = None
        try:
            ids = protocol.ids
            stream = connection.open_now(ids if len(ids) == 1 else (connection.likely(ids),), now)
        except P2PError as error:
            _fail(error, protocol, connection.peer)
        finally:
            if stream is None:
                self.places.leave(place)
        return None if stream is None else (stream, place)

    async def _open(
        self,
        peer: PeerId | None,
        addresses: Sequence[Multiaddr],
        message: Rq,
        protocol: RequestProtocol[Rq, Rs],
        timeout: float | None,
    ) -> tuple[LiveStream, Place]:
        """Dial, ask our own firewall, agree on the protocol; the place is taken when it returns."""
        async with Deadline(timeout, "dial", peer=peer) as deadline:
            connection = await self._swarm.dial(peer, addresses)
            deadline.peer = connection.peer
            place = self.places.enter(connection.peer)
            try:
                deadline.phase = "firewall"
                await self._permit(connection, protocol, message, deadline.when)
                deadline.phase = "negotiate"
                return await connection.open_stream(connection.likely(protocol.ids)), place
            except P2PError as error:
                self.places.leave(place)
                _fail(error, protocol, connection.peer)
            except BaseException:
                self.places.leave(place)
                raise

    async def _elsewhere(
        self, refused: LiveStream, tried: str, protocol: RequestProtocol[Rq, Rs], due: float
    ) -> LiveStream:
        """A stream for an id that is left, once the peer has refused the one that was ``tried``.

        This time the peer's word is waited for. The Rust library takes data behind a refusal for nonsense and hangs
        up (parity 3): that is its refusal, and nothing was sent.
        """
        others = tuple(name for name in protocol.ids if name != tried)
        served = self._swarm.peer_protocols.get(refused.peer, frozenset())
        # It does serve this, or has told that there is nothing here for us: so its firewall rejects us.
        if not others or tried in served or (served and served.isdisjoint(others)):
            raise unsupported(protocol.ids)
        try:
            return await self._agreed(refused, others, due)
        except ConnectionClosed as error:
            raise unsupported(protocol.ids) from error

    async def _asked_again(
        self, error: StreamReset, tried: str, stream: LiveStream, protocol: RequestProtocol[Rq, Rs], due: float
    ) -> LiveStream:
        """A stream for another id than the ``tried`` one, if a reset without a word was the refusal of that.

        The Rust library refuses an id, takes the request behind it for nonsense, and resets; its Yamux sends the reset
        first, and the refusal is lost (seen with 0.4.2: docs/conformance.md). Asked without a request it says what it
        refuses. If it accepts the same id now, ``error`` is what is known: it may have acted.
        """
        if error.code or stream.protocol:  # a reset with a reason, or behind the peer's word
            raise error
        other = await self._agreed(stream, protocol.ids, due)
        if other.protocol == tried:
            other.reset()
            raise error
        return other

    async def _agreed(self, before: LiveStream, ids: tuple[str, ...], due: float) -> LiveStream:
        """A stream to the same peer under the first of ``ids`` that it accepts."""
        left = None if due == math.inf else due - self._swarm.loop.time()
        async with Deadline(left, "negotiate", peer=before.peer):
            stream: LiveStream = await before.connection.open_stream(*ids, wait=True)
        return stream

    async def _permit(
        self, connection: LiveConnection, protocol: RequestProtocol[Rq, Rs], message: Rq, deadline: float
    ) -> None:
        attempt = attempt_of(connection, protocol, message, direction="out", deadline=deadline)
        allowed = self._swarm.gatekeeper.verdict(attempt)
        if allowed is None:
            allowed = await self._swarm.gatekeeper.ask(attempt)
        if not allowed:
            raise kept_back(connection, "request")

    def _failed(
        self,
        error: P2PError,
        stream: LiveStream,
        protocol: RequestProtocol[Rq, Rs],
        *,
        phase: str,
        timeout: float | None,
        due: float,
    ) -> NoReturn:
        """Reset the stream, and raise what ``error`` means in this phase."""
        stream.reset(Reset.PROTOCOL_VIOLATION if isinstance(error, Malformed) else 0)
        if isinstance(error, DeadlineExceeded) and timeout is not None and self._swarm.loop.time() >= due:
            raise late(timeout, phase, stream.peer, sent=phase != "negotiate") from None
        _fail(error, protocol, stream.peer, sent=phase != "negotiate")


def _looked_at(task: asyncio.Task[Any]) -> None:
    """What became of it is told by the stream, to whoever awaits that."""
    if not task.cancelled():
        task.exception()


def _too_long(size: int, maximum: int, peer: PeerId | None) -> LimitExceeded:
    told = f"max_request {size}/{maximum}: send less, or raise it in the RequestProtocol"
    return LimitExceeded(told, limit="max_request", current=size, maximum=maximum, peer=peer)


def _unreadable(error: StreamReset) -> P2PError:
    told = "the peer could not read the request: are both RequestProtocols the same? Nothing was done about it"
    return Malformed(f"{told} (reset {error.code:#x})", path="request")


def _told(error: P2PError) -> P2PError:
    """A reset whose code says nothing, with the advice that there is."""
    if not isinstance(error, StreamReset):
        return error
    if error.code == Reset.PROTOCOL_VIOLATION:
        return _unreadable(error)
    return StreamReset(f"{error}: its handler failed or was late, its own log tells", code=error.code)


def _refused_unread(error: P2PError, explained: P2PError) -> bool:
    return isinstance(error, StreamReset) and isinstance(explained, Malformed)


def _fail(error: P2PError, protocol: RequestProtocol[Rq, Rs], peer: PeerId, *, sent: bool = False) -> NoReturn:
    """Raise what an error means for a request, also a reset that came after the protocol was agreed on."""
    explained = explain_reset(error, protocol.ids) if isinstance(error, StreamReset) else error
    if not isinstance(explained, P2PError) or explained is error:
        explained = _told(error)
    if isinstance(explained, UnsupportedProtocol) and explained.protocols != protocol.ids:
        explained = unsupported(protocol.ids)
    explained.peer = peer
    unsent = isinstance(explained, (UnsupportedProtocol, Rejected, LimitExceeded)) or _refused_unread(error, explained)
    explained.sent = sent and not unsent
    if explained is error:
        raise error
    raise explained from error
