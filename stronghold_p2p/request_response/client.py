"""The requester: one message out, one back, on a stream of its own (``reference/stronghold-parity.md`` 2.2).

The write side stays open until the answer has come: the first library of this name takes an early end for a
requester that has gone. One deadline covers everything, and every call has exactly one outcome.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, TypeVar

from stronghold_p2p.errors import (
    LimitExceeded,
    Malformed,
    P2PError,
    Rejected,
    StreamReset,
    UnsupportedProtocol,
)
from stronghold_p2p.request_response.codec import decode, encode, frame
from stronghold_p2p.request_response.exchange import Places, attempt_of, receive
from stronghold_p2p.swarm.deadline import Deadline
from stronghold_p2p.swarm.negotiation import explain_reset
from stronghold_p2p.yamux import Reset

if TYPE_CHECKING:
    from multiaddr import Multiaddr

    from stronghold_p2p.identity import PeerId
    from stronghold_p2p.request_response.protocol import RequestProtocol
    from stronghold_p2p.swarm.connection import Connection
    from stronghold_p2p.swarm.swarm import Swarm
    from stronghold_p2p.yamux import Stream

Rq = TypeVar("Rq")
Rs = TypeVar("Rs")


class Client:
    """Sends the requests of one swarm."""

    def __init__(self, swarm: Swarm) -> None:
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
        body = frame(self._encoded(protocol, message, peer))
        async with Deadline(timeout, "dial", peer=peer) as deadline:
            connection = await self._swarm.dial(peer, addresses)
            deadline.peer = connection.peer
            with self.places.take(connection.peer):
                deadline.phase = "firewall"
                await self._permit(connection, protocol, message, deadline.when)
                try:
                    return await self._exchange(connection, protocol, body, deadline)
                except P2PError as error:
                    explained = _explain(error, protocol)
                    explained.peer = connection.peer
                    refused = isinstance(explained, (UnsupportedProtocol, Rejected, LimitExceeded))
                    explained.sent = deadline.sent and not refused
                    if explained is error:
                        raise
                    raise explained from error

    def _encoded(self, protocol: RequestProtocol[Rq, Rs], message: Rq, peer: PeerId | None) -> bytes:
        body = encode(protocol.request, message)
        if len(body) > protocol.max_request:
            raise LimitExceeded(
                f"the request has {len(body)} bytes, {protocol.max_request} allowed",
                limit="max_request",
                current=len(body),
                maximum=protocol.max_request,
                peer=peer,
            )
        return body

    async def _permit(
        self, connection: Connection, protocol: RequestProtocol[Rq, Rs], message: Rq, deadline: float
    ) -> None:
        attempt = attempt_of(connection, protocol, message, direction="out", deadline=deadline)
        allowed = self._swarm.approval.verdict(attempt)
        if allowed is None:
            allowed = await self._swarm.approval.judge(attempt)
        if not allowed:
            raise Rejected("our own firewall keeps this request back", peer=connection.peer, local=True)

    async def _exchange(
        self, connection: Connection, protocol: RequestProtocol[Rq, Rs], body: bytes, deadline: Deadline
    ) -> Rs:
        deadline.phase = "negotiate"
        stream = await connection.open_stream(*protocol.ids)
        try:
            deadline.phase, deadline.sent = "send", True
            await stream.write(body)
            deadline.phase = "wait"
            answer = await self._answer(stream, protocol)
        except Malformed:
            stream.reset(Reset.PROTOCOL_VIOLATION)
            raise
        except BaseException:
            stream.reset()
            raise
        stream.close_nowait()
        return answer

    async def _answer(self, stream: Stream, protocol: RequestProtocol[Rq, Rs]) -> Rs:
        body = await receive(stream, protocol.max_response)
        if body is None:
            raise Rejected(f"{stream.peer} refused the request: ask its owner")
        return decode(protocol.response, body)


def _explain(error: P2PError, protocol: RequestProtocol[Rq, Rs]) -> P2PError:
    """What a reset means for a request, also one that came after the protocol was agreed on."""
    if isinstance(error, StreamReset):
        explained = explain_reset(error, protocol.ids)
        return explained if isinstance(explained, P2PError) else error
    return error
