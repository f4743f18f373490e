"""identify's message: how ours is made, and what is taken from a peer's (identify/README.md, "The Identify Message").

Pure functions. A peer's message may be spread over several parts and may be partly nonsense: each field, each
address and each name is judged by itself, and what cannot be used is left out, so that one bad entry costs
nothing but itself. Only a public key that is not the connection's makes the whole message void.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields
from itertools import islice
from typing import Any, Final

from multiaddr import Multiaddr

from stronghold_p2p.addressing.kinds import is_link_local, is_loopback, is_multicast, is_public, is_unspecified
from stronghold_p2p.addressing.parse import parse, split_peer
from stronghold_p2p.encoding import protobuf
from stronghold_p2p.encoding.protobuf import Message, field
from stronghold_p2p.errors import DecodeError, HandshakeError
from stronghold_p2p.identity import PeerId, PeerRecord, PublicKey
from stronghold_p2p.identity.keys.identity import Identity

PROTOCOL_VERSION: Final = "ipfs/0.1.0"  # informational; what every stack says

MAX_SENT: Final = 4_096  # rust reads one message of at most this size, go and js twice as much
MAX_OBSERVED: Final = 256  # room that is kept for the one field that differs for each connection
MAX_PART: Final = 8_192  # what go and js read of one message
MAX_PARTS: Final = 10
MAX_TOTAL: Final = 65_536
MAX_PROTOCOLS: Final = 1_024
MAX_NAME: Final = 256  # bytes of a protocol's name, and of the two versions
MAX_ADDRESSES: Final = 64
MAX_EXAMINED: Final = 1_024  # addresses that are looked at to find those: a bad one costs as much as a good one

_ELEMENTS: Final = protobuf.MAX_FIELDS  # as many as a part can hold at all: too many are cut, not refused


@dataclass(frozen=True, kw_only=True, slots=True)
class IdentifyMessage(Message):
    """``Identify`` on the wire; there is no field 7. Text is kept as bytes until it is judged."""

    public_key: bytes | None = field(1, "bytes")
    listen_addrs: tuple[bytes, ...] = field(2, "bytes", repeated=True, limit=_ELEMENTS)
    protocols: tuple[bytes, ...] = field(3, "bytes", repeated=True, limit=_ELEMENTS)
    observed_addr: bytes | None = field(4, "bytes")
    protocol_version: bytes | None = field(5, "bytes")
    agent_version: bytes | None = field(6, "bytes")
    signed_peer_record: bytes | None = field(8, "bytes")


@dataclass(frozen=True, slots=True, kw_only=True)
class PeerInfo:
    """What a peer says about itself, as far as it can be used; nothing of it is proven but ``peer``.

    ``agent`` and ``version`` are its software and the protocol family; ``protocols`` what it says to serve;
    ``addresses`` where it says to be reachable (without ``/p2p``, only those that can mean something from here);
    ``observed`` how it sees us. ``record`` is its signed peer record, if it sent one that is valid and not older
    than an earlier one: then ``addresses`` are the record's.
    """

    peer: PeerId
    agent: str = ""
    protocols: tuple[str, ...] = ()
    addresses: tuple[Multiaddr, ...] = ()
    observed: Multiaddr | None = None
    version: str = ""
    record: PeerRecord | None = None


@dataclass(frozen=True, slots=True)
class Template:
    """Our message around ``observedAddr``, the only field that differs from connection to connection."""

    head: bytes
    tail: bytes

    def message(self, observed: Multiaddr | None) -> bytes:
        """The message for a connection whose other end is at ``observed``: at most ``MAX_SENT`` bytes."""
        data = b"" if observed is None else bytes(observed)
        if not 0 < len(data) <= MAX_OBSERVED - 8:
            return self.head + self.tail
        return b"".join((self.head, protobuf.encode(IdentifyMessage(observed_addr=data)), self.tail))


def build(
    identity: Identity, agent: str, protocols: Sequence[str], addresses: Sequence[Multiaddr], seq: int
) -> Template:
    """Our message, with at most 64 addresses. What does not fit is dropped from the end, addresses before protocols.

    ``seq`` has to grow from record to record (RFC 0003, "Peer Record").
    """
    names, places = [name.encode() for name in protocols], [bytes(address) for address in addresses[:MAX_ADDRESSES]]
    while True:
        head = IdentifyMessage(
            public_key=identity.public_key.encode(), listen_addrs=tuple(places), protocols=tuple(names)
        )
        tail = IdentifyMessage(
            protocol_version=PROTOCOL_VERSION.encode(),
            agent_version=agent.encode()[:MAX_NAME],
            signed_peer_record=PeerRecord(identity.peer_id, seq, tuple(places)).seal(identity),
        )
        template = Template(protobuf.encode(head), protobuf.encode(tail))
        if len(template.head) + len(template.tail) <= MAX_SENT - MAX_OBSERVED or not (places or names):
            return template
        (places or names).pop()


def merge(parts: Iterable[IdentifyMessage]) -> IdentifyMessage:
    """One message of several parts: later scalars replace earlier ones, lists are appended."""
    whole: dict[str, Any] = {}
    for part in parts:
        for item in fields(part):
            value = getattr(part, item.name)
            if isinstance(value, tuple):
                whole[item.name] = whole.get(item.name, ()) + value
            elif value is not None:
                whole[item.name] = value
    return IdentifyMessage(**whole)


def check_key(message: IdentifyMessage, peer: PeerId) -> None:
    """``HandshakeError`` if the message names another key than ``peer``'s; js names none in a push."""
    if message.public_key is None:
        return
    try:
        same = peer.matches(PublicKey.decode(message.public_key))
    except DecodeError:
        same = False
    if not same:
        raise HandshakeError("identify: the public key is not that of the connection", phase="identify", peer=peer)


def interpret(message: IdentifyMessage, before: PeerInfo, remote: Multiaddr) -> PeerInfo:
    """``before`` with what ``message`` says: an absent field changes nothing, a list replaces the older one.

    Addresses come from the signed record as soon as the peer has sent one (RFC 0003: what is signed is preferred).
    ``remote``, the other end of the peer's connection, decides which of them can mean anything here.
    """
    record = _record(message.signed_peer_record, before)
    if record is not None:
        addresses = usable(record.addresses, before.peer, remote)
    elif message.listen_addrs and before.record is None:
        addresses = usable(message.listen_addrs, before.peer, remote)
    else:
        addresses = before.addresses
    return PeerInfo(
        peer=before.peer,
        agent=_text(message.agent_version, before.agent),
        protocols=_names(message.protocols) if message.protocols else before.protocols,
        addresses=addresses,
        observed=_address(message.observed_addr) or before.observed,
        version=_text(message.protocol_version, before.version),
        record=record or before.record,
    )


def _record(sealed: bytes | None, before: PeerInfo) -> PeerRecord | None:
    """The peer's own record, newer than the one that we have; anything else is dropped, as go does."""
    if not sealed:
        return None
    try:
        record = PeerRecord.open(sealed)
    except DecodeError:
        return None
    newer = before.record is None or record.seq > before.record.seq
    return record if record.peer_id == before.peer and newer else None


def usable(listed: Iterable[bytes], peer: PeerId, remote: Multiaddr) -> tuple[Multiaddr, ...]:
    """Of binary addresses that ``peer`` told, the first 64 that can be parsed and reached from where we are.

    A peer on a public address cannot mean its loopback or private ones for us, nor a peer in our network its
    loopback or (unless it is a neighbour) its link-local ones. An address that ends in another peer's id is not
    this peer's.
    """
    examined = (_address(data, peer) for data in islice(listed, MAX_EXAMINED))
    found = (address for address in examined if address is not None and _reachable(address, remote))
    return tuple(islice(dict.fromkeys(found), MAX_ADDRESSES))


def _address(data: bytes | None, peer: PeerId | None = None) -> Multiaddr | None:
    if not data:
        return None
    try:
        address, named = split_peer(parse(data))
    except DecodeError:
        return None
    return address if bytes(address) and (named is None or named == peer) else None


def _reachable(address: Multiaddr, remote: Multiaddr) -> bool:
    if is_unspecified(address) or is_multicast(address):
        return False
    if is_loopback(remote):
        return True
    if is_public(remote):
        return is_public(address)
    near = is_link_local(remote) or not is_link_local(address)
    return near and not is_loopback(address)


def _names(listed: Iterable[bytes]) -> tuple[str, ...]:
    """Protocol names without duplicates, in order; what is not UTF-8 or too long cannot be anybody's protocol."""
    names = ((data, data.decode(errors="ignore")) for data in listed if 0 < len(data) <= MAX_NAME)
    return tuple(islice(dict.fromkeys(name for data, name in names if name.encode() == data), MAX_PROTOCOLS))


def _text(data: bytes | None, before: str) -> str:
    """A version for people to read: one printable line of at most 256 bytes."""
    if data is None:
        return before
    text = data[:MAX_NAME].decode(errors="replace")
    return "".join(char if char.isprintable() else "\N{REPLACEMENT CHARACTER}" for char in text)
