"""The upgrade, our dialer against our listener, in memory: every way in which bytes can be cut and be wrong."""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest

from stronghold_p2p import multistream
from stronghold_p2p.errors import DecryptError, HandshakeError, NegotiationError, P2PError, PeerIdMismatch
from stronghold_p2p.exchange import Exchange, ExchangeRunner
from stronghold_p2p.muxing.yamux_muxer import YAMUX
from stronghold_p2p.noise.security import NOISE, NoiseChannel
from stronghold_p2p.seams import Security
from stronghold_p2p.transport.upgrade import Negotiated, UpgradeSettings
from stronghold_p2p.yamux.header import PING, SYN, frame
from tests.noise.pair import opened, sealed
from tests.transport.ends import (
    End,
    NoMuxer,
    Plain,
    bytewise,
    dialer,
    identity,
    join,
    listener,
    upgrade,
    whole,
)

Cut = Callable[[bytes], list[bytes]]
Make = Callable[[], Exchange[Negotiated]]

EARLY = [(True, True), (True, False), (False, True), (False, False)]


def recorded(early: tuple[bool, bool]) -> list[tuple[Make, bytes]]:
    """Each end, and what it hears in one upgrade. So it can be cut and changed anywhere."""
    one, other = End(dialer(early=early[0])), End(listener(early=early[1]))
    join(one, other)
    return [(lambda: listener(early=early[1]), bytes(one.sent)), (lambda: dialer(early=early[0]), bytes(other.sent))]


def check(one: Negotiated, other: Negotiated, *, early: bool) -> None:
    """Both know whom they talk to and understand each other, both ways."""
    assert one.secured.peer == identity(2).peer_id
    assert other.secured.peer == identity(1).peer_id
    assert one.secured.public_key.encode() == identity(2).public_key.encode()
    assert one.secured.muxer == other.secured.muxer == (YAMUX if early else None)
    assert one.muxer.id == other.muxer.id == YAMUX
    for ours, theirs in ((one, other), (other, one)):
        record = sealed(ours.secured.channel, b"hello")
        assert opened(theirs.secured.channel, record) == ([b"hello"], len(record))


@pytest.mark.parametrize("early", EARLY)
@pytest.mark.parametrize("cut", [whole, bytewise])
def test_both_ends_agree(early: tuple[bool, bool], cut: Cut) -> None:
    one, other = End(dialer(early=early[0])), End(listener(early=early[1]))
    join(one, other, cut)
    assert one.runner.done
    assert other.runner.done
    check(one.runner.result, other.runner.result, early=all(early))
    assert (one.runner.leftover, other.runner.leftover) == (b"", b"")


@pytest.mark.parametrize("early", EARLY)
def test_what_follows_belongs_to_the_session(early: tuple[bool, bool]) -> None:
    """The dialer sends its first stream along with the last message: not a byte of it may be lost."""
    one, other = End(dialer(early=early[0])), End(listener(early=early[1]))
    while not one.runner.done:
        other.feed([one.take()])
        one.feed([other.take()])
    other.feed([one.take() + sealed(one.runner.result.secured.channel, b"first stream")])
    result, leftover = other.runner.result, other.runner.leftover
    plaintexts, used = opened(result.secured.channel, leftover)
    assert used == len(leftover)
    assert result.plaintext + b"".join(plaintexts) == b"first stream"


class Hand:
    """A dialer that has finished Noise, and says inside it what we tell it to."""

    def __init__(self, other: End) -> None:
        noise = upgrade(1).securities[0].handshake(initiator=True, expected=None, muxers=())
        runner = ExchangeRunner(multistream.lazy(NOISE, noise))
        other.feed([runner.start()])
        self.last = runner.feed(other.take())
        self._channel = runner.result.channel

    def sealed(self, plaintext: bytes) -> bytes:
        return sealed(self._channel, plaintext)

    def opened(self, records: bytes) -> bytes:
        return b"".join(opened(self._channel, records)[0])

    def empty(self) -> bytes:
        """A record without plaintext, which no ``seal`` writes."""
        assert isinstance(self._channel, NoiseChannel)
        record = b"\x00\x10" + self._channel._encrypt((0).to_bytes(12, "little"), b"", None)
        self._channel._sent = 1
        return record


def handed() -> tuple[End, Hand]:
    """A listener of ours, and the hand-made dialer that has finished Noise with it."""
    other = End(listener())
    return other, Hand(other)


def test_one_record_with_the_muxer_negotiation_and_the_first_frames() -> None:
    """What shares a record with the end of the negotiation comes before what follows on the wire."""
    other, hand = handed()
    flight = multistream.propose(YAMUX) + b"frames"
    other.feed([hand.last + hand.sealed(flight) + hand.sealed(b" and more")])
    result = other.runner.result
    assert result.plaintext == b"frames"
    assert opened(result.secured.channel, other.runner.leftover)[0] == [b" and more"]
    assert hand.opened(other.take()) == multistream.propose(YAMUX)


@pytest.mark.parametrize("pieces", [1, 2, 5])
def test_the_muxer_negotiation_in_many_records(pieces: int) -> None:
    other, hand = handed()
    flight = multistream.propose(YAMUX)
    size = -(-len(flight) // pieces)
    other.feed([hand.last])
    for start in range(0, len(flight), size):
        assert not other.runner.done
        other.feed(bytewise(hand.sealed(flight[start : start + size])))
    assert other.runner.done
    assert other.runner.result.plaintext == b""


def test_records_without_plaintext_are_no_end() -> None:
    other, hand = handed()
    other.feed([hand.last + hand.empty() + hand.sealed(multistream.propose(YAMUX))])
    assert other.runner.done


@pytest.mark.parametrize("ids", [(NOISE,), (NOISE, Plain.id)])
def test_the_wrong_peer(ids: tuple[str, ...]) -> None:
    """Hostile row 54: known before our last message, so the other end never becomes a connection either."""
    stranger = identity(7).peer_id
    one, other = End(settings(1, *ids).outbound(stranger)), End(listener())
    with pytest.raises(PeerIdMismatch) as caught:
        join(one, other)
    assert (caught.value.expected, caught.value.actual) == (stranger, identity(2).peer_id)
    assert one.take() == b""
    assert not other.runner.done


NONSENSE = {
    "http": b"GET / HTTP/1.1\r\nHost: example.org\r\n\r\n",
    "tls": bytes.fromhex("16030100c8010000c40303") + bytes(189),
    "ssh": b"SSH-2.0-OpenSSH_9.6\r\n",
    "zeros": bytes(1 << 20),
    "ones": b"\xff" * 64,
    "random": random.Random(1).randbytes(4_096),
    "raw noise": b"\x00\x20" + bytes(32),
    "raw yamux": frame(PING, SYN, 0, 0),
    "old header": b"\x13/multistream/2.0.0\n",
    "na first": b"\x03na\n",
}


@pytest.mark.parametrize("name", NONSENSE)
@pytest.mark.parametrize("make", [dialer, listener])
@pytest.mark.parametrize("cut", [whole, bytewise])
def test_somebody_speaks_something_else(name: str, make: Make, cut: Cut) -> None:
    """Hostile rows 8, 15 and 16: a typed error at the first line, whatever it is."""
    end = End(make())
    end.take()
    with pytest.raises(NegotiationError):
        end.feed(cut(NONSENSE[name][:4_096]) if cut is bytewise else [NONSENSE[name]])
    assert end.take() == b""


@pytest.mark.parametrize(
    "security", ["/plaintext/2.0.0", "/tls/1.0.0", "/noise/1.0.0", "/Noise", "/noise ", "/noise/ix"]
)
def test_another_security_is_refused(security: str) -> None:
    """Hostile row 23: no fall-back, and an answer that is not ours, byte for byte, is none (hostile row 19)."""
    other = End(listener())
    other.feed([multistream.propose(security)])
    assert other.take() == multistream.HEADER + multistream.NA
    assert not other.runner.done
    one = End(dialer())
    with pytest.raises(NegotiationError):
        one.feed([multistream.propose(security)])


@pytest.mark.parametrize("muxer", ["/mplex/6.7.0", "/yamux/1.0.1", "/yamux"])
def test_another_muxer_is_refused(muxer: str) -> None:
    other, hand = handed()
    other.feed([hand.last + hand.sealed(multistream.propose(muxer))])
    assert hand.opened(other.take()) == multistream.HEADER + multistream.NA
    assert not other.runner.done


def test_frames_before_the_last_handshake_message() -> None:
    """Hostile row 53: nothing is processed before the identity is proven."""
    one, other = End(dialer()), End(listener())
    other.feed([one.take()])
    one.feed([other.take()])
    with pytest.raises(HandshakeError):
        other.feed([b"\x00\x0c" + frame(PING, SYN, 0, 1)])
    assert not other.runner.done


@pytest.mark.parametrize("size", [5, 32])
def test_plaintext_after_the_handshake(size: int) -> None:
    """Hostile row 55: the channel is authenticated from its first byte; also what is too short for a tag."""
    other, hand = handed()
    with pytest.raises(DecryptError):
        other.feed([hand.last + size.to_bytes(2, "big") + bytes(size)])


@pytest.mark.parametrize("early", [EARLY[0], EARLY[-1]])
def test_every_flipped_byte(early: tuple[bool, bool]) -> None:
    """Not one changed byte of either side ends in a connection, or in anything but a typed error."""
    for make, data in recorded(early):
        for place in range(len(data)):
            end = End(make())
            changed = bytearray(data)
            changed[place] ^= 0x01
            try:
                end.feed([bytes(changed)])
            except P2PError:
                continue
            assert not end.runner.done, place


def settings(seed: int, *ids: str) -> UpgradeSettings:
    """How a peer upgrades that has these securities, best first."""
    known: dict[str, Security] = {NOISE: upgrade(seed).securities[0], Plain.id: Plain(seed)}
    return UpgradeSettings(tuple(known[one] for one in ids), (NoMuxer(),))


@pytest.mark.parametrize(
    ("ours", "theirs", "chosen"),
    [
        ((NOISE, Plain.id), (Plain.id, NOISE), NOISE),  # the dialer's order counts
        ((Plain.id, NOISE), (NOISE, Plain.id), Plain.id),
        ((NOISE, Plain.id), (Plain.id,), Plain.id),
        ((Plain.id, NOISE), (NOISE,), NOISE),
        ((Plain.id,), (NOISE, Plain.id), Plain.id),
    ],
)
@pytest.mark.parametrize("cut", [whole, bytewise])
def test_the_first_security_that_both_have(
    ours: tuple[str, ...], theirs: tuple[str, ...], chosen: str, cut: Cut
) -> None:
    one, other = End(settings(1, *ours).outbound(identity(2).peer_id)), End(settings(2, *theirs).inbound())
    if len(ours) > 1:  # no handshake leaves before it is known which
        assert bytes(one.unread) == multistream.propose(ours[0])
    join(one, other, cut)
    check(one.runner.result, other.runner.result, early=chosen == NOISE)
    assert isinstance(one.runner.result.secured.channel, NoiseChannel) == (chosen == NOISE)


def test_no_security_that_both_have() -> None:
    one = End(settings(1, NOISE, Plain.id).outbound(None))
    one.feed([multistream.HEADER + multistream.NA])
    assert one.take().endswith(multistream.message(Plain.id))
    with pytest.raises(NegotiationError) as caught:
        one.feed([multistream.NA])
    assert caught.value.refused
