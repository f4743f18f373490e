"""The requester: one message out, one back, on a stream of its own (parity 1).

The write side stays open until the answer has come: the first library of this name takes an early end for a
requester that has gone. One deadline covers everything, and every call has exactly one outcome (``outcome``).
"""

import asyncio
import math
from collections.abc import Sequence
from functools import partial
from typing import Any, Final, TypeVar

from multiaddr import Multiaddr

from stronghold_p2p.arguments import unless
from stronghold_p2p.codes import Reset
from stronghold_p2p.errors import DeadlineExceeded, Malformed, P2PError, Rejected, StreamReset, UnsupportedProtocol
from stronghold_p2p.firewall.decisions import know_ids
from stronghold_p2p.identity import PeerId
from stronghold_p2p.per_peer import PerPeer
from stronghold_p2p.request_response import attempts
from stronghold_p2p.request_response.codecs.codec import BYTES, Codec, decode
from stronghold_p2p.request_response.codecs.protocol import RequestProtocol
from stronghold_p2p.request_response.framing import CHUNK, receive, whole, write
from stronghold_p2p.request_response.outcome import Failure, Phase, fail
from stronghold_p2p.request_response.queue import Queue
from stronghold_p2p.request_response.rust_quirks import Unanswered, another_stream
from stronghold_p2p.streams.aside import LONG
from stronghold_p2p.streams.deadline import Deadline
from stronghold_p2p.streams.live import LiveStream
from stronghold_p2p.swarm.host import Host

Rq = TypeVar("Rq")
Rs = TypeVar("Rs")

# A name of the module is looked up quicker than a member of an enum in its class (python -m timeit shows it).
_SEND: Final = Phase.SEND
_WAIT: Final = Phase.WAIT


class Client:
    """Sends the requests of one swarm."""

    def __init__(self, swarm: Host) -> None:
        self._swarm = swarm
        self._known: RequestProtocol[Any, Any] | None = None  # the protocol of the last request
        self.places: PerPeer[bytes] = PerPeer(swarm.limits.requests_per_peer)  # by multihash, whose hash costs no call
        self._plain = self.places
        self._queue = Queue(self.places)  # ``places`` while somebody waits
        self._may_wait = swarm.limits.requests_waiting

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
        began = self._swarm.loop.time()
        due = math.inf if timeout is None else began + timeout
        try:
            framed = write(protocol.request, message, protocol.max_request, "request", peer)
        except AttributeError as error:
            raise unless(protocol, RequestProtocol, error) from None
        stream = self._open_now(peer, message, protocol, began)
        if stream is None:
            stream = await self._open(peer, addresses, message, protocol, timeout)
        peer, phase, sent_all = stream.connection.peer, _SEND, True
        try:
            while phase is not _WAIT:
                tried = stream.protocol
                stream.expire(due)
                try:
                    if len(framed) <= CHUNK:
                        await stream.write(framed)
                        phase = _WAIT
                        piece = await stream.read(CHUNK)
                    else:
                        reading, sent_all = await self._send_much(stream, framed)
                        phase = _WAIT
                        piece = await reading
                    body = whole(piece, protocol.max_response) or await receive(stream, protocol.max_response, piece)
                except (UnsupportedProtocol, StreamReset) as error:
                    # One of these came before the protocol was agreed on.
                    phase = Phase.NEGOTIATE if isinstance(error, UnsupportedProtocol) else phase
                    stream = await another_stream(self._swarm, error, Unanswered(stream, tried, protocol.ids, due))
                    phase = _SEND
            if body is None:
                raise Rejected(f"{peer} refused the request: ask its owner")
            short, codec = len(body) <= LONG, protocol.response
            answer = decode(codec, body, "response") if short else await self._decoded(codec, body, peer, due)
        except P2PError as error:
            stream.reset(Reset.PROTOCOL_VIOLATION if isinstance(error, Malformed) else Reset.NONE)
            over = isinstance(error, DeadlineExceeded) and self._swarm.loop.time() >= due
            fail(error, Failure(phase, protocol.ids, peer, timeout if over else None))
        except BaseException:
            stream.reset()
            raise
        finally:
            self.places.give_back(peer.multihash)
        if sent_all:
            stream.close()
        else:
            stream.reset()
        return answer

    async def _decoded(self, codec: Codec[Rs], body: bytes, peer: PeerId, due: float) -> Rs:
        if codec is BYTES:
            return decode(codec, body)
        left = None if due == math.inf else due - self._swarm.loop.time()
        async with Deadline(left, _WAIT.value, peer=peer):
            return await self._swarm.aside.run(peer, partial(decode, codec, body, "response"))

    async def _send_much(self, stream: LiveStream, framed: bytes) -> tuple[asyncio.Task[bytes], bool]:
        """Send ``framed``, or what leaves before the answer begins; who reads that, and whether all has been sent.

        A peer may answer what it has not read to the end, and need not read on then (hostile row 68).
        """
        writing = self._swarm.loop.create_task(stream.write(framed))
        reading = self._swarm.loop.create_task(stream.read(CHUNK))
        for task in (writing, reading):
            task.add_done_callback(lambda one: one.cancelled() or one.exception())  # the stream tells each user itself
        try:
            await asyncio.wait({writing, reading}, return_when=asyncio.FIRST_COMPLETED)
            answered = reading.done() and reading.exception() is None
            # A peer that has answered may reset what it does not read: its answer counts, and not that.
            sent_all = writing.done() and not (answered and writing.exception() is not None)
            if sent_all:
                await writing
        except BaseException:
            reading.cancel()
            raise
        finally:
            writing.cancel()
        return reading, sent_all

    def _open_now(
        self, peer: PeerId | None, message: Rq, protocol: RequestProtocol[Rq, Rs], now: float
    ) -> LiveStream | None:
        """A stream and a place, if nothing has to be waited for; else None."""
        if protocol is not self._known:  # what rules have to know of its ids
            know_ids(self._swarm.firewall, protocol.ids)
            self._known = protocol
        connection = None if peer is None else self._swarm.connected(peer)
        if connection is None or protocol.view is not None:
            return None
        if not self._swarm.gatekeeper.passes(connection, protocol.ids[0], "out", message):
            return None
        if not self.places.take(connection.peer.multihash):
            return None
        stream = None
        try:
            stream = connection.open_now(protocol.ids, now)
        except P2PError as error:
            fail(error, Failure(Phase.NEGOTIATE, protocol.ids, connection.peer))
        finally:
            if stream is None:
                self.places.give_back(connection.peer.multihash)
        return stream

    async def _open(
        self,
        peer: PeerId | None,
        addresses: Sequence[Multiaddr],
        message: Rq,
        protocol: RequestProtocol[Rq, Rs],
        timeout: float | None,
    ) -> LiveStream:
        """Dial, wait for a place, ask our own firewall, agree on the protocol; the place is taken when it returns."""
        async with Deadline(timeout, Phase.DIAL.value, peer=peer) as deadline:
            connection = await self._swarm.dial(peer, addresses)
            deadline.peer = found = connection.peer
            if not self.places.take(found.multihash):
                deadline.phase = Phase.QUEUE.value
                await self._wait_for_a_place(found)
            try:
                if connection.closed:  # while we waited; nothing has been sent on it
                    deadline.phase = Phase.DIAL.value
                    connection = await self._swarm.dial(found, addresses)
                deadline.phase = Phase.FIREWALL.value
                when = deadline.when
                attempt = attempts.attempt_of(connection, protocol, message, direction="out", deadline=when)
                if not await self._swarm.approval.ask(attempt):
                    raise attempts.kept_back(connection, "request")
                deadline.phase = Phase.NEGOTIATE.value
                return await connection.open_stream(connection.likely(protocol.ids))
            except BaseException as error:
                self.places.give_back(found.multihash)
                if isinstance(error, P2PError) and deadline.phase == Phase.NEGOTIATE:
                    fail(error, Failure(Phase.NEGOTIATE, protocol.ids, found))
                raise

    async def _wait_for_a_place(self, peer: PeerId) -> None:
        """Return with a place, behind those who wait already. ``LimitExceeded``: too many do."""
        waiting = self._queue.waiting(peer.multihash)
        if self._may_wait == 0:
            raise attempts.too_many(self.places, peer)
        if self._may_wait is not None and waiting >= self._may_wait:
            raise attempts.too_many_wait(waiting, self._may_wait, peer)
        self.places = self._queue
        try:
            await self._queue.wait(peer.multihash)
        finally:
            if not self._queue:
                self.places = self._plain
