"""An address book as JSON, in the shape that the Rust library's ``AddressInfo`` has (serde_json).

    {"peers": {"<base58>": {"known": ["/ip4/..", ..], "use_relay_fallback": true}}, "relays": ["<base58>", ..]}

Ours says more, which serde skips: ``version``, and of a peer ``pinned``, ``via``, and which ``record`` it
signed last, so that an older one is not taken after a restart (hostile row 95). A book of the Rust library may hold
what none of ours does, because that library learns what cannot be dialed: ``/p2p/<id>`` alone, which is passed over,
and relays that are named twice in a row, which are read as once; and from anybody what is of a kind that we do not
know, which is kept as it is and written back behind the others. Of more than 64 addresses of a peer the first 64 count.
"""

import ipaddress
import json
import re
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Final

from multiaddr import Multiaddr

from stronghold_p2p.addressing.kinds import relays_of
from stronghold_p2p.addressing.parse import MAX_SIZE, P2P_CODE, known_part, parse, split_peer, text_of, with_peer
from stronghold_p2p.encoding import strict_json
from stronghold_p2p.errors import ConfigError, DecodeError, Malformed
from stronghold_p2p.identity import Edition, PeerId
from stronghold_p2p.identity.peer_record import DIGEST
from stronghold_p2p.request_response.codecs.typed import messages

VERSION: Final = 1
PEERS: Final = 10_000
PER_PEER: Final = 64
ADDRESSES: Final = 100_000  # ten for each peer of a full book: 32 MiB (hostile row 94)
RELAYS: Final = 64
MAX_FILE: Final = 8 << 20  # bytes; a full book of IPv6 addresses has six millions

_DIGEST: Final = re.compile(rf"[0-9a-f]{{{2 * DIGEST}}}", re.ASCII)
_TWICE: Final = re.compile(r"(/p2p/[^/]+)\1(?=/|$)")
_IP_TCP: Final = re.compile(r"/ip([46])/([0-9a-fA-F:.]+)/tcp/(0|[1-9]\d{0,4})", re.ASCII)


@dataclass(frozen=True, slots=True)
class _Via:
    relays: list[str] | None = None
    exclusive: bool = False


@dataclass(frozen=True, slots=True)
class _Record:
    seq: int
    digest: str


@dataclass(frozen=True, slots=True)
class _Peer:
    known: list[str]
    use_relay_fallback: bool = True
    pinned: bool = False
    via: _Via | None = None
    record: _Record | None = None


@dataclass(frozen=True, slots=True)
class _Book:
    peers: dict[str, _Peer]
    relays: list[str] = field(default_factory=list)
    version: int = VERSION


_BOOK: Final = messages(_Book, tagged=False)


@dataclass(frozen=True, slots=True)
class SavedPeer:
    """One peer: its ``places`` in dial order, and what else a ``BookEntry`` has that lasts."""

    peer: PeerId
    places: tuple[bytes, ...]
    pinned: bool = False
    relays: tuple[PeerId, ...] | None = None
    exclusive: bool = False
    edition: Edition | None = None
    unread: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Content:
    """A whole book; of the peers, the one that was used last stands last."""

    peers: tuple[SavedPeer, ...] = ()
    relays: tuple[PeerId, ...] = ()


def dumps(content: Content) -> bytes:
    """One line for each peer. ``ConfigError``: there are more relays than are read again."""
    if len(content.relays) > RELAYS:
        raise ConfigError(f"{len(content.relays)} relays, at most {RELAYS}", where="relays")
    peers = ",\n".join(f"{_json(str(entry.peer))}:{_json(_to_json(entry))}" for entry in content.peers)
    relays = _json([str(relay) for relay in content.relays])
    return f'{{"version":{VERSION},"peers":{{\n{peers}\n}},"relays":{relays}}}\n'.encode()


def loads(body: bytes, where: str) -> Content:
    """The book in ``body``. ``ConfigError`` tells what is wrong with it, and its place in ``where``."""
    if len(body) > MAX_FILE:
        raise ConfigError(f"{where}: {len(body)} bytes of addresses, at most {MAX_FILE}", where=where)
    try:
        book = _BOOK.decode(body)
        if book.version != VERSION:
            raise _wrong("version", f"{book.version} is not known: this program reads {VERSION}")
        if len(book.peers) > PEERS:
            raise _wrong("peers", f"{len(book.peers)} peers, at most {PEERS}")
        if (count := sum(len(entry.known) for entry in book.peers.values())) > ADDRESSES:
            raise _wrong("peers", f"{count} addresses, at most {ADDRESSES}")
        peers = [_peer(name, entry) for name, entry in book.peers.items()]
        if len({entry.peer for entry in peers}) != len(peers):
            raise _wrong("peers", "one peer twice, in two forms of its id")
        return Content(tuple(peers), _ids("relays", book.relays))
    except Malformed as error:
        place = f"{where}: {error.path}" if error.path else where
        if isinstance(cause := error.__context__, json.JSONDecodeError):
            place = where = f"{where}:{cause.lineno}:{cause.colno}"
        raise ConfigError(f"{where}: {error}", where=place) from None


def to_text(place: bytes) -> str:
    """The text of a place."""
    return text_of(place)


def to_bytes(text: str) -> bytes:
    """The place that is written as ``text``; ``DecodeError`` if it is no address."""
    if (found := _IP_TCP.fullmatch(text)) is not None:
        with suppress(ValueError, OverflowError):
            code, kind = (b"\x04", ipaddress.IPv4Address) if found[1] == "4" else (b"\x29", ipaddress.IPv6Address)
            return code + kind(found[2]).packed + b"\x06" + int(found[3]).to_bytes(2, "big")
    return bytes(parse(text))


def _wrong(path: str, what: str) -> Malformed:
    return strict_json.at(strict_json.printable(path), what)


def _id(path: str, text: str) -> PeerId:
    try:
        return PeerId(text)
    except DecodeError as error:
        raise _wrong(path, str(error)) from None


def _ids(path: str, listed: list[str]) -> tuple[PeerId, ...]:
    if len(listed) > RELAYS:
        raise _wrong(path, f"{len(listed)} relays, at most {RELAYS}")
    return tuple(dict.fromkeys(_id(f"{path}.{index}", text) for index, text in enumerate(listed)))


def _peer(name: str, entry: _Peer) -> SavedPeer:
    path = f"peers.{name}"
    peer = _id(path, name)
    found: dict[bytes | str, None] = {}
    for index, text in enumerate(entry.known):
        place = _place_in(f"{path}.known.{index}", peer, text)
        if place and len(found) < PER_PEER:
            found[place] = None
    known = tuple(place for place in found if isinstance(place, bytes))
    unread = tuple(text for text in found if isinstance(text, str))
    via, edition = entry.via, _edition(f"{path}.record", entry.record)
    if via is None:
        # Without a fallback, the Rust library uses no relays but those of the addresses.
        through = (relay for place in known for relay in relays_of(Multiaddr(place)) if relay is not None)
        relays = None if entry.use_relay_fallback else tuple(dict.fromkeys(through))[:RELAYS]
        return SavedPeer(peer, known, entry.pinned, relays, edition=edition, unread=unread)
    relays = None if via.relays is None else _ids(f"{path}.via.relays", via.relays)
    return SavedPeer(peer, known, entry.pinned, relays, via.exclusive, edition, unread)


def _edition(path: str, record: _Record | None) -> Edition | None:
    if record is None:
        return None
    if not 0 <= record.seq < 1 << 64:
        raise _wrong(f"{path}.seq", "no number of 64 bits")
    if not _DIGEST.fullmatch(record.digest):
        raise _wrong(f"{path}.digest", f"{DIGEST} bytes in hexadecimal digits are needed")
    return Edition(record.seq, bytes.fromhex(record.digest))


def _place_in(path: str, peer: PeerId, text: str) -> bytes | str:
    """The place that ``text`` names; empty if it names a peer and nothing else, the text if we do not know the kind."""
    try:
        data = to_bytes(_TWICE.sub(r"\1", text) if "/p2p/" in text else text)
    except DecodeError as error:
        if _is_unknown(text):
            return text
        raise _wrong(path, str(error)) from None
    if P2P_CODE not in data:
        return data
    place, named = split_peer(Multiaddr(data))
    if named not in (None, peer):
        raise _wrong(path, "names another peer")
    return bytes(place)


def _is_unknown(text: str) -> bool:
    """Whether nothing else is wrong with an address than that we do not know what kind it is of."""
    front = known_part(text)
    if front is None or len(text) > MAX_SIZE or not text.isprintable():
        return False
    with suppress(DecodeError):
        return not front or bool(to_bytes(front))
    return False


def _to_json(entry: SavedPeer) -> dict[str, Any]:
    out: dict[str, Any] = {
        "known": [*(_with_peer_if_relayed(place, entry.peer) for place in entry.places), *entry.unread][:PER_PEER],
        "use_relay_fallback": entry.relays is None and not entry.exclusive,
    }
    if entry.pinned:
        out["pinned"] = True
    if entry.relays is not None or entry.exclusive:
        relays = None if entry.relays is None else [str(relay) for relay in entry.relays]
        out["via"] = {"relays": relays, "exclusive": entry.exclusive}
    if entry.edition is not None:
        out["record"] = {"seq": entry.edition.seq, "digest": entry.edition.digest.hex()}
    return out


def _with_peer_if_relayed(place: bytes, peer: PeerId) -> str:
    """The text as the Rust library writes it: a relayed address ends in the name of its peer."""
    relayed = relays_of(Multiaddr(place))
    return to_text(bytes(with_peer(Multiaddr(place), peer))) if relayed else to_text(place)


def _json(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"))
