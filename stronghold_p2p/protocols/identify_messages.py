"""identify's message: how ours is made, and what is taken from a peer's (identify/README.md, "The Identify Message").

Pure functions. A peer's message may be spread over several parts and may be partly nonsense: each field, each
address and each name is judged by itself, and what cannot be used is left out, so that one bad entry costs
nothing but itself. Only a public key that is not the connection's makes the whole message void.
"""

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, fields
from functools import cache
from itertools import islice
from typing import Any, Final

from multiaddr import Multiaddr

from stronghold_p2p.addressing.components import IP4, IP6, IP6ZONE, NAMES, P2P
from stronghold_p2p.addressing.kinds import reach_of
from stronghold_p2p.addressing.parse import IP_TCP, CheckedAddress, kind_of, parse
from stronghold_p2p.addressing.reach import Reach, reach_of_ip
from stronghold_p2p.encoding import protobuf
from stronghold_p2p.encoding.protobuf import Message, field
from stronghold_p2p.errors import DecodeError, HandshakeError
from stronghold_p2p.identity import Edition, PeerId, PeerRecord, PublicKey
from stronghold_p2p.identity.keys.identity import Identity

PROTOCOL_VERSION: Final = "ipfs/0.1.0"  # informational; what every stack says

MAX_SENT: Final = 4_096  # rust reads one message of at most this size, go and js twice as much
MAX_OBSERVED: Final = 256  # room that is kept for the one field that differs for each connection
MAX_PART: Final = 8_192  # what go and js read of one message
MAX_PARTS: Final = 10
MAX_TOTAL: Final = 65_536
MAX_PROTOCOLS: Final = 1_024
MAX_PROTOCOLS_SENT: Final = 128  # of a peer that names more, go remembers none
MAX_NAME: Final = 256  # bytes of a protocol's name, and of the two versions
MAX_ADDRESSES: Final = 64
MAX_EXAMINED: Final = 128  # different addresses that are looked at to find those: a bad one costs as much as a good one
MAX_KINDS: Final = 16  # different kinds of them, of which somebody here is asked whether they can be dialed
MAX_COMPONENTS: Final = 8  # of one of them; one that leads through a relay has five
MAX_WALKED: Final = 192  # of all that are more than an IP address and a TCP port; there are few such, or many of five
MAX_FIELDS: Final = 1_024  # of one part: eight bytes for each, less than any address has

# Of what is ``IP_TCP``, by its first byte.
_PLAIN_KINDS: Final[dict[int, tuple[int, ...]]] = {4: (4, 6), 41: (41, 6)}

_BEGIN: Final = frozenset(protocol.code for protocol in (IP4, IP6, *NAMES))

# An IP address and a port, with which nearly all addresses begin. What follows is the same in most of one peer's.
_PLACE: Final = re.compile(rb"(?:\x04(.{4})|\x29.{16})(?:\x06|\x91\x02)..", re.DOTALL)


@dataclass(frozen=True, kw_only=True, slots=True)
class IdentifyMessage(Message):
    """``Identify`` on the wire; there is no field 7. Text is kept as bytes until it is judged."""

    public_key: bytes | None = field(1, "bytes")
    listen_addrs: tuple[bytes, ...] = field(2, "bytes", repeated=True, limit=MAX_FIELDS)
    protocols: tuple[bytes, ...] = field(3, "bytes", repeated=True, limit=MAX_FIELDS)
    observed_addr: bytes | None = field(4, "bytes")
    protocol_version: bytes | None = field(5, "bytes")
    agent_version: bytes | None = field(6, "bytes")
    signed_peer_record: bytes | None = field(8, "bytes")


@dataclass(frozen=True, slots=True, kw_only=True)
class PeerInfo:
    """What a peer says about itself, as far as it can be used; nothing of it is proven but ``peer``.

    ``agent`` and ``version`` are its software and the protocol family; ``protocols`` what it says to serve;
    ``addresses`` where it says to be reachable (without ``/p2p``, only those that can be dialed from here);
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
    """Our message, with at most 64 addresses and 128 protocols. What does not fit is dropped from the end, addresses
    before protocols, and of the addresses those first that nobody reaches from another machine.

    ``seq`` has to grow from record to record (RFC 0003, "Peer Record").
    """
    names = [name.encode() for name in protocols[:MAX_PROTOCOLS_SENT]]
    near_last = sorted(addresses, key=lambda address: reach_of(address) is Reach.MACHINE)
    places = [bytes(address) for address in near_last[:MAX_ADDRESSES]]
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


class View:
    """How one end looks at what ``peer`` says of itself over a connection whose other end is at ``remote``.

    ``dialable`` tells whether somebody here dials addresses of the kind that it is given; no other is parsed.
    ``known`` is the last of the peer's signed records that was taken, at any time; ``us`` our own peer id.
    """

    def __init__(
        self,
        peer: PeerId,
        remote: Multiaddr,
        dialable: Callable[[Multiaddr], bool],
        known: Edition | None,
        *,
        us: PeerId,
    ) -> None:
        self.known = known
        self.peer = peer
        self._reaches = _reaches_from(reach_of(remote))
        self._dialable = dialable
        self._us = P2P.prefixed(bytes(us))
        self._own = P2P.prefixed(bytes(peer))
        self._kinds: dict[tuple[int, ...], bool] = {}
        self._forms: dict[tuple[int, bytes], bool] = {}  # what stands around IP and port, and whether it can be dialed
        self._left = MAX_WALKED

    def usable(self, listed: Iterable[bytes]) -> tuple[Multiaddr, ...]:
        """Of binary addresses that the peer told, the first 64 that can be dialed and reached from where we are.

        Each is looked at once, and no more than ``MAX_EXAMINED``. A peer on a public address cannot mean its loopback
        or private ones for us, nor a peer in our network its loopback or (unless it is a neighbour) its link-local
        ones. An address that ends in another peer's id is not this peer's.
        """
        found: dict[bytes, Multiaddr] = {}
        for data in islice(dict.fromkeys(listed), MAX_EXAMINED):
            place = data.removesuffix(self._own)
            address = self._usable(place)
            if address is not None:
                found[place] = address
                if len(found) == MAX_ADDRESSES:
                    break
        return tuple(found.values())

    def _usable(self, data: bytes) -> Multiaddr | None:
        place = _PLACE.match(data)
        if place is None:
            address = self.address(data)
        else:
            form = place.end(), data[place.end() :]
            if form not in self._forms:
                self._forms[form] = self.address(data) is not None
            if not self._forms[form] or data[place.end() - 2 : place.end()] == b"\0\0":  # no port
                return None
            address = CheckedAddress(data)
            if place[1]:
                return address if reach_of_ip(place[1]) in self._reaches else None
        return address if address is not None and reach_of(address) in self._reaches else None

    def address(self, data: bytes) -> Multiaddr | None:
        """What ``data`` is, if it names a place and no peer, and can be dialed."""
        try:
            kind = _PLAIN_KINDS[data[0]] if IP_TCP.fullmatch(data) else self._kind_of(data)
            if kind is None:
                return None
            if kind not in self._kinds:
                if len(self._kinds) == MAX_KINDS:
                    return None
                self._kinds[kind] = False
                # With anything else it names no place; and a zone is the peer's own (RFC 4007, 6).
                placed = kind[0] in _BEGIN and kind[-1] != P2P.code and IP6ZONE.code not in kind
                self._kinds[kind] = placed and self._dialable(Multiaddr(data))
            return parse(data) if self._kinds[kind] else None
        except DecodeError:
            return None

    def seen(self, message: IdentifyMessage) -> Multiaddr | None:
        """How the peer sees us; js puts our own name behind that."""
        data = message.observed_addr
        return None if data is None else self.address(data.removesuffix(self._us))

    def _kind_of(self, data: bytes) -> tuple[int, ...] | None:
        most = min(MAX_COMPONENTS, self._left)
        kind = kind_of(data, most)
        self._left -= most if kind is None else len(kind)
        return kind


def interpret(message: IdentifyMessage, before: PeerInfo, view: View) -> PeerInfo:
    """``before`` with what ``message`` says: an absent field changes nothing, a list replaces the older one.

    Addresses come from the signed record as soon as the peer has sent one (RFC 0003: what is signed is preferred).
    """
    known = view.known if before.record is None else before.record.edition
    record = _record(message.signed_peer_record, view.peer, known)
    if record is not None:
        addresses = view.usable(record.addresses)
    elif message.listen_addrs and before.record is None:
        addresses = view.usable(message.listen_addrs)
    else:
        addresses = before.addresses
    observed = view.seen(message)
    return PeerInfo(
        peer=before.peer,
        agent=_text(message.agent_version, before.agent),
        protocols=_names(message.protocols) if message.protocols else before.protocols,
        addresses=addresses,
        observed=before.observed if observed is None else observed,
        version=_text(message.protocol_version, before.version),
        record=record or before.record,
    )


def _record(sealed: bytes | None, peer: PeerId, known: Edition | None) -> PeerRecord | None:
    """The peer's own record, newer than the one that is known, or the same; anything else is dropped, as go does."""
    if not sealed:
        return None
    try:
        return PeerRecord.open(sealed, peer, lambda record: record.edition.follows(known))
    except DecodeError:
        return None


@cache
def _reaches_from(remote: Reach) -> frozenset[Reach]:
    """Of which reach addresses of a peer at ``remote`` may be that we can use."""
    return frozenset(one for one in Reach if _reachable(one, remote))


def _reachable(there: Reach, remote: Reach) -> bool:
    if there is Reach.NOWHERE or remote is Reach.MACHINE:
        return there is not Reach.NOWHERE
    if remote is Reach.WORLD:
        return there is Reach.WORLD
    return there is not Reach.MACHINE and (there is not Reach.LINK or remote is Reach.LINK)


def _names(listed: Iterable[bytes]) -> tuple[str, ...]:
    """Protocol names without duplicates, in order; what is not UTF-8 or too long cannot be anybody's protocol."""
    different = (data for data in dict.fromkeys(listed) if 0 < len(data) <= MAX_NAME)
    names = ((data, data.decode(errors="ignore")) for data in islice(different, 2 * MAX_PROTOCOLS))
    return tuple(islice((name for data, name in names if name.encode() == data), MAX_PROTOCOLS))


def _text(data: bytes | None, before: str) -> str:
    """A version for people to read: one printable line of at most 256 bytes."""
    if data is None:
        return before
    text = data[:MAX_NAME].decode(errors="replace")
    return "".join(char if char.isprintable() else "\N{REPLACEMENT CHARACTER}" for char in text)
