"""From a raw connection to a secured, multiplexed one: the only place where the layers meet.

    multistream (security) → Noise XX → the muxer that both chose inside the handshake, or multistream again

(libp2p specs, connections/README.md, "Upgrading Connections"). It is one exchange, so it needs no socket: the
same upgrade runs over TCP, over a relayed stream and over a list of bytes in a test.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, TypeVar

from stronghold_p2p import multistream
from stronghold_p2p.exchange import Exchange, ExchangeRunner
from stronghold_p2p.identity import PeerId, PublicKey
from stronghold_p2p.noise.exchange import Secured, secure
from stronghold_p2p.noise.payload import StaticKeys
from stronghold_p2p.noise.records import Opener, Sealer

T = TypeVar("T")

NOISE: Final = "/noise"
YAMUX: Final = "/yamux/1.0.0"


@dataclass(frozen=True, slots=True)
class Upgraded:
    """A connection whose other end is proven. ``early_muxer``: chosen inside the handshake.

    ``plaintext`` is what the peer had sent inside the secure channel beyond the negotiation; it comes before
    anything that follows on the wire.
    """

    peer: PeerId
    public_key: PublicKey
    sealer: Sealer
    opener: Opener
    early_muxer: bool
    plaintext: bytes = b""


@dataclass(frozen=True, slots=True)
class Upgrade:
    """How connections are upgraded; one for a network. ``early_muxer`` off leaves the extension out."""

    local: StaticKeys
    random: Callable[[int], bytes]
    early_muxer: bool = True

    def outbound(self, expected: PeerId | None) -> Exchange[Upgraded]:
        """The dialer's side: Noise's first message leaves together with the proposal."""
        return _finish(True, multistream.lazy(NOISE, self._noise(True, expected)))

    def inbound(self) -> Exchange[Upgraded]:
        """The listener's side."""
        return _finish(False, self._listen())

    def _listen(self) -> Exchange[Secured]:
        yield from multistream.listen(NOISE.__eq__)
        return (yield from self._noise(False, None))

    def _noise(self, initiator: bool, expected: PeerId | None) -> Exchange[Secured]:
        muxers = (YAMUX,) if self.early_muxer else ()
        return secure(initiator=initiator, local=self.local, expected=expected, muxers=muxers, random=self.random)


def _finish(dialer: bool, handshake: Exchange[Secured]) -> Exchange[Upgraded]:
    secured = yield from handshake
    sealer, opener = Sealer(secured.send), Opener(secured.receive)
    if secured.early_muxer:
        return Upgraded(secured.peer, secured.public_key, sealer, opener, True)
    choice = multistream.dial([YAMUX]) if dialer else multistream.listen(YAMUX.__eq__)
    plaintext = yield from _inside(sealer, opener, choice)
    return Upgraded(secured.peer, secured.public_key, sealer, opener, False, plaintext)


def _inside(sealer: Sealer, opener: Opener, exchange: Exchange[str]) -> Exchange[bytes]:
    """Run an exchange inside the secure channel; the result is the plaintext beyond its end."""
    runner = ExchangeRunner(exchange)
    try:
        out = runner.start()
        while True:
            if out:
                yield sealer.seal(out)
            if runner.done:
                return runner.leftover
            out = runner.feed((yield from _record(opener)))
    finally:
        runner.close()


def _record(opener: Opener) -> Exchange[bytes]:
    prefix = yield 2
    body = yield int.from_bytes(prefix, "big")
    plaintext: list[bytes | memoryview] = []
    opener.open(memoryview(prefix + body), plaintext.append)
    return b"".join(plaintext)
