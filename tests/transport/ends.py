"""Both ends of an upgrade, joined by nothing but bytes."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import cache
from typing import NoReturn

from stronghold_p2p.exchange import Exchange, ExchangeRunner
from stronghold_p2p.identity import PeerId
from stronghold_p2p.noise.libp2p import Noise
from stronghold_p2p.seams import Deliver, MuxerUser, Pieces, Secured, Security, Wire, Write
from stronghold_p2p.transport.upgrade import Negotiated, UpgradeSettings
from tests.noise import pair

identity, randomness = pair.identity, pair.randomness


class NoMuxer:
    """Stands for Yamux where an upgrade ends and nothing is started."""

    id = "/yamux/1.0.0"

    def start(self, wire: Wire, secured: Secured, early: bytes, user: MuxerUser, *, dialer: bool) -> NoReturn:
        raise AssertionError("nothing is started here")

    def refuse(self, wire: Wire, secured: Secured, code: int) -> NoReturn:
        raise AssertionError("nothing is refused here")


class Silent:
    """A ``Security`` that names no muxers: multistream chooses one after the handshake."""

    def __init__(self, security: Security) -> None:
        self.id = security.id
        self._security = security

    def handshake(self, *, initiator: bool, expected: PeerId | None, muxers: tuple[str, ...]) -> Exchange[Secured]:
        return self._security.handshake(initiator=initiator, expected=expected, muxers=())


@cache
def upgrade(seed: int, *, early_muxer: bool = True) -> UpgradeSettings:
    """How the peer with this seed upgrades; the same bytes each time."""
    noise = Noise(pair.keys(seed), randomness(seed + 50))
    return UpgradeSettings((noise if early_muxer else Silent(noise),), (NoMuxer(),))


class PlainChannel:
    """Records with a length of two bytes in front, and no secret."""

    header_size = 2

    def body_size(self, header: bytes) -> int:
        return int.from_bytes(header, "big")

    def open(self, view: memoryview, deliver: Deliver) -> int:
        used = 0
        while len(view) - used >= 2 and len(view) - used - 2 >= (size := self.body_size(bytes(view[used : used + 2]))):
            used += 2 + size
            if deliver(view[used - size : used]):
                break
        return used

    def seal(self, pieces: Pieces, size: int, write: Write) -> None:
        write(size.to_bytes(2, "big") + b"".join(pieces))


class Plain:
    """A second ``Security``: each side says who it is, and is believed."""

    id = "/plain/1"

    def __init__(self, seed: int) -> None:
        self._seed = seed

    def handshake(self, *, initiator: bool, expected: PeerId | None, muxers: tuple[str, ...]) -> Exchange[Secured]:
        yield bytes([self._seed])
        other = identity((yield 1)[0])
        return Secured(other.peer_id, other.public_key, PlainChannel(), None)


def dialer(*, early: bool = True, expected: PeerId | None = None) -> Exchange[Negotiated]:
    return upgrade(1, early_muxer=early).outbound(expected)


def listener(*, early: bool = True) -> Exchange[Negotiated]:
    return upgrade(2, early_muxer=early).inbound()


class End:
    """One end, fed in pieces. ``sent``: everything that it has said."""

    def __init__(self, exchange: Exchange[Negotiated]) -> None:
        self.runner = ExchangeRunner(exchange)
        self.sent = bytearray()
        self.unread = bytearray()
        self._say(self.runner.start())

    def _say(self, data: bytes) -> None:
        self.sent += data
        self.unread += data

    def feed(self, pieces: Iterable[bytes]) -> None:
        for piece in pieces:
            self._say(self.runner.feed(piece))

    def take(self) -> bytes:
        """What it has said since it was last asked."""
        said = bytes(self.unread)
        self.unread.clear()
        return said


def bytewise(data: bytes) -> list[bytes]:
    return [data[i : i + 1] for i in range(len(data))]


def whole(data: bytes) -> list[bytes]:
    return [data]


def join(one: End, other: End, cut: Callable[[bytes], list[bytes]] = whole) -> None:
    """Carry bytes between both until nobody says more."""
    while one.unread or other.unread:
        other.feed(cut(one.take()))
        one.feed(cut(other.take()))
