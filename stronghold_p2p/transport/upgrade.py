"""From a wire to a proven peer and an agreed muxer: the only place where the layers meet.

    multistream (security) → handshake → the muxer that both chose inside it, or multistream again

(libp2p specs, connections/README.md, "Upgrading Connections"). It is one exchange, so it needs no socket: the
same upgrade runs over TCP, over a relayed stream and over a list of bytes in a test.
"""

from dataclasses import dataclass
from typing import Final

from stronghold_p2p import multistream
from stronghold_p2p.errors import HandshakeError
from stronghold_p2p.exchange import Exchange, ExchangeRunner
from stronghold_p2p.identity import PeerId
from stronghold_p2p.seams import MuxerFactory, SecureChannel, Secured, Security

MAX_RECORDS: Final = 1_024  # for the choice of a muxer, so that empty ones are not without end


@dataclass(frozen=True, slots=True)
class Negotiated:
    """What an upgrade ends in.

    ``plaintext`` is what the peer had sent inside the secure channel beyond the negotiation; it comes before
    anything that follows on the wire.
    """

    secured: Secured
    muxer: MuxerFactory
    plaintext: bytes = b""


@dataclass(frozen=True, slots=True)
class UpgradeSettings:
    """How connections are upgraded; one for a network. Both lists: best first."""

    securities: tuple[Security, ...]
    muxers: tuple[MuxerFactory, ...]

    def outbound(self, expected: PeerId | None) -> Exchange[Negotiated]:
        """The dialer's side. With one security its first message leaves together with the proposal."""
        by_id = {security.id: security for security in self.securities}
        if len(by_id) == 1:
            (only,) = by_id
            secured = yield from multistream.lazy(only, self._handshake(by_id[only], True, expected))
        else:
            chosen = yield from multistream.dial(list(by_id))
            secured = yield from self._handshake(by_id[chosen], True, expected)
        return (yield from self._muxer(True, secured))

    def inbound(self) -> Exchange[Negotiated]:
        """The listener's side."""
        by_id = {security.id: security for security in self.securities}
        chosen = yield from multistream.listen(by_id.__contains__)
        secured = yield from self._handshake(by_id[chosen], False, None)
        return (yield from self._muxer(False, secured))

    def _handshake(self, security: Security, initiator: bool, expected: PeerId | None) -> Exchange[Secured]:
        muxers = tuple(muxer.id for muxer in self.muxers)  # connections/inlined-muxer-negotiation.md
        return security.handshake(initiator=initiator, expected=expected, muxers=muxers)

    def _muxer(self, dialer: bool, secured: Secured) -> Exchange[Negotiated]:
        by_id = {muxer.id: muxer for muxer in self.muxers}
        if secured.muxer is not None:
            return Negotiated(secured, by_id[secured.muxer])
        choice = multistream.dial(list(by_id)) if dialer else multistream.listen(by_id.__contains__)
        chosen, plaintext = yield from _inside(secured.channel, choice)
        return Negotiated(secured, by_id[chosen], plaintext)


def _inside(channel: SecureChannel, exchange: Exchange[str]) -> Exchange[tuple[str, bytes]]:
    """Run an exchange inside the secure channel; its result, and the plaintext beyond its end."""
    runner = ExchangeRunner(exchange)
    try:
        out = runner.start()
        for _ in range(MAX_RECORDS):
            if out:
                records = bytearray()
                channel.seal([out], len(out), records.extend)
                yield bytes(records)
            if runner.done:
                return runner.result, runner.leftover
            header = yield channel.header_size
            body = yield channel.body_size(header)
            plaintext = bytearray()
            channel.open(memoryview(header + body), plaintext.extend)
            out = runner.feed(plaintext)
        raise HandshakeError(f"no muxer after {MAX_RECORDS} records", phase="muxer")
    finally:
        runner.close()
