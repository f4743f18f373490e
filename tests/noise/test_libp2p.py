"""noise/libp2p.py: the whole handshake, in any pieces, with honest and with hostile partners."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from noise.connection import Keypair, NoiseConnection

from stronghold_p2p.errors import HandshakeError, PeerIdMismatch
from stronghold_p2p.exchange import Exchange, ExchangeRunner
from stronghold_p2p.noise.cipher import CipherState
from stronghold_p2p.noise.libp2p import choose_muxer
from stronghold_p2p.noise.payload import make
from stronghold_p2p.noise.records import Opener, Sealer
from stronghold_p2p.seams import Secured
from tests.noise.pair import (
    KEY,
    SPACE,
    YAMUX,
    feed_all,
    framed,
    handshake,
    identity,
    keys,
    opened,
    sealed,
    side,
    transcript,
)

FIRST, SECOND, THIRD = transcript()
ROLES = pytest.mark.parametrize("initiator", [True, False], ids=["initiator", "responder"])


def ours(initiator: bool, **options: Any) -> Exchange[Secured]:
    """The honest side of keys 1 or 2 in its usual role."""
    return side(initiator=initiator, seed=1 if initiator else 2, **options)


def begun(initiator: bool, **options: Any) -> ExchangeRunner[Secured]:
    """The same, when it has said what it says first."""
    runner = ExchangeRunner(ours(initiator, **options))
    runner.start()
    return runner


def talks(sender: Secured, receiver: Secured) -> bool:
    """Whether what one seals, the other opens."""
    wire = sealed(sender.channel, b"text")
    return opened(receiver.channel, wire)[0] == [b"text"]


def test_the_messages_have_the_sizes_of_the_specification() -> None:
    extensions = len(b"\x22\x0e\x12\x0c/yamux/1.0.0")
    payload = 2 + 36 + 2 + 64 + extensions
    assert [len(FIRST), len(SECOND), len(THIRD)] == [2 + 32, 2 + 32 + 48 + payload + 16, 2 + 48 + payload + 16]
    assert FIRST[:2] == b"\0\x20"


def pieces_of(initiator: bool) -> tuple[bytes, list[bytes]]:
    """All that this role receives, and all that it says."""
    return (SECOND, [FIRST, THIRD]) if initiator else (FIRST + THIRD, [SECOND])


@ROLES
def test_each_message_leaves_in_one_piece(initiator: bool) -> None:
    exchange, (wire, says) = ours(initiator), pieces_of(initiator)
    said, at, step = [], 0, next(exchange)
    with pytest.raises(StopIteration):
        while True:
            if isinstance(step, bytes):
                said.append(step)
                step = exchange.send(b"")
            else:
                at += step
                step = exchange.send(wire[at - step : at])
    assert said == says


@ROLES
def test_another_peer_than_expected(initiator: bool) -> None:
    """Hostile row 54, in both roles; an initiator then says no more: not even who it is."""
    wire, says = pieces_of(initiator)
    runner = begun(initiator, expected=identity(3).peer_id)
    with pytest.raises(PeerIdMismatch) as caught:
        runner.feed(wire)
    assert caught.value.expected == identity(3).peer_id
    assert caught.value.actual == identity(2 if initiator else 1).peer_id
    assert runner.unsent == (b"" if initiator else says[0])


@pytest.mark.parametrize(
    ("initiators", "responders", "muxer"),
    [
        ((YAMUX,), (YAMUX,), YAMUX),
        (("/a", "/b"), ("/b", "/a"), "/a"),
        (("/x", "/b", "/a"), ("/a", "/b"), "/b"),
        (("/a",), ("/b",), None),
        ((), ("/b",), None),
        (("/a",), (), None),
        ((), (), None),
        (("/a",) * 100, ("/a",), "/a"),
    ],
)
def test_early_muxer(initiators: tuple[str, ...], responders: tuple[str, ...], muxer: str | None) -> None:
    """The initiator's preference wins; without a common one both fall back to multistream."""
    one, two = handshake(initiator={"muxers": initiators}, responder={"muxers": responders})
    assert (one.muxer, two.muxer) == (muxer, muxer)
    assert choose_muxer(initiators, responders) == muxer
    assert talks(one, two)
    assert talks(two, one)


@ROLES
def test_every_flipped_byte_and_nothing_is_said_after_it(initiator: bool) -> None:
    """A byte of message 1 changes what message 3 authenticates, so the responder finds it there."""
    wire, says = pieces_of(initiator)
    for at in range(len(wire)):
        bad = wire[:at] + bytes([wire[at] ^ 1]) + wire[at + 1 :]
        runner = ExchangeRunner(ours(initiator))
        said = runner.start()
        with pytest.raises(HandshakeError):
            feed_all(runner, [bad, bytes(600)])
        assert len(said + runner.unsent) <= len(says[0])


def test_a_replayed_message_3_of_another_session() -> None:
    initiator = ExchangeRunner(side(initiator=True, seed=3))
    responder = ExchangeRunner(ours(False))
    responder.start()
    responder.feed(initiator.start())
    with pytest.raises(HandshakeError):
        responder.feed(THIRD)


def test_our_own_message_reflected() -> None:
    runner = ExchangeRunner(ours(True))
    said = runner.start()
    with pytest.raises(HandshakeError):
        runner.feed(said)


@ROLES
def test_against_the_noiseprotocol_package(initiator: bool) -> None:
    other = NoiseConnection.from_name(b"Noise_XX_25519_ChaChaPoly_SHA256")
    other.set_keypair_from_private_bytes(Keypair.STATIC, bytes([2 + 100]) * 32)
    (other.set_as_responder if initiator else other.set_as_initiator)()
    other.start_handshake()
    runner = ExchangeRunner(side(initiator=initiator, seed=1))
    said, payload = runner.start(), make(keys(2), (YAMUX,))
    if initiator:
        other.read_message(said[2:])
    said = runner.feed(framed(bytes(other.write_message(payload if initiator else b""))))
    assert other.read_message(said[2:]) == make(keys(1), (YAMUX,))
    if not initiator:
        runner.feed(framed(bytes(other.write_message(payload))))
    secured = runner.result
    assert (secured.peer, secured.muxer) == (identity(2).peer_id, YAMUX)
    for text in (b"short", bytes(range(200)) * 100, bytes(65_519)):
        assert other.decrypt(sealed(secured.channel, text)[2:]) == text
        assert opened(secured.channel, framed(bytes(other.encrypt(text)))) == ([text], len(text) + 18)


@given(st.booleans(), st.binary(max_size=400))
def test_only_our_errors_leave(initiator: bool, data: bytes) -> None:
    for wire in (data, b"\0\x20" + data, FIRST + data, b"\0\x60" + data):
        runner = begun(initiator)
        try:
            runner.feed(wire)
        except HandshakeError as error:
            assert error.phase == "noise"
        else:
            assert not runner.done


def test_no_key_in_a_repr() -> None:
    cipher, pair = CipherState(KEY), keys(1).pair
    for thing in (cipher, Sealer(cipher, SPACE), Opener(cipher, SPACE)):
        assert KEY.hex() not in repr(thing)
        assert str(KEY)[2:20] not in repr(thing)
    assert repr(pair) == f"KeyPair(public={pair.public!r})"
    assert repr(keys(1)) == f"StaticKeys(pair={pair!r})"
    assert "NoiseChannel object" in repr(handshake())
    assert "ChaCha" not in repr(handshake())
