"""The upgrade, our dialer against our listener, in memory: every way in which bytes can be cut and be wrong."""

from __future__ import annotations

import random
from collections.abc import Callable
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stronghold_p2p import multistream
from stronghold_p2p.errors import DecryptError, HandshakeError, NegotiationError, P2PError, PeerIdMismatch
from stronghold_p2p.exchange import Exchange, ExchangeRunner
from stronghold_p2p.noise.libp2p import secure
from stronghold_p2p.noise.records import Opener, Sealer
from stronghold_p2p.transport.upgrade import NOISE, YAMUX, Upgraded
from stronghold_p2p.yamux.header import PING, SYN, frame
from tests.noise.opening import opened
from tests.transport.ends import End, bytewise, dialer, identity, join, listener, randomness, upgrade, upgraded

Cut = Callable[[bytes], list[bytes]]
Make = Callable[[], Exchange[Upgraded]]

EARLY = [(True, True), (True, False), (False, True), (False, False)]


def transcript(early: tuple[bool, bool]) -> tuple[bytes, bytes]:
    """All that the dialer and the listener say in one upgrade."""
    one, other = End(dialer(early=early[0])), End(listener(early=early[1]))
    join(one, other)
    return bytes(one.sent), bytes(other.sent)


def check(one: Upgraded, other: Upgraded, *, early: bool) -> None:
    """Both know whom they talk to and understand each other, both ways."""
    assert one.peer == identity(2).peer_id
    assert other.peer == identity(1).peer_id
    assert one.public_key.encode() == identity(2).public_key.encode()
    assert (one.early_muxer, other.early_muxer) == (early, early)
    for sealer, opener in ((one.sealer, other.opener), (other.sealer, one.opener)):
        record = bytes(sealer.seal(b"hello"))
        assert opened(opener, record) == ([b"hello"], len(record))


@pytest.mark.parametrize("early", EARLY)
@pytest.mark.parametrize("cut", [lambda data: [data], bytewise])
def test_both_ends_agree(early: tuple[bool, bool], cut: Cut) -> None:
    one, other = End(dialer(early=early[0])), End(listener(early=early[1]))
    join(one, other, cut)
    assert one.runner.done
    assert other.runner.done
    check(one.runner.result, other.runner.result, early=all(early))
    assert (one.runner.leftover, other.runner.leftover) == (b"", b"")


@pytest.mark.parametrize("early", [(True, True), (False, False)])
def test_every_split_point(early: tuple[bool, bool]) -> None:
    """The other side's whole part is known beforehand, so that it can be cut anywhere."""
    said, answered = transcript(early)
    for cut in range(1, len(answered)):
        one = End(dialer(early=early[0]))
        one.feed([answered[:cut], answered[cut:]])
        assert one.runner.done
        assert bytes(one.sent) == said
    for cut in range(1, len(said)):
        other = End(listener(early=early[1]))
        other.feed([said[:cut], said[cut:]])
        assert other.runner.done
        assert bytes(other.sent) == answered


@given(st.sampled_from(EARLY), st.lists(st.integers(0, 600), max_size=8))
def test_any_pieces(early: tuple[bool, bool], cuts: list[int]) -> None:
    said, answered = transcript(early)
    cases: list[tuple[Make, bytes]] = [
        (lambda: listener(early=early[1]), said),
        (lambda: dialer(early=early[0]), answered),
    ]
    for make, data in cases:
        end = End(make())
        places = [0, *sorted(min(cut, len(data)) for cut in cuts), len(data)]
        end.feed([data[a:b] for a, b in pairwise(places)])
        assert end.runner.done


@pytest.mark.parametrize("early", EARLY)
def test_what_follows_belongs_to_the_session(early: tuple[bool, bool]) -> None:
    """The dialer sends its first stream along with the last message: not a byte of it may be lost."""
    one, other = End(dialer(early=early[0])), End(listener(early=early[1]))
    for _ in range(6):
        if one.runner.done:
            break
        other.feed([one.take()])
        one.feed([other.take()])
    record = bytes(one.runner.result.sealer.seal(b"first stream"))
    other.feed([one.take() + record])
    assert other.runner.done
    result = other.runner.result
    read = result.plaintext
    plaintexts, used = opened(result.opener, other.runner.leftover)
    assert used == len(other.runner.leftover)
    assert read + b"".join(plaintexts) == b"first stream"


class Hand:
    """A dialer that has finished Noise, and says inside it what we tell it to. ``muxers`` as in its message 3."""

    def __init__(self, other: End, muxers: tuple[str, ...] = ()) -> None:
        keys = upgrade(1).local
        noise = secure(initiator=True, local=keys, expected=None, muxers=muxers, random=randomness(9))
        runner = ExchangeRunner(multistream.lazy(NOISE, noise))
        other.feed([runner.start()])
        self.last = runner.feed(other.take())
        self.sealer, self.opener = Sealer(runner.result.send), Opener(runner.result.receive)


def test_one_record_with_the_muxer_negotiation_and_the_first_frames() -> None:
    """What shares a record with the end of the negotiation comes before what follows on the wire."""
    other = End(listener())
    hand = Hand(other)
    flight = multistream.propose(YAMUX) + b"frames"
    other.feed([hand.last + hand.sealer.seal(flight) + hand.sealer.seal(b" and more")])
    result = other.runner.result
    assert result.plaintext == b"frames"
    assert opened(result.opener, other.runner.leftover)[0] == [b" and more"]
    answered = opened(hand.opener, other.take())[0]
    assert b"".join(answered) == multistream.match_confirm(YAMUX)


@pytest.mark.parametrize("pieces", [1, 2, 5])
def test_the_muxer_negotiation_in_many_records(pieces: int) -> None:
    other = End(listener())
    hand = Hand(other)
    flight = multistream.propose(YAMUX)
    size = -(-len(flight) // pieces)
    other.feed([hand.last])
    for start in range(0, len(flight), size):
        assert not other.runner.done
        other.feed(bytewise(bytes(hand.sealer.seal(flight[start : start + size]))))
    assert other.runner.done
    assert other.runner.result.plaintext == b""


def test_records_without_plaintext_are_no_end() -> None:
    other = End(listener())
    hand = Hand(other)
    empty = b"\x00\x10" + hand.sealer._encrypt((0).to_bytes(12, "little"), b"", None)
    hand.sealer._n = 1
    other.feed([hand.last + empty + bytes(hand.sealer.seal(multistream.propose(YAMUX)))])
    assert other.runner.done


def test_the_wrong_peer() -> None:
    """Hostile row 54: known before our last message, so the other end never becomes a connection either."""
    stranger = identity(7).peer_id
    one, other = End(dialer(expected=stranger)), End(listener())
    other.feed([one.take()])
    with pytest.raises(PeerIdMismatch) as caught:
        one.feed([other.take()])
    assert (caught.value.expected, caught.value.actual) == (stranger, identity(2).peer_id)
    assert one.take() == b""
    assert not other.runner.done


def test_the_right_peer() -> None:
    one, other = End(dialer(expected=identity(2).peer_id)), End(listener())
    join(one, other)
    check(one.runner.result, other.runner.result, early=True)


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
    "crlf": b"\x14/multistream/1.0.0\r\n",
    "no newline": b"\x12/multistream/1.0.0" + b"\x07/noise\n",
    "na first": b"\x03na\n",
    "not utf-8": b"\x13/multistream/1.0.\xff\n",
    "long line": b"\x81\x08" + b"/" * 1_025,
    "three byte length": b"\x80\x80\x01",
    "over-long length": b"\x93\x00/multistream/1.0.0\n",
    "empty line": b"\x00",
}


@pytest.mark.parametrize("name", NONSENSE)
@pytest.mark.parametrize("make", [dialer, listener])
@pytest.mark.parametrize("cut", [lambda data: [data], bytewise])
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
        one.feed([multistream.match_confirm(security)])


def test_security_refused() -> None:
    one = End(dialer())
    with pytest.raises(NegotiationError) as caught:
        one.feed([multistream.HEADER + multistream.NA])
    assert caught.value.refused


def test_a_second_proposal_may_be_ours() -> None:
    """go asks for TLS first."""
    other = End(listener())
    one = End(dialer())
    first = one.take()
    other.feed([multistream.propose("/tls/1.0.0")])
    assert other.take() == multistream.HEADER + multistream.NA
    other.feed([first[len(multistream.HEADER) :]])
    answer = other.take()
    one.feed([multistream.HEADER + answer])
    other.feed([one.take()])
    assert other.runner.done


@pytest.mark.parametrize("muxer", ["/mplex/6.7.0", "/yamux/1.0.1", "/yamux"])
def test_another_muxer_is_refused(muxer: str) -> None:
    other = End(listener())
    hand = Hand(other)
    other.feed([hand.last + hand.sealer.seal(multistream.propose(muxer))])
    assert b"".join(opened(hand.opener, other.take())[0]) == multistream.HEADER + multistream.NA
    assert not other.runner.done


def test_frames_before_the_last_handshake_message() -> None:
    """Hostile row 53: nothing is processed before the identity is proven."""
    one, other = End(dialer()), End(listener())
    other.feed([one.take()])
    one.feed([other.take()])
    with pytest.raises(HandshakeError):
        other.feed([b"\x00\x0c" + frame(PING, SYN, 0, 1)])
    assert not other.runner.done


def test_plaintext_after_the_handshake() -> None:
    """Hostile row 55: the channel is authenticated from its first byte."""
    other = End(listener())
    hand = Hand(other)
    with pytest.raises(DecryptError):
        other.feed([hand.last + b"\x00\x20" + bytes(32)])


def test_a_record_too_short_for_its_tag() -> None:
    other = End(listener())
    hand = Hand(other)
    with pytest.raises(DecryptError):
        other.feed([hand.last + b"\x00\x05" + bytes(5)])


def test_reflected_and_replayed_records() -> None:
    one, other = upgraded()
    mine = bytes(one.sealer.seal(b"mine"))
    with pytest.raises(DecryptError):
        opened(one.opener, mine)
    assert opened(other.opener, mine)[0] == [b"mine"]
    with pytest.raises(DecryptError):
        opened(other.opener, mine)


@pytest.mark.parametrize("early", [(True, True), (False, False)])
def test_every_flipped_byte(early: tuple[bool, bool]) -> None:
    """Not one changed byte of either side ends in a connection, or in anything but a typed error."""
    said, answered = transcript(early)
    cases: list[tuple[Make, bytes]] = [
        (lambda: listener(early=early[1]), said),
        (lambda: dialer(early=early[0]), answered),
    ]
    for make, data in cases:
        for place in range(len(data)):
            end = End(make())
            changed = bytearray(data)
            changed[place] ^= 0x01
            try:
                end.feed([bytes(changed)])
            except P2PError:
                continue
            assert not end.runner.done, place


@pytest.mark.parametrize("early", [(True, True), (False, False)])
def test_the_end_after_any_byte(early: tuple[bool, bool]) -> None:
    """Hostile row 7, as far as it is bytes: what is incomplete waits, and can be dropped."""
    said, answered = transcript(early)
    cases: list[tuple[Make, bytes]] = [
        (lambda: listener(early=early[1]), said),
        (lambda: dialer(early=early[0]), answered),
    ]
    for make, data in cases:
        for size in range(len(data)):
            end = End(make())
            end.feed([data[:size]])
            assert not end.runner.done
            end.runner.close()
