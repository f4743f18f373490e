"""What a relay, its clients and their visitors say to each other (relay/circuit-v2.md, "Complete RPC interfaces").

Each message stands on a stream behind its length, and has at most ``MAX_MESSAGE`` bytes. ``HOP`` is spoken with a
relay: ``RESERVE`` asks for a place there, ``CONNECT`` for a circuit to somebody who has one. ``STOP`` is spoken by the
relay with who has the place. Behind a status ``OK`` to ``CONNECT``, the next byte on either stream is the circuit's.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import IntEnum
from typing import Final

from stronghold_p2p.encoding import protobuf
from stronghold_p2p.encoding.protobuf import Message, field
from stronghold_p2p.errors import DecodeError
from stronghold_p2p.identity import PeerId

HOP: Final = "/libp2p/circuit/relay/0.2.0/hop"
STOP: Final = "/libp2p/circuit/relay/0.2.0/stop"

MAX_MESSAGE: Final = 4_096  # bytes (circuit-v2.md, "Interaction"; go, rust)
MAX_ADDRESSES: Final = 64  # of one peer or reservation; as many as identify takes
MAX_FIELDS: Final = 256


class HopType(IntEnum):
    """What is said on a stream of ``HOP``."""

    RESERVE = 0
    CONNECT = 1
    STATUS = 2


class StopType(IntEnum):
    """What is said on a stream of ``STOP``."""

    CONNECT = 0
    STATUS = 1


class Status(IntEnum):
    """How a request ended (circuit-v2.md, "Status codes"). 0 stands for none, and for one that nobody knows."""

    NONE = 0
    OK = 100
    RESERVATION_REFUSED = 200
    RESOURCE_LIMIT_EXCEEDED = 201
    PERMISSION_DENIED = 202
    CONNECTION_FAILED = 203
    NO_RESERVATION = 204
    MALFORMED_MESSAGE = 400
    UNEXPECTED_MESSAGE = 401


@dataclass(frozen=True, kw_only=True, slots=True)
class Peer(Message):
    """``Peer``: whom a message is about."""

    id: bytes | None = field(1, "bytes")
    addrs: tuple[bytes, ...] = field(2, "bytes", repeated=True, limit=MAX_ADDRESSES)


@dataclass(frozen=True, kw_only=True, slots=True)
class Reservation(Message):
    """``Reservation``: until when, in seconds of the Unix time, where the relay is, and the voucher for it."""

    expire: int | None = field(1, "uint64")
    addrs: tuple[bytes, ...] = field(2, "bytes", repeated=True, limit=MAX_ADDRESSES)
    voucher: bytes | None = field(3, "bytes")


@dataclass(frozen=True, kw_only=True, slots=True)
class Limit(Message):
    """``Limit``: seconds and bytes that a circuit lasts; 0 or absent is any number."""

    duration: int | None = field(1, "uint64")
    data: int | None = field(2, "uint64")


@dataclass(frozen=True, kw_only=True, slots=True)
class HopMessage(Message):
    """``HopMessage`` on the wire."""

    type: int | None = field(1, "enum")
    peer: Peer | None = field(2, Peer)  # noqa: RUF009 - a declaration, not a shared default
    reservation: Reservation | None = field(3, Reservation)  # noqa: RUF009
    limit: Limit | None = field(4, Limit)  # noqa: RUF009
    status: int | None = field(5, "enum")


@dataclass(frozen=True, kw_only=True, slots=True)
class StopMessage(Message):
    """``StopMessage`` on the wire."""

    type: int | None = field(1, "enum")
    peer: Peer | None = field(2, Peer)  # noqa: RUF009
    limit: Limit | None = field(3, Limit)  # noqa: RUF009
    status: int | None = field(4, "enum")


def read_hop(data: bytes) -> HopMessage:
    """``DecodeError`` for what is none, has no type, or an unknown one."""
    message = protobuf.decode(HopMessage, data, max_size=MAX_MESSAGE, max_fields=MAX_FIELDS)
    if message.type not in HopType.__members__.values():
        raise DecodeError(f"hop message of type {message.type}")
    return message


def read_stop(data: bytes) -> StopMessage:
    """``DecodeError`` for what is none, has no type, or an unknown one."""
    message = protobuf.decode(StopMessage, data, max_size=MAX_MESSAGE, max_fields=MAX_FIELDS)
    if message.type not in StopType.__members__.values():
        raise DecodeError(f"stop message of type {message.type}")
    return message


def status_of(message: HopMessage | StopMessage) -> Status:
    """The status that a message tells; ``NONE`` for one that is absent or unknown."""
    told = message.status
    return Status(told) if told is not None and told in Status.__members__.values() else Status.NONE


def peer_of(message: HopMessage | StopMessage) -> PeerId:
    """The peer that a ``CONNECT`` names. ``DecodeError``: none, or no peer id."""
    if message.peer is None or message.peer.id is None:
        raise DecodeError("a message to connect names no peer")
    return PeerId(message.peer.id)


def reserve() -> bytes:
    """To the relay: a place."""
    return protobuf.encode(HopMessage(type=HopType.RESERVE))


def connect(target: PeerId) -> bytes:
    """To the relay: a circuit to ``target``."""
    return protobuf.encode(HopMessage(type=HopType.CONNECT, peer=Peer(id=bytes(target))))


def hop_status(status: Status, *, reservation: Reservation | None = None, limit: Limit | None = None) -> bytes:
    """The relay's answer."""
    message = HopMessage(type=HopType.STATUS, reservation=reservation, limit=limit, status=status)
    return protobuf.encode(message)


def offer(source: PeerId, limit: Limit | None) -> bytes:
    """From the relay to who has the place: ``source`` wants a circuit to you, which has ``limit``."""
    return protobuf.encode(StopMessage(type=StopType.CONNECT, peer=Peer(id=bytes(source)), limit=limit))


def stop_status(status: Status) -> bytes:
    """The answer to that."""
    return protobuf.encode(StopMessage(type=StopType.STATUS, status=status))


def granted(expire: int, addresses: Iterable[bytes], voucher: bytes) -> Reservation:
    """A reservation that fits into one message: what does not is left out, addresses from the end."""
    places = tuple(addresses)[:MAX_ADDRESSES]
    while len(protobuf.encode(Reservation(expire=expire, addrs=places, voucher=voucher))) > MAX_MESSAGE - 64 and places:
        places = places[:-1]
    return Reservation(expire=expire, addrs=places, voucher=voucher)
