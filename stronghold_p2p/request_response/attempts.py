"""A request as the firewall sees it, and the errors for one that may not leave."""

from typing import Any

from stronghold_p2p.connection.live import Connection, LiveConnection
from stronghold_p2p.errors import ConnectionClosed, LimitExceeded, P2PError, Rejected
from stronghold_p2p.firewall.rules import Attempt, Direction, variant_of
from stronghold_p2p.identity import PeerId
from stronghold_p2p.per_peer import Hold, PerPeer
from stronghold_p2p.request_response.codecs.protocol import RequestProtocol


def attempt_of(
    connection: LiveConnection | Connection,
    protocol: RequestProtocol[Any, Any],
    message: Any,
    *,
    direction: Direction,
    deadline: float,
    held: Hold[bytes] | None = None,
) -> Attempt:
    """A request as the firewall sees it, under the first of the protocol's ids; a view does not hide its variant."""
    view = message if protocol.view is None else protocol.view(message)
    return Attempt(
        peer=connection.peer,
        protocol=protocol.ids[0],
        direction=direction,
        address=connection.remote_address,
        deadline=deadline,
        variant=variant_of(message),
        view=view,
        held=held,
    )


def kept_back(connection: LiveConnection, what: str) -> P2PError:
    """The error for ``what`` our own firewall does not let out; a no because the connection has ended is none."""
    if connection.closed:
        ended = ConnectionClosed("the connection ended while our own firewall asked", peer=connection.peer)
        ended.__cause__ = connection.error
        return ended
    told = f"our own firewall keeps this {what} back: see firewall.rules()"
    return Rejected(told, peer=connection.peer, local=True)


def too_many_wait(waiting: int, maximum: int, peer: PeerId) -> LimitExceeded:
    """The error for a request of ours where too many wait for a place already."""
    told = f"requests_waiting {waiting}/{maximum} with {peer}: wait for some to end, or raise it in Limits"
    return LimitExceeded(told, limit="requests_waiting", current=waiting, maximum=maximum, peer=peer)


def too_many(places: PerPeer[bytes], peer: PeerId) -> LimitExceeded:
    """The error for a request with a peer that has all its places taken."""
    taken, maximum = places.count(peer.multihash), int(places.maximum)
    told = f"requests_per_peer {taken}/{maximum} with {peer}: wait for one to end, or raise it in Limits"
    return LimitExceeded(told, limit="requests_per_peer", current=taken, maximum=maximum, peer=peer)
